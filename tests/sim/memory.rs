//! What a long run has in memory after each round: it must not grow from round to round.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::simulated::World;

/// In the end there may be so much more than after a quarter of the rounds, in hundredths, and in bytes besides.
const GROWTH_PERCENT: u64 = 20;
const GROWTH_BYTES: u64 = 50 << 20;
/// Of fewer rounds nothing can be said: disks and caches fill up first.
const ROUNDS_MIN: usize = 40;
/// Of a page, as this platform counts.
const PAGE_BYTES: u64 = 4096;

/// Bytes that are allocated. What is resident also depends on how the system's allocator keeps what is free.
static HELD_BYTES: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD_BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD_BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocated bytes after each round.
#[derive(Default)]
pub struct Memory(Vec<u64>);

impl Memory {
    /// Looks, and prints what it sees.
    pub fn note(&mut self, world: &World, round: usize) {
        let disks: u64 = (0..world.count()).map(|n| world.machine(n).disk.borrow().used_bytes()).sum();
        let held = HELD_BYTES.load(Ordering::Relaxed);
        println!(
            "round {}: after {:.1} simulated minutes {} MiB allocated, of which {} MiB are simulated disks; {} MiB resident",
            round + 1,
            world.begin.elapsed().as_secs_f64() / 60.0,
            held >> 20,
            disks >> 20,
            resident_bytes() >> 20
        );
        self.0.push(held);
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
