//! # A cluster as a value
pub mod error;
pub mod map;
mod session;
mod pool;
mod course;
mod cluster;
mod routed;
mod write;
mod kv;
mod batch;
mod range;
mod admin;

pub use batch::{BatchOperation, BatchSummary, Batcher};
pub use cluster::Options;
pub use error::{Error, ErrorOutcome, Trouble};
pub use kv::{Cas, Client, Consistency, Expected, PutOptions, ReadOptions, Value};
pub use map::ClusterMap;
pub use range::{RangeQuery, RangeStream, Row};

#[cfg(test)]
mod tests;
