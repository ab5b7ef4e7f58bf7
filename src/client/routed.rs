//! Operations that go to a shard, or to one member, and are repeated until answered or out of time.
//!
//! Promises: follows leaders and new maps by itself; what may be repeated, and when, is [`Course::judge`]'s rule.
//! Does not: know what it carries.

use std::sync::Arc;

use super::cluster::Cluster;
use super::course::{Course, Miss, Next};
use super::error::Error;
use super::map::{ClusterMap, Route};
use crate::model::id::{NodeId, ShardId};
use crate::net::wire::{FailureCode, reply, request};

/// After so many misses of one operation a newer map is looked for, whatever they were.
const REMAP_EVERY: usize = 3;
/// The share of the usual wait that a member gets which was silent last.
const SUSPECT_SHARE: u32 = 4;

/// Which replica may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    Leader,
    AnyReplica,
}

/// An answer and where it came from.
pub(super) struct Answer {
    pub(super) node: NodeId,
    pub(super) route: Arc<Route>,
    pub(super) body: reply::Body,
}

impl Cluster {
    /// Asks the shard that `find` finds, by a request that `make` makes for it, until somebody answers.
    pub(super) async fn routed(
        &self,
        course: &mut Course,
        aim: Aim,
        find: impl Fn(&ClusterMap) -> Option<Arc<Route>>,
        make: impl Fn(&Route) -> request::Body,
    ) -> Result<Answer, Error> {
        loop {
            let within = course.attempt()?;
            let map = self.map();
            let target = find(&map).and_then(|route| Some((self.target(&route, aim, course)?, route)));
            let Some((node, route)) = target else {
                let next = course.no_route();
                self.follow(course, None, next).await;
                continue;
            };
            // Who was silent last is asked in case it is back, but not waited for as long as others.
            let within = if self.is_suspect(node) { within / SUSPECT_SHARE } else { within };
            match self.ask(node, make(&route), within).await {
                Ok(body) => {
                    if aim == Aim::Leader {
                        self.set_leader(route.shard, node);
                    }
                    return Ok(Answer { node, route, body });
                }
                Err(miss) => self.missed(course, route.shard, node, miss).await?,
            }
        }
    }

    /// Asks this very member until it answers.
    pub(super) async fn directed(
        &self,
        course: &mut Course,
        node: NodeId,
        body: request::Body,
    ) -> Result<reply::Body, Error> {
        loop {
            let within = course.attempt()?;
            match self.ask(node, body.clone(), within).await {
                Ok(body) => return Ok(body),
                Err(Miss::Unsent(trouble @ super::error::Trouble::NoMember { .. })) if course.misses > 0 => {
                    return Err(Error::NotFound(trouble));
                }
                Err(miss) => match course.judge(miss)? {
                    Next::Remap { at_least, .. } => {
                        self.follow(course, Some(node), Next::Remap { at_least, pause: course.misses > 1 })
                            .await;
                    }
                    Next::Redirect(_) | Next::Elsewhere | Next::Again | Next::Renew => {
                        course.pause(&self.chance).await;
                    }
                },
            }
        }
    }

    /// Judges a miss of a shard's operation and does what follows from it, up to the next attempt.
    pub(super) async fn missed(
        &self,
        course: &mut Course,
        shard: ShardId,
        node: NodeId,
        miss: Miss,
    ) -> Result<(), Error> {
        let miss = if shard == ShardId::META { miss } else { shard_is_elsewhere(miss) };
        let not_here =
            matches!(&miss, Miss::Failure(_, failure) if failure.code() == FailureCode::FailureWrongShard);
        if not_here {
            self.not_leader(shard, node);
            // Of a shard that was split off it may not have its replica yet, while others do.
            course.turn += 1;
            course.avoid = Some(node);
        }
        let next = course.judge(miss)?;
        match next {
            Next::Redirect(leader) => {
                self.set_leader(shard, leader);
                course.named = Some(leader);
            }
            Next::Elsewhere => {
                self.not_leader(shard, node);
                course.turn += 1;
                course.avoid = Some(node);
            }
            Next::Again | Next::Remap { .. } | Next::Renew => {}
        }
        self.follow(course, Some(node), next).await;
        Ok(())
    }

    async fn follow(&self, course: &mut Course, node: Option<NodeId>, next: Next) {
        match next {
            Next::Redirect(leader) if self.map().member(leader).is_some() => {}
            Next::Redirect(_) => self.remap(course, 0, node, false).await,
            // The map may be so old that nobody it names for the shard holds it still.
            Next::Elsewhere if course.misses.is_multiple_of(REMAP_EVERY) => {
                self.remap(course, 0, None, true).await;
            }
            Next::Elsewhere | Next::Again | Next::Renew => course.pause(&self.chance).await,
            Next::Remap { at_least, pause } => self.remap(course, at_least, node, pause).await,
        }
    }

    async fn remap(&self, course: &mut Course, at_least: u64, node: Option<NodeId>, pause: bool) {
        let fetched = self.fetch_map(at_least, node, course.deadline()).await;
        if let Err(trouble) = &fetched {
            tracing::debug!(error = %trouble, "no newer shard map");
        }
        if pause || fetched.is_err() {
            course.pause(&self.chance).await;
        }
    }

    /// Whom to ask next.
    fn target(&self, route: &Route, aim: Aim, course: &Course) -> Option<NodeId> {
        if aim == Aim::Leader
            && let Some(leader) = self.leader(route.shard)
            && self.map().member(leader).is_some()
            // When its node has died the other replicas know the new one, and they are quick to say so.
            && (!self.is_suspect(leader) || course.named == Some(leader))
        {
            return Some(leader);
        }
        let eligible = route.replicas.iter().filter(|replica| aim == Aim::AnyReplica || replica.voter);
        let all: Vec<_> = eligible.map(|replica| replica.node).collect();
        let heard: Vec<_> = all.iter().copied().filter(|node| !self.is_suspect(*node)).collect();
        // By turns, so that everybody is asked, whatever the others answer; who was silent last, after the others.
        let nodes = if course.turn < heard.len() { heard } else { all };
        if aim == Aim::AnyReplica && course.turn == 0 {
            return match self.home().filter(|home| nodes.contains(home)) {
                Some(home) => Some(home),
                None => pick(&nodes, self.rotate()),
            };
        }
        let next = pick(&nodes, course.turn);
        match next.is_some() && next == course.avoid {
            true => pick(&nodes, course.turn + 1),
            false => next,
        }
    }
}

fn pick(nodes: &[NodeId], turn: usize) -> Option<NodeId> {
    nodes.get(turn.checked_rem(nodes.len())?).copied()
}

/// A shard that is not there is somewhere else: to whoever routes by the map, that is an old map. (The meta shard is
/// everywhere; what it does not find is something else.)
fn shard_is_elsewhere(miss: Miss) -> Miss {
    match miss {
        Miss::Failure(node, mut failure) if failure.code() == FailureCode::FailureNotFound => {
            failure.set_code(FailureCode::FailureWrongShard);
            Miss::Failure(node, failure)
        }
        miss => miss,
    }
}
