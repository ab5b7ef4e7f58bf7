//! # The rules
//!
//! What the cluster *is*, without any of the machinery that keeps it running: keys and ranges, timestamps, how a log
//! entry changes a shard, who answers for which key, where replicas should be and how they get there.
//!
//! Promises: everything here is a pure function of its arguments. Two replicas that call it with the same arguments get
//! the same answer, today and after an upgrade (old rules are kept under their number).
//!
//! Relies on nothing. Does not: wait, read a clock, draw a random number, touch a file, a socket or a terminal.
//!
//! Two threads run through the list below. *Data*: [`key`], [`time`], [`row`], [`repeat`] and [`evaluate`] are what a
//! shard's log does to a shard. *Cluster*: [`system`] names the meta shard's records, [`map`] makes one value of them,
//! [`ring`] and [`assign`] say where replicas belong, [`placement`] which change to make next, and [`job`] how each
//! change is carried through, whoever crashes; [`migration`] is a job that moves one replica and that people watch, and
//! [`verify`] tells whether what it copied is the same, [`pacing`] how fast it is copied; [`membership`] says which nodes may go, [`forecast`] what would follow; [`leadership`] spreads the
//! work of leading by load; [`split`] makes two shards of one, [`merge`] one of two, and [`sizing`] says when; [`why`] says all that in sentences; [`token`] says who may join. And [`history`] judges whether what clients were
//! told of all that can be true.

pub mod wire;
pub mod id;
pub mod time;
pub mod key;
pub mod row;
pub mod repeat;
pub mod evaluate;
pub mod system;
pub mod config;
pub mod map;
pub mod token;
pub mod ring;
pub mod assign;
pub mod placement;
pub mod verify;
pub mod pacing;
pub mod job;
pub mod split;
pub mod migration;
pub mod forecast;
pub mod plan;
pub mod membership;
pub mod leadership;
pub mod sizing;
pub mod merge;
pub mod why;
pub mod history;
