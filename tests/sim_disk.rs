//! A disk that hangs, which neither does what it is asked nor says that it failed; and one without any room. In simulated
//! time.
//!
//! failures.md row 6: the leader's heartbeats go on, and with them its leadership of shards that it cannot serve. Row 15,
//! where not even the log finds room. Disks that fail, or have a little room left, are in `sim_node.rs`.

mod simulated;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::client::Error;
use nodenomad::model::id::ShardId;
use nodenomad::model::wire;
use nodenomad::node::raft::group::GroupStatus;
use nodenomad::node::raft::machine::{SnapshotMeta, SnapshotSource};
use nodenomad::node::raft::types;
use nodenomad::node::wal::GroupId;
use tokio::time::{Instant, sleep, timeout};

use simulated::{Ledger, World, for_seeds};

const HANG: Duration = Duration::from_secs(60);
/// What the product promises: within this time others lead and serve.
const GIVE_WAY: Duration = Duration::from_secs(15);
const ALL: [ShardId; 4] = [ShardId(0), ShardId(1), ShardId(2), ShardId(3)];

impl World {
    fn status(&self, n: usize, shard: ShardId) -> GroupStatus {
        self.machine(n).node().shards.get(shard).expect("it is here").group.status()
    }

    /// Appends and proposals that a machine has refused for want of room since it was started.
    fn refused(&self, n: usize) -> u64 {
        self.machine(n).node().wal.counts().refused.get()
    }

    fn terms(&self) -> Vec<u64> {
        let leader = |shard| self.leader_of(shard).expect("somebody leads");
        ALL.iter().map(|shard| self.status(leader(*shard), *shard).leadership.term).collect()
    }

    fn leads_nothing(&self, n: usize) -> bool {
        ALL.iter().all(|shard| self.leader_of(*shard).is_some_and(|leader| leader != n))
    }
}

/// All shards are led by the machine whose disk hangs. With `cut`, the power of all goes before the disk is back.
async fn hang_under_leaders(world: Rc<World>, cut: bool) {
    let client = world.whole(3).await;
    let hung = world.chance.between(0, 3) as usize;
    world.lead_all(hung).await;
    let ledger = Ledger::new(world.now_ms());
    let workers = ledger.start(&client, &world.chance, 3, 200);
    ledger.wait_for(20, Duration::from_secs(30)).await;
    let begin = Instant::now();
    world.machine(hung).gate.close();
    world.until("others lead all", GIVE_WAY, || async { world.leads_nothing(hung) }).await;
    ledger.note(&format!("others lead after {:?}", begin.elapsed()));
    // Every worker writes to every shard, one after the other: soon all wait for whichever is not served.
    ledger.wait_for(20, GIVE_WAY - begin.elapsed()).await;
    let records = client.refresh().await;
    assert!(records.is_ok(), "the meta shard is served: {records:?}");
    while begin.elapsed() < HANG {
        ledger.wait_for(1, Duration::from_secs(3)).await;
        assert!(world.leads_nothing(hung), "it does not come back while its disk hangs");
    }
    if cut {
        world.cut_all();
    }
    world.machine(hung).gate.open();
    world.start_all().await;
    ledger.wait_for(20, Duration::from_secs(30)).await;
    ledger.stop(workers).await;
    ledger.verify(&client).await;
    world.equal_digests(&client).await;
}

#[test]
fn a_disk_that_hangs_under_leaders_costs_seconds_and_no_write() {
    for_seeds("a_disk_that_hangs_under_leaders_costs_seconds_and_no_write", [1], |world| async move {
        hang_under_leaders(world, false).await;
    });
}

#[test]
fn a_power_cut_while_a_disk_hangs_loses_nothing() {
    for_seeds("a_power_cut_while_a_disk_hangs_loses_nothing", [2], |world| async move {
        hang_under_leaders(world, true).await;
    });
}

/// Nobody's ticks are on, so nobody misses a heartbeat.
#[test]
fn a_disk_that_hangs_while_all_sleep_is_found_out() {
    for_seeds("a_disk_that_hangs_while_all_sleep_is_found_out", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let hung = world.chance.between(0, 3) as usize;
        for key in ["a", "k", "z"] {
            client.put(key.as_bytes(), "1").await.unwrap();
        }
        world.lead_all(hung).await;
        world.configure(&client, "hibernate_after_ms", "1000").await;
        let asleep = || async {
            let all = world.machine(hung).node().shards.all();
            all.iter()
                .filter(|replica| replica.shard != ShardId::META)
                .all(|replica| replica.group.is_asleep())
        };
        world.until("all sleep", Duration::from_secs(60), asleep).await;
        world.machine(hung).gate.close();
        let begin = Instant::now();
        for key in ["a", "k", "z"] {
            let put = || async { client.put(key.as_bytes(), "2").await.is_ok() };
            world.until("it is written", GIVE_WAY - begin.elapsed(), put).await;
        }
        world.until("others lead all", GIVE_WAY, || async { world.leads_nothing(hung) }).await;
        world.machine(hung).gate.open();
        world.equal_digests(&client).await;
    });
}

/// A client that knows nobody else is answered nothing that is not so.
#[test]
fn a_node_whose_disk_hangs_serves_nobody_and_comes_back_by_itself() {
    for_seeds("a_node_whose_disk_hangs_serves_nobody_and_comes_back_by_itself", [1], |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let hung = world.chance.between(0, 3) as usize;
        world.lead_all(hung).await;
        let workers = ledger.start(&client, &world.chance, 3, 500);
        ledger.wait_for(10, Duration::from_secs(30)).await;
        let (address, prisoner) = world.client_of("prisoner", &[hung]).await;
        for other in (0..3).filter(|n| *n != hung) {
            world.net.partition(&address, &world.machine(other).address, true);
        }
        let node = world.machine(hung).node();
        world.machine(hung).gate.close();
        let begin = Instant::now();
        while begin.elapsed() < HANG {
            let key = ledger.any_key(&world.chance);
            // Judged by what was acknowledged to the others before.
            let _ = timeout(Duration::from_secs(2), ledger.read(&prisoner, &key)).await;
            if begin.elapsed() > GIVE_WAY {
                let put = prisoner.put(b"a/prisoner", "1").await;
                assert!(
                    matches!(put, Err(Error::Unreachable(_) | Error::TimedOut(_) | Error::Unknown(_))),
                    "{put:?}"
                );
                assert!(node.wal.waiting() > Duration::from_secs(5));
            }
        }
        world.machine(hung).gate.open();
        let follows = || async {
            ALL.iter().all(|shard| {
                let status = world.status(hung, *shard);
                status.failure.is_none() && status.leadership.node.is_some()
            })
        };
        world.until("it follows again", Duration::from_secs(10), follows).await;
        ledger.stop(workers).await;
        world.wait_until_caught_up(hung).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

#[test]
fn a_disk_that_hangs_under_a_follower_holds_up_nobody() {
    for_seeds("a_disk_that_hangs_under_a_follower_holds_up_nobody", [1], |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        ledger.value_bytes.set(20_000);
        let hung = world.chance.between(0, 3) as usize;
        world.lead_all((hung + 1) % 3).await;
        let workers = ledger.start(&client, &world.chance, 3, 200);
        ledger.wait_for(20, Duration::from_secs(30)).await;
        world.machine(hung).gate.close();
        let begin = Instant::now();
        while begin.elapsed() < HANG {
            ledger.wait_for(5, Duration::from_secs(5)).await;
            assert!(world.leads_nothing(hung), "{}", world.describe());
        }
        world.machine(hung).gate.open();
        world.wait_until_caught_up(hung).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

#[test]
fn a_node_starts_without_a_byte_free_and_reads_and_deletes() {
    for_seeds("a_node_starts_without_a_byte_free_and_reads_and_deletes", 1..=3, |world| async move {
        let client = world.alone().await;
        let machine = world.machine(0);
        for key in ["kept", "gone/0", "gone/1"] {
            client.put(key.as_bytes(), "1").await.unwrap();
        }
        let is_whole = || async { machine.has_ballast() };
        world.until("there is ballast", Duration::from_secs(60), is_whole).await;
        for round in 0..2 {
            machine.disk.borrow().leave_free(0);
            machine.cut();
            machine.disk.borrow().leave_free(0);
            assert!(machine.start().await);
            assert!(!machine.has_ballast(), "the start has taken some");
            assert_eq!(client.get(b"kept").await.unwrap().expect("it was acknowledged").value, "1");
            let put = client.put(b"kept", "2").await;
            assert!(matches!(put, Err(Error::Full(_))), "{put:?}");
            let gone = format!("gone/{round}");
            assert!(client.delete(gone.as_bytes()).await.unwrap());
            assert!(client.get(gone.as_bytes()).await.unwrap().is_none());
        }
        machine.disk.borrow().set_capacity(u64::MAX);
        let has_room = || async { client.put(b"kept", "3").await.is_ok() };
        world.until("writes are let in again", Duration::from_secs(10), has_room).await;
        world.until("there is ballast again", Duration::from_secs(60), is_whole).await;
        world.equal_digests(&client).await;
    });
}

/// The others write on, it stays their follower; with room it catches up by itself, also with what they have forgotten.
async fn a_full_follower(world: Rc<World>, log_keep_bytes: &str, gets_snapshots: bool) {
    let client = world.whole(3).await;
    world.configure(&client, "log_keep_bytes", log_keep_bytes).await;
    let ledger = Ledger::new(world.now_ms());
    ledger.value_bytes.set(20_000);
    let full = world.chance.between(0, 3) as usize;
    world.lead_all((full + 1) % 3).await;
    let workers = ledger.start(&client, &world.chance, 3, 200);
    ledger.wait_for(20, Duration::from_secs(30)).await;
    world.machine(full).disk.borrow().leave_free(0);
    let terms = world.terms();
    world.until("it refuses", HANG, || async { world.refused(full) > 0 }).await;
    let begin = Instant::now();
    while begin.elapsed() < HANG {
        ledger.wait_for(5, Duration::from_secs(5)).await;
        assert!(!world.machine(full).is_down(), "{}", world.describe());
    }
    assert_eq!(world.terms(), terms, "nobody stood for election");
    let follows = |shard: &ShardId| world.status(full, *shard).leadership.node.is_some();
    assert!(ALL.iter().all(follows) && world.leads_nothing(full));
    world.machine(full).disk.borrow().set_capacity(u64::MAX);
    world.wait_until_caught_up(full).await;
    let received = world.machine(full).node().shards.raft_counts().received.bytes.get();
    assert_eq!(received > 0, gets_snapshots, "{received} bytes");
    ledger.stop(workers).await;
    ledger.verify(&client).await;
    world.equal_digests(&client).await;
    // A full member: with it and one other there is a majority.
    world.machine((full + 1) % 3).cut();
    for key in ["a", "k", "z"] {
        let put = || async { client.put(key.as_bytes(), "1").await.is_ok() };
        world.until("it is written", Duration::from_secs(30), put).await;
    }
}

#[test]
fn a_full_follower_holds_up_nobody_and_goes_on() {
    for_seeds("a_full_follower_holds_up_nobody_and_goes_on", [1], |world| async move {
        a_full_follower(world, "256MiB", false).await;
    });
}

#[test]
fn a_full_follower_that_was_left_behind_gets_a_snapshot() {
    for_seeds("a_full_follower_that_was_left_behind_gets_a_snapshot", [1], |world| async move {
        a_full_follower(world, "1MiB", true).await;
    });
}

/// Nobody has any room: what was acknowledged is read, deletes go on as far as the logs have room and are refused then,
/// whoever leads; no process ends.
#[test]
fn where_all_are_full_to_the_last_byte_reads_and_some_deletes_go_on() {
    for_seeds(
        "where_all_are_full_to_the_last_byte_reads_and_some_deletes_go_on",
        1..=2,
        |world| async move {
            let client = world.whole(3).await;
            client.put(b"kept", "1").await.unwrap();
            let disks = || (0..3).map(|n| world.machine(n).disk.borrow().clone());
            disks().for_each(|disk| disk.leave_free(0));
            let mut deleted = 0;
            let begin = Instant::now();
            let refused = loop {
                match client.delete(format!("gone/{deleted}").as_bytes()).await {
                    Ok(_) => deleted += 1,
                    Err(error) => break error,
                }
                assert!(begin.elapsed() < Duration::from_secs(600), "logs are full some time");
            };
            assert!(deleted > 10, "{deleted} deletes");
            assert!(
                matches!(refused, Error::Full(_) | Error::Unknown(_) | Error::TimedOut(_)),
                "{refused:?}"
            );
            let kept = || async { client.get(b"kept").await.is_ok_and(|kept| kept.is_some()) };
            world.until("it is read", Duration::from_secs(30), kept).await;
            assert!((0..3).all(|n| !world.machine(n).is_down()));
            disks().for_each(|disk| disk.set_capacity(u64::MAX));
            let put = || async { client.put(b"kept", "2").await.is_ok() };
            world.until("writes are let in again", Duration::from_secs(30), put).await;
            world.equal_digests(&client).await;
        },
    );
}

/// A follower has it all by the log, but not on its disk yet, when a snapshot comes that it does not need any more. Its leader
/// will take the answer for "all up to there is kept".
#[test]
fn a_snapshot_that_is_not_needed_is_answered_when_the_log_is_on_disk() {
    for_seeds(
        "a_snapshot_that_is_not_needed_is_answered_when_the_log_is_on_disk",
        1..=2,
        |world| async move {
            let client = world.whole(3).await;
            client.put(b"a", "before").await.unwrap();
            let shard = ShardId(1);
            let leader = world.wait_for_leader(shard).await;
            let follower = world.machine((leader + 1) % 3);
            let (of, here) = (world.machine(leader).node(), follower.node());
            let (sender, replica) = (of.shards.get(shard).unwrap(), here.shards.get(shard).unwrap());
            follower.gate.close();
            client.put(b"a", "after").await.unwrap();
            let last = of.wal.group(GroupId(sender.id.0)).state().last.unwrap();
            let log = here.wal.group(GroupId(replica.id.0));
            world
                .until("the follower has it in memory", Duration::from_secs(4), || async {
                    log.state().last == Some(last)
                })
                .await;
            // The next heartbeats tell it that this is committed.
            sleep(Duration::from_secs(1)).await;
            let vote = of.wal.group(GroupId(sender.id.0)).state().vote.unwrap();
            let vote = types::vote_from_wire(&wire::Vote {
                term: vote.term,
                replica: vote.replica,
                committed: vote.committed,
            });
            let last_log_id =
                Some(types::log_id_from_wire(&wire::LogId { term: last.term, index: last.index }));
            let meta = SnapshotMeta { last_log_id, ..Default::default() };
            let source = SnapshotSource::Received(Path::new("is/not/looked/at").to_owned());
            let answer = replica.install(vote, meta, source);
            tokio::pin!(answer);
            assert!(timeout(Duration::from_secs(2), &mut answer).await.is_err(), "it was answered too early");
            follower.gate.open();
            answer.await.unwrap();
        },
    );
}
