//! What one client counted, and the sum of what all counted.
//!
//! Promises: latencies are of operations that were answered; what failed and what nobody knows is counted apart. A
//! histogram keeps three digits. Does not: say what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::{self, ErrorOutcome};
use crate::cmd::bench::workload::Kind;
use crate::cmd::exit::Exit;

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;
/// Longer ones, in microseconds, count as this: a day.
const LATENCY_MAX_US: u128 = 86_400_000_000;

/// How an operation ended.
pub enum Ended {
    Done,
    /// Answered: its condition did not hold, and nothing changed.
    ConditionFailed,
    Failed(Trouble),
    Unknown(Trouble),
}

/// Why an operation has no good answer.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub exit: Exit,
    /// In words, outermost first.
    pub because: Vec<String>,
}

/// The operations of one kind.
pub struct Count {
    pub done: u64,
    pub condition_failed: u64,
    pub errors: u64,
    pub unknown: u64,
    /// Of those that were answered, in microseconds.
    pub latency_us: Histogram<u32>,
    /// The one that took longest.
    pub longest: Longest,
}

/// An operation that took longer than others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Longest {
    pub took: Duration,
    /// When it began, after measuring did.
    pub after: Duration,
}

/// All operations of a client, or of all.
#[derive(Default)]
pub struct Tally {
    counts: BTreeMap<Kind, Count>,
    trouble: Option<Trouble>,
}

impl Default for Count {
    fn default() -> Count {
        let latency_us = Histogram::new(DIGITS).expect("as many digits as there may be");
        let longest = Longest::default();
        Count { done: 0, condition_failed: 0, errors: 0, unknown: 0, latency_us, longest }
    }
}

impl Count {
    /// Answered operations.
    pub fn answered(&self) -> u64 {
        self.done + self.condition_failed
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Count) {
        self.done += other.done;
        self.condition_failed += other.condition_failed;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.latency_us.add(&other.latency_us).expect("a histogram that grows takes everything");
        self.longest = self.longest.max(other.longest);
    }
}

impl Tally {
    /// `after`: when it began, after measuring did.
    pub fn record(&mut self, kind: Kind, ended: Ended, after: Duration, took: Duration) {
        let count = self.counts.entry(kind).or_default();
        let trouble = match ended {
            Ended::Done | Ended::ConditionFailed => {
                let field = match ended {
                    Ended::Done => &mut count.done,
                    _ => &mut count.condition_failed,
                };
                *field += 1;
                let us = took.as_micros().clamp(1, LATENCY_MAX_US) as u64;
                count.latency_us.record(us).expect("a histogram that grows takes everything");
                count.longest = count.longest.max(Longest { took, after });
                return;
            }
            Ended::Failed(trouble) => {
                count.errors += 1;
                trouble
            }
            Ended::Unknown(trouble) => {
                count.unknown += 1;
                trouble
            }
        };
        self.trouble.get_or_insert(trouble);
    }

    /// Adds what another client counted.
    pub fn add(&mut self, other: Tally) {
        for (kind, count) in other.counts {
            self.counts.entry(kind).or_default().add(&count);
        }
        if let Some(trouble) = other.trouble {
            self.trouble.get_or_insert(trouble);
        }
    }

    /// By kind, in the order of [`Kind`].
    pub fn counts(&self) -> impl Iterator<Item = (Kind, &Count)> {
        self.counts.iter().map(|(kind, count)| (*kind, count))
    }

    /// All kinds together.
    pub fn total(&self) -> Count {
        let mut total = Count::default();
        self.counts.values().for_each(|count| total.add(count));
        total
    }

    /// One thing that went wrong, if anything did.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }
}

impl Ended {
    /// What an error of the client library says.
    pub fn by(error: &client::Error) -> Ended {
        let exit = Exit::from_code(i64::from(error.exit_code()));
        let because = crate::cmd::fail::Failure::new(exit, "").caused_by(error).because;
        let trouble = Trouble { exit, because };
        match error.outcome() {
            ErrorOutcome::Unknown => Ended::Unknown(trouble),
            ErrorOutcome::Failed => Ended::Failed(trouble),
        }
    }

    /// An answer that is wrong.
    pub fn wrong(what: String) -> Ended {
        Ended::Failed(Trouble { exit: Exit::Damaged, because: vec![what] })
    }

    /// True if it was answered well.
    pub fn is_answered(&self) -> bool {
        matches!(self, Ended::Done | Ended::ConditionFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_has_no_latency_and_is_counted_apart() {
        let trouble = || Trouble { exit: Exit::Unreachable, because: vec!["gone".to_owned()] };
        let (mut one, mut other) = (Tally::default(), Tally::default());
        let ms = Duration::from_millis;
        one.record(Kind::Put, Ended::Done, ms(2), ms(2));
        one.record(Kind::Cas, Ended::ConditionFailed, ms(3), ms(3));
        other.record(Kind::Put, Ended::Done, ms(40), ms(4));
        other.record(Kind::Put, Ended::Failed(trouble()), ms(9_000), ms(9_000));
        other.record(Kind::Put, Ended::Unknown(trouble()), ms(9_000), ms(9_000));
        one.add(other);
        let counts: Vec<_> = one.counts().map(|(kind, count)| (kind, count.answered())).collect();
        assert_eq!(counts, [(Kind::Put, 2), (Kind::Cas, 1)]);
        let total = one.total();
        assert_eq!((total.done, total.condition_failed, total.errors, total.unknown), (2, 1, 1, 1));
        assert_eq!((total.latency_us.len(), total.latency_us.max() / 100), (3, 40));
        assert_eq!(total.longest, Longest { took: ms(4), after: ms(40) });
        assert_eq!(one.trouble().unwrap().because, ["gone"]);
    }
}
