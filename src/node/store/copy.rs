//! Private copies of the shard's file, and installing one that came from elsewhere.
//!
//! Promises: a copy is taken while nobody writes, and was read whole when it is returned; it is not durable, since what reads it
//! begins anew after a crash. An installed file was read whole and checked before, replaces the shard's own in one step, and is what readers see from one instant on. A crash at any
//! point leaves the old file or the new one. Does not send or receive.

use std::path::Path;

use crate::model::id::ShardId;
use crate::model::key::{Key, KeyRange};
use crate::model::wire;
use crate::net::trouble::{Bug, planted};
use crate::node::disk::{Disk, DiskFile};

use super::backend::{BLOCK, Rot, block_sum};
use super::budget::Held;
use super::engine::{Engine, EngineError};
use super::error::StoreError;
use super::file::{ShardFile, guarded};
use super::handle::{Applier, Basis, Place, Seen, Shared, Store, basis_of, open_checked, parent, sort};
use super::record::Head;
use tokio::sync::OwnedMutexGuard;

/// Bytes read at once for a digest.
const READ_BYTES: usize = 1 << 20;

/// Cache of a file that is looked at, in bytes.
const INSPECT_CACHE_BYTES: usize = 16 << 20;

/// A private copy of the shard's file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileCopy {
    /// What it holds.
    pub base: Basis,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
}

impl Store {
    /// Copies the file as of the last flush to `to`, which is replaced. The caller owns the copy and removes it; opening
    /// the store does so for names in its directory that end in `.copy`.
    ///
    /// # Errors
    /// `Copy` if the disk refuses; the store is as it was. `Failed`, `Closed`.
    pub async fn copy_file(&self, to: &Path) -> Result<FileCopy, StoreError> {
        let place = self.shared.place.clone().lock_owned().await;
        self.shared.check_usable()?;
        let (shared, path) = (self.shared.clone(), to.to_owned());
        let copy = move || {
            let sums = place.engine.as_ref().map(|engine| engine.sums()).unwrap_or_default();
            shared.disk.copy(&shared.path(), &path)?;
            let picture = shared.seen.read().picture.clone();
            Ok((basis_of(&*picture), sums))
        };
        // Not behind others: whoever flushes waits for it, and in the end writers do.
        let copied: std::io::Result<_> = self.shared.exec.blocking(copy).await;
        let (base, sums) = copied.map_err(|error| StoreError::Copy(error.into()))?;
        // The copy is nobody else's, so the file may be written again while it is read.
        let (shared, to) = (self.shared.clone(), to.to_owned());
        let read = move || {
            let mut hasher = blake3::Hasher::new();
            let file = shared.disk.open(&to, false)?;
            let bytes = read_all(&*file, &sums, |part| {
                hasher.update(part);
            })?;
            Ok(FileCopy { base, bytes, digest: hasher.finalize().into() })
        };
        let copied: std::io::Result<FileCopy> = self.shared.exec.behind(read).await;
        if copied.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
            self.verify().await;
        }
        copied.map_err(|error| StoreError::Copy(error.into()))
    }

    /// Finds out whether the file itself is what was written; if not, the store is damaged from now on.
    async fn verify(&self) {
        let place = self.shared.place.clone().lock_owned().await;
        let Some(sums) = place.engine.as_ref().map(|engine| engine.sums()) else { return };
        let shared = self.shared.clone();
        let verify = move || {
            let file = shared.disk.open(&shared.path(), false)?;
            let read = read_all(&*file, &sums, |_| {});
            drop(place);
            if read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
                shared.rot.set();
            }
            read
        };
        if let Err(error) = self.shared.exec.behind(verify).await {
            tracing::error!(path = %self.shared.path().display(), %error, "the shard's file was looked through");
        }
    }

    /// Checks a received file as [`Store::install`] will, so that one that cannot be installed does no harm.
    ///
    /// # Errors
    /// `Damaged`, `Copy`, `Unfit`.
    pub async fn check_received(&self, file: &Path, expect: &wire::LogId) -> Result<(), StoreError> {
        let (shared, file, expect) = (self.shared.clone(), file.to_owned(), *expect);
        self.shared.exec.behind(move || shared.check_received(&file, expect)).await
    }

    /// Replaces the shard's file with the one at `from`, which must be on the same disk, be this shard's and hold just
    /// what was applied up to `expect`. What is in memory is dropped. `from` is gone afterwards.
    ///
    /// # Errors
    /// `Damaged`, `Copy`, `Unfit` and `Stale` leave the store as it was and `from` where it is; `Failed` stops it.
    /// `Closed`.
    pub async fn install(&self, from: &Path, expect: &wire::LogId) -> Result<Basis, StoreError> {
        let place = self.shared.place.clone().lock_owned().await;
        self.shared.check_usable()?;
        let (shared, from, expect) = (self.shared.clone(), from.to_owned(), *expect);
        self.shared.exec.behind(move || shared.install(place, &from, expect)).await
    }
}

/// What there is in a shard's file that nobody has open, all of it checked: what it holds, and how many keys.
///
/// # Errors
/// As of [`Store::create_or_open`].
pub fn inspect(disk: &dyn Disk, path: &Path, shard: ShardId) -> Result<(Basis, u64), StoreError> {
    let looked = guarded(|| {
        let (file, applier) = open_checked(disk, path, shard, INSPECT_CACHE_BYTES, &Rot::default())?;
        let picture = file.picture();
        let mut keys = 0;
        for row in picture.scan(&KeyRange::new(Key::FIRST, None), false)? {
            row?;
            keys += 1;
        }
        for mut run in picture.history(&KeyRange::new(Key::FIRST, None))? {
            run.try_for_each(|row| row.map(|_| ()))?;
        }
        drop(applier);
        Ok((basis_of(&*picture), keys))
    });
    looked.map_err(|error| sort(path, error))
}

impl Shared {
    fn install(
        &self,
        mut place: OwnedMutexGuard<Place>,
        from: &Path,
        expect: wire::LogId,
    ) -> Result<Basis, StoreError> {
        if place.engine.is_none() {
            return Err(StoreError::Closed);
        }
        self.check_received(from, expect)?;
        // From here on nothing is applied until the new file is the shard's.
        let mut applier = self.applier.lock();
        if let Some(applied) = applier.applied.filter(|applied| applied.index > expect.index)
            && !planted(Bug::StaleSnapshot)
        {
            return Err(StoreError::Stale { offered: expect, applied });
        }
        let path = self.path();
        let (file, state) = self.replace(from, &path).map_err(|error| self.fail(error))?;
        let seen = Seen::of(file.picture(), &state, Held::new(self.options.memory.clone()));
        let basis = basis_of(&*seen.picture);
        *applier = state;
        self.tell_birth(&mut applier);
        let old = std::mem::replace(&mut *self.seen.write(), seen);
        drop(applier);
        let old =
            (old, place.engine.replace(Box::new(file)), place.frozen.take(), self.unprepare(&mut place));
        place.sweep_from = None;
        // What is being copied for a split is of the file that was.
        place.missed = None;
        drop(old); // slow: closes a file that has no name any more
        Ok(basis)
    }

    fn check_received(&self, file: &Path, expect: wire::LogId) -> Result<(), StoreError> {
        let head = ShardFile::check(&*self.disk, file).map_err(|error| match error {
            EngineError::Damaged(_) => StoreError::Damaged { path: file.to_owned(), source: error.into() },
            EngineError::Disk(source) => StoreError::Copy(source),
        })?;
        self.check_fits(&head, expect)
    }

    fn check_fits(&self, head: &Head, expect: wire::LogId) -> Result<(), StoreError> {
        let found = head.state.as_ref().map(|state| state.shard);
        if found != Some(self.shard.0) {
            return Err(StoreError::Unfit(format!("it is of shard {found:?}, not {}", self.shard.0)));
        }
        if head.applied != Some(expect) {
            let found = head.applied;
            return Err(StoreError::Unfit(format!("it ends at log entry {found:?}, not {expect:?}")));
        }
        Ok(())
    }

    /// Gives the received file the shard's name, durably, and opens it.
    fn replace(&self, from: &Path, path: &Path) -> Result<(ShardFile, Applier), EngineError> {
        self.disk.rename(from, path)?;
        self.disk.sync_dir(&self.dir)?;
        if parent(from) != self.dir {
            self.disk.sync_dir(parent(from))?;
        }
        open_checked(&*self.disk, path, self.shard, self.options.cache_bytes, &self.rot)
    }
}

/// Reads a file from end to end, its blocks compared with `sums`; its length.
fn read_all(file: &dyn DiskFile, sums: &[u32], mut take: impl FnMut(&[u8])) -> std::io::Result<u64> {
    let bytes = file.len()?;
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let part = &mut buffer[..READ_BYTES.min((bytes - offset) as usize)];
        file.read_at(offset, part)?;
        check_blocks(part, sums, offset)?;
        take(part);
        offset += part.len() as u64;
    }
    Ok(bytes)
}

/// What was copied must be what was once read or written: a copy's own checksum would vouch for anything.
fn check_blocks(bytes: &[u8], sums: &[u32], offset: u64) -> std::io::Result<()> {
    let first = offset as usize / BLOCK;
    for (n, block) in bytes.chunks(BLOCK).enumerate() {
        let known = sums.get(first + n).copied().unwrap_or(0);
        if known != 0 && known != block_sum(block) {
            let at = (first + n) * BLOCK;
            let what = format!("what is at byte {at} is not what was written there");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
        }
    }
    Ok(())
}
