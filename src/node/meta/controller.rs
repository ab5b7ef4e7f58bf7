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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::job;
use crate::model::key::{Key, KeyRange};
use crate::model::migration::Move;
use crate::model::placement::{self, Limits, Liveness, Proposal, Reason};
use crate::model::system::{Counter, SystemKey};
use crate::model::time::Timestamp;
use crate::model::wire::{Membership, NodeRecord, ShardRecord};
use crate::net::wire::{NodeStatus, ReplicaStatus};

use super::admin::Office;
use super::drive::{Driver, Round};
use super::leads::Balancer;
use super::led::{Seen, leaders};
use super::records::{Change, MetaError};
use super::reports::{REPORT_EVERY, Reports};
use super::splits::never_made;
use super::view::{Cluster, View};

/// How often a round is made while there is something to do.
const ROUND_EVERY: Duration = Duration::from_millis(300);
/// How often it is looked whether there is: as often as nodes report.
const LOOK_EVERY: Duration = REPORT_EVERY;
/// How long it holds that nothing can be evened out, if the map does not change: others may be silent, or have more room.
const EVEN_FOR: Duration = Duration::from_secs(30);

/// Carries out what the records ask for, while this node leads the meta shard.
pub struct Controller {
    view: View,
    reports: Reports,
    driver: Driver,
    balancer: Balancer,
    office: Arc<Office>,
    /// At this version of the map, and since when.
    as_even_as_can_be: Mutex<Option<(Timestamp, Instant)>>,
}

impl Controller {
    pub fn new(view: View, reports: Reports, driver: Driver, office: Arc<Office>) -> Controller {
        Controller {
            view,
            reports,
            driver,
            balancer: Balancer::default(),
            office,
            as_even_as_can_be: Mutex::default(),
        }
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
            if let Some(term) = self.driver.records.leading() {
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
        let statuses = self.reports.statuses(term);
        let seen = leaders(&statuses);
        self.repair_nodes(&cluster, &statuses).await?;
        self.repair_map(&cluster, &seen).await?;
        let mut liveness = self.reports.liveness(term, &cluster.map, &statuses);
        liveness.damaged.extend(never_made(&cluster.map, &statuses));
        let round = Round { term, cluster: &cluster, statuses: &statuses, liveness: &liveness };
        // Of merges requests may wait for the end.
        let (merges, others): (Vec<_>, Vec<_>) = cluster.map.jobs().partition(|job| job.merge.is_some());
        for job in merges.into_iter().chain(others) {
            let leader = seen.get(&ShardId(job.shard)).map(|seen| seen.leader);
            match self.driver.drive(&round, job, leader).await {
                // Somebody has ordered something; the others' turn all the same.
                Ok(()) | Err(MetaError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        self.driver.settle_rest(&round).await?;
        self.balancer.balance(&round, &self.reports, &self.driver.steps).await;
        self.office.size(&round).await;
        let carries_out = self.driver.carry_out(&round).await?;
        let mut proposals = placement::plan(&cluster.map, &cluster.settings, &liveness);
        // What somebody has planned was thought out for nodes as they are.
        if proposals.is_empty() && !carries_out {
            proposals = self.evening_out(&cluster, &liveness)?;
        }
        let idle = proposals.is_empty() && !carries_out && cluster.map.jobs().next().is_none();
        for proposal in proposals {
            self.create(&cluster, proposal).await?;
        }
        Ok(idle)
    }

    /// What evens out the nodes, if they are uneven and it is wanted. That nothing can be done about it is remembered until
    /// something changes.
    fn evening_out(&self, cluster: &Cluster, liveness: &Liveness) -> Result<Vec<Proposal>, MetaError> {
        let (map, settings) = (&cluster.map, &cluster.settings);
        let known = *self.as_even_as_can_be.lock();
        let is_known = known.is_some_and(|(version, at)| version == map.version() && at.elapsed() < EVEN_FOR);
        if settings.rebalance == 0 || is_known || !placement::is_uneven(map, settings, liveness) {
            return Ok(Vec::new());
        }
        let stay = self.driver.sent_back()?;
        let proposals = placement::rebalance(map, settings, liveness, &stay, Limits::of(settings));
        if proposals.is_empty() {
            *self.as_even_as_can_be.lock() = Some((map.version(), Instant::now()));
        }
        Ok(proposals)
    }

    /// A node that is reached elsewhere than its record says is where it says.
    async fn repair_nodes(&self, cluster: &Cluster, statuses: &[Arc<NodeStatus>]) -> Result<(), MetaError> {
        for status in statuses.iter().filter(|status| !status.quic.is_empty()) {
            let Some(node) = cluster.map.node(NodeId(status.node)) else { continue };
            if node.quic == status.quic && node.http == status.http {
                continue;
            }
            let name = SystemKey::Node(node.id);
            let Some((stored, stamp)) = self.driver.records.read(&name)? else { continue };
            let mut record =
                NodeRecord::decode(stored).map_err(|_| MetaError::Damaged(node.id.to_string()))?;
            record.quic = status.quic.clone();
            record.http = status.http.clone();
            self.driver
                .records
                .commit(Change::default().put(&name, record.encode_to_vec(), Some(stamp)))
                .await?;
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
            // Where it is being split the map changes in one piece, with the new shard.
            let other_bounds = (&repaired.start, &repaired.end) != (&record.start, &record.end);
            if other_bounds && self.driver.records.read(&SystemKey::Job(*shard))?.is_some() {
                continue;
            }
            let name = SystemKey::Shard(*shard);
            let Some((stored, stamp)) = self.driver.records.read(&name)? else { continue };
            if stored != record.encode_to_vec() {
                continue; // changed since this view; the next round sees it
            }
            let mut change = Change::default().put(&name, repaired.encode_to_vec(), Some(stamp));
            if other_bounds {
                change = change.absent(&SystemKey::Job(*shard));
            }
            let change = self.driver.records.retire(change, *shard, &job::dropped(&record, &repaired))?;
            match self.driver.records.commit(change).await {
                // Somebody was faster; the others' turn all the same.
                Ok(_) | Err(MetaError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reserves what a proposed job needs and records it.
    async fn create(&self, cluster: &Cluster, proposal: Proposal) -> Result<(), MetaError> {
        let (id, mut change) = self.driver.records.take_ids(Change::default(), Counter::Job, 1)?;
        let replica = match proposal.add {
            None => ReplicaId(0),
            Some(node) => match reserved_meta_replica(cluster, &proposal, node) {
                Some(replica) => replica,
                None => {
                    let replica;
                    (replica, change) = self.driver.records.take_replica(&cluster.map, change)?;
                    replica
                }
            },
        };
        let now_ms = self.driver.clock.wall_ms();
        // A node that is drained is to be empty soon: undraining takes back what is needed.
        let undo_window_ms =
            if proposal.reason == Reason::Drain { 0 } else { cluster.settings.undo_window_ms };
        let record = match Move::proposed(&cluster.map, &proposal) {
            Some(migration) => migration.job(id, replica, undo_window_ms, now_ms),
            None => proposal.job(id, replica, now_ms),
        };
        let records = &self.driver.records;
        records.commit(records.begin_job(change, &cluster.map, &record)?).await?;
        tracing::info!(shard = %proposal.shard, add = ?proposal.add, remove = ?proposal.remove, reason = %proposal.reason, "placement job");
        Ok(())
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
