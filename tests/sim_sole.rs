//! A disk that is damaged: whether the others have what is lost. In simulated time.
//!
//! failures.md row 16: who is its shard's only voter is never made anew, and whoever has peers is. What becomes of damage
//! is in `sim_cluster.rs`, disks that hang or are full are in `sim_disk.rs`.

mod simulated;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::model::id::{ReplicaId, ShardId};
use nodenomad::node::disk::sim::Loss;
use nodenomad::node::member::Member;
use nodenomad::node::replica::{ReplicaError, directory, is_sole};
use nodenomad::node::running::NodeError;
use nodenomad::node::store::{self, FILE_NAME};
use nodenomad::node::wal::WalError;
use tokio::time::{Instant, sleep};

use simulated::machine::Machine;
use simulated::{Ledger, World, for_seeds};

const ALL: [ShardId; 4] = [ShardId(0), ShardId(1), ShardId(2), ShardId(3)];

/// The first replica of each shard, on the first machine.
fn first_replica(shard: ShardId) -> ReplicaId {
    ReplicaId(shard.0 + 1)
}

/// Whether the first machine's disk says that nobody else votes in a shard.
fn says_sole(machine: &Machine, shard: ShardId) -> bool {
    is_sole(&*machine.disk(), shard, first_replica(shard)).unwrap()
}

fn shard_file(shard: ShardId) -> PathBuf {
    directory(shard, first_replica(shard)).join(FILE_NAME)
}

/// Does what makes a node refuse to start if nobody else has what is lost.
fn harm(world: &World, machine: &Machine, shard: ShardId) {
    match world.chance.between(0, 3) {
        0 => machine.disk().remove(&segments(machine).pop().unwrap()).unwrap(),
        1 => segments(machine).iter().for_each(|path| machine.rot(path, 3, &world.chance)),
        _ => machine.rot(&shard_file(shard), 300, &world.chance),
    }
}

fn segments(machine: &Machine) -> Vec<PathBuf> {
    let mut files = machine.files("wal");
    files.retain(|path| path.extension().is_some_and(|kind| kind == "seg"));
    files
}

/// The voters by the file of the first machine's replica of the meta shard: what it knows before it hears from anybody.
fn voters_in_file(machine: &Machine) -> Vec<u64> {
    let (held, _) = store::inspect(&*machine.disk(), &shard_file(ShardId::META), ShardId::META).unwrap();
    held.membership.configs.iter().flat_map(|set| set.replicas.clone()).collect()
}

/// Its own files are of when nobody else voted, and it is damaged: the others have all of it.
#[test]
fn who_has_peers_starts_whatever_its_own_files_say() {
    for_seeds("who_has_peers_starts_whatever_its_own_files_say", 1..=4, |world| async move {
        world.bootstrap().await;
        let machine = world.machine(0);
        for replica in machine.node().shards.all().iter() {
            replica.flush().await.unwrap();
        }
        let alone = Member::load(&machine.disk()).unwrap().unwrap();
        let token = world.token().await;
        for _ in 0..2 {
            world.join(&token).await;
        }
        let client = world.client("client").await;
        world.wait_until_whole(&client).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 100);
        ledger.wait_for(30, Duration::from_secs(30)).await;
        machine.cut_with(Loss::All);
        assert_eq!(voters_in_file(&machine), [1], "the file is as old as it should be");
        if world.chance.between(0, 2) == 0 {
            machine.rot(&shard_file(ShardId(1)), 300, &world.chance);
            // Of then, too.
            let member = Member { seeds: alone.seeds, ..Member::load(&machine.disk()).unwrap().unwrap() };
            member.save(&machine.disk()).unwrap();
        } else {
            harm(&world, &machine, ShardId(2));
        }
        assert!(machine.start().await);
        let given_up = machine.node().shards.damaged();
        assert!(!given_up.is_empty(), "something was lost");
        world
            .until("what was lost is there again", Duration::from_secs(120), || async {
                let shards = &machine.node().shards;
                shards.damaged().is_empty() && shards.all().len() == ALL.len()
            })
            .await;
        world.wait_until_whole(&client).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// That there are other nodes does not mean that they have anything.
#[test]
fn who_votes_alone_does_not_start_on_damage_however_many_nodes_there_are() {
    let test = "who_votes_alone_does_not_start_on_damage_however_many_nodes_there_are";
    for_seeds(test, 1..=4, |world| async move {
        world.bootstrap().await;
        let token = world.token().await;
        world.join(&token).await;
        let client = world.client("client").await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(100, Duration::from_secs(60)).await;
        ledger.stop(workers).await;
        let machine = world.machine(0);
        assert!(ALL.iter().all(|shard| says_sole(&machine, *shard)), "two do not vote");
        machine.cut();
        let shard = ShardId(world.chance.between(1, 4));
        harm(&world, &machine, shard);
        let before = machine.content(&shard_file(shard));
        for _ in 0..2 {
            match machine.try_start().await {
                Err(NodeError::Wal(WalError::Lost(_)) | NodeError::Replica(ReplicaError::Sole { .. })) => {}
                Err(error) => panic!("{error:?}"),
                Ok(_) => panic!("it starts"),
            }
        }
        assert!(machine.content(&shard_file(shard)) == before, "nothing is changed");
        assert!(ALL.iter().all(|shard| says_sole(&machine, *shard)));
    });
}

#[test]
fn the_file_follows_the_voters() {
    for_seeds("the_file_follows_the_voters", 1..=2, |world| async move {
        world.bootstrap().await;
        let machine = world.machine(0);
        assert!(ALL.iter().all(|shard| says_sole(&machine, *shard)), "from the beginning");
        let token = world.token().await;
        for _ in 0..2 {
            world.join(&token).await;
        }
        let client = world.client("client").await;
        world.wait_until_whole(&client).await;
        assert!(!ALL.iter().any(|shard| says_sole(&machine, *shard)), "others vote");

        let (shard, only) = (ShardId(1), first_replica(ShardId(1)));
        world.lead_all(0).await;
        let shrink = machine.spawn(move |node| async move {
            let replica = node.shards.get(shard).expect("it leads");
            let seen = replica.group.status().membership.log_id;
            replica.change_voters(&[only.0], seen.as_ref()).await
        });
        shrink.await.unwrap().unwrap();
        // Nobody leads the meta shard, so nobody has others vote again.
        (1..3).for_each(|n| world.machine(n).cut());
        let back = || async { says_sole(&machine, shard) };
        world.until("it is there again", Duration::from_secs(5), back).await;
        assert!(ALL.iter().filter(|other| **other != shard).all(|other| !says_sole(&machine, *other)));
        world.start_all().await;
        world.wait_until_whole(&client).await;
        assert!(!says_sole(&machine, shard), "others vote");
    });
}

/// Two join; returns just when the file of a user's shard has gone, before raft has written anything of others.
async fn join_until_it_leaves(world: &Rc<World>) -> ShardId {
    let (machine, token) = (world.machine(0), world.token().await);
    for _ in 0..2 {
        world.join(&token).await;
    }
    let left = || ALL[1..].iter().find(|shard| !says_sole(&machine, **shard));
    let begin = Instant::now();
    while left().is_none() {
        assert!(begin.elapsed() < Duration::from_secs(60), "others come to vote\n{}", world.describe());
        sleep(Duration::from_micros(50)).await;
    }
    *left().expect("just seen")
}

/// The power of all goes then.
async fn cut_when_leaving(world: &Rc<World>) -> ShardId {
    let shard = join_until_it_leaves(world).await;
    (0..3).for_each(|n| world.machine(n).cut_with(Loss::All));
    assert!(!says_sole(&world.machine(0), shard), "it was gone for good before raft was asked");
    shard
}

#[test]
fn power_that_goes_when_the_file_is_gone_costs_nothing() {
    for_seeds("power_that_goes_when_the_file_is_gone_costs_nothing", 1..=3, |world| async move {
        let client = world.alone().await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 100);
        ledger.wait_for(30, Duration::from_secs(30)).await;
        let shard = cut_when_leaving(&world).await;
        let machine = world.machine(0);
        // By itself it is what it was, and says so.
        assert!(machine.start().await);
        let back = || async { says_sole(&machine, shard) };
        world.until("it is there again", Duration::from_secs(5), back).await;
        world.start_all().await;
        let client = world.client("later").await;
        world.wait_until_whole(&client).await;
        assert!(!ALL.iter().any(|shard| says_sole(&machine, *shard)), "others vote");
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Damaged in that moment it is taken for one that has peers: its shard stands still, and all that is left of it stays.
#[test]
fn who_is_damaged_when_the_file_is_gone_answers_nothing_and_keeps_all() {
    for_seeds(
        "who_is_damaged_when_the_file_is_gone_answers_nothing_and_keeps_all",
        1..=2,
        |world| async move {
            let client = world.alone().await;
            for key in ["a", "k", "z"] {
                client.put(key.as_bytes(), "1").await.unwrap();
            }
            for replica in world.machine(0).node().shards.all().iter() {
                replica.flush().await.unwrap();
            }
            let shard = cut_when_leaving(&world).await;
            let machine = world.machine(0);
            machine.rot(&shard_file(shard), 300, &world.chance);
            let before = machine.content(&shard_file(shard));
            for _ in 0..2 {
                world.start_all().await;
                let client = world.client("later").await;
                let key = ["a", "k", "z"][shard.0 as usize - 1];
                let answer = client.get(key.as_bytes()).await;
                assert!(answer.is_err(), "{answer:?}");
                sleep(Duration::from_secs(60)).await;
                let damaged = machine.node().shards.damaged();
                let damaged: Vec<_> = damaged.iter().map(|one| (one.shard, one.id)).collect();
                assert_eq!(damaged, [(shard, first_replica(shard))]);
                assert!(world.leader_of(shard).is_none(), "nobody leads\n{}", world.describe());
                world.cut_all();
                assert!(machine.content(&shard_file(shard)) == before, "its file stays as it is");
                assert!(!says_sole(&machine, shard));
            }
        },
    );
}

/// The others have got the change, and whoever was to make it has forgotten it. Either it is made by one of them, or never
/// was; in between nobody claims to vote alone who does not.
#[test]
fn a_change_that_only_the_others_know_of_brings_no_file_back() {
    for_seeds("a_change_that_only_the_others_know_of_brings_no_file_back", 1..=4, |world| async move {
        let client = world.alone().await;
        for key in ["a", "k", "z"] {
            client.put(key.as_bytes(), "1").await.unwrap();
        }
        let shard = join_until_it_leaves(&world).await;
        let machine = world.machine(0);
        machine.gate.close();
        let voters = |n: usize| {
            let replica = world.machine(n).node().shards.get(shard);
            replica.map_or(0, |replica| {
                replica.group.status().membership.configs.iter().flat_map(|set| &set.replicas).count()
            })
        };
        let known = || async { (1..3).any(|n| voters(n) > 1) };
        world.until("the others have got it", Duration::from_secs(2), known).await;
        machine.cut_with(Loss::All);
        machine.gate.open();
        assert!(machine.start().await);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            sleep(Duration::from_millis(5)).await;
            let replicas = (0..3).filter_map(|n| world.machine(n).node().shards.get(shard));
            let others_vote = replicas
                .flat_map(|replica| replica.store.applied().1.configs)
                .any(|set| set.replicas != [first_replica(shard).0]);
            assert!(!others_vote || !says_sole(&machine, shard), "{}", world.describe());
        }
        world.wait_until_whole(&client).await;
        assert!(!says_sole(&machine, shard));
    });
}
