//! `nomad migrate`: moving one replica of a shard to another node, live.
//!
//! Promises: what was begun goes on whether it is watched or not, and that is said; `-o jsonl` tells an event a line.
//! Does not: move anything itself (the cluster does).

mod view;
mod bars;
pub mod plan;
mod apply;
mod watch;

use std::time::Duration;

use clap::Subcommand;

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::{log, session, spell};
use crate::model::id::{MigrationId, NodeId, PlanId, ShardId};
use crate::net::wire::admin_request::Body;
use crate::net::wire::{
    ConfigSet, MigrationBegin, MigrationList, MigrationOrder, MigrationOrderKind, MigrationStatus, plan_get,
};

pub use bars::Bars;
pub use view::MigrationView;

/// Move a replica of a shard to another node, live
///
/// It goes through five stages: prepare, transfer, verify (the copy must equal what a majority of the replicas hold),
/// update (the cut-over) and cleanup. Clients notice nothing. Until the cut-over it can be cancelled; after it, it can be
/// undone at once for the time that `nomad config get undo_window_ms` tells.
///
/// The command ends with 0 once the shard is served from the new node, with 1 if everything is as it was. Ctrl-C ends
/// the command only, not the move.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Migrate {
    #[command(subcommand)]
    order: Option<Order>,

    /// Which shard, as `shard ls` shows it
    #[arg(long, value_name = "SHARD", required = true)]
    shard: Option<ShardId>,

    /// Where to, as `node ls` shows it
    #[arg(long, value_name = "NODE", required = true)]
    to: Option<NodeId>,

    /// Which replica moves: the one on this node [default: where only one can be meant]
    #[arg(long, value_name = "NODE")]
    from: Option<NodeId>,

    /// Also where that puts two replicas into a zone that could be apart
    #[arg(long)]
    force: bool,

    /// Copy slower while a hundredth of the requests at its nodes takes longer than this, such as 10ms
    /// [default: the setting `migration_keep_p99_ms`]
    #[arg(long, value_name = "TIME", value_parser = spell::duration)]
    keep_p99: Option<Duration>,

    /// Begin it and do not watch
    #[arg(long)]
    detach: bool,

    /// Watch until it cannot be undone any more and nothing is left of the old replica
    #[arg(long, conflicts_with = "detach")]
    wait: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// List those under way and those that ended within a day, oldest first
    Ls,
    /// Show one
    Show {
        /// As `migrate ls` shows it
        id: MigrationId,
        /// Watch it until the shard is where it will stay
        #[arg(short, long)]
        watch: bool,
    },
    /// Show what would move if something happened, and move nothing
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Plan {
        /// If this node were drained
        #[arg(long, value_name = "NODE", group = "what")]
        drain: Option<NodeId>,
        /// What this node, which has joined, is still to get
        #[arg(long, value_name = "NODE", group = "what")]
        join: Option<NodeId>,
        /// If nodes were evened out
        #[arg(long, group = "what")]
        rebalance: bool,
        /// If a replica of this shard were moved
        #[arg(long, value_name = "SHARD", group = "what", requires = "to")]
        shard: Option<ShardId>,
        /// With --shard: where to
        #[arg(long, value_name = "NODE", requires = "shard")]
        to: Option<NodeId>,
        /// With --shard: which replica [default: where only one can be meant]
        #[arg(long, value_name = "NODE", requires = "shard")]
        from: Option<NodeId>,
    },
    /// Carry out a plan, exactly as it was printed, if replicas and nodes are still where they were
    ///
    /// Its moves begin in order, as many at a time as the settings allow, and are migrations like any other. What has begun goes on
    /// if the command ends, and if the whole cluster restarts.
    Apply(apply::Apply),
    /// List the plans that are, or were, carried out, oldest first
    Plans,
    /// Begin nothing more of a plan; what has begun comes to its end
    Stop {
        /// As `migrate plans` shows it
        id: PlanId,
    },
    /// Have one stand still
    Pause {
        /// As `migrate ls` shows it
        id: MigrationId,
    },
    /// Let one go on
    Resume {
        /// As `migrate ls` shows it
        id: MigrationId,
    },
    /// Give one up before its cut-over: everything is as it was
    Cancel {
        /// As `migrate ls` shows it
        id: MigrationId,
    },
    /// Bound how fast shards are copied, on all nodes, now
    Limit {
        /// Bytes a second that each node sends at most, such as 50MiB or 50MiB/s; or `none`
        rate: String,
    },
    /// Take one back after its cut-over: nothing is copied
    ///
    /// Returns when the old node serves again.
    Undo {
        /// As `migrate ls` shows it
        id: MigrationId,
    },
}

impl Migrate {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        log::start_for_command(&ui, global.verbose)?;
        let client = session::connect(global).await?;
        match self.order {
            None => self.begin(&client, global).await,
            Some(Order::Ls) => {
                let all: Vec<MigrationView> = list(&client).await?.iter().map(MigrationView::new).collect();
                ui.list(&all, &view::HEADER, view::row, |one| one.id.to_string())?;
                Ok(Exit::Done)
            }
            Some(Order::Plan { drain, join, rebalance: _, shard, to, from }) => {
                let what = match (drain, join, shard.zip(to)) {
                    (Some(node), ..) => plan_get::What::DrainNode(node.0),
                    (_, Some(node), _) => plan_get::What::JoinNode(node.0),
                    (.., Some((shard, to))) => plan_get::What::Move(wish(shard, from, to, true)),
                    _ => plan_get::What::Rebalance(true),
                };
                let plan = plan::ask(&client, what, || "cannot plan that".to_owned()).await;
                plan.map_err(|failure| failure.cure("nomad node ls; nomad shard ls"))?.show(&ui)?;
                Ok(Exit::Done)
            }
            Some(Order::Apply(apply)) => apply::run(&ui, &client, &apply.file, apply.detach).await,
            Some(Order::Plans) => apply::list(&ui, &client).await,
            Some(Order::Stop { id }) => apply::stop(&ui, &client, id).await,
            Some(Order::Show { id, watch: false }) => {
                let view = MigrationView::new(&find(&client, id).await?);
                ui.show(&view, || view::page(&view), || view.state.clone())?;
                Ok(Exit::Done)
            }
            Some(Order::Show { id, watch: true }) => {
                watch::to_the_end(&ui, &client, find(&client, id).await?, watch::Until::Served).await
            }
            Some(Order::Pause { id }) => {
                order(&client, id, MigrationOrderKind::OrderPause, "pause").await?;
                ui.note(&format!("{id} stands still; go on: nomad migrate resume {id}"));
                Ok(Exit::Done)
            }
            Some(Order::Resume { id }) => {
                order(&client, id, MigrationOrderKind::OrderResume, "resume").await?;
                ui.note(&format!("{id} goes on; watch it: nomad migrate show {id} --watch"));
                Ok(Exit::Done)
            }
            Some(Order::Cancel { id }) => {
                let begun = order(&client, id, MigrationOrderKind::OrderCancel, "cancel").await?;
                watch::back(&ui, &client, begun).await
            }
            Some(Order::Limit { rate }) => {
                let value = if rate == "none" { "0" } else { rate.trim_end_matches("/s") };
                let name = "migration_bytes_per_s".to_owned();
                let body = Body::ConfigSet(ConfigSet { name, value: value.to_owned(), reset: false });
                session::admin(&client, body, || format!("cannot limit migrations to {rate}")).await?;
                ui.note(&match value {
                    "0" => "shards are copied as fast as it goes".to_owned(),
                    _ => format!("each node sends at most {value}/s of shards that are copied"),
                });
                Ok(Exit::Done)
            }
            Some(Order::Undo { id }) => {
                let begun = order(&client, id, MigrationOrderKind::OrderUndo, "undo").await?;
                watch::back(&ui, &client, begun).await
            }
        }
    }

    async fn begin(self, client: &Client, global: &Global) -> Answer {
        let (shard, to) =
            self.shard.zip(self.to).ok_or_else(|| Failure::usage("which shard, and where to?"))?;
        let body = Body::MigrationBegin(MigrationBegin {
            keep_p99_us: self.keep_p99.map_or(0, |keep| keep.as_micros() as u64),
            ..wish(shard, self.from, to, self.force)
        });
        let what = || format!("cannot move {shard} to {to}");
        let begun = session::admin(client, body, what).await.map_err(|failure| match failure.exit {
            Exit::Usage | Exit::Forbidden => failure.cure(format!("nomad shard show {shard}; nomad node ls")),
            Exit::Unknown => failure.cure("nomad migrate ls"),
            _ => failure,
        })?;
        let status = only(begun.migrations)?;
        let ui = global.ui();
        let id = MigrationId(status.id);
        if self.detach {
            let view = MigrationView::new(&status);
            ui.show(
                &view,
                || format!("{id} begins; watch it: nomad migrate show {id} --watch"),
                || id.to_string(),
            )?;
            return Ok(Exit::Done);
        }
        let until = if self.wait { watch::Until::Over } else { watch::Until::Served };
        watch::to_the_end(&ui, client, status, until).await
    }
}

fn wish(shard: ShardId, from: Option<NodeId>, to: NodeId, force: bool) -> MigrationBegin {
    let from_node = from.map_or(0, |from| from.0);
    MigrationBegin { shard: shard.0, from_node, to_node: to.0, force, ..MigrationBegin::default() }
}

/// All that the cluster remembers, oldest first.
pub async fn list(client: &Client) -> Result<Vec<MigrationStatus>, Failure> {
    let body = Body::MigrationList(MigrationList {});
    Ok(session::admin(client, body, || "cannot list the migrations".to_owned()).await?.migrations)
}

/// One of them.
pub async fn find(client: &Client, id: MigrationId) -> Result<MigrationStatus, Failure> {
    let found = list(client).await?.into_iter().find(|status| status.id == id.0);
    found.ok_or_else(|| {
        Failure::new(Exit::No, format!("there is no migration {id}"))
            .because("those that have ended are remembered for a day")
            .cure("nomad migrate ls")
    })
}

/// Gives an order about a migration; how it stood then.
pub async fn order(
    client: &Client,
    id: MigrationId,
    kind: MigrationOrderKind,
    verb: &str,
) -> Result<MigrationStatus, Failure> {
    let body = Body::MigrationOrder(MigrationOrder { id: id.0, order: kind.into() });
    let what = || format!("cannot {verb} {id}");
    let answer = session::admin(client, body, what).await;
    let answer = answer.map_err(|failure| failure.cure(format!("nomad migrate show {id}")))?;
    only(answer.migrations)
}

/// The one that an answer is about.
pub fn only(mut answered: Vec<MigrationStatus>) -> Result<MigrationStatus, Failure> {
    let strange = || Failure::new(Exit::Unknown, "the answer names no migration").cure("nomad migrate ls");
    answered.pop().ok_or_else(strange)
}
