//! Clearing away what is not a shard's any more, before it takes over rows of the same keys.
//!
//! Not from the file and memory here alone: a replica that is made later goes through the log, and would meet in it what is
//! cleared away here. So the log goes as well, up to an entry after which the shard has given nothing away: who is made of what is
//! left has never had anything of it. A replica is *tidy* as of an entry once all that is on its disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::node::raft::group::Group;
use crate::node::store::{Store, StoreError};
use crate::node::wal::GroupLog;

use super::{Replica, flush};

/// Sweeps made one after the other: whoever applies waits for none, but a flush does.
const SWEEPS_MAX: usize = 64;

/// How tidy a replica is.
#[derive(Debug, Default)]
pub struct Tidiness {
    /// As of this entry; 0: nobody has asked since it was opened.
    index: AtomicU64,
    under_way: AtomicBool,
}

impl Replica {
    /// The entry as of which this replica is tidy, if it was asked for one.
    pub(super) fn tidied_index(&self) -> u64 {
        self.tidiness.index.load(Ordering::Acquire)
    }

    /// Has this replica become tidy as of an entry. Returns at once: it is to be asked for again and again.
    pub(super) fn tidy(&self, index: u64) {
        let tidiness = self.tidiness.clone();
        if self.tidied_index() >= index || tidiness.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, group, log) = (self.store.clone(), self.group.clone(), self.log.clone());
        self.store.exec().spawn(async move {
            match tidy(&store, &group, &log, index).await {
                Ok(true) => _ = tidiness.index.fetch_max(index, Ordering::AcqRel),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(shard = %group.shard(), %error, "what is not the shard's was not cleared away");
                }
            }
            tidiness.under_way.store(false, Ordering::Release);
        });
    }
}

/// Does what can be done now; true once nothing is left to do.
async fn tidy(store: &Store, group: &Group, log: &GroupLog, index: u64) -> Result<bool, StoreError> {
    let is_clean = || !store.holds_foreign() && store.flushed().is_some_and(|flushed| flushed.index >= index);
    if !is_clean() {
        flush(store, log, group).await?;
        for _ in 0..SWEEPS_MAX {
            if !store.can_trim() {
                break;
            }
            store.sweep().await?;
        }
    }
    let flushed = store.flushed().filter(|_| is_clean());
    let Some(flushed) = flushed else { return Ok(false) };
    if log.state().purged.is_none_or(|purged| purged.index < index) {
        group.flushed(Some(flushed.index)).await;
        return Ok(false); // the log goes by and by
    }
    Ok(log.synced().await.is_ok())
}
