use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Key {
    Key::from_name(name.as_bytes()).unwrap()
}

fn shard(id: u64, start: Key, end: Option<Key>) -> Shard {
    let replica = Replica { id: ReplicaId(id * 10 + 1), node: NodeId(1), role: Role::Voter };
    let range = KeyRange::new(start, end);
    Shard { id: ShardId(id), range, epoch: 1, replicas: vec![replica], ring_position: id, by_itself: false }
}

fn row(shard: &Shard) -> (Key, Vec<u8>, Timestamp) {
    (SystemKey::Shard(shard.id).key(), ShardRecord::from(shard).encode_to_vec(), Timestamp(shard.id.0 + 1))
}

/// The meta shard and user shards that begin at these keys.
fn tiled(starts: &BTreeSet<Key>) -> Vec<Shard> {
    let mut shards = vec![shard(0, Key::FIRST, Some(Key::FIRST_USER))];
    let starts: Vec<Key> = std::iter::once(Key::FIRST_USER).chain(starts.iter().cloned()).collect();
    for (i, start) in starts.iter().enumerate() {
        shards.push(shard(i as u64 + 1, start.clone(), starts.get(i + 1).cloned()));
    }
    shards
}

fn keys() -> impl Strategy<Value = BTreeSet<Key>> {
    let name = prop::collection::vec(any::<u8>(), 1..4);
    let key =
        name.prop_map(|name| Key::from_name(&name).unwrap()).prop_filter("user", |key| !key.is_system());
    prop::collection::btree_set(key, 1..12)
}

proptest! {
    #[test]
    fn a_tiled_map_has_one_shard_for_each_key(starts in keys(), name in prop::collection::vec(any::<u8>(), 1..5)) {
        let shards = tiled(&starts);
        let map = ClusterMap::from_rows(shards.iter().rev().map(row)).unwrap();
        prop_assert_eq!(map.problems(), vec![]);
        let key = Key::from_name(&name).unwrap();
        let found: Vec<ShardId> = shards.iter().filter(|s| s.range.contains(&key)).map(|s| s.id).collect();
        prop_assert_eq!(map.shard_of(&key).map(|s| s.id), Some(found[0]));
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(map.version(), Timestamp(shards.len() as u64));
    }

    #[test]
    fn shards_in_a_range_are_those_that_meet_it(starts in keys(), a in keys(), open in any::<bool>()) {
        let shards = tiled(&starts);
        let map = ClusterMap::from_rows(shards.iter().map(row)).unwrap();
        let (first, last) = (a.first().unwrap().clone(), a.last().unwrap().clone());
        let range = KeyRange::new(first, (!open).then_some(last));
        let expected: Vec<ShardId> =
            shards.iter().filter(|s| !s.range.intersection(&range).is_empty()).map(|s| s.id).collect();
        prop_assert_eq!(map.shards_in(&range).map(|s| s.id).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_missing_shard_is_a_gap_and_a_longer_one_an_overlap(starts in keys(), which in any::<prop::sample::Index>()) {
        let shards = tiled(&starts);
        let i = which.index(shards.len());
        let missing = shards.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| row(s));
        let map = ClusterMap::from_rows(missing).unwrap();
        prop_assert_eq!(map.problems(), vec![Problem::Gap(shards[i].range.clone())]);
        prop_assert_eq!(map.shard_of(&shards[i].range.start), None);

        prop_assume!(i + 1 < shards.len());
        let mut longer = shards.clone();
        longer[i].range.end = shards[i + 1].range.end.clone();
        let map = ClusterMap::from_rows(longer.iter().map(row)).unwrap();
        let (first, second, range) = (shards[i].id, shards[i + 1].id, shards[i + 1].range.clone());
        prop_assert_eq!(map.problems(), vec![Problem::Overlap { first, second, range }]);
    }

    #[test]
    fn damaged_rows_are_errors_not_panics(value in prop::collection::vec(any::<u8>(), 0..64), id in 0u64..3) {
        let mut map = ClusterMap::default();
        for system in [SystemKey::Node(NodeId(id)), SystemKey::Shard(ShardId(id)), SystemKey::Job(ShardId(id))] {
            let before = map.clone();
            if map.set(&system.key(), Some(&value), Timestamp(9)).is_err() {
                prop_assert_eq!(&map, &before);
            }
        }
    }
}

#[test]
fn an_empty_map_is_one_gap() {
    assert_eq!(ClusterMap::default().problems(), vec![Problem::Gap(KeyRange::new(Key::FIRST, None))]);
    let mut empty = tiled(&BTreeSet::new());
    empty.push(shard(7, key("b"), Some(key("b"))));
    let map = ClusterMap::from_rows(empty.iter().map(row)).unwrap();
    assert_eq!(map.problems(), vec![Problem::Empty(ShardId(7))]);
}

#[test]
fn rows_come_and_go() {
    let mut map = ClusterMap::from_rows(tiled(&BTreeSet::new()).iter().map(row)).unwrap();
    let node = Node {
        meta_replica: ReplicaId(0),
        id: NodeId(4),
        quic: "[::1]:7300".to_owned(),
        http: "[::1]:7300".to_owned(),
        zone: "east".to_owned(),
        weight: 200,
        joined_at_ms: 5,
        state: NodeState::Draining,
    };
    let node_key = SystemKey::Node(NodeId(4)).key();
    map.set(&node_key, Some(&NodeRecord::from(&node).encode_to_vec()), Timestamp(20)).unwrap();
    assert_eq!(map.node(NodeId(4)), Some(&node));
    map.set(&SystemKey::Config("replicas".to_owned()).key(), Some(b"5"), Timestamp(21)).unwrap();
    assert_eq!(map.settings().0.replicas, 5);
    map.set(&SystemKey::ClusterId.key(), Some(b"c"), Timestamp(22)).unwrap();
    assert_eq!((map.cluster_id(), map.version()), ("c", Timestamp(22)));

    let add = ReplicaRecord { replica: 40, node: 4, role: ReplicaRole::RoleLearner.into() };
    let job = JobRecord { id: 1, shard: 1, add: Some(add), ..JobRecord::default() };
    let job_key = SystemKey::Job(ShardId(1)).key();
    map.set(&job_key, Some(&job.encode_to_vec()), Timestamp(23)).unwrap();
    assert_eq!(map.replicas_on(NodeId(4)).collect::<Vec<_>>(), [(ShardId(1), ReplicaId(40))]);
    assert_eq!(map.replicas_on(NodeId(1)).count(), 2);
    map.set(&SystemKey::Retired(ReplicaId(40)).key(), Some(b""), Timestamp(24)).unwrap();
    assert!(map.is_retired(ReplicaId(40)) && map.replicas_on(NodeId(4)).next().is_none());

    map.set(&job_key, None, Timestamp(25)).unwrap();
    map.set(&SystemKey::Shard(ShardId(1)).key(), None, Timestamp(26)).unwrap();
    assert!(map.job(ShardId(1)).is_none() && map.shard_of(&key("x")).is_none());
    assert_eq!(map.version(), Timestamp(26));
}

#[test]
fn records_under_a_wrong_key_and_unknown_words_are_refused() {
    let mut map = ClusterMap::default();
    let record = NodeRecord { node: 3, state: "member".to_owned(), ..NodeRecord::default() };
    let error = map.set(&SystemKey::Node(NodeId(4)).key(), Some(&record.encode_to_vec()), Timestamp(1));
    assert_eq!(error.unwrap_err().source, RecordError::Misfiled);
    let odd = NodeRecord { node: 4, state: "asleep".to_owned(), ..NodeRecord::default() };
    let error = map.set(&SystemKey::Node(NodeId(4)).key(), Some(&odd.encode_to_vec()), Timestamp(1));
    assert_eq!(error.unwrap_err().source, RecordError::NodeState("asleep".to_owned()));
    let light = Node::try_from(NodeRecord { weight: 0, ..record.clone() }).unwrap();
    let heavy = Node::try_from(NodeRecord { weight: u32::MAX, ..record }).unwrap();
    assert_eq!((light.weight, heavy.weight), (WEIGHT_DEFAULT, WEIGHT_MAX));
    let roleless = ShardRecord {
        shard: 1,
        start: Bytes::from_static(&[0x10]),
        replicas: vec![ReplicaRecord { replica: 1, node: 1, role: 77 }],
        ..ShardRecord::default()
    };
    assert_eq!(Shard::try_from(roleless), Err(RecordError::Role));
    assert_eq!((map.version(), map.nodes().count()), (Timestamp::ZERO, 0));
}
