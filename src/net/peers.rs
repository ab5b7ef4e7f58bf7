//! One connection to each member and class, made when it is needed.
//!
//! Promises: whoever asks for the same connection at the same time shares one attempt; an attempt goes on when whoever
//! asked for it no longer waits; after a failure the next attempt waits (with jitter), and until then everybody gets the
//! failure at once; a connection that ended, or whose member has another address now, is never handed out again.
//! Does not: know addresses by itself, check liveness beyond what the transport notices (its idle time-out).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::model::id::NodeId;
use crate::net::chance::Chance;
use crate::net::exec::Exec;
use crate::net::rpc::Caller;
use crate::net::transport::{Address, CONNECT_TIMEOUT_MS, Class, ConnectError, Connection, Transport};

/// Wait after the first failed attempt, milliseconds (drawn from the upper half).
pub const BACKOFF_MIN_MS: u64 = 50;
/// Wait after many failed attempts, milliseconds.
pub const BACKOFF_MAX_MS: u64 = 1_000;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Pool>);

struct Pool {
    transport: Arc<dyn Transport>,
    exec: Exec,
    chance: Chance,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    addresses: BTreeMap<NodeId, Address>,
    slots: BTreeMap<(NodeId, Class), Arc<Slot>>,
}

/// Place of one connection, for as long as the member's address stays.
struct Slot {
    node: NodeId,
    class: Class,
    address: Address,
    /// The member has another address now, or is no more.
    retired: AtomicBool,
    /// Held while somebody connects.
    line: Arc<tokio::sync::Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    caller: Option<Caller>,
    failures: u32,
    failed: Option<Failed>,
}

struct Failed {
    reason: String,
    retry_at: Instant,
}

impl Peers {
    pub fn new(transport: Arc<dyn Transport>, exec: Exec, chance: Chance) -> Peers {
        Peers(Arc::new(Pool { transport, exec, chance, state: Mutex::default() }))
    }

    /// Replaces all addresses. Connections to members that moved or left are closed.
    pub fn set_addresses(&self, addresses: BTreeMap<NodeId, Address>) {
        let mut retired = Vec::new();
        {
            let mut state = self.0.state.lock();
            state.slots.retain(|(node, _), slot| {
                let stays = addresses.get(node) == Some(&slot.address);
                if !stays {
                    retired.push(Arc::clone(slot));
                }
                stays
            });
            state.addresses = addresses;
        }
        for slot in retired {
            slot.retired.store(true, Ordering::Release);
            // If somebody is connecting, the end of that attempt sees that the slot is retired.
            if let Ok(line) = slot.line.try_lock() {
                line.close();
            }
        }
    }

    /// The calls of the connection to a member.
    pub async fn caller(&self, node: NodeId, class: Class) -> Result<Caller, ConnectError> {
        loop {
            let slot = self.slot(node, class)?;
            let line = Arc::clone(&slot.line).lock_owned().await;
            if slot.retired.load(Ordering::Acquire) {
                continue;
            }
            if let Some(caller) = line.caller.as_ref().filter(|caller| !caller.is_closed()) {
                return Ok(caller.clone());
            }
            if let Some(failed) = line.failed.as_ref().filter(|failed| Instant::now() < failed.retry_at) {
                let source = io::Error::other(failed.reason.clone()).into();
                return Err(ConnectError::Unreachable { address: slot.address.to_string(), source });
            }
            // In a task of its own: whoever gives up waiting does not spoil it for the others.
            let attempt = self.0.exec.spawn(Arc::clone(&self.0).connect(Arc::clone(&slot), line));
            let result = attempt.await.unwrap_or(Err(ConnectError::Closed));
            if !slot.retired.load(Ordering::Acquire) {
                return result;
            }
        }
    }

    /// The connection to a member, for streams.
    pub async fn connection(&self, node: NodeId, class: Class) -> Result<Arc<dyn Connection>, ConnectError> {
        Ok(Arc::clone(self.caller(node, class).await?.connection()))
    }

    fn slot(&self, node: NodeId, class: Class) -> Result<Arc<Slot>, ConnectError> {
        let mut state = self.0.state.lock();
        if let Some(slot) = state.slots.get(&(node, class)) {
            return Ok(Arc::clone(slot));
        }
        let Some(address) = state.addresses.get(&node).cloned() else {
            let source = io::Error::new(io::ErrorKind::NotFound, "no address of this member is known");
            return Err(ConnectError::Resolve { address: format!("node {node}"), source });
        };
        let slot = Slot { node, class, address, retired: AtomicBool::new(false), line: Arc::default() };
        let slot = Arc::new(slot);
        state.slots.insert((node, class), Arc::clone(&slot));
        Ok(slot)
    }
}

impl Pool {
    async fn connect(
        self: Arc<Self>,
        slot: Arc<Slot>,
        mut line: tokio::sync::OwnedMutexGuard<Line>,
    ) -> Result<Caller, ConnectError> {
        line.caller = None;
        let result = self.attempt(&slot).await;
        match &result {
            Ok(caller) => *line = Line { caller: Some(caller.clone()), ..Line::default() },
            Err(error) => {
                let longest_ms = (BACKOFF_MIN_MS << line.failures.min(16)).min(BACKOFF_MAX_MS);
                let wait_ms = self.chance.between(longest_ms / 2, longest_ms + 1);
                let retry_at = Instant::now() + Duration::from_millis(wait_ms);
                line.failures += 1;
                line.failed = Some(Failed { reason: describe(error), retry_at });
                let (node, class) = (slot.node, slot.class);
                tracing::debug!(%node, ?class, address = %slot.address, error = describe(error), "cannot connect");
            }
        }
        if slot.retired.load(Ordering::Acquire) {
            line.close();
        }
        result
    }

    async fn attempt(&self, slot: &Slot) -> Result<Caller, ConnectError> {
        let unreachable = |source: io::Error| ConnectError::Unreachable {
            address: slot.address.to_string(),
            source: source.into(),
        };
        let connect = async {
            let connection = self.transport.connect(&slot.address, slot.class, Some(slot.node)).await?;
            Caller::open(connection, self.exec).await.map_err(unreachable)
        };
        // Transports have the same limit of their own; this one is for a stream that does not open.
        let limit = Duration::from_millis(2 * CONNECT_TIMEOUT_MS);
        timeout(limit, connect).await.unwrap_or_else(|elapsed| Err(unreachable(elapsed.into())))
    }
}

impl Line {
    fn close(&self) {
        if let Some(caller) = &self.caller {
            caller.connection().close("this member has another address");
        }
    }
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
