//! stub
use crate::model::wire;
use crate::net::exec::Exec;
use crate::node::disk::Disk;
use bytes::Bytes;
use std::{io, ops::Range, path::Path, sync::Arc};
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPoint { pub term: u64, pub index: u64 }
pub struct Record { pub point: LogPoint, pub bytes: Bytes }
#[derive(Clone, Default)]
pub struct WalOptions { pub segment_bytes: u64, pub cache_bytes: usize, pub spare_segments: usize, pub on_failure: Option<Arc<dyn Fn(&io::Error) + Send + Sync>> }
#[derive(Debug, thiserror::Error)]
pub enum WalError { #[error("x")] Io(#[from] io::Error) }
#[derive(Clone)]
pub struct Wal;
#[derive(Clone)]
pub struct GroupLog;
#[derive(Default)]
pub struct WalStats { pub segments: u64, pub bytes: u64, pub batches: u64, pub syncs: u64, pub synced_bytes: u64 }
pub struct GroupState { pub purged: Option<LogPoint>, pub last: Option<LogPoint>, pub vote: Option<wire::Vote> }
impl Wal {
    pub fn open(_: Arc<dyn Disk>, _: &Path, _: Exec, _: WalOptions) -> Result<Wal, WalError> { todo!() }
    pub fn group(&self, _: GroupId) -> GroupLog { todo!() }
    pub async fn close(&self) { todo!() }
    pub fn stats(&self) -> WalStats { todo!() }
}
impl GroupLog {
    pub fn state(&self) -> GroupState { todo!() }
    pub async fn append(&self, _: Vec<Record>, _: Box<dyn FnOnce(io::Result<()>) + Send>) -> Result<(), WalError> { todo!() }
    pub async fn save_vote(&self, _: wire::Vote) -> Result<(), WalError> { todo!() }
    pub async fn truncate_after(&self, _: Option<LogPoint>) -> Result<(), WalError> { todo!() }
    pub async fn purge(&self, _: LogPoint) -> Result<(), WalError> { todo!() }
    pub async fn destroy(&self) -> Result<(), WalError> { todo!() }
    pub async fn synced(&self) -> Result<(), WalError> { todo!() }
    pub fn read(&self, _: Range<u64>, _: usize) -> Result<Vec<Record>, WalError> { todo!() }
    pub fn live_bytes(&self) -> u64 { todo!() }
}
