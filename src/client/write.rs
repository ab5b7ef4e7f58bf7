//! One write: sent with the same identity until its outcome is known or time is up.
//!
//! Promises: applied at most once, however often it is sent; an error that says "nothing changed" stays true. The
//! reasoning is in the room's essay.
//! Does not: cut a write that spans shards in a way of its own. It sends the operations that the shard of the first key
//! holds, and the outcome tells how many were applied: the number of its results, also when it is the outcome of an
//! earlier copy that was longer or shorter because the map was another one. The rest is a further write.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::cluster::{Cluster, MAP_ATTEMPT_MS};
use super::course::{Course, Miss, Nature};
use super::error::{Error, Trouble};
use super::map::Route;
use super::routed::{Aim, Answer};
use crate::model::key::Key;
use crate::model::time::Timestamp;
use crate::model::wire::{self, Identity, Operation, Refusal, Write, outcome};
use crate::net::wire::{WriteRequest, reply, request};

/// How a write came out.
#[derive(Debug)]
pub(super) enum Written {
    /// The first `results.len()` operations were applied, all of them at `stamp`.
    Applied { stamp: Timestamp, results: Vec<wire::Result> },
    /// Nothing changed.
    ConditionFailed(wire::ConditionFailed),
}

impl Cluster {
    /// Writes the first of these operations, as many as one shard holds. They must be in order of their keys, each key
    /// once, and at least one.
    pub(super) async fn write(&self, operations: &[Operation]) -> Result<Written, Error> {
        let first = Key::from_internal(operations[0].key.clone())?;
        let mut course = Course::new(Nature::Write, self.timeout);
        self.take_time(&course).await;
        let held_up = |course: &mut Course| course.held_up(Trouble::WindowFull);
        let begun = timeout_at(course.deadline(), self.session.begin()).await;
        let mut ticket = begun.map_err(|_| held_up(&mut course))?;
        loop {
            let identity = ticket.identity();
            let make = |route: &Route| self.write_request(identity, route, operations);
            let answer =
                self.routed(&mut course, Aim::Leader, |map| map.route(&first).cloned(), make).await?;
            let (shard, node) = (answer.route.shard, answer.node);
            let miss = match self.settle(answer, operations.len())? {
                Ok(written) => return Ok(written),
                Err(miss) => miss,
            };
            let afresh = matches!(miss, Miss::Refused(_, Refusal::Forgotten)) && !course.in_doubt();
            self.missed(&mut course, shard, node, miss).await?;
            if afresh {
                let renewed = timeout_at(course.deadline(), ticket.renew()).await;
                ticket = renewed.map_err(|_| held_up(&mut course))?;
            }
        }
    }

    /// After a long silence the timestamp held may be older than what shards remember; a fresh one costs a map request.
    /// If nobody tells the time now, the write tries all the same: it can only be refused for it.
    async fn take_time(&self, course: &Course) {
        if self.is_idle() {
            let deadline = course.deadline().min(Instant::now() + Duration::from_millis(MAP_ATTEMPT_MS));
            let _ = timeout_at(deadline, self.fetch_map(0, None, deadline)).await;
        }
    }

    fn write_request(&self, identity: Identity, route: &Route, operations: &[Operation]) -> request::Body {
        let inside = |operation: &&Operation| {
            Key::from_internal(operation.key.clone()).is_ok_and(|key| route.range.contains(&key))
        };
        let count = match operations.len() {
            1 => 1, // the route was found by it
            _ => operations.iter().take_while(inside).count(),
        };
        let operations = operations[..count].to_vec();
        let write = Write { identity: Some(identity), epoch: self.epoch(route), operations };
        request::Body::Write(WriteRequest { shard: route.shard.0, write: Some(write) })
    }

    /// What an answer says about the write; the error ends it, a miss does not.
    fn settle(&self, answer: Answer, operations: usize) -> Result<Result<Written, Miss>, Error> {
        let node = answer.node;
        let garbled = |what| Ok(Err(Miss::Lost(Trouble::Garbled { node, what })));
        let reply::Body::Write(outcome) = answer.body else { return garbled("it is no outcome") };
        let stamp = Timestamp(outcome.stamp);
        self.session.observe(stamp);
        match outcome.kind {
            Some(outcome::Kind::Applied(applied)) => match applied.results.len() {
                results if results == 0 || results > operations => garbled("another write's results"),
                _ => Ok(Ok(Written::Applied { stamp, results: applied.results })),
            },
            // The shard remembers this outcome, so no other copy will find another one; but not a long value found.
            Some(outcome::Kind::ConditionFailed(failed)) if failed.value_left_out => {
                Err(Error::Unknown(Trouble::FailedAfterDoubt { node }))
            }
            Some(outcome::Kind::ConditionFailed(failed)) => Ok(Ok(Written::ConditionFailed(failed))),
            Some(outcome::Kind::Refused(refused)) => {
                if refused.reason() == Refusal::WrongEpoch {
                    self.set_epoch(answer.route.shard, refused.epoch);
                }
                Ok(Err(Miss::Refused(node, refused.reason())))
            }
            None => garbled("an outcome without a kind"),
        }
    }
}
