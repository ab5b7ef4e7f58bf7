//! Chance: the one place where randomness comes from.
//!
//! A member or client is given a [`Chance`] and draws from it; in a simulation it is seeded, so that a run can be
//! repeated. Secrets (keys, tokens) never come from here, but see `identity::Secrets`.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A shared source of random numbers. Cheap to clone; clones draw from the same sequence.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// Seeded by the operating system.
    pub fn system() -> Chance {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).expect("the operating system has randomness");
        Chance(Arc::new(Mutex::new(StdRng::from_seed(seed))))
    }

    /// The sequence that belongs to `seed`.
    pub fn from_seed(seed: u64) -> Chance {
        Chance(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        self.0.lock().random()
    }

    /// A number from `low` (inclusive) to `high` (exclusive). `low` must be below `high`.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        self.0.lock().random_range(low..high)
    }

    /// A further source whose sequence follows from this one's.
    pub fn fork(&self) -> Chance {
        Chance::from_seed(self.number())
    }
}
