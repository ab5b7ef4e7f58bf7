//! What a checkpoint says of a group: everything but its entries, and which entries those are.
//!
//! So a reader who has missed something before a checkpoint knows at it who has lost what: whoever has all the entries that
//! are named has lost nothing.

use crate::model::wire::Vote;

use super::LogPoint;
use super::terms::{Run, Terms};

/// A group's state as stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    #[prost(message, optional, tag = "1")]
    pub vote: Option<Vote>,
    #[prost(message, optional, tag = "2")]
    purged: Option<Point>,
    #[prost(message, repeated, tag = "3")]
    runs: Vec<Run>,
    #[prost(uint64, tag = "4")]
    end: u64,
    /// The group has lost something and was given up.
    #[prost(bool, tag = "5")]
    pub damaged: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Point {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

impl State {
    pub fn new(vote: Option<Vote>, purged: Option<LogPoint>, terms: &Terms, damaged: bool) -> State {
        let purged = purged.map(|LogPoint { term, index }| Point { term, index });
        State { vote, purged, runs: terms.runs().to_vec(), end: terms.end(), damaged }
    }

    pub fn purged(&self) -> Option<LogPoint> {
        self.purged.map(|Point { term, index }| LogPoint { term, index })
    }

    /// Which entries it has; `None` if that makes no sense.
    pub fn terms(&self) -> Option<Terms> {
        Terms::of(self.runs.clone(), self.end)
    }
}
