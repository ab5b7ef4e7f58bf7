//! # `nomad demo`: the guided tour
//!
//! Three real nodes and later a fourth, as child processes, in a temporary directory; over real sockets and files. The tour is a list of
//! steps, each a file or a function of its own; a further step is one more line in `Tour::run` and one more row in the
//! table at the end.
//!
//! | step | shows |
//! |---|---|
//! | start | a cluster of three from nothing, each shard with three replicas |
//! | load | 100,000 keys, durable on a majority each |
//! | read | single keys and a range |
//! | fail over | the leader of a shard killed with SIGKILL under writes; how long they pause |
//! | restart | the killed node comes back and catches up |
//! | join | a fourth node joins under writes, and shards wander to it |
//! | cancel | a move is given up half-way |
//! | undo | a shard has moved, and is taken back |
//! | drain | the fourth node gives its shards away, and goes |
//! | verify | equal digests of all replicas; every acknowledged key read back |
//!
//! Promises: ends with 0 only if every acknowledged write was found on every replica; leaves nothing behind, also after
//! ctrl-C or a failure (a failure shows the end of the logs first). Does not: use or change the user's contexts.

pub mod stage;
pub mod ledger;
pub mod writers;
pub mod load;
pub mod read;
pub mod failover;
pub mod wander;
pub mod turn_back;
pub mod verify;
pub mod tour;

pub use tour::Demo;
