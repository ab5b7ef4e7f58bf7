//! A network of pipes in memory, for the client's tests: members that are there, gone, or silent.
//!
//! Uses only the transport seam. What is lost is lost by closing a connection.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{copy_bidirectional, duplex, split};
use tokio::sync::{mpsc, watch};

use crate::model::id::NodeId;
use crate::net::exec::Exec;
use crate::net::rpc::{ServeLimits, Service, serve};
use crate::net::transport::{
    Address, Class, ConnectError, Connection, Peer, Pipe, Transport, TransportCounts,
};

const PIPE_BYTES: usize = 1 << 16;

/// The network. Members answer at the address `n<ID>`.
#[derive(Clone, Default)]
pub struct Wires(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    members: BTreeMap<Address, (NodeId, Arc<dyn Service>, How)>,
    connections: Vec<(Address, Arc<End>)>,
    connects: usize,
}

/// How a member is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    There,
    Gone,
    Silent,
}

/// One end of a connection.
struct End {
    peer: Peer,
    closed: Arc<watch::Sender<bool>>,
    to_other: mpsc::UnboundedSender<Pipe>,
    from_other: tokio::sync::Mutex<mpsc::UnboundedReceiver<Pipe>>,
}

pub fn address(node: u64) -> Address {
    Address(NodeId(node).to_string())
}

impl Wires {
    pub fn add(&self, node: u64, service: Arc<dyn Service>) {
        self.0.lock().members.insert(address(node), (NodeId(node), service, How::There));
    }

    /// Changes how a member is; if it is not there its connections end.
    pub fn set(&self, node: u64, how: How) {
        let mut state = self.0.lock();
        state.members.get_mut(&address(node)).expect("a member").2 = how;
        if how != How::There {
            state.connections.retain(|(at, end)| {
                if *at == address(node) {
                    end.close("gone");
                }
                *at != address(node)
            });
        }
    }

    /// Connections made so far.
    pub fn connects(&self) -> usize {
        self.0.lock().connects
    }

    async fn dial(self, to: Address, expect: Option<NodeId>) -> Result<Arc<dyn Connection>, ConnectError> {
        let member = self.0.lock().members.get(&to).cloned();
        let gone =
            || ConnectError::Unreachable { address: to.0.clone(), source: Box::from("nobody is there") };
        let (node, service, how) = member.ok_or_else(gone)?;
        match how {
            How::Gone => return Err(gone()),
            How::Silent => return std::future::pending().await,
            How::There => {}
        }
        if expect.is_some_and(|expected| expected != node) {
            return Err(ConnectError::Identity { address: to.0, reason: "another member".to_owned() });
        }
        let closed = Arc::new(watch::Sender::new(false));
        let (to_server, from_client) = mpsc::unbounded_channel();
        let (to_client, from_server) = mpsc::unbounded_channel();
        let end = |peer, to_other, from_other| {
            let from_other = tokio::sync::Mutex::new(from_other);
            Arc::new(End { peer, closed: Arc::clone(&closed), to_other, from_other })
        };
        let near = end(Peer::Node(node), to_server, from_server);
        let far = end(Peer::Client("test".to_owned()), to_client, from_client);
        let mut state = self.0.lock();
        state.connects += 1;
        state.connections.push((to, Arc::clone(&near)));
        Exec::Threads.spawn(serve(
            far,
            service,
            Exec::Threads,
            ServeLimits::for_class(Class::Client),
            Arc::default(),
        ));
        Ok(near)
    }
}

impl Transport for Wires {
    fn connect(
        &self,
        to: &Address,
        _: Class,
        expect: Option<NodeId>,
    ) -> BoxFuture<'static, Result<Arc<dyn Connection>, ConnectError>> {
        self.clone().dial(to.clone(), expect).boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Option<Arc<dyn Connection>>> {
        std::future::pending().boxed()
    }

    fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn counts(&self) -> Arc<TransportCounts> {
        Arc::default()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

fn pipe(stream: tokio::io::DuplexStream) -> Pipe {
    let (reader, writer) = split(stream);
    Pipe { reader: Box::new(reader), writer: Box::new(writer) }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Connection for End {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn class(&self) -> Class {
        Class::Client
    }

    fn remote_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn open(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        let (near, mut near_end) = duplex(PIPE_BYTES);
        let (far, mut far_end) = duplex(PIPE_BYTES);
        let mut closed = self.closed.subscribe();
        Exec::Threads.spawn(async move {
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => {}
                _ = copy_bidirectional(&mut near_end, &mut far_end) => {}
            }
        });
        let sent = match *self.closed.borrow() {
            true => Err(reset()),
            false => self.to_other.send(pipe(far)).map_err(|_| reset()),
        };
        std::future::ready(sent.map(|()| pipe(near))).boxed()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Pipe>> {
        async {
            let mut from_other = self.from_other.lock().await;
            tokio::select! {
                biased;
                () = self.closed() => Err(reset()),
                pipe = from_other.recv() => pipe.ok_or_else(reset),
            }
        }
        .boxed()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        let mut closed = self.closed.subscribe();
        async move {
            let _ = closed.wait_for(|closed| *closed).await;
        }
        .boxed()
    }

    fn close(&self, _: &str) {
        self.closed.send_replace(true);
    }
}
