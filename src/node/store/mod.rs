//! # A shard replica's storage
//!
//! A table in memory over a file. Applied writes go to the *memtable*; now and then it is frozen and flushed to the
//! replica's redb file in one sorted transaction; reads merge both. So a B-tree on disk is never on the path of a write.
//!
//! ## Promises
//!
//! - What the file holds is everything replicated (rows, bounds, epoch, stamps, watermark, repeat table, membership) as of *one*
//!   log entry, whose id is in the same transaction. Applying the log again from there leads to where it led before.
//! - Readers see an applied entry together with its log id, wholly or not at all, and never a mix of two files.
//! - A read at a timestamp T at or above the watermark sees the versions of T; below it, it is refused.
//! - A failed write stops the store; damage is said to be damage, never an empty shard. The whole file is checked when
//!   it is opened, and every page of it again whenever it is read (see `backend`).
//!
//! ## Relies on
//!
//! The caller applies committed entries in order, one batch at a time; makes the log durable before a flush writes (it is
//! asked to at the right moment); stalls in `wait_for_room`; stops the replica on an error that says so. The disk
//! seam as described there. Does not: decide when to flush, sweep, copy or install; know of Raft or of peers.
//!
//! ## The file
//!
//! | table | holds |
//! | --- | --- |
//! | `latest` | key to its newest version: flags, stamp, expiry if any, value (or tombstone) |
//! | `history-N` | a *run*: (key, complement of stamp) to the stamp it was replaced at, then the version |
//! | `meta` | the head: form, state, applied log id, membership, last uniform membership, counts, list of runs |
//!
//! A flush writes the newest versions into `latest` and everything they replaced that the watermark does not cover, in
//! key order, into a fresh run. A run is dropped whole once the watermark *stored in the file* reaches its highest
//! replacing stamp; a read at T looks through the runs whose highest replacing stamp exceeds T. A version in a run is
//! valid from its stamp until it was replaced, so that tombstones can be swept out of `latest` without reviving what
//! they buried.
//!
//! ## What is durable when, and why each crash is safe
//!
//! - *Flush*: freeze memtable and state under the applier's lock; await the log's barrier; one redb transaction,
//!   immediate. A crash before the commit leaves the file as it was, and the log still holds all above it (it is
//!   purged only up to what a flush returned). A crash after it finds a log that reaches at least as far as the file.
//! - *Creation*: under another name, then renamed: a file under its own name can always be opened.
//! - *Copy*: under the writer's place, so between transactions; synced with its directory before it is returned.
//! - *Installation*: the received file is checked page by page, closed and synced; then renamed over the old one, and
//!   the directory synced. A crash before the rename leaves the old file, and the received one goes at the next opening; after
//!   it, either, and the log was not purged yet.
//! - *Sweep*: one transaction; it removes only what the watermark in the same file covers, so that a replay from this
//!   file finds what the first run found.
//!
//! ## Locks
//!
//! In this order: the writer's *place* (one flush, sweep, copy or installation), the *applier* (a whole batch), what
//! is *seen* (a few hundred rows at a time). Readers take only the last.

mod memtable;
mod record;

mod backend;
mod engine;

mod error;
mod picture;

mod file;

mod handle;

mod apply;
mod copy;
mod digest;
mod flush;
mod read;

pub use apply::{Committed, Payload};
pub use copy::{FileCopy, inspect};
pub use digest::Digest;
pub use error::StoreError;
pub use file::catches_panics;
pub use handle::{Basis, COPY_SUFFIX, FILE_NAME, RECEIVED_SUFFIX, Store, StoreOptions, StoreStats};
pub use read::{Page, PageBounds};

#[cfg(test)]
mod tests;
