//! The wall clock: read by the hybrid clock and nothing else. Everything that waits uses `tokio::time`.

use std::sync::atomic::{AtomicI64, Ordering};

/// Milliseconds since 1970, as this machine believes.
pub trait Wall: Send + Sync + 'static {
    fn now_ms(&self) -> u64;
}

/// The operating system's clock.
pub struct SystemWall;

/// A clock that follows tokio's (possibly paused) time, off by an offset.
pub struct SimWall {
    start: tokio::time::Instant,
    start_ms: u64,
    offset_ms: AtomicI64,
}

impl Wall for SystemWall {
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }
}

impl SimWall {
    /// Shows `start_ms` now.
    pub fn new(start_ms: u64) -> SimWall {
        SimWall { start: tokio::time::Instant::now(), start_ms, offset_ms: AtomicI64::new(0) }
    }

    /// Sets the clock this far ahead of true time (negative: behind).
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

impl Wall for SimWall {
    fn now_ms(&self) -> u64 {
        let true_ms = self.start_ms + self.start.elapsed().as_millis() as u64;
        true_ms.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }
}
