//! The tree of commands: which there are, and where each goes.
//!
//! Promises: no prefix of a command is guessed. Does not: do anything itself.

use clap::{CommandFactory, Parser, Subcommand};

use crate::cmd::bench::Bench;
use crate::cmd::completions::Completions;
use crate::cmd::config::Config;
use crate::cmd::context::ContextCommand;
use crate::cmd::debug::Debug;
use crate::cmd::demo::Demo;
use crate::cmd::exit::MEANINGS;
use crate::cmd::fail::Answer;
use crate::cmd::global::Global;
use crate::cmd::kv::Kv;
use crate::cmd::man::Man;
use crate::cmd::meta::Meta;
use crate::cmd::migrate::Migrate;
use crate::cmd::node::Node;
use crate::cmd::range::Range;
use crate::cmd::ring::Ring;
use crate::cmd::serve::Serve;
use crate::cmd::shard::Shard;
use crate::cmd::status::Status;
use crate::cmd::token::Token;
use crate::cmd::up::Up;
use crate::cmd::version::Version;
use crate::cmd::why::Why;

/// A distributed, sharded, strongly consistent key-value database
///
/// Server, client and administration in one executable. To begin:
///
///   nomad demo                      watch it survive, in two minutes
///   nomad up                        a local cluster that stays
///   nomad kv put hello world        write
///   nomad kv get hello              read
#[derive(Debug, Parser)]
#[command(
    name = "nomad",
    bin_name = "nomad",
    version,
    verbatim_doc_comment,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Tree {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(Demo),
    Up(Up),
    Serve(Box<Serve>),
    Status(Status),
    #[command(subcommand)]
    Kv(Kv),
    Range(Range),
    Bench(Box<Bench>),
    #[command(subcommand)]
    Shard(Shard),
    Migrate(Box<Migrate>),
    #[command(subcommand)]
    Node(Node),
    Ring(Ring),
    #[command(subcommand)]
    Why(Why),
    #[command(subcommand)]
    Token(Token),
    #[command(subcommand)]
    Context(ContextCommand),
    #[command(subcommand)]
    Config(Config),
    #[command(subcommand)]
    Meta(Meta),
    #[command(subcommand)]
    Debug(Debug),
    Completions(Completions),
    Man(Man),
    Version(Version),
}

impl Command {
    /// True for those that want more than one thread, and for those that have something to say at ctrl-C.
    pub fn is_busy(&self) -> bool {
        use Command::{Bench, Demo, Migrate, Node, Serve, Up};
        matches!(self, Bench(_) | Demo(_) | Migrate(_) | Node(_) | Serve(_) | Up(_))
    }

    pub async fn run(self, global: &Global) -> Answer {
        match self {
            Command::Demo(demo) => demo.run(global).await,
            Command::Up(up) => up.run(global).await,
            Command::Serve(serve) => serve.run(global).await,
            Command::Status(status) => status.run(global).await,
            Command::Kv(kv) => kv.run(global).await,
            Command::Range(range) => range.run(global).await,
            Command::Bench(bench) => bench.run(global).await,
            Command::Shard(shard) => shard.run(global).await,
            Command::Migrate(migrate) => migrate.run(global).await,
            Command::Node(node) => node.run(global).await,
            Command::Ring(ring) => ring.run(global).await,
            Command::Why(why) => why.run(global).await,
            Command::Token(token) => token.run(global).await,
            Command::Context(context) => context.run(global),
            Command::Config(config) => config.run(global).await,
            Command::Meta(meta) => meta.run(global).await,
            Command::Debug(debug) => debug.run(global),
            Command::Completions(completions) => completions.run(global, command()),
            Command::Man(man) => man.run(global, command()),
            Command::Version(version) => version.run(global),
        }
    }
}

/// The whole tree, for help, completions and manual pages.
pub fn command() -> clap::Command {
    let rows = MEANINGS.iter().map(|(exit, meaning)| format!("  {:>3}  {meaning}\n", exit.code()));
    let codes: String = rows.collect();
    Tree::command().after_long_help(format!("Exit codes:\n{codes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_well_formed() {
        command().debug_assert();
    }

    fn parses(line: &str) -> bool {
        command().try_get_matches_from(line.split(' ')).is_ok()
    }

    #[test]
    fn values_that_begin_with_a_dash() {
        assert!(parses("nomad kv incr k -5"));
        assert!(parses("nomad kv put k -5"));
        assert!(parses("nomad kv put k -"));
        assert!(parses("nomad kv put k -- -value"));
        assert!(parses("nomad kv cas k --absent -- -new"));
        assert!(parses("nomad kv cas k -- -old -new"));
        assert!(!parses("nomad kv put k -value"));
    }

    #[test]
    fn nothing_is_guessed() {
        assert!(!parses("nomad stat"));
        assert!(!parses("nomad kv ge k"));
        assert!(!parses("nomad kv get"));
        assert!(!parses("nomad kv put k"));
        assert!(!parses("nomad kv put k v --file f"));
        assert!(!parses("nomad range a --prefix b"));
    }

    #[test]
    fn global_options_go_anywhere() {
        assert!(parses("nomad -o json kv get k"));
        assert!(parses("nomad kv get k -o json --timeout 2s -c x -e a:1,b:2 -y -q -vv --color never"));
    }
}
