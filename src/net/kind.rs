//! What a call or a stream is about: the number in its frame. Numbers are never used again for something else.

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
