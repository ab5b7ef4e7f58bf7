//! How fast a shard is copied while its cluster's clients are to feel little of it.
//!
//! Once a second it is looked how long requests took at the nodes that have to do with the move. While they take longer than they
//! may, the rate is halved; otherwise it grows: doubling until it has been too much once, by a tenth afterwards (the rule of TCP's
//! congestion control, RFC 5681, with the clients' latency in the place of losses).
//!
//! How long they may take is what was asked for, but no less than twice what they took before it began: a copy that stood almost
//! still would not make a cluster any faster that is slow by itself.
//!
//! Promises: never less than [`MIN_BYTES_PER_S`], so that a move comes to its end however slow the cluster is. Does not measure.

/// Copied at least so fast, in bytes a second.
pub const MIN_BYTES_PER_S: u64 = 1 << 20;
/// At first.
const START_BYTES_PER_S: u64 = 16 << 20;
/// Faster than any disk: not limited any more.
const MAX_BYTES_PER_S: u64 = 4 << 30;
/// Of fewer requests nothing can be said.
pub const SAMPLES_MIN: u64 = 100;

/// How long requests may take, where the wish is `keep_us` and they took `before_us` before it began; 0: nobody can say.
pub fn bearable_us(keep_us: u64, before_us: u64) -> u64 {
    keep_us.max(before_us * 2)
}

/// The rate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    pub bytes_per_s: u64,
    /// It has been too much once.
    was_too_much: bool,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing { bytes_per_s: START_BYTES_PER_S, was_too_much: false }
    }
}

impl Pacing {
    /// The rate for the next second, after one in which the 99th percentile was `p99_us`, where `keep_us` is to be kept. `None`:
    /// too few requests to tell; nobody is disturbed.
    #[must_use]
    pub fn after(self, p99_us: Option<u64>, keep_us: u64) -> Pacing {
        let is_too_much = p99_us.is_some_and(|p99_us| p99_us > keep_us);
        let bytes_per_s = match (is_too_much, self.was_too_much) {
            (true, _) => self.bytes_per_s / 2,
            (false, false) => self.bytes_per_s * 2,
            (false, true) => self.bytes_per_s + self.bytes_per_s / 10,
        };
        Pacing {
            bytes_per_s: bytes_per_s.clamp(MIN_BYTES_PER_S, MAX_BYTES_PER_S),
            was_too_much: self.was_too_much || is_too_much,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose clients wait longer the faster it copies.
    fn p99_us(bytes_per_s: u64) -> u64 {
        2_000 + bytes_per_s / 10_000
    }

    #[test]
    fn it_finds_the_rate_at_which_clients_feel_no_more_than_they_may() {
        let mut pacing = Pacing::default();
        let mut rates = Vec::new();
        for _ in 0..200 {
            pacing = pacing.after(Some(p99_us(pacing.bytes_per_s)), 10_000);
            rates.push(pacing.bytes_per_s);
        }
        // 80 MB/s are what 10 ms allow.
        let late = &rates[50..];
        let mean = late.iter().sum::<u64>() / late.len() as u64;
        assert!((45_000_000..80_000_000).contains(&mean), "{mean}");
        assert!(late.iter().all(|rate| (35_000_000..90_000_000).contains(rate)), "{late:?}");
    }

    #[test]
    fn what_is_slow_by_itself_is_not_waited_for() {
        let before_us = p99_us(0);
        let mut pacing = Pacing::default();
        for _ in 0..200 {
            pacing = pacing.after(Some(p99_us(pacing.bytes_per_s)), bearable_us(1_000, before_us));
        }
        assert!(pacing.bytes_per_s > 8 << 20, "{pacing:?}");
        assert_eq!((bearable_us(10_000, before_us), bearable_us(1_000, 0)), (10_000, 1_000));
    }

    #[test]
    fn where_nobody_is_disturbed_it_soon_is_no_limit() {
        let mut pacing = Pacing::default();
        for _ in 0..8 {
            pacing = pacing.after(None, 1_000);
        }
        assert_eq!(pacing.bytes_per_s, MAX_BYTES_PER_S);
    }

    #[test]
    fn it_never_stands_still() {
        let mut pacing = Pacing::default();
        for _ in 0..100 {
            pacing = pacing.after(Some(60_000_000), 1_000);
        }
        assert_eq!(pacing.bytes_per_s, MIN_BYTES_PER_S);
    }
}
