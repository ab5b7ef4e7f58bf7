use prost::Message;

use super::super::migration::{self, Order, Wish, ordered};
use super::super::placement::tests::cluster::Cluster;
use super::super::system::SystemKey;
use super::super::time::Timestamp;
use super::*;

fn settled(users: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::young(users);
    (2..=nodes).for_each(|node| cluster.join(node, ""));
    cluster.settle();
    cluster
}

/// What is told, as one text, of a map whose shards are all led from n1.
fn told(
    cluster: &Cluster,
    map: &ClusterMap,
    waits: &[(u64, Waiting)],
    of: impl FnOnce(&Facts<'_>) -> Option<Vec<String>>,
) -> String {
    let facts = Facts {
        map,
        settings: &cluster.settings,
        liveness: &cluster.silent,
        leaders: map.shards().map(|shard| (shard.id, NodeId(1))).collect(),
        waits: waits.iter().copied().collect(),
        now_ms: 100_000,
    };
    let sentences = of(&facts).expect("it is there");
    assert!(
        sentences.iter().all(|sentence| sentence.ends_with('.') || sentence.contains("nomad ")),
        "{sentences:?}"
    );
    sentences.join("\n")
}

fn with_job(map: &ClusterMap, job: &JobRecord) -> ClusterMap {
    let mut map = map.clone();
    let key = SystemKey::Job(ShardId(job.shard)).key();
    map.set(&key, Some(&job.encode_to_vec()), Timestamp(2)).unwrap();
    map
}

/// A move of a replica of s1 to a node that has none.
fn moving(cluster: &Cluster, map: &ClusterMap) -> (JobRecord, NodeId, NodeId) {
    let shard = map.shard(ShardId(1)).unwrap();
    let from = shard.replicas[0].node;
    let to = cluster.nodes.keys().copied().find(|node| shard.replica_on(*node).is_none()).unwrap();
    let wish = Wish { shard: ShardId(1), from: Some(from), to, force: false, keep_p99_us: 0 };
    let plan = migration::begin(map, &cluster.settings, &cluster.silent, wish).unwrap();
    (plan.job(7, ReplicaId(900), 60_000, 0), from, to)
}

#[test]
fn a_sound_shard_is_where_the_ring_has_it() {
    let cluster = settled(4, 3);
    let map = cluster.map();
    let text = told(&cluster, &map, &[], |facts| facts.shard(ShardId(1)));
    assert!(text.starts_with("s1 has 3 replicas, of which 3 vote, and is led from n1."), "{text}");
    for place in ["1st of 3", "2nd of 3", "3rd of 3"] {
        assert!(text.contains(place), "{text}");
    }
    assert!(text.ends_with("Nothing is to be done about it."), "{text}");
    let meta = told(&cluster, &map, &[], |facts| facts.shard(ShardId::META));
    assert!(meta.contains("as on every member"), "{meta}");
    let facts = |facts: &Facts<'_>| {
        assert!(facts.shard(ShardId(99)).is_none() && facts.node(NodeId(99)).is_none());
        Some(Vec::new())
    };
    told(&cluster, &map, &[], facts);
}

#[test]
fn a_silent_node_and_what_becomes_of_its_replicas() {
    let mut cluster = settled(4, 3);
    cluster.silent.silence_ms.insert(NodeId(2), 60_000);
    let map = cluster.map();
    let text = told(&cluster, &map, &[], |facts| facts.shard(ShardId(1)));
    assert!(
        text.contains("has not been heard for 60 s; in another 240 s what it holds is made anew"),
        "{text}"
    );
    let text = told(&cluster, &map, &[], |facts| facts.node(NodeId(2)));
    assert!(text.contains("It has not been heard for 60 s."), "{text}");
    cluster.silence(2);
    let text = told(&cluster, &map, &[], |facts| facts.shard(ShardId(1)));
    assert!(text.contains("It should have 3 sound replicas and has 2: nothing is done about it"), "{text}");
    cluster.join(4, "");
    let text = told(&cluster, &cluster.map(), &[], |facts| facts.shard(ShardId(1)));
    assert!(
        text.contains("Next, because of repair: a replica is made on n4 in the place of the one on n2."),
        "{text}"
    );
}

#[test]
fn a_move_says_where_it_is_and_what_it_waits_for() {
    let cluster = settled(4, 4);
    let calm = cluster.map();
    let (job, from, to) = moving(&cluster, &calm);
    let of = |job: &JobRecord, waits: &[(u64, Waiting)]| {
        told(&cluster, &with_job(&calm, job), waits, |facts| facts.shard(ShardId(1)))
    };
    let goes_on = of(&job, &[]);
    assert!(
        goes_on.contains(&format!("m7 moves s1 from {from} to {to}, because somebody asked for it")),
        "{goes_on}"
    );
    assert!(goes_on.ends_with("It goes on: nomad migrate show m7 --watch."), "{goes_on}");
    let waits = of(&job, &[(7, Waiting::Silent(to)), (8, Waiting::NoLeader)]);
    let cure = format!("It waits: {to} does not answer. Start {to}, or give it up: nomad migrate cancel m7.");
    assert!(waits.ends_with(&cure), "{waits}");
    let paused = of(&ordered(&job, Order::Pause, 0).unwrap(), &[]);
    assert!(paused.contains("It is paused: nomad migrate resume m7"), "{paused}");
    let back = of(&ordered(&job, Order::Cancel, 0).unwrap(), &[]);
    assert!(back.ends_with("It goes back: it was cancelled."), "{back}");
    let mut over = JobRecord { phase: super::super::wire::JobPhase::JobRemove.into(), ..job };
    over.migration.as_mut().unwrap().cut_over_at_ms = 90_000;
    let window = of(&over, &[]);
    assert!(window.contains("can be undone for another 50 s: nomad migrate undo m7."), "{window}");
    let undone = of(&ordered(&over, Order::Undo, 95_000).unwrap(), &[]);
    assert!(undone.ends_with(&format!("It is being undone: s1 is served from {from} again.")), "{undone}");
    let kept = of(&ordered(&over, Order::Keep, 95_000).unwrap(), &[]);
    assert!(kept.contains("what it leaves behind is being removed"), "{kept}");
    let node = told(&cluster, &with_job(&calm, &over), &[], |facts| facts.node(to));
    assert!(node.contains("m7 moves s1"), "{node}");
}

#[test]
fn what_is_done_without_a_move_is_told_too() {
    let mut cluster = settled(4, 3);
    cluster.join(4, "");
    cluster.silence(2);
    let repair = cluster.plan().into_iter().find(|of| of.shard == ShardId(1)).unwrap();
    let map = with_job(&cluster.map(), &repair.job(7, ReplicaId(900), 0));
    let text = told(&cluster, &map, &[(7, Waiting::NoQuorum)], |facts| facts.shard(ShardId(1)));
    assert!(
        text.contains("Under way, because of repair: a replica is made on n4 in the place of the one on n2."),
        "{text}"
    );
    assert!(text.contains("It waits: too few of the shard's future voters are alive. Start those"), "{text}");
}

#[test]
fn a_node_that_is_drained_says_what_keeps_it() {
    let mut cluster = settled(4, 4);
    let holds = cluster.on(2) - 1;
    cluster.state(2, NodeState::Draining);
    let text = told(&cluster, &cluster.map(), &[], |facts| facts.node(NodeId(2)));
    assert!(text.contains(&format!("It still holds {holds} replicas of user shards; 0 of them")), "{text}");
    assert!(!text.contains("another node helps"), "{text}");
    cluster.silence(1);
    let text = told(&cluster, &cluster.map(), &[], |facts| facts.node(NodeId(2)));
    assert!(text.contains("another node helps"), "{text}");
    cluster.silent = Liveness::default();
    cluster.settle();
    let text = told(&cluster, &cluster.map(), &[], |facts| facts.node(NodeId(2)));
    assert!(text.contains("nomad node remove n2"), "{text}");
}

#[test]
fn a_node_has_its_share() {
    let mut cluster = settled(8, 4);
    let text = told(&cluster, &cluster.map(), &[], |facts| facts.node(NodeId(3)));
    assert!(
        text.contains("its share, by weight and zones, is 6.0 (") && text.contains("even enough"),
        "{text}"
    );
    cluster.join(5, "");
    let text = told(&cluster, &cluster.map(), &[], |facts| facts.node(NodeId(5)));
    assert!(text.contains("It holds 0 replicas") && text.contains("is being evened out"), "{text}");
    cluster.settings.rebalance = 0;
    let text = told(&cluster, &cluster.map(), &[], |facts| facts.node(NodeId(5)));
    assert!(text.contains("nomad config set rebalance 1"), "{text}");
}
