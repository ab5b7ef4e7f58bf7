//! Room on this node's disk.
//!
//! A reserve is kept (`disk_reserve_bytes`). While less than that is free, writes that may grow what is stored are refused
//! before they are proposed; reads and deletes go on, and the reserve is what they, the log, flushes and a restart live on
//! until somebody has made room. A node without room gives what it leads to those that have some ([`super::handover`]).
//!
//! ## What works with how much room
//!
//! | what is left | growing writes | deletes | others' entries | votes, heartbeats, reads | a start |
//! |---|---|---|---|---|---|
//! | the reserve, and more | yes | yes | yes | yes | yes |
//! | less than the reserve | elsewhere | yes | yes | yes | yes |
//! | not enough for another segment of the log | elsewhere | as long as the log's own files have room | likewise | yes | yes |
//! | nothing, and the log's files are full but for the part kept for elections | elsewhere | elsewhere | refused | yes | from the ballast |
//!
//! Two levels, then: the reserve is for what somebody may bring here, the log's headroom ([`super::wal`]) for all that is
//! appended. A follower goes by the second only. Entries come in one order and a delete may stand behind a write that
//! grows, so below its reserve it takes all that its leader sends, or deletes would end with the first full follower. What
//! finds no headroom is refused at the door, changes nothing, and is brought again by the leader; the others are a majority
//! without it. That follower is no candidate, since it hears its leader; and it is not elected, since others have what it
//! lacks. Only the blank entry of a new leader is let in as votes are: where all logs are full, a leader that is elected
//! must still be able to commit its first entry, or nothing could be read.
//!
//! Where a majority has no headroom nothing is committed any more, but what was is read. What a leader has proposed then
//! waits in its own log, one entry a shard; if leadership changes before there is room, reads wait for it, too.
//!
//! A log that holds what cannot be flushed for want of room is not emptied either. So from the last level nothing but
//! room on the disk leads back; deletes free none.
//!
//! For a start, see the log's ballast: made here as soon as there is room, taken by starts only.
//!
//! ## Invariants and what guards each
//!
//! - Below the reserve nothing that grows is proposed here, and what was acknowledged stays readable and deletable, also
//!   after restarts: guarded by `sim_node::a_full_disk_takes_deletes_and_restarts`,
//!   `full_disk::a_full_node_alone_reads_deletes_and_restarts`,
//!   `full_disk::a_full_node_among_others_reads_deletes_and_restarts`, and where nothing at all is left by
//!   `full_disk::a_node_starts_without_a_byte_free`,
//!   `sim_disk::a_node_starts_without_a_byte_free_and_reads_and_deletes`.
//! - A follower without any room stops neither itself nor anybody, and catches up by itself: guarded by
//!   `sim_disk::a_full_follower_holds_up_nobody_and_goes_on`,
//!   `sim_disk::a_full_follower_that_was_left_behind_gets_a_snapshot`.
//! - Where nobody has any, what was acknowledged is read: guarded by
//!   `sim_disk::where_all_are_full_to_the_last_byte_reads_and_some_deletes_go_on`.
//! - A flush that would not fit is not begun (one that fails stops the node): guarded by
//!   `tests::a_flush_needs_room_for_itself_and_its_copy_of_pages`.
//!
//! Shard files do not shrink. What deletes free is used again inside them, so it is room for what is there already, but the
//! disk is as full as before: writes that grow are let in again once the disk itself has room.
//!
//! Relies on looking often enough: what comes in between two looks, and what others write to the same disk, must be less
//! than the reserve; a log that finds no room all the same stops its node, which starts again on its ballast. Does not
//! know how full the other replicas' disks are, only who has room ([`super::handover`]).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::config::Settings;
use crate::model::wire::{Write, operation};
use crate::net::exec::Exec;

use super::disk::Disk;
use super::wal::{SEGMENT_BYTES, Wal};

/// How often the disk is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a flush leaves free beside twice what it flushes, in bytes: the upper pages of the tree, and a segment of the log
/// for the next start.
const FLUSH_MARGIN_BYTES: u64 = (16 << 20) + SEGMENT_BYTES;

/// Beyond the reserve a node has this part of it free, at least, before it takes on what others have no room for: it is not
/// to be full next.
const ROOMY_PART: u64 = 4;

/// Shared by whoever writes.
pub struct Room {
    disk: Arc<dyn Disk>,
    wal: Wal,
    exec: Exec,
    settings: watch::Receiver<Settings>,
    /// When last looked.
    free_bytes: AtomicU64,
}

/// The disk has no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its disk is full: {} MiB are free, and {} MiB are kept so that deletes and a restart work",
    free_bytes >> 20,
    reserve_bytes >> 20
)]
pub struct Full {
    pub free_bytes: u64,
    pub reserve_bytes: u64,
}

impl Room {
    /// # Errors
    /// If the disk cannot be asked.
    pub fn new(
        disk: Arc<dyn Disk>,
        wal: Wal,
        exec: Exec,
        settings: watch::Receiver<Settings>,
    ) -> io::Result<Arc<Room>> {
        let free_bytes = AtomicU64::new(disk.free_bytes()?);
        Ok(Arc::new(Room { disk, wal, exec, settings, free_bytes }))
    }

    /// Keeps looking, for ever.
    pub async fn watch(self: Arc<Room>) {
        let mut was_full = false;
        loop {
            match self.ask().await {
                Ok(free_bytes) => {
                    self.free_bytes.store(free_bytes, Ordering::Relaxed);
                    self.wal.set_free_bytes(free_bytes);
                }
                Err(error) => tracing::warn!(%error, "the disk does not say how much room is left"),
            }
            let full = self.check();
            match full {
                Err(full) if !was_full => tracing::error!("writes that grow are refused: {full}"),
                Ok(()) if was_full => tracing::info!("there is room on the disk again"),
                _ => {}
            }
            was_full = full.is_err();
            self.restore_ballast().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Makes what is missing of the log's ballast, as far as there is room: a piece at a look, so that the log's own
    /// writes wait for no more.
    async fn restore_ballast(&self) {
        let wal = self.wal.clone();
        if let Err(error) = self.exec.blocking(move || wal.make_ballast()).await {
            tracing::warn!(%error, "no ballast could be made: a start needs room on the disk");
        }
    }

    /// Bytes free, when last looked.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Bytes kept free.
    pub fn reserve_bytes(&self) -> u64 {
        self.settings.borrow().disk_reserve_bytes
    }

    /// An error while the reserve is touched.
    pub fn check(&self) -> Result<(), Full> {
        let (free_bytes, reserve_bytes) = (self.free_bytes(), self.reserve_bytes());
        match free_bytes < reserve_bytes {
            true => Err(Full { free_bytes, reserve_bytes }),
            false => Ok(()),
        }
    }

    /// True if there is room for what others have none for.
    pub fn is_roomy(&self) -> bool {
        let reserve_bytes = self.reserve_bytes();
        self.free_bytes() >= reserve_bytes.saturating_add(reserve_bytes / ROOMY_PART)
    }

    /// Whether a memtable of so many bytes can be flushed. Asks the disk now; what cannot be known is tried.
    pub async fn fits_flush(&self, memtable_bytes: u64) -> bool {
        self.ask().await.unwrap_or(u64::MAX) >= flush_bytes(memtable_bytes)
    }

    async fn ask(&self) -> io::Result<u64> {
        // A disk that hangs must not hold up a thread that serves.
        let disk = self.disk.clone();
        self.exec.blocking(move || disk.free_bytes()).await
    }
}

/// What a flush may need: the pages it changes are written beside the old ones.
fn flush_bytes(memtable_bytes: u64) -> u64 {
    2 * memtable_bytes + FLUSH_MARGIN_BYTES
}

/// True if this write may make the stored data larger.
pub fn grows(write: &Write) -> bool {
    let deletes = |change: &Option<operation::Change>| matches!(change, Some(operation::Change::Delete(_)));
    !write.operations.iter().all(|operation| deletes(&operation.change))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::wire::{Delete, Operation, Put};
    use crate::node::disk::sim::SimDisk;
    use crate::node::wal::WalOptions;

    const EXEC: Exec = Exec::Inline { delay: Duration::ZERO, gate: None };

    fn room(capacity_bytes: u64) -> Arc<Room> {
        let disk = SimDisk::new();
        disk.set_capacity(capacity_bytes);
        let settings = Settings { disk_reserve_bytes: 100 << 20, ..Settings::default() };
        let elsewhere = Arc::new(SimDisk::new());
        let options = WalOptions { segment_bytes: 1 << 20, ..WalOptions::default() };
        let wal = Wal::open(elsewhere, Path::new("wal"), Exec::Threads, options).unwrap();
        Room::new(Arc::new(disk), wal, EXEC, watch::channel(settings).1).unwrap()
    }

    #[tokio::test]
    async fn the_reserve_is_for_what_does_not_grow() {
        assert_eq!(room(100 << 20).check(), Ok(()));
        assert!(!room((125 << 20) - 1).is_roomy() && room(125 << 20).is_roomy());
        let full = room((100 << 20) - 1).check().unwrap_err();
        assert_eq!((full.free_bytes, full.reserve_bytes), ((100 << 20) - 1, 100 << 20));
        let operation = |change| Operation { key: vec![b'k'].into(), change: Some(change), condition: None };
        let (put, delete) =
            (operation::Change::Put(Put::default()), operation::Change::Delete(Delete::default()));
        let write = |operations| Write { operations, ..Write::default() };
        assert!(!grows(&write(vec![operation(delete.clone())])));
        assert!(grows(&write(vec![operation(delete), operation(put)])));
    }

    #[tokio::test]
    async fn a_flush_needs_room_for_itself_and_its_copy_of_pages() {
        let room = room(100 << 20);
        assert!(room.fits_flush(10 << 20).await);
        assert!(!room.fits_flush(11 << 20).await);
    }
}
