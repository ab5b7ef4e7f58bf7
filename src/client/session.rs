//! Who a client is to the shards: its writes' identities and the highest timestamp it has seen.
//!
//! Promises: a sequence is given once; a sequence counts as awaited until its [`Ticket`] goes; no identity carries a
//! `lowest_awaited` above a sequence that is still awaited; at most [`IN_FLIGHT_MAX`] tickets live at once and none runs
//! [`WINDOW_MAX`] or more ahead of the lowest awaited one, so that no shard ever refuses an identity for its window.
//! Does not: send anything.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::model::repeat::WINDOW_MAX;
use crate::model::time::Timestamp;
use crate::model::wire::Identity;

/// Writes of one client that may be under way at once.
pub const IN_FLIGHT_MAX: usize = WINDOW_MAX as usize / 2;

/// The identity of one client, shared by its clones.
pub(super) struct Session {
    client: u64,
    seen: AtomicU64,
    window: Mutex<Window>,
    /// Told whenever the lowest awaited sequence has risen.
    risen: Notify,
    slots: Arc<Semaphore>,
}

struct Window {
    next: u64,
    awaited: BTreeSet<u64>,
}

/// One write under way: while it lives, its sequence is awaited.
pub(super) struct Ticket {
    session: Arc<Session>,
    identity: Identity,
    _slot: OwnedSemaphorePermit,
}

impl Session {
    /// A client that has seen nothing and written nothing. `client` must be drawn at random.
    pub(super) fn new(client: u64) -> Arc<Session> {
        Arc::new(Session {
            client,
            seen: AtomicU64::new(0),
            window: Mutex::new(Window { next: 1, awaited: BTreeSet::new() }),
            risen: Notify::new(),
            slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        })
    }

    /// The highest timestamp any server has told.
    pub(super) fn seen(&self) -> Timestamp {
        Timestamp(self.seen.load(Ordering::SeqCst))
    }

    /// Notes a timestamp a server has told.
    pub(super) fn observe(&self, stamp: Timestamp) {
        self.seen.fetch_max(stamp.0, Ordering::SeqCst);
    }

    /// Begins a write: waits for its turn, then gives it an identity.
    pub(super) async fn begin(self: &Arc<Session>) -> Ticket {
        let slots = Arc::clone(&self.slots);
        let slot = slots.acquire_owned().await.expect("this semaphore is never closed");
        let identity = self.next_identity().await;
        Ticket { session: Arc::clone(self), identity, _slot: slot }
    }

    async fn next_identity(&self) -> Identity {
        loop {
            // Listening begins before looking, or a rise in between would be missed.
            let mut risen = std::pin::pin!(self.risen.notified());
            risen.as_mut().enable();
            if let Some(identity) = self.try_next() {
                return identity;
            }
            risen.await;
        }
    }

    fn try_next(&self) -> Option<Identity> {
        let mut window = self.window.lock();
        let sequence = window.next;
        let lowest_awaited = window.awaited.first().copied().unwrap_or(sequence);
        if sequence - lowest_awaited >= WINDOW_MAX {
            return None;
        }
        window.next += 1;
        window.awaited.insert(sequence);
        Some(Identity { client: self.client, sequence, first_seen: self.seen().0, lowest_awaited })
    }

    fn settle(&self, sequence: u64) {
        let mut window = self.window.lock();
        let was_lowest = window.awaited.first() == Some(&sequence);
        let was_awaited = window.awaited.remove(&sequence);
        assert!(was_awaited, "a sequence is awaited until its ticket goes");
        drop(window);
        if was_lowest {
            self.risen.notify_waiters();
        }
    }
}

impl Ticket {
    /// What the write carries, the same in every copy of it.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Gives the write a new sequence and the newest timestamp. Only right when no copy of it was, or ever will be,
    /// evaluated. Cancelling it loses the write's place, which is what cancelling a write does anyway.
    pub(super) async fn renew(self) -> Ticket {
        let session = Arc::clone(&self.session);
        drop(self);
        session.begin().await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.settle(self.identity.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn lowest_awaited_follows_the_oldest_write_under_way() {
        let session = Session::new(7);
        let begin = || session.begin().now_or_never().expect("there is room");
        let (first, second) = (begin(), begin());
        assert_eq!((first.identity().sequence, first.identity().lowest_awaited), (1, 1));
        assert_eq!((second.identity().sequence, second.identity().lowest_awaited), (2, 1));
        drop(second);
        assert_eq!(begin().identity().lowest_awaited, 1, "the first is still awaited");
        drop(first);
        let fourth = begin();
        assert_eq!((fourth.identity().sequence, fourth.identity().lowest_awaited), (4, 4));
    }

    #[test]
    fn an_identity_carries_the_highest_timestamp_seen_when_it_began() {
        let session = Session::new(7);
        session.observe(Timestamp(10));
        session.observe(Timestamp(5));
        let ticket = session.begin().now_or_never().unwrap();
        session.observe(Timestamp(20));
        assert_eq!(ticket.identity().first_seen, 10);
        assert_eq!(ticket.renew().now_or_never().unwrap().identity().first_seen, 20);
    }

    #[test]
    fn one_stuck_write_holds_the_window() {
        // Without this bound a shard would refuse the write as malformed.
        let session = Session::new(7);
        let begin = || session.begin().now_or_never();
        let stuck = begin().expect("there is room");
        for _ in 1..WINDOW_MAX {
            drop(begin().expect("there is room"));
        }
        assert!(begin().is_none());
        let mut next = std::pin::pin!(session.begin());
        assert!(next.as_mut().now_or_never().is_none());
        drop(stuck);
        let identity = next.now_or_never().expect("it was told").identity();
        assert_eq!((identity.sequence, identity.lowest_awaited), (WINDOW_MAX + 1, WINDOW_MAX + 1));
    }

    #[test]
    fn writes_under_way_are_bounded() {
        let session = Session::new(7);
        let begin = || session.begin().now_or_never();
        let mut held: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| begin().expect("there is room")).collect();
        assert!(begin().is_none());
        held.pop();
        assert!(begin().is_some());
    }
}
