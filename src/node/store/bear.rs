//! The file of a shard that was split off from this one, and where to split.
//!
//! What a split gives away stays among the parent's rows, out of its bounds and unchanged, until it is settled; so the child's
//! file is a copy of the parent's, taken at any time, with another head and with the rows that were not in it yet. Usually the copy
//! was made before the split ([`Store::prepare`]), and little is written after it.
//!
//! Promises: the child's file appears under its name only when it is whole and durable; the parent's is as it was. Rows of
//! the other's in either are invisible, and removed by sweeps. Does not decide whether the child is to be made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::time::Timestamp;
use crate::model::wire;

use super::backend::Rot;
use super::engine::{Engine, EngineError, Frozen};
use super::error::StoreError;
use super::file::{ShardFile, UNFINISHED, guarded};
use super::handle::{COPY_SUFFIX, FILE_NAME, Missed, OpenFile, Prepared, Shared, Store, parent};
use super::memtable::Memtable;
use super::read::PageBounds;
use super::record::{self, row_bytes};

/// Keys of a shard that may turn out to be its middle, about.
const MARKS: u64 = 1024;
/// How often what has come meanwhile is written to a copy, at most, and what is left to whoever makes a file of it.
const FRESHENED_MAX: usize = 8;
const FEW_ROWS: usize = 256;
/// Rows read at once for it, in bytes.
const PAGE_BYTES: usize = 1 << 20;

impl Store {
    /// Has a copy of the file ready, so that making the file of a shard that is split off takes little more than to write
    /// what has come since. Flushes go on meanwhile, and write to the copy as well.
    ///
    /// # Errors
    /// Those of [`Store::copy_file`]; the store is as it was.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        if self.is_prepared() {
            return Ok(());
        }
        let path = self.dir().join(format!("split{COPY_SUFFIX}"));
        let made = self.prepare_at(path.clone()).await;
        if !self.is_prepared() {
            self.shared.place.clone().lock_owned().await.missed = None;
            let _ = self.shared.disk.remove(&path); // it may be what fills the disk
        }
        made
    }

    async fn prepare_at(&self, path: PathBuf) -> Result<(), StoreError> {
        let range = self.state(|state| state.range.clone());
        self.shared.place.clone().lock_owned().await.missed = Some(Vec::new());
        let copied = self.copy_file(&path).await?;
        let mut copy = self.open_copy(&path).await?;
        let mut since = copied.base.state.highest_stamp;
        for round in 0.. {
            let mut place = self.shared.place.clone().lock_owned().await;
            self.shared.check_usable()?;
            // At one moment: what is flushed is in the one or in the other.
            let Some(missed) = place.missed.as_mut().map(std::mem::take) else { break };
            let fresh = self.shared.fresh(since);
            let is_last = round == FRESHENED_MAX || missed.is_empty() && fresh.rows() <= FEW_ROWS;
            if !is_last {
                drop(place);
                (copy, since) = self.catch_up(copy, missed, fresh).await?;
                continue;
            }
            if !missed.is_empty() {
                (copy, since) = self.catch_up(copy, missed, fresh).await?;
            }
            place.missed = None;
            place.prepared = Some(Prepared { copy, since, range, path });
            self.shared.is_prepared.store(true, Ordering::Release);
            break;
        }
        Ok(())
    }

    async fn open_copy(&self, path: &Path) -> Result<OpenFile, StoreError> {
        let (disk, cache_bytes, path) =
            (self.shared.disk.clone(), self.shared.options.cache_bytes, path.to_owned());
        let opened = self.shared.exec.behind(move || {
            let rot = Rot::default();
            let file = ShardFile::open(&*disk, &path, cache_bytes, &rot)?;
            disk.open(&path, false)?.sync_data()?;
            Ok(OpenFile { file, rot })
        });
        opened.await.map_err(|error: EngineError| StoreError::Copy(error.into()))
    }

    /// Writes to a copy what flushes have written since, and then what is in memory; up to which version it has all then.
    async fn catch_up(
        &self,
        mut copy: OpenFile,
        missed: Vec<Missed>,
        fresh: Frozen,
    ) -> Result<(OpenFile, Timestamp), StoreError> {
        let caught_up = self.shared.exec.behind(move || {
            let mut since = fresh.since;
            for (table, upto) in missed {
                guarded(|| copy.file.flush(&Frozen { table, since, ..fresh.clone() }))?;
                since = upto;
            }
            guarded(|| copy.file.flush(&Frozen { since, ..fresh.clone() }))?;
            guarded(|| copy.file.settle())?;
            Ok((copy, Timestamp(fresh.state.highest_stamp)))
        });
        caught_up.await.map_err(|error: EngineError| StoreError::Copy(error.into()))
    }

    /// True while a copy is ready.
    pub fn is_prepared(&self) -> bool {
        self.shared.is_prepared.load(Ordering::Acquire)
    }

    /// Makes the file of `child` in `dir`: of what was prepared, if that is there still; otherwise all must have been flushed
    /// since the split, and the file is not returned, since it must be opened anew.
    ///
    /// # Errors
    /// `Copy` if the disk refuses or the file does not know of the child; the store is as it was. `Unfit` if the child was
    /// not split off or is settled. `Failed`, `Closed`.
    pub async fn bear(&self, child: ShardId, dir: &Path) -> Result<Option<OpenFile>, StoreError> {
        let disk = &self.shared.disk;
        let made = disk.create_dir(dir).and_then(|()| disk.sync_dir(parent(dir)));
        made.map_err(|error| StoreError::Copy(error.into()))?;
        let mut place = self.shared.place.clone().lock_owned().await;
        self.shared.check_usable()?;
        let prepared = self.shared.unprepare(&mut place);
        let Some(prepared) = prepared.filter(|prepared| prepared.range == self.shared.before(child)) else {
            drop(place);
            return self.bear_of_copy(child, dir).await.map(|()| None);
        };
        let inherited = self.shared.inherited(child)?;
        drop(place);
        let (shared, dir) = (self.shared.clone(), dir.to_owned());
        let bear = move || {
            let Prepared { mut copy, path, since, .. } = prepared;
            let inherited = Frozen { since, ..inherited };
            let born = guarded(|| copy.file.flush(&inherited)).and_then(|_| {
                shared.disk.rename(&path, &dir.join(FILE_NAME))?;
                shared.disk.sync_dir(&dir)?;
                Ok(shared.disk.sync_dir(&shared.dir)?)
            });
            born.map(|()| Some(copy))
        };
        self.shared.exec.blocking(bear).await.map_err(|error: EngineError| StoreError::Copy(error.into()))
    }

    async fn bear_of_copy(&self, child: ShardId, dir: &Path) -> Result<(), StoreError> {
        let (disk, dir) = (self.shared.disk.clone(), dir.to_owned());
        let path = dir.join(format!("{FILE_NAME}{UNFINISHED}"));
        let made = self.copy_file(&path).await;
        let bear = move || {
            let born = made.map_err(|error| EngineError::Disk(error.into())).and_then(|_| {
                ShardFile::bear(&*disk, &path, child)?;
                disk.rename(&path, &dir.join(FILE_NAME))?;
                Ok(disk.sync_dir(&dir)?)
            });
            if born.is_err() {
                let _ = disk.remove(&path); // it may be what fills the disk
            }
            born
        };
        self.shared.exec.behind(bear).await.map_err(|error| StoreError::Copy(error.into()))
    }

    /// How long the shard's file is.
    pub async fn file_bytes(&self) -> std::io::Result<u64> {
        let shared = self.shared.clone();
        self.shared.exec.blocking(move || shared.disk.open(&shared.path(), false)?.len()).await
    }

    /// The key with about as many bytes of keys and newest values before it as behind it; `None` if there are fewer than two.
    /// Reads all of them, a page at a time.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub async fn middle(&self) -> Result<Option<Key>, StoreError> {
        let store = self.clone();
        self.shared.exec.behind(move || store.find_middle()).await
    }

    fn find_middle(&self) -> Result<Option<Key>, StoreError> {
        let Some(mut range) = self.state(|state| state.range.clone()) else { return Ok(None) };
        let mut marks = Marks::new(self.stats().live_bytes / MARKS);
        loop {
            let live_at = self.state(|state| state.highest_stamp);
            let page =
                PageBounds { at: None, live_at, limit: usize::MAX, max_bytes: PAGE_BYTES, reverse: false };
            let page = self.range(&range, &page)?;
            for (key, version) in page.rows {
                let bytes = row_bytes(key.as_bytes().len(), &version);
                marks.pass(key, bytes);
            }
            match page.next {
                Some(next) => range.start = next,
                None => return Ok(marks.middle()),
            }
        }
    }

    /// True if sweeps have rows to remove that are no longer the shard's.
    pub fn can_trim(&self) -> bool {
        let seen = self.shared.seen.read();
        let head = seen.picture.head();
        head.has_foreign && head.state.as_ref().is_some_and(record::is_settled)
    }
}

impl Frozen {
    /// Rows that are newer than what the file holds.
    fn rows(&self) -> usize {
        self.table.iter().filter(|(_, versions)| versions.newest().stamp > self.since).count()
    }
}

impl Shared {
    /// What is in memory, with the state of this moment, for a file that holds all up to a version.
    fn fresh(&self, since: Timestamp) -> Frozen {
        let applier = self.applier.lock();
        Frozen {
            table: Arc::new(self.in_memory()),
            state: applier.state.to_wire(),
            applied: applier.applied.unwrap_or_default(),
            membership: applier.membership.clone(),
            uniform: applier.uniform.clone(),
            only: None,
            since,
        }
    }

    /// A copy of all rows in memory.
    fn in_memory(&self) -> Memtable {
        let seen = self.seen.read();
        let mut table = seen.active.clone();
        if let Some(elder) = &seen.frozen {
            table.absorb(elder);
        }
        table
    }

    /// The shard's bounds before that child was split off.
    fn before(&self, child: ShardId) -> Option<KeyRange> {
        let seen = self.seen.read();
        let birth = seen.state.birth.as_ref().filter(|birth| birth.child.shard == child)?;
        let end = birth.child.range.as_ref()?.end.clone();
        seen.state.range.as_ref().map(|own| KeyRange::new(own.start.clone(), end))
    }

    /// What a child's file is to hold beside what was flushed before: rows in memory. To be
    /// called by who holds the writer's place.
    fn inherited(&self, child: ShardId) -> Result<Frozen, StoreError> {
        let applier = self.applier.lock();
        let birth = applier.state.birth.as_ref().filter(|birth| birth.child.shard == child);
        let birth =
            birth.ok_or_else(|| StoreError::Unfit(format!("{child} was not split off, or is settled")))?;
        Ok(Frozen {
            table: Arc::new(self.in_memory()),
            state: birth.child.to_wire(),
            applied: wire::LogId::default(),
            membership: birth.membership.clone(),
            uniform: Some(birth.membership.clone()),
            only: birth.child.range.clone(),
            since: Timestamp::ZERO,
        })
    }
}

/// Keys in order, some of them remembered with the bytes before each.
struct Marks {
    step: u64,
    marks: Vec<(u64, Key)>,
    before: u64,
}

impl Marks {
    /// Remembers one about every `step` bytes.
    fn new(step: u64) -> Marks {
        Marks { step: step.max(1), marks: Vec::new(), before: 0 }
    }

    fn pass(&mut self, key: Key, bytes: u64) {
        let next = self.marks.last().map_or(1, |(before, _)| before + self.step);
        if self.before >= next {
            self.marks.push((self.before, key));
        }
        self.before += bytes;
    }

    /// The one nearest to the middle, that has some before it.
    fn middle(self) -> Option<Key> {
        let half = self.before / 2;
        self.marks.into_iter().min_by_key(|(before, _)| before.abs_diff(half)).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_halves_the_bytes() {
        let of = |sizes: &[u64]| {
            let mut marks = Marks::new(1);
            for (n, bytes) in sizes.iter().enumerate() {
                marks.pass(Key::from_name(&[b'a' + n as u8]).unwrap(), *bytes);
            }
            marks.middle().map(|key| key.as_bytes().last().copied().unwrap())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5]), None, "one key cannot be halved");
        assert_eq!(of(&[5, 5]), Some(b'b'));
        assert_eq!(of(&[1, 1, 1, 1]), Some(b'c'));
        assert_eq!(of(&[9, 1, 1, 1]), Some(b'b'));
        assert_eq!(of(&[1, 1, 1, 9]), Some(b'd'));
    }
}
