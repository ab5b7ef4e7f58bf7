//! The line that shows a run while it runs.
//!
//! Promises: only on a terminal, only on stderr, gone afterwards. Does not: measure; its rate is of the last moments.

use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::cmd::bench::operate::Shared;
use crate::cmd::spell;
use crate::cmd::ui::Ui;

/// Over how long the rate is taken, at least.
const RATE_OVER: Duration = Duration::from_millis(500);

/// The line, or nothing where nobody watches.
pub struct Line {
    bar: Option<ProgressBar>,
    since: Instant,
    answered: u64,
    per_s: u64,
}

impl Line {
    pub fn start(ui: &Ui, shared: &Shared) -> Line {
        let all = shared.pace.progress().1;
        let bar = (ui.stderr_is_terminal() && !ui.is_quiet()).then(|| {
            let template = "{prefix} {wide_bar} {msg}";
            let style = ProgressStyle::with_template(template).expect("the template is well-formed");
            ProgressBar::with_draw_target(Some(all.as_millis() as u64), ProgressDrawTarget::stderr())
                .with_style(style)
                .with_prefix(shared.workload.name())
        });
        Line { bar, since: Instant::now(), answered: 0, per_s: 0 }
    }

    /// Shows how it is now.
    pub fn show(&mut self, shared: &Shared) {
        let Some(bar) = &self.bar else { return };
        let (elapsed, all) = shared.pace.progress();
        let answered = shared.live.answered.load(Ordering::Relaxed);
        let over = self.since.elapsed();
        if over >= RATE_OVER {
            self.per_s = ((answered - self.answered) as f64 / over.as_secs_f64()) as u64;
            (self.since, self.answered) = (Instant::now(), answered);
        }
        bar.set_position(elapsed.as_millis() as u64);
        bar.set_message(text(elapsed, all, self.per_s, shared.live.failed.load(Ordering::Relaxed)));
    }

    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn text(elapsed: Duration, all: Duration, per_s: u64, failed: u64) -> String {
    let failed = if failed > 0 { format!("  {} FAILED", spell::count(failed)) } else { String::new() };
    format!(
        "{:.1} of {:.1} s  {:>7}/s{failed}",
        elapsed.as_secs_f64(),
        all.as_secs_f64(),
        spell::count(per_s)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_shown_only_if_there_are_any() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(text(seconds(1.25), seconds(10.0), 16_500, 0), "1.2 of 10.0 s   16,500/s");
        assert!(text(seconds(1.0), seconds(10.0), 0, 3).ends_with("  3 FAILED"));
    }
}
