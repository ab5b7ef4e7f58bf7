//! # A shard replica's storage
//!
//! A table in memory over a file. Applied writes go to the *memtable*; now and then it is frozen and flushed to the
//! replica's redb file in one sorted transaction; reads merge both. So a B-tree on disk is never on the path of a write.
//!
//! ## Invariants and what guards each
//!
//! - What the file holds is everything replicated (rows, bounds, epoch, stamps, watermark, repeat table, membership) as
//!   of *one* log entry, whose id is in the same transaction. Applying the log again from there leads to where it led
//!   before: guarded by `tests::crash::a_flush_that_is_cut_off_leaves_the_old_base_or_the_new_one`,
//!   `tests::versions::the_digest_does_not_depend_on_what_was_flushed_when`.
//! - Nothing is flushed before it is durable in the log: guarded by
//!   `tests::flushing::what_is_applied_while_the_log_is_synced_stays_out_of_the_flush`,
//!   `tests::flushing::a_flush_whose_log_fails_writes_nothing_and_the_next_writes_all`.
//! - Entries are applied in order, without a gap, each once: guarded by the assertion in `apply::apply`.
//! - Readers see an applied entry together with its log id, wholly or not at all, and never a mix of two files: guarded
//!   by `tests::flushing::readers_see_a_write_whole_with_its_log_id_or_not_at_all`.
//! - A read at a timestamp T at or above the watermark sees the versions of T; below it, it is refused: guarded by
//!   `tests::versions::reads_at_any_remembered_time_are_those_of_the_model`.
//! - History goes only by the watermark in the file: guarded by
//!   `tests::flushing::history_goes_by_the_watermark_in_the_file`.
//! - A failed write stops the store, and what a flush wrote before it failed never counts: guarded by
//!   `tests::crash::a_flush_that_is_cut_off_leaves_the_old_base_or_the_new_one`,
//!   `tests::crash::a_large_flush_that_is_given_up_leaves_nothing_of_it`,
//!   `tests::crash::a_large_flush_that_fails_half_way_leaves_nothing_of_it`.
//! - Damage is said to be damage, never an empty shard and never a wrong value: the whole file is checked when it is
//!   opened, and every page of it again whenever it is read (see `backend`): guarded by
//!   `tests::crash::damage_is_called_damage`, `tests::damage::what_was_changed_while_closed_is_found`,
//!   `tests::damage::what_is_changed_while_open_is_never_read`.
//! - A creation or an installation that is cut off leaves the old file, the new one, or none: guarded by
//!   `tests::crash::a_creation_that_is_cut_off_leaves_a_file_that_opens_or_none`,
//!   `tests::crash::an_installation_that_is_cut_off_leaves_the_old_file_or_the_new_one`.
//! - Nobody writes a file that is being copied, and nothing is installed unread: guarded by
//!   `tests::copies::nobody_writes_the_file_while_it_is_copied`,
//!   `tests::copies::copies_taken_while_flushes_run_open_and_match`, `tests::copies::a_damaged_file_is_not_installed`,
//!   `tests::copies::what_does_not_fit_changes_nothing`.
//! - The epoch rises when other members are settled on, and only then: guarded by
//!   `tests::flushing::the_epoch_rises_with_settled_members_whatever_was_flushed_between`.
//! - An entry that cannot be applied stops the store: guarded by
//!   `tests::flushing::an_entry_that_cannot_be_applied_stops_the_store`.
//! - Keys outside the bounds are not there: guarded by `tests::versions::keys_outside_the_shard_are_not_there`.
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
//! - *Flush*: freeze memtable and state under the applier's lock; await the log's barrier; redb transactions that are not
//!   durable, then one that is, and makes all of them so. A crash before that commit leaves the file as it was, and the
//!   log still holds all above it (it is purged only up to what a flush returned). After an error half-way nothing more
//!   is written to the file. A crash after it finds a log that reaches at least as far as the file. An empty transaction
//!   follows, which frees pages: a crash before it leaves them to the next.
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

mod budget;

mod versions;

mod rows;

mod memtable;
pub(crate) mod record;

mod backend;
mod engine;

mod error;
mod picture;

mod extract;

mod file;

mod approach;
mod handle;

mod apply;
mod copy;
mod frame;
mod digest;
mod flush;
mod read;
mod bear;
mod prepare;
mod merge;

pub use apply::{Committed, Payload};
pub use budget::MemoryBudget;
pub use copy::{FileCopy, inspect};
pub use digest::Digest;
pub use error::StoreError;
pub use file::catches_panics;
pub use handle::{Basis, COPY_SUFFIX, FILE_NAME, OpenFile, RECEIVED_SUFFIX, Store, StoreOptions, StoreStats};
pub use read::{Changes, Page, PageBounds};

#[cfg(test)]
mod tests;
