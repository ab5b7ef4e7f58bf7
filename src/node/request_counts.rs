//! What is counted of what others ask of this node.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use crate::net::kind::RULES;
use crate::net::wire::{Failure, FailureCode, reply, request};
use crate::node::histogram::Histogram;

/// What clients may ask, as it is told.
const OPERATIONS: [&str; 7] = ["get", "range", "write", "map", "status", "digest", "admin"];
/// Of these, the first ones read and write keys.
const KEY_OPERATIONS: usize = 3;
/// Codes of failures; the first is none.
const CODES: usize = 13;

/// Of one node.
#[derive(Debug)]
pub struct RequestCounts {
    /// By [`operation`]: found by a number, since looking them up by name would cost more than a request should.
    seconds: [Histogram; OPERATIONS.len()],
    /// By code.
    failures: [Counter; CODES],
    /// In the order of [`RULES`].
    calls: [Counter; RULES.len()],
    /// Calls and streams that their sender may not make.
    pub forbidden: Counter,
    /// Requests and messages that cannot be read, or that lack what they must have.
    pub undecodable: Counter,
    /// Requests to join without a token that is good here, or otherwise not as they must be.
    pub joins_refused: Counter,
    /// Requests and answers that there was no room for.
    pub overload: Counter,
}

/// Which kind of request this is: a number, as [`RequestCounts::answered`] takes it.
pub fn operation(body: &request::Body) -> usize {
    match body {
        request::Body::Get(_) => 0,
        request::Body::Range(_) => 1,
        request::Body::Write(_) => 2,
        request::Body::Map(_) => 3,
        request::Body::Status(_) => 4,
        request::Body::Digest(_) => 5,
        request::Body::Admin(_) => 6,
    }
}

impl RequestCounts {
    /// A request of this kind, as `operation` says, was answered.
    pub fn answered(&self, operation: usize, took: Duration, answered: &Result<reply::Body, Failure>) {
        self.seconds[operation].observe_time(took);
        if let Err(failure) = answered {
            self.failures[failure.code() as usize].inc();
        }
    }

    /// Somebody makes a call or opens a stream of this kind, and may.
    pub fn called(&self, kind: u16) {
        if let Some(rule) = RULES.iter().position(|rule| rule.kind == kind) {
            self.calls[rule].inc();
        }
    }

    /// The time requests took, by operation.
    pub fn seconds(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        OPERATIONS.into_iter().zip(&self.seconds)
    }

    /// How many reads and writes of keys took how long: up to 100 µs, up to twice that, and so on.
    pub fn latency_counts(&self) -> Vec<u64> {
        let mut sum = Vec::new();
        for histogram in &self.seconds[..KEY_OPERATIONS] {
            sum.resize(histogram.counts().count(), 0);
            sum.iter_mut().zip(histogram.counts()).for_each(|(sum, more)| *sum += more);
        }
        sum
    }

    /// Requests answered with a failure, by its code.
    pub fn failures(&self) -> impl Iterator<Item = (String, u64)> {
        self.failures.iter().enumerate().skip(1).map(|(code, count)| {
            let code = FailureCode::try_from(code as i32).expect("codes are numbered without a gap");
            let name = code.as_str_name().trim_start_matches("FAILURE_").to_lowercase();
            (name, count.get())
        })
    }

    /// Calls and streams, by kind.
    pub fn calls(&self) -> impl Iterator<Item = (String, u64)> {
        RULES.iter().zip(&self.calls).map(|(rule, count)| (rule.name.to_lowercase(), count.get()))
    }
}

impl Default for RequestCounts {
    fn default() -> RequestCounts {
        RequestCounts {
            seconds: std::array::from_fn(|_| Histogram::of_seconds()),
            failures: Default::default(),
            calls: Default::default(),
            forbidden: Counter::default(),
            undecodable: Counter::default(),
            joins_refused: Counter::default(),
            overload: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_kind_has_a_count_and_a_name() {
        let counts = RequestCounts::default();
        assert!(FailureCode::try_from(CODES as i32).is_err(), "a new code needs a place");
        for code in 1..CODES as i32 {
            let failure = Failure { code, ..Failure::default() };
            counts.answered(0, Duration::ZERO, &Err(failure));
        }
        assert!(counts.failures().all(|(name, count)| count == 1 && !name.is_empty()));
        counts.called(RULES[3].kind);
        counts.called(u16::MAX);
        let called: Vec<_> = counts.calls().filter(|(_, count)| *count > 0).collect();
        assert_eq!(called, [(RULES[3].name.to_lowercase(), 1)]);
    }
}
