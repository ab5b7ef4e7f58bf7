//! What a long run has in memory after each round: it must not grow from round to round.

use crate::simulated::World;

/// In the end there may be so much more than after a quarter of the rounds, in hundredths, and in bytes besides.
const GROWTH_PERCENT: u64 = 20;
const GROWTH_BYTES: u64 = 50 << 20;
/// Of fewer rounds nothing can be said: disks and caches fill up first.
const ROUNDS_MIN: usize = 40;
/// Of a page, as this platform counts.
const PAGE_BYTES: u64 = 4096;

/// Resident bytes after each round.
#[derive(Default)]
pub struct Memory(Vec<u64>);

impl Memory {
    /// Looks, and prints what it sees.
    pub fn note(&mut self, world: &World, round: usize) {
        let disks: u64 = (0..world.count()).map(|n| world.machine(n).disk.borrow().used_bytes()).sum();
        let resident = resident_bytes();
        println!(
            "round {}: after {:.1} simulated minutes {} MiB in memory, of which {} MiB are simulated disks",
            round + 1,
            world.begin.elapsed().as_secs_f64() / 60.0,
            resident >> 20,
            disks >> 20
        );
        self.0.push(resident);
    }

    /// What there is in the end is about what there was after a quarter.
    pub fn check(&self) {
        let (Some(then), Some(now)) = (self.0.get(self.0.len() / 4), self.0.last()) else { return };
        if self.0.len() < ROUNDS_MIN {
            return;
        }
        let most = then + then * GROWTH_PERCENT / 100 + GROWTH_BYTES;
        assert!(*now <= most, "memory: {then} bytes after a quarter of the rounds, {now} in the end");
    }
}

/// As the system says; zero where it does not say so.
fn resident_bytes() -> u64 {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = told.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0u64) * PAGE_BYTES
}
