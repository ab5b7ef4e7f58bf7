//! # What clients were told, and whether it can be true
//!
//! A history is what clients asked of one key, what they were told, and when. It is *linearizable* if each operation can be
//! given one moment between its beginning and its end such that, taken in the order of these moments, everybody was told
//! what a single copy of the key would have told them (Herlihy and Wing, TOPLAS 1990). A cluster whose operations on each
//! key are so is so as a whole: keys can be judged apart.
//!
//! Outcomes are three. *Done*: the answer counts. *Failed*: nothing changed and nothing will; such operations are left out.
//! *Unknown*: it takes effect at any moment from its beginning on, or never.
//!
//! ## Invariants and what guards each
//!
//! - A history is called linearizable if and only if one order explains it: guarded by
//!   `tests::the_judgement_is_that_of_trying_every_order`, `tests::known_good_histories_pass`,
//!   `tests::known_bad_histories_are_found_out`.
//! - Large histories are judged in the time people wait: guarded by `tests::a_hundred_thousand_operations_are_judged`.
//!
//! Does not: judge several keys together (a scan is judged row by row), know of expiry, record anything.

mod search;

#[cfg(test)]
mod tests;

pub use search::{STATES_MAX, judge};

/// One operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; for people to read.
    pub client: u32,
    /// When it was asked, on any clock that all clients share and that never goes back.
    pub begin: u64,
    /// When the answer came; `None`: nobody knows what became of it.
    pub end: Option<u64>,
    pub action: Action,
}

/// What was asked, and what was told. A key holds a number or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A read that was answered; one that was not says nothing.
    Get {
        found: Option<u64>,
    },
    Put {
        value: u64,
    },
    /// `existed` is `None` if nobody knows.
    Delete {
        existed: Option<bool>,
    },
    /// Writes `value` if the key is as expected.
    Cas {
        expected: Option<u64>,
        value: u64,
        told: Swapped,
    },
    /// Adds to what the key holds, nothing counting as 0.
    Incr {
        by: i64,
        sum: Option<i64>,
    },
}

/// How a compare-and-set came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swapped {
    Done,
    /// The condition did not hold: this was there.
    Failed {
        found: Option<u64>,
    },
    Unknown,
}

/// Whether a history can be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// Its number among the operations: no order has a place for it that explains what was told. `state` is what the key
    /// holds by the order that explains most before it.
    Impossible {
        operation: usize,
        state: Option<u64>,
    },
    /// There were too many orders to try: fewer operations of one key, or fewer of unknown outcome, can be judged.
    Undecided,
}

impl Action {
    /// What the key holds after it, if it held `state` before; `None` if it would have been told otherwise.
    pub fn step(&self, state: Option<u64>) -> Option<Option<u64>> {
        match *self {
            Action::Get { found } => (found == state).then_some(state),
            Action::Put { value } => Some(Some(value)),
            Action::Delete { existed } => {
                existed.is_none_or(|existed| existed == state.is_some()).then_some(None)
            }
            Action::Cas { expected, value, told } => {
                let holds = state == expected;
                match told {
                    Swapped::Done => holds.then_some(Some(value)),
                    Swapped::Failed { found } => (!holds && found == state).then_some(state),
                    Swapped::Unknown => Some(if holds { Some(value) } else { state }),
                }
            }
            Action::Incr { by, sum } => {
                let after = (state.unwrap_or(0) as i64).wrapping_add(by);
                sum.is_none_or(|sum| sum == after).then_some(Some(after as u64))
            }
        }
    }

    /// The values that it shows the key to hold, or asks for.
    fn shows(&self) -> impl Iterator<Item = u64> {
        let (one, other) = match *self {
            Action::Get { found } => (found, None),
            Action::Cas { expected, told: Swapped::Failed { found }, .. } => (expected, found),
            Action::Cas { expected, .. } => (expected, None),
            Action::Put { .. } | Action::Delete { .. } | Action::Incr { .. } => (None, None),
        };
        one.into_iter().chain(other)
    }
}
