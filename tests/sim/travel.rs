//! An operator who moves shards about, splits and merges them while things go wrong, and changes his mind.
//!
//! Which shard, from where, and what is ordered meanwhile follows from the fault's number. Whatever comes of it, the shard
//! must be whole in the end, with as many replicas as before; that is looked at after the storm.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use nodenomad::client::Client;
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::key::Key;
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::{
    MigrationBegin, MigrationList, MigrationOrder, MigrationOrderKind, MigrationStatus, ShardMerge,
    ShardSplit,
};
use tokio::time::{Instant, sleep};

use crate::faults::Fault;
use crate::simulated::World;

/// User shards beyond which none is split.
const SHARDS_MAX: usize = 8;
/// How long moves can be undone.
pub const WINDOW: &str = "3s";
/// How long one stands still that was paused.
const PAUSED: Duration = Duration::from_secs(1);
/// Between two tries to be heard, and how long it is tried.
const AGAIN: Duration = Duration::from_millis(300);
const TRY_FOR: Duration = Duration::from_secs(120);

/// Has a shard split, in its middle or at a key, unless there are many already. False if it was refused.
pub async fn halve(client: &Client, fault: Fault) -> bool {
    let map = client.map();
    let users: Vec<_> = map.shards().filter(|route| route.shard != ShardId::META).collect();
    if users.len() >= SHARDS_MAX {
        return false;
    }
    let route = users[fault.detail as usize % users.len()];
    let letter = [b'a' + (fault.detail / 3 % 26) as u8, b'0' + (fault.detail % 10) as u8];
    let key = Key::from_name(&letter).expect("two letters are a key");
    let is_inside = key > route.range.start && route.range.contains(&key);
    let at = if is_inside { key.to_bytes() } else { Bytes::new() };
    client.admin(Body::ShardSplit(ShardSplit { shard: route.shard.0, at })).await.is_ok()
}

/// Has a shard take over its right neighbour, if there are two. False if it was refused.
pub async fn fuse(client: &Client, fault: Fault) -> bool {
    let map = client.map();
    let mut users: Vec<_> = map.shards().filter(|route| route.shard != ShardId::META).collect();
    users.sort_by(|one, other| one.range.start.cmp(&other.range.start));
    let Some(pairs) = users.len().checked_sub(1).filter(|pairs| *pairs > 0) else { return false };
    let left = users[fault.detail as usize % pairs].shard;
    client.admin(Body::ShardMerge(ShardMerge { shard: left.0 })).await.is_ok()
}

/// Begins a move to the fault's machine and gives an order when its time is over. False if there was nothing to move.
pub async fn travel(world: &Rc<World>, client: &Client, fault: Fault) -> bool {
    let Some(wish) = draw(world, client, fault) else { return false };
    let Ok(mut answer) = client.admin(Body::MigrationBegin(wish)).await else { return false };
    let Some(begun) = answer.migrations.pop() else { return false };
    sleep(Duration::from_millis(fault.lasts_ms)).await;
    match fault.detail % 4 {
        0 => drop(order(client, begun.id, MigrationOrderKind::OrderCancel).await),
        1 => drop(order(client, begun.id, MigrationOrderKind::OrderUndo).await),
        2 => {
            order(client, begun.id, MigrationOrderKind::OrderPause).await;
            sleep(PAUSED).await;
            resume(client, begun.id).await;
        }
        _ => {}
    }
    if let Some(ended) = find(client, begun.id).await {
        assert!(!ended.reason.contains("does not hold"), "verify: {}", ended.reason);
        assert!(!ended.reason.contains("holds the same"), "verify: {}", ended.reason);
    }
    true
}

fn draw(world: &Rc<World>, client: &Client, fault: Fault) -> Option<MigrationBegin> {
    let (map, to) = (client.map(), world.machine(fault.machine).id());
    let is_free = |nodes: &[NodeId]| !nodes.contains(&to);
    let movable = map.shards().filter(|route| route.shard != ShardId::META).filter_map(|route| {
        let nodes: Vec<NodeId> = route.replicas.iter().map(|replica| replica.node).collect();
        is_free(&nodes).then_some((route.shard, nodes))
    });
    let movable: Vec<_> = movable.collect();
    let number = fault.detail as usize;
    let (shard, nodes) = movable.get(number % movable.len().max(1))?;
    let from = nodes.get(number / 7 % nodes.len().max(1))?;
    Some(MigrationBegin {
        shard: shard.0,
        from_node: from.0,
        to_node: to.0,
        force: fault.detail.is_multiple_of(2),
        keep_p99_us: 0,
    })
}

/// True if it was taken.
async fn order(client: &Client, id: u64, order: MigrationOrderKind) -> bool {
    client.admin(Body::MigrationOrder(MigrationOrder { id, order: order.into() })).await.is_ok()
}

async fn find(client: &Client, id: u64) -> Option<MigrationStatus> {
    let all = client.admin(Body::MigrationList(MigrationList {})).await.ok()?.migrations;
    all.into_iter().find(|status| status.id == id)
}

/// Lets it go on; nobody leaves a move standing for ever.
async fn resume(client: &Client, id: u64) {
    let begin = Instant::now();
    loop {
        order(client, id, MigrationOrderKind::OrderResume).await;
        if find(client, id).await.is_some_and(|status| status.state != "paused") {
            return;
        }
        assert!(begin.elapsed() < TRY_FOR, "settling in time: nobody hears that {id} is to go on");
        sleep(AGAIN).await;
    }
}
