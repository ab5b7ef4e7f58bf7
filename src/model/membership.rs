//! Nodes that go: what an operator may ask of one, and what stands against it.
//!
//! ```text
//! member --drain--> draining --remove--> left
//!        <-undrain-
//! member, silent ------------remove----> left
//! ```
//!
//! A *draining* node gives all its user shards away, live, and stays a member: it still votes on the meta shard if nobody
//! else can. One that *left* never comes back under its id; whatever it held is made anew elsewhere.
//!
//! ## Invariants and what guards each
//!
//! - Nothing is asked of the cluster that would lose data or a quorum: guarded by
//!   `tests::a_node_goes_only_when_nobody_needs_it`.
//! - Copies are given up only by force: guarded by `tests::a_drain_needs_nodes_for_what_it_moves`.
//!
//! Does not move anything (`placement` does, by the state).

use super::config::Settings;
use super::id::{NodeId, ShardId};
use super::map::{ClusterMap, NodeState};
use super::placement::{Liveness, TARGET_SILENT_MAX_MS};

/// What is asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Its user shards go elsewhere.
    Drain,
    /// It stays after all.
    Undrain,
    /// It is a member no more.
    Remove,
}

/// Why it is not done. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no node {0}")]
    NoNode(NodeId),
    #[error("{0} has left the cluster")]
    Left(NodeId),
    #[error("{0} is the last member: its data would be lost")]
    Last(NodeId),
    /// Not if it is forced.
    #[error("without {node} there are {left} nodes for the {replicas} copies that each shard is to have")]
    Fewer { node: NodeId, left: usize, replicas: u64 },
    /// Not if it is forced: what it holds is then made anew from the others.
    #[error("{node} still holds {replicas} replicas of user shards")]
    Holds { node: NodeId, replicas: usize },
    #[error("{shard} would have {alive} of {voters} voters alive without {node}, and stand still")]
    Quorum { node: NodeId, shard: ShardId, alive: usize, voters: usize },
}

/// The state that a node gets by an order; it may have it already.
///
/// # Errors
///
/// The first reason why not.
pub fn ordered(
    map: &ClusterMap,
    settings: &Settings,
    liveness: &Liveness,
    node: NodeId,
    order: Order,
    force: bool,
) -> Result<NodeState, Refusal> {
    let state = map.node(node).ok_or(Refusal::NoNode(node))?.state;
    if state == NodeState::Left {
        return if order == Order::Remove { Ok(state) } else { Err(Refusal::Left(node)) };
    }
    match order {
        Order::Undrain => return Ok(NodeState::Member),
        Order::Drain if state == NodeState::Draining => return Ok(state),
        Order::Drain | Order::Remove => {}
    }
    if map.members().all(|other| other.id == node) {
        return Err(Refusal::Last(node));
    }
    match order {
        Order::Drain => drain(map, settings, node, force),
        _ => remove(map, liveness, node, force),
    }
}

fn drain(map: &ClusterMap, settings: &Settings, node: NodeId, force: bool) -> Result<NodeState, Refusal> {
    let stays = |other: &&super::map::Node| other.id != node && other.state == NodeState::Member;
    let left = map.members().filter(stays).count();
    let replicas = settings.replicas;
    if (left as u64) < replicas && !force {
        return Err(Refusal::Fewer { node, left, replicas });
    }
    if left == 0 {
        return Err(Refusal::Last(node));
    }
    Ok(NodeState::Draining)
}

fn remove(map: &ClusterMap, liveness: &Liveness, node: NodeId, force: bool) -> Result<NodeState, Refusal> {
    let heard = |node: NodeId| liveness.silent_ms(node) <= TARGET_SILENT_MAX_MS;
    let users = map.shards().filter(|shard| shard.id != ShardId::META);
    let replicas = users.filter(|shard| shard.replica_on(node).is_some()).count();
    if replicas > 0 && heard(node) && !force {
        return Err(Refusal::Holds { node, replicas });
    }
    for shard in map.shards().filter(|shard| shard.voters().any(|voter| voter.node == node)) {
        let voters = shard.voters().count();
        let alive = shard.voters().filter(|voter| voter.node != node && heard(voter.node)).count();
        if alive <= voters / 2 {
            return Err(Refusal::Quorum { node, shard: shard.id, alive, voters });
        }
    }
    Ok(NodeState::Left)
}

#[cfg(test)]
mod tests;
