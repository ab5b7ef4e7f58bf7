//! Groups that sleep, in simulated time: they fall asleep, wake for what matters, and are healed while they sleep.
//!
//! See `sim_cluster.rs` for clusters under load.

mod simulated;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nodenomad::client::Client;
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::net::wire::{Pulse, Rouse, Sleep};
use nodenomad::node::replica::Replica;
use tokio::time::{Instant, sleep};

use simulated::{Ledger, World, for_seeds};

const USERS: [ShardId; 3] = [ShardId(1), ShardId(2), ShardId(3)];
/// A key of each.
const KEYS: [&str; 3] = ["a", "k", "z"];
/// How long a cluster that nobody uses may take to sleep.
const SLEEP_LIMIT: Duration = Duration::from_secs(60);
/// What a first request to a sleeping group may take when everybody is well. The simulated network takes its time.
const WAKE_LIMIT: Duration = Duration::from_millis(50);
/// How long the sleeping groups of a dead machine may be without a leader.
const HEAL_LIMIT: Duration = Duration::from_secs(5);

impl World {
    fn replica(&self, n: usize, shard: ShardId) -> Option<Arc<Replica>> {
        Some(self.machine(n)).filter(|machine| machine.is_running())?.node().shards.get(shard)
    }

    fn sleeps(&self, shard: ShardId) -> bool {
        let replicas = (0..self.count()).filter_map(|n| self.replica(n, shard));
        let asleep: Vec<bool> = replicas.map(|replica| replica.group.is_asleep()).collect();
        asleep.len() == self.count() && asleep.iter().all(|asleep| *asleep)
    }

    async fn wait_until_all_sleep(&self) {
        let all = || async { USERS.iter().all(|shard| self.sleeps(*shard)) };
        self.until("all shards sleep", SLEEP_LIMIT, all).await;
    }

    /// The terms of the user shards, by the one who leads.
    fn terms(&self) -> Vec<u64> {
        let replica = |shard: &ShardId| self.replica(self.leader_of(*shard).expect("it is led"), *shard);
        USERS.iter().map(|shard| replica(shard).expect("it is here").group.leadership().term).collect()
    }
}

async fn timed_put(client: &Client, key: &str, value: &str) -> Duration {
    let begin = Instant::now();
    client.put(key.as_bytes(), value.to_owned()).await.unwrap();
    begin.elapsed()
}

#[test]
fn groups_fall_asleep_and_the_first_write_wakes_one() {
    for_seeds("groups_fall_asleep_and_the_first_write_wakes_one", 1..=3, |world| async move {
        let client = world.whole(3).await;
        for key in KEYS {
            timed_put(&client, key, "1").await;
        }
        world.wait_until_all_sleep().await;
        let terms = world.terms();
        // Longer than any lease or time-out: nothing happens meanwhile.
        sleep(Duration::from_secs(60)).await;
        assert!(USERS.iter().all(|shard| world.sleeps(*shard)), "{}", world.describe());

        let took = timed_put(&client, KEYS[0], "2").await;
        assert!(took < WAKE_LIMIT, "the first write took {took:?}");
        assert!(!world.sleeps(USERS[0]) && world.sleeps(USERS[1]));
        let begin = Instant::now();
        let found = client.get(KEYS[1].as_bytes()).await.unwrap();
        assert!(begin.elapsed() < WAKE_LIMIT, "the first read took {:?}", begin.elapsed());
        assert_eq!(found.unwrap().value, "1");
        assert!(world.sleeps(USERS[2]));
        // Awake, all of them, with the leader they had.
        for shard in &USERS[..2] {
            let awake = || async { (0..3).all(|n| !world.replica(n, *shard).unwrap().group.is_asleep()) };
            world.until("the others wake too", Duration::from_secs(1), awake).await;
        }
        world.wait_until_all_sleep().await;
        assert_eq!(world.terms(), terms, "nobody was elected");
    });
}

#[test]
fn the_leader_of_sleeping_groups_dies() {
    for asked in [false, true] {
        for_seeds("the_leader_of_sleeping_groups_dies", 1..=3, |world| async move {
            let client = world.whole(3).await;
            for key in KEYS {
                timed_put(&client, key, "1").await;
            }
            world.wait_until_all_sleep().await;
            let dead = world.leader_of(USERS[1]).expect("it is led");
            let was_led: Vec<_> = USERS.map(|shard| world.leader_of(shard) == Some(dead)).into();
            world.machine(dead).cut();
            let begin = Instant::now();
            if asked {
                timed_put(&client, KEYS[1], "2").await;
                assert!(begin.elapsed() < HEAL_LIMIT, "the first write took {:?}", begin.elapsed());
            }
            for (shard, was_led) in USERS.iter().zip(was_led) {
                let led = || async { !was_led || world.leader_of(*shard).is_some() };
                world.until("somebody else leads", HEAL_LIMIT.saturating_sub(begin.elapsed()), led).await;
            }
            for key in KEYS {
                timed_put(&client, key, "3").await;
            }
            world.start_all().await;
            world.wait_until_caught_up(dead).await;
            world.wait_until_all_sleep().await;
            world.equal_digests(&client).await;
        });
    }
}

/// Back before it counts as silent, and no leader any more: its followers learn of it by its new incarnation.
#[test]
fn the_leader_of_sleeping_groups_restarts_at_once() {
    for_seeds("the_leader_of_sleeping_groups_restarts_at_once", 1..=3, |world| async move {
        let client = world.whole(3).await;
        world.wait_until_all_sleep().await;
        let leader = world.leader_of(USERS[1]).expect("it is led");
        world.machine(leader).cut();
        let begin = Instant::now();
        assert!(world.machine(leader).start().await);
        for shard in USERS {
            let led = || async { world.leader_of(shard).is_some() };
            world.until("somebody leads", HEAL_LIMIT.saturating_sub(begin.elapsed()), led).await;
        }
        for key in KEYS {
            timed_put(&client, key, "1").await;
        }
        world.wait_until_all_sleep().await;
        world.equal_digests(&client).await;
    });
}

#[test]
fn a_follower_restarted_while_its_group_sleeps_deposes_nobody() {
    for_seeds("a_follower_restarted_while_its_group_sleeps_deposes_nobody", 1..=4, |world| async move {
        let client = world.whole(3).await;
        for key in KEYS {
            timed_put(&client, key, "1").await;
        }
        world.wait_until_all_sleep().await;
        let terms = world.terms();
        let leaders = USERS.map(|shard| world.leader_of(shard));
        let follower = (0..3).find(|n| leaders.iter().all(|leader| *leader != Some(*n)));
        let Some(follower) = follower else { return }; // all lead something in this world
        world.machine(follower).cut();
        // Shorter and longer than what counts as silence.
        sleep(world.draw_ms(0, 6000)).await;
        world.start_all().await;
        world.wait_until_caught_up(follower).await;
        world.wait_until_all_sleep().await;
        assert_eq!(world.terms(), terms, "nobody was elected\n{}", world.describe());
        world.equal_digests(&client).await;
    });
}

/// A machine that is cut off while all sleep: as a follower's it disturbs nobody for long, as a leader's it is replaced.
#[test]
fn power_cuts_and_partitions_between_naps_lose_nothing() {
    let test = |world: Rc<World>| async move {
        let client = world.whole(3).await;
        world.configure(&client, "hibernate_after_ms", "1s").await;
        let ledger = Ledger::new(world.now_ms());
        for round in 0..4 {
            let workers = ledger.start(&client, &world.chance, 3, 40);
            ledger.wait_for(40, Duration::from_secs(30)).await;
            ledger.stop(workers).await;
            world.wait_until_all_sleep().await;
            let n = world.chance.between(0, 3) as usize;
            match round % 2 {
                0 => world.machine(n).cut(),
                _ => (0..3).filter(|other| *other != n).for_each(|other| world.part(n, other, true)),
            }
            sleep(world.draw_ms(0, 4000)).await;
            let workers = ledger.start(&client, &world.chance, 3, 40);
            ledger.wait_for(20, Duration::from_secs(10)).await;
            ledger.stop(workers).await;
            (0..3).filter(|other| *other != n).for_each(|other| world.part(n, other, false));
            world.start_all().await;
            ledger.verify(&client).await;
        }
        world.wait_until_all_sleep().await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    };
    for_seeds("power_cuts_and_partitions_between_naps_lose_nothing", 1..=3, test);
}

/// Two machines that do not hear each other while a third hears both: the leader stays.
#[test]
fn a_link_that_is_cut_while_all_sleep_deposes_nobody() {
    for_seeds("a_link_that_is_cut_while_all_sleep_deposes_nobody", 1..=3, |world| async move {
        let client = world.whole(3).await;
        world.wait_until_all_sleep().await;
        let leader = world.leader_of(USERS[0]).expect("it is led");
        let terms = world.terms();
        let other = (leader + 1) % 3;
        world.part(leader, other, true);
        sleep(Duration::from_secs(20)).await;
        world.part(leader, other, false);
        assert_eq!(world.terms()[0], terms[0], "{}", world.describe());
        world.wait_until_all_sleep().await;
        timed_put(&client, KEYS[0], "2").await;
    });
}

/// A leader's machine hears nobody and is heard: its pulses come, its answers do not.
#[test]
fn a_deaf_leader_of_sleeping_groups_is_replaced() {
    for_seeds("a_deaf_leader_of_sleeping_groups_is_replaced", 1..=4, |world| async move {
        let client = world.whole(3).await;
        for key in KEYS {
            timed_put(&client, key, "1").await;
        }
        world.wait_until_all_sleep().await;
        let deaf = world.leader_of(USERS[0]).expect("it is led");
        let others: Vec<usize> = (0..3).filter(|n| *n != deaf).collect();
        let (_, client) = world.client_of("beside the others", &others).await;
        let cut = |cut| {
            for n in &others {
                let (from, to) = (&world.machine(*n).address, &world.machine(deaf).address);
                world.net.partition_one_way(from, to, cut);
            }
        };
        cut(true);
        let begin = Instant::now();
        let replaced = || async { USERS.iter().all(|shard| world.leader_of(*shard) != Some(deaf)) };
        world.until("others lead", HEAL_LIMIT, replaced).await;
        for key in KEYS {
            timed_put(&client, key, "2").await;
            assert!(begin.elapsed() < HEAL_LIMIT + Duration::from_secs(1), "{:?}", begin.elapsed());
        }
        cut(false);
        world.wait_until_caught_up(deaf).await;
        world.equal_digests(&client).await;
    });
}

#[test]
fn nobody_sleeps_at_the_word_of_another() {
    for_seeds("nobody_sleeps_at_the_word_of_another", [1], |world| async move {
        let client = world.whole(3).await;
        timed_put(&client, KEYS[0], "1").await;
        let leader = world.leader_of(USERS[0]).expect("it is led");
        let (leads, follows) = (world.replica(leader, USERS[0]).unwrap(), (leader + 1) % 3);
        let (from, stranger) = (world.machine(leader).id(), world.machine((leader + 2) % 3).id());
        let follower = world.replica(follows, USERS[0]).unwrap();
        let last_index = follower.group.status().last_index;
        world
            .until("it has applied all", HEAL_LIMIT, || async {
                follower.applied().borrow().index == last_index
            })
            .await;
        let term = leads.group.leadership().term;
        let right = Sleep { shard: 1, replica: follower.id.0, leader: leads.id.0, term, last_index };
        let ask = |from: NodeId, sleep: Sleep| {
            let node = world.machine(follows).node();
            let pulse = Pulse { incarnation: 0, sleep: vec![sleep], rouse: Vec::<Rouse>::new() };
            async move { node.requests.pulses.answer(from, pulse).await.asleep }
        };
        let wrong = [
            (stranger, right),
            (from, Sleep { term: term + 1, ..right }),
            (from, Sleep { term: term - 1, ..right }),
            (from, Sleep { last_index: last_index + 1, ..right }),
            (from, Sleep { leader: follower.id.0, ..right }),
            (from, Sleep { replica: leads.id.0, ..right }),
            (from, Sleep { shard: 0, ..right }),
            (from, Sleep { shard: 99, ..right }),
        ];
        for (from, wrong) in wrong {
            assert!(ask(from, wrong).await.is_empty(), "{wrong:?}");
        }
        assert!(!follower.group.is_asleep());
        assert_eq!(ask(from, right).await, [1]);
        assert!(follower.group.is_asleep());
        // Its leader is awake: the next heartbeat wakes it.
        world.until("it wakes", Duration::from_secs(1), || async { !follower.group.is_asleep() }).await;
        assert_eq!(world.leader_of(USERS[0]), Some(leader));
    });
}

/// With the setting at 0 nobody falls asleep, and who sleeps wakes.
#[test]
fn sleep_can_be_turned_off() {
    for_seeds("sleep_can_be_turned_off", [1], |world| async move {
        let client = world.whole(3).await;
        world.wait_until_all_sleep().await;
        world.configure(&client, "hibernate_after_ms", "0").await;
        let awake = |n: usize| USERS.iter().all(|shard| !world.replica(n, *shard).unwrap().group.is_asleep());
        world.until("all wake", HEAL_LIMIT, || async { (0..3).all(awake) }).await;
        sleep(Duration::from_secs(60)).await;
        assert!((0..3).all(awake));
    });
}
