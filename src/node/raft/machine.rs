//! The state machine of one replica: openraft's view of its shard's store.
//!
//! Applying is in memory; the log makes it durable. What openraft calls the current snapshot is what the last flush left in
//! the shard's file, named by its log id; a copy of the file is made only when it is sent (see [`super::snapshot`]).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use crate::model::time::Timestamp;
use crate::net::trouble::{Point, trouble};
use crate::node::clock::Clock;
use crate::node::store::{Committed, Payload, Store, StoreError};

use super::types::{
    Answer, LogId, StoredMembership, Types, log_id_from_wire, log_id_to_wire, membership_to_wire,
    stored_membership,
};

pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;

/// Entries applied in one go: one short critical section of the store.
const APPLY_MAX_ENTRIES: usize = 256;
/// What it takes where there is trouble.
const SLOW_APPLY: Duration = Duration::from_millis(100);

/// Where a snapshot's bytes are.
#[derive(Debug)]
pub enum SnapshotSource {
    /// In this replica's own file; copied when sent.
    Local,
    /// In a file that was received whole and checked.
    Received(PathBuf),
}

/// How far a replica has applied its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub index: u64,
    /// Of the newest write applied.
    pub stamp: Timestamp,
}

/// One replica's state machine.
pub struct Machine {
    store: Store,
    clock: Clock,
    applied: watch::Sender<Applied>,
}

/// Says what the current snapshot is. There is nothing to build.
pub struct LastFlush(Store);

impl Machine {
    pub fn new(store: Store, clock: Clock, applied: watch::Sender<Applied>) -> Machine {
        let machine = Machine { store, clock, applied };
        machine.publish();
        machine
    }

    fn publish(&self) {
        let index = self.store.applied().0.map_or(0, |id| id.index);
        // Not past the ceiling: that lies ahead of the clock, and whoever leads next goes past it then.
        let stamp = self.store.state(|state| state.highest_stamp);
        self.clock.applied(stamp);
        self.applied.send_replace(Applied { index, stamp });
    }
}

fn to_io(error: StoreError) -> io::Error {
    io::Error::other(error)
}

fn snapshot_of(store: &Store) -> io::Result<Option<StoreSnapshot>> {
    let base = store.base();
    let Some(applied) = base.applied else { return Ok(None) };
    let meta = SnapshotMeta {
        last_log_id: Some(log_id_from_wire(&applied)),
        last_membership: stored_membership(&base.membership)?,
    };
    Ok(Some(Snapshot { meta, snapshot: SnapshotSource::Local }))
}

type StoreSnapshot = openraft::alias::SnapshotOf<Types, SnapshotSource>;

impl RaftSnapshotBuilder<Types> for LastFlush {
    type SnapshotData = SnapshotSource;

    async fn build_snapshot(&mut self) -> io::Result<StoreSnapshot> {
        snapshot_of(&self.0)?.ok_or_else(|| io::Error::other("nothing has been flushed yet"))
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotSource;
    type SnapshotBuilder = LastFlush;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let (applied, membership) = self.store.applied();
        Ok((applied.as_ref().map(log_id_from_wire), stored_membership(&membership)?))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_MAX_ENTRIES);
        while let Some(chunk) = chunks.next().await {
            // A replica whose flushes cannot keep up stops here, in memory of a known size.
            self.store.wait_for_room().await;
            if trouble(Point::SlowApply) {
                tokio::time::sleep(SLOW_APPLY).await;
            }
            let mut committed = Vec::with_capacity(chunk.len());
            let mut responders = Vec::with_capacity(chunk.len());
            for item in chunk {
                let (entry, responder) = item?;
                let payload = match entry.payload {
                    EntryPayload::Blank => Payload::Blank,
                    EntryPayload::Normal(proposal) => Payload::Normal(proposal.0),
                    EntryPayload::Membership(membership) => {
                        Payload::Membership(membership_to_wire(Some(&entry.log_id), &membership))
                    }
                };
                committed.push(Committed { log_id: log_id_to_wire(&entry.log_id), payload });
                responders.push(responder);
            }
            let outcomes = self.store.apply(committed).map_err(to_io)?;
            self.publish();
            for (responder, outcomes) in responders.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(Answer(outcomes));
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> LastFlush {
        LastFlush(self.store.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotSource) -> io::Result<()> {
        let SnapshotSource::Received(file) = snapshot else {
            return Err(io::Error::other("a snapshot to install must have been received"));
        };
        let expect = meta.last_log_id.as_ref().map(log_id_to_wire);
        let expect = expect.ok_or_else(|| io::Error::other("a snapshot of nothing"))?;
        self.store.install(&file, &expect).await.map_err(to_io)?;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<StoreSnapshot>> {
        snapshot_of(&self.store)
    }
}
