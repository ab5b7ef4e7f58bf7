use super::super::placement::tests::cluster::Cluster;
use super::*;
use crate::model::key::KeyRange;

const MIB: u64 = 1 << 20;

fn key(n: u64) -> Key {
    Key::from_name(format!("{n:06}").as_bytes()).unwrap()
}

/// Shards as a simulation of nothing but sizes: where each begins, what it holds, what it is asked.
struct Shards {
    cluster: Cluster,
    sizes: Vec<Size>,
}

impl Shards {
    fn one(live_bytes: u64, per_s: u64, nodes: u64) -> Shards {
        let mut cluster = Cluster::young(1);
        (2..=nodes).for_each(|node| cluster.join(node, ""));
        Shards { cluster, sizes: vec![Size { shard: ShardId(1), live_bytes, per_s, stays: false }] }
    }

    fn size(&mut self, shard: ShardId) -> &mut Size {
        self.sizes.iter_mut().find(|size| size.shard == shard).unwrap()
    }

    fn split(&mut self, shard: ShardId) {
        let id = ShardId(self.cluster.shards.keys().last().unwrap().0 + 1);
        let size = self.size(shard);
        (size.live_bytes, size.per_s) = (size.live_bytes / 2, size.per_s / 2);
        let child = Size { shard: id, ..*size };
        self.sizes.push(child);
        let parent = self.cluster.shards.get_mut(&shard).unwrap();
        let from: u64 = std::str::from_utf8(parent.range.start.name()).unwrap().parse().unwrap();
        let end = parent.range.end.as_ref();
        let to = end.map_or(1 << 16, |end| std::str::from_utf8(end.name()).unwrap().parse().unwrap());
        let at = key(from.midpoint(to));
        let end = parent.range.end.replace(at.clone());
        let child = Shard { id, range: KeyRange::new(at, end), by_itself: true, ..parent.clone() };
        self.cluster.shards.insert(id, child);
    }

    fn merge(&mut self, left: ShardId, right: ShardId) {
        let gone = *self.size(right);
        self.sizes.retain(|size| size.shard != right);
        let size = self.size(left);
        (size.live_bytes, size.per_s) = (size.live_bytes + gone.live_bytes, size.per_s + gone.per_s);
        let gone = self.cluster.shards.remove(&right).unwrap();
        self.cluster.shards.get_mut(&left).unwrap().range.end = gone.range.end;
    }

    /// Does what is to be done until nothing more is: splits and merges.
    fn rest(&mut self) -> (usize, usize) {
        let (mut splits, mut merges) = (0, 0);
        loop {
            let (map, settings) = (self.cluster.map(), self.cluster.settings.clone());
            let large = too_much(&map, &settings, &self.sizes);
            let small = too_little(&map, &settings, &self.sizes);
            if large.is_empty() && small.is_empty() {
                return (splits, merges);
            }
            splits += large.len();
            merges += small.len();
            assert!(splits + merges < 1000, "it comes to an end");
            large.iter().for_each(|(shard, _)| self.split(*shard));
            small.iter().for_each(|(left, right)| self.merge(*left, *right));
        }
    }
}

#[test]
fn large_shards_are_split_once_they_hold_too_much() {
    let limit = Settings::default().split_bytes;
    let mut below = Shards::one(limit - 1, 0, 3);
    assert_eq!(below.rest(), (0, 0));
    let mut large = Shards::one(limit * 4, 0, 3);
    assert_eq!(large.rest(), (7, 0), "an eighth each is below what was the limit");
    assert!(large.sizes.iter().all(|size| size.live_bytes >= limit / 2));
}

#[test]
fn load_is_split_until_it_can_be_spread() {
    let per_s = Settings::default().split_per_s;
    assert_eq!(Shards::one(MIB, per_s - 1, 3).rest(), (0, 0));
    let mut busy = Shards::one(MIB, per_s * 50, 3);
    assert_eq!(busy.rest(), (3, 0), "four shards can be spread over three nodes");
    assert_eq!(Shards::one(MIB, per_s * 50, 1).rest(), (0, 0), "there is nobody to spread it to");
    busy.sizes[0].stays = true;
    busy.sizes[0].per_s *= 100;
    let first = busy.sizes[0].shard;
    assert!(
        too_much(&busy.cluster.map(), &busy.cluster.settings, &busy.sizes)
            .iter()
            .all(|(shard, _)| *shard != first)
    );
}

#[test]
fn splits_and_merges_do_not_chase_each_other() {
    let settings = Settings::default();
    for scale in [1, 3, 10, 100, 1000] {
        let mut shards = Shards::one(settings.split_bytes * scale / 10, settings.split_per_s * scale / 10, 5);
        let (_, merges) = shards.rest();
        assert_eq!(merges, 0, "what was split is not merged at once");
        let count = shards.sizes.len();
        // Keys are deleted, and nobody asks any more.
        for size in &mut shards.sizes {
            (size.live_bytes, size.per_s) = (size.live_bytes / 1000, 0);
        }
        let (splits, merges) = shards.rest();
        assert_eq!(splits, 0, "what was merged is not split at once");
        assert_eq!(merges, count - 1, "little that is quiet is one shard in the end");
    }
}

#[test]
fn only_what_the_cluster_has_split_is_merged_and_only_neighbours() {
    let mut shards = Shards::one(0, 0, 3);
    shards.split(ShardId(1));
    shards.split(ShardId(2));
    let map = shards.cluster.map();
    let settings = shards.cluster.settings.clone();
    assert_eq!(too_little(&map, &settings, &shards.sizes), [(ShardId(1), ShardId(2))]);
    let off = Settings { merge_after_ms: 0, ..settings.clone() };
    assert_eq!(too_little(&map, &off, &shards.sizes), []);
    shards.cluster.shards.get_mut(&ShardId(2)).unwrap().by_itself = false;
    let map = shards.cluster.map();
    assert_eq!(too_little(&map, &settings, &shards.sizes), [(ShardId(2), ShardId(3))]);
    shards.size(ShardId(3)).stays = true;
    assert_eq!(too_little(&map, &settings, &shards.sizes), []);
}

#[test]
fn a_key_halves_what_is_asked() {
    assert_eq!(halving_key(&[]), None);
    let spread: Vec<Key> = (0..512).map(|n| key(n * 7919 % 512)).collect();
    let at = halving_key(&spread).unwrap();
    let below = spread.iter().filter(|asked| **asked < at).count();
    assert!((192..=320).contains(&below), "{below} of 512");
    assert_eq!(halving_key(&spread[..ASKED_MIN - 1]), None, "too few to tell");
    // Two keys share it: the second is the first of the upper half.
    let two: Vec<Key> = (0..256).map(|n| key(n % 2)).collect();
    assert_eq!(halving_key(&two), Some(key(1)));
}

#[test]
fn one_hot_key_and_ascending_keys_are_not_split() {
    let hot: Vec<Key> = (0..512).map(|n| if n % 10 == 0 { key(n) } else { key(300) }).collect();
    assert_eq!(halving_key(&hot), None);
    let ascending: Vec<Key> = (0..512).map(key).collect();
    assert_eq!(halving_key(&ascending), None, "what was the middle is below all that comes");
}
