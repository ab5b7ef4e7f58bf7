//! Who takes up room here: handshakes and connections that others made, counted by where they come from and who they are.
//!
//! | what | at most |
//! |---|---|
//! | handshakes under way | [`HANDSHAKES_MAX`]; from one address half of that |
//! | connections | [`CONNECTIONS_MAX`]; from one address half of that |
//! | connections of clients | [`CLIENTS_MAX`]: the rest is for members |
//! | connections without an identity | [`STRANGERS_MAX`] |
//!
//! Promises: a place is free again when its [`Place`] is dropped. An IPv6 network of 64 bits is one address, since whoever
//! has one has all of it. Does not know what a handshake or a connection is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    CLIENTS_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, HANDSHAKES_MAX, HANDSHAKES_PER_ADDRESS_MAX,
    HANDSHAKES_UNCHECKED_MAX, HANDSHAKES_UNCHECKED_PER_ADDRESS_MAX, Peer, STRANGERS_MAX,
};

#[derive(Default)]
pub(super) struct Places(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    from: BTreeMap<IpAddr, Count>,
    all: Count,
    clients: usize,
    strangers: usize,
}

#[derive(Clone, Copy, Default)]
struct Count {
    handshakes: usize,
    /// Handshakes included.
    connections: usize,
}

/// One handshake, then one connection.
pub(super) struct Place {
    places: Arc<Places>,
    from: IpAddr,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Handshake,
    Member,
    Client,
    Stranger,
}

impl Places {
    /// Whether an address is to be proved before anything else is done for it.
    pub(super) fn doubts(&self, from: SocketAddr) -> bool {
        let counts = self.0.lock();
        let here = counts.from.get(&source(from)).copied().unwrap_or_default();
        counts.all.handshakes >= HANDSHAKES_UNCHECKED_MAX
            || here.handshakes >= HANDSHAKES_UNCHECKED_PER_ADDRESS_MAX
    }

    /// A place for a handshake; `Err`: why there is none.
    pub(super) fn enter(self: &Arc<Places>, from: SocketAddr) -> Result<Place, &'static str> {
        let from = source(from);
        let mut counts = self.0.lock();
        let here = counts.from.get(&from).copied().unwrap_or_default();
        if counts.all.handshakes >= HANDSHAKES_MAX {
            return Err("too many handshakes are under way");
        }
        if here.handshakes >= HANDSHAKES_PER_ADDRESS_MAX {
            return Err("too many handshakes are under way with this address");
        }
        if counts.all.connections >= CONNECTIONS_MAX {
            return Err("too many connections are open");
        }
        if here.connections >= CONNECTIONS_PER_ADDRESS_MAX {
            return Err("too many connections with this address are open");
        }
        let here = counts.from.entry(from).or_default();
        here.handshakes += 1;
        here.connections += 1;
        counts.all.handshakes += 1;
        counts.all.connections += 1;
        drop(counts);
        Ok(Place { places: Arc::clone(self), from, standing: Standing::Handshake })
    }
}

impl Place {
    /// The handshake is done and this is who it is; `Err`: why it cannot stay.
    pub(super) fn settle(&mut self, peer: &Peer) -> Result<(), &'static str> {
        let mut counts = self.places.0.lock();
        self.standing = match peer {
            Peer::Node(_) => Standing::Member,
            Peer::Client(_) if counts.clients >= CLIENTS_MAX => return Err("too many clients are here"),
            Peer::Client(_) => Standing::Client,
            Peer::Stranger if counts.strangers >= STRANGERS_MAX => return Err("too many strangers are here"),
            Peer::Stranger => Standing::Stranger,
        };
        counts.all.handshakes -= 1;
        counts.from.get_mut(&self.from).expect("a place is counted").handshakes -= 1;
        match self.standing {
            Standing::Client => counts.clients += 1,
            Standing::Stranger => counts.strangers += 1,
            Standing::Handshake | Standing::Member => {}
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock();
        let handshake = usize::from(self.standing == Standing::Handshake);
        counts.all.connections -= 1;
        counts.all.handshakes -= handshake;
        let here = counts.from.get_mut(&self.from).expect("a place is counted");
        here.connections -= 1;
        here.handshakes -= handshake;
        if here.connections == 0 {
            counts.from.remove(&self.from);
        }
        match self.standing {
            Standing::Client => counts.clients -= 1,
            Standing::Stranger => counts.strangers -= 1,
            Standing::Handshake | Standing::Member => {}
        }
    }
}

fn source(address: SocketAddr) -> IpAddr {
    match address.ip().to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::NodeId;

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1)
    }

    fn settled(places: &Arc<Places>, from: &str, peer: &Peer) -> Result<Place, &'static str> {
        let mut place = places.enter(at(from))?;
        place.settle(peer)?;
        Ok(place)
    }

    #[test]
    fn one_address_cannot_take_all_handshakes_and_all_cannot_take_more() {
        let places = Arc::new(Places::default());
        let mut held: Vec<_> =
            (0..HANDSHAKES_PER_ADDRESS_MAX).map(|_| places.enter(at("192.0.2.1")).unwrap()).collect();
        assert!(places.enter(at("192.0.2.1")).err().unwrap().contains("with this address"));
        assert!(places.enter(at("::ffff:192.0.2.1")).is_err(), "the same in other words");
        held.extend((held.len()..HANDSHAKES_MAX).map(|_| places.enter(at("192.0.2.2")).unwrap()));
        assert_eq!(places.enter(at("192.0.2.3")).err(), Some("too many handshakes are under way"));
        // Done is no longer under way.
        held[0].settle(&Peer::Node(NodeId(1))).unwrap();
        held.push(places.enter(at("192.0.2.3")).unwrap());
        held.clear();
        assert!(places.0.lock().from.is_empty(), "nothing is kept of who was here");
    }

    #[test]
    fn an_address_must_be_proved_when_it_or_everybody_has_many_handshakes() {
        let places = Arc::new(Places::default());
        let first: Vec<_> = (0..HANDSHAKES_UNCHECKED_PER_ADDRESS_MAX)
            .map(|_| {
                assert!(!places.doubts(at("192.0.2.1")));
                places.enter(at("192.0.2.1")).unwrap()
            })
            .collect();
        assert!(places.doubts(at("192.0.2.1")) && !places.doubts(at("192.0.2.2")));
        let address = |n: usize| SocketAddr::new([198, 51, 100, n as u8].into(), 1);
        let _more: Vec<_> =
            (first.len()..HANDSHAKES_UNCHECKED_MAX).map(|n| places.enter(address(n)).unwrap()).collect();
        assert!(places.doubts(at("192.0.2.2")));
    }

    #[test]
    fn one_address_cannot_take_all_connections_and_clients_leave_room_for_members() {
        let (client, member) = (Peer::Client("ann".to_owned()), Peer::Node(NodeId(1)));
        let places = Arc::new(Places::default());
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_PER_ADDRESS_MAX {
            held.push(settled(&places, "2001:db8::1", &client).unwrap());
        }
        let refused = settled(&places, "2001:db8::2", &client).err().unwrap();
        assert!(refused.contains("with this address"), "the same network: {refused}");
        while held.len() < CLIENTS_MAX {
            held.push(settled(&places, "192.0.2.2", &client).unwrap());
        }
        assert_eq!(settled(&places, "192.0.2.3", &client).err(), Some("too many clients are here"));
        while held.len() < CONNECTIONS_MAX {
            held.push(settled(&places, "192.0.2.4", &member).unwrap());
        }
        assert_eq!(settled(&places, "192.0.2.5", &member).err(), Some("too many connections are open"));
        held.pop();
        held.push(settled(&places, "192.0.2.5", &member).unwrap());
    }

    #[test]
    fn strangers_are_counted_apart() {
        let places = Arc::new(Places::default());
        let mut held: Vec<_> =
            (0..STRANGERS_MAX).map(|_| settled(&places, "192.0.2.1", &Peer::Stranger).unwrap()).collect();
        assert!(settled(&places, "192.0.2.1", &Peer::Stranger).is_err());
        held.pop();
        assert!(settled(&places, "192.0.2.1", &Peer::Stranger).is_ok());
    }
}
