//! Who listens where, what is blocked, and all links.
//!
//! Promises: after every change of topology each link knows whether it is silent, and everybody who waits is woken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::link::{End, Link};
use super::{ACCEPT_QUEUE_MAX, Chance, Class, ConnectError, Handle, IDLE, NodeId, Passage, Peer, TURNS};

pub(super) struct World {
    pub(super) latency_us: (u64, u64),
    pub(super) links: BTreeMap<u64, Link>,
    /// All that was written so far.
    pub(super) written: Passage,
    begin: Instant,
    chance: Chance,
    next: u64,
    /// (from, to): no bytes pass.
    blocked: BTreeSet<(String, String)>,
    listeners: BTreeMap<String, Listener>,
}

/// What somebody who dials wants.
pub(super) struct Dial {
    pub(super) from: String,
    pub(super) incarnation: u64,
    pub(super) to: String,
    pub(super) class: Class,
    pub(super) expect: Option<NodeId>,
}

struct Listener {
    incarnation: u64,
    peer: Peer,
    addr: SocketAddr,
    dialed: VecDeque<u64>,
    waker: Option<Waker>,
}

impl World {
    pub(super) fn new(chance: Chance) -> World {
        World {
            latency_us: (50, 500),
            links: BTreeMap::new(),
            written: Passage::default(),
            begin: Instant::now(),
            chance,
            next: 0,
            blocked: BTreeSet::new(),
            listeners: BTreeMap::new(),
        }
    }

    pub(super) fn latency(&self) -> Duration {
        let (min, max) = self.latency_us;
        Duration::from_micros(self.chance.between(min, max + 1))
    }

    /// How many turns others get before somebody whose bytes have arrived.
    pub(super) fn turns(&self) -> u64 {
        self.chance.between(0, TURNS)
    }

    pub(super) fn listen(&mut self, address: &str, peer: Peer) -> (u64, SocketAddr) {
        if let Some(old) = self.listeners.get(address) {
            self.leave(address, old.incarnation);
        }
        let incarnation = self.number();
        let [.., high, low] = incarnation.to_be_bytes();
        let addr = address.parse().unwrap_or_else(|_| SocketAddr::from(([10, 0, high, low], 7300)));
        let listener = Listener { incarnation, peer, addr, dialed: VecDeque::new(), waker: None };
        self.listeners.insert(address.to_owned(), listener);
        self.refresh();
        (incarnation, addr)
    }

    /// Says goodbye to everybody and stops listening.
    pub(super) fn leave(&mut self, address: &str, incarnation: u64) {
        if self.listeners.get(address).is_some_and(|listener| listener.incarnation == incarnation) {
            self.unlisten(address);
        }
        let ends: Vec<(u64, usize)> = self.ends_of(incarnation).collect();
        for (link, end) in ends {
            self.goodbye(link, end, "the other side is shutting down");
        }
    }

    pub(super) fn cut(&mut self, address: &str) {
        let Some(incarnation) = self.listeners.get(address).map(|listener| listener.incarnation) else {
            return;
        };
        self.unlisten(address);
        let ends: Vec<(u64, usize)> = self.ends_of(incarnation).collect();
        for (link, end) in ends {
            self.links.get_mut(&link).expect("just listed").end_at(end, Instant::now(), "this process died");
        }
        self.refresh();
    }

    /// Every connection of an address breaks at both ends, whatever is under way.
    pub(super) fn reset(&mut self, address: &str) {
        let now = Instant::now();
        for link in self.links.values_mut().filter(|link| link.ends.iter().any(|end| end.address == address))
        {
            for end in 0..2 {
                link.end_at(end, now, "the connection broke");
            }
            link.wake_all();
        }
    }

    pub(super) fn hold_back(&mut self, address: &str, within: Duration) {
        let now = Instant::now();
        let World { links, chance, .. } = self;
        let mut draw = || now + Duration::from_micros(chance.between(0, within.as_micros() as u64 + 1));
        for link in links.values_mut() {
            for end in 0..2 {
                if link.ends[end].address == address {
                    link.hold_back(end, now, &mut draw);
                }
            }
        }
    }

    pub(super) fn block(&mut self, from: &str, to: &str, blocked: bool) {
        let direction = (from.to_owned(), to.to_owned());
        if blocked {
            self.blocked.insert(direction);
        } else {
            self.blocked.remove(&direction);
        }
        self.refresh();
    }

    /// One attempt; `None`: nothing came back.
    pub(super) fn dial(&mut self, dial: &Dial) -> Result<Option<u64>, ConnectError> {
        let from = self.listeners.get(&dial.from).filter(|listener| listener.incarnation == dial.incarnation);
        let from = from.ok_or(ConnectError::Closed)?;
        let refuse = |reason: String| ConnectError::Identity { address: dial.to.clone(), reason };
        if self.is_blocked(&dial.from, &dial.to) || self.is_blocked(&dial.to, &dial.from) {
            return Ok(None);
        }
        let Some(to) = self.listeners.get(&dial.to).filter(|to| to.dialed.len() < ACCEPT_QUEUE_MAX) else {
            return Ok(None);
        };
        match (&to.peer, dial.expect) {
            (Peer::Node(node), Some(expect)) if *node != expect => {
                return Err(refuse(format!("it is node {node}, not {expect}")));
            }
            (Peer::Node(_), _) => {}
            (peer, _) => return Err(refuse(format!("it is {peer}, not a member"))),
        }
        if !dial.class.admits(&from.peer) {
            return Err(refuse(format!("it does not admit {} to {:?}", from.peer, dial.class)));
        }
        // Whoever joins is a stranger, whatever it could prove.
        let dialer = if dial.class == Class::Join { Peer::Stranger } else { from.peer.clone() };
        let ends = [
            End { address: dial.from.clone(), incarnation: from.incarnation, peer: dialer, addr: from.addr },
            End {
                address: dial.to.clone(),
                incarnation: to.incarnation,
                peer: to.peer.clone(),
                addr: to.addr,
            },
        ];
        let id = self.number();
        self.links.insert(id, Link::new(dial.class, ends));
        let listener = self.listeners.get_mut(&dial.to).expect("looked up above");
        listener.dialed.push_back(id);
        wake(&mut listener.waker);
        Ok(Some(id))
    }

    /// The next link to accept; `None` once this incarnation no longer listens.
    pub(super) fn poll_dialed(
        &mut self,
        address: &str,
        incarnation: u64,
        cx: &Context<'_>,
    ) -> Poll<Option<u64>> {
        let listener = self.listeners.get_mut(address).filter(|listener| listener.incarnation == incarnation);
        let Some(listener) = listener else { return Poll::Ready(None) };
        // A dialer may have gone again.
        while let Some(link) = listener.dialed.pop_front() {
            if self.links.contains_key(&link) {
                return Poll::Ready(Some(link));
            }
        }
        listener.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next stream the other end opened.
    pub(super) fn poll_opened(
        &mut self,
        at: &Handle,
        cx: &Context<'_>,
    ) -> Result<io::Result<u64>, Option<Instant>> {
        let open = self.passes_to(at);
        self.link(at).poll_opened(at.end, open, cx)
    }

    /// Writes some of these bytes to a stream.
    pub(super) fn poll_write(
        &mut self,
        at: &Handle,
        stream: u64,
        bytes: &[u8],
        cx: &Context<'_>,
    ) -> Result<io::Result<usize>, Option<Instant>> {
        let arrives = Instant::now() + self.latency();
        let written = self.link(at).poll_write(at.end, stream, bytes, arrives, cx);
        if let Ok(Ok(count)) = written {
            let time = arrives.saturating_duration_since(self.begin).as_nanos() as u64;
            self.written.note(&[at.link, at.end as u64, stream, time], &bytes[..count]);
        }
        written
    }

    pub(super) fn link(&mut self, at: &Handle) -> &mut Link {
        self.links.get_mut(&at.link).expect("links live while an end is held")
    }

    /// Whether bytes to this end pass at present.
    pub(super) fn passes_to(&self, at: &Handle) -> bool {
        let [from, to] = [1 - at.end, at.end].map(|end| &self.links[&at.link].ends[end].address);
        !self.is_blocked(from, to)
    }

    /// One end closes; the other hears of it after one latency unless the line is silent.
    pub(super) fn goodbye(&mut self, id: u64, end: usize, reason: &str) {
        let latency = self.latency();
        let Some(link) = self.links.get_mut(&id) else { return };
        let now = Instant::now();
        if link.broken(end, now).is_some() {
            return;
        }
        link.end_at(end, now, reason);
        if link.silent_since.is_none() {
            link.end_at(1 - end, now + latency, reason);
        }
        link.wake_all();
    }

    /// One reference to an end went.
    pub(super) fn release(&mut self, id: u64, end: usize) {
        let link = self.links.get_mut(&id).expect("links live while an end is held");
        link.handles[end] -= 1;
        if link.handles[end] > 0 {
            return;
        }
        let (unheld, queued) =
            (link.handles == [0, 0], self.listeners.values().any(|l| l.dialed.contains(&id)));
        self.goodbye(id, end, "the other side dropped the connection");
        if unheld && (end == 1 || !queued) {
            self.links.remove(&id);
        }
    }

    fn unlisten(&mut self, address: &str) {
        let listener = self.listeners.remove(address);
        let mut listener = listener.expect("the caller has looked it up");
        wake(&mut listener.waker);
        // Nobody will accept these, and those whose dialer has gone too would stay for ever.
        for link in listener.dialed {
            if self.links[&link].handles == [0, 0] {
                self.links.remove(&link);
            }
        }
    }

    fn ends_of(&self, incarnation: u64) -> impl Iterator<Item = (u64, usize)> {
        let ends =
            self.links.iter().flat_map(|(id, link)| [(*id, 0, &link.ends[0]), (*id, 1, &link.ends[1])]);
        ends.filter(move |(_, _, end)| end.incarnation == incarnation).map(|(id, side, _)| (id, side))
    }

    /// Recomputes which links are silent, and wakes everybody.
    fn refresh(&mut self) {
        let now = Instant::now();
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            let latency = self.latency();
            let [a, b] = &self.links[&id].ends;
            let blocked = self.is_blocked(&a.address, &b.address) || self.is_blocked(&b.address, &a.address);
            // A dead process answers nothing; its successor at the same address answers that it knows nothing.
            let deserted = [a, b].iter().any(|end| !self.listeners.contains_key(&end.address));
            let link = self.links.get_mut(&id).expect("just listed");
            if blocked || deserted {
                link.silent_since.get_or_insert(now);
            } else if let Some(since) = link.silent_since.take() {
                for end in 0..2 {
                    if since + IDLE <= now {
                        link.end_at(end, since + IDLE, "nothing came for too long");
                    } else if link.broken(1 - end, now).is_some() {
                        link.end_at(end, now + latency, "the other side does not know the connection");
                    }
                }
            }
            link.wake_all();
        }
    }

    fn is_blocked(&self, from: &str, to: &str) -> bool {
        !self.blocked.is_empty() && self.blocked.contains(&(from.to_owned(), to.to_owned()))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
