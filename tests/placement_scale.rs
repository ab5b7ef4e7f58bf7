//! The size that placement must stay fit for: 100 nodes, 10,000 shards, a second. Evenness and movement at that size are
//! tested in `src/model/assign/tests.rs`; this only takes the time, so it reads the clock, which code in `src/` may not.

use std::time::{Duration, Instant};

use nodenomad::model::assign::{Placed, Site, assign};
use nodenomad::model::forecast::{forecast, with_state};
use nodenomad::model::id::{NodeId, ReplicaId, ShardId};
use nodenomad::model::key::{Key, KeyRange};
use nodenomad::model::map::{ClusterMap, Node, NodeState, Replica, Role, Shard};
use nodenomad::model::placement::{Liveness, plan};
use nodenomad::model::system::SystemKey;
use nodenomad::model::time::Timestamp;
use nodenomad::model::wire::{NodeRecord, ShardRecord};
use prost::Message;

const NODES: u64 = 100;
const SHARDS: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(1);

fn position(i: u64) -> u64 {
    (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The best of a few: other work on the machine is not what is measured.
fn best<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut run = || {
        let start = Instant::now();
        let result = work();
        (start.elapsed(), result)
    };
    let runs = [run(), run(), run()];
    runs.into_iter().min_by_key(|(took, _)| *took).expect("there are three")
}

#[test]
fn the_whole_is_planned_within_a_second() {
    let sites: Vec<Site> =
        (1..=NODES + 1).map(|id| Site { node: NodeId(id), zone: String::new(), weight: 100 }).collect();
    let old = &sites[..NODES as usize];
    let fresh: Vec<Placed> =
        (0..SHARDS).map(|i| Placed { ring_position: position(i), nodes: vec![], stays: false }).collect();
    let (took, places) = best(|| assign(old.to_vec(), &fresh, 3));
    println!("from nothing: {took:?}");
    assert!(took < LIMIT, "placing all took {took:?}");

    let settled: Vec<Placed> = fresh
        .iter()
        .zip(&places)
        .map(|(shard, nodes)| Placed { nodes: nodes.clone(), ..shard.clone() })
        .collect();
    let (took, _) = best(|| assign(sites.clone(), &settled, 3));
    println!("where replicas belong after a join: {took:?}");
    assert!(took < LIMIT, "planning a join took {took:?}");

    let mut rows = Vec::new();
    for id in 1..=NODES {
        let (quic, http, zone, state) = (String::new(), String::new(), String::new(), NodeState::Member);
        let node = Node {
            id: NodeId(id),
            quic,
            http,
            zone,
            weight: 100,
            joined_at_ms: 0,
            state,
            meta_replica: ReplicaId(0),
        };
        rows.push((SystemKey::Node(node.id).key(), NodeRecord::from(&node).encode_to_vec(), Timestamp(1)));
    }
    for (i, (shard, nodes)) in settled.iter().zip(&places).enumerate() {
        let id = i as u64 + 1;
        let replica = |(n, node): (usize, &NodeId)| Replica {
            id: ReplicaId(id * 10 + n as u64),
            node: *node,
            role: Role::Voter,
        };
        let range = KeyRange::new(Key::from_name(format!("{i:08}").as_bytes()).unwrap(), None);
        let replicas = nodes.iter().enumerate().map(replica).collect();
        let shard = Shard {
            id: ShardId(id),
            range,
            epoch: 1,
            replicas,
            ring_position: shard.ring_position,
            by_itself: false,
        };
        rows.push((
            SystemKey::Shard(shard.id).key(),
            ShardRecord::from(&shard).encode_to_vec(),
            Timestamp(1),
        ));
    }
    let map = ClusterMap::from_rows(rows).unwrap();
    let (settings, _) = map.settings();
    let silent =
        Liveness { silence_ms: [(NodeId(7), settings.silent_after_ms + 1)].into(), ..Liveness::default() };
    let (took, proposals) = best(|| plan(&map, &settings, &silent));
    println!("what to do next: {took:?}");
    assert!(took < LIMIT, "the next plan took {took:?}");
    assert!(!proposals.is_empty() && proposals.iter().all(|proposal| proposal.remove.is_some()));

    // All that a drain or a join leads to; on the way each shard may lose one more voter at any moment.
    let calm = Liveness::default();
    let drained = with_state(&map, NodeId(7), NodeState::Draining);
    let held = map.shards().filter(|shard| shard.replica_on(NodeId(7)).is_some()).count();
    let (took, changes) = best(|| forecast(&drained, &settings, &calm));
    println!("all that a drain leads to: {took:?}");
    assert!(took < LIMIT, "the forecast of a drain took {took:?}");
    assert!(changes.iter().all(|change| change.margin >= 1));
    let moved = changes.iter().filter(|change| change.from.is_some()).count();
    assert!(moved >= held && moved as f64 <= held as f64 * 1.1, "{moved} moved, {held} were held");
}
