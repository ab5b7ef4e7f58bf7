//! Whole clusters in simulated time: power cuts, partitions, dead nodes, wrong clocks.
//!
//! The proof that the five seams hold: everything here runs on one thread, from one seed, without real time, files or
//! sockets, and the same seed gives the same run. `NOMAD_SIM_SEED=7` runs that seed, `NOMAD_SIM_LOG=debug` shows the log.

mod simulated;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::model::id::ShardId;
use nodenomad::node::running::NodeError;
use tokio::time::{Instant, sleep};

use simulated::trace::first_difference;
use simulated::{Ledger, SEEDED, UNSEEDED, World, for_seeds, run};

/// failures.md: power lost everywhere at once, mid-write. Nothing that was acknowledged may be gone.
#[test]
fn a_power_cut_of_all_loses_nothing() {
    for_seeds("a_power_cut_of_all_loses_nothing", 1..=3, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 5, 40);
        for _ in 0..3 {
            ledger.wait_for(50, Duration::from_secs(30)).await;
            sleep(world.draw_ms(0, 2000)).await;
            world.cut_all();
            sleep(world.draw_ms(0, 1000)).await;
            world.start_all().await;
            let fresh = world.client("fresh").await;
            ledger.verify(&fresh).await;
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
        assert!(ledger.acknowledged() > 200, "only {} writes", ledger.acknowledged());
    });
}

/// Any two of three, restarted from their disks, are a cluster: also when the one that knows most has never flushed what it
/// knows of where the others are.
#[test]
fn any_two_come_back_without_the_third() {
    for_seeds("any_two_come_back_without_the_third", 1..=1, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        for missing in 0..3 {
            let workers = ledger.start(&client, &world.chance, 3, 40);
            ledger.wait_for(30, Duration::from_secs(30)).await;
            // The one that will be missing lags, so that each of the others is needed as what it is.
            world.machine(missing).cut();
            ledger.wait_for(30, Duration::from_secs(30)).await;
            world.cut_all();
            world.start_all_but(Some(missing)).await;
            ledger.wait_for(30, Duration::from_secs(30)).await;
            ledger.stop(workers).await;
            ledger.verify(&client).await;
            world.start_all().await;
            world.equal_digests(&client).await;
        }
    });
}

/// One node after the other dies and comes back while the others serve.
#[test]
fn one_dead_node_stops_nobody() {
    for_seeds("one_dead_node_stops_nobody", 1..=1, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        for n in [0, 1, 2, 0] {
            ledger.wait_for(20, Duration::from_secs(10)).await;
            sleep(world.draw_ms(0, 1000)).await;
            world.machine(n).cut();
            // Every key of every writer is on one of the shards, so soon all of them wait for the slowest election.
            let waited = ledger.wait_for(20, Duration::from_secs(5)).await;
            ledger.note(&format!("{n} is dead, {waited:?}"));
            sleep(world.draw_ms(0, 3000)).await;
            world.start_all().await;
            world.wait_until_caught_up(n).await;
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// A leader that is alone with a client must not answer it from the past; everybody else goes on.
#[test]
fn a_leader_left_alone_answers_nothing_stale() {
    for_seeds("a_leader_left_alone_answers_nothing_stale", 1..=1, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(40, Duration::from_secs(30)).await;
        let alone = world.wait_for_leader(ShardId(1)).await;
        let others: Vec<usize> = (0..3).filter(|n| *n != alone).collect();
        let (address, prisoner) = world.client_of("prisoner", &[alone]).await;
        for other in &others {
            world.net.partition(&world.machine(alone).address, &world.machine(*other).address, true);
            world.net.partition(&address, &world.machine(*other).address, true);
        }
        let cut_off = Instant::now();
        let mut reads = 0;
        while cut_off.elapsed() < Duration::from_secs(12) {
            let key = ledger.any_key(&world.chance);
            // Reading judges what is found by what the others have acknowledged meanwhile.
            let answered =
                tokio::time::timeout(Duration::from_millis(700), ledger.read(&prisoner, &key)).await;
            reads += usize::from(answered == Ok(true));
            assert!(ledger.quiet() < Duration::from_secs(5), "the others do not go on");
        }
        ledger.note(&format!("{reads} answers to the prisoner"));
        assert!(world.leader_of(ShardId(1)).is_some_and(|n| n != alone), "the others lead");
        for other in &others {
            world.net.partition(&world.machine(alone).address, &world.machine(*other).address, false);
            world.net.partition(&address, &world.machine(*other).address, false);
        }
        ledger.wait_for(50, Duration::from_secs(10)).await;
        ledger.stop(workers).await;
        ledger.verify(&prisoner).await;
        world.equal_digests(&client).await;
    });
}

/// What is no longer in anybody's log comes as a file.
#[test]
fn a_node_that_missed_the_log_gets_a_snapshot() {
    for_seeds("a_node_that_missed_the_log_gets_a_snapshot", 1..=1, |world| async move {
        let client = world.whole(3).await;
        world.configure(&client, "log_keep_bytes", "1MiB").await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 6, 0);
        ledger.wait_for(60, Duration::from_secs(30)).await;
        let down = world.chance.between(0, 3) as usize;
        let shards = [ShardId(1), ShardId(2), ShardId(3)];
        let had: Vec<u64> = shards.iter().map(|shard| world.log_of(down, *shard).1).collect();
        world.machine(down).cut();
        ledger.value_bytes.set(20_000);
        let others: Vec<usize> = (0..3).filter(|n| *n != down).collect();
        world
            .until("the others have forgotten what it lacks", Duration::from_secs(600), || async {
                let forgotten = |n: &usize, at: usize| world.log_of(*n, shards[at]).0 > had[at];
                others.iter().all(|n| (0..shards.len()).all(|at| forgotten(n, at)))
            })
            .await;
        ledger.value_bytes.set(200);
        world.start_all().await;
        world
            .until("it has caught up", Duration::from_secs(120), || async {
                // What it never had and nobody could send it as entries is purged here too: a snapshot was installed.
                (0..shards.len()).all(|at| world.log_of(down, shards[at]).0 > had[at])
            })
            .await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
        let received = world.machine(down).node();
        let received = &received.shards.raft_counts().received;
        assert!(received.bytes.get() > 0 && received.seconds.count() > 0, "what came as a file is counted");
    });
}

/// What is kept for replicas that lag is one budget of the node, however many shards there are.
#[test]
fn the_logs_of_all_shards_share_one_budget() {
    const KEEP: u64 = 1 << 20;
    for_seeds("the_logs_of_all_shards_share_one_budget", 1..=1, |world| async move {
        let client = world.whole(3).await;
        world.configure(&client, "log_keep_bytes", "1MiB").await;
        let ledger = Ledger::new(world.now_ms());
        ledger.value_bytes.set(20_000);
        let workers = ledger.start(&client, &world.chance, 6, 0);
        for look in 0..60 {
            ledger.wait_for(10, Duration::from_secs(30)).await;
            for n in 0..3 {
                let held: u64 = world.machine(n).node().shards.all().iter().map(|one| one.log_bytes()).sum();
                assert!(held < KEEP * 2, "look {look}: machine {n} holds {held} bytes of log");
            }
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Only what a file holds can be forgotten. Asked of a shard that was never flushed, because the log of another shard that was
/// is short, it changes nothing; once it ended the group, on all machines at once.
#[test]
fn a_log_that_was_never_flushed_is_not_forgotten() {
    for_seeds("a_log_that_was_never_flushed_is_not_forgotten", [1], |world| async move {
        const SHARD: ShardId = ShardId(1);
        let client = world.whole(3).await;
        let replica = |n: usize| world.machine(n).node().shards.get(SHARD).expect("it is here");
        client.put(b"a", "before").await.unwrap();
        for n in 0..3 {
            assert_eq!(replica(n).store.base().applied, None, "nothing was flushed yet");
            replica(n).forget_log().await;
        }
        // Longer than it takes to do what was asked.
        sleep(Duration::from_secs(1)).await;
        client.put(b"a", "after").await.unwrap();
        for n in 0..3 {
            assert_eq!(replica(n).group.status().failure, None);
            assert_eq!(world.log_of(n, SHARD).0, 0, "all of its log is there");
        }
        world.equal_digests(&client).await;
    });
}

/// failures.md row 29: one clock far ahead drags nobody along.
#[test]
fn a_clock_an_hour_ahead_is_left_alone() {
    for_seeds("a_clock_an_hour_ahead_is_left_alone", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(50, Duration::from_secs(30)).await;
        // Once somebody who leads, once anybody.
        let wrong = match world.chance.between(0, 2) {
            0 => world.wait_for_leader(ShardId(2)).await,
            _ => world.chance.between(0, 3) as usize,
        };
        world.machine(wrong).wall.set_offset_ms(3_600_000);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(100)).await;
            // The ledger judges every stamp by true time.
            assert!(ledger.quiet() < Duration::from_secs(8), "the others do not go on\n{}", world.describe());
        }
        let others: Vec<usize> = (0..3).filter(|n| *n != wrong).collect();
        for n in others {
            let clock = world.machine(n).node().requests.clock.now().ms();
            assert!(clock < world.now_ms() + 1_000, "{n} was dragged along by {} ms", clock - world.now_ms());
        }
        for shard in 0..4 {
            assert_ne!(world.leader_of(ShardId(shard)), Some(wrong), "nobody follows it");
        }
        // A fresh client, which may meet the wrong clock first.
        let fresh = world.client("fresh").await;
        ledger.verify(&fresh).await;
        // Put right and restarted, it is a member like any other.
        world.machine(wrong).cut();
        world.machine(wrong).wall.set_offset_ms(0);
        world.start_all().await;
        ledger.wait_for(50, Duration::from_secs(20)).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// failures.md row 16: bits flip on one node's disk. It comes up, and what it has lost is made anew from the others.
#[test]
fn a_damaged_node_is_made_whole_by_the_others() {
    for_seeds("a_damaged_node_is_made_whole_by_the_others", 1..=4, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(200, Duration::from_secs(60)).await;
        let hurt = world.chance.between(0, 3) as usize;
        let machine = world.machine(hurt);
        let had: Vec<_> = machine.node().shards.all().iter().map(|replica| replica.id).collect();
        machine.cut();
        let mut segments = machine.files("wal");
        segments.retain(|path| path.extension().is_some_and(|kind| kind == "seg"));
        match world.chance.between(0, 4) {
            0 => segments.iter().for_each(|path| machine.rot(path, 3, &world.chance)),
            1 => machine.disk().remove(segments.last().unwrap()).unwrap(),
            2 => {
                for dir in machine.files("replicas") {
                    machine.rot(&dir.join("shard.redb"), world.chance.between(0, 4), &world.chance);
                }
            }
            _ => {
                let dirs = machine.files("replicas");
                let dir = &dirs[world.chance.between(0, dirs.len() as u64) as usize];
                machine.rot(&dir.join("shard.redb"), 20, &world.chance);
            }
        }
        world.start_all().await;
        let given_up = machine.node().shards.damaged().len();
        world
            .until("what was lost is there again", Duration::from_secs(300), || async {
                let shards = &machine.node().shards;
                shards.damaged().is_empty() && shards.all().len() == had.len()
            })
            .await;
        world.wait_until_whole(&client).await;
        let has = machine.node().shards.all();
        let fresh = has.iter().filter(|replica| !had.contains(&replica.id)).count();
        assert!(fresh >= given_up, "nobody comes back under the id of a damaged replica");
        ledger.note(&format!("{given_up} replicas of {hurt} were given up"));
        ledger.wait_for(50, Duration::from_secs(30)).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
        // It is as good as the others: any two are enough.
        let other = (hurt + 1) % 3;
        world.machine(other).cut();
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(50, Duration::from_secs(60)).await;
        world.start_all().await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// The same while the node runs: what rots is noticed when it is read, and nobody is told anything wrong.
#[test]
fn a_replica_that_rots_while_it_serves_is_made_anew() {
    for_seeds("a_replica_that_rots_while_it_serves_is_made_anew", 1..=1, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(200, Duration::from_secs(60)).await;
        let shard = ShardId(world.chance.between(1, 4));
        let hurt = (world.wait_for_leader(shard).await + 1) % 3;
        let machine = world.machine(hurt);
        let replica = machine.node().shards.get(shard).expect("every node has every shard");
        let file = Path::new("replicas").join(format!("{shard}-{}", replica.id)).join("shard.redb");
        replica.flush().await.unwrap();
        let had = replica.id;
        drop(replica);
        machine.rot(&file, 3000, &world.chance);
        world
            .until("it is made anew", Duration::from_secs(600), || async {
                machine.node().shards.get(shard).is_some_and(|replica| replica.id != had)
            })
            .await;
        world.wait_until_whole(&client).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// What nobody else has cannot be made anew: a node alone does not start on damage, and says why.
#[test]
fn a_node_alone_does_not_start_on_damage() {
    for_seeds("a_node_alone_does_not_start_on_damage", 1..=4, |world| async move {
        let client = world.alone().await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(100, Duration::from_secs(60)).await;
        ledger.stop(workers).await;
        let machine = world.machine(0);
        machine.cut();
        match world.chance.between(0, 2) {
            0 => {
                let dirs = machine.files("replicas");
                machine.rot(
                    &dirs[world.chance.between(0, dirs.len() as u64) as usize].join("shard.redb"),
                    200,
                    &world.chance,
                );
            }
            _ => machine.disk().remove(&machine.files("wal").pop().unwrap()).unwrap(),
        }
        for _ in 0..2 {
            match machine.try_start().await {
                Err(NodeError::Wal(_) | NodeError::Replica(_)) => {}
                Err(error) => panic!("{error:?}"),
                Ok(_) => panic!("it starts"),
            }
        }
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    let life = |world: Rc<World>| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        sleep(world.draw_ms(500, 3000)).await;
        world.cut_all();
        world.start_all().await;
        ledger.wait_for(50, Duration::from_secs(30)).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        for (shard, digest) in world.equal_digests(&client).await {
            ledger.note(&format!("{shard} {digest:?}"));
        }
        ledger.note(&format!("{:?} {:?}", world.net.written(), world.disks()));
        ledger.trace()
    };
    if !SEEDED {
        panic!("{UNSEEDED}");
    }
    let test = "the_same_seed_is_the_same_run";
    let (first, second) = (run(test, 11, life), run(test, 11, life));
    let lines = first.lines().count();
    assert!(lines > 100, "{lines} operations are too few to tell");
    if let Some(difference) = first_difference(&first, &second) {
        panic!("run again it does not do the same, {difference}");
    }
    assert_ne!(first, run(test, 12, life), "the seed decides");
}
