//! Watching a migration: two lines on a terminal, a line for each change elsewhere, an event a line with `-o jsonl`.
//!
//! Promises: ctrl-C ends the watching only, and says so; the last thing told is how it ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::spell;
use crate::cmd::ui::{self, Format, Ui};
use crate::model::id::MigrationId;
use crate::net::wire::MigrationStatus;

use super::view::{MigrationView, stages};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it is waited for what clients feel once the shard is served from the target.
const FEEL_FOR: Duration = Duration::from_secs(3);
/// Looks between two events that only say how far it is.
const LOOKS_AN_EVENT: u32 = 5;

/// When there is nothing more to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The shard is where it will stay, unless somebody undoes it.
    Served,
    /// Nothing is done for it any more.
    Over,
}

/// Watches a migration; tells by the exit code how it came out.
pub async fn to_the_end(ui: &Ui, client: &Client, begun: MigrationStatus, until: Until) -> Answer {
    let Some(view) = watch(ui, client, begun, until).await? else { return Ok(Exit::Interrupted) };
    match view.state.as_str() {
        "done" => Ok(Exit::Done),
        "failed" => Err(failed(&view)),
        _ => Ok(Exit::No),
    }
}

/// Watches one that was told to go back. That it could not any more is a no.
pub async fn back(ui: &Ui, client: &Client, begun: MigrationStatus) -> Answer {
    let Some(view) = watch(ui, client, begun, Until::Served).await? else { return Ok(Exit::Interrupted) };
    match view.state.as_str() {
        "rolled_back" | "undone" => Ok(Exit::Done),
        "failed" => Err(failed(&view)),
        _ => {
            let id = MigrationId(view.id);
            Err(Failure::new(Exit::No, format!("{id} has not gone back"))
                .because("it was cut over before it heard of it")
                .cure(format!("nomad migrate undo {id}")))
        }
    }
}

/// It ended, and not where it should have: neither as it was nor as it was to be.
fn failed(view: &MigrationView) -> Failure {
    let failure = Failure::new(Exit::Unknown, format!("{} has failed", MigrationId(view.id)));
    failure.because(view.reason.clone().unwrap_or_default()).cure(format!("nomad shard show s{}", view.shard))
}

/// How it ended; `None` if somebody had enough.
async fn watch(
    ui: &Ui,
    client: &Client,
    begun: MigrationStatus,
    until: Until,
) -> Result<Option<MigrationView>, Failure> {
    let id = MigrationId(begun.id);
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(|| "cannot listen for signals".to_owned())?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut teller = Teller::start(ui);
    let mut view = MigrationView::new(&begun);
    let mut settled = None;
    loop {
        let ended = match until {
            Until::Served if view.is_settled() && view.feels_after() => {
                settled.get_or_insert_with(Instant::now).elapsed() >= FEEL_FOR
            }
            Until::Served => view.is_settled(),
            Until::Over => view.is_over(),
        };
        teller.tell(&view, ended)?;
        if ended {
            teller.end(&view)?;
            return Ok(Some(view));
        }
        tokio::select! {
            biased;
            _ = interrupt.recv() => {
                teller.clear();
                ui.warn(&format!("{id} goes on: nomad migrate show {id} --watch, nomad migrate cancel {id}"));
                return Ok(None);
            }
            _ = looks.tick() => {}
        }
        let goes_on = |failure: Failure| failure.after_changes().cure(format!("nomad migrate show {id}"));
        view = MigrationView::new(&super::find(client, id).await.map_err(goes_on)?);
    }
}

/// Says how it goes.
struct Teller {
    ui: Ui,
    bar: Option<ProgressBar>,
    told: Option<MigrationView>,
    looks: u32,
}

impl Teller {
    fn start(ui: &Ui) -> Teller {
        let drawn = ui.stderr_is_terminal() && !ui.is_quiet() && !ui.is_json();
        let bar = drawn.then(|| {
            let template = "{prefix}\n{wide_bar} {msg}";
            let style = ProgressStyle::with_template(template).expect("the template is well-formed");
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
        });
        Teller { ui: ui.clone(), bar, told: None, looks: 0 }
    }

    /// Tells a change at once, mere progress now and then. With `-o json` nothing: one document is one answer.
    fn tell(&mut self, view: &MigrationView, last: bool) -> Result<(), Failure> {
        self.looks += 1;
        let same = |told: &MigrationView| {
            (&told.stage, &told.state, &told.reason) == (&view.stage, &view.state, &view.reason)
        };
        let changed = !self.told.as_ref().is_some_and(same);
        if let Some(bar) = &self.bar {
            bar.set_prefix(stages(view));
            let (done, total) = view.share();
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(progress(view));
        } else if self.ui.format() == Some(Format::Jsonl) {
            if changed || last || self.looks.is_multiple_of(LOOKS_AN_EVENT) {
                self.ui.line(&ui::json(view, false))?;
            }
        } else if changed && !last && self.ui.format() != Some(Format::Json) {
            self.ui.note(&format!("{} {}: {}", MigrationId(view.id), view.stage, progress(view)));
        }
        self.told = Some(view.clone());
        Ok(())
    }

    /// Tells how it ended.
    fn end(&self, view: &MigrationView) -> Result<(), Failure> {
        self.clear();
        if self.ui.format() == Some(Format::Jsonl) {
            return Ok(()); // the last event has said it
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        self.ui.show(view, || view.summary(now_ms), || view.state.clone())
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far it is, and why it does not go on.
fn progress(view: &MigrationView) -> String {
    match &view.reason {
        Some(reason) if view.state == "running" => return format!("going back: {reason}"),
        Some(reason) => return format!("{}: {reason}", view.state),
        None if view.state != "running" => return view.state.clone(),
        None => {}
    }
    if view.stage == "transfer" && view.bytes_total > 0 {
        let left = view.seconds_left.map_or(String::new(), |s| format!("  {} left", spell::span(s * 1000)));
        let (done, total) = (spell::size(view.bytes_done), spell::size(view.bytes_total));
        return format!("{done} of {total}  {}/s{left}", spell::size(view.bytes_per_s));
    }
    view.state.clone()
}
