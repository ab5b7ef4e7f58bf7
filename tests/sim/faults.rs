//! What goes wrong, and when: drawn from a seed, so that a run can be repeated, and a list, so that it can be made shorter.
//!
//! Each fault ends by itself. What cannot be done when its time comes (whoever is down cannot die) is not counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use clap::ValueEnum;
use futures_util::FutureExt;
use nodenomad::net::chance::Chance;
use nodenomad::node::disk::sim::{Act, Loss};
use nodenomad::node::wal::frame::{Found, Header, SECTOR, read_batch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::simulated::World;

/// How long faults go on after the first.
pub const STORM_MS: u64 = 40_000;
/// A disk that stops in the middle of something does so within this time, or the power goes anyway.
const STOP_WITHIN: Duration = Duration::from_millis(400);
/// Writes and syncs after which it does so, at most.
const STOP_AFTER_ACTS: u32 = 60;
/// Places of a log at which it rots.
const ROT_PLACES: u64 = 3;
/// A fault lasts as long as this, at most.
pub const FAULT_MAX_MS: u64 = 12_000;
/// The same where each kind happens once.
const SHORT_STORM_MS: u64 = 8_000;
const SHORT_FAULT_MAX_MS: u64 = 3_000;
/// Free bytes of a disk that is all but full.
const NEARLY_FULL_BYTES: u64 = 64 << 10;
/// The longest that a piece of data travels on a slow network, milliseconds.
const SLOW_MS: u64 = 120;
/// How far a clock jumps, milliseconds: less than what the cluster forgives.
const CLOCK_JUMP_MS: u64 = 200;

/// The power of all goes when a client has just been promised something, or after this time.
const PROMISE_WITHIN: Duration = Duration::from_secs(1);
/// After that all clocks are behind, milliseconds at most, until they are set.
const CLOCKS_BEHIND_MS: u64 = 800;
const CLOCKS_SET_AFTER: Duration = Duration::from_secs(2);

/// How soon a process that has ended by itself is noticed, and is started again after that.
const SUPERVISE_EVERY: Duration = Duration::from_millis(500);

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

/// What is done to a world, and what was.
pub struct Storm {
    world: Rc<World>,
    fired: RefCell<BTreeMap<Kind, u64>>,
    stops: Cell<u64>,
    /// Whose log rots.
    rotten: Cell<Option<usize>>,
}

impl Storm {
    pub fn new(world: &Rc<World>) -> Rc<Storm> {
        Rc::new(Storm {
            world: world.clone(),
            fired: RefCell::default(),
            stops: Cell::new(0),
            rotten: Cell::default(),
        })
    }

    /// How often each kind of fault really happened.
    pub fn fired(&self) -> BTreeMap<Kind, u64> {
        self.fired.borrow().clone()
    }

    /// How often a node ended by itself.
    pub fn stops(&self) -> u64 {
        self.stops.get()
    }

    /// Starts whoever ends by itself again, for ever, as a service manager does.
    pub async fn supervise(self: Rc<Self>) {
        loop {
            sleep(SUPERVISE_EVERY).await;
            for n in 0..self.world.count() {
                let machine = self.world.machine(n);
                if machine.is_running() && machine.node().stopped().now_or_never().is_some() {
                    self.stops.set(self.stops.get() + 1);
                    machine.die();
                    let storm = self.clone();
                    tokio::task::spawn_local(async move {
                        sleep(SUPERVISE_EVERY).await;
                        storm.start(n).await;
                    });
                }
            }
        }
    }

    /// Lets all of them happen at their times, and end.
    pub async fn rage(self: &Rc<Self>, faults: &[Fault]) {
        let mut under_way: Vec<JoinHandle<()>> = Vec::new();
        let mut now_ms = 0;
        for fault in faults {
            sleep(Duration::from_millis(fault.at_ms - now_ms)).await;
            now_ms = fault.at_ms;
            under_way.push(tokio::task::spawn_local(self.clone().strike(*fault)));
        }
        for one in under_way {
            one.await.expect("faults do not panic");
        }
    }

    async fn strike(self: Rc<Self>, fault: Fault) {
        if fault.kind == Kind::Blackout {
            let _ = timeout(PROMISE_WITHIN, self.world.promised.notified()).await;
        }
        if !self.begin(fault) {
            return;
        }
        *self.fired.borrow_mut().entry(fault.kind).or_default() += 1;
        sleep(Duration::from_millis(fault.lasts_ms)).await;
        self.end(fault).await;
    }

    /// False if it cannot happen.
    fn begin(&self, fault: Fault) -> bool {
        let world = &self.world;
        let machine = world.machine(fault.machine);
        match fault.kind {
            Kind::Kill | Kind::Power | Kind::Crash | Kind::Pause | Kind::Eio | Kind::Rot
                if !machine.is_running() =>
            {
                return false;
            }
            Kind::Kill => machine.die(),
            Kind::Power => machine.cut(),
            Kind::Crash => {
                let acts = fault.detail as u32 % STOP_AFTER_ACTS;
                // Half of the time what was to be synced is there but for one sector.
                let loss = if fault.detail < 500 { Loss::Holed } else { Loss::Drawn };
                match loss {
                    Loss::Holed => machine.disk.borrow().stop_at_sync(acts),
                    _ => machine.disk.borrow().stop_after(acts),
                }
                tokio::task::spawn_local(async move {
                    sleep(STOP_WITHIN).await;
                    machine.cut_with(loss);
                });
            }
            Kind::Rot => return self.rot(fault),
            Kind::Blackout => {
                world.cut_all();
                self.set_clocks(-((fault.detail % CLOCKS_BEHIND_MS) as i64));
            }
            Kind::Pause => machine.pause(),
            Kind::Isolate | Kind::OneWay | Kind::Split | Kind::Ring => return self.block(fault, true),
            Kind::Slow => world.net.set_latency(Duration::ZERO, Duration::from_millis(SLOW_MS)),
            Kind::Reset => world.net.reset(&machine.address),
            Kind::Hang => machine.gate.close(),
            Kind::Eio => machine.disk.borrow().fail(act(fault), 1 + fault.detail as u32 % 7),
            Kind::Full => machine.disk.borrow().leave_free(NEARLY_FULL_BYTES),
            Kind::Clock => {
                machine
                    .wall
                    .set_offset_ms((fault.detail % (2 * CLOCK_JUMP_MS)) as i64 - CLOCK_JUMP_MS as i64);
            }
        }
        true
    }

    async fn end(&self, fault: Fault) {
        let world = &self.world;
        let machine = world.machine(fault.machine);
        match fault.kind {
            Kind::Kill | Kind::Power | Kind::Rot => self.start(fault.machine).await,
            Kind::Crash => {
                sleep(STOP_WITHIN).await;
                self.start(fault.machine).await;
            }
            Kind::Blackout => {
                for n in 0..world.count() {
                    self.start(n).await;
                }
                sleep(CLOCKS_SET_AFTER).await;
                self.set_clocks(0);
            }
            Kind::Pause => machine.resume(),
            Kind::Isolate | Kind::OneWay | Kind::Split | Kind::Ring => _ = self.block(fault, false),
            Kind::Slow => world.net.set_latency(Duration::from_micros(50), Duration::from_micros(500)),
            Kind::Reset => {}
            Kind::Hang => machine.gate.open(),
            Kind::Eio => machine.disk.borrow().fail(act(fault), 0),
            Kind::Full => machine.disk.borrow().set_capacity(u64::MAX),
            Kind::Clock => machine.wall.set_offset_ms(0),
        }
    }

    fn set_clocks(&self, offset_ms: i64) {
        (0..self.world.count()).for_each(|n| self.world.machine(n).wall.set_offset_ms(offset_ms));
    }

    /// Starts a machine that is down, unless somebody else does; again and again while its disk does not let it.
    async fn start(&self, n: usize) {
        let machine = self.world.machine(n);
        while machine.is_down() {
            if let Err(error) = machine.try_start().await {
                assert!(error_of_the_disk(&error), "start: {} does not: {error:?}", machine.address);
                sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Mends all that may be left of faults, and starts everybody.
    pub async fn calm(&self) {
        let world = &self.world;
        for n in 0..world.count() {
            let machine = world.machine(n);
            for other in 0..n {
                world.part(n, other, false);
            }
            machine.gate.open();
            machine.resume();
            machine.wall.set_offset_ms(0);
            for act in [Act::Read, Act::Write, Act::Sync] {
                machine.disk.borrow().fail(act, 0);
            }
            machine.disk.borrow().set_capacity(u64::MAX);
        }
        for n in 0..world.count() {
            self.start(n).await;
        }
    }

    /// The log of a machine rots; false if that of another one has. Not the first one's: its file may still say that nobody
    /// else has what it has, and then it rightly does not start. Nor the last batch: nobody can tell that from a torn one.
    fn rot(&self, fault: Fault) -> bool {
        if fault.machine == 0 || self.rotten.get().is_some_and(|rotten| rotten != fault.machine) {
            return false;
        }
        self.rotten.set(Some(fault.machine));
        let machine = self.world.machine(fault.machine);
        machine.cut();
        let segments =
            machine.files("wal").into_iter().filter(|path| path.to_string_lossy().contains("wal-"));
        let segments: Vec<_> = segments.collect();
        let path = &segments[fault.detail as usize % segments.len()];
        let end = match segments.iter().max() == Some(path) {
            true => last_batch(machine.content(path)),
            false => usize::MAX,
        };
        machine.rot_below(path, end, 1 + fault.detail % ROT_PLACES, &Chance::from_seed(fault.detail));
        true
    }

    /// False if it concerns no pair of machines: three are a ring anyway, and a split may leave all on one side.
    fn block(&self, fault: Fault, blocked: bool) -> bool {
        let count = self.world.count();
        let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let first = fault.machine;
        let second = (first + 1 + fault.detail as usize % (count - 1)) % count;
        let concerned = |(a, b): &(usize, usize)| match fault.kind {
            Kind::Isolate => *a == first || *b == first,
            Kind::OneWay => (*a, *b) == (first, second),
            Kind::Split => (fault.detail >> a & 1) != (fault.detail >> b & 1),
            _ => (a + 1) % count != *b && (b + 1) % count != *a,
        };
        let mut any = false;
        for (a, b) in pairs.filter(concerned) {
            any = true;
            let (from, to) = (&self.world.machine(a).address, &self.world.machine(b).address);
            self.world.net.partition_one_way(from, to, blocked);
        }
        any
    }
}

/// Where the last batch of a segment begins.
fn last_batch(segment: Vec<u8>) -> usize {
    let Some(header) = Header::decode(&segment) else { return 0 };
    let (segment, mut last, mut end) = (segment.into(), SECTOR, SECTOR);
    while let Found::Batch { head, .. } = read_batch(&segment, end, header.seed) {
        (last, end) = (head.begin, head.end);
    }
    last as usize
}

fn act(fault: Fault) -> Act {
    [Act::Read, Act::Write, Act::Sync][fault.detail as usize % 3]
}

/// True if an error says that the disk did not do what it was asked.
fn error_of_the_disk(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some() {
            return true;
        }
        cause = error.source();
    }
    false
}
