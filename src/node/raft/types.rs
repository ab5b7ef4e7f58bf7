//! What openraft is made of here, and how it looks when written down.
//!
//! openraft's own stored forms change between releases, so everything that reaches a disk or a wire goes through the
//! messages of `proto/model.proto`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership};
use prost::Message;

use crate::model::wire;

use super::runtime::Runtime;

/// More than the head of an entry takes, in bytes.
const ENTRY_HEAD_BYTES_MAX: u64 = 64;
/// More than a change of members, and the entry behind it, take, in bytes.
pub const MEMBERSHIP_BYTES_MAX: u64 = 4 << 10;

openraft::declare_raft_types!(
    /// openraft's type parameters.
    pub Types:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = Seat,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

pub type Entry = openraft::alias::EntryOf<Types>;
pub type LogId = openraft::alias::LogIdOf<Types>;
pub type Vote = openraft::alias::VoteOf<Types>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub type Term = <LeaderId as RaftLeaderId>::Committed;

/// An encoded [`wire::Entry`], opaque to consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

/// How each write of a proposal came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer(pub Vec<wire::Outcome>);

/// The machine a replica is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seat {
    pub node: u64,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.node)
    }
}

/// The log id `index` of `term`.
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 0).to_committed(), index)
}

/// The leader of a term, as proposals name it.
pub fn term_leader(term: u64) -> Term {
    LeaderId::new(term, 0).to_committed()
}

pub fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, index: id.index }
}

pub fn log_id_from_wire(id: &wire::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, replica: vote.leader_id.voted_for, committed: vote.committed }
}

pub fn vote_from_wire(vote: &wire::Vote) -> Vote {
    match vote.committed {
        true => Vote::new_committed(vote.term, vote.replica),
        false => Vote::new(vote.term, vote.replica),
    }
}

/// The stored form of a membership set by the entry `at`.
pub fn membership_to_wire(at: Option<&LogId>, membership: &Membership<u64, Seat>) -> wire::Membership {
    let configs = membership.get_joint_config().iter();
    wire::Membership {
        log_id: at.map(log_id_to_wire),
        configs: configs.map(|set| wire::VoterSet { replicas: set.iter().copied().collect() }).collect(),
        members: membership
            .nodes()
            .map(|(replica, seat)| wire::Member { replica: *replica, node: seat.node })
            .collect(),
    }
}

/// The membership whose stored form this is; an error if its voters are not members.
pub fn membership_from_wire(stored: &wire::Membership) -> io::Result<Membership<u64, Seat>> {
    let configs: Vec<BTreeSet<u64>> =
        stored.configs.iter().map(|set| set.replicas.iter().copied().collect()).collect();
    let seats: BTreeMap<u64, Seat> =
        stored.members.iter().map(|member| (member.replica, Seat { node: member.node })).collect();
    if configs.is_empty() && seats.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, seats)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// A stored membership, in openraft's terms.
pub fn stored_membership(stored: &wire::Membership) -> io::Result<StoredMembership> {
    Ok(StoredMembership::new(stored.log_id.as_ref().map(log_id_from_wire), membership_from_wire(stored)?))
}

/// An entry as the log and the wire hold it.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let payload = match &entry.payload {
        EntryPayload::Blank => wire::log_entry::Payload::Blank(true),
        EntryPayload::Normal(proposal) => wire::log_entry::Payload::Normal(proposal.0.clone()),
        EntryPayload::Membership(membership) => {
            wire::log_entry::Payload::Membership(membership_to_wire(Some(&entry.log_id), membership))
        }
    };
    let stored = wire::LogEntry { id: Some(log_id_to_wire(&entry.log_id)), payload: Some(payload) };
    stored.encode_to_vec().into()
}

/// At least what the stored form of an entry takes, in bytes.
pub fn entry_bytes_max(entry: &Entry) -> u64 {
    match &entry.payload {
        EntryPayload::Blank => ENTRY_HEAD_BYTES_MAX,
        EntryPayload::Normal(proposal) => ENTRY_HEAD_BYTES_MAX + proposal.0.len() as u64,
        EntryPayload::Membership(_) => MEMBERSHIP_BYTES_MAX,
    }
}

/// The entry whose stored form this is. The payload shares its memory.
pub fn decode_entry(bytes: Bytes) -> io::Result<Entry> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("a log entry {what}"));
    let stored = wire::LogEntry::decode(bytes).map_err(|_| bad("that cannot be read"))?;
    let id = log_id_from_wire(&stored.id.ok_or_else(|| bad("without an id"))?);
    let payload = match stored.payload.ok_or_else(|| bad("without a payload"))? {
        wire::log_entry::Payload::Blank(_) => EntryPayload::Blank,
        wire::log_entry::Payload::Normal(bytes) => EntryPayload::Normal(Proposal(bytes)),
        wire::log_entry::Payload::Membership(membership) => {
            EntryPayload::Membership(membership_from_wire(&membership)?)
        }
    };
    Ok(Entry::new(id, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_being_written_down() {
        let seats = BTreeMap::from([(1, Seat { node: 1 }), (2, Seat { node: 2 }), (3, Seat { node: 9 })]);
        let joint = Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], seats).unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal(Bytes::from_static(b"abc"))),
            EntryPayload::Membership(joint),
        ] {
            let entry = Entry::new(log_id(3, 17), payload);
            let copy = decode_entry(encode_entry(&entry)).unwrap();
            assert_eq!((copy.log_id, copy.payload), (entry.log_id, entry.payload));
        }
    }

    #[test]
    fn a_vote_survives_being_written_down() {
        for vote in [Vote::new(4, 7), Vote::new_committed(5, 8)] {
            assert_eq!(vote_from_wire(&vote_to_wire(&vote)), vote);
        }
    }

    #[test]
    fn garbage_is_refused() {
        assert!(decode_entry(Bytes::from_static(b"\xff\xff")).is_err());
        assert!(decode_entry(Bytes::new()).is_err());
        let stored = wire::Membership {
            log_id: None,
            configs: vec![wire::VoterSet { replicas: vec![5] }],
            members: vec![],
        };
        assert!(membership_from_wire(&stored).is_err());
    }
}
