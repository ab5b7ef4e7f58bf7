//! The consistent-hash ring: in which order the nodes are candidates for a shard.
//!
//! Every node has virtual nodes at pseudo-random positions of a circle of 64-bit numbers, 128 for the ordinary weight.
//! A shard's position is drawn when it is made and stored in its record; its candidates are the distinct nodes met when
//! walking up from there. So one node more or less changes the order only where that node's own points are.
//!
//! Promises: positions depend on node id and weight alone and are the same for ever, on every machine. More weight adds
//! points and moves none. Does not know about loads or zones (`assign`).
//! Source: Karger et al., "Consistent Hashing and Random Trees", 1997.

use std::collections::{BTreeMap, BTreeSet};

use super::id::NodeId;
use super::map::{WEIGHT_DEFAULT, WEIGHT_MAX};

/// Virtual nodes of a node of ordinary weight.
pub const POINTS_PER_NODE: u32 = 128;

/// Keeps these hashes apart from all others. Changing it would move the data of every cluster.
const DOMAIN: &[u8; 16] = b"nodenomad ring 1";

/// The ring of some nodes.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Sorted by position; the second is an index into `nodes`.
    points: Vec<(u64, usize)>,
    nodes: Vec<NodeId>,
    /// The points of each node, sorted.
    by_node: BTreeMap<NodeId, Vec<u64>>,
}

/// Distinct nodes in ring order.
pub struct Candidates<'a> {
    ring: &'a Ring,
    next: usize,
    left: usize,
    seen: Vec<bool>,
}

impl Ring {
    /// The ring of these nodes with their weights (see `map::Node::weight`).
    pub fn new(nodes: impl IntoIterator<Item = (NodeId, u32)>) -> Ring {
        let weights: BTreeMap<NodeId, u32> = nodes.into_iter().collect();
        let mut ring = Ring { nodes: weights.keys().copied().collect(), ..Ring::default() };
        for (index, (node, weight)) in weights.into_iter().enumerate() {
            let mut points: Vec<u64> = (0..points_of(weight)).map(|point| position_of(node, point)).collect();
            points.sort_unstable();
            ring.points.extend(points.iter().map(|position| (*position, index)));
            ring.by_node.insert(node, points);
        }
        // By node index, too: should two points ever meet, all still agree on the order.
        ring.points.sort_unstable();
        ring
    }

    /// The nodes on it, by id.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The distinct nodes met when walking up from `position`: each node once.
    pub fn candidates(&self, position: u64) -> Candidates<'_> {
        let next = self.points.partition_point(|(at, _)| *at < position);
        Candidates { ring: self, next, left: self.nodes.len(), seen: vec![false; self.nodes.len()] }
    }

    /// How far up from `position` the first point of `node` lies; `None` if it is not on the ring.
    pub fn distance(&self, position: u64, node: NodeId) -> Option<u64> {
        let points = self.by_node.get(&node)?;
        let next = points.partition_point(|at| *at < position) % points.len();
        Some(points[next].wrapping_sub(position))
    }

    /// The part of the circle for which each node is the first candidate; the parts add up to 1.
    pub fn parts(&self) -> BTreeMap<NodeId, f64> {
        let mut parts: BTreeMap<NodeId, f64> = self.nodes.iter().map(|node| (*node, 0.0)).collect();
        let last = self.points.last().map_or(0, |(at, _)| *at);
        let before = std::iter::once(last).chain(self.points.iter().map(|(at, _)| *at));
        for (before, (at, index)) in before.zip(&self.points) {
            let part = parts.get_mut(&self.nodes[*index]).expect("every point is a node's");
            *part += at.wrapping_sub(before) as f64 / 2f64.powi(64);
        }
        parts
    }
}

impl Iterator for Candidates<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        while self.left > 0 {
            let (_, index) = self.ring.points[self.next % self.ring.points.len()];
            self.next += 1;
            if !std::mem::replace(&mut self.seen[index], true) {
                self.left -= 1;
                return Some(self.ring.nodes[index]);
            }
        }
        None
    }
}

fn points_of(weight: u32) -> u32 {
    (POINTS_PER_NODE * weight.min(WEIGHT_MAX) / WEIGHT_DEFAULT).max(1)
}

fn position_of(node: NodeId, point: u32) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(DOMAIN).update(&node.0.to_le_bytes()).update(&point.to_le_bytes());
    let bytes: [u8; 8] = hash.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes");
    u64::from_le_bytes(bytes)
}

/// Shards whose first candidates differ between two rings: of interest to tests and to `nomad ring`.
pub fn changed(before: &Ring, after: &Ring, positions: &[u64], first: usize) -> usize {
    let set = |ring: &Ring, at: u64| ring.candidates(at).take(first).collect::<BTreeSet<_>>();
    positions.iter().map(|at| set(after, *at).difference(&set(before, *at)).count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(ids: impl IntoIterator<Item = u64>) -> Ring {
        Ring::new(ids.into_iter().map(|id| (NodeId(id), WEIGHT_DEFAULT)))
    }

    #[test]
    fn positions_are_the_same_for_ever() {
        // These numbers are in clusters. If this fails, the change is wrong, not the test.
        let order: Vec<u64> = ring(1..=5).candidates(1 << 63).map(|node| node.0).collect();
        assert_eq!(position_of(NodeId(1), 0), 5_313_648_077_806_681_195);
        assert_eq!(position_of(NodeId(2), 127), 16_075_240_421_619_972_997);
        assert_eq!(order, [4, 2, 1, 5, 3]);
    }

    #[test]
    fn an_empty_ring_has_no_candidates() {
        let none = ring([]);
        assert_eq!(
            (none.candidates(7).count(), none.distance(7, NodeId(1)), none.parts().len()),
            (0, None, 0)
        );
    }

    #[test]
    fn parts_are_even_and_follow_the_weights() {
        let parts = ring(1..=100).parts();
        assert!((parts.values().sum::<f64>() - 1.0).abs() < 1e-9);
        // 128 points make a standard deviation near 9%.
        for (node, part) in parts {
            assert!((0.0065..0.0135).contains(&part), "{node} has {part} of the ring");
        }
        let weighted = Ring::new([(NodeId(1), 100), (NodeId(2), 400)]).parts();
        assert!((0.72..0.88).contains(&weighted[&NodeId(2)]), "{weighted:?}");
    }

    proptest! {
        #[test]
        fn every_node_is_a_candidate_once(ids in prop::collection::btree_set(1u64..500, 1..40), at in any::<u64>()) {
            let ring = ring(ids.clone());
            let order: Vec<NodeId> = ring.candidates(at).collect();
            prop_assert_eq!(order.iter().map(|node| node.0).collect::<BTreeSet<_>>(), ids);
            prop_assert_eq!(order.len(), ring.nodes().len());
            let distances: Vec<_> = order.iter().map(|node| ring.distance(at, *node)).collect();
            prop_assert!(distances.is_sorted());
        }

        #[test]
        fn a_node_more_changes_nothing_among_the_others(ids in prop::collection::btree_set(1u64..500, 2..40),
                                                        weight in 1u32..400, at in any::<u64>()) {
            let joined = *ids.last().unwrap();
            let before = ring(ids.iter().copied().filter(|id| *id != joined));
            let nodes = ids.iter().map(|id| (NodeId(*id), if *id == joined { weight } else { WEIGHT_DEFAULT }));
            let after = Ring::new(nodes);
            let others: Vec<NodeId> = after.candidates(at).filter(|node| node.0 != joined).collect();
            prop_assert_eq!(others, before.candidates(at).collect::<Vec<_>>());
        }

        #[test]
        fn a_node_more_takes_about_its_part(count in 5u64..40, seed in any::<u64>()) {
            let positions: Vec<u64> = (0..2_000u64).map(|i| position_of(NodeId(seed), i as u32)).collect();
            let moved = changed(&ring(1..=count), &ring(1..=count + 1), &positions, 3) as f64;
            let minimum = 3.0 * 2_000.0 / (count + 1) as f64;
            prop_assert!((0.6..1.4).contains(&(moved / minimum)), "{} moved, {} expected", moved, minimum);
        }
    }
}
