//! `nomad migrate apply`: a plan that was printed and looked at, carried out as it is.
//!
//! Promises: ctrl-C ends the watching only, and says so; what is read is bounded; a plan that is not what `plan -o json` prints is
//! refused before anything is asked.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::Client;
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::session;
use crate::cmd::ui::{self, Format, Ui};
use crate::model::id::PlanId;
use crate::model::plan::MOVES_MAX;
use crate::model::wire::{PlanRecord, PlannedMove};
use crate::net::wire::admin_request::Body;
use crate::net::wire::{PlanApply, PlanList, PlanStop};

use super::bars::Bars;
use super::view::MigrationView;

/// Largest plan that is read: far above what so many moves take.
const PLAN_MAX_BYTES: u64 = 8 << 20;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A plan as it was printed, as far as it is needed.
#[derive(Deserialize)]
struct PlanFile {
    made_for: String,
    changes: Vec<FileChange>,
}

#[derive(Deserialize)]
struct FileChange {
    shard: u64,
    source: Option<u64>,
    target: Option<u64>,
}

/// How a plan stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AppliedView {
    pub plan: u64,
    pub moves: u64,
    /// Served from their targets, or given up.
    pub moved: u64,
    pub under_way: u64,
    /// `running`, `stopping`, `done` or `stopped`.
    pub state: &'static str,
    /// Why the rest is not made.
    pub reason: Option<String>,
    pub started_at_ms: u64,
    pub ended_at_ms: Option<u64>,
}

/// Begins to carry out the plan in a file, or on stdin, and watches.
pub async fn run(ui: &Ui, client: &Client, file: &Path, detach: bool) -> Answer {
    let asked = read(file)?;
    let body = Body::PlanApply(asked);
    let answer = session::admin(client, body, || format!("cannot carry out {}", file.display())).await;
    let answer = answer.map_err(|failure| match failure.exit {
        Exit::Usage | Exit::Forbidden | Exit::No => {
            failure.cure("nomad migrate plan ... -o json, then apply that; nomad migrate plans")
        }
        _ => failure,
    })?;
    let plan = only(answer.plans)?;
    let id = PlanId(plan.id);
    if detach {
        let view = AppliedView::new(&plan, &[]);
        let text = || format!("{id} begins; see it: nomad migrate plans, nomad migrate ls");
        ui.show(&view, text, || id.to_string())?;
        return Ok(Exit::Done);
    }
    watch(ui, client, id).await
}

/// Prints all that are remembered.
pub async fn list(ui: &Ui, client: &Client) -> Answer {
    let moving = moves(client).await?;
    let all = plans(client).await?;
    let views: Vec<AppliedView> = all.iter().map(|plan| AppliedView::new(plan, &moving)).collect();
    let header = ["ID", ">MOVES", ">MOVED", ">UNDER WAY", "STATE", "REASON"];
    let row = |view: &AppliedView| {
        let reason = view.reason.clone().unwrap_or_default();
        let counts = [view.moves, view.moved, view.under_way].map(|count| count.to_string());
        let [moves, moved, under_way] = counts;
        vec![PlanId(view.plan).to_string(), moves, moved, under_way, view.state.to_owned(), reason]
    };
    ui.list(&views, &header, row, |view| PlanId(view.plan).to_string())?;
    Ok(Exit::Done)
}

/// Begins nothing more of a plan.
pub async fn stop(ui: &Ui, client: &Client, id: PlanId) -> Answer {
    let body = Body::PlanStop(PlanStop { id: id.0 });
    let answer = session::admin(client, body, || format!("cannot stop {id}")).await;
    let plan = only(answer.map_err(|failure| failure.cure("nomad migrate plans"))?.plans)?;
    let view = AppliedView::new(&plan, &moves(client).await?);
    let text = || match view.state {
        "done" => format!("{id} is done already"),
        _ => format!(
            "{id} begins nothing more; {} of its moves are under way: nomad migrate ls",
            view.under_way
        ),
    };
    ui.show(&view, text, || view.state.to_owned())?;
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<PlanApply, Failure> {
    let shown = || format!("cannot read the plan in {}", file.display());
    let mut text = Vec::new();
    let source: Box<dyn Read> = match file == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).or_fail(shown)?),
    };
    source.take(PLAN_MAX_BYTES + 1).read_to_end(&mut text).or_fail(shown)?;
    if text.len() as u64 > PLAN_MAX_BYTES {
        return Err(Failure::usage(shown()).because(format!("it is longer than {PLAN_MAX_BYTES} bytes")));
    }
    let wrong = |because: String| {
        Failure::usage(shown()).because(because).cure("nomad migrate plan --drain NODE -o json > plan.json")
    };
    let plan: PlanFile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if plan.changes.len() > MOVES_MAX {
        return Err(wrong(format!("it has more than {MOVES_MAX} moves")));
    }
    let moves = plan.changes.iter().enumerate().map(|(n, change)| match (change.source, change.target) {
        (Some(from_node), Some(to_node)) => {
            Ok(PlannedMove { shard: change.shard, from_node, to_node, ..PlannedMove::default() })
        }
        _ => Err(wrong(format!("its change {} is no move: the cluster makes it by itself", n + 1))),
    });
    Ok(PlanApply { made_for: plan.made_for, moves: moves.collect::<Result<_, _>>()? })
}

/// Watches a plan until all that it moves is served from where it is to be.
async fn watch(ui: &Ui, client: &Client, id: PlanId) -> Answer {
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(|| "cannot listen for signals".to_owned())?;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut bars = Bars::start(ui);
    let mut told = None;
    loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {
                bars.iter().for_each(Bars::clear);
                ui.warn(&format!("{id} goes on: nomad migrate plans, nomad migrate stop {id}"));
                return Ok(Exit::Interrupted);
            }
            _ = looks.tick() => {}
        }
        let goes_on = |failure: Failure| failure.after_changes().cure("nomad migrate plans");
        let moving = moves(client).await.map_err(goes_on)?;
        let plan = plans(client).await.map_err(goes_on)?.into_iter().find(|plan| plan.id == id.0);
        let plan = plan.ok_or_else(|| {
            Failure::new(Exit::Unknown, format!("{id} is not known any more")).cure("nomad migrate ls")
        })?;
        let view = AppliedView::new(&plan, &moving);
        match &mut bars {
            Some(bars) => bars.draw(view.moved, view.moves, &unsettled(&plan, &moving)),
            None if told.as_ref() != Some(&view) && ui.format() == Some(Format::Jsonl) => {
                ui.line(&ui::json(&view, false))?
            }
            None if told.as_ref() != Some(&view) && ui.format() != Some(Format::Json) => {
                ui.note(&format!(
                    "{id}: {} of {} moved, {} under way",
                    view.moved, view.moves, view.under_way
                ));
            }
            None => {}
        }
        if matches!(view.state, "done" | "stopped") {
            bars.iter().for_each(Bars::clear);
            return end(ui, &view);
        }
        told = Some(view);
    }
}

fn end(ui: &Ui, view: &AppliedView) -> Answer {
    let id = PlanId(view.plan);
    if view.state == "stopped" {
        let because = view.reason.clone().unwrap_or_default();
        let what = format!("{id} has stopped after {} of {} moves", view.moved, view.moves);
        return Err(Failure::new(Exit::No, what).because(because).cure("nomad migrate ls, then plan anew"));
    }
    if ui.format() != Some(Format::Jsonl) {
        ui.show(view, || format!("{id} is done: {} moves", view.moved), || view.state.to_owned())?;
    }
    Ok(Exit::Done)
}

impl AppliedView {
    fn new(plan: &PlanRecord, moving: &[MigrationView]) -> AppliedView {
        let under_way = unsettled(plan, moving).len() as u64;
        let begun = plan.moves.iter().filter(|planned| planned.migration != 0).count() as u64;
        let (moves, moved) = (plan.moves.len() as u64, begun - under_way.min(begun));
        let state = match (plan.stopped.is_empty(), under_way) {
            (true, _) if moved == moves => "done",
            (true, _) => "running",
            (false, 0) => "stopped",
            (false, _) => "stopping",
        };
        AppliedView {
            plan: plan.id,
            moves,
            moved,
            under_way,
            state,
            reason: Some(plan.stopped.clone()).filter(|reason| !reason.is_empty()),
            started_at_ms: plan.started_at_ms,
            ended_at_ms: Some(plan.ended_at_ms).filter(|at| *at != 0),
        }
    }
}

/// The moves of a plan that have begun and are not yet where they are to be.
fn unsettled(plan: &PlanRecord, moving: &[MigrationView]) -> Vec<MigrationView> {
    let begun = plan.moves.iter().filter(|planned| planned.migration != 0 && !planned.over);
    let begun: BTreeSet<u64> = begun.map(|planned| planned.migration).collect();
    moving.iter().filter(|one| begun.contains(&one.id) && !one.is_settled()).cloned().collect()
}

async fn moves(client: &Client) -> Result<Vec<MigrationView>, Failure> {
    Ok(super::list(client).await?.iter().map(MigrationView::new).collect())
}

async fn plans(client: &Client) -> Result<Vec<PlanRecord>, Failure> {
    let body = Body::PlanList(PlanList {});
    Ok(session::admin(client, body, || "cannot list the plans".to_owned()).await?.plans)
}

fn only(mut answered: Vec<PlanRecord>) -> Result<PlanRecord, Failure> {
    let strange = || Failure::new(Exit::Unknown, "the answer names no plan").cure("nomad migrate plans");
    answered.pop().ok_or_else(strange)
}

/// Where a plan is read from.
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// What `nomad migrate plan ... -o json` printed; `-` is stdin
    #[arg(value_name = "PLAN")]
    pub file: PathBuf,
    /// Begin it and do not watch
    #[arg(long)]
    pub detach: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::wire::MigrationStatus;

    fn moving(id: u64, state: &str) -> MigrationView {
        MigrationView::new(&MigrationStatus { id, state: state.to_owned(), ..MigrationStatus::default() })
    }

    fn plan(stopped: &str, migrations: &[(u64, bool)]) -> PlanRecord {
        let planned = |(migration, over): &(u64, bool)| PlannedMove {
            migration: *migration,
            over: *over,
            ..PlannedMove::default()
        };
        let moves = migrations.iter().map(planned).collect();
        PlanRecord { id: 3, moves, stopped: stopped.to_owned(), ..PlanRecord::default() }
    }

    #[test]
    fn a_move_counts_once_its_shard_is_served_from_where_it_is_to_be() {
        let all = [moving(1, "done"), moving(2, "running"), moving(3, "waiting"), moving(9, "running")];
        let view = |plan: &PlanRecord| {
            let view = AppliedView::new(plan, &all);
            (view.moved, view.under_way, view.state)
        };
        assert_eq!(view(&plan("", &[(1, false), (2, false), (3, false), (0, false)])), (1, 2, "running"));
        assert_eq!(view(&plan("why", &[(1, false), (2, false), (0, false)])), (1, 1, "stopping"));
        assert_eq!(view(&plan("why", &[(1, false), (0, false)])), (1, 0, "stopped"));
        assert_eq!(view(&plan("", &[(1, false), (7, true)])), (2, 0, "done"));
    }

    #[test]
    fn only_what_was_printed_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.json");
        let ask = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file).map(|asked| asked.moves.len()).map_err(|failure| failure.exit)
        };
        let change = r#"{"shard":1,"source":2,"target":3,"bytes":1,"may_fail":1,"reason":"drain"}"#;
        assert_eq!(ask(&format!(r#"{{"made_for":"x","changes":[{change}]}}"#)), Ok(1));
        let growth = r#"{"shard":1,"source":null,"target":3,"bytes":1,"may_fail":1,"reason":"grow"}"#;
        assert_eq!(ask(&format!(r#"{{"made_for":"x","changes":[{growth}]}}"#)), Err(Exit::Usage));
        for nonsense in ["", "{", "[]", r#"{"changes":[]}"#, "\u{0}"] {
            assert_eq!(ask(nonsense), Err(Exit::Usage), "{nonsense:?}");
        }
        let missing = read(&dir.path().join("none")).map_err(|failure| failure.exit);
        assert!(missing.is_err());
    }
}
