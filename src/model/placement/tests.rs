pub mod cluster;
mod evening_out;

use proptest::prelude::*;

use super::super::system::SystemKey;
use super::super::time::Timestamp;
use super::*;
use cluster::Cluster;
use prost::Message;

#[test]
fn a_cluster_grows_node_by_node() {
    let mut cluster = Cluster::young(4);
    cluster.settings.replicas = 5;
    let expected = [(1, 0), (1, 1), (3, 0), (3, 1), (5, 0), (5, 0)];
    let meta = [(1, 0), (1, 1), (3, 0), (3, 1), (5, 0), (5, 1), (5, 2)];
    for nodes in 1..=7usize {
        cluster.join(nodes as u64, "");
        cluster.settle();
        assert_eq!(cluster.roles(0), meta[nodes - 1], "meta with {nodes} nodes");
        for shard in 1..=4 {
            assert_eq!(cluster.roles(shard), expected[nodes.min(6) - 1], "{shard} with {nodes} nodes");
        }
    }
}

#[test]
fn three_copies_are_enough_by_default() {
    let mut cluster = Cluster::young(6);
    (2..=5).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    for shard in 1..=6 {
        assert_eq!(cluster.roles(shard), (3, 0));
    }
    cluster.settings.replicas = 5;
    cluster.settle();
    assert_eq!(cluster.roles(3), (5, 0));
    cluster.settings.replicas = 1;
    cluster.settle();
    assert_eq!((cluster.roles(3), cluster.roles(0)), ((1, 0), (5, 0)));
}

#[test]
fn a_silent_node_is_replaced_after_the_limit() {
    let mut cluster = Cluster::young(6);
    (2..=4).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    let held = cluster.on(2) - 1;
    cluster.silent.silence_ms.insert(NodeId(2), cluster.settings.silent_after_ms);
    assert_eq!(cluster.plan(), vec![], "not before the limit");
    cluster.silence(2);
    assert!(cluster.plan().iter().all(|p| matches!(p.reason, Reason::Repair | Reason::Meta)));
    let votes = cluster.voters(0).contains(&2);
    assert_eq!(cluster.settle(), held + usize::from(votes));
    // The meta replica of a member stays, but votes no more.
    assert_eq!((cluster.on(2), cluster.roles(0)), (1, (3, 1)));
    assert!(!cluster.voters(0).contains(&2));
    assert!((1..=6).all(|shard| cluster.roles(shard) == (3, 0)));
}

#[test]
fn without_a_spare_node_nothing_is_given_up() {
    let mut cluster = Cluster::young(2);
    (2..=3).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    cluster.silence(3);
    assert_eq!(cluster.plan(), vec![]);
    cluster.silence(2);
    assert_eq!(cluster.plan(), vec![]);
}

#[test]
fn a_damaged_replica_is_made_anew_where_it_was() {
    let mut cluster = Cluster::young(2);
    (2..=3).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    let on_two = |cluster: &Cluster| -> BTreeSet<ReplicaId> {
        let replicas = cluster.shards.values().flat_map(|shard| shard.replicas.clone());
        replicas.filter(|replica| replica.node == NodeId(2)).map(|replica| replica.id).collect()
    };
    let damaged = on_two(&cluster);
    cluster.silent.damaged = damaged.clone();
    let plan = cluster.plan();
    assert_eq!(plan.len(), 3, "of the meta shard and of both others");
    for proposal in &plan {
        assert_eq!(proposal.add, Some(NodeId(2)));
        assert!(damaged.contains(&proposal.remove.unwrap()) && proposal.add_votes);
        assert_eq!(proposal.voters.len(), 2, "the others stay voters all the while");
    }
    // While its node is silent the others do not do without it.
    cluster.silent.silence_ms.insert(NodeId(2), TARGET_SILENT_MAX_MS + 1);
    assert_eq!(cluster.plan(), vec![]);
    cluster.silent.silence_ms.clear();
    assert_eq!(cluster.settle(), 3);
    assert!(on_two(&cluster).is_disjoint(&damaged) && on_two(&cluster).len() == 3);
    assert!((0..=2).all(|shard| cluster.roles(shard) == (3, 0)));
}

#[test]
fn a_node_that_left_is_not_waited_for() {
    let mut cluster = Cluster::young(2);
    (2..=3).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    cluster.state(2, NodeState::Left);
    cluster.silence(2);
    cluster.settle();
    assert_eq!(
        (cluster.on(2), cluster.roles(0), cluster.roles(1), cluster.roles(2)),
        (0, (1, 1), (1, 1), (1, 1))
    );
    // The last copy is never dropped.
    cluster.state(1, NodeState::Left);
    cluster.state(3, NodeState::Left);
    cluster.settle();
    assert!((0..=2).all(|shard| cluster.roles(shard).0 == 1));
}

#[test]
fn a_draining_node_keeps_only_its_meta_replica() {
    let mut cluster = Cluster::young(5);
    (2..=5).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    cluster.state(1, NodeState::Draining);
    cluster.settle();
    assert_eq!((cluster.on(1), cluster.roles(0)), (1, (5, 0)));
    assert!((1..=5).all(|shard| cluster.roles(shard) == (3, 0)));
    cluster.join(6, "");
    cluster.settle();
    assert_eq!(cluster.voters(0), [2, 3, 4, 5, 6]);
}

#[test]
fn a_drain_goes_on_beside_a_dead_node() {
    // 1 and 2 hold everything with 3; 3 is silent and nobody can take its place, but 2 can still be drained to 4.
    let mut cluster = Cluster::young(1);
    (2..=3).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    cluster.silence(3);
    cluster.join(4, "");
    cluster.state(2, NodeState::Draining);
    cluster.settle();
    assert!(cluster.on(2) == 1 && cluster.shards[&ShardId(1)].replica_on(NodeId(4)).is_some());
}

#[test]
fn zones_are_used() {
    let mut cluster = Cluster::young(8);
    cluster.join(1, "a");
    for (id, zone) in [(2, "a"), (3, "a"), (4, "b"), (5, "b"), (6, "c")] {
        cluster.join(id, zone);
    }
    cluster.settle();
    let zone = |node: &NodeId| cluster.nodes[node].zone.clone();
    for shard in cluster.shards.values() {
        let zones: BTreeSet<String> = shard.voters().map(|replica| zone(&replica.node)).collect();
        assert_eq!(zones.len(), 3, "{shard:?}");
    }
}

#[test]
fn a_learner_that_came_back_from_retirement_is_removed() {
    // failures.md row 3: a late step made a member of a replica that was given up.
    let mut cluster = Cluster::young(1);
    cluster.join(2, "");
    cluster.settle();
    let learner = *cluster.shards[&ShardId(1)].replica_on(NodeId(2)).unwrap();
    let mut map = cluster.map();
    map.set(&SystemKey::Retired(learner.id).key(), Some(b""), Timestamp(2)).unwrap();
    let proposals = plan(&map, &cluster.settings, &cluster.silent);
    assert_eq!(
        (proposals.len(), proposals[0].reason, proposals[0].remove),
        (1, Reason::Retired, Some(learner.id))
    );
}

#[test]
fn jobs_under_way_count() {
    let mut cluster = Cluster::young(40);
    (2..=3).for_each(|id| cluster.join(id, ""));
    let first = cluster.plan();
    let users = first.iter().filter(|proposal| proposal.shard != ShardId::META).count();
    assert_eq!(users, 2 * JOBS_PER_NODE_MAX, "bounded by what two targets take");
    let mut map = cluster.map();
    for (i, proposal) in first.iter().enumerate() {
        let job = proposal.job(i as u64, ReplicaId(1_000 + i as u64), 0);
        let key = SystemKey::Job(proposal.shard).key();
        map.set(&key, Some(&job.encode_to_vec()), Timestamp(2)).unwrap();
    }
    assert_eq!(plan(&map, &cluster.settings, &cluster.silent), vec![]);
}

#[test]
fn nothing_is_copied_to_a_node_that_does_not_answer() {
    let mut cluster = Cluster::young(3);
    cluster.join(2, "");
    cluster.silent.silence_ms.insert(NodeId(2), TARGET_SILENT_MAX_MS + 1);
    assert_eq!(cluster.plan(), vec![]);
}

proptest! {
    #[test]
    fn plans_come_to_an_end_and_a_sound_state(
        users in 1u64..6,
        replicas in prop::sample::select(vec![1u64, 3, 5]),
        events in prop::collection::vec((1u64..9, 0u8..6, 0u64..4), 1..16),
    ) {
        let mut cluster = Cluster::young(users);
        cluster.settings.replicas = replicas;
        for (id, event, zone) in events {
            let known = cluster.nodes.contains_key(&NodeId(id));
            let others = cluster.nodes.values().filter(|n| n.id.0 != id && n.state == NodeState::Member);
            let last = others.filter(|n| !cluster.silent.silence_ms.contains_key(&n.id)).count() == 0;
            match (event, known) {
                (0..=2, false) => cluster.join(id, &format!("z{zone}")),
                (3, true) if !last => cluster.state(id, NodeState::Left),
                (4, true) if !last && cluster.nodes[&NodeId(id)].state == NodeState::Member => {
                    cluster.state(id, NodeState::Draining);
                }
                (5, true) if !last => cluster.silence(id),
                (_, true) => _ = cluster.silent.silence_ms.remove(&NodeId(id)),
                _ => {}
            }
            cluster.settle();
            let voters: Vec<usize> = (0..=users).map(|shard| cluster.roles(shard).0).collect();
            prop_assert!(voters.iter().all(|voters| voters % 2 == 1), "{:?}", voters);
            for node in cluster.nodes.values().filter(|node| node.state != NodeState::Left) {
                let meta = cluster.shards[&ShardId::META].replica_on(node.id);
                prop_assert!(meta.is_some() || cluster.silent.silence_ms.contains_key(&node.id), "{} lost meta", node.id);
            }
        }
        // With everybody back, everything is as it should be.
        cluster.silent = Liveness::default();
        cluster.settle();
        let fit = cluster.nodes.values().filter(|node| node.state == NodeState::Member).count();
        for shard in 1..=users {
            let (voters, learners) = cluster.roles(shard);
            prop_assert_eq!(voters + learners, fit.min(replicas as usize));
            prop_assert_eq!(voters, odd(voters + learners));
        }
        let members = cluster.nodes.values().filter(|node| node.state != NodeState::Left).count();
        prop_assert_eq!(cluster.roles(0), (odd(members).min(5), members - odd(members).min(5)));
    }
}
