//! A migration as it is shown.

use serde::Serialize;

use crate::cmd::{spell, table};
use crate::model::id::{MigrationId, NodeId, ShardId};
use crate::model::migration::Stage;
use crate::net::wire::MigrationStatus;

pub const HEADER: [&str; 8] = ["ID", "SHARD", "FROM", "TO", "STAGE", "STATE", ">DONE", "REASON"];

/// How a migration stands: a line of `-o jsonl`, an element of `migrate ls -o json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MigrationView {
    pub id: u64,
    /// The same, by the name that events have.
    pub migration: u64,
    pub shard: u64,
    pub source: u64,
    pub target: u64,
    pub stage: String,
    pub state: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub bytes_per_s: u64,
    /// `None`: nobody knows.
    pub seconds_left: Option<u64>,
    /// The longest that a write has waited because of the cut-over; `None`: it has not begun.
    pub write_pause_us: Option<u64>,
    /// While a hundredth of the requests takes longer, it is copied slower; `None`: as fast as it goes, or as the settings say.
    pub keep_p99_us: Option<u64>,
    /// What all but a hundredth of the requests at its nodes took at most before it began, until the cut-over, and since then;
    /// `None`: there were too few.
    pub p99_before_us: Option<u64>,
    pub p99_during_us: Option<u64>,
    pub p99_after_us: Option<u64>,
    /// Why it waits, went back or failed.
    pub reason: Option<String>,
    pub started_at_ms: u64,
    /// `None`: it is under way.
    pub ended_at_ms: Option<u64>,
    /// How long it can still be undone.
    pub undo_left_ms: u64,
}

impl MigrationView {
    pub fn new(status: &MigrationStatus) -> MigrationView {
        let some = |number: u64| Some(number).filter(|number| *number != 0);
        let left = status.bytes_total.saturating_sub(status.bytes_done);
        let copies = matches!(status.stage.as_str(), "prepare" | "transfer") && status.state == "running";
        MigrationView {
            id: status.id,
            migration: status.id,
            shard: status.shard,
            source: status.source_node,
            target: status.target_node,
            stage: status.stage.clone(),
            state: status.state.clone(),
            bytes_done: status.bytes_done,
            bytes_total: status.bytes_total,
            bytes_per_s: status.bytes_per_s,
            seconds_left: some(status.bytes_per_s).filter(|_| copies).map(|per_s| left.div_ceil(per_s)),
            write_pause_us: some(status.write_pause_us),
            keep_p99_us: some(status.keep_p99_us),
            p99_before_us: some(status.p99_before_us),
            p99_during_us: some(status.p99_during_us),
            p99_after_us: some(status.p99_after_us),
            reason: Some(status.reason.clone()).filter(|reason| !reason.is_empty()),
            started_at_ms: status.started_at_ms,
            ended_at_ms: some(status.ended_at_ms),
            undo_left_ms: status.undo_left_ms,
        }
    }

    /// How much of how much has been copied, for a bar: nothing before it begins, all of it afterwards.
    pub fn share(&self) -> (u64, u64) {
        match self.stage.as_str() {
            "prepare" => (0, 1),
            "transfer" => (self.bytes_done, self.bytes_total.max(1)),
            _ => (1, 1),
        }
    }

    /// The shard is where it will stay, unless somebody undoes it.
    pub fn is_settled(&self) -> bool {
        !matches!(self.state.as_str(), "running" | "paused" | "waiting")
    }

    /// Nothing is done for it any more.
    pub fn is_over(&self) -> bool {
        self.ended_at_ms.is_some()
    }

    /// What clients felt of it, if there were any; `None`: nobody asked for enough to tell.
    fn felt(&self) -> Option<String> {
        let told = |us: Option<u64>| us.map_or("-".to_owned(), |us| format!("{:.1}ms", us as f64 / 1000.0));
        self.p99_before_us.or(self.p99_during_us)?;
        let [before, during, after] = [self.p99_before_us, self.p99_during_us, self.p99_after_us].map(told);
        Some(format!("p99 {before} before, {during} during, {after} after"))
    }

    /// True if it is about to be known what clients feel now that it is over.
    pub fn feels_after(&self) -> bool {
        self.state == "done" && self.p99_before_us.is_some() && self.p99_after_us.is_none()
    }

    /// What was done, and how to take it back.
    pub fn summary(&self, now_ms: u64) -> String {
        let (id, shard) = (MigrationId(self.id), ShardId(self.shard));
        let (source, target) = (NodeId(self.source), NodeId(self.target));
        let took = spell::span(self.ended_at_ms.unwrap_or(now_ms).saturating_sub(self.started_at_ms));
        let because = self.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        match self.state.as_str() {
            "done" => {
                let pause = self.write_pause_us.map_or(String::new(), |us| {
                    format!(", writes waited at most {}", spell::span(us.div_ceil(1000)))
                });
                let undo = match self.undo_left_ms {
                    0 => String::new(),
                    ms => format!("\nundo within {}: nomad migrate undo {id}", spell::span(ms)),
                };
                let size = spell::size(self.bytes_total);
                let felt = self.felt().map_or(String::new(), |felt| format!("\nclients felt: {felt}"));
                if shard == ShardId::META {
                    return format!(
                        "{target} votes on {shard} in place of {source} after {took}, nothing was copied{pause}{felt}{undo}"
                    );
                }
                format!("{shard} moved from {source} to {target} in {took}: {size}{pause}{felt}{undo}")
            }
            "undone" if shard == ShardId::META => format!("{source} votes on {shard} again, as before {id}"),
            "undone" => format!("{shard} is on {source} again, as before {id}"),
            "rolled_back" => format!("{shard} stayed on {source}{because}"),
            _ => format!("{id} has failed{because}; see: nomad shard show {shard}"),
        }
    }
}

/// The stages: what is behind it, where it is, what is to come.
pub fn stages(view: &MigrationView) -> String {
    let at = Stage::ALL.iter().position(|stage| stage.to_string() == view.stage).unwrap_or(0);
    let sign = |n: usize| match n {
        _ if n < at || (n == at && view.is_settled()) => "✓",
        _ if n > at => "·",
        _ if view.state == "running" => "▶",
        _ => "‖",
    };
    let stage = |(n, stage): (usize, &Stage)| format!("{} {stage}", sign(n));
    Stage::ALL.iter().enumerate().map(stage).collect::<Vec<_>>().join("  ")
}

pub fn row(view: &MigrationView) -> Vec<String> {
    let done = match view.bytes_total {
        0 => "-".to_owned(),
        total => format!("{}%", (view.bytes_done.min(total) as f64 * 100.0 / total as f64) as u64),
    };
    vec![
        MigrationId(view.id).to_string(),
        ShardId(view.shard).to_string(),
        NodeId(view.source).to_string(),
        NodeId(view.target).to_string(),
        view.stage.clone(),
        view.state.clone(),
        done,
        view.reason.clone().unwrap_or_default(),
    ]
}

pub fn page(view: &MigrationView) -> String {
    let ended = view.ended_at_ms.map_or("-".to_owned(), spell::moment);
    let left = view.seconds_left.map_or("-".to_owned(), |seconds| spell::span(seconds * 1000));
    let pause = view.write_pause_us.map_or("-".to_owned(), |us| spell::span(us.div_ceil(1000)));
    let undo = match view.undo_left_ms {
        0 => "-".to_owned(),
        ms => format!("for another {}: nomad migrate undo {}", spell::span(ms), MigrationId(view.id)),
    };
    let copied = format!("{} of {}", spell::size(view.bytes_done), spell::size(view.bytes_total));
    table::pairs(&[
        ("migration", MigrationId(view.id).to_string()),
        ("shard", ShardId(view.shard).to_string()),
        ("from", NodeId(view.source).to_string()),
        ("to", NodeId(view.target).to_string()),
        ("stages", stages(view)),
        ("state", view.state.clone()),
        ("reason", view.reason.clone().unwrap_or_else(|| "-".to_owned())),
        ("copied", copied),
        ("rate", format!("{}/s", spell::size(view.bytes_per_s))),
        ("time left", left),
        ("longest wait of a write", pause),
        ("what clients felt", view.felt().unwrap_or_else(|| "-".to_owned())),
        ("undo", undo),
        ("started", spell::moment(view.started_at_ms)),
        ("ended", ended),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(stage: &str, state: &str) -> MigrationView {
        MigrationView::new(&MigrationStatus {
            id: 7,
            shard: 3,
            source_node: 1,
            target_node: 4,
            stage: stage.to_owned(),
            state: state.to_owned(),
            bytes_done: 30 << 20,
            bytes_total: 120 << 20,
            bytes_per_s: 20 << 20,
            started_at_ms: 1_000,
            ..MigrationStatus::default()
        })
    }

    #[test]
    fn stages_say_where_it_is() {
        let line = |stage, state| stages(&view(stage, state));
        assert_eq!(line("prepare", "running"), "▶ prepare  · transfer  · verify  · update  · cleanup");
        assert_eq!(line("transfer", "paused"), "✓ prepare  ‖ transfer  · verify  · update  · cleanup");
        assert_eq!(line("cleanup", "done"), "✓ prepare  ✓ transfer  ✓ verify  ✓ update  ✓ cleanup");
    }

    #[test]
    fn the_bar_is_empty_before_and_full_after_the_transfer() {
        assert_eq!(view("prepare", "running").share(), (0, 1));
        assert_eq!(view("transfer", "running").share(), (30 << 20, 120 << 20));
        assert_eq!(view("verify", "running").share(), (1, 1));
    }

    #[test]
    fn time_left_is_told_only_while_it_copies() {
        assert_eq!(view("transfer", "running").seconds_left, Some(5));
        assert_eq!(view("verify", "running").seconds_left, None);
        assert_eq!(view("transfer", "paused").seconds_left, None);
    }

    #[test]
    fn the_last_line_says_what_was_done_and_how_to_undo_it() {
        let done =
            MigrationView { write_pause_us: Some(12_345), undo_left_ms: 60_000, ..view("cleanup", "done") };
        assert_eq!(
            done.summary(4_000),
            "s3 moved from n1 to n4 in 3s: 120.0 MiB, writes waited at most 13ms\nundo within 1m: nomad migrate undo m7"
        );
        let back =
            MigrationView { reason: Some("it was cancelled".to_owned()), ..view("transfer", "rolled_back") };
        assert_eq!(back.summary(4_000), "s3 stayed on n1: it was cancelled");
        assert_eq!(view("cleanup", "undone").summary(4_000), "s3 is on n1 again, as before m7");
    }
}
