//! No write takes effect in a shard that has other members than the one it was made for.
//!
//! Each shard's log is followed as its replicas have applied it; its epoch rises with every membership that is settled on
//! and with every split; behind a merge it is read anew. A
//! write that names another epoch must leave no version behind. What is forgotten before it was seen is passed over.

use std::cell::RefCell;
use std::collections::HashMap;

use nodenomad::model::id::ShardId;
use nodenomad::model::key::Key;
use nodenomad::model::time::Timestamp;
use nodenomad::model::wire::{self, Membership};
use nodenomad::node::raft::types::{decode_entry, membership_to_wire};
use nodenomad::node::replica::Replica;
use nodenomad::node::wal::Record;
use openraft::EntryPayload;
use prost::Message;

/// A shard's log as far as it was followed.
struct Followed {
    next: u64,
    epoch: u64,
    members: Membership,
}

#[derive(Default)]
pub struct Epochs(RefCell<HashMap<ShardId, Followed>>);

impl Epochs {
    /// Looks at an entry that a replica has applied, if it is the next one of its shard.
    pub fn follow(&self, replica: &Replica, record: &Record) {
        let mut shards = self.0.borrow_mut();
        let index = record.point.index;
        let Some(shard) = shards.get_mut(&replica.shard).filter(|shard| shard.next == index) else { return };
        shard.next += 1;
        let entry = decode_entry(record.bytes.clone()).expect("what was applied can be read");
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                let settled = membership_to_wire(None, &membership);
                if settled.configs.len() == 1 && !same(&settled, &shard.members) {
                    (shard.epoch, shard.members) = (shard.epoch + 1, settled);
                }
            }
            EntryPayload::Normal(proposal) => {
                let entry = wire::Entry::decode(proposal.0).expect("what was applied can be read");
                match entry.kind {
                    Some(wire::entry::Kind::Batch(batch)) => check_batch(replica, index, shard.epoch, &batch),
                    // Nobody asks for a split that cannot be.
                    Some(wire::entry::Kind::Split(split)) => {
                        shard.epoch += u64::from(split.epoch == shard.epoch)
                    }
                    // By how much depends on what was taken over.
                    Some(wire::entry::Kind::TakeOver(_)) => shard.next = 0,
                    _ => {}
                }
            }
        }
    }

    /// Goes on behind what a replica has applied, if the log before that can be followed no more.
    pub fn catch_up(&self, replica: &Replica) {
        let (Some(applied), members) = replica.store.applied() else { return };
        let mut shards = self.0.borrow_mut();
        let is_followed = shards.get(&replica.shard).is_some_and(|shard| shard.next > applied.index);
        if !is_followed && members.configs.len() == 1 {
            let epoch = replica.store.state(|state| state.epoch);
            shards.insert(replica.shard, Followed { next: applied.index + 1, epoch, members });
        }
    }
}

fn same(one: &Membership, other: &Membership) -> bool {
    (&one.configs, &one.members) == (&other.configs, &other.members)
}

fn check_batch(replica: &Replica, index: u64, epoch: u64, batch: &wire::Batch) {
    for (n, write) in batch.writes.iter().enumerate() {
        if write.epoch == 0 || write.epoch == epoch {
            continue;
        }
        let stamp = Timestamp(batch.stamp).plus(n as u64);
        for operation in &write.operations {
            let key = Key::from_internal(operation.key.clone()).expect("a key");
            let found = replica.store.get(&key, Some(stamp)).ok().flatten();
            assert!(
                found.is_none_or(|found| found.stamp != stamp),
                "epoch: entry {index} of {} has a write for epoch {}, done in epoch {epoch}",
                replica.shard,
                write.epoch
            );
        }
    }
}
