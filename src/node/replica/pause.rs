//! How long writes have waited because the shard's leadership or voters changed.
//!
//! Counted from the beginning of the last change on; so what is told a while after it is an upper bound.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The longest wait since the last change began.
#[derive(Debug, Default)]
pub struct Pause {
    /// False until there was a change.
    counts: AtomicBool,
    longest_us: AtomicU64,
}

impl Pause {
    /// A change begins.
    pub fn begin(&self) {
        self.longest_us.store(0, Ordering::Relaxed);
        self.counts.store(true, Ordering::Relaxed);
    }

    /// Something has waited.
    pub fn waited(&self, time: Duration) {
        if self.counts.load(Ordering::Relaxed) {
            self.longest_us.fetch_max(time.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// The longest so far.
    pub fn longest_us(&self) -> u64 {
        self.longest_us.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_since_the_last_change_count() {
        let pause = Pause::default();
        pause.waited(Duration::from_secs(1));
        assert_eq!(pause.longest_us(), 0, "nothing has changed yet");
        pause.begin();
        pause.waited(Duration::from_micros(30));
        pause.waited(Duration::from_micros(20));
        assert_eq!(pause.longest_us(), 30);
        pause.begin();
        assert_eq!(pause.longest_us(), 0);
    }
}
