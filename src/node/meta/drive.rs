//! Carrying jobs out: the next step of each, one at a time.
//!
//! Asks the shard's leader how things are, has the step decided by [`crate::model::job::next`], and does it. Nothing is
//! remembered from one step to the next but what people are shown ([`super::watched`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;

use crate::model::id::{MigrationId, NodeId, ReplicaId, ShardId};
use crate::model::job::{self, Observation, Step};
use crate::model::migration::{self, KEPT_MAX, KEPT_MS};
use crate::model::placement::{Liveness, TARGET_SILENT_MAX_MS};
use crate::model::system::{Listing, SystemKey};
use crate::model::time::Timestamp;
use crate::model::verify::Word;
use crate::model::wire::{
    Course, JobPhase, JobRecord, Membership, Migration, MigrationEnd, MigrationRecord, ReplicaRecord,
    ShardRecord, VoterSet,
};
use crate::net::wire::{NodeStatus, PlacementReply, PlacementStep, ReplicaStatus, Throttle, placement_step};
use crate::node::clock::Clock;

use super::records::{Change, MetaError, Records, Stored};
use super::reports::Reports;
use super::sizer::Sizer;
use super::steps::Steps;
use super::view::Cluster;
use super::watched::Watched;

/// Old migrations forgotten whenever one ends, at most: a write has so many operations and no more.
const FORGOTTEN_AT_ONCE: usize = 64;
/// Whoever has sent a move back does not want it made again for so long, in milliseconds.
const SENT_BACK_MS: u64 = 60 * 60 * 1000;

/// Does the steps of jobs, as leader of the meta shard.
pub struct Driver {
    pub records: Records,
    pub steps: Steps,
    pub reports: Reports,
    pub clock: Clock,
    pub watched: Watched,
    pub sizer: Sizer,
}

/// What a round knows.
pub struct Round<'a> {
    /// Of the meta shard.
    pub term: u64,
    pub cluster: &'a Cluster,
    pub statuses: &'a [Arc<NodeStatus>],
    pub liveness: &'a Liveness,
}

impl Round<'_> {
    /// Nodes heard of within the last seconds.
    pub fn alive(&self) -> BTreeSet<NodeId> {
        let heard = |node: &NodeId| self.liveness.silent_ms(*node) <= TARGET_SILENT_MAX_MS;
        self.cluster.map.nodes().map(|node| node.id).filter(heard).collect()
    }

    /// Nodes that are not waited for any more: silent past the limit, or no members.
    pub fn gone(&self) -> BTreeSet<NodeId> {
        let (map, limit_ms) = (&self.cluster.map, self.cluster.settings.silent_after_ms);
        let members: BTreeSet<NodeId> = map.members().map(|node| node.id).collect();
        let gone = |node: &NodeId| self.liveness.silent_ms(*node) > limit_ms || !members.contains(node);
        map.nodes().map(|node| node.id).filter(gone).collect()
    }
}

impl Driver {
    /// Does the next step of a job whose shard is led from `leader`, as far as is known.
    pub async fn drive(
        &self,
        round: &Round<'_>,
        job: &JobRecord,
        leader: Option<NodeId>,
    ) -> Result<(), MetaError> {
        let shard = ShardId(job.shard);
        let Some((stored, stamp)) = self.records.read(&SystemKey::Job(shard))? else { return Ok(()) };
        if stored != job.encode_to_vec() {
            return Ok(());
        }
        if let Some(split) = &job.split {
            return Box::pin(self.drive_split(round, (job, split), stamp, leader)).await;
        }
        if let Some(merge) = &job.merge {
            return Box::pin(self.drive_merge(round, (job, merge))).await;
        }
        if let Some(because) = migration::superseded(&round.cluster.map, job) {
            return self.records.rewrite_job(&migration::turned_back(job, &because), stamp).await;
        }
        if let Some(kept) = migration::outrun(&round.cluster.map, job) {
            return self.records.rewrite_job(&kept, stamp).await;
        }
        let throttle = self.throttle(round, job);
        let reply = match leader {
            Some(leader) => self.ask(job, leader, throttle, None, None).await,
            None => None,
        };
        let observation = match &reply {
            Some(reply) => Some(self.observation(round, job, reply)?),
            None => None,
        };
        let step = job::next(job, observation.as_ref());
        self.watched.look(job, reply.as_ref(), &step, || match job::is_swap(job) {
            true => 0, // nothing is copied
            false => round.liveness.stored_bytes.get(&shard).copied().unwrap_or(0),
        });
        let (Some(leader), Some(reply)) = (leader, reply) else { return Ok(()) };
        if let Some(step) = for_leader(&step) {
            tracing::debug!(%shard, ?step, "placement step");
            // Whether it was done is seen in the next round.
            let _ = self.ask(job, leader, throttle, Some(step), reply.membership.as_ref()).await;
            return Ok(());
        }
        match step {
            Step::Wait(reason) => {
                tracing::debug!(%shard, %reason, "a placement job waits");
                Ok(())
            }
            Step::Advance(phase) => {
                self.records.rewrite_job(&self.advanced(job, phase), stamp).await?;
                tracing::debug!(%shard, job = job.id, ?phase, "placement job");
                Ok(())
            }
            Step::Back(reason) => {
                self.records.rewrite_job(&migration::turned_back(job, &reason.to_string()), stamp).await?;
                tracing::warn!(%shard, job = job.id, %reason, "a migration goes back");
                Ok(())
            }
            Step::Finish { replicas, epoch, retired } => {
                self.finish(job, stamp, replicas, epoch, retired).await
            }
            Step::Abandon { reason, retired } => {
                let members = reply.membership.as_ref().map(job::replicas).unwrap_or_default();
                let change = Change::default().delete(&SystemKey::Job(shard), stamp);
                let change = self.records.retire(change, shard, &retired)?;
                self.records.commit(self.remember(change, job, &members)?).await?;
                tracing::warn!(%shard, job = job.id, %reason, "placement job abandoned");
                Ok(())
            }
            other => unreachable!("{other:?} is for the shard's leader"),
        }
    }

    /// The record in its next phase; of a migration that is cut over now, with what that took.
    fn advanced(&self, job: &JobRecord, phase: JobPhase) -> JobRecord {
        let mut advanced = JobRecord { phase: phase.into(), ..job.clone() };
        let cut_over = |of: &&mut Migration| phase == JobPhase::JobRemove && of.cut_over_at_ms == 0;
        if let Some(migration) = advanced.migration.as_mut().filter(cut_over) {
            let seen = self.watched.of(MigrationId(job.id)).unwrap_or_default();
            migration.cut_over_at_ms = self.clock.wall_ms();
            migration.write_pause_us = seen.write_pause_us;
            migration.bytes = seen.bytes_total;
            (migration.p99_before_us, migration.p99_during_us) = (seen.p99_before_us, seen.p99_during_us);
        }
        advanced
    }

    async fn finish(
        &self,
        job: &JobRecord,
        stamp: Timestamp,
        replicas: Vec<ReplicaRecord>,
        epoch: u64,
        mut retired: Vec<ReplicaId>,
    ) -> Result<(), MetaError> {
        let shard = ShardId(job.shard);
        let shard_key = SystemKey::Shard(shard);
        let Some((stored, shard_stamp)) = self.records.read(&shard_key)? else { return Ok(()) };
        let record = ShardRecord::decode(stored).map_err(|_| MetaError::Damaged(shard.to_string()))?;
        let finished = job::finished(&record, replicas, epoch);
        retired.extend(job::dropped(&record, &finished));
        retired.sort();
        retired.dedup();
        let change = Change::default().delete(&SystemKey::Job(shard), stamp).put(
            &shard_key,
            finished.encode_to_vec(),
            Some(shard_stamp),
        );
        let change = self.records.retire(change, shard, &retired)?;
        self.records.commit(self.remember(change, job, &finished.replicas)?).await?;
        tracing::info!(%shard, job = job.id, reason = job.reason, "placement job done");
        Ok(())
    }

    /// Keeps what a migration has come to, as part of `change`, and forgets old ones.
    fn remember(
        &self,
        change: Change,
        job: &JobRecord,
        replicas: &[ReplicaRecord],
    ) -> Result<Change, MetaError> {
        let Some(migration) = &job.migration else { return Ok(change) };
        let now_ms = self.clock.wall_ms();
        let seen = self.watched.of(MigrationId(job.id)).unwrap_or_default();
        let record = MigrationRecord {
            id: job.id,
            shard: job.shard,
            migration: Some(Migration { p99_after_us: seen.p99_after_us, ..migration.clone() }),
            phase: job.phase,
            end: migration::end(migration, replicas).into(),
            started_at_ms: job.started_at_ms,
            ended_at_ms: now_ms,
        };
        let key = SystemKey::Migration(MigrationId(job.id));
        let mut change = change.put(&key, record.encode_to_vec(), None);
        let kept = self.records.list(Listing::Migrations, KEPT_MAX + 1)?;
        let too_many = (kept.len() + 1).saturating_sub(KEPT_MAX);
        let is_old = |(n, row): &(usize, &Stored)| {
            let ended_at_ms = MigrationRecord::decode(&row.value[..]).map_or(0, |record| record.ended_at_ms);
            *n < too_many || now_ms.saturating_sub(ended_at_ms) > KEPT_MS
        };
        for (_, row) in kept.iter().enumerate().filter(is_old).take(FORGOTTEN_AT_ONCE) {
            change = change.delete(&row.key, row.stamp);
        }
        Ok(change)
    }

    /// Shards whose last move was sent back, or did not come about, a short while ago: the cluster does not move them by itself.
    pub fn sent_back(&self) -> Result<BTreeSet<ShardId>, MetaError> {
        let now_ms = self.clock.wall_ms();
        let ended = self.records.list(Listing::Migrations, KEPT_MAX + 1)?.into_iter();
        let ended = ended.filter_map(|row| MigrationRecord::decode(row.value).ok());
        let young = ended.filter(|record| now_ms.saturating_sub(record.ended_at_ms) <= SENT_BACK_MS);
        let back = young.filter(|record| record.end() != MigrationEnd::EndDone);
        Ok(back.map(|record| ShardId(record.shard)).collect())
    }

    /// What a job is decided by.
    fn observation(
        &self,
        round: &Round<'_>,
        job: &JobRecord,
        reply: &PlacementReply,
    ) -> Result<Observation, MetaError> {
        let membership = reply.membership.clone().unwrap_or_default();
        Ok(Observation {
            applied_index: reply.applied_index,
            last_index: reply.last_index,
            epoch: reply.epoch,
            matched: reply.progress.iter().map(|of| (ReplicaId(of.replica), of.matched_index)).collect(),
            alive: round.alive(),
            gone: round.gone(),
            damaged: round.liveness.damaged.clone(),
            retired: self.retired(job, &membership)?,
            leader: ReplicaId(reply.leader),
            asked_index: reply.asked_index,
            words: words(round.statuses, ShardId(job.shard)),
            now_ms: self.clock.wall_ms(),
            membership,
        })
    }

    /// Of a job's replica and a shard's members, those that are retired by now: the map may have dropped one since it was
    /// looked at.
    fn retired(&self, job: &JobRecord, membership: &Membership) -> Result<BTreeSet<ReplicaId>, MetaError> {
        let members = membership.members.iter().map(|member| member.replica);
        let mut retired = BTreeSet::new();
        for id in members.chain(job.add.iter().map(|add| add.replica)).map(ReplicaId) {
            if self.records.read(&SystemKey::Retired(id))?.is_some() {
                retired.insert(id);
            }
        }
        Ok(retired)
    }

    /// How fast a job's replica may be sent its file: not at all while its move stands still, no faster than clients bear.
    fn throttle(&self, round: &Round<'_>, job: &JobRecord) -> Option<Throttle> {
        let migration = job.migration.as_ref()?;
        let replica = migration.target.as_ref()?.replica;
        let shard = round.cluster.map.shard(ShardId(job.shard));
        let mut nodes: Vec<NodeId> =
            shard.into_iter().flat_map(|shard| &shard.replicas).map(|replica| replica.node).collect();
        nodes.extend(migration.target.iter().map(|target| NodeId(target.node)));
        nodes.sort();
        nodes.dedup();
        let keep_us = match migration.keep_p99_us {
            0 => round.cluster.settings.migration_keep_p99_ms * 1000,
            keep_us => keep_us,
        };
        let paced = self.reports.felt(round.term, |felt| self.watched.feel(job, felt, &nodes, keep_us));
        let stands_still = migration.course() == Course::Paused && migration.cut_over_at_ms == 0;
        let bytes_per_s = if stands_still { Some(0) } else { paced };
        bytes_per_s.map(|bytes_per_s| Throttle { replica, bytes_per_s })
    }

    /// Has the shard's leader do a step, or only say how things are.
    pub(super) async fn ask(
        &self,
        job: &JobRecord,
        leader: NodeId,
        throttle: Option<Throttle>,
        step: Option<placement_step::Step>,
        seen: Option<&Membership>,
    ) -> Option<PlacementReply> {
        let shard = ShardId(job.shard);
        let message = PlacementStep {
            shard: shard.0,
            seen_membership: seen.and_then(|membership| membership.log_id),
            step,
            throttle,
        };
        let reply = self.steps.ask(leader, message).await?;
        self.watched.paused(job, reply.write_pause_us);
        match reply.failure {
            None => Some(reply),
            Some(failure) => {
                tracing::debug!(%shard, reason = failure.message, "a placement step was refused");
                None
            }
        }
    }
}

/// The step as the shard's leader is told it; `None`: it is not for it.
fn for_leader(step: &Step) -> Option<placement_step::Step> {
    use placement_step::Step as Told;
    match step {
        Step::AddLearner(member) => Some(Told::AddLearner(*member)),
        Step::ChangeVoters(voters) => {
            let replicas = voters.iter().map(|voter| voter.0).collect();
            Some(Told::ChangeVoters(VoterSet { replicas }))
        }
        Step::RemoveMember(replica) => Some(Told::RemoveMember(replica.0)),
        Step::Verify => Some(Told::Verify(true)),
        Step::HandOver(heir) => Some(Told::HandOver(heir.0)),
        Step::Wait(_) | Step::Advance(_) | Step::Back(_) | Step::Finish { .. } | Step::Abandon { .. } => None,
    }
}

/// What a shard's replicas have reported about the last entry that asked for digests.
fn words(statuses: &[Arc<NodeStatus>], shard: ShardId) -> BTreeMap<ReplicaId, Word> {
    let all = statuses.iter().flat_map(|status| &status.replicas);
    let of_shard = all.filter(|replica| replica.shard == shard.0);
    let word = |replica: &ReplicaStatus| Word {
        applied_index: replica.applied_index,
        asked_index: replica.asked_index,
        digest: replica.digest[..].try_into().ok(),
    };
    of_shard.map(|replica| (ReplicaId(replica.replica), word(replica))).collect()
}
