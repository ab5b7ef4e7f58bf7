//! A node's files, looked at while nobody uses them: what each holds and what is damaged. Nothing is changed.
//!
//! Finds what a start would find, by the same code. Files that a running node is writing can look damaged when they are not.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::id::{ReplicaId, ShardId};

use super::disk::look::LookDisk;
use super::replica::directory;
use super::shards::{listed, set_aside_for};
use super::store::{self, Basis, FILE_NAME, StoreError};
use super::wal::{self, GroupId, GroupState, WalError, WalReport};

/// A data directory.
pub struct Inspection {
    disk: LookDisk,
    replicas: Vec<(ShardId, ReplicaId)>,
}

/// A replica's file.
pub struct FileReport {
    pub shard: ShardId,
    pub replica: ReplicaId,
    /// Below the data directory.
    pub path: PathBuf,
    /// Why its node has set the replica aside, if it has.
    pub set_aside: Option<String>,
    /// What it holds and how many keys, or what is wrong with it.
    pub held: Result<(Basis, u64), StoreError>,
}

impl Inspection {
    /// Looks which replicas there are.
    pub fn of(dir: &Path) -> io::Result<Inspection> {
        let disk = LookDisk(dir.to_owned());
        let replicas = listed(&disk)?;
        Ok(Inspection { disk, replicas })
    }

    /// Reads and checks the whole log.
    pub fn wal(&self) -> Result<WalReport, WalError> {
        let known: Vec<GroupId> = self.replicas.iter().map(|(_, replica)| GroupId(replica.0)).collect();
        wal::inspect(&self.disk, Path::new("wal"), &known)
    }

    /// Reads and checks all files of replicas.
    pub fn files(&self) -> impl Iterator<Item = io::Result<FileReport>> {
        self.replicas.iter().map(|(shard, replica)| {
            let path = directory(*shard, *replica).join(FILE_NAME);
            let held = store::inspect(&self.disk, &path, *shard);
            let set_aside = set_aside_for(&self.disk, *shard, *replica)?;
            Ok(FileReport { shard: *shard, replica: *replica, path, set_aside, held })
        })
    }
}

/// What does not fit between a replica's file and its part of the log; `None`: all does.
pub fn misfit(held: &Basis, log: Option<&GroupState>) -> Option<&'static str> {
    let flushed = held.applied?.index;
    match log {
        None => Some("its part of the write-ahead log is gone"),
        Some(state) if state.vote.is_none() && state.last.is_none() => {
            Some("its part of the write-ahead log is gone")
        }
        Some(state) if state.purged.is_some_and(|purged| purged.index > flushed) => {
            Some("the file is older than its part of the write-ahead log")
        }
        Some(_) => None,
    }
}
