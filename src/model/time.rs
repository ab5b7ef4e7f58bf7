//! Hybrid logical time: wall-clock milliseconds and a counter in one number.
//!
//! A timestamp orders writes; it is close to the wall clock but never trusts it: it moves on even where the clock
//! stands still or falls back, and it follows every timestamp seen from others, up to a bound.
//! Source: Kulkarni et al., "Logical Physical Clocks", 2014.

use std::fmt;

/// How far ahead of this node's own clock a timestamp from elsewhere may lie, in milliseconds.
pub const CLOCK_BOUND_MS: u64 = 500;

const COUNTER_BITS: u32 = 16;

/// 48 bits of milliseconds since 1970 and 16 bits of counter, which carries into the milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A node's hybrid clock. Pure: the wall clock's reading is an argument.
#[derive(Clone, Debug, Default)]
pub struct Hlc {
    last: Timestamp,
}

/// A timestamp from elsewhere lies beyond the clock bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a timestamp {ahead_ms} ms ahead of this node's clock; at most {CLOCK_BOUND_MS} ms are believed")]
pub struct ClockTooFarAhead {
    pub ahead_ms: u64,
}

impl Timestamp {
    /// Before everything.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After everything.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The first timestamp of a millisecond; [`Timestamp::MAX`] for one that no timestamp can express.
    pub fn from_ms(ms: u64) -> Timestamp {
        match ms >> (u64::BITS - COUNTER_BITS) {
            0 => Timestamp(ms << COUNTER_BITS),
            _ => Timestamp::MAX,
        }
    }

    /// Milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The `n`-th timestamp after this one.
    pub fn plus(self, n: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(n))
    }

    /// The timestamp just before this one.
    pub fn previous(self) -> Timestamp {
        Timestamp(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Hlc {
    /// `n` consecutive fresh timestamps, above everything seen; returns the first.
    pub fn take(&mut self, now_ms: u64, n: u64) -> Timestamp {
        let first = self.last.plus(1).max(Timestamp::from_ms(now_ms));
        self.last = first.plus(n.saturating_sub(1));
        first
    }

    /// The present, without taking a timestamp: at or above everything seen.
    pub fn now(&mut self, now_ms: u64) -> Timestamp {
        self.last = self.last.max(Timestamp::from_ms(now_ms));
        self.last
    }

    /// Moves past a timestamp that this node itself vouches for (its own files and logs).
    pub fn advance(&mut self, seen: Timestamp) {
        self.last = self.last.max(seen);
    }

    /// Moves past a timestamp from another node, unless it is unbelievably far ahead.
    pub fn merge(&mut self, seen: Timestamp, now_ms: u64) -> Result<(), ClockTooFarAhead> {
        let ahead_ms = seen.ms().saturating_sub(now_ms);
        if ahead_ms > CLOCK_BOUND_MS && seen > self.last {
            return Err(ClockTooFarAhead { ahead_ms });
        }
        self.advance(seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_that_falls_back_reuses_nothing() {
        let mut clock = Hlc::default();
        let first = clock.take(1_000, 3);
        let second = clock.take(10, 1);
        assert_eq!(first, Timestamp::from_ms(1_000));
        assert_eq!(second, first.plus(3));
    }

    #[test]
    fn what_lies_beyond_all_time_does_not_come_round() {
        assert_eq!(Timestamp::from_ms((1 << 48) + 5), Timestamp::MAX);
        assert_eq!(Timestamp::from_ms((1 << 48) - 1).ms(), (1 << 48) - 1);
    }

    #[test]
    fn the_far_future_is_refused() {
        // failures.md row 29: one far-future clock must not drag the cluster along.
        let mut clock = Hlc::default();
        clock.take(1_000, 1);
        assert!(clock.merge(Timestamp::from_ms(1_000 + CLOCK_BOUND_MS), 1_000).is_ok());
        let far = clock.merge(Timestamp::from_ms(3_600_000), 1_000);
        assert_eq!(far, Err(ClockTooFarAhead { ahead_ms: 3_599_000 }));
        assert!(clock.now(1_000) < Timestamp::from_ms(2_000));
    }

    proptest! {
        #[test]
        fn taken_timestamps_never_overlap(steps in prop::collection::vec((0u64..5_000, 1u64..100_000), 1..50)) {
            let mut clock = Hlc::default();
            let mut last = Timestamp::ZERO;
            for (now_ms, n) in steps {
                let first = clock.take(now_ms, n);
                prop_assert!(first > last || last == Timestamp::ZERO);
                last = first.plus(n - 1);
            }
        }
    }
}
