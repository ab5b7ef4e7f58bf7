//! A whole cluster in one thread, in simulated time, from one seed.
//!
//! Everything is the program's own code: nodes are [`Node::start`], clients the library. What differs is what comes in
//! through the five seams: network, disk, clocks, chance and threads. Each node's tasks live in a `LocalSet` of their own;
//! dropping that is the death of the process.
//!
//! A run that fails prints its seed and the command that repeats it.

#![allow(dead_code, unused_imports, reason = "each test uses a part")]

pub mod ledger;
pub mod machine;
pub mod shaper;
pub mod trace;
pub mod world;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use nodenomad::net::chance::Chance;
use nodenomad::node::raft::runtime::simulate;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

pub use ledger::Ledger;
pub use trace::Trace;
pub use world::World;

/// Sets the one seed to run instead of a test's own.
pub const SEED_VARIABLE: &str = "NOMAD_SIM_SEED";
/// Shows the nodes' log lines, filtered like RUST_LOG.
pub const LOG_VARIABLE: &str = "NOMAD_SIM_LOG";
/// Whether the seed decides all: tokio too draws, for instance in which order a `watch` wakes, and takes a seed for that only
/// where it is built so (`.cargo/config.toml`, which a RUSTFLAGS in the environment replaces).
pub const SEEDED: bool = cfg!(tokio_unstable);
/// What to say where it does not.
pub const UNSEEDED: &str = "built without `--cfg tokio_unstable`, so the seed does not decide all: add that to RUSTFLAGS, \
                            which replaces what .cargo/config.toml says";
/// No run takes longer than this, in simulated time, unless it says so.
const RUN_LIMIT: Duration = Duration::from_secs(1800);

const LOOK_FOR_PANICS_EVERY: Duration = Duration::from_millis(100);

thread_local! {
    /// Tasks that panicked on this thread: their panics end in join handles that nobody looks at.
    static PANICS: Cell<u32> = const { Cell::new(0) };
    /// The first of them: what it said, and where it came from.
    static FIRST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    /// Panics are expected: they are not shown.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Tells how to repeat a run if it ends in a panic.
struct Told {
    test: &'static str,
    seed: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Told { test, seed } = self;
            if !SEEDED {
                eprintln!("{UNSEEDED}");
            }
            eprintln!("seed {seed} fails; again: {SEED_VARIABLE}={seed} cargo test {test} -- --exact");
        }
    }
}

/// Runs a test for each of `seeds`, or for the one the environment names.
pub fn for_seeds<F: Future<Output = ()>>(
    test: &'static str,
    seeds: impl IntoIterator<Item = u64>,
    body: impl Fn(Rc<World>) -> F,
) {
    match std::env::var(SEED_VARIABLE) {
        Ok(seed) => run(test, seed.parse().expect("a seed is a number"), &body),
        Err(_) => seeds.into_iter().for_each(|seed| run(test, seed, &body)),
    }
}

/// Runs one simulated world to its end.
pub fn run<F: Future>(test: &'static str, seed: u64, body: impl Fn(Rc<World>) -> F) -> F::Output {
    let _told = Told { test, seed };
    live_through(seed, body)
}

/// The same; a panic is all that is told of a failure.
pub fn live_through<F: Future>(seed: u64, body: impl Fn(Rc<World>) -> F) -> F::Output {
    live_within(RUN_LIMIT, seed, body)
}

/// The same, for as long as this in simulated time.
pub fn live_within<F: Future>(limit: Duration, seed: u64, body: impl Fn(Rc<World>) -> F) -> F::Output {
    count_panics();
    let _log = show_log();
    let chance = Chance::from_seed(seed);
    simulate(chance.fork());
    PANICS.set(0);
    FIRST.take();
    let runtime = runtime(&chance);
    let outer = LocalSet::new();
    let done = outer.block_on(&runtime, async {
        let world = Rc::new(World::new(chance));
        let done = tokio::select! {
            biased;
            () = panicked() => panic!("a task has panicked"),
            done = tokio::time::timeout(limit, body(world.clone())) => done,
        };
        let done = done.unwrap_or_else(|_| panic!("not over after {limit:?} of simulated time"));
        world.end();
        done
    });
    drop(outer);
    assert_eq!(PANICS.get(), 0, "no task panics");
    done
}

fn runtime(chance: &Chance) -> Runtime {
    let mut builder = Builder::new_current_thread();
    seed(&mut builder, chance.number());
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Seeds what tokio draws itself.
#[cfg(tokio_unstable)]
fn seed(builder: &mut Builder, number: u64) {
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&number.to_le_bytes()));
}

#[cfg(not(tokio_unstable))]
fn seed(_: &mut Builder, _: u64) {}

/// What the first panic of the last run said, and the file that it came from.
pub fn first_panic() -> Option<(String, String)> {
    FIRST.with_borrow(Clone::clone)
}

/// Whether panics are shown.
pub fn show_panics(shown: bool) {
    QUIET.set(!shown);
}

/// Returns once a task has panicked: what follows would say less.
async fn panicked() {
    while PANICS.get() == 0 {
        tokio::time::sleep(LOOK_FOR_PANICS_EVERY).await;
    }
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if nodenomad::node::store::catches_panics() {
                return;
            }
            PANICS.set(PANICS.get() + 1);
            if PANICS.get() == 1 {
                let text = info.payload_as_str().unwrap_or_default().to_owned();
                let place = info.location().map(|place| place.file().to_owned());
                FIRST.set(Some((text, place.unwrap_or_default())));
            }
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
}

fn show_log() -> Option<tracing::subscriber::DefaultGuard> {
    let filter = std::env::var(LOG_VARIABLE).ok()?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .finish();
    Some(tracing::subscriber::set_default(subscriber))
}
