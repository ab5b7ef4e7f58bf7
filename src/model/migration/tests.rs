use prost::Message;

use super::*;
use crate::model::key::Key;
use crate::model::system::SystemKey;
use crate::model::time::Timestamp;
use crate::model::wire::{NodeRecord, ShardRecord};

const SHARD: ShardId = ShardId(1);

fn record(replica: u64, node: u64, role: ReplicaRole) -> ReplicaRecord {
    ReplicaRecord { replica, node, role: role.into() }
}

/// Five nodes, of which the fourth drains and the fifth left; the shard votes on the first three.
fn map(voters: u64, job: Option<JobRecord>) -> ClusterMap {
    let node = |node: u64, state: &str| {
        let record = NodeRecord { node, state: state.to_owned(), weight: 100, ..NodeRecord::default() };
        (SystemKey::Node(NodeId(node)), record.encode_to_vec())
    };
    let shard = |id: u64, voters: u64| {
        let replicas = (1..=voters).map(|n| record(10 * id + n, n, ReplicaRole::RoleVoter)).collect();
        let start = if id == 0 { Key::FIRST } else { Key::FIRST_USER };
        let start = start.to_bytes();
        let record = ShardRecord { shard: id, start, epoch: 1, replicas, ..ShardRecord::default() };
        (SystemKey::Shard(ShardId(id)), record.encode_to_vec())
    };
    let mut rows = vec![shard(0, 3), shard(1, voters), node(4, "draining"), node(5, "left")];
    rows.extend([1, 2, 3, 6, 7].map(|n| node(n, "member")));
    rows.extend(job.map(|job| (SystemKey::Job(SHARD), job.encode_to_vec())));
    let mut map = ClusterMap::default();
    for (key, value) in rows {
        map.set(&key.key(), Some(&value), Timestamp(1)).unwrap();
    }
    map
}

fn wish(from: impl Into<Option<u64>>, to: u64) -> Wish {
    Wish { shard: SHARD, from: from.into().map(NodeId), to: NodeId(to), force: false, keep_p99_us: 0 }
}

fn asked(map: &ClusterMap, liveness: &Liveness, wish: Wish) -> Result<Move, Refusal> {
    begin(map, &Settings::default(), liveness, wish)
}

fn moving() -> JobRecord {
    let plan = asked(&map(3, None), &Liveness::default(), wish(3, 6)).unwrap();
    plan.job(9, ReplicaId(40), 60_000, 5)
}

#[test]
fn a_wish_becomes_a_job() {
    let job = moving();
    let (source, target) = (record(13, 3, ReplicaRole::RoleVoter), record(40, 6, ReplicaRole::RoleVoter));
    assert_eq!((job.id, job.shard, job.remove, &job.voters[..]), (9, 1, 13, &[11, 12, 40][..]));
    let migration = job.migration.unwrap();
    assert_eq!((migration.source, migration.target), (Some(source), Some(target)));
    assert_eq!((&migration.voters_before[..], migration.undo_window_ms), (&[11, 12, 13][..], 60_000));
    assert_eq!((migration.course(), migration.cut_over_at_ms), (Course::Forward, 0));
}

#[test]
fn what_cannot_be_done_is_refused() {
    let calm = Liveness::default();
    let map = map(3, None);
    let refusal = |wish, liveness: &Liveness| asked(&map, liveness, wish).unwrap_err();
    let nodes = vec![NodeId(1), NodeId(2), NodeId(3)];
    assert_eq!(refusal(Wish { shard: ShardId(8), ..wish(1, 6) }, &calm), Refusal::NoShard(ShardId(8)));
    assert_eq!(refusal(wish(1, 9), &calm), Refusal::NoNode(NodeId(9)));
    assert_eq!(refusal(wish(1, 4), &calm), Refusal::NoMember { node: NodeId(4), state: "draining" });
    assert!(matches!(refusal(wish(1, 5), &calm), Refusal::NoMember { node: NodeId(5), .. }));
    assert_eq!(refusal(wish(1, 2), &calm), Refusal::There { shard: SHARD, node: NodeId(2) });
    let not_there = Refusal::NotThere { shard: SHARD, from: NodeId(6), nodes: nodes.clone() };
    assert_eq!(refusal(wish(6, 7), &calm), not_there);
    assert_eq!(refusal(wish(None, 6), &calm), Refusal::Unclear { shard: SHARD, nodes });
    let silent = |nodes: &[u64]| Liveness {
        silence_ms: nodes.iter().map(|node| (NodeId(*node), 20_000)).collect(),
        ..Liveness::default()
    };
    assert_eq!(refusal(wish(1, 6), &silent(&[6])), Refusal::Silent { node: NodeId(6), silent_ms: 20_000 });
    // Away from a node that does not answer: yes. Among others that do not: two of three are needed.
    assert!(asked(&map, &silent(&[3]), wish(3, 6)).is_ok());
    assert!(asked(&map, &silent(&[1]), wish(3, 6)).is_ok());
    let refused = refusal(wish(3, 6), &silent(&[1, 2]));
    assert_eq!(refused, Refusal::NoQuorum { shard: SHARD, alive: 1, voters: 3 });
}

/// Four members in these zones: the first three vote on the meta shard, the fourth, n6, learns.
fn with_meta(zones: [&str; 4], job: Option<&JobRecord>) -> ClusterMap {
    let mut replicas: Vec<_> = (1..=3).map(|n| record(n, n, ReplicaRole::RoleVoter)).collect();
    replicas.push(record(6, 6, ReplicaRole::RoleLearner));
    let start = Key::FIRST.to_bytes();
    let shard = ShardRecord { shard: 0, start, epoch: 1, replicas, ..ShardRecord::default() };
    let mut map = ClusterMap::default();
    let mut set = |key: SystemKey, value: Vec<u8>| map.set(&key.key(), Some(&value), Timestamp(1)).unwrap();
    set(SystemKey::Shard(ShardId::META), shard.encode_to_vec());
    for (node, zone) in [1, 2, 3, 6].into_iter().zip(zones) {
        let (state, zone) = ("member".to_owned(), zone.to_owned());
        let node = NodeRecord { node, state, zone, weight: 100, ..NodeRecord::default() };
        set(SystemKey::Node(NodeId(node.node)), node.encode_to_vec());
    }
    job.into_iter().for_each(|job| set(SystemKey::Job(ShardId::META), job.encode_to_vec()));
    map
}

fn meta(from: impl Into<Option<u64>>, to: u64) -> Wish {
    Wish { shard: ShardId::META, ..wish(from, to) }
}

fn swapping() -> JobRecord {
    let plan = asked(&with_meta([""; 4], None), &Liveness::default(), meta(1, 6)).unwrap();
    plan.job(9, ReplicaId(0), 60_000, 5)
}

#[test]
fn of_the_meta_shard_a_vote_moves() {
    let job = swapping();
    assert!(is_swap(&job));
    assert_eq!((job.add, job.remove, &job.voters[..]), (None, 0, &[2, 3, 6][..]));
    let migration = job.migration.unwrap();
    assert_eq!(migration.source, Some(record(1, 1, ReplicaRole::RoleVoter)));
    assert_eq!(migration.target, Some(record(6, 6, ReplicaRole::RoleVoter)));

    let (calm, map) = (Liveness::default(), with_meta([""; 4], None));
    let refusal = |wish, liveness: &Liveness| asked(&map, liveness, wish).unwrap_err();
    let (shard, nodes) = (ShardId::META, vec![NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(refusal(meta(1, 2), &calm), Refusal::Votes { shard, node: NodeId(2) });
    assert_eq!(refusal(meta(None, 6), &calm), Refusal::Unclear { shard, nodes: nodes.clone() });
    assert_eq!(refusal(meta(7, 6), &calm), Refusal::NoVote { shard, from: NodeId(7), nodes });
    let damaged = Liveness { damaged: [ReplicaId(6)].into(), ..Liveness::default() };
    assert!(matches!(refusal(meta(1, 6), &damaged), Refusal::Busy { .. }));
    let silence_ms = [2, 3].map(|node| (NodeId(node), 20_000)).into();
    let silent = Liveness { silence_ms, ..Liveness::default() };
    assert_eq!(refusal(meta(1, 6), &silent), Refusal::NoQuorum { shard, alive: 1, voters: 3 });
}

#[test]
fn a_vote_that_would_move_back_does_not_move() {
    let calm = Liveness::default();
    let map = with_meta(["a", "b", "c", "a"], None);
    assert!(asked(&map, &calm, meta(1, 6)).is_ok(), "within its zone");
    let reelected = Refusal::Reelected { shard: ShardId::META, from: NodeId(2), to: NodeId(6) };
    assert_eq!(asked(&map, &calm, meta(2, 6)), Err(reelected));
    let mut joined = with_meta([""; 4], None);
    let node = NodeRecord { node: 7, state: "member".to_owned(), weight: 100, ..NodeRecord::default() };
    joined.set(&SystemKey::Node(NodeId(7)).key(), Some(&node.encode_to_vec()), Timestamp(2)).unwrap();
    let busy = asked(&joined, &calm, meta(1, 6)).unwrap_err();
    assert!(matches!(busy, Refusal::Busy { .. }), "one joins: {busy}");
}

#[test]
fn a_vote_on_its_way_makes_way_for_a_node_that_joins() {
    let mut job = swapping();
    assert_eq!(superseded(&with_meta([""; 4], Some(&job)), &job), None);
    let mut joined = with_meta([""; 4], Some(&job));
    let node = NodeRecord { node: 7, state: "member".to_owned(), weight: 100, ..NodeRecord::default() };
    joined.set(&SystemKey::Node(NodeId(7)).key(), Some(&node.encode_to_vec()), Timestamp(2)).unwrap();
    assert!(superseded(&joined, &job).is_some_and(|because| because.contains("n7")));
    job.set_phase(JobPhase::JobRemove);
    assert_eq!(superseded(&joined, &job), None, "it is cut over");
    assert_eq!(outrun(&with_meta([""; 4], Some(&job)), &job), None);
    assert_eq!(outrun(&joined, &job).unwrap().migration.unwrap().course(), Course::Keep);
    let undone = ordered(&job, Order::Undo, 6).unwrap();
    assert_eq!((undone.remove, &undone.voters[..]), (0, &[1, 2, 3][..]), "nobody is removed");
}

#[test]
fn nothing_moves_where_it_has_no_room() {
    let mut heard = Liveness::default();
    heard.stored_bytes.insert(SHARD, 1_000);
    heard.room_bytes.insert(NodeId(6), 999);
    let no_room = Refusal::NoRoom { shard: SHARD, node: NodeId(6), needed_bytes: 1_000, free_bytes: 999 };
    assert_eq!(asked(&map(3, None), &heard, wish(3, 6)), Err(no_room));
    heard.room_bytes.insert(NodeId(6), 1_000);
    assert!(asked(&map(3, None), &heard, wish(3, 6)).is_ok());
}

#[test]
fn replicas_come_together_only_by_force() {
    let mut map = map(3, None);
    let zones = [(1, "a"), (2, "b"), (3, "c"), (6, "a"), (7, "c")];
    for (node, zone) in zones {
        let (state, zone) = ("member".to_owned(), zone.to_owned());
        let record = NodeRecord { node, state, zone, weight: 100, ..NodeRecord::default() };
        map.set(&SystemKey::Node(NodeId(node)).key(), Some(&record.encode_to_vec()), Timestamp(2)).unwrap();
    }
    let calm = Liveness::default();
    let zone = "a".to_owned();
    let together = Refusal::Together { shard: SHARD, node: NodeId(6), other: NodeId(1), zone };
    assert_eq!(asked(&map, &calm, wish(3, 6)), Err(together));
    assert!(asked(&map, &calm, Wish { force: true, ..wish(3, 6) }).is_ok());
    assert!(asked(&map, &calm, wish(1, 6)).is_ok(), "within its zone");
    assert!(asked(&map, &calm, wish(3, 7)).is_ok());
}

#[test]
fn a_drain_is_stopped_as_a_whole() {
    let mut map = map(4, None);
    let mut job = moving();
    job.reason = Reason::Drain.to_string();
    let source = job.migration.as_mut().unwrap().source.as_mut().unwrap();
    source.node = 4;
    let drains = Refusal::Drains { id: MigrationId(9), node: NodeId(4) };
    assert_eq!(ordered(&job, Order::Cancel, 0), Err(drains));
    assert!(ordered(&job, Order::Pause, 0).is_ok());
    assert_eq!(superseded(&map, &job), None);
    let record = NodeRecord { node: 4, state: "member".to_owned(), weight: 100, ..NodeRecord::default() };
    map.set(&SystemKey::Node(NodeId(4)).key(), Some(&record.encode_to_vec()), Timestamp(2)).unwrap();
    assert_eq!(superseded(&map, &job).as_deref(), Some("n4 is not drained any more"));
    assert_eq!(superseded(&map, &turned_back(&job, "so")), None, "said once");
    let over = JobRecord { phase: JobPhase::JobRemove.into(), ..job };
    assert_eq!(superseded(&map, &over), None, "too late");
    assert_eq!(superseded(&map, &moving()), None, "that was somebody's wish");
}

#[test]
fn a_drain_does_not_wait_for_undos() {
    let mut map = map(3, None);
    let job = JobRecord { phase: JobPhase::JobRemove.into(), ..moving() };
    assert_eq!(outrun(&map, &job), None);
    for (node, state) in [(3, "draining"), (3, "member"), (6, "draining")] {
        let record = NodeRecord { node, state: state.to_owned(), weight: 100, ..NodeRecord::default() };
        map.set(&SystemKey::Node(NodeId(node)).key(), Some(&record.encode_to_vec()), Timestamp(2)).unwrap();
        let kept = outrun(&map, &job);
        assert_eq!(kept.is_some(), state == "draining", "{node} {state}");
        assert!(kept.is_none_or(|kept| kept.migration.unwrap().course() == Course::Keep));
    }
    assert_eq!(outrun(&map, &moving()), None, "not before the cut-over");
    assert_eq!(outrun(&map, &ordered(&job, Order::Undo, 0).unwrap()), None, "nor while it is undone");
}

#[test]
fn evening_out_does_not_wait_for_undos() {
    let mut map = map(3, None);
    let job = |n: u64, reason: Reason| {
        let job = JobRecord { phase: JobPhase::JobRemove.into(), id: n, shard: 100 + n, ..moving() };
        let migration = Migration { cut_over_at_ms: n, ..job.migration.clone().unwrap() };
        JobRecord { reason: reason.to_string(), migration: Some(migration), ..job }
    };
    let most = EVENED_KEPT_MAX as u64;
    for n in 1..=most {
        let job = job(n, Reason::Rebalance);
        map.set(&SystemKey::Job(ShardId(job.shard)).key(), Some(&job.encode_to_vec()), Timestamp(2)).unwrap();
    }
    assert_eq!(outrun(&map, &job(1, Reason::Rebalance)), None, "there are not too many yet");
    let one_more = job(most + 1, Reason::Rebalance);
    let key = SystemKey::Job(ShardId(one_more.shard)).key();
    map.set(&key, Some(&one_more.encode_to_vec()), Timestamp(2)).unwrap();
    assert!(outrun(&map, &job(1, Reason::Rebalance)).is_some(), "the oldest makes way");
    assert_eq!(outrun(&map, &job(2, Reason::Rebalance)), None);
    assert_eq!(outrun(&map, &job(0, Reason::Move)), None, "what somebody asked for is kept");
}

#[test]
fn the_source_is_guessed_only_where_it_is_clear() {
    assert!(asked(&map(1, None), &Liveness::default(), wish(None, 6)).is_ok());
    let plan = asked(&map(4, None), &Liveness::default(), wish(None, 6)).unwrap();
    assert_eq!(plan.source.node, NodeId(4), "it drains");
}

#[test]
fn one_thing_at_a_time() {
    let refused = asked(&map(3, Some(moving())), &Liveness::default(), wish(2, 7));
    assert_eq!(refused, Err(Refusal::Moving(SHARD, MigrationId(9))));
    let repair = JobRecord { migration: None, reason: "repair".to_owned(), ..moving() };
    let refused = asked(&map(3, Some(repair)), &Liveness::default(), wish(2, 7));
    assert_eq!(refused, Err(Refusal::Busy { shard: SHARD, reason: "repair".to_owned() }));
}

#[test]
fn moves_at_a_time_are_bounded() {
    let with = |count: usize| {
        let mut map = map(3, None);
        for shard in (100..).take(count) {
            let job = JobRecord { shard, ..moving() };
            map.set(&SystemKey::Job(ShardId(shard)).key(), Some(&job.encode_to_vec()), Timestamp(2)).unwrap();
        }
        asked(&map, &Liveness::default(), wish(3, 6)).map(|_| ())
    };
    assert_eq!(with(MOVES_MAX - 1), Ok(()));
    assert_eq!(with(MOVES_MAX), Err(Refusal::TooMany));
}

#[test]
fn each_stage_takes_only_what_it_can_follow() {
    use Order::{Cancel, Keep, Pause, Resume, Undo};
    let id = MigrationId(9);
    let course = |job: &JobRecord| job.migration.as_ref().unwrap().course();
    let given = |job: &JobRecord, order| ordered(job, order, 1_000).map(|job| course(&job));
    let at = |phase: JobPhase| JobRecord { phase: phase.into(), ..moving() };
    for phase in [JobPhase::JobLearn, JobPhase::JobVerify, JobPhase::JobPromote] {
        let job = at(phase);
        assert_eq!(given(&job, Pause), Ok(Course::Paused));
        assert_eq!(given(&ordered(&job, Pause, 0).unwrap(), Resume), Ok(Course::Forward));
        assert_eq!(given(&job, Cancel), Ok(Course::Back));
        let back = ordered(&job, Cancel, 0).unwrap();
        assert_eq!(given(&back, Resume), Err(Refusal::GoingBack(id)));
        assert_eq!(given(&back, Cancel), Ok(Course::Back), "twice is once");
        assert_eq!(given(&job, Undo), Err(Refusal::NotCutOver(id)));
        assert_eq!(given(&job, Keep), Err(Refusal::NotCutOver(id)));
    }
    let over = at(JobPhase::JobRemove);
    for order in [Pause, Resume, Cancel] {
        assert_eq!(given(&over, order), Err(Refusal::CutOver(id)));
    }
    assert_eq!(given(&over, Keep), Ok(Course::Keep));
    assert_eq!(given(&ordered(&over, Keep, 0).unwrap(), Undo), Err(Refusal::WindowOver(id)));
    assert_eq!(ordered(&over, Undo, 60_000), Err(Refusal::WindowOver(id)));
    let undo = ordered(&over, Undo, 59_999).unwrap();
    assert_eq!((undo.add, undo.remove, undo.phase()), (None, 40, JobPhase::JobPromote));
    assert_eq!((&undo.voters[..], course(&undo)), (&[11, 12, 13][..], Course::Undo));
    assert_eq!(given(&undo, Cancel), Err(Refusal::GoingBack(id)));
    let own = JobRecord { migration: None, ..moving() };
    assert_eq!(ordered(&own, Pause, 0), Err(Refusal::NotUnderWay(id)));
    assert_eq!(turned_back(&over, "why").migration.unwrap().because, "why");
}

#[test]
fn the_end_is_told_from_the_replicas() {
    let migration = moving().migration.unwrap();
    let with = |course: Course| Migration { course: course.into(), ..migration.clone() };
    let others = [record(11, 1, ReplicaRole::RoleVoter), record(12, 2, ReplicaRole::RoleVoter)];
    let (source, target) = (migration.source.unwrap(), migration.target.unwrap());
    let ended = |course, more: &[ReplicaRecord]| end(&with(course), &[&others[..], more].concat());
    assert_eq!(ended(Course::Forward, &[target]), MigrationEnd::EndDone);
    assert_eq!(ended(Course::Back, &[target]), MigrationEnd::EndDone, "it came too late");
    assert_eq!(ended(Course::Back, &[source]), MigrationEnd::EndRolledBack);
    assert_eq!(ended(Course::Undo, &[source]), MigrationEnd::EndUndone);
    let fenced = record(source.replica, source.node, ReplicaRole::RoleLearner);
    assert_eq!(ended(Course::Undo, &[target, fenced]), MigrationEnd::EndFailed);
    assert_eq!(ended(Course::Undo, &[target]), MigrationEnd::EndFailed);
    assert_eq!(ended(Course::Forward, &[]), MigrationEnd::EndFailed);
}

#[test]
fn stages_follow_the_phases() {
    use JobPhase::*;
    let stages = [
        Stage::of(JobLearn, false),
        Stage::of(JobLearn, true),
        Stage::of(JobVerify, true),
        Stage::of(JobPromote, true),
        Stage::of(JobRemove, true),
    ];
    assert_eq!(stages, Stage::ALL);
    assert_eq!(stages.map(|stage| stage.to_string()).join(" "), "prepare transfer verify update cleanup");
}
