//! # NodeNomad
pub mod client;
pub mod cmd;
pub mod model;
pub mod net;
pub mod node;
