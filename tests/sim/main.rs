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

mod durable;
mod epochs;
mod faults;
mod judge;
mod planted;
mod times;
mod totals;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use nodenomad::net::chance::Chance;
use nodenomad::net::trouble::{Armed, arm, disarm};
use tokio::time::{Instant, sleep};

use durable::Durable;
use faults::{Fault, Kind, Storm};
use judge::Judge;
use planted::Plan;
use simulated::World;
use simulated::trace::first_difference;
use times::Times;
use totals::{Told, Totals};
use work::Work;

/// How often all disks are looked at; and where a planted bug is to be seen.
const DISKS_EVERY: Duration = Duration::from_secs(5);
const DISKS_EVERY_PLANTED: Duration = Duration::from_millis(500);
/// Seeds that `cargo test` runs once.
const FIXED: std::ops::Range<u64> = 2..6;
/// What it runs twice: the first as all others, the second with many nodes and everything that can go wrong.
const REPEATED: &str = "sim --seed 1 --twice";
const REPEATED_LARGE: &str = "sim --seed 4 --nodes 7 --each --twice";
/// Clients at work.
const CLIENTS: u32 = 8;
/// After the last fault has ended the first operation succeeds within this time.
const FIRST_SUCCESS: Duration = Duration::from_secs(10);
/// And every shard has three voters and equal replicas within this.
const WHOLE: Duration = Duration::from_secs(60);

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

/// One run: everything else follows from it.
#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    nodes: usize,
    faults: Vec<Fault>,
    plan: Option<&'static Plan>,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write FROM..TO")?;
    Ok(from.parse().map_err(|_| "FROM is a number")?..to.parse().map_err(|_| "TO is a number")?)
}

impl Story {
    fn draw(seed: u64, options: &Options, plan: Option<&'static Plan>) -> Story {
        let chance = Chance::from_seed(seed ^ 0x5EED_0F57_0212);
        // Drawn in any case, so that the rest does not depend on it.
        let drawn = chance.between(3, 6);
        let nodes = options.nodes.unwrap_or(drawn) as usize;
        let kinds = match (options.faults.is_empty(), plan) {
            (false, _) => options.faults.clone(),
            (true, Some(plan)) => plan.kinds.to_vec(),
            (true, None) => Kind::usual(),
        };
        let usual = (faults::STORM_MS, faults::FAULT_MAX_MS);
        let faults = match options.each {
            true => faults::draw_each(&chance, nodes, &kinds),
            false => faults::draw(&chance, nodes, &kinds, plan.map_or(usual, |plan| plan.bounds_ms)),
        };
        Story { seed, nodes, faults, plan }
    }

    /// Lives through it, or twice; an error is the message of what was broken.
    fn live(&self, twice: bool) -> Result<Told, String> {
        let told = self.live_once()?;
        if !twice {
            return Ok(told);
        }
        if !simulated::SEEDED {
            return Err(simulated::UNSEEDED.to_owned());
        }
        match first_difference(&told.trace, &self.live_once()?.trace) {
            Some(difference) => Err(format!("run again it does not do the same, {difference}")),
            None => Ok(told),
        }
    }

    fn live_once(&self) -> Result<Told, String> {
        let trouble = Armed::draw(Chance::from_seed(self.seed ^ 0x7201_0B1E));
        arm(match self.plan {
            Some(plan) => plan.arm(trouble),
            None => trouble,
        });
        let run = || simulated::live_through(self.seed, |world| play(world, self.clone()));
        let lived = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        });
        let troubles = disarm();
        lived.map(|told| Told { troubles, ..told })
    }

    /// Leaves out faults as long as it still fails.
    fn shrink(mut self, twice: bool) -> Story {
        let mut at = 0;
        while at < self.faults.len() {
            let mut without = self.clone();
            without.faults.remove(at);
            match without.live(twice) {
                Err(_) => self = without,
                Ok(_) => at += 1,
            }
        }
        self
    }
}

async fn play(world: Rc<World>, story: Story) -> Told {
    let judge = Rc::new(Judge::default());
    let watching = tokio::task::spawn_local(judge.clone().watch(world.clone()));
    let may_be_damaged = story.faults.iter().any(|fault| matches!(fault.kind, Kind::Eio | Kind::Rot));
    let every = if story.plan.is_some() { DISKS_EVERY_PLANTED } else { DISKS_EVERY };
    let disks = Durable::new(every, may_be_damaged);
    let watching_disks = tokio::task::spawn_local(disks.clone().watch(world.clone()));
    world.whole(story.nodes).await;
    let (work, storm) = (Work::new(&world), Storm::new(&world));
    let supervising = tokio::task::spawn_local(storm.clone().supervise());
    let working = work.start(CLIENTS).await;
    let times = Times::new();
    let timing = times.start(&world).await;
    let begin = Instant::now();
    storm.rage(&story.faults).await;
    storm.calm().await;

    let (calm, done) = (Instant::now(), work.done.get());
    while work.done.get() == done {
        assert!(calm.elapsed() < FIRST_SUCCESS, "nothing succeeds after the faults\n{}", world.describe());
        sleep(Duration::from_millis(10)).await;
    }
    work.stop(working).await;
    times.stop(&world, timing).await;
    let client = world.client("last").await;
    world.wait_until_whole(&client).await;
    work.read_all().await;
    let digests = world.equal_digests(&client).await;
    assert!(calm.elapsed() < WHOLE, "it takes {:?} until all replicas are equal", calm.elapsed());
    judge.look(&world);
    disks.look(&world);
    for forever in [watching, watching_disks, supervising] {
        assert!(!forever.is_finished(), "who looks on has seen nothing wrong");
        forever.abort();
    }
    world.trace.note(&format!("{digests:?}"));
    let (operations, undecided) = work.judge();
    Told {
        fired: storm.fired(),
        operations: operations + times.done.get() as usize,
        undecided,
        unknown: work.unknown.get(),
        stops: storm.stops(),
        compared: judge.compared.get(),
        disk_looks: disks.looks.get(),
        simulated: begin.elapsed(),
        trace: world.trace.text(),
        ..Told::default()
    }
}

/// The command that runs this again.
fn again(story: &Story, options: &Options) -> String {
    let mut command =
        format!("cargo test --release --test sim -- --seed {} --nodes {}", story.seed, story.nodes);
    if options.each {
        command += " --each";
    }
    if options.twice {
        command += " --twice";
    }
    if !options.faults.is_empty() {
        let names: Vec<String> = options
            .faults
            .iter()
            .map(|kind| kind.to_possible_value().expect("all have names").get_name().to_owned())
            .collect();
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
    story.faults.iter().for_each(|fault| println!("  {fault}"));
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
            println!("seed {seed}: trace {}", blake3::hash(told.trace.as_bytes()).to_hex());
        }
        totals.add(told);
        totals.show();
    }
    println!("{}", totals.last_line());
    Ok(())
}
