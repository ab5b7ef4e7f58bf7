//! Living through a story: a cluster, clients at work, those who look on, the storm, and what must be so after it.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::durable::Durable;
use crate::faults::Kind;
use crate::judge::Judge;
use crate::simulated::World;
use crate::storm::Storm;
use crate::story::Story;
use crate::times::Times;
use crate::totals::Told;
use crate::work::Work;

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

/// Lives through it; whatever is wrong is a panic.
pub async fn play(world: Rc<World>, story: Story) -> Told {
    let judge = Rc::new(Judge::default());
    let watching = tokio::task::spawn_local(judge.clone().watch(world.clone()));
    let may_be_damaged = story.faults.iter().any(|fault| matches!(fault.kind, Kind::Eio | Kind::Rot));
    let every = if story.plan.is_some() { DISKS_EVERY_PLANTED } else { DISKS_EVERY };
    let disks = Durable::new(every, may_be_damaged);
    let watching_disks = tokio::task::spawn_local(disks.clone().watch(world.clone()));
    let whole = world.whole(story.nodes).await;
    if story.faults.iter().any(|fault| fault.kind == Kind::Lose) {
        world.configure(&whole, "silent_after_ms", SILENT_AFTER).await;
    }
    let (work, storm) = (Work::new(&world), Storm::new(&world));
    let supervising = tokio::task::spawn_local(storm.clone().supervise());
    let working = work.start(CLIENTS).await;
    let times = Times::new();
    let timing = times.start(&world).await;
    let begin = Instant::now();
    storm.rage(&story.faults).await;
    storm.calm().await;

    let (calm, done) = (Instant::now(), work.done.get());
    while work.done.get() == done {
        assert!(calm.elapsed() < FIRST_SUCCESS, "nothing succeeds after the faults\n{}", world.describe());
        sleep(Duration::from_millis(10)).await;
    }
    work.stop(working).await;
    times.stop(&world, timing).await;
    let client = world.client("last").await;
    world.wait_until_whole(&client).await;
    work.read_all().await;
    let digests = world.equal_digests(&client).await;
    assert!(calm.elapsed() < WHOLE, "it takes {:?} until all replicas are equal", calm.elapsed());
    judge.look(&world);
    disks.look(&world);
    for forever in [watching, watching_disks, supervising] {
        assert!(!forever.is_finished(), "who looks on has seen nothing wrong");
        forever.abort();
    }
    world.trace.note(&format!("{digests:?}"));
    let (operations, undecided) = work.judge();
    Told {
        fired: storm.fired(),
        operations: operations + times.done.get() as usize,
        undecided,
        unknown: work.unknown.get(),
        stops: storm.stops(),
        compared: judge.compared.get(),
        disk_looks: disks.looks.get(),
        simulated: begin.elapsed(),
        trace: world.trace.text(),
        ..Told::default()
    }
}
