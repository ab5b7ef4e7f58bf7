//! What a node keeps to, in simulated time: how it starts and stops, whom it answers, what a read may rely on when the
//! leader changes.
//!
//! Each test breaks one thing at the worst moment. See `sim_cluster.rs` for clusters under load.

mod simulated;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, TryStreamExt};
use nodenomad::client::{Consistency, Error, RangeQuery, ReadOptions};
use nodenomad::model::id::{NodeId, ReplicaId, ShardId};
use nodenomad::model::key::{Key, KeyRange};
use nodenomad::model::system::{Listing, SystemKey};
use nodenomad::model::time::Timestamp;
use nodenomad::model::wire::{Identity, Operation, Put, Write, operation};
use nodenomad::net::kind;
use nodenomad::net::rpc::Caller;
use nodenomad::net::transport::{Address, Class, Peer, Transport};
use nodenomad::net::wire::{self, Append, AppendReply, PeerFailureCode, append_reply};
use nodenomad::node::disk::Disk;
use nodenomad::node::disk::sim::Act;
use nodenomad::node::meta::records::Change;
use nodenomad::node::raft::types::{log_id, vote_from_wire};
use nodenomad::node::replica::{ReadWish, Rejected, Replica, directory};
use nodenomad::node::running::{NodeError, Stopped};
use nodenomad::node::store::{FILE_NAME, MemoryBudget, Store, StoreOptions};
use nodenomad::node::wal::GroupId;
use openraft::raft::TransferLeaderRequest;
use prost::Message;
use tokio::time::{sleep, timeout};

use simulated::machine::{EXEC, GIVEN_BACK};
use simulated::{Ledger, World, for_seeds};

const SHARD: ShardId = ShardId(1);
/// A key of that shard.
const KEY: &str = "a";

fn write_of(value: &str, ttl_ms: u64, identity: Option<Identity>) -> Write {
    let put = Put { value: Bytes::copy_from_slice(value.as_bytes()), ttl_ms };
    let operation = Operation {
        key: Key::from_name(KEY.as_bytes()).unwrap().to_bytes(),
        condition: None,
        change: Some(operation::Change::Put(put)),
    };
    Write { identity, epoch: 0, operations: vec![operation] }
}

impl World {
    fn replica(&self, n: usize, shard: ShardId) -> Arc<Replica> {
        self.machine(n).node().shards.get(shard).expect("it is here")
    }
}

/// A replica made anew under an id that has voted could vote twice and forget what it acknowledged.
#[test]
fn a_node_whose_data_is_gone_does_not_start() {
    for gone in [&["wal", "replicas"][..], &["wal"], &["replicas"], &[]] {
        for_seeds("a_node_whose_data_is_gone_does_not_start", [1], |world| async move {
            world.bootstrap().await;
            let replica = world.replica(0, ShardId::META);
            replica.flush().await.unwrap();
            // As if the log had grown long: until then the file can be made again from the log, and nothing is lost.
            let flushed = replica.store.base().applied.unwrap().index;
            let group = replica.group.clone();
            world
                .until("the log is purged", Duration::from_secs(9), || async {
                    group.flushed(Some(flushed)).await;
                    world.log_of(0, ShardId::META).0 == flushed
                })
                .await;
            drop(replica);
            let machine = world.machine(0);
            machine.cut();
            gone.iter().for_each(|dir| machine.disk().remove_dir(Path::new(dir)).unwrap());
            match (machine.try_start().await, gone) {
                (Ok(true), []) => {}
                (Err(NodeError::Replica(_)), ["replicas"]) => {}
                (Err(NodeError::LogGone | NodeError::Wal(_)), ["wal", ..]) => {}
                (other, _) => panic!("{gone:?} is gone: {other:?}"),
            }
        });
    }
}

/// The first start ends anywhere, again and again.
#[test]
fn a_beginning_that_is_cut_goes_on() {
    for_seeds("a_beginning_that_is_cut_goes_on", 1..=12, |world| async move {
        let machine = world.first_machine();
        let mut cuts = 0;
        for limit_us in [100, 400, 1_600, 6_400, 25_600, 102_400] {
            let limit = Duration::from_micros(world.chance.between(0, limit_us));
            if timeout(limit, machine.start()).await.is_err() {
                cuts += 1;
            }
            machine.cut();
        }
        assert!(machine.start().await);
        let client = world.client("first").await;
        world
            .until("its map is known", Duration::from_secs(9), || async {
                client.refresh().await.is_ok_and(|map| map.shards().count() == 4)
            })
            .await;
        let map = client.refresh().await.unwrap();
        let ids: Vec<_> = map.shards().map(|shard| shard.replicas[0].replica.0).collect();
        assert_eq!(ids, [1, 2, 3, 4], "begun once");
        for (shard, key) in ["a", "k", "z"].into_iter().enumerate() {
            client.put(key.as_bytes(), "1").await.unwrap();
            assert_eq!(
                map.route(&Key::from_name(key.as_bytes()).unwrap()).unwrap().shard.0,
                shard as u64 + 1
            );
        }
        assert!(cuts > 0, "the power went in the midst of it");
    });
}

/// Coordinators, shard leaders and newcomers die while shards grow from one replica to three.
#[test]
fn a_cluster_that_is_cut_while_it_grows_becomes_whole() {
    for_seeds("a_cluster_that_is_cut_while_it_grows_becomes_whole", 1..=3, |world| async move {
        world.bootstrap().await;
        let token = world.token().await;
        let client = world.client("grows").await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 2, 40);
        for _ in 1..3 {
            world.join(&token).await;
            for _ in 0..3 {
                sleep(world.draw_ms(0, 1500)).await;
                let n = world.chance.between(0, world.count() as u64) as usize;
                world.machine(n).cut();
                sleep(world.draw_ms(0, 500)).await;
                world.start_all().await;
            }
        }
        world.wait_until_whole(&client).await;
        ledger.wait_for(30, Duration::from_secs(30)).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// After a failed write or sync nobody knows what is on the disk.
#[test]
fn a_disk_that_fails_stops_its_node_and_loses_nothing() {
    for_seeds("a_disk_that_fails_stops_its_node_and_loses_nothing", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        for (n, act) in (0..3).flat_map(|n| [(n, Act::Sync), (n, Act::Write)]) {
            ledger.wait_for(20, Duration::from_secs(30)).await;
            let machine = world.machine(n);
            machine.disk.borrow().fail(act, 1);
            let stopped = timeout(Duration::from_secs(5), machine.node().stopped()).await;
            assert!(matches!(stopped, Ok(Stopped::Disk(_))), "{stopped:?}");
            machine.cut();
            ledger.wait_for(20, Duration::from_secs(30)).await;
            world.start_all().await;
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// What cannot be read is not taken for absent; others have it, and the node stops or has it made anew.
#[test]
fn a_disk_that_cannot_be_read_gives_no_wrong_answer() {
    for_seeds("a_disk_that_cannot_be_read_gives_no_wrong_answer", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let (keys, value) = (0..20, |n: u32| n.to_string().repeat(10_000));
        for n in keys.clone() {
            client.put(n.to_string().as_bytes(), value(n)).await.unwrap();
        }
        world.cut_all();
        world.start_all().await;
        let leader = world.machine(world.wait_for_leader(SHARD).await);
        leader.disk.borrow().fail(Act::Read, u32::MAX);
        let runs = Cell::new(true);
        for n in keys {
            let found = async || {
                if runs.get() && leader.node().stopped().now_or_never().is_some() {
                    leader.cut();
                    runs.set(false);
                }
                match client.get(n.to_string().as_bytes()).await {
                    Ok(found) => found.expect("it was acknowledged").value == value(n),
                    Err(_) => false,
                }
            };
            world.until("it is read", Duration::from_secs(30), found).await;
        }
        leader.disk.borrow().fail(Act::Read, 0);
        world.cut_all();
        world.start_all().await;
        world.equal_digests(&client).await;
    });
}

/// Leaves each disk `free_bytes`.
fn leave_room(world: &World, free_bytes: u64) {
    for n in 0..world.count() {
        let disk = world.machine(n).disk.borrow().clone();
        disk.set_capacity(1 << 50);
        let used_bytes = (1 << 50) - disk.free_bytes().unwrap();
        disk.set_capacity(used_bytes + free_bytes);
    }
}

/// failures.md row 15: a full disk that nothing can be deleted from, or that a node cannot start on.
#[test]
fn a_full_disk_takes_deletes_and_restarts() {
    for_seeds("a_full_disk_takes_deletes_and_restarts", 1..=2, |world| async move {
        let client = world.whole(3).await;
        client.put(b"kept", "1").await.unwrap();
        client.put(b"gone", "1").await.unwrap();
        leave_room(&world, 100 << 20);
        let is_full = || async { matches!(client.put(b"kept", "2").await, Err(Error::Full(_))) };
        world.until("what grows is refused", Duration::from_secs(10), is_full).await;
        client.delete(b"gone").await.unwrap();
        world.cut_all();
        world.start_all().await;
        world.wait_for_leader(SHARD).await;
        world.until("it is refused after the restart", Duration::from_secs(30), is_full).await;
        client.delete(b"gone").await.unwrap();
        let kept = client.get(b"kept").await.unwrap().expect("what was acknowledged stays");
        assert!(
            kept.value == "1" || kept.value == "2",
            "a write that was let in before the disk was looked at"
        );
        assert!(client.get(b"gone").await.unwrap().is_none());
        leave_room(&world, 1 << 40);
        let has_room = || async { client.put(b"kept", "3").await.is_ok() };
        world.until("writes are let in again", Duration::from_secs(10), has_room).await;
        world.equal_digests(&client).await;
    });
}

/// The log goes on, but nobody knows what the shard's file holds.
#[test]
fn a_flush_that_fails_stops_its_node() {
    for_seeds("a_flush_that_fails_stops_its_node", [1], |world| async move {
        world.bootstrap().await;
        let machine = world.machine(0);
        world.until("no ballast is made", Duration::from_secs(30), || async { machine.has_ballast() }).await;
        // More than the memtable should hold: a flush is due, and no other sync of anybody who serves is.
        world.replica(0, SHARD).write(write_of(&"v".repeat(120_000), 0, None)).await.unwrap();
        // One may be that of a segment which is made ahead.
        machine.disk.borrow().fail(Act::Sync, 2);
        let stopped = timeout(Duration::from_secs(5), machine.node().stopped()).await;
        assert!(matches!(&stopped, Ok(Stopped::Disk(why)) if why.contains("storage")), "{stopped:?}");
    });
}

#[test]
fn what_a_flush_has_freed_is_given_back() {
    for_seeds("what_a_flush_has_freed_is_given_back", [1], |world| async move {
        world.bootstrap().await;
        let before = GIVEN_BACK.get();
        // More than the memtable should hold: a flush is due.
        world.replica(0, SHARD).write(write_of(&"v".repeat(120_000), 0, None)).await.unwrap();
        let given_back = async {
            while GIVEN_BACK.get() == before {
                sleep(Duration::from_millis(10)).await;
            }
        };
        // Sooner than the next sweep.
        timeout(Duration::from_secs(5), given_back).await.unwrap();
        assert!(world.replica(0, SHARD).store.flushed().is_some());
    });
}

/// A power cut in the middle of a removal, or of a making, leaves a directory without a log.
#[test]
fn a_directory_left_behind_takes_nobodys_place() {
    for_seeds("a_directory_left_behind_takes_nobodys_place", [1], |world| async move {
        world.bootstrap().await;
        let there = world.replica(0, SHARD).id;
        world.cut_all();
        let (left, disk) = (ReplicaId(10), world.machine(0).disk());
        let dirs = [directory(SHARD, left), directory(SHARD, there)];
        assert!(dirs[0] < dirs[1], "it is found first");
        disk.create_dir(&dirs[0]).unwrap();
        drop(
            Store::create_or_open(
                disk.clone(),
                &dirs[0],
                SHARD,
                EXEC,
                StoreOptions::new(MemoryBudget::new(1 << 30)),
            )
            .unwrap(),
        );
        world.start_all().await;
        assert_eq!(world.replica(0, SHARD).id, there);
    });
}

#[test]
fn a_shard_has_one_replica_on_a_node() {
    for_seeds("a_shard_has_one_replica_on_a_node", [1], |world| async move {
        world.bootstrap().await;
        let (shards, there) = (world.machine(0).node().shards.clone(), world.replica(0, SHARD));
        assert!(shards.open(SHARD, ReplicaId(99)).await.unwrap().is_none());
        assert!(!world.machine(0).disk().exists(&directory(SHARD, ReplicaId(99))).unwrap());
        assert!(shards.exactly(SHARD, ReplicaId(99)).is_none());
        assert!(Arc::ptr_eq(&shards.open(SHARD, there.id).await.unwrap().unwrap(), &there));
    });
}

#[test]
fn a_new_meta_leader_counts_silence_from_its_election() {
    for_seeds("a_new_meta_leader_counts_silence_from_its_election", [1], |world| async move {
        world.bootstrap().await;
        let node = world.machine(0).node();
        let term = world.replica(0, ShardId::META).group.leadership().term;
        let silence = |term| node.reports.silence(term, [NodeId(9)].into_iter())[&NodeId(9)];
        assert_eq!(silence(term), Duration::ZERO);
        sleep(Duration::from_secs(4)).await;
        assert_eq!(silence(term), Duration::from_secs(4));
        assert_eq!(silence(term + 1), Duration::ZERO);
    });
}

/// A restarted node believes the map in its own file until it hears from others: an older one might have the replica
/// opened again, empty, under its id.
#[test]
fn a_replica_is_removed_only_once_its_retirement_is_on_this_disk() {
    for_seeds("a_replica_is_removed_only_once_its_retirement_is_on_this_disk", 1..=3, |world| async move {
        world.bootstrap().await;
        let (shard, id) = (ShardId(9), ReplicaId(77));
        let node = world.machine(0).node();
        node.shards.open(shard, id).await.unwrap().unwrap();
        let name = SystemKey::Retired(id);
        node.requests.records.commit(Change::default().put(&name, "9", None)).await.unwrap();
        let disk = world.machine(0).disk();
        let removed = || async { !disk.exists(&directory(shard, id).join(FILE_NAME)).unwrap() };
        world.until("it is removed", Duration::from_secs(9), removed).await;
        world.machine(0).cut();
        let disk = world.machine(0).disk();
        let dir = directory(ShardId::META, ReplicaId(1));
        let meta = Store::create_or_open(
            disk,
            &dir,
            ShardId::META,
            EXEC,
            StoreOptions::new(MemoryBudget::new(1 << 30)),
        )
        .unwrap();
        assert!(meta.get(&name.key(), None).unwrap().is_some());
    });
}

/// An answer that was lost is given again; a node that comes back with an empty disk is given other ids.
#[test]
fn a_joiner_gets_its_ids_once() {
    for_seeds("a_joiner_gets_its_ids_once", [1], |world| async move {
        world.bootstrap().await;
        let token = world.token().await;
        let ids = async |request| {
            let reply = world.ask_to_join(&token, "10.0.0.9:7300", request).await;
            (reply.node, reply.meta_replica)
        };
        let (first, again, emptied) = (ids("key").await, ids("key").await, ids("another key").await);
        assert_eq!(first, again);
        assert!(emptied.0 != first.0 && emptied.1 != first.1, "{first:?} is given to another");
    });
}

/// Whom a message is not for does nothing: above all it does not come into being.
#[test]
fn strangers_and_messages_for_nobody_change_nothing() {
    for_seeds("strangers_and_messages_for_nobody_change_nothing", [1], |world| async move {
        world.bootstrap().await;
        let machine = world.machine(0);
        let replicas = || machine.disk().list(Path::new("replicas")).unwrap();
        let before = replicas();
        let append = |shard, replica| {
            let vote = Some(nodenomad::model::wire::Vote { term: 99, replica: 9, committed: true });
            let message = Append { shard, replica, vote, ..Append::default() };
            Bytes::from(message.encode_to_vec())
        };
        let caller = async |address: &str, peer: Peer, class: Class| {
            let transport = world.net.transport(address, peer);
            let to = Address(machine.address.clone());
            let connection = transport.connect(&to, class, None).await.unwrap();
            (Caller::open(connection, EXEC).await.unwrap(), transport)
        };
        let (member, _up) = caller("10.0.2.1:1", Peer::Node(NodeId(9)), Class::Append).await;
        for (shard, replica) in [(1, 999), (77, 1), (1, 1)] {
            let answer = member.call(kind::APPEND, append(shard, replica)).await.unwrap();
            let reply = AppendReply::decode(answer).unwrap();
            let Some(append_reply::Body::Failure(failure)) = reply.body else { panic!("{reply:?}") };
            assert_eq!(failure.code(), PeerFailureCode::PeerNoSuchReplica);
        }
        let (client, _up) = caller("10.0.2.2:1", Peer::Client("who".into()), Class::Client).await;
        for kind in [kind::APPEND, kind::BALLOT, kind::PLACEMENT, kind::REPORT, kind::JOIN, kind::READ_INDEX]
        {
            assert!(client.call(kind, append(1, 2)).await.unwrap().is_empty(), "{kind} is for members");
        }
        assert_eq!(replicas(), before);
        let leadership = world.replica(0, SHARD).group.leadership();
        assert!(leadership.here && leadership.term < 99, "{leadership:?}");
    });
}

#[test]
fn secrets_of_the_cluster_are_not_read() {
    for_seeds("secrets_of_the_cluster_are_not_read", [1], |world| async move {
        world.bootstrap().await;
        let token = world.token().await;
        let client = world.client("curious").await;
        let name = SystemKey::Token(token.id.clone());
        let stored = world.replica(0, ShardId::META).store.get(&name.key(), None).unwrap();
        assert!(stored.is_some(), "it is there");
        for name in [name, SystemKey::SealedCa] {
            assert!(client.get(name.key().name()).await.is_err());
        }
        let rows: Vec<_> = client.range(RangeQuery::new(KeyRange::system())).try_collect().await.unwrap();
        assert!(rows.len() > 5);
        let tokens = Listing::Tokens.range();
        assert!(!rows.iter().any(|row| tokens.contains(&Key::from_name(&row.key).unwrap())));
    });
}

/// A write is stamped above what its client held, so that what was forgotten is known to be older.
#[test]
fn a_write_is_stamped_above_what_its_client_has_seen() {
    for_seeds("a_write_is_stamped_above_what_its_client_has_seen", [1], |world| async move {
        world.bootstrap().await;
        let replica = world.replica(0, SHARD);
        let now = world.machine(0).node().requests.clock.now();
        let seen = |ahead_ms| Timestamp::from_ms(now.ms() + ahead_ms);
        let identity = |first_seen: Timestamp| Identity {
            client: 7,
            sequence: 1,
            first_seen: first_seen.0,
            lowest_awaited: 1,
        };
        let refused = replica.write(write_of("1", 0, Some(identity(seen(10_000))))).await;
        assert!(matches!(refused, Err(Rejected::Clock(_))), "{refused:?}");
        let outcome = replica.write(write_of("1", 0, Some(identity(seen(400))))).await.unwrap();
        assert!(Timestamp(outcome.stamp) > seen(400));
    });
}

/// Another replica asks for votes while the leader still leads, as if its time-out came early. Nothing the leader did
/// lately has reached it. Returns once the old leader is gone and another leads.
async fn depose(world: &Rc<World>, leader: usize, next: usize) -> usize {
    let node = world.machine(next).node();
    let replica = world.replica(next, SHARD);
    let state = node.wal.group(GroupId(replica.id.0)).state();
    let vote = vote_from_wire(&state.vote.unwrap());
    let last = state.last.map(|last| log_id(last.term, last.index));
    world.machine(leader).cut();
    // Whether it comes out ahead is for the others to decide.
    let _ = replica.group.handle_transfer(TransferLeaderRequest::new(vote, replica.id.0, last)).await;
    world.wait_for_leader(SHARD).await
}

/// A whole cluster; the leader of the shard with a clock far ahead, and one replica that no longer hears from it.
async fn behind_its_back(world: &Rc<World>) -> (usize, usize) {
    world.whole(3).await;
    let leader = world.wait_for_leader(SHARD).await;
    (0..3).for_each(|n| world.machine(n).wall.set_offset_ms(if n == leader { 450 } else { 0 }));
    world.replica(leader, SHARD).write(write_of("old", 200, None)).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let deaf = (leader + 1) % 3;
    world.net.partition(&world.machine(leader).address, &world.machine(deaf).address, true);
    (leader, deaf)
}

/// P3: what was read at a timestamp is what is read there later, whoever leads and whatever clocks do.
#[test]
fn what_was_read_at_a_timestamp_stays_when_the_leader_changes() {
    for_seeds("what_was_read_at_a_timestamp_stays_when_the_leader_changes", 1..=6, |world| async move {
        let (leader, deaf) = behind_its_back(&world).await;
        let at = Timestamp::from_ms(world.machine(leader).node().requests.clock.now().ms() + 400);
        let wish =
            ReadWish { consistency: wire::Consistency::Linearizable, at: Some(at), seen: Timestamp::ZERO };
        let key = Key::from_name(KEY.as_bytes()).unwrap();
        world.replica(leader, SHARD).get(&key, wish).await.unwrap();
        let next = depose(&world, leader, deaf).await;
        let outcome = world.replica(next, SHARD).write(write_of("new", 0, None)).await.unwrap();
        assert!(Timestamp(outcome.stamp) > at, "{} was written below {at}", outcome.stamp);
    });
}

/// The same for a leader that restarts with its clock set back: what it knew of the time is in its log.
#[test]
fn what_was_read_at_a_timestamp_stays_after_a_restart() {
    for_seeds("what_was_read_at_a_timestamp_stays_after_a_restart", 1..=2, |world| async move {
        world.bootstrap().await;
        let at = Timestamp::from_ms(world.machine(0).node().requests.clock.now().ms() + 400);
        let wish =
            ReadWish { consistency: wire::Consistency::Linearizable, at: Some(at), seen: Timestamp::ZERO };
        let key = Key::from_name(KEY.as_bytes()).unwrap();
        world.replica(0, SHARD).get(&key, wish).await.unwrap();
        world.machine(0).cut();
        world.machine(0).wall.set_offset_ms(-60_000);
        world.start_all().await;
        world.wait_for_leader(SHARD).await;
        let outcome = world.replica(0, SHARD).write(write_of("new", 0, None)).await.unwrap();
        assert!(Timestamp(outcome.stamp) > at, "{} was written below {at}", outcome.stamp);
    });
}

/// A key that was seen expired does not come back with a leader whose clock is behind.
#[test]
fn what_was_seen_expired_stays_so_when_the_leader_changes() {
    for_seeds("what_was_seen_expired_stays_so_when_the_leader_changes", 1..=6, |world| async move {
        let (leader, deaf) = behind_its_back(&world).await;
        let wish = ReadWish { consistency: wire::Consistency::Linearizable, at: None, seen: Timestamp::ZERO };
        let key = Key::from_name(KEY.as_bytes()).unwrap();
        let replica = world.replica(leader, SHARD);
        assert!(replica.get(&key, wish).await.unwrap().is_some());
        while replica.get(&key, wish).await.unwrap().is_some() {
            sleep(Duration::from_millis(1)).await;
        }
        drop(replica);
        let next = depose(&world, leader, deaf).await;
        let found = world.replica(next, SHARD).get(&key, wish).await.unwrap();
        assert!(found.is_none(), "{found:?} has come back");
    });
}

/// A proof of leadership that began before a reader came proves nothing to it.
#[test]
fn a_reader_waits_for_a_round_of_its_own() {
    for_seeds("a_reader_waits_for_a_round_of_its_own", 1..=3, |world| async move {
        world.whole(3).await;
        let leader = world.wait_for_leader(SHARD).await;
        let one_way = Duration::from_millis(10);
        world.net.set_latency(one_way, one_way);
        let replica = world.replica(leader, SHARD);
        let early = tokio::task::spawn_local(async move { replica.rounds.join().await });
        // Its question has arrived, the answers are on their way.
        sleep(one_way * 3 / 2).await;
        let address = |n: usize| world.machine(n).address.clone();
        for n in (0..3).filter(|n| *n != leader) {
            world.net.partition_one_way(&address(leader), &address(n), true);
        }
        let replica = world.replica(leader, SHARD);
        let mut late = std::pin::pin!(replica.rounds.join());
        assert!(late.as_mut().now_or_never().is_none());
        assert_eq!(timeout(one_way, early).await.unwrap().unwrap(), Some(Ok(())));
        let answered = timeout(Duration::from_secs(5), late).await;
        assert!(!matches!(answered, Ok(Some(Ok(())))), "it was told what was asked before it came");
    });
}

/// Reads that ask for less than linearizability still see what their own client has seen.
#[test]
fn a_session_read_sees_what_its_client_has_seen() {
    for_seeds("a_session_read_sees_what_its_client_has_seen", 1..=2, |world| async move {
        world.whole(3).await;
        let leader = world.wait_for_leader(SHARD).await;
        let follower = (leader + 1) % 3;
        let (_, client) = world.client_of("near", &[follower]).await;
        let session = ReadOptions { consistency: Consistency::Session, ..ReadOptions::default() };
        let block = |blocked| {
            let address = |n: usize| world.machine(n).address.clone();
            world.net.partition_one_way(&address(leader), &address(follower), blocked);
        };
        for n in 0..10 {
            block(true);
            client.put(KEY.as_bytes(), n.to_string()).await.unwrap();
            let mut read = std::pin::pin!(client.get_with(KEY.as_bytes(), &session));
            assert!(
                timeout(Duration::from_millis(20), read.as_mut()).await.is_err(),
                "it has not come here yet"
            );
            block(false);
            assert_eq!(read.await.unwrap().unwrap().value, n.to_string());
        }
    });
}
