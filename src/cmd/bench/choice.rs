//! Which key comes next: among those that are there, or a new one.
//!
//! Promises: a key that is chosen to be read was loaded or its insert acknowledged; each new key is given to one writer
//! at a time, and again if it was not acknowledged, so that no gap stays. Does not: know names or values.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cmd::bench::workload::Distribution;
use crate::cmd::bench::zipfian::{Latest, Scrambled};
use crate::net::chance::Chance;

/// One client's way of choosing keys.
pub enum Choice {
    Uniform { keys: u64 },
    Zipfian(Scrambled),
    Latest(Latest),
}

/// New keys, one after the other, shared by all clients.
pub struct Growth {
    /// All keys below this are there.
    frontier: AtomicU64,
    beyond: Mutex<Beyond>,
}

/// What is going on at and beyond the frontier.
struct Beyond {
    next: u64,
    /// There already, but a key below them is not.
    done: BTreeSet<u64>,
    /// Tried, and not acknowledged.
    again: BTreeSet<u64>,
}

impl Choice {
    /// Among `keys` keys, at least 1.
    pub fn new(distribution: Distribution, keys: u64) -> Choice {
        match distribution {
            Distribution::Uniform => Choice::Uniform { keys },
            Distribution::Zipfian => Choice::Zipfian(Scrambled::new(keys)),
            Distribution::Latest => Choice::Latest(Latest::new(keys)),
        }
    }

    pub fn key(&mut self, growth: &Growth, chance: &Chance) -> u64 {
        match self {
            Choice::Uniform { keys } => chance.between(0, *keys),
            Choice::Zipfian(scrambled) => scrambled.key(chance),
            Choice::Latest(latest) => latest.key(growth.there(), chance),
        }
    }
}

impl Growth {
    /// The keys from 0 to `there` (exclusive) are there.
    pub fn new(there: u64) -> Growth {
        let beyond = Beyond { next: there, done: BTreeSet::new(), again: BTreeSet::new() };
        Growth { frontier: AtomicU64::new(there), beyond: Mutex::new(beyond) }
    }

    /// So many keys are there for sure, without a gap.
    pub fn there(&self) -> u64 {
        self.frontier.load(Ordering::Acquire)
    }

    /// A key to insert.
    pub fn next(&self) -> u64 {
        let mut beyond = self.beyond.lock();
        beyond.again.pop_first().unwrap_or_else(|| {
            beyond.next += 1;
            beyond.next - 1
        })
    }

    /// It was inserted.
    pub fn done(&self, key: u64) {
        let mut beyond = self.beyond.lock();
        beyond.done.insert(key);
        let mut frontier = self.frontier.load(Ordering::Relaxed);
        while beyond.done.remove(&frontier) {
            frontier += 1;
        }
        self.frontier.store(frontier, Ordering::Release);
    }

    /// It may not be there; somebody else shall try.
    pub fn not_done(&self, key: u64) {
        self.beyond.lock().again.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_read_before_all_below_it_are_there() {
        let growth = Growth::new(10);
        let keys = [growth.next(), growth.next(), growth.next()];
        assert_eq!(keys, [10, 11, 12]);
        growth.done(12);
        growth.not_done(10);
        assert_eq!(growth.there(), 10);
        growth.done(11);
        assert_eq!(growth.next(), 10, "the gap is closed first");
        growth.done(10);
        assert_eq!((growth.there(), growth.next()), (13, 13));
    }

    #[test]
    fn choices_stay_among_the_keys_that_are_there() {
        let (growth, chance) = (Growth::new(5), Chance::from_seed(1));
        for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
            let mut choice = Choice::new(distribution, 5);
            let drawn: BTreeSet<u64> = (0..500).map(|_| choice.key(&growth, &chance)).collect();
            assert!(drawn.last().is_some_and(|last| *last < 5), "{distribution:?}: {drawn:?}");
            assert!(drawn.len() >= 4, "{distribution:?}: {drawn:?}");
        }
    }
}
