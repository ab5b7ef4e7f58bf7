//! The file of a shard that was split off from this one, and where to split.
//!
//! What a split gives away stays among the parent's rows, out of its bounds and unchanged, until it is settled; so the child's
//! file is a copy of the parent's, taken at any time after the split was flushed, with another head.
//!
//! Promises: the child's file appears under its name only when it is whole and durable; the parent's is as it was. Rows of
//! the other's in either are invisible, and removed by sweeps. Does not decide whether the child is to be made.

use std::path::Path;

use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};

use super::engine::EngineError;
use super::error::StoreError;
use super::file::{ShardFile, UNFINISHED, guarded};
use super::handle::{FILE_NAME, Store, parent};
use super::record::row_bytes;

/// Places in a shard's file that are looked at as its middle.
const MARKS: u64 = 1024;

impl Store {
    /// Makes the file of `child` in `dir`, once its birth is in this shard's file: see [`Store::flush`].
    ///
    /// # Errors
    /// `Copy` if the disk refuses or the file does not know of the child; the store is as it was. `Failed`, `Closed`.
    pub async fn bear(&self, child: ShardId, dir: &Path) -> Result<(), StoreError> {
        let (disk, dir) = (self.shared.disk.clone(), dir.to_owned());
        let path = dir.join(format!("{FILE_NAME}{UNFINISHED}"));
        let copy = |error: EngineError| StoreError::Copy(error.into());
        let made = disk.create_dir(&dir).and_then(|()| disk.sync_dir(parent(&dir)));
        made.map_err(|error| copy(error.into()))?;
        self.copy_file(&path).await?;
        let bear = move || {
            ShardFile::bear(&*disk, &path, child)?;
            disk.rename(&path, &dir.join(FILE_NAME))?;
            Ok(disk.sync_dir(&dir)?)
        };
        self.shared.exec.behind(bear).await.map_err(copy)
    }

    /// The key with about as many bytes of keys and newest values before it as behind it, of those in the file; `None` if
    /// there are fewer than two.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    pub async fn middle(&self) -> Result<Option<Key>, StoreError> {
        let (picture, range) = {
            let seen = self.shared.seen.read();
            (seen.picture.clone(), seen.state.range.clone())
        };
        let Some(range) = range else { return Ok(None) };
        let bytes = picture.head().tally.unwrap_or_default().bytes;
        let look = move || {
            guarded(|| {
                let rows = picture.scan(&range, false)?.map(|row| {
                    let (key, version) = row?;
                    let bytes = row_bytes(key.as_bytes().len(), &version);
                    Ok((key, bytes))
                });
                middle(rows, &range, (bytes / MARKS).max(1))
            })
        };
        let found = self.shared.exec.behind(look).await;
        found.map_err(|error| self.shared.sort(error))
    }

    /// True if sweeps have rows to remove that are no longer the shard's.
    pub fn has_foreign(&self) -> bool {
        let seen = self.shared.seen.read();
        let head = seen.picture.head();
        head.has_foreign && head.state.as_ref().is_some_and(|state| state.birth.is_none())
    }
}

/// Of keys in order with their bytes, the one nearest to the middle that leaves some before it.
fn middle(
    rows: impl Iterator<Item = Result<(Key, u64), EngineError>>,
    range: &KeyRange,
    step: u64,
) -> Result<Option<Key>, EngineError> {
    let (mut marks, mut before, mut next) = (Vec::new(), 0u64, 0);
    for row in rows {
        let (key, bytes) = row?;
        if before >= next && before > 0 && key > range.start {
            marks.push((before, key));
            next = before + step;
        }
        before += bytes;
    }
    let half = before / 2;
    Ok(marks.into_iter().min_by_key(|(before, _)| before.abs_diff(half)).map(|(_, key)| key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_halves_the_bytes() {
        let range = KeyRange::new(Key::FIRST_USER, None);
        let of = |sizes: &[u64]| {
            let rows = sizes
                .iter()
                .enumerate()
                .map(|(n, bytes)| Ok((Key::from_name(&[b'a' + n as u8]).unwrap(), *bytes)));
            middle(rows, &range, 1).unwrap().map(|key| key.as_bytes().last().copied().unwrap())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5]), None, "one key cannot be halved");
        assert_eq!(of(&[5, 5]), Some(b'b'));
        assert_eq!(of(&[1, 1, 1, 1]), Some(b'c'));
        assert_eq!(of(&[9, 1, 1, 1]), Some(b'b'));
        assert_eq!(of(&[1, 1, 1, 9]), Some(b'd'));
    }
}
