//! The wall clock: read by the hybrid clock and nothing else. Everything that waits uses `tokio::time`.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Milliseconds since 1970, as this machine believes.
pub trait Wall: Send + Sync + 'static {
    fn now_ms(&self) -> u64;
}

/// The operating system's clock.
pub struct SystemWall;

/// A clock that follows tokio's (possibly paused) time, off by an offset, and gaining or losing while it has a rate.
pub struct SimWall {
    start: Instant,
    start_ms: u64,
    wrong: Mutex<Wrong>,
}

/// How wrong a clock is.
struct Wrong {
    /// Ahead of true time by so much when it was last set (negative: behind).
    offset_ms: i64,
    /// What it has gained a second since then, in milliseconds.
    rate_permille: i64,
    since: Instant,
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
        let start = Instant::now();
        let wrong = Mutex::new(Wrong { offset_ms: 0, rate_permille: 0, since: start });
        SimWall { start, start_ms, wrong }
    }

    /// Sets the clock this far ahead of true time (negative: behind).
    pub fn set_offset_ms(&self, offset_ms: i64) {
        let mut wrong = self.wrong.lock();
        (wrong.offset_ms, wrong.since) = (offset_ms, Instant::now());
    }

    /// From now on it gains so many milliseconds each second (negative: loses them). What it has gained so far stays.
    pub fn set_rate_permille(&self, rate_permille: i64) {
        let mut wrong = self.wrong.lock();
        *wrong = Wrong { offset_ms: wrong.now_ms(), rate_permille, since: Instant::now() };
    }

    /// How far ahead of true time it is (negative: behind).
    pub fn offset_ms(&self) -> i64 {
        self.wrong.lock().now_ms()
    }
}

impl Wrong {
    fn now_ms(&self) -> i64 {
        self.offset_ms + self.rate_permille * self.since.elapsed().as_millis() as i64 / 1000
    }
}

impl Wall for SimWall {
    fn now_ms(&self) -> u64 {
        let true_ms = self.start_ms + self.start.elapsed().as_millis() as u64;
        true_ms.saturating_add_signed(self.offset_ms())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_gains_and_loses_at_its_rate_and_keeps_what_it_has_gathered() {
        let wall = SimWall::new(1_000_000);
        wall.set_offset_ms(-30);
        wall.set_rate_permille(50);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!((wall.now_ms(), wall.offset_ms()), (1_004_170, 170));
        wall.set_rate_permille(-10);
        tokio::time::sleep(Duration::from_secs(2)).await;
        wall.set_rate_permille(0);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!((wall.now_ms(), wall.offset_ms()), (1_015_150, 150));
        wall.set_offset_ms(0);
        assert_eq!(wall.now_ms(), 1_015_000);
    }
}
