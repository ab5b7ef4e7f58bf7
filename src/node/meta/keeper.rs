//! What every node does with what it sees of the cluster: it learns addresses and settings, opens the replicas that a job
//! has reserved for it, and removes those that are retired.
//!
//! A replica is opened only because the map names it (in a job, or as a learner), never because somebody asked for it; it is removed only
//! because its id is listed as retired, never because it is absent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::model::config::Settings;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::map::{ClusterMap, NodeState, Role};
use crate::model::wire::JobPhase;
use crate::net::peers::Peers;
use crate::net::transport::Address;
use crate::node::member::{Seed, Standing};
use crate::node::shards::Shards;

use super::view::View;

/// How often the replicas are looked at.
const LOOK_FOR_DAMAGE_EVERY: Duration = Duration::from_secs(1);

/// Keeps addresses and settings current, the addresses on disk too.
pub async fn follow_addresses(
    view: View,
    peers: Peers,
    standing: Arc<Standing>,
    settings: watch::Sender<Settings>,
) {
    let mut changes = view.watch();
    loop {
        let cluster = changes.borrow_and_update().clone();
        let member = standing.now();
        if cluster.map.node(member.node).is_some() {
            let others = cluster.map.nodes().filter(|node| node.id != member.node && !node.quic.is_empty());
            let seeds = others.filter(|node| node.state != NodeState::Left);
            let seeds = seeds.map(|node| Seed { node: node.id, quic: node.quic.clone() }).collect();
            if let Err(error) = standing.change(|member| member.seeds = seeds) {
                tracing::warn!(%error, "where the other members are could not be noted");
            }
        }
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
        for damaged in shards.damaged() {
            if cluster.map.is_retired(damaged.id) {
                report(shards.destroy(damaged.shard, damaged.id).await, damaged.shard);
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

/// Opens the replica of the meta shard that takes the place of one that was lost.
pub async fn follow_seat(
    mut seat: watch::Receiver<Option<ReplicaId>>,
    shards: Shards,
    standing: Arc<Standing>,
) {
    loop {
        let given = *seat.borrow_and_update();
        if let Some(replica) = given
            && shards.get(ShardId::META).is_none()
            && shards.damaged().iter().all(|damaged| damaged.id != replica)
        {
            match standing.change(|member| member.meta_replica = replica) {
                Ok(()) => report(shards.open(ShardId::META, replica).await.map(|_| ()), ShardId::META),
                Err(error) => tracing::error!(%error, "the new replica of the meta shard could not be noted"),
            }
        }
        if seat.changed().await.is_err() {
            return;
        }
    }
}

/// Sets replicas aside that turn out to be damaged. Returns when that cannot be done for one, with what there is to say:
/// the node must stop.
pub async fn watch_damage(view: View, shards: Shards) -> String {
    loop {
        tokio::time::sleep(LOOK_FOR_DAMAGE_EVERY).await;
        for replica in shards.all().into_iter().filter(|replica| replica.is_damaged()) {
            let (shard, id) = (replica.shard, replica.id);
            if is_sole(&view.now().map, shard, id) {
                return format!("{shard} has no other voter than {id}, which is damaged");
            }
            let set_aside = shards.set_aside(&replica, "what was read is not what was written").await;
            if let Err(error) = set_aside {
                return format!("{id} of {shard} is damaged and could not be set aside: {error}");
            }
        }
    }
}

/// True if nobody else votes in the shard, so that nobody else has surely what this replica has.
pub fn is_sole(map: &ClusterMap, shard: ShardId, id: ReplicaId) -> bool {
    let Some(shard) = map.shard(shard) else { return false };
    shard.voters().any(|voter| voter.id == id) && shard.voters().count() == 1
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
