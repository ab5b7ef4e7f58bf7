//! Tests of how the cluster is shown.

use super::*;

fn record(shard: u64, start: &[u8], end: &[u8], nodes: &[u64]) -> ShardRecord {
    let replica = |(at, node): (usize, &u64)| ReplicaRecord {
        replica: shard * 10 + at as u64,
        node: *node,
        role: ReplicaRole::RoleVoter as i32,
    };
    ShardRecord {
        shard,
        start: start.to_vec().into(),
        end: end.to_vec().into(),
        epoch: 1,
        replicas: nodes.iter().enumerate().map(replica).collect(),
        ring_position: 0,
        by_itself: false,
    }
}

/// Three nodes; the meta shard and one user shard on each of them, led by the first.
fn cluster() -> (MapReply, StatusReply) {
    let nodes: Vec<u64> = vec![1, 2, 3];
    let map = MapReply {
        version: 9,
        cluster_id: "c".into(),
        nodes: nodes
            .iter()
            .map(|node| NodeRecord { node: *node, quic: format!("h:{node}"), ..NodeRecord::default() })
            .collect(),
        shards: vec![record(1, &[0x10], b"", &nodes), record(0, &[0], &[0x10], &nodes)],
        leaders: Vec::new(),
    };
    let status = |node: &u64| NodeStatus {
        node: *node,
        state: "up".into(),
        replicas: [0, 1]
            .map(|shard| ReplicaStatus {
                shard,
                replica: shard * 10 + node - 1,
                state: if *node == 1 { "leader".into() } else { "follower".into() },
                term: 2,
                bytes: 100,
                keys: 10 * node,
                ..ReplicaStatus::default()
            })
            .into(),
        ..NodeStatus::default()
    };
    let status = StatusReply { nodes: nodes.iter().map(status).collect(), now: 0 };
    (map, status)
}

#[test]
fn a_sound_cluster_is_healthy() {
    let (map, status) = cluster();
    let health = Cluster::new(&map, &status).health(3);
    assert!(health.healthy);
    assert_eq!((health.nodes, health.shards, health.leaderless, health.under_replicated), (3, 2, 0, 0));
    assert_eq!(health.map_epoch, 9);
}

#[test]
fn a_silent_leader_leads_nothing() {
    let (mut map, mut status) = cluster();
    status.nodes[0].silent_ms = SILENT_AFTER_MS;
    map.leaders = vec![crate::net::wire::Leader { shard: 1, node: 1 }];
    let cluster = Cluster::new(&map, &status);
    let health = cluster.health(3);
    assert!(!health.healthy);
    assert_eq!((health.nodes_up, health.leaderless, health.under_replicated), (2, 2, 2));
    let shard = &cluster.shards()[1];
    assert_eq!(shard.leader, None);
    assert_eq!(shard.replicas[0].state, "silent");
    assert_eq!(shard.keys, 30, "the most that somebody who is up reports");
    assert_eq!(cluster.nodes()[0].state, "silent");
}

#[test]
fn of_two_leaders_the_later_term_counts() {
    let (map, mut status) = cluster();
    status.nodes[2].replicas[1].state = "leader".into();
    status.nodes[2].replicas[1].term = 3;
    assert_eq!(Cluster::new(&map, &status).shards()[1].leader, Some(3));
}

#[test]
fn a_young_cluster_is_not_called_thin() {
    assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|members| voters_wanted(5, members)), [0, 1, 1, 3, 3, 5, 5]);
    let (mut map, mut status) = cluster();
    map.nodes.truncate(1);
    map.shards = vec![record(0, &[0], &[0x10], &[1]), record(1, &[0x10], b"", &[1])];
    status.nodes.truncate(1);
    assert!(Cluster::new(&map, &status).health(3).healthy);
}

#[test]
fn json_keeps_its_contract() {
    let (map, status) = cluster();
    let cluster = Cluster::new(&map, &status);
    let shards = serde_json::to_value(cluster.shards()).unwrap();
    assert_eq!(shards[0]["id"], 0);
    assert_eq!((&shards[0]["start"], &shards[0]["end"]), (&"_/".into(), &"".into()));
    assert_eq!((&shards[1]["start"], &shards[1]["end"]), (&"".into(), &serde_json::Value::Null));
    for name in ["epoch", "leader", "bytes", "keys"] {
        assert!(shards[1][name].is_u64(), "{name}");
    }
    for name in ["node", "replica", "role", "state"] {
        assert!(!shards[1]["replicas"][0][name].is_null(), "{name}");
    }
    let node = serde_json::to_value(cluster.nodes()).unwrap()[0].clone();
    for name in ["id", "addr", "zone", "state", "leaders", "replicas", "bytes"] {
        assert!(!node[name].is_null(), "{name}");
    }
    assert_eq!(node["leaders"], 2);
    let health = serde_json::to_value(cluster.health(3)).unwrap();
    for name in ["cluster_id", "healthy", "nodes", "shards", "leaderless", "under_replicated", "map_epoch"] {
        assert!(!health[name].is_null(), "{name}");
    }
}

#[test]
fn bounds_that_are_not_text_are_base64() {
    assert_eq!(bound(b"\x10\xff"), Some((None, Some("/w==".into()))));
    assert_eq!(bound(b"\x10/a"), Some((Some("/a".into()), None)));
    assert_eq!(bound(b""), None);
}
