//! The threads seam: who runs work that blocks, and background tasks.
//!
//! In the real world blocking work has threads of its own. In a simulated one everything runs inline on the one thread of
//! a paused runtime, after a simulated delay, so that a seed decides the order of everything; and every task belongs to
//! the `LocalSet` of its node, so that dropping that is the crash of the node.
//!
//! Nothing else in this program starts a thread or a task.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::chance::Chance;
use super::trouble::{Point, trouble};

/// What a consumer takes where there is trouble.
const SLOW_CONSUMER: Duration = Duration::from_millis(60);

/// The niceness of work that others go before: it gets a ninth of what they get, where both want a processor (sched(7)).
#[cfg(target_os = "linux")]
const BEHIND_NICE: libc::c_int = 10;

/// How work is run. Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub enum Exec {
    /// Operating-system threads and the runtime's workers.
    Threads,
    /// Inline, each piece of blocking work after this delay of simulated time, and not while the gate is closed.
    Inline { delay: Duration, gate: Option<&'static Gate> },
}

/// Holds blocking work up while it is closed, and makes it slow: what a device that hangs or labours does to a simulated node.
pub struct Gate {
    open: watch::Sender<bool>,
    /// The longest that a piece of work takes, in milliseconds, and who draws how long.
    slow: Mutex<Option<(u64, Chance)>>,
}

/// The sending side of a consumer. When the last clone goes, the consumer ends after what is queued.
pub struct Queue<J>(mpsc::Sender<J>);

/// The consumer is gone; its work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker behind this queue has stopped")]
pub struct QueueClosed;

impl Gate {
    /// An open one. It lives as long as the process: tasks that nobody waits for may still stand at it.
    pub fn new() -> &'static Gate {
        Box::leak(Box::new(Gate { open: watch::Sender::new(true), slow: Mutex::new(None) }))
    }

    /// Blocking work that begins from now on waits.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// All that waits goes on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Each piece of blocking work that begins from now on takes a drawn time more, up to `max_ms`; zero: no longer.
    pub fn slow_down(&self, max_ms: u64, chance: Chance) {
        *self.slow.lock() = (max_ms > 0).then_some((max_ms, chance));
    }

    /// What the next piece of work takes more.
    fn slowness(&self) -> Duration {
        let slow = self.slow.lock();
        let drawn_ms = slow.as_ref().map_or(0, |(max_ms, chance)| chance.between(1, max_ms + 1));
        Duration::from_millis(drawn_ms)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&*self.open.borrow()).finish()
    }
}

/// What blocking work waits for before it is done inline.
async fn pass(delay: Duration, gate: Option<&'static Gate>) {
    tokio::time::sleep(delay + gate.map_or(Duration::ZERO, Gate::slowness)).await;
    if let Some(gate) = gate {
        // The sender lives for ever.
        let _ = gate.open.subscribe().wait_for(|open| *open).await;
    }
}

/// Gives the calling thread less of the processors than others get, where they are short.
fn step_back() {
    // Elsewhere that would be the whole process.
    #[cfg(target_os = "linux")]
    // SAFETY: it takes numbers and touches no memory of ours; 0 is the calling thread. That it is refused harms nothing.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, BEHIND_NICE);
    }
}

impl Exec {
    /// Runs a task in the background. Dropping the handle does not end it.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match self {
            Exec::Threads => tokio::spawn(task),
            Exec::Inline { .. } => tokio::task::spawn_local(task),
        }
    }

    /// Runs work that blocks, off the runtime's workers. A panic in it is carried on in the caller.
    pub async fn blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        match self {
            Exec::Threads => match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            Exec::Inline { delay, gate } => {
                pass(*delay, *gate).await;
                work()
            }
        }
    }

    /// Runs long work that blocks behind whatever else wants the processors: what clients wait for goes first. On a thread of
    /// its own, since what has stepped back may not step forward again. A panic in it is carried on in the caller.
    pub async fn behind<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> R {
        match self {
            Exec::Threads => {
                let (done, result) = oneshot::channel();
                let body = move || {
                    step_back();
                    // Whoever asked may have gone.
                    let _ = done.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)));
                };
                let thread = std::thread::Builder::new().name("behind".to_owned());
                thread.spawn(body).expect("the operating system gives us a thread");
                match result.await.expect("it is sent whatever the work does") {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Exec::Inline { .. } => self.blocking(work).await,
        }
    }

    /// Starts a consumer: `work` is called with all that has gathered in a queue of at most `bound` jobs, never with
    /// nothing. The receiver returned resolves when it has ended.
    pub fn consumer<J: Send + 'static>(
        &self,
        name: &str,
        bound: usize,
        mut work: impl FnMut(&mut Vec<J>) + Send + 'static,
    ) -> (Queue<J>, oneshot::Receiver<()>) {
        let (sender, mut receiver) = mpsc::channel(bound);
        let (ended, end) = oneshot::channel();
        match *self {
            Exec::Threads => {
                let body = move || {
                    let mut jobs = Vec::new();
                    while receiver.blocking_recv_many(&mut jobs, bound) > 0 {
                        work(&mut jobs);
                        jobs.clear();
                    }
                    drop(work);
                    let _ = ended.send(());
                };
                let thread = std::thread::Builder::new().name(name.to_owned());
                thread.spawn(body).expect("the operating system gives us a thread");
            }
            Exec::Inline { delay, gate } => {
                tokio::task::spawn_local(async move {
                    let mut jobs = Vec::new();
                    while receiver.recv_many(&mut jobs, bound).await > 0 {
                        pass(delay, gate).await;
                        if trouble(Point::SlowConsumer) {
                            tokio::time::sleep(SLOW_CONSUMER).await;
                        }
                        work(&mut jobs);
                        jobs.clear();
                    }
                    drop(work);
                    let _ = ended.send(());
                });
            }
        }
        (Queue(sender), end)
    }
}

impl<J> Queue<J> {
    /// Jobs that wait, those in hand left out.
    pub fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    /// Adds a job, waiting while the queue is full.
    pub async fn push(&self, job: J) -> Result<(), QueueClosed> {
        self.0.send(job).await.map_err(|_| QueueClosed)
    }
}

impl<J> Clone for Queue<J> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}
