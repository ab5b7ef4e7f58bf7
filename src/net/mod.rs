//! # Bytes between peers
pub mod chance;
pub mod exec;
pub mod transport;
pub mod wire;
