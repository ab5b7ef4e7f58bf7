//! Leaders without a quorum, in simulated time: who falls silent, and who must not.
//!
//! failures.md row 5. Links that carry one way are told as stories (`deaf-leader`, `mute-leader`, `deaf-follower`).

mod simulated;

use std::time::Duration;

use nodenomad::model::id::ShardId;
use tokio::time::{Instant, sleep};

use simulated::{Ledger, World, for_seeds};

const ALL: [ShardId; 4] = [ShardId(0), ShardId(1), ShardId(2), ShardId(3)];
/// How often the seats are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl World {
    fn silent(&self, n: usize, shard: ShardId) -> bool {
        self.machine(n).node().shards.get(shard).expect("it is here").group.is_silent()
    }

    /// For so long none of the machine's seats is silent.
    async fn never_silent(&self, n: usize, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            for shard in ALL {
                assert!(!self.silent(n, shard), "{shard} after {:?}\n{}", begin.elapsed(), self.describe());
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

#[test]
fn a_leader_with_one_slow_follower_never_falls_silent() {
    for_seeds("a_leader_with_one_slow_follower_never_falls_silent", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let leader = world.chance.between(0, 3) as usize;
        world.lead_all(leader).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 200);
        ledger.wait_for(20, Duration::from_secs(30)).await;
        // Hardly any of its answers is in time, and then none is.
        let slow = world.machine((leader + 1) % 3);
        for still_ms in [2000, 2600, 3200, 20_000] {
            slow.pause();
            world.never_silent(leader, Duration::from_millis(still_ms)).await;
            slow.resume();
            world.never_silent(leader, Duration::from_millis(300)).await;
        }
        ledger.wait_for(20, Duration::from_secs(30)).await;
        assert!(ALL.iter().all(|shard| world.leader_of(*shard) == Some(leader)), "{}", world.describe());
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// It falls silent and speaks in turns, whoever comes back in whichever turn.
#[test]
fn a_leader_whose_followers_were_dead_serves_soon() {
    for_seeds("a_leader_whose_followers_were_dead_serves_soon", 1..=4, |world| async move {
        let client = world.whole(3).await;
        let leader = world.chance.between(0, 3) as usize;
        world.lead_all(leader).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 200);
        ledger.wait_for(20, Duration::from_secs(30)).await;
        for n in (0..3).filter(|n| *n != leader) {
            world.machine(n).cut();
        }
        for turn in [true, false, true] {
            let turns = || async { ALL.iter().all(|shard| world.silent(leader, *shard) == turn) };
            world.until("it is silent, and speaks, in turns", Duration::from_secs(10), turns).await;
        }
        sleep(world.draw_ms(20_000, 25_000)).await;
        let begin = Instant::now();
        world.start_all().await;
        for key in ["a/back", "k/back", "z/back"] {
            let put = client.put(key.as_bytes(), "1").await;
            assert!(
                put.is_ok() && begin.elapsed() < Duration::from_secs(5),
                "{:?}: {put:?}",
                begin.elapsed()
            );
        }
        ledger.wait_for(20, Duration::from_secs(30)).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

#[test]
fn a_sleeping_leader_does_not_fall_silent() {
    for_seeds("a_sleeping_leader_does_not_fall_silent", [1], |world| async move {
        let client = world.whole(3).await;
        let leader = world.chance.between(0, 3) as usize;
        world.lead_all(leader).await;
        world.configure(&client, "hibernate_after_ms", "1000").await;
        let asleep = || {
            let all = world.machine(leader).node().shards.all();
            all.iter()
                .filter(|replica| replica.shard != ShardId::META)
                .all(|replica| replica.group.is_asleep())
        };
        world.until("all sleep", Duration::from_secs(60), || async { asleep() }).await;
        for n in (0..3).filter(|n| *n != leader) {
            world.machine(n).cut();
        }
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) {
            assert!(asleep() && ALL[1..].iter().all(|shard| !world.silent(leader, *shard)));
            sleep(LOOK_EVERY).await;
        }
        // The meta shard never sleeps.
        assert!(world.silent(leader, ShardId::META) || world.leader_of(ShardId::META) == Some(leader));
        world.start_all().await;
        client.put(b"a", "1").await.unwrap();
        world.equal_digests(&client).await;
    });
}

/// All stand still for a while: the last acknowledgement is old, and nobody is to blame.
#[test]
fn who_stood_still_leads_on() {
    for_seeds("who_stood_still_leads_on", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let leader = world.chance.between(0, 3) as usize;
        world.lead_all(leader).await;
        (0..3).for_each(|n| world.machine(n).pause());
        sleep(Duration::from_secs(8)).await;
        (0..3).for_each(|n| world.machine(n).resume());
        world.never_silent(leader, Duration::from_secs(5)).await;
        client.put(b"a", "1").await.unwrap();
        world.equal_digests(&client).await;
    });
}
