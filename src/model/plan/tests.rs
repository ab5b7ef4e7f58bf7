use std::collections::BTreeMap;

use prost::Message;

use super::super::forecast::{forecast, with_state};
use super::super::id::ReplicaId;
use super::super::map::NodeState;
use super::super::placement::tests::cluster::Cluster;
use super::super::system::SystemKey;
use super::super::time::Timestamp;
use super::super::wire::{Course, JobPhase, JobRecord, Migration, ReplicaRole, ShardRecord};
use super::*;

fn settled(users: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::young(users);
    (2..=nodes).for_each(|node| cluster.join(node, ""));
    cluster.settle();
    cluster
}

/// The moves that empty a node.
fn draining(cluster: &Cluster, node: u64) -> Vec<PlannedMove> {
    let map = with_state(&cluster.map(), NodeId(node), NodeState::Draining);
    let changes = forecast(&map, &cluster.settings, &cluster.silent);
    let moves = changes.iter().filter_map(|change| {
        let (from, to) = (change.from?, change.to?);
        Some(PlannedMove {
            shard: change.shard.0,
            from_node: from.0,
            to_node: to.0,
            ..PlannedMove::default()
        })
    });
    moves.collect()
}

/// Records, and what has ended.
struct World {
    cluster: Cluster,
    map: ClusterMap,
    ended: BTreeMap<MigrationId, MigrationEnd>,
    next_id: u64,
}

impl World {
    fn new(cluster: Cluster, moves: &[PlannedMove]) -> World {
        let map = cluster.map();
        let plan = begin(&map, &cluster.settings, &cluster.silent, &placement_of(&map), moves, 5).unwrap();
        let mut world = World { cluster, map, ended: BTreeMap::new(), next_id: 100 };
        world.write(PlanRecord { id: 1, ..plan });
        world
    }

    fn set(&mut self, key: &SystemKey, value: Option<&[u8]>) {
        self.map.set(&key.key(), value, Timestamp(1)).unwrap();
    }

    fn write(&mut self, plan: PlanRecord) {
        self.set(&SystemKey::Plan(PlanId(1)), Some(&plan.encode_to_vec()));
    }

    fn plan(&self) -> PlanRecord {
        self.map.plans().next().unwrap().clone()
    }

    fn next(&self) -> Next {
        let ended = |planned: &PlannedMove| {
            let job = self.map.job(ShardId(planned.shard)).filter(|job| job.id == planned.migration);
            match (self.ended.get(&MigrationId(planned.migration)), job) {
                (Some(end), _) => Stands::Ended(*end),
                (None, Some(job)) if is_served(job) => Stands::Served,
                (None, _) => Stands::UnderWay,
            }
        };
        next(&self.plan(), &self.map, &self.cluster.settings, &self.cluster.silent, ended, 9)
    }

    /// Does what is next; false: there is nothing to do.
    fn step(&mut self) -> bool {
        match self.next() {
            Next::Wait(_) => return false,
            Next::Rewrite(record) => self.write(record),
            Next::Close(job) => self.set(&SystemKey::Job(ShardId(job.shard)), Some(&job.encode_to_vec())),
            Next::Begin { index, proposed } => {
                self.next_id += 1;
                let job = proposed.job(self.next_id, ReplicaId(1000 + self.next_id), 60_000, 0);
                self.set(&SystemKey::Job(proposed.proposal().shard), Some(&job.encode_to_vec()));
                let mut plan = self.plan();
                assert!(plan.moves[..index].iter().all(|before| before.migration != 0), "in order");
                assert_eq!(plan.moves[index].migration, 0, "each once");
                plan.moves[index].migration = self.next_id;
                self.write(plan);
            }
        }
        true
    }

    fn under_way(&self) -> Vec<JobRecord> {
        self.map.jobs().cloned().collect()
    }

    /// Has a migration end.
    fn end(&mut self, job: &JobRecord, end: MigrationEnd) {
        let shard = ShardId(job.shard);
        if end == MigrationEnd::EndDone {
            let mut record = ShardRecord::from(self.map.shard(shard).unwrap());
            record.replicas.retain(|replica| replica.replica != job.remove);
            let mut add = job.add.unwrap();
            add.set_role(ReplicaRole::RoleVoter);
            record.replicas.push(add);
            self.set(&SystemKey::Shard(shard), Some(&record.encode_to_vec()));
        }
        self.set(&SystemKey::Job(shard), None);
        self.ended.insert(MigrationId(job.id), end);
    }
}

#[test]
fn a_plan_is_carried_out_whoever_is_interrupted() {
    let cluster = settled(24, 5);
    let moves = draining(&cluster, 2);
    assert!(moves.len() > 8, "more than may be made at a time");
    let mut world = World::new(cluster, &moves);
    let mut most = 0;
    for round in 0.. {
        // Nothing is remembered from one step to the next but the records, so that any step may be the first of a successor.
        while world.step() {}
        let under_way = world.under_way();
        most = most.max(under_way.len());
        if world.plan().ended_at_ms != 0 {
            break;
        }
        assert!(round < 100 && !under_way.is_empty(), "it comes to an end");
        world.end(&under_way[round % under_way.len()], MigrationEnd::EndDone);
    }
    assert!(most <= world.cluster.settings.max_concurrent_migrations as usize && most > 1, "{most}");
    assert!(world.plan().stopped.is_empty() && world.plan().moves.iter().all(|planned| planned.over));
    let left = world.map.shards().filter(|shard| shard.replica_on(NodeId(2)).is_some()).count();
    assert_eq!(left, 1, "all but the meta shard");
    for planned in &moves {
        assert!(
            world.map.shard(ShardId(planned.shard)).unwrap().replica_on(NodeId(planned.to_node)).is_some()
        );
    }
}

#[test]
fn what_a_plan_was_made_for() {
    let mut cluster = settled(6, 4);
    let moves = draining(&cluster, 2);
    let made_for = placement_of(&cluster.map());
    let ask = |cluster: &Cluster, moves: &[PlannedMove]| {
        begin(&cluster.map(), &cluster.settings, &cluster.silent, &made_for, moves, 0)
    };
    assert!(ask(&cluster, &moves).is_ok());
    assert_eq!(ask(&cluster, &[]), Err(Refusal::Empty));
    let twice = [moves[0], moves[0]];
    assert_eq!(ask(&cluster, &twice), Err(Refusal::Twice(ShardId(moves[0].shard))));
    let nonsense = PlannedMove { to_node: 99, ..moves[0] };
    assert!(matches!(ask(&cluster, &[moves[1], nonsense]), Err(Refusal::Move { number: 2, .. })));
    let endless = vec![moves[0]; MOVES_MAX + 1];
    assert_eq!(ask(&cluster, &endless), Err(Refusal::TooLong(MOVES_MAX + 1)));
    cluster.join(9, "");
    assert_eq!(ask(&cluster, &moves), Err(Refusal::Changed));
    cluster.nodes.remove(&NodeId(9));
    assert!(ask(&cluster, &moves).is_ok(), "as it was");
    let world = World::new(cluster, &moves);
    let other = begin(&world.map, &world.cluster.settings, &world.cluster.silent, &made_for, &moves, 0);
    assert_eq!(other, Err(Refusal::Another(PlanId(1))));
}

#[test]
fn what_is_not_possible_any_more_ends_a_plan() {
    for end in [MigrationEnd::EndRolledBack, MigrationEnd::EndUndone, MigrationEnd::EndFailed] {
        let cluster = settled(24, 5);
        let moves = draining(&cluster, 2);
        let mut world = World::new(cluster, &moves);
        while world.step() {}
        let begun = world.under_way();
        world.end(&begun[0], end);
        while world.step() {}
        assert_eq!(world.under_way().len(), begun.len() - 1, "nothing new begins");
        assert_eq!(world.plan().ended_at_ms, 0, "others are under way");
        begun[1..].iter().for_each(|job| world.end(job, MigrationEnd::EndDone));
        while world.step() {}
        let plan = world.plan();
        assert_eq!(
            (plan.ended_at_ms, &plan.stopped[..]),
            (9, &*format!("m{} has not come about", begun[0].id))
        );
    }
    // Somebody has made one of its moves himself.
    let cluster = settled(6, 4);
    let moves = draining(&cluster, 2);
    let mut world = World::new(cluster, &moves[..1]);
    let mut record = ShardRecord::from(world.map.shard(ShardId(moves[0].shard)).unwrap());
    record.replicas.iter_mut().filter(|of| of.node == 2).for_each(|of| of.node = moves[0].to_node);
    world.set(&SystemKey::Shard(ShardId(moves[0].shard)), Some(&record.encode_to_vec()));
    while world.step() {}
    assert!(world.plan().stopped.contains("has a replica on") && world.plan().ended_at_ms != 0);
}

#[test]
fn what_is_not_possible_now_waits() {
    let cluster = settled(6, 4);
    let moves = draining(&cluster, 2);
    let mut world = World::new(cluster, &moves[..1]);
    world.cluster.silence(moves[0].to_node);
    assert!(matches!(world.next(), Next::Wait(Some(because)) if because.contains("has not been heard")));
    world.cluster.silent = Liveness::default();
    let other = JobRecord {
        id: 7,
        shard: moves[0].shard,
        phase: JobPhase::JobLearn.into(),
        reason: "grow".to_owned(),
        ..JobRecord::default()
    };
    world.set(&SystemKey::Job(ShardId(other.shard)), Some(&other.encode_to_vec()));
    assert!(matches!(world.next(), Next::Wait(Some(because)) if because.contains("something else")));
    world.set(&SystemKey::Job(ShardId(other.shard)), None);
    assert!(matches!(world.next(), Next::Begin { index: 0, .. }));
    // One that has moved and only waits for somebody to undo it makes way.
    let migration = Some(Migration { undo_window_ms: 60_000, cut_over_at_ms: 1, ..Migration::default() });
    let kept = JobRecord { phase: JobPhase::JobRemove.into(), migration, ..other };
    world.set(&SystemKey::Job(ShardId(kept.shard)), Some(&kept.encode_to_vec()));
    let Next::Close(closed) = world.next() else { panic!("{:?}", world.next()) };
    assert_eq!(closed.migration.as_ref().unwrap().course(), Course::Keep);
    world.set(&SystemKey::Job(ShardId(kept.shard)), Some(&closed.encode_to_vec()));
    assert!(matches!(world.next(), Next::Wait(Some(_))), "until it is gone");
}

#[test]
fn a_plan_is_over_once_all_is_served() {
    let cluster = settled(6, 4);
    let moves = draining(&cluster, 2);
    let mut world = World::new(cluster, &moves[..2]);
    while world.step() {}
    let begun = world.under_way();
    world.end(&begun[0], MigrationEnd::EndDone);
    while world.step() {}
    assert_eq!(world.plan().ended_at_ms, 0);
    let mut served = begun[1].clone();
    served.phase = JobPhase::JobRemove.into();
    world.set(&SystemKey::Job(ShardId(served.shard)), Some(&served.encode_to_vec()));
    while world.step() {}
    assert_eq!((world.plan().ended_at_ms, &world.plan().stopped[..]), (9, ""), "it can still be undone");
}

#[test]
fn a_plan_that_is_stopped_begins_nothing_more() {
    let cluster = settled(24, 5);
    let moves = draining(&cluster, 2);
    let mut world = World::new(cluster, &moves);
    while world.step() {}
    let begun = world.under_way();
    let plan = stopped(&world.plan());
    world.write(plan);
    begun.iter().for_each(|job| world.end(job, MigrationEnd::EndDone));
    while world.step() {}
    assert!(world.under_way().is_empty());
    assert_eq!((world.plan().ended_at_ms, &world.plan().stopped[..]), (9, "it was stopped"));
}
