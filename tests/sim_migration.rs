//! Shards that travel in simulated time: under load, told to go another way, and while machines fail.

mod simulated;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::client::map::ClusterMap;
use nodenomad::client::{Client, ErrorOutcome};
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::migration::Stage;
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::{
    MigrationBegin, MigrationList, MigrationOrder, MigrationOrderKind, MigrationStatus,
};
use nodenomad::node::replica::parse_directory;
use tokio::time::{Instant, sleep};

use simulated::{Ledger, World, for_seeds};

/// How long moves can be undone here.
const WINDOW: Duration = Duration::from_secs(3);
/// A move of a small shard is over by then, whatever happens to a machine meanwhile.
const MOVE_LIMIT: Duration = Duration::from_secs(90);
const SETTLED: [&str; 4] = ["done", "rolled_back", "undone", "failed"];

/// How far a stage is.
fn rank(stage: &str) -> usize {
    Stage::ALL.iter().position(|one| one.to_string() == stage).expect("a stage has a name")
}

/// Somebody who moves shards about.
struct Mover {
    world: Rc<World>,
    client: Client,
}

impl Mover {
    async fn new(world: &Rc<World>) -> Mover {
        let client = world.client("mover").await;
        world.configure(&client, "undo_window_ms", &WINDOW.as_millis().to_string()).await;
        // Nothing moves but what is told to.
        world.configure(&client, "rebalance", "0").await;
        Mover { world: world.clone(), client }
    }

    /// A shard, one of its nodes, and a node that has no replica of it.
    fn draw(&self, map: &ClusterMap) -> (ShardId, NodeId, NodeId) {
        let pick = |count: usize| self.world.chance.between(0, count as u64) as usize;
        let shards: Vec<_> = map.shards().filter(|route| route.shard != ShardId::META).collect();
        let route = shards[pick(shards.len())];
        let here: Vec<NodeId> = route.replicas.iter().map(|replica| replica.node).collect();
        let elsewhere: Vec<NodeId> =
            map.members().map(|(node, _)| node).filter(|node| !here.contains(node)).collect();
        (route.shard, here[pick(here.len())], elsewhere[pick(elsewhere.len())])
    }

    /// Begins a drawn move, again and again until one begins.
    async fn begin(&self) -> MigrationStatus {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < MOVE_LIMIT, "no move begins\n{}", self.world.describe());
            if let Ok(map) = self.client.refresh().await {
                let (shard, from, to) = self.draw(&map);
                let wish = MigrationBegin {
                    shard: shard.0,
                    from_node: from.0,
                    to_node: to.0,
                    force: false,
                    keep_p99_us: 0,
                };
                if let Ok(mut answer) = self.client.admin(Body::MigrationBegin(wish)).await {
                    return answer.migrations.pop().expect("it names the one begun");
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Begins the same move again, until it begins.
    async fn begin_this(&self, ended: &MigrationStatus) -> MigrationStatus {
        let begin = Instant::now();
        loop {
            let (from_node, to_node) = (ended.source_node, ended.target_node);
            let wish =
                MigrationBegin { shard: ended.shard, from_node, to_node, force: false, keep_p99_us: 0 };
            match self.client.admin(Body::MigrationBegin(wish)).await {
                Ok(mut answer) => return answer.migrations.pop().expect("it names the one begun"),
                Err(error) => assert!(begin.elapsed() < MOVE_LIMIT, "{error}"),
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn order(&self, id: u64, order: MigrationOrderKind) -> bool {
        let order = MigrationOrder { id, order: order.into() };
        self.client.admin(Body::MigrationOrder(order)).await.is_ok()
    }

    async fn find(&self, id: u64) -> Option<MigrationStatus> {
        let all = self.client.admin(Body::MigrationList(MigrationList {})).await.ok()?.migrations;
        all.into_iter().find(|status| status.id == id)
    }

    /// Waits until the shard is where it will stay.
    async fn settled(&self, id: u64) -> MigrationStatus {
        let begin = Instant::now();
        loop {
            let found = self.find(id).await;
            match found {
                Some(status) if SETTLED.contains(&status.state.as_str()) => return status,
                other => assert!(begin.elapsed() < MOVE_LIMIT, "{other:?}\n{}", self.world.describe()),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until no machine has anything of a replica that the map does not have there.
    async fn nothing_is_left_over(&self) {
        self.world
            .until("nothing is left over", Duration::from_secs(30), || async {
                let Ok(map) = self.client.refresh().await else { return false };
                (0..self.world.count()).all(|n| {
                    let machine = self.world.machine(n);
                    let belongs = |name: &String| {
                        let (shard, id) = parse_directory(name).expect("a directory of a replica");
                        let replicas = map.shard(shard).map(|route| &route.replicas).into_iter().flatten();
                        replicas.into_iter().any(|one| one.replica == id && one.node == machine.id())
                    };
                    machine.disk().list(Path::new("replicas")).unwrap().iter().all(belongs)
                })
            })
            .await;
    }

    /// Who holds a shard by the map: voters, learners.
    async fn holders(&self, shard: u64) -> (Vec<NodeId>, Vec<NodeId>) {
        let map = self.client.refresh().await.unwrap();
        let replicas = &map.shard(ShardId(shard)).expect("shards do not vanish").replicas;
        let of = |voter: bool| replicas.iter().filter(|one| one.voter == voter).map(|one| one.node).collect();
        (of(true), of(false))
    }

    /// Waits until a shard's voters are on these and not on those nodes.
    async fn votes(&self, shard: u64, on: u64, off: u64) {
        self.world
            .until("the map follows", Duration::from_secs(10), || async {
                let (voters, _) = self.holders(shard).await;
                voters.contains(&NodeId(on)) && !voters.contains(&NodeId(off))
            })
            .await;
    }
}

/// Failures of nobody: writers are answered all the time, and none is told an error.
#[test]
fn shards_wander_under_load_and_nobody_notices() {
    for_seeds("shards_wander_under_load_and_nobody_notices", 1..=2, |world| async move {
        let client = world.whole(5).await;
        let mover = Mover::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 5, 40);
        let mut longest = Duration::ZERO;
        for _ in 0..8 {
            let begun = mover.begin().await;
            let moving = mover.settled(begun.id);
            tokio::pin!(moving);
            let ended = loop {
                tokio::select! {
                    biased;
                    ended = &mut moving => break ended,
                    () = sleep(Duration::from_millis(5)) => longest = longest.max(ledger.quiet()),
                }
            };
            assert_eq!(ended.state, "done", "{ended:?}");
            mover.votes(ended.shard, ended.target_node, ended.source_node).await;
        }
        ledger.note(&format!("writes stood still for {longest:?} at most"));
        // Writers of all shards: some shard always answers. An election after a failure would take far longer.
        assert!(longest < Duration::from_millis(1000), "{longest:?}");
        ledger.stop(workers).await;
        let errors = [ErrorOutcome::Failed, ErrorOutcome::Unknown].map(|outcome| format!(" {outcome:?}"));
        let told = |line: &&str| errors.iter().any(|error| line.ends_with(error.as_str()));
        assert_eq!(ledger.trace().lines().find(told), None, "no writer is told an error");
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Told to stand still, to go on, to go back: it does, and what was moved can be taken back at once.
#[test]
fn a_move_follows_its_orders() {
    for_seeds("a_move_follows_its_orders", 1..=2, |world| async move {
        let client = world.whole(5).await;
        let mover = Mover::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);

        let paused = mover.begin().await;
        assert!(mover.order(paused.id, MigrationOrderKind::OrderPause).await);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(mover.find(paused.id).await.unwrap().state, "paused");
        assert!(mover.order(paused.id, MigrationOrderKind::OrderResume).await);
        assert_eq!(mover.settled(paused.id).await.state, "done");
        assert!(!mover.order(paused.id, MigrationOrderKind::OrderCancel).await, "it is too late");

        let cancelled = mover.begin().await;
        let before = mover.holders(cancelled.shard).await.0;
        assert!(mover.order(cancelled.id, MigrationOrderKind::OrderCancel).await);
        assert_eq!(mover.settled(cancelled.id).await.state, "rolled_back");
        assert_eq!(mover.holders(cancelled.shard).await, (before, vec![]));

        let undone = mover.begin().await;
        assert_eq!(mover.settled(undone.id).await.state, "done");
        mover.votes(undone.shard, undone.target_node, undone.source_node).await;
        let begin = Instant::now();
        assert!(mover.order(undone.id, MigrationOrderKind::OrderUndo).await);
        assert_eq!(mover.settled(undone.id).await.state, "undone");
        ledger.note(&format!("undone in {:?}", begin.elapsed()));
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        mover.votes(undone.shard, undone.source_node, undone.target_node).await;
        assert!(!mover.order(undone.id, MigrationOrderKind::OrderUndo).await, "once");

        let kept = mover.begin().await;
        assert_eq!(mover.settled(kept.id).await.state, "done");
        sleep(WINDOW).await;
        assert!(!mover.order(kept.id, MigrationOrderKind::OrderUndo).await, "its time is over");

        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// A limit, and standing still, hold for a shard that is copied by its log, too.
#[test]
fn a_limit_holds_for_what_is_in_the_log() {
    const VALUE_BYTES: usize = 100_000;
    const VALUES: usize = 200;
    const PER_S: usize = 1 << 20;
    for_seeds("a_limit_holds_for_what_is_in_the_log", [1], |world| async move {
        let client = world.whole(4).await;
        let mover = Mover::new(&world).await;
        let begun = mover.begin().await;
        let begun = mover.settled(begun.id).await;
        assert_eq!(begun.state, "done");
        sleep(WINDOW).await;
        let map = client.refresh().await.unwrap();
        let start = map.shard(ShardId(begun.shard)).unwrap().range.start.clone();
        for n in 0..VALUES {
            let key = [&start.to_name()[..], format!("/{n}").as_bytes()].concat();
            client.put(&key, vec![n as u8; VALUE_BYTES]).await.unwrap();
        }
        world.configure(&client, "migration_bytes_per_s", &PER_S.to_string()).await;
        let least = Duration::from_secs((VALUE_BYTES * VALUES / PER_S) as u64);

        // Where it came from, which does not have any of it any more.
        let named =
            MigrationStatus { source_node: begun.target_node, target_node: begun.source_node, ..begun };
        let (begin, back) = (Instant::now(), mover.begin_this(&named).await);
        assert!(mover.order(back.id, MigrationOrderKind::OrderPause).await);
        let progress = async || mover.find(back.id).await.unwrap().bytes_done;
        sleep(Duration::from_secs(5)).await;
        let held = progress().await;
        sleep(Duration::from_secs(30)).await;
        assert!(progress().await - held < PER_S as u64, "it stands still");
        assert!(mover.order(back.id, MigrationOrderKind::OrderResume).await);
        assert_eq!(mover.settled(back.id).await.state, "done");
        let took = begin.elapsed() - Duration::from_secs(35);
        assert!((least - Duration::from_secs(3)..least * 2).contains(&took), "{took:?}");
    });
}

/// Of the meta shard a vote moves, also that of who leads it, and is taken back.
#[test]
fn the_meta_shard_moves_as_any_other() {
    for_seeds("the_meta_shard_moves_as_any_other", 1..=2, |world| async move {
        let client = world.whole(4).await;
        let mover = Mover::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        for _ in 0..4 {
            let (voters, learners) = mover.holders(0).await;
            assert_eq!((voters.len(), learners.len()), (3, 1), "{voters:?} {learners:?}");
            let (from, to) = (voters[world.chance.between(0, 3) as usize], learners[0]);
            let named = MigrationStatus {
                shard: 0,
                source_node: from.0,
                target_node: to.0,
                ..MigrationStatus::default()
            };
            let begun = mover.begin_this(&named).await;
            let done = mover.settled(begun.id).await;
            assert_eq!((done.state.as_str(), done.bytes_total), ("done", 0), "{done:?}");
            mover.votes(0, to.0, from.0).await;
            if world.chance.between(0, 2) == 0 {
                assert!(mover.order(begun.id, MigrationOrderKind::OrderUndo).await);
                assert_eq!(mover.settled(begun.id).await.state, "undone");
                mover.votes(0, from.0, to.0).await;
            }
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Machines lose their power at any moment of a move: the one that leads the meta shard, source, target, anybody.
#[test]
fn a_move_ends_whole_whoever_fails() {
    for_seeds("a_move_ends_whole_whoever_fails", 1..=2, |world| async move {
        let client = world.whole(5).await;
        let mover = Mover::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        for _ in 0..6 {
            let begun = mover.begin().await;
            sleep(world.draw_ms(0, 4000)).await;
            let victim = match world.chance.between(0, 4) {
                0 => world.leader_of(ShardId::META).unwrap_or(0),
                1 => world.number(NodeId(begun.source_node)),
                2 => world.number(NodeId(begun.target_node)),
                _ => world.chance.between(0, 5) as usize,
            };
            world.machine(victim).cut();
            if world.chance.between(0, 3) == 0 {
                let order = [MigrationOrderKind::OrderCancel, MigrationOrderKind::OrderUndo];
                mover.order(begun.id, order[world.chance.between(0, 2) as usize]).await;
            }
            sleep(world.draw_ms(0, 8000)).await;
            world.start_all().await;
            let ended = mover.settled(begun.id).await;
            ledger.note(&format!("{victim} failed, and it ended {} {}", ended.state, ended.reason));
            assert_ne!(ended.state, "failed", "{ended:?}");
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Where there is one replica, whoever leads is who leaves, and whoever comes is the only one from then on.
#[test]
fn the_only_replica_moves_and_comes_back() {
    for_seeds("the_only_replica_moves_and_comes_back", 1..=2, |world| async move {
        let client = world.alone().await;
        world.configure(&client, "replicas", "1").await;
        let token = world.token().await;
        for _ in 0..2 {
            world.join(&token).await;
        }
        let mover = Mover::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        ledger.wait_for(20, Duration::from_secs(10)).await;
        for order in [None, Some(MigrationOrderKind::OrderUndo), None] {
            let begun = mover.begin().await;
            let ended = mover.settled(begun.id).await;
            assert_eq!(ended.state, "done", "{ended:?}");
            mover.votes(ended.shard, ended.target_node, ended.source_node).await;
            ledger.wait_for(20, Duration::from_secs(10)).await;
            if let Some(order) = order {
                assert!(mover.order(begun.id, order).await);
                assert_eq!(mover.settled(begun.id).await.state, "undone");
                mover.votes(ended.shard, ended.source_node, ended.target_node).await;
                ledger.wait_for(20, Duration::from_secs(10)).await;
            }
            sleep(WINDOW).await;
            mover.nothing_is_left_over().await;
        }
        world.cut_all();
        world.start_all().await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Who may fail in the middle of a move.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Source,
    Target,
    MetaLeader,
    ShardLeader,
}

/// Every stage, everybody who has a part in it: it goes forward or back by itself, leaves nothing behind, and the same
/// move then succeeds.
#[test]
fn every_stage_survives_every_failure() {
    for_seeds("every_stage_survives_every_failure", [1], |world| async move {
        let client = world.whole(5).await;
        let mover = Mover::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        for stage in Stage::ALL {
            for victim in [Victim::Source, Victim::Target, Victim::MetaLeader, Victim::ShardLeader] {
                let begun = mover.begin().await;
                let before = |now: MigrationStatus| {
                    rank(&now.stage) < rank(&stage.to_string()) && !SETTLED.contains(&now.state.as_str())
                };
                while mover.find(begun.id).await.is_some_and(before) {
                    sleep(Duration::from_millis(20)).await;
                }
                let victim = match victim {
                    Victim::Source => world.number(NodeId(begun.source_node)),
                    Victim::Target => world.number(NodeId(begun.target_node)),
                    Victim::MetaLeader => world.wait_for_leader(ShardId::META).await,
                    Victim::ShardLeader => world.wait_for_leader(ShardId(begun.shard)).await,
                };
                world.machine(victim).cut();
                sleep(world.draw_ms(0, 6000)).await;
                world.start_all().await;
                let ended = mover.settled(begun.id).await;
                ledger.note(&format!("{stage}: {victim} failed, and it ended {}", ended.state));
                assert_ne!(ended.state, "failed", "{stage}, {victim}: {ended:?}");
                if ended.state == "rolled_back" {
                    let again = mover.begin_this(&ended).await;
                    assert_eq!(mover.settled(again.id).await.state, "done");
                }
                sleep(WINDOW).await;
                mover.nothing_is_left_over().await;
            }
        }
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Nothing is begun that makes no sense.
#[test]
fn what_makes_no_sense_is_refused() {
    for_seeds("what_makes_no_sense_is_refused", [1], |world| async move {
        let client = world.whole(4).await;
        let map = client.refresh().await.unwrap();
        let route = map.shards().find(|route| route.shard != ShardId::META).unwrap();
        let here = route.replicas[0].node;
        let wish = |from: u64, to: u64| {
            Body::MigrationBegin(MigrationBegin {
                shard: route.shard.0,
                from_node: from,
                to_node: to,
                force: false,
                keep_p99_us: 0,
            })
        };
        let refused = async |body: Body| client.admin(body).await.unwrap_err().trouble().to_string();
        assert!(refused(wish(here.0, route.replicas[1].node.0)).await.contains("already"));
        assert!(refused(wish(here.0, 99)).await.contains("there is no node n99"));
        let free = map
            .members()
            .map(|(node, _)| node)
            .find(|node| route.replicas.iter().all(|one| one.node != *node))
            .unwrap();
        assert!(refused(wish(0, free.0)).await.contains("say which one moves"));
        let meta = MigrationBegin { shard: 0, from_node: 1, to_node: 2, force: false, keep_p99_us: 0 };
        assert!(refused(Body::MigrationBegin(meta)).await.contains("n2 votes on s0 already"));
    });
}
