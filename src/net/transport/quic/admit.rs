//! From a handshake to a connection that may be used: both sides.
//!
//! Promises: nothing is handed out before the other side's identity, and its right to the class, are checked. Each refusal
//! is one log line: who, from where, why; of a flood only the first, and their number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use quinn::{ConnectionError, Endpoint, Incoming, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::connection::QuicConnection;
use super::places::{Place, Places};
use super::tls::{self, Dialer};
use super::{
    CODE_FULL, CODE_REFUSED, CONNECTIONS_MAX, Class, ConnectError, Connection, HANDSHAKE_TIMEOUT_MS, Peer,
    TransportCounts, endpoint,
};
use crate::model::id::NodeId;
use crate::net::exec::Exec;
use crate::net::identity::SERVER_NAME;

/// What the accepting side says to whom it admits.
const WELCOME: [u8; 1] = [1];

/// QUIC's transport error codes that carry a TLS alert.
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;
/// QUIC's transport error code of a refusal before the handshake.
const CONNECTION_REFUSED: u64 = 0x2;
/// Refusals are logged one by one up to this many in [`LOG_PERIOD`]; a flood must not fill the disk with lines.
const LOG_MAX: u32 = 50;
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// Accepts until the endpoint is closed.
pub(super) async fn accept_all(
    endpoint: Endpoint,
    dialer: Arc<Dialer>,
    queue: mpsc::Sender<Arc<dyn Connection>>,
    exec: Exec,
    counts: Arc<TransportCounts>,
) {
    let places = Arc::new(Places::default());
    // Apart, so that a crowd at the door does not hide who came in and was not who it said.
    let (crowd, log) = (RefusalLog::default(), Arc::new(RefusalLog::default()));
    while let Some(incoming) = endpoint.accept().await {
        let from = incoming.remote_address();
        if places.doubts(from) && !incoming.remote_address_validated() {
            // Costs us nothing to remember. Fails only if it was validated.
            let _ = incoming.retry();
            continue;
        }
        // Also those that were closed and still linger in the endpoint.
        let room = endpoint.open_connections() < CONNECTIONS_MAX;
        let place = match places.enter(from) {
            Ok(place) if room => place,
            refused => {
                counts.crowd.inc();
                crowd.refused(from, refused.err().unwrap_or("too many connections are open"));
                incoming.refuse();
                continue;
            }
        };
        let (dialer, queue, log) = (Arc::clone(&dialer), queue.clone(), Arc::clone(&log));
        let counts = Arc::clone(&counts);
        exec.spawn(async move {
            match admit(incoming, &dialer, place, &counts).await {
                Ok(connection) => {
                    // Fails only if we are shutting down.
                    let _ = queue.send(Arc::new(connection)).await;
                }
                Err(reason) => log.refused(from, &reason),
            }
        });
    }
}

/// One line a refusal, as long as there are not too many.
#[derive(Default)]
struct RefusalLog(Mutex<Option<(Instant, u32)>>);

impl RefusalLog {
    fn refused(&self, from: SocketAddr, reason: &str) {
        let now = Instant::now();
        let mut period = self.0.lock();
        let (since, count) = match *period {
            Some((since, count)) if now - since < LOG_PERIOD => (since, count + 1),
            old => {
                if let Some((_, count)) = old.filter(|(_, count)| *count > LOG_MAX) {
                    tracing::warn!(unlogged = count - LOG_MAX, "refused many connections");
                }
                (now, 1)
            }
        };
        *period = Some((since, count));
        drop(period);
        if count <= LOG_MAX {
            tracing::warn!(%from, reason, "refused a connection");
        }
    }
}

async fn admit(
    incoming: Incoming,
    dialer: &Dialer,
    mut place: Place,
    counts: &TransportCounts,
) -> Result<QuicConnection, String> {
    let handshake = async { incoming.accept()?.await };
    let limit = Duration::from_millis(HANDSHAKE_TIMEOUT_MS);
    let connection = match timeout(limit, handshake).await {
        Ok(shaken) => shaken.map_err(|error| error.to_string()),
        Err(_) => Err("the handshake took too long".to_owned()),
    };
    let connection = connection.inspect_err(|_| _ = counts.handshake.inc())?;
    let refuse = |count: &Counter, code: u32, reason: String| {
        count.inc();
        connection.close(code.into(), reason.as_bytes());
        reason
    };
    let judged = judge(&connection, dialer);
    let (peer, class) = judged.map_err(|reason| refuse(&counts.identity, CODE_REFUSED, reason))?;
    let settled = place.settle(&peer);
    settled.map_err(|reason| refuse(&counts.crowd, CODE_FULL, reason.to_owned()))?;
    endpoint::widen(&connection, class);
    let mut welcome = connection.open_uni().await.map_err(|error| error.to_string())?;
    welcome.write_all(&WELCOME).await.map_err(|error| error.to_string())?;
    Ok(QuicConnection { connection, peer, class, _place: Some(place) })
}

fn judge(connection: &quinn::Connection, dialer: &Dialer) -> Result<(Peer, Class), String> {
    let class = tls::class(connection).ok_or("it offers no protocol of ours")?;
    // Whoever joins is a stranger, whatever it could prove.
    let peer = match class {
        Class::Join => Peer::Stranger,
        _ => dialer.peer(connection).map_err(|error| error.to_string())?,
    };
    if !class.admits(&peer) {
        return Err(format!("{peer} is not admitted to {class:?}"));
    }
    Ok((peer, class))
}

/// Dials one address and waits until the other side admits us.
pub(super) async fn dial(
    endpoint: &Endpoint,
    dialer: &Dialer,
    to: SocketAddr,
    name: &str,
    class: Class,
    expect: Option<NodeId>,
) -> Result<Arc<dyn Connection>, ConnectError> {
    let refuse = |reason: String| ConnectError::Identity { address: name.to_owned(), reason };
    if dialer.loopback_only && !to.ip().is_loopback() {
        return Err(refuse(format!("{to} is not a loopback address, and there is no security here")));
    }
    let Some(config) = dialer.configs.get(&class) else {
        return Err(refuse(format!("without a certificate nothing but joining is possible, not {class:?}")));
    };
    let failed = |error: ConnectionError| failure(name, error);
    let connecting = endpoint.connect_with(config.clone(), to, SERVER_NAME).map_err(|error| match error {
        quinn::ConnectError::EndpointStopping => ConnectError::Closed,
        error => ConnectError::Unreachable { address: name.to_owned(), source: error.into() },
    })?;
    let connection = connecting.await.map_err(failed)?;
    let peer = dialer.peer(&connection).map_err(|error| refuse(error.to_string()))?;
    let wrong = match (&peer, expect) {
        (Peer::Node(node), Some(expect)) if *node != expect => {
            Some(format!("it is node {node}, not {expect}"))
        }
        (Peer::Node(_), _) => None,
        (peer, _) => Some(format!("it is {peer}, not a member")),
    };
    if let Some(reason) = wrong {
        tracing::warn!(%to, reason, "refused whom we dialed");
        connection.close(CODE_REFUSED.into(), reason.as_bytes());
        return Err(refuse(reason));
    }
    let mut welcome = connection.accept_uni().await.map_err(failed)?;
    let mut word = [0; WELCOME.len()];
    match welcome.read_exact(&mut word).await {
        Ok(()) if word == WELCOME => {}
        _ => {
            let error = connection.close_reason().map(failed);
            return Err(error.unwrap_or_else(|| refuse("it speaks another protocol".to_owned())));
        }
    }
    Ok(Arc::new(QuicConnection { connection, peer, class, _place: None }))
}

/// What the other side's TLS alert says about our certificate.
fn alert_words(alert: u8) -> Option<&'static str> {
    match alert {
        42 | 43 | 46 | 51 => Some("our certificate is not valid there"),
        44 => Some("our certificate was revoked"),
        45 => Some("our certificate has expired, or is not valid yet by its clock"),
        48 => Some("our certificate was issued by another cluster's authority"),
        116 => Some("a certificate is needed, and we have none"),
        120 => Some("it speaks another version of the protocol"),
        _ => None,
    }
}

/// Tells a refusal from a broken line.
fn failure(name: &str, error: ConnectionError) -> ConnectError {
    let address = name.to_owned();
    let alert = |code: u64| TLS_ALERTS.contains(&code);
    match &error {
        ConnectionError::LocallyClosed => ConnectError::Closed,
        ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from(CODE_REFUSED) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            ConnectError::Refused { address, reason }
        }
        ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from(CODE_FULL) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            ConnectError::Full { address, reason }
        }
        ConnectionError::ConnectionClosed(remote) if u64::from(remote.error_code) == CONNECTION_REFUSED => {
            let reason = "too many are open or being opened".to_owned();
            ConnectError::Full { address, reason }
        }
        ConnectionError::TransportError(local) if alert(local.code.into()) => {
            ConnectError::Identity { address, reason: error.to_string() }
        }
        ConnectionError::ConnectionClosed(remote) if alert(remote.error_code.into()) => {
            let reason = alert_words(u64::from(remote.error_code) as u8);
            ConnectError::Refused { address, reason: reason.map_or_else(|| error.to_string(), str::to_owned) }
        }
        _ => ConnectError::Unreachable { address, source: error.into() },
    }
}
