//! What a run is: who, and what goes wrong, all of it drawn from a seed; and living through it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nodenomad::net::chance::Chance;
use nodenomad::net::trouble::{Armed, arm, disarm};

use crate::faults::{self, Fault, Kind};
use crate::planted::Plan;
use crate::play::play;
use crate::simulated::trace::first_difference;
use crate::totals::Told;
use crate::{Options, simulated};

/// One run: everything else follows from it.
#[derive(Clone, Debug)]
pub struct Story {
    pub seed: u64,
    pub nodes: usize,
    pub faults: Vec<Fault>,
    pub plan: Option<&'static Plan>,
}

impl Story {
    /// Draws it.
    pub fn draw(seed: u64, options: &Options, plan: Option<&'static Plan>) -> Story {
        let chance = Chance::from_seed(seed ^ 0x5EED_0F57_0212);
        // Drawn in any case, so that the rest does not depend on it.
        let drawn = chance.between(3, 6);
        let nodes = options.nodes.unwrap_or(drawn) as usize;
        let kinds = match (options.faults.is_empty(), plan) {
            (false, _) => options.faults.clone(),
            (true, Some(plan)) => plan.kinds.to_vec(),
            (true, None) => Kind::usual(),
        };
        let usual = (faults::STORM_MS, faults::FAULT_MAX_MS);
        let faults = match options.each {
            true => faults::draw_each(&chance, nodes, &kinds),
            false => faults::draw(&chance, nodes, &kinds, plan.map_or(usual, |plan| plan.bounds_ms)),
        };
        Story { seed, nodes, faults, plan }
    }

    /// Lives through it, or twice; an error is the message of what was broken.
    pub fn live(&self, twice: bool) -> Result<Told, String> {
        let told = self.live_once()?;
        if !twice {
            return Ok(told);
        }
        if !simulated::SEEDED {
            return Err(simulated::UNSEEDED.to_owned());
        }
        match first_difference(&told.trace, &self.live_once()?.trace) {
            Some(difference) => Err(format!("run again it does not do the same, {difference}")),
            None => Ok(told),
        }
    }

    fn live_once(&self) -> Result<Told, String> {
        let trouble = Armed::draw(Chance::from_seed(self.seed ^ 0x7201_0B1E));
        arm(match self.plan {
            Some(plan) => trouble.with_bug(plan.bug, plan.points),
            None => trouble,
        });
        let run = || simulated::live_through(self.seed, |world| play(world, self.clone()));
        let lived = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        });
        let troubles = disarm();
        lived.map(|told| Told { troubles, ..told })
    }

    /// Leaves out faults as long as it still fails.
    pub fn shrink(mut self, twice: bool) -> Story {
        let mut at = 0;
        while at < self.faults.len() {
            let mut without = self.clone();
            without.faults.remove(at);
            match without.live(twice) {
                Err(_) => self = without,
                Ok(_) => at += 1,
            }
        }
        self
    }
}
