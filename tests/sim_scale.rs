//! A large cluster in simulated time: its nodes come together, serve, and are lost, one after the other and for ever.
//!
//! A hundred of them with three hundred shards, of which thirty are lost: `cargo test --release --test sim_scale --
//! --ignored --nocapture`; takes long, and prints how long.

mod simulated;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::client::Client;
use nodenomad::model::id::{NodeId, ShardId};
use simulated::{World, for_seeds};
use tokio::time::{Instant, sleep, timeout};

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    nodes: usize,
    shards: usize,
    lost: usize,
}

/// Who is silent for longer is replaced.
const SILENT_AFTER: &str = "10s";
/// Between two looks: each asks for the whole map.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Placement moves a few shards at a time.
const WHOLE_LIMIT: Duration = Duration::from_secs(600);
/// Until what a lost node had is elsewhere.
const HEAL_LIMIT: Duration = Duration::from_secs(120);

fn key(n: usize) -> String {
    format!("k{n:04}")
}

/// True once every shard has three voters, none of them on a lost node, and nobody else.
async fn is_whole(client: &Client, shards: usize, lost: &BTreeSet<NodeId>) -> bool {
    let Ok(map) = client.refresh().await else { return false };
    map.shards().filter(|shard| shard.shard != ShardId::META).count() == shards
        && map.shards().filter(|shard| shard.shard != ShardId::META).all(|shard| {
            shard.replicas.len() == 3
                && shard.replicas.iter().all(|replica| replica.voter && !lost.contains(&replica.node))
        })
}

async fn wait_until_whole(
    world: &World,
    client: &Client,
    shards: usize,
    lost: &BTreeSet<NodeId>,
    limit: Duration,
) {
    let whole = async {
        while !is_whole(client, shards, lost).await {
            sleep(LOOK_EVERY).await;
        }
    };
    let waited = timeout(limit, whole).await;
    assert!(waited.is_ok(), "not whole after {limit:?}\n{}", world.describe());
}

/// Every key has what was written last.
async fn read_all(client: &Client, shards: usize, written: &str) {
    for n in 0..shards {
        let found = client.get(key(n).as_bytes()).await.unwrap_or_else(|error| panic!("{}: {error}", key(n)));
        assert_eq!(found.map(|found| found.value), Some(written.to_owned().into()), "{}", key(n));
    }
}

async fn write_all(client: &Client, shards: usize, value: &str) {
    for n in 0..shards {
        client
            .put(key(n).as_bytes(), value.to_owned())
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", key(n)));
    }
}

async fn story(world: Rc<World>, Size { nodes, shards, lost: count }: Size) {
    let real = std::time::Instant::now();
    let begin = Instant::now();
    let told = |what: &str| {
        println!(
            "{:>6.1?} s simulated, {:>6.1?} s real: {what}",
            begin.elapsed().as_secs_f64(),
            real.elapsed().as_secs_f64()
        )
    };
    world.bootstrap_split_at((1..shards).map(|n| key(n).into_bytes()).collect()).await;
    let token = world.token().await;
    for _ in 1..nodes {
        world.join(&token).await;
    }
    told("all have joined");
    let client = world.client("scale").await;
    world.configure(&client, "silent_after_ms", SILENT_AFTER).await;
    // What is measured is how it heals; evening out comes after that, and has an extra replica for as long as it can be undone.
    world.configure(&client, "rebalance", "0").await;
    let mut lost = BTreeSet::new();
    wait_until_whole(&world, &client, shards, &lost, WHOLE_LIMIT).await;
    told("every shard has three voters");
    write_all(&client, shards, "first").await;
    read_all(&client, shards, "first").await;
    told("every shard was written and read");

    for n in 0..count {
        // Any of them, also the leader of the meta shard.
        let machine = loop {
            let drawn = world.chance.between(0, nodes as u64) as usize;
            if world.machine(drawn).is_running() {
                break world.machine(drawn);
            }
        };
        lost.insert(machine.id());
        machine.cut();
        let cut = Instant::now();
        wait_until_whole(&world, &client, shards, &lost, HEAL_LIMIT).await;
        let value = format!("after {n}");
        write_all(&client, shards, &value).await;
        read_all(&client, shards, &value).await;
        told(&format!("{} lost, healed after {:.1?}", lost.len(), cut.elapsed()));
        sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn nodes_are_lost_one_after_the_other_and_what_they_had_is_elsewhere() {
    let size = Size { nodes: 9, shards: 18, lost: 3 };
    for_seeds("nodes_are_lost_one_after_the_other_and_what_they_had_is_elsewhere", [1], |world| {
        story(world, size)
    });
}

#[test]
#[ignore = "takes long"]
fn a_hundred_nodes_lose_thirty_one_after_the_other() {
    let size = Size { nodes: 100, shards: 300, lost: 30 };
    for_seeds("a_hundred_nodes_lose_thirty_one_after_the_other", [1], |world| story(world, size));
}
