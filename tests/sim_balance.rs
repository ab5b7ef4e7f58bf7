//! Nodes that come and go, in simulated time: one that joins fills itself, one that is drained is empty in the end, whatever
//! happens meanwhile.

mod simulated;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use nodenomad::client::{Client, ErrorOutcome};
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::wire::{PlanRecord, PlannedMove};
use nodenomad::net::wire::admin_request::Body;
use nodenomad::net::wire::{
    LeadSet, MigrationList, MigrationStatus, NodeOrder, NodeOrderKind, PlanApply, PlanGet, PlanList, plan_get,
};
use tokio::time::{Instant, sleep};

use simulated::{Ledger, World, for_seeds};

/// By then everything has moved that is to move: shards are small.
const LIMIT: Duration = Duration::from_secs(180);
/// How long moves can be undone here.
const WINDOW: &str = "1s";

/// Somebody who has nodes come and go.
struct Operator {
    client: Client,
}

impl Operator {
    async fn new(world: &Rc<World>) -> Operator {
        let client = world.client("operator").await;
        world.configure(&client, "undo_window_ms", WINDOW).await;
        Operator { client }
    }

    /// Gives an order until it is taken; an error that is not the network's is the answer.
    async fn order(&self, node: NodeId, order: NodeOrderKind, force: bool) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < LIMIT, "nobody takes the order {order:?} for {node}");
            let order = NodeOrder { node: node.0, order: order.into(), force, dry_run: false };
            match self.client.admin(Body::NodeOrder(order)).await {
                Ok(_) => return Ok(()),
                Err(error) if error.retryable() || error.outcome() == ErrorOutcome::Unknown => {}
                Err(error) => return Err(format!("{error}: {}", error.trouble())),
            }
        }
    }

    /// User shards that have a replica on a node.
    async fn held(&self, node: NodeId) -> usize {
        let Ok(map) = self.client.refresh().await else { return usize::MAX };
        let users = map.shards().filter(|route| route.shard != ShardId::META);
        users.filter(|route| route.replicas.iter().any(|replica| replica.node == node)).count()
    }

    async fn migrations(&self) -> Vec<MigrationStatus> {
        let answer = self.client.admin(Body::MigrationList(MigrationList {})).await;
        answer.map(|answer| answer.migrations).unwrap_or_default()
    }

    async fn is_over(&self) -> bool {
        self.migrations().await.iter().all(|status| status.ended_at_ms != 0)
    }
}

#[test]
fn a_node_that_joins_fills_itself_and_nobody_notices() {
    for_seeds("a_node_that_joins_fills_itself_and_nobody_notices", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let operator = Operator::new(&world).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 4, 40);
        world.join(&world.token().await).await;
        let joined = world.machine(3).id();
        // Three shards on four nodes: two or three of nine replicas for each.
        world
            .until("it has its share", LIMIT, || async {
                (2..=3).contains(&operator.held(joined).await) && operator.is_over().await
            })
            .await;
        let all = operator.migrations().await;
        assert!(!all.is_empty() && all.iter().all(|status| status.target_node == joined.0), "{all:?}");
        assert!(all.iter().all(|status| status.state == "done"), "{all:?}");
        ledger.stop(workers).await;
        assert_eq!(ledger.told_errors(), None, "no writer is told an error");
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

#[test]
fn a_node_that_is_drained_is_empty_and_can_go() {
    for_seeds("a_node_that_is_drained_is_empty_and_can_go", 1..=2, |world| async move {
        let client = world.whole(4).await;
        let operator = Operator::new(&world).await;
        world.until("it is even", LIMIT, || operator.is_over()).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 4, 40);
        let node = world.machine(1).id();
        let refused = operator.order(node, NodeOrderKind::NodeRemove, false).await;
        assert!(refused.as_ref().is_err_and(|why| why.contains("still holds")), "{refused:?}");
        operator.order(node, NodeOrderKind::NodeDrain, false).await.unwrap();
        world.until("it is empty", LIMIT, || async { operator.held(node).await == 0 }).await;
        let other = world.machine(2).id();
        let refused = operator.order(other, NodeOrderKind::NodeDrain, false).await;
        assert!(refused.as_ref().is_err_and(|why| why.contains("2 nodes for the 3 copies")), "{refused:?}");
        operator.order(node, NodeOrderKind::NodeRemove, false).await.unwrap();
        world
            .until("the meta shard is without it", LIMIT, || async {
                let Ok(map) = operator.client.refresh().await else { return false };
                map.shards().all(|route| route.replicas.iter().all(|replica| replica.node != node))
            })
            .await;
        ledger.stop(workers).await;
        assert_eq!(ledger.told_errors(), None, "no writer is told an error");
        world.machine(1).lose();
        ledger.verify(&client).await;
    });
}

/// Whoever has given an order sees what came of it, even where the nearest node has not heard of it yet.
#[test]
fn who_has_given_an_order_sees_it() {
    for_seeds("who_has_given_an_order_sees_it", 1..=3, |world| async move {
        world.whole(4).await;
        let leader = world.wait_for_leader(ShardId::META).await;
        let deaf = (leader + 1) % 4;
        let (_, client) = world.client_of("near", &[deaf]).await;
        let drained = world.machine((leader + 2) % 4).id();
        let address = |n: usize| world.machine(n).address.clone();
        (0..4).for_each(|n| world.net.partition_one_way(&address(n), &address(deaf), true));
        let order =
            NodeOrder { node: drained.0, order: NodeOrderKind::NodeDrain.into(), ..Default::default() };
        client.admin(Body::NodeOrder(order)).await.unwrap();
        let near = client.refresh().await.unwrap();
        assert!(!near.member(drained).unwrap().draining, "the nearest has heard of it: this shows nothing");
        assert!(client.newest_map().await.unwrap().member(drained).unwrap().draining);
    });
}

/// All power goes while it is drained; it goes on where it was. Told to stay, it keeps what it still has.
#[test]
fn a_drain_survives_everybodys_death_and_can_be_called_off() {
    for_seeds("a_drain_survives_everybodys_death_and_can_be_called_off", 1..=3, |world| async move {
        let client = world.whole(5).await;
        let operator = Operator::new(&world).await;
        world.until("it is even", LIMIT, || operator.is_over()).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        let node = world.machine(1).id();
        operator.order(node, NodeOrderKind::NodeDrain, false).await.unwrap();
        sleep(world.draw_ms(0, 4_000)).await;
        world.cut_all();
        sleep(world.draw_ms(0, 2_000)).await;
        world.start_all().await;
        world.until("it is empty", LIMIT, || async { operator.held(node).await == 0 }).await;

        operator.order(node, NodeOrderKind::NodeUndrain, false).await.unwrap();
        let other = world.machine(2).id();
        operator.order(other, NodeOrderKind::NodeDrain, false).await.unwrap();
        sleep(world.draw_ms(0, 1_500)).await;
        operator.order(other, NodeOrderKind::NodeUndrain, false).await.unwrap();
        world.until("nothing moves any more", LIMIT, || operator.is_over()).await;
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// Twenty moves and more: all power goes in the midst of them, and afterwards each is made that was still to be made, once.
#[test]
fn many_moves_go_on_where_they_were() {
    for_seeds("many_moves_go_on_where_they_were", [1], |world| async move {
        let split_at = (1..28).map(|n| format!("{n:02}").into_bytes()).collect();
        let client = world.whole_split_at(4, split_at).await;
        let operator = Operator::new(&world).await;
        world.until("it is even", LIMIT, || operator.is_over()).await;
        let before = operator.migrations().await.len();
        let node = world.machine(1).id();
        let held = operator.held(node).await;
        assert!(held >= 20, "{held} shards");
        operator.order(node, NodeOrderKind::NodeDrain, false).await.unwrap();
        let half = || async { operator.held(node).await <= held / 2 };
        world.until("half of it is done", LIMIT, half).await;
        world.cut_all();
        world.start_all().await;
        world.until("it is empty", LIMIT, || async { operator.held(node).await == 0 }).await;
        world.until("nothing moves any more", LIMIT, || operator.is_over()).await;
        let moves = operator.migrations().await.split_off(before);
        let mut done: Vec<u64> = moves
            .iter()
            .filter(|one| one.state == "done" && one.source_node == node.0)
            .map(|one| one.shard)
            .collect();
        done.sort_unstable();
        let all = done.len();
        done.dedup();
        assert_eq!((all, done.len()), (held, held), "each of them once: {moves:?}");
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

impl Operator {
    /// The plan that empties a node, as whoever prints it would apply it.
    async fn draining(&self, node: NodeId) -> PlanApply {
        let what = plan_get::What::DrainNode(node.0);
        let plan =
            self.client.admin(Body::PlanGet(PlanGet { what: Some(what) })).await.unwrap().plan.unwrap();
        let moves = plan.changes.iter().map(|change| PlannedMove {
            shard: change.shard,
            from_node: change.from_node,
            to_node: change.to_node,
            ..PlannedMove::default()
        });
        PlanApply { made_for: plan.made_for, moves: moves.collect() }
    }

    /// Applies a plan; the error, if it is refused.
    async fn apply(&self, plan: &PlanApply) -> Result<PlanRecord, String> {
        match self.client.admin(Body::PlanApply(plan.clone())).await {
            Ok(mut answer) => Ok(answer.plans.pop().unwrap()),
            Err(error) => Err(error.trouble().to_string()),
        }
    }

    async fn plan(&self, id: u64) -> Option<PlanRecord> {
        let answer = self.client.admin(Body::PlanList(PlanList {})).await;
        answer.ok()?.plans.into_iter().find(|plan| plan.id == id)
    }
}

/// Twenty moves that somebody has planned: they are made as planned and no others, also if all power goes in the midst of them.
#[test]
fn a_plan_is_carried_out_whoever_dies() {
    for_seeds("a_plan_is_carried_out_whoever_dies", [1], |world| async move {
        let split_at = (1..31).map(|n| format!("{n:02}").into_bytes()).collect();
        let client = world.whole_split_at(4, split_at).await;
        let operator = Operator::new(&world).await;
        world.until("it is even", LIMIT, || operator.is_over()).await;
        world.configure(&client, "rebalance", "0").await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 3, 40);
        let node = world.machine(1).id();
        let plan = operator.draining(node).await;
        assert!(plan.moves.len() >= 20, "{}", plan.moves.len());
        let before = operator.migrations().await.len();
        let id = operator.apply(&plan).await.unwrap().id;
        let refused = operator.apply(&plan).await.unwrap_err();
        assert!(refused.contains("one plan at a time") || refused.contains("have changed"), "{refused}");
        let half = || async { operator.held(node).await <= plan.moves.len() / 2 };
        world.until("half of it is done", LIMIT, half).await;
        world.cut_all();
        world.start_all().await;
        let over = || async { operator.plan(id).await.is_some_and(|plan| plan.ended_at_ms != 0) };
        world.until("it is over", LIMIT, over).await;
        let record = operator.plan(id).await.unwrap();
        assert_eq!(record.stopped, "", "{record:?}");
        let moves = operator.migrations().await.split_off(before);
        let asked = |of: &MigrationStatus| {
            plan.moves.iter().any(|planned| {
                (planned.shard, planned.from_node, planned.to_node)
                    == (of.shard, of.source_node, of.target_node)
            })
        };
        assert!(moves.iter().all(|of| of.state == "done" && asked(of)), "{moves:?}");
        assert_eq!(moves.len(), plan.moves.len(), "each of them once");
        let stale = operator.apply(&plan).await.unwrap_err();
        assert!(stale.contains("have changed since the plan was made"), "{stale}");
        ledger.stop(workers).await;
        ledger.verify(&client).await;
        world.wait_until_whole(&client).await;
        world.equal_digests(&client).await;
    });
}

/// One node leads all; the load that there is spreads the leading, and then nothing goes to and fro.
#[test]
fn leaders_follow_load_and_come_to_rest() {
    for_seeds("leaders_follow_load_and_come_to_rest", [1], |world| async move {
        let client = world.whole(3).await;
        let operator = Operator::new(&world).await;
        world.configure(&client, "balance_leaders", "0").await;
        world.lead_all(0).await;
        let ledger = Ledger::new(world.now_ms());
        let workers = ledger.start(&client, &world.chance, 6, 2);
        sleep(Duration::from_secs(5)).await;
        let users: Vec<ShardId> =
            client.map().shards().map(|route| route.shard).filter(|shard| *shard != ShardId::META).collect();
        let leaders = || users.iter().map(|shard| world.leader_of(*shard)).collect::<Vec<_>>();
        assert!(leaders().iter().all(|leader| *leader == Some(0)), "not by itself");

        world.configure(&client, "balance_leaders", "1").await;
        let spread = || async { leaders().iter().flatten().collect::<BTreeSet<_>>().len() == 3 };
        world.until("each leads one", LIMIT, spread).await;
        let settled = leaders();
        for _ in 0..20 {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(leaders(), settled, "nothing goes to and fro");
        }

        // Somebody says otherwise: that is done at once, and again it is spread.
        let set = |shard: ShardId, node: NodeId| Body::LeadSet(LeadSet { shard: shard.0, node: node.0 });
        world.configure(&client, "balance_leaders", "0").await;
        for shard in &users {
            operator.client.admin(set(*shard, world.machine(1).id())).await.unwrap();
            assert_eq!(world.wait_for_leader(*shard).await, 1);
        }
        let nobody = operator.client.admin(set(users[0], NodeId(99))).await.unwrap_err();
        assert!(nobody.trouble().to_string().contains("there is no node n99"));
        ledger.stop(workers).await;
        assert_eq!(ledger.told_errors(), None, "no writer is told an error");
        ledger.verify(&client).await;
    });
}

/// Who asks while leadership changes hands waits until it has, and not several times as long.
#[test]
fn a_leader_that_gives_its_place_away_says_who_has_it() {
    const WRITERS: usize = 20;
    for_seeds("a_leader_that_gives_its_place_away_says_who_has_it", 1..=2, |world| async move {
        let client = world.whole(3).await;
        let operator = Operator::new(&world).await;
        world.configure(&client, "balance_leaders", "0").await;
        let users = client.map().shards().map(|route| route.shard).collect::<Vec<_>>();
        let shard = users.into_iter().find(|shard| *shard != ShardId::META).unwrap();
        let start = client.map().shard(shard).unwrap().range.start.to_name();
        let longest = Rc::new(Cell::new(Duration::ZERO));
        let writers = (0..WRITERS).map(|n| {
            let (client, longest) = (client.clone(), longest.clone());
            let key = [&start[..], format!("/{n}").as_bytes()].concat();
            async move {
                loop {
                    let begin = Instant::now();
                    client.put(&key, "v").await.unwrap();
                    longest.set(longest.get().max(begin.elapsed()));
                }
            }
        });
        let writers: Vec<_> = writers.map(tokio::task::spawn_local).collect();
        for n in 0..12 {
            sleep(Duration::from_millis(300)).await;
            let body = LeadSet { shard: shard.0, node: world.machine(n % 3).id().0 };
            operator.client.admin(Body::LeadSet(body)).await.unwrap();
            assert_eq!(world.wait_for_leader(shard).await, n % 3, "nobody else takes it");
        }
        writers.iter().for_each(tokio::task::JoinHandle::abort);
        assert!(longest.get() < Duration::from_millis(60), "{:?}", longest.get());
    });
}
