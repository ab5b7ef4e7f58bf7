//! How long writes have waited because the shard's leadership or voters changed.
//!
//! Counted from the beginning of the last change on, for a while; what is told is an upper bound.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What waits later than this after a change began waits for something else.
const COUNTED_FOR: Duration = Duration::from_secs(30);

/// The longest wait since the last change began.
#[derive(Debug, Default)]
pub struct Pause {
    /// True for a while after a change has begun: what is looked at by each write.
    counts: AtomicBool,
    begun: Mutex<Option<Instant>>,
    longest_us: AtomicU64,
}

impl Pause {
    /// A change begins.
    pub fn begin(&self) {
        *self.begun.lock() = Some(Instant::now());
        self.longest_us.store(0, Ordering::Relaxed);
        self.counts.store(true, Ordering::Relaxed);
    }

    /// Something has waited.
    pub fn waited(&self, time: Duration) {
        if self.counts.load(Ordering::Relaxed) {
            self.longest_us.fetch_max(time.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// The longest so far; 0 if there was no change lately.
    pub fn longest_us(&self) -> u64 {
        if self.begun.lock().is_none_or(|begun| begun.elapsed() > COUNTED_FOR) {
            self.counts.store(false, Ordering::Relaxed);
            return 0;
        }
        self.longest_us.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_waits_since_the_last_change_count() {
        let pause = Pause::default();
        pause.waited(Duration::from_secs(1));
        assert_eq!(pause.longest_us(), 0, "nothing has changed yet");
        pause.begin();
        pause.waited(Duration::from_micros(30));
        pause.waited(Duration::from_micros(20));
        assert_eq!(pause.longest_us(), 30);
        pause.begin();
        assert_eq!(pause.longest_us(), 0);
        pause.waited(Duration::from_micros(30));
        tokio::time::sleep(2 * COUNTED_FOR).await;
        assert_eq!(pause.longest_us(), 0, "that was long ago");
        pause.waited(Duration::from_secs(1));
        assert_eq!(pause.longest_us(), 0);
    }
}
