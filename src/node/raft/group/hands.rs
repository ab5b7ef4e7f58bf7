//! Leadership that changes hands: it is given away, and whoever asks meanwhile waits until it is known who has it.
//!
//! A leader that gives its place away refuses what it is asked, and whom it names does not lead yet. Whoever is sent to and fro
//! between the two, or pauses for longer and longer because nobody leads, waits several times as long as the change takes. So
//! the answer is kept back until there is a leader to name, or it has taken too long.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::timeout;

use crate::model::id::{NodeId, ReplicaId};

use super::Group;

impl Group {
    /// Hands leadership to another voter and waits until this replica no longer leads, at most `limit`.
    pub async fn transfer_leadership(&self, to: ReplicaId, limit: Duration) -> bool {
        self.used();
        self.giving.send_modify(|giving| *giving += 1);
        let _over = Over(self);
        if self.raft.trigger().transfer_leader(to.0).await.is_err() {
            return true; // stopped: leads nothing
        }
        let replica = self.replica.0;
        let mut metrics = self.metrics.clone();
        let gone = async {
            while metrics.borrow_watched().current_leader == Some(replica) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(limit, gone).await.is_ok()
    }

    /// True while nobody is known to lead, or this replica is giving that away.
    pub fn is_changing_hands(&self) -> bool {
        let leader = self.metrics.borrow_watched().current_leader;
        !self.is_silent() && leader.is_none_or(|leader| leader == self.replica.0 && *self.giving.borrow() > 0)
    }

    /// Who leads once that is known, if it is within `limit`.
    pub async fn next_leader(&self, limit: Duration) -> Option<NodeId> {
        let (mut metrics, mut giving) = (self.metrics.clone(), self.giving.subscribe());
        let known = async {
            while self.is_changing_hands() {
                let changed = async {
                    tokio::select! {
                        biased;
                        changed = metrics.changed() => changed.is_ok(),
                        changed = giving.changed() => changed.is_ok(),
                    }
                };
                if self.unless_silent(changed).await != Some(true) {
                    return;
                }
            }
        };
        timeout(limit, known).await.ok().and_then(|()| self.leadership().node)
    }
}

/// Leadership is given away no longer, however that ends.
struct Over<'a>(&'a Group);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.giving.send_modify(|giving| *giving -= 1);
    }
}
