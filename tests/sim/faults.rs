//! What goes wrong, and when: drawn from a seed, so that a run can be repeated, and a list, so that it can be made shorter.
//!
//! Each fault ends by itself. What cannot be done when its time comes (whoever is down cannot die) is not counted.

use std::fmt;

use clap::ValueEnum;
use nodenomad::net::chance::Chance;

/// How long faults go on after the first.
pub const STORM_MS: u64 = 40_000;
/// A fault lasts as long as this, at most.
pub const FAULT_MAX_MS: u64 = 12_000;
/// The same where each kind happens once.
const SHORT_STORM_MS: u64 = 8_000;
const SHORT_FAULT_MAX_MS: u64 = 3_000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// A process is killed
    Kill,
    /// The power of a machine goes: what was not synced may be lost or torn
    Power,
    /// The same in the middle of whatever the disk is asked to do
    Crash,
    /// The power of all machines goes
    Blackout,
    /// A process stands still, time does not
    Pause,
    /// A machine hears and is heard by nobody
    Isolate,
    /// One machine does not hear another
    OneWay,
    /// The cluster falls apart into two
    Split,
    /// Each machine hears its two neighbours only
    Ring,
    /// All that is sent takes long
    Slow,
    /// All connections of a machine break in the middle of whatever they carry
    Reset,
    /// A disk neither does what it is asked nor says that it failed
    Hang,
    /// A disk fails to read, write or sync, a few times
    Eio,
    /// A disk has no room
    Full,
    /// A clock jumps
    Clock,
    /// A log rots while its machine is off: of one machine only, for another must have what is lost. Not drawn unless asked for
    Rot,
}

impl Kind {
    /// Those that are drawn if nobody asks for others.
    pub fn usual() -> Vec<Kind> {
        Kind::value_variants().iter().copied().filter(|kind| *kind != Kind::Rot).collect()
    }
}

/// One fault: what, to whom, for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at_ms: u64,
    pub kind: Kind,
    /// The machine concerned, or the first of them.
    pub machine: usize,
    /// Another number: the other machine, which act, which way.
    pub detail: u64,
    pub lasts_ms: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { at_ms, kind, machine, detail, lasts_ms } = self;
        write!(f, "{at_ms:>6} ms  {kind:?} n{} ({detail}) for {lasts_ms} ms", machine + 1)
    }
}

/// The faults of a run, within `storm_ms`, each as long as `lasts_ms` at most.
pub fn draw(chance: &Chance, nodes: usize, kinds: &[Kind], (storm_ms, lasts_ms): (u64, u64)) -> Vec<Fault> {
    let count = chance.between(4, 14);
    let mut faults: Vec<Fault> = (0..count)
        .map(|_| {
            let (at_ms, kind) = (chance.between(0, storm_ms), chance.between(0, kinds.len() as u64));
            let kind = kinds[kind as usize];
            // Whoever is wrong about the time is so for long.
            let lasts_ms = if kind == Kind::Clock { FAULT_MAX_MS } else { lasts_ms };
            Fault {
                at_ms,
                kind,
                machine: chance.between(0, nodes as u64) as usize,
                detail: chance.between(0, 1000),
                lasts_ms: chance.between(100, lasts_ms),
            }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// One fault of each kind, soon after one another: a short run in which everything happens.
pub fn draw_each(chance: &Chance, nodes: usize, kinds: &[Kind]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = kinds
        .iter()
        .map(|kind| Fault {
            at_ms: chance.between(0, SHORT_STORM_MS),
            kind: *kind,
            machine: chance.between(0, nodes as u64) as usize,
            detail: chance.between(0, 1000),
            lasts_ms: chance.between(100, SHORT_FAULT_MAX_MS),
        })
        .collect();
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}
