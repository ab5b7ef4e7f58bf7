//! Splitting shards: what operators ask, and how the jobs are carried out ([`crate::model::split`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::key::Key;
use crate::model::map::{ClusterMap, Shard};
use crate::model::placement::{Liveness, TARGET_SILENT_MAX_MS};
use crate::model::split::{self, Seen, Step};
use crate::model::system::{Counter, SystemKey};
use crate::model::time::Timestamp;
use crate::model::wire::{JobPhase, JobRecord, LogId, Membership, ShardRecord, Split, SplitJob};
use crate::net::wire::{
    self, AdminReply, NodeStatus, PlacementReply, PlacementStep, ReplicaStatus, SplitReply,
    placement_step::Step as Told,
};

use super::admin::{AdminError, Office};
use super::drive::{Driver, Round};
use super::led::leaders;
use super::records::{Change, MetaError};
use super::reports::DAMAGED;

/// What a job that splits a shard is called.
const REASON: &str = "split";
/// Steps of one split in a round: keys on their way to a new shard wait for it.
const STEPS_MAX: usize = 4;

/// Where a shard is to be split.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// At this internal key.
    At(Bytes),
    /// Where as many bytes are before it as behind.
    Middle,
    /// Where each half is asked half.
    BusyMiddle,
}

/// Why a busy shard is not split.
const UNDIVIDED: &str =
    "no key divides what is asked: one key gets most of it, or the keys that are asked keep ascending";

impl Office {
    /// Begins a split. Asked again while it is under way, it says so.
    pub(super) async fn shard_split(&self, asked: &wire::ShardSplit) -> Result<AdminReply, AdminError> {
        let place = if asked.at.is_empty() { Place::Middle } else { Place::At(asked.at.clone()) };
        let split = self.begin_split(ShardId(asked.shard), place, false).await?;
        Ok(AdminReply { split: Some(split), ..AdminReply::default() })
    }

    /// Begins a split; `by_itself`: nobody has asked for it.
    pub(super) async fn begin_split(
        &self,
        shard: ShardId,
        place: Place,
        by_itself: bool,
    ) -> Result<SplitReply, AdminError> {
        let (cluster, liveness) = self.heard()?;
        let known = cluster.map.shard(shard);
        let known = known.ok_or_else(|| AdminError::NotFound(format!("there is no shard {shard}")))?;
        if shard == ShardId::META {
            return Err(AdminError::Invalid(format!(
                "{shard} holds the cluster's own records and stays whole"
            )));
        }
        check_replicas(known, &liveness)?;
        let looked = self.looked(&cluster.map, shard, &place).await;
        let looked = looked.ok_or_else(|| {
            let or_else = match place {
                Place::Middle => {
                    ", or its middle was not found in time: say --at which key it is to be split"
                }
                Place::BusyMiddle | Place::At(_) => "",
            };
            AdminError::Busy(format!("nobody leads {shard} just now{or_else}"))
        })?;
        if looked.birth != 0 {
            let child = ShardId(looked.birth);
            return Err(AdminError::Busy(format!(
                "{child}, which was split off from {shard}, is still being made"
            )));
        }
        let at = match place {
            Place::At(at) => at,
            Place::Middle | Place::BusyMiddle if !looked.middle.is_empty() => looked.middle.clone(),
            Place::Middle => {
                let what = format!("{shard} has too few keys to be halved; say --at which");
                return Err(AdminError::Invalid(what));
            }
            Place::BusyMiddle => return Err(AdminError::Invalid(UNDIVIDED.to_owned())),
        };
        let key = Key::from_internal(at.clone()).map_err(|error| AdminError::Invalid(error.to_string()))?;
        if key <= known.range.start || !known.range.contains(&key) {
            return Err(AdminError::Invalid(format!(
                "the new shard's first key must be one of {shard}'s, and not its first"
            )));
        }
        self.make_way(shard).await?;
        self.record_split(&cluster.map, shard, (at, by_itself), &looked).await
    }

    /// A migration that only waits for somebody to undo it ends; any other job comes first.
    pub(super) async fn make_way(&self, shard: ShardId) -> Result<(), AdminError> {
        let Some((stored, stamp)) = self.records.read(&SystemKey::Job(shard))? else { return Ok(()) };
        let job = JobRecord::decode(stored).map_err(|_| MetaError::Damaged(shard.to_string()))?;
        if job.migration.is_some() {
            self.close_window(&job, stamp).await?;
        }
        Err(AdminError::Busy(format!("something else is done for {shard}; see nomad why shard {shard}")))
    }

    /// What the shard's leader says of it, and of its middle.
    async fn looked(&self, map: &ClusterMap, shard: ShardId, place: &Place) -> Option<PlacementReply> {
        let leader = self.leader_of(map, shard).await.ok()??;
        let step = match place {
            Place::At(_) => None,
            Place::Middle => Some(Told::Middle(true)),
            Place::BusyMiddle => Some(Told::BusyMiddle(true)),
        };
        let asked = PlacementStep { shard: shard.0, step, ..PlacementStep::default() };
        self.steps.ask(leader, asked).await.filter(|reply| reply.failure.is_none())
    }

    async fn record_split(
        &self,
        map: &ClusterMap,
        shard: ShardId,
        (at, by_itself): (Bytes, bool),
        looked: &PlacementReply,
    ) -> Result<SplitReply, AdminError> {
        let Some(parent) = looked.membership.as_ref().filter(|membership| membership.configs.len() == 1)
        else {
            return Err(AdminError::Busy(format!("the members of {shard} are changing")));
        };
        let count = parent.members.len() as u64;
        let (id, change) = self.records.take_ids(Change::default(), Counter::Job, 1)?;
        let (child, change) = self.records.take_ids(change, Counter::Shard, 1)?;
        let (first, change) = self.records.take_ids(change, Counter::Replica, count)?;
        let split = SplitJob {
            child,
            at: at.clone(),
            epoch: looked.epoch,
            membership: Some(beside(parent, first)),
            ring_position: self.chance.number(),
            by_itself,
        };
        let job = JobRecord {
            id,
            shard: shard.0,
            reason: REASON.to_owned(),
            started_at_ms: self.clock.wall_ms(),
            phase: JobPhase::JobLearn.into(),
            voters: parent.configs.iter().flat_map(|set| set.replicas.iter().copied()).collect(),
            split: Some(split.into()),
            ..JobRecord::default()
        };
        self.records.commit(self.records.begin_job(change, map, &job)?).await?;
        tracing::info!(%shard, child = %ShardId(child), by_itself, "a split begins");
        Ok(SplitReply { child, at })
    }
}

/// All replicas are there, and each has room for a copy.
pub(super) fn check_replicas(shard: &Shard, liveness: &Liveness) -> Result<(), AdminError> {
    let id = shard.id;
    for replica in &shard.replicas {
        let silent_ms = liveness.silent_ms(replica.node);
        if silent_ms > TARGET_SILENT_MAX_MS || liveness.damaged.contains(&replica.id) {
            let what = format!("the replica of {id} on {} is not there", replica.node);
            return Err(AdminError::Forbidden(what));
        }
        if let Some((needs, has)) = liveness.lacks_room(replica.node, id) {
            let node = replica.node;
            let what =
                format!("{node} has no room for a copy of {id}: it takes {needs} bytes, and there are {has}");
            return Err(AdminError::Forbidden(what));
        }
    }
    Ok(())
}

/// Shards that a plan under way has still to move: it was thought out for them as they are.
pub(super) fn planned(map: &ClusterMap) -> BTreeSet<ShardId> {
    let open = map.plans().filter(|plan| plan.ended_at_ms == 0);
    let moves = open.flat_map(|plan| &plan.moves).filter(|planned| !planned.over);
    moves.map(|planned| ShardId(planned.shard)).collect()
}

/// The members of a new shard, one on each node that has one of `parent`, with ids from `first` on.
fn beside(parent: &Membership, first: u64) -> Membership {
    let mut born = parent.clone();
    born.log_id = Some(LogId::default());
    let fresh = |id: u64| {
        let place = parent.members.iter().position(|member| member.replica == id);
        first + place.expect("a voter is a member") as u64
    };
    born.members.iter_mut().for_each(|member| member.replica = fresh(member.replica));
    born.configs.iter_mut().flat_map(|set| &mut set.replicas).for_each(|id| *id = fresh(*id));
    born
}

impl Driver {
    /// Does the next steps of a job that splits a shard.
    pub(super) async fn drive_split(
        &self,
        round: &Round<'_>,
        (job, split): (&JobRecord, &SplitJob),
        stamp: Timestamp,
        leader: Option<NodeId>,
    ) -> Result<(), MetaError> {
        let child = round.cluster.map.shard(ShardId(split.child));
        let mut reply = match leader {
            Some(leader) => self.ask(job, leader, None, None, None).await,
            None => None,
        };
        let prepared = self.prepared(job, split).await;
        for _ in 0..STEPS_MAX {
            let seen = reply.as_ref().map(|reply| seen(round, split, reply));
            let seen = seen.map(|seen| Seen { prepared, now_ms: self.clock.wall_ms(), ..seen });
            let step = split::next(job, split, seen.as_ref(), child);
            self.watched.waits_for(job, if let Step::Wait(reason) = step { Some(reason) } else { None });
            let (Some(leader), Some(told)) = (leader, for_leader(split, &step)) else {
                return self.do_split(job, split, stamp, step).await;
            };
            tracing::debug!(shard = %ShardId(job.shard), ?step, "a step of a split");
            reply = self.ask(job, leader, None, Some(told), None).await;
        }
        Ok(())
    }

    /// Has all replicas of the parent make copies of what they hold; true once they have.
    async fn prepared(&self, job: &JobRecord, split: &SplitJob) -> bool {
        if job.phase() != JobPhase::JobLearn {
            return true;
        }
        let step = Some(Told::Prepare(split.at.clone()));
        let prepare = PlacementStep { shard: job.shard, step, ..PlacementStep::default() };
        let members = split.membership.iter().flat_map(|membership| &membership.members);
        let own = self.reports.node();
        let all = members.map(|member| self.steps.ask_replica(own, NodeId(member.node), prepare.clone()));
        // Who does not lead answers that, and whether it is ready.
        join_all(all).await.iter().all(|reply| reply.as_ref().is_some_and(|reply| reply.prepared))
    }

    async fn do_split(
        &self,
        job: &JobRecord,
        split: &SplitJob,
        stamp: Timestamp,
        step: Step,
    ) -> Result<(), MetaError> {
        let (shard, child) = (ShardId(job.shard), ShardId(split.child));
        let job_key = SystemKey::Job(shard);
        match step {
            Step::Record { epoch } => {
                let Some((stored, seen)) = self.records.read(&SystemKey::Shard(shard))? else {
                    return Ok(());
                };
                let parent =
                    ShardRecord::decode(stored).map_err(|_| MetaError::Damaged(shard.to_string()))?;
                let (lower, upper) = split::halves(&parent, split, epoch);
                let settles = JobRecord { phase: JobPhase::JobRemove.into(), ..job.clone() };
                let change = Change::default()
                    .put(&job_key, settles.encode_to_vec(), Some(stamp))
                    .put(&SystemKey::Shard(shard), lower.encode_to_vec(), Some(seen))
                    .put(&SystemKey::Shard(child), upper.encode_to_vec(), None);
                self.records.commit(change).await?;
                tracing::info!(%shard, %child, "a shard is split");
            }
            Step::End => {
                self.records.commit(Change::default().delete(&job_key, stamp)).await?;
            }
            Step::Abandon(reason) => {
                let members = split.membership.iter().flat_map(|membership| &membership.members);
                let unborn: Vec<ReplicaId> = members.map(|member| ReplicaId(member.replica)).collect();
                let change = Change::default().delete(&job_key, stamp);
                self.records.commit(self.records.retire(change, child, &unborn)?).await?;
                tracing::warn!(%shard, %child, %reason, "a split is given up");
            }
            Step::Wait(_) | Step::Split | Step::Fence | Step::Settle => {}
        }
        Ok(())
    }

    /// Settles splits whose job has ended before, since a node was gone for long.
    pub async fn settle_rest(&self, round: &Round<'_>) -> Result<(), MetaError> {
        for (shard, seen) in leaders(round.statuses) {
            let status = seen.status;
            let child = round.cluster.map.shard(ShardId(status.birth));
            let Some(child) = child.filter(|_| status.birth != 0 && round.cluster.map.job(shard).is_none())
            else {
                continue;
            };
            let made = made(round.statuses, child.id);
            let mut first = status.birth_replicas.iter().map(|id| ReplicaId(*id));
            if first.any(|id| child.replica(id).is_some() && !made.contains(&id)) {
                continue;
            }
            let step = Some(Told::Settle(child.id.0));
            let asked = PlacementStep { shard: shard.0, step, ..PlacementStep::default() };
            let _ = self.steps.ask(seen.leader, asked).await;
        }
        Ok(())
    }
}

/// The step as the parent's leader is told it; `None`: it is not for it.
fn for_leader(split: &SplitJob, step: &Step) -> Option<Told> {
    match step {
        Step::Split => Some(Told::Split(Split {
            epoch: split.epoch,
            at: split.at.clone(),
            child: split.child,
            membership: split.membership.clone(),
        })),
        Step::Fence => Some(Told::Split(Split { epoch: split.epoch, ..Split::default() })),
        Step::Settle => Some(Told::Settle(split.child)),
        Step::Wait(_) | Step::Record { .. } | Step::End | Step::Abandon(_) => None,
    }
}

fn seen(round: &Round<'_>, split: &SplitJob, reply: &PlacementReply) -> Seen {
    Seen {
        membership: reply.membership.clone().unwrap_or_default(),
        applied_index: reply.applied_index,
        epoch: reply.epoch,
        birth: reply.birth,
        alive: round.alive(),
        gone: round.gone(),
        damaged: round.liveness.damaged.clone(),
        made: made(round.statuses, ShardId(split.child)),
        ..Seen::default()
    }
}

/// The sound replicas of a shard that nodes have reported.
fn made(statuses: &[Arc<NodeStatus>], shard: ShardId) -> BTreeSet<ReplicaId> {
    let all = statuses.iter().flat_map(|status| &status.replicas);
    let sound = all.filter(|replica| replica.shard == shard.0 && replica.state != DAMAGED);
    sound.map(|replica| ReplicaId(replica.replica)).collect()
}

/// Replicas of split shards that their nodes cannot make any more: they do not have the parent. They count as damaged, so
/// that others take their place.
pub fn never_made(map: &ClusterMap, statuses: &[Arc<NodeStatus>]) -> Vec<ReplicaId> {
    let mut lost = Vec::new();
    for (parent, seen) in leaders(statuses) {
        let Some(child) = map.shard(ShardId(seen.status.birth)).filter(|_| seen.status.birth != 0) else {
            continue;
        };
        let first: BTreeSet<u64> = seen.status.birth_replicas.iter().copied().collect();
        for replica in child.replicas.iter().filter(|replica| first.contains(&replica.id.0)) {
            let Some(node) = statuses.iter().find(|status| status.node == replica.node.0) else { continue };
            let has = |of: &dyn Fn(&ReplicaStatus) -> bool| node.replicas.iter().any(of);
            let is_there = has(&|one| one.replica == replica.id.0);
            let has_parent = has(&|one| one.shard == parent.0 && one.state != DAMAGED);
            if !is_there && !has_parent {
                lost.push(replica.id);
            }
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::wire::{Member, VoterSet};

    #[test]
    fn a_new_shard_is_beside_its_parent() {
        let member = |replica, node| Member { replica, node };
        let parent = Membership {
            log_id: Some(LogId { term: 3, index: 8 }),
            configs: vec![VoterSet { replicas: vec![5, 9, 7] }],
            members: vec![member(5, 1), member(7, 2), member(8, 4), member(9, 3)],
        };
        let born = beside(&parent, 20);
        assert_eq!(born.log_id, Some(LogId::default()));
        assert_eq!(born.configs, [VoterSet { replicas: vec![20, 23, 21] }]);
        assert_eq!(born.members, [member(20, 1), member(21, 2), member(22, 4), member(23, 3)]);
    }
}
