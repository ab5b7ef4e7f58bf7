//! # One member of the cluster
pub mod wall;

pub mod disk;
