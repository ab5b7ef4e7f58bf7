//! Skewed choice: few items are popular, most are not.
//!
//! The generator is that of Gray et al., "Quickly Generating Billion-Record Synthetic Databases" (SIGMOD 1994); the use
//! made of it is that of YCSB (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010): constant 0.99,
//! and the popular items scattered over all keys by a hash (*scrambled*), or the newest key the most popular (*latest*).
//!
//! Promises: the same seed gives the same choices; a rank is always below the number of items. Does not: draw exactly by
//! the formula beyond the first two ranks, where Gray's approximation takes over.

use std::sync::LazyLock;

use crate::net::chance::Chance;

/// How skewed: YCSB's constant.
const THETA: f64 = 0.99;
/// The space that ranks of a scrambled choice are drawn from, before they are hashed to keys: YCSB's number.
const SCRAMBLED_ITEMS: u64 = 10_000_000_000;
/// So many terms of zeta are added one by one; the rest is an integral with corrections.
const HEAD_TERMS: u64 = 1_000;

static HEAD: LazyLock<f64> = LazyLock::new(|| sum(HEAD_TERMS - 1));

/// Ranks from 0, the most popular, to the number of items (exclusive).
#[derive(Clone, Debug)]
pub struct Zipfian {
    items: u64,
    zeta: f64,
    eta: f64,
}

/// Keys of which some are popular, wherever they lie.
#[derive(Clone, Debug)]
pub struct Scrambled {
    ranks: Zipfian,
    keys: u64,
}

/// Keys of which the newest is the most popular.
#[derive(Clone, Debug)]
pub struct Latest {
    ranks: Zipfian,
}

impl Zipfian {
    /// `items` must be at least 1.
    pub fn new(items: u64) -> Zipfian {
        assert!(items > 0, "there is something to choose from");
        let zeta = zeta(items);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_of_two() / zeta);
        Zipfian { items, zeta, eta }
    }

    pub fn rank(&self, chance: &Chance) -> u64 {
        let drawn = fraction(chance);
        let scaled = drawn * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < zeta_of_two() {
            return 1.min(self.items - 1);
        }
        let share = (self.eta * drawn - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        ((self.items as f64 * share) as u64).min(self.items - 1)
    }
}

impl Scrambled {
    /// `keys` must be at least 1.
    pub fn new(keys: u64) -> Scrambled {
        assert!(keys > 0, "there is something to choose from");
        Scrambled { ranks: Zipfian::new(SCRAMBLED_ITEMS), keys }
    }

    pub fn key(&self, chance: &Chance) -> u64 {
        fnv_1a(self.ranks.rank(chance)) % self.keys
    }
}

impl Latest {
    /// `keys` must be at least 1.
    pub fn new(keys: u64) -> Latest {
        Latest { ranks: Zipfian::new(keys) }
    }

    /// One of the keys from 0 to `keys` (exclusive, at least 1).
    pub fn key(&mut self, keys: u64, chance: &Chance) -> u64 {
        if keys != self.ranks.items {
            self.ranks = Zipfian::new(keys);
        }
        keys - 1 - self.ranks.rank(chance)
    }
}

/// A number from 0 (inclusive) to 1 (exclusive), of all that a double holds evenly.
fn fraction(chance: &Chance) -> f64 {
    (chance.number() >> 11) as f64 / (1u64 << 53) as f64
}

/// The 64-bit hash of Fowler, Noll and Vo, over the bytes of a number.
fn fnv_1a(number: u64) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    number.to_le_bytes().into_iter().fold(0xCBF2_9CE4_8422_2325, mix)
}

fn zeta_of_two() -> f64 {
    1.0 + 0.5f64.powf(THETA)
}

/// The sum of 1/i^THETA for i from 1 to `items`, by Euler and Maclaurin where that is long.
fn zeta(items: u64) -> f64 {
    if items < HEAD_TERMS {
        return sum(items);
    }
    let (first, last) = (HEAD_TERMS as f64, items as f64);
    let term = |i: f64| i.powf(-THETA);
    let slope = |i: f64| -THETA * i.powf(-THETA - 1.0);
    let integral = (last.powf(1.0 - THETA) - first.powf(1.0 - THETA)) / (1.0 - THETA);
    *HEAD + integral + (term(first) + term(last)) / 2.0 + (slope(last) - slope(first)) / 12.0
}

fn sum(items: u64) -> f64 {
    (1..=items).map(|i| (i as f64).powf(-THETA)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 400_000;

    /// How often each of `items` comes up.
    fn shares(items: u64, mut draw: impl FnMut() -> u64) -> Vec<f64> {
        let mut counts = vec![0u64; items as usize];
        (0..DRAWS).for_each(|_| counts[draw() as usize] += 1);
        counts.into_iter().map(|count| count as f64 / DRAWS as f64).collect()
    }

    fn assert_near(found: f64, expected: f64, by: f64, what: &str) {
        assert!((found - expected).abs() <= by, "{what}: {found} is not {expected}");
    }

    #[test]
    fn zeta_is_the_sum() {
        for items in [1, 2, 999, 1_000, 1_001, 50_000] {
            assert_near(zeta(items), sum(items), 1e-9, &format!("zeta of {items}"));
        }
        // The constant in YCSB's ScrambledZipfianGenerator.
        assert_near(zeta(SCRAMBLED_ITEMS), 26.469_028_201_783_02, 1e-6, "zeta of 10^10");
    }

    #[test]
    fn ranks_follow_the_law() {
        let (items, chance) = (1_000, Chance::from_seed(1));
        let zipfian = Zipfian::new(items);
        let shares = shares(items, || zipfian.rank(&chance));
        assert_near(shares[0], 1.0 / zeta(items), 0.003, "the first");
        assert_near(shares[1], 0.5f64.powf(THETA) / zeta(items), 0.003, "the second");
        for first in [10, 100, 500, 900] {
            let found: f64 = shares[..first as usize].iter().sum();
            assert_near(found, sum(first) / zeta(items), 0.03, &format!("the first {first}"));
        }
    }

    #[test]
    fn a_scrambled_choice_is_as_skewed_but_scattered() {
        let (keys, chance) = (10_000, Chance::from_seed(2));
        let scrambled = Scrambled::new(keys);
        let mut shares = shares(keys, || scrambled.key(&chance));
        let low: f64 = shares[..keys as usize / 2].iter().sum();
        assert_near(low, 0.5, 0.1, "the lower half of the keys");
        shares.sort_by(|a, b| b.total_cmp(a));
        assert_near(shares[0], 1.0 / zeta(SCRAMBLED_ITEMS), 0.005, "the most popular");
        let top: f64 = shares[..100].iter().sum();
        assert!((0.19..0.30).contains(&top), "a hundredth of the keys gets {top} of the draws");
    }

    #[test]
    fn the_latest_is_the_most_popular() {
        let (keys, chance) = (1_000, Chance::from_seed(3));
        let mut latest = Latest::new(1);
        let shares = shares(keys, || latest.key(keys, &chance));
        assert_near(shares[999], 1.0 / zeta(keys), 0.003, "the newest");
        assert!(shares[999] > shares[998] && shares[998] > shares[900], "{:?}", &shares[990..]);
    }

    #[test]
    fn few_items_are_enough_and_a_seed_decides() {
        let draw = |seed| {
            let chance = Chance::from_seed(seed);
            let mut drawn: Vec<u64> = [1, 2, 3].map(|items| Zipfian::new(items).rank(&chance)).into();
            assert!(drawn[0] == 0 && drawn[1] < 2 && drawn[2] < 3, "{drawn:?}");
            drawn.extend((0..20).map(|_| Scrambled::new(1_000).key(&chance)));
            drawn
        };
        (0..50).for_each(|seed| assert_eq!(draw(seed), draw(seed)));
        assert_ne!(draw(1), draw(2));
    }
}
