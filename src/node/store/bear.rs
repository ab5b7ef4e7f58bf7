//! The file of a shard that was split off from this one, and where to split.
//!
//! What a split gives away stays among the parent's rows, out of its bounds and unchanged, until it is settled; so the child's
//! file can be made of them at any time. Usually most of it was made before the split ([`super::prepare`]), and little is
//! written after it.
//!
//! Promises: the child's file appears under its name only when it is whole and durable; the parent's is as it was. What is
//! the child's in the parent's file is invisible, and removed by sweeps. Does not decide whether the child is to be made.

use std::path::Path;
use std::sync::Arc;

use crate::model::evaluate::ShardState;
use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::wire;

use super::engine::{Engine, EngineError, Frozen};
use super::error::StoreError;
use super::file::guarded;
use super::handle::{FILE_NAME, OpenFile, Prepared, Shared, Store, parent};
use super::read::PageBounds;
use super::record::{self, row_bytes};

/// Keys of a shard that may turn out to be its middle, about.
const MARKS: u64 = 1024;
/// Rows read at once for it, in bytes.
const PAGE_BYTES: usize = 1 << 20;

impl Store {
    /// Makes the file of `child` in `dir`, of what was prepared, if that is there still.
    ///
    /// # Errors
    /// `Copy` if the disk refuses; the store is as it was. `Unfit` if the child was not split off or is settled. `Damaged`,
    /// `Failed`, `Closed`.
    pub async fn bear(&self, child: ShardId, dir: &Path) -> Result<OpenFile, StoreError> {
        let disk = &self.shared.disk;
        let made = disk.create_dir(dir).and_then(|()| disk.sync_dir(parent(dir)));
        made.map_err(|error| StoreError::Copy(error.into()))?;
        let (range, epoch) = self.shared.given_away(child)?;
        let is_it = |prepared: &Prepared| prepared.is_of(&range, epoch);
        let one = self.shared.preparing.lock().await;
        let mut place = self.shared.place.clone().lock_owned().await;
        if !place.prepared.as_ref().is_some_and(is_it) {
            drop(place);
            self.prepare_alone(&range).await?;
            place = self.shared.place.clone().lock_owned().await;
        }
        self.shared.check_usable()?;
        let prepared = self.shared.unprepare(&mut place).filter(is_it);
        self.shared.approach.let_go();
        let given_up = || StoreError::Copy("what was prepared for it was given up".into());
        let prepared = prepared.ok_or_else(given_up)?;
        let inherited = self.shared.inherited(child, &prepared)?;
        drop(place);
        let (shared, dir) = (self.shared.clone(), dir.to_owned());
        let bear = move || {
            let Prepared { mut copy, path, .. } = prepared;
            let born = guarded(|| copy.file.flush(&inherited)).and_then(|_| {
                shared.disk.rename(&path, &dir.join(FILE_NAME))?;
                shared.disk.sync_dir(&dir)?;
                Ok(shared.disk.sync_dir(&shared.dir)?)
            });
            if born.is_err() {
                let _ = shared.disk.remove(&path); // it may be what fills the disk
            }
            born.map(|()| copy)
        };
        let born: Result<OpenFile, EngineError> = self.shared.exec.blocking(bear).await;
        drop(one);
        born.map_err(|error| self.shared.refused(error))
    }

    /// True if most of what `child` is to hold was copied before, and nobody writes it just now.
    pub fn is_prepared_for(&self, child: ShardId) -> bool {
        let (Ok((range, epoch)), Ok(place)) = (self.shared.given_away(child), self.shared.place.try_lock())
        else {
            return false;
        };
        place.prepared.as_ref().is_some_and(|prepared| prepared.is_of(&range, epoch))
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

impl Shared {
    /// The keys that were split off with that child, and its epoch then.
    fn given_away(&self, child: ShardId) -> Result<(KeyRange, u64), StoreError> {
        let given = |state: &ShardState| {
            let birth = state.birth.as_ref().filter(|birth| birth.child.shard == child)?;
            Some((birth.child.range.clone()?, birth.child.epoch))
        };
        given(&self.seen.read().state).ok_or_else(|| not_born(child))
    }

    /// What a child's file is to hold beside what was prepared: rows in memory that are newer. To be
    /// called by who holds the writer's place.
    fn inherited(&self, child: ShardId, prepared: &Prepared) -> Result<Frozen, StoreError> {
        let applier = self.applier.lock();
        let birth = applier.state.birth.as_ref().filter(|birth| birth.child.shard == child);
        let birth = birth.ok_or_else(|| not_born(child))?;
        Ok(Frozen {
            table: Arc::new(self.newer(prepared.since, &prepared.range)),
            state: birth.child.to_wire(),
            applied: wire::LogId::default(),
            membership: birth.membership.clone(),
            uniform: Some(birth.membership.clone()),
            only: Some(prepared.range.clone()),
            since: prepared.since,
        })
    }
}

impl Prepared {
    /// True if it is of a child with these keys: made at the epoch at which that was split off, or since.
    fn is_of(&self, range: &KeyRange, epoch: u64) -> bool {
        self.range == *range && self.epoch + 1 >= epoch
    }
}

fn not_born(child: ShardId) -> StoreError {
    StoreError::Unfit(format!("{child} was not split off, or is settled"))
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
