//! Shards that are split in simulated time: under load, and while machines fail.

mod simulated;

use std::time::Duration;

use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::key::Key;
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::{MigrationBegin, MigrationList};
use tokio::time::{Instant, sleep};

use simulated::shaper::{LIMIT, Scans, Shaper};
use simulated::{Ledger, for_seeds};

/// Keys that are moving to another shard wait no longer, where nobody fails.
const WAIT_MAX: Duration = Duration::from_secs(4);

#[test]
fn shards_are_split_and_nobody_notices() {
    for_seeds("shards_are_split_and_nobody_notices", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let shaper = Shaper::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 4, 20);
        for n in 0..8 {
            sleep(world.draw_ms(0, 1000)).await;
            let begin = Instant::now();
            let (shard, begun) = shaper.split().await;
            let child = ShardId(begun.child);
            world
                .until("the new shard answers", WAIT_MAX, || async {
                    let known = client.refresh().await.is_ok_and(|map| map.shard(child).is_some());
                    let key = Key::from_internal(begun.at.clone()).expect("it is a key");
                    known && client.get(key.name()).await.is_ok()
                })
                .await;
            ledger.note(&format!("{n}: {shard} was split in {:?}", begin.elapsed()));
            assert!(shaper.settled(child).await);
            world.equal_digests(&client).await;
        }
        ledger.stop(workers).await;
        assert_eq!(ledger.told_errors(), None, "no writer is told an error");
        ledger.verify(&client).await;
        world.cut_all();
        world.start_all().await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Whoever reads all keys while shards are split sees all of them each time, also where the read comes just before the split.
#[test]
fn scans_miss_nothing_while_shards_are_split() {
    for_seeds("scans_miss_nothing_while_shards_are_split", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let shaper = Shaper::new(&world).await;
        let scans = Scans::start(&world, &client).await;
        for _ in 0..8 {
            let (_, begun) = shaper.split().await;
            assert!(shaper.settled(ShardId(begun.child)).await);
        }
        scans.stop().await;
    });
}

/// Machines lose their power at any moment of a split: the one that leads the meta shard, the one that leads the shard, anybody,
/// all.
#[test]
fn a_split_ends_whole_whoever_fails() {
    for_seeds("a_split_ends_whole_whoever_fails", 1..=3, |world| async move {
        let client = world.whole(4).await;
        let shaper = Shaper::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        for _ in 0..6 {
            let (shard, begun) = shaper.split().await;
            let long = if world.chance.between(0, 2) == 0 { 400 } else { 3000 };
            sleep(world.draw_ms(0, long)).await;
            let victims: Vec<usize> = match world.chance.between(0, 4) {
                0 => vec![world.leader_of(ShardId::META).unwrap_or(0)],
                1 => vec![world.leader_of(shard).unwrap_or(0)],
                2 => (0..world.count()).collect(),
                _ => vec![shaper.drawn(4)],
            };
            for victim in &victims {
                world.machine(*victim).cut();
            }
            sleep(world.draw_ms(0, 5000)).await;
            world.start_all().await;
            let is_split = shaper.settled(ShardId(begun.child)).await;
            ledger.note(&format!("{victims:?} failed, and {shard} is split: {is_split}"));
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Nobody can help a node that is alone: it finds everything itself, wherever its power goes.
#[test]
fn a_node_alone_splits_and_starts_again() {
    for_seeds("a_node_alone_splits_and_starts_again", 1..=3, |world| async move {
        let client = world.alone().await;
        let shaper = Shaper::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 20);
        for _ in 0..8 {
            let (_, begun) = shaper.split().await;
            sleep(world.draw_ms(0, 700)).await;
            world.machine(0).cut();
            world.start_all().await;
            let child = ShardId(begun.child);
            world
                .until("it is split", LIMIT, || async {
                    shaper.client.refresh().await.is_ok_and(|map| map.shard(child).is_some())
                })
                .await;
            shaper.settled(child).await;
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
    });
}

/// A machine that is lost for ever before it has made its part: others take its place in both halves.
#[test]
fn a_split_is_settled_without_who_is_lost() {
    for_seeds("a_split_is_settled_without_who_is_lost", 1..=2, |world| async move {
        let client = world.whole(4).await;
        let shaper = Shaper::new(&world).await;
        world.configure(&client, "silent_after_ms", "10000").await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        let (shard, begun) = shaper.split().await;
        sleep(world.draw_ms(0, 600)).await;
        let map = client.refresh().await.expect("all are there");
        let route = map.shard(shard).expect("it stays");
        let victim = route.replicas[shaper.drawn(route.replicas.len())].node;
        world.machine(world.number(victim)).lose();
        let is_split = shaper.settled(ShardId(begun.child)).await;
        ledger.note(&format!("{victim} was lost, and {shard} is split: {is_split}"));
        let has_left = |map: &nodenomad::client::map::ClusterMap, node: NodeId| {
            let users = map.shards().filter(|route| route.shard != ShardId::META);
            let mut places = users.flat_map(|route| &route.replicas);
            places.all(|replica| replica.node != node)
        };
        world
            .until("others have taken its place", LIMIT, || async {
                client.refresh().await.is_ok_and(|map| has_left(&map, victim))
            })
            .await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
    });
}

/// Halves move apart, and what is left of each other's rows goes.
#[test]
fn halves_travel_and_are_trimmed() {
    for_seeds("halves_travel_and_are_trimmed", 1..=2, |world| async move {
        let client = world.whole(4).await;
        let shaper = Shaper::new(&world).await;
        world.configure(&client, "rebalance", "0").await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 20);
        ledger.wait_for(200, LIMIT).await;
        let (shard, begun) = shaper.split().await;
        let child = ShardId(begun.child);
        assert!(shaper.settled(child).await);
        for half in [shard, child] {
            let map = client.refresh().await.expect("all are there");
            let here: Vec<NodeId> = map
                .shard(half)
                .expect("both are there")
                .replicas
                .iter()
                .map(|replica| replica.node)
                .collect();
            let to =
                map.members().map(|(node, _)| node).find(|node| !here.contains(node)).expect("one is free");
            let wish = MigrationBegin {
                shard: half.0,
                from_node: here[shaper.drawn(here.len())].0,
                to_node: to.0,
                force: false,
                keep_p99_us: 0,
            };
            client.admin(Body::MigrationBegin(wish)).await.expect("nothing else is done");
            world
                .until("it has moved", LIMIT, || async {
                    let all = client.admin(Body::MigrationList(MigrationList {})).await;
                    all.is_ok_and(|all| all.migrations.iter().all(|status| status.ended_at_ms != 0))
                })
                .await;
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world
            .until("nothing is left out of bounds", LIMIT, || async {
                let all = (0..4).flat_map(|n| world.machine(n).node().shards.all().to_vec());
                let mut halves = all.filter(|replica| [shard, child].contains(&replica.shard));
                halves.all(|replica| !replica.store.can_trim())
            })
            .await;
        world.equal_digests(&client).await;
    });
}
