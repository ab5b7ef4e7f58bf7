//! Replicas of shards that were split off, made of those of their parents.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::model::id::{ReplicaId, ShardId};
use crate::model::key::{Key, KeyRange};
use crate::node::store::{FILE_NAME, OpenFile};
use crate::node::wal::{GroupId, GroupState, LogPoint, WalError};

use super::sole::Sole;
use super::{Replica, ReplicaError, ReplicaParts, directory};

/// The entry that is taken for the first of a shard that was split off: its file is as of that, its log begins behind it.
const BIRTH: LogPoint = LogPoint { term: 0, index: 0 };

/// True if this is the log of a replica that has never voted nor been led.
pub fn is_unborn(log: &GroupState) -> bool {
    log.vote.is_none() && log.last.is_none_or(|last| last == BIRTH) && log.purged == log.last
}

/// What has become of a replica that was to be made of another shard's.
pub(in crate::node) enum Born {
    /// It is on the disk; its file, if that is open.
    There(Option<OpenFile>),
    /// It was here, and what it has promised is gone.
    Lost,
}

impl Replica {
    /// Makes the replica of a shard that was split off, of what this one's store holds. Does nothing to one that has been
    /// here.
    ///
    /// Its part of the log begins first, durably, behind the entry that is taken for its first. So a file without that has lost
    /// its log, and a log without a file, and without a vote, is of one whose making was cut short ([`is_unborn`]).
    pub(in crate::node) async fn bear(
        &self,
        parts: &ReplicaParts,
        child: ShardId,
        id: ReplicaId,
    ) -> Result<Born, ReplicaError> {
        let dir = directory(child, id);
        if parts.disk.exists(&dir.join(FILE_NAME)).map_err(WalError::from)? {
            return Ok(Born::There(None));
        }
        let log = parts.wal.group(GroupId(id.0));
        if !is_unborn(&log.state()) {
            return Ok(Born::Lost);
        }
        log.purge(BIRTH).await?;
        log.synced().await?;
        let is_sole = self.store.state(|state| {
            let birth = state.birth.as_ref();
            birth.is_some_and(|birth| birth.membership.configs.iter().all(|set| set.replicas == [id.0]))
        });
        if is_sole {
            let sole = Sole::open(parts.disk.clone(), child, id, parts.exec).map_err(WalError::from)?;
            sole.begin().await.map_err(WalError::from)?;
        }
        Ok(Born::There(Some(self.store.bear(child, &dir).await?)))
    }

    /// Has a copy made of what is to be split off, or brought nearer to what the shard holds, so that a split takes little time.
    /// Returns at once. `at`: the internal key where the shard is to be split.
    pub(super) fn prepare_split(&self, at: Bytes) {
        self.store.want_split();
        let Some(range) = self.upper_part(at) else { return };
        if self.store.is_near(&range) || self.preparing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, group, preparing) = (self.store.clone(), self.group.clone(), self.preparing.clone());
        self.store.exec().spawn(async move {
            if let Err(error) = store.prepare(&range).await {
                tracing::warn!(shard = %group.shard(), %error, "no copy was made for a split");
            }
            preparing.store(false, Ordering::Release);
        });
    }

    /// True if what is to be split off there is as good as copied.
    pub(super) fn is_split_prepared(&self, at: Bytes) -> bool {
        self.upper_part(at).is_some_and(|range| self.store.is_near(&range))
    }

    /// What the shard has from this internal key on, if it can be split there.
    fn upper_part(&self, at: Bytes) -> Option<KeyRange> {
        let own = self.store.state(|state| state.range.clone().filter(|_| state.birth.is_none()))?;
        let at = Key::from_internal(at).ok().filter(|at| own.contains(at))?;
        Some(KeyRange::new(at, own.end))
    }
}
