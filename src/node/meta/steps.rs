//! Steps of placement, asked of whoever leads the shard: on this node or on another one.
//!
//! Promises: an answer was confirmed by a majority of the shard after the step. No answer says nothing about what was done.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prost::Message;

use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::map::Shard;
use crate::net::kind;
use crate::net::peers::Peers;
use crate::net::transport::Class;
use crate::net::wire::{PlacementReply, PlacementStep};
use crate::node::shards::Shards;

/// How long one step may take; what it did is looked at in the next round.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks leaders. Clones are one.
#[derive(Clone)]
pub struct Steps {
    pub peers: Peers,
    pub shards: Shards,
}

impl Steps {
    /// Has a shard's leader do a step, or only say how things are. An answer may be a refusal.
    pub async fn ask(&self, leader: NodeId, step: PlacementStep) -> Option<PlacementReply> {
        let answer = tokio::time::timeout(STEP_TIMEOUT, async {
            let here = self.shards.get(ShardId(step.shard));
            if let Some(replica) = here.filter(|replica| replica.group.leadership().here) {
                // In a box: it is deep, and whoever asks is too.
                return Some(Box::pin(replica.placement_answer(step)).await);
            }
            self.call(leader, &step).await
        });
        answer.await.ok()?
    }

    /// Asks the replica of a node, whoever leads its shard. `own`: the node that this is.
    pub async fn ask_replica(
        &self,
        own: NodeId,
        node: NodeId,
        step: PlacementStep,
    ) -> Option<PlacementReply> {
        let answer = tokio::time::timeout(STEP_TIMEOUT, async {
            if node == own {
                let here = self.shards.get(ShardId(step.shard))?;
                return Some(Box::pin(here.placement_answer(step)).await);
            }
            self.call(node, &step).await
        });
        answer.await.ok()?
    }

    async fn call(&self, node: NodeId, step: &PlacementStep) -> Option<PlacementReply> {
        let caller = self.peers.caller(node, Class::Control).await.ok()?;
        let answer = caller.call(kind::PLACEMENT, step.encode_to_vec().into()).await.ok()?;
        PlacementReply::decode(answer).ok()
    }

    /// The node that a shard is led from, by what its voters say now. What nodes report is a moment old: after a hand-over
    /// nobody has said yet that it leads.
    pub async fn leader(&self, shard: &Shard) -> Option<NodeId> {
        let look = PlacementStep { shard: shard.id.0, ..PlacementStep::default() };
        let mut answers: FuturesUnordered<_> =
            shard.voters().map(|voter| self.ask(voter.node, look.clone())).collect();
        while let Some(answer) = answers.next().await {
            let leading = answer.filter(|reply| reply.failure.is_none());
            if let Some(leader) = leading.and_then(|reply| shard.replica(ReplicaId(reply.leader))) {
                return Some(leader.node);
            }
        }
        None
    }
}
