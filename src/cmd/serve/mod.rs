//! # `nomad serve`: one member of the cluster
//!
//! Puts a node together from flags, environment and a file, runs it until it is told to stop, and leaves behind what
//! others need to find it: `DIR/node.json` when it is ready, and, where it made the cluster, `DIR/admin.toml` with the
//! administrator's identity, which follows the members as they come and go.
//!
//! A first SIGTERM or SIGINT hands leadership over, drains requests and ends with 0; a second one ends at once with 130.
//!
//! Does not: daemonise, restart itself, or change who it is.

pub mod options;
pub mod run;

pub use options::Serve;
