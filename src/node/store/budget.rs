//! Memory for what is applied and not flushed yet: one budget for all stores of a node.
//!
//! Up to the budget nobody waits. Above it writes are let in more slowly, the further above the slower, so that their rate
//! and the flushes find a balance. At twice the budget, the *wall*, nothing is applied until something was flushed.
//!
//! ## Invariants and what guards each
//!
//! - All memtables of a node count, and what is dropped or flushed counts no more: guarded by
//!   `tests::what_is_dropped_is_given_back`, `node::store::tests::flushing::stores_share_one_budget`.
//! - Within the budget nobody waits, and a wait before the wall is bounded: guarded by
//!   `tests::the_further_over_the_longer`.
//!
//! Does not decide what is flushed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The part of the budget that is used when a flush is due, in percent: what comes in meanwhile needs room, too.
const DUE_PERCENT: u64 = 75;
/// The longest that a write waits before it is let in, in microseconds: at the wall.
const PACE_MAX_US: u64 = 100_000;

/// Shared by the stores of a node, by who flushes them and by who lets writes in.
#[derive(Debug)]
pub struct MemoryBudget {
    cap_bytes: u64,
    limit_bytes: AtomicU64,
    held_bytes: AtomicU64,
    changed: Notify,
}

/// What one store holds of the budget; given back when dropped.
pub(super) struct Held {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl MemoryBudget {
    /// A budget of `cap_bytes`, which no limit set later exceeds.
    pub fn new(cap_bytes: u64) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget {
            cap_bytes,
            limit_bytes: AtomicU64::new(cap_bytes),
            held_bytes: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    /// Sets the budget, as far as the cap allows.
    pub fn set_limit(&self, bytes: u64) {
        let limit_bytes = bytes.min(self.cap_bytes);
        if self.limit_bytes.swap(limit_bytes, Ordering::Relaxed) < limit_bytes {
            self.wake();
        }
    }

    /// The budget, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// What the memtables take together, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// True once so much is held that something should be flushed.
    pub fn is_due(&self) -> bool {
        self.held_bytes() > self.limit_bytes() / 100 * DUE_PERCENT
    }

    /// True beyond the wall.
    pub fn is_full(&self) -> bool {
        self.held_bytes() > 2 * self.limit_bytes()
    }

    /// How long a write waits now before it is let in.
    pub fn pace(&self) -> Duration {
        let limit_bytes = self.limit_bytes().max(1);
        let excess_bytes = self.held_bytes().saturating_sub(limit_bytes).min(limit_bytes);
        Duration::from_micros(excess_bytes * PACE_MAX_US / limit_bytes)
    }

    /// Resolves when something was given back, the limit rose or a store stopped.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Lets everybody look again who waits for room.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }
}

impl Held {
    pub fn new(budget: Arc<MemoryBudget>) -> Held {
        Held { budget, bytes: 0 }
    }

    /// From now on this much is held.
    pub fn set(&mut self, bytes: usize) {
        let (old, new) = (std::mem::replace(&mut self.bytes, bytes as u64), bytes as u64);
        if new >= old {
            self.budget.held_bytes.fetch_add(new - old, Ordering::Relaxed);
        } else {
            self.budget.held_bytes.fetch_sub(old - new, Ordering::Relaxed);
            self.budget.wake();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn budget(mib: usize) -> Arc<MemoryBudget> {
        MemoryBudget::new((mib * MIB) as u64)
    }

    #[test]
    fn the_further_over_the_longer() {
        let budget = budget(128);
        let mut held = Held::new(budget.clone());
        let mut with = |mib: usize| {
            held.set(mib * MIB);
            (budget.is_due(), budget.pace().as_millis(), budget.is_full())
        };
        assert_eq!(with(0), (false, 0, false));
        assert_eq!(with(97), (true, 0, false));
        assert_eq!(with(128), (true, 0, false));
        assert_eq!(with(192), (true, 50, false));
        assert_eq!(with(256), (true, 100, false));
        assert_eq!(with(1000), (true, 100, true));
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = budget(1);
        let mut held = [Held::new(budget.clone()), Held::new(budget.clone())];
        held[0].set(10);
        held[1].set(5);
        held[0].set(7);
        assert_eq!(budget.held_bytes(), 12);
        drop(held);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn no_limit_exceeds_the_cap() {
        let budget = budget(8);
        budget.set_limit(1 << 40);
        assert_eq!(budget.limit_bytes(), 8 << 20);
        budget.set_limit(1 << 20);
        assert_eq!(budget.limit_bytes(), 1 << 20);
    }
}
