//! # Bytes between peers
pub mod chance;
pub mod exec;
pub mod identity;
pub mod peers;
pub mod rpc;
pub mod transport;
pub mod wire;
