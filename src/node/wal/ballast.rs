//! Ballast: room that the log keeps for the next start, for the case that others have filled the disk to the last byte.
//!
//! A few files of zeros, each of the size of a small segment. A start that finds no room for a new segment makes one of
//! them the segment, by giving it another name: nothing is freed that somebody else could take first. What else a start
//! writes (a shard's file that is repaired, `member.json`, `node.json`) finds the room of another one that is removed.
//!
//! Promises: with a whole ballast and not a byte free [`STARTS_WITHOUT_ROOM`] starts find room, and more where the log's oldest
//! segments can be emptied; what was taken is made again once there is room ([`super::Wal::make_ballast`]). Only starts
//! take of it: a running log that finds no room stops, and its next start is what this is for. A piece is whole and on
//! disk before it counts.
//!
//! Relies on zeros that were written taking blocks: where the file system compresses, or writes a new copy of all that
//! is written over, no ballast helps, and neither do segments that were filled before. Does not watch the disk
//! ([`crate::node::room`] does).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::node::disk::Disk;

use super::Wal;
use super::options::{HEADS_MAX_BYTES, SMALL_SHARE};
use super::zeros;

/// Starts that a whole ballast is enough for, if somebody fills the disk again after each.
pub const STARTS_WITHOUT_ROOM: u64 = 3;
/// Pieces of a whole ballast: for each start one that becomes a segment and one for all the rest.
pub const PIECES: u64 = 2 * STARTS_WITHOUT_ROOM;
/// What a start writes beside the log, as a part of a piece, at most.
const FILES_SHARE: u64 = 4;

const PREFIX: &str = "ballast-";
/// A piece that is being made.
const UNFINISHED: &str = "ballast-new";

/// All of it. Shared.
pub struct Ballast {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    piece_bytes: u64,
    /// The numbers of those that are there. Locked while one is made or taken.
    pieces: Mutex<BTreeSet<u64>>,
}

impl Ballast {
    /// What is there of it.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> io::Result<Ballast> {
        let small_bytes = (segment_bytes / SMALL_SHARE).max(2 * HEADS_MAX_BYTES as u64);
        let piece_bytes = small_bytes.min(segment_bytes);
        let mut pieces = BTreeSet::new();
        for name in disk.list(dir)?.iter().filter(|name| name.starts_with(PREFIX)) {
            let number = name[PREFIX.len()..].parse().ok().filter(|number| *number < PIECES);
            match number {
                Some(number) if disk.open(&dir.join(name), false)?.len()? == piece_bytes => {
                    pieces.insert(number);
                }
                // Half made, or of a log with other segments.
                _ => disk.remove(&dir.join(name))?,
            }
        }
        Ok(Ballast { disk, dir: dir.to_owned(), piece_bytes, pieces: Mutex::new(pieces) })
    }

    /// The file of one, to become a segment that needs so many bytes; whoever gets it gives it another name.
    pub fn take(&self, bytes: u64) -> Option<PathBuf> {
        let number = if bytes <= self.piece_bytes { self.pieces.lock().pop_last()? } else { return None };
        Some(self.path(number))
    }

    /// Removes one if what a start writes beside the log may find no room.
    pub fn make_way(&self) -> io::Result<()> {
        if self.disk.free_bytes()? >= self.files_bytes() {
            return Ok(());
        }
        let Some(number) = self.pieces.lock().pop_last() else { return Ok(()) };
        self.disk.remove(&self.path(number))?;
        // Until its name is gone for good its blocks may not be had.
        self.disk.sync_dir(&self.dir)
    }

    /// Makes one that is missing, if there is room for it and for what a start writes. True if one was made.
    pub fn make(&self) -> io::Result<bool> {
        let mut pieces = self.pieces.lock();
        let Some(number) = (0..PIECES).find(|number| !pieces.contains(number)) else { return Ok(false) };
        if self.disk.free_bytes()? < self.piece_bytes + self.files_bytes() {
            return Ok(false);
        }
        let unfinished = self.dir.join(UNFINISHED);
        let made = zeros::make(&*self.disk, &unfinished, self.piece_bytes)
            .and_then(|()| self.disk.rename(&unfinished, &self.path(number)))
            .and_then(|()| self.disk.sync_dir(&self.dir));
        match made {
            Ok(()) => {
                pieces.insert(number);
                Ok(true)
            }
            Err(error) => {
                // Best effort: what is left over goes at the next start.
                let _ = self.disk.remove(&unfinished);
                Err(error)
            }
        }
    }

    pub fn piece_bytes(&self) -> u64 {
        self.piece_bytes
    }

    fn files_bytes(&self) -> u64 {
        self.piece_bytes / FILES_SHARE
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{number}"))
    }
}

impl Wal {
    /// Makes a piece of the ballast that is missing, if there is room. Blocks. True if one was made.
    pub fn make_ballast(&self) -> io::Result<bool> {
        self.shared.ballast.make()
    }
}
