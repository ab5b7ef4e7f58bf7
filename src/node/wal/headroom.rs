//! Headroom: what the log can still take where the disk is nearly full.
//!
//! A log that must write and finds no room stops its node. So whoever brings entries asks first ([`GroupLog::admit`]):
//! a leader before it proposes, a follower before it takes in what its leader sends. What is refused changes nothing, and
//! may be brought again. A part is kept for what nobody can refuse: votes, the blank entry with which a leadership begins,
//! and the records that entries go.
//!
//! Promises: while the disk has what it had when last looked at, nothing that was admitted finds no room. What counts is
//! what is there, each by itself and not the sum, since an entry is in one segment: the rest of the segment being written,
//! half of one that is ready (a full disk has older entries copied into it first), or half of what is free on the disk
//! beyond two small segments. So deletes go on where the disk has not a byte left, as far as the log's own files reach.
//!
//! Relies on being told of the disk often ([`crate::node::room`]). Does not know what an entry is; the ballast is no
//! part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{GroupLog, Shared, Wal};

/// The part of a segment that is kept, and the least, in bytes: room for some dozens of votes.
const KEPT_SHARE: u64 = 64;
const KEPT_MIN_BYTES: u64 = 32 << 10;
/// Of a small segment at most this part.
const KEPT_MAX_SHARE: u64 = 4;
/// It is said to have room again with so many times what is kept.
const RELIEF: u64 = 8;
/// Heads, and sectors that are not full, beside what is admitted at once; in bytes.
const HEADS_BYTES: u64 = 2 << 10;

/// The log has no room for entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its disk is full: the log has room for {} KiB, and {} KiB of it are kept for elections",
    headroom_bytes >> 10,
    kept_bytes >> 10
)]
pub struct NoHeadroom {
    pub headroom_bytes: u64,
    pub kept_bytes: u64,
}

/// Shared by the committer, who says what the log has, and those who bring something.
#[derive(Debug)]
pub struct Headroom {
    kept_bytes: u64,
    /// Of a small segment.
    small_bytes: u64,
    /// Of the segment being written.
    left_bytes: AtomicU64,
    /// Of a file that is ready to be the next one; 0: there is none.
    ready_bytes: AtomicU64,
    /// Free on the disk, when last looked.
    free_bytes: AtomicU64,
    /// Admitted, and not written yet.
    coming_bytes: AtomicU64,
    /// Was said.
    refuses: AtomicBool,
}

/// Leave to bring so many bytes; held until they are on disk.
pub struct Admitted {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Headroom {
    pub fn new(segment_bytes: u64, small_bytes: u64, free_bytes: u64) -> Headroom {
        let kept_bytes = (segment_bytes / KEPT_SHARE).max(KEPT_MIN_BYTES);
        Headroom {
            kept_bytes: kept_bytes.min(small_bytes / KEPT_MAX_SHARE),
            small_bytes,
            left_bytes: AtomicU64::new(0),
            ready_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(free_bytes),
            coming_bytes: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
        }
    }

    /// What the log's own files have.
    pub fn set_files(&self, left_bytes: u64, ready_bytes: u64) {
        self.left_bytes.store(left_bytes, Ordering::Relaxed);
        self.ready_bytes.store(ready_bytes, Ordering::Relaxed);
    }

    pub fn set_free(&self, free_bytes: u64) {
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
    }

    /// The largest entry for which there would be room, if nothing else came.
    fn bytes(&self) -> u64 {
        let beyond_bytes = self.free_bytes.load(Ordering::Relaxed).saturating_sub(2 * self.small_bytes);
        let next_bytes = self.ready_bytes.load(Ordering::Relaxed).max(beyond_bytes) / 2;
        self.left_bytes.load(Ordering::Relaxed).max(next_bytes)
    }

    fn admit(&self, bytes: u64) -> Result<(), NoHeadroom> {
        let coming_bytes = self.coming_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let (headroom_bytes, kept_bytes) = (self.bytes(), self.kept_bytes);
        let fits = coming_bytes + kept_bytes <= headroom_bytes;
        if !fits {
            self.leave(bytes);
        }
        if !fits && !self.refuses.swap(true, Ordering::Relaxed) {
            tracing::error!(headroom_bytes, "the disk is full: the log takes no entries");
        }
        // Well beyond: what is small may fit where what is large does not.
        let is_relieved = fits && headroom_bytes >= RELIEF * kept_bytes;
        if is_relieved && self.refuses.load(Ordering::Relaxed) && self.refuses.swap(false, Ordering::Relaxed)
        {
            tracing::info!("the log has room for entries again");
        }
        if fits { Ok(()) } else { Err(NoHeadroom { headroom_bytes, kept_bytes }) }
    }

    fn leave(&self, bytes: u64) {
        self.coming_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.headroom.leave(self.bytes);
    }
}

impl Wal {
    /// So much is free on the disk.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.shared.headroom.set_free(free_bytes);
    }
}

impl GroupLog {
    /// Leave to append so many bytes, and what their frames take.
    ///
    /// # Errors
    /// If the log has no room for them; nothing changed.
    pub fn admit(&self, bytes: u64) -> Result<Admitted, NoHeadroom> {
        let shared = &self.wal.shared;
        let bytes = bytes + HEADS_BYTES;
        shared.headroom.admit(bytes).inspect_err(|_| _ = shared.counts.refused.inc())?;
        Ok(Admitted { shared: shared.clone(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn headroom() -> Headroom {
        Headroom::new(64 * MIB, 4 * MIB, 0)
    }

    #[test]
    fn what_is_there_counts_each_by_itself() {
        let headroom = headroom();
        assert_eq!(headroom.admit(1), Err(NoHeadroom { headroom_bytes: 0, kept_bytes: MIB }));
        for (left, ready, free, most) in
            [(3, 0, 0, 2), (3, 64, 0, 31), (3, 0, 8, 2), (3, 0, 28, 9), (40, 64, 28, 39)]
        {
            headroom.set_files(left * MIB, ready * MIB);
            headroom.set_free(free * MIB);
            assert!(headroom.admit(most * MIB + 1).is_err(), "{left} {ready} {free}");
            assert_eq!(headroom.admit(most * MIB), Ok(()), "{left} {ready} {free}");
            headroom.leave(most * MIB);
        }
    }

    #[test]
    fn what_is_on_its_way_counts() {
        let headroom = headroom();
        headroom.set_files(4 * MIB, 0);
        assert_eq!((headroom.admit(MIB), headroom.admit(2 * MIB)), (Ok(()), Ok(())));
        assert!(headroom.admit(1).is_err());
        headroom.leave(MIB);
        assert_eq!(headroom.admit(MIB), Ok(()));
    }
}
