//! When operations begin, and which of them count.
//!
//! Closed loop: a client begins when its last operation has ended. Open loop: operations are due at fixed times, whoever
//! is free takes the next, and its latency counts from when it was *due*, so that a stall is felt by all operations it
//! delays and not only by those under way (Gil Tene's "coordinated omission").
//!
//! Promises: an operation counts if it began, or was due, after the warm-up and before the end. What was due and not begun
//! by the end is told by [`Pace::not_begun`]. Does not: measure.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Shortest pause between two looks at what is due: what a thread's sleep can keep, and little CPU.
const LOOK_MIN: Duration = Duration::from_micros(100);
/// Longest, so that a run that is ended early ends.
const LOOK_MAX: Duration = Duration::from_millis(20);

/// The time-table of a run, shared by its clients.
pub struct Pace {
    begin: Instant,
    measured_from: Instant,
    end: Instant,
    stopped: OnceLock<Instant>,
    schedule: Option<Schedule>,
}

/// Operations at fixed times.
struct Schedule {
    per_s: f64,
    /// How many were taken.
    taken: AtomicU64,
    /// A permit for each that is due and was not taken.
    due: Semaphore,
}

impl Pace {
    /// Begins now. `per_s`: operations a second, more than 0; `None` as fast as they go.
    pub fn begin(warm_up: Duration, measured: Duration, per_s: Option<f64>) -> Pace {
        let begin = Instant::now();
        let measured_from = begin + warm_up;
        let schedule =
            per_s.map(|per_s| Schedule { per_s, taken: AtomicU64::new(0), due: Semaphore::new(0) });
        Pace { begin, measured_from, end: measured_from + measured, stopped: OnceLock::new(), schedule }
    }

    /// Waits for the next operation; from when its latency counts. `None` once the run is over.
    pub async fn next(&self) -> Option<Instant> {
        let begins = match &self.schedule {
            None => Instant::now(),
            Some(schedule) => {
                // Closed by `release`, at the end.
                schedule.due.acquire().await.ok()?.forget();
                if self.is_over() {
                    return None;
                }
                return Some(self.begin + schedule.after(schedule.taken.fetch_add(1, Ordering::Relaxed)));
            }
        };
        (begins < self.end && self.stopped.get().is_none()).then_some(begins)
    }

    /// True if operations come when they are due, not when a client is free.
    pub fn is_open_loop(&self) -> bool {
        self.schedule.is_some()
    }

    /// How long after measuring did an operation began or was due; `None`: before, and it is not measured.
    pub fn measured_after(&self, begun: Instant) -> Option<Duration> {
        begun.checked_duration_since(self.measured_from)
    }

    /// Ends the run early.
    pub fn stop(&self) {
        // Only the first time matters.
        let _ = self.stopped.set(Instant::now());
    }

    pub fn is_over(&self) -> bool {
        self.stopped.get().is_some() || Instant::now() >= self.end
    }

    /// True if the run was ended before its time.
    pub fn was_cut_short(&self) -> bool {
        self.stopped.get().is_some_and(|stopped| *stopped < self.end)
    }

    /// How long was measured, by now or in the end.
    pub fn measured(&self) -> Duration {
        let until = self.stopped.get().copied().unwrap_or_else(Instant::now).min(self.end);
        until.saturating_duration_since(self.measured_from)
    }

    /// How far the run is: elapsed and in all.
    pub fn progress(&self) -> (Duration, Duration) {
        let all = self.end - self.begin;
        (self.begin.elapsed().min(all), all)
    }

    /// Operations that were due before the end but that no client was free for.
    pub fn not_begun(&self) -> u64 {
        let Some(schedule) = &self.schedule else { return 0 };
        let until = self.stopped.get().copied().unwrap_or(self.end).min(self.end);
        schedule.due_before(until - self.begin).saturating_sub(schedule.taken.load(Ordering::Relaxed))
    }

    /// Lets operations go when they are due, until the end. Blocks: a thread sleeps far more exactly than a runtime.
    pub fn release(&self) {
        let Some(schedule) = &self.schedule else { return };
        let mut released = 0;
        while !self.is_over() {
            let due = schedule.due_at(self.begin.elapsed());
            schedule.due.add_permits((due - released) as usize);
            released = due;
            let next = self.begin + schedule.after(released);
            let wait = next.saturating_duration_since(Instant::now());
            std::thread::sleep(wait.clamp(LOOK_MIN, LOOK_MAX));
        }
        schedule.due.close();
    }
}

impl Schedule {
    /// When the operation with this number, from 0 on, is due: so long after the beginning.
    fn after(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.per_s)
    }

    /// How many are due before then.
    fn due_before(&self, elapsed: Duration) -> u64 {
        (elapsed.as_secs_f64() * self.per_s).ceil() as u64
    }

    /// How many are due so long after the beginning.
    fn due_at(&self, elapsed: Duration) -> u64 {
        (elapsed.as_secs_f64() * self.per_s) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(per_s: f64) -> Pace {
        Pace::begin(Duration::from_secs(1), Duration::from_secs(10), Some(per_s))
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_begins_at_once_until_the_end() {
        let pace = Pace::begin(Duration::from_secs(1), Duration::from_secs(10), None);
        let first = pace.next().await.expect("it has begun");
        assert!(pace.measured_after(first).is_none(), "it warms up");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(pace.measured_after(pace.next().await.expect("it goes on")).is_some());
        assert_eq!(pace.progress(), (Duration::from_secs(1), Duration::from_secs(11)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(pace.next().await.is_none() && !pace.was_cut_short());
        assert_eq!((pace.measured(), pace.not_begun()), (Duration::from_secs(10), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn latency_counts_from_when_it_was_due() {
        let pace = open(10.0);
        let schedule = pace.schedule.as_ref().expect("an open loop");
        // Nobody was free for 2 s: the operations of that time are taken late, each with its own due time.
        tokio::time::advance(Duration::from_secs(2)).await;
        schedule.due.add_permits(schedule.due_at(Duration::from_secs(2)) as usize);
        for number in 0..21 {
            let due = pace.next().await.expect("it is due");
            assert_eq!((due - pace.begin).as_millis(), number * 100);
            assert_eq!(pace.measured_after(due).is_some(), number >= 10);
        }
        assert_eq!(schedule.due.available_permits(), 0, "the next is not due yet");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_was_free_for_is_told() {
        let pace = open(10.0);
        tokio::time::advance(Duration::from_secs(4)).await;
        pace.schedule.as_ref().expect("an open loop").due.add_permits(1);
        assert!(pace.next().await.is_some());
        pace.stop();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(pace.was_cut_short() && pace.is_over());
        assert_eq!((pace.measured(), pace.not_begun()), (Duration::from_secs(3), 39));
    }

    #[tokio::test]
    async fn releasing_ends_with_the_run() {
        let pace = Pace::begin(Duration::ZERO, Duration::from_millis(20), Some(1_000.0));
        pace.release();
        assert!(pace.next().await.is_none(), "what is late at the end is not begun");
        assert!(pace.not_begun() >= 20);
    }
}
