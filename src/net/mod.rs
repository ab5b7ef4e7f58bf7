//! # Bytes between peers
pub mod chance;
pub mod exec;
pub mod identity;
pub mod transport;
pub mod rpc;
pub mod peers;
pub mod wire;
pub mod kind;
