//! What every node does with the shards that are split off from its own: it makes its replicas of them.

use std::sync::Arc;
use std::time::Duration;

use crate::model::evaluate::ShardState;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::map::ClusterMap;
use crate::node::replica::{Replica, ReplicaError};
use crate::node::room::Room;
use crate::node::shards::Shards;

use super::view::View;

/// How long after a failure to make a replica it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Makes replicas of shards that are split, for ever.
pub async fn follow(view: View, shards: Shards, room: Arc<Room>, own: NodeId) {
    let told = shards.births();
    loop {
        let mut done = !view.now().map.cluster_id().is_empty();
        for replica in shards.all().iter() {
            let Some((child, id)) = wanted(&view.now().map, replica, own) else { continue };
            if shards.get(child).is_none() && !fits(replica, child, &room).await {
                tracing::warn!(shard = %replica.shard, %child, "no room to make here what was split off");
                done = false;
            } else if let Err(error) = bear(&shards, replica, child, id).await {
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

/// True if there is room for what is to be copied of a shard's file, if that was not copied before.
async fn fits(parent: &Replica, child: ShardId, room: &Room) -> bool {
    let file_bytes = match parent.store.is_prepared_for(child) {
        true => 0,
        false => parent.store.file_bytes().await.unwrap_or(u64::MAX / 4),
    };
    room.fits_flush(parent.store.memtable_bytes() as u64 + file_bytes).await
}

async fn bear(shards: &Shards, parent: &Replica, child: ShardId, id: ReplicaId) -> Result<(), ReplicaError> {
    // In a box: it is deep, and seldom.
    Box::pin(shards.bear(parent, child, id)).await
}

/// The replica of a split shard that is to be here. Not one whose place another has taken: it was here perhaps, and has voted. Who
/// does not know the map yet does not know that.
fn wanted(map: &ClusterMap, parent: &Replica, own: NodeId) -> Option<(ShardId, ReplicaId)> {
    map.node(own)?;
    let of = |state: &ShardState| {
        let birth = state.birth.as_ref()?;
        Some((birth.child.shard, birth.on(own)?))
    };
    parent.store.state(of).filter(|(_, id)| !map.is_retired(*id))
}
