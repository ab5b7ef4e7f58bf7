//! `nomad up`: a local cluster that stays, one child process a node.
//!
//! `DIR/nK` is the data of node K, `DIR/nK.log` its log, `DIR/admin.toml` the context. The first run makes the cluster on
//! n1 and lets the others join one by one; later runs start all of them at once (a single one could not become ready
//! without the others) and add what is missing.
//!
//! Promises: ctrl-C stops all nodes in order; a node that dies by itself is reported. Does not: restart nodes.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use tokio::signal::unix::{SignalKind, signal};

use crate::cmd::context_file::{Context, Contexts};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::fleet::LocalNode;
use crate::cmd::global::Global;
use crate::cmd::node_file::NodeFile;
use crate::cmd::ui::Ui;
use crate::cmd::{private_file, session, spell};
use crate::net::wire::TokenNew;
use crate::net::wire::admin_request::Body;

/// Most nodes on one machine.
pub const NODES_MAX: u64 = 9;
/// The name of the context that `up` makes.
const LOCAL: &str = "local";
/// How long a token for the next node lives, in milliseconds.
const TOKEN_TTL_MS: u64 = 5 * 60_000;

/// Run a local cluster until ctrl-C
///
/// Keeps its data in DIR and comes back with it; `-c DIR/admin.toml` and the context `local` reach it.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// How many nodes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    nodes: u64,

    /// Where their data is [default: up in the user's data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The first time: keys at which the key space is split into shards
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    split_at: Vec<String>,

    /// Leave the user's own contexts alone
    #[arg(long)]
    no_context: bool,
}

impl Up {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let dir = self.dir.map_or_else(default_dir, Ok)?;
        private_file::make_folder(&dir).or_fail(|| format!("cannot use {}", dir.display()))?;
        let dir = dir.canonicalize().or_fail(|| format!("cannot use {}", dir.display()))?;
        let what = || "cannot listen for signals".to_owned();
        let mut interrupt = signal(SignalKind::interrupt()).or_fail(what)?;
        let mut terminate = signal(SignalKind::terminate()).or_fail(what)?;
        let mut nodes: Vec<LocalNode> =
            (1..=count(&dir, self.nodes)).map(|n| LocalNode::new(&dir, n)).collect();
        for key in &self.split_at {
            spell::user_key_bytes(key.as_bytes())?;
        }
        if !self.split_at.is_empty() && nodes.iter().any(LocalNode::has_lived) {
            return Err(Failure::usage(format!("there is a cluster in {} already", dir.display()))
                .because("the key space is split when a cluster is made")
                .cure("nomad up without --split-at, or with another --dir"));
        }
        let ended = tokio::select! {
            biased;
            _ = interrupt.recv() => Ok(Exit::Done),
            _ = terminate.recv() => Ok(Exit::Done),
            failed = stay(&ui, &dir, &mut nodes, &self.split_at, self.no_context) => failed,
        };
        if nodes.iter().any(LocalNode::is_running) {
            ui.note("stopping (again to stop at once)");
        }
        tokio::select! {
            biased;
            _ = interrupt.recv() => return Ok(Exit::Interrupted),
            _ = terminate.recv() => return Ok(Exit::Interrupted),
            _ = futures_util::future::join_all(nodes.iter_mut().map(LocalNode::stop)) => {}
        }
        ended
    }
}

/// Starts everything and watches over it. Returns only when no node is left, or none could be started.
async fn stay(ui: &Ui, dir: &Path, nodes: &mut [LocalNode], split_at: &[String], no_context: bool) -> Answer {
    let files = start(ui, dir, nodes, split_at).await?;
    let endpoints = files.iter().map(|file| file.quic.clone()).collect();
    let context = Context { name: LOCAL.to_owned(), endpoints, ..Context::read(&admin_file(&nodes[0]))? };
    context.write(&dir.join("admin.toml"))?;
    let in_use = !no_context && remember(ui, &context);
    say_what_next(ui, dir, &files, in_use);
    while nodes.iter().any(LocalNode::is_running) {
        let waiting = nodes.iter_mut().map(|node| Box::pin(node.ended()));
        let (status, at, _) = futures_util::future::select_all(waiting).await;
        ui.warn(
            &nodes[at]
                .failed(&format!("ended by itself ({status})"))
                .render(str::to_owned)
                .replace('\n', "\n  "),
        );
        nodes[at].forget();
    }
    Err(Failure::new(Exit::Unreachable, "no node is left").cure("nomad up, once the cause above is gone"))
}

/// Starts all nodes; returns where they are.
async fn start(
    ui: &Ui,
    dir: &Path,
    nodes: &mut [LocalNode],
    split_at: &[String],
) -> Result<Vec<NodeFile>, Failure> {
    let mut files = Vec::new();
    let (old, new): (Vec<_>, Vec<_>) = nodes.iter_mut().partition(|node| node.has_lived());
    let mut old = old;
    for node in &mut old {
        node.spawn(&[], None)?;
    }
    for node in &mut old {
        files.push(node.ready().await?);
        ui.note(&format!("{} is back", node.name()));
    }
    for node in new {
        if files.is_empty() {
            let split_at = split_at.iter().flat_map(|key| ["--split-at", key.as_str()]);
            let args: Vec<&str> = ["--bootstrap"].into_iter().chain(split_at).collect();
            node.spawn(&args, None)?;
        } else {
            let (members, token) = invitation(dir, &files).await?;
            node.spawn(&["--join", &members], Some(&token))?;
        }
        files.push(node.ready().await?);
        ui.note(&format!("{} is ready", node.name()));
    }
    Ok(files)
}

/// Members and a token for the next node.
async fn invitation(dir: &Path, files: &[NodeFile]) -> Result<(String, String), Failure> {
    let endpoints: Vec<String> = files.iter().map(|file| file.quic.clone()).collect();
    let members = endpoints.join(",");
    let admin = Context { endpoints, ..Context::read(&admin_file(&LocalNode::new(dir, 1)))? };
    let client = session::connect_to(&admin, std::time::Duration::from_secs(10)).await?;
    let body = Body::TokenNew(TokenNew { ttl_ms: TOKEN_TTL_MS, uses: 1 });
    let made = session::admin(&client, body, || "cannot make a token for the next node".to_owned()).await?;
    Ok((members, made.token))
}

/// Adds the context `local`; true if it is the one in use.
fn remember(ui: &Ui, context: &Context) -> bool {
    let remembered = Contexts::of_user().and_then(|contexts| {
        contexts.save(context)?;
        if contexts.current()?.is_none() {
            contexts.choose(LOCAL)?;
        }
        Ok(contexts.current()?.as_deref() == Some(LOCAL))
    });
    remembered.unwrap_or_else(|failure| {
        ui.warn(&format!("{}: {}", failure.error, failure.because.join(": ")));
        false
    })
}

fn say_what_next(ui: &Ui, dir: &Path, files: &[NodeFile], in_use: bool) {
    let how = if in_use { String::new() } else { format!(" -c {}", dir.join("admin.toml").display()) };
    ui.note(&format!(
        "\n{} nodes run, with their data in {}. In another terminal:\n",
        files.len(),
        dir.display()
    ));
    for example in ["kv put hello world", "kv get hello", "status", "shard ls"] {
        ui.note(&format!("  nomad{how} {example}"));
    }
    ui.note("\nctrl-C stops them; nomad up brings them back with their data.");
}

/// As many nodes as wanted, or as there are already.
fn count(dir: &Path, wanted: u64) -> u64 {
    let lived = (1..=NODES_MAX).filter(|number| LocalNode::new(dir, *number).has_lived()).max();
    wanted.max(lived.unwrap_or(0))
}

fn admin_file(first: &LocalNode) -> PathBuf {
    first.data_dir().join("admin.toml")
}

fn default_dir() -> Result<PathBuf, Failure> {
    let places = etcetera::base_strategy::Xdg::new().map_err(|error| {
        Failure::usage("cannot find your home directory").caused_by(&error).cure("nomad up --dir DIR")
    })?;
    Ok(places.data_dir().join("nodenomad").join("up"))
}
