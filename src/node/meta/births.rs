//! What every node does with the shards that are split off from its own: it makes its replicas of them.

use std::time::Duration;

use crate::model::evaluate::ShardState;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::map::ClusterMap;
use crate::node::replica::{Replica, ReplicaError};
use crate::node::shards::Shards;

use super::view::View;

/// How long after a failure to make a replica it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Makes replicas of shards that are split, for ever.
pub async fn follow(view: View, shards: Shards, own: NodeId) {
    let told = shards.births();
    loop {
        let mut done = true;
        for replica in shards.all().iter() {
            let Some((child, id)) = wanted(&view.now().map, replica, own) else { continue };
            if let Err(error) = bear(&shards, replica, child, id).await {
                let shard = replica.shard;
                tracing::warn!(%shard, %child, %error, "what was split off could not be made here");
                done = false;
            }
        }
        let again = async {
            match done {
                true => std::future::pending().await,
                false => tokio::time::sleep(TRY_AGAIN_AFTER).await,
            }
        };
        tokio::select! {
            biased;
            () = told.notified() => {}
            () = again => {}
        }
    }
}

async fn bear(shards: &Shards, parent: &Replica, child: ShardId, id: ReplicaId) -> Result<(), ReplicaError> {
    // In a box: it is deep, and seldom.
    Box::pin(shards.bear(parent, child, id)).await
}

/// The replica of a split shard that is to be here. Not one whose place another has taken: it will not be needed.
fn wanted(map: &ClusterMap, parent: &Replica, own: NodeId) -> Option<(ShardId, ReplicaId)> {
    let of = |state: &ShardState| {
        let birth = state.birth.as_ref()?;
        Some((birth.child.shard, birth.on(own)?))
    };
    parent.store.state(of).filter(|(_, id)| !map.is_retired(*id))
}
