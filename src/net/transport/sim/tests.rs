//! The simulated network against its promises.

use std::future::Future;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;

/// Runs a test in paused time, as a simulation does.
pub(crate) fn simulated<F: Future>(test: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

pub(crate) fn node(id: u64) -> Peer {
    Peer::Node(NodeId(id))
}

pub(crate) fn address(text: &str) -> Address {
    Address(text.to_owned())
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Pair {
    net: SimNet,
    a: SimTransport,
    b: SimTransport,
}

fn pair(seed: u64) -> Pair {
    let net = SimNet::new(Chance::from_seed(seed));
    let (a, b) = (net.transport("a:1", node(1)), net.transport("b:1", node(2)));
    Pair { net, a, b }
}

impl Pair {
    async fn connect(&self) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
        let dialed = self.a.connect(&address("b:1"), Class::Control, Some(NodeId(2))).await.unwrap();
        (dialed, self.b.accept().await.unwrap())
    }

    async fn pipes(&self) -> (Ends, Pipe, Pipe) {
        let (dialed, accepted) = self.connect().await;
        let mut ours = dialed.open().await.unwrap();
        ours.writer.write_all(b"!").await.unwrap();
        let mut theirs = accepted.accept().await.unwrap();
        assert_eq!(theirs.reader.read_u8().await.unwrap(), b'!');
        ((dialed, accepted), ours, theirs)
    }
}

type Ends = (Arc<dyn Connection>, Arc<dyn Connection>);

#[test]
fn both_ends_know_each_other_and_bytes_pass_in_order() {
    simulated(async {
        let pair = pair(1);
        let ((dialed, accepted), mut ours, mut theirs) = pair.pipes().await;
        assert_eq!((dialed.peer(), accepted.peer()), (&node(2), &node(1)));
        assert_eq!((dialed.class(), accepted.class()), (Class::Control, Class::Control));
        for number in 0..200u32 {
            ours.writer.write_all(&number.to_le_bytes()).await.unwrap();
        }
        ours.writer.shutdown().await.unwrap();
        let mut all = Vec::new();
        theirs.reader.read_to_end(&mut all).await.unwrap();
        let numbers: Vec<u32> =
            all.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<u32>>());
    });
}

/// What one seed makes of three streams that echo at each other's pace.
fn trace(seed: u64) -> Vec<(u128, u8)> {
    simulated(async {
        let pair = pair(seed);
        pair.net.set_latency(Duration::from_millis(1), Duration::from_millis(90));
        let (dialed, accepted) = pair.connect().await;
        let start = Instant::now();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut readers = Vec::new();
        for stream in 0..3u8 {
            let mut pipe = dialed.open().await.unwrap();
            let writing = tokio::task::spawn_local(async move {
                for _ in 0..10 {
                    pipe.writer.write_all(&[stream]).await.unwrap();
                    sleep(Duration::from_millis(7)).await;
                }
                pipe.writer.shutdown().await.unwrap();
                pipe
            });
            let (accepted, seen) = (Arc::clone(&accepted), Arc::clone(&seen));
            readers.push(tokio::task::spawn_local(async move {
                let mut pipe = accepted.accept().await.unwrap();
                while let Ok(byte) = pipe.reader.read_u8().await {
                    seen.lock().push((start.elapsed().as_millis(), byte));
                }
                writing.await.unwrap();
            }));
        }
        for reader in readers {
            reader.await.unwrap();
        }
        let seen = seen.lock().clone();
        assert_eq!(seen.len(), 30);
        seen
    })
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

/// In which order three streams are read whose bytes arrive within one millisecond.
fn order(seed: u64) -> Vec<u8> {
    simulated(async {
        let pair = pair(seed);
        let (dialed, accepted) = pair.connect().await;
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        let seen = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..3 {
            let mut ours = dialed.open().await.unwrap();
            ours.writer.write_all(b"!").await.unwrap();
            let mut theirs = accepted.accept().await.unwrap();
            assert_eq!(theirs.reader.read_u8().await.unwrap(), b'!');
            let seen = Arc::clone(&seen);
            readers.push(tokio::task::spawn_local(async move {
                for _ in 0..2 {
                    let byte = theirs.reader.read_u8().await.unwrap();
                    seen.lock().push(byte);
                }
                theirs
            }));
            writers.push(ours);
        }
        tokio::task::yield_now().await;
        for (number, ours) in writers.iter_mut().enumerate() {
            ours.writer.write_all(&[number as u8]).await.unwrap();
            ours.writer.write_all(&[number as u8 + 10]).await.unwrap();
        }
        for reader in readers {
            reader.await.unwrap();
        }
        let seen = seen.lock().clone();
        let place = |byte: u8| seen.iter().position(|other| *other == byte);
        assert!((0..3).all(|stream| place(stream) < place(stream + 10)), "{seen:?}");
        seen
    })
}

#[test]
fn what_arrives_at_once_is_taken_in_a_drawn_order() {
    let first = |seed| order(seed).into_iter().filter(|byte| *byte < 10).collect::<Vec<u8>>();
    let orders: std::collections::BTreeSet<Vec<u8>> = (0..100).map(first).collect();
    assert_eq!(orders.len(), 6, "{orders:?}");
    assert_eq!(order(3), order(3));
}

#[test]
fn what_is_held_back_comes_later_in_its_order() {
    simulated(async {
        let pair = pair(11);
        let (ends, mut ours, mut theirs) = pair.pipes().await;
        for number in 0..20 {
            ours.writer.write_all(&[number]).await.unwrap();
        }
        let mut more = ends.0.open().await.unwrap();
        more.writer.write_all(b"?").await.unwrap();
        sleep(secs(1)).await;
        let start = Instant::now();
        pair.net.hold_back("b:1", secs(1));
        ours.writer.write_all(&[20]).await.unwrap();
        let mut times = Vec::new();
        for number in 0..=20 {
            assert_eq!(theirs.reader.read_u8().await.unwrap(), number);
            times.push(start.elapsed());
        }
        assert!(times[0] > Duration::ZERO && times[20] <= Duration::from_millis(1001), "{times:?}");
        times.dedup();
        assert!(times.len() > 2, "not all at once: {times:?}");
        // New streams too; and what is sent to others is not concerned.
        pair.net.hold_back("b:1", secs(1));
        theirs.writer.write_all(b"x").await.unwrap();
        let start = Instant::now();
        assert_eq!(timeout(Duration::from_millis(2), ours.reader.read_u8()).await.unwrap().unwrap(), b'x');
        ends.1.accept().await.unwrap();
        assert!(start.elapsed() > Duration::from_millis(2), "{:?}", start.elapsed());
    });
}

#[test]
fn a_partition_stalls_bytes_and_healing_lets_them_through() {
    simulated(async {
        let pair = pair(2);
        let (_ends, mut ours, mut theirs) = pair.pipes().await;
        pair.net.partition("a:1", "b:1", true);
        ours.writer.write_all(b"x").await.unwrap();
        assert!(timeout(secs(9), theirs.reader.read_u8()).await.is_err());
        pair.net.partition("a:1", "b:1", false);
        assert_eq!(timeout(secs(1), theirs.reader.read_u8()).await.unwrap().unwrap(), b'x');
        // The time-out starts anew.
        pair.net.partition("a:1", "b:1", true);
        ours.writer.write_all(b"y").await.unwrap();
        assert!(timeout(secs(9), theirs.reader.read_u8()).await.is_err());
        let error = timeout(secs(2), theirs.reader.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

/// failures.md row 5.
#[test]
fn a_one_way_partition_lets_the_other_way_pass_and_breaks_both_in_the_end() {
    simulated(async {
        let pair = pair(3);
        let ((dialed, accepted), mut ours, mut theirs) = pair.pipes().await;
        pair.net.partition_one_way("a:1", "b:1", true);
        theirs.writer.write_all(b"x").await.unwrap();
        assert_eq!(ours.reader.read_u8().await.unwrap(), b'x');
        ours.writer.write_all(b"y").await.unwrap();
        assert!(timeout(secs(5), theirs.reader.read_u8()).await.is_err());
        timeout(secs(6), async { tokio::join!(dialed.closed(), accepted.closed()) }).await.unwrap();
        assert!(ours.writer.write_all(b"z").await.is_err());
        // Healing does not bring it back.
        pair.net.partition_one_way("a:1", "b:1", false);
        assert!(theirs.reader.read_u8().await.is_err());
        let again = pair.a.connect(&address("b:1"), Class::Control, None).await;
        assert!(again.is_ok());
    });
}

#[test]
fn connecting_through_a_partition_or_to_nobody_times_out() {
    simulated(async {
        let pair = pair(4);
        pair.net.partition_one_way("b:1", "a:1", true);
        for to in ["b:1", "nobody:1"] {
            let start = Instant::now();
            let error = pair.a.connect(&address(to), Class::Control, None).await.err().unwrap();
            assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
            assert!(start.elapsed() >= Duration::from_millis(CONNECT_TIMEOUT_MS));
        }
    });
}

#[test]
fn a_death_is_noticed_after_the_idle_time_out() {
    simulated(async {
        let pair = pair(5);
        let ((dialed, accepted), _ours, mut theirs) = pair.pipes().await;
        pair.net.cut("b:1");
        // The dead one's own end is gone at once, and its last words do not arrive.
        timeout(secs(0), accepted.closed()).await.unwrap();
        assert!(theirs.writer.write_all(b"x").await.is_err());
        drop((accepted, theirs, pair.b));
        assert!(timeout(secs(9), dialed.closed()).await.is_err());
        timeout(secs(2), dialed.closed()).await.unwrap();
    });
}

/// failures.md row 42.
#[test]
fn a_successor_at_the_same_address_resets_the_connections_of_the_dead() {
    simulated(async {
        let pair = pair(6);
        let ((dialed, accepted), _ours, _theirs) = pair.pipes().await;
        pair.net.cut("b:1");
        assert!(timeout(secs(1), dialed.closed()).await.is_err());
        let successor = pair.net.transport("b:1", node(2));
        timeout(secs(1), dialed.closed()).await.unwrap();
        // The predecessor hears nothing any more.
        assert!(pair.b.accept().await.is_none());
        drop(accepted);
        let dialed = pair.a.connect(&address("b:1"), Class::Bulk, Some(NodeId(2))).await.unwrap();
        assert_eq!(successor.accept().await.unwrap().class(), dialed.class());
    });
}

#[test]
fn a_writer_waits_for_a_slow_reader() {
    simulated(async {
        let pair = pair(7);
        let (_ends, mut ours, mut theirs) = pair.pipes().await;
        let much = vec![7; STREAM_BUFFER_MAX_BYTES + 1];
        assert!(timeout(secs(60), ours.writer.write_all(&much)).await.is_err());
        let mut some = vec![0; 1000];
        theirs.reader.read_exact(&mut some).await.unwrap();
        timeout(secs(1), ours.writer.write_all(&much[..1000])).await.unwrap().unwrap();
    });
}

#[test]
fn a_goodbye_reaches_the_other_side() {
    simulated(async {
        let pair = pair(8);
        let ((dialed, accepted), _ours, mut theirs) = pair.pipes().await;
        dialed.close("enough");
        let error = theirs.reader.read_u8().await.unwrap_err();
        assert!(error.to_string().contains("enough"));
        accepted.closed().await;
        assert!(dialed.open().await.is_err() && accepted.accept().await.is_err());
    });
}

#[test]
fn dropping_breaks_streams_and_connections_and_leaves_nothing() {
    simulated(async {
        let pair = pair(9);
        let ((dialed, accepted), ours, mut theirs) = pair.pipes().await;
        drop(ours.writer);
        assert_eq!(theirs.reader.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        drop(ours.reader);
        assert!(theirs.writer.write_all(b"x").await.is_err());
        assert_eq!(pair.net.connections(), 1);
        drop(dialed);
        accepted.closed().await;
        drop((accepted, theirs));
        assert_eq!(pair.net.connections(), 0);
        // Dialed, given up, and never accepted.
        drop(pair.a.connect(&address("b:1"), Class::Control, None).await.unwrap());
        pair.net.cut("b:1");
        assert_eq!(pair.net.connections(), 0);
    });
}

#[test]
fn classes_and_expectations_are_enforced() {
    simulated(async {
        let pair = pair(10);
        let client = pair.net.transport("c:1", Peer::Client("ann".to_owned()));
        let to = address("b:1");
        let refused = |result: Result<Arc<dyn Connection>, ConnectError>| {
            assert!(matches!(result.err().unwrap(), ConnectError::Identity { .. }));
        };
        refused(client.connect(&to, Class::Append, None).await);
        refused(pair.a.connect(&to, Class::Append, Some(NodeId(3))).await);
        refused(pair.a.connect(&address("c:1"), Class::Client, None).await);
        client.connect(&to, Class::Client, None).await.unwrap();
        client.connect(&to, Class::Join, None).await.unwrap();
        assert_eq!(pair.b.accept().await.unwrap().peer(), &Peer::Client("ann".to_owned()));
        assert_eq!(pair.b.accept().await.unwrap().peer(), &Peer::Stranger);
    });
}
