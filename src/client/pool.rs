//! One connection to each member, made when it is needed.
//!
//! Promises: calls to a member share one pipelined connection; who waits for the same attempt to connect shares its
//! failure; a connection that ended is never handed out again; once its id is known a member must prove to be it.
//! Does not: decide whom to ask; it only remembers who was silent last ("suspect").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::error::Trouble;
use crate::model::id::NodeId;
use crate::net::exec::Exec;
use crate::net::rpc::Caller;
use crate::net::transport::{Address, Class, Peer, Transport};

/// The connections of one client.
pub(super) struct Pool {
    transport: Arc<dyn Transport>,
    exec: Exec,
    slots: Mutex<BTreeMap<NodeId, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    ready: Mutex<Option<Caller>>,
    suspect: AtomicBool,
    /// Attempts to connect that have ended.
    attempts: AtomicU64,
    /// Held while somebody connects; how the last attempt failed, if it did.
    line: tokio::sync::Mutex<Option<Trouble>>,
}

impl Pool {
    pub(super) fn new(transport: Arc<dyn Transport>, exec: Exec) -> Pool {
        Pool { transport, exec, slots: Mutex::default() }
    }

    /// The connection to a member, made anew if there is none. Errors: nothing was sent.
    pub(super) async fn caller(&self, node: NodeId, address: &Address) -> Result<Caller, Trouble> {
        let slot = self.slot(node);
        if let Some(caller) = slot.ready() {
            return Ok(caller);
        }
        let attempts = slot.attempts.load(Ordering::SeqCst);
        let mut line = slot.line.lock().await;
        if let Some(caller) = slot.ready() {
            return Ok(caller);
        }
        if let Some(trouble) = line.as_ref()
            && slot.attempts.load(Ordering::SeqCst) != attempts
        {
            return Err(trouble.clone()); // the attempt we waited for has failed
        }
        let opened = self.open(address, Some(node)).await;
        slot.attempts.fetch_add(1, Ordering::SeqCst);
        match opened {
            Ok((_, caller)) => {
                *slot.ready.lock() = Some(caller.clone());
                *line = None;
                Ok(caller)
            }
            Err(trouble) => {
                *line = Some(trouble.clone());
                Err(trouble)
            }
        }
    }

    /// Connects to whoever is at an address, and keeps that connection under the id it proves.
    pub(super) async fn meet(&self, address: &Address) -> Result<NodeId, Trouble> {
        let (peer, caller) = self.open(address, None).await?;
        let Peer::Node(node) = peer else { return Err(Trouble::Nameless { address: address.clone() }) };
        *self.slot(node).ready.lock() = Some(caller);
        Ok(node)
    }

    /// Notes whether a member answered the last time it was asked.
    pub(super) fn answered(&self, node: NodeId, answered: bool) {
        self.slot(node).suspect.store(!answered, Ordering::SeqCst);
    }

    /// True if it did not.
    pub(super) fn is_suspect(&self, node: NodeId) -> bool {
        self.slot(node).suspect.load(Ordering::SeqCst)
    }

    /// Drops connections to all but these.
    pub(super) fn keep(&self, wanted: impl Fn(NodeId) -> bool) {
        self.slots.lock().retain(|node, _| wanted(*node));
    }

    fn slot(&self, node: NodeId) -> Arc<Slot> {
        Arc::clone(self.slots.lock().entry(node).or_default())
    }

    async fn open(&self, address: &Address, expect: Option<NodeId>) -> Result<(Peer, Caller), Trouble> {
        let connect = self.transport.connect(address, Class::Client, expect);
        let connection = connect
            .await
            .map_err(|source| Trouble::Connect { address: address.clone(), source: Arc::new(source) })?;
        let peer = connection.peer().clone();
        let caller = Caller::open(connection, self.exec)
            .await
            .map_err(|source| Trouble::Open { address: address.clone(), source: Arc::new(source) })?;
        Ok((peer, caller))
    }
}

impl Slot {
    fn ready(&self) -> Option<Caller> {
        self.ready.lock().as_ref().filter(|caller| !caller.is_closed()).cloned()
    }
}
