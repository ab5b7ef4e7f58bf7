//! Read rounds: many readers, one proof of leadership.
//!
//! A linearizable read needs a ReadIndex round that *started after* the reader arrived. While one round is under way the
//! next readers gather for the one after it.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::net::exec::Exec;
use crate::net::trouble::{Bug, planted};
use crate::node::raft::group::{ConfirmError, Group};

use super::counts::ReplicaCounts;

/// Readers waiting for one shard's next round.
pub const READERS_MAX: usize = 16_384;

/// Shared; cheap to clone.
#[derive(Clone)]
pub struct ReadRounds {
    group: Group,
    exec: Exec,
    counts: Arc<ReplicaCounts>,
    gathering: Arc<Mutex<Gathering>>,
}

#[derive(Default)]
struct Gathering {
    running: bool,
    waiting: Vec<oneshot::Sender<Result<(), ConfirmError>>>,
}

impl ReadRounds {
    pub fn new(group: Group, exec: Exec, counts: Arc<ReplicaCounts>) -> ReadRounds {
        ReadRounds { group, exec, counts, gathering: Arc::default() }
    }

    /// Returns once this replica may answer a linearizable read from what it has applied; `None` if too many wait.
    pub async fn join(&self) -> Option<Result<(), ConfirmError>> {
        let (sender, receiver) = oneshot::channel();
        let start = {
            let mut gathering = self.gathering.lock();
            if gathering.waiting.len() >= READERS_MAX {
                return None;
            }
            gathering.waiting.push(sender);
            !std::mem::replace(&mut gathering.running, true)
        };
        if start {
            self.exec.spawn(self.clone().run());
        }
        Some(receiver.await.unwrap_or_else(|_| Err(ConfirmError::Stopped("the read round ended".to_owned()))))
    }

    /// Readers that wait for the next round.
    pub fn waiting(&self) -> usize {
        self.gathering.lock().waiting.len()
    }

    async fn run(self) {
        loop {
            let readers = {
                let mut gathering = self.gathering.lock();
                if gathering.waiting.is_empty() {
                    gathering.running = false;
                    return;
                }
                std::mem::take(&mut gathering.waiting)
            };
            let begin = Instant::now();
            let confirmed = match planted(Bug::ReadWithoutRound) && self.group.leadership().here {
                true => Ok(()),
                false => self.group.confirm().await,
            };
            self.counts.round_seconds.observe_time(begin.elapsed());
            self.counts.round_reads.observe(readers.len() as u64);
            for reader in readers {
                // A reader that has given up does not matter.
                let _ = reader.send(confirmed.clone());
            }
        }
    }
}
