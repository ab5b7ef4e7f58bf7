//! The pool over the simulated network. failures.md row 42: restarts on the same and on a new address.

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};

use super::*;
use crate::net::rpc::{FrameStream, ServeLimits, Service, serve};
use crate::net::transport::sim::tests::{address, node, simulated};
use crate::net::transport::sim::{SimNet, SimTransport};

const EXEC: Exec = Exec::Inline { delay: Duration::ZERO, gate: None };
const TWO: NodeId = NodeId(2);

struct Echo;

impl Service for Echo {
    fn call(&self, _: &Arc<dyn Connection>, _: u16, body: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(async { body })
    }

    fn stream(&self, _: &Arc<dyn Connection>, _: u16, _: Bytes, _: FrameStream) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// Serves until the address is cut; counts what it accepted.
fn start(net: &SimNet, at: &str, id: u64) -> Arc<Mutex<usize>> {
    let transport: SimTransport = net.transport(at, node(id));
    let accepted = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&accepted);
    EXEC.spawn(async move {
        while let Some(connection) = transport.accept().await {
            *counted.lock() += 1;
            let limits = ServeLimits::for_class(connection.class());
            EXEC.spawn(serve(connection, Arc::new(Echo), EXEC, limits, Arc::default()));
        }
    });
    accepted
}

fn pool(net: &SimNet) -> Peers {
    let transport = Arc::new(net.transport("a:1", node(1)));
    let peers = Peers::new(transport, EXEC, Chance::from_seed(5));
    move_to(&peers, "b:1");
    peers
}

fn move_to(peers: &Peers, at: &str) {
    peers.set_addresses(BTreeMap::from([(TWO, address(at))]));
}

async fn echo(peers: &Peers) {
    let caller = peers.caller(TWO, Class::Control).await.unwrap();
    assert_eq!(caller.call(1, Bytes::from_static(b"x")).await.unwrap(), "x");
}

#[test]
fn many_share_one_attempt_and_classes_do_not() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        let (accepted, peers) = (start(&net, "b:1", 2), pool(&net));
        join_all((0..10).map(|_| echo(&peers))).await;
        assert_eq!(*accepted.lock(), 1);
        let bulk = peers.connection(TWO, Class::Bulk).await.unwrap();
        assert_eq!((bulk.class(), *accepted.lock()), (Class::Bulk, 2));
        let again = peers.connection(TWO, Class::Bulk).await.unwrap();
        assert!(Arc::ptr_eq(&bulk, &again));
    });
}

#[test]
fn unknown_members_are_an_error() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        let error = pool(&net).caller(NodeId(9), Class::Control).await.err().unwrap();
        assert!(matches!(error, ConnectError::Resolve { .. }));
    });
}

#[test]
fn after_a_failure_everybody_fails_fast_until_the_next_attempt() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        let peers = pool(&net);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let start = Instant::now();
            let failures = join_all((0..5).map(|_| peers.caller(TWO, Class::Control))).await;
            assert!(failures.iter().all(|failure| matches!(failure, Err(ConnectError::Unreachable { .. }))));
            // One attempt, not five.
            assert!(start.elapsed() < Duration::from_millis(2 * CONNECT_TIMEOUT_MS));
            let failed = Instant::now();
            while {
                let asked = Instant::now();
                peers.caller(TWO, Class::Control).await.err().unwrap();
                asked.elapsed() < Duration::from_millis(CONNECT_TIMEOUT_MS)
            } {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            waits.push(failed.elapsed().as_millis() as u64 - CONNECT_TIMEOUT_MS);
        }
        assert!((BACKOFF_MIN_MS / 2..=BACKOFF_MIN_MS + 100).contains(&waits[0]), "{waits:?}");
        let longest = BACKOFF_MAX_MS / 2..=BACKOFF_MAX_MS + 100;
        assert!(waits[4..].iter().all(|wait| longest.contains(wait)), "{waits:?}");
        start(&net, "b:1", 2);
        tokio::time::sleep(Duration::from_millis(BACKOFF_MAX_MS)).await;
        echo(&peers).await;
    });
}

#[test]
fn an_attempt_outlives_whoever_asked_for_it() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        net.set_latency(Duration::from_millis(100), Duration::from_millis(100));
        let (accepted, peers) = (start(&net, "b:1", 2), pool(&net));
        // Each gives up sooner than connecting takes; together they get there.
        let mut tries = 0;
        while timeout(Duration::from_millis(30), peers.caller(TWO, Class::Control)).await.is_err() {
            tries += 1;
        }
        assert!((2..20).contains(&tries), "{tries}");
        assert_eq!(*accepted.lock(), 1);
    });
}

#[test]
fn a_connection_that_closed_is_replaced() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        let (accepted, peers) = (start(&net, "b:1", 2), pool(&net));
        echo(&peers).await;
        peers.connection(TWO, Class::Control).await.unwrap().close("test");
        tokio::time::sleep(Duration::from_millis(10)).await;
        echo(&peers).await;
        assert_eq!(*accepted.lock(), 2);
    });
}

#[test]
fn a_member_restarted_at_its_address_is_found_again() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        start(&net, "b:1", 2);
        let peers = pool(&net);
        echo(&peers).await;
        net.cut("b:1");
        let accepted = start(&net, "b:1", 2);
        tokio::time::sleep(Duration::from_millis(10)).await;
        echo(&peers).await;
        assert_eq!(*accepted.lock(), 1);
    });
}

#[test]
fn a_member_restarted_elsewhere_is_reached_there_at_once() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        start(&net, "b:1", 2);
        let peers = pool(&net);
        echo(&peers).await;
        let old = peers.connection(TWO, Class::Control).await.unwrap();
        net.cut("b:1");
        let accepted = start(&net, "b:2", 2);
        move_to(&peers, "b:2");
        old.closed().await;
        let start = Instant::now();
        echo(&peers).await;
        assert!(start.elapsed() < Duration::from_millis(100));
        assert_eq!(*accepted.lock(), 1);
        // Nothing changed: the connection stays.
        move_to(&peers, "b:2");
        echo(&peers).await;
        assert_eq!(*accepted.lock(), 1);
    });
}

#[test]
fn a_move_during_an_attempt_leads_to_the_new_address() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        let peers = pool(&net);
        start(&net, "b:2", 2);
        let moved = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            move_to(&peers, "b:2");
        };
        let (caller, ()) = tokio::join!(peers.caller(TWO, Class::Control), moved);
        assert_eq!(caller.unwrap().call(1, Bytes::new()).await.unwrap(), "");
    });
}

#[test]
fn another_member_at_a_reused_address_is_not_taken_for_the_old_one() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        start(&net, "b:1", 3);
        let error = pool(&net).caller(TWO, Class::Control).await.err().unwrap();
        assert!(matches!(error, ConnectError::Identity { .. }));
    });
}
