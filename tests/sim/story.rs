//! What a run is: who, and what goes wrong, all of it drawn from a seed; and living through it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use clap::ValueEnum;
use nodenomad::net::chance::Chance;
use nodenomad::net::trouble::{Armed, arm, disarm};

use crate::faults::{self, Fault, Kind, Schedule};
use crate::planted::Plan;
use crate::play::play;
use crate::simulated::trace::first_difference;
use crate::totals::Told;
use crate::{Options, simulated};

/// Drawn beside the seed: what happens, and what happens in later rounds.
const FAULTS: u64 = 0x5EED_0F57_0212;
const ROUND: u64 = 0x9E37_79B9_7F4A_7C15;
/// What the first round may take, and each further one, in simulated time.
const FIRST_ROUND_LIMIT: Duration = Duration::from_secs(1800);
const ROUND_LIMIT: Duration = Duration::from_secs(300);

/// What is asked of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// All faults end, and then everything must be as before
    #[default]
    Safety,
    /// One machine stays broken, and meanwhile the others must go on without it; then as in safety
    Liveness,
}

/// One run: everything else follows from it.
#[derive(Clone, Debug)]
pub struct Story {
    pub seed: u64,
    pub nodes: usize,
    /// The faults of each.
    pub rounds: Vec<Vec<Fault>>,
    pub plan: Option<&'static Plan>,
    /// All lines of the trace, not only their hash.
    pub keeps_trace: bool,
}

impl Story {
    /// Draws it.
    pub fn draw(seed: u64, options: &Options, plan: Option<&'static Plan>) -> Story {
        let chance = Chance::from_seed(seed ^ FAULTS);
        // Drawn in any case, so that the rest does not depend on it.
        let drawn = chance.between(3, 6);
        let nodes = options.nodes.unwrap_or(drawn) as usize;
        let further =
            (1..options.rounds).map(|round| Chance::from_seed(seed ^ FAULTS ^ ROUND.wrapping_mul(round)));
        let chances = std::iter::once(chance).chain(further);
        let rounds = chances.map(|chance| draw_round(&chance, nodes, options, plan)).collect();
        Story { seed, nodes, rounds, plan, keeps_trace: options.twice }
    }

    /// Those of all rounds.
    pub fn all_faults(&self) -> impl Iterator<Item = &Fault> {
        self.rounds.iter().flatten()
    }

    fn limit(&self) -> Duration {
        FIRST_ROUND_LIMIT + ROUND_LIMIT * (self.rounds.len() as u32 - 1)
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
            Some(plan) => plan.arm(trouble),
            None => trouble,
        });
        let run = || simulated::live_within(self.limit(), self.seed, |world| play(world, self.clone()));
        let lived = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        });
        let troubles = disarm();
        lived.map(|told| Told { troubles, ..told })
    }

    /// Leaves out faults as long as it still fails.
    pub fn shrink(mut self, twice: bool) -> Story {
        for round in 0..self.rounds.len() {
            let mut at = 0;
            while at < self.rounds[round].len() {
                let mut without = self.clone();
                without.rounds[round].remove(at);
                match without.live(twice) {
                    Err(_) => self = without,
                    Ok(_) => at += 1,
                }
            }
        }
        self
    }
}

fn draw_round(chance: &Chance, nodes: usize, options: &Options, plan: Option<&'static Plan>) -> Vec<Fault> {
    if let Some(Schedule(faults)) = &options.schedule {
        return faults::sorted(nodes, faults.clone());
    }
    let mut kinds = match (options.faults.is_empty(), plan) {
        (false, _) => options.faults.clone(),
        (true, Some(plan)) => plan.kinds.to_vec(),
        (true, None) => Kind::all(),
    };
    let is_live = options.mode == Mode::Liveness;
    if is_live {
        kinds.retain(|kind| !kind.takes_replicas());
    }
    // Who is lost stays so in all rounds: there the next could not be.
    if options.rounds > 1 {
        kinds.retain(|kind| *kind != Kind::Lose);
    }
    let usual = (faults::STORM_MS, faults::FAULT_MAX_MS);
    let mut drawn = match options.each {
        true => faults::draw_each(chance, nodes, &kinds),
        false => faults::draw(chance, nodes, &kinds, plan.map_or(usual, |plan| plan.bounds_ms)),
    };
    if is_live {
        drawn.push(faults::draw_kept(chance, nodes));
    }
    faults::sorted(nodes, drawn)
}
