//! Sums over runs, and the line that shows them.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nodenomad::net::trouble::Point;

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
    pub trace: String,
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

    pub fn add(&mut self, told: Told) {
        let sum = &mut self.sum;
        self.count += 1;
        told.fired.iter().for_each(|(kind, fired)| *sum.fired.entry(*kind).or_default() += fired);
        told.troubles.iter().for_each(|(point, fired)| *sum.troubles.entry(*point).or_default() += fired);
        sum.operations += told.operations;
        sum.unknown += told.unknown;
        sum.stops += told.stops;
        sum.undecided += told.undecided;
        sum.compared += told.compared;
        sum.disk_looks += told.disk_looks;
        sum.simulated += told.simulated;
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
        format!("{}; points of trouble: {}", self.line(), counts(&self.sum.troubles))
    }
}

fn counts<K: std::fmt::Debug>(of: &BTreeMap<K, u64>) -> String {
    let counts: Vec<String> = of.iter().map(|(what, count)| format!("{what:?} {count}")).collect();
    counts.join(", ")
}
