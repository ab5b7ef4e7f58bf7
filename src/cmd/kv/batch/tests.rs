//! Tests of batches: what lines mean, in which order groups go, what a failure promises.

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

type Sent = Arc<Mutex<Vec<Vec<BatchOperation>>>>;

fn recording(
    sent: &Sent,
    fail_at: Option<usize>,
) -> impl Fn(Vec<BatchOperation>) -> BoxFuture<'static, Result<u64, Failure>> {
    let sent = sent.clone();
    move |operations| {
        let count = operations.len() as u64;
        sent.lock().push(operations);
        let fails = fail_at == Some(sent.lock().len());
        Box::pin(async move {
            tokio::task::yield_now().await;
            if fails { Err(Failure::new(Exit::Unreachable, "gone")) } else { Ok(count) }
        })
    }
}

async fn run(text: String, fail_at: Option<usize>) -> (Result<u64, Failure>, Vec<usize>) {
    let sent = Sent::default();
    let mut writer = Writer::new(recording(&sent, fail_at));
    let mut lines = Lines::new(text.as_bytes());
    let fed = feed(&mut lines, &mut writer, |_| {}).await;
    let result = writer.finish(fed).await;
    let sizes = sent.lock().iter().map(Vec::len).collect();
    (result, sizes)
}

fn puts(count: usize) -> String {
    (0..count).map(|n| format!("{{\"put\":{{\"key\":\"/{n}\",\"value\":\"v\"}}}}\n")).collect()
}

#[tokio::test]
async fn groups_are_bounded_and_everything_is_counted() {
    let (result, sizes) = run(puts(600), None).await;
    assert_eq!(result, Ok(600));
    assert_eq!(sizes, [GROUP_MAX_OPERATIONS, GROUP_MAX_OPERATIONS, 88]);
}

#[tokio::test]
async fn a_key_never_travels_twice_at_once() {
    let again = "{\"put\":{\"key\":\"/0\",\"value\":\"1\"}}\n\n{\"del\":{\"key\":\"/0\"}}\n".to_owned();
    let (result, sizes) = run(again, None).await;
    assert_eq!((result, sizes), (Ok(2), vec![1, 1]));
}

#[tokio::test]
async fn a_wrong_line_is_named_and_nothing_changed_before_it_is_exit_2() {
    let (result, sizes) = run("{\"del\":{\"key\":\"/a\"}}\n{\"delete\":1}\n".to_owned(), None).await;
    let failure = result.unwrap_err();
    assert!(failure.error.starts_with("line 2: "), "{}", failure.error);
    assert_eq!((failure.exit, sizes.len()), (Exit::Usage, 0));
}

#[tokio::test]
async fn after_a_part_was_written_nobody_says_that_nothing_changed() {
    let (result, _) = run(puts(GROUP_MAX_OPERATIONS + 1) + "nonsense\n", None).await;
    assert_eq!(result.unwrap_err().exit, Exit::Unknown);
    let (result, _) = run(puts(3 * GROUP_MAX_OPERATIONS), Some(2)).await;
    let failure = result.unwrap_err();
    assert!(failure.error.starts_with("lines 257 to 512: "), "{}", failure.error);
    assert_eq!(failure.exit, Exit::Unknown);
}

#[tokio::test]
async fn a_single_operation_that_failed_cleanly_says_so() {
    let (result, _) = run(puts(1), Some(1)).await;
    assert_eq!(result.unwrap_err().exit, Exit::Unreachable);
}

#[test]
fn what_lines_mean() {
    let put = parse(br#"{"put":{"key_b64":"/w==","value_b64":"AA==","ttl":"30m"}}"#).unwrap();
    let BatchOperation::Put { key, value, ttl } = put else { panic!("a put") };
    assert_eq!((&key[..], &value[..], ttl), (&b"\xff"[..], &b"\0"[..], Some(Duration::from_secs(1_800))));
    let wrong: [&[u8]; 10] = [
        b"",
        b"[]",
        b"\xff",
        br#"{"put":{"key":"/a"}}"#,
        br#"{"put":{"value":"/a"}}"#,
        br#"{"put":{"key":"/a","key_b64":"/w==","value":""}}"#,
        br#"{"put":{"key":"","value":""}}"#,
        br#"{"put":{"key":"/a","value":"","ttl":"soon"}}"#,
        br#"{"del":{"key":"/a","value":""}}"#,
        br#"{"del":{"key":"/a"},"put":{"key":"/a","value":""}}"#,
    ];
    for line in wrong {
        assert_eq!(
            parse(line).err().map(|failure| failure.exit),
            Some(Exit::Usage),
            "{}",
            line.escape_ascii()
        );
    }
    assert_eq!(parse(br#"{"del":{"key":"_/a"}}"#).unwrap_err().exit, Exit::Forbidden);
}
