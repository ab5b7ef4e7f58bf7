//! HTTP for machines that watch: `/healthz` (the process lives), `/readyz` (it serves), `/metrics` (see `METRICS.md`).
//!
//! Read-only and without secrets, so it needs no identity; and since it needs none, everything about it is small:
//!
//! | what | at most |
//! |---|---|
//! | connections | [`CONNECTIONS_MAX`], from one address [`CONNECTIONS_PER_ADDRESS_MAX`]; more are answered 503 |
//! | a request's head | [`HEAD_MAX_BYTES`], [`HEADERS_MAX`] lines, [`HEAD_TIMEOUT_MS`] |
//! | a connection | one request, [`CONNECTION_TIMEOUT_MS`] whatever it does |
//!
//! Bodies are not read. Does not serve data.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::model::id::ShardId;
use crate::net::exec::Exec;

use super::metrics::Metrics;
use super::shards::Shards;
use super::stall;
use super::wal::Wal;

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 256;
/// Of these, from one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// First line and headers of a request, bytes; longer ones are answered 431.
pub const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Header lines of a request; more are answered 431.
pub const HEADERS_MAX: usize = 64;
/// Within this time the head must be here, milliseconds.
pub const HEAD_TIMEOUT_MS: u64 = 5_000;
/// Within this time the answer must be taken, milliseconds from the beginning of the connection.
pub const CONNECTION_TIMEOUT_MS: u64 = 15_000;

/// What is said to whom there is no room for.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 21\r\n\
    connection: close\r\n\r\ntoo many connections\n";
/// What the metrics' text is.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// After an error of the listener itself, such as no file descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` changes. Returns where.
pub async fn serve(
    listen: SocketAddr,
    exec: Exec,
    shards: Shards,
    wal: Wal,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let refused = metrics.http_refused().clone();
    let ready = (shards, wal);
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness(&ready.0, &ready.1) }))
        .route("/metrics", get(move || text(metrics.clone(), exec)));
    exec.spawn(async move {
        tokio::select! {
            biased;
            // An error means that the node is gone.
            _ = stop.wait_for(|stop| *stop) => {}
            () = accept(listener, router, exec, refused) => {}
        }
    });
    Ok(address)
}

/// What the node tells of itself.
async fn text(metrics: Arc<Metrics>, exec: Exec) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPENMETRICS)], metrics.scrape(exec).await)
}

async fn accept(listener: TcpListener, router: Router, exec: Exec, refused: Counter) {
    let guests = Arc::new(Guests::default());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match guests.enter(from.ip()) {
                Some(guest) => drop(exec.spawn(converse(stream, router.clone(), guest))),
                None => {
                    refused.inc();
                    // If even this does not fit the socket, nobody reads there.
                    let _ = stream.try_write(FULL);
                }
            },
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "HTTP takes no connection for a moment");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request, one answer.
async fn converse(stream: TcpStream, router: Router, _guest: Guest) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_TIMEOUT_MS))
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(Duration::from_millis(CONNECTION_TIMEOUT_MS), served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
        Err(_) => tracing::debug!("an HTTP connection was out of time"),
    }
}

/// Who is connected, by address.
#[derive(Default)]
struct Guests(Mutex<BTreeMap<IpAddr, usize>>);

struct Guest {
    guests: Arc<Guests>,
    from: IpAddr,
}

impl Guests {
    fn enter(self: &Arc<Guests>, from: IpAddr) -> Option<Guest> {
        let mut connected = self.0.lock();
        let all: usize = connected.values().sum();
        let here = connected.get(&from).copied().unwrap_or_default();
        if all >= CONNECTIONS_MAX || here >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        connected.insert(from, here + 1);
        drop(connected);
        Some(Guest { guests: Arc::clone(self), from })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut connected = self.guests.0.lock();
        let here = connected.get_mut(&self.from).expect("a guest is counted");
        *here -= 1;
        if *here == 0 {
            connected.remove(&self.from);
        }
    }
}

/// Ready: the disk moves, the meta shard is here and has a leader, and no replica has failed.
fn readiness(shards: &Shards, wal: &Wal) -> (StatusCode, String) {
    if let Some(waiting) = stall::stalled(wal) {
        let why = format!("the disk hangs: it has finished no write for {} s\n", waiting.as_secs());
        return (StatusCode::SERVICE_UNAVAILABLE, why);
    }
    let meta = shards.get(ShardId::META).map(|meta| meta.group.leadership());
    if meta.is_none_or(|leadership| leadership.node.is_none()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the meta shard has no leader\n".to_owned());
    }
    let failed: Vec<_> = shards
        .all()
        .iter()
        .filter_map(|replica| Some(format!("{}: {}", replica.shard, replica.group.status().failure?)))
        .collect();
    match failed.is_empty() {
        true => (StatusCode::OK, "ready\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, failed.join("\n") + "\n"),
    }
}

#[cfg(test)]
mod tests;
