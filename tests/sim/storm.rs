//! How faults are done to a world, and ended.
//!
//! Each ends by itself, but for one that is kept, which leaves its machine as it is. What cannot be done when its time comes
//! (whoever is down cannot die, and nobody twice at a time) is left out and not counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use nodenomad::client::Client;
use nodenomad::model::map::ClusterMap;
use nodenomad::net::chance::Chance;
use nodenomad::node::disk::sim::{Act, Loss};
use nodenomad::node::wal::frame::{Found, Header, SECTOR, read_batch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::faults::{Fault, Kind};
use crate::simulated::World;
use crate::travel::{fuse, halve, travel};

/// A disk that stops in the middle of something does so within this time, or the power goes anyway.
const STOP_WITHIN: Duration = Duration::from_millis(400);
/// Writes and syncs after which it does so, at most.
const STOP_AFTER_ACTS: u32 = 60;
/// Places of a log at which it rots.
const ROT_PLACES: u64 = 3;
/// Free bytes of a disk that is all but full; every other has none.
const NEARLY_FULL_BYTES: u64 = 64 << 10;
/// The longest that a piece of data travels on a slow network, milliseconds.
const SLOW_MS: u64 = 120;
/// The longest that an act of a slow disk takes, milliseconds, and the shortest of these.
const SLOW_DISK_MS: u64 = 100;
const SLOW_DISK_FROM_MS: u64 = 5;
/// How far a clock jumps, or is off when it has run fast or slow, milliseconds: less than what the cluster forgives.
const CLOCK_JUMP_MS: u64 = 200;
/// The power of all goes when a client has just been promised something, or after this time.
const PROMISE_WITHIN: Duration = Duration::from_secs(1);
/// After that all clocks are behind, milliseconds at most, until they are set.
const CLOCKS_BEHIND_MS: u64 = 800;
const CLOCKS_SET_AFTER: Duration = Duration::from_secs(2);
/// What a clock gains or loses a second, at most, milliseconds.
const DRIFT_MAX_PERMILLE: u64 = 50;
/// What waits until it may happen does so for so long.
const WAIT_MAX: Duration = Duration::from_secs(15);
const WAIT_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How soon a process that has ended by itself is noticed, and is started again after that.
const SUPERVISE_EVERY: Duration = Duration::from_millis(500);

/// What is done to a world, and what was.
pub struct Storm {
    world: Rc<World>,
    /// Of the operator.
    client: Client,
    fired: RefCell<BTreeMap<Kind, u64>>,
    stops: Cell<u64>,
    /// Whose log rots.
    rotten: Cell<Option<usize>>,
    /// Faults that are not over.
    active: RefCell<Vec<Fault>>,
}

impl Storm {
    pub fn new(world: &Rc<World>, client: &Client) -> Rc<Storm> {
        Rc::new(Storm {
            world: world.clone(),
            client: client.clone(),
            fired: RefCell::default(),
            stops: Cell::new(0),
            rotten: Cell::default(),
            active: RefCell::default(),
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
        let done = match fault.kind {
            Kind::Move => Some(travel(&self.world, &self.client, fault).await),
            Kind::Halve => Some(halve(&self.client, fault).await),
            Kind::Fuse => Some(fuse(&self.client, fault).await),
            _ => None,
        };
        if let Some(done) = done {
            if done {
                self.count(fault.kind);
            }
            return;
        }
        if !self.begin_in_time(fault).await {
            return;
        }
        self.count(fault.kind);
        if fault.is_kept() {
            return;
        }
        if fault.kind == Kind::Crash {
            sleep(STOP_WITHIN).await;
            self.world.machine(fault.machine).cut_with(loss(fault));
        }
        sleep(Duration::from_millis(fault.lasts_ms)).await;
        self.end(fault).await;
    }

    fn count(&self, kind: Kind) {
        *self.fired.borrow_mut().entry(kind).or_default() += 1;
    }

    /// False if it cannot happen; what stays for ever is waited for.
    async fn begin_in_time(&self, fault: Fault) -> bool {
        let waits = fault.is_kept() || fault.kind == Kind::Lose;
        let begin = Instant::now();
        while waits && !self.may_stay(fault) {
            if begin.elapsed() > WAIT_MAX {
                return false;
            }
            sleep(WAIT_LOOK_EVERY).await;
        }
        if self.is_left_out(fault) || !self.begin(fault) {
            return false;
        }
        self.active.borrow_mut().push(fault);
        self.link();
        true
    }

    /// Whether something may happen to a machine that stays so: it runs and has no other trouble. One that is to be lost
    /// must not be needed by what others have lost.
    fn may_stay(&self, fault: Fault) -> bool {
        let machine = self.world.machine(fault.machine);
        let concerned = |other: &Fault| other.machine == fault.machine && !is_everywhere(other.kind);
        let is_free = machine.is_running() && !self.active.borrow().iter().any(concerned);
        if fault.kind != Kind::Lose {
            return is_free;
        }
        let harmed = |other: &Fault| other.kind.takes_replicas() || other.is_kept();
        let all = || (0..self.world.count()).map(|n| self.world.machine(n));
        is_free
            && self.rotten.get().is_none()
            && !self.active.borrow().iter().any(harmed)
            && all().all(|one| one.is_running() && one.node().shards.damaged().is_empty())
            && all().all(|one| is_whole(&one.node().view.now().map))
    }

    /// The same is not done twice at a time, nothing more is done to whoever stays out, and nobody is damaged or lost when
    /// another is lost: a shard would lack both.
    fn is_left_out(&self, fault: Fault) -> bool {
        let clock = |kind| if kind == Kind::Drift { Kind::Clock } else { kind };
        let same = |other: &Fault| {
            clock(other.kind) == clock(fault.kind)
                && (is_everywhere(fault.kind) || other.machine == fault.machine)
        };
        let is_out = self.outside() == Some(fault.machine) && !is_everywhere(fault.kind);
        let is_damage = matches!(fault.kind, Kind::Eio | Kind::Rot);
        let lost = self.world.lost();
        is_out
            || lost.contains(&fault.machine) && !is_everywhere(fault.kind)
            || (is_damage || fault.kind == Kind::Lose) && !lost.is_empty()
            || is_damage && !self.is_sound()
            || self.active.borrow().iter().any(same)
    }

    /// Nobody lacks anything: what cannot be read is given up, and two of three must not be at a time.
    fn is_sound(&self) -> bool {
        let takes = |other: &Fault| other.kind.takes_replicas();
        let mut running = self.others().map(|n| self.world.machine(n)).filter(|one| one.is_running());
        !self.active.borrow().iter().any(takes)
            && running.all(|one| {
                let node = one.node();
                node.shards.damaged().is_empty() && is_whole(&node.view.now().map)
            })
    }

    /// The machine of a fault that is kept.
    pub fn outside(&self) -> Option<usize> {
        self.active.borrow().iter().find(|fault| fault.is_kept()).map(|fault| fault.machine)
    }

    /// False if it cannot happen.
    fn begin(&self, fault: Fault) -> bool {
        let (world, detail) = (&self.world, fault.detail);
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
                let (acts, disk) = (detail as u32 % STOP_AFTER_ACTS, machine.disk.borrow());
                if loss(fault) == Loss::Holed { disk.stop_at_sync(acts) } else { disk.stop_after(acts) }
            }
            Kind::Rot => return self.rot(fault),
            Kind::Blackout => self.others().for_each(|n| {
                let machine = world.machine(n);
                machine.cut();
                machine.wall.set_offset_ms(-((detail % CLOCKS_BEHIND_MS) as i64));
            }),
            Kind::Pause => machine.pause(),
            Kind::Isolate | Kind::OneWay | Kind::Deaf | Kind::Mute | Kind::Split | Kind::Ring => {
                return self.pairs().any(|(a, b)| blocks(fault, a, b, world.count()));
            }
            Kind::Slow => world.net.set_latency(Duration::ZERO, Duration::from_millis(SLOW_MS)),
            Kind::Reset => world.net.reset(&machine.address),
            Kind::Hang => machine.gate.close(),
            Kind::SlowDisk => {
                machine.slow_down(SLOW_DISK_FROM_MS + detail % (SLOW_DISK_MS - SLOW_DISK_FROM_MS))
            }
            Kind::Eio => machine.disk.borrow().fail(act(fault), 1 + detail as u32 % 7),
            Kind::Full => machine.disk.borrow().leave_free((detail % 2) * NEARLY_FULL_BYTES),
            Kind::Clock => {
                machine.wall.set_offset_ms((detail % (2 * CLOCK_JUMP_MS)) as i64 - CLOCK_JUMP_MS as i64)
            }
            Kind::Drift => machine.wall.set_rate_permille(rate_permille(fault)),
            Kind::Lose => machine.lose(),
            Kind::Move | Kind::Halve | Kind::Fuse => unreachable!("nothing fails"),
        }
        true
    }

    async fn end(&self, fault: Fault) {
        let world = &self.world;
        let machine = world.machine(fault.machine);
        if fault.kind == Kind::Rot {
            // It is not over before its machine runs: until then nobody sees what is damaged.
            self.start(fault.machine).await;
        }
        self.active.borrow_mut().retain(|other| *other != fault);
        match fault.kind {
            Kind::Rot => {}
            Kind::Kill | Kind::Power | Kind::Crash => self.start(fault.machine).await,
            Kind::Blackout => {
                for n in 0..world.count() {
                    self.start(n).await;
                }
                sleep(CLOCKS_SET_AFTER).await;
                self.others().for_each(|n| world.machine(n).set_clock_right());
            }
            Kind::Pause => machine.resume(),
            Kind::Isolate | Kind::OneWay | Kind::Deaf | Kind::Mute | Kind::Split | Kind::Ring => self.link(),
            Kind::Slow => world.net.set_latency(Duration::from_micros(50), Duration::from_micros(500)),
            Kind::Reset | Kind::Lose | Kind::Move | Kind::Halve | Kind::Fuse => {}
            Kind::Hang => machine.gate.open(),
            Kind::SlowDisk => machine.slow_down(0),
            Kind::Eio => machine.disk.borrow().fail(act(fault), 0),
            Kind::Full => machine.disk.borrow().set_capacity(u64::MAX),
            Kind::Clock | Kind::Drift => machine.set_clock_right(),
        }
    }

    /// Starts a machine that is down, unless somebody else does; again and again while its disk does not let it.
    async fn start(&self, n: usize) {
        let machine = self.world.machine(n);
        while machine.is_down() && !machine.is_lost() && !self.stays_down(n) {
            if let Err(error) = machine.try_start().await {
                assert!(error_of_the_disk(&error), "start: {} does not: {error:?}", machine.address);
                sleep(Duration::from_millis(500)).await;
            }
        }
    }

    fn stays_down(&self, n: usize) -> bool {
        self.active.borrow().iter().any(|one| one.is_kept() && one.kind == Kind::Kill && one.machine == n)
    }

    /// Those that are neither lost nor to stay as they are.
    fn others(&self) -> impl Iterator<Item = usize> {
        (0..self.world.count()).filter(|n| !self.world.machine(*n).is_lost() && self.outside() != Some(*n))
    }

    /// Mends all that may be left of faults, and starts everybody; but not who is to stay as it is.
    pub async fn calm(&self) {
        self.active.borrow_mut().retain(Fault::is_kept);
        for n in self.others() {
            let machine = self.world.machine(n);
            machine.gate.open();
            machine.slow_down(0);
            machine.resume();
            machine.set_clock_right();
            for act in [Act::Read, Act::Write, Act::Sync] {
                machine.disk.borrow().fail(act, 0);
            }
            machine.disk.borrow().set_capacity(u64::MAX);
        }
        self.link();
        for n in self.others() {
            self.start(n).await;
        }
    }

    /// Ends also what was kept.
    pub async fn calm_all(&self) {
        let kept: Vec<Fault> = self.active.borrow().iter().copied().filter(Fault::is_kept).collect();
        for fault in kept {
            self.end(fault).await;
        }
        self.calm().await;
    }

    /// The log of a machine rots; false if that of another one has. Not the last batch: nobody can tell that from a torn one.
    fn rot(&self, fault: Fault) -> bool {
        if self.rotten.get().is_some_and(|rotten| rotten != fault.machine) {
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

    /// All ordered pairs of machines.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.world.count();
        (0..count).flat_map(move |a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b)
    }

    /// Blocks what any fault blocks, and nothing else.
    fn link(&self) {
        for (a, b) in self.pairs() {
            let blocked = self.active.borrow().iter().any(|fault| blocks(*fault, a, b, self.world.count()));
            let (from, to) = (&self.world.machine(a).address, &self.world.machine(b).address);
            self.world.net.partition_one_way(from, to, blocked);
        }
    }
}

/// Whether what machine `a` sends to `b` does not arrive. Perhaps it is so for no pair: three are a ring anyway, and a
/// split may leave all on one side.
fn blocks(fault: Fault, a: usize, b: usize, count: usize) -> bool {
    let first = fault.machine;
    match fault.kind {
        Kind::Isolate => a == first || b == first,
        Kind::OneWay => (a, b) == (first, (first + 1 + fault.detail as usize % (count - 1)) % count),
        Kind::Deaf => b == first,
        Kind::Mute => a == first,
        Kind::Split => (fault.detail >> a & 1) != (fault.detail >> b & 1),
        Kind::Ring => (a + 1) % count != b && (b + 1) % count != a,
        _ => false,
    }
}

/// What a crash loses: half of the time what was to be synced is there but for one sector.
fn loss(fault: Fault) -> Loss {
    if fault.detail < 500 { Loss::Holed } else { Loss::Drawn }
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

/// True if every shard has its voters, by a map, and nothing is under way.
fn is_whole(map: &ClusterMap) -> bool {
    map.jobs().next().is_none() && map.shards().all(|shard| shard.voters().count() >= 3)
}

/// True if it concerns no machine more than others.
fn is_everywhere(kind: Kind) -> bool {
    matches!(kind, Kind::Blackout | Kind::Split | Kind::Ring | Kind::Slow)
}

/// How a clock drifts: as much as leaves it less than a jump off in the end.
fn rate_permille(fault: Fault) -> i64 {
    let most = (CLOCK_JUMP_MS * 1000 / fault.lasts_ms.max(1)).clamp(1, DRIFT_MAX_PERMILLE);
    let rate = 1 + (fault.detail / 2 % most) as i64;
    if fault.detail.is_multiple_of(2) { rate } else { -rate }
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
