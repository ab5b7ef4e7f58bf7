//! Calls and streams over the simulated network, and once over QUIC.

mod limits;

use std::future::Future;
use std::time::Duration;

use futures_util::future::{join_all, poll_immediate};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::frame::{CALLS, FRAME_HEAD_BYTES, Next, ONE_CALL, PayloadReader, STREAM};
use super::*;
use crate::model::id::NodeId;
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::identity::Peer;
use crate::net::transport::quic::{QuicTransport, Security};
use crate::net::transport::sim::tests::{address, node, simulated};
use crate::net::transport::sim::{STREAM_BUFFER_MAX_BYTES, SimNet, SimTransport};
use crate::net::transport::{Address, Pipe, Transport};

const EXEC: Exec = Exec::Inline { delay: Duration::ZERO, gate: None };

/// Answers with the body.
const ECHO: u16 = 1;
/// Answers after a while, the later calls first.
const LATER: u16 = 2;
const NEVER: u16 = 3;
const PANIC: u16 = 4;
/// Answers with as many bytes as the body (`u32`) says.
const LARGE: u16 = 5;

#[derive(Default)]
struct Script {
    /// First byte of each call, in the order in which they entered.
    entered: Mutex<Vec<u8>>,
}

impl Service for Script {
    fn call(&self, _: &Arc<dyn Connection>, kind: u16, body: Bytes) -> BoxFuture<'static, Bytes> {
        let first = body.first().copied().unwrap_or_default();
        self.entered.lock().push(first);
        Box::pin(async move {
            match kind {
                ECHO => body,
                LATER => {
                    sleep(Duration::from_millis(1000 - u64::from(first))).await;
                    body
                }
                PANIC => panic!("as asked"),
                LARGE => vec![1; u32::from_le_bytes(body[..].try_into().unwrap()) as usize].into(),
                _ => std::future::pending().await,
            }
        })
    }

    /// Sends everything back and then the head; kind `NEVER` stops in the middle instead.
    fn stream(
        &self,
        _: &Arc<dyn Connection>,
        kind: u16,
        head: Bytes,
        mut frames: FrameStream,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Ok(Some(payload)) = frames.recv().await {
                if frames.send(payload).await.is_err() || kind == NEVER {
                    return;
                }
            }
            let _ = frames.send(head).await;
            let _ = frames.finish().await;
        })
    }
}

struct World {
    net: SimNet,
    connection: Arc<dyn Connection>,
    caller: Caller,
    script: Arc<Script>,
    _ends: [SimTransport; 2],
}

async fn world(limits: ServeLimits) -> World {
    let net = SimNet::new(Chance::from_seed(1));
    let (a, b) = (net.transport("a:1", node(1)), net.transport("b:1", node(2)));
    let connection = a.connect(&address("b:1"), Class::Control, None).await.unwrap();
    let script = Arc::new(Script::default());
    let accepted = b.accept().await.unwrap();
    EXEC.spawn(serve(accepted, Arc::clone(&script) as _, EXEC, limits, Arc::default()));
    let caller = Caller::open(Arc::clone(&connection), EXEC).await.unwrap();
    World { net, connection, caller, script, _ends: [a, b] }
}

fn limits() -> ServeLimits {
    ServeLimits::for_class(Class::Control)
}

fn within<F: Future>(seconds: u64, future: F) -> tokio::time::Timeout<F> {
    timeout(Duration::from_secs(seconds), future)
}

fn byte(value: u8) -> Bytes {
    Bytes::copy_from_slice(&[value])
}

impl World {
    /// A stream of our own, to break rules on.
    async fn raw(&self, bytes: &[u8]) -> Pipe {
        let mut pipe = self.connection.open().await.unwrap();
        pipe.writer.write_all(bytes).await.unwrap();
        pipe
    }
}

#[test]
fn calls_enter_in_order_and_answers_come_when_they_are_ready() {
    simulated(async {
        let world = world(limits()).await;
        let answered = Mutex::new(Vec::new());
        join_all((0..100).map(|number| {
            let (caller, answered) = (world.caller.clone(), &answered);
            async move {
                assert_eq!(caller.call(LATER, byte(number)).await.unwrap(), byte(number));
                answered.lock().push(number);
            }
        }))
        .await;
        assert_eq!(*world.script.entered.lock(), (0..100).collect::<Vec<u8>>());
        assert_eq!(*answered.lock(), (0..100).rev().collect::<Vec<u8>>());
    });
}

#[test]
fn large_bodies_pass_both_ways_and_too_large_ones_are_refused() {
    simulated(async {
        let world = world(limits()).await;
        for bytes in [0, INLINE_MAX_BYTES, INLINE_MAX_BYTES + 1, FRAME_MAX_BYTES] {
            let body = Bytes::from(vec![9; bytes]);
            assert_eq!(world.caller.call(ECHO, body.clone()).await.unwrap(), body);
        }
        let size = Bytes::copy_from_slice(&(FRAME_MAX_BYTES as u32).to_le_bytes());
        assert_eq!(world.caller.call(LARGE, size).await.unwrap().len(), FRAME_MAX_BYTES);
        let error = world.caller.call(ECHO, vec![0; FRAME_MAX_BYTES + 1].into()).await.unwrap_err();
        assert!(matches!(error, CallError::TooLarge { .. }));
        world.caller.call(ECHO, byte(1)).await.unwrap();
    });
}

#[test]
fn the_server_stops_reading_above_its_limit() {
    simulated(async {
        let world = world(ServeLimits { calls_in_flight: 4, ..limits() }).await;
        let calls = join_all((0..10).map(|number| world.caller.call(NEVER, byte(number))));
        assert!(within(5, calls).await.is_err());
        assert_eq!(*world.script.entered.lock(), [0, 1, 2, 3]);
    });
}

#[test]
fn calls_given_up_free_their_places() {
    simulated(async {
        let world = world(ServeLimits { calls_in_flight: 3 * CALLS_IN_FLIGHT_MAX, ..limits() }).await;
        for _ in 0..2 {
            let calls = join_all((0..CALLS_IN_FLIGHT_MAX).map(|_| world.caller.call(NEVER, byte(0))));
            let mut calls = Box::pin(calls);
            assert!(within(1, &mut calls).await.is_err());
            let error = world.caller.call(ECHO, byte(1)).await.unwrap_err();
            assert!(matches!(error, CallError::Busy));
            drop(calls);
            assert_eq!(world.caller.call(ECHO, byte(1)).await.unwrap(), byte(1));
        }
    });
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    simulated(async {
        let world = world(limits()).await;
        world.net.partition("a:1", "b:1", true);
        let body = Bytes::from(vec![0; INLINE_MAX_BYTES]);
        let calls = join_all((0..1000).map(|_| world.caller.call(NEVER, body.clone())));
        let outcomes = calls.await;
        let busy = outcomes.iter().filter(|outcome| matches!(outcome, Err(CallError::Busy))).count();
        assert_eq!(1000 - busy, CALLS_QUEUED_MAX_BYTES / INLINE_MAX_BYTES);
    });
}

#[test]
fn a_call_given_up_before_it_was_sent_is_never_sent() {
    simulated(async {
        let world = world(limits()).await;
        // Polled once: it is in the queue, and the writing task has not run.
        assert!(poll_immediate(world.caller.call(ECHO, byte(1))).await.is_none());
        world.caller.call(ECHO, byte(2)).await.unwrap();
        assert_eq!(*world.script.entered.lock(), [2]);
    });
}

#[test]
fn answers_to_calls_given_up_are_ignored() {
    simulated(async {
        let world = world(limits()).await;
        assert!(timeout(Duration::from_millis(100), world.caller.call(LATER, byte(1))).await.is_err());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(world.caller.call(ECHO, byte(2)).await.unwrap(), byte(2));
        assert_eq!(*world.script.entered.lock(), [1, 2]);
    });
}

/// failures.md row 24: a call that may have been done is never reported as one that was not.
#[test]
fn a_cut_loses_what_was_sent_and_only_that() {
    simulated(async {
        let world = world(limits()).await;
        world.net.partition("a:1", "b:1", true);
        let body = Bytes::from(vec![0; INLINE_MAX_BYTES]);
        let count = 3 * STREAM_BUFFER_MAX_BYTES / INLINE_MAX_BYTES;
        let outcomes = join_all((0..count).map(|_| world.caller.call(ECHO, body.clone()))).await;
        let lost = outcomes.iter().take_while(|outcome| matches!(outcome, Err(CallError::Lost(_)))).count();
        let not_sent =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(CallError::NotSent(_)))).count();
        assert_eq!(lost + not_sent, count);
        assert!(lost >= STREAM_BUFFER_MAX_BYTES / INLINE_MAX_BYTES && not_sent > 0, "{lost} {not_sent}");
        assert!(world.script.entered.lock().is_empty());
        assert!(world.caller.is_closed());
        assert!(matches!(world.caller.call(ECHO, byte(1)).await, Err(CallError::NotSent(_))));
    });
}

#[test]
fn a_death_in_the_middle_of_a_call_loses_it() {
    simulated(async {
        let world = world(limits()).await;
        let small = world.caller.call(NEVER, byte(1));
        let large = world.caller.call(NEVER, vec![2; INLINE_MAX_BYTES + 1].into());
        let cut = async {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(world.script.entered.lock().len(), 2);
            world.net.cut("b:1");
        };
        let (small, large, ()) = within(12, async { tokio::join!(small, large, cut) }).await.unwrap();
        assert!(matches!(small, Err(CallError::Lost(_))));
        assert!(matches!(large, Err(CallError::Lost(_))));
    });
}

#[test]
fn a_large_call_that_was_not_written_whole_was_not_sent() {
    simulated(async {
        let world = world(limits()).await;
        world.net.partition("a:1", "b:1", true);
        let large = Bytes::from(vec![0; 2 * STREAM_BUFFER_MAX_BYTES]);
        assert!(matches!(world.caller.call(ECHO, large).await, Err(CallError::NotSent(_))));
    });
}

/// failures.md, Security, Untrusted lengths.
#[test]
fn memory_is_taken_only_for_bytes_that_came() {
    simulated(async {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let mut input = PayloadReader::new(Box::new(reader));
        input.limit(FRAME_MAX_BYTES);
        writer.write_all(&(FRAME_MAX_BYTES as u32).to_le_bytes()).await.unwrap();
        writer.write_all(&[0; 500]).await.unwrap();
        assert!(within(1, input.next()).await.is_err());
        assert!(input.held_bytes() < 256 * 1024, "{}", input.held_bytes());
        let rest = vec![0; FRAME_MAX_BYTES - 500];
        let (written, read) = tokio::join!(writer.write_all(&rest), input.next());
        written.unwrap();
        assert!(matches!(read, Ok(Next::Payload(payload)) if payload.len() == FRAME_MAX_BYTES));
    });
}

#[test]
fn garbage_costs_the_connection() {
    let frame = |length: u32| length.to_le_bytes();
    let too_large = frame((INLINE_MAX_BYTES + FRAME_HEAD_BYTES + 1) as u32);
    let much_too_large = frame((FRAME_MAX_BYTES + FRAME_HEAD_BYTES + 1) as u32);
    let cases: [(&str, Vec<u8>); 9] = [
        ("unknown start", vec![77]),
        ("announced too large among calls", [&[CALLS][..], &too_large].concat()),
        ("announced too large alone", [&[ONE_CALL][..], &much_too_large].concat()),
        ("shorter than its head", [&[CALLS][..], &frame(9), &[0; 9]].concat()),
        ("shorter than its head, alone", [&[ONE_CALL][..], &frame(0)].concat()),
        ("end mark among calls", [&[CALLS][..], &[0xff; 4]].concat()),
        ("stream without kind", [&[STREAM][..], &frame(1), &[0]].concat()),
        ("stream without head", [&[STREAM][..], &[0xff; 4]].concat()),
        ("stream with a head too large", [&[STREAM][..], &too_large].concat()),
    ];
    for (name, bytes) in cases {
        simulated(async {
            let world = world(limits()).await;
            world.caller.call(ECHO, byte(1)).await.unwrap();
            let mut pipe = world.raw(&bytes).await;
            let closed = within(2, world.connection.closed()).await;
            assert!(closed.is_ok(), "{name}: still open");
            assert!(pipe.reader.read_u8().await.is_err());
            assert_eq!(world.script.entered.lock().len(), 1, "{name}");
        });
    }
}

#[test]
fn what_ends_in_the_middle_does_nothing_and_harms_nobody() {
    simulated(async {
        let world = world(limits()).await;
        for first in [CALLS, ONE_CALL, STREAM] {
            drop(world.raw(&[first]).await);
            let mut pipe = world.raw(&[&[first][..], &20u32.to_le_bytes(), &[0; 19]].concat()).await;
            pipe.writer.shutdown().await.unwrap();
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.caller.call(ECHO, byte(5)).await.unwrap(), byte(5));
        assert_eq!(*world.script.entered.lock(), [5]);
    });
}

/// failures.md, Security, Output side: a reader that never reads.
#[test]
fn whoever_takes_no_answers_is_cut_off() {
    simulated(async {
        let limits = ServeLimits { output_pause_bytes: 1 << 20, ..limits() };
        let world = world(limits).await;
        let call =
            [&14u32.to_le_bytes()[..], &[0; 8], &LARGE.to_le_bytes(), &200_000u32.to_le_bytes()].concat();
        let mut pipe = world.raw(&[CALLS]).await;
        for _ in 0..1000 {
            pipe.writer.write_all(&call).await.unwrap();
        }
        assert!(within(9, world.connection.closed()).await.is_err());
        // The stream's buffer, the mark, and one more each for what is being written and what passed the mark.
        let most = (STREAM_BUFFER_MAX_BYTES + limits.output_pause_bytes) / 200_000 + 3;
        let entered = world.script.entered.lock().len();
        assert!(entered <= most, "{entered} calls were taken on");
        within(5, world.connection.closed()).await.unwrap();
    });
}

#[test]
fn too_many_bytes_of_answers_cut_the_connection_off() {
    simulated(async {
        let world = world(ServeLimits { output_max_bytes: 1_000_000, ..limits() }).await;
        let size = Bytes::copy_from_slice(&1_000_001u32.to_le_bytes());
        assert!(matches!(within(1, world.caller.call(LARGE, size)).await.unwrap(), Err(CallError::Lost(_))));
    });
}

#[test]
fn a_handler_that_panics_costs_the_connection() {
    simulated(async {
        let world = world(limits()).await;
        let other = world.caller.call(NEVER, byte(1));
        let (other, panic) =
            within(1, async { tokio::join!(other, world.caller.call(PANIC, byte(2))) }).await.unwrap();
        assert!(matches!((other, panic), (Err(CallError::Lost(_)), Err(CallError::Lost(_)))));
    });
}

#[test]
fn an_answer_to_no_call_costs_the_connection() {
    simulated(async {
        let net = SimNet::new(Chance::from_seed(1));
        let (a, b) = (net.transport("a:1", node(1)), net.transport("b:1", node(2)));
        let connection = a.connect(&address("b:1"), Class::Control, None).await.unwrap();
        let caller = Caller::open(connection, EXEC).await.unwrap();
        let accepted = b.accept().await.unwrap();
        let mut pipe = accepted.accept().await.unwrap();
        let answer = [&10u32.to_le_bytes()[..], &7u64.to_le_bytes(), &[0; 2]].concat();
        pipe.writer.write_all(&answer).await.unwrap();
        let outcome = within(2, caller.call(NEVER, byte(1))).await.unwrap();
        assert!(matches!(outcome, Err(CallError::Lost(_) | CallError::NotSent(_))));
        accepted.closed().await;
    });
}

#[test]
fn streams_carry_payloads_to_their_end() {
    simulated(async {
        let world = world(limits()).await;
        let mut stream = open_stream(&world.connection, ECHO, byte(9)).await.unwrap();
        for payload in [vec![1; 10], Vec::new(), vec![2; 300_000]] {
            stream.send(payload.clone().into()).await.unwrap();
            assert_eq!(stream.recv().await.unwrap().unwrap(), payload);
        }
        assert!(stream.send(vec![0; FRAME_MAX_BYTES + 1].into()).await.is_err());
        stream.finish().await.unwrap();
        assert_eq!(stream.recv().await.unwrap(), Some(byte(9)));
        assert_eq!(stream.recv().await.unwrap(), None);
        assert_eq!(stream.recv().await.unwrap(), None);
        let too_large = vec![0; INLINE_MAX_BYTES + 1].into();
        assert!(open_stream(&world.connection, ECHO, too_large).await.is_err());
    });
}

/// failures.md row 36: "success" with holes.
#[test]
fn half_a_stream_is_not_a_whole_one() {
    simulated(async {
        let world = world(limits()).await;
        let mut stream = open_stream(&world.connection, NEVER, byte(9)).await.unwrap();
        stream.send(byte(1)).await.unwrap();
        // The handler returns without finishing. What it sent may be overtaken by the break.
        while let Ok(payload) = stream.recv().await {
            assert_eq!(payload, Some(byte(1)));
        }
        assert_eq!(world.caller.call(ECHO, byte(1)).await.unwrap(), byte(1));
    });
}

#[test]
fn when_the_last_caller_goes_so_does_the_connection() {
    simulated(async {
        let world = world(limits()).await;
        world.caller.call(ECHO, byte(1)).await.unwrap();
        drop((world.caller, world.connection));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.net.connections(), 0);
    });
}

#[test]
fn connections_of_joiners_end_by_themselves() {
    simulated(async {
        let world = world(ServeLimits::for_class(Class::Join)).await;
        assert_eq!(world.caller.call(ECHO, byte(1)).await.unwrap(), byte(1));
        within(40, world.connection.closed()).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_over_quic() {
    let security = |id| Security::Insecure { claim: Peer::Node(NodeId(id)) };
    let here = Some("127.0.0.1:0".parse().unwrap());
    let server = QuicTransport::bind(here, security(1), Exec::Threads).unwrap();
    let client = QuicTransport::bind(None, security(2), Exec::Threads).unwrap();
    let to = Address(server.local_addr().to_string());
    let connection = client.connect(&to, Class::Control, Some(NodeId(1))).await.unwrap();
    let accepted = server.accept().await.unwrap();
    tokio::spawn(serve(accepted, Arc::new(Script::default()), Exec::Threads, limits(), Arc::default()));
    let caller = Caller::open(Arc::clone(&connection), Exec::Threads).await.unwrap();
    let calls = join_all((0..255).map(|number| caller.call(ECHO, vec![number; 300].into())));
    for (number, answer) in calls.await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), vec![number as u8; 300]);
    }
    let large = Bytes::from(vec![3; FRAME_MAX_BYTES]);
    assert_eq!(caller.call(ECHO, large.clone()).await.unwrap(), large);
    let mut stream = open_stream(&connection, ECHO, byte(9)).await.unwrap();
    stream.send(byte(1)).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(stream.recv().await.unwrap(), Some(byte(1)));
    assert_eq!(stream.recv().await.unwrap(), Some(byte(9)));
    assert_eq!(stream.recv().await.unwrap(), None);
    let lost = caller.call(NEVER, byte(1));
    let (lost, ()) = tokio::join!(lost, server.close());
    assert!(matches!(lost, Err(CallError::Lost(_) | CallError::NotSent(_))));
}
