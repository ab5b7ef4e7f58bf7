use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Pseudo-random positions, the same in every run.
fn position(i: u64) -> u64 {
    (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn fresh(shards: u64) -> Vec<Placed> {
    (0..shards).map(|i| Placed { ring_position: position(i), nodes: vec![], stays: false }).collect()
}

fn plain(ids: impl IntoIterator<Item = u64>) -> Vec<Site> {
    ids.into_iter().map(|id| Site { node: NodeId(id), zone: String::new(), weight: 100 }).collect()
}

fn settle(shards: &[Placed], nodes: Vec<Vec<NodeId>>) -> Vec<Placed> {
    shards
        .iter()
        .zip(nodes)
        .map(|(s, nodes)| Placed { ring_position: s.ring_position, nodes, stays: false })
        .collect()
}

/// What must hold of every assignment: right number, distinct, known nodes, zones kept apart.
fn check(sites: &[Site], after: &[Vec<NodeId>], replicas: usize) -> BTreeMap<NodeId, u64> {
    let balance = Balance::new(sites.to_vec(), after.len(), replicas);
    let mut loads: BTreeMap<NodeId, u64> = sites.iter().map(|site| (site.node, 0)).collect();
    for nodes in after {
        assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), replicas.min(sites.len()));
        assert_eq!(nodes.len(), replicas.min(sites.len()));
        assert_eq!(balance.crowded(nodes), None, "zones are broken");
        for node in nodes {
            *loads.get_mut(node).unwrap() += 1;
        }
    }
    loads
}

/// No node is more than a tenth off its share; where a tenth is less than a replica, no more than one replica.
fn check_even(sites: &[Site], after: &[Vec<NodeId>], replicas: usize) {
    let balance = Balance::new(sites.to_vec(), after.len(), replicas);
    for (node, load) in check(sites, after, replicas) {
        let share = balance.share(node).unwrap();
        assert!((share.low..=share.high).contains(&load), "{node} holds {load}, its share is {share:?}");
    }
}

#[test]
fn a_hundred_nodes_and_ten_thousand_shards() {
    let (nodes, shards, replicas) = (100u64, 10_000u64, 3);
    let all = (shards as usize * replicas) as f64;
    let start = fresh(shards);
    let before = settle(&start, assign(plain(1..=nodes), &start, replicas));
    let places: Vec<_> = before.iter().map(|shard| shard.nodes.clone()).collect();
    for (node, load) in check(&plain(1..=nodes), &places, replicas) {
        assert!((load as f64 / (all / nodes as f64) - 1.0).abs() <= 0.1, "{node} holds {load}");
    }

    // A join moves within a tenth of the minimum: the newcomer's share.
    let after = assign(plain(1..=nodes + 1), &before, replicas);
    check_even(&plain(1..=nodes + 1), &after, replicas);
    let (moved, minimum) = (copies(&before, &after) as f64, all / (nodes + 1) as f64);
    assert!((0.9..=1.1).contains(&(moved / minimum)), "a join moved {moved}, the minimum is {minimum}");
    for (old, new) in before.iter().zip(&after) {
        assert!(new.iter().all(|node| node.0 == nodes + 1 || old.nodes.contains(node)));
    }

    // A leave moves exactly what was there.
    let left: Vec<Site> = plain((1..=nodes).filter(|id| *id != 50));
    let after = assign(left.clone(), &before, replicas);
    check_even(&left, &after, replicas);
    let lost = before.iter().filter(|shard| shard.nodes.contains(&NodeId(50))).count();
    assert!(copies(&before, &after) as f64 <= lost as f64 * 1.1, "{lost} were lost");
}

/// A shard that is split leaves its other half where it is; one that is merged goes. From 2,000 to 10,000 shards on 100 nodes.
#[test]
fn thousands_of_splits_and_merges_stay_even() {
    let nodes = plain(1..=100);
    let start = fresh(2_000);
    let mut shards = settle(&start, assign(nodes.clone(), &start, 3));
    let (mut splits, mut merges, mut moved) = (0u64, 0, 0);
    for round in 0..40u64 {
        for n in 0..250 {
            let draw = position(round * 1_000 + n) as usize;
            if n % 5 == 4 {
                shards.swap_remove(draw % shards.len());
                merges += 1;
            } else {
                let parent = shards[draw % shards.len()].clone();
                splits += 1;
                shards.push(Placed { ring_position: position(100_000 + splits), ..parent });
            }
        }
        let mut balance = Balance::new(nodes.clone(), shards.len(), 3);
        shards.iter().flat_map(|shard| &shard.nodes).for_each(|node| balance.add(*node));
        let after = assign(nodes.clone(), &shards, 3);
        check_even(&nodes, &after, 3);
        let copied = copies(&shards, &after);
        assert!(copied == 0 || balance.is_uneven(), "nothing moves for splits as long as nodes are even");
        moved += copied;
        shards = settle(&shards, after);
    }
    assert_eq!((splits, merges, shards.len()), (8_000, 2_000, 8_000));
    assert!(moved as u64 * 10 <= splits * 3, "{moved} replicas moved for {splits} splits of three each");

    // As on a cluster that never split anything.
    let more = plain(1..=101);
    let after = assign(more.clone(), &shards, 3);
    check_even(&more, &after, 3);
    let (copied, minimum) = (copies(&shards, &after) as f64, shards.len() as f64 * 3.0 / 101.0);
    assert!((0.9..=1.1).contains(&(copied / minimum)), "a join moved {copied}, the minimum is {minimum}");
}

#[test]
fn growing_one_by_one_stays_even() {
    // No node that joined long ago ends up a tenth below or above, however the cluster came to be.
    let mut shards = fresh(1_000);
    for nodes in 1..=30u64 {
        let after = assign(plain(1..=nodes), &shards, 3);
        check_even(&plain(1..=nodes), &after, 3);
        let copied = copies(&shards, &after);
        if nodes > 3 {
            let minimum = 3_000.0 / nodes as f64;
            assert!(
                copied as f64 <= minimum * 1.1,
                "{copied} copies for node {nodes}, the minimum is {minimum}"
            );
        }
        shards = settle(&shards, after);
    }
}

#[test]
fn shares_follow_weights_as_far_as_shards_allow() {
    let site = |id, weight| Site { node: NodeId(id), zone: String::new(), weight };
    let balance = Balance::new([site(1, 100), site(2, 100), site(3, 200), site(4, 400)], 80, 3);
    // Node 4 would be due 120 of 240, but a shard has one replica a node.
    let shares: Vec<u64> =
        (1..=4).map(|id| balance.share(NodeId(id)).unwrap().exact.round() as u64).collect();
    assert_eq!(shares, [40, 40, 80, 80]);
}

#[test]
fn a_small_zone_holds_one_replica_of_each_shard() {
    let site = |id, zone: &str| Site { node: NodeId(id), zone: zone.to_owned(), weight: 100 };
    let sites = [site(1, "a"), site(2, "b"), site(3, "c"), site(4, "c"), site(5, "c"), site(6, "c")];
    let balance = Balance::new(sites.clone(), 100, 3);
    assert_eq!(balance.zone_max(), 1);
    assert_eq!([1, 2, 3].map(|id| balance.share(NodeId(id)).unwrap().exact.round() as u64), [100, 100, 25]);
    let after = assign(sites.clone(), &fresh(100), 3);
    check_even(&sites, &after, 3);
}

#[test]
fn a_new_zone_is_used() {
    let site = |id, zone: &str| Site { node: NodeId(id), zone: zone.to_owned(), weight: 100 };
    let two = [site(1, "a"), site(2, "a"), site(3, "b")];
    let start = fresh(20);
    let before = settle(&start, assign(two.clone(), &start, 3));
    let three: Vec<Site> = two.into_iter().chain([site(4, "c")]).collect();
    let after = assign(three.clone(), &before, 3);
    check_even(&three, &after, 3);
    assert_eq!(copies(&before, &after), 20, "each shard moves one replica to the new zone");
}

#[test]
fn nobody_to_place_on_is_no_panic() {
    assert_eq!(assign([], &fresh(2), 3), vec![Vec::<NodeId>::new(); 2]);
    assert!(assign(plain(1..=3), &[], 3).is_empty());
}

fn sites() -> impl Strategy<Value = Vec<Site>> {
    let zoned = prop::collection::vec((1u64..4, prop::sample::select(vec![50u32, 100, 200])), 1..14);
    let sites = zoned.prop_map(|all| {
        let site =
            |(i, (zone, weight))| Site { node: NodeId(i as u64 + 1), zone: format!("z{zone}"), weight };
        all.into_iter().enumerate().map(site).collect::<Vec<_>>()
    });
    (sites, any::<bool>()).prop_map(|(mut sites, zones)| {
        sites.iter_mut().filter(|_| !zones).for_each(|site| site.zone.clear());
        sites
    })
}

proptest! {
    #[test]
    fn shares_add_up(sites in sites(), shards in 1usize..200, replicas in prop::sample::select(vec![1usize, 3, 5])) {
        let balance = Balance::new(sites.clone(), shards, replicas);
        let sum: f64 = sites.iter().map(|site| balance.share(site.node).unwrap().exact).sum();
        prop_assert!((sum - (shards * replicas.min(sites.len())) as f64).abs() < 1e-3);
        prop_assert!(sites.iter().all(|site| balance.share(site.node).unwrap().exact <= shards as f64 + 1e-6));
    }

    #[test]
    fn assignments_are_even_and_apart(sites in sites(), shards in 1u64..150,
                                      replicas in prop::sample::select(vec![1usize, 3, 5])) {
        let start = fresh(shards);
        let after = assign(sites.clone(), &start, replicas);
        check_even(&sites, &after, replicas);
        // What is right stays.
        let settled = settle(&start, after.clone());
        prop_assert_eq!(assign(sites, &settled, replicas), after);
    }

    #[test]
    fn a_leave_moves_what_was_lost_and_a_join_no_more_than_a_share(nodes in 4u64..20, shards in 40u64..200,
                                                                   which in any::<prop::sample::Index>()) {
        let start = fresh(shards);
        let before = settle(&start, assign(plain(1..=nodes), &start, 3));
        let gone = NodeId(which.index(nodes as usize) as u64 + 1);
        let left: Vec<Site> = plain(1..=nodes).into_iter().filter(|site| site.node != gone).collect();
        let after = assign(left.clone(), &before, 3);
        check_even(&left, &after, 3);
        let lost = before.iter().filter(|shard| shard.nodes.contains(&gone)).count();
        // A tenth is about one replica here, so whole numbers cost up to two more.
        let copied = copies(&before, &after);
        prop_assert!(copied as f64 <= lost as f64 * 1.1 + 2.0, "{} lost, {} copied", lost, copied);

        let after = assign(plain(1..=nodes + 1), &before, 3);
        check_even(&plain(1..=nodes + 1), &after, 3);
        let share = (shards * 3) as f64 / (nodes + 1) as f64;
        let copied = copies(&before, &after);
        prop_assert!(copied as f64 <= share * 1.1 + 2.0, "{} copied, a share is {}", copied, share);
    }
}
