//! The simulated network: connections in memory, with latency, partitions and deaths.
//!
//! Everything happens in tokio's time (meant to be paused) and every delay is drawn from one seeded [`Chance`], so a run
//! can be repeated. No tasks of its own: whoever waits, waits for what the state and the clock say, so a node that is
//! dropped with its `LocalSet` takes nothing of the network with it.
//!
//! What it does, like QUIC:
//! - Bytes of one stream arrive in order, each write after its own latency; streams overtake each other.
//! - A blocked direction (`partition`) stalls its bytes; they go on when it heals. After [`IDLE_TIMEOUT_MS`] with either
//!   direction blocked, both ends break. One-way blocks let the other way pass until then.
//! - `cut` is the death of a process: its own ends break at once; the other ends notice after the idle time-out, or one
//!   latency after somebody listens on that address again (QUIC's stateless reset). Call it *before* dropping the node's
//!   tasks, or their connections say goodbye.
//! - A goodbye (`close`, dropping) reaches the other side after one latency and overtakes bytes under way.
//! - A writer waits while [`STREAM_BUFFER_MAX_BYTES`] of its stream are unread.
//!
//! Tokio's timers go by whole milliseconds. What arrives within one is taken in a drawn order (see `Alarm`), not in that of
//! sending; each stream keeps its own.
//!
//! Does not: prove identities (they are as claimed; classes are still enforced), limit streams, lose or repeat single
//! bytes (QUIC hides that).

mod link;
mod world;
mod pipe;
#[cfg(test)]
pub(crate) mod tests;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::{
    Address, CONNECT_TIMEOUT_MS, Class, ConnectError, Connection, IDLE_TIMEOUT_MS, Peer, Pipe, Transport,
    TransportCounts,
};
use crate::model::id::NodeId;
use crate::net::chance::Chance;
use crate::net::passage::Passage;
use pipe::{SimReader, SimWriter};
use world::{Dial, World};

/// Unread bytes of one direction of a stream, at most.
pub const STREAM_BUFFER_MAX_BYTES: usize = 1024 * 1024;
/// Connections waiting to be accepted at one address, at most.
pub const ACCEPT_QUEUE_MAX: usize = 1024;

/// One more than the turns that others may get first.
const TURNS: u64 = 4;
/// How often an attempt to connect is repeated while nobody answers, milliseconds.
const RETRY_MS: u64 = 50;
const IDLE: Duration = Duration::from_millis(IDLE_TIMEOUT_MS);

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct SimNet(Arc<Mutex<World>>);

/// One node's access to it.
pub struct SimTransport {
    net: SimNet,
    address: String,
    incarnation: u64,
    local_addr: SocketAddr,
}

/// One end of a connection.
struct SimConnection {
    at: Handle,
    peer: Peer,
    class: Class,
    remote_addr: SocketAddr,
}

/// A counted reference to one end of a link. When an end has none left, it says goodbye.
struct Handle {
    net: SimNet,
    link: u64,
    end: usize,
}

/// A timer that a poll function arms again each time it finds nothing to do. When it has gone off, a drawn number of turns
/// goes to others first.
#[derive(Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    turns: u64,
}

impl SimNet {
    /// An empty network with latencies between 50 and 500 microseconds.
    pub fn new(chance: Chance) -> SimNet {
        SimNet(Arc::new(Mutex::new(World::new(chance))))
    }

    /// Listens on an address as `peer`. Whoever listened there before no longer does.
    pub fn transport(&self, address: &str, peer: Peer) -> SimTransport {
        let (incarnation, local_addr) = self.0.lock().listen(address, peer);
        SimTransport { net: self.clone(), address: address.to_owned(), incarnation, local_addr }
    }

    /// Blocks or frees both directions between two addresses.
    pub fn partition(&self, a: &str, b: &str, blocked: bool) {
        let mut world = self.0.lock();
        world.block(a, b, blocked);
        world.block(b, a, blocked);
    }

    /// Blocks or frees one direction.
    pub fn partition_one_way(&self, from: &str, to: &str, blocked: bool) {
        self.0.lock().block(from, to, blocked);
    }

    /// The process at an address dies without a word.
    pub fn cut(&self, address: &str) {
        self.0.lock().cut(address);
    }

    /// All connections of an address break, in the middle of whatever they carry.
    pub fn reset(&self, address: &str) {
        self.0.lock().reset(address);
    }

    /// What has reached an address unread arrives only now, at drawn times within `within`: its process stood still.
    pub fn hold_back(&self, address: &str, within: Duration) {
        self.0.lock().hold_back(address, within);
    }

    /// The bounds, both inclusive, between which the latency of each write is drawn.
    pub fn set_latency(&self, min: Duration, max: Duration) {
        assert!(min <= max, "the shortest latency is not above the longest");
        self.0.lock().latency_us = (min.as_micros() as u64, max.as_micros() as u64);
    }

    /// All that was written so far, by anybody.
    pub fn written(&self) -> Passage {
        self.0.lock().written
    }

    /// Connections that at least one end still holds; so that tests can look for leaks.
    pub fn connections(&self) -> usize {
        self.0.lock().links.len()
    }

    fn connection(&self, link: u64, end: usize) -> Arc<dyn Connection> {
        let at = Handle::new(self, link, end);
        let world = self.0.lock();
        let link = &world.links[&link];
        let other = &link.ends[1 - end];
        let (peer, remote_addr) = (other.peer.clone(), other.addr);
        Arc::new(SimConnection { at, peer, class: link.class, remote_addr })
    }
}

impl Transport for SimTransport {
    fn connect(
        &self,
        to: &Address,
        class: Class,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Arc<dyn Connection>, ConnectError>> {
        let dial = Dial {
            from: self.address.clone(),
            incarnation: self.incarnation,
            to: to.0.clone(),
            class,
            expect,
        };
        let net = self.net.clone();
        Box::pin(async move {
            let deadline = Instant::now() + Duration::from_millis(CONNECT_TIMEOUT_MS);
            loop {
                let round_trip = net.0.lock().latency() * 2;
                sleep(round_trip).await;
                let dialed = net.0.lock().dial(&dial)?;
                if let Some(link) = dialed {
                    return Ok(net.connection(link, 0));
                }
                if Instant::now() >= deadline {
                    let source = io::Error::new(io::ErrorKind::TimedOut, "nothing came back").into();
                    return Err(ConnectError::Unreachable { address: dial.to, source });
                }
                sleep(Duration::from_millis(RETRY_MS)).await;
            }
        })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>> {
        Box::pin(async {
            let link =
                poll_fn(|cx| self.net.0.lock().poll_dialed(&self.address, self.incarnation, cx)).await?;
            Some(self.net.connection(link, 1))
        })
    }

    /// Whom the simulated network does not let in is told at the dialer's side only; bytes are not counted.
    fn counts(&self) -> Arc<TransportCounts> {
        Arc::default()
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.net.0.lock().leave(&self.address, self.incarnation);
        })
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        self.net.0.lock().leave(&self.address, self.incarnation);
    }
}

impl Connection for SimConnection {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn class(&self) -> Class {
        self.class
    }

    fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    fn open(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        Box::pin(async {
            let stream = self.at.net.0.lock().link(&self.at).open(self.at.end)?;
            Ok(self.pipe(stream))
        })
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        let mut alarm = Alarm::default();
        Box::pin(async move {
            let net = &self.at.net;
            let next = poll_fn(|cx| alarm.poll_until(net, cx, |cx| net.0.lock().poll_opened(&self.at, cx)));
            let stream = next.await?;
            Ok(self.pipe(stream))
        })
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        let mut alarm = Alarm::default();
        Box::pin(async move {
            let net = &self.at.net;
            let poll = |cx: &mut Context<'_>| net.0.lock().link(&self.at).poll_closed(self.at.end, cx);
            poll_fn(|cx| alarm.poll_until(net, cx, poll)).await
        })
    }

    fn close(&self, reason: &str) {
        self.at.net.0.lock().goodbye(self.at.link, self.at.end, reason);
    }
}

impl SimConnection {
    fn pipe(&self, stream: u64) -> Pipe {
        Pipe {
            reader: Box::new(SimReader::new(self.at.clone(), stream)),
            writer: Box::new(SimWriter::new(self.at.clone(), stream)),
        }
    }
}

impl Handle {
    fn new(net: &SimNet, link: u64, end: usize) -> Handle {
        net.0.lock().links.get_mut(&link).expect("links live while an end is held").handles[end] += 1;
        Handle { net: net.clone(), link, end }
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        Handle::new(&self.net, self.link, self.end)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.net.0.lock().release(self.link, self.end);
    }
}

impl Alarm {
    /// Polls until there is an answer, or until what to wait for lies in the future. `poll` gives `Err` with the time at
    /// which to look again, if any, having left a waker for everything else.
    fn poll_until<T>(
        &mut self,
        net: &SimNet,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Result<T, Option<Instant>>,
    ) -> Poll<T> {
        loop {
            if self.others_first(net) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match poll(cx) {
                Ok(answer) => return Poll::Ready(answer),
                Err(None) => {
                    self.sleep = None;
                    return Poll::Pending;
                }
                Err(Some(at)) => {
                    let sleep = self.sleep.insert(Box::pin(sleep_until(at)));
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Whether it is still the turn of others.
    fn others_first(&mut self, net: &SimNet) -> bool {
        let now = Instant::now();
        if self.sleep.take_if(|sleep| sleep.deadline() <= now).is_some() {
            self.turns = net.0.lock().turns();
        }
        let others_first = self.turns > 0;
        self.turns = self.turns.saturating_sub(1);
        others_first
    }
}
