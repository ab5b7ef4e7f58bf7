//! Watching a node give its shards away: a bar over all, and a line for each that moves just now.
//!
//! Promises: ctrl-C ends the watching only, and says so; on a pipe a line whenever one has gone.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::migrate::{self, Bars, MigrationView};
use crate::cmd::session;
use crate::cmd::ui::Ui;
use crate::model::id::{NodeId, ShardId};
use crate::model::wire::NodeRecord;
use crate::net::wire::MapReply;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Watches until the node holds no user shard; told by the exit code if somebody undrains it meanwhile.
pub async fn watch(ui: &Ui, client: &Client, node: NodeId) -> Answer {
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(|| "cannot listen for signals".to_owned())?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let first = held(&session::map(client).await.map_err(Failure::after_changes)?, node);
    let mut teller = Teller::start(ui, first);
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {
                teller.clear();
                ui.warn(&format!("{node} goes on: nomad node drain {node} --wait, nomad node undrain {node}"));
                return Ok(Exit::Interrupted);
            }
            _ = looks.tick() => {}
        }
        let goes_on = |failure: Failure| failure.after_changes().cure(format!("nomad node show {node}"));
        let map = session::map(client).await.map_err(goes_on)?;
        let left = held(&map, node);
        let moving = migrate::list(client).await.map_err(goes_on)?;
        let moving =
            moving.iter().map(MigrationView::new).filter(|one| one.source == node.0 && !one.is_over());
        teller.tell(left, &moving.collect::<Vec<_>>());
        let is_it = |known: &&NodeRecord| known.node == node.0;
        let drains = map.nodes.iter().find(is_it).is_some_and(|known| known.state == "draining");
        match left {
            0 => {
                teller.clear();
                return Ok(Exit::Done);
            }
            _ if !drains => {
                teller.clear();
                return Err(Failure::new(Exit::No, format!("{node} is not drained any more"))
                    .because("somebody has said that it stays")
                    .cure(format!("nomad node drain {node} --wait")));
            }
            _ => {}
        }
    }
}

/// Replicas of user shards on a node.
pub fn held(map: &MapReply, node: NodeId) -> u64 {
    let users = map.shards.iter().filter(|shard| shard.shard != ShardId::META.0);
    let replicas = users.flat_map(|shard| &shard.replicas).filter(|replica| replica.node == node.0);
    replicas.count() as u64
}

struct Teller {
    ui: Ui,
    bars: Option<Bars>,
    first: u64,
    told: u64,
}

impl Teller {
    fn start(ui: &Ui, first: u64) -> Teller {
        Teller { ui: ui.clone(), bars: Bars::start(ui), first, told: first }
    }

    fn tell(&mut self, left: u64, moving: &[MigrationView]) {
        let all = self.first.max(left);
        match &mut self.bars {
            Some(bars) => bars.draw(all - left, all, moving),
            None if left != self.told => self.ui.note(&format!("{left} of {all} replicas are left")),
            None => {}
        }
        self.told = left;
    }

    fn clear(&self) {
        self.bars.iter().for_each(Bars::clear);
    }
}
