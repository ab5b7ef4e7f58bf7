//! The meta leader's standing work: repair the map, plan placement, drive the jobs.
//!
//! Every round looks at the records and at what the nodes report, and does at most one step for each shard. A step is
//! conditioned on what was seen; a round that is interrupted anywhere is taken up by the next one, here or on another
//! node. The decisions are [`crate::model::placement::plan`] and [`crate::model::job::next`]; here they are carried out.
//!
//! ## Invariants and what guards each
//!
//! - A job comes to its end or leaves things as they were, whoever crashes: guarded by
//!   `model::job::tests::a_successor_completes_what_any_crash_left`,
//!   `sim_node::a_cluster_that_is_cut_while_it_grows_becomes_whole`.
//! - The map follows the shards' logs and never goes back; whoever it drops is retired in the same write: guarded by
//!   `model::job::tests::the_map_follows_the_log_and_never_goes_back`.
//! - A new meta leader counts silence from its own election: guarded by
//!   `sim_node::a_new_meta_leader_counts_silence_from_its_election`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::watch;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::job::{self, Observation, Step};
use crate::model::key::{Key, KeyRange};
use crate::model::placement::{self, Liveness, Proposal, TARGET_SILENT_MAX_MS};
use crate::model::system::{Counter, SystemKey};
use crate::model::wire::{JobRecord, Membership, NodeRecord, ShardRecord, VoterSet};
use crate::net::kind;
use crate::net::peers::Peers;
use crate::net::transport::Class;
use crate::net::trouble::{Bug, planted};
use crate::net::wire::{NodeStatus, PlacementReply, PlacementStep, ReplicaStatus, placement_step};
use crate::node::clock::Clock;
use crate::node::shards::Shards;

use super::records::{Change, MetaError, Records};
use super::reports::{DAMAGED, REPORT_EVERY, Reports};
use super::view::{Cluster, View};

/// How often a round is made while there is something to do.
const ROUND_EVERY: Duration = Duration::from_millis(300);
/// How often it is looked whether there is: as often as nodes report.
const LOOK_EVERY: Duration = REPORT_EVERY;
/// How long one step may take; what it did is looked at in the next round.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Carries out what the records ask for, while this node leads the meta shard.
pub struct Controller {
    records: Records,
    view: View,
    reports: Reports,
    peers: Peers,
    clock: Clock,
    shards: Shards,
}

/// What is known of one shard from whoever leads it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    leader: NodeId,
    status: &'a ReplicaStatus,
}

impl Controller {
    pub fn new(
        records: Records,
        view: View,
        reports: Reports,
        peers: Peers,
        clock: Clock,
        shards: Shards,
    ) -> Controller {
        Controller { records, view, reports, peers, clock, shards }
    }

    /// Works until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut wait = ROUND_EVERY;
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = ROUND_EVERY;
            if let Some(term) = self.records.leading() {
                match self.round(term).await {
                    Ok(true) => wait = LOOK_EVERY,
                    Ok(false) | Err(MetaError::Conflict) => {}
                    Err(error) => tracing::debug!(%error, "a placement round was not finished"),
                }
            }
        }
    }

    /// Returns true if there was no job, and none is wanted.
    async fn round(&self, term: u64) -> Result<bool, MetaError> {
        let cluster = self.view.now();
        let statuses = self.statuses(term);
        let seen = leaders(&statuses);
        self.repair_nodes(&cluster, &statuses).await?;
        self.repair_map(&cluster, &seen).await?;
        let liveness = Liveness { silence_ms: self.silence_ms(&cluster, term), damaged: damaged(&statuses) };
        for record in cluster.map.jobs() {
            self.drive(&cluster, record, &seen, &liveness).await?;
        }
        let proposals = placement::plan(&cluster.map, &cluster.settings, &liveness);
        let idle = proposals.is_empty() && cluster.map.jobs().next().is_none();
        for proposal in proposals {
            self.create(&cluster, proposal).await?;
        }
        Ok(idle)
    }

    /// Everything heard; what this node says of itself is among it, and no newer than what the others say.
    fn statuses(&self, term: u64) -> Vec<Arc<NodeStatus>> {
        let mut all = self.reports.last(term);
        if !all.iter().any(|status| status.node == self.reports.node().0) {
            all.push(Arc::new(self.reports.own()));
        }
        all
    }

    /// A node that is reached elsewhere than its record says is where it says.
    async fn repair_nodes(&self, cluster: &Cluster, statuses: &[Arc<NodeStatus>]) -> Result<(), MetaError> {
        for status in statuses.iter().filter(|status| !status.quic.is_empty()) {
            let Some(node) = cluster.map.node(NodeId(status.node)) else { continue };
            if node.quic == status.quic && node.http == status.http {
                continue;
            }
            let name = SystemKey::Node(node.id);
            let Some((stored, stamp)) = self.records.read(&name)? else { continue };
            let mut record =
                NodeRecord::decode(stored).map_err(|_| MetaError::Damaged(node.id.to_string()))?;
            record.quic = status.quic.clone();
            record.http = status.http.clone();
            self.records.commit(Change::default().put(&name, record.encode_to_vec(), Some(stamp))).await?;
        }
        Ok(())
    }

    /// The shard's own log is the truth about its bounds, members and epoch; the map follows.
    async fn repair_map(
        &self,
        cluster: &Cluster,
        seen: &BTreeMap<ShardId, Seen<'_>>,
    ) -> Result<(), MetaError> {
        for (shard, seen) in seen {
            let Some(record) = cluster.map.shard(*shard).map(ShardRecord::from) else { continue };
            let Some((membership, bounds)) = reported(seen.status) else { continue };
            let repaired = job::map_repair(&record, membership, seen.status.epoch, &bounds);
            let Some(repaired) = repaired else { continue };
            let name = SystemKey::Shard(*shard);
            let Some((stored, stamp)) = self.records.read(&name)? else { continue };
            if stored != record.encode_to_vec() {
                continue; // changed since this view; the next round sees it
            }
            let change = Change::default().put(&name, repaired.encode_to_vec(), Some(stamp));
            let change = self.retire(change, *shard, &job::dropped(&record, &repaired))?;
            self.records.commit(change).await?;
        }
        Ok(())
    }

    /// Lists replicas as retired for good, as part of `change`.
    fn retire(
        &self,
        mut change: Change,
        shard: ShardId,
        replicas: &[ReplicaId],
    ) -> Result<Change, MetaError> {
        for replica in replicas {
            let key = SystemKey::Retired(*replica);
            if self.records.read(&key)?.is_none() {
                change = change.put(&key, shard.0.to_string(), None);
            }
        }
        Ok(change)
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

    /// Reserves what a proposed job needs and records it.
    async fn create(&self, cluster: &Cluster, proposal: Proposal) -> Result<(), MetaError> {
        let (id, mut change) = self.records.take_ids(Change::default(), Counter::Job, 1)?;
        let replica = match proposal.add {
            None => ReplicaId(0),
            Some(node) => match reserved_meta_replica(cluster, &proposal, node) {
                Some(replica) => replica,
                None => {
                    let replica;
                    (replica, change) = self.take_replica(cluster, change)?;
                    replica
                }
            },
        };
        let record = proposal.job(id, replica, self.clock.wall_ms());
        let name = SystemKey::Job(proposal.shard);
        self.records.commit(change.put(&name, record.encode_to_vec(), None)).await?;
        tracing::info!(shard = %proposal.shard, add = ?proposal.add, remove = ?proposal.remove, reason = %proposal.reason, "placement job");
        Ok(())
    }

    /// Takes the id of a new replica as part of `change`.
    fn take_replica(&self, cluster: &Cluster, change: Change) -> Result<(ReplicaId, Change), MetaError> {
        if planted(Bug::IdReused)
            && let Some(free) = (1..100).map(ReplicaId).find(|id| cluster.map.is_retired(*id))
            && let Some((_, stamp)) = self.records.read(&SystemKey::Retired(free))?
        {
            return Ok((free, change.delete(&SystemKey::Retired(free), stamp)));
        }
        let (replica, change) = self.records.take_ids(change, Counter::Replica, 1)?;
        Ok((ReplicaId(replica), change))
    }

    /// Does the next step of a job.
    async fn drive(
        &self,
        cluster: &Cluster,
        job: &JobRecord,
        seen: &BTreeMap<ShardId, Seen<'_>>,
        liveness: &Liveness,
    ) -> Result<(), MetaError> {
        let shard = ShardId(job.shard);
        let name = SystemKey::Job(shard);
        let Some((stored, stamp)) = self.records.read(&name)? else { return Ok(()) };
        if stored != job.encode_to_vec() {
            return Ok(());
        }
        let leader = seen.get(&shard).map(|seen| seen.leader);
        let reply = match leader {
            Some(leader) => self.ask(leader, shard, None, None).await,
            None => None,
        };
        let mut observation = reply.as_ref().map(|reply| observation(cluster, reply, liveness));
        if let Some(observation) = &mut observation {
            observation.retired = self.retired(job, &observation.membership)?;
        }
        let step = job::next(job, observation.as_ref());
        let (Some(leader), Some(reply)) = (leader, reply) else { return Ok(()) };
        match step {
            Step::Wait(reason) => tracing::debug!(%shard, %reason, "a placement job waits"),
            Step::AddLearner(member) => {
                self.act(leader, shard, placement_step::Step::AddLearner(member), &reply).await;
            }
            Step::ChangeVoters(voters) => {
                let set = VoterSet { replicas: voters.into_iter().map(|voter| voter.0).collect() };
                self.act(leader, shard, placement_step::Step::ChangeVoters(set), &reply).await;
            }
            Step::RemoveMember(replica) => {
                self.act(leader, shard, placement_step::Step::RemoveMember(replica.0), &reply).await;
            }
            Step::Advance(phase) => {
                let advanced = JobRecord { phase: phase.into(), ..job.clone() };
                let change = Change::default().put(&name, advanced.encode_to_vec(), Some(stamp));
                self.records.commit(change).await?;
            }
            Step::Finish { replicas, epoch, retired } => {
                let shard_key = SystemKey::Shard(shard);
                let Some((stored, shard_stamp)) = self.records.read(&shard_key)? else { return Ok(()) };
                let record =
                    ShardRecord::decode(stored).map_err(|_| MetaError::Damaged(shard.to_string()))?;
                let finished = job::finished(&record, replicas, epoch);
                let mut retired = retired;
                retired.extend(job::dropped(&record, &finished));
                retired.sort();
                retired.dedup();
                let change = Change::default().delete(&name, stamp).put(
                    &shard_key,
                    finished.encode_to_vec(),
                    Some(shard_stamp),
                );
                self.records.commit(self.retire(change, shard, &retired)?).await?;
                tracing::info!(%shard, job = job.id, reason = job.reason, "placement job done");
            }
            Step::Abandon { reason, retired } => {
                let change = Change::default().delete(&name, stamp);
                self.records.commit(self.retire(change, shard, &retired)?).await?;
                tracing::warn!(%shard, job = job.id, %reason, "placement job abandoned");
            }
        }
        Ok(())
    }

    fn silence_ms(&self, cluster: &Cluster, term: u64) -> BTreeMap<NodeId, u64> {
        let silence = self.reports.silence(term, cluster.map.nodes().map(|node| node.id));
        silence.into_iter().map(|(node, silence)| (node, silence.as_millis() as u64)).collect()
    }

    async fn act(&self, leader: NodeId, shard: ShardId, step: placement_step::Step, seen: &PlacementReply) {
        tracing::debug!(%shard, ?step, "placement step");
        // Whether it was done is seen in the next round.
        let _ = self.ask(leader, shard, Some(step), seen.membership.as_ref()).await;
    }

    /// Has the shard's leader do a step, or only say how things are.
    async fn ask(
        &self,
        leader: NodeId,
        shard: ShardId,
        step: Option<placement_step::Step>,
        seen: Option<&Membership>,
    ) -> Option<PlacementReply> {
        let message = PlacementStep {
            shard: shard.0,
            seen_membership: seen.and_then(|membership| membership.log_id),
            step,
        };
        let answer = tokio::time::timeout(STEP_TIMEOUT, async {
            if let Some(replica) = self.shards.get(shard).filter(|replica| replica.group.leadership().here) {
                return Some(replica.placement_answer(message).await);
            }
            let caller = self.peers.caller(leader, Class::Control).await.ok()?;
            let answer = caller.call(kind::PLACEMENT, message.encode_to_vec().into()).await.ok()?;
            PlacementReply::decode(answer).ok()
        });
        let reply = answer.await.ok()??;
        match reply.failure {
            None => Some(reply),
            Some(failure) => {
                tracing::debug!(%shard, reason = failure.message, "a placement step was refused");
                None
            }
        }
    }
}

/// What a job is decided by.
fn observation(cluster: &Cluster, reply: &PlacementReply, liveness: &Liveness) -> Observation {
    let silent =
        |node: &NodeId, limit_ms: u64| liveness.silence_ms.get(node).copied().unwrap_or(0) > limit_ms;
    let nodes: Vec<NodeId> = cluster.map.nodes().map(|node| node.id).collect();
    let members: BTreeSet<NodeId> = cluster.map.members().map(|node| node.id).collect();
    let gone = |node: &NodeId| silent(node, cluster.settings.silent_after_ms) || !members.contains(node);
    Observation {
        membership: reply.membership.clone().unwrap_or_default(),
        applied_index: reply.applied_index,
        last_index: reply.last_index,
        epoch: reply.epoch,
        matched: reply.progress.iter().map(|of| (ReplicaId(of.replica), of.matched_index)).collect(),
        alive: nodes.iter().copied().filter(|node| !silent(node, TARGET_SILENT_MAX_MS)).collect(),
        gone: nodes.into_iter().filter(gone).collect(),
        damaged: liveness.damaged.clone(),
        retired: BTreeSet::new(),
    }
}

/// What a shard's leader reports of its members and bounds.
fn reported(status: &ReplicaStatus) -> Option<(&Membership, KeyRange)> {
    let end = Some(&status.end).filter(|end| !end.is_empty()).cloned().map(Key::from_internal);
    let start = Key::from_internal(status.start.clone()).ok()?;
    Some((status.membership.as_ref()?, KeyRange::new(start, end.transpose().ok()?)))
}

/// A joined node's replica of the meta shard has had its id since it joined.
fn reserved_meta_replica(cluster: &Cluster, proposal: &Proposal, node: NodeId) -> Option<ReplicaId> {
    let known = cluster.map.node(node).filter(|_| proposal.shard == ShardId::META)?;
    let used = |replica| {
        let meta = cluster.map.shard(ShardId::META);
        cluster.map.is_retired(replica) || meta.is_some_and(|meta| meta.replica(replica).is_some())
    };
    Some(known.meta_replica).filter(|replica| replica.0 != 0 && !used(*replica))
}

/// The replicas whose own nodes say that they are damaged.
fn damaged(statuses: &[Arc<NodeStatus>]) -> BTreeSet<ReplicaId> {
    let all = statuses.iter().flat_map(|status| &status.replicas);
    all.filter(|replica| replica.state == DAMAGED).map(|replica| ReplicaId(replica.replica)).collect()
}

/// The leader of each shard, by the highest term that claims to be one.
fn leaders(statuses: &[Arc<NodeStatus>]) -> BTreeMap<ShardId, Seen<'_>> {
    let mut seen: BTreeMap<ShardId, Seen> = BTreeMap::new();
    for node in statuses {
        for replica in node.replicas.iter().filter(|replica| replica.state == "leader") {
            let newer =
                seen.get(&ShardId(replica.shard)).is_none_or(|known| known.status.term < replica.term);
            if newer {
                let known = Seen { leader: NodeId(node.node), status: replica };
                seen.insert(ShardId(replica.shard), known);
            }
        }
    }
    seen
}
