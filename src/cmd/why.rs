//! `nomad why`: the cluster's own reasons, in sentences.

use clap::Subcommand;
use serde::Serialize;

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::{session, table};
use crate::model::id::{MigrationId, NodeId, ShardId};
use crate::net::wire::admin_request::Body;
use crate::net::wire::{WhyGet, why_get::What};

/// Say why something is where it is, moves, waits or is stuck, and what would help
#[derive(Debug, Subcommand)]
pub enum Why {
    /// Why a shard's replicas are where they are, and what is being done about them
    Shard {
        /// As `shard ls` shows it
        id: ShardId,
    },
    /// Why a node holds what it holds
    Node {
        /// As `node ls` shows it
        id: NodeId,
    },
    /// Why a migration stands where it stands, or how it ended
    Migration {
        /// As `migrate ls` shows it
        id: MigrationId,
    },
}

/// The answer.
#[derive(Serialize)]
struct WhyView {
    sentences: Vec<String>,
}

impl Why {
    pub async fn run(self, global: &Global) -> Answer {
        let (what, named, list) = match self {
            Why::Shard { id } => (What::Shard(id.0), id.to_string(), "nomad shard ls"),
            Why::Node { id } => (What::Node(id.0), id.to_string(), "nomad node ls"),
            Why::Migration { id } => (What::Migration(id.0), id.to_string(), "nomad migrate ls"),
        };
        let client = session::connect(global).await?;
        let body = Body::WhyGet(WhyGet { what: Some(what) });
        let answer = session::admin(&client, body, || format!("cannot say why of {named}")).await;
        let answer = answer.map_err(|failure| match failure.exit {
            Exit::No => failure.cure(list),
            _ => failure,
        })?;
        if answer.sentences.is_empty() {
            return Err(
                Failure::new(Exit::Unknown, format!("the cluster says nothing about {named}")).cure(list)
            );
        }
        let (ui, view) = (global.ui(), WhyView { sentences: answer.sentences });
        let raw = || view.sentences.join("\n");
        ui.show(&view, || table::paragraphs(ui.columns(), &view.sentences), raw)?;
        Ok(Exit::Done)
    }
}
