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
//! - Memory that a flush has freed goes back to the system, on a thread that nobody waits for: guarded by
//!   `sim_node::what_a_flush_has_freed_is_given_back`.
//! - Memory is bounded: who applies waits for the flush: guarded by
//!   `node::store::tests::flushing::who_waits_for_room_goes_on_after_a_flush`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::model::id::ShardId;
use crate::net::exec::Exec;
use crate::net::trouble::{Point, trouble};

use super::histogram::Histogram;
use super::meta::view::View;
use super::replica::Replica;
use super::room::Room;
use super::shards::Shards;
use super::store::{MemoryBudget, Store, StoreError};

/// How often it looks at the memory while something comes in, and while nothing does.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_IDLE_EVERY: Duration = Duration::from_millis(500);
/// How often it looks at each shard: with hundreds that is a good part of what an idle node does.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// A shard with something in memory is flushed after this long at the latest.
const FLUSH_AFTER: Duration = Duration::from_secs(300);
/// The same of one that was split or merged: what it gave away cannot be cleared away before.
const FLUSH_MOVED_AFTER: Duration = Duration::from_secs(10);
/// Entries applied since the last flush beyond which a shard is flushed: what a restart replays.
const UNFLUSHED_MAX_ENTRIES: u64 = 200_000;
/// How often old versions are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// The same while there are rows that are no longer their shard's.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// How long that goes on then, for each of them: other work waits for the same disk.
const TRIM_FOR: Duration = Duration::from_millis(50);

/// While the flush of another shard waits, one is worth it that frees this part of the budget.
const WORTH_SHARE: u64 = 32;

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
    pub exec: Exec,
    pub give_back: fn(),
}

impl Flusher {
    /// Flushes for ever, until a flush fails: then the node stops.
    pub async fn run(self) -> StoreError {
        let mut dirty = Dirty::default();
        let (mut scanned, mut swept, mut trimmed) = (Instant::now(), Instant::now(), Instant::now());
        let mut held_bytes = 0;
        loop {
            let before = std::mem::replace(&mut held_bytes, self.memory.held_bytes());
            let is_idle = held_bytes == before && !self.memory.is_due();
            tokio::time::sleep(if is_idle { LOOK_IDLE_EVERY } else { LOOK_EVERY }).await;
            self.memory.set_limit(self.view.now().settings.memtable_bytes);
            let mut due = None;
            if self.memory.is_due() || trouble(Point::EarlyFlush) {
                due = self.largest();
            } else if scanned.elapsed() >= SCAN_EVERY {
                scanned = Instant::now();
                due = dirty.overdue(&self.shards.all(), |replica| self.may_write(replica));
            }
            if let Some(replica) = due {
                dirty.0.remove(&replica.shard); // what comes in during the flush is new
                if let Err(error) = self.flush(&replica).await {
                    return error;
                }
            }
            let (all, trims) = (swept.elapsed() >= SWEEP_EVERY, trimmed.elapsed() >= TRIM_EVERY);
            if all || trims || trouble(Point::EarlySweep) {
                trimmed = Instant::now();
                swept = if all { trimmed } else { swept };
                if let Err(error) = self.sweep(|replica| all || !trims || replica.store.can_trim()).await {
                    return error;
                }
            }
        }
    }

    /// True if a shard's file may be written: a split that is about to come would wait for that, as long as there is memory.
    fn may_write(&self, replica: &Replica) -> bool {
        let is_tight = self.memory.held_bytes() >= self.memory.limit_bytes() / 2 * 3;
        is_tight || !replica.store.is_about_to_split()
    }

    /// The shard with most in memory of those that may be flushed, if that makes room.
    fn largest(&self) -> Option<Arc<Replica>> {
        let all = self.shards.all();
        let free = all.iter().filter(|replica| self.may_write(replica));
        let largest = free.max_by_key(|replica| replica.store.memtable_bytes())?;
        let waits = all.iter().any(|replica| !self.may_write(replica));
        let worth_bytes = if waits { self.memory.limit_bytes() / WORTH_SHARE } else { 0 };
        (largest.store.memtable_bytes() as u64 >= worth_bytes).then(|| largest.clone())
    }

    async fn flush(&self, replica: &Replica) -> Result<(), StoreError> {
        let bytes = replica.store.memtable_bytes() as u64;
        if !self.room.fits_flush(bytes).await {
            self.counts.postponed.inc();
            return Ok(()); // `room` has told; the log keeps what is in memory
        }
        let start = Instant::now();
        if let Err(error) = replica.flush().await {
            return if is_gone(&error) { Ok(()) } else { Err(error) };
        }
        let keep_bytes = match trouble(Point::EarlyForget) {
            true => 0,
            false => self.view.now().settings.log_keep_bytes,
        };
        forget_logs(&self.shards.all(), keep_bytes).await;
        self.counts.flushed_bytes.inc_by(bytes);
        self.counts.flush_seconds.observe_time(start.elapsed());
        tracing::debug!(shard = %replica.shard, ms = start.elapsed().as_millis() as u64, "flushed");
        self.exec.blocking(self.give_back).await; // what was flushed is free now
        Ok(())
    }

    /// One bounded pass over each of these shards; what is left waits for the next time.
    async fn sweep(&self, which: impl Fn(&Replica) -> bool) -> Result<(), StoreError> {
        let mut swept = false;
        for replica in self.shards.all().iter().filter(|one| which(one) && self.may_write(one)) {
            swept = true;
            let start = Instant::now();
            // What was split off is much at once, and the shard is not split again before it is gone.
            loop {
                let one = Instant::now();
                match replica.store.sweep().await {
                    Err(error) if !is_gone(&error) => return Err(error),
                    Err(_) => break,
                    Ok(_) => self.counts.sweep_seconds.observe_time(one.elapsed()),
                }
                if !replica.store.can_trim() || start.elapsed() >= TRIM_FOR || self.memory.is_due() {
                    break;
                }
            }
        }
        if swept {
            self.exec.blocking(self.give_back).await; // what else became free since the last time
        }
        Ok(())
    }
}

/// Forgets logs that are in files, the longest first, while all logs together hold more than `keep_bytes`: what is kept is
/// for replicas that lag. What was never flushed cannot be forgotten, and is no reason to forget others'.
async fn forget_logs(replicas: &[Arc<Replica>], keep_bytes: u64) {
    let flushed = replicas.iter().filter(|replica| replica.store.base().applied.is_some());
    let mut logs: Vec<_> = flushed.map(|replica| (replica.log_bytes(), replica)).collect();
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

/// Since when shards have had something in memory, as far as it was looked at.
#[derive(Default)]
struct Dirty(BTreeMap<ShardId, Instant>);

impl Dirty {
    /// A shard that should be flushed though there is memory left, and may be.
    fn overdue(
        &mut self,
        replicas: &[Arc<Replica>],
        may_write: impl Fn(&Replica) -> bool,
    ) -> Option<Arc<Replica>> {
        let before = std::mem::take(&mut self.0);
        let is_dirty = |store: &Store| store.memtable_bytes() > 0 || store.holds_sweeps_up();
        for replica in replicas.iter().filter(|replica| is_dirty(&replica.store)) {
            let since = before.get(&replica.shard).copied().unwrap_or_else(Instant::now);
            self.0.insert(replica.shard, since);
        }
        let overdue = |replica: &&Arc<Replica>| {
            let after = if replica.store.holds_sweeps_up() { FLUSH_MOVED_AFTER } else { FLUSH_AFTER };
            let old = self.0.get(&replica.shard).is_some_and(|since| since.elapsed() > after);
            let applied_index = replica.applied().borrow().index;
            let flushed_index = || replica.store.flushed().map_or(0, |id| id.index);
            old || applied_index > UNFLUSHED_MAX_ENTRIES
                && applied_index.saturating_sub(flushed_index()) > UNFLUSHED_MAX_ENTRIES
        };
        replicas.iter().find(|replica| overdue(replica) && may_write(replica)).cloned()
    }
}
