//! Who leads a shard: another of its voters if somebody says so, and, by load, one that has less to do.
//!
//! Whoever leads a shard does the most for it: it stamps, sends, and answers every linearizable read. To let another voter lead
//! costs a pause of milliseconds and copies nothing, so load is spread by that first.
//!
//! *By load*: nobody's load is changed by a hand-over, only where it falls. So [`lighten`] knows before what it comes to, and
//! proposes one only where the busiest node is well above the mean and would be clearly less busy, with no other node as busy
//! as it was. What follows from one hand-over can therefore not call for its reverse, unless load itself changes; and a shard that was
//! handed over stays with whoever got it for a while ([`STAYS_MS`]). A single hot shard is not handed to and fro: that would not
//! make anybody's load less.
//!
//! ## Invariants and what guards each
//!
//! - Only a voter that is heard, on a member that stays, is given a shard: guarded by `tests::who_may_lead`,
//!   `tests::only_who_is_heard_and_stays_is_given_load`.
//! - It comes to an end, and the busiest node is never busier than before: guarded by
//!   `tests::load_that_stays_as_it_is_comes_to_rest`.
//! - One hot shard stays where it is: guarded by `tests::a_single_hot_shard_stays`.
//! - Idle shards are left to sleep: guarded by `tests::idle_shards_are_let_alone`.

use std::collections::BTreeMap;

use super::id::{NodeId, ReplicaId, ShardId, listed};
use super::map::{ClusterMap, NodeState, Replica, Role, Shard};
use super::placement::{Liveness, TARGET_SILENT_MAX_MS};

/// A shard that was handed over because of load is not handed over again for so long, in milliseconds.
pub const STAYS_MS: u64 = 60_000;
/// A node whose load is above the mean by no more than this part of it is not relieved, in percent.
const ABOVE_MEAN_PERCENT: u64 = 20;
/// The weight of a node that nothing else was said of.
const USUAL_WEIGHT: u64 = 100;
/// Less load than this is none worth a hand-over, in operations a second.
const WORTH_PER_S: u64 = 200;

/// Why somebody's wish that a node lead a shard is not fulfilled. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no shard {0}")]
    NoShard(ShardId),
    #[error("there is no node {0}")]
    NoNode(NodeId),
    #[error("{shard} has no replica on {node}; those that can lead it are on {}", listed(voters))]
    NotThere { shard: ShardId, node: NodeId, voters: Vec<NodeId> },
    #[error(
        "the replica of {shard} on {node} learns and does not vote; those that can lead are on {}",
        listed(voters)
    )]
    Learner { shard: ShardId, node: NodeId, voters: Vec<NodeId> },
    #[error("{node} has not been heard for {} s", silent_ms / 1000)]
    Silent { node: NodeId, silent_ms: u64 },
    #[error("what {node} holds of {shard} is damaged")]
    Damaged { shard: ShardId, node: NodeId },
}

/// The replica that would lead a shard if it were led from this node.
///
/// # Errors
///
/// The first reason why not.
pub fn heir(
    map: &ClusterMap,
    liveness: &Liveness,
    shard: ShardId,
    node: NodeId,
) -> Result<ReplicaId, Refusal> {
    let known = map.shard(shard).ok_or(Refusal::NoShard(shard))?;
    map.node(node).ok_or(Refusal::NoNode(node))?;
    let voters = || known.voters().map(|voter| voter.node).collect();
    let replica =
        known.replica_on(node).ok_or_else(|| Refusal::NotThere { shard, node, voters: voters() })?;
    match liveness.silent_ms(node) {
        _ if replica.role != Role::Voter => Err(Refusal::Learner { shard, node, voters: voters() }),
        silent_ms if silent_ms > TARGET_SILENT_MAX_MS => Err(Refusal::Silent { node, silent_ms }),
        _ if liveness.damaged.contains(&replica.id) => Err(Refusal::Damaged { shard, node }),
        _ => Ok(replica.id),
    }
}

/// A shard that is led, and how much is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    pub shard: ShardId,
    pub leader: NodeId,
    /// Operations a second.
    pub per_s: u64,
    /// Handed over lately, or busy with something else: not now.
    pub stays: bool,
}

/// One hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    pub shard: ShardId,
    pub from: NodeId,
    pub to: NodeId,
    pub heir: ReplicaId,
}

/// The hand-over that makes the busiest node's load least, if there is one that is worth it. A node's load counts by its weight.
pub fn lighten(map: &ClusterMap, liveness: &Liveness, led: &[Led]) -> Option<HandOver> {
    let weight = |node: NodeId| map.node(node).map_or(USUAL_WEIGHT, |known| u64::from(known.weight)).max(1);
    let pressure = |node: NodeId, per_s: u64| per_s * USUAL_WEIGHT / weight(node);
    let mut loads: BTreeMap<NodeId, u64> = map.members().map(|node| (node.id, 0)).collect();
    for one in led {
        *loads.entry(one.leader).or_default() += one.per_s;
    }
    let weights: u64 = loads.keys().map(|node| weight(*node)).sum();
    let mean = loads.values().sum::<u64>() * USUAL_WEIGHT / weights.max(1);
    let pressures = loads.iter().map(|(node, per_s)| (pressure(*node, *per_s), *node));
    let (now, busiest) = pressures.max()?;
    if now <= mean + (mean * ABOVE_MEAN_PERCENT / 100).max(WORTH_PER_S) {
        return None;
    }
    let mut best: Option<(u64, HandOver)> = None;
    for one in led.iter().filter(|one| one.leader == busiest && !one.stays && one.per_s > 0) {
        let left = pressure(busiest, loads[&busiest] - one.per_s);
        for heir in map.shard(one.shard).into_iter().flat_map(|shard| heirs(map, liveness, shard)) {
            let after = left.max(pressure(heir.node, loads[&heir.node] + one.per_s));
            if best.as_ref().is_none_or(|(least, _)| after < *least) {
                let given = HandOver { shard: one.shard, from: busiest, to: heir.node, heir: heir.id };
                best = Some((after, given));
            }
        }
    }
    let worth = WORTH_PER_S.max(mean / 10);
    best.filter(|(after, _)| after + worth <= now).map(|(_, given)| given)
}

/// Who could lead a shard because of load.
fn heirs<'a>(
    map: &'a ClusterMap,
    liveness: &'a Liveness,
    shard: &'a Shard,
) -> impl Iterator<Item = &'a Replica> {
    let stays = |node: NodeId| map.node(node).is_some_and(|known| known.state == NodeState::Member);
    shard.voters().filter(move |voter| stays(voter.node) && heir(map, liveness, shard.id, voter.node).is_ok())
}

#[cfg(test)]
mod tests;
