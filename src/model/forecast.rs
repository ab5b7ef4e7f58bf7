//! Forecasts: what the cluster would do if nothing came between.
//!
//! Plans are made again after each change, so that whatever happens is taken into account. A forecast makes them one after the
//! other on a copy of the map, each change done at once, until none is left: so what is foretold is what the cluster does by
//! the same rules, not another plan. Nothing is carried out. What is under way already is taken to come to its end, and is not told.
//!
//! ## Invariants and what guards each
//!
//! - It ends, and where it ends nothing more is to be done: guarded by `tests::a_forecast_leads_to_where_plans_lead`.
//! - What is under way is as good as done: guarded by `tests::what_is_under_way_is_taken_for_done`.
//! - On the way no shard is worse off than it was, if it can be helped: guarded by
//!   `tests::no_step_of_a_forecast_lowers_the_margin`.

use std::collections::BTreeSet;

use prost::Message;

use super::config::Settings;
use super::id::{NodeId, ReplicaId, ShardId};
use super::map::{ClusterMap, NodeState};
use super::placement::{Limits, Liveness, Proposal, Reason, TARGET_SILENT_MAX_MS, plan_within, rebalance};
use super::system::SystemKey;
use super::time::Timestamp;
use super::wire::{Course, JobRecord, Migration, NodeRecord, ReplicaRecord, ReplicaRole, ShardRecord};

/// Rounds of plans, at most.
const ROUNDS_MAX: usize = 64;

/// One change of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub shard: ShardId,
    /// Where a replica goes from; `None`: there will be one more.
    pub from: Option<NodeId>,
    /// Where it goes to; `None`: there will be one less.
    pub to: Option<NodeId>,
    pub reason: Reason,
    /// How many more voters may fail at every moment of it without stopping the shard.
    pub margin: usize,
}

/// All that would be done from here on, in order.
pub fn forecast(map: &ClusterMap, settings: &Settings, liveness: &Liveness) -> Vec<Change> {
    let mut run = Run { map: map.clone(), liveness, changes: Vec::new() };
    run.go_on(settings);
    run.changes
}

/// The same where nodes are evened out although `rebalance` is off.
pub fn evened_out(map: &ClusterMap, settings: &Settings, liveness: &Liveness) -> Vec<Change> {
    forecast(map, &Settings { rebalance: 1, ..settings.clone() }, liveness)
}

/// One change, by itself.
pub fn of_proposal(map: &ClusterMap, liveness: &Liveness, proposal: &Proposal) -> Change {
    let mut run = Run { map: map.clone(), liveness, changes: Vec::new() };
    run.carry_out(proposal);
    run.changes.pop().expect("a proposal is about a shard of the map")
}

/// The map as it will be once everything under way has come to its end.
pub fn settled(map: &ClusterMap) -> ClusterMap {
    let mut run = Run { map: map.clone(), liveness: &Liveness::default(), changes: Vec::new() };
    run.end_jobs();
    run.map
}

/// The map as it would be with a node in another state.
pub fn with_state(map: &ClusterMap, node: NodeId, state: NodeState) -> ClusterMap {
    let mut changed = map.clone();
    if let Some(known) = map.node(node) {
        let mut known = known.clone();
        known.state = state;
        set(&mut changed, &SystemKey::Node(node), &NodeRecord::from(&known).encode_to_vec());
    }
    changed
}

fn set(map: &mut ClusterMap, key: &SystemKey, value: &[u8]) {
    map.set(&key.key(), Some(value), Timestamp::ZERO).expect("our own records are understood");
}

/// Has these vote, and no others.
fn give_votes(record: &mut ShardRecord, voters: &[u64]) {
    for replica in &mut record.replicas {
        let votes = voters.contains(&replica.replica);
        replica.set_role(if votes { ReplicaRole::RoleVoter } else { ReplicaRole::RoleLearner });
    }
}

struct Run<'a> {
    map: ClusterMap,
    liveness: &'a Liveness,
    changes: Vec<Change>,
}

impl Run<'_> {
    /// Makes plans and has them happen until there is nothing left to do.
    fn go_on(&mut self, settings: &Settings) {
        self.end_jobs();
        for _ in 0..ROUNDS_MAX {
            let mut proposals = plan_within(&self.map, settings, self.liveness, Limits::NONE);
            if proposals.is_empty() && settings.rebalance != 0 {
                proposals = rebalance(&self.map, settings, self.liveness, &BTreeSet::new(), Limits::NONE);
            }
            if proposals.is_empty() {
                return;
            }
            proposals.iter().for_each(|proposal| self.carry_out(proposal));
        }
    }

    /// Has everything under way come to its end, one way or the other.
    fn end_jobs(&mut self) {
        let jobs: Vec<JobRecord> = self.map.jobs().cloned().collect();
        for job in jobs {
            let key = SystemKey::Job(ShardId(job.shard));
            self.map.set(&key.key(), None, Timestamp::ZERO).expect("a record can be taken away");
            let Some(mut record) = self.map.shard(ShardId(job.shard)).map(ShardRecord::from) else {
                continue;
            };
            let goes_back = |migration: &Migration| migration.course() == Course::Back;
            if job.migration.as_ref().is_some_and(goes_back) {
                let target = job.add.as_ref().map_or(0, |add| add.replica);
                record.replicas.retain(|replica| replica.replica != target);
            } else {
                let is_new = |add: &&ReplicaRecord| {
                    record.replicas.iter().all(|replica| replica.replica != add.replica)
                };
                let coming: Vec<ReplicaRecord> = job.add.iter().filter(is_new).copied().collect();
                record.replicas.extend(coming);
                record.replicas.retain(|replica| replica.replica != job.remove);
                give_votes(&mut record, &job.voters);
            }
            set(&mut self.map, &SystemKey::Shard(ShardId(job.shard)), &record.encode_to_vec());
        }
    }

    /// Has it happen. New replicas get ids that nobody has: their own would be reserved when it really does.
    fn carry_out(&mut self, proposal: &Proposal) {
        let Some(shard) = self.map.shard(proposal.shard) else { return };
        let fresh = ReplicaId(u64::MAX - self.changes.len() as u64);
        let from = proposal.remove.and_then(|id| shard.replica(id)).map(|replica| replica.node);
        let mut record = ShardRecord::from(shard);
        let old: Vec<u64> = shard.voters().map(|voter| voter.id.0).collect();
        let mut new: Vec<u64> = proposal.voters.iter().map(|voter| voter.0).collect();
        new.extend(Some(fresh.0).filter(|_| proposal.add_votes));
        let coming =
            |node: NodeId| ReplicaRecord { replica: fresh.0, node: node.0, ..ReplicaRecord::default() };
        record.replicas.extend(proposal.add.map(coming));
        let margin = self.margin(&record.replicas, &old).min(self.margin(&record.replicas, &new));
        record.replicas.retain(|replica| proposal.remove != Some(ReplicaId(replica.replica)));
        give_votes(&mut record, &new);
        record.epoch += 1;
        set(&mut self.map, &SystemKey::Shard(proposal.shard), &record.encode_to_vec());
        let (shard, to, reason) = (proposal.shard, proposal.add, proposal.reason);
        self.changes.push(Change { shard, from, to, reason, margin });
    }

    /// How many of these voters that are heard may fail.
    fn margin(&self, replicas: &[ReplicaRecord], voters: &[u64]) -> usize {
        let heard = |replica: &&ReplicaRecord| {
            voters.contains(&replica.replica)
                && self.liveness.silent_ms(NodeId(replica.node)) <= TARGET_SILENT_MAX_MS
        };
        replicas.iter().filter(heard).count().saturating_sub(voters.len() / 2 + 1)
    }
}

#[cfg(test)]
mod tests;
