//! The network seam: connections that carry streams of bytes.
//!
//! What stands above it (frames, calls, Raft, clients) is the same code over real QUIC ([`quic`]) and over the
//! simulated network ([`sim`]).
//!
//! Promises: bytes of one stream arrive in order, unchanged, or the stream breaks. A connection's [`Peer`] was proved by
//! the other side before the connection is handed out. Does not promise that anything arrives.

pub mod quic;
pub mod sim;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::id::NodeId;

pub use crate::net::identity::Peer;

/// An attempt to connect is given up after this long, milliseconds.
pub const CONNECT_TIMEOUT_MS: u64 = 3_000;
/// A connection over which nothing arrived for this long is gone, milliseconds.
pub const IDLE_TIMEOUT_MS: u64 = 10_000;

/// What a connection is for. One connection a pair of members and class, so that bulk never delays a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Votes, heartbeats, reports, small requests between members.
    Control,
    /// Log entries.
    Append,
    /// Snapshots and other large files.
    Bulk,
    /// Requests of clients.
    Client,
    /// The one request of a node that is not a member yet.
    Join,
}

impl Class {
    /// Every class there is.
    pub const ALL: [Class; 5] = [Class::Control, Class::Append, Class::Bulk, Class::Client, Class::Join];

    /// Whether somebody with this identity may make such a connection. The side that accepts asks this before it hands
    /// the connection out.
    pub fn admits(self, peer: &Peer) -> bool {
        match (self, peer) {
            (Class::Control | Class::Append | Class::Bulk, Peer::Node(_)) => true,
            (Class::Control | Class::Append | Class::Bulk, Peer::Client(_) | Peer::Stranger) => false,
            // A member forwards and asks like a client.
            (Class::Client, Peer::Node(_) | Peer::Client(_)) => true,
            (Class::Client, Peer::Stranger) => false,
            (Class::Join, _) => true,
        }
    }
}

/// Where a member can be reached: `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub String);

/// One bidirectional stream.
pub struct Pipe {
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// `shutdown` tells the other side that no more bytes come.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// What a transport counts, since the start.
#[derive(Debug, Default)]
pub struct TransportCounts {
    /// What it sent and received, in bytes, as the layer below takes it (over QUIC: the contents of UDP datagrams). The
    /// simulated network counts none.
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
    /// Connections that others tried to make: there were too many, in all or of one address.
    pub crowd: Counter,
    /// The handshake broke off, took too long, or showed a certificate that is not believed.
    pub handshake: Counter,
    /// The identity was proved and does not give a right to the class of connection asked for.
    pub identity: Counter,
}

/// Makes and accepts connections.
pub trait Transport: Send + Sync + 'static {
    /// Connects to a member. With `expect`, the other side must prove to be that member.
    fn connect(
        &self,
        to: &Address,
        class: Class,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Arc<dyn Connection>, ConnectError>>;

    /// The next connection somebody made to us; `None` once closed.
    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>>;

    /// What it has counted.
    fn counts(&self) -> Arc<TransportCounts>;

    /// Where we listen; port 0 if we do not.
    fn local_addr(&self) -> SocketAddr;

    /// Stops accepting, says goodbye to everybody, waits until that is sent.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A live connection. Dropping the last reference closes it.
pub trait Connection: Send + Sync + 'static {
    fn peer(&self) -> &Peer;
    fn class(&self) -> Class;
    fn remote_addr(&self) -> SocketAddr;

    /// Opens a stream. The other side sees it with the first byte written.
    fn open(&self) -> BoxFuture<'_, io::Result<Pipe>>;

    /// The next stream the other side opened.
    fn accept(&self) -> BoxFuture<'_, io::Result<Pipe>>;

    /// Returns once the connection is gone, whoever ended it.
    fn closed(&self) -> BoxFuture<'_, ()>;

    fn close(&self, reason: &str);
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot resolve `{address}`")]
    Resolve { address: String, source: io::Error },
    #[error("no answer from {address}")]
    Unreachable { address: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{address} did not prove what it should be: {reason}")]
    Identity { address: String, reason: String },
    /// Our own identity, or the want of one: asking again helps nobody.
    #[error("{address} does not accept who we are: {reason}")]
    Refused { address: String, reason: String },
    /// Try later, or elsewhere.
    #[error("{address} takes no more connections: {reason}")]
    Full { address: String, reason: String },
    #[error("this side is shutting down")]
    Closed,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
