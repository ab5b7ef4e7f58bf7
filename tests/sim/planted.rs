//! Bugs that are planted, and how soon each is caught: what shows that the judges see something.
//!
//! A run with a bug has those kinds of faults and points of trouble that bring it out, and is over with the first thing
//! that is wrong. `README.md` has the table; [`quick`] is part of `cargo test`. Who sees a bug is one
//! of the judges that its plan names, or nobody: what fails otherwise may be the simulation itself.

use std::time::{Duration, Instant};

use nodenomad::net::trouble::{Armed, Bug, Point};

use crate::faults::Kind;
use crate::simulated;
use crate::{Options, Story};

/// Seeds until a bug counts as not caught.
const SEEDS_MAX: u64 = 200;
/// The same in `cargo test`, which begins with a seed that is known to show it.
const SEEDS_MAX_QUICK: u64 = 20;
/// Seeds with the same faults and without the bug, in which nothing may be seen.
const SEEDS_SOUND: u64 = 20;
/// What all of them may take in `cargo test`.
const QUICK: Duration = Duration::from_secs(60);
/// Whose messages begin with their names.
const JUDGES: [&str; 23] = [
    "acknowledged on disk",
    "ceiling",
    "election safety",
    "epoch",
    "equal replicas",
    "expiry",
    "file behind its log",
    "history",
    "linearizability",
    "lists",
    "log matching",
    "monotone applied",
    "monotone terms",
    "nobody damaged",
    "one life a replica",
    "one place a replica",
    "purged within the file",
    "quorum on disk",
    "ranges",
    "set",
    "settling in time",
    "verify",
    "votes on disk",
];

/// A bug, and what brings it out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `None`: the same without it.
    bug: Option<Bug>,
    pub name: &'static str,
    /// Who is to see it; whatever else fails does not count.
    judges: &'static [&'static str],
    pub kinds: &'static [Kind],
    /// In thousandths.
    points: &'static [(Point, u64)],
    /// How long faults go on, and how long each lasts at most.
    pub bounds_ms: (u64, u64),
    /// A seed that shows it within seconds; 0: it is seen too seldom to be tried whenever tests run.
    quick: u64,
}

/// All of them.
pub static PLANS: [Plan; Bug::ALL.len()] = [
    Plan {
        bug: Some(Bug::AckBeforeFsync),
        name: "ack-before-fsync",
        judges: &["quorum on disk", "acknowledged on disk"],
        kinds: &[Kind::Power],
        points: &[],
        bounds_ms: (5_000, 12_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::VoteNotDurable),
        name: "vote-not-durable",
        judges: &["votes on disk"],
        kinds: &[Kind::Power],
        points: &[],
        bounds_ms: (5_000, 12_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::AppliedApart),
        name: "applied-apart",
        judges: &["equal replicas", "set", "linearizability", "lists"],
        kinds: &[Kind::Crash],
        points: &[(Point::EarlyFlush, 500)],
        bounds_ms: (6_000, 2_000),
        quick: 2,
    },
    Plan {
        bug: Some(Bug::ReadWithoutRound),
        name: "read-without-round",
        judges: &["linearizability", "lists"],
        kinds: &[Kind::Isolate, Kind::Split],
        points: &[],
        bounds_ms: (12_000, 12_000),
        quick: 2,
    },
    Plan {
        bug: Some(Bug::RetryAppliedTwice),
        name: "retry-applied-twice",
        judges: &["linearizability", "lists"],
        kinds: &[Kind::Reset, Kind::Kill],
        points: &[(Point::LostAnswer, 100)],
        bounds_ms: (2_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::TornTail),
        name: "torn-tail",
        judges: &["log matching", "equal replicas", "linearizability", "lists"],
        kinds: &[Kind::Crash],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: 40,
    },
    Plan {
        bug: Some(Bug::EndAtBadRecord),
        name: "end-at-bad-record",
        judges: &["acknowledged on disk"],
        kinds: &[Kind::Rot],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::DamagedVotes),
        name: "damaged-votes",
        judges: &["acknowledged on disk"],
        kinds: &[Kind::Rot],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::IdReused),
        name: "id-reused",
        judges: &["one life a replica", "one place a replica", "acknowledged on disk"],
        kinds: &[Kind::Rot],
        points: &[],
        bounds_ms: (20_000, 500),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::PurgePastDurable),
        name: "purge-past-durable",
        judges: &["purged within the file"],
        kinds: &[Kind::Power],
        points: &[(Point::EarlyFlush, 300), (Point::EarlyForget, 500)],
        bounds_ms: (10_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::FlushOvertakesLog),
        name: "flush-overtakes-log",
        judges: &["file behind its log"],
        kinds: &[Kind::Slow],
        points: &[(Point::EarlyFlush, 1000), (Point::SlowConsumer, 300)],
        bounds_ms: (10_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::VoteRecycled),
        name: "vote-recycled",
        judges: &["votes on disk"],
        kinds: &[Kind::Power],
        points: &[(Point::EarlySegment, 200), (Point::SmallBatch, 300)],
        bounds_ms: (10_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::LocalExpiry),
        name: "local-expiry",
        judges: &["expiry"],
        kinds: &[Kind::Clock],
        points: &[],
        bounds_ms: (10_000, 2_000),
        quick: 42,
    },
    Plan {
        bug: Some(Bug::CeilingIgnored),
        name: "ceiling-ignored",
        judges: &["ceiling"],
        kinds: &[Kind::Blackout],
        points: &[],
        bounds_ms: (20_000, 150),
        quick: 30,
    },
    Plan {
        bug: Some(Bug::OwnGarbage),
        name: "own-garbage",
        judges: &["history"],
        kinds: &[Kind::Kill],
        points: &[(Point::EarlyFlush, 500)],
        bounds_ms: (10_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::StaleSnapshot),
        name: "stale-snapshot",
        judges: &["monotone applied", "an assertion in node/store/apply.rs"],
        kinds: &[Kind::Isolate, Kind::Split, Kind::Slow],
        points: &[(Point::EarlyFlush, 500), (Point::EarlyForget, 500)],
        bounds_ms: (15_000, 6_000),
        quick: 3,
    },
    Plan {
        bug: Some(Bug::EpochAtReceipt),
        name: "epoch-at-receipt",
        judges: &["epoch"],
        kinds: &[Kind::Rot],
        points: &[(Point::SlowConsumer, 300)],
        bounds_ms: (10_000, 2_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::CopyDiffers),
        name: "copy-differs",
        judges: &["verify"],
        kinds: &[Kind::Move],
        points: &[],
        bounds_ms: (10_000, 6_000),
        quick: 1,
    },
    Plan {
        bug: Some(Bug::SnapshotAnsweredEarly),
        name: "snapshot-answered-early",
        judges: &["acknowledged on disk", "quorum on disk"],
        kinds: &[Kind::Isolate, Kind::SlowDisk, Kind::Hang],
        points: &[(Point::EarlyFlush, 500), (Point::EarlyForget, 500)],
        bounds_ms: (15_000, 6_000),
        quick: 30,
    },
    Plan {
        bug: Some(Bug::ReadWhileMerged),
        name: "read-while-merged",
        judges: &["linearizability", "lists"],
        kinds: &[Kind::Halve, Kind::Fuse],
        points: &[],
        bounds_ms: (20_000, 2_000),
        quick: 0,
    },
];

/// How seeds came out.
#[derive(Default)]
struct Searched {
    seeds: u64,
    /// The judge that saw the bug, the seed that showed it, and what was said.
    caught: Option<(String, u64, String)>,
    /// Seeds that failed for another reason, and for which.
    others: Vec<(u64, String)>,
    took: Duration,
}

impl Plan {
    /// Switches on what it has.
    pub fn arm(&self, armed: Armed) -> Armed {
        let armed = armed.with_points(self.points);
        match self.bug {
            Some(bug) => armed.with_bug(bug),
            None => armed,
        }
    }

    /// The same faults without the bug. A plan lives as long as the program.
    fn without_bug(&self) -> &'static Plan {
        Box::leak(Box::new(Plan { bug: None, ..self.clone() }))
    }
}

/// The plans of this name, or all.
pub fn named(name: &str) -> Result<Vec<&'static Plan>, String> {
    let found: Vec<&Plan> = PLANS.iter().filter(|plan| name == "all" || plan.name == name).collect();
    let names = || PLANS.iter().map(|plan| plan.name).collect::<Vec<_>>().join(", ");
    if found.is_empty() { Err(format!("write all, or one of {}", names())) } else { Ok(found) }
}

/// Tries seeds until one of the plan's judges sees the bug.
fn search(plan: &'static Plan, options: &Options, from: u64, count: u64) -> Searched {
    let begin = Instant::now();
    let mut searched = Searched::default();
    simulated::show_panics(false);
    for seed in from..from + count {
        searched.seeds += 1;
        let Err(why) = Story::draw(seed, options, Some(plan)).live(false) else { continue };
        let (text, file) = simulated::first_panic().unwrap_or((why, String::new()));
        match judge_of(&text, &file) {
            Some(judge) if plan.judges.contains(&&*judge) => {
                searched.caught = Some((judge, seed, text));
                break;
            }
            judge => {
                searched.others.push((seed, format!("{}: {text}", judge.unwrap_or("nobody".to_owned()))))
            }
        }
    }
    simulated::show_panics(true);
    searched.took = begin.elapsed();
    searched
}

/// Who saw it: a judge says its name first; or it was an assertion of the program itself. `None`: the simulation failed.
fn judge_of(text: &str, file: &str) -> Option<String> {
    if !file.is_empty() && !file.starts_with("tests/") {
        return Some(format!("an assertion in {}", file.rsplit_once("src/").map_or(file, |(_, file)| file)));
    }
    // What `assert_eq` says of itself comes first.
    let text = text.strip_prefix("assertion `left == right` failed: ").unwrap_or(text);
    let (judge, _) = text.split_once(": ")?;
    JUDGES.contains(&judge).then(|| judge.to_owned())
}

fn start_of(text: &str) -> String {
    text.chars().take(300).collect()
}

/// The command: prints a row of the table for each; false if one was not caught, or without the bug something was.
pub fn run(plans: &[&'static Plan], options: &Options) -> bool {
    let from = options.seed.unwrap_or(1);
    if options.sound {
        return plans.iter().filter(|plan| !is_sound(plan, options, from)).count() == 0;
    }
    let mut all = true;
    println!("| bug | judge that saw it | seeds needed | seconds |\n|---|---|---|---|");
    for plan in plans {
        let searched = search(plan, options, from, SEEDS_MAX);
        let (seeds, seconds) = (searched.seeds, searched.took.as_secs_f64());
        match searched.caught {
            Some((judge, seed, text)) => {
                println!("| {} | {judge} | {seeds} | {seconds:.1} |", plan.name);
                eprintln!("  seed {seed}: {}", start_of(&text));
            }
            None => {
                all = false;
                println!("| {} | nobody | over {seeds} | {seconds:.1} |", plan.name);
            }
        }
        for (seed, why) in searched.others {
            eprintln!("  seed {seed} failed otherwise, which does not count: {}", start_of(&why));
        }
    }
    all
}

/// Whether nothing is seen where there is no bug.
fn is_sound(plan: &Plan, options: &Options, from: u64) -> bool {
    let Searched { seeds, caught, others, took } = search(plan.without_bug(), options, from, SEEDS_SOUND);
    let seen: Vec<_> = caught.into_iter().map(|(_, seed, text)| (seed, text)).chain(others).collect();
    println!(
        "{}: {seeds} seeds without the bug in {:.1} s, {} fail",
        plan.name,
        took.as_secs_f64(),
        seen.len()
    );
    for (seed, text) in &seen {
        println!("  seed {seed}: {}", start_of(text));
    }
    seen.is_empty()
}

/// Those that are seen within seconds must be; false if one is not.
pub fn quick(options: &Options) -> bool {
    let begin = Instant::now();
    let mut told = Vec::new();
    for bug in Bug::ALL {
        assert!(PLANS.iter().any(|plan| plan.bug == Some(*bug)), "{bug:?} has a plan");
    }
    for plan in PLANS.iter().filter(|plan| plan.quick > 0) {
        let searched = search(plan, options, plan.quick, SEEDS_MAX_QUICK);
        let Some((judge, ..)) = searched.caught else {
            let others = searched.others;
            println!(
                "none of {:?} sees the planted bug {} in {SEEDS_MAX_QUICK} seeds from {} on; others: {others:?}",
                plan.judges, plan.name, plan.quick
            );
            return false;
        };
        told.push(format!("{} ({judge}, seeds {})", plan.name, searched.seeds));
    }
    println!("planted and caught in {:.0} s: {}", begin.elapsed().as_secs_f64(), told.join("; "));
    if begin.elapsed() > QUICK {
        println!("warning: that is to take {QUICK:?}");
    }
    true
}
