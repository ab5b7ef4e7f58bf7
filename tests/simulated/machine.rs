//! One machine: a disk and a clock that outlive the process, and the process while it runs.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use nodenomad::model::id::NodeId;
use nodenomad::net::chance::Chance;
use nodenomad::net::exec::{Exec, Gate};
use nodenomad::net::identity::Secrets;
use nodenomad::net::transport::Peer;
use nodenomad::net::transport::sim::SimNet;
use nodenomad::node::disk::Disk;
use nodenomad::node::disk::sim::{Loss, SimDisk};
use nodenomad::node::member::{self, Member};
use nodenomad::node::running::{Node, NodeError, NodeParts};
use nodenomad::node::store::{MemoryBudget, StoreOptions};
use nodenomad::node::wal::{BALLAST_PIECES, WalError, WalOptions};
use nodenomad::node::wall::SimWall;
use tokio::task::{JoinHandle, LocalSet};

/// What each piece of blocking work takes.
const DELAY: Duration = Duration::from_micros(300);
/// How long what was sent to a process that stood still takes to reach it.
const RESUME_WITHIN: Duration = Duration::from_millis(100);
/// How work is run that belongs to no machine.
pub const EXEC: Exec = Exec::Inline { delay: DELAY, gate: None };
/// When the simulated world begins, milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

thread_local! {
    /// How often nodes of this world have given memory back.
    pub static GIVEN_BACK: Cell<u64> = const { Cell::new(0) };
}

pub struct Machine {
    pub address: String,
    pub wall: Arc<SimWall>,
    pub disk: RefCell<SimDisk>,
    /// Closed: the disk hangs.
    pub gate: &'static Gate,
    net: SimNet,
    chance: Chance,
    process: RefCell<Option<Process>>,
    paused: Rc<Pause>,
    starts: Cell<u64>,
    lost: Cell<bool>,
}

/// Whether a process is stopped where it stands (SIGSTOP), and who lets it go on.
#[derive(Default)]
struct Pause {
    paused: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

struct Process {
    tasks: Tasks,
    node: Option<Rc<Node>>,
}

/// A process' tasks; empty once it is dead.
type Tasks = Rc<RefCell<Option<LocalSet>>>;

/// Small, so that segments roll, memtables are flushed and caches are missed within seconds.
fn wal_options() -> WalOptions {
    WalOptions {
        segment_bytes: 512 << 10,
        cache_bytes: 128 << 10,
        spare_segments: 1,
        ..WalOptions::default()
    }
}

/// For what is not flushed yet, on one machine.
pub const MEMORY_BYTES: u64 = 128 << 10;

fn store_options() -> StoreOptions {
    StoreOptions { cache_bytes: 256 << 10, ..StoreOptions::new(MemoryBudget::new(MEMORY_BYTES)) }
}

impl Machine {
    /// The `n`-th machine; its clock shows `now_ms`.
    pub fn new(net: &SimNet, chance: Chance, n: usize, now_ms: u64) -> Machine {
        Machine {
            address: format!("10.0.0.{}:7300", n + 1),
            wall: Arc::new(SimWall::new(now_ms)),
            disk: RefCell::default(),
            gate: Gate::new(),
            net: net.clone(),
            chance,
            process: RefCell::default(),
            paused: Rc::default(),
            starts: Cell::new(0),
            lost: Cell::new(false),
        }
    }

    /// The same machine at another address; it must be down.
    pub fn moved(&self, address: String) -> Machine {
        assert!(self.is_down(), "what runs has an address");
        Machine {
            address,
            wall: self.wall.clone(),
            disk: RefCell::new(self.disk.borrow().clone()),
            gate: self.gate,
            net: self.net.clone(),
            chance: self.chance.fork(),
            process: RefCell::default(),
            paused: Rc::default(),
            starts: Cell::new(0),
            lost: Cell::new(false),
        }
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.borrow().clone())
    }

    /// Starts the member that is on the disk; true once it serves, false if it was killed before.
    pub async fn start(&self) -> bool {
        let started = self.try_start().await;
        started.unwrap_or_else(|error| panic!("{} does not start: {error:?}", self.address))
    }

    /// The same; after an error nothing runs.
    pub async fn try_start(&self) -> Result<bool, NodeError> {
        let member = match Member::load(&self.disk()) {
            Err(error) if error.kind() != ErrorKind::InvalidData => return Err(WalError::from(error).into()),
            loaded => loaded.unwrap().expect("a saved membership is never lost"),
        };
        let transport = self.net.transport(&self.address, Peer::Node(member.node));
        let parts = NodeParts {
            disk: self.disk(),
            transport: Arc::new(transport),
            exec: Exec::Inline { delay: DELAY, gate: Some(self.gate) },
            wall: self.wall.clone(),
            chance: self.chance.fork(),
            member,
            advertise: self.address.clone(),
            zone: String::new(),
            weight: 100,
            ca_fingerprint: "0".repeat(64),
            secrets: Secrets::Simulated(self.chance.fork()),
            authority: None,
            wal: wal_options(),
            store: store_options(),
            give_back: || GIVEN_BACK.set(GIVEN_BACK.get() + 1),
        };
        assert!(!self.is_lost(), "what is lost does not come back");
        self.starts.set(self.starts.get() + 1);
        let set = LocalSet::new();
        let starting = set.spawn_local(Node::start(parts));
        let tasks: Tasks = Rc::new(RefCell::new(Some(set)));
        self.resume();
        drive(tasks.clone(), self.paused.clone());
        let old = self.process.replace(Some(Process { tasks, node: None }));
        assert!(old.is_none(), "a machine runs one process at a time");
        let Ok(started) = starting.await else { return Ok(false) };
        let node = match started {
            Ok(node) => Rc::new(node),
            Err(error) => {
                self.kill();
                return Err(error);
            }
        };
        self.process.borrow_mut().as_mut().expect("it lives: its task has ended well").node = Some(node);
        Ok(true)
    }

    /// The files below a directory of the disk.
    pub fn files(&self, dir: &str) -> Vec<PathBuf> {
        let disk = self.disk();
        let names = disk.list(Path::new(dir)).unwrap();
        names.iter().map(|name| Path::new(dir).join(name)).collect()
    }

    /// True if nothing is missing of the log's ballast.
    pub fn has_ballast(&self) -> bool {
        let files = self.files("wal");
        let pieces = files.iter().filter(|file| file.to_string_lossy().contains("ballast-"));
        pieces.count() as u64 == BALLAST_PIECES
    }

    /// What is in a file.
    pub fn content(&self, path: &Path) -> Vec<u8> {
        let file = self.disk().open(path, false).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// Flips bits of a file where something is written, `count` times.
    pub fn rot(&self, path: &Path, count: u64, chance: &Chance) {
        self.rot_below(path, usize::MAX, count, chance);
    }

    /// The same before the `end`-th byte.
    pub fn rot_below(&self, path: &Path, end: usize, count: u64, chance: &Chance) {
        let bytes = self.content(path);
        let written: Vec<usize> = (0..bytes.len().min(end)).filter(|at| bytes[*at] != 0).collect();
        for _ in 0..if written.is_empty() { 0 } else { count } {
            let at = written[chance.between(0, written.len() as u64) as usize];
            self.disk.borrow().flip_bit(path, at as u64, chance.between(0, 8) as u32);
        }
    }

    /// The power goes: the disk loses what was not synced, then the process ends.
    pub fn cut(&self) {
        self.cut_with(Loss::Drawn);
    }

    /// The same, saying what of that is lost.
    pub fn cut_with(&self, loss: Loss) {
        let after = self.disk.borrow().power_cut_with(loss, &self.chance.fork());
        self.disk.replace(after);
        self.kill();
    }

    /// The process is killed; the disk keeps all it wrote, synced or not.
    pub fn die(&self) {
        let after = self.disk.borrow().process_death();
        self.disk.replace(after);
        self.kill();
    }

    /// The machine is gone for good, with its disk: what is on it from now on only tells what it had.
    pub fn lose(&self) {
        self.cut();
        self.lost.set(true);
    }

    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// From now on each act of the disk takes a drawn time more, up to `max_ms`; zero: no longer.
    pub fn slow_down(&self, max_ms: u64) {
        self.gate.slow_down(max_ms, self.chance.fork());
    }

    /// The clock shows true time, and goes on as it should.
    pub fn set_clock_right(&self) {
        self.wall.set_rate_permille(0);
        self.wall.set_offset_ms(0);
    }

    /// Nothing of the process runs until it is resumed, while time goes on.
    pub fn pause(&self) {
        self.paused.paused.set(true);
    }

    /// What was sent to it meanwhile does not reach it all at once.
    pub fn resume(&self) {
        if self.paused.paused.replace(false) {
            self.net.hold_back(&self.address, RESUME_WITHIN);
        }
        if let Some(waker) = self.paused.waker.take() {
            waker.wake();
        }
    }

    /// The process dies where it stands.
    fn kill(&self) {
        self.resume();
        self.net.cut(&self.address);
        let process = self.process.take();
        if let Some(process) = process {
            let set = process.tasks.take();
            drop(set);
            drop(process.node);
        }
    }

    /// Numbers its processes.
    pub fn starts(&self) -> u64 {
        self.starts.get()
    }

    pub fn is_running(&self) -> bool {
        self.process.borrow().as_ref().is_some_and(|process| process.node.is_some())
    }

    /// True if no process runs or starts.
    pub fn is_down(&self) -> bool {
        self.process.borrow().is_none()
    }

    pub fn node(&self) -> Rc<Node> {
        let process = self.process.borrow();
        process.as_ref().and_then(|process| process.node.clone()).expect("the node runs")
    }

    /// Which node it is, by its disk: also while that fails whatever it is asked to do.
    pub fn id(&self) -> NodeId {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.borrow().durable(Path::new(member::FILE)));
        Member::load(&disk).unwrap().expect("it is a member").node
    }

    /// Does something inside the node's process.
    pub fn spawn<F: Future + 'static>(&self, work: impl FnOnce(Rc<Node>) -> F) -> JoinHandle<F::Output>
    where
        F::Output: 'static,
    {
        let work = work(self.node());
        let process = self.process.borrow();
        let tasks = process.as_ref().expect("the node runs").tasks.clone();
        let tasks = tasks.borrow();
        tasks.as_ref().expect("the node runs").spawn_local(work)
    }
}

/// Runs a process' tasks from the outer set until they are dropped.
fn drive(tasks: Tasks, pause: Rc<Pause>) {
    tokio::task::spawn_local(poll_fn(move |cx| match &mut *tasks.borrow_mut() {
        None => Poll::Ready(()),
        Some(_) if pause.paused.get() => {
            pause.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        }
        Some(set) => {
            // Also when it has no task at present: more may be spawned.
            let _ = Pin::new(set).poll(cx);
            Poll::Pending
        }
    }));
}
