//! Flushes and sweeps: what is in memory becomes durable, and what nobody needs goes.
//!
//! Promises: a flush writes rows and everything else replicated as of one log entry, after the log is durable up to it; it
//! can be abandoned at any point (the next one then writes its rows too); one writer at a time. Does not decide when.

use std::sync::Arc;

use crate::model::time::Timestamp;
use tokio::sync::OwnedMutexGuard;

use super::engine::{BoxError, Engine, EngineError, Frozen};
use super::error::StoreError;
use super::file::guarded;
use super::handle::{Basis, Place, Prepared, Shared, Store, basis_of};

/// Half of the memory that flushed rows may always take that are kept for a copy which is being made.
const MISSED_MIN_BYTES: u64 = 16 << 20;

impl Store {
    /// Freezes the memtable and the state, calls `log_synced` and awaits it (it must resolve once all that was applied
    /// until the call is durable in the log, truncations included), then writes what was frozen in one durable transaction. What
    /// is applied meanwhile stays in memory. Does nothing if nothing was applied since the last flush.
    ///
    /// # Errors
    /// `Log` if `log_synced` fails: nothing was written. `Failed` if the transaction fails: the store is of no further
    /// use, and the process must stop. `Closed`.
    pub async fn flush<F, E>(&self, log_synced: impl FnOnce() -> F) -> Result<Basis, StoreError>
    where
        F: Future<Output = Result<(), E>>,
        E: Into<BoxError>,
    {
        let mut place = self.shared.place.clone().lock_owned().await;
        self.shared.check_usable()?;
        if !self.shared.freeze(&mut place) {
            return Ok(self.base());
        }
        log_synced().await.map_err(|error| StoreError::Log(error.into()))?;
        let shared = self.shared.clone();
        // The place goes along, so that it stays taken even if nobody awaits this any more.
        self.shared.exec.behind(move || shared.write_down(place)).await
    }

    /// Removes a bounded amount of what no read at or above the file's own watermark can see: history runs, tombstones,
    /// expired rows. True if there is more to look at.
    ///
    /// # Errors
    /// Those of [`Store::flush`].
    pub async fn sweep(&self) -> Result<bool, StoreError> {
        let place = self.shared.place.clone().lock_owned().await;
        self.shared.check_usable()?;
        let shared = self.shared.clone();
        self.shared.exec.behind(move || shared.sweep(place)).await
    }

    /// The watermark that sweeps go by: the one in the file.
    pub fn flushed_watermark(&self) -> Timestamp {
        self.shared.seen.read().picture.head().watermark()
    }
}

impl Shared {
    /// Puts the memtable and the state of this moment aside for writing. False if there is nothing to write.
    fn freeze(&self, place: &mut Place) -> bool {
        let applier = self.applier.lock();
        let mut seen = self.seen.write();
        let Some(applied) = applier.applied.filter(|_| applier.applied != seen.picture.head().applied) else {
            return false;
        };
        assert_eq!(seen.applied, applier.applied, "readers see all that was applied when nobody is applying");
        let mut table = std::mem::take(&mut seen.active);
        if let Some(elder) = &seen.frozen {
            table.absorb(elder); // left by a flush that was abandoned
        }
        let table = Arc::new(table);
        let own = applier.state.range.clone().filter(|_| applier.state.is_settled());
        seen.frozen = Some(table.clone());
        drop(seen);
        place.frozen = Some(Frozen {
            table,
            state: applier.state.to_wire(),
            applied,
            membership: applier.membership.clone(),
            uniform: applier.uniform.clone(),
            // What it has given away nobody needs any more.
            only: own,
            since: Timestamp::ZERO,
        });
        true
    }

    /// Writes what was frozen. Blocks.
    fn write_down(&self, mut place: OwnedMutexGuard<Place>) -> Result<Basis, StoreError> {
        let Place { engine, frozen, .. } = &mut *place;
        let engine = engine.as_mut().ok_or(StoreError::Closed)?;
        let frozen = frozen.as_ref().expect("freeze() was called under this guard");
        let picture = match guarded(|| engine.flush(frozen)) {
            Ok(picture) => picture,
            Err(error) => return Err(self.fail(error)),
        };
        let basis = basis_of(&*picture);
        let (old, rows) = {
            let mut seen = self.seen.write();
            let old = std::mem::replace(&mut seen.picture, picture);
            let rows = seen.frozen.take();
            seen.count_memory();
            (old, rows)
        };
        drop(old);
        let settled = guarded(|| engine.settle()).map_err(|error| self.fail(error));
        let frozen = place.frozen.take().expect("it was written");
        if let Some(spoiled) = self.mirror(&mut place, &frozen) {
            // Best effort: what is left over goes at the next start.
            let _ = self.disk.remove(&spoiled.path);
        }
        drop(place);
        drop((rows, frozen)); // slow: many
        settled.map(|()| basis)
    }

    /// Writes what was flushed to the copy for a split as well, or keeps it for one that is being made. Where that is not
    /// possible, or nobody wants it any more, the copy is given up.
    fn mirror(&self, place: &mut Place, frozen: &Frozen) -> Option<Prepared> {
        let upto = Timestamp(frozen.state.highest_stamp);
        if let Some(missed) = &mut place.missed {
            missed.push((frozen.table.clone(), upto));
            let bytes: usize = missed.iter().map(|(table, _)| table.bytes()).sum();
            // As much again as may be in memory before anybody waits for a flush.
            if bytes as u64 > 2 * self.options.memory.limit_bytes().max(MISSED_MIN_BYTES) {
                place.missed = None;
            }
        }
        if place.prepared.is_some() && self.approach.is_forgotten() {
            return self.unprepare(place);
        }
        let prepared = place.prepared.as_mut()?;
        let mirrored = prepared.part(frozen);
        prepared.since = upto;
        let written = guarded(|| {
            prepared.copy.file.flush(&mirrored)?;
            prepared.copy.file.settle()
        });
        let Err(error) = written else {
            self.approach.reached(0);
            return None;
        };
        tracing::warn!(shard = %self.shard, %error, "the copy made for a split is given up");
        self.unprepare(place)
    }

    /// What was prepared for a split is no more.
    pub(super) fn unprepare(&self, place: &mut Place) -> Option<Prepared> {
        self.approach.clear();
        place.prepared.take()
    }

    fn sweep(&self, mut place: OwnedMutexGuard<Place>) -> Result<bool, StoreError> {
        let Place { engine, sweep_from, .. } = &mut *place;
        let engine = engine.as_mut().ok_or(StoreError::Closed)?;
        let swept: Result<_, EngineError> = guarded(|| engine.sweep(sweep_from.as_ref()));
        let swept = swept.map_err(|error| self.fail(error))?;
        if let Some(picture) = swept.picture {
            self.seen.write().picture = picture;
        }
        place.sweep_from = swept.next;
        Ok(place.sweep_from.is_some())
    }
}
