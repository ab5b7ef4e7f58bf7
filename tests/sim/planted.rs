//! Bugs that are planted, and how soon each is caught: what shows that the judges see something.
//!
//! A run with a bug has those kinds of faults and points of trouble that bring it out, and is over with the first thing
//! that is wrong. `README.md` has the table; [`quick`] is part of `cargo test`.

use std::time::{Duration, Instant};

use nodenomad::net::trouble::{Bug, Point};

use crate::faults::Kind;
use crate::simulated;
use crate::{Options, Story};

/// Seeds until a bug counts as not caught.
const SEEDS_MAX: u64 = 200;
/// The same in `cargo test`, which begins with a seed that is known to show it.
const SEEDS_MAX_QUICK: u64 = 20;
/// What all of them may take in `cargo test`.
const QUICK: Duration = Duration::from_secs(60);

/// A bug, and what brings it out.
#[derive(Debug)]
pub struct Plan {
    pub bug: Bug,
    pub name: &'static str,
    pub kinds: &'static [Kind],
    /// In thousandths.
    pub points: &'static [(Point, u64)],
    /// How long faults go on, and how long each lasts at most.
    pub bounds_ms: (u64, u64),
    /// A seed that shows it within seconds; `None`: it takes longer.
    quick: Option<u64>,
}

/// All of them.
pub static PLANS: [Plan; 15] = [
    Plan {
        bug: Bug::AckBeforeFsync,
        name: "ack-before-fsync",
        kinds: &[Kind::Power],
        points: &[],
        bounds_ms: (5_000, 12_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::VoteNotDurable,
        name: "vote-not-durable",
        kinds: &[Kind::Power],
        points: &[],
        bounds_ms: (5_000, 12_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::AppliedApart,
        name: "applied-apart",
        kinds: &[Kind::Crash],
        points: &[(Point::EarlyFlush, 500)],
        bounds_ms: (6_000, 2_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::ReadWithoutRound,
        name: "read-without-round",
        kinds: &[Kind::Isolate, Kind::Split],
        points: &[],
        bounds_ms: (12_000, 12_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::RetryAppliedTwice,
        name: "retry-applied-twice",
        kinds: &[Kind::Reset, Kind::Kill],
        points: &[(Point::LostAnswer, 100)],
        bounds_ms: (2_000, 2_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::TornTail,
        name: "torn-tail",
        kinds: &[Kind::Crash],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: None,
    },
    Plan {
        bug: Bug::EndAtBadRecord,
        name: "end-at-bad-record",
        kinds: &[Kind::Rot],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::DamagedVotes,
        name: "damaged-votes",
        kinds: &[Kind::Rot],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::IdReused,
        name: "id-reused",
        kinds: &[Kind::Rot],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: None,
    },
    Plan {
        bug: Bug::PurgePastDurable,
        name: "purge-past-durable",
        kinds: &[Kind::Power],
        points: &[(Point::EarlyFlush, 300), (Point::EarlyForget, 500)],
        bounds_ms: (10_000, 2_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::FlushOvertakesLog,
        name: "flush-overtakes-log",
        kinds: &[Kind::Slow],
        points: &[(Point::EarlyFlush, 1000), (Point::SlowConsumer, 300)],
        bounds_ms: (10_000, 2_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::VoteRecycled,
        name: "vote-recycled",
        kinds: &[Kind::Power],
        points: &[(Point::EarlySegment, 200), (Point::SmallBatch, 300)],
        bounds_ms: (10_000, 2_000),
        quick: Some(1),
    },
    Plan {
        bug: Bug::LocalExpiry,
        name: "local-expiry",
        kinds: &[Kind::Clock],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: None,
    },
    Plan {
        bug: Bug::CeilingIgnored,
        name: "ceiling-ignored",
        kinds: &[Kind::Blackout, Kind::Clock],
        points: &[],
        bounds_ms: (15_000, 200),
        quick: None,
    },
    Plan {
        bug: Bug::OwnGarbage,
        name: "own-garbage",
        kinds: &[Kind::Kill],
        points: &[(Point::EarlyFlush, 500)],
        bounds_ms: (10_000, 2_000),
        quick: Some(1),
    },
];

/// How one was caught.
struct Caught {
    judge: String,
    seeds: u64,
    took: Duration,
    /// The seed that showed it.
    seed: u64,
    text: String,
}

/// The plans of this name, or all.
pub fn named(name: &str) -> Result<Vec<&'static Plan>, String> {
    let found: Vec<&Plan> = PLANS.iter().filter(|plan| name == "all" || plan.name == name).collect();
    let names = || PLANS.iter().map(|plan| plan.name).collect::<Vec<_>>().join(", ");
    if found.is_empty() { Err(format!("write all, or one of {}", names())) } else { Ok(found) }
}

/// Tries seeds until the bug is seen.
fn search(plan: &'static Plan, options: &Options, from: u64, count: u64) -> Option<Caught> {
    let begin = Instant::now();
    simulated::show_panics(false);
    let seeds = from..from + count;
    let caught = seeds.zip(1..).find_map(|(seed, seeds)| {
        Story::draw(seed, options, Some(plan)).live(false).err()?;
        let (text, file) = simulated::first_panic()?;
        Some(Caught { judge: judge_of(&text, &file), seeds, took: begin.elapsed(), seed, text })
    });
    simulated::show_panics(true);
    caught
}

/// Who saw it: a judge says its name first; otherwise it was an assertion of the program itself.
fn judge_of(text: &str, file: &str) -> String {
    let known = [
        ("is not linearizable", "linearizability"),
        ("lead in term", "election safety"),
        ("has applied another entry", "log matching"),
        ("and takes it back", "monotone applied"),
        ("differ at one index", "equal replicas"),
        ("not so after", "settling in time"),
    ];
    if let Some((_, judge)) = known.iter().find(|(words, _)| text.contains(words)) {
        return (*judge).to_owned();
    }
    match text.split_once(':') {
        Some((judge, _)) if file.starts_with("tests/sim/") && judge.len() < 30 => judge.to_owned(),
        _ if file.starts_with("tests/") => text.chars().take(40).collect(),
        _ => format!("an assertion in {}", file.rsplit_once("src/").map_or(file, |(_, file)| file)),
    }
}

/// The command: prints a row of the table for each; false if one was not caught.
pub fn run(plans: &[&'static Plan], options: &Options) -> bool {
    let mut all = true;
    println!("| bug | judge that saw it | seeds needed | seconds |\n|---|---|---|---|");
    for plan in plans {
        let from = options.seed.unwrap_or(1);
        match search(plan, options, from, SEEDS_MAX) {
            Some(Caught { judge, seeds, took, seed, text }) => {
                println!("| {} | {judge} | {seeds} | {:.1} |", plan.name, took.as_secs_f64());
                eprintln!("  seed {seed}: {}", text.chars().take(300).collect::<String>());
            }
            None => {
                all = false;
                println!("| {} | nobody | over {SEEDS_MAX} | |", plan.name);
            }
        }
    }
    all
}

/// Those that are seen within seconds must be; false if one is not.
pub fn quick(options: &Options) -> bool {
    let begin = Instant::now();
    let mut told = Vec::new();
    for (plan, seed) in PLANS.iter().filter_map(|plan| Some((plan, plan.quick?))) {
        match search(plan, options, seed, SEEDS_MAX_QUICK) {
            Some(caught) => told.push(format!("{} ({}, seeds {})", plan.name, caught.judge, caught.seeds)),
            None => {
                println!(
                    "nobody sees the planted bug {} in {SEEDS_MAX_QUICK} seeds from {seed} on",
                    plan.name
                );
                return false;
            }
        }
    }
    println!("planted and caught in {:.0} s: {}", begin.elapsed().as_secs_f64(), told.join("; "));
    if begin.elapsed() > QUICK {
        println!("warning: that is to take {QUICK:?}");
    }
    true
}
