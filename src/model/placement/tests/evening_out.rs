use std::collections::BTreeSet;

use super::super::super::migration::{MOVES_MAX, Move};
use super::super::*;
use super::Cluster;

/// Evens out a few at a time, as the cluster does; how many replicas were moved, and each of them from where to where.
fn even_out(cluster: &mut Cluster, stay: &BTreeSet<ShardId>) -> Vec<(ShardId, NodeId, NodeId)> {
    let mut moved = Vec::new();
    for _ in 0..10_000 {
        assert_eq!(cluster.plan(), vec![], "nothing more urgent");
        let limits = Limits::of(&cluster.settings);
        let proposals = rebalance(&cluster.map(), &cluster.settings, &cluster.silent, stay, limits);
        assert!(proposals.len() <= limits.migrations);
        if proposals.is_empty() {
            return moved;
        }
        for proposal in &proposals {
            let plan = Move::proposed(&cluster.map(), proposal).expect("what evens out is a migration");
            assert_eq!(plan.proposal().reason, Reason::Rebalance);
            let shard = &cluster.shards[&proposal.shard];
            let from = shard.replica(proposal.remove.unwrap()).unwrap().node;
            moved.push((proposal.shard, from, proposal.add.unwrap()));
            cluster.carry_out(proposal);
        }
    }
    panic!("no end of evening out");
}

fn settled(users: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::young(users);
    (2..=nodes).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    even_out(&mut cluster, &BTreeSet::new());
    cluster
}

fn is_uneven(cluster: &Cluster) -> bool {
    super::super::is_uneven(&cluster.map(), &cluster.settings, &cluster.silent)
}

#[test]
fn a_node_that_joins_fills_itself() {
    for (users, nodes) in [(4, 3), (30, 3), (100, 5), (200, 10)] {
        let mut cluster = settled(users, nodes);
        assert!(!is_uneven(&cluster));
        cluster.join(nodes + 1, "");
        assert!(is_uneven(&cluster), "{users} shards, {nodes} nodes");
        cluster.settle();
        let moved = even_out(&mut cluster, &BTreeSet::new());
        let share = (users * 3) as f64 / (nodes + 1) as f64;
        let held = (cluster.on(nodes + 1) - 1) as f64;
        assert!(
            held >= (0.9 * share).floor().min(share - 1.0) && held <= share * 1.1 + 1.0,
            "{held} of {share}"
        );
        assert!(moved.iter().all(|(_, _, to)| *to == NodeId(nodes + 1)), "nothing else moves");
        assert!(moved.len() as f64 <= share, "{} moved, the share is {share}", moved.len());
        assert!(!is_uneven(&cluster));
        assert!((1..=users).all(|shard| cluster.roles(shard) == (3, 0)));
    }
}

#[test]
fn what_is_even_stays_as_it_is() {
    let mut cluster = settled(50, 6);
    assert_eq!(even_out(&mut cluster, &BTreeSet::new()), vec![]);
}

#[test]
fn what_was_sent_back_stays_where_it_is() {
    let mut cluster = settled(4, 3);
    cluster.join(4, "");
    cluster.settle();
    let stay = BTreeSet::from([ShardId(2), ShardId(3)]);
    let moved = even_out(&mut cluster, &stay);
    assert!(!moved.is_empty() && moved.iter().all(|(shard, ..)| !stay.contains(shard)), "{moved:?}");
    let all = (1..=4).map(ShardId).collect();
    let mut other = settled(4, 3);
    other.join(4, "");
    other.settle();
    assert_eq!(even_out(&mut other, &all), vec![]);
}

#[test]
fn nothing_moves_while_a_voter_is_silent() {
    let mut cluster = settled(4, 3);
    cluster.join(4, "");
    cluster.settle();
    cluster.silent.silence_ms.insert(NodeId(2), TARGET_SILENT_MAX_MS + 1);
    assert_eq!(even_out(&mut cluster, &BTreeSet::new()), vec![]);
}

#[test]
fn nothing_goes_where_it_has_no_room() {
    let mut cluster = settled(4, 3);
    cluster.join(4, "");
    cluster.settle();
    cluster.silent.room_bytes.insert(NodeId(4), 99);
    (1..=3).for_each(|shard| _ = cluster.silent.stored_bytes.insert(ShardId(shard), 100));
    cluster.silent.stored_bytes.insert(ShardId(4), 99);
    let moved = even_out(&mut cluster, &BTreeSet::new());
    assert!(moved.iter().all(|(shard, ..)| *shard == ShardId(4)), "{moved:?}");
}

#[test]
fn zones_are_kept_apart_once_there_are_enough() {
    let mut cluster = Cluster::young(6);
    for (id, zone) in [(1, "a"), (2, "a"), (3, "b")] {
        cluster.join(id, zone);
    }
    cluster.settle();
    cluster.join(4, "c");
    cluster.settle();
    even_out(&mut cluster, &BTreeSet::new());
    let zone = |node: NodeId| cluster.nodes[&node].zone.clone();
    for shard in cluster.shards.values().filter(|shard| shard.id != ShardId::META) {
        let zones: BTreeSet<String> = shard.replicas.iter().map(|replica| zone(replica.node)).collect();
        assert_eq!(zones.len(), 3, "{shard:?}");
    }
}

#[test]
fn migrations_are_few_at_a_time_and_others_find_room_beside_them() {
    let mut cluster = settled(100, 4);
    cluster.state(4, NodeState::Draining);
    let proposals = cluster.plan();
    assert_eq!(proposals.len(), JOBS_PER_NODE_MAX, "all go from one node");
    cluster.settings.max_concurrent_migrations = 6;
    let limits = Limits::of(&cluster.settings);
    assert_eq!(limits.migrations, 6);
    assert!(limits.kept < MOVES_MAX, "there is always room for what somebody asks for");
}
