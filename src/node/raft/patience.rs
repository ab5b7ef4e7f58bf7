//! Patience with a follower that takes no entries for want of room ([`crate::node::wal`]).
//!
//! It answers heartbeats, so openraft would try again five times a second, each time with all that fits into an append.
//! So its line pauses, longer each time, and then sends one append alone; once that is taken all is as ever.
//!
//! Promises: a follower that has room again is sent entries within [`PAUSE_MAX`]; one that never refused is never waited
//! for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

const PAUSE_MIN: Duration = Duration::from_millis(500);
pub const PAUSE_MAX: Duration = Duration::from_secs(8);

/// That of one line. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<Mutex<Option<Pause>>>);

/// Since something was refused, until something is taken.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Patience {
    /// Entries were refused for want of room.
    pub fn refused(&self) {
        let (mut pause, now) = (self.0.lock(), Instant::now());
        let length = match *pause {
            // One of those that were under way.
            Some(pause) if now < pause.until => return,
            Some(pause) => (2 * pause.length).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        *pause = Some(Pause { until: now + length, length });
    }

    /// Something was taken.
    pub fn taken(&self) {
        *self.0.lock() = None;
    }

    /// True if nothing was taken since something was refused.
    pub fn is_tried(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Returns once the pause is over.
    pub async fn wait(self) {
        let until = self.0.lock().map(|pause| pause.until);
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_something_is_taken() {
        let patience = Patience::default();
        for expected_ms in [0, 500, 1000, 2000, 4000, 8000, 8000] {
            let begin = Instant::now();
            patience.clone().wait().await;
            assert_eq!(begin.elapsed().as_millis(), expected_ms);
            patience.refused();
            patience.refused();
        }
        assert!(patience.is_tried());
        patience.taken();
        let begin = Instant::now();
        patience.clone().wait().await;
        assert!(begin.elapsed().is_zero() && !patience.is_tried());
    }
}
