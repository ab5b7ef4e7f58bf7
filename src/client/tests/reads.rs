//! Reads: routing, freshness, ranges over shards, members that die.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use super::fake::{Fake, Fault, failure, key, nodes};
use super::wires::How;
use crate::client::{Client, Consistency, Error, RangeQuery, ReadOptions, Trouble};
use crate::model::id::{NodeId, ShardId};
use crate::model::key::KeyRange;
use crate::model::time::Timestamp;
use crate::net::wire::{self as net, FailureCode, reply, request};

const LETTERS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

async fn filled(fake: &std::sync::Arc<Fake>) -> Client {
    let client = fake.client().await;
    for letter in LETTERS {
        client.put(letter.as_bytes(), letter.to_uppercase()).await.unwrap();
    }
    fake.asked();
    client
}

async fn names(client: &Client, query: RangeQuery) -> Result<Vec<String>, Error> {
    client.range(query).map_ok(|row| String::from_utf8(row.key.to_vec()).unwrap()).try_collect().await
}

fn all() -> RangeQuery {
    RangeQuery::new(KeyRange::user())
}

#[tokio::test(start_paused = true)]
async fn a_value_comes_back_with_its_stamp() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    let stamp = client.put(b"k", "v").await.unwrap();
    let value = client.get(b"k").await.unwrap().unwrap();
    assert_eq!((value.value.as_ref(), value.stamp, value.expires_at_ms), (&b"v"[..], stamp, None));
    assert_eq!(client.get(b"other").await.unwrap(), None);
    assert!(client.seen() >= stamp);
}

#[tokio::test(start_paused = true)]
async fn a_range_goes_over_shards_both_ways() {
    let fake = Fake::new(&["e", "i"]);
    let client = filled(&fake).await;
    assert_eq!(names(&client, all()).await.unwrap(), LETTERS);
    assert!(fake.asked().len() >= 6, "pages of three rows, three shards");
    let mut backwards = names(&client, RangeQuery { reverse: true, ..all() }).await.unwrap();
    backwards.reverse();
    assert_eq!(backwards, LETTERS);
}

#[tokio::test(start_paused = true)]
async fn a_range_keeps_to_its_bounds_and_limit() {
    let fake = Fake::new(&["e", "i"]);
    let client = filled(&fake).await;
    let range = KeyRange::new(key("c"), Some(key("k")));
    for limit in 0..10u64 {
        let query = RangeQuery { limit: Some(limit), ..RangeQuery::new(range.clone()) };
        let forward = names(&client, query.clone()).await.unwrap();
        assert_eq!(forward, LETTERS[2..10].iter().take(limit as usize).copied().collect::<Vec<_>>());
        let backward = names(&client, RangeQuery { reverse: true, ..query }).await.unwrap();
        assert_eq!(backward, LETTERS[2..10].iter().rev().take(limit as usize).copied().collect::<Vec<_>>());
    }
    let empty = RangeQuery::new(KeyRange::new(key("k"), Some(key("c"))));
    assert_eq!(names(&client, empty).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_range_survives_a_split_under_it() {
    for reverse in [false, true] {
        let fake = Fake::new(&[]);
        let client = filled(&fake).await;
        let mut stream = client.range(RangeQuery { reverse, ..all() });
        let mut seen = vec![stream.next().await.unwrap().unwrap().key];
        fake.split(1, "f");
        while let Some(row) = stream.next().await {
            seen.push(row.unwrap().key);
        }
        if reverse {
            seen.reverse();
        }
        assert_eq!(seen, LETTERS);
    }
}

#[tokio::test(start_paused = true)]
async fn every_page_of_a_range_at_a_timestamp_asks_for_it() {
    let fake = Fake::new(&["e", "i"]);
    let client = filled(&fake).await;
    let options = ReadOptions { at: Some(Timestamp(77)), ..ReadOptions::default() };
    names(&client, RangeQuery { options, ..all() }).await.unwrap();
    for (_, request) in fake.asked() {
        let Some(request::Body::Range(range)) = request.body else { panic!("{request:?}") };
        assert_eq!(range.options.unwrap().at, 77);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_break_the_rules_end_the_stream() {
    let row = |name: &str| net::Row { key: key(name).to_bytes(), ..Default::default() };
    let bad = [
        net::RangeReply { rows: vec![row("b"), row("a")], ..Default::default() },
        net::RangeReply { rows: vec![row("z")], ..Default::default() },
        net::RangeReply { rows: vec![row("a"), row("b"), row("c")], ..Default::default() },
        net::RangeReply { next: key("a").to_bytes(), ..Default::default() },
        net::RangeReply { next: key("z").to_bytes(), ..Default::default() },
        net::RangeReply { next: vec![0x77].into(), ..Default::default() },
    ];
    for page in bad {
        let fake = Fake::new(&[]);
        let client = fake.client().await;
        fake.faults(vec![Fault::Answer(Box::new(reply::Body::Range(page)))]);
        let range = KeyRange::new(key("a"), Some(key("m")));
        let query = RangeQuery { limit: Some(2), ..RangeQuery::new(range) };
        let error = names(&client, query).await.unwrap_err();
        assert!(matches!(error, Error::Internal(Trouble::Garbled { .. })), "{error:?}");
        assert_eq!(error.exit_code(), 70);
    }
}

#[tokio::test(start_paused = true)]
async fn weaker_reads_stay_near_and_session_reads_say_what_was_seen() {
    let fake = Fake::new(&[]); // member 2 leads; the client came by member 1
    let client = filled(&fake).await;
    let stale = ReadOptions { consistency: Consistency::Stale, at: None };
    client.get_with(b"a", &stale).await.unwrap();
    assert_eq!(nodes(&fake.asked()), [NodeId(1)]);
    let session = ReadOptions { consistency: Consistency::Session, at: None };
    let seen = client.seen();
    client.get_with(b"a", &session).await.unwrap();
    let asked = fake.asked();
    let Some(request::Body::Get(get)) = &asked[0].1.body else { panic!() };
    assert_eq!(get.options.unwrap().seen, seen.0);
    // Not near any more: others serve, in turns.
    fake.place(1, &[2, 3]);
    client.refresh().await.unwrap();
    for _ in 0..4 {
        client.get_with(b"a", &stale).await.unwrap();
    }
    let mut nodes = nodes(&fake.asked());
    nodes.retain(|node| *node != NodeId(1));
    assert_eq!(nodes.len(), 4);
    assert!(nodes.contains(&NodeId(2)) && nodes.contains(&NodeId(3)));
}

#[tokio::test(start_paused = true)]
async fn lost_reads_are_repeated() {
    let fake = Fake::new(&[]);
    let client = filled(&fake).await;
    fake.faults(vec![Fault::LoseRequest, Fault::LoseAnswer, Fault::Swallow]);
    assert_eq!(client.get(b"a").await.unwrap().unwrap().value, "A");
}

#[tokio::test(start_paused = true)]
async fn failures_of_reads_are_told_apart() {
    let fake = Fake::new(&[]);
    let client = filled(&fake).await;
    let cases = [
        (FailureCode::FailureTooOld, 1),
        (FailureCode::FailureInvalid, 2),
        (FailureCode::FailureForbidden, 4),
        (FailureCode::FailureInternal, 7),
    ];
    for (code, exit) in cases {
        fake.faults(vec![Fault::LoseRequest, Fault::Say(failure(code))]);
        let error = client.get(b"a").await.unwrap_err();
        assert_eq!(error.exit_code(), exit, "{error:?}");
        assert_eq!(error.outcome(), crate::client::ErrorOutcome::Failed, "a read changes nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_may_die() {
    let fake = Fake::new(&["e", "i"]);
    let client = filled(&fake).await;
    fake.wires.set(1, How::Gone);
    fake.lead(3, 2);
    fake.place(3, &[2, 3]);
    assert_eq!(names(&client, all()).await.unwrap(), LETTERS);
    assert_eq!(client.members().len(), 3);
    fake.wires.set(1, How::There);
    fake.lead(3, 1);
    fake.place(3, &[1, 2, 3]);
    assert_eq!(names(&client, all()).await.unwrap(), LETTERS);
}

#[tokio::test(start_paused = true)]
async fn any_endpoint_will_do_and_none_is_said_so() {
    let fake = Fake::new(&[]);
    fake.wires.set(1, How::Gone);
    fake.wires.set(2, How::Silent);
    Client::connect(fake.options(&[1, 2, 3])).await.unwrap();
    let error = Client::connect(fake.options(&[1, 2])).await.err().unwrap();
    assert!(matches!(error, Error::Unreachable(_)) && error.exit_code() == 3, "{error:?}");
    assert!(matches!(Client::connect(fake.options(&[])).await.err(), Some(Error::Invalid(_))));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_moved_is_found_and_one_fetch_serves_all() {
    let fake = Fake::new(&[]);
    let client = filled(&fake).await;
    fake.lead(1, 3);
    fake.place(1, &[3]);
    fake.maps_asked();
    let gets = futures_util::future::join_all((0..50).map(|_| client.get(b"a"))).await;
    assert!(gets.iter().all(Result::is_ok));
    let maps = fake.maps_asked();
    assert!((1..=3).contains(&maps), "{maps} fetches for 50 reads");
    assert_eq!(client.map().shard(ShardId(1)).unwrap().replicas.len(), 1);
    assert_eq!(client.leader(ShardId(1)), Some(NodeId(3)));
}

#[tokio::test(start_paused = true)]
async fn an_old_map_never_replaces_a_newer_one() {
    let fake = Fake::new(&[]);
    let client = filled(&fake).await;
    fake.freeze_map(2);
    fake.split(1, "f");
    let version = client.map().version;
    assert_eq!(client.get(b"k").await.unwrap().unwrap().value, "K");
    assert!(client.map().version > version);
    fake.tell_frozen_map(1);
    assert!(client.refresh().await.unwrap().version > version);
}

#[tokio::test(start_paused = true)]
async fn calls_to_a_member_share_a_connection() {
    let fake = Fake::new(&[]);
    let client = filled(&fake).await;
    let before = fake.wires.connects();
    let gets = futures_util::future::join_all((0..100).map(|_| client.get(b"a"))).await;
    assert!(gets.iter().all(Result::is_ok));
    assert_eq!(fake.wires.connects(), before);
    assert!(before <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_member_is_asked_for_itself() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    fake.faults(vec![Fault::LoseRequest]);
    client.node_status(NodeId(3)).await.unwrap();
    client.digest(NodeId(3), ShardId(1)).await.unwrap();
    assert_eq!(nodes(&fake.asked()), [NodeId(3), NodeId(3), NodeId(3)]);
    client.status().await.unwrap();
    let begun = tokio::time::Instant::now();
    assert!(matches!(client.node_status(NodeId(9)).await.unwrap_err(), Error::NotFound(_)));
    assert!(begun.elapsed() < Duration::from_secs(1));
}
