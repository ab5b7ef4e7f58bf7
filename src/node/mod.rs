//! # One member of the cluster
//!
//! The only room that holds data. From the bottom: the clock and the disk; the write-ahead log, shared by all shards; a store
//! a shard; consensus; a replica, which is the three together; the node's replicas; the meta shard's duties; who answers
//! whom; and at the top a node, running.
//!
//! ## How a write travels
//!
//! client → (QUIC) → [`serve`] → [`replica`]'s proposer, which gathers → one entry → [`raft`] → [`wal`], synced here and
//! on a majority → committed → applied to the [`store`]'s memtable on every replica → answered. Later, behind: a flush.
//!
//! Promises: nothing is acknowledged that is not on a majority's disks; whatever is read linearizably was confirmed by a
//! majority after the question; what the disk did not do stops the node.
//!
//! Relies on [`crate::model`] for every rule, on [`crate::net`] for who somebody is. Does not print, read the environment
//! or know where it was started from.

pub mod histogram;
pub mod request_counts;
pub mod wall;
pub mod clock;
pub mod disk;
pub mod member;
pub mod wal;
pub mod store;
pub mod raft;
pub mod replica;
pub mod shards;
pub mod room;
pub mod stall;
pub mod quorum;
pub mod pulse;
pub mod meta;
pub mod handover;
pub mod flusher;
pub mod serve;
pub mod heap;
pub mod process;
pub mod metrics;
pub mod http;
pub mod running;
pub mod inspect;
pub mod server;
