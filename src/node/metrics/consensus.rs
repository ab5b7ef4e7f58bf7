//! What the groups of a node do together: entries, appends, elections, rounds, transfers.

use super::metric::Kind::{Counter, Gauge, Histogram};
use super::metric::{Metric, labelled, plain};

/// What [`crate::node::raft::group::Group::rest_name`] says.
const RESTS: [&str; 4] = ["awake", "quiet", "asleep", "rousing"];

pub(super) const METRICS: &[Metric] = &[
    plain(
        Histogram,
        "nodenomad_raft_entry_writes",
        "Writes of each entry proposed here; the count is the rate of proposals",
        "1 under load: clients write one after the other; thousands: entries take long",
        |look, out| out.one(&look.shards.counts().entry_writes),
    ),
    plain(
        Histogram,
        "nodenomad_raft_append_entries",
        "Entries of each append request sent; heartbeats are not counted",
        "many: a follower catches up",
        |look, out| out.one(&look.shards.raft_counts().append_entries),
    ),
    plain(
        Histogram,
        "nodenomad_raft_append_seconds",
        "From an append request to its answer, the follower's sync included",
        "`nodenomad_wal_sync_seconds` of the followers, then the network between",
        |look, out| out.one(&look.shards.raft_counts().append_seconds),
    ),
    plain(
        Counter,
        "nodenomad_raft_append_failures_total",
        "Append requests without an answer that counts",
        "a follower is gone, or refuses: its log says why",
        |look, out| out.one(look.shards.raft_counts().append_failures.get()),
    ),
    plain(
        Counter,
        "nodenomad_raft_elections_total",
        "Elections begun by replicas here",
        "without a node having stopped: a starved CPU, a slow disk, a lossy network",
        |look, out| out.one(look.shards.raft_counts().elections.get()),
    ),
    plain(
        Counter,
        "nodenomad_raft_leader_changes_total",
        "New leaders that replicas here have come to know of",
        "as above",
        |look, out| out.one(look.shards.raft_counts().leader_changes.get()),
    ),
    labelled(
        Gauge,
        ("nodenomad_raft_groups", "state"),
        "Replicas here, by whether their group is awake",
        "none asleep on an idle cluster: setting `hibernate_after_ms`, or somebody who polls",
        |look, out| {
            let states: Vec<_> = look.replicas.iter().map(|(replica, _)| replica.group.rest_name()).collect();
            let count = |name| states.iter().filter(|state| **state == name).count();
            RESTS.into_iter().try_for_each(|name| out.of(name, count(name)))
        },
    ),
    plain(
        Gauge,
        "nodenomad_replicas",
        "Replicas on this node",
        "unlike other nodes' of the same weight: placement is under way",
        |look, out| out.one(look.replicas.len()),
    ),
    plain(
        Gauge,
        "nodenomad_replicas_damaged",
        "Replicas that were set aside because their data is not what was written",
        "the disk: it has lost or changed something; the log says what",
        |look, out| out.one(look.shards.damaged().len()),
    ),
    plain(
        Gauge,
        "nodenomad_leaders",
        "Shards that this node leads",
        "most of the cluster's on one node: its load; move leaders by restarting it",
        |look, out| {
            let leads = look.replicas.iter().filter(|(replica, _)| replica.group.leadership().here);
            out.one(leads.count())
        },
    ),
    plain(
        Gauge,
        "nodenomad_map_version",
        "Version of the cluster's map that this node knows",
        "behind other nodes': it does not follow the meta shard",
        |look, out| out.one(look.view.now().map.version().0),
    ),
    plain(
        Histogram,
        "nodenomad_read_round_reads",
        "Reads that each read round served; the count is the rate of rounds",
        "many: reads come faster than rounds end, which is what rounds are for",
        |look, out| out.one(&look.shards.counts().round_reads),
    ),
    plain(
        Histogram,
        "nodenomad_read_round_seconds",
        "Time of a read round: a majority confirms the leader",
        "the network between the nodes, or a starved CPU at the followers",
        |look, out| out.one(&look.shards.counts().round_seconds),
    ),
    labelled(
        Counter,
        ("nodenomad_snapshot_bytes_total", "direction"),
        "Bytes of whole shard files sent to and received from other nodes",
        "without placement under way: a node was away longer than `log_keep_bytes` reaches",
        |look, out| {
            let counts = look.shards.raft_counts();
            out.of("sent", counts.sent.bytes.get())?;
            out.of("received", counts.received.bytes.get())
        },
    ),
    labelled(
        Histogram,
        ("nodenomad_snapshot_seconds", "direction"),
        "Time of the transfers of shard files that succeeded",
        "the network, or the receiver's disk",
        |look, out| {
            let counts = look.shards.raft_counts();
            out.of("sent", &counts.sent.seconds)?;
            out.of("received", &counts.received.seconds)
        },
    ),
    labelled(
        Counter,
        ("nodenomad_snapshot_failures_total", "direction"),
        "Transfers of shard files that did not succeed; they are tried again",
        "the receiver's disk may be full; the log says why",
        |look, out| {
            let counts = look.shards.raft_counts();
            out.of("sent", counts.sent.failures.get())?;
            out.of("received", counts.received.failures.get())
        },
    ),
];
