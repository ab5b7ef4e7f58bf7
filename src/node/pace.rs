//! How fast writes are let in while flushes lag behind.
//!
//! Memtables that hold more than the node's budget slow writes down, the more the further they are over it, so that rate
//! and flushes find a balance: nobody runs into the wall behind which nothing is applied (see
//! [`super::store::Store::wait_for_room`]).
//!
//! ## Invariants and what guards each
//!
//! - Within the budget nobody waits, and a wait is bounded: guarded by `tests::the_further_over_the_longer`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::store::Fill;

/// The longest that a write waits before it is let in, milliseconds: with memtables that hold twice the budget.
const WAIT_MAX_MS: u64 = 100;

/// Shared by who flushes and who lets writes in.
#[derive(Debug, Default)]
pub struct Pace {
    wait_us: AtomicU64,
}

impl Pace {
    /// Takes note of how full the memtables are. Their `budget_bytes` is the node's.
    pub fn note(&self, fills: &[Fill], budget_bytes: u64) {
        self.wait_us.store(wait_us(fills, budget_bytes), Ordering::Relaxed);
    }

    /// How long a write has to wait now.
    pub fn wait(&self) -> Duration {
        Duration::from_micros(self.wait_us.load(Ordering::Relaxed))
    }

    /// Waits as long as a write has to.
    pub async fn keep(&self) {
        let wait = self.wait();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// None up to the budget, and for each store up to half of what it may hold; the most at twice that.
fn wait_us(fills: &[Fill], budget_bytes: u64) -> u64 {
    let total: u64 = fills.iter().map(|fill| fill.bytes).sum();
    let of_node = (total, budget_bytes);
    let of_stores = fills.iter().map(|fill| (fill.bytes, fill.wall_bytes / 2));
    let wait = |(bytes, usual): (u64, u64)| {
        let excess = bytes.saturating_sub(usual).min(usual);
        excess * (WAIT_MAX_MS * 1000) / usual.max(1)
    };
    of_stores.chain([of_node]).map(wait).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn fill(mib: u64) -> Fill {
        Fill { bytes: mib * MIB, wall_bytes: 256 * MIB }
    }

    #[test]
    fn the_further_over_the_longer() {
        assert_eq!(wait_us(&[], 128 * MIB), 0);
        assert_eq!(wait_us(&[fill(64), fill(64)], 128 * MIB), 0);
        assert_eq!(wait_us(&[fill(96), fill(96)], 128 * MIB), 50_000);
        assert_eq!(wait_us(&[fill(120); 3], 128 * MIB), 100_000);
        // A large budget does not move the wall of one store.
        assert_eq!(wait_us(&[fill(192)], 1024 * MIB), 50_000);
        assert_eq!(wait_us(&[fill(1000)], 1024 * MIB), 100_000);
    }
}
