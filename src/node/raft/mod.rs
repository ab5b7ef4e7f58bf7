//! # Consensus
//!
//! One Raft group a shard, on openraft, behind a facade ([`group::Group`]) that nothing above looks through.
//!
//! ## What is durable when
//!
//! | step | before it is answered |
//! |---|---|
//! | a vote is given | the vote is on disk (write-ahead log, same queue as entries) |
//! | entries are acknowledged to the leader | they are on disk |
//! | the leader counts itself | its own copy is on disk (openraft is told by the log's callback) |
//! | an entry is applied | it is committed: on disk on a majority. Applying is in memory |
//! | the log is purged | all of it is in a flushed file, with its log id, in one transaction |
//!
//! ## Why each crash is safe
//!
//! - Before the log's sync: nothing was acknowledged, the tail is cut or kept; Raft decides.
//! - After the sync, before applying: the entry is in the log and is applied again after it is known to be committed.
//! - Between apply and flush: as above; the file says up to where it holds the log, and replay begins behind that.
//! - Between flush and purge: the log merely still has what the file has, and replay skips it.
//! - Between the installation of a snapshot and the purge of the log below it: the file's log id is beyond the log's
//!   end; the start purges the log up to it before openraft looks (see [`crate::node::replica`]).
//! - All members at once: every acknowledged entry is on a majority's disks, so any leader elected afterwards has it.
//!   Nothing is read before that leader has committed an entry of its own term.
//!
//! ## Replica ids
//!
//! openraft's member id is the replica id: fresh for every placement, never used again, so that a member that comes back
//! with an old or an empty disk can never count twice. Messages name shard and replica; to anybody else they are
//! undeliverable, and undeliverable messages create nothing.
//!
//! Relies on: the write-ahead log's order and sync, the store's atomic flush. Does not: decide who should be a member.

pub mod runtime;
pub mod types;
pub mod log;
pub mod machine;
pub mod snapshot;
pub mod network;
pub mod group;
