//! What one replica does: a value for each that is on the node, as long as it is.

use super::metric::Kind::{Gauge, Histogram};
use super::metric::{Metric, labelled};

pub(super) const METRICS: &[Metric] = &[
    labelled(
        Histogram,
        ("nodenomad_shard_write_seconds", "shard"),
        "From a write's coming to its outcome or refusal here; the count is the shard's rate of writes",
        "one shard much higher than others: its load, its queue, its memtable; all: the log's syncs, the followers",
        |look, out| out.of_shards(look, |replica, _| &replica.counts.write_seconds),
    ),
    labelled(
        Histogram,
        ("nodenomad_shard_read_seconds", "shard"),
        "Time of a read of a key or a page here; the count is the shard's rate of reads",
        "`nodenomad_read_round_seconds` high too: the followers; else large pages, or data that is not cached",
        |look, out| out.of_shards(look, |replica, _| &replica.counts.read_seconds),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_queue_writes", "shard"),
        "Writes that wait to be gathered into an entry",
        "at its bound (LIMITS.md) writes are answered busy; the memtable may be full, or followers slow",
        |look, out| out.of_shards(look, |replica, _| replica.proposer.waiting()),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_queue_reads", "shard"),
        "Readers that wait for the next read round",
        "no majority answers, or rounds are slow",
        |look, out| out.of_shards(look, |replica, _| replica.rounds.waiting()),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_leader", "shard"),
        "1 where this node's replica leads, else 0",
        "the sum over all nodes is 1 a shard; 0 for long: no majority",
        |look, out| out.of_shards(look, |replica, _| u64::from(replica.group.leadership().here)),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_term", "shard"),
        "Raft term",
        "rising: elections; see `nodenomad_raft_elections_total`",
        |look, out| out.of_shards(look, |replica, _| replica.group.leadership().term),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_applied_index", "shard"),
        "Log index up to which this replica has applied",
        "behind the leader's: this node is slow or was away",
        |look, out| out.of_shards(look, |replica, _| replica.applied().borrow().index),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_log_bytes", "shard"),
        "Log entries held for this replica",
        "far above the setting `log_keep_bytes`: flushes do not keep up",
        |look, out| out.of_shards(look, |replica, _| replica.log_bytes()),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_memtable_bytes", "shard"),
        "Memory of what was applied and not flushed yet",
        "writes wait when it is full: see `nodenomad_flush_seconds`",
        |look, out| out.of_shards(look, |_, stats| stats.memtable_bytes),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_data_bytes", "shard"),
        "Keys and their newest values, estimated",
        "one shard much larger than others: split the range that grows",
        |look, out| out.of_shards(look, |_, stats| stats.live_bytes),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_history_bytes", "shard"),
        "Replaced versions kept in the file",
        "above the data's size the retention is shortened: setting `retention_ms`",
        |look, out| out.of_shards(look, |_, stats| stats.history_bytes),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_keys", "shard"),
        "Keys present, estimated",
        "for its growth",
        |look, out| out.of_shards(look, |_, stats| stats.keys),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_repeat_clients", "shard"),
        "Clients whose retries the shard recognises",
        "at its bound (LIMITS.md) the one silent longest is forgotten",
        |look, out| out.of_shards(look, |replica, _| replica.store.repeats().clients),
    ),
    labelled(
        Gauge,
        ("nodenomad_shard_repeat_outcomes", "shard"),
        "Outcomes kept for retries",
        "clients with many writes that await their answer",
        |look, out| out.of_shards(look, |replica, _| replica.store.repeats().outcomes),
    ),
];
