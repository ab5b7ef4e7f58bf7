//! How faults are done to a world, and ended.
//!
//! Each ends by itself. What cannot be done when its time comes (whoever is down cannot die) is not counted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use nodenomad::net::chance::Chance;
use nodenomad::node::disk::sim::Act;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::faults::{Fault, Kind};
use crate::simulated::World;

/// A disk that stops in the middle of something does so within this time, or the power goes anyway.
const STOP_WITHIN: Duration = Duration::from_millis(400);
/// Writes and syncs after which it does so, at most.
const STOP_AFTER_ACTS: u32 = 60;
/// Places of a log at which it rots.
const ROT_PLACES: u64 = 3;
/// Free bytes of a disk that is all but full.
const NEARLY_FULL_BYTES: u64 = 64 << 10;
/// The longest that a piece of data travels on a slow network, milliseconds.
const SLOW_MS: u64 = 120;
/// How far a clock jumps, milliseconds: less than what the cluster forgives.
const CLOCK_JUMP_MS: u64 = 200;

/// How soon a process that has ended by itself is noticed, and is started again after that.
const SUPERVISE_EVERY: Duration = Duration::from_millis(500);

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
                machine.disk.borrow().stop_after(fault.detail as u32 % STOP_AFTER_ACTS);
                tokio::task::spawn_local(async move {
                    sleep(STOP_WITHIN).await;
                    machine.cut();
                });
            }
            Kind::Rot => return self.rot(fault),
            Kind::Blackout => world.cut_all(),
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

    /// The log of a machine rots; false if that of another one has.
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
        machine.rot(path, 1 + fault.detail % ROT_PLACES, &Chance::from_seed(fault.detail));
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
