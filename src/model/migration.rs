//! Migrations: moves of one replica that somebody asked for.
//!
//! A migration is a job ([`super::job`]) that has a name, five stages, and a *course*: whoever asked for it may have it pause,
//! go back, or be undone. All that is decided about it is written into its record, so whoever leads the meta shard next
//! knows it too.
//!
//! | stage | phase of the job | what happens | the way back |
//! |---|---|---|---|
//! | prepare | LEARN, no member yet | [`begin`] has looked whether it can be done and reserved an id; the target opens it | cancel: nothing has changed |
//! | transfer | LEARN | the target is a learner: it gets the shard's file, then the log | cancel: it is dropped |
//! | verify | VERIFY | all replicas make a digest at one entry of the log; the target's must be the majority's | cancel: it is dropped |
//! | update | PROMOTE | leadership moves off the source, then the voters change, in one joint step: the cut-over | cancel, until the joint entry is in a log |
//! | cleanup | REMOVE | for the undo window the source follows as a learner; then it is removed | undo: the voters change back, nothing is copied |
//!
//! | course | given by | leads to |
//! |---|---|---|
//! | FORWARD | begin, resume | the next stage |
//! | PAUSED | pause, before the cut-over | nothing, until resumed, cancelled, or a voter is lost |
//! | BACK | cancel; a target that is lost, differs or is refused; a voter that is lost | the target is dropped: rolled back. If the voters have changed by then, it is too late and the migration ends done |
//! | UNDO | undo, within the window | the voters of before, then the target is dropped |
//! | KEEP | another job that wants the shard | the window is over |
//!
//! *The meta shard* has a replica on every member, so what moves there is a vote: the target is the learner on its node, and nothing is
//! copied. Its window ends as soon as another node is to get a replica.
//!
//! ## Invariants and what guards each
//!
//! - What cannot be done safely is refused before anything is written, with the reason: guarded by
//!   `tests::what_cannot_be_done_is_refused`.
//! - Moves are bounded in number: guarded by
//!   `tests::moves_at_a_time_are_bounded`.
//! - A course is taken only where it can still be followed: guarded by `tests::each_stage_takes_only_what_it_can_follow`,
//!   `model::job::tests::migrations::whatever_is_wished_and_whoever_crashes_it_ends_whole`.
//! - How it ended is told from where the replicas are, not from what was wanted: guarded by
//!   `tests::the_end_is_told_from_the_replicas`.
//! - What the cluster moves to drain a node is not stopped but with the draining: guarded by
//!   `tests::a_drain_is_stopped_as_a_whole`.
//!
//! Does not carry anything out (`job`), nor choose what to move (`placement`).

use std::collections::BTreeSet;
use std::fmt;

use super::assign::{Balance, Site};
use super::config::Settings;
use super::id::{MigrationId, NodeId, ReplicaId, ShardId, listed};
use super::job::is_swap;
use super::map::{ClusterMap, NodeState, Replica, Role, Shard};
use super::placement::{Liveness, Proposal, Reason, TARGET_SILENT_MAX_MS, is_past_voters, stays_elected};
use super::wire::{Course, JobPhase, JobRecord, Migration, MigrationEnd, ReplicaRecord, ReplicaRole};

/// How long ended migrations are remembered, in milliseconds.
pub const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
/// How many of them, at most.
pub const KEPT_MAX: usize = 1_000;
/// Of the moves that even out, how many are kept for an undo: as many again can go on beside them.
const EVENED_KEPT_MAX: usize = super::placement::KEPT_MAX / 2;
/// Moves under way at a time, those included that only wait for somebody to undo them.
pub const MOVES_MAX: usize = 64;

/// Where a migration is, in the words of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Prepare,
    Transfer,
    Verify,
    Update,
    Cleanup,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Stage; 5] =
        [Stage::Prepare, Stage::Transfer, Stage::Verify, Stage::Update, Stage::Cleanup];

    /// The stage of a job. `joined`: the target is a member of the shard's group.
    pub fn of(phase: JobPhase, joined: bool) -> Stage {
        match phase {
            JobPhase::JobUnspecified | JobPhase::JobLearn if !joined => Stage::Prepare,
            JobPhase::JobUnspecified | JobPhase::JobLearn => Stage::Transfer,
            JobPhase::JobVerify => Stage::Verify,
            JobPhase::JobPromote => Stage::Update,
            JobPhase::JobRemove | JobPhase::JobDone => Stage::Cleanup,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Prepare => "prepare",
            Stage::Transfer => "transfer",
            Stage::Verify => "verify",
            Stage::Update => "update",
            Stage::Cleanup => "cleanup",
        })
    }
}

/// What somebody wants moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub shard: ShardId,
    /// `None`: where only one replica can be meant.
    pub from: Option<NodeId>,
    pub to: NodeId,
    /// Also where that puts two replicas into a zone that could be apart.
    pub force: bool,
    /// Copied slower while a hundredth of the requests takes longer than this, in microseconds; 0: as the settings say.
    pub keep_p99_us: u64,
}

/// Why a wish is not fulfilled. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no shard {0}")]
    NoShard(ShardId),
    #[error("there is no node {0}")]
    NoNode(NodeId),
    #[error("{node} votes on {shard} already")]
    Votes { shard: ShardId, node: NodeId },
    #[error("{from} does not vote on {shard}; {} do", listed(nodes))]
    NoVote { shard: ShardId, from: NodeId, nodes: Vec<NodeId> },
    #[error(
        "who votes on {shard} follows from zones, and from which nodes drain: {to} would not stay in place of {from}"
    )]
    Reelected { shard: ShardId, from: NodeId, to: NodeId },
    #[error("{node} is {state}; nothing moves there")]
    NoMember { node: NodeId, state: &'static str },
    #[error("{node} has not been heard for {} s", silent_ms / 1000)]
    Silent { node: NodeId, silent_ms: u64 },
    #[error("{shard} has a replica on {node} already")]
    There { shard: ShardId, node: NodeId },
    #[error("{shard} has no replica on {from}; it has some on {}", listed(nodes))]
    NotThere { shard: ShardId, from: NodeId, nodes: Vec<NodeId> },
    #[error("{shard} has replicas on {}: say which one moves", listed(nodes))]
    Unclear { shard: ShardId, nodes: Vec<NodeId> },
    #[error("{shard} needs {} MiB, and {node} has room for {} MiB beside its reserve", needed_bytes >> 20, free_bytes >> 20)]
    NoRoom { shard: ShardId, node: NodeId, needed_bytes: u64, free_bytes: u64 },
    #[error("{node} is in the zone `{zone}`, as {other} that has a replica of {shard}; they are to be apart")]
    Together { shard: ShardId, node: NodeId, other: NodeId, zone: String },
    #[error("only {alive} of the {voters} voters that {shard} would have are alive")]
    NoQuorum { shard: ShardId, alive: usize, voters: usize },
    #[error("{0} is moving already ({1})")]
    Moving(ShardId, MigrationId),
    #[error("something else is being done for {shard}: {reason}")]
    Busy { shard: ShardId, reason: String },
    #[error("{MOVES_MAX} moves are under way, or can still be undone; no more at a time")]
    TooMany,
    #[error("{0} is not under way")]
    NotUnderWay(MigrationId),
    #[error("{0} has been cut over already")]
    CutOver(MigrationId),
    #[error("{0} has not been cut over yet")]
    NotCutOver(MigrationId),
    #[error("{0} is going back already")]
    GoingBack(MigrationId),
    #[error("{id} is part of draining {node}; it stops with that")]
    Drains { id: MigrationId, node: NodeId },
    #[error("the time in which {0} could be undone is over")]
    WindowOver(MigrationId),
}

/// A wish that can be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    source: Replica,
    /// The replica that is to vote instead, where it is there already.
    swapped: Option<ReplicaRecord>,
    voters_before: Vec<u64>,
    proposal: Proposal,
    keep_p99_us: u64,
}

/// Looks whether a wish can be fulfilled now.
///
/// # Errors
///
/// The first reason why not.
pub fn begin(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    wish: Wish,
) -> Result<Move, Refusal> {
    let plan = check(map, settings, liveness, wish)?;
    match map.job(wish.shard) {
        Some(JobRecord { migration: Some(_), id, .. }) => Err(Refusal::Moving(wish.shard, MigrationId(*id))),
        Some(JobRecord { reason, .. }) => Err(Refusal::Busy { shard: wish.shard, reason: reason.clone() }),
        None if map.jobs().filter(|job| job.migration.is_some()).count() >= MOVES_MAX => {
            Err(Refusal::TooMany)
        }
        None => Ok(plan),
    }
}

/// Looks whether a wish could be fulfilled if nothing else were done for the shard.
///
/// # Errors
///
/// The first reason why not.
pub fn check(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    wish: Wish,
) -> Result<Move, Refusal> {
    let Wish { shard: id, from, to, force, keep_p99_us } = wish;
    let shard = map.shard(id).ok_or(Refusal::NoShard(id))?;
    fit(map, liveness, to)?;
    if id == ShardId::META {
        return swap(map, settings, liveness, (shard, wish));
    }
    if shard.replica_on(to).is_some() {
        return Err(Refusal::There { shard: id, node: to });
    }
    let source = *source(map, shard, from)?;
    if let Some((needed_bytes, free_bytes)) = liveness.lacks_room(to, id) {
        return Err(Refusal::NoRoom { shard: id, node: to, needed_bytes, free_bytes });
    }
    if !force {
        apart(map, settings, shard, source.node, to)?;
    }
    let add_votes = source.role == Role::Voter;
    let (before, voters) = stay(liveness, shard, source.id, usize::from(add_votes))?;
    let (add, remove, reason) = (Some(to), Some(source.id), Reason::Move);
    let proposal = Proposal { shard: id, add, remove, voters, add_votes, reason };
    Ok(Move { source, swapped: None, keep_p99_us, voters_before: before, proposal })
}

/// The same of the meta shard, where only votes move.
fn swap(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    (shard, wish): (&Shard, Wish),
) -> Result<Move, Refusal> {
    let (id, to) = (shard.id, wish.to);
    let busy = |what: &str| Refusal::Busy { shard: id, reason: format!("{to} {what}") };
    let target = *shard.replica_on(to).ok_or_else(|| busy("gets its replica"))?;
    if target.role == Role::Voter {
        return Err(Refusal::Votes { shard: id, node: to });
    }
    if liveness.damaged.contains(&target.id) {
        return Err(busy("gets its replica anew"));
    }
    let voting = Shard { replicas: shard.voters().copied().collect(), ..shard.clone() };
    let source = *source(map, &voting, wish.from).map_err(|refusal| match refusal {
        Refusal::NotThere { shard, from, nodes } => Refusal::NoVote { shard, from, nodes },
        other => other,
    })?;
    let (before, mut voters) = stay(liveness, shard, source.id, 1)?;
    voters.insert(target.id);
    if !stays_elected(map, settings, liveness, &before.iter().map(|id| ReplicaId(*id)).collect()) {
        return Err(Refusal::Busy { shard: id, reason: "its replicas change".to_owned() });
    }
    if !stays_elected(map, settings, liveness, &voters) {
        return Err(Refusal::Reelected { shard: id, from: source.node, to });
    }
    let target = ReplicaRecord { replica: target.id.0, node: to.0, role: ReplicaRole::RoleVoter.into() };
    let (add, remove, add_votes, reason) = (None, None, false, Reason::Move);
    let proposal = Proposal { shard: id, add, remove, voters, add_votes, reason };
    Ok(Move { source, swapped: Some(target), keep_p99_us: wish.keep_p99_us, voters_before: before, proposal })
}

/// All voters, and those that stay if `source` goes: with the `added` ones a majority of them answers.
fn stay(
    liveness: &Liveness,
    shard: &Shard,
    source: ReplicaId,
    added: usize,
) -> Result<(Vec<u64>, BTreeSet<ReplicaId>), Refusal> {
    let voters: Vec<u64> = shard.voters().map(|replica| replica.id.0).collect();
    let stay = || shard.voters().filter(|replica| replica.id != source);
    let alive =
        stay().filter(|replica| liveness.silent_ms(replica.node) <= TARGET_SILENT_MAX_MS).count() + added;
    if alive <= voters.len() / 2 {
        return Err(Refusal::NoQuorum { shard: shard.id, alive, voters: voters.len() });
    }
    Ok((voters, stay().map(|replica| replica.id).collect()))
}

/// Whether something may be moved to a node.
fn fit(map: &ClusterMap, liveness: &Liveness, to: NodeId) -> Result<(), Refusal> {
    let state = match map.node(to).ok_or(Refusal::NoNode(to))?.state {
        NodeState::Member => None,
        NodeState::Draining => Some("draining"),
        NodeState::Left => Some("no member any more"),
    };
    if let Some(state) = state {
        return Err(Refusal::NoMember { node: to, state });
    }
    match liveness.silent_ms(to) {
        silent_ms if silent_ms > TARGET_SILENT_MAX_MS => Err(Refusal::Silent { node: to, silent_ms }),
        _ => Ok(()),
    }
}

/// Whether the replicas of a shard are as much apart as zones allow once one has moved, or as little as before.
fn apart(
    map: &ClusterMap,
    settings: &Settings,
    shard: &Shard,
    from: NodeId,
    to: NodeId,
) -> Result<(), Refusal> {
    let zone = |node: NodeId| map.node(node).map_or("", |node| node.zone.as_str());
    if zone(from) == zone(to) {
        return Ok(());
    }
    let stay: Vec<NodeId> =
        shard.replicas.iter().map(|replica| replica.node).filter(|node| *node != from).collect();
    let is_broken = zones(map, settings).crowded(&[&stay[..], &[to]].concat()).is_some();
    match stay.into_iter().find(|other| zone(*other) == zone(to)).filter(|_| is_broken) {
        Some(other) => Err(Refusal::Together { shard: shard.id, node: to, other, zone: zone(to).to_owned() }),
        None => Ok(()),
    }
}

/// The zones of all members.
fn zones(map: &ClusterMap, settings: &Settings) -> Balance {
    let sites =
        map.members().map(|node| Site { node: node.id, zone: node.zone.clone(), weight: node.weight });
    Balance::new(sites, map.shards().count(), usize::try_from(settings.replicas).expect("a setting is small"))
}

/// The replica that moves. Without being told: the only one, or the only one whose node is on its way out.
fn source<'a>(map: &ClusterMap, shard: &'a Shard, from: Option<NodeId>) -> Result<&'a Replica, Refusal> {
    let nodes = || shard.replicas.iter().map(|replica| replica.node).collect();
    if let Some(from) = from {
        let there = shard.replica_on(from);
        return there.ok_or_else(|| Refusal::NotThere { shard: shard.id, from, nodes: nodes() });
    }
    let leaves =
        |replica: &&Replica| map.node(replica.node).is_none_or(|node| node.state != NodeState::Member);
    let leaving: Vec<&Replica> = shard.replicas.iter().filter(leaves).collect();
    match (&shard.replicas[..], &leaving[..]) {
        ([only], _) => Ok(only),
        (_, [only]) => Ok(only),
        _ => Err(Refusal::Unclear { shard: shard.id, nodes: nodes() }),
    }
}

impl Move {
    /// The move that a plan of the cluster's own proposes; `None`: what it proposes is none.
    pub fn proposed(map: &ClusterMap, proposal: &Proposal) -> Option<Move> {
        let shard = map.shard(proposal.shard).filter(|_| proposal.is_migration())?;
        Some(Move {
            source: *shard.replica(proposal.remove?)?,
            swapped: None,
            voters_before: shard.voters().map(|voter| voter.id.0).collect(),
            proposal: proposal.clone(),
            keep_p99_us: 0,
        })
    }

    /// What it changes.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// The record of the job that makes this move; `target` is the id reserved for the new replica.
    pub fn job(&self, id: u64, target: ReplicaId, undo_window_ms: u64, now_ms: u64) -> JobRecord {
        let job = self.proposal.job(id, target, now_ms);
        let role = match self.source.role {
            Role::Voter => ReplicaRole::RoleVoter,
            Role::Learner => ReplicaRole::RoleLearner,
        };
        let source = ReplicaRecord { replica: self.source.id.0, node: self.source.node.0, role: role.into() };
        let migration = Migration {
            source: Some(source),
            target: job.add.or(self.swapped),
            voters_before: self.voters_before.clone(),
            undo_window_ms,
            keep_p99_us: self.keep_p99_us,
            ..Migration::default()
        };
        JobRecord { migration: Some(migration), ..job }
    }
}

/// What somebody wants of a migration that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Pause,
    Resume,
    Cancel,
    Undo,
    /// Let nobody undo it any more.
    Keep,
}

/// The record of a migration that follows an order.
///
/// # Errors
///
/// If it cannot follow it any more, or not yet.
pub fn ordered(job: &JobRecord, order: Order, now_ms: u64) -> Result<JobRecord, Refusal> {
    let id = MigrationId(job.id);
    let migration = job.migration.as_ref().ok_or(Refusal::NotUnderWay(id))?;
    let past = is_past_voters(job);
    let course = match (order, migration.course()) {
        (Order::Cancel, _) if drained(job).is_some() && !past => {
            return Err(Refusal::Drains { id, node: drained(job).expect("it was asked just now") });
        }
        (_, Course::Undo) => return Err(Refusal::GoingBack(id)),
        (Order::Undo, Course::Keep) => return Err(Refusal::WindowOver(id)),
        (Order::Undo, _) if past => return undone(job, migration, now_ms),
        (Order::Keep, _) if past => Course::Keep,
        (Order::Undo | Order::Keep, _) => return Err(Refusal::NotCutOver(id)),
        (Order::Pause | Order::Resume | Order::Cancel, _) if past => return Err(Refusal::CutOver(id)),
        (Order::Cancel, _) => Course::Back,
        (Order::Pause | Order::Resume, Course::Back) => return Err(Refusal::GoingBack(id)),
        (Order::Pause, _) => Course::Paused,
        (Order::Resume, _) => Course::Forward,
    };
    let migration = Migration { course: course.into(), ..migration.clone() };
    Ok(JobRecord { migration: Some(migration), ..job.clone() })
}

fn undone(job: &JobRecord, migration: &Migration, now_ms: u64) -> Result<JobRecord, Refusal> {
    let spent_ms = now_ms.saturating_sub(migration.cut_over_at_ms);
    if spent_ms >= migration.undo_window_ms {
        return Err(Refusal::WindowOver(MigrationId(job.id)));
    }
    Ok(JobRecord {
        add: None,
        remove: if is_swap(job) { 0 } else { migration.target.as_ref().map_or(0, |target| target.replica) },
        voters: migration.voters_before.clone(),
        phase: JobPhase::JobPromote.into(),
        migration: Some(Migration { course: Course::Undo.into(), ..migration.clone() }),
        ..job.clone()
    })
}

/// A node that joins, leaves, or votes and drains: the meta shard follows it, which does not wait for a move to be resumed, or
/// undone.
fn changing(map: &ClusterMap) -> Option<NodeId> {
    let meta = map.shard(ShardId::META)?;
    let joins = map.members().map(|node| node.id).find(|node| meta.replica_on(*node).is_none());
    let leaves = |replica: &&Replica| match map.node(replica.node).map(|node| node.state) {
        None | Some(NodeState::Left) => true,
        Some(NodeState::Draining) => replica.role == Role::Voter,
        Some(NodeState::Member) => false,
    };
    joins.or_else(|| meta.replicas.iter().find(leaves).map(|replica| replica.node))
}

/// The node for whose draining a job was made.
fn drained(job: &JobRecord) -> Option<NodeId> {
    let source = job.migration.as_ref()?.source.as_ref()?;
    (job.reason == Reason::Drain.to_string()).then_some(NodeId(source.node))
}

/// Why a migration is not wanted any more, if it is not: the node that was to be drained is to stay, or one joins that
/// needs the meta shard.
pub fn superseded(map: &ClusterMap, job: &JobRecord) -> Option<String> {
    let goes_on = matches!(job.migration.as_ref()?.course(), Course::Forward | Course::Paused);
    let over = is_past_voters(job);
    if is_swap(job) && goes_on && !over {
        return changing(map).map(|node| format!("{node} joins, drains or leaves, and that comes first"));
    }
    let node = drained(job).filter(|_| goes_on && !over)?;
    let stays = map.node(node).is_some_and(|known| known.state == NodeState::Member);
    stays.then(|| format!("{node} is not drained any more"))
}

/// True if a job has done all but wait for somebody to undo it.
fn is_kept(job: &JobRecord) -> bool {
    let past = is_past_voters(job);
    let course = job.migration.as_ref().map(|migration| migration.course());
    past && course.is_some_and(|course| !matches!(course, Course::Keep | Course::Undo))
}

/// The record of a migration that is not kept for an undo any longer, where that is so: one of its nodes is to be emptied, or one
/// joins that needs the meta shard, and that does not wait; or the cluster evens out its nodes, and has so many younger ones that are kept.
pub fn outrun(map: &ClusterMap, job: &JobRecord) -> Option<JobRecord> {
    let migration = job.migration.as_ref()?;
    let leaves =
        |of: &ReplicaRecord| map.node(NodeId(of.node)).is_none_or(|node| node.state != NodeState::Member);
    let emptied = migration.source.iter().chain(&migration.target).any(leaves)
        || is_swap(job) && changing(map).is_some();
    let kept = Migration { course: Course::Keep.into(), ..migration.clone() };
    let age = |job: &JobRecord| (job.migration.as_ref().map_or(0, |of| of.cut_over_at_ms), job.id);
    let evens = |job: &&JobRecord| is_kept(job) && job.reason == Reason::Rebalance.to_string();
    let younger = map.jobs().filter(evens).filter(|other| age(other) > age(job)).count();
    let too_old = evens(&job) && younger >= EVENED_KEPT_MAX;
    (is_kept(job) && (emptied || too_old)).then(|| JobRecord { migration: Some(kept), ..job.clone() })
}

/// The record of a migration that has to go back.
pub fn turned_back(job: &JobRecord, because: &str) -> JobRecord {
    let turned = |migration: &Migration| Migration {
        course: Course::Back.into(),
        because: because.to_owned(),
        ..migration.clone()
    };
    JobRecord { migration: job.migration.as_ref().map(turned), ..job.clone() }
}

/// How a migration ended whose shard now has these replicas.
pub fn end(migration: &Migration, replicas: &[ReplicaRecord]) -> MigrationEnd {
    let is_there = |of: &Option<ReplicaRecord>| {
        of.as_ref().is_some_and(|of| replicas.iter().any(|replica| replica == of))
    };
    match (migration.course(), is_there(&migration.source), is_there(&migration.target)) {
        (Course::Undo, true, false) => MigrationEnd::EndUndone,
        (_, true, false) => MigrationEnd::EndRolledBack,
        (Course::Undo, _, _) => MigrationEnd::EndFailed,
        (_, false, true) => MigrationEnd::EndDone,
        _ => MigrationEnd::EndFailed,
    }
}

#[cfg(test)]
mod tests;
