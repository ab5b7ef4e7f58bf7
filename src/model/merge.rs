//! Merges: how a shard takes over the keys of its right neighbour, whoever crashes.
//!
//! The right one is small: what it holds goes through the left one's log, so neither needs replicas where the other has some. A merge
//! is a job of both shards, two records that say the same and come and go in one write. It has a number, the *attempt*, which
//! entries carry; a shard ignores those of attempts that are over for it.
//!
//! | step | to | what is so afterwards |
//! |---|---|---|
//! | `Check` | the records | every replica of the left one was tidy, and must be once more |
//! | `StandStill` | the records | it is known since when |
//! | `Freeze` | right | it takes no write, and promises readers nothing new; what is asked of its keys waits |
//! | `Copy`, again and again | both | rows of the right one lie among the left one's, out of bounds |
//! | `Decide` | the records | all has come and is the same: only forward from here |
//! | `TakeOver` | left | the keys are its own, with all that was promised for them |
//! | `Record` | the records | the map says so; the right one's replicas are retired; both jobs are gone |
//! | `Forgo` | right, left | instead, before `Decide`: each is as it was, and its job is gone |
//!
//! ## Why nothing is lost, and nothing read that is old
//!
//! The right one's rows do not change from when it is frozen, so all of its leaders hand over the same. A read there that was confirmed
//! before is one that came before: it is the state of a moment at which nobody could write elsewhere. One that is confirmed after it
//! is refused. What was promised to readers (no write at or below a timestamp) the left one keeps by refusing stamps up to what the right
//! one had promised (`evaluate::merging`).
//!
//! ## Invariants and what guards each
//!
//! - Rows that come meet none of an earlier time, on no replica, whenever it is made: nothing is frozen before each of the left one's
//!   is *tidy* (`replica::tidy`): rid of what the shard gave away, in its log, too; and was so before, so that no copy that is not can
//!   still come: guarded by `tests::nothing_begins_before_all_is_tidy`.
//! - An entry of an attempt that is over does nothing, whenever it comes: guarded by `tests::a_merge_ends_whole_whoever_crashes`.
//! - It is decided or given up in the job's record, by compare-and-set, never both: guarded by
//!   `tests::a_merge_ends_whole_whoever_crashes`.
//! - No key is ever without a shard that will answer for it, nor has two that write: guarded by
//!   `tests::a_merge_ends_whole_whoever_crashes`, `sim_merge::a_merge_ends_whole_whoever_fails`.
//!
//! | it crashes | what the successor sees | and does |
//! |---|---|---|
//! | before the records are written | nothing | nothing |
//! | LEARN | which replicas are tidy | the next step |
//! | VERIFY: before or after any entry | what both shards say of the attempt | the next step; a step done twice does nothing |
//! | LEARN or VERIFY: too late, or a replica is lost | the same | gives it up: REMOVE |
//! | REMOVE | which of the two has forgone it | `Forgo` to whoever has not; whoever has loses its job |
//! | PROMOTE: before or after `TakeOver` | where the left one ends | `TakeOver` again, or `Record` |
//! | after `Record` | no jobs, one shard | nothing |
//!
//! Does not: choose who is merged ([`super::sizing`]), send or write.

use std::collections::BTreeSet;

use super::id::{NodeId, ReplicaId};
use super::job::{Reason, joint};
use super::sizing::MERGED_MAX_BYTES;
use super::wire::{JobPhase, JobRecord, Membership, MergeJob, ShardRecord};

/// How long anything is waited for before it is decided; both shards' other jobs wait for this one.
pub const WAIT_MAX_MS: u64 = 60_000;
/// How long the right one stands still before it is decided, at most.
pub const FROZEN_MAX_MS: u64 = 5_000;

/// What is known of one of the shards from its leader.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    pub membership: Membership,
    pub applied_index: u64,
    pub epoch: u64,
    pub frozen_by: u64,
    pub attempts_over: u64,
    /// The attempt whose rows have come, and whether all have.
    pub taking: u64,
    pub taking_all: bool,
    /// Keys, values and history.
    pub stored_bytes: u64,
    /// Something was split off that is not settled.
    pub has_birth: bool,
}

/// What is known of both, and of the nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub left: Option<Side>,
    pub right: Option<Side>,
    /// Which of the two has its job still.
    pub left_job: bool,
    pub right_job: bool,
    /// Replicas of the left one that hold nothing but what is theirs, as of the job's `left_index`, and have its `checked_index`.
    pub tidy: BTreeSet<ReplicaId>,
    /// Both hold the same of the right one's rows; `None`: it was not looked at.
    pub same: Option<bool>,
    /// Nodes heard of within the last seconds.
    pub alive: BTreeSet<NodeId>,
    /// Nodes not waited for any more, and replicas that are damaged.
    pub gone: BTreeSet<NodeId>,
    pub damaged: BTreeSet<ReplicaId>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Wait(Reason),
    /// Write in the jobs that all are tidy, and that each has to be so once it has this entry, too: what was copied to one before,
    /// and is not, is too old by then to be taken in.
    Check {
        index: u64,
    },
    /// Write the jobs in VERIFY, with the time: from here on requests may wait.
    StandStill,
    /// To the right one: the entry.
    Freeze,
    /// From the right one to the left one: the next rows.
    Copy,
    /// Have both say what rows there are.
    Compare,
    /// Write the jobs in PROMOTE.
    Decide,
    /// To the left one: the entry.
    TakeOver,
    /// Write the left one's record, delete the right one's and both jobs, retire its replicas.
    Record {
        epoch: u64,
    },
    /// Write the jobs in REMOVE.
    GiveUp(Reason),
    /// To either: the entry.
    ForgoRight,
    ForgoLeft,
    /// Delete the job of one of them.
    End(Which),
}

/// One of the two shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Left,
    Right,
}

/// Decides the next step of a merge, from the left one's job.
pub fn next(job: &JobRecord, merge: &MergeJob, seen: &Seen) -> Step {
    match job.phase() {
        JobPhase::JobRemove | JobPhase::JobDone => forgo(merge, seen),
        JobPhase::JobPromote => take_over(merge, seen),
        JobPhase::JobVerify => copy(merge, seen),
        JobPhase::JobUnspecified | JobPhase::JobLearn => learn(job, merge, seen),
    }
}

fn learn(job: &JobRecord, merge: &MergeJob, seen: &Seen) -> Step {
    let waited_ms = seen.now_ms.saturating_sub(job.started_at_ms);
    let (Some(left), Some(right)) = (&seen.left, &seen.right) else {
        return patience(waited_ms, WAIT_MAX_MS, Reason::NoLeader);
    };
    let attempt = merge.attempt;
    if left.attempts_over >= attempt || right.attempts_over >= attempt || left.has_birth || right.has_birth {
        return Step::GiveUp(Reason::Changed);
    }
    match before_freezing(seen, left, right) {
        None if merge.checked_index != 0 => Step::StandStill,
        None => Step::Check { index: left.applied_index },
        Some((reason, true)) => Step::GiveUp(reason),
        Some((reason, false)) => patience(waited_ms, WAIT_MAX_MS, reason),
    }
}

fn copy(merge: &MergeJob, seen: &Seen) -> Step {
    if seen.now_ms.saturating_sub(merge.frozen_at_ms) > FROZEN_MAX_MS {
        return Step::GiveUp(Reason::Slow);
    }
    let (Some(left), Some(right)) = (&seen.left, &seen.right) else { return Step::Wait(Reason::NoLeader) };
    if right.frozen_by != merge.attempt {
        return Step::Freeze;
    }
    if left.taking != merge.attempt || !left.taking_all {
        return Step::Copy;
    }
    match seen.same {
        None => Step::Compare,
        Some(true) => Step::Decide,
        Some(false) => Step::GiveUp(Reason::Split),
    }
}

/// Why the right one is not to stand still yet, and whether it is to be given up for that.
fn before_freezing(seen: &Seen, left: &Side, right: &Side) -> Option<(Reason, bool)> {
    if right.stored_bytes > MERGED_MAX_BYTES {
        return Some((Reason::TooLarge, true));
    }
    for side in [left, right] {
        let committed = side.membership.log_id.is_none_or(|id| id.index <= side.applied_index);
        if !committed || joint(&side.membership).is_some() {
            return Some((Reason::Uncommitted, false));
        }
        for member in &side.membership.members {
            let (node, id) = (NodeId(member.node), ReplicaId(member.replica));
            if seen.gone.contains(&node) || seen.damaged.contains(&id) {
                return Some((Reason::Gone(node), true));
            }
            if !seen.alive.contains(&node) {
                return Some((Reason::Silent(node), false));
            }
        }
    }
    let mut members = left.membership.members.iter();
    let untidy = members.find(|member| !seen.tidy.contains(&ReplicaId(member.replica)));
    untidy.map(|member| (Reason::Trimming(NodeId(member.node)), false))
}

fn patience(waited_ms: u64, limit_ms: u64, reason: Reason) -> Step {
    if waited_ms > limit_ms { Step::GiveUp(reason) } else { Step::Wait(reason) }
}

fn take_over(merge: &MergeJob, seen: &Seen) -> Step {
    let Some(left) = &seen.left else { return Step::Wait(Reason::NoLeader) };
    match left.attempts_over >= merge.attempt {
        true => Step::Record { epoch: left.epoch },
        false => Step::TakeOver,
    }
}

/// Each by itself: one that nobody leads keeps its own job, and not the other's.
fn forgo(merge: &MergeJob, seen: &Seen) -> Step {
    let is_over = |side: &Option<Side>| side.as_ref().map(|side| side.attempts_over >= merge.attempt);
    match (is_over(&seen.right), is_over(&seen.left)) {
        (Some(false), _) if seen.right_job => Step::ForgoRight,
        (Some(true), _) if seen.right_job => Step::End(Which::Right),
        (_, Some(false)) if seen.left_job => Step::ForgoLeft,
        (_, Some(true)) if seen.left_job => Step::End(Which::Left),
        _ => Step::Wait(Reason::NoLeader),
    }
}

/// The left one's record once it has taken over, from both.
pub fn merged(left: &ShardRecord, right: &ShardRecord, epoch: u64) -> ShardRecord {
    ShardRecord { end: right.end.clone(), epoch: epoch.max(left.epoch), ..left.clone() }
}

#[cfg(test)]
mod tests;
