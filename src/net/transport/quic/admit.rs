//! From a handshake to a connection that may be used: both sides.
//!
//! Promises: nothing is handed out before the other side's identity, and its right to the class, are checked. Each refusal
//! is one log line: who, from where, why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, Endpoint, Incoming, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::connection::QuicConnection;
use super::tls::{self, Dialer};
use super::{
    CODE_REFUSED, CONNECTIONS_MAX, Class, ConnectError, Connection, HANDSHAKE_TIMEOUT_MS, HANDSHAKES_MAX,
    HANDSHAKES_UNCHECKED_MAX, Peer, STRANGERS_MAX, endpoint,
};
use crate::model::id::NodeId;
use crate::net::exec::Exec;
use crate::net::identity::SERVER_NAME;

/// What the accepting side says to whom it admits.
const WELCOME: [u8; 1] = [1];

/// QUIC's transport error codes that carry a TLS alert.
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

/// Accepts until the endpoint is closed.
pub(super) async fn accept_all(
    endpoint: Endpoint,
    dialer: Arc<Dialer>,
    queue: mpsc::Sender<Arc<dyn Connection>>,
    exec: Exec,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let place = Arc::clone(&handshakes).try_acquire_owned();
        let Ok(place) = place.map_err(|_| ()).and_then(|place| {
            if endpoint.open_connections() < CONNECTIONS_MAX { Ok(place) } else { Err(()) }
        }) else {
            tracing::warn!(from = %incoming.remote_address(), "refused a connection: too many");
            incoming.refuse();
            continue;
        };
        let under_way = HANDSHAKES_MAX - handshakes.available_permits();
        if under_way > HANDSHAKES_UNCHECKED_MAX && !incoming.remote_address_validated() {
            // Fails only if it was validated.
            let _ = incoming.retry();
            continue;
        }
        let (dialer, strangers, queue) = (Arc::clone(&dialer), Arc::clone(&strangers), queue.clone());
        exec.spawn(async move {
            let from = incoming.remote_address();
            match admit(incoming, &dialer, &strangers).await {
                Ok(connection) => {
                    // Fails only if we are shutting down.
                    let _ = queue.send(Arc::new(connection)).await;
                }
                Err(reason) => tracing::warn!(%from, reason, "refused a connection"),
            }
            drop(place);
        });
    }
}

async fn admit(
    incoming: Incoming,
    dialer: &Dialer,
    strangers: &Arc<Semaphore>,
) -> Result<QuicConnection, String> {
    let handshake = async { incoming.accept()?.await };
    let limit = Duration::from_millis(HANDSHAKE_TIMEOUT_MS);
    let connection = timeout(limit, handshake).await.map_err(|_| "the handshake took too long".to_owned())?;
    let connection = connection.map_err(|error| error.to_string())?;
    match judge(&connection, dialer, strangers) {
        Ok((peer, class, place)) => {
            endpoint::widen(&connection, class);
            let mut welcome = connection.open_uni().await.map_err(|error| error.to_string())?;
            welcome.write_all(&WELCOME).await.map_err(|error| error.to_string())?;
            Ok(QuicConnection { connection, peer, class, _place: place })
        }
        Err(reason) => {
            connection.close(CODE_REFUSED.into(), reason.as_bytes());
            Err(reason)
        }
    }
}

fn judge(
    connection: &quinn::Connection,
    dialer: &Dialer,
    strangers: &Arc<Semaphore>,
) -> Result<(Peer, Class, Option<OwnedSemaphorePermit>), String> {
    let class = tls::class(connection).ok_or("it offers no protocol of ours")?;
    // Whoever joins is a stranger, whatever it could prove.
    let peer = match class {
        Class::Join => Peer::Stranger,
        _ => dialer.peer(connection).map_err(|error| error.to_string())?,
    };
    if !class.admits(&peer) {
        return Err(format!("{peer} is not admitted to {class:?}"));
    }
    let place = match peer {
        Peer::Stranger => {
            Some(Arc::clone(strangers).try_acquire_owned().map_err(|_| "too many strangers are here")?)
        }
        Peer::Node(_) | Peer::Client(_) => None,
    };
    Ok((peer, class, place))
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

/// Tells a refusal from a broken line.
fn failure(name: &str, error: ConnectionError) -> ConnectError {
    let address = name.to_owned();
    let alert = |code: u64| TLS_ALERTS.contains(&code);
    match &error {
        ConnectionError::LocallyClosed => ConnectError::Closed,
        ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from(CODE_REFUSED) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            ConnectError::Identity { address, reason }
        }
        ConnectionError::TransportError(local) if alert(local.code.into()) => {
            ConnectError::Identity { address, reason: error.to_string() }
        }
        ConnectionError::ConnectionClosed(remote) if alert(remote.error_code.into()) => {
            ConnectError::Identity { address, reason: error.to_string() }
        }
        _ => ConnectError::Unreachable { address, source: error.into() },
    }
}
