//! # `nomad bench`: rates and latencies under load
//!
//! | file | what |
//! |---|---|
//! | `workload` | which operations, how often |
//! | `zipfian`, `choice` | which keys |
//! | `keys`, `value` | how keys are called; values that tell where they are from |
//! | `pace` | when an operation begins, and from when its latency counts |
//! | `operate` | one client: an operation, its answer checked |
//! | `tally`, `report` | counts and histograms of one client; of all; as people and programs read it |
//! | `ledger`, `verify` | what was acknowledged; whether it is there |
//! | `history` | what everybody asked and was told; whether that can be true |
//! | `load`, `live` | keys that must be there before; the line while it runs |
//! | `options`, `run` | the command |
//!
//! Clients are tasks that share a [`Client`](crate::client::Client), or a few: a bench often shares a machine with what it
//! measures, so its own work is kept small. Each has its own histograms and chance; what they share is counters and, for
//! runs that are verified, the ledger.
//!
//! Promises: keys outside the prefix are not touched; what is called an error changed nothing, what is unknown is counted
//! apart; with a rate, waiting counts as latency. Does not: compare with anything, or keep results.

pub mod zipfian;
pub mod workload;
pub mod choice;
pub mod keys;
pub mod value;
pub mod pace;
pub mod tally;
pub mod ledger;
pub mod history;
pub mod load;
pub mod operate;
pub mod live;
pub mod verify;
pub mod report;
pub mod options;
pub mod run;

pub use options::Bench;
