//! What every node does with what it sees of the cluster: it learns addresses and settings, opens the replicas that a job
//! has reserved for it, and removes those that are retired.
//!
//! A replica is opened only because the map names it (in a job, or as a learner), never because somebody asked for it; it is removed only
//! because its id is listed as retired, never because it is absent.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::model::config::Settings;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::map::{ClusterMap, Role};
use crate::model::wire::JobPhase;
use crate::net::peers::Peers;
use crate::net::transport::Address;
use crate::node::member::Member;
use crate::node::shards::Shards;

use super::view::View;

/// Keeps addresses and settings current.
pub async fn follow_addresses(view: View, peers: Peers, member: Member, settings: watch::Sender<Settings>) {
    let mut changes = view.watch();
    loop {
        let cluster = changes.borrow_and_update().clone();
        let mut addresses: BTreeMap<NodeId, Address> =
            member.seeds.iter().map(|seed| (seed.node, Address(seed.quic.clone()))).collect();
        addresses.extend(cluster.map.nodes().map(|node| (node.id, Address(node.quic.clone()))));
        addresses.remove(&member.node);
        peers.set_addresses(addresses);
        settings.send_replace(cluster.settings.clone());
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Opens and removes replicas as the map says.
pub async fn follow_placement(view: View, shards: Shards, own: NodeId) {
    let mut changes = view.watch();
    loop {
        let cluster = changes.borrow_and_update().clone();
        for replica in shards.all() {
            if cluster.map.is_retired(replica.id) && replica.shard != ShardId::META {
                report(shards.destroy(replica.shard, replica.id).await, replica.shard);
            }
        }
        for (shard, replica) in wanted(&cluster.map, own) {
            if shards.get(shard).is_none() && !cluster.map.is_retired(replica) {
                report(shards.open(shard, replica).await.map(|_| ()), shard);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The replicas that should be here: those a job is making, and learners whose job is over.
///
/// Never a voter: it has acknowledged entries, so if it is not here its disk was lost, and it must not come back empty
/// under its id.
fn wanted(map: &ClusterMap, own: NodeId) -> Vec<(ShardId, ReplicaId)> {
    let making = map.jobs().filter_map(|job| {
        let add = job.add.as_ref().filter(|add| add.node == own.0 && job.phase() == JobPhase::JobLearn)?;
        Some((ShardId(job.shard), ReplicaId(add.replica)))
    });
    let learning = map.shards().flat_map(|shard| {
        let here =
            shard.replicas.iter().filter(|replica| replica.node == own && replica.role == Role::Learner);
        here.map(|replica| (shard.id, replica.id))
    });
    making.chain(learning).collect()
}

fn report(done: Result<(), crate::node::replica::ReplicaError>, shard: ShardId) {
    if let Err(error) = done {
        tracing::error!(%shard, %error, "a replica could not be opened or removed");
    }
}
