//! What the tour wrote, so that it can be found again.
//!
//! Every value follows from its key, so the ledger holds keys only. Promises: a write is in [`Ledger::acknowledged`] only
//! after the cluster said so. Does not: hold the loaded keys; they are all keys up to a number.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How many keys are loaded.
pub const KEYS: u64 = 100_000;
/// Size of a value, in bytes.
pub const VALUE_BYTES: usize = 256;
/// Most writes recorded: at the rate of a laptop several minutes of them.
const WRITES_MAX: usize = 2_000_000;

/// The key with this number.
pub fn key(number: u64) -> String {
    format!("/demo/{number:06}")
}

/// The key of a writer's n-th write, beside the loaded key it belongs to.
pub fn live_key(beside: u64, writer: u64, nth: u64) -> String {
    format!("{}/{writer}/{nth:08}", key(beside))
}

/// The value that belongs to a key.
pub fn value(key: &str) -> Bytes {
    let mut value = vec![0; VALUE_BYTES];
    blake3::Hasher::new().update(key.as_bytes()).finalize_xof().fill(&mut value);
    value.into()
}

/// Writes made while something happened.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
    failed: u64,
    writers: u64,
    at: Vec<Instant>,
}

impl Ledger {
    /// A number that no writer has had.
    pub fn next_writer(&self) -> u64 {
        let mut entries = self.0.lock();
        entries.writers += 1;
        entries.writers
    }

    /// The cluster has just said that it is written. False once the ledger is full.
    pub fn acknowledge(&self, key: String) -> bool {
        let mut entries = self.0.lock();
        // Read under the lock, so that the moments rise.
        let now = Instant::now();
        entries.record(key, now)
    }

    /// Nobody knows.
    pub fn unknown(&self, key: String) {
        self.0.lock().unknown.insert(key);
    }

    /// Certainly not written.
    pub fn fail(&self) {
        self.0.lock().failed += 1;
    }

    /// How many there are of each outcome: acknowledged, unknown, failed.
    pub fn counts(&self) -> (u64, u64, u64) {
        let entries = self.0.lock();
        (entries.acknowledged.len() as u64, entries.unknown.len() as u64, entries.failed)
    }

    pub fn acknowledged(&self) -> BTreeSet<String> {
        self.0.lock().acknowledged.clone()
    }

    pub fn count(&self) -> u64 {
        self.0.lock().acknowledged.len() as u64
    }

    /// True if this key may be found: it was acknowledged, or nobody knows.
    pub fn explains(&self, key: &str) -> bool {
        let entries = self.0.lock();
        entries.acknowledged.contains(key) || entries.unknown.contains(key)
    }

    /// True once a write was acknowledged after `moment` had been over for `margin`.
    pub fn resumed_after(&self, moment: Instant, margin: Duration) -> bool {
        self.0.lock().at.last().is_some_and(|last| *last >= moment + margin)
    }

    /// The longest time without an acknowledged write that ended after `moment`.
    pub fn longest_gap_after(&self, moment: Instant) -> Duration {
        let entries = self.0.lock();
        let pairs = entries.at.windows(2).filter(|pair| pair[1] >= moment);
        pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

impl Entries {
    fn record(&mut self, key: String, now: Instant) -> bool {
        self.acknowledged.insert(key);
        self.at.push(now);
        self.at.len() < WRITES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_one_around_the_kill() {
        let ledger = Ledger::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let write = |ms: u64| assert!(ledger.0.lock().record(ms.to_string(), at(ms)));
        [0, 9_000, 9_010].into_iter().for_each(write);
        let killed = at(9_011);
        assert!(!ledger.resumed_after(killed, Duration::from_secs(1)));
        [10_711, 10_720].into_iter().for_each(write);
        assert_eq!(ledger.longest_gap_after(killed), Duration::from_millis(1_701));
        assert!(ledger.resumed_after(killed, Duration::from_secs(1)));
        assert_eq!(ledger.count(), 5);
    }

    #[test]
    fn keys_sort_by_number_and_values_follow_from_keys() {
        assert!(key(9) < key(10) && key(99_999) < key(100_000));
        assert!(live_key(5, 0, 0) > key(5) && live_key(5, 9, 99_999_999) < key(6));
        assert_eq!(value("a"), value("a"));
        assert_ne!(value("a"), value("b"));
        assert_eq!(value("a").len(), VALUE_BYTES);
    }
}
