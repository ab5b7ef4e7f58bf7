//! What goes wrong, and when: drawn from a seed, so that a run can be repeated, and a list, so that it can be made shorter.
//!
//! Each fault ends by itself, but for one that is kept ([`EVER`]). As text, to be repeated from: `1200:kill:2:417:3000` kills
//! the process on the second machine after 1.2 s, for 3 s, its other number being 417.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use nodenomad::net::chance::Chance;

/// How long faults go on after the first.
pub const STORM_MS: u64 = 40_000;
/// A fault lasts as long as this, at most.
pub const FAULT_MAX_MS: u64 = 12_000;
/// The same where each kind happens once.
const SHORT_STORM_MS: u64 = 8_000;
const SHORT_FAULT_MAX_MS: u64 = 3_000;
/// How long a fault lasts that is never mended.
pub const EVER: u64 = u64::MAX;
/// How it is written.
const EVER_TEXT: &str = "ever";
/// Fewer nodes cannot lose one and have three voters again, nor is there anywhere to move to.
const SPARE_FROM_NODES: usize = 4;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// A process is killed
    Kill,
    /// The power of a machine goes: what was not synced may be lost or torn
    Power,
    /// The same in the middle of whatever the disk is asked to do
    Crash,
    /// The power of all machines goes, often just when somebody was promised something; their clocks come back behind
    Blackout,
    /// A process stands still, time does not
    Pause,
    /// A machine hears and is heard by nobody
    Isolate,
    /// One machine does not hear another
    OneWay,
    /// A machine hears nobody, and is heard
    Deaf,
    /// A machine is heard by nobody, and hears
    Mute,
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
    /// A disk takes long over whatever it is asked to do
    SlowDisk,
    /// A disk fails to read, write or sync, a few times
    Eio,
    /// A disk has no room
    Full,
    /// A clock jumps
    Clock,
    /// A clock runs fast or slow, and is set right in the end
    Drift,
    /// A machine is gone for good, with its disk: one a run, of four or more, and not where a disk fails or rots as well
    Lose,
    /// Not a failure: a shard is moved to a machine, and perhaps stopped or taken back on the way; where there are four or more
    Move,
    /// Not a failure: a shard is split in two
    Halve,
    /// Not a failure: a shard takes over its neighbour
    Fuse,
    /// A log rots while its machine is off: of one machine only, for another must have what is lost
    Rot,
}

/// Faults as they are written, with commas between; perhaps none.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(pub Vec<Fault>);

impl Kind {
    /// Each of them, which are drawn if nobody asks for fewer.
    pub fn all() -> Vec<Kind> {
        Kind::value_variants().to_vec()
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

impl Kind {
    /// Those that may be kept for ever, with all others in order.
    const KEPT: [Kind; 8] = [
        Kind::Kill,
        Kind::Pause,
        Kind::Isolate,
        Kind::Deaf,
        Kind::Mute,
        Kind::Hang,
        Kind::SlowDisk,
        Kind::Full,
    ];

    /// True if a shard may have lost a replica by it, and cannot do without another until that is made anew.
    pub fn takes_replicas(self) -> bool {
        matches!(self, Kind::Eio | Kind::Rot | Kind::Lose)
    }

    /// How it is written.
    pub fn name(self) -> String {
        self.to_possible_value().expect("all have names").get_name().to_owned()
    }
}

impl Fault {
    pub fn is_kept(&self) -> bool {
        self.lasts_ms == EVER
    }

    /// Drawn from these kinds, within `storm_ms`, as long as `lasts_ms` at most.
    fn draw(chance: &Chance, nodes: usize, kinds: &[Kind], (storm_ms, lasts_ms): (u64, u64)) -> Fault {
        let (at_ms, kind) = (chance.between(0, storm_ms), chance.between(0, kinds.len() as u64));
        let (machine, detail) = (chance.between(0, nodes as u64) as usize, chance.between(0, 1000));
        Fault { at_ms, kind: kinds[kind as usize], machine, detail, lasts_ms: chance.between(100, lasts_ms) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { at_ms, kind, machine, detail, .. } = self;
        write!(f, "{at_ms}:{}:{}:{detail}:", kind.name(), machine + 1)?;
        if self.is_kept() { f.write_str(EVER_TEXT) } else { write!(f, "{}", self.lasts_ms) }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number in a fault"));
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [at_ms, kind, machine, detail, lasts_ms] = parts[..] else {
            return Err(format!("`{text}` is not AT_MS:KIND:MACHINE:DETAIL:LASTS_MS"));
        };
        let machine = number(machine)?.checked_sub(1).ok_or("machines are counted from 1")? as usize;
        let lasts_ms = if lasts_ms == EVER_TEXT { EVER } else { number(lasts_ms)? };
        Ok(Fault {
            at_ms: number(at_ms)?,
            kind: Kind::from_str(kind, false)?,
            machine,
            detail: number(detail)?,
            lasts_ms,
        })
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.0.iter().map(Fault::to_string).collect();
        f.write_str(&faults.join(","))
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Schedule, String> {
        let faults = text.split(',').filter(|one| !one.trim().is_empty());
        faults.map(str::parse).collect::<Result<_, _>>().map(Schedule)
    }
}

/// The faults of a run, within `storm_ms`, each as long as `lasts_ms` at most.
pub fn draw(chance: &Chance, nodes: usize, kinds: &[Kind], (storm_ms, lasts_ms): (u64, u64)) -> Vec<Fault> {
    let one = |_| {
        let mut fault = Fault::draw(chance, nodes, kinds, (storm_ms, lasts_ms));
        if matches!(fault.kind, Kind::Clock | Kind::Drift) {
            // Whoever is wrong about the time is so for long.
            fault.lasts_ms = chance.between(100, FAULT_MAX_MS);
        }
        fault
    };
    (0..chance.between(4, 14)).map(one).collect()
}

/// One fault of each kind, soon after one another: a short run in which everything happens. Last of all one is lost, if
/// at all: whoever fails then is not whole in time.
pub fn draw_each(chance: &Chance, nodes: usize, kinds: &[Kind]) -> Vec<Fault> {
    let one = |kind: &Kind| {
        let bounds = (SHORT_STORM_MS, SHORT_FAULT_MAX_MS);
        let mut fault = Fault::draw(chance, nodes, std::slice::from_ref(kind), bounds);
        if *kind == Kind::Lose {
            (fault.at_ms, fault.lasts_ms) = (SHORT_STORM_MS, FAULT_MAX_MS);
        }
        fault
    };
    kinds.iter().map(one).collect()
}

/// One that is never mended; late, so that there is something to fall upon.
pub fn draw_kept(chance: &Chance, nodes: usize) -> Fault {
    let fault = Fault::draw(chance, nodes, &Kind::KEPT, (STORM_MS / 2, FAULT_MAX_MS));
    Fault { at_ms: fault.at_ms + STORM_MS / 2, lasts_ms: EVER, ..fault }
}

/// By time, without those that so few nodes cannot have.
pub fn sorted(nodes: usize, mut faults: Vec<Fault>) -> Vec<Fault> {
    let wants_spare = |kind| matches!(kind, Kind::Lose | Kind::Move);
    faults.retain(|fault| fault.machine < nodes && (!wants_spare(fault.kind) || nodes >= SPARE_FROM_NODES));
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// That what is written can be read: asked whenever the program runs without arguments.
pub fn check_text() {
    let all = Kind::value_variants().iter().enumerate().flat_map(|(machine, kind)| {
        let fault = Fault { at_ms: 1200, kind: *kind, machine, detail: 417, lasts_ms: 0 };
        [0, 3000, EVER].map(|lasts_ms| Fault { lasts_ms, ..fault })
    });
    for schedule in [Schedule(all.collect()), Schedule(Vec::new())] {
        assert_eq!(schedule.to_string().parse(), Ok(schedule.clone()), "{schedule}");
    }
    assert_eq!(Fault::from_str("1200:kill:2:417:3000").map(|fault| fault.machine), Ok(1));
    for wrong in ["", "1:kill:2:3", "1:kill:0:3:4", "1:murder:2:3:4", "1:kill:2:3:4:5", "x:kill:2:3:4"] {
        assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
    }
}
