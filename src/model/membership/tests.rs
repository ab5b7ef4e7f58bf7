use super::super::forecast::with_state;
use super::super::placement::tests::cluster::Cluster;
use super::*;

fn settled(users: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::young(users);
    (2..=nodes).for_each(|id| cluster.join(id, ""));
    cluster.settle();
    cluster
}

fn ask(cluster: &Cluster, node: u64, order: Order, force: bool) -> Result<NodeState, Refusal> {
    ordered(&cluster.map(), &cluster.settings, &cluster.silent, NodeId(node), order, force)
}

#[test]
fn a_node_goes_only_when_nobody_needs_it() {
    let mut cluster = settled(4, 4);
    let holds = ask(&cluster, 2, Order::Remove, false);
    assert!(matches!(holds, Err(Refusal::Holds { node: NodeId(2), .. })), "{holds:?}");
    assert_eq!(ask(&cluster, 2, Order::Remove, true), Ok(NodeState::Left), "the others are a quorum");
    cluster.state(2, NodeState::Draining);
    cluster.settle();
    assert_eq!(ask(&cluster, 2, Order::Remove, false), Ok(NodeState::Left));
    // One that is dead goes as it is, unless another voter is dead as well.
    let mut cluster = settled(4, 3);
    cluster.silence(3);
    assert_eq!(ask(&cluster, 3, Order::Remove, false), Ok(NodeState::Left));
    cluster.silence(2);
    for force in [false, true] {
        let quorum = ask(&cluster, 3, Order::Remove, force);
        assert!(matches!(quorum, Err(Refusal::Quorum { alive: 1, voters: 3, .. })), "{quorum:?}");
    }
}

#[test]
fn the_last_node_stays() {
    let cluster = settled(1, 1);
    for order in [Order::Drain, Order::Remove] {
        assert_eq!(ask(&cluster, 1, order, true), Err(Refusal::Last(NodeId(1))));
    }
}

#[test]
fn a_drain_needs_nodes_for_what_it_moves() {
    let cluster = settled(4, 3);
    let fewer = Refusal::Fewer { node: NodeId(2), left: 2, replicas: 3 };
    assert_eq!(ask(&cluster, 2, Order::Drain, false), Err(fewer));
    assert_eq!(ask(&cluster, 2, Order::Drain, true), Ok(NodeState::Draining));
    let cluster = settled(4, 4);
    assert_eq!(ask(&cluster, 2, Order::Drain, false), Ok(NodeState::Draining));
    // A second one would leave too few; the same again is no news.
    let map = with_state(&cluster.map(), NodeId(2), NodeState::Draining);
    let again = |node, order| ordered(&map, &cluster.settings, &cluster.silent, NodeId(node), order, false);
    assert_eq!(again(2, Order::Drain), Ok(NodeState::Draining));
    assert!(matches!(again(3, Order::Drain), Err(Refusal::Fewer { left: 2, .. })));
    assert_eq!(again(2, Order::Undrain), Ok(NodeState::Member));
}

#[test]
fn nobody_comes_back_from_having_left() {
    let mut cluster = settled(1, 3);
    cluster.state(3, NodeState::Left);
    assert_eq!(ask(&cluster, 3, Order::Undrain, true), Err(Refusal::Left(NodeId(3))));
    assert_eq!(ask(&cluster, 3, Order::Drain, true), Err(Refusal::Left(NodeId(3))));
    assert_eq!(ask(&cluster, 3, Order::Remove, false), Ok(NodeState::Left));
    assert_eq!(ask(&cluster, 9, Order::Drain, true), Err(Refusal::NoNode(NodeId(9))));
}
