use super::super::placement::tests::cluster::Cluster;
use super::super::placement::{is_uneven, plan};
use super::*;

fn settled(users: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::young(users);
    (2..=nodes).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    cluster
}

/// The map once all of it is done.
fn after(cluster: &Cluster, map: &ClusterMap) -> ClusterMap {
    let mut run = Run { map: map.clone(), liveness: &cluster.silent, changes: Vec::new() };
    run.go_on(&cluster.settings);
    run.map
}

#[test]
fn a_forecast_leads_to_where_plans_lead() {
    let cluster = settled(40, 5);
    let map = with_state(&cluster.map(), NodeId(2), NodeState::Draining);
    let end = after(&cluster, &map);
    assert_eq!(plan(&end, &cluster.settings, &cluster.silent), vec![]);
    assert!(!is_uneven(&end, &cluster.settings, &cluster.silent));
    let on_two =
        end.shards().filter(|shard| shard.id != ShardId::META && shard.replica_on(NodeId(2)).is_some());
    assert_eq!(on_two.count(), 0);
    let changes = forecast(&map, &cluster.settings, &cluster.silent);
    let held = cluster.on(2) - 1;
    let drained: Vec<&Change> = changes.iter().filter(|change| change.reason == Reason::Drain).collect();
    assert_eq!(drained.len(), held, "each of its replicas once");
    assert!(drained.iter().all(|change| change.from == Some(NodeId(2)) && change.to.is_some()));
}

#[test]
fn what_is_under_way_is_taken_for_done() {
    let mut cluster = settled(6, 4);
    let map = with_state(&cluster.map(), NodeId(2), NodeState::Draining);
    let held = cluster.on(2) - 1;
    cluster.state(2, NodeState::Draining);
    let proposal = cluster.plan().into_iter().find(|proposal| proposal.reason == Reason::Drain).unwrap();
    let mut busy = map.clone();
    let job = proposal.job(1, ReplicaId(900), 0);
    set(&mut busy, &SystemKey::Job(proposal.shard), &job.encode_to_vec());
    let changes = forecast(&busy, &cluster.settings, &cluster.silent);
    let drained: Vec<&Change> = changes.iter().filter(|change| change.from == Some(NodeId(2))).collect();
    assert_eq!(drained.len(), held - 1, "{changes:?}");
    assert!(drained.iter().all(|change| change.shard != proposal.shard));
    // One that goes back is where it was, and is told.
    let migration = Some(Migration { course: Course::Back.into(), ..Migration::default() });
    let back = JobRecord { migration, ..job };
    set(&mut busy, &SystemKey::Job(proposal.shard), &back.encode_to_vec());
    let changes = forecast(&busy, &cluster.settings, &cluster.silent);
    assert_eq!(changes.iter().filter(|change| change.from == Some(NodeId(2))).count(), held);
}

#[test]
fn no_step_of_a_forecast_lowers_the_margin() {
    let mut cluster = settled(40, 5);
    cluster.join(6, "");
    let map = with_state(&cluster.map(), NodeId(2), NodeState::Draining);
    let changes = forecast(&map, &cluster.settings, &cluster.silent);
    let users = changes.iter().filter(|change| change.shard != ShardId::META);
    assert!(users.clone().count() > 0 && users.clone().all(|change| change.margin >= 1), "{changes:?}");
    // With a voter that is silent there is none left, and that is told.
    cluster.silent.silence_ms.insert(NodeId(1), TARGET_SILENT_MAX_MS + 1);
    let changes = forecast(&map, &cluster.settings, &cluster.silent);
    assert!(changes.iter().any(|change| change.margin == 0));
}

#[test]
fn where_nothing_is_to_be_done_nothing_is_foretold() {
    let mut cluster = settled(4, 3);
    assert_eq!(forecast(&cluster.map(), &cluster.settings, &cluster.silent), vec![]);
    // Evening out is not foretold where the cluster does not do it.
    cluster.settings.rebalance = 0;
    cluster.join(4, "");
    cluster.settle();
    assert_eq!(forecast(&cluster.map(), &cluster.settings, &cluster.silent), vec![]);
    assert!(!evened_out(&cluster.map(), &cluster.settings, &cluster.silent).is_empty());
}
