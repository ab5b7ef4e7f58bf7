//! The disk seam: a directory of files.
//!
//! The write-ahead log and the shard files see only this; below it are real files ([`real`]), real files that are only
//! looked at ([`look`]) or a simulated disk ([`sim`]) that forgets what was not synced.
//!
//! What is assumed of a disk: a write is on it after `sync_data` returned without error, and its name (creation,
//! rename, removal) after `sync_dir` of its directory did. Anything not synced may be there wholly, partly or not at all
//! after a power cut. A failed sync says nothing about what is on disk; callers stop, they do not retry.
//!
//! ## Invariants and what guards each
//!
//! - The simulated disk forgets what was not synced, and dead handles do nothing: guarded by
//!   `sim::tests::only_what_was_synced_is_sure_to_stay`.
//! - A directory has one owner, and no path leads out of it: guarded by
//!   `real::tests::a_directory_has_one_owner_and_paths_stay_inside`.

pub mod look;
pub mod real;
pub mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

/// True if the disk has no room for what was to be written.
pub fn lacks_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// One directory tree. Paths are relative to its root.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing. With `create` it is made if absent (its directory must exist).
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a directory and those above it; harmless if there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Atomically gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all it holds; harmless if absent.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// A private copy of a file as it is now; replaces `to`. Not synced.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Positioned access only, so that it can be shared.
pub trait DiskFile: Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Has what was written so far go to the device, and waits until it took it: less is then left for the next sync, and
    /// syncs of other files wait less. Promises nothing, and need not do anything.
    fn write_back(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
}
