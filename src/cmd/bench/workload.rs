//! What is done how often: the workloads and their mixes.
//!
//! `a` to `f` are the core workloads of YCSB (Cooper et al., SoCC 2010) with their published mixes and distributions.
//! Promises: a mix adds up to 100. Does not: do anything.

use crate::net::chance::Chance;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Writes, evenly over the keys
    Put,
    /// Reads, evenly over the keys
    Get,
    /// Writes on the condition that the key is as last seen
    Cas,
    /// Additions of 1, evenly over the numbers
    Incr,
    /// Ranges of --scan-length rows
    Scan,
    /// 50% get, 30% put, 10% cas, 5% incr, 5% scan
    Mixed,
    /// YCSB: 50% read, 50% update, zipfian
    A,
    /// YCSB: 95% read, 5% update, zipfian
    B,
    /// YCSB: read only, zipfian
    C,
    /// YCSB: 95% read, 5% insert, the latest most
    D,
    /// YCSB: 95% scan of 1 to --scan-length rows, 5% insert, zipfian
    E,
    /// YCSB: 50% read, 50% read-modify-write, zipfian
    F,
}

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Get,
    Put,
    /// A write of a key that was never there.
    Insert,
    Cas,
    Incr,
    Scan,
    /// Read-modify-write: a read, then a write of the same key. Not atomic, as in YCSB.
    Rmw,
}

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    Uniform,
    Zipfian,
    Latest,
}

/// A kind and how many of a hundred operations are of it.
pub type Share = (Kind, u64);

impl Kind {
    pub const ALL: [Kind; 7] =
        [Kind::Get, Kind::Put, Kind::Insert, Kind::Cas, Kind::Incr, Kind::Scan, Kind::Rmw];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Put => "put",
            Kind::Insert => "insert",
            Kind::Cas => "cas",
            Kind::Incr => "incr",
            Kind::Scan => "scan",
            Kind::Rmw => "rmw",
        }
    }

    /// True if it works on keys that must be there.
    fn needs_keys(self) -> bool {
        matches!(self, Kind::Get | Kind::Cas | Kind::Scan | Kind::Rmw)
    }
}

impl Workload {
    pub fn name(self) -> &'static str {
        match self {
            Workload::Put => "put",
            Workload::Get => "get",
            Workload::Cas => "cas",
            Workload::Incr => "incr",
            Workload::Scan => "scan",
            Workload::Mixed => "mixed",
            Workload::A => "a",
            Workload::B => "b",
            Workload::C => "c",
            Workload::D => "d",
            Workload::E => "e",
            Workload::F => "f",
        }
    }

    pub fn mix(self) -> &'static [Share] {
        match self {
            Workload::Put => &[(Kind::Put, 100)],
            Workload::Get | Workload::C => &[(Kind::Get, 100)],
            Workload::Cas => &[(Kind::Cas, 100)],
            Workload::Incr => &[(Kind::Incr, 100)],
            Workload::Scan => &[(Kind::Scan, 100)],
            Workload::Mixed => {
                &[(Kind::Get, 50), (Kind::Put, 30), (Kind::Cas, 10), (Kind::Incr, 5), (Kind::Scan, 5)]
            }
            Workload::A => &[(Kind::Get, 50), (Kind::Put, 50)],
            Workload::B => &[(Kind::Get, 95), (Kind::Put, 5)],
            Workload::D => &[(Kind::Get, 95), (Kind::Insert, 5)],
            Workload::E => &[(Kind::Scan, 95), (Kind::Insert, 5)],
            Workload::F => &[(Kind::Get, 50), (Kind::Rmw, 50)],
        }
    }

    pub fn distribution(self) -> Distribution {
        match self {
            Workload::A | Workload::B | Workload::C | Workload::E | Workload::F => Distribution::Zipfian,
            Workload::D => Distribution::Latest,
            Workload::Put
            | Workload::Get
            | Workload::Cas
            | Workload::Incr
            | Workload::Scan
            | Workload::Mixed => Distribution::Uniform,
        }
    }

    pub fn has(self, kind: Kind) -> bool {
        self.mix().iter().any(|(other, _)| *other == kind)
    }

    /// True if its keys must be loaded first.
    pub fn needs_keys(self) -> bool {
        self.mix().iter().any(|(kind, _)| kind.needs_keys())
    }

    /// True if it needs nothing that was there before.
    pub fn can_be_checked(self) -> bool {
        use Workload::*;
        matches!(self, Put | Get | Cas | Incr | Scan | Mixed)
    }

    /// True if scans are of all lengths up to the one given.
    pub fn scans_vary(self) -> bool {
        self == Workload::E
    }

    /// The next operation.
    pub fn draw(self, chance: &Chance) -> Kind {
        let mix = self.mix();
        if let [(only, _)] = mix {
            return *only;
        }
        let mut left = chance.between(0, 100);
        for (kind, share) in mix {
            match left.checked_sub(*share) {
                None => return *kind,
                Some(rest) => left = rest,
            }
        }
        unreachable!("a mix adds up to 100")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn each_mix_adds_up_and_is_drawn_as_published() {
        for workload in Workload::value_variants() {
            assert_eq!(workload.mix().iter().map(|(_, share)| share).sum::<u64>(), 100, "{workload:?}");
            let (chance, draws) = (Chance::from_seed(7), 20_000);
            let drawn: Vec<Kind> = (0..draws).map(|_| workload.draw(&chance)).collect();
            for kind in Kind::ALL {
                let share = workload.mix().iter().find(|(other, _)| *other == kind).map_or(0, |(_, s)| *s);
                let found = drawn.iter().filter(|drawn| **drawn == kind).count() as f64 / draws as f64;
                assert!((found - share as f64 / 100.0).abs() < 0.01, "{workload:?}: {found} {kind:?}");
            }
        }
    }

    #[test]
    fn names_are_what_people_type() {
        for workload in Workload::value_variants() {
            assert_eq!(workload.to_possible_value().unwrap().get_name(), workload.name());
        }
        assert!(Workload::Mixed.needs_keys() && Workload::E.needs_keys());
        assert!(!Workload::Put.needs_keys() && !Workload::Incr.needs_keys());
    }
}
