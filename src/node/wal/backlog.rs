//! What has been submitted and is not on disk: how much, and for how long nothing has come to its end.
//!
//! Whoever submits waits here for room, in order, so that a disk that hangs costs memory of a known size. What waits for
//! room counts as waiting, too.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Bytes submitted and not on disk, of all groups. One operation that is larger counts as this.
pub const BACKLOG_MAX_BYTES: usize = 64 << 20;

/// Operations under way.
pub struct Backlog {
    room: Semaphore,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    jobs: usize,
    /// When the last of them came to its end; or, if there were none, when the first came.
    moved_at: Instant,
}

/// A place for one operation that is being handed over; given up when dropped.
pub struct Place<'a> {
    backlog: &'a Backlog,
    bytes: usize,
}

impl Place<'_> {
    /// It was handed over: from now on it counts until [`Backlog::leave`].
    pub fn hand_over(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.backlog.leave(1, self.bytes);
    }
}

impl Backlog {
    pub fn new() -> Backlog {
        let waiting = Mutex::new(Waiting { jobs: 0, moved_at: Instant::now() });
        Backlog { room: Semaphore::new(BACKLOG_MAX_BYTES), waiting }
    }

    /// What an operation of so many bytes counts as.
    pub fn counted(bytes: usize) -> usize {
        bytes.min(BACKLOG_MAX_BYTES)
    }

    /// Waits for room for an operation; `None` once the backlog is closed.
    pub async fn enter(&self, bytes: usize) -> Option<Place<'_>> {
        {
            let mut waiting = self.waiting.lock();
            if waiting.jobs == 0 {
                waiting.moved_at = Instant::now();
            }
            waiting.jobs += 1;
        }
        let mut place = Place { backlog: self, bytes: 0 };
        let bytes = Backlog::counted(bytes);
        self.room.acquire_many(bytes as u32).await.ok()?.forget();
        place.bytes = bytes;
        Some(place)
    }

    /// So many operations have come to their end, together; `bytes` as counted.
    pub fn leave(&self, jobs: usize, bytes: usize) {
        {
            let mut waiting = self.waiting.lock();
            waiting.jobs -= jobs;
            waiting.moved_at = Instant::now();
        }
        self.room.add_permits(bytes);
    }

    /// How long nothing has come to its end although something waits.
    pub fn waiting(&self) -> Duration {
        let waiting = self.waiting.lock();
        match waiting.jobs {
            0 => Duration::ZERO,
            _ => waiting.moved_at.elapsed(),
        }
    }

    /// Nobody enters any more, and nothing counts as waiting.
    pub fn close(&self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_counted_in_time_and_bytes() {
        let backlog = Backlog::new();
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        pass(9).await;
        assert_eq!(backlog.waiting(), Duration::ZERO, "nothing waits");
        backlog.enter(BACKLOG_MAX_BYTES - 1).await.unwrap().hand_over();
        pass(2).await;
        backlog.enter(1).await.unwrap().hand_over();
        assert_eq!(backlog.waiting(), Duration::from_secs(2));
        let full = tokio::time::timeout(Duration::from_secs(1), backlog.enter(1)).await;
        assert!(full.is_err(), "there is no room");
        backlog.leave(1, 1);
        pass(3).await;
        assert_eq!(backlog.waiting(), Duration::from_secs(3), "since one came to its end");
        drop(backlog.enter(1).await.unwrap());
        backlog.enter(1).await.unwrap().hand_over();
        backlog.leave(2, BACKLOG_MAX_BYTES);
        pass(9).await;
        assert_eq!(backlog.waiting(), Duration::ZERO);
        backlog.enter(usize::MAX).await.unwrap().hand_over();
        backlog.close();
        assert!(backlog.enter(1).await.is_none());
    }
}
