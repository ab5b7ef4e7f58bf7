//! stub
use crate::model::{wire, evaluate::ShardState, id::ShardId, key::{Key, KeyRange}, row::Version, time::Timestamp};
use crate::net::exec::Exec;
use crate::node::disk::Disk;
use bytes::Bytes;
use std::{io, path::Path, sync::Arc};
#[derive(Clone, Default)]
pub struct StoreOptions { pub freeze_bytes: usize, pub stall_bytes: usize, pub cache_bytes: usize }
#[derive(Debug, thiserror::Error)]
pub enum StoreError { #[error("x")] Io(#[from] io::Error) }
#[derive(Clone)]
pub struct Store;
pub struct Base { pub applied: Option<wire::LogId>, pub membership: wire::Membership }
pub enum Payload { Blank, Normal(Bytes), Membership(wire::Membership) }
pub struct Committed { pub log_id: wire::LogId, pub payload: Payload }
pub struct FileCopy { pub base: Base, pub bytes: u64, pub digest: [u8; 32] }
pub struct Page { pub rows: Vec<(Key, Version)>, pub next: Option<Key> }
pub struct Digest { pub applied: wire::LogId, pub digest: [u8; 32], pub keys: u64 }
pub struct StoreStats { pub keys: u64, pub live_bytes: u64, pub history_bytes: u64 }
impl Store {
    pub fn create_or_open(_: Arc<dyn Disk>, _: &Path, _: ShardId, _: Exec, _: StoreOptions) -> Result<Store, StoreError> { todo!() }
    pub fn destroy(_: &Arc<dyn Disk>, _: &Path) -> Result<(), StoreError> { todo!() }
    pub fn dir(&self) -> &Path { todo!() }
    pub fn disk(&self) -> &Arc<dyn Disk> { todo!() }
    pub fn exec(&self) -> &Exec { todo!() }
    pub fn base(&self) -> Base { todo!() }
    pub fn apply(&self, _: Vec<Committed>) -> Result<Vec<Vec<wire::Outcome>>, StoreError> { todo!() }
    pub fn applied(&self) -> (Option<wire::LogId>, wire::Membership) { todo!() }
    pub fn state<R>(&self, f: impl FnOnce(&ShardState) -> R) -> R { todo!() }
    pub fn get(&self, _: &Key, _: Option<Timestamp>) -> Result<Option<Version>, StoreError> { todo!() }
    pub fn range(&self, _: &KeyRange, _: Option<Timestamp>, _: Timestamp, _: usize, _: usize, _: bool) -> Result<Page, StoreError> { todo!() }
    pub fn should_flush(&self) -> bool { todo!() }
    pub fn memtable_bytes(&self) -> usize { todo!() }
    pub async fn wait_for_room(&self) { todo!() }
    pub async fn flush<F, E>(&self, _: impl FnOnce() -> F) -> Result<Base, StoreError> where F: Future<Output = Result<(), E>> { todo!() }
    pub async fn copy_file(&self, _: &Path) -> Result<FileCopy, StoreError> { todo!() }
    pub async fn install(&self, _: &Path, _: &wire::LogId) -> Result<Base, StoreError> { todo!() }
    pub async fn digest(&self) -> Result<Digest, StoreError> { todo!() }
    pub fn stats(&self) -> StoreStats { todo!() }
    pub async fn sweep(&self) -> Result<(), StoreError> { todo!() }
    pub async fn close(&self) { todo!() }
}
