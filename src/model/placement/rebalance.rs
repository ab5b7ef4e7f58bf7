//! Evening out: moves that bring every node within a tenth of its share and keep replicas apart.
//!
//! Where replicas belong says [`super::super::assign`]; here that becomes a few migrations at a time. Asked again after each, it
//! leads to where nobody is beyond a mark and then proposes nothing, so that nothing wanders to and fro.
//!
//! ## Invariants and what guards each
//!
//! - A node that joins gets its share and nothing else moves: guarded by
//!   `model::placement::tests::evening_out::a_node_that_joins_fills_itself`.
//! - Whoever is told to leave a shard where it is does: guarded by
//!   `model::placement::tests::evening_out::what_was_sent_back_stays_where_it_is`.
//! - A shard is moved only while all its voters are heard: guarded by
//!   `model::placement::tests::evening_out::nothing_moves_while_a_voter_is_silent`.

use std::collections::BTreeSet;

use super::super::assign::{Placed, assign};
use super::super::config::Settings;
use super::super::id::{NodeId, ReplicaId, ShardId};
use super::super::map::{ClusterMap, Replica, Shard};
use super::super::wire::JobRecord;
use super::{Limits, Liveness, Planner, Proposal, Reason, TARGET_SILENT_MAX_MS};

/// True if a node is beyond a mark or a shard's replicas are not apart. Looks at each shard once.
pub fn is_uneven(map: &ClusterMap, settings: &Settings, liveness: &Liveness) -> bool {
    let planner = Planner::new(map, settings, liveness, Limits::of(settings));
    planner.balance.is_uneven()
        || users(map).any(|shard| planner.balance.crowded(&nodes_after(map, shard)).is_some())
}

/// The moves to start now, besides the jobs under way, if nothing more urgent is to be done ([`super::plan`]). The shards of
/// `stay` are left where they are.
pub fn rebalance(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    stay: &BTreeSet<ShardId>,
    limits: Limits,
) -> Vec<Proposal> {
    let mut planner = Planner::new(map, settings, liveness, limits);
    let shards: Vec<&Shard> = users(map).collect();
    let placed: Vec<Placed> = shards
        .iter()
        .map(|shard| Placed {
            ring_position: shard.ring_position,
            nodes: nodes_after(map, shard),
            stays: map.job(shard.id).is_some() || stay.contains(&shard.id),
        })
        .collect();
    let wanted = assign(planner.sites.clone(), &placed, planner.replicas);
    let mut proposals = Vec::new();
    for ((shard, now), wanted) in shards.into_iter().zip(&placed).zip(&wanted) {
        let proposal = if now.stays { None } else { planner.change(shard, wanted) };
        if let Some(proposal) = proposal.filter(|proposal| planner.may_start(proposal)) {
            planner.start(&proposal);
            proposals.push(proposal);
        }
    }
    proposals
}

fn users(map: &ClusterMap) -> impl Iterator<Item = &Shard> {
    map.shards().filter(|shard| shard.id != ShardId::META)
}

/// The nodes that hold a shard once its job is done, if it has one.
fn nodes_after(map: &ClusterMap, shard: &Shard) -> Vec<NodeId> {
    let job: Option<&JobRecord> = map.job(shard.id);
    let gone = |replica: &&Replica| job.is_some_and(|job| job.remove == replica.id.0);
    let stay = shard.replicas.iter().filter(|replica| !gone(replica)).map(|replica| replica.node);
    let mut nodes: Vec<NodeId> = stay.collect();
    let coming = job.and_then(|job| job.add.as_ref()).map(|add| NodeId(add.node));
    nodes.extend(coming.filter(|node| !nodes.contains(node)));
    nodes
}

impl Planner<'_> {
    /// The first step from where a shard is to where it should be; one job does one replica.
    fn change(&self, shard: &Shard, wanted: &[NodeId]) -> Option<Proposal> {
        let out = shard.replicas.iter().find(|replica| !wanted.contains(&replica.node))?;
        let fits = |node: &NodeId| self.takes(shard, *node) && !self.is_busy(*node);
        let add = wanted.iter().copied().find(fits)?;
        let hears = |replica: &Replica| self.liveness.silent_ms(replica.node) <= TARGET_SILENT_MAX_MS;
        if !shard.replicas.iter().all(hears) {
            return None;
        }
        let mut voters: BTreeSet<ReplicaId> = shard.voters().map(|replica| replica.id).collect();
        let add_votes = voters.remove(&out.id);
        let (remove, reason) = (Some(out.id), Reason::Rebalance);
        Some(Proposal { shard: shard.id, add: Some(add), remove, voters, add_votes, reason })
    }
}
