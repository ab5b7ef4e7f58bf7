//! How long writes have waited because the shard's leadership or voters changed.
//!
//! What counts are waits that began before the last change was over. Something else may have held them up just then, so it is an
//! upper bound.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// For so long it is told after a change began, and no change is waited for longer.
const TOLD_FOR: Duration = Duration::from_secs(30);

/// The longest wait for the last change.
#[derive(Debug, Default)]
pub struct Pause {
    /// True for a while after a change has begun: what is looked at by each write.
    counts: AtomicBool,
    change: Mutex<Option<Change>>,
    longest_us: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    begun: Instant,
    /// `None`: it is under way.
    over: Option<Instant>,
}

impl Pause {
    /// A change begins, and is over when what is returned goes: what begins to wait then waits for something else.
    pub fn begin(&self) -> Changing<'_> {
        *self.change.lock() = Some(Change { begun: Instant::now(), over: None });
        self.longest_us.store(0, Ordering::Relaxed);
        self.counts.store(true, Ordering::Relaxed);
        Changing(self)
    }

    /// Something that began then has waited until now.
    pub fn waited(&self, since: Instant) {
        if !self.counts.load(Ordering::Relaxed) {
            return;
        }
        let change = *self.change.lock();
        if change.is_some_and(|change| change.begun.elapsed() > TOLD_FOR) {
            self.counts.store(false, Ordering::Relaxed);
            return;
        }
        if change.is_some_and(|change| change.over.is_none_or(|over| since <= over)) {
            self.longest_us.fetch_max(since.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// The longest so far; 0 if there was no change lately.
    pub fn longest_us(&self) -> u64 {
        if self.change.lock().is_none_or(|change| change.begun.elapsed() > TOLD_FOR) {
            self.counts.store(false, Ordering::Relaxed);
            return 0;
        }
        self.longest_us.load(Ordering::Relaxed)
    }
}

/// A change is under way.
#[must_use]
pub struct Changing<'a>(&'a Pause);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        if let Some(change) = &mut *self.0.change.lock() {
            change.over = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_waits_for_the_last_change_count() {
        let pause = Pause::default();
        let ms = async |ms| tokio::time::sleep(Duration::from_millis(ms)).await;
        let before = Instant::now();
        ms(500).await;
        pause.waited(before);
        assert_eq!(pause.longest_us(), 0, "nothing has changed yet");
        let changing = pause.begin();
        ms(10).await;
        let amid = Instant::now();
        ms(10).await;
        drop(changing);
        let after = Instant::now();
        ms(20).await;
        pause.waited(amid);
        assert_eq!(pause.longest_us(), 30_000, "it began while that was under way");
        ms(100).await;
        pause.waited(after + Duration::from_millis(1));
        assert_eq!(pause.longest_us(), 30_000, "it was over by then");
        let _changing = pause.begin();
        assert_eq!(pause.longest_us(), 0);
        ms(30).await;
        pause.waited(Instant::now() - Duration::from_millis(30));
        assert_eq!(pause.longest_us(), 30_000);
        tokio::time::sleep(2 * TOLD_FOR).await;
        assert_eq!(pause.longest_us(), 0, "that was long ago");
        pause.waited(before);
        assert_eq!(pause.longest_us(), 0);
    }
}
