//! # The cluster's own affairs
//!
//! The meta shard (shard 0) holds the cluster's records: members, the shard map, jobs, settings, tokens. Every member has
//! a replica of it; one, three or five vote. What follows from the records is done by whoever leads it, and everything
//! is written so that a successor can go on: an act is conditioned on what was seen, and repeating it is harmless.
//!
//! | who | what |
//! |---|---|
//! | every node | follows the records ([`view`]), opens and removes its replicas by them ([`keeper`]), makes those of shards that are split ([`births`]), reports ([`reports`]) |
//! | the meta leader | repairs the map to match the shards' own logs, plans and drives placement ([`controller`], [`drive`]), takes nodes in ([`join`]), splits what is large or busy and merges what is not ([`sizes`]), serves operators ([`admin`], [`nodes`], [`migrations`], [`plans`], [`leads`], [`splits`], [`merges`], [`why`]) |
//!
//! Relies on [`crate::model`] for what should be done. Does not log what need not survive: progress, load, liveness.

pub mod view;
pub mod records;
pub mod bootstrap;
pub mod felt;
pub mod reports;
pub mod led;
pub mod steps;
pub mod join;
pub mod watched;
pub mod sizer;
pub mod admin;
pub mod nodes;
pub mod migrations;
pub mod why;
pub mod keeper;
pub mod drive;
pub mod leads;
pub mod plans;
pub mod splits;
pub mod merges;
pub mod sizes;
pub mod births;
pub mod controller;
