//! # What the user types
//!
//! One file a command; the doc comment of its arguments is its help. This room alone knows the environment, the home
//! directory and the terminal; it puts nodes and clients together and shows what they say.
//!
//! A command parses its arguments into types, connects (in [`session`], the one place that knows how), asks the client
//! library, and answers through [`ui`]: answers on stdout, everything else on stderr. It ends with an [`exit::Exit`] or
//! with a [`fail::Failure`] that says what, why and what to type now. Flags win over the environment (`NODENOMAD_*`),
//! that over files, files over defaults.
//!
//! Promises: exit codes 2, 3, 4 and 5 mean that nothing changed, 6 that nobody knows. JSON field names are a stable
//! contract; what people read is not. What comes from files, lines and arguments is bounded. Nothing printed on a
//! terminal can control it.
//!
//! Relies on `client` for outcomes and retries, on `node` for serving. Does not: retry, route, or keep state beyond
//! context files.

pub mod exit;
pub mod fail;
pub mod escape;
pub mod spell;
pub mod table;
pub mod ui;
pub mod progress;
pub mod lines;
pub mod private_file;
pub mod context_file;
pub mod node_file;
pub mod global;
pub mod log;
pub mod session;
pub mod view;
pub mod fleet;
pub mod reading;
pub mod kv;
pub mod range;
pub mod meta;
pub mod config;
pub mod status;
pub mod shard;
pub mod migrate;
pub mod node;
pub mod ring;
pub mod why;
pub mod token;
pub mod context;
pub mod debug;
pub mod completions;
pub mod man;
pub mod version;
pub mod serve;
pub mod up;
pub mod demo;
pub mod bench;
pub mod tree;
#[doc(hidden)]
pub mod decoders;
pub mod entry;

pub use entry::main;
pub use tree::command;
