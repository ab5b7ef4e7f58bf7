//! # NodeNomad: the map of the building
//!
//! A distributed, sharded, strongly consistent key-value database in one executable. `ls src` is the architecture; each
//! room's `mod.rs` opens with what it is, what it promises, what it relies on and what it does not do.
//!
//! | room | what happens in it |
//! |---|---|
//! | [`model`] | the rules, pure: keys, timestamps, how log entries change a shard, the map, the ring, placement |
//! | [`net`] | bytes between peers: identity, transports (QUIC and simulated), frames and calls, messages |
//! | [`client`] | a cluster as a value: connect, route, retry, read and write |
//! | [`node`] | one member: log, store, consensus, shards, the cluster's own affairs, who answers whom |
//! | [`cmd`] | what the user types |
//!
//! The arrow of dependencies: `model <- net <- {client | node} <- cmd <- main`. `client` and `node` never import each other.
//! A test reads the imports and checks it.
//!
//! Chance enters at five fences, each with a real and a simulated side: the network ([`net::transport`]), the disk
//! ([`node::disk`]), time (`tokio::time` and [`node::wall`]), chance ([`net::chance`]) and threads ([`net::exec`]).
//!
//! ## Glossary
//!
//! *Shard*: a range of keys with a Raft group of its own. *Replica*: one placement of a shard on a node. *Leader*: the
//! replica through which a shard's writes and linearizable reads go. *Map*: which shard owns which keys and where its
//! replicas are. *Epoch*: rises when a shard's bounds or members change. *Ring*: orders the candidate nodes for a shard.
//! *Meta shard*: shard 0, the cluster's own records. *Stamp*: the hybrid timestamp of a write. *Ceiling*: no read was
//! served above it. *Watermark*: history at and below it may be forgotten.

pub mod model;
pub mod net;
pub mod client;
pub mod node;
pub mod cmd;
