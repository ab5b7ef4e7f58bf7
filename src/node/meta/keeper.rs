//! What every node does with what it sees of the cluster: it learns addresses and settings, opens the replicas that a job
//! has reserved for it, and removes those that are retired. And what it does with what it sees of its replicas: it notes who
//! votes alone, and sets aside who is damaged.
//!
//! A replica is opened only because the map names it (in a job, or as a learner), never because somebody asked for it; it is removed only
//! because its id is listed as retired, never because it is absent.
//!
//! ## Invariants and what guards each
//!
//! - Only what never voted is opened: guarded by `tests::only_what_never_voted_is_opened`.
//! - A replica is removed only once the map on this disk says that it is retired: guarded by
//!   `sim_node::a_replica_is_removed_only_once_its_retirement_is_on_this_disk`.
//! - A replica that has stopped is not left standing: it is set aside, or its node stops: guarded by
//!   `sim_node::a_disk_that_cannot_be_read_gives_no_wrong_answer`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::config::Settings;
use crate::model::id::{NodeId, ReplicaId, ShardId};
use crate::model::map::{ClusterMap, NodeState, Role};
use crate::model::wire::JobPhase;
use crate::net::peers::Peers;
use crate::net::transport::Address;
use crate::node::disk::lacks_room;
use crate::node::member::{Seed, Standing};
use crate::node::replica::ReplicaError;
use crate::node::shards::Shards;

use super::view::{Cluster, View};

/// How often the replicas are looked at.
const LOOK_FOR_DAMAGE_EVERY: Duration = Duration::from_secs(1);

/// How long the only voter of a shard may be unknown as such.
const FOLLOW_VOTERS_EVERY: Duration = Duration::from_secs(1);

/// How long after a failure to open or remove a replica it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Keeps addresses and settings current, the addresses on disk too.
pub async fn follow_addresses(
    view: View,
    peers: Peers,
    standing: Arc<Standing>,
    settings: watch::Sender<Settings>,
) {
    let mut changes = view.watch();
    let mut learned: Option<Arc<Cluster>> = None;
    loop {
        let cluster = changes.borrow_and_update().clone();
        if !learned.as_ref().is_some_and(|learned| learned.map.shares_nodes(&cluster.map)) {
            // What could not be noted is tried again with the next change.
            let noted = learn_addresses(&cluster.map, &peers, &standing);
            learned = noted.then(|| cluster.clone());
        }
        settings.send_if_modified(|settings| {
            let differs = *settings != cluster.settings;
            settings.clone_from(&cluster.settings);
            differs
        });
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// False if they could not be noted on disk.
fn learn_addresses(map: &ClusterMap, peers: &Peers, standing: &Standing) -> bool {
    let member = standing.now();
    let mut noted = true;
    if map.node(member.node).is_some() {
        let others = map.nodes().filter(|node| node.id != member.node && !node.quic.is_empty());
        let seeds = others.filter(|node| node.state != NodeState::Left);
        let seeds = seeds.map(|node| Seed { node: node.id, quic: node.quic.clone() }).collect();
        if let Err(error) = standing.change(|member| member.seeds = seeds) {
            tracing::warn!(%error, "where the other members are could not be noted");
            noted = false;
        }
    }
    let mut addresses: BTreeMap<NodeId, Address> =
        member.seeds.iter().map(|seed| (seed.node, Address(seed.quic.clone()))).collect();
    addresses.extend(map.nodes().map(|node| (node.id, Address(node.quic.clone()))));
    addresses.remove(&member.node);
    peers.set_addresses(addresses);
    noted
}

/// Opens and removes replicas as the map says; what failed is tried again.
pub async fn follow_placement(view: View, shards: Shards, own: NodeId) {
    let mut changes = view.watch();
    loop {
        let cluster = changes.borrow_and_update().clone();
        let retry_at = match placed(&cluster.map, &shards, own).await {
            true => None,
            false => Some(Instant::now() + TRY_AGAIN_AFTER),
        };
        let again = async {
            match retry_at {
                Some(retry_at) => sleep_until(retry_at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}

/// True if all is as the map says.
async fn placed(map: &ClusterMap, shards: &Shards, own: NodeId) -> bool {
    let mut done = true;
    for replica in shards.all().iter() {
        if map.is_retired(replica.id) && replica.shard != ShardId::META {
            done &= report(remove(shards, replica.shard, replica.id).await, replica.shard);
        }
    }
    for damaged in shards.damaged() {
        if map.is_retired(damaged.id) {
            done &= report(remove(shards, damaged.shard, damaged.id).await, damaged.shard);
        }
    }
    for (shard, replica) in wanted(map, own) {
        if shards.get(shard).is_none() && !map.is_retired(replica) {
            done &= report(shards.open(shard, replica).await.map(|_| ()), shard);
        }
    }
    done
}

/// Removes a retired replica, but not before its retirement is in the meta shard's file here: after a restart this node
/// believes that file until it hears from others, and an older one may name the replica among those to be opened.
async fn remove(shards: &Shards, shard: ShardId, id: ReplicaId) -> Result<(), ReplicaError> {
    let Some(meta) = shards.get(ShardId::META) else { return Ok(()) };
    meta.flush().await?;
    shards.destroy(shard, id).await
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
                Ok(()) => _ = report(shards.open(ShardId::META, replica).await.map(|_| ()), ShardId::META),
                Err(error) => tracing::error!(%error, "the new replica of the meta shard could not be noted"),
            }
        }
        if seat.changed().await.is_err() {
            return;
        }
    }
}

/// Sets replicas aside that turn out to be damaged. Returns when that cannot be done for one, or when one has stopped
/// because the disk did not do what it was asked, with what there is to say: the node must stop.
pub async fn watch_damage(shards: Shards) -> String {
    loop {
        tokio::time::sleep(LOOK_FOR_DAMAGE_EVERY).await;
        for replica in shards.all().iter() {
            let (shard, id) = (replica.shard, replica.id);
            // In this order: what it fails for is known before it has failed.
            let failure = replica.group.failure();
            if !replica.is_damaged() {
                match failure.filter(|_| shards.exactly(shard, id).is_some()) {
                    Some(why) => return format!("{id} of {shard} has stopped: {why}"),
                    None => continue,
                }
            }
            match shards.set_aside(replica, "what was read is not what was written").await {
                Ok(true) => {}
                Ok(false) => return format!("{shard} has no other voter than {id}, which is damaged"),
                Err(error) => {
                    return format!("{id} of {shard} is damaged and could not be set aside: {error}");
                }
            }
        }
    }
}

/// Has whoever is its shard's only voter say so on its disk. Returns when the disk does not let it, with what there
/// is to say: the node must stop.
pub async fn follow_voters(shards: Shards) -> String {
    // Of shards without room: said once, not at every look.
    let mut told = BTreeSet::new();
    loop {
        tokio::time::sleep(FOLLOW_VOTERS_EVERY).await;
        for replica in shards.all().iter() {
            let shard = replica.shard;
            match replica.keep_sole().await {
                Ok(()) => _ = told.remove(&shard),
                Err(error) if lacks_room(&error) => {
                    if told.insert(shard) {
                        tracing::warn!(%shard, "no room to note that nobody else votes in a shard");
                    }
                }
                Err(error) => {
                    return format!("whether anybody else votes in {shard} cannot be noted: {error}");
                }
            }
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

/// True if it was done.
fn report(done: Result<(), ReplicaError>, shard: ShardId) -> bool {
    if let Err(error) = &done {
        tracing::error!(%shard, %error, "a replica could not be opened or removed");
    }
    done.is_ok()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::model::key::Key;
    use crate::model::system::SystemKey;
    use crate::model::time::Timestamp;
    use crate::model::wire::{JobRecord, ReplicaRecord, ReplicaRole, ShardRecord};

    const OWN: NodeId = NodeId(3);

    fn map(role: ReplicaRole, phase: JobPhase) -> ClusterMap {
        let here = |replica: u64| ReplicaRecord { replica, node: OWN.0, role: role.into() };
        let start = Key::FIRST_USER.to_bytes();
        let replicas = vec![here(10)];
        let shard = ShardRecord { shard: 1, start, epoch: 1, replicas, ..ShardRecord::default() };
        let job = JobRecord { shard: 2, add: Some(here(20)), phase: phase.into(), ..JobRecord::default() };
        let mut map = ClusterMap::default();
        let records = [
            (SystemKey::Shard(ShardId(1)), shard.encode_to_vec()),
            (SystemKey::Job(ShardId(2)), job.encode_to_vec()),
        ];
        for (name, record) in records {
            map.set(&name.key(), Some(&record[..]), Timestamp(1)).unwrap();
        }
        map
    }

    #[test]
    fn only_what_never_voted_is_opened() {
        let job = (ShardId(2), ReplicaId(20));
        let learner = (ShardId(1), ReplicaId(10));
        for phase in [JobPhase::JobPromote, JobPhase::JobRemove, JobPhase::JobDone] {
            assert_eq!(wanted(&map(ReplicaRole::RoleVoter, phase), OWN), []);
        }
        assert_eq!(wanted(&map(ReplicaRole::RoleVoter, JobPhase::JobLearn), OWN), [job]);
        assert_eq!(wanted(&map(ReplicaRole::RoleLearner, JobPhase::JobLearn), OWN), [job, learner]);
        assert_eq!(wanted(&map(ReplicaRole::RoleLearner, JobPhase::JobLearn), NodeId(4)), []);
    }
}
