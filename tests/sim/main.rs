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

mod faults;
mod judge;
mod work;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use nodenomad::net::chance::Chance;
use tokio::time::{Instant, sleep};

use faults::{Fault, Kind, Storm};
use judge::Judge;
use simulated::World;
use simulated::trace::first_difference;
use work::Work;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Seeds that `cargo test` runs once.
const FIXED: std::ops::Range<u64> = 2..6;
/// What it runs twice: the first as all others, the second with many nodes and everything that can go wrong.
const REPEATED: &str = "sim --seed 1 --twice";
const REPEATED_LARGE: &str = "sim --seed 4 --nodes 7 --each --twice";
/// Clients at work.
const CLIENTS: u32 = 6;
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
}

/// What a run showed.
#[derive(Default)]
struct Told {
    fired: BTreeMap<Kind, u64>,
    operations: usize,
    unknown: u64,
    stops: u64,
    undecided: usize,
    compared: u64,
    simulated: Duration,
    trace: String,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write FROM..TO")?;
    Ok(from.parse().map_err(|_| "FROM is a number")?..to.parse().map_err(|_| "TO is a number")?)
}

impl Story {
    fn draw(seed: u64, options: &Options) -> Story {
        let chance = Chance::from_seed(seed ^ 0x5EED_0F57_0212);
        // Drawn in any case, so that the rest does not depend on it.
        let drawn = chance.between(3, 6);
        let nodes = options.nodes.unwrap_or(drawn) as usize;
        let kinds = match options.faults.is_empty() {
            true => Kind::value_variants(),
            false => &options.faults,
        };
        let faults = match options.each {
            true => faults::draw_each(&chance, nodes, kinds),
            false => faults::draw(&chance, nodes, kinds),
        };
        Story { seed, nodes, faults }
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
        let run = || simulated::live_through(self.seed, |world| play(world, self.clone()));
        catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        })
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
    world.whole(story.nodes).await;
    let judge = Rc::new(Judge::default());
    let watching = tokio::task::spawn_local(judge.clone().watch(world.clone()));
    let (work, storm) = (Work::new(&world), Storm::new(&world));
    let supervising = tokio::task::spawn_local(storm.clone().supervise());
    let working = work.start(CLIENTS).await;
    let begin = Instant::now();
    storm.rage(&story.faults).await;
    storm.calm().await;

    let (calm, done) = (Instant::now(), work.done.get());
    while work.done.get() == done {
        assert!(calm.elapsed() < FIRST_SUCCESS, "nothing succeeds after the faults\n{}", world.describe());
        sleep(Duration::from_millis(10)).await;
    }
    work.stop(working).await;
    let client = world.client("last").await;
    world.wait_until_whole(&client).await;
    work.read_all().await;
    let digests = world.equal_digests(&client).await;
    assert!(calm.elapsed() < WHOLE, "it takes {:?} until all replicas are equal", calm.elapsed());
    judge.look(&world);
    for forever in [watching, supervising] {
        assert!(!forever.is_finished(), "who looks on has seen nothing wrong");
        forever.abort();
    }
    world.trace.note(&format!("{digests:?}"));
    let (operations, undecided) = work.judge();
    Told {
        fired: storm.fired(),
        operations,
        undecided,
        unknown: work.unknown.get(),
        stops: storm.stops(),
        compared: judge.compared.get(),
        simulated: begin.elapsed(),
        trace: world.trace.text(),
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
    println!("\nagain: {}", again(&story, options));
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.names.is_empty() && !options.names.iter().any(|name| "sim".contains(name.as_str())) {
        return ExitCode::SUCCESS;
    }
    let seeds: Box<dyn Iterator<Item = u64>> = match (options.seed, options.seeds.clone()) {
        (Some(seed), _) => Box::new(std::iter::once(seed)),
        (None, Some(seeds)) => Box::new(seeds),
        (None, None) if options.forever => {
            Box::new(std::iter::repeat_with(|| Chance::system().number() >> 32))
        }
        (None, None) => Box::new(FIXED),
    };
    let given = options.seed.is_some() || options.seeds.is_some() || options.forever;
    let passed = live_all(seeds, &options).and_then(|()| if given { Ok(()) } else { repeat() });
    passed.err().unwrap_or(ExitCode::SUCCESS)
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
    let (begin, mut sum, mut count) = (std::time::Instant::now(), Told::default(), 0);
    let mut shown = Duration::ZERO;
    for seed in seeds {
        let story = Story::draw(seed, options);
        let told = story.live(options.twice).map_err(|why| fail(&story, options, &why))?;
        if options.seed.is_some() {
            println!("seed {seed}: trace {}", blake3::hash(told.trace.as_bytes()).to_hex());
        }
        count += 1;
        told.fired.iter().for_each(|(kind, fired)| *sum.fired.entry(*kind).or_default() += fired);
        sum.operations += told.operations;
        sum.unknown += told.unknown;
        sum.stops += told.stops;
        sum.undecided += told.undecided;
        sum.compared += told.compared;
        sum.simulated += told.simulated;
        show(count, &sum, begin.elapsed(), &mut shown);
    }
    println!("{}", line(count, &sum, begin.elapsed()));
    Ok(())
}

/// A live line on a terminal, a plain one every so often elsewhere.
fn show(count: u64, sum: &Told, took: Duration, told: &mut Duration) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{}", line(count, sum, took));
        let _ = std::io::stderr().flush();
    } else if took - *told >= LINE_EVERY {
        *told = took;
        println!("{}", line(count, sum, took));
    }
}

fn line(count: u64, sum: &Told, took: Duration) -> String {
    let rate = sum.simulated.as_secs_f64() / took.as_secs_f64();
    let fired: Vec<String> = sum.fired.iter().map(|(kind, fired)| format!("{kind:?} {fired}")).collect();
    format!(
        "{count} seeds, {:.1} simulated minutes ({rate:.0} times real time), {} operations, {} unknown, {} keys undecided, \
         {} entries compared; {}, nodes that stopped {}",
        sum.simulated.as_secs_f64() / 60.0,
        sum.operations,
        sum.unknown,
        sum.undecided,
        sum.compared,
        fired.join(", "),
        sum.stops,
    )
}
