//! How far a long command is: a bar on a terminal, a plain line now and then elsewhere.
//!
//! Promises: nothing is shown in the first 250 ms, nothing with `--quiet`, everything on stderr; outside a terminal one
//! line every 10 s. Does not: slow down what it measures.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::time::Instant;

use crate::cmd::spell;
use crate::cmd::ui::Ui;

/// Nothing is shown before this.
const QUIET_START: Duration = Duration::from_millis(250);
/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Redraws a second, at most.
const REDRAWS_HZ: u8 = 20;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Keys,
}

/// The progress of one thing.
pub struct Progress {
    ui: Ui,
    label: String,
    unit: Unit,
    total: Option<u64>,
    done: u64,
    started: Instant,
    line_due: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins. Without a total there is no end to draw, only a count and a rate.
    pub fn start(ui: &Ui, label: &str, unit: Unit, total: Option<u64>) -> Progress {
        let now = Instant::now();
        Progress {
            ui: ui.clone(),
            label: label.to_owned(),
            unit,
            total: total.filter(|total| *total > 0),
            done: 0,
            started: now,
            line_due: now + LINE_EVERY,
            bar: None,
        }
    }

    /// `done` is how far it is by now, in all.
    pub fn at(&mut self, done: u64) {
        self.done = done;
        if self.ui.is_quiet() {
            return;
        }
        if !self.ui.stderr_is_terminal() {
            if Instant::now() >= self.line_due {
                self.line_due = Instant::now() + LINE_EVERY;
                self.ui.note(&self.text());
            }
            return;
        }
        if self.bar.is_none() && self.started.elapsed() >= QUIET_START {
            self.bar = Some(self.draw());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Ends, taking the bar away; what was achieved is for the caller to say.
    pub fn finish(self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }

    /// One line: what, how far, how fast.
    fn text(&self) -> String {
        let per_s = self.done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let share = self.total.map_or(String::new(), |total| format!(" ({}%)", self.done * 100 / total));
        let (done, rate) = match self.unit {
            Unit::Bytes => (spell::size(self.done), spell::size(per_s as u64)),
            Unit::Keys => (format!("{} keys", spell::count(self.done)), spell::count(per_s as u64)),
        };
        format!("{}: {done}{share}, {rate}/s", self.label)
    }

    fn draw(&self) -> ProgressBar {
        let (counts, rate) = match self.unit {
            Unit::Bytes => ("{binary_bytes} of {binary_total_bytes}", "{binary_bytes_per_sec}"),
            Unit::Keys => ("{human_pos} of {human_len}", "{keys_per_s}"),
        };
        let template = match self.total {
            Some(_) => format!("{{prefix}} {{wide_bar}} {{percent:>3}}%  {counts}  {rate}  {{eta}}"),
            None => {
                format!("{{prefix}} {{spinner}} {}  {rate}", counts.split(" of ").next().unwrap_or(counts))
            }
        };
        let keys_per_s = |state: &ProgressState, line: &mut dyn Write| {
            // A bar that cannot be drawn is nobody's trouble.
            let _ = write!(line, "{}/s", spell::count(state.per_sec() as u64));
        };
        let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
        let style = style.with_key("keys_per_s", keys_per_s);
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_HZ);
        let bar = ProgressBar::with_draw_target(self.total, target)
            .with_style(style)
            .with_prefix(self.label.clone());
        bar.with_position(self.done).with_elapsed(self.started.elapsed())
    }
}
