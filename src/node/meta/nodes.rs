//! What operators ask of nodes: that one gives its shards away, stays after all, or goes; and what would follow.
//!
//! An order is one compare-and-set of the node's record; placement follows the record. Does not move anything.

use std::collections::BTreeMap;

use prost::Message;

use crate::model::forecast::{self, Change, forecast};
use crate::model::id::{NodeId, ShardId};
use crate::model::map::NodeState;
use crate::model::membership::{self, Order, Refusal};
use crate::model::migration::{self, Wish};
use crate::model::placement::Liveness;
use crate::model::plan::placement_of;
use crate::model::system::SystemKey;
use crate::model::wire::NodeRecord;
use crate::net::wire::{
    self, AdminReply, MigrationBegin, NodeOrderKind, NodeRoom, Plan, PlanGet, PlannedChange, plan_get,
};

use super::admin::{AdminError, Office};
use super::records::{self, MetaError};
use super::view::Cluster;

impl Office {
    /// Gives a node another state.
    pub(super) async fn node_order(&self, asked: &wire::NodeOrder) -> Result<AdminReply, AdminError> {
        let node = NodeId(asked.node);
        let order = match asked.order() {
            NodeOrderKind::NodeDrain => Order::Drain,
            NodeOrderKind::NodeUndrain => Order::Undrain,
            NodeOrderKind::NodeRemove => Order::Remove,
            NodeOrderKind::NodeUnspecified => {
                return Err(AdminError::Invalid("an order that this node does not know".to_owned()));
            }
        };
        let name = SystemKey::Node(node);
        let found = self.records.read(&name)?;
        let (stored, seen) = found.ok_or_else(|| AdminError::from(Refusal::NoNode(node)))?;
        let mut record = NodeRecord::decode(stored).map_err(|_| MetaError::Damaged(node.to_string()))?;
        let (cluster, liveness) = self.heard()?;
        let state =
            membership::ordered(&cluster.map, &cluster.settings, &liveness, node, order, asked.force)?;
        if record.state != state.name() && !asked.dry_run {
            record.state = state.name().to_owned();
            let change = records::Change::default().put(&name, record.encode_to_vec(), Some(seen));
            self.records.commit(change).await?;
            tracing::info!(%node, ?order, "a node is ordered");
        }
        Ok(AdminReply::default())
    }

    /// What would be done.
    pub(super) fn plan_get(&self, asked: &PlanGet) -> Result<AdminReply, AdminError> {
        let (cluster, liveness) = self.heard()?;
        let (map, settings) = (&cluster.map, &cluster.settings);
        let mut changes = match asked.what {
            None => return Err(AdminError::Invalid("a plan of nothing".to_owned())),
            Some(plan_get::What::DrainNode(node)) => {
                let node = NodeId(node);
                membership::ordered(map, settings, &liveness, node, Order::Drain, true)?;
                forecast(&forecast::with_state(map, node, NodeState::Draining), settings, &liveness)
            }
            Some(plan_get::What::JoinNode(node)) => {
                let node = NodeId(node);
                map.node(node).ok_or_else(|| AdminError::from(Refusal::NoNode(node)))?;
                let mut changes = forecast::evened_out(map, settings, &liveness);
                changes.retain(|change| change.to == Some(node));
                changes
            }
            Some(plan_get::What::Rebalance(_)) => forecast::evened_out(map, settings, &liveness),
            Some(plan_get::What::Move(ref begin)) if begin.shard == ShardId::META.0 => {
                let what = "of the meta shard only a vote moves, and nothing is copied: nomad migrate does it at once";
                return Err(AdminError::Invalid(what.to_owned()));
            }
            Some(plan_get::What::Move(ref begin)) => {
                let plan = migration::begin(map, settings, &liveness, wish(begin))?;
                vec![forecast::of_proposal(map, &liveness, plan.proposal())]
            }
        };
        // Who votes may change by itself; nothing moves for it.
        changes.retain(|change| change.from.is_some() || change.to.is_some());
        Ok(AdminReply { plan: Some(told(&cluster, &liveness, &changes)), ..AdminReply::default() })
    }

    /// The cluster, and what is heard of its nodes, as leader of the meta shard.
    pub(super) fn heard(&self) -> Result<(std::sync::Arc<Cluster>, Liveness), MetaError> {
        let cluster = self.view.now();
        let term = self.records.leading().ok_or(MetaError::NotHere)?;
        let liveness = self.reports.liveness(term, &cluster.map, &self.reports.statuses(term));
        Ok((cluster, liveness))
    }
}

/// What a message asks to be moved.
pub(super) fn wish(begin: &MigrationBegin) -> Wish {
    Wish {
        shard: ShardId(begin.shard),
        from: Some(begin.from_node).filter(|from| *from != 0).map(NodeId),
        to: NodeId(begin.to_node),
        force: begin.force,
        keep_p99_us: begin.keep_p99_us,
    }
}

fn told(cluster: &Cluster, liveness: &Liveness, changes: &[Change]) -> Plan {
    let bytes = |change: &Change| match change.to {
        Some(_) => liveness.stored_bytes.get(&change.shard).copied().unwrap_or(0),
        None => 0,
    };
    let mut needed: BTreeMap<NodeId, u64> = BTreeMap::new();
    for change in changes {
        change.to.into_iter().for_each(|to| *needed.entry(to).or_default() += bytes(change));
    }
    let room = |(node, needed_bytes): (NodeId, u64)| {
        let free_bytes = liveness.room_bytes.get(&node).copied().unwrap_or(0);
        NodeRoom { node: node.0, free_bytes, needed_bytes }
    };
    let change = |change: &Change| PlannedChange {
        shard: change.shard.0,
        from_node: change.from.map_or(0, |node| node.0),
        to_node: change.to.map_or(0, |node| node.0),
        reason: change.reason.to_string(),
        bytes: bytes(change),
        margin: change.margin as u64,
    };
    Plan {
        changes: changes.iter().map(change).collect(),
        room: needed.into_iter().map(room).collect(),
        bytes_per_s: cluster.settings.migration_bytes_per_s,
        concurrent: cluster.settings.max_concurrent_migrations,
        made_for: placement_of(&cluster.map),
    }
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> AdminError {
        let text = refusal.to_string();
        match refusal {
            Refusal::NoNode(_) | Refusal::Left(_) => AdminError::NotFound(text),
            Refusal::Last(_) | Refusal::Fewer { .. } | Refusal::Holds { .. } | Refusal::Quorum { .. } => {
                AdminError::Forbidden(text)
            }
        }
    }
}
