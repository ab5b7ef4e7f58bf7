//! Jobs: how a change of placement is carried through, whoever crashes.
//!
//! A job is a durable record of the meta shard: which replica to add (its id reserved with the record), which voters to
//! end with, which replica to remove. The meta leader drives it: it asks the shard's leader what the membership is and
//! how far the learners are, calls [`next`], does that one step, and asks again. `next` decides from what is *seen*, not
//! from what was done before, so a successor that knows nothing but the record goes on from wherever things stand.
//!
//! ## Invariants and what guards each
//!
//! - Wherever one or two coordinators or leaders die, and however late their requests arrive, a successor comes to the
//!   same end: guarded by `tests::a_successor_completes_what_any_crash_left`.
//! - Only committed memberships count: what a leader has not committed may still vanish (failures.md rows 1 and 2):
//!   guarded by `tests::a_joint_membership_goes_forward_whatever_the_job_says`,
//!   `tests::a_successor_completes_what_any_crash_left`.
//! - One membership change at a time, each made for the membership seen; a late copy of an earlier step is refused:
//!   guarded by `tests::a_successor_completes_what_any_crash_left`.
//! - A joint membership is finished forward before anything else, whatever the job says: guarded by
//!   `tests::a_joint_membership_goes_forward_whatever_the_job_says`.
//! - Voters are odd in number whenever they rest. A learner that would make them even stays a learner; the next job
//!   promotes it together with its own: guarded by `tests::every_job_comes_to_its_end`,
//!   `tests::nonsense_and_strangers_end_a_job`.
//! - No step is taken towards voters of whom no majority is alive, nor towards one that lags: guarded by
//!   `tests::nobody_is_promoted_who_lags_or_is_silent`.
//! - A replica id that was in a job and is in no membership at its end is retired, for good (failures.md row 3); who
//!   votes is not removed: guarded by `tests::a_new_node_that_dies_on_the_way_leaves_nothing_behind`,
//!   `tests::a_new_replica_that_is_damaged_on_the_way_is_given_up`,
//!   `tests::a_new_replica_that_is_retired_on_the_way_is_not_added_again`,
//!   `tests::whoever_votes_is_not_removed_even_if_the_record_says_it_is_time`.
//! - The map follows the shard's own log and never goes back: guarded by
//!   `tests::the_map_follows_the_log_and_never_goes_back`.
//! - A migration ends with the shard as it was or moved, never in between, whatever is decided about it and when: guarded by
//!   `tests::migrations::whatever_is_wished_and_whoever_crashes_it_ends_whole`.
//! - Nobody is promoted whose content was not seen to be the same: guarded by
//!   `tests::migrations::nobody_is_promoted_who_holds_something_else`.
//!
//! A migration ([`super::migration`]) is a job with VERIFY between LEARN and PROMOTE, in whose REMOVE the source waits
//! until nobody can undo any more, and whose record may be told meanwhile to go another way. Of the meta shard every member
//! has a replica, so a migration of it is a *swap*: a learner votes in a voter's place. Its job adds nobody and removes nobody.
//!
//! Phases only say how far the record got; they never rise beyond what the membership shows to be done.
//!
//! | it crashes | what the successor sees | and does |
//! |---|---|---|
//! | before the record is written | no job; the ids reserved are skipped | plans anew |
//! | LEARN: before `AddLearner` | the replica is no member | `AddLearner` |
//! | LEARN: after it | it is a learner, its progress unknown | `AddLearner` again, which changes nothing and answers |
//! | LEARN: before or after `Advance` | a learner that caught up | `Advance`, or goes on in PROMOTE |
//! | VERIFY: before or after `Verify` | whether the leader has met such an entry since the replica came in | `Verify`, or waits for digests |
//! | PROMOTE: before or after `HandOver` | who leads | `HandOver` if it is still who goes |
//! | PROMOTE: before `ChangeVoters` | the old voters | `ChangeVoters` |
//! | PROMOTE: the joint entry is not committed | an uncommitted membership | waits: it commits or vanishes |
//! | PROMOTE: between joint and uniform entry | a joint membership | `ChangeVoters` to its second half |
//! | PROMOTE: after `ChangeVoters` | the voters aimed at | `Advance` or `Finish` |
//! | REMOVE: before `RemoveMember` | the replica is a learner | `RemoveMember` |
//! | REMOVE: after it | it is no member | `Finish` |
//! | before `Finish` | everything done, the record still there | `Finish` |
//! | after `Finish` | no job; map and tombstones came with its end | nothing |
//! | BACK is in the record | the new replica is a learner, or no member | `RemoveMember`; `Abandon` |
//! | UNDO is in the record, which now aims at the old voters | the new voters | as PROMOTE and REMOVE |
//! | giving up: before or after `RemoveMember` | the new node is gone, or its replica damaged; the learner is there or not | `RemoveMember`; `Abandon` |
//!
//! `Advance`, `Back`, `Finish` and `Abandon` are one compare-and-set of the job's record each, together with all they write.
//! Does not: send, write, wait, or know why a job was made (`placement`).

use std::collections::{BTreeMap, BTreeSet};

use super::id::{NodeId, ReplicaId};
use super::key::{Key, KeyRange};
use super::placement::is_past_voters;
use super::verify::{self, Verdict, Word};
use super::wire::{
    Course, JobPhase, JobRecord, Member, Membership, Migration, ReplicaRecord, ReplicaRole, ShardRecord,
    VoterSet,
};

/// A learner this many log entries behind counts as caught up.
pub const CAUGHT_UP_ENTRIES: u64 = 256;

/// What is known of a shard, mostly from its leader.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The newest membership in the leader's log, committed or not.
    pub membership: Membership,
    /// Up to where the leader has applied its log.
    pub applied_index: u64,
    /// Where the leader's log ends.
    pub last_index: u64,
    /// The shard's epoch at `applied_index`.
    pub epoch: u64,
    /// Up to where each replica has the log, as far as the leader said so lately. To ask again, forget the answer.
    pub matched: BTreeMap<ReplicaId, u64>,
    /// Nodes heard of within the last seconds.
    pub alive: BTreeSet<NodeId>,
    /// Nodes not waited for any more: silent past the limit, or no members.
    pub gone: BTreeSet<NodeId>,
    /// Replicas whose own nodes say that they have lost data: they will never catch up.
    pub damaged: BTreeSet<ReplicaId>,
    /// Replicas that are retired: their nodes do not have them, or remove them.
    pub retired: BTreeSet<ReplicaId>,
    /// Who leads the shard.
    pub leader: ReplicaId,
    /// The last entry the leader has met that asks for digests; 0: none since it started.
    pub asked_index: u64,
    /// What replicas have reported about such entries.
    pub words: BTreeMap<ReplicaId, Word>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// What to do next. Steps on the membership are made for the membership seen and are refused if it changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// To the shard's leader. If it is a member already nothing changes, and the answer says how far it is.
    AddLearner(Member),
    /// To the shard's leader: make these the voters, everybody else a learner.
    ChangeVoters(BTreeSet<ReplicaId>),
    /// To the shard's leader: drop this learner.
    RemoveMember(ReplicaId),
    /// To the shard's leader: have all replicas make a digest at one entry.
    Verify,
    /// To the shard's leader: let this voter lead.
    HandOver(ReplicaId),
    /// Nothing for now; look again later.
    Wait(Reason),
    /// Write the record with this phase.
    Advance(JobPhase),
    /// Write the record of a migration with the course BACK, and this reason.
    Back(Reason),
    /// Write the shard's record with these replicas (see [`finished`]), tombstones for those retired, and delete the
    /// job, all at once.
    Finish { replicas: Vec<ReplicaRecord>, epoch: u64, retired: Vec<ReplicaId> },
    /// Write the tombstones and delete the job, all at once. The membership is as it was before the job.
    Abandon { reason: Reason, retired: Vec<ReplicaId> },
}

/// Why a job waits or ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the shard has no known leader")]
    NoLeader,
    #[error("a membership change is being committed")]
    Uncommitted,
    #[error("{replica} is catching up, {entries} entries behind")]
    CatchingUp { replica: ReplicaId, entries: u64 },
    #[error("{0} does not answer")]
    Silent(NodeId),
    #[error("{0} is gone")]
    Gone(NodeId),
    #[error("{0} is damaged")]
    Damaged(ReplicaId),
    #[error("{0} is retired")]
    Retired(ReplicaId),
    #[error("too few of the shard's future voters are alive")]
    NoQuorum,
    #[error("{0} does not hold what the others hold")]
    Differs(ReplicaId),
    #[error("no majority of the shard's voters holds the same")]
    Split,
    #[error("the replicas make digests of what they hold")]
    Verifying,
    #[error("the replicas make copies of what they hold")]
    Preparing,
    #[error("what is split off is being made on {0}")]
    Making(NodeId),
    #[error("what was split off before is still being cleared away on {0}")]
    Trimming(NodeId),
    #[error("it holds too much to be merged")]
    TooLarge,
    #[error("it took too long")]
    Slow,
    #[error("it is paused")]
    Paused,
    #[error("it was cancelled")]
    Cancelled,
    #[error("it can be undone for another {left_ms} ms")]
    Window { left_ms: u64 },
    #[error("the shard's members are not those the job was made for")]
    Changed,
    #[error("the job's record makes no sense")]
    Malformed,
}

/// Decides the next step of a job. `seen` is `None` while no leader of the shard is known.
pub fn next(job: &JobRecord, seen: Option<&Observation>) -> Step {
    let Some(seen) = seen else { return Step::Wait(Reason::NoLeader) };
    let members = &seen.membership;
    let committed = members.log_id.is_none_or(|id| id.index <= seen.applied_index);
    if !committed {
        return Step::Wait(Reason::Uncommitted);
    }
    if let Some(voters) = joint(members) {
        return Step::ChangeVoters(voters);
    }
    let task = Task { job, seen, voters: voters(members), target: ids(&job.voters) };
    if let Some(step) = task.course() {
        return step;
    }
    if !task.is_sound() {
        return task.stop(Reason::Malformed);
    }
    match job.phase() {
        JobPhase::JobUnspecified | JobPhase::JobLearn => task.learn(),
        JobPhase::JobVerify => task.verify(),
        JobPhase::JobPromote => task.promote(),
        JobPhase::JobRemove | JobPhase::JobDone => task.remove(),
    }
}

/// The voters that a joint membership is on its way to; `None` if it is not joint. Whoever finds one finishes it, job
/// or no job.
pub fn joint(membership: &Membership) -> Option<BTreeSet<ReplicaId>> {
    let last = membership.configs.last().filter(|_| membership.configs.len() > 1);
    last.map(|config| ids(&config.replicas))
}

/// True of a migration in which nobody comes or goes: a learner and a voter change places.
pub fn is_swap(job: &JobRecord) -> bool {
    job.migration.is_some() && job.add.is_none() && job.remove == 0
}

struct Task<'a> {
    job: &'a JobRecord,
    seen: &'a Observation,
    voters: BTreeSet<ReplicaId>,
    target: BTreeSet<ReplicaId>,
}

impl Task<'_> {
    fn is_sound(&self) -> bool {
        let added = self.job.add.as_ref();
        let added_is_named = added.is_none_or(|add| add.replica != 0 && add.replica != self.job.remove);
        let votes = |add: &ReplicaRecord| self.target.contains(&ReplicaId(add.replica));
        let role_fits = added.is_none_or(|add| (add.role() == ReplicaRole::RoleVoter) == votes(add));
        let leaves = !self.target.contains(&self.leaver());
        self.target.len() % 2 == 1 && leaves && added_is_named && role_fits
    }

    /// The migration, if it is a swap.
    fn swap(&self) -> Option<&Migration> {
        self.job.migration.as_ref().filter(|_| is_swap(self.job))
    }

    /// The replica that the job makes, or makes a voter.
    fn newcomer(&self) -> Option<&ReplicaRecord> {
        self.job.add.as_ref().or_else(|| self.swap()?.target.as_ref())
    }

    /// The replica that goes, or votes no more; 0: none.
    fn leaver(&self) -> ReplicaId {
        let swapped = self.swap().and_then(|swap| match swap.course() {
            Course::Undo => swap.target,
            _ => swap.source,
        });
        ReplicaId(swapped.map_or(self.job.remove, |replica| replica.replica))
    }

    /// What the course of a migration leads to, other than forward.
    fn course(&self) -> Option<Step> {
        let migration = self.job.migration.as_ref().filter(|_| !self.is_cut_over())?;
        match migration.course() {
            Course::Back => Some(self.back(migration)),
            // One job at a time: a voter that is lost comes first.
            Course::Forward | Course::Paused if let Some(reason) = self.lost_voter(migration) => {
                Some(Step::Back(reason))
            }
            Course::Paused => Some(Step::Wait(Reason::Paused)),
            Course::Forward | Course::Undo | Course::Keep => None,
        }
    }

    /// Why a voter is to be replaced, other than the one that a migration under way replaces.
    fn lost_voter(&self, migration: &Migration) -> Option<Reason> {
        let is_replaced = |id: &ReplicaId| migration.course() == Course::Forward && *id == self.leaver();
        let others = self.voters.iter().filter(|id| !is_replaced(id));
        others.filter_map(|id| self.member(*id)).find_map(|member| self.hopeless(member))
    }

    /// Why a voter is to be replaced before an undo is waited for any longer: its source may never be ready.
    fn lost_while_undone(&self) -> Option<Reason> {
        let undo = self.job.migration.as_ref().filter(|migration| migration.course() == Course::Undo)?;
        self.lost_voter(undo)
    }

    /// True once the voters are those aimed at, of which the job does not make others any more.
    fn is_cut_over(&self) -> bool {
        let past = is_past_voters(self.job);
        let promotes = self.newcomer().is_some_and(|add| add.role() == ReplicaRole::RoleVoter);
        past || (promotes && self.voters == self.target)
    }

    /// The new replica goes, and all is as it was.
    fn back(&self, migration: &Migration) -> Step {
        let target = migration.target.as_ref().map_or(0, |target| target.replica);
        match self.member(ReplicaId(target)).filter(|_| self.swap().is_none()) {
            Some(member) => Step::RemoveMember(ReplicaId(member.replica)),
            None => Step::Abandon { reason: Reason::Cancelled, retired: self.retired() },
        }
    }

    fn learn(&self) -> Step {
        let Some(add) = self.newcomer() else { return Step::Advance(JobPhase::JobPromote) };
        let member = Member { replica: add.replica, node: add.node };
        if let Some(reason) = self.hopeless(member) {
            return self.stop(reason);
        }
        let next = match self.job.migration {
            Some(_) => JobPhase::JobVerify,
            None => JobPhase::JobPromote,
        };
        self.ready(member).unwrap_or(Step::Advance(next))
    }

    fn verify(&self) -> Step {
        let Some(add) = self.newcomer() else { return Step::Advance(JobPhase::JobPromote) };
        let (id, member) = (ReplicaId(add.replica), Member { replica: add.replica, node: add.node });
        if let Some(reason) = self.hopeless(member) {
            return self.stop(reason);
        }
        if let Some(step) = self.ready(member) {
            return step;
        }
        let joined_index = self.seen.membership.log_id.map_or(0, |log_id| log_id.index);
        match verify::judge(self.seen.asked_index, joined_index, &self.voters, id, &self.seen.words) {
            Verdict::Same => Step::Advance(JobPhase::JobPromote),
            Verdict::Differs => self.stop(Reason::Differs(id)),
            Verdict::Split => self.stop(Reason::Split),
            Verdict::Wait => Step::Wait(Reason::Verifying),
            Verdict::Ask => Step::Verify,
        }
    }

    fn promote(&self) -> Step {
        if self.voters == self.target {
            return match self.job.remove {
                0 if self.swap().is_none() => self.finish(),
                _ => Step::Advance(JobPhase::JobRemove),
            };
        }
        let Some(members) = self.target.iter().map(|id| self.member(*id)).collect::<Option<Vec<Member>>>()
        else {
            return self.stop(Reason::Changed);
        };
        for member in members.iter().filter(|member| !self.voters.contains(&ReplicaId(member.replica))) {
            if let Some(reason) = self.hopeless(*member) {
                return self.stop(reason);
            }
            if let Some(step) = self.ready(*member) {
                return self.lost_while_undone().map_or(step, |reason| self.stop(reason));
            }
        }
        let alive = |member: &&Member| self.seen.alive.contains(&NodeId(member.node));
        if members.iter().filter(alive).count() <= members.len() / 2 {
            return Step::Wait(Reason::NoQuorum);
        }
        let stays = |member: &&Member| self.voters.contains(&ReplicaId(member.replica)) && alive(member);
        match members.iter().filter(stays).max_by_key(|member| self.matched(member)) {
            Some(heir) if self.source_leads() => Step::HandOver(ReplicaId(heir.replica)),
            _ => Step::ChangeVoters(self.target.clone()),
        }
    }

    /// True if who leads is to vote no more, and the move is to be felt as little as can be.
    fn source_leads(&self) -> bool {
        self.job.migration.is_some() && self.seen.leader == self.leaver()
    }

    fn matched(&self, member: &Member) -> u64 {
        self.seen.matched.get(&ReplicaId(member.replica)).copied().unwrap_or(0)
    }

    fn remove(&self) -> Step {
        let id = self.leaver();
        match self.member(id) {
            None => self.finish(),
            // The record ran ahead of the membership, which only damage can explain: the change comes first.
            Some(_) if self.voters.contains(&id) => self.promote(),
            Some(member) => match self.window_left_ms(member) {
                0 if self.swap().is_some() => self.finish(),
                0 => Step::RemoveMember(id),
                left_ms => Step::Wait(Reason::Window { left_ms }),
            },
        }
    }

    /// How long the source is kept, so that it may take its place again. It is not if that has become senseless, or if
    /// something else is to be done for the shard: one job at a time.
    fn window_left_ms(&self, source: Member) -> u64 {
        let Some(migration) = &self.job.migration else { return 0 };
        let voters = self.target.iter().filter_map(|id| self.member(*id));
        let is_lost = |member: Member| self.hopeless(member).is_some();
        if matches!(migration.course(), Course::Undo | Course::Keep) || voters.chain([source]).any(is_lost) {
            return 0;
        }
        let (now_ms, begun_ms) = (self.seen.now_ms, migration.cut_over_at_ms);
        if begun_ms.saturating_sub(now_ms) > migration.undo_window_ms {
            return 0; // a clock was wrong by more than that, and the window would last as long
        }
        migration.undo_window_ms.saturating_sub(now_ms.saturating_sub(begun_ms))
    }

    /// Why a replica will never be a voter.
    fn hopeless(&self, member: Member) -> Option<Reason> {
        let (id, node) = (ReplicaId(member.replica), NodeId(member.node));
        let reasons = [
            (self.seen.gone.contains(&node), Reason::Gone(node)),
            (self.seen.damaged.contains(&id), Reason::Damaged(id)),
            // The map dropped it while the job had taken it out for a reason that is gone.
            (self.seen.retired.contains(&id), Reason::Retired(id)),
        ];
        reasons.into_iter().find_map(|(is_so, reason)| is_so.then_some(reason))
    }

    /// What is missing for a replica to be a learner that has caught up; `None`: nothing.
    fn ready(&self, member: Member) -> Option<Step> {
        let (id, node) = (ReplicaId(member.replica), NodeId(member.node));
        let known = self.seen.matched.get(&id).filter(|_| self.member(id).is_some());
        if !self.seen.alive.contains(&node) {
            return Some(Step::Wait(Reason::Silent(node)));
        }
        let Some(matched) = known else { return Some(Step::AddLearner(member)) };
        let entries = self.seen.last_index.saturating_sub(*matched);
        (entries > CAUGHT_UP_ENTRIES).then_some(Step::Wait(Reason::CatchingUp { replica: id, entries }))
    }

    /// Ends the job early. What it added stays if it is there and may yet be a voter; the next plan makes use of it.
    fn stop(&self, reason: Reason) -> Step {
        let forward = |migration: &&Migration| matches!(migration.course(), Course::Forward);
        if !self.is_cut_over() && self.job.migration.as_ref().filter(forward).is_some() {
            return Step::Back(reason);
        }
        if self.swap().is_some() {
            return self.finish();
        }
        let add = self.job.add.as_ref();
        let Some(member) = add.and_then(|add| self.member(ReplicaId(add.replica))) else {
            return Step::Abandon { reason, retired: self.retired() };
        };
        let id = ReplicaId(member.replica);
        let useless = self.hopeless(member).is_some() && !self.voters.contains(&id);
        if useless { Step::RemoveMember(id) } else { self.finish() }
    }

    fn finish(&self) -> Step {
        let replicas = replicas(&self.seen.membership);
        Step::Finish { replicas, epoch: self.seen.epoch, retired: self.retired() }
    }

    /// Of the job's replicas those that are no members, at a committed and uniform membership: they never will be again.
    fn retired(&self) -> Vec<ReplicaId> {
        let named = self.job.add.iter().map(|add| add.replica).chain([self.job.remove]);
        let gone = named.filter(|id| *id != 0 && self.member(ReplicaId(*id)).is_none());
        gone.map(ReplicaId).collect()
    }

    fn member(&self, id: ReplicaId) -> Option<Member> {
        self.seen.membership.members.iter().find(|member| member.replica == id.0).copied()
    }
}

/// The shard's record after a job that ended with these replicas.
pub fn finished(record: &ShardRecord, replicas: Vec<ReplicaRecord>, epoch: u64) -> ShardRecord {
    ShardRecord { replicas, epoch: epoch.max(record.epoch), ..record.clone() }
}

/// The record that agrees with what the shard's own log says (its applied membership, epoch and bounds); `None` if
/// `record` does already, or knows better. The log is the truth and the map follows, never the other way.
///
/// The epoch rises with every uniform membership and change of bounds, so a report with a lower one is old. At the same
/// epoch the report may add to the record, but nobody is dropped on the word of it.
pub fn map_repair(
    record: &ShardRecord,
    membership: &Membership,
    epoch: u64,
    bounds: &KeyRange,
) -> Option<ShardRecord> {
    if epoch < record.epoch || membership.configs.len() != 1 || voters(membership).is_empty() {
        return None;
    }
    let end = bounds.end.as_ref().map(Key::to_bytes).unwrap_or_default();
    let replicas = replicas(membership);
    let repaired = ShardRecord { start: bounds.start.to_bytes(), end, epoch, replicas, ..record.clone() };
    let same_bounds = repaired.start == record.start && repaired.end == record.end;
    if epoch == record.epoch && !(dropped(record, &repaired).is_empty() && same_bounds) {
        return None;
    }
    // Order means nothing: a mere shuffle is no repair.
    let sorted = |record: &ShardRecord| {
        let mut record = record.clone();
        record.replicas.sort_by_key(|replica| replica.replica);
        record
    };
    (sorted(&repaired) != sorted(record)).then_some(repaired)
}

/// The replicas that `before` lists and `after` does not: to be retired in the same write that makes it so.
pub fn dropped(before: &ShardRecord, after: &ShardRecord) -> Vec<ReplicaId> {
    let kept: BTreeSet<u64> = after.replicas.iter().map(|replica| replica.replica).collect();
    let gone = before.replicas.iter().filter(|replica| !kept.contains(&replica.replica));
    gone.map(|replica| ReplicaId(replica.replica)).collect()
}

/// The replicas of a uniform membership, as records.
pub fn replicas(membership: &Membership) -> Vec<ReplicaRecord> {
    let voters = voters(membership);
    let record = |member: &Member| {
        let role = match voters.contains(&ReplicaId(member.replica)) {
            true => ReplicaRole::RoleVoter,
            false => ReplicaRole::RoleLearner,
        };
        ReplicaRecord { replica: member.replica, node: member.node, role: role.into() }
    };
    membership.members.iter().map(record).collect()
}

fn voters(membership: &Membership) -> BTreeSet<ReplicaId> {
    let all = membership.configs.iter().flat_map(|VoterSet { replicas }| replicas);
    all.map(|id| ReplicaId(*id)).collect()
}

fn ids(numbers: &[u64]) -> BTreeSet<ReplicaId> {
    numbers.iter().copied().map(ReplicaId).collect()
}

#[cfg(test)]
mod tests;
