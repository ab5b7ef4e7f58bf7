//! Sums over runs, and the line that shows them.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nodenomad::net::trouble::Point;

use crate::alive::Alive;
use crate::faults::Kind;

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What a run showed, or many.
#[derive(Default)]
pub struct Told {
    pub fired: BTreeMap<Kind, u64>,
    pub troubles: BTreeMap<Point, u64>,
    pub operations: usize,
    pub unknown: u64,
    pub stops: u64,
    pub undecided: usize,
    pub compared: u64,
    pub disk_looks: u64,
    pub simulated: Duration,
    /// Where a machine stayed broken: how long the others took.
    pub alive: Option<Alive>,
    /// All lines, where they are kept; and their hash.
    pub trace: String,
    pub hash: String,
}

impl Told {
    /// Adds what another showed.
    pub fn add(&mut self, told: &Told) {
        told.fired.iter().for_each(|(kind, fired)| *self.fired.entry(*kind).or_default() += fired);
        told.troubles.iter().for_each(|(point, fired)| *self.troubles.entry(*point).or_default() += fired);
        self.operations += told.operations;
        self.unknown += told.unknown;
        self.stops += told.stops;
        self.undecided += told.undecided;
        self.compared += told.compared;
        self.disk_looks += told.disk_looks;
        self.simulated += told.simulated;
        if let Some(alive) = told.alive {
            self.alive = Some(self.alive.unwrap_or_default().worse(alive));
        }
    }
}

/// Runs so far.
pub struct Totals {
    begin: Instant,
    shown: Duration,
    count: u64,
    sum: Told,
}

impl Totals {
    pub fn new() -> Totals {
        // Zero is to be seen, too.
        let fired = Kind::value_variants().iter().map(|kind| (*kind, 0)).collect();
        let sum = Told { fired, ..Told::default() };
        Totals { begin: Instant::now(), shown: Duration::ZERO, count: 0, sum }
    }

    pub fn add(&mut self, told: &Told) {
        self.count += 1;
        self.sum.add(told);
    }

    /// A live line on a terminal, a plain one every so often elsewhere.
    pub fn show(&mut self) {
        let took = self.begin.elapsed();
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[2K{}", self.line());
            let _ = std::io::stderr().flush();
        } else if took - self.shown >= LINE_EVERY {
            self.shown = took;
            println!("{}", self.line());
        }
    }

    fn line(&self) -> String {
        let sum = &self.sum;
        let rate = sum.simulated.as_secs_f64() / self.begin.elapsed().as_secs_f64();
        format!(
            "{} seeds, {:.1} simulated minutes ({rate:.0} times real time), {} operations, {} unknown, {} keys undecided, \
             {} entries compared, {} looks at all disks; {}, nodes that stopped {}",
            self.count,
            sum.simulated.as_secs_f64() / 60.0,
            sum.operations,
            sum.unknown,
            sum.undecided,
            sum.compared,
            sum.disk_looks,
            counts(&sum.fired),
            sum.stops,
        )
    }

    /// All there is to say in the end.
    pub fn last_line(&self) -> String {
        let alive = self.sum.alive.map_or(String::new(), |alive| {
            let Alive { first, gap } = alive;
            format!("; without the machine that stayed broken the first write took {first:?}, the longest gap {gap:?}")
        });
        format!("{}; points of trouble: {}{alive}", self.line(), counts(&self.sum.troubles))
    }
}

fn counts<K: std::fmt::Debug>(of: &BTreeMap<K, u64>) -> String {
    let counts: Vec<String> = of.iter().map(|(what, count)| format!("{what:?} {count}")).collect();
    counts.join(", ")
}
