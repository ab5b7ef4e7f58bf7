//! The cluster's settings: what can be set, to what, and what it means.
//!
//! Promises: a value that was accepted reads back the same on every node; an unknown or damaged stored row leaves that
//! setting at its default and is reported, since another version of the program may have written it. Does not store or
//! watch settings.

use std::fmt;

use super::key::{VALUE_DEFAULT_MAX_BYTES, VALUE_MAX_BYTES};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// Names this far apart (edits) are still suggested.
const SUGGEST_EDITS_MAX: usize = 4;
/// Longest value of a setting that is looked at, in bytes.
const TEXT_MAX_BYTES: usize = 64;

/// All settings as values. Fields are named as the settings are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub replicas: u64,
    pub retention_ms: u64,
    pub value_max_bytes: u64,
    pub silent_after_ms: u64,
    pub memtable_bytes: u64,
    pub log_keep_bytes: u64,
    pub disk_reserve_bytes: u64,
    pub hibernate_after_ms: u64,
    pub undo_window_ms: u64,
    pub migration_bytes_per_s: u64,
    pub max_concurrent_migrations: u64,
    pub rebalance: u64,
    pub migration_keep_p99_ms: u64,
    pub balance_leaders: u64,
    pub split_bytes: u64,
    pub split_per_s: u64,
    pub merge_after_ms: u64,
}

/// What a setting counts; decides which suffixes its value may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Pieces: bare numbers.
    Count,
    /// `300000`, `300000ms`, `300s`, `5m`, `1h`, `1d`.
    Milliseconds,
    /// `1048576`, `1024KiB`, `1MiB`, `1GiB`; `K`, `M` and `G` mean the same.
    Bytes,
}

/// Values a setting may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    OneOf(&'static [u64]),
    /// Both ends included.
    Between(u64, u64),
    /// 0, or between these, both ends included.
    ZeroOrBetween(u64, u64),
}

/// One setting, as `nomad config ls` explains it.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    pub default: u64,
    pub unit: Unit,
    pub allowed: Allowed,
    pub doc: &'static str,
    field: fn(&mut Settings) -> &mut u64,
}

/// Why a setting cannot be set so. The message says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("there is no setting `{name}`{}", did_you_mean(*.suggestion))]
    Unknown { name: String, suggestion: Option<&'static str> },
    #[error("`{value}` is no value for `{name}`: {expected}")]
    Unreadable { name: &'static str, value: String, expected: String },
    #[error("`{name}` cannot be {value}: {expected}")]
    NotAllowed { name: &'static str, value: String, expected: String },
}

/// Every setting, by name.
pub const TABLE: &[Setting] = &[
    Setting {
        name: "balance_leaders",
        default: 1,
        unit: Unit::Count,
        allowed: Allowed::OneOf(&[0, 1]),
        doc: "1: where one node leads the busier shards, another replica leads some of them; 0: not by itself",
        field: |all| &mut all.balance_leaders,
    },
    Setting {
        name: "disk_reserve_bytes",
        default: 256 * MIB,
        unit: Unit::Bytes,
        allowed: Allowed::Between(MIB, 1024 * GIB),
        doc: "room kept on each node's disk: below it only deletes and reads go on, and a restart works",
        field: |all| &mut all.disk_reserve_bytes,
    },
    Setting {
        name: "hibernate_after_ms",
        default: 10_000,
        unit: Unit::Milliseconds,
        allowed: Allowed::Between(0, DAY_MS),
        doc: "how long a shard is unused before its replicas stop exchanging heartbeats; 0: never",
        field: |all| &mut all.hibernate_after_ms,
    },
    Setting {
        name: "log_keep_bytes",
        default: 256 * MIB,
        unit: Unit::Bytes,
        allowed: Allowed::Between(MIB, 64 * GIB),
        doc: "log a node keeps, of all its shards, for replicas that lag; past it they get snapshots instead",
        field: |all| &mut all.log_keep_bytes,
    },
    Setting {
        name: "max_concurrent_migrations",
        default: 8,
        unit: Unit::Count,
        allowed: Allowed::Between(1, 64),
        doc: "replicas that the cluster moves at a time, to drain nodes and to even out; four a node at most",
        field: |all| &mut all.max_concurrent_migrations,
    },
    Setting {
        name: "memtable_bytes",
        default: 512 * MIB,
        unit: Unit::Bytes,
        allowed: Allowed::Between(MIB / 16, 64 * GIB),
        doc: "memory a node spends on writes it has not flushed yet, at most a quarter of what its machine has",
        field: |all| &mut all.memtable_bytes,
    },
    Setting {
        name: "merge_after_ms",
        default: 10 * MINUTE_MS,
        unit: Unit::Milliseconds,
        allowed: Allowed::ZeroOrBetween(1_000, 30 * DAY_MS),
        doc: "how long what the cluster has split is small and quiet before it is merged again; 0: never",
        field: |all| &mut all.merge_after_ms,
    },
    Setting {
        name: "migration_bytes_per_s",
        default: 0,
        unit: Unit::Bytes,
        // Slower, and whoever receives would think that nobody is there.
        allowed: Allowed::ZeroOrBetween(MIB, 64 * GIB),
        doc: "bytes a second that each node sends, at most, of shards that are copied; 0: as fast as it goes",
        field: |all| &mut all.migration_bytes_per_s,
    },
    Setting {
        name: "migration_keep_p99_ms",
        default: 0,
        unit: Unit::Milliseconds,
        allowed: Allowed::ZeroOrBetween(1, MINUTE_MS),
        doc: "shards are copied slower while a hundredth of the requests takes longer than this; 0: no matter",
        field: |all| &mut all.migration_keep_p99_ms,
    },
    Setting {
        name: "rebalance",
        default: 1,
        unit: Unit::Count,
        allowed: Allowed::OneOf(&[0, 1]),
        doc: "1: a node that holds a tenth more or less than its share, as one that joins, is evened out; 0: not by itself",
        field: |all| &mut all.rebalance,
    },
    Setting {
        name: "replicas",
        default: 3,
        unit: Unit::Count,
        allowed: Allowed::OneOf(&[1, 3, 5]),
        doc: "copies of each user shard, as far as there are nodes; 3 survives the loss of one, 5 of two",
        field: |all| &mut all.replicas,
    },
    Setting {
        name: "retention_ms",
        default: 5 * MINUTE_MS,
        unit: Unit::Milliseconds,
        allowed: Allowed::Between(1_000, 365 * DAY_MS),
        doc: "how far back the past can be read",
        field: |all| &mut all.retention_ms,
    },
    Setting {
        name: "silent_after_ms",
        default: 5 * MINUTE_MS,
        unit: Unit::Milliseconds,
        allowed: Allowed::Between(5_000, 365 * DAY_MS),
        doc: "how long a node may be silent before its replicas are rebuilt elsewhere",
        field: |all| &mut all.silent_after_ms,
    },
    Setting {
        name: "split_bytes",
        default: 128 * MIB,
        unit: Unit::Bytes,
        allowed: Allowed::ZeroOrBetween(64 << 10, 1024 * GIB),
        doc: "how much a shard holds, keys and newest values, before it is split in two; 0: not by itself",
        field: |all| &mut all.split_bytes,
    },
    Setting {
        name: "split_per_s",
        default: 10_000,
        unit: Unit::Count,
        allowed: Allowed::ZeroOrBetween(10, 1_000_000_000),
        doc: "requests a second from which a shard is split that is more than a node's share of all; 0: not by itself",
        field: |all| &mut all.split_per_s,
    },
    Setting {
        name: "undo_window_ms",
        default: MINUTE_MS,
        unit: Unit::Milliseconds,
        allowed: Allowed::Between(0, DAY_MS),
        doc: "how long a replica that was moved away is kept, so that the move can be undone at once",
        field: |all| &mut all.undo_window_ms,
    },
    Setting {
        name: "value_max_bytes",
        default: VALUE_DEFAULT_MAX_BYTES as u64,
        unit: Unit::Bytes,
        allowed: Allowed::Between(1, VALUE_MAX_BYTES as u64),
        doc: "largest value that can be written",
        field: |all| &mut all.value_max_bytes,
    },
];

/// The setting of this name.
///
/// # Errors
///
/// If there is none; the error suggests the nearest.
pub fn setting(name: &str) -> Result<&'static Setting, ConfigError> {
    if let Some(found) = TABLE.iter().find(|setting| setting.name == name) {
        return Ok(found);
    }
    let name: String = name.chars().take(TEXT_MAX_BYTES).collect();
    let near = TABLE.iter().map(|setting| (edits(setting.name, &name), setting.name));
    let start = TABLE.iter().find(|setting| !name.is_empty() && setting.name.starts_with(&name));
    let nearest = near.min().filter(|(edits, _)| *edits <= SUGGEST_EDITS_MAX).map(|(_, name)| name);
    Err(ConfigError::Unknown { suggestion: start.map(|setting| setting.name).or(nearest), name })
}

impl Setting {
    /// Reads a value as people write it. What is stored is the number returned, in decimal.
    ///
    /// # Errors
    ///
    /// If it is not readable or not allowed.
    pub fn parse(&self, text: &str) -> Result<u64, ConfigError> {
        let value = || text.chars().take(TEXT_MAX_BYTES).collect::<String>();
        let number = self.unit.parse(text.trim()).ok_or_else(|| ConfigError::Unreadable {
            name: self.name,
            value: value(),
            expected: format!("expected {}, {}", self.unit.form(), self.expected()),
        })?;
        let allowed = match self.allowed {
            Allowed::OneOf(values) => values.contains(&number),
            Allowed::Between(low, high) => (low..=high).contains(&number),
            Allowed::ZeroOrBetween(low, high) => number == 0 || (low..=high).contains(&number),
        };
        let refusal =
            || ConfigError::NotAllowed { name: self.name, value: value(), expected: self.expected() };
        allowed.then_some(number).ok_or_else(refusal)
    }

    /// Its value among `settings`.
    pub fn get(&self, settings: &Settings) -> u64 {
        *(self.field)(&mut settings.clone())
    }

    /// A value of it as people read it, for instance `5m`; [`parse`](Setting::parse) takes it back.
    pub fn show(&self, number: u64) -> String {
        let exact = self.unit.suffixes().iter().find(|(_, each)| number != 0 && number.is_multiple_of(*each));
        exact.map_or_else(|| number.to_string(), |(suffix, each)| format!("{}{suffix}", number / each))
    }

    fn expected(&self) -> String {
        match self.allowed {
            Allowed::OneOf(values) => {
                let values: Vec<String> = values.iter().map(|value| self.show(*value)).collect();
                format!("one of {}", values.join(", "))
            }
            Allowed::Between(low, high) => format!("from {} to {}", self.show(low), self.show(high)),
            Allowed::ZeroOrBetween(low, high) => {
                format!("0, or from {} to {}", self.show(low), self.show(high))
            }
        }
    }
}

impl Unit {
    /// Suffixes and what they multiply by, the largest first; the first spelling of each is the one shown.
    fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Unit::Count => &[],
            Unit::Milliseconds => {
                &[("d", DAY_MS), ("h", 60 * MINUTE_MS), ("m", MINUTE_MS), ("s", 1_000), ("ms", 1)]
            }
            Unit::Bytes => {
                &[("GiB", GIB), ("G", GIB), ("MiB", MIB), ("M", MIB), ("KiB", 1024), ("K", 1024), ("B", 1)]
            }
        }
    }

    fn form(self) -> &'static str {
        match self {
            Unit::Count => "a number",
            Unit::Milliseconds => "a time such as `5m`, `300s` or `300000` (milliseconds)",
            Unit::Bytes => "a size such as `64MiB` or `1048576` (bytes)",
        }
    }

    fn parse(self, text: &str) -> Option<u64> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, suffix) = text.split_at(digits);
        let known = self.suffixes().iter().find(|(known, _)| suffix == *known).map(|(_, each)| *each);
        let each = if suffix.is_empty() { Some(1) } else { known };
        number.parse::<u64>().ok()?.checked_mul(each?)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        let mut all = Settings {
            replicas: 0,
            retention_ms: 0,
            value_max_bytes: 0,
            silent_after_ms: 0,
            memtable_bytes: 0,
            log_keep_bytes: 0,
            disk_reserve_bytes: 0,
            hibernate_after_ms: 0,
            undo_window_ms: 0,
            migration_bytes_per_s: 0,
            max_concurrent_migrations: 0,
            rebalance: 0,
            migration_keep_p99_ms: 0,
            balance_leaders: 0,
            split_bytes: 0,
            split_per_s: 0,
            merge_after_ms: 0,
        };
        for setting in TABLE {
            *(setting.field)(&mut all) = setting.default;
        }
        all
    }
}

impl Settings {
    /// The settings that stored rows make, and what could not be understood of them.
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> (Settings, Vec<ConfigError>) {
        let (mut all, mut errors) = (Settings::default(), Vec::new());
        for (name, value) in rows {
            match setting(name).and_then(|setting| Ok((setting, setting.parse(value)?))) {
                Ok((setting, number)) => *(setting.field)(&mut all) = number,
                Err(error) => errors.push(error),
            }
        }
        (all, errors)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Count => "count",
            Unit::Milliseconds => "ms",
            Unit::Bytes => "bytes",
        })
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    let all = "; `nomad config ls` lists them".to_owned();
    suggestion.map_or(all, |name| format!("; did you mean `{name}`?"))
}

/// Letters to add, drop or change to get from one to the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        let retention = setting("retention_ms").unwrap();
        for (text, ms) in [("5m", 300_000), ("300000", 300_000), ("300s", 300_000), ("1500ms", 1_500)] {
            assert_eq!(retention.parse(text), Ok(ms));
        }
        let value = setting("value_max_bytes").unwrap();
        assert_eq!(value.parse("16MiB"), Ok(VALUE_MAX_BYTES as u64));
        assert_eq!(value.parse("64K"), Ok(65_536));
        for bad in ["", "m", "5 minutes", "-1", "1e3", "99999999999999999999", "18446744073709551615G", "5x"]
        {
            assert!(matches!(value.parse(bad), Err(ConfigError::Unreadable { .. })), "{bad}");
        }
        for bad in ["17MiB", "0"] {
            assert!(matches!(value.parse(bad), Err(ConfigError::NotAllowed { .. })), "{bad}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let replicas = setting("replicas").unwrap();
        let error = replicas.parse("2").unwrap_err().to_string();
        assert_eq!(error, "`replicas` cannot be 2: one of 1, 3, 5");
        let error = setting("replcas").unwrap_err().to_string();
        assert_eq!(error, "there is no setting `replcas`; did you mean `replicas`?");
        let error = setting("retention").unwrap_err().to_string();
        assert_eq!(error, "there is no setting `retention`; did you mean `retention_ms`?");
        let error = setting("something else").unwrap_err().to_string();
        assert_eq!(error, "there is no setting `something else`; `nomad config ls` lists them");
    }

    #[test]
    fn a_row_of_another_version_leaves_the_rest_alone() {
        let rows = [("replicas", "5"), ("from_the_future", "1"), ("retention_ms", "soon")];
        let (settings, errors) = Settings::from_rows(rows);
        assert_eq!(settings, Settings { replicas: 5, ..Settings::default() });
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn the_table_is_sound() {
        assert!(TABLE.is_sorted_by_key(|setting| setting.name));
        let defaults = Settings::default();
        for setting in TABLE {
            assert_eq!(setting.get(&defaults), setting.default);
            assert_eq!(
                setting.parse(&setting.show(setting.default)),
                Ok(setting.default),
                "{}",
                setting.name
            );
        }
        assert_eq!(setting("retention_ms").unwrap().show(300_000), "5m");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(number in 1u64..VALUE_MAX_BYTES as u64) {
            let value = setting("value_max_bytes").unwrap();
            prop_assert_eq!(value.parse(&value.show(number)), Ok(number));
            prop_assert_eq!(value.parse(&number.to_string()), Ok(number));
        }

        #[test]
        fn no_text_panics(name in ".{0,80}", text in ".{0,80}") {
            let _ = setting(&name);
            for setting in TABLE {
                let _ = setting.parse(&text);
            }
        }
    }
}
