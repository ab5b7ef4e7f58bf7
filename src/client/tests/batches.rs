//! Batches: grouped, bounded, in order where order shows.

use std::sync::Arc;

use super::fake::{Fake, Fault, failure};
use crate::client::{BatchOperation, Error, ErrorOutcome, Trouble};
use crate::net::wire::{FailureCode, request};

fn put(key: impl Into<String>, value: impl Into<String>) -> BatchOperation {
    BatchOperation::Put { key: key.into().into(), value: value.into().into(), ttl: None }
}

fn delete(key: &str) -> BatchOperation {
    BatchOperation::Delete { key: key.to_owned().into() }
}

/// Operations and bytes of each write asked for.
fn sizes(fake: &Fake) -> Vec<(usize, usize)> {
    let size = |request: &request::Body| match request {
        request::Body::Write(write) => {
            let write = write.write.as_ref().unwrap();
            Some((write.operations.len(), prost::Message::encoded_len(write)))
        }
        _ => None,
    };
    fake.asked().iter().filter_map(|(_, request)| size(request.body.as_ref().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_in_bounded_writes_to_its_shards() {
    let fake = Fake::new(&["k3", "k6"]);
    let client = fake.client().await;
    for key in ["k1", "k4", "k7"] {
        client.put(key.as_bytes(), "x").await.unwrap(); // leaders are known now
    }
    fake.asked();
    let operations = (0..9_000).map(|n| put(format!("k{}", n % 10_000 + 10_000), "v")).collect();
    let summary = client.batch(operations).await.unwrap();
    assert_eq!((summary.operations, summary.applied, summary.overtaken), (9_000, 9_000, 0));
    let sizes = sizes(&fake);
    assert_eq!(summary.writes, sizes.len() as u64);
    assert!(sizes.iter().all(|(operations, _)| *operations <= 256));
    assert!(sizes.len() < 45, "{} writes", sizes.len());
    assert_eq!(fake.value("k18999").as_deref(), Some("v"));
}

#[tokio::test(start_paused = true)]
async fn large_values_travel_in_small_company() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    let operations = (0..20).map(|n| put(format!("k{n}"), "v".repeat(300_000))).collect();
    client.batch(operations).await.unwrap();
    let sizes = sizes(&fake);
    assert!(
        sizes.iter().all(|(operations, bytes)| *operations <= 3 && *bytes < (1 << 20) + 1_000),
        "{sizes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_operation_on_a_key_wins() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    let mut batcher = client.batcher();
    let mut n = 0;
    fake.rule(move |_, body| {
        // Some writes are put off, so later ones would overtake them.
        n += 1;
        (matches!(body, request::Body::Write(_)) && n % 3 == 1)
            .then(|| Fault::Say(failure(FailureCode::FailureBusy)))
    });
    for round in 0..5 {
        for n in 0..5_000 {
            batcher.push(put(format!("k{n}"), format!("{round}"))).await.unwrap();
        }
    }
    batcher.push(delete("k7")).await.unwrap();
    let summary = batcher.finish().await.unwrap();
    assert_eq!(summary.applied + summary.overtaken, summary.operations);
    for n in [0, 1, 1_500, 3_191, 3_192, 4_999] {
        assert_eq!(fake.value(&format!("k{n}")).as_deref(), Some("4"));
    }
    assert_eq!(fake.value("k7"), None);
}

#[tokio::test(start_paused = true)]
async fn a_split_under_a_batch_loses_and_repeats_nothing() {
    // The first copy of the write covers both halves of the split; in one case it was done, in the other not.
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let fake = Fake::new(&[]);
        let client = fake.client().await;
        client.put(b"a", "0").await.unwrap();
        fake.asked();
        let applied_before = matches!(fault, Fault::LoseAnswer);
        let mut fault = Some(fault);
        let splitter = Arc::clone(&fake);
        let (asked, was_asked) = tokio::sync::oneshot::channel();
        let mut asked = Some(asked);
        fake.rule(move |_, body| match body {
            request::Body::Write(_) => {
                asked.take().map(|asked| asked.send(()));
                fault.take()
            }
            _ => None,
        });
        let split = async move {
            was_asked.await.unwrap();
            splitter.split(1, "m");
        };
        let operations = vec![put("a", "1"), put("b", "1"), put("x", "1"), put("y", "1")];
        let (summary, ()) = tokio::join!(client.batch(operations), split);
        let summary = summary.unwrap();
        assert_eq!(summary.applied, 4);
        assert_eq!(summary.writes, if applied_before { 1 } else { 2 });
        for key in ["a", "b", "x", "y"] {
            assert_eq!(fake.value(key).as_deref(), Some("1"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_stops_half_way_says_so() {
    let fake = Fake::new(&["m"]); // shard 2 from `m` on is led by member 3
    let client = fake.client().await;
    fake.rule(|_, body| match body {
        request::Body::Write(write) if write.shard == 2 => {
            Some(Fault::Say(failure(FailureCode::FailureForbidden)))
        }
        _ => None,
    });
    let error = client.batch(vec![put("a", "1"), put("x", "1")]).await.unwrap_err();
    assert_eq!(error.outcome(), ErrorOutcome::Unknown);
    let Error::Unknown(Trouble::Partial { applied: 1, operations: 2, source }) = error else {
        panic!("{error:?}")
    };
    assert!(matches!(*source, Error::Forbidden(_)));
    let error = client.batch(vec![put("x", "1"), put("y", "1")]).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden(_)), "nothing changed: {error:?}");
}

#[tokio::test(start_paused = true)]
async fn one_bad_operation_stops_a_batch_before_it_begins() {
    let fake = Fake::new(&[]);
    let client = fake.client().await;
    let error = client.batch(vec![put("a", "1"), put("", "1")]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    assert_eq!(fake.asked().len(), 0);
    assert_eq!(client.batch(Vec::new()).await.unwrap(), Default::default());
}
