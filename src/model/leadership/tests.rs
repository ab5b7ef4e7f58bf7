use super::super::placement::tests::cluster::Cluster;
use super::*;

fn settled(users: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::young(users);
    (2..=nodes).for_each(|node| cluster.join(node, ""));
    cluster.settle();
    cluster
}

fn led(shard: u64, leader: u64, per_s: u64) -> Led {
    Led { shard: ShardId(shard), leader: NodeId(leader), per_s, stays: false }
}

/// Does what is proposed until nothing more is; how often that was.
fn balance(cluster: &Cluster, led: &mut [Led]) -> usize {
    let map = cluster.map();
    let load = |led: &[Led], node: u64| -> u64 {
        led.iter().filter(|one| one.leader == NodeId(node)).map(|one| one.per_s).sum()
    };
    for round in 0.. {
        let busiest = |led: &[Led]| cluster.nodes.keys().map(|node| load(led, node.0)).max().unwrap();
        let before = busiest(led);
        let Some(given) = lighten(&map, &cluster.silent, led) else { return round };
        assert_eq!(load(led, given.from.0), before, "the busiest gives");
        let one = led.iter_mut().find(|one| one.shard == given.shard).unwrap();
        assert_eq!(one.leader, given.from);
        let shard = map.shard(given.shard).unwrap();
        assert!(shard.voters().any(|voter| (voter.id, voter.node) == (given.heir, given.to)));
        one.leader = given.to;
        assert!(busiest(led) <= before, "nobody is busier than the busiest was");
        assert!(round < 1000, "it comes to an end");
    }
    unreachable!()
}

#[test]
fn who_may_lead() {
    let mut cluster = settled(1, 4);
    let (map, shard) = (cluster.map(), ShardId(1));
    let (holders, outsider): (Vec<u64>, Vec<u64>) =
        (1..=4).partition(|node| map.shard(shard).unwrap().replica_on(NodeId(*node)).is_some());
    let ask = |cluster: &Cluster, shard: u64, node: u64| {
        heir(&cluster.map(), &cluster.silent, ShardId(shard), NodeId(node))
    };
    for node in &holders {
        let replica = map.shard(shard).unwrap().replica_on(NodeId(*node)).unwrap().id;
        assert_eq!(ask(&cluster, 1, *node), Ok(replica));
    }
    assert_eq!(ask(&cluster, 9, 1), Err(Refusal::NoShard(ShardId(9))));
    assert_eq!(ask(&cluster, 1, 9), Err(Refusal::NoNode(NodeId(9))));
    assert!(matches!(ask(&cluster, 1, outsider[0]), Err(Refusal::NotThere { .. })));
    assert!(matches!(ask(&cluster, 0, 4), Err(Refusal::Learner { .. })), "four nodes, three meta voters");
    cluster.silence(holders[0]);
    assert!(matches!(ask(&cluster, 1, holders[0]), Err(Refusal::Silent { .. })));
    let damaged = map.shard(shard).unwrap().replica_on(NodeId(holders[1])).unwrap().id;
    cluster.silent.damaged.insert(damaged);
    assert!(matches!(ask(&cluster, 1, holders[1]), Err(Refusal::Damaged { .. })));
}

#[test]
fn load_that_stays_as_it_is_comes_to_rest() {
    let mut seed = 1_u64;
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for nodes in [2, 3, 5, 9] {
        let cluster = settled(24, nodes);
        let map = cluster.map();
        for _ in 0..40 {
            let voter = |shard: u64, draw: &mut dyn FnMut(u64) -> u64| {
                let voters: Vec<u64> =
                    map.shard(ShardId(shard)).unwrap().voters().map(|v| v.node.0).collect();
                voters[draw(voters.len() as u64) as usize]
            };
            let mut all: Vec<Led> = (1..=24)
                .map(|shard| {
                    let leader = voter(shard, &mut draw);
                    let per_s = draw(3) * draw(4000);
                    led(shard, leader, per_s)
                })
                .collect();
            balance(&cluster, &mut all);
        }
    }
}

#[test]
fn even_shards_are_spread_over_all_nodes() {
    let cluster = settled(12, 3);
    let mut all: Vec<Led> = (1..=12).map(|shard| led(shard, 1, 1000)).collect();
    assert_eq!(balance(&cluster, &mut all), 8, "as few as can be");
    for node in 1..=3 {
        assert_eq!(all.iter().filter(|one| one.leader == NodeId(node)).count(), 4);
    }
}

#[test]
fn a_node_of_twice_the_weight_leads_twice_as_much() {
    let mut cluster = settled(12, 3);
    cluster.nodes.get_mut(&NodeId(2)).unwrap().weight = 200;
    let mut all: Vec<Led> = (1..=12).map(|shard| led(shard, 1, 1000)).collect();
    let map = cluster.map();
    while let Some(given) = lighten(&map, &cluster.silent, &all) {
        all.iter_mut().find(|one| one.shard == given.shard).unwrap().leader = given.to;
    }
    let count = |node| all.iter().filter(|one| one.leader == NodeId(node)).count();
    assert_eq!((count(1), count(2), count(3)), (3, 6, 3));
}

#[test]
fn a_single_hot_shard_stays() {
    let cluster = settled(4, 3);
    let hot = [led(1, 1, 50_000), led(2, 2, 10), led(3, 3, 10), led(4, 1, 10)];
    assert_eq!(lighten(&cluster.map(), &cluster.silent, &hot), None);
}

#[test]
fn idle_shards_are_let_alone() {
    let cluster = settled(50, 3);
    let idle: Vec<Led> = (1..=50).map(|shard| led(shard, 1, 3)).collect();
    assert_eq!(lighten(&cluster.map(), &cluster.silent, &idle), None);
    assert_eq!(lighten(&cluster.map(), &cluster.silent, &[]), None);
}

#[test]
fn only_who_is_heard_and_stays_is_given_load() {
    let mut cluster = settled(4, 3);
    let all: Vec<Led> = (1..=4).map(|shard| led(shard, 1, 1000)).collect();
    cluster.silence(2);
    let given = lighten(&cluster.map(), &cluster.silent, &all).unwrap();
    assert_eq!(given.to, NodeId(3));
    cluster.state(3, NodeState::Draining);
    assert_eq!(lighten(&cluster.map(), &cluster.silent, &all), None);
    cluster.silent = Liveness::default();
    let held: Vec<Led> = all.iter().map(|one| Led { stays: true, ..*one }).collect();
    assert_eq!(lighten(&cluster.map(), &cluster.silent, &held), None, "handed over a moment ago");
}
