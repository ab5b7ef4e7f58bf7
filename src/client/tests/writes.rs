//! Writes: applied once however often they are sent, and never called failed while in doubt. failures.md row 24.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::fake::{Fake, Fault, failure, identities, nodes, refused};
use super::wires::How;
use crate::client::session::IN_FLIGHT_MAX;
use crate::client::{Cas, Client, Error, ErrorOutcome, Expected, PutOptions};
use crate::model::id::NodeId;
use crate::model::time::Timestamp;
use crate::model::wire::Refusal;
use crate::net::wire::{FailureCode, admin_request, request};

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_nothing_is_done_twice() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    fake.faults(vec![Fault::LoseAnswer, Fault::LoseRequest, Fault::LoseAnswer]);
    assert_eq!(client.incr(b"n", 5).await.unwrap(), 5);
    let identities = identities(&fake.asked());
    assert!(identities.len() >= 4);
    assert!(identities.iter().all(|identity| *identity == identities[0]), "{identities:?}");
    assert_eq!(fake.value("n").as_deref(), Some("5"));
}

#[tokio::test(start_paused = true)]
async fn a_counter_under_random_losses_is_exact() {
    let fake = Fake::new(&["c"]);
    let client = fake.client().await;
    let mut n = 0u64;
    fake.rule(move |_, _| {
        n += 1;
        match n * 2_654_435_761 % 97 % 7 {
            0 => Some(Fault::LoseRequest),
            1 => Some(Fault::LoseAnswer),
            2 => Some(Fault::DoAndSay(failure(FailureCode::FailureUnknown))),
            3 => Some(Fault::Say(failure(FailureCode::FailureBusy))),
            _ => None,
        }
    });
    let results = join_all((0..200).map(|n| {
        let client = client.clone();
        async move { client.incr(if n % 2 == 0 { b"a" } else { b"d" }, 1).await }
    }));
    let results = results.await;
    let done = results.iter().filter(|result| result.is_ok()).count() as i64;
    let unknown = results
        .iter()
        .filter(|result| matches!(result, Err(error) if error.outcome() == ErrorOutcome::Unknown))
        .count() as i64;
    let sum: i64 = ["a", "d"].iter().map(|key| fake.value(key).unwrap().parse::<i64>().unwrap()).sum();
    assert!(done > 100, "{done} done");
    assert!((done..=done + unknown).contains(&sum), "{done} done, {unknown} unknown, {sum} counted");
}

#[tokio::test(start_paused = true)]
async fn the_leader_is_found_by_hint_and_by_turns() {
    let fake = Fake::new(&[]); // member 2 leads shard 1
    let client = fake.client().await;
    client.put(b"k", "1").await.unwrap();
    assert_eq!(nodes(&fake.asked()), [NodeId(1), NodeId(2)], "a hint is followed at once");
    client.put(b"k", "2").await.unwrap();
    assert_eq!(nodes(&fake.asked()), [NodeId(2)], "the leader is remembered");
    fake.no_hints();
    fake.lead(1, 3);
    client.put(b"k", "3").await.unwrap();
    assert_eq!(*nodes(&fake.asked()).last().unwrap(), NodeId(3));
}

/// Also one that was silent last, while the others answer at once that they know nobody who leads.
#[tokio::test(start_paused = true)]
async fn everybody_gets_a_turn_until_the_leader_is_found() {
    for leader in 1..=3 {
        let fake = Fake::new(&[]);
        let client = fake.client().await;
        client.put(b"k", "1").await.unwrap();
        fake.no_hints();
        fake.lead(1, leader);
        let mut refused = 0;
        fake.rule(move |node, body| match body {
            request::Body::Write(_) if refused < 5 => {
                refused += 1;
                Some(match node == leader {
                    true => Fault::LoseRequest,
                    false => Fault::Say(failure(FailureCode::FailureNotLeader)),
                })
            }
            _ => None,
        });
        let put = client.put(b"k", "2").await;
        assert!(put.is_ok(), "{leader} leads: {put:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_members_that_point_at_each_other_do_not_make_a_storm() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    fake.rule(|node, body| match body {
        request::Body::Write(_) => {
            let leader_node = 1 + node % 2;
            let failure = failure(FailureCode::FailureNotLeader);
            Some(Fault::Say(crate::net::wire::Failure { leader_node, ..failure }))
        }
        _ => None,
    });
    let error = client.put(b"k", "1").await.unwrap_err();
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    let asked = fake.asked().len();
    assert!((10..100).contains(&asked), "{asked} attempts in 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_costs_no_more_than_one_attempt() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "1").await.unwrap();
    fake.wires.set(2, How::Silent);
    fake.lead(1, 3);
    let begun = Instant::now();
    client.put(b"k", "2").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let begun = Instant::now();
    client.put(b"k", "3").await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_that_others_still_name_is_not_waited_for_again_and_again() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "1").await.unwrap();
    fake.wires.set(2, How::Silent);
    let begun = Instant::now();
    let election = async {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        fake.lead(1, 3);
    };
    let (put, ()) = tokio::join!(client.put(b"k", "2"), election);
    put.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(3_600), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_of_many_shards_is_waited_for_once() {
    let fake = Fake::new(&["m"]);
    [1, 2].into_iter().for_each(|shard| fake.lead(shard, 2));
    let client = fake.client().await;
    for key in ["a", "z"] {
        client.put(key.as_bytes(), "1").await.unwrap();
    }
    fake.wires.set(2, How::Silent);
    [1, 2].into_iter().for_each(|shard| fake.lead(shard, 3));
    client.put(b"a", "2").await.unwrap();
    let begun = Instant::now();
    client.put(b"z", "2").await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_never_arrived_changed_nothing() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    (1..=3).for_each(|node| fake.wires.set(node, How::Gone));
    tokio::time::sleep(Duration::from_millis(1)).await; // the client has noticed
    let begun = Instant::now();
    let error = client.put(b"k", "1").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)) && error.retryable(), "{error:?}");
    assert_eq!((error.outcome(), error.exit_code()), (ErrorOutcome::Failed, 3));
    let took = begun.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_millis(10_100)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn definite_failures_until_the_end_changed_nothing() {
    for code in [FailureCode::FailureBusy, FailureCode::FailureTimeout, FailureCode::FailureNotLeader] {
        let fake = Fake::new(&[]);
        let client = fake.client().await;
        fake.rule(move |_, body| match body {
            request::Body::Write(_) => Some(Fault::Say(failure(code))),
            _ => None,
        });
        let error = client.put(b"k", "1").await.unwrap_err();
        assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
        assert_eq!(error.outcome(), ErrorOutcome::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn one_attempt_in_doubt_makes_all_later_failures_unknown() {
    for doubt in [Fault::LoseRequest, Fault::Swallow, Fault::Say(failure(FailureCode::FailureUnknown))] {
        for code in [FailureCode::FailureTimeout, FailureCode::FailureForbidden, FailureCode::FailureInvalid]
        {
            let fake = Fake::new(&[]);
            let client = fake.client().await;
            let mut doubt = Some(match &doubt {
                Fault::LoseRequest => Fault::LoseRequest,
                Fault::Swallow => Fault::Swallow,
                _ => Fault::Say(failure(FailureCode::FailureUnknown)),
            });
            fake.rule(move |_, body| match body {
                request::Body::Write(_) => Some(doubt.take().unwrap_or(Fault::Say(failure(code)))),
                _ => None,
            });
            let error = client.put(b"k", "1").await.unwrap_err();
            assert_eq!((error.outcome(), error.exit_code()), (ErrorOutcome::Unknown, 6), "{error:?}");
            assert!(!error.retryable());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_condition_stays_failed_whatever_comes_late() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "there").await.unwrap();
    fake.faults(vec![Fault::Late]);
    // The first copy hangs in the network; the second is judged.
    let failed = client.cas(b"k", Expected::Absent, "mine").await.unwrap();
    assert!(matches!(&failed, Cas::Failed { found: Some(found) } if found.value == "there"), "{failed:?}");
    // Its condition comes to hold, and the copy that was late comes too: the shard remembers what it has answered.
    let other = Client::connect(fake.options(&[2])).await.unwrap();
    other.delete(b"k").await.unwrap();
    fake.do_late();
    assert_eq!(fake.value("k"), None);
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_held_the_first_time_is_answered_as_then() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    fake.faults(vec![Fault::LoseAnswer]);
    let done = client.cas(b"k", Expected::Absent, "mine").await.unwrap();
    assert!(matches!(done, Cas::Done { .. }), "judged anew it would fail: {done:?}");
    match client.cas(b"k", Expected::Value("yours".into()), "x").await.unwrap() {
        Cas::Failed { found: Some(found) } => assert_eq!(found.value, "mine"),
        other => panic!("{other:?}"),
    }
    let Cas::Done { stamp } = done else { unreachable!() };
    assert!(matches!(client.cas(b"k", Expected::Stamp(stamp), "x").await.unwrap(), Cas::Done { .. }));
    assert!(matches!(client.cas(b"no", Expected::Present, "x").await.unwrap(), Cas::Failed { found: None }));
    assert!(client.delete(b"k").await.unwrap() && !client.delete(b"k").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_comes_late_after_the_answer_does_nothing() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    fake.faults(vec![Fault::Late]);
    assert_eq!(client.incr(b"n", 1).await.unwrap(), 1);
    fake.do_late();
    assert_eq!(fake.value("n").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_client_begins_anew_if_nothing_is_in_doubt() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "0").await.unwrap();
    fake.forget_clients();
    fake.asked();
    client.put(b"k", "1").await.unwrap();
    let identities = identities(&fake.asked());
    assert_eq!(identities.len(), 2);
    assert!(identities[1].sequence > identities[0].sequence);
    assert!(identities[1].first_seen > identities[0].first_seen);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_client_in_doubt_says_unknown() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "0").await.unwrap();
    fake.faults(vec![Fault::LoseAnswer, refused(Refusal::Forgotten)]);
    let error = client.incr(b"n", 1).await.unwrap_err();
    assert!(matches!(error, Error::Unknown(_)), "{error:?}");
    assert_eq!(fake.value("n").as_deref(), Some("1"), "it was done indeed");
}

#[tokio::test(start_paused = true)]
async fn lowest_awaited_rises_only_past_answered_writes() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "0").await.unwrap();
    fake.asked();
    fake.faults(vec![Fault::Slow(1_000)]);
    let slow = client.put(b"slow", "1");
    let quick = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.put(b"a", "1").await.unwrap();
        client.put(b"b", "1").await
    };
    let (slow, quick) = tokio::join!(slow, quick);
    slow.unwrap();
    quick.unwrap();
    client.put(b"c", "1").await.unwrap();
    let carried: Vec<_> = identities(&fake.asked())
        .iter()
        .map(|identity| (identity.sequence, identity.lowest_awaited))
        .collect();
    assert_eq!(carried, [(2, 2), (3, 2), (4, 2), (5, 5)]);
}

#[tokio::test(start_paused = true)]
async fn writes_under_way_are_bounded() {
    let fake = Fake::new(&["k1", "k2"]); // three leaders, so that no connection's own bound is met first
    let client = fake.client().await;
    for key in ["k0", "k1", "k2"] {
        client.put(key.as_bytes(), "0").await.unwrap();
    }
    fake.asked();
    fake.rule(|_, _| Some(Fault::Slow(1_000)));
    let writes = join_all((0..IN_FLIGHT_MAX + 500).map(|n| {
        let client = client.clone();
        async move { client.put(format!("k{}/{n}", n % 3).as_bytes(), "v").await }
    }));
    let look = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        fake.asked().len()
    };
    let (results, at_once) = tokio::join!(writes, look);
    assert_eq!(at_once, IN_FLIGHT_MAX);
    assert!(results.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_split_under_a_write_in_doubt_loses_and_repeats_nothing() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.incr(b"x", 1).await.unwrap();
    let splitter = Arc::clone(&fake);
    let (done, mut split) = tokio::sync::oneshot::channel::<()>();
    let mut done = Some(done);
    fake.rule(move |_, body| match body {
        request::Body::Write(_) => done.take().map(|done| {
            drop(done);
            Fault::LoseAnswer
        }),
        _ => None,
    });
    let write = client.incr(b"x", 1);
    let split = async {
        let _ = (&mut split).await;
        splitter.split(1, "m");
    };
    let (sum, ()) = tokio::join!(write, split);
    assert_eq!(sum.unwrap(), 2);
    assert_eq!(fake.value("x").as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn an_epoch_the_map_does_not_know_yet_is_taken_from_the_shard() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "0").await.unwrap();
    fake.freeze_map(u32::MAX);
    fake.place(1, &[2, 3]);
    let begun = Instant::now();
    client.put(b"k", "1").await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100));
    fake.asked();
    client.put(b"k", "2").await.unwrap();
    assert_eq!(fake.asked().len(), 1, "the epoch is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_server_timestamp_is_taken_after_idling() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    client.put(b"k", "0").await.unwrap();
    fake.maps_asked();
    client.put(b"k", "1").await.unwrap();
    assert_eq!(fake.maps_asked(), 0);
    tokio::time::sleep(Duration::from_secs(31)).await;
    client.put(b"k", "2").await.unwrap();
    assert_eq!(fake.maps_asked(), 1);
    assert!(client.seen() > Timestamp::ZERO);
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_told_apart_and_not_sent() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    let zero = PutOptions { ttl: Some(Duration::ZERO), condition: None };
    for error in [
        client.put(b"", "v").await.unwrap_err(),
        client.put(&[b'k'; 5_000], "v").await.unwrap_err(),
        client.put(b"k", vec![0; (16 << 20) + 1]).await.unwrap_err(),
        client.put_with(b"k", "v", &zero).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Invalid(_)) && error.exit_code() == 2, "{error:?}");
    }
    assert_eq!(fake.asked().len(), 0);
    client.put(b"word", "no number").await.unwrap();
    assert!(matches!(client.incr(b"word", 1).await.unwrap_err(), Error::Invalid(_)));
}

#[tokio::test(start_paused = true)]
async fn an_order_without_identity_is_not_repeated_once_it_may_have_arrived() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    let order = || {
        admin_request::Body::ConfigSet(crate::net::wire::ConfigSet {
            name: "reads.lease".to_owned(),
            value: "on".to_owned(),
            reset: false,
        })
    };
    fake.faults(vec![Fault::Say(failure(FailureCode::FailureBusy))]);
    client.admin(order()).await.unwrap();
    assert_eq!(fake.asked().len(), 2, "busy changed nothing");
    fake.faults(vec![Fault::LoseAnswer]);
    assert!(matches!(client.admin(order()).await.unwrap_err(), Error::Unknown(_)));
    assert_eq!(fake.asked().len(), 1);
    fake.faults(vec![Fault::Say(failure(FailureCode::FailureConflict))]);
    let error = client.admin(order()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)) && error.exit_code() == 5 && error.retryable());
    fake.faults(vec![Fault::Say(failure(FailureCode::FailureNotFound))]);
    assert!(matches!(client.admin(order()).await.unwrap_err(), Error::NotFound(_)));
}
