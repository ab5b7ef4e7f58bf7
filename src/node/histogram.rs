//! A histogram cheap enough to be always on: two atomic additions an observation, no lock and no look-up.
//!
//! What is observed is a whole number (nanoseconds, bytes, entries). The bounds of the buckets grow by a power of two, so
//! that a bucket is found by counting leading zeros. `benches/observe` measures it.
//!
//! Promises: an observation is in exactly one bucket. Does not promise that sum and buckets, read while others observe, are
//! of the same moment; and does not know what it is a histogram of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bound of the first bucket of [`Histogram::of_seconds`], in nanoseconds; each further one's is twice as large.
pub const SECONDS_FIRST_NS: u64 = 100_000;

/// How many observations were how large.
#[derive(Debug)]
pub struct Histogram {
    /// The bound of the first bucket, inclusive.
    first: u64,
    /// Each bound is that of the bucket before, shifted by so much.
    shift: u32,
    /// What is observed, as a part of what is told: a nanosecond of a second.
    unit: f64,
    /// The last one has no bound.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Each bucket's bound, inclusive, and what is in it alone; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    pub sum: f64,
    pub count: u64,
}

impl Histogram {
    /// Of times, told in seconds: from 100 µs to 13 s, doubling.
    pub fn of_seconds() -> Histogram {
        Histogram::new(SECONDS_FIRST_NS, 1, 18, 1e-9)
    }

    /// Of times, told in seconds, where there are many such histograms: from 250 µs to 16 s in steps of four.
    pub fn of_seconds_coarse() -> Histogram {
        Histogram::new(250_000, 2, 9, 1e-9)
    }

    /// Of numbers of things: from 1 to 16,384, in steps of four.
    pub fn of_numbers() -> Histogram {
        Histogram::new(1, 2, 8, 1.0)
    }

    /// Of sizes in bytes: from 512 B to 8 MiB, in steps of four.
    pub fn of_bytes() -> Histogram {
        Histogram::new(512, 2, 8, 1.0)
    }

    /// `bounded` buckets with a bound, the first at `first`, each the one before times 2 to the `shift`.
    fn new(first: u64, shift: u32, bounded: usize, unit: f64) -> Histogram {
        let last_shift = shift * (bounded as u32 - 1);
        assert!(first > 0 && first.leading_zeros() > last_shift, "every bound is a number");
        let buckets = (0..=bounded).map(|_| AtomicU64::new(0)).collect();
        Histogram { first, shift, unit, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts one observation.
    pub fn observe(&self, value: u64) {
        self.buckets[self.bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts one observation of a time; of one made by [`Histogram::of_seconds`] or its like.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    fn bucket(&self, value: u64) -> usize {
        let doublings = u64::BITS - (value.saturating_sub(1) / self.first).leading_zeros();
        (doublings.div_ceil(self.shift) as usize).min(self.buckets.len() - 1)
    }

    /// How many were in each bucket, the smallest first.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.counts().sum()
    }

    /// What was observed until now.
    pub fn read(&self) -> Reading {
        let last = self.buckets.len() - 1;
        let bound = |n: usize| match n == last {
            true => f64::INFINITY,
            // Rounded, so that a bound reads 0.0001 and not 0.00009999999999999999.
            false => rounded((self.first << (self.shift * n as u32)) as f64 * self.unit),
        };
        let buckets: Vec<_> =
            (0..=last).map(|n| (bound(n), self.buckets[n].load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Reading { buckets, sum: self.sum.load(Ordering::Relaxed) as f64 * self.unit, count }
    }
}

/// To a nanosecond.
fn rounded(bound: f64) -> f64 {
    (bound * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observation_is_in_the_one_bucket_whose_bounds_are_around_it() {
        for (first, shift, bounded) in [(1, 1, 10), (1, 2, 8), (3, 1, 20), (100_000, 1, 18), (512, 3, 5)] {
            let histogram = Histogram::new(first, shift, bounded, 1.0);
            let bounds: Vec<f64> = histogram.read().buckets.iter().map(|(bound, _)| *bound).collect();
            assert!(bounds.is_sorted() && bounds[0] == first as f64 && bounds[bounded].is_infinite());
            let around = bounds[..bounded]
                .iter()
                .flat_map(|bound| [*bound as u64 - 1, *bound as u64, *bound as u64 + 1]);
            for value in around.chain([0, 1, 2, u64::MAX >> 12]) {
                let right = bounds.iter().position(|bound| value as f64 <= *bound).unwrap();
                assert_eq!(histogram.bucket(value), right, "{value} of {bounds:?}");
            }
        }
    }

    #[test]
    fn times_are_told_in_seconds() {
        let histogram = Histogram::of_seconds();
        for ms in [0, 1, 20_000] {
            histogram.observe_time(Duration::from_millis(ms));
        }
        let read = histogram.read();
        assert!((read.sum - 20.001).abs() < 1e-6 && read.count == 3 && histogram.count() == 3, "{read:?}");
        let filled: Vec<_> = read.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [&(0.0001, 1), &(0.0016, 1), &(f64::INFINITY, 1)]);
    }
}
