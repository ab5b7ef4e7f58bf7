//! Sizes: when a shard is so large or so busy that two are better, and when two are so small that one is.
//!
//! *By size*: a shard is split in the middle of its bytes once it holds `split_bytes`.
//!
//! *By load*: a shard is split where it is asked more than `split_per_s`, and so much more than a node's fair share that the
//! work cannot be spread by who leads what ([`super::leadership`]). Where it can be, splitting would only cost: each shard has a log of its
//! own, and batches of its own. The key is chosen of those that are asked, so that each half is asked half; and only if that was
//! so for a while, in the older and in the newer half of what was seen.
//! - *One hot key* is not divided by any split: no key has a quarter of what is asked on either side, so nothing is done.
//! - *Ascending keys* (time, counters) are all asked at the end of the range, wherever that is by now: what was the middle a moment
//!   ago has nothing above it then, and everything above it now. Nothing is done for the load; by size such shards are split as any.
//!
//! *Merging*: two neighbours become one if both together hold at most a quarter of `split_bytes`, are hardly asked anything, and all of
//! that has been so for `merge_after_ms`. Only what the cluster has split by itself it merges by itself.
//!
//! ## Invariants and what guards each
//!
//! - No split asks for a merge, and no merge for a split, as long as bytes and load are what they were: guarded by
//!   `tests::splits_and_merges_do_not_chase_each_other`.
//! - Load is split a few times and then no more: guarded by `tests::load_is_split_until_it_can_be_spread`.
//! - A key halves what is asked, or there is none: guarded by `tests::a_key_halves_what_is_asked`,
//!   `tests::one_hot_key_and_ascending_keys_are_not_split`.
//!
//! Does not: look, wait, split.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Settings;
use super::id::ShardId;
use super::key::Key;
use super::map::{ClusterMap, NodeState, Shard};

/// Shards beyond which none is split by itself.
pub const SHARDS_MAX: usize = 10_000;
/// Most bytes of a shard that is merged into its neighbour: they go through the neighbour's log.
pub const MERGED_MAX_BYTES: u64 = 16 << 20;
/// A shard that is asked more than the mean of the nodes by this part of it cannot be made up for by what else a node leads, in percent.
const ABOVE_SHARE_PERCENT: u64 = 20;
/// What part of `split_bytes` two neighbours hold at most that become one.
const MERGE_BYTES_SHARE: u64 = 4;
/// What part of `split_per_s` they are asked at most.
const MERGE_LOAD_SHARE: u64 = 20;
/// The same where nothing is split for its load, in operations a second.
const QUIET_PER_S: u64 = 500;
/// What is asked on either side of a key that halves it, at least, in percent.
const HALF_PERCENT: usize = 25;
/// So many questions must have been seen before anything is said of them.
const ASKED_MIN: usize = 128;

/// What is known of a shard that somebody leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub shard: ShardId,
    /// Keys and newest values.
    pub live_bytes: u64,
    /// Operations a second.
    pub per_s: u64,
    /// Something else is being done for it, or its bytes are not known since rows of others are still among them: not now.
    pub stays: bool,
}

/// Why a shard is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    Size,
    Load,
}

/// The shards that are to be split, largest first, then busiest first.
pub fn too_much(map: &ClusterMap, settings: &Settings, sizes: &[Size]) -> Vec<(ShardId, By)> {
    if map.shards().count() >= SHARDS_MAX {
        return Vec::new();
    }
    let nodes = map.members().filter(|node| node.state == NodeState::Member).count() as u64;
    let share = sizes.iter().map(|size| size.per_s).sum::<u64>() / nodes.max(1);
    let busy = settings.split_per_s.max(share + share * ABOVE_SHARE_PERCENT / 100);
    let free = || sizes.iter().filter(|size| !size.stays && size.shard != ShardId::META);
    let is_large = |size: &&Size| settings.split_bytes > 0 && size.live_bytes >= settings.split_bytes;
    let is_busy = |size: &&Size| settings.split_per_s > 0 && nodes > 1 && size.per_s > busy;
    let mut large: Vec<&Size> = free().filter(is_large).collect();
    let mut busy: Vec<&Size> = free().filter(|size| !is_large(size)).filter(is_busy).collect();
    large.sort_by_key(|size| (std::cmp::Reverse(size.live_bytes), size.shard));
    busy.sort_by_key(|size| (std::cmp::Reverse(size.per_s), size.shard));
    let by = |by: By| move |size: &Size| (size.shard, by);
    large.into_iter().map(by(By::Size)).chain(busy.into_iter().map(by(By::Load))).collect()
}

/// Neighbours that might be one, the left one's id first, if it stays so: each shard is in one pair at most.
pub fn too_little(map: &ClusterMap, settings: &Settings, sizes: &[Size]) -> Vec<(ShardId, ShardId)> {
    if settings.merge_after_ms == 0 {
        return Vec::new();
    }
    let known: BTreeMap<ShardId, &Size> = sizes.iter().map(|size| (size.shard, size)).collect();
    let quiet_per_s = match settings.split_per_s {
        0 => QUIET_PER_S,
        limit => limit / MERGE_LOAD_SHARE,
    };
    let bytes_max = settings.split_bytes / MERGE_BYTES_SHARE;
    let fits = |left: &Shard, right: &Shard| {
        let (Some(left), Some(right)) = (known.get(&left.id), known.get(&right.id)) else { return false };
        let is_quiet = left.per_s + right.per_s <= quiet_per_s;
        let is_small = left.live_bytes + right.live_bytes <= bytes_max;
        !left.stays && !right.stays && is_quiet && is_small && right.live_bytes <= MERGED_MAX_BYTES
    };
    let mut by_start: Vec<&Shard> = map.shards().filter(|shard| shard.id != ShardId::META).collect();
    by_start.sort_by(|one, other| one.range.start.cmp(&other.range.start));
    let (mut pairs, mut paired) = (Vec::new(), BTreeSet::new());
    for two in by_start.windows(2) {
        let (left, right) = (two[0], two[1]);
        let touch = left.range.end.as_ref() == Some(&right.range.start);
        if right.by_itself && touch && !paired.contains(&left.id) && fits(left, right) {
            paired.insert(right.id);
            pairs.push((left.id, right.id));
        }
    }
    pairs
}

/// The key that halves what is asked, if there is one. `asked`: keys as they were asked for, oldest first.
pub fn halving_key(asked: &[Key]) -> Option<Key> {
    if asked.len() < ASKED_MIN {
        return None;
    }
    let (older, newer) = asked.split_at(asked.len() / 2);
    let sorted = |part: &[Key]| {
        let mut part = part.to_vec();
        part.sort();
        part
    };
    let halves = [sorted(older), sorted(newer)];
    let lesser_percent = |key: &Key| {
        let of = |half: &Vec<Key>| {
            let below = half.partition_point(|asked| asked < key);
            below.min(half.len() - below) * 100 / half.len()
        };
        halves.iter().map(of).min().unwrap_or(0)
    };
    let best = asked.iter().map(|key| (lesser_percent(key), key)).max()?;
    Some(best).filter(|(percent, _)| *percent >= HALF_PERCENT).map(|(_, key)| key.clone())
}

#[cfg(test)]
mod tests;
