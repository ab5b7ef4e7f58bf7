//! Watching a node give its shards away: a bar over all, and a line for each that moves just now.
//!
//! Promises: ctrl-C ends the watching only, and says so; on a pipe a line whenever one has gone.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::migrate::{self, MigrationView};
use crate::cmd::ui::Ui;
use crate::cmd::{session, spell};
use crate::model::id::{NodeId, ShardId};
use crate::model::wire::NodeRecord;
use crate::net::wire::MapReply;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Watches until the node holds no user shard; told by the exit code if somebody undrains it meanwhile.
pub async fn watch(ui: &Ui, client: &Client, node: NodeId) -> Answer {
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(|| "cannot listen for signals".to_owned())?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let first = held(&session::map(client).await?, node);
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
        let stays = |known: &NodeRecord| known.node == node.0 && known.state != "draining";
        match left {
            0 => {
                teller.clear();
                return Ok(Exit::Done);
            }
            _ if map.nodes.iter().any(stays) => {
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
    all: Option<(MultiProgress, ProgressBar)>,
    moving: BTreeMap<u64, ProgressBar>,
    first: u64,
    told: u64,
}

impl Teller {
    fn start(ui: &Ui, first: u64) -> Teller {
        let drawn = ui.stderr_is_terminal() && !ui.is_quiet() && !ui.is_json();
        let all = drawn.then(|| {
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{pos} of {len} moved {wide_bar} {msg}");
            let bar = bars.add(ProgressBar::new(first));
            (bars, bar.with_style(style.expect("the template is well-formed")))
        });
        Teller { ui: ui.clone(), all, moving: BTreeMap::new(), first, told: first }
    }

    fn tell(&mut self, left: u64, moving: &[MigrationView]) {
        let Some((bars, all)) = &self.all else {
            if left != self.told {
                self.ui.note(&format!("{left} of {} replicas are left", self.first.max(left)));
            }
            self.told = left;
            return;
        };
        all.set_length(self.first.max(left));
        all.set_position(self.first.saturating_sub(left));
        let per_s: u64 = moving.iter().map(|one| one.bytes_per_s).sum();
        all.set_message(format!("{}/s", spell::size(per_s)));
        self.moving.retain(|id, bar| {
            let goes_on = moving.iter().any(|one| one.id == *id);
            if !goes_on {
                bar.finish_and_clear();
            }
            goes_on
        });
        for one in moving {
            let bar = self.moving.entry(one.id).or_insert_with(|| {
                let style = ProgressStyle::with_template("  {prefix} {wide_bar} {msg}");
                bars.add(ProgressBar::new(1)).with_style(style.expect("the template is well-formed"))
            });
            let (done, total) = one.share();
            bar.set_length(total);
            bar.set_position(done);
            bar.set_prefix(format!("{:>5} to {:<4}", ShardId(one.shard), NodeId(one.target)));
            bar.set_message(match &one.reason {
                Some(reason) => format!("{}: {reason}", one.state),
                None => one.stage.clone(),
            });
        }
    }

    fn clear(&self) {
        self.moving.values().for_each(ProgressBar::finish_and_clear);
        if let Some((_, all)) = &self.all {
            all.finish_and_clear();
        }
    }
}
