//! # One member of the cluster
pub mod wall;

pub mod disk;
pub mod store;
pub mod wal;
pub mod server;
