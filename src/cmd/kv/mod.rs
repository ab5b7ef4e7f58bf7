//! # `nomad kv`: single keys
//!
//! One file a verb. Keys and values are bytes as the shell hands them over; `-` as a value is stdin. A value is written
//! as it is (exact bytes on a pipe, what cannot be printed escaped on a terminal). Keys that start with `_/` are the
//! cluster's own and refused before anything is sent.
//!
//! Does not: retry; the client library knows what may be tried again.

pub mod get;
pub mod put;
pub mod del;
pub mod cas;
pub mod incr;
pub mod batch;

use crate::cmd::fail::Answer;
use crate::cmd::global::Global;

/// Read and write single keys
#[derive(Debug, clap::Subcommand)]
pub enum Kv {
    Get(get::Get),
    Put(put::Put),
    Del(del::Del),
    Cas(cas::Cas),
    Incr(incr::Incr),
    Batch(batch::Batch),
}

impl Kv {
    pub async fn run(self, global: &Global) -> Answer {
        match self {
            Kv::Get(get) => get.run(global).await,
            Kv::Put(put) => put.run(global).await,
            Kv::Del(del) => del.run(global).await,
            Kv::Cas(cas) => cas.run(global).await,
            Kv::Incr(incr) => incr.run(global).await,
            Kv::Batch(batch) => batch.run(global).await,
        }
    }
}
