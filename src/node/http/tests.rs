//! Strangers at the HTTP port. failures.md, Security: HTTP/2, HTTP/1 (time-outs and limits before anything is buffered).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;

/// Longer than any answer takes, shorter than any time-out.
const SOON: Duration = Duration::from_secs(2);

/// A server with one page, and an answer of 64 MiB that nobody can take at once.
async fn served() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/large", get(|| async { vec![b'x'; 64 << 20] }));
    tokio::spawn(accept(listener, router, Exec::Threads, Counter::default()));
    address
}

async fn send(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // It may be closed in the middle of what we say.
    let _ = stream.write_all(bytes).await;
    stream
}

/// What comes until the other side closes.
async fn heard(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = send(to, bytes).await;
    timeout(SOON, heard(&mut stream)).await.expect("an answer, and then the end")
}

#[tokio::test]
async fn one_request_a_connection() {
    let address = served().await;
    let twice = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    let answer = ask(address, &twice).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn heads_are_bounded_and_garbage_is_answered() {
    let address = served().await;
    let line = format!("x: {}\r\n", "y".repeat(1000));
    let long = format!("GET /healthz HTTP/1.1\r\n{}\r\n", line.repeat(HEAD_MAX_BYTES / 1000 + 1));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(HEAD_MAX_BYTES));
    let cases: [(&[u8], &[&str]); 6] = [
        (long.as_bytes(), &["431"]),
        (many.as_bytes(), &["431"]),
        // The line alone fills the buffer.
        (path.as_bytes(), &["431", "414"]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS", &["400"]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["400", "505"]),
        (b"GET /healthz HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n", &["400"]),
    ];
    for (bytes, codes) in cases {
        let answer = ask(address, bytes).await;
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        // A hard close may overtake the answer; what counts is that it ends.
        let right = codes.iter().any(|code| answer.starts_with(&format!("HTTP/1.1 {code} ")));
        assert!(right || answer.is_empty(), "{begin:?}: {answer}");
    }
    // A body is not waited for, whatever its announced length.
    let body = b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000000\r\n\r\n";
    assert!(ask(address, body).await.starts_with("HTTP/1.1 200 "));
}

/// A slowloris: heads that never end, or never begin.
#[tokio::test]
async fn slow_heads_take_no_more_than_their_places_and_their_time() {
    let address = served().await;
    let begin = Instant::now();
    let mut slow = Vec::new();
    for n in 0..CONNECTIONS_PER_ADDRESS_MAX {
        slow.push(send(address, if n % 2 == 0 { b"GET / HT" } else { b"" }).await);
    }
    let refused = ask(address, b"").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.ends_with("too many connections\n"), "{refused}");
    for stream in &mut slow {
        timeout(Duration::from_millis(2 * HEAD_TIMEOUT_MS), heard(stream)).await.expect("it is thrown out");
    }
    assert!(begin.elapsed() >= Duration::from_millis(HEAD_TIMEOUT_MS / 2), "not before its time");
    let answer = ask(address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_reader_that_never_reads_is_out_of_time() {
    let address = served().await;
    let mut stream = send(address, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let begin = Instant::now();
    let limit = Duration::from_millis(CONNECTION_TIMEOUT_MS);
    // Not a byte is read meanwhile.
    sleep(limit + Duration::from_millis(500)).await;
    let answer = timeout(SOON, heard(&mut stream)).await.expect("it was closed");
    assert!(answer.len() < 64 << 20 && begin.elapsed() > limit, "{} bytes", answer.len());
}

#[test]
fn guests_are_counted_in_all_and_by_address() {
    let guests = Arc::new(Guests::default());
    let address = |n: u8| IpAddr::from([192, 0, 2, n]);
    let mut all: Vec<_> =
        (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| guests.enter(address(1)).unwrap()).collect();
    assert!(guests.enter(address(1)).is_none());
    all.extend((all.len()..CONNECTIONS_MAX).map(|_| guests.enter(address(2)).unwrap()));
    assert!(guests.enter(address(3)).is_none(), "full");
    all.pop();
    all.push(guests.enter(address(3)).unwrap());
    all.clear();
    assert!(guests.0.lock().is_empty());
}
