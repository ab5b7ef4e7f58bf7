//! The options of `nomad bench`.
//!
//! Promises: every number is bounded. Does not: do anything.

use std::ffi::OsString;
use std::time::Duration;

use crate::client::IN_FLIGHT_MAX;
use crate::cmd::bench::ledger::KEYS_MAX;
use crate::cmd::bench::report::Setting;
use crate::cmd::bench::value::{HEADER_BYTES, LOADER};
use crate::cmd::bench::workload::{Kind, Workload};
use crate::cmd::fail::Failure;
use crate::cmd::reading::Level;
use crate::model::key::VALUE_MAX_BYTES;

/// Most clients: as many writes as two connections carry at once.
const CLIENTS_MAX: u64 = 2 * IN_FLIGHT_MAX as u64;
const _: () = assert!(CLIENTS_MAX < LOADER as u64, "each has a number of its own");
/// Most connections.
const CONNECTIONS_MAX: u64 = 64;
/// Most keys.
const BENCH_KEYS_MAX: u64 = 100_000_000;
/// Longest scan, in rows.
const SCAN_MAX: u64 = 100_000;
/// Most operations a second that can be due.
const RATE_MAX: f64 = 1e7;
/// Longest run, in seconds.
const SECONDS_MAX: f64 = 86_400.0;

/// Measure a cluster under load
///
/// Many clients work at once, each doing one operation after the other; the keys a workload needs are loaded first, unless
/// they are there from before. At the end: rates and latencies of each kind of operation. Latencies are of operations that
/// were answered; errors and unknown outcomes are counted apart.
///
/// All keys lie below --prefix; no others are touched. They stay, for the next run.
///
/// Exit codes: 0 measured, even with some errors, which are told; 7 --verify found something lost or wrong; 130 ended early
/// by ctrl-C, with what was measured until then. If nothing was answered: that of the first error, or 6 if something may
/// have been written all the same.
#[derive(Clone, Debug, clap::Args)]
pub struct Bench {
    /// What to do
    #[arg(value_enum, default_value = "mixed")]
    pub workload: Workload,

    /// Clients at work at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX))]
    pub clients: u64,

    /// Connections to each node, which the clients share
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    pub connections: u64,

    /// Size of a value, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(HEADER_BYTES as u64..=VALUE_MAX_BYTES as u64))]
    pub value_bytes: u64,

    /// How many keys to choose from
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=BENCH_KEYS_MAX))]
    pub keys: u64,

    /// How long to measure, in seconds, such as 10 or 0.5
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub seconds: Duration,

    /// How long to work before measuring, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub warm_up: Duration,

    /// Operations a second, of all clients together, each due at its time: latency counts from then [default: as fast as
    /// they go]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,

    /// How fresh reads must be
    #[arg(long, value_name = "LEVEL", default_value = "linearizable")]
    pub consistency: Level,

    /// Rows of a scan
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=SCAN_MAX))]
    pub scan_length: u64,

    /// Decides which operations on which keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// What all keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "bench/")]
    pub prefix: OsString,

    /// Load the keys if they are not there, and nothing else
    #[arg(long)]
    pub load_only: bool,

    /// Read everything back afterwards: is each acknowledged write there, and nothing that failed? Nobody else may write
    /// below the prefix meanwhile
    #[arg(long)]
    pub verify: bool,

    /// Note what every client asked and was told, and check afterwards that it is linearizable: that one copy of each key
    /// could have told all that. On keys of its own below the prefix, removed afterwards if all is well. The more operations
    /// a key has the sharper the check: best with few --keys, such as 1000
    #[arg(long)]
    pub check: bool,
}

impl Bench {
    /// What no single option can tell.
    pub fn check(&self) -> Result<(), Failure> {
        if self.clients > self.connections * IN_FLIGHT_MAX as u64 {
            return Err(Failure::usage(format!("{} clients are too many for one connection", self.clients))
                .because(format!("a connection carries {IN_FLIGHT_MAX} writes at once"))
                .cure("the same with --connections 2"));
        }
        if self.has_ledger() && self.keys > KEYS_MAX / 2 {
            return Err(Failure::usage(format!("{} keys are too many to keep account of", self.keys))
                .because(format!("--verify and compare-and-set remember each key, at most {}", KEYS_MAX / 2))
                .cure("the same with fewer --keys, or without --verify"));
        }
        if self.check && !self.workload.can_be_checked() {
            return Err(Failure::usage(format!("{} cannot be checked", self.workload.name()))
                .because("its keys are loaded, which nobody notes")
                .cure("nomad bench mixed --check"));
        }
        if self.check && self.consistency != Level::Linearizable {
            return Err(Failure::usage("only linearizable reads can be checked")
                .because("weaker ones may be behind")
                .cure("the same without --consistency"));
        }
        if self.seconds.is_zero() {
            return Err(Failure::usage("no time to measure anything").cure("--seconds 0.5 or more"));
        }
        Ok(())
    }

    /// True if what is acknowledged must be remembered.
    pub fn has_ledger(&self) -> bool {
        self.verify || self.workload.has(Kind::Cas)
    }

    /// What the report says was asked for.
    pub fn setting(&self) -> Setting {
        Setting {
            workload: self.workload,
            clients: self.clients,
            connections: self.connections,
            keys: self.keys,
            value_bytes: self.value_bytes as usize,
            rate: self.rate,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let given = text.parse::<f64>().ok().filter(|given| (0.0..=SECONDS_MAX).contains(given));
    let given = given.ok_or("write seconds as a number such as 10 or 0.5, at most a day (86400)")?;
    Ok(Duration::from_secs_f64(given))
}

fn rate(text: &str) -> Result<f64, String> {
    let given = text.parse::<f64>().ok().filter(|given| *given > 0.0 && *given <= RATE_MAX);
    given.ok_or("write operations a second as a number above 0, at most 10000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::exit::Exit;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        bench: Bench,
    }

    fn parsed(line: &str) -> Option<Bench> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Only::try_parse_from(words).ok().map(|only| only.bench)
    }

    #[test]
    fn options_are_bounded() {
        let bench = parsed("a --seconds 0.25 --warm-up 0 --rate 1e4 --value-bytes 16").unwrap();
        assert_eq!((bench.seconds, bench.rate), (Duration::from_millis(250), Some(1e4)));
        for wrong in [
            "g",
            "--seconds -1",
            "--seconds NaN",
            "--seconds 1e9",
            "--rate 0",
            "--rate inf",
            "--clients 0",
            "--keys 0",
            "--value-bytes 15",
            "--scan-length 0",
            "--consistency eventually",
        ] {
            assert!(parsed(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for wrong in [
            "--clients 4096",
            "cas --keys 50000000",
            "put --verify --keys 50000000",
            "--seconds 0",
            "a --check",
            "--check --consistency stale",
        ] {
            assert_eq!(parsed(wrong).unwrap().check().unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        for right in ["", "--check", "put --keys 50000000", "--clients 4096 --connections 2"] {
            assert!(parsed(right).unwrap().check().is_ok(), "{right}");
        }
    }
}
