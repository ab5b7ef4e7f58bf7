//! A copy of what is to be split off, made before the split, and kept near to what the shard holds.
//!
//! The rows of those keys are written into a new file ([`super::extract`]), of a picture that flushes leave as it is. What came meanwhile, in
//! flushes and in memory, is written to the copy in rounds until little is left ([`super::approach`]); from then on every flush
//! writes its part to it as well, and it is brought near again whenever somebody asks. Nobody reads it before the split.
//!
//! Promises: a copy that is there has all up to one version, whatever is flushed or applied meanwhile. Does not split.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::key::{Key, KeyRange};
use crate::model::time::Timestamp;
use crate::model::wire;

use super::backend::Rot;
use super::engine::{Engine, EngineError, Frozen, Picture};
use super::error::StoreError;
use super::file::{ShardFile, guarded};
use super::handle::{COPY_SUFFIX, Missed, OpenFile, Prepared, Shared, Store};
use super::memtable::Memtable;

/// How often what has come meanwhile is written to a copy, at most, before it is asked for again.
const ROUNDS_MAX: usize = 24;

impl Store {
    /// Has a copy ready of what the shard holds of these keys, which lacks little, so that making the file of a shard that is split off
    /// takes little more than to write what has come since. Flushes go on meanwhile, and write to the copy as well.
    ///
    /// # Errors
    /// `Copy` if the disk refuses, `Damaged` if the file is: the store is as it was. `Failed`, `Closed`.
    pub async fn prepare(&self, range: &KeyRange) -> Result<(), StoreError> {
        let _one = self.shared.preparing.lock().await;
        self.prepare_alone(range).await
    }

    /// The same, to be called by whoever holds `preparing`.
    pub(super) async fn prepare_alone(&self, range: &KeyRange) -> Result<(), StoreError> {
        let path = self.dir().join(format!("split{COPY_SUFFIX}"));
        self.shared.approach.come(true);
        let made = self.prepare_at(path.clone(), range).await;
        self.shared.approach.come(false);
        if made.is_err() {
            self.shared.place.clone().lock_owned().await.missed = None;
            self.shared.approach.let_go();
            let _ = self.shared.disk.remove(&path); // it may be what fills the disk
        }
        made
    }

    async fn prepare_at(&self, path: PathBuf, range: &KeyRange) -> Result<(), StoreError> {
        let (found, epoch, picture) = {
            let mut place = self.shared.place.clone().lock_owned().await;
            self.shared.check_usable()?;
            let epoch = self.state(|state| state.epoch);
            let is_it = |found: &Prepared| found.range == *range && found.epoch == epoch;
            let found = self.shared.unprepare(&mut place).filter(is_it);
            place.missed = Some(Vec::new());
            (found, epoch, self.shared.seen.read().picture.clone())
        };
        let prepared = match found {
            Some(prepared) => prepared,
            None => {
                self.shared.approach.let_go(); // of a split before
                self.extracted(path, (range.clone(), epoch), picture).await?
            }
        };
        self.come_near(prepared).await
    }

    async fn extracted(
        &self,
        path: PathBuf,
        (range, epoch): (KeyRange, u64),
        picture: Arc<dyn Picture>,
    ) -> Result<Prepared, StoreError> {
        let begin = Instant::now();
        let (disk, cache_bytes) = (self.shared.disk.clone(), self.shared.options.cache_bytes);
        let extract = move || {
            let rot = Rot::default();
            let whole = picture.head().state.clone().unwrap_or_default();
            let state = bounded(&whole, &range);
            let (to, how) = ((&*disk, &*path), (cache_bytes, &rot));
            let file = ShardFile::extract(to, how, &*picture, &range, &state)?;
            Ok(Prepared { copy: OpenFile { file, rot }, since: Timestamp::ZERO, epoch, range, path })
        };
        let extracted = self.shared.exec.blocking(extract).await;
        let ms = begin.elapsed().as_millis() as u64;
        tracing::debug!(shard = %self.shared.shard, ms, "what is to be split off is copied");
        extracted.map_err(|error: EngineError| self.shared.refused(error))
    }

    /// Writes to a copy what it lacks, until that is little.
    async fn come_near(&self, mut prepared: Prepared) -> Result<(), StoreError> {
        // Of one that was near it is known how much it lacked.
        let was_near = prepared.since > Timestamp::ZERO;
        let mut before = if was_near { self.shared.approach.near_bytes() } else { usize::MAX };
        for round in 0.. {
            let mut place = self.shared.place.clone().lock_owned().await;
            self.shared.check_usable()?;
            // At one moment: what is flushed is in the one or in the other.
            let Some(missed) = place.missed.as_mut().map(std::mem::take) else {
                return Err(StoreError::Copy("more has come meanwhile than is kept for it".into()));
            };
            let (fresh, memory_bytes) = self.shared.fresh(&prepared);
            let lacks = missed.iter().map(|(table, _)| table.bytes()).sum::<usize>() + fresh.table.bytes();
            self.shared.approach.came_nearer(before, lacks);
            let is_near = missed.is_empty() && self.shared.approach.would_be_near(lacks);
            if is_near || round == ROUNDS_MAX {
                if !missed.is_empty() {
                    prepared = self.catch_up(prepared, missed, fresh).await?;
                }
                place.missed = None;
                // What memory holds that the copy lacks counts.
                self.shared.approach.reached(memory_bytes.saturating_sub(lacks));
                place.prepared = Some(prepared);
                return Ok(());
            }
            drop(place);
            before = lacks;
            prepared = self.catch_up(prepared, missed, fresh).await?;
        }
        Ok(())
    }

    /// Writes to a copy what flushes have written since, and then what is in memory.
    async fn catch_up(
        &self,
        mut prepared: Prepared,
        missed: Vec<Missed>,
        fresh: Frozen,
    ) -> Result<Prepared, StoreError> {
        let begin = Instant::now();
        let rows = missed.iter().map(|(table, _)| table.rows()).sum::<usize>() + fresh.table.rows();
        let caught_up = move || {
            let mut since = fresh.since;
            for (table, upto) in missed {
                guarded(|| prepared.copy.file.flush(&Frozen { table, since, ..fresh.clone() }))?;
                since = upto;
            }
            guarded(|| prepared.copy.file.flush(&Frozen { since, ..fresh.clone() }))?;
            guarded(|| prepared.copy.file.settle())?;
            Ok(Prepared { since: Timestamp(fresh.state.highest_stamp), ..prepared })
        };
        let caught_up = self.shared.exec.blocking(caught_up).await;
        let ms = begin.elapsed().as_millis() as u64;
        tracing::debug!(shard = %self.shared.shard, rows, ms, pace = ?self.split_pace(), "a copy for a split comes nearer");
        caught_up.map_err(|error: EngineError| self.shared.refused(error))
    }

    /// Somebody wants to split the shard: what was prepared is kept, and is to be near.
    pub fn want_split(&self) {
        self.shared.approach.ask();
    }

    /// True if there is a copy of these keys that lacks little, and nobody writes the file, whom a split would wait for.
    pub fn is_near(&self, range: &KeyRange) -> bool {
        let Ok(place) = self.shared.place.try_lock() else { return false };
        let epoch = self.state(|state| state.epoch);
        let is_it = |prepared: &Prepared| prepared.range == *range && prepared.epoch == epoch;
        let is_it = place.prepared.as_ref().is_some_and(is_it);
        is_it && self.shared.approach.is_near(self.memtable_bytes())
    }

    /// True if a split is about to come, which would wait for whoever writes the file.
    pub fn is_about_to_split(&self) -> bool {
        self.shared.approach.is_close()
    }

    /// How long a write to the shard waits before it is let in, so that a copy for a split can catch up.
    pub fn split_pace(&self) -> Duration {
        self.shared.approach.pace()
    }
}

impl Shared {
    /// What a copy lacks of what is in memory, with the state of this moment; and what memory holds in all, in bytes.
    fn fresh(&self, prepared: &Prepared) -> (Frozen, usize) {
        let applier = self.applier.lock();
        let fresh = Frozen {
            table: Arc::new(self.newer(prepared.since, &prepared.range)),
            state: bounded(&applier.state.to_wire(), &prepared.range),
            applied: applier.applied.unwrap_or_default(),
            membership: applier.membership.clone(),
            uniform: applier.uniform.clone(),
            only: Some(prepared.range.clone()),
            since: prepared.since,
        };
        (fresh, self.seen.read().memory_bytes())
    }

    /// What an error means that came while one file was read and another one written.
    pub(super) fn refused(&self, error: EngineError) -> StoreError {
        match self.rot.is_set() {
            true => self.sort(error),
            false => StoreError::Copy(error.into()),
        }
    }

    /// A copy of the rows in memory of these keys that have versions newer than this one.
    pub(super) fn newer(&self, since: Timestamp, range: &KeyRange) -> Memtable {
        let seen = self.seen.read();
        let mut newer = Memtable::default();
        newer.absorb_newer(&seen.active, since, range);
        if let Some(elder) = &seen.frozen {
            newer.absorb_newer(elder, since, range);
        }
        newer
    }
}

impl Prepared {
    /// What a flush is to write to it.
    pub(super) fn part(&self, frozen: &Frozen) -> Frozen {
        Frozen {
            state: bounded(&frozen.state, &self.range),
            only: Some(self.range.clone()),
            since: self.since,
            ..frozen.clone()
        }
    }
}

/// The state as of a shard that has these keys only.
fn bounded(state: &wire::ShardState, range: &KeyRange) -> wire::ShardState {
    let end = range.end.as_ref().map(Key::to_bytes).unwrap_or_default();
    wire::ShardState { start: range.start.to_bytes(), end, birth: None, ..state.clone() }
}
