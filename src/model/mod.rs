//! # The rules
//!
//! What the cluster *is*, without any of the machinery that keeps it running: keys and ranges, timestamps, how a log
//! entry changes a shard, who answers for which key, where replicas should be and how they get there.
//!
//! Promises: everything here is a pure function of its arguments. Two replicas that call it with the same arguments get
//! the same answer, today and after an upgrade (old rules are kept under their number).
//!
//! Relies on nothing. Does not: wait, read a clock, draw a random number, touch a file, a socket or a terminal.

pub mod config;
pub mod evaluate;
pub mod id;
pub mod job;
pub mod key;
pub mod map;
pub mod placement;
pub mod repeat;
pub mod ring;
pub mod row;
pub mod system;
pub mod time;
pub mod wire;
