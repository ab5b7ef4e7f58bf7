//! Who may ask a node what, over every kind of call there is, and what happens past a node's limits; in simulated time.
//!
//! The table comes from [`kind::RULES`]: a new kind of call is tried here by itself, with everybody on every class of
//! connection. failures.md, Security: "Who is a node", "Missing checks on side doors". What certificates prove is tested
//! with the QUIC transport.

mod simulated;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use nodenomad::model::id::{NodeId, ShardId};
use nodenomad::model::key::{KEY_MAX_BYTES, Key, VALUE_DEFAULT_MAX_BYTES};
use nodenomad::model::token::USES_MAX;
use nodenomad::model::wire::{Operation, Put, Write, operation};
use nodenomad::net::kind::{self, RULES, Shape};
use nodenomad::net::rpc::{Caller, FrameStream, open_stream};
use nodenomad::net::transport::sim::SimTransport;
use nodenomad::net::transport::{Address, Class, Connection, Peer, Transport};
use nodenomad::net::wire::{
    self, AdminRequest, Failure, FailureCode, JoinReply, JoinRequest, NodeStatus, Reply, Report, ReportReply,
    Request, TokenNew, admin_request, reply, request,
};
use nodenomad::node::meta::admin::{TOKEN_MAX_MS, TOKENS_MAX};
use nodenomad::node::replica::{QUEUE_MAX, READERS_MAX, Rejected};
use nodenomad::node::serve::intake::REQUESTS_MAX;
use nodenomad::node::serve::{PAGE_MAX_BYTES, PAGE_MAX_ROWS, TIMEOUT_MAX};
use prost::Message;
use tokio::time::timeout;

use simulated::machine::EXEC;
use simulated::{World, for_seeds};

/// In simulated time: no answer takes so long.
const SOON: Duration = Duration::from_secs(5);

/// Of the first user shard.
const SHARD: ShardId = ShardId(1);

fn everybody() -> [Peer; 4] {
    // Node 1 is the one that is asked; node 9 is no member that it knows.
    [Peer::Node(NodeId(1)), Peer::Node(NodeId(9)), Peer::Client("ann".to_owned()), Peer::Stranger]
}

struct Line {
    connection: Arc<dyn Connection>,
    caller: Caller,
    _transport: SimTransport,
}

impl Line {
    /// `None`: the other side does not take such a connection.
    async fn open(world: &World, peer: &Peer, class: Class) -> Option<Line> {
        let transport = world.net.transport(&format!("{peer}-{class:?}"), peer.clone());
        let to = Address(world.machine(0).address.clone());
        let connection = transport.connect(&to, class, None).await.ok()?;
        let caller = Caller::open(connection.clone(), EXEC).await.unwrap();
        Some(Line { connection, caller, _transport: transport })
    }

    /// Whether anything answers.
    async fn answers(&self, shape: Shape, kind: u16) -> bool {
        match shape {
            Shape::Call => {
                let answer = timeout(SOON, self.caller.call(kind, Bytes::new())).await;
                !answer.expect("in time").unwrap().is_empty()
            }
            Shape::Stream => {
                let mut stream = open_stream(&self.connection, kind, Bytes::new()).await.unwrap();
                timeout(SOON, says_something(&mut stream)).await.expect("in time")
            }
        }
    }
}

async fn says_something(stream: &mut FrameStream) -> bool {
    matches!(stream.recv().await, Ok(Some(answer)) if !answer.is_empty())
}

#[test]
fn every_call_of_everybody_on_every_connection() {
    for_seeds("every_call_of_everybody_on_every_connection", [1], |world| async move {
        world.bootstrap().await;
        let refused = || world.machine(0).node().requests.counts.forbidden.get();
        let unknown = [0, 3, 15, 33, u16::MAX];
        let kinds: Vec<u16> = RULES.iter().map(|rule| rule.kind).chain(unknown).collect();
        let mut answered = 0;
        for peer in everybody() {
            for class in Class::ALL {
                let Some(line) = Line::open(&world, &peer, class).await else {
                    assert!(!class.admits(&peer), "{peer} must be admitted to {class:?}");
                    continue;
                };
                assert!(class.admits(&peer), "{peer} must not be admitted to {class:?}");
                for kind in &kinds {
                    for shape in [Shape::Call, Shape::Stream] {
                        let what = format!("{shape:?} {kind} on {class:?} by {peer}");
                        let before = refused();
                        let allowed = kind::allows(shape, *kind, class, &peer);
                        assert_eq!(line.answers(shape, *kind).await, allowed, "{what}");
                        assert_eq!(refused() - before, u64::from(!allowed), "{what}: counted once");
                        answered += usize::from(allowed);
                    }
                }
            }
        }
        // Two members, each with 7 calls on two classes, a snapshot and a client's request; a client's; joining, for all.
        assert_eq!(answered, 2 * (7 * 2 + 1 + 1) + 1 + 4);
        world.client("after").await.get(b"/a").await.unwrap();
    });
}

/// A member cannot speak for another, and a joiner without the secret gets nothing.
#[test]
fn nobody_speaks_for_another() {
    for_seeds("nobody_speaks_for_another", [1], |world| async move {
        world.bootstrap().await;
        let line = Line::open(&world, &Peer::Node(NodeId(9)), Class::Control).await.unwrap();
        for (node, accepted) in [(1, false), (2, false), (9, true)] {
            let status = Some(NodeStatus { node, ..NodeStatus::default() });
            let report = Report { status }.encode_to_vec();
            let answer = line.caller.call(kind::REPORT, report.into()).await.unwrap();
            assert_eq!(ReportReply::decode(answer).unwrap().accepted, accepted, "node 9 about node {node}");
        }
        let token = world.token().await;
        let line = Line::open(&world, &Peer::Stranger, Class::Join).await.unwrap();
        let right = JoinRequest {
            token_id: token.id.clone(),
            secret: Bytes::copy_from_slice(token.secret()),
            quic: "10.9.9.9:7300".to_owned(),
            csr_der: Bytes::from_static(b"a request"),
            ..JoinRequest::default()
        };
        let long = "x".repeat(300);
        let wrong = [
            JoinRequest::default(),
            JoinRequest { secret: Bytes::from_static(b"guessed"), ..right.clone() },
            JoinRequest { secret: Bytes::new(), ..right.clone() },
            JoinRequest { token_id: "0000000000".to_owned(), ..right.clone() },
            JoinRequest { token_id: "../sealed/ca".to_owned(), ..right.clone() },
            JoinRequest { zone: long.clone(), ..right.clone() },
            JoinRequest { quic: long, ..right.clone() },
            JoinRequest { quic: String::new(), ..right.clone() },
            JoinRequest { csr_der: Bytes::new(), ..right.clone() },
            JoinRequest { csr_der: vec![0x30; 9 << 10].into(), ..right.clone() },
        ];
        for request in wrong {
            let reply = line.caller.call(kind::JOIN, request.encode_to_vec().into()).await.unwrap();
            let reply = JoinReply::decode(reply).unwrap();
            assert!(!reply.refused.is_empty() && !reply.retry, "{request:?}: {reply:?}");
            let empty = JoinReply { refused: reply.refused.clone(), ..JoinReply::default() };
            assert_eq!(reply, empty, "a refusal tells nothing else");
        }
        let garbage = line.caller.call(kind::JOIN, Bytes::from_static(&[0xff; 64])).await.unwrap();
        assert!(!JoinReply::decode(garbage).unwrap().refused.is_empty());
        assert_eq!(world.machine(0).node().requests.counts.joins_refused.get(), 11, "each of them");
    });
}

fn put(key: Bytes, value: usize) -> Operation {
    let put = Put { value: vec![7; value].into(), ttl_ms: 0 };
    Operation { key, condition: None, change: Some(operation::Change::Put(put)) }
}

fn internal(name: &[u8]) -> Bytes {
    Key::from_name(name).unwrap().to_bytes()
}

async fn asked(line: &Line, body: Option<request::Body>) -> Reply {
    let request = Request { id: 1, timeout_ms: 2_000, map_version: 0, body };
    let answer = timeout(SOON, line.caller.call(kind::CLIENT_REQUEST, request.encode_to_vec().into())).await;
    Reply::decode(answer.expect("in time").unwrap()).unwrap()
}

#[track_caller]
fn failure(reply: Reply) -> Failure {
    match reply.body {
        Some(reply::Body::Failure(failure)) => failure,
        other => panic!("this must be refused: {other:?}"),
    }
}

/// What a client's library would never send.
#[test]
fn requests_that_break_the_rules_are_answered_and_change_nothing() {
    for_seeds("requests_that_break_the_rules_are_answered_and_change_nothing", [1], |world| async move {
        world.bootstrap().await;
        let line = Line::open(&world, &Peer::Client("ann".to_owned()), Class::Client).await.unwrap();
        let keys = async || {
            let replica = world.machine(0).node().shards.get(SHARD).unwrap();
            replica.store.digest().await.unwrap().keys
        };
        let before = keys().await;
        let write = |operations| {
            let write = Some(Write { operations, ..Write::default() });
            Some(request::Body::Write(wire::WriteRequest { shard: SHARD.0, write }))
        };
        let get = |key: Vec<u8>| {
            Some(request::Body::Get(wire::Get { shard: SHARD.0, key: key.into(), options: None }))
        };
        let too_long = [internal(b"/a").to_vec(), vec![b'k'; KEY_MAX_BYTES]].concat();
        let range = |limit, start: Bytes, end: Bytes| {
            Some(request::Body::Range(wire::Range {
                shard: SHARD.0,
                start,
                end,
                limit,
                ..Default::default()
            }))
        };
        let refused = [
            ("nothing", None),
            ("a write of nothing", write(Vec::new())),
            ("too many operations", write((0..1025).map(|_| put(internal(b"/a"), 1)).collect())),
            ("no change", write(vec![Operation { change: None, ..put(internal(b"/a"), 1) }])),
            ("an empty key", write(vec![put(Bytes::new(), 1)])),
            ("a key of no keyspace", write(vec![put(Bytes::from_static(&[0xee, 1]), 1)])),
            ("a key too long", write(vec![put(too_long.clone().into(), 1)])),
            ("a value too long", write(vec![put(internal(b"/a"), VALUE_DEFAULT_MAX_BYTES + 1)])),
            (
                "values too long together",
                write((0..18).map(|n| put(internal(format!("/{n}").as_bytes()), 1 << 20)).collect()),
            ),
            ("a system key", write(vec![put(internal(b"_/cluster/config/x"), 1)])),
            ("a get of nothing", get(Vec::new())),
            ("a get of a key too long", get(too_long)),
            ("a range from nowhere", range(0, Bytes::new(), Bytes::new())),
            (
                "an empty administrative request",
                Some(request::Body::Admin(wire::AdminRequest { body: None })),
            ),
        ];
        for (what, body) in refused {
            let failure = failure(asked(&line, body).await);
            let invalid =
                matches!(failure.code(), FailureCode::FailureInvalid | FailureCode::FailureForbidden);
            assert!(invalid && !failure.message.is_empty(), "{what}: {failure:?}");
        }
        // Not wrong, only empty: an end before the start, and more rows wanted than a page may have.
        for body in
            [range(u32::MAX, internal(b"/"), internal(b"/z")), range(1, internal(b"/b"), internal(b"/a"))]
        {
            let reply = asked(&line, body).await;
            assert!(
                matches!(&reply.body, Some(reply::Body::Range(page)) if page.rows.is_empty()),
                "{reply:?}"
            );
        }
        for garbage in [&[0xff; 100][..], &[8], b"GET / HTTP/1.1\r\n\r\n"] {
            let garbage = Bytes::copy_from_slice(garbage);
            let answer = line.caller.call(kind::CLIENT_REQUEST, garbage).await.unwrap();
            assert_eq!(failure(Reply::decode(answer).unwrap()).code(), FailureCode::FailureInvalid);
        }
        assert_eq!(keys().await, before, "nothing changed");
        assert!(matches!(
            asked(&line, write(vec![put(internal(b"/a"), 1)])).await.body,
            Some(reply::Body::Write(_))
        ));
    });
}

/// Past what a node takes on for clients it says so at once; its members go on talking.
#[test]
fn a_node_with_too_much_to_do_says_so_and_serves_again() {
    for_seeds("a_node_with_too_much_to_do_says_so_and_serves_again", [1], |world| async move {
        let client = world.whole(3).await;
        client.put(b"/a", "1").await.unwrap();
        let nodes: Vec<_> = (0..3).map(|n| world.machine(n).node()).collect();
        let terms = || -> Vec<u64> {
            nodes.iter().map(|node| node.shards.get(SHARD).unwrap().group.leadership().term).collect()
        };
        let before = terms();
        let crowd: Vec<_> = nodes
            .iter()
            .flat_map(|node| (0..REQUESTS_MAX).map(|_| node.requests.intake.enter(1).unwrap()))
            .collect();
        let line = Line::open(&world, &Peer::Client("bob".to_owned()), Class::Client).await.unwrap();
        let body = || Some(request::Body::Map(wire::MapRequest { newest: false }));
        let full = failure(asked(&line, body()).await);
        assert_eq!(full.code(), FailureCode::FailureBusy);
        assert!(full.message.contains("16384 requests are under way"), "{full:?}");
        assert_eq!(nodes[0].requests.counts.overload.get(), 1);
        // Longer than an election takes: nobody stands for one.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(terms(), before);
        drop(crowd);
        assert!(matches!(asked(&line, body()).await.body, Some(reply::Body::Map(_))));
        assert_eq!(client.get(b"/a").await.unwrap().unwrap().value, "1");
    });
}

/// Rows, bytes and time of one request; writes and readers of one shard; tokens.
#[test]
fn what_is_asked_for_beyond_a_bound_comes_in_pieces_or_is_refused() {
    for_seeds("what_is_asked_for_beyond_a_bound_comes_in_pieces_or_is_refused", [1], |world| async move {
        world.bootstrap().await;
        let line = Line::open(&world, &Peer::Client("ann".to_owned()), Class::Client).await.unwrap();
        let write = |operations| {
            let write = Some(Write { operations, ..Write::default() });
            Some(request::Body::Write(wire::WriteRequest { shard: SHARD.0, write }))
        };
        for group in 0..=PAGE_MAX_ROWS / 1_000 {
            let rows = (0..1_000).map(|n| put(internal(format!("/row/{group:03}/{n:03}").as_bytes()), 1));
            let reply = asked(&line, write(rows.collect())).await;
            assert!(matches!(reply.body, Some(reply::Body::Write(_))), "{reply:?}");
        }
        // Smaller than a record of the small log of the simulation.
        for n in 0..12 {
            let row = put(internal(format!("/wide/{n:02}").as_bytes()), 100_000);
            asked(&line, write(vec![row])).await;
        }
        let page = async |start: &[u8], end: &[u8]| {
            let (start, end) = (internal(start), internal(end));
            let range = wire::Range { shard: SHARD.0, start, end, ..Default::default() };
            match asked(&line, Some(request::Body::Range(range))).await.body {
                Some(reply::Body::Range(page)) => page,
                other => panic!("{other:?}"),
            }
        };
        let rows = page(b"/row/", b"/row0").await;
        assert!(rows.rows.len() == PAGE_MAX_ROWS && !rows.next.is_empty(), "{} rows", rows.rows.len());
        let wide = page(b"/wide/", b"/wide0").await;
        let bytes: usize = wide.rows.iter().map(|row| row.key.len() + row.value.len()).sum();
        assert!(
            bytes <= PAGE_MAX_BYTES && bytes > PAGE_MAX_BYTES / 2 && !wide.next.is_empty(),
            "{bytes} bytes"
        );
    });
}

#[test]
fn a_shard_with_too_much_to_do_says_so() {
    for_seeds("a_shard_with_too_much_to_do_says_so", [1], |world| async move {
        world.bootstrap().await;
        let replica = world.machine(0).node().shards.get(SHARD).unwrap();
        let more = 10;
        let write = || Write { operations: vec![put(internal(b"/a"), 1)], ..Write::default() };
        let written = join_all((0..QUEUE_MAX + more).map(|_| replica.write(write()))).await;
        let busy = written.iter().filter(|outcome| matches!(outcome, Err(Rejected::Busy))).count();
        assert_eq!(busy, more);
        assert!(
            written.iter().filter(|outcome| outcome.is_ok()).count() == QUEUE_MAX,
            "the others were done"
        );
        let read = join_all((0..READERS_MAX + more).map(|_| replica.rounds.join())).await;
        // The first began a round at once and no longer waits.
        let refused = read.iter().filter(|outcome| outcome.is_none()).count();
        assert!((1..=more).contains(&refused), "{refused}");
    });
}

#[test]
fn tokens_are_bounded_in_number_uses_and_time() {
    for_seeds("tokens_are_bounded_in_number_uses_and_time", [1], |world| async move {
        world.bootstrap().await;
        let new = async |uses, ttl_ms| {
            let request =
                AdminRequest { body: Some(admin_request::Body::TokenNew(TokenNew { ttl_ms, uses })) };
            let made =
                world.machine(0).spawn(|node| async move { node.requests.office.serve(request).await });
            made.await.unwrap()
        };
        assert!(new(USES_MAX + 1, 1_000).await.is_err() && new(1, TOKEN_MAX_MS + 1).await.is_err());
        for _ in 0..TOKENS_MAX {
            new(USES_MAX, TOKEN_MAX_MS).await.unwrap();
        }
        assert!(new(1, 1_000).await.unwrap_err().to_string().contains("tokens already"));
    });
}

/// The leader is alone, and its client would wait for weeks.
#[test]
fn a_request_does_not_wait_for_ever() {
    for_seeds("a_request_does_not_wait_for_ever", [1], |world| async move {
        world.whole(3).await;
        let leads = |n: &usize| world.machine(*n).node().shards.get(SHARD).unwrap().group.leadership().here;
        let leader = (0..3).find(leads).expect("somebody leads");
        let transport = world.net.transport("waiting", Peer::Client("ann".to_owned()));
        let to = Address(world.machine(leader).address.clone());
        let connection = transport.connect(&to, Class::Client, None).await.unwrap();
        let caller = Caller::open(connection, EXEC).await.unwrap();
        for other in (0..3).filter(|n| *n != leader) {
            world.net.partition(&world.machine(leader).address, &world.machine(other).address, true);
        }
        let write = Some(Write { operations: vec![put(internal(b"/a"), 1)], ..Write::default() });
        let body = Some(request::Body::Write(wire::WriteRequest { shard: SHARD.0, write }));
        let request = Request { timeout_ms: u32::MAX, body, ..Request::default() };
        let answer = caller.call(kind::CLIENT_REQUEST, request.encode_to_vec().into());
        let answer = timeout(TIMEOUT_MAX + SOON, answer).await.expect("it has waited long enough").unwrap();
        let failure = failure(Reply::decode(answer).unwrap());
        assert_eq!(failure.code(), FailureCode::FailureUnknown, "{failure:?}");
    });
}
