//! A node's hybrid clock: one for all its shards.
//!
//! Promises: [`Clock::take`] never gives a timestamp twice, nor one at or below any timestamp this node has merged. Does
//! not promise to be right about the time.
//!
//! ## Invariants and what guards each
//!
//! - No timestamp is given twice, or at or below one that was merged, whatever the wall clock does: guarded by
//!   `model::time::tests::taken_timestamps_never_overlap`,
//!   `model::time::tests::a_clock_that_falls_back_reuses_nothing`.
//! - What lies beyond the clock bound is not merged; a wrong clock drags nobody along: guarded by
//!   `model::time::tests::the_far_future_is_refused`, `sim_cluster::a_clock_an_hour_ahead_is_left_alone`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::model::time::{ClockTooFarAhead, Hlc, Timestamp};

use super::wall::Wall;

/// Shared; cheap to clone.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Wall>,
    hlc: Arc<Mutex<Hlc>>,
    applied: Arc<AtomicU64>,
    refused: Counter,
}

impl Clock {
    /// A clock over `wall` that has seen nothing yet.
    pub fn new(wall: Arc<dyn Wall>) -> Clock {
        Clock {
            wall,
            hlc: Arc::new(Mutex::new(Hlc::default())),
            applied: Arc::default(),
            refused: Counter::default(),
        }
    }

    /// `n` consecutive fresh timestamps; returns the first.
    pub fn take(&self, n: u64) -> Timestamp {
        self.hlc.lock().take(self.wall.now_ms(), n)
    }

    /// Moves past a timestamp this node vouches for itself.
    pub fn advance(&self, seen: Timestamp) {
        self.hlc.lock().advance(seen);
    }

    /// Moves past the timestamp of something applied here.
    pub fn applied(&self, stamp: Timestamp) {
        self.applied.fetch_max(stamp.0, Ordering::Relaxed);
        self.advance(stamp);
    }

    /// The highest timestamp applied here: what clients are told. Unlike the clock's own time it was believed by a majority,
    /// so a node whose clock is wrong misleads nobody with it.
    pub fn highest_applied(&self) -> Timestamp {
        Timestamp(self.applied.load(Ordering::Relaxed))
    }

    /// Moves past a timestamp from another node, if it is believable.
    pub fn merge(&self, seen: Timestamp) -> Result<(), ClockTooFarAhead> {
        self.hlc.lock().merge(seen, self.wall.now_ms()).inspect_err(|_| _ = self.refused.inc())
    }

    /// Timestamps that were not believed, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.hlc.lock().now(self.wall.now_ms())
    }

    /// The wall clock's milliseconds, for records that people read.
    pub fn wall_ms(&self) -> u64 {
        self.wall.now_ms()
    }
}
