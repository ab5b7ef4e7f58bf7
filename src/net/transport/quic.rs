//! Connections over QUIC (TLS 1.3, no early data, no resumption).
//!
//! The class of a connection is its ALPN, so a handshake settles who, what for, and which version of the protocol. The
//! accepting side then checks that the identity is admitted to the class ([`Class::admits`]) and says so with one byte on a
//! stream of its own; `connect` returns only after that, so a refusal is an error of `connect` and not of the first call.
//!
//! | [`Security`] | shows | believes |
//! |---|---|---|
//! | `Mutual` | its certificate and the authority's | members and clients with a certificate of the same authority and cluster |
//! | `JoinOnly` | nothing | a member whose chain leads to the authority with the pinned fingerprint |
//! | `Insecure` | a throw-away certificate that names whom it claims to be | whatever others claim; loopback addresses only |
//!
//! Promises: a connection handed out by `connect` or `accept` has the peer it says; what is refused is logged once. Before a
//! peer is known it gets small windows and few streams; handshakes and connections are counted and bounded, in all and for
//! each address (`places`). A
//! member restarted with the same key resets connections its predecessor had, so that others notice within
//! [`KEEP_ALIVE_MS`] instead of [`IDLE_TIMEOUT_MS`].
//! Does not: reload certificates, revoke them, retry.

mod socket;
mod endpoint;
mod tls;
mod places;
mod connection;
mod admit;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use endpoint::{Room, UNKNOWN, room};

use super::{
    Address, CONNECT_TIMEOUT_MS, Class, ConnectError, Connection, IDLE_TIMEOUT_MS, Peer, Pipe, Transport,
    TransportCounts,
};
use crate::model::id::NodeId;
use crate::net::exec::Exec;
use crate::net::identity::{Identity, IdentityError};

/// A sign of life is sent after this long without one, milliseconds.
pub const KEEP_ALIVE_MS: u64 = 2_000;
/// An accepted handshake must be done within this time, milliseconds.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// Handshakes that others may have under way with us, at most; more are refused.
pub const HANDSHAKES_MAX: usize = 256;
/// From this many on, others must first show that their address is theirs.
pub const HANDSHAKES_UNCHECKED_MAX: usize = 64;
/// Of these, from one address: the others are left room.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = HANDSHAKES_MAX / 2;
/// From this many on, an address must first show that it is its own.
pub const HANDSHAKES_UNCHECKED_PER_ADDRESS_MAX: usize = 16;
/// Connections in all, at most; more are refused.
pub const CONNECTIONS_MAX: usize = 4096;
/// Of these, from one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// Of these, with clients' certificates; more are closed. Members always find room.
pub const CLIENTS_MAX: usize = CONNECTIONS_MAX / 4 * 3;
/// Connections without an identity, at most; more are closed.
pub const STRANGERS_MAX: usize = 16;

/// Connections that nobody has accepted yet, at most; then handshakes wait.
const ACCEPT_QUEUE_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long `close` waits until others have heard it.
const CLOSE_TIMEOUT_MS: u64 = 1_000;

/// Application error codes of a closed connection.
const CODE_BYE: u32 = 0;
const CODE_REFUSED: u32 = 1;
const CODE_FULL: u32 = 2;

/// What we show and whom we believe.
#[derive(Clone, Debug)]
pub enum Security {
    /// A member or a client of a cluster.
    Mutual { identity: Identity, cluster_id: String },
    /// A node that is not a member yet: can only dial, only [`Class::Join`].
    JoinOnly { expect_ca_fingerprint: String },
    /// No security; refuses to bind or dial anything but loopback.
    Insecure { claim: Peer },
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("without security only loopback addresses are allowed, not {0}")]
    NotLoopback(SocketAddr),
    #[error("this transport can only dial")]
    CannotListen,
    #[error("the identity is not usable")]
    Identity(#[from] IdentityError),
    #[error("the identity is not usable")]
    Tls(#[from] rustls::Error),
    #[error("cannot bind {address}")]
    Socket { address: SocketAddr, source: io::Error },
}

/// One UDP socket, for dialing and (with a listen address) accepting.
pub struct QuicTransport {
    endpoint: quinn::Endpoint,
    dialer: Arc<tls::Dialer>,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Arc<dyn Connection>>>,
    local_addr: SocketAddr,
    listens: bool,
    counts: Arc<TransportCounts>,
}

impl QuicTransport {
    /// Binds a socket; must be called within a runtime. Without `listen` it can only dial.
    pub fn bind(
        listen: Option<SocketAddr>,
        security: Security,
        exec: Exec,
    ) -> Result<QuicTransport, BindError> {
        if let (Some(address), Security::Insecure { .. }) = (listen, &security)
            && !address.ip().is_loopback()
        {
            return Err(BindError::NotLoopback(address));
        }
        let tls = tls::Tls::new(&security)?;
        let server = match (listen, tls.server) {
            (None, _) => None,
            (Some(_), None) => return Err(BindError::CannotListen),
            (Some(_), Some(server)) => Some(endpoint::server_config(server)),
        };
        let listens = server.is_some();
        let counts = Arc::new(TransportCounts::default());
        let endpoint = endpoint::bind(listen, server, tls.reset_seed, &counts)?;
        let bound = endpoint.local_addr();
        let local_addr = bound.map_err(|source| BindError::Socket { address: endpoint::ANY_PORT, source })?;
        let (queue, accepted) = mpsc::channel(ACCEPT_QUEUE_MAX);
        if listens {
            let (dialer, counts) = (Arc::clone(&tls.dialer), Arc::clone(&counts));
            exec.spawn(admit::accept_all(endpoint.clone(), dialer, queue, exec, counts));
        }
        let accepted = tokio::sync::Mutex::new(accepted);
        Ok(QuicTransport { endpoint, dialer: tls.dialer, accepted, local_addr, listens, counts })
    }
}

impl Transport for QuicTransport {
    fn connect(
        &self,
        to: &Address,
        class: Class,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Arc<dyn Connection>, ConnectError>> {
        let (endpoint, dialer, to, v6) =
            (self.endpoint.clone(), Arc::clone(&self.dialer), to.0.clone(), self.local_addr.is_ipv6());
        Box::pin(async move {
            let candidates = resolve(&to, v6).await?;
            let share = Duration::from_millis(CONNECT_TIMEOUT_MS) / candidates.len() as u32;
            let mut last = None;
            for address in candidates {
                let attempt = admit::dial(&endpoint, &dialer, address, &to, class, expect);
                match timeout(share, attempt).await {
                    Ok(Ok(connection)) => return Ok(connection),
                    Ok(Err(error)) => last = Some(error),
                    Err(elapsed) => {
                        let source = io::Error::from(elapsed).into();
                        last = Some(ConnectError::Unreachable { address: to.clone(), source });
                    }
                }
            }
            Err(last.expect("a name resolves to at least one address"))
        })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>> {
        Box::pin(async { self.accepted.lock().await.recv().await })
    }

    fn counts(&self) -> Arc<TransportCounts> {
        Arc::clone(&self.counts)
    }

    fn local_addr(&self) -> SocketAddr {
        if self.listens { self.local_addr } else { endpoint::ANY_PORT }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.endpoint.close(CODE_BYE.into(), b"shutting down");
            let _ = timeout(Duration::from_millis(CLOSE_TIMEOUT_MS), self.endpoint.wait_idle()).await;
        })
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        // Ends the task that accepts.
        self.endpoint.close(CODE_BYE.into(), b"shutting down");
    }
}

/// The addresses of `HOST:PORT` that our socket can reach.
async fn resolve(to: &str, v6: bool) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve { address: to.to_owned(), source };
    let found = tokio::net::lookup_host(to).await.map_err(failed)?;
    let usable: Vec<SocketAddr> =
        found.filter(|address| v6 || address.is_ipv4()).take(ADDRESSES_MAX).collect();
    if usable.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address that our socket can reach")));
    }
    Ok(usable)
}
