//! Splits: how a shard gives the upper part of its keys to a new one, whoever crashes.
//!
//! A split is a job of the shard that is split, the *parent*. Its record names the new shard, the *child*, the first of its
//! keys, and a replica of it on each node that has one of the parent; all ids were reserved with the record. One entry in the
//! parent's log makes it so: from there on the parent ends before that key, and remembers the child's *birth*. Every replica
//! of the parent makes the child's replica on its node of what it holds (`node::store::bear`), usually of a copy that was made
//! before the entry. What it gave away it keeps until the split is *settled*: the child's replicas are all there, or others in their place.
//!
//! ## Invariants and what guards each
//!
//! - The entry takes effect at the epoch in the record or never; a job is given up only once the epoch has risen, so no late
//!   copy of the entry takes effect afterwards: guarded by `tests::a_split_given_up_cannot_come_late`.
//! - The parent's record, the child's and the job's change in one write: no key is ever without a
//!   shard, nor has two: guarded by `tests::the_halves_are_the_whole`, `sim_split::a_split_ends_whole_whoever_fails`.
//! - What was given away is forgotten only when the child does not need it: guarded by
//!   `tests::a_birth_is_settled_when_nobody_waits_for_it`.
//!
//! | it crashes | what the successor sees | and does |
//! |---|---|---|
//! | before the record is written | no job; the ids reserved are skipped | nothing |
//! | LEARN: while copies are made | which of them are ready | waits, and has the others made |
//! | LEARN: before or after the entry is proposed | no birth, the epoch in the record | `Split` again: twice does nothing |
//! | LEARN: the entry is applied | the child's birth | `Record` |
//! | LEARN: the epoch is another one, and there is no birth | a split that cannot happen any more | `Abandon` |
//! | after `Record` | both in the map, the job in REMOVE | waits, then `Settle` |
//! | after `Settle` | no birth | `End` |
//!
//! Does not: choose the key, move the child's replicas (they are where the parent's are), send or write.

use std::collections::BTreeSet;

use super::id::{NodeId, ReplicaId};
use super::job::{Reason, joint, replicas};
use super::map::Shard;
use super::wire::{JobPhase, JobRecord, Membership, ShardRecord, SplitJob};

/// What is known of the parent from its leader, and of the child's replicas from their nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The newest membership in the leader's log, committed or not.
    pub membership: Membership,
    pub applied_index: u64,
    pub epoch: u64,
    /// The child that is not settled; 0: none.
    pub birth: u64,
    /// Nodes heard of within the last seconds.
    pub alive: BTreeSet<NodeId>,
    /// Nodes not waited for any more.
    pub gone: BTreeSet<NodeId>,
    /// Replicas whose nodes say that they have lost data, or that will never be made.
    pub damaged: BTreeSet<ReplicaId>,
    /// Replicas of the child that are there.
    pub made: BTreeSet<ReplicaId>,
    /// All replicas of the parent have copies ready: then little is left to do once it is split.
    pub prepared: bool,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Wait(Reason),
    /// To the parent's leader: propose the entry.
    Split,
    /// To the parent's leader: raise the epoch, so that no such entry takes effect any more.
    Fence,
    /// Write the parent's record and the child's, and the job's in REMOVE, all at once.
    Record {
        epoch: u64,
    },
    /// To the parent's leader: the birth is settled.
    Settle,
    /// Delete the job: what is left is settled later ([`waits`]).
    End,
    /// Write tombstones for the child's replicas and delete the job. The parent is as it was.
    Abandon(Reason),
}

/// How long anything is waited for; other jobs of the shard wait for this one.
pub const WAIT_MAX_MS: u64 = 60_000;

/// How long it is waited for copies. Without them keys would wait for as long as it takes to make them.
pub const PREPARE_MAX_MS: u64 = 300_000;

/// Decides the next step of a job that splits a shard. `child`: as it is in the map, if it is.
pub fn next(job: &JobRecord, split: &SplitJob, seen: Option<&Seen>, child: Option<&Shard>) -> Step {
    let Some(seen) = seen else { return Step::Wait(Reason::NoLeader) };
    let is_late = seen.now_ms.saturating_sub(job.started_at_ms) > WAIT_MAX_MS;
    if job.phase() == JobPhase::JobRemove {
        return match settle(split, seen, child) {
            Step::Wait(_) if is_late => Step::End,
            step => step,
        };
    }
    if seen.birth == split.child {
        return Step::Record { epoch: seen.epoch };
    }
    if seen.epoch != split.epoch {
        return Step::Abandon(Reason::Changed);
    }
    let committed = seen.membership.log_id.is_none_or(|id| id.index <= seen.applied_index);
    if !committed || joint(&seen.membership).is_some() {
        return if is_late { Step::Fence } else { Step::Wait(Reason::Uncommitted) };
    }
    for member in &seen.membership.members {
        let (node, id) = (NodeId(member.node), ReplicaId(member.replica));
        if seen.gone.contains(&node) || seen.damaged.contains(&id) {
            return Step::Fence;
        }
        if !seen.alive.contains(&node) {
            return if is_late { Step::Fence } else { Step::Wait(Reason::Silent(node)) };
        }
    }
    match seen.now_ms.saturating_sub(job.started_at_ms) > PREPARE_MAX_MS {
        _ if seen.prepared => Step::Split,
        true => Step::Fence,
        false => Step::Wait(Reason::Preparing),
    }
}

fn settle(split: &SplitJob, seen: &Seen, child: Option<&Shard>) -> Step {
    if seen.birth != split.child {
        return Step::End;
    }
    match waits(&split.membership.clone().unwrap_or_default(), &seen.made, child) {
        None => Step::Settle,
        Some((node, id)) if seen.gone.contains(&node) || seen.damaged.contains(&id) => Step::End,
        Some((node, _)) => Step::Wait(Reason::Making(node)),
    }
}

/// A replica of a split shard that is still to be made of its parent's, and its node; `None`: nobody waits for that. `child`:
/// as it is in the map: others may have taken the place of some.
pub fn waits(
    first: &Membership,
    made: &BTreeSet<ReplicaId>,
    child: Option<&Shard>,
) -> Option<(NodeId, ReplicaId)> {
    let mut members = first.members.iter().map(|member| (NodeId(member.node), ReplicaId(member.replica)));
    let listed = |id: &ReplicaId| child.is_none_or(|child| child.replica(*id).is_some());
    members.find(|(_, id)| listed(id) && !made.contains(id))
}

/// Parent and child as they are once split, from the parent's record.
pub fn halves(parent: &ShardRecord, split: &SplitJob, epoch: u64) -> (ShardRecord, ShardRecord) {
    let upper = ShardRecord {
        shard: split.child,
        start: split.at.clone(),
        end: parent.end.clone(),
        epoch: split.epoch + 1,
        replicas: replicas(&split.membership.clone().unwrap_or_default()),
        ring_position: split.ring_position,
        by_itself: split.by_itself,
    };
    let lower = ShardRecord { end: split.at.clone(), epoch: epoch.max(parent.epoch), ..parent.clone() };
    (lower, upper)
}

#[cfg(test)]
mod tests;
