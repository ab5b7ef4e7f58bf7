//! # A disk that hangs
//!
//! A disk may neither do what it is asked nor say that it failed, for a minute or for ever. The node lives on, and its
//! heartbeats would keep it leader of shards that it cannot serve. So when the write-ahead log has finished nothing for
//! [`STALL_AFTER`] although something waits, the node is *stalled*: all its replicas fall silent, those of the meta shard
//! too ([`crate::node::raft::silence`]). They send no heartbeats, do not ask for votes, and refuse writes, linearizable
//! reads and the messages of Raft; and the machine does not answer the pulse, so that sleeping followers wake and elect.
//! The others find themselves leaders as they do when a machine is dead, about two seconds later. As soon as the log
//! moves again, the replicas speak again, as followers of whoever leads by then.
//!
//! ## Why this is safe
//!
//! To the others a silent replica is one whose network is cut, and Raft bears that at any moment, for any time. Nothing is
//! asked of the disk that hangs: no vote is written to step down, and nobody waits for this node. What it had acknowledged is
//! on a majority's disks. What it has under way is answered "unknown" at once: it may be committed by the others' copies. An
//! old leader that speaks again has its lease behind it: before it serves anybody it asks a majority, and learns who leads.
//!
//! A leadership is not handed over: that would end with a vote of the next leader, which this node has to write down.
//!
//! ## Invariants and what guards each
//!
//! - Writes go on within 15 s of a hang, also if the shards sleep, and nothing acknowledged is lost over it or over a
//!   power cut in the midst of it: guarded by `sim_disk::a_disk_that_hangs_under_leaders_costs_seconds_and_no_write`,
//!   `sim_disk::a_power_cut_while_a_disk_hangs_loses_nothing`,
//!   `sim_disk::a_disk_that_hangs_while_all_sleep_is_found_out`.
//! - The node itself answers nobody falsely, and follows again when its disk is back: guarded by
//!   `sim_disk::a_node_whose_disk_hangs_serves_nobody_and_comes_back_by_itself`.
//! - A follower that hangs holds up nobody, in memory of a known size: guarded by
//!   `sim_disk::a_disk_that_hangs_under_a_follower_holds_up_nobody`.
//!
//! Relies on the log being written whenever a shard is: a disk that hangs for reads alone is not seen. Does not: judge a
//! disk that is slow but moves; help a shard whose other replicas are no majority.

use std::time::Duration;

use super::raft::silence::Cause;
use super::shards::Shards;
use super::wal::Wal;

/// A log that has finished nothing for this long, with something waiting, makes its node stalled.
pub const STALL_AFTER: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the disk has hung, if that is so long that the node is stalled.
pub fn stalled(wal: &Wal) -> Option<Duration> {
    Some(wal.waiting()).filter(|waiting| *waiting >= STALL_AFTER)
}

/// Silences the replicas while the disk hangs, for ever.
pub async fn watch(wal: Wal, shards: Shards) {
    let mut longest = None::<Duration>;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = stalled(&wal);
        match (now, longest) {
            (Some(waiting), None) => tracing::error!(
                "the disk hangs: it has finished no write for {} s; this node leads and answers nothing until it does",
                waiting.as_secs()
            ),
            (None, Some(longest)) => {
                tracing::warn!(
                    "the disk has gone on after {} s; this node takes part again",
                    longest.as_secs()
                );
            }
            (None, None) => continue,
            (Some(_), Some(_)) => {}
        }
        longest = now;
        for replica in shards.all().iter() {
            replica.group.set_silent(Cause::DiskHangs, now.is_some());
        }
    }
}
