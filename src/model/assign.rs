//! Where replicas belong: evenly, apart, and as far as possible where they are.
//!
//! A node's *share* is the number of replicas that its weight entitles it to. Zones bend shares: while there are enough
//! zones each holds at most one replica of a shard, so a small zone's nodes have to hold more than their weight says.
//! Shares are filled like water: what a full zone or node cannot take goes to the others.
//!
//! A replica stays where it is unless its node is gone, more than a tenth over its share, or breaks zones. A missing
//! replica goes to the first node in ring order that is below its share, the needy first. A node more than a tenth below
//! its share (one that just joined) pulls what it lacks, from the fullest, and of their shards those for which the ring puts it first.
//! So a node that joins N pulls about 1/(N+1) of the replicas, one that leaves gives away just its own, and nothing else
//! moves. (Within a tenth, and where a tenth is less than one replica: within one replica.)
//!
//! Does not know what a replica costs: all count the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::id::NodeId;
use super::ring::Ring;

/// Passes over all nodes that even out what earlier passes left; one is nearly always enough.
const PASSES_MAX: usize = 4;
/// Shares are sums of fractions: this much off a whole number is the whole number.
const ROUNDING: f64 = 1e-6;

/// A node that may hold replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub node: NodeId,
    pub zone: String,
    /// See `map::Node::weight`.
    pub weight: u32,
}

/// A shard to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub ring_position: u64,
    /// Where its replicas are now.
    pub nodes: Vec<NodeId>,
    /// Its replicas stay where they are, if they can.
    pub stays: bool,
}

/// What a node should hold, in replicas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub exact: f64,
    /// A node with fewer pulls.
    pub low: u64,
    /// A node with more gives away.
    pub high: u64,
}

/// The loads of all nodes against their shares.
pub struct Balance {
    ring: Ring,
    /// Sorted by node, as the ring has them.
    sites: Vec<Site>,
    /// Of each site.
    zones: Vec<usize>,
    shares: Vec<Share>,
    loads: Vec<u64>,
    replicas: usize,
    zone_max: usize,
}

impl Balance {
    /// For `shards` shards of `replicas` replicas each (fewer if there are fewer nodes), none placed yet.
    pub fn new(sites: impl IntoIterator<Item = Site>, shards: usize, replicas: usize) -> Balance {
        let sites: BTreeMap<NodeId, Site> = sites.into_iter().map(|site| (site.node, site)).collect();
        let sites: Vec<Site> = sites.into_values().collect();
        let mut names: Vec<&str> = sites.iter().map(|site| site.zone.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let zone = |site: &Site| names.binary_search(&site.zone.as_str()).expect("it was collected above");
        let zones: Vec<usize> = sites.iter().map(zone).collect();
        let replicas = replicas.min(sites.len());
        let zone_max = zone_max(&zones, names.len(), replicas);
        let shares = shares(&sites, &zones, names.len(), shards, replicas, zone_max);
        let ring = Ring::new(sites.iter().map(|site| (site.node, site.weight)));
        let loads = vec![0; sites.len()];
        Balance { ring, sites, zones, shares, loads, replicas, zone_max }
    }

    /// Replicas that a shard should have.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Replicas of one shard that a zone may hold.
    pub fn zone_max(&self) -> usize {
        self.zone_max
    }

    /// What `node` should hold; `None` if it may hold nothing.
    pub fn share(&self, node: NodeId) -> Option<Share> {
        self.index(node).map(|site| self.shares[site])
    }

    /// What `node` holds.
    pub fn load(&self, node: NodeId) -> u64 {
        self.index(node).map_or(0, |site| self.loads[site])
    }

    /// True if a node is beyond its marks.
    pub fn is_uneven(&self) -> bool {
        let beyond = |(load, share): (&u64, &Share)| *load < share.low || *load > share.high;
        self.loads.iter().zip(&self.shares).any(beyond)
    }

    /// Counts one replica more on `node`.
    pub fn add(&mut self, node: NodeId) {
        if let Some(site) = self.index(node) {
            self.loads[site] += 1;
        }
    }

    /// Counts one replica less on `node`.
    pub fn take(&mut self, node: NodeId) {
        if let Some(site) = self.index(node) {
            self.loads[site] = self.loads[site].saturating_sub(1);
        }
    }

    /// The replicas to keep apart first, if these nodes break zones: of the fullest zone, the fullest node.
    pub fn crowded(&self, nodes: &[NodeId]) -> Option<NodeId> {
        let sites: Vec<usize> = nodes.iter().filter_map(|node| self.index(*node)).collect();
        let crowd = |site: &usize| self.in_zone(&sites, self.zones[*site]);
        let over = sites.iter().filter(|site| crowd(site) > self.zone_max);
        let worst = over.max_by(|a, b| crowd(a).cmp(&crowd(b)).then(self.fullness(**a, **b)));
        worst.map(|site| self.sites[*site].node)
    }

    /// The node to give up when there is one replica too many: in the fullest zone, the fullest.
    pub fn fullest(&self, nodes: &[NodeId]) -> Option<NodeId> {
        let sites: Vec<usize> = nodes.iter().filter_map(|node| self.index(*node)).collect();
        let crowd = |site: usize| self.in_zone(&sites, self.zones[site]);
        let worst = sites.iter().max_by(|a, b| crowd(**a).cmp(&crowd(**b)).then(self.fullness(**a, **b)));
        worst.map(|site| self.sites[*site].node)
    }

    /// The node for one more replica of the shard at `position` that stays on `nodes`, among those `allowed`: the first
    /// in ring order that is in a free zone and below its low mark; failing that, below its share; failing that, below
    /// its high mark. If there is none the marks are given up, and at last the zones: then the emptiest takes it.
    pub fn pick(&self, position: u64, nodes: &[NodeId], allowed: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        const FULL: usize = 3;
        let held: Vec<usize> = nodes.iter().filter_map(|node| self.index(*node)).collect();
        let mut best: Option<(usize, usize)> = None;
        for node in self.ring.candidates(position).filter(|node| !nodes.contains(node) && allowed(*node)) {
            let site = self.index(node).expect("the ring is made of the sites");
            let crowd = self.in_zone(&held, self.zones[site]);
            let tier = match crowd < self.zone_max {
                true if self.loads[site] < self.shares[site].low => return Some(node),
                true if self.has_room(site, false) => 1,
                true if self.has_room(site, true) => 2,
                true => FULL,
                false => FULL + crowd,
            };
            // Of equals the first; only where all are full the emptiest.
            let better = |(other_tier, other): (usize, usize)| {
                tier < other_tier
                    || (tier == other_tier && tier >= FULL && self.fullness(site, other).is_lt())
            };
            if best.is_none_or(better) {
                best = Some((tier, site));
            }
        }
        best.map(|(_, site)| self.sites[site].node)
    }

    fn index(&self, node: NodeId) -> Option<usize> {
        self.sites.binary_search_by_key(&node, |site| site.node).ok()
    }

    fn in_zone(&self, sites: &[usize], zone: usize) -> usize {
        sites.iter().filter(|site| self.zones[**site] == zone).count()
    }

    /// Which of two nodes is fuller, each by its own share.
    fn fullness(&self, a: usize, b: usize) -> std::cmp::Ordering {
        let full = |site: usize| self.loads[site] as f64 / self.shares[site].exact.max(ROUNDING);
        full(a).total_cmp(&full(b))
    }

    /// True if a node can give a replica away: it is above its share or, if it is `generous`, above its low mark.
    fn can_spare(&self, site: usize, generous: bool) -> bool {
        match generous {
            false => self.loads[site] as f64 > self.shares[site].exact + ROUNDING,
            true => self.loads[site] > self.shares[site].low,
        }
    }

    /// True if a node can take a replica: it is below its share or, if `stretched`, below its high mark.
    fn has_room(&self, site: usize, stretched: bool) -> bool {
        match stretched {
            false => (self.loads[site] as f64) < self.shares[site].exact - ROUNDING,
            true => self.loads[site] < self.shares[site].high,
        }
    }

    /// True if `to` may take `from`'s place in a shard held by `nodes`.
    fn may_replace(&self, nodes: &[usize], from: usize, to: usize) -> bool {
        let same_zone = self.zones[from] == self.zones[to];
        !nodes.contains(&to) && (same_zone || self.in_zone(nodes, self.zones[to]) < self.zone_max)
    }

    fn replace(&mut self, nodes: &mut [usize], from: usize, to: usize) {
        let place = nodes.iter_mut().find(|site| **site == from).expect("it holds a replica");
        *place = to;
        self.loads[from] -= 1;
        self.loads[to] += 1;
    }

    /// A node below its low mark takes replicas from fuller ones: down to their share, if need be to their low mark.
    fn pull(&mut self, shards: &mut [(u64, Vec<usize>)], to: usize) -> bool {
        if self.loads[to] >= self.shares[to].low {
            return false;
        }
        let node = self.sites[to].node;
        let mut order: Vec<(Option<u64>, usize)> =
            shards.iter().enumerate().map(|(i, (at, _))| (self.ring.distance(*at, node), i)).collect();
        order.sort_unstable();
        let (before, whole) = (self.loads[to], (self.shares[to].exact + ROUNDING).floor() as u64);
        for (enough, generous) in [(whole, false), (self.shares[to].low, true)] {
            for (_, shard) in &order {
                if self.loads[to] >= enough {
                    break;
                }
                let nodes = &mut shards[*shard].1;
                let from = nodes
                    .iter()
                    .copied()
                    .filter(|from| self.can_spare(*from, generous) && self.may_replace(nodes, *from, to));
                if let Some(from) = from.max_by(|a, b| self.fullness(*a, *b)) {
                    self.replace(nodes, from, to);
                }
            }
        }
        self.loads[to] > before
    }

    /// A node above its high mark gives replicas away, those first for which the ring has it last.
    fn push(&mut self, shards: &mut [(u64, Vec<usize>)], from: usize) -> bool {
        let (before, high) = (self.loads[from], self.shares[from].high);
        if before <= high {
            return false;
        }
        let node = self.sites[from].node;
        let held = shards.iter().enumerate().filter(|(_, (_, nodes))| nodes.contains(&from));
        let mut order: Vec<_> = held.map(|(i, (at, _))| (self.ring.distance(*at, node), i)).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        for stretched in [false, true] {
            for (_, shard) in &order {
                let (position, nodes) = &mut shards[*shard];
                if self.loads[from] <= high || !nodes.contains(&from) {
                    continue;
                }
                let candidates = self.ring.candidates(*position).filter_map(|node| self.index(node));
                let to = candidates
                    .into_iter()
                    .find(|to| self.has_room(*to, stretched) && self.may_replace(nodes, from, *to));
                if let Some(to) = to {
                    self.replace(nodes, from, to);
                }
            }
        }
        self.loads[from] < before
    }

    /// What single moves could not even out: a node below its low mark or above its high mark is helped by a chain of
    /// moves, in which the nodes between give one replica and get one.
    fn chain(&mut self, shards: &mut [(u64, Vec<usize>)], site: usize) -> bool {
        let (load, share) = (self.loads[site], self.shares[site]);
        let path = if load > share.high {
            self.path(shards, &[site], |to| self.has_room(to, true))
        } else if load < share.low {
            let givers =
                |generous| (0..self.sites.len()).filter(|from| self.can_spare(*from, generous)).collect();
            let to_site = |givers: Vec<usize>| self.path(shards, &givers, |to| to == site);
            to_site(givers(false)).or_else(|| to_site(givers(true)))
        } else {
            None
        };
        let Some(path) = path else { return false };
        for (from, to, shard) in path {
            self.replace(&mut shards[shard].1, from, to);
        }
        true
    }

    /// The shortest chain of moves (from, to, index of the shard) from one of `sources` to a `goal`, no shard twice.
    fn path(
        &self,
        shards: &[(u64, Vec<usize>)],
        sources: &[usize],
        goal: impl Fn(usize) -> bool,
    ) -> Option<Vec<(usize, usize, usize)>> {
        let mut came: Vec<Option<(usize, usize)>> = vec![None; self.sites.len()];
        let mut queue: VecDeque<usize> = sources.iter().copied().collect();
        while let Some(from) = queue.pop_front() {
            let holding = shards.iter().enumerate().filter(|(_, (_, nodes))| nodes.contains(&from));
            for (shard, (_, nodes)) in holding {
                for to in 0..self.sites.len() {
                    let new = came[to].is_none() && !sources.contains(&to);
                    if !new || !self.may_replace(nodes, from, to) {
                        continue;
                    }
                    came[to] = Some((from, shard));
                    queue.push_back(to);
                    if goal(to) {
                        return self.trace(&came, to);
                    }
                }
            }
        }
        None
    }

    fn trace(&self, came: &[Option<(usize, usize)>], goal: usize) -> Option<Vec<(usize, usize, usize)>> {
        let (mut path, mut to) = (Vec::new(), goal);
        while let Some((from, shard)) = came[to] {
            path.push((from, to, shard));
            to = from;
        }
        let distinct: BTreeSet<usize> = path.iter().map(|(_, _, shard)| *shard).collect();
        (distinct.len() == path.len()).then_some(path)
    }
}

/// Where the replicas of all shards belong, given where they are. The answer has the nodes of each shard, in the order
/// of `shards`; a node that stays keeps its place in the list.
pub fn assign(sites: impl IntoIterator<Item = Site>, shards: &[Placed], replicas: usize) -> Vec<Vec<NodeId>> {
    let mut balance = Balance::new(sites, shards.len(), replicas);
    let mut places: Vec<Vec<NodeId>> = shards.iter().map(|shard| keep(&mut balance, &shard.nodes)).collect();
    for (shard, nodes) in shards.iter().zip(&mut places) {
        while nodes.len() < balance.replicas {
            let node = balance.pick(shard.ring_position, nodes, |_| true).expect("there are nodes enough");
            balance.add(node);
            nodes.push(node);
        }
    }
    even_out(&mut balance, shards, places)
}

/// The nodes on which a shard can stay: known, not too many, zones kept apart. Those are counted.
fn keep(balance: &mut Balance, nodes: &[NodeId]) -> Vec<NodeId> {
    let known: BTreeSet<NodeId> =
        nodes.iter().copied().filter(|node| balance.index(*node).is_some()).collect();
    let mut kept: Vec<NodeId> = nodes.to_vec();
    // In the order given, each once.
    let mut left = known;
    kept.retain(|node| left.remove(node));
    while let Some(node) = match kept.len() > balance.replicas {
        true => balance.fullest(&kept),
        false => balance.crowded(&kept),
    } {
        kept.retain(|other| *other != node);
    }
    kept.iter().for_each(|node| balance.add(*node));
    kept
}

/// Moves replicas until nobody is beyond a mark, or nothing more can be done.
fn even_out(balance: &mut Balance, shards: &[Placed], mut places: Vec<Vec<NodeId>>) -> Vec<Vec<NodeId>> {
    let index = |node: &NodeId| balance.index(*node).expect("only sites were placed");
    let movable: Vec<usize> = (0..shards.len()).filter(|shard| !shards[*shard].stays).collect();
    let numbered = movable.iter().map(|shard| {
        (shards[*shard].ring_position, places[*shard].iter().map(index).collect::<Vec<usize>>())
    });
    let mut numbered: Vec<(u64, Vec<usize>)> = numbered.collect();
    for _ in 0..PASSES_MAX {
        let sites = 0..balance.sites.len();
        let pulled = sites.clone().filter(|to| balance.pull(&mut numbered, *to)).count();
        let pushed = sites.clone().filter(|from| balance.push(&mut numbered, *from)).count();
        let chained = sites.filter(|site| balance.chain(&mut numbered, *site)).count();
        if pulled + pushed + chained == 0 {
            break;
        }
    }
    for (shard, (_, nodes)) in movable.into_iter().zip(numbered) {
        places[shard] = nodes.into_iter().map(|site| balance.sites[site].node).collect();
    }
    places
}

/// Replicas of `after` that are on nodes where `before` has none of that shard: copies to be made.
pub fn copies(before: &[Placed], after: &[Vec<NodeId>]) -> usize {
    let new =
        |(old, new): (&Placed, &Vec<NodeId>)| new.iter().filter(|node| !old.nodes.contains(node)).count();
    before.iter().zip(after).map(new).sum()
}

/// The least number of replicas of a shard that a zone must be ready to hold for all to find room.
fn zone_max(zones: &[usize], count: usize, replicas: usize) -> usize {
    let sizes: Vec<usize> = (0..count).map(|zone| zones.iter().filter(|z| **z == zone).count()).collect();
    let room = |most: usize| sizes.iter().map(|size| most.min(*size)).sum::<usize>();
    (1..=replicas).find(|most| room(*most) >= replicas).unwrap_or(1)
}

fn shares(
    sites: &[Site],
    zones: &[usize],
    count: usize,
    shards: usize,
    replicas: usize,
    zone_max: usize,
) -> Vec<Share> {
    let of_zone = |zone: usize| (0..sites.len()).filter(move |site| zones[*site] == zone);
    let weight = |site: usize| f64::from(sites[site].weight.max(1));
    let zone_parts: Vec<(f64, f64)> = (0..count)
        .map(|zone| {
            let most = zone_max.min(of_zone(zone).count()) * shards;
            (of_zone(zone).map(weight).sum(), most as f64)
        })
        .collect();
    let by_zone = pour((shards * replicas) as f64, &zone_parts);
    let mut exact = vec![0.0; sites.len()];
    for (zone, total) in by_zone.into_iter().enumerate() {
        let parts: Vec<(f64, f64)> = of_zone(zone).map(|site| (weight(site), shards as f64)).collect();
        for (site, share) in of_zone(zone).zip(pour(total, &parts)) {
            exact[site] = share;
        }
    }
    let mark = |exact: f64| {
        // Where a tenth is less than one replica: the whole number just below and above.
        let (below, above) = ((exact - ROUNDING).ceil() - 1.0, (exact + ROUNDING).floor() + 1.0);
        let low = (exact * 0.9 - ROUNDING).ceil().min(below).max(0.0) as u64;
        Share { exact, low, high: (exact * 1.1 + ROUNDING).floor().max(above) as u64 }
    };
    exact.into_iter().map(mark).collect()
}

/// Divides `total` by weights among vessels that hold only so much: (weight, most) each.
fn pour(total: f64, vessels: &[(f64, f64)]) -> Vec<f64> {
    let mut filled = vec![None; vessels.len()];
    loop {
        let open = |i: &usize| filled[*i].is_none();
        let weight: f64 = (0..vessels.len()).filter(open).map(|i| vessels[i].0).sum();
        let left = total - filled.iter().flatten().sum::<f64>();
        let level = |i: usize| left * vessels[i].0 / weight;
        let full: Vec<usize> =
            (0..vessels.len()).filter(open).filter(|i| level(*i) > vessels[*i].1).collect();
        if full.is_empty() {
            return (0..vessels.len()).map(|i| filled[i].unwrap_or_else(|| level(i))).collect();
        }
        full.into_iter().for_each(|i| filled[i] = Some(vessels[i].1));
    }
}

#[cfg(test)]
mod tests;
