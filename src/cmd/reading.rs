//! The options that all reads share.
//!
//! Promises: without options a read is linearizable. Does not: read.

use crate::client::{Consistency, ReadOptions};
use crate::cmd::spell;
use crate::model::time::Timestamp;

/// How fresh a read must be, and as of when.
#[derive(Clone, Debug, clap::Args)]
pub struct Reading {
    /// How fresh the answer must be
    #[arg(long, value_name = "LEVEL", default_value = "linearizable")]
    consistency: Level,

    /// As of a timestamp: a number as shown by `ts`, or a moment such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TS", value_parser = spell::timestamp)]
    at: Option<Timestamp>,
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Everything acknowledged before
    Linearizable,
    /// Everything this client has seen
    Session,
    /// Whatever the nearest replica has
    Stale,
}

impl Reading {
    /// The same for the client library.
    pub fn options(&self) -> ReadOptions {
        ReadOptions { consistency: self.consistency.into(), at: self.at }
    }
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Consistency {
        match level {
            Level::Linearizable => Consistency::Linearizable,
            Level::Session => Consistency::Session,
            Level::Stale => Consistency::Stale,
        }
    }
}
