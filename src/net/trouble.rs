//! Points of trouble and planted bugs: what only a simulation asks for, inside the code that it runs.
//!
//! A *point of trouble* is a place where the program may rightly do the less usual thing: write a batch of one, flush
//! early, forget its log, lose an answer. In a simulation [`trouble`] says so now and then, so that what happens once a
//! month elsewhere happens every second; a run draws which points it has and how often each fires, and counts them.
//!
//! A *planted bug* is a condition that leaves out what keeps a promise. [`planted`] is true for the one bug that a run is
//! to be caught with, if it is to have one: this is how it is known that the simulation would notice. Where a bug has a line
//! in the code, the code beside it is what must hold.
//!
//! Without the feature `simulation`, which nothing but the tests of this crate switches on, both are constantly false and
//! cost nothing. With it they are false on every thread that has not been armed, so tests with real processes are not
//! touched.

/// An enum that knows all its variants, so that none can be left out where each is meant.
macro_rules! listed {
    ($(#[$of_enum:meta])* pub enum $name:ident { $($(#[$of_variant:meta])* $variant:ident,)* }) => {
        $(#[$of_enum])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$of_variant])* $variant,)*
        }

        impl $name {
            /// All there are.
            pub const ALL: &[$name] = &[$($name::$variant),*];
        }
    };
}

listed! {
    /// Where there may be trouble.
    pub enum Point {
        /// The log writes what has gathered before all of it is gathered.
        SmallBatch,
        /// The log goes on in its next segment before this one is full.
        EarlySegment,
        /// A shard is flushed though there is memory left.
        EarlyFlush,
        /// Logs that are in files are forgotten, so that who lags behind needs a file.
        EarlyForget,
        /// Old versions are swept.
        EarlySweep,
        /// A leader that was used a moment ago falls quiet.
        EarlySleep,
        /// A write was applied and its answer is lost.
        LostAnswer,
        /// A page of a range has two rows.
        SmallPage,
        /// An append has one entry.
        SmallAppend,
        /// An append has a stream of its own.
        OwnStream,
        /// A replica takes its time before it applies.
        SlowApply,
        /// The log takes its time before it writes.
        SlowConsumer,
    }
}

listed! {
    /// What may be planted.
    pub enum Bug {
        /// Entries are acknowledged that are not synced yet.
        AckBeforeFsync,
        /// A vote is cast that is in memory only.
        VoteNotDurable,
        /// Rows go into the file in one transaction, the index of the entry they come from in the next.
        AppliedApart,
        /// A leader answers a linearizable read without asking whether it still leads.
        ReadWithoutRound,
        /// What was torn at the end of the log counts as written.
        TornTail,
        /// The log ends at the first bad record, though good ones follow.
        EndAtBadRecord,
        /// The log forgets what is applied, flushed or not.
        PurgePastDurable,
        /// A write that is sent again is a new one.
        RetryAppliedTwice,
        /// A file is written before the log that it follows from is synced.
        FlushOvertakesLog,
        /// A segment begins without the votes that the one before it held.
        VoteRecycled,
        /// A replica that takes the place of a damaged one gets its id.
        IdReused,
        /// A replica that has lost a part of its log goes on with the rest.
        DamagedVotes,
        /// Whether a key has expired is judged by the clock of whoever is asked.
        LocalExpiry,
        /// A new leader does not go past the ceiling of those before it.
        CeilingIgnored,
        /// A replica forgets history that the shard remembers.
        OwnGarbage,
        /// A shard's file that was received is installed though it is older than what is there.
        StaleSnapshot,
        /// Whether a write was made for the shard as it is is judged where it comes in, not where it is applied.
        EpochAtReceipt,
        /// A replica that does not vote yet takes a value for another: what a move is to notice before the cut-over.
        CopyDiffers,
        /// A snapshot that is not needed any more, since the log has caught up, is answered before that is on disk.
        SnapshotAnsweredEarly,
        /// A shard that stands still for a merge goes on answering what is asked now.
        ReadWhileMerged,
    }
}

#[cfg(feature = "simulation")]
pub use armed::{Armed, arm, disarm, planted, trouble};

/// True if there is to be trouble here.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn trouble(_: Point) -> bool {
    false
}

/// True if this bug is to be there.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "simulation")]
mod armed {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::{Bug, Point};
    use crate::net::chance::Chance;

    /// Whether a run has a point at all is drawn, and how often it fires then, in thousandths, up to this.
    const PERMILLE_MAX: u64 = 200;

    /// What a run has armed its thread with.
    pub struct Armed {
        chance: Chance,
        /// In thousandths.
        odds: BTreeMap<Point, u64>,
        fired: BTreeMap<Point, u64>,
        bug: Option<Bug>,
    }

    thread_local! {
        static ARMED: RefCell<Option<Armed>> = const { RefCell::new(None) };
    }

    impl Armed {
        /// The points that a run has, drawn from its chance.
        pub fn draw(chance: Chance) -> Armed {
            let odds = |point| match chance.between(0, 4) {
                0 => (point, 0),
                _ => (point, chance.between(1, PERMILLE_MAX)),
            };
            let odds = Point::ALL.iter().copied().map(odds).collect();
            let fired = Point::ALL.iter().map(|point| (*point, 0)).collect();
            Armed { chance, odds, fired, bug: None }
        }

        /// With these points, in thousandths.
        pub fn with_points(mut self, points: &[(Point, u64)]) -> Armed {
            self.odds.extend(points.iter().copied());
            self
        }

        /// With a bug.
        pub fn with_bug(mut self, bug: Bug) -> Armed {
            self.bug = Some(bug);
            self
        }
    }

    /// From now on there is trouble on this thread.
    pub fn arm(armed: Armed) {
        ARMED.set(Some(armed));
    }

    /// From now on there is none. Returns how often each point fired.
    pub fn disarm() -> BTreeMap<Point, u64> {
        ARMED.take().map(|armed| armed.fired).unwrap_or_default()
    }

    /// True if there is to be trouble here.
    pub fn trouble(point: Point) -> bool {
        ARMED.with_borrow_mut(|armed| {
            let Some(armed) = armed else { return false };
            let odds = armed.odds.get(&point).copied().unwrap_or(0);
            let fires = odds > 0 && armed.chance.between(0, 1000) < odds;
            if fires {
                *armed.fired.entry(point).or_default() += 1;
            }
            fires
        })
    }

    /// True if this bug is to be there.
    pub fn planted(bug: Bug) -> bool {
        ARMED.with_borrow(|armed| armed.as_ref().is_some_and(|armed| armed.bug == Some(bug)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::chance::Chance;

    #[test]
    fn nothing_happens_on_a_thread_that_is_not_armed() {
        let armed = Armed::draw(Chance::from_seed(1)).with_points(&[(Point::SmallBatch, 1000)]);
        arm(armed.with_bug(Bug::TornTail));
        assert!(trouble(Point::SmallBatch) && planted(Bug::TornTail) && !planted(Bug::OwnGarbage));
        std::thread::spawn(|| assert!(!trouble(Point::SmallBatch) && !planted(Bug::TornTail)))
            .join()
            .unwrap();
        assert_eq!(disarm()[&Point::SmallBatch], 1);
        assert!(!trouble(Point::SmallBatch) && !planted(Bug::TornTail));
    }

    #[test]
    fn the_same_seed_has_the_same_trouble() {
        let run = |seed| {
            arm(Armed::draw(Chance::from_seed(seed)));
            let fired: Vec<bool> = (0..500).map(|_| trouble(Point::EarlyFlush)).collect();
            (fired, disarm())
        };
        for seed in 0..20 {
            assert_eq!(run(seed), run(seed));
        }
        assert!((0..20).any(|seed| run(seed) != run(seed + 1)));
    }
}
