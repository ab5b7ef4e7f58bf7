//! A cluster in one process, from a seed, while things go wrong: the same seed gives the same run.
//!
//! Without arguments (as `cargo test` runs it) a fixed set of seeds. To look for faults:
//!
//! ```sh
//! cargo test --release --test sim -- --forever                    # new seeds until one fails or ctrl-C
//! cargo test --release --test sim -- --seed 42 --nodes 5          # that one again
//! cargo test --release --test sim -- --seeds 1..1000 --faults kill,split
//! cargo test --release --test sim -- --seed 42 --shrink           # the fewest faults with which it still fails
//! cargo test --release --test sim -- --seed 42 --twice            # whether it does the same again, to the letter
//! cargo test --release --test sim -- --seed 42 --schedule 1200:kill:2:417:3000   # with exactly these faults
//! cargo test --release --test sim -- --seeds 1..100 --mode liveness   # one machine stays broken, the others must go on
//! cargo test --release --test sim -- --seed 42 --rounds 80        # one cluster for about an hour, in bounded memory
//! cargo test --release --test sim -- --plant ack-before-fsync      # how soon a planted bug is seen; `all`: each of them
//! ```
//!
//! What must be the same is the trace: each operation with its time and answer, and twenty times a second checksums of all
//! that was sent and of all that each disk was told to write. `--seed` tells its hash, so that two processes can be compared;
//! with NOMAD_SIM_TRACE set it is shown.
//!
//! Everything is the program's own code; what differs comes in through the five seams (network, disk, clocks, chance,
//! threads). What cannot be seen here: real QUIC, a real kernel, what a real device calls synced. For that there are
//! `net::transport::quic::tests`, `tests/durability.rs`, `tests/full_disk.rs` and `tests/hostile.rs`.

#[path = "../simulated/mod.rs"]
mod simulated;

mod alive;
mod durable;
mod epochs;
mod faults;
mod judge;
mod lists;
mod memory;
mod planted;
mod play;
mod storm;
mod story;
mod times;
mod totals;
mod travel;
mod work;

use std::process::ExitCode;

use clap::Parser;
use nodenomad::net::chance::Chance;

use faults::{Kind, Schedule};
use story::{Mode, Story};
use totals::Totals;

/// Seeds that `cargo test` runs once.
const FIXED: std::ops::Range<u64> = 2..6;
/// What it runs twice: the first as all others, the second with many nodes and everything that can go wrong in one run: all
/// but a log that rots, for nobody is lost after that.
const REPEATED: &str = "sim --seed 1 --twice";
const REPEATED_LARGE: &str = "sim --seed 1 --nodes 7 --each --twice";

#[derive(Clone, Debug, Parser)]
struct Options {
    /// Runs this one
    #[arg(long, conflicts_with_all = ["seeds", "forever"])]
    seed: Option<u64>,
    /// Runs these, such as 1..100
    #[arg(long, value_parser = range, conflicts_with = "forever")]
    seeds: Option<std::ops::Range<u64>>,
    /// Runs new seeds until one fails
    #[arg(long)]
    forever: bool,
    /// Nodes of the cluster [default: 3 to 5, by the seed]
    #[arg(long, value_parser = clap::value_parser!(u64).range(3..=9))]
    nodes: Option<u64>,
    /// One fault of each kind within a few seconds, not a drawn number of drawn kinds
    #[arg(long)]
    each: bool,
    /// Kinds of faults [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Kind>,
    /// Exactly these faults, each AT_MS:KIND:MACHINE:DETAIL:LASTS_MS, such as 1200:kill:2:417:3000
    #[arg(long, value_name = "FAULT,...", conflicts_with_all = ["each", "faults", "plant"])]
    schedule: Option<Schedule>,
    /// What is asked of a run
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Storms that one cluster lives through, each judged; memory must not grow
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["shrink", "twice", "plant"])]
    rounds: u64,
    /// After a failure, looks for the fewest faults with which it still fails
    #[arg(long)]
    shrink: bool,
    /// Runs each seed twice and compares what happened
    #[arg(long)]
    twice: bool,
    /// Plants this bug and tries seeds until it is seen; `all` for each one
    #[arg(long, value_name = "BUG", conflicts_with_all = ["seeds", "forever", "shrink", "twice"])]
    plant: Option<String>,
    /// With --plant, leaves the bug out: nothing may be seen then
    #[arg(long, requires = "plant")]
    sound: bool,
    /// What `cargo test` hands to all tests: the names to run
    #[arg(hide = true)]
    names: Vec<String>,
    /// And how to show them
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    exact: bool,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write FROM..TO")?;
    Ok(from.parse().map_err(|_| "FROM is a number")?..to.parse().map_err(|_| "TO is a number")?)
}

/// The command that runs this again.
fn again(story: &Story, options: &Options) -> String {
    let mut command =
        format!("cargo test --release --test sim -- --seed {} --nodes {}", story.seed, story.nodes);
    if options.each && !options.shrink {
        command += " --each";
    }
    if options.twice {
        command += " --twice";
    }
    if options.rounds > 1 {
        command += &format!(" --rounds {}", options.rounds);
    }
    if options.mode != Mode::default() {
        command += " --mode liveness";
    }
    if options.shrink || options.schedule.is_some() {
        command += &format!(" --schedule '{}'", Schedule(story.rounds[0].clone()));
    } else if !options.faults.is_empty() {
        let names: Vec<String> = options.faults.iter().map(|kind| kind.name()).collect();
        command += &format!(" --faults {}", names.join(","));
    }
    command
}

fn fail(story: &Story, options: &Options, why: &str) -> ExitCode {
    println!("\nseed {} fails: {why}\n", story.seed);
    let story = if options.shrink { story.clone().shrink(options.twice) } else { story.clone() };
    let how =
        if options.shrink { "the fewest faults found" } else { "its faults (--shrink looks for fewer)" };
    println!("{how}, {} nodes:", story.nodes);
    for (round, faults) in story.rounds.iter().enumerate() {
        faults.iter().for_each(|fault| println!("  round {}: {fault}", round + 1));
    }
    println!("\nagain, at commit {}: {}", commit(), again(&story, options));
    ExitCode::FAILURE
}

/// Of what is checked out; what is not committed yet is not told.
fn commit() -> String {
    let told = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let told = told.ok().filter(|told| told.status.success());
    told.map_or("unknown".to_owned(), |told| String::from_utf8_lossy(&told.stdout).trim().to_owned())
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.names.is_empty() && !options.names.iter().any(|name| "sim".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    match options.plant.as_deref().map(planted::named) {
        None => {}
        Some(Ok(plans)) => {
            return if planted::run(&plans, &options) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Some(Err(why)) => {
            eprintln!("--plant: {why}");
            return ExitCode::FAILURE;
        }
    }
    let is_fixed = options.seed.is_none() && options.seeds.is_none() && !options.forever;
    let seeds: Box<dyn Iterator<Item = u64>> = match (options.seed, options.seeds.clone()) {
        (Some(seed), _) => Box::new(std::iter::once(seed)),
        (None, Some(seeds)) => Box::new(seeds),
        (None, None) if options.forever => {
            Box::new(std::iter::repeat_with(|| Chance::system().number() >> 32))
        }
        (None, None) => Box::new(FIXED),
    };
    let repeated = || if is_fixed { repeat() } else { Ok(()) };
    if is_fixed {
        faults::check_text();
    }
    match live_all(seeds, &options).and_then(|()| repeated()) {
        Err(failed) => failed,
        Ok(()) if is_fixed && !planted::quick(&options) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// What `cargo test` runs twice: a run as all others, and a larger one in which everything happens.
fn repeat() -> Result<(), ExitCode> {
    for arguments in [REPEATED, REPEATED_LARGE] {
        let options = Options::parse_from(arguments.split(' '));
        live_all(options.seed.into_iter(), &options)?;
    }
    Ok(())
}

fn live_all(seeds: impl Iterator<Item = u64>, options: &Options) -> Result<(), ExitCode> {
    let mut totals = Totals::new();
    for seed in seeds {
        let story = Story::draw(seed, options, None);
        let told = story.live(options.twice).map_err(|why| fail(&story, options, &why))?;
        if options.seed.is_some() {
            println!("seed {seed}: trace {}", told.hash);
        }
        totals.add(&told);
        totals.show();
    }
    println!("{}", totals.last_line());
    Ok(())
}
