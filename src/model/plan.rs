//! Moves that are made together: a plan that somebody has looked at, and then carried out as it is.
//!
//! ```text
//! waiting --begin--> under way --its migration ends--> over
//! ```
//!
//! A plan is a durable record; its moves begin in their order, each as soon as the limits of the settings let it, as migrations like
//! any other. Which have begun and which are over is written down in the same change that begins one or finds one over, so
//! whoever leads next goes on from there, and none is made twice.
//!
//! A plan is good only for the placement that it was made for ([`placement_of`]). Once it has begun, what comes between decides
//! for each move anew: one that is only impossible for now waits; one that cannot be made any more, or that did not come
//! about, ends the plan, since what was to come after it was thought out with it. What is under way then comes to its own end.
//!
//! ## Invariants and what guards each
//!
//! - Moves begin in order, each once, within the limits: guarded by `tests::a_plan_is_carried_out_whoever_is_interrupted`.
//! - A plan for another placement is refused: guarded by `tests::what_a_plan_was_made_for`.
//! - What cannot be made ends the plan, and what can be made later waits: guarded by
//!   `tests::what_is_not_possible_any_more_ends_a_plan`, `tests::what_is_not_possible_now_waits`.

use std::collections::BTreeSet;

use super::config::Settings;
use super::forecast::settled;
use super::id::{MigrationId, NodeId, PlanId, ShardId};
use super::map::ClusterMap;
use super::migration::{self, Move, Order, Refusal as MoveRefusal, Wish};
use super::placement::{Liveness, is_past_voters, may_start};
use super::wire::{Course, JobRecord, MigrationEnd, PlanRecord, PlannedMove};

/// Moves of one plan: each is begun and ended in a change of its own.
pub const MOVES_MAX: usize = 10_000;
/// Plans that are remembered, the oldest forgotten first.
pub const PLANS_MAX: usize = 32;

/// Why a plan is not carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the plan moves nothing")]
    Empty,
    #[error("the plan has {0} moves; at most {MOVES_MAX} are made together")]
    TooLong(usize),
    #[error("the plan moves {0} twice; what comes second would have to be planned anew")]
    Twice(ShardId),
    #[error("replicas or nodes have changed since the plan was made")]
    Changed,
    #[error("{0} is being carried out; one plan at a time")]
    Another(PlanId),
    #[error("move {number} of the plan: {refusal}")]
    Move { number: usize, refusal: MoveRefusal },
    #[error("there is no plan {0}")]
    NoPlan(PlanId),
}

/// Where everything is, or will be once what is under way has ended, in a word: the same for the same nodes and replicas, another
/// for any other.
pub fn placement_of(map: &ClusterMap) -> String {
    let map = settled(map);
    let mut hasher = blake3::Hasher::new();
    let mut number = |number: u64| {
        hasher.update(&number.to_le_bytes());
    };
    for node in map.nodes() {
        number(node.id.0);
        number(node.state as u64);
        number(u64::from(node.weight));
    }
    for shard in map.shards() {
        number(shard.id.0);
        number(shard.replicas.len() as u64);
        for replica in &shard.replicas {
            number(replica.id.0);
            number(replica.node.0);
            number(replica.role as u64);
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Looks whether a plan can be carried out from here; its record without a number.
///
/// # Errors
///
/// The first reason why not.
pub fn begin(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    made_for: &str,
    moves: &[PlannedMove],
    now_ms: u64,
) -> Result<PlanRecord, Refusal> {
    if let Some(other) = active(map) {
        return Err(Refusal::Another(PlanId(other.id)));
    }
    match moves.len() {
        0 => return Err(Refusal::Empty),
        count if count > MOVES_MAX => return Err(Refusal::TooLong(count)),
        _ if made_for != placement_of(map) => return Err(Refusal::Changed),
        _ => {}
    }
    let map = &settled(map);
    let mut shards = BTreeSet::new();
    for (number, planned) in moves.iter().enumerate() {
        if !shards.insert(planned.shard) {
            return Err(Refusal::Twice(ShardId(planned.shard)));
        }
        migration::check(map, settings, liveness, wish(planned))
            .map_err(|refusal| Refusal::Move { number: number + 1, refusal })?;
    }
    let fresh = |planned: &PlannedMove| PlannedMove { migration: 0, over: false, ..*planned };
    Ok(PlanRecord {
        moves: moves.iter().map(fresh).collect(),
        started_at_ms: now_ms,
        ..PlanRecord::default()
    })
}

/// The plan under way.
pub fn active(map: &ClusterMap) -> Option<&PlanRecord> {
    map.plans().find(|plan| plan.ended_at_ms == 0)
}

/// How a migration that a plan began stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    UnderWay,
    /// The shard is served from where it is to be; it can still be undone.
    Served,
    Ended(MigrationEnd),
    /// It ended so long ago that nobody knows how.
    Forgotten,
}

/// What to do next about a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Begin this move, as a migration; the record then names it.
    Begin { index: usize, proposed: Move },
    /// Write the record so.
    Rewrite(PlanRecord),
    /// Write the record of this job so: what only waits for somebody to undo it makes way.
    Close(JobRecord),
    /// Nothing for now; because of this, if it is not just the plan's own moves.
    Wait(Option<String>),
}

/// Decides the next thing about a plan under way.
pub fn next(
    plan: &PlanRecord,
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    stands: impl Fn(&PlannedMove) -> Stands,
    now_ms: u64,
) -> Next {
    let mut record = plan.clone();
    let mut served = 0;
    for planned in record.moves.iter_mut().filter(|planned| planned.migration != 0 && !planned.over) {
        let stands = stands(planned);
        served += usize::from(stands == Stands::Served);
        planned.over = !matches!(stands, Stands::UnderWay | Stands::Served);
        let failed = matches!(stands, Stands::Ended(end) if end != MigrationEnd::EndDone);
        if failed && record.stopped.is_empty() {
            record.stopped = format!("{} has not come about", MigrationId(planned.migration));
        }
    }
    let is_over =
        |planned: &PlannedMove| planned.over || (planned.migration == 0 && !record.stopped.is_empty());
    // Whoever undoes one that was served does so on his own account: nothing comes after it any more.
    if record.moves.iter().filter(|planned| !is_over(planned)).count() == served {
        record.ended_at_ms = now_ms;
    }
    if record != *plan {
        return Next::Rewrite(record);
    }
    let first = plan.moves.iter().position(|planned| planned.migration == 0);
    let Some(index) = first.filter(|_| plan.stopped.is_empty()) else { return Next::Wait(None) };
    if let Some(job) = map.job(ShardId(plan.moves[index].shard)) {
        return match migration::ordered(job, Order::Keep, now_ms) {
            Ok(kept) if kept != *job => Next::Close(kept),
            _ => Next::Wait(Some(format!("something else is being done for s{}: {}", job.shard, job.reason))),
        };
    }
    match migration::begin(map, settings, liveness, wish(&plan.moves[index])) {
        Ok(proposed) if may_start(map, settings, liveness, proposed.proposal()) => {
            Next::Begin { index, proposed }
        }
        Ok(_) => Next::Wait(None),
        Err(refusal) if passes(&refusal) => Next::Wait(Some(refusal.to_string())),
        Err(refusal) => Next::Rewrite(PlanRecord { stopped: refusal.to_string(), ..plan.clone() }),
    }
}

/// The record of a plan of which nothing more is to begin.
pub fn stopped(plan: &PlanRecord) -> PlanRecord {
    let stopped = if plan.stopped.is_empty() { "it was stopped" } else { &plan.stopped };
    PlanRecord { stopped: stopped.to_owned(), ..plan.clone() }
}

/// True if a migration has moved its shard and does not take that back.
pub fn is_served(job: &JobRecord) -> bool {
    is_past_voters(job) && job.migration.as_ref().is_some_and(|migration| migration.course() != Course::Undo)
}

/// What a plan wants moved. Zones were looked at when it was made.
fn wish(planned: &PlannedMove) -> Wish {
    Wish {
        shard: ShardId(planned.shard),
        from: Some(NodeId(planned.from_node)),
        to: NodeId(planned.to_node),
        force: true,
        keep_p99_us: 0,
    }
}

/// True if what stands against a move may be over later.
fn passes(refusal: &MoveRefusal) -> bool {
    matches!(
        refusal,
        MoveRefusal::Silent { .. }
            | MoveRefusal::NoRoom { .. }
            | MoveRefusal::NoQuorum { .. }
            | MoveRefusal::TooMany
    )
}

#[cfg(test)]
mod tests;
