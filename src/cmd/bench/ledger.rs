//! What was written and acknowledged, so that it can be found again.
//!
//! Of each key that was written: the acknowledged write with the highest timestamp (timestamps of one key rise in the
//! order in which its writes took effect, so that is the write to be found in the end), the highest timestamp that any
//! answer showed, and the writes nobody knows about. Of each number: the least and the greatest acknowledged sum, and
//! how many additions were acknowledged or are unknown.
//!
//! Promises: bounded ([`KEYS_MAX`]); clients seldom wait for each other. Does not: keep writes that a later one of the
//! same key replaced.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cmd::bench::value::Origin;
use crate::model::time::Timestamp;

/// Most keys and unknown writes recorded; about 100 bytes of memory each.
pub const KEYS_MAX: u64 = 20_000_000;
/// Parts that are locked apart.
const STRIPES: u64 = 64;

/// What is known of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The newest acknowledged write of this run.
    pub acknowledged: Option<(Timestamp, Origin)>,
    /// The highest timestamp seen in any answer; reads from now on must not be older.
    pub seen: Timestamp,
    /// Writes that may have been done.
    pub unknown: Vec<Origin>,
}

/// What is known of one number, to which only ones are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub least: i64,
    pub greatest: i64,
    pub acknowledged: u64,
    pub unknown: u64,
}

/// The records of all keys.
pub struct Ledger {
    stripes: Vec<Mutex<Stripe>>,
    recorded: AtomicU64,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    full: AtomicBool,
}

#[derive(Default)]
struct Stripe {
    values: HashMap<u64, Record>,
    numbers: HashMap<u64, Counted>,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            recorded: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }
}

impl Ledger {
    /// A write was acknowledged.
    pub fn acknowledge(&self, key: u64, stamp: Timestamp, origin: Origin) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.value(key, |record| {
            record.seen = record.seen.max(stamp);
            if record.acknowledged.is_none_or(|(newest, _)| newest < stamp) {
                record.acknowledged = Some((stamp, origin));
            }
        });
    }

    /// A write may have been done.
    pub fn doubt(&self, key: u64, origin: Origin) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
        self.grow();
        self.value(key, |record| record.unknown.push(origin));
    }

    /// Somebody was shown a version.
    pub fn see(&self, key: u64, stamp: Timestamp) {
        self.value(key, |record| record.seen = record.seen.max(stamp));
    }

    /// The newest version anybody was shown; zero if nobody was.
    pub fn seen(&self, key: u64) -> Timestamp {
        let stripe = self.stripe(key).lock();
        stripe.values.get(&key).map_or(Timestamp::ZERO, |record| record.seen)
    }

    /// An addition of one was acknowledged with this sum.
    pub fn count(&self, number: u64, sum: i64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.number(number, |counted| {
            let first = counted.acknowledged == 0;
            counted.least = if first { sum } else { counted.least.min(sum) };
            counted.greatest = if first { sum } else { counted.greatest.max(sum) };
            counted.acknowledged += 1;
        });
    }

    /// An addition of one may have been done.
    pub fn doubt_count(&self, number: u64) {
        self.unknown.fetch_add(1, Ordering::Relaxed);
        self.number(number, |counted| counted.unknown += 1);
    }

    /// Takes out what is known of a key.
    pub fn take(&self, key: u64) -> Record {
        self.stripe(key).lock().values.remove(&key).unwrap_or_default()
    }

    /// Takes out what is known of a number.
    pub fn take_number(&self, number: u64) -> Counted {
        self.stripe(number).lock().numbers.remove(&number).unwrap_or_default()
    }

    /// Keys from `from` on and numbers, not taken out, that have something acknowledged: how many, and the lowest of each.
    pub fn left(&self, from: u64) -> (u64, Option<u64>, Option<u64>) {
        let (mut count, mut key, mut number) = (0, None::<u64>, None::<u64>);
        let least = |least: Option<u64>, found: u64| Some(least.map_or(found, |least| least.min(found)));
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            let values = stripe.values.iter().filter(|(key, _)| **key >= from);
            for (found, _) in values.filter(|(_, record)| record.acknowledged.is_some()) {
                (count, key) = (count + 1, least(key, *found));
            }
            for (found, _) in stripe.numbers.iter().filter(|(_, counted)| counted.acknowledged > 0) {
                (count, number) = (count + 1, least(number, *found));
            }
        }
        (count, key, number)
    }

    /// How many writes were acknowledged, and of how many nobody knows.
    pub fn writes(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.unknown.load(Ordering::Relaxed))
    }

    /// True if no more should be written.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn stripe(&self, key: u64) -> &Mutex<Stripe> {
        &self.stripes[(key % STRIPES) as usize]
    }

    fn value(&self, key: u64, change: impl FnOnce(&mut Record)) {
        let mut stripe = self.stripe(key).lock();
        change(stripe.values.entry(key).or_insert_with(|| {
            self.grow();
            Record::default()
        }));
    }

    fn number(&self, number: u64, change: impl FnOnce(&mut Counted)) {
        let mut stripe = self.stripe(number).lock();
        change(stripe.numbers.entry(number).or_insert_with(|| {
            self.grow();
            Counted::default()
        }));
    }

    fn grow(&self) {
        if self.recorded.fetch_add(1, Ordering::Relaxed) >= KEYS_MAX {
            self.full.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(sequence: u64) -> Origin {
        Origin { run: 1, writer: 0, sequence }
    }

    #[test]
    fn the_newest_acknowledged_write_is_kept_in_whatever_order_answers_come() {
        let ledger = Ledger::default();
        ledger.acknowledge(7, Timestamp(20), origin(2));
        ledger.acknowledge(7, Timestamp(10), origin(1));
        ledger.see(7, Timestamp(30));
        ledger.doubt(7, origin(3));
        assert_eq!((ledger.seen(7), ledger.seen(8)), (Timestamp(30), Timestamp::ZERO));
        assert_eq!((ledger.writes(), ledger.left(0)), ((2, 1), (1, Some(7), None)));
        let record = ledger.take(7);
        assert_eq!(record.acknowledged, Some((Timestamp(20), origin(2))));
        assert_eq!((record.seen, record.unknown), (Timestamp(30), vec![origin(3)]));
        assert_eq!((ledger.left(0), ledger.take(7)), ((0, None, None), Record::default()));
    }

    #[test]
    fn sums_are_kept_by_their_bounds() {
        let ledger = Ledger::default();
        [5, 4, 7].into_iter().for_each(|sum| ledger.count(3, sum));
        ledger.doubt_count(3);
        assert_eq!(ledger.left(0), (1, None, Some(3)));
        let counted = Counted { least: 4, greatest: 7, acknowledged: 3, unknown: 1 };
        assert_eq!(ledger.take_number(3), counted);
        assert!(!ledger.is_full());
    }
}
