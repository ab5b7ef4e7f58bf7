//! Merging shards: what operators ask, and how the jobs are carried out ([`crate::model::merge`]).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use prost::Message;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::job::Reason;
use crate::model::map::{ClusterMap, Shard};
use crate::model::merge::{self, Seen, Side, Step, Which};
use crate::model::sizing::MERGED_MAX_BYTES;
use crate::model::system::{Counter, SystemKey};
use crate::model::wire::{Ingest, JobPhase, JobRecord, MergeJob, ShardRecord};
use crate::net::wire::{
    self, AdminReply, Compare, Leftover, PlacementReply, PlacementStep, placement_step::Step as Told,
};

use super::admin::{AdminError, Office};
use super::drive::{Driver, Round};
use super::led::leaders;
use super::records::{Change, MetaError};
use super::splits::{check_replicas, planned};

/// What a job that merges shards is called.
const REASON: &str = "merge";
/// Steps of one merge in a round: requests for its keys wait for it.
const STEPS_MAX: usize = 64;

impl Office {
    /// Begins a merge that somebody has asked for.
    pub(super) async fn shard_merge(&self, asked: wire::ShardMerge) -> Result<AdminReply, AdminError> {
        let left = ShardId(asked.shard);
        let (cluster, _) = self.heard()?;
        let known = cluster.map.shard(left);
        let known = known.ok_or_else(|| AdminError::NotFound(format!("there is no shard {left}")))?;
        let right = right_of(&cluster.map, known).ok_or_else(|| {
            AdminError::Invalid(format!("no shard begins where {left} ends: it is the last one"))
        })?;
        self.begin_merge(left, right.id).await?;
        Ok(AdminReply { gone: right.id.0, ..AdminReply::default() })
    }

    /// Begins to merge two neighbours.
    pub(super) async fn begin_merge(&self, left: ShardId, right: ShardId) -> Result<(), AdminError> {
        let (cluster, liveness) = self.heard()?;
        let pair = cluster.map.shard(left).zip(cluster.map.shard(right));
        let (known, gone) =
            pair.ok_or_else(|| AdminError::NotFound(format!("there is no {left} or {right}")))?;
        if left == ShardId::META || known.range.end.as_ref() != Some(&gone.range.start) {
            let what =
                format!("{left} and {right} are no neighbours, or one holds the cluster's own records");
            return Err(AdminError::Invalid(what));
        }
        for shard in [known, gone] {
            check_replicas(shard, &liveness)?;
        }
        if [left, right].iter().any(|shard| planned(&cluster.map).contains(shard)) {
            let what =
                format!("a plan under way has still to move {left} or {right}; see nomad migrate plans");
            return Err(AdminError::Busy(what));
        }
        for shard in [left, right] {
            self.make_way(shard).await?;
        }
        let look = async |shard: ShardId| {
            let leader = self.leader_of(&cluster.map, shard).await?;
            let asked = PlacementStep { shard: shard.0, ..PlacementStep::default() };
            let told = match leader {
                Some(leader) => self.steps.ask(leader, asked).await.filter(|reply| reply.failure.is_none()),
                None => None,
            };
            told.ok_or_else(|| AdminError::Busy(format!("nobody leads {shard} just now")))
        };
        let (keeps, goes) = (look(left).await?, look(right).await?);
        if goes.stored_bytes > MERGED_MAX_BYTES {
            return Err(AdminError::Invalid(format!(
                "{right} holds {} bytes with its history, and at most {MERGED_MAX_BYTES} are merged: they go through {left}'s log",
                goes.stored_bytes
            )));
        }
        if keeps.birth != 0 || goes.birth != 0 {
            return Err(AdminError::Busy(format!(
                "what was split off from {left} or {right} is still being made"
            )));
        }
        self.record_merge(&cluster.map, (left, right), keeps.applied_index).await
    }

    async fn record_merge(
        &self,
        map: &ClusterMap,
        (left, right): (ShardId, ShardId),
        left_index: u64,
    ) -> Result<(), AdminError> {
        let (id, change) = self.records.take_ids(Change::default(), Counter::Job, 2)?;
        let merge = MergeJob { attempt: id, left: left.0, right: right.0, left_index, ..MergeJob::default() };
        let job = |id: u64, shard: ShardId| JobRecord {
            id,
            shard: shard.0,
            reason: REASON.to_owned(),
            started_at_ms: self.clock.wall_ms(),
            phase: JobPhase::JobLearn.into(),
            merge: Some(merge.clone().into()),
            ..JobRecord::default()
        };
        let change = self.records.begin_job(change, map, &job(id, left))?;
        let change = self.records.begin_job(change, map, &job(id + 1, right))?;
        self.records.commit(change).await?;
        tracing::info!(%left, %right, "a merge begins");
        Ok(())
    }
}

/// The shard that begins where this one ends.
fn right_of<'a>(map: &'a ClusterMap, left: &Shard) -> Option<&'a Shard> {
    let end = left.range.end.as_ref()?;
    map.shard_of(end).filter(|right| right.range.start == *end)
}

impl Driver {
    /// Does the next steps of a merge.
    pub(super) async fn drive_merge(
        &self,
        round: &Round<'_>,
        (job, merge): (&JobRecord, &MergeJob),
    ) -> Result<(), MetaError> {
        let (left_job, right_job) = (self.has_part(merge, merge.left)?, self.has_part(merge, merge.right)?);
        if left_job && job.shard == merge.right {
            return Ok(()); // the left one's says what is done
        }
        let (mut job, mut merge) = (job.clone(), merge.clone());
        let (left, right) = (ShardId(merge.left), ShardId(merge.right));
        let led = leaders(round.statuses);
        let leader = |shard: ShardId| led.get(&shard).map(|seen| seen.leader);
        let leaders = (leader(left), leader(right));
        let mut same = None;
        for _ in 0..STEPS_MAX {
            let (keeps, goes) = futures_util::future::join(
                self.merge_ask(left, leaders.0, None),
                self.merge_ask(right, leaders.1, None),
            )
            .await;
            let seen = Seen {
                left: keeps.as_ref().map(side),
                right: goes.as_ref().map(side),
                left_job,
                right_job,
                tidy: self.tidy(round, &job, &merge).await,
                same: same.take(),
                alive: round.alive(),
                gone: round.gone(),
                damaged: round.liveness.damaged.clone(),
                now_ms: self.clock.wall_ms(),
            };
            let step = merge::next(&job, &merge, &seen);
            self.watched.waits_for(&job, if let Step::Wait(reason) = step { Some(reason) } else { None });
            tracing::debug!(%left, %right, ?step, "a step of a merge");
            let told = match &step {
                Step::Freeze => (right, leaders.1, Told::Freeze(merge.attempt)),
                Step::ForgoRight => (right, leaders.1, Told::Forgo(merge.attempt)),
                Step::ForgoLeft => (left, leaders.0, Told::Forgo(merge.attempt)),
                Step::TakeOver => (left, leaders.0, Told::TakeOver(merge.attempt)),
                Step::Copy => {
                    let after = keeps.filter(|reply| reply.taking == merge.attempt);
                    let after = after.map(|reply| reply.taking_after).unwrap_or_default();
                    let asked = Told::Leftover(Leftover { attempt: merge.attempt, after });
                    let reply = self.merge_ask(right, leaders.1, Some(asked)).await;
                    let Some(reply) = reply else { return Ok(()) };
                    let Some(leftover) = reply.leftover else { return Ok(()) };
                    if reply.leftover_too_large {
                        return self.do_merge((&job, &merge), Step::GiveUp(Reason::TooLarge)).await.map(drop);
                    }
                    let ingest = Ingest { attempt: merge.attempt, ..leftover };
                    (left, leaders.0, Told::Ingest(ingest))
                }
                Step::Compare => {
                    same = self.same(round, &merge, leaders).await;
                    if same.is_none() {
                        return Ok(());
                    }
                    continue;
                }
                _ => match self.do_merge((&job, &merge), step).await? {
                    Some(next) => {
                        (job, merge) = next;
                        continue;
                    }
                    None => return Ok(()),
                },
            };
            if self.merge_ask(told.0, told.1, Some(told.2)).await.is_none() {
                return Ok(()); // whether it was done is seen in the next round
            }
        }
        Ok(())
    }

    /// True if a shard has its job of this merge still.
    fn has_part(&self, merge: &MergeJob, shard: u64) -> Result<bool, MetaError> {
        let Some((stored, _)) = self.records.read(&SystemKey::Job(ShardId(shard)))? else { return Ok(false) };
        let job = JobRecord::decode(stored).map_err(|_| MetaError::Damaged(ShardId(shard).to_string()))?;
        Ok(job.merge.is_some_and(|part| part.attempt == merge.attempt))
    }

    async fn merge_ask(
        &self,
        shard: ShardId,
        leader: Option<NodeId>,
        step: Option<Told>,
    ) -> Option<PlacementReply> {
        let asked = PlacementStep { shard: shard.0, step, ..PlacementStep::default() };
        self.steps.ask(leader?, asked).await.filter(|reply| reply.failure.is_none())
    }

    /// The replicas of the left one that are tidy, as the job wants it; the others are told to become so.
    async fn tidy(&self, round: &Round<'_>, job: &JobRecord, merge: &MergeJob) -> BTreeSet<ReplicaId> {
        if job.phase() != JobPhase::JobLearn {
            return BTreeSet::new();
        }
        let (own, left) = (self.reports.node(), ShardId(merge.left));
        let replicas = round.cluster.map.shard(left).map_or(&[][..], |shard| &shard.replicas);
        let step = Some(Told::Tidy(merge.left_index));
        let told = PlacementStep { shard: left.0, step, ..PlacementStep::default() };
        let all = replicas.iter().map(async |replica| {
            // Who does not lead says so, and the rest as well.
            let reply = self.steps.ask_replica(own, replica.node, told.clone()).await?;
            let is_tidy =
                reply.tidied_index >= merge.left_index && reply.applied_index >= merge.checked_index;
            (is_tidy && reply.leader == replica.id.0).then_some(replica.id)
        });
        join_all(all).await.into_iter().flatten().collect()
    }

    /// True if both hold the same of the right one's rows; `None`: one of them did not say.
    async fn same(
        &self,
        round: &Round<'_>,
        merge: &MergeJob,
        leaders: (Option<NodeId>, Option<NodeId>),
    ) -> Option<bool> {
        let gone = round.cluster.map.shard(ShardId(merge.right)).map(ShardRecord::from)?;
        let compare = |watermark: u64| {
            let (start, end) = (gone.start.clone(), gone.end.clone());
            Some(Told::Compare(Compare { attempt: merge.attempt, start, end, watermark }))
        };
        // What one has forgotten must not count with the other.
        let goes = self.merge_ask(ShardId(merge.right), leaders.1, compare(0)).await?;
        let keeps = self.merge_ask(ShardId(merge.left), leaders.0, compare(goes.digest_watermark)).await?;
        let goes = self.merge_ask(ShardId(merge.right), leaders.1, compare(keeps.digest_watermark)).await?;
        let told = !keeps.rows_digest.is_empty() && !goes.rows_digest.is_empty();
        let at_once = keeps.digest_watermark == goes.digest_watermark;
        (told && at_once).then_some(keeps.rows_digest == goes.rows_digest)
    }

    /// Writes what a step changes in the records; the left one's job as it is then, if it goes on.
    async fn do_merge(
        &self,
        (job, merge): (&JobRecord, &MergeJob),
        step: Step,
    ) -> Result<Option<(JobRecord, MergeJob)>, MetaError> {
        let (left, right) = (ShardId(merge.left), ShardId(merge.right));
        let (phase, merge) = match step {
            Step::Check { index } => (JobPhase::JobLearn, MergeJob { checked_index: index, ..merge.clone() }),
            Step::StandStill => {
                let frozen_at_ms = self.clock.wall_ms();
                (JobPhase::JobVerify, MergeJob { frozen_at_ms, ..merge.clone() })
            }
            Step::Decide => (JobPhase::JobPromote, merge.clone()),
            Step::GiveUp(reason) => {
                tracing::warn!(%left, %right, %reason, "a merge is given up");
                self.sizer.refuse(left, reason.to_string());
                (JobPhase::JobRemove, MergeJob { because: reason.to_string(), ..merge.clone() })
            }
            Step::Record { epoch } => return self.record_merged((left, right), epoch).await.map(|()| None),
            Step::End(which) => {
                let shard = if which == Which::Left { left } else { right };
                if let Some(change) = self.without_jobs(Change::default(), &[shard])? {
                    self.records.commit(change).await?;
                }
                return Ok(None); // the other one's turn is in the next round
            }
            _ => return Ok(None),
        };
        let mut change = Change::default();
        for shard in [left, right] {
            let Some((stored, stamp)) = self.records.read(&SystemKey::Job(shard))? else { return Ok(None) };
            let stored = JobRecord::decode(stored).map_err(|_| MetaError::Damaged(shard.to_string()))?;
            // Somebody else was faster.
            if (stored.phase, &stored.merge) != (job.phase, &job.merge) {
                return Err(MetaError::Conflict);
            }
            let next = JobRecord { phase: phase.into(), merge: Some(merge.clone().into()), ..stored };
            change = change.put(&SystemKey::Job(shard), next.encode_to_vec(), Some(stamp));
        }
        self.records.commit(change).await?;
        let next = JobRecord { phase: phase.into(), merge: Some(merge.clone().into()), ..job.clone() };
        Ok(Some((next, merge)))
    }

    /// One record of two, in one write with all that follows from it.
    async fn record_merged(&self, (left, right): (ShardId, ShardId), epoch: u64) -> Result<(), MetaError> {
        let read = |shard: ShardId| -> Result<_, MetaError> {
            let Some((stored, stamp)) = self.records.read(&SystemKey::Shard(shard))? else { return Ok(None) };
            let record = ShardRecord::decode(stored).map_err(|_| MetaError::Damaged(shard.to_string()))?;
            Ok(Some((record, stamp)))
        };
        let (Some((keeps, keeps_stamp)), Some((goes, goes_stamp))) = (read(left)?, read(right)?) else {
            return Ok(());
        };
        let replicas: Vec<ReplicaId> = goes.replicas.iter().map(|of| ReplicaId(of.replica)).collect();
        let whole = merge::merged(&keeps, &goes, epoch);
        let change = Change::default()
            .put(&SystemKey::Shard(left), whole.encode_to_vec(), Some(keeps_stamp))
            .delete(&SystemKey::Shard(right), goes_stamp);
        let change = self.records.retire(change, right, &replicas)?;
        let Some(change) = self.without_jobs(change, &[left, right])? else { return Ok(()) };
        self.records.commit(change).await?;
        tracing::info!(%left, %right, "two shards are merged");
        Ok(())
    }

    fn without_jobs(&self, mut change: Change, shards: &[ShardId]) -> Result<Option<Change>, MetaError> {
        for shard in shards {
            let key = SystemKey::Job(*shard);
            let Some((_, stamp)) = self.records.read(&key)? else { return Ok(None) };
            change = change.delete(&key, stamp);
        }
        Ok(Some(change))
    }
}

fn side(reply: &PlacementReply) -> Side {
    Side {
        membership: reply.membership.clone().unwrap_or_default(),
        applied_index: reply.applied_index,
        epoch: reply.epoch,
        frozen_by: reply.frozen_by,
        attempts_over: reply.attempts_over,
        taking: reply.taking,
        taking_all: reply.taking_all,
        stored_bytes: reply.stored_bytes,
        has_birth: reply.birth != 0,
    }
}
