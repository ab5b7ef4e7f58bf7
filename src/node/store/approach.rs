//! How near the copy made for a split is to what the shard holds, for those who do not hold the writer's place.
//!
//! What the copy lacks at the moment of the split is written while clients wait for the new shard's keys. So while writes come
//! in faster than they are written to the copy, each is let in a little later, up to a bound, until the copy is near; and flushes of
//! the shard wait, since the split would wait for them.
//!
//! ## Invariants and what guards each
//!
//! - Nobody is slowed down for a split that nobody asks for any more: guarded by
//!   `tests::who_is_not_asked_for_slows_nobody_down`.
//! - A copy that is near lacks little, however long that takes: guarded by `tests::a_copy_is_near_that_lacks_little`.
//! - A write waits no longer than the bound: guarded by `tests::what_does_not_come_nearer_is_slowed_down_up_to_a_bound`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Memory that rows take which the copy lacks, at most, for it to be near: a thousand rows or some thousands.
const NEAR_BYTES: usize = 3 << 19;
/// So often it is asked for until that is doubled, and how often that happens: not all replicas may be so near at one moment.
const PATIENCE: u64 = 10;
const DOUBLED_MAX: u64 = 2;
/// The first wait of a write, and the longest.
const PACE_MIN_US: u64 = 2_000;
const PACE_MAX_US: u64 = 100_000;
/// Whoever wants the split asks several times a second.
const ASKED_FOR: Duration = Duration::from_secs(3);
/// A copy that nobody has asked for so long is given up: every flush writes to it, too.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// There is no copy.
const NONE: u64 = u64::MAX;

/// Read by many, changed by whoever makes the copy.
pub(super) struct Approach {
    start: Instant,
    /// When somebody asked for it last, in milliseconds since `start`.
    asked_ms: AtomicU64,
    /// How often, for one split.
    asked: AtomicU64,
    /// It is being made, or brought nearer.
    is_coming: AtomicBool,
    pace_us: AtomicU64,
    /// What the memtables took when all that they held was in the copy.
    known_bytes: AtomicU64,
}

impl Approach {
    pub fn new() -> Approach {
        Approach {
            start: Instant::now(),
            asked_ms: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            is_coming: AtomicBool::new(false),
            pace_us: AtomicU64::new(0),
            known_bytes: AtomicU64::new(NONE),
        }
    }

    /// Somebody wants to split the shard.
    pub fn ask(&self) {
        self.asked_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        if self.is_there() {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a copy lacks at most that is near, in bytes.
    pub fn near_bytes(&self) -> usize {
        NEAR_BYTES << (self.asked.load(Ordering::Relaxed) / PATIENCE).min(DOUBLED_MAX)
    }

    fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.asked_ms.load(Ordering::Relaxed)))
    }

    /// Somebody begins to make a copy or to bring it nearer, or is done with that.
    pub fn come(&self, is_coming: bool) {
        self.is_coming.store(is_coming, Ordering::Release);
    }

    /// There is a copy, which has all that the memtables had when they took so many bytes.
    pub fn reached(&self, memory_bytes: usize) {
        self.known_bytes.store(memory_bytes as u64, Ordering::Release);
    }

    /// There is none any more, or it is being written to.
    pub fn clear(&self) {
        self.known_bytes.store(NONE, Ordering::Release);
    }

    /// True while there is a copy.
    pub fn is_there(&self) -> bool {
        self.known_bytes.load(Ordering::Acquire) != NONE
    }

    /// True if the copy lacks little, now that the memtables take so many bytes.
    pub fn is_near(&self, memory_bytes: usize) -> bool {
        let known_bytes = self.known_bytes.load(Ordering::Acquire);
        known_bytes != NONE && memory_bytes.saturating_sub(known_bytes as usize) <= self.near_bytes()
    }

    /// True if so little would be left to do that it need not be done before the split.
    pub fn would_be_near(&self, lacks_bytes: usize) -> bool {
        lacks_bytes <= self.near_bytes() / 2
    }

    /// True if a split is about to come: it, and whoever prepares it, would wait for whoever writes the file.
    pub fn is_close(&self) -> bool {
        (self.is_there() || self.is_coming.load(Ordering::Acquire)) && self.silence() < ASKED_FOR
    }

    /// True if nobody wants the copy any more.
    pub fn is_forgotten(&self) -> bool {
        self.silence() > KEPT_FOR
    }

    /// The copy lacked `before` bytes; now that these are in it, it lacks `now`.
    pub fn came_nearer(&self, before: usize, now: usize) {
        let pace_us = self.pace_us.load(Ordering::Relaxed);
        if now > self.near_bytes() && now > before / 2 {
            self.pace_us.store((2 * pace_us).clamp(PACE_MIN_US, PACE_MAX_US), Ordering::Relaxed);
        }
    }

    /// Nothing is to be caught up with any more.
    pub fn let_go(&self) {
        self.pace_us.store(0, Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
    }

    /// How long a write waits before it is let in.
    pub fn pace(&self) -> Duration {
        match self.pace_us.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ if self.silence() > ASKED_FOR => Duration::ZERO,
            pace_us => Duration::from_micros(pace_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 10 * NEAR_BYTES;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_nearer_is_slowed_down_up_to_a_bound() {
        let approach = Approach::new();
        approach.ask();
        approach.came_nearer(MANY, MANY / 3);
        assert_eq!(approach.pace(), Duration::ZERO, "it comes nearer by itself");
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            approach.came_nearer(MANY, MANY);
            assert!(approach.pace() >= last && approach.pace() <= Duration::from_micros(PACE_MAX_US));
            last = approach.pace();
        }
        assert_eq!(last, Duration::from_micros(PACE_MAX_US));
        approach.came_nearer(MANY, NEAR_BYTES);
        assert_eq!(approach.pace(), last, "it stays so until the split");
        approach.let_go();
        assert_eq!(approach.pace(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_asked_for_slows_nobody_down() {
        let approach = Approach::new();
        approach.ask();
        approach.reached(MANY);
        approach.came_nearer(MANY, MANY);
        assert!(approach.is_close() && !approach.pace().is_zero());
        tokio::time::advance(ASKED_FOR + Duration::from_millis(1)).await;
        assert!(!approach.is_close() && approach.pace().is_zero() && !approach.is_forgotten());
        tokio::time::advance(KEPT_FOR).await;
        assert!(approach.is_forgotten());
    }

    #[test]
    fn a_copy_is_near_that_lacks_little() {
        let approach = Approach::new();
        assert!(!approach.is_near(0), "there is none");
        approach.reached(MANY);
        assert!(approach.is_near(MANY + NEAR_BYTES) && !approach.is_near(MANY + NEAR_BYTES + 1));
        approach.reached(0);
        assert!(!approach.is_near(MANY), "what is in memory came after the flush");
        (0..PATIENCE).for_each(|_| approach.ask());
        assert!(!approach.is_near(MANY), "while it is being made nobody's patience is tried");
        approach.reached(MANY);
        (0..PATIENCE).for_each(|_| approach.ask());
        assert!(approach.is_near(MANY + 2 * NEAR_BYTES), "nobody is to wait for ever");
        approach.let_go();
        assert!(!approach.is_near(MANY + 2 * NEAR_BYTES));
        approach.clear();
        assert!(!approach.is_near(0) && !approach.is_there());
    }
}
