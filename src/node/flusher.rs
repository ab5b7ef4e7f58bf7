//! When memtables are flushed, and what is swept.
//!
//! One at a time, the largest first: what a flush costs is decided by the share of the file's rows it holds, so a few
//! full memtables are cheaper than many small ones. A flush comes when the node's budget is used, when the log behind a
//! shard grows long, or when a shard has been quiet for long with something in memory (so that a restart replays little).
//!
//! ## Invariants and what guards each
//!
//! - A flush that fails stops the node: guarded by `sim_node::a_flush_that_fails_stops_its_node`.
//! - What logs keep for replicas that lag is bounded for the node as a whole: guarded by
//!   `sim_cluster::the_logs_of_all_shards_share_one_budget`.
//! - The budget is the setting's, also when that changes: guarded by
//!   `metrics::the_memory_for_writes_is_what_the_setting_says`.
//! - Memory is bounded: who applies waits for the flush: guarded by
//!   `node::store::tests::flushing::who_waits_for_room_goes_on_after_a_flush`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::model::id::ShardId;

use super::histogram::Histogram;
use super::meta::view::View;
use super::replica::Replica;
use super::room::Room;
use super::shards::Shards;
use super::store::{MemoryBudget, StoreError};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A shard with something in memory is flushed after this long at the latest.
const FLUSH_AFTER: Duration = Duration::from_secs(300);
/// Entries applied since the last flush beyond which a shard is flushed: what a restart replays.
const UNFLUSHED_MAX_ENTRIES: u64 = 200_000;
/// How often old versions are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What flushing counts.
#[derive(Debug)]
pub struct FlushCounts {
    pub flush_seconds: Histogram,
    /// Memory that the flushed rows took.
    pub flushed_bytes: Counter,
    /// Looks at which a flush was due and the disk had no room for it.
    pub postponed: Counter,
    /// One pass over one shard.
    pub sweep_seconds: Histogram,
}

impl Default for FlushCounts {
    fn default() -> FlushCounts {
        FlushCounts {
            flush_seconds: Histogram::of_seconds(),
            flushed_bytes: Counter::default(),
            postponed: Counter::default(),
            sweep_seconds: Histogram::of_seconds(),
        }
    }
}

/// What flushing needs.
pub struct Flusher {
    pub shards: Shards,
    pub view: View,
    pub counts: Arc<FlushCounts>,
    pub room: Arc<Room>,
    pub memory: Arc<MemoryBudget>,
}

/// Flushes for ever, until a flush fails: then the node stops.
pub async fn run(flusher: Flusher) -> StoreError {
    let Flusher { shards, view, counts, room, memory } = flusher;
    let mut first_dirty: BTreeMap<ShardId, Instant> = BTreeMap::new();
    let mut swept = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let replicas = shards.all();
        note_dirty(&replicas, &mut first_dirty);
        memory.set_limit(view.now().settings.memtable_bytes);
        if let Some(replica) = due(&replicas, &first_dirty, &memory) {
            let bytes = replica.store.memtable_bytes() as u64;
            if !room.fits_flush(bytes).await {
                counts.postponed.inc();
                continue; // `room` has told; the log keeps what is in memory
            }
            let start = Instant::now();
            match replica.flush().await {
                Ok(()) => {}
                Err(error) if is_gone(&error) => continue,
                Err(error) => return error,
            }
            first_dirty.remove(&replica.shard);
            forget_logs(&replicas, view.now().settings.log_keep_bytes).await;
            counts.flushed_bytes.inc_by(bytes);
            counts.flush_seconds.observe_time(start.elapsed());
            tracing::debug!(shard = %replica.shard, ms = start.elapsed().as_millis() as u64, "flushed");
        }
        if swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            for replica in &replicas {
                let start = Instant::now();
                // One bounded pass now; what is left waits for the next time.
                match replica.store.sweep().await {
                    Err(error) if !is_gone(&error) => return error,
                    Err(_) => {}
                    Ok(_) => counts.sweep_seconds.observe_time(start.elapsed()),
                }
            }
        }
    }
}

/// Forgets logs that are in files, the longest first, while all logs together hold more than `keep_bytes`: what is kept is
/// for replicas that lag.
async fn forget_logs(replicas: &[Arc<Replica>], keep_bytes: u64) {
    let mut logs: Vec<_> = replicas.iter().map(|replica| (replica.log_bytes(), replica)).collect();
    logs.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let mut held_bytes: u64 = logs.iter().map(|(bytes, _)| bytes).sum();
    for (bytes, replica) in logs {
        if held_bytes <= keep_bytes {
            return;
        }
        replica.forget_log().await;
        held_bytes -= bytes; // at most; what stays is looked at after the next flush
    }
}

/// The replica was removed since the look at the list, or the node is stopping, or this replica alone is damaged and will be
/// set aside: the disk still does what it is asked.
fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Closed | StoreError::Damaged { .. })
}

fn note_dirty(replicas: &[Arc<Replica>], first_dirty: &mut BTreeMap<ShardId, Instant>) {
    first_dirty.retain(|shard, _| replicas.iter().any(|replica| replica.shard == *shard));
    for replica in replicas {
        if replica.store.memtable_bytes() > 0 {
            first_dirty.entry(replica.shard).or_insert_with(Instant::now);
        }
    }
}

/// The shard to flush now, if any.
fn due(
    replicas: &[Arc<Replica>],
    first_dirty: &BTreeMap<ShardId, Instant>,
    memory: &MemoryBudget,
) -> Option<Arc<Replica>> {
    if memory.is_due() {
        return replicas.iter().max_by_key(|replica| replica.store.memtable_bytes()).cloned();
    }
    let overdue = |replica: &&Arc<Replica>| {
        let old = first_dirty.get(&replica.shard).is_some_and(|since| since.elapsed() > FLUSH_AFTER);
        let applied_index = replica.applied().borrow().index;
        // Looked at ten times a second: what a file holds is asked only where it can matter.
        let flushed_index = || replica.store.base().applied.map_or(0, |id| id.index);
        old || applied_index > UNFLUSHED_MAX_ENTRIES
            && applied_index.saturating_sub(flushed_index()) > UNFLUSHED_MAX_ENTRIES
    };
    replicas.iter().find(overdue).cloned()
}
