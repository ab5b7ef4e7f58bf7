//! `nomad context`: the clusters this user knows.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use crate::cmd::context_file::{Context, Contexts, DEFAULT};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;

/// Choose which cluster to talk to
#[derive(Debug, Subcommand)]
#[command(name = "context")]
pub enum ContextCommand {
    /// List the contexts; a star marks the one in use
    Ls,
    /// Use a context from now on
    Use {
        /// Its name
        name: String,
    },
    /// Add a context, from a file such as DIR/admin.toml, or for an insecure cluster from -e
    Add {
        /// What to call it
        name: String,
        /// A context file to take over
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// The cluster was started --insecure; needs -e
        #[arg(long, conflicts_with = "from")]
        insecure: bool,
        /// Replace a context of this name
        #[arg(long)]
        force: bool,
    },
    /// Remove a context, and with it its key
    Rm {
        /// Its name
        name: String,
    },
}

#[derive(Serialize)]
struct ContextView {
    name: String,
    current: bool,
    cluster_id: String,
    endpoints: Vec<String>,
    insecure: bool,
    file: String,
}

impl ContextCommand {
    pub fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let contexts = Contexts::of_user()?;
        match self {
            ContextCommand::Ls => {
                let views = views(&contexts, &ui)?;
                let row = |view: &ContextView| {
                    let mark = if view.current { "*" } else { "" };
                    let cluster = if view.insecure {
                        format!("{} (insecure)", view.cluster_id)
                    } else {
                        view.cluster_id.clone()
                    };
                    vec![
                        mark.to_owned(),
                        view.name.clone(),
                        cluster.trim().to_owned(),
                        view.endpoints.join(" "),
                    ]
                };
                ui.list(&views, &["", "NAME", "CLUSTER", "ENDPOINTS"], row, |view| view.name.clone())?;
            }
            ContextCommand::Use { name } => {
                contexts.choose(&name)?;
                ui.note(&format!("commands without -c now mean `{name}`"));
            }
            ContextCommand::Add { name, from, insecure, force } => {
                if contexts.path(&name)?.exists() && !force {
                    return Err(Failure::usage(format!("there is a context `{name}` already"))
                        .cure("another name, or the same with --force"));
                }
                let mut context = described(global, from, insecure)?;
                context.name = name.clone();
                let file = contexts.save(&context)?;
                // What was just written must be readable again.
                Context::read(&file)?;
                ui.note(&format!("added `{name}`; nomad context use {name} makes it the one in use"));
            }
            ContextCommand::Rm { name } => {
                if !contexts.path(&name)?.exists() {
                    return contexts.get(&name).map(|_| Exit::Done);
                }
                if !ui.confirm(&format!("Remove the context `{name}` and its key?"))? {
                    return Ok(Exit::No);
                }
                contexts.remove(&name)?;
                ui.note(&format!("removed `{name}`"));
            }
        }
        Ok(Exit::Done)
    }
}

/// The context that the options of `add` describe.
fn described(global: &Global, from: Option<PathBuf>, insecure: bool) -> Result<Context, Failure> {
    let endpoints = global.endpoint.clone();
    match (from, insecure) {
        (Some(file), _) => {
            let context = Context::read(&file)?;
            Ok(if endpoints.is_empty() { context } else { Context { endpoints, ..context } })
        }
        (None, true) if !endpoints.is_empty() => Ok(Context { endpoints, insecure, ..Context::default() }),
        (None, _) => Err(Failure::usage("that does not say which cluster")
            .because("a context needs members and an identity, or no identity on purpose")
            .cure("--from DIR/admin.toml, or --insecure -e HOST:PORT")),
    }
}

/// All contexts that can be read; of the others the user is warned.
fn views(contexts: &Contexts, ui: &crate::cmd::ui::Ui) -> Result<Vec<ContextView>, Failure> {
    let current = contexts.current()?;
    let mut views = Vec::new();
    for name in contexts.names()? {
        match contexts.get(&name) {
            Ok(context) => views.push(ContextView {
                current: current.as_deref() == Some(&name),
                file: contexts.path(&name)?.display().to_string(),
                name,
                cluster_id: context.cluster_id,
                endpoints: context.endpoints,
                insecure: context.insecure,
            }),
            Err(failure) => ui.warn(&format!("{}: {}", failure.error, failure.because.join(": "))),
        }
    }
    if views.is_empty() {
        ui.note(&format!("no contexts; nomad up makes `local`, nomad serve --bootstrap makes `{DEFAULT}`"));
    }
    Ok(views)
}
