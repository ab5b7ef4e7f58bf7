//! Who leads which shard, by what nodes report.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::id::{NodeId, ShardId};
use crate::net::wire::{NodeStatus, ReplicaStatus};

/// What is known of one shard from whoever leads it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub leader: NodeId,
    pub status: &'a ReplicaStatus,
}

/// The leader of each shard, by the highest term that claims to be one.
pub fn leaders(statuses: &[Arc<NodeStatus>]) -> BTreeMap<ShardId, Seen<'_>> {
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
