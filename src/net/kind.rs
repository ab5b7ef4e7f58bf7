//! What a call or a stream is about: the number in its frame, and who may make it. Numbers are never used again for
//! something else.
//!
//! Promises: what has no rule in [`RULES`] is allowed to nobody, and every number here has one (a test reads this file).
//! Does not know what a call does.

use super::transport::{Class, Peer};

/// A client's `Request`; answered with a `Reply`.
pub const CLIENT_REQUEST: u16 = 1;
/// `JoinRequest`, `JoinReply`.
pub const JOIN: u16 = 2;
/// `Append`, `AppendReply`.
pub const APPEND: u16 = 16;
/// `Ballot`, `BallotReply`.
pub const BALLOT: u16 = 17;
/// `LeaderTransfer`, `LeaderTransferReply`.
pub const LEADER_TRANSFER: u16 = 18;
/// `ReadIndex`, `ReadIndexReply`.
pub const READ_INDEX: u16 = 19;
/// `Report`, `ReportReply`.
pub const REPORT: u16 = 20;
/// `PlacementStep`, `PlacementReply`.
pub const PLACEMENT: u16 = 21;
/// `Pulse`, `PulseReply`.
pub const PULSE: u16 = 22;
/// A stream: `SnapshotOffer`, then `SnapshotChunk`s; `SnapshotReply` comes back.
pub const SNAPSHOT: u16 = 32;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One frame, one answer.
    Call,
    /// Payloads both ways.
    Stream,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Members and clients.
    Known,
    Members,
    /// Also who has no identity.
    Anybody,
}

/// Who may make one kind of call or stream, and on which connections.
#[derive(Debug)]
pub struct Rule {
    pub kind: u16,
    pub name: &'static str,
    pub shape: Shape,
    pub who: Who,
    pub classes: &'static [Class],
}

const BETWEEN_MEMBERS: &[Class] = &[Class::Control, Class::Append];

/// Every kind there is.
pub const RULES: &[Rule] = &[
    rule(CLIENT_REQUEST, "CLIENT_REQUEST", Shape::Call, Who::Known, &[Class::Client]),
    rule(JOIN, "JOIN", Shape::Call, Who::Anybody, &[Class::Join]),
    rule(APPEND, "APPEND", Shape::Call, Who::Members, BETWEEN_MEMBERS),
    rule(BALLOT, "BALLOT", Shape::Call, Who::Members, BETWEEN_MEMBERS),
    rule(LEADER_TRANSFER, "LEADER_TRANSFER", Shape::Call, Who::Members, BETWEEN_MEMBERS),
    rule(READ_INDEX, "READ_INDEX", Shape::Call, Who::Members, BETWEEN_MEMBERS),
    rule(REPORT, "REPORT", Shape::Call, Who::Members, BETWEEN_MEMBERS),
    rule(PLACEMENT, "PLACEMENT", Shape::Call, Who::Members, BETWEEN_MEMBERS),
    rule(PULSE, "PULSE", Shape::Call, Who::Members, BETWEEN_MEMBERS),
    rule(SNAPSHOT, "SNAPSHOT", Shape::Stream, Who::Members, &[Class::Bulk]),
];

const fn rule(kind: u16, name: &'static str, shape: Shape, who: Who, classes: &'static [Class]) -> Rule {
    Rule { kind, name, shape, who, classes }
}

/// Whether somebody may ask this, so, on a connection of this class.
pub fn allows(shape: Shape, kind: u16, class: Class, peer: &Peer) -> bool {
    RULES.iter().any(|rule| {
        let known = match rule.who {
            Who::Anybody => true,
            Who::Known => matches!(peer, Peer::Node(_) | Peer::Client(_)),
            Who::Members => matches!(peer, Peer::Node(_)),
        };
        rule.kind == kind && rule.shape == shape && rule.classes.contains(&class) && known
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::NodeId;

    /// failures.md, Security, Missing checks on side doors: a new call without a rule fails here.
    #[test]
    fn every_number_has_one_rule() {
        let declared = include_str!("kind.rs").lines().filter_map(|line| {
            let (name, number) = line.strip_prefix("pub const ")?.split_once(": u16 = ")?;
            Some((name, number.trim_end_matches(';').parse::<u16>().unwrap()))
        });
        let declared: Vec<_> = declared.collect();
        let rules: Vec<_> = RULES.iter().map(|rule| (rule.name, rule.kind)).collect();
        assert_eq!(rules, declared, "in the same order");
        let mut numbers: Vec<u16> = rules.iter().map(|(_, kind)| *kind).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), rules.len(), "no number twice");
    }

    /// Written down a second time, by hand, with everything that is not refused.
    #[test]
    fn who_may_what() {
        let mut allowed = Vec::new();
        for rule in RULES {
            for class in Class::ALL {
                for peer in [Peer::Node(NodeId(1)), Peer::Client("ann".to_owned()), Peer::Stranger] {
                    for shape in [Shape::Call, Shape::Stream] {
                        // Who may not even connect does not come so far.
                        if class.admits(&peer) && allows(shape, rule.kind, class, &peer) {
                            allowed.push(format!("{shape:?} {} on {class:?} by {peer}", rule.name));
                        }
                    }
                }
            }
        }
        let expected = [
            "Call CLIENT_REQUEST on Client by node n1",
            "Call CLIENT_REQUEST on Client by client ann",
            "Call JOIN on Join by node n1",
            "Call JOIN on Join by client ann",
            "Call JOIN on Join by a stranger",
            "Call APPEND on Control by node n1",
            "Call APPEND on Append by node n1",
            "Call BALLOT on Control by node n1",
            "Call BALLOT on Append by node n1",
            "Call LEADER_TRANSFER on Control by node n1",
            "Call LEADER_TRANSFER on Append by node n1",
            "Call READ_INDEX on Control by node n1",
            "Call READ_INDEX on Append by node n1",
            "Call REPORT on Control by node n1",
            "Call REPORT on Append by node n1",
            "Call PLACEMENT on Control by node n1",
            "Call PLACEMENT on Append by node n1",
            "Call PULSE on Control by node n1",
            "Call PULSE on Append by node n1",
            "Stream SNAPSHOT on Bulk by node n1",
        ];
        assert_eq!(allowed, expected);
    }
}
