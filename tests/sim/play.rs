//! Living through a story: a cluster, clients at work, those who look on, the storm, and what must be so after it.
//!
//! A story has a round or many. Each has its own storm; after it the work rests, what clients were told is judged and
//! forgotten, all keys are deleted, and what is still in memory is looked at: so a run can be as long as one likes.

use std::rc::Rc;
use std::time::Duration;

use nodenomad::client::Client;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::alive;
use crate::durable::Durable;
use crate::faults::{Fault, Kind};
use crate::judge::Judge;
use crate::lists::Lists;
use crate::memory::Memory;
use crate::simulated::World;
use crate::storm::Storm;
use crate::story::Story;
use crate::times::Times;
use crate::totals::Told;
use crate::travel;
use crate::work::{self, Work};

/// How often all disks are looked at; and where a planted bug is to be seen.
const DISKS_EVERY: Duration = Duration::from_secs(5);
const DISKS_EVERY_PLANTED: Duration = Duration::from_millis(500);
/// Clients at work.
const CLIENTS: u32 = 8;
/// Who is silent for longer is replaced, where one is lost.
const SILENT_AFTER: &str = "10s";
/// After the last fault has ended the first operation succeeds within this time.
const FIRST_SUCCESS: Duration = Duration::from_secs(10);
/// And every shard has three voters and equal replicas within this.
const WHOLE: Duration = Duration::from_secs(60);

/// Everybody in it.
struct Play {
    world: Rc<World>,
    client: Client,
    judge: Rc<Judge>,
    disks: Rc<Durable>,
    work: Rc<Work>,
    times: Rc<Times>,
    lists: Rc<Lists>,
}

/// Lives through it; whatever is wrong is a panic.
pub async fn play(world: Rc<World>, story: Story) -> Told {
    if !story.keeps_trace {
        world.trace.keep_hash_only();
    }
    let judge = Rc::new(Judge::default());
    let may_be_damaged = story.all_faults().any(|fault| matches!(fault.kind, Kind::Eio | Kind::Rot));
    let every = if story.plan.is_some() { DISKS_EVERY_PLANTED } else { DISKS_EVERY };
    let disks = Durable::new(every, may_be_damaged);
    let watching = [
        tokio::task::spawn_local(judge.clone().watch(world.clone())),
        tokio::task::spawn_local(disks.clone().watch(world.clone())),
    ];
    let client = world.whole(story.nodes).await;
    if story.all_faults().any(|fault| fault.kind == Kind::Lose) {
        world.configure(&client, "silent_after_ms", SILENT_AFTER).await;
    }
    // The cluster moves shards as well, and is not whole before it is too late to take that back.
    world.configure(&client, "undo_window_ms", travel::WINDOW).await;
    let (work, times, lists) = (Work::new(&world), Times::new(), Lists::new());
    let play = Play { world, client, judge, disks, work, times, lists };
    let (mut told, mut memory, begin) = (Told::default(), Memory::default(), Instant::now());
    for (round, faults) in story.rounds.iter().enumerate() {
        told.add(&play.round(faults).await);
        if story.rounds.len() > 1 {
            play.forget().await;
            memory.note(&play.world, round);
        }
    }
    memory.check();
    watching.into_iter().for_each(end);
    told.simulated = begin.elapsed();
    told.compared = play.judge.compared.get();
    told.disk_looks = play.disks.looks.get();
    (told.trace, told.hash) = (play.world.trace.text(), play.world.trace.hash());
    told
}

/// Ends somebody who looks on for ever.
fn end(forever: JoinHandle<()>) {
    assert!(!forever.is_finished(), "who looks on has seen nothing wrong");
    forever.abort();
}

impl Play {
    async fn round(&self, faults: &[Fault]) -> Told {
        let Play { world, work, times, lists, .. } = self;
        let storm = Storm::new(world, &self.client);
        let supervising = tokio::task::spawn_local(storm.clone().supervise());
        let working = work.start(CLIENTS).await;
        let timing = times.start(world).await;
        let listing = lists.start(world).await;
        storm.rage(faults).await;
        storm.calm().await;
        let alive = match storm.outside() {
            Some(outside) => Some(alive::check(world, outside).await),
            None => None,
        };
        storm.calm_all().await;

        let calm = Instant::now();
        self.first_success(calm).await;
        work.stop(working).await;
        times.stop(world, timing).await;
        lists.stop(world, listing).await;
        self.settle(calm).await;
        end(supervising);
        let (operations, undecided) = work.judge();
        Told {
            fired: storm.fired(),
            stops: storm.stops(),
            operations: operations + (times.done.take() + lists.done.take()) as usize,
            unknown: work.unknown.take() + lists.unknown.take(),
            undecided,
            alive,
            ..Told::default()
        }
    }

    async fn first_success(&self, calm: Instant) {
        let done = self.work.done.get();
        while self.work.done.get() == done {
            let describe = || self.world.describe();
            assert!(calm.elapsed() < FIRST_SUCCESS, "nothing succeeds after the faults\n{}", describe());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything is as before the storm.
    async fn settle(&self, calm: Instant) {
        let world = &self.world;
        let client = world.client("last").await;
        world.wait_until_whole(&client).await;
        self.work.read_all().await;
        let digests = world.equal_digests(&client).await;
        assert!(calm.elapsed() < WHOLE, "it takes {:?} until all replicas are equal", calm.elapsed());
        self.judge.look(world);
        self.disks.look(world);
        world.trace.note(&format!("{digests:?}"));
    }

    /// So that the next round begins with nothing.
    async fn forget(&self) {
        work::delete_all(&self.client).await;
        self.work.forget();
        self.times.forget();
        self.judge.forget(&self.world);
    }
}
