//! Bars for many moves at a time: one over all, and one for each that is under way.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cmd::spell;
use crate::cmd::ui::Ui;
use crate::model::id::{NodeId, ShardId};

use super::view::MigrationView;

/// On a terminal; there are none elsewhere.
pub struct Bars {
    bars: MultiProgress,
    all: ProgressBar,
    moving: BTreeMap<u64, ProgressBar>,
}

impl Bars {
    /// `None` where nothing is to be drawn.
    pub fn start(ui: &Ui) -> Option<Bars> {
        let drawn = ui.stderr_is_terminal() && !ui.is_quiet() && !ui.is_json();
        drawn.then(|| {
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{pos} of {len} moved {wide_bar} {msg}");
            let all = bars.add(ProgressBar::new(0));
            all.set_style(style.expect("the template is well-formed"));
            Bars { bars, all, moving: BTreeMap::new() }
        })
    }

    /// So many of so many have moved, and these are moving.
    pub fn draw(&mut self, done: u64, total: u64, moving: &[MigrationView]) {
        self.all.set_length(total);
        self.all.set_position(done);
        let per_s: u64 = moving.iter().map(|one| one.bytes_per_s).sum();
        self.all.set_message(format!("{}/s", spell::size(per_s)));
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
                let bar = self.bars.add(ProgressBar::new(1));
                bar.with_style(style.expect("the template is well-formed"))
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

    /// Takes them off the screen.
    pub fn clear(&self) {
        self.moving.values().for_each(ProgressBar::finish_and_clear);
        self.all.finish_and_clear();
    }
}
