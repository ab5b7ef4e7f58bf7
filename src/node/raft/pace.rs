//! How fast this node copies shards, by files and by what is in their logs: all together, as the cluster's settings say.
//!
//! A bucket without a store: whoever has been let go early makes those behind it wait, so an idle node saves nothing up.
//!
//! Promises: no more than `migration_bytes_per_s` over any second, but for one chunk; a new setting holds within a second,
//! for what waits too. Does not limit what is written meanwhile (see [`super::catch_up`]).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::config::Settings;

/// Nobody sleeps for longer without looking at the rate again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lets through so much a second. Clones are one.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// When what was let go is paid for, and how much the last was, in bytes.
    paid: Arc<Mutex<(Instant, u64)>>,
}

/// Shared by all transfers of a node. Clones are one.
#[derive(Clone)]
pub struct Pace {
    settings: watch::Receiver<Settings>,
    bucket: Bucket,
}

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket { paid: Arc::new(Mutex::new((Instant::now(), 0))) }
    }
}

impl Bucket {
    /// Returns when so many bytes may be sent at `per_s` bytes a second, which is asked for again and again; 0: at any rate.
    pub async fn admit(&self, bytes: u64, per_s: impl Fn() -> u64) {
        loop {
            let per_s = per_s();
            let now = Instant::now();
            let due = {
                let mut paid = self.paid.lock();
                let (until, last) = *paid;
                let costs = |bytes: u64| Duration::from_secs_f64(bytes as f64 / per_s.max(1) as f64);
                if per_s == 0 || until <= now {
                    *paid = if per_s == 0 { (now, bytes) } else { (now + costs(bytes), bytes) };
                    return;
                }
                // What was let go at an old rate is not held against a new one for longer than it takes at that.
                paid.0 = until.min(now + costs(last));
                paid.0
            };
            sleep_until(due.min(now + LOOK_EVERY)).await;
        }
    }
}

impl Pace {
    pub fn new(settings: watch::Receiver<Settings>) -> Pace {
        Pace { settings, bucket: Bucket::default() }
    }

    /// Returns when so many bytes may be sent.
    pub async fn admit(&self, bytes: u64) {
        self.bucket.admit(bytes, || self.settings.borrow().migration_bytes_per_s).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(per_s: u64) -> Settings {
        Settings { migration_bytes_per_s: per_s, ..Settings::default() }
    }

    /// How long it takes to send so many KiB, one at a time, over two transfers.
    async fn send(pace: &Pace, kib: u64) -> Duration {
        let begin = Instant::now();
        let one = async {
            for _ in 0..kib / 2 {
                pace.admit(1 << 10).await;
            }
        };
        let other = async {
            for _ in 0..kib / 2 {
                pace.admit(1 << 10).await;
            }
        };
        tokio::join!(one, other);
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_are_as_fast_as_allowed() {
        let (setting, settings) = watch::channel(at(0));
        let pace = Pace::new(settings);
        assert_eq!(send(&pace, 1000).await, Duration::ZERO);
        setting.send_replace(at(100 << 10));
        let took = send(&pace, 1000).await.as_secs_f64();
        assert!((9.8..10.2).contains(&took), "{took} s");
        // It has saved nothing up.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let took = send(&pace, 100).await.as_secs_f64();
        assert!((0.9..1.1).contains(&took), "{took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_small_does_not_pay_for_what_is_large() {
        let (_setting, settings) = watch::channel(at(100 << 10));
        let (pace, begin) = (Pace::new(settings), Instant::now());
        for _ in 0..10 {
            pace.admit(100 << 10).await;
            pace.admit(1).await;
        }
        assert!(begin.elapsed().as_secs_f64() > 9.0, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_setting_holds_for_who_waits() {
        let (setting, settings) = watch::channel(at(1));
        let pace = Pace::new(settings);
        pace.admit(1 << 20).await;
        let begin = Instant::now();
        let waits = tokio::spawn(async move { pace.admit(1 << 20).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!waits.is_finished());
        setting.send_replace(at(0));
        waits.await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(6));
    }
}
