//! Shards that are merged in simulated time: under load, and while machines fail; and what the cluster splits and merges by itself.

mod simulated;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use nodenomad::client::Client;
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::key::Key;
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::why_get::What;
use nodenomad::net::wire::{MigrationBegin, MigrationList, WhyGet};
use tokio::time::{Instant, sleep};

use simulated::shaper::{LIMIT, Scans, Shaper};
use simulated::{Ledger, World, for_seeds};

/// Makes a few shards of what there is.
async fn scatter(shaper: &Shaper, count: usize) {
    for _ in 0..count {
        let (_, begun) = shaper.split().await;
        shaper.settled(ShardId(begun.child)).await;
    }
}

/// The user shards there are.
async fn shards(shaper: &Shaper) -> usize {
    loop {
        if let Ok(map) = shaper.client.refresh().await {
            return map.shards().filter(|route| route.shard != ShardId::META).count();
        }
    }
}

/// No node has a replica that the map does not name.
async fn no_orphans(world: &World, shaper: &Shaper) {
    world
        .until("what is gone is removed", LIMIT, || async {
            let Ok(map) = shaper.client.refresh().await else { return false };
            let all = (0..world.count()).flat_map(|n| world.machine(n).node().shards.all().to_vec());
            let mut all = all.filter(|replica| replica.shard != ShardId::META);
            all.all(|replica| {
                let route = map.shard(replica.shard);
                route.is_some_and(|route| route.replicas.iter().any(|listed| listed.replica == replica.id))
            })
        })
        .await;
}

#[test]
fn shards_are_merged_and_nobody_notices() {
    for_seeds("shards_are_merged_and_nobody_notices", 1..=3, |world| async move {
        let client = world.whole(4).await;
        let shaper = Shaper::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 4, 20);
        let mut merged = 0;
        for n in 0..8 {
            if shards(&shaper).await < 3 {
                scatter(&shaper, 2).await;
            }
            sleep(world.draw_ms(0, 1000)).await;
            let begin = Instant::now();
            let (left, right) = shaper.merge().await.expect("there are some");
            let is_there = shaper.settled(right).await;
            merged += usize::from(!is_there);
            ledger.note(&format!("{n}: {left} has {right}: {} after {:?}", !is_there, begin.elapsed()));
            world.equal_digests(&client).await;
        }
        assert!(merged >= 6, "{merged} of 8 were merged although nobody fails: {}", ledger.trace());
        ledger.stop(workers).await;
        assert_eq!(ledger.told_errors(), None, "no writer is told an error");
        ledger.verify(&client).await;
        no_orphans(&world, &shaper).await;
        world.cut_all();
        world.start_all().await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
        no_orphans(&world, &shaper).await;
    });
}

/// Whoever reads all keys while shards are split and merged sees all of them each time.
#[test]
fn scans_miss_nothing_while_shards_are_merged() {
    for_seeds("scans_miss_nothing_while_shards_are_merged", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let shaper = Shaper::new(&world).await;
        let scans = Scans::start(&world, &client).await;
        for _ in 0..8 {
            if shards(&shaper).await < 3 {
                scatter(&shaper, 1).await;
            }
            if let Some((_, right)) = shaper.merge().await {
                shaper.settled(right).await;
            }
        }
        scans.stop().await;
    });
}

/// Machines lose their power at any moment of a merge: the one that leads the meta shard, one that leads either shard, anybody, all.
#[test]
fn a_merge_ends_whole_whoever_fails() {
    for_seeds("a_merge_ends_whole_whoever_fails", 1..=4, |world| async move {
        let client = world.whole(4).await;
        let shaper = Shaper::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        for _ in 0..6 {
            if shards(&shaper).await < 3 {
                scatter(&shaper, 2).await;
            }
            let (left, right) = shaper.merge().await.expect("there are some");
            let long = [100, 400, 3000][shaper.drawn(3)];
            sleep(world.draw_ms(0, long)).await;
            let victims: Vec<usize> = match world.chance.between(0, 5) {
                0 => vec![world.leader_of(ShardId::META).unwrap_or(0)],
                1 => vec![world.leader_of(left).unwrap_or(0)],
                2 => vec![world.leader_of(right).unwrap_or(0)],
                3 => (0..world.count()).collect(),
                _ => vec![shaper.drawn(4)],
            };
            for victim in &victims {
                world.machine(*victim).cut();
            }
            sleep(world.draw_ms(0, 5000)).await;
            world.start_all().await;
            let is_there = shaper.settled(right).await;
            ledger.note(&format!("{victims:?} failed, and {left} has {right}: {}", !is_there));
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
        no_orphans(&world, &shaper).await;
    });
}

/// Who is made after a merge goes through the log: it must not meet there what the shard had given away before.
#[test]
fn what_was_split_and_merged_travels() {
    for_seeds("what_was_split_and_merged_travels", 1..=3, |world| async move {
        let client = world.whole(4).await;
        let shaper = Shaper::new(&world).await;
        world.configure(&client, "rebalance", "0").await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 4, 20);
        for _ in 0..3 {
            ledger.wait_for(50, LIMIT).await;
            scatter(&shaper, 1).await;
            ledger.wait_for(50, LIMIT).await;
            let (left, right) = shaper.merge().await.expect("there are some");
            assert!(!shaper.settled(right).await, "nobody fails");
            let map = client.refresh().await.expect("all are there");
            let here: Vec<NodeId> =
                map.shard(left).expect("it stays").replicas.iter().map(|replica| replica.node).collect();
            let to =
                map.members().map(|(node, _)| node).find(|node| !here.contains(node)).expect("one is free");
            let (from_node, to_node) = (here[shaper.drawn(here.len())].0, to.0);
            let wish = MigrationBegin { shard: left.0, from_node, to_node, force: false, keep_p99_us: 0 };
            client.admin(Body::MigrationBegin(wish)).await.expect("nothing else is done");
            world
                .until("it has moved", LIMIT, || async {
                    let all = client.admin(Body::MigrationList(MigrationList {})).await;
                    all.is_ok_and(|all| all.migrations.iter().all(|status| status.ended_at_ms != 0))
                })
                .await;
            world.equal_digests(&client).await;
        }
        ledger.stop(workers).await;
        assert_eq!(ledger.told_errors(), None, "no writer is told an error");
        ledger.verify(&client).await;
        no_orphans(&world, &shaper).await;
    });
}

/// A node alone has nobody to ask, wherever its power goes.
#[test]
fn a_node_alone_merges_and_starts_again() {
    for_seeds("a_node_alone_merges_and_starts_again", 1..=3, |world| async move {
        let client = world.alone().await;
        let shaper = Shaper::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 20);
        for _ in 0..6 {
            scatter(&shaper, 1).await;
            let (_, right) = shaper.merge().await.expect("there are two");
            sleep(world.draw_ms(0, 500)).await;
            world.machine(0).cut();
            world.start_all().await;
            shaper.settled(right).await;
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        no_orphans(&world, &shaper).await;
    });
}

/// What grows is split by itself; what is deleted and left alone is merged by itself; what somebody has split stays.
#[test]
fn shards_are_split_by_size_and_merged_again() {
    for_seeds("shards_are_split_by_size_and_merged_again", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let shaper = Shaper::new(&world).await;
        for (name, value) in [("split_bytes", "128KiB"), ("merge_after_ms", "20s"), ("retention_ms", "1s")] {
            world.configure(&client, name, value).await;
        }
        let before = shards(&shaper).await;
        let value = Bytes::from(vec![7; 1024]);
        let names: Vec<String> = (0..512).map(|n| format!("{n:04}")).collect();
        for name in &names {
            client.put(name.as_bytes(), value.clone()).await.expect("nobody fails");
        }
        let all = Rc::new(names);
        world.until("it is split by itself", LIMIT, || async { shards(&shaper).await >= before + 3 }).await;
        shaper.settled(ShardId::META).await;
        let most = shards(&shaper).await;
        assert!(most <= 10, "{most} shards for 512 KiB");
        for name in all.iter() {
            assert!(client.get(name.as_bytes()).await.expect("nobody fails").is_some(), "{name}");
            client.delete(name.as_bytes()).await.expect("nobody fails");
        }
        client.put(b"0001", value.clone()).await.expect("nobody fails");
        world
            .until("it is merged by itself", Duration::from_secs(600), || async {
                shards(&shaper).await == before
            })
            .await;
        assert_eq!(client.get(b"0001").await.expect("nobody fails").map(|found| found.value), Some(value));
        let (_, begun) = shaper.split().await;
        assert!(shaper.settled(ShardId(begun.child)).await);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(shards(&shaper).await, before + 1, "somebody wanted it so");
        world.equal_digests(&client).await;
        no_orphans(&world, &shaper).await;
    });
}

/// Has keys that `name` makes of numbers written again and again, until it is told to stop.
fn press(world: &Rc<World>, client: &Client, stop: &Rc<Cell<bool>>, name: fn(u64) -> String) {
    for _ in 0..8 {
        let (client, stop, chance) = (client.clone(), stop.clone(), world.chance.fork());
        tokio::task::spawn_local(async move {
            while !stop.get() {
                let name = name(chance.between(0, 1000));
                client.put(name.as_bytes(), Bytes::from_static(b"value")).await.expect("nobody fails");
                sleep(Duration::from_millis(chance.between(1, 20))).await;
            }
        });
    }
}

/// A shard that is asked for nearly everything is split until the work can be spread; one hot key is let alone, and it is said why.
#[test]
fn busy_shards_are_split_by_load_and_one_hot_key_is_not() {
    for_seeds("busy_shards_are_split_by_load_and_one_hot_key_is_not", 1..=1, |world| async move {
        let client = world.whole(3).await;
        let shaper = Shaper::new(&world).await;
        world.configure(&client, "split_per_s", "100").await;
        let before = shards(&shaper).await;
        let stop = Rc::new(Cell::new(false));
        press(&world, &client, &stop, |_| "a0500".to_owned());
        sleep(Duration::from_secs(50)).await;
        assert_eq!(shards(&shaper).await, before, "no split divides one key");
        let shard = client.map().route(&Key::from_name(b"a0500").expect("a key")).expect("known").shard;
        let why = client.admin(Body::WhyGet(WhyGet { what: Some(What::Shard(shard.0)) })).await;
        let told = why.expect("nobody fails").sentences.join(" ");
        assert!(told.contains("one key gets most of it"), "{told}");
        stop.set(true);
        let stop = Rc::new(Cell::new(false));
        press(&world, &client, &stop, |n| format!("a{n:04}"));
        world
            .until("it is split by load", Duration::from_secs(300), || async {
                shards(&shaper).await >= before + 3
            })
            .await;
        sleep(Duration::from_secs(30)).await;
        let after = shards(&shaper).await;
        assert!(after <= before + 5, "{after} shards: it comes to rest");
        stop.set(true);
    });
}
