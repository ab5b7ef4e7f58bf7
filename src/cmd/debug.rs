//! `nomad debug`: a node's files, looked at while no node runs on them.
//!
//! Promises: changes nothing and takes no lock, so it is safe on files that must stay as they are; it finds what a start
//! of the node would find. Does not repair.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure};
use crate::cmd::global::Global;
use crate::cmd::table;
use crate::model::id::ReplicaId;
use crate::node::inspect::{FileReport, Inspection, misfit};
use crate::node::wal::{Damage, GroupState, WalReport};

/// Inspect and verify a node's files while it does not run
///
/// Reads the data directory of a node, or a copy of it, checks every checksum and changes nothing. Exit code 0: sound;
/// 7: damage was found. What a running node is just writing can look damaged when it is not.
#[derive(Debug, Subcommand)]
pub enum Debug {
    /// The write-ahead log: damaged places, and who has lost what by them
    Wal {
        /// The node's data directory
        dir: PathBuf,
    },
    /// The replicas' files: what each holds, and whether it is what was written
    Store {
        /// The node's data directory
        dir: PathBuf,
    },
    /// The replicas: file and log together, and what a start would do with each
    Shard {
        /// The node's data directory
        dir: PathBuf,
    },
}

#[derive(Serialize)]
struct WalView {
    segments: u64,
    groups: Vec<GroupView>,
    damage: Vec<DamageView>,
}

#[derive(Serialize)]
struct GroupView {
    replica: u64,
    damaged: bool,
    vote_term: Option<u64>,
    purged_index: Option<u64>,
    last_index: Option<u64>,
}

#[derive(Serialize)]
struct DamageView {
    file: String,
    offset_bytes: u64,
    what: &'static str,
    replicas: Vec<u64>,
    meaning: String,
}

#[derive(Serialize)]
struct ReplicaView {
    shard: u64,
    replica: u64,
    file: String,
    state: &'static str,
    applied_index: Option<u64>,
    log_last_index: Option<u64>,
    voters: Vec<u64>,
    keys: Option<u64>,
    /// Why it is not sound; empty if it is.
    what: String,
    meaning: &'static str,
}

/// What becomes of a replica that is not sound.
const MADE_ANEW: &str =
    "a start sets it aside, and it is made anew from its peers; without peers the node does not start";

impl Debug {
    pub fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let sound = match &self {
            Debug::Wal { dir } => {
                let report = wal(&look(dir)?, dir)?;
                let view = wal_view(&report);
                ui.show(&view, || wal_page(&view, ui.columns()), || sound_or_not(view.damage.is_empty()))?;
                view.damage.is_empty() && view.groups.iter().all(|group| !group.damaged)
            }
            Debug::Store { dir } => {
                let views = replicas(&look(dir)?, dir, None)?;
                let header = [">SHARD", ">REPLICA", "STATE", ">APPLIED", ">KEYS", "FILE", "WHAT"];
                let row = |view: &ReplicaView| {
                    let [shard, replica] = [view.shard, view.replica].map(|id| id.to_string());
                    let (applied, keys) = (number(view.applied_index), number(view.keys));
                    let (file, what) = (view.file.clone(), view.what.clone());
                    vec![shard, replica, view.state.to_owned(), applied, keys, file, what]
                };
                ui.list(&views, &header, row, |view| format!("{} {}", view.file, view.state))?;
                views.iter().all(|view| view.what.is_empty())
            }
            Debug::Shard { dir } => {
                let look = look(dir)?;
                let report = wal(&look, dir)?;
                let views = replicas(&look, dir, Some(&report))?;
                let header =
                    [">SHARD", ">REPLICA", "STATE", ">APPLIED", ">LAST", "VOTERS", "WHAT", "MEANING"];
                let row = |view: &ReplicaView| {
                    let [shard, replica] = [view.shard, view.replica].map(|id| id.to_string());
                    let (applied, last) = (number(view.applied_index), number(view.log_last_index));
                    let voters = view.voters.iter().map(|id| ReplicaId(*id).to_string()).collect::<Vec<_>>();
                    let (what, meaning) = (view.what.clone(), view.meaning.to_owned());
                    vec![
                        shard,
                        replica,
                        view.state.to_owned(),
                        applied,
                        last,
                        voters.join(" "),
                        what,
                        meaning,
                    ]
                };
                ui.list(&views, &header, row, |view| format!("s{} {}", view.shard, view.state))?;
                views.iter().all(|view| view.what.is_empty())
            }
        };
        Ok(if sound { Exit::Done } else { Exit::Damaged })
    }
}

fn look(dir: &Path) -> Result<Inspection, Failure> {
    let failed = || Failure::usage(format!("{} is not a node's data directory", dir.display()));
    if !dir.join("member.json").exists() {
        return Err(failed()
            .because("it has no member.json")
            .cure("nomad debug with the DIR of nomad serve --data"));
    }
    Inspection::of(dir).map_err(|error| failed().caused_by(&error))
}

fn wal(look: &Inspection, dir: &Path) -> Result<WalReport, Failure> {
    look.wal().map_err(|error| {
        Failure::usage(format!("cannot read the write-ahead log in {}", dir.display())).caused_by(&error)
    })
}

fn wal_view(report: &WalReport) -> WalView {
    let group = |(id, state): &(crate::node::wal::GroupId, Option<GroupState>)| GroupView {
        replica: id.0,
        damaged: state.is_none(),
        vote_term: state.and_then(|state| state.vote).map(|vote| vote.term),
        purged_index: state.and_then(|state| state.purged).map(|point| point.index),
        last_index: state.and_then(|state| state.last).map(|point| point.index),
    };
    WalView {
        segments: report.segments,
        groups: report.groups.iter().map(group).collect(),
        damage: report.damage.iter().map(damage_view).collect(),
    }
}

fn damage_view(damage: &Damage) -> DamageView {
    let names: Vec<String> = damage.groups.iter().map(|group| format!("r{}", group.0)).collect();
    DamageView {
        file: match damage.segment {
            0 => "wal/".to_owned(),
            number => format!("wal/{}", crate::node::wal::segment_name(number)),
        },
        offset_bytes: damage.offset,
        what: damage.what,
        replicas: damage.groups.iter().map(|group| group.0).collect(),
        meaning: match names.is_empty() {
            true => "no replica has lost anything by it".to_owned(),
            false => format!("{} must be made anew", names.join(", ")),
        },
    }
}

fn wal_page(view: &WalView, columns: Option<u16>) -> String {
    let mut page = table::pairs(&[
        ("segments", view.segments.to_string()),
        ("damage", if view.damage.is_empty() { "none".to_owned() } else { view.damage.len().to_string() }),
    ]);
    let groups = view.groups.iter().map(|group| {
        let state = if group.damaged { "damaged" } else { "sound" };
        let numbers = [group.vote_term, group.purged_index, group.last_index].map(number);
        let mut row = vec![group.replica.to_string(), state.to_owned()];
        row.extend(numbers);
        row
    });
    let header = [">REPLICA", "STATE", ">VOTE TERM", ">PURGED", ">LAST"];
    page += &format!("\n{}", table::render(columns, &header, groups.collect()));
    if !view.damage.is_empty() {
        let rows = view.damage.iter().map(|damage| {
            let at = damage.offset_bytes.to_string();
            vec![damage.file.clone(), at, damage.what.to_owned(), damage.meaning.clone()]
        });
        page += &format!("\n{}", table::render(columns, &["FILE", ">AT", "WHAT", "MEANING"], rows.collect()));
    }
    page
}

/// Every replica's file and, if `wal` is given, how it fits its log.
fn replicas(look: &Inspection, dir: &Path, wal: Option<&WalReport>) -> Result<Vec<ReplicaView>, Failure> {
    let reports = look.files().map(|report| {
        let report = report.map_err(|error| {
            Failure::usage(format!("cannot read the replicas in {}", dir.display())).caused_by(&error)
        })?;
        Ok(replica_view(&report, wal))
    });
    reports.collect()
}

fn replica_view(report: &FileReport, wal: Option<&WalReport>) -> ReplicaView {
    let id = report.replica.0;
    let log = wal.and_then(|wal| wal.groups.iter().find(|(group, _)| group.0 == id)).map(|(_, state)| *state);
    let (mut what, held) = match &report.held {
        Ok(held) => (String::new(), Some(held)),
        Err(error) => (Failure::usage("").caused_by(error).because.join(": "), None),
    };
    if let Some(why) = &report.set_aside {
        what = format!("set aside: {why}");
    } else if log == Some(None) {
        what = "its part of the write-ahead log is damaged".to_owned();
    } else if let (Some((basis, _)), Some(_), true) = (held, wal, what.is_empty()) {
        what = misfit(basis, log.flatten().as_ref()).unwrap_or_default().to_owned();
    }
    let is_sound = what.is_empty();
    let voters = held.into_iter().flat_map(|(basis, _)| &basis.membership.configs);
    ReplicaView {
        shard: report.shard.0,
        replica: id,
        file: report.path.display().to_string(),
        state: if is_sound { "sound" } else { "damaged" },
        applied_index: held.and_then(|(basis, _)| basis.applied).map(|applied| applied.index),
        log_last_index: log.flatten().and_then(|state| state.last).map(|point| point.index),
        voters: voters.flat_map(|set| set.replicas.iter().copied()).collect(),
        keys: held.map(|(_, keys)| *keys),
        what,
        meaning: if is_sound { "" } else { MADE_ANEW },
    }
}

fn sound_or_not(is_sound: bool) -> String {
    if is_sound { "sound" } else { "damaged" }.to_owned()
}

fn number(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}
