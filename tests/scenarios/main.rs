//! Stories of what bit systems like ours, played in the simulated world: `tests/scripts/*.txt`, one step a line.
//!
//! Without arguments all of them, each with a few seeds; with words those whose names contain one of them:
//!
//! ```sh
//! cargo test --test scenarios -- stale-read
//! cargo test --test scenarios -- stale-read --seed 7
//! ```
//!
//! How to read and write one: `tests/scripts/README.md`. The language itself is tested in `scenario_language.rs`.

#[path = "../simulated/mod.rs"]
mod simulated;

mod clients;
mod conditions;
mod harm;
mod language;
mod load;
mod stage;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;

use language::{Script, parse};
use simulated::World;
use stage::{Stage, Wrong};

/// Where the stories are, from the package's root.
const SCRIPTS: &str = "tests/scripts";
/// The seeds of each, unless told otherwise: so many, or fewer if they have lived through this much of their own time.
const SEEDS: u64 = 3;
const ENOUGH: Duration = Duration::from_secs(15);

#[derive(Debug, Parser)]
struct Options {
    /// Plays with this seed only
    #[arg(long)]
    seed: Option<u64>,
    /// Plays with so many seeds, from 1 on
    #[arg(long, conflicts_with = "seed")]
    seeds: Option<u64>,
    /// Shows each step before it is played
    #[arg(long)]
    steps: bool,
    /// Parts of the names of those to play [default: all]
    names: Vec<String>,
    /// What `cargo test` hands to all tests
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
}

/// A story that ended otherwise than it should.
struct Failure {
    at: String,
    expected: String,
    found: String,
    state: String,
}

/// What a story has come to; it outlives a panic.
#[derive(Default)]
struct Course {
    step: Cell<usize>,
    failure: RefCell<Option<Failure>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { at, expected, found, state } = self;
        writeln!(f, "{at}\n  expected: {expected}\n  found:    {found}\n  the world:")?;
        state.lines().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

fn at(script: &Script, step: usize) -> String {
    let step = &script.steps[step];
    format!("{}:{}: {}", script.path, step.line, step.text)
}

/// Plays a story with one seed; how long it took in its own time.
fn play(script: &Script, seed: u64, show: bool) -> Result<Duration, Failure> {
    let course = Rc::new(Course::default());
    let run = || simulated::live_through(seed, |world| tell(world, script, course.clone(), show));
    let lived = catch_unwind(AssertUnwindSafe(run));
    match (course.failure.take(), lived) {
        (Some(failure), _) => Err(failure),
        (None, Ok(took)) => Ok(took),
        (None, Err(panic)) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Failure {
                at: at(script, course.step.get()),
                expected: "nobody panics".to_owned(),
                found: text.unwrap_or_default(),
                state: String::new(),
            })
        }
    }
}

async fn tell(world: Rc<World>, script: &Script, course: Rc<Course>, show: bool) -> Duration {
    let nodes = script.steps[0].args.text("NUMBER").parse().expect("the parser has seen it");
    let mut stage = Stage::set(world.clone(), nodes).await;
    for (n, step) in script.steps.iter().enumerate() {
        course.step.set(n);
        if show {
            eprintln!("{:>12.3?} {}", world.begin.elapsed(), step.text);
        }
        if let Err(Wrong { expected, found }) = stage.play(step).await {
            let state = world.describe();
            course.failure.replace(Some(Failure { at: at(script, n), expected, found, state }));
            break;
        }
    }
    world.begin.elapsed()
}

/// All stories, by name.
fn scripts() -> Result<Vec<Script>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = std::fs::read_dir(root.join(SCRIPTS)).map_err(|error| format!("{SCRIPTS}: {error}"))?;
    let paths = dir.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|kind| kind == "txt")).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        parse(&shown, &text).map_err(|mistake| mistake.to_string())
    };
    paths.iter().map(read).collect()
}

/// A story that is not so must fail, at its line: else none of the others says anything.
fn a_wrong_story_fails() -> Result<(), String> {
    let text = "# failures row 0: none\nnodes 1\nput k 1 -> ok\nget k -> 2\n";
    let script = parse("wrong.txt", text).map_err(|mistake| mistake.to_string())?;
    match play(&script, 1, false) {
        Err(failure) if failure.at == "wrong.txt:4: get k -> 2" && failure.found.starts_with("1,") => Ok(()),
        Err(failure) => Err(format!("a wrong story fails otherwise than it should: {failure}")),
        Ok(_) => Err("a wrong story does not fail".to_owned()),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let scripts = match a_wrong_story_fails().and_then(|()| scripts()) {
        Ok(scripts) => scripts,
        Err(why) => {
            println!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let wanted = |name: &String| {
        options.names.is_empty()
            || options.names.iter().any(|part| name.contains(part.as_str()) || "scenarios" == part)
    };
    let mut failed = 0;
    let chosen: Vec<&Script> = scripts.iter().filter(|script| wanted(&script.name)).collect();
    println!("\n{} of {} scenarios", chosen.len(), scripts.len());
    for script in chosen {
        failed += usize::from(!play_all(script, &options));
    }
    if failed > 0 {
        println!("\n{failed} failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Plays one with each seed and says how it went; false if it failed.
fn play_all(script: &Script, options: &Options) -> bool {
    let seeds = options.seed.map_or(1..=options.seeds.unwrap_or(SEEDS), |seed| seed..=seed);
    let enough = options.seeds.map_or(ENOUGH, |_| Duration::MAX);
    let (begin, mut simulated, mut count) = (std::time::Instant::now(), Duration::ZERO, 0);
    for seed in seeds {
        if simulated >= enough {
            break;
        }
        match play(script, seed, options.steps) {
            Ok(took) => simulated += took,
            Err(failure) => {
                println!("{:<28} FAILED\n\n{failure}", script.name);
                println!("  again: cargo test --test scenarios -- {} --seed {seed}\n", script.name);
                return false;
            }
        }
        count += 1;
    }
    let (simulated, took) = (simulated.as_secs_f64(), begin.elapsed().as_secs_f64());
    let seeds = if count == 1 { "seed" } else { "seeds" };
    println!("{:<28} ok, {count} {seeds}, {simulated:.0} s simulated in {took:.1} s", script.name);
    true
}
