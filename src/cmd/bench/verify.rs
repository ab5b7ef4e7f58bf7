//! After a run: is everything there that was acknowledged, and nothing that was not?
//!
//! Timestamps of one key rise in the order in which its writes took effect. So each key must hold the acknowledged write
//! with the highest timestamp, or one that nobody knew about with a higher one. A number to which only ones were added
//! must have grown by as many as were acknowledged, or by as many more as nobody knew about.
//!
//! Promises: every key that was loaded or written is read, linearizably; each value is checked against its key. Does not:
//! find values that a later write replaced; hold if somebody else writes below the prefix meanwhile.

use futures_util::StreamExt;
use serde::Serialize;

use crate::client::{Client, RangeQuery, Row};
use crate::cmd::bench::keys::{Family, Keys};
use crate::cmd::bench::ledger::{Counted, Ledger, Record};
use crate::cmd::bench::value::{self, LOADER, Origin};
use crate::cmd::fail::{Failure, OrFail};
use crate::cmd::progress::{Progress, Unit};
use crate::cmd::spell;
use crate::cmd::ui::Ui;
use crate::model::time::Timestamp;

/// What verifying showed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// Keys read back, numbers included.
    pub keys: u64,
    /// Writes of the run that were acknowledged.
    pub acknowledged: u64,
    /// Writes of the run that nobody knew about.
    pub unknown: u64,
    /// Of those: keys that hold one of them now.
    pub unknown_found: u64,
    /// Keys that are missing or hold what they should not, and answers during the run that were wrong.
    pub wrong: u64,
    /// One of them, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_wrong: Option<String>,
}

/// What a key was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// What it must.
    Expected,
    /// A write nobody knew about.
    Unknown,
}

impl Verified {
    /// In words, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let (keys, writes) = (spell::count(self.keys), spell::count(self.acknowledged));
        let mut lines = match self.wrong {
            0 => vec![
                format!("verified: {keys} keys read back, nothing lost, nothing foreign"),
                format!("  each key written holds its newest acknowledged write, of {writes}"),
            ],
            wrong => vec![
                format!(
                    "NOT verified: of {keys} keys read back, and of answers, wrong: {}",
                    spell::count(wrong)
                ),
                format!("  {writes} writes were acknowledged"),
            ],
        };
        if self.unknown > 0 {
            let (unknown, found) = (spell::count(self.unknown), spell::count(self.unknown_found));
            lines.push(format!("  {unknown} writes are of unknown outcome; {found} keys hold such a one"));
        }
        lines
    }

    fn wrong(&mut self, count: u64, what: impl FnOnce() -> String) {
        self.wrong += count;
        if count > 0 {
            self.first_wrong.get_or_insert_with(what);
        }
    }
}

/// Reads everything back. `loaded`: the keys below this were there before the run. `answers`: those that were wrong.
pub async fn verify(
    ui: &Ui,
    client: &Client,
    keys: &Keys,
    ledger: &Ledger,
    run: u32,
    loaded: u64,
    answers: (u64, Option<String>),
) -> Result<Verified, Failure> {
    let (acknowledged, unknown) = ledger.writes();
    let (wrong, first_wrong) = answers;
    let mut verified = Verified { acknowledged, unknown, wrong, first_wrong, ..Verified::default() };
    let mut progress = Progress::start(ui, "verifying", Unit::Keys, None);
    let mut next_loaded = 0;
    for family in [Family::Values, Family::Numbers] {
        let mut rows = client.range(RangeQuery::new(keys.all(family)));
        while let Some(row) = rows.next().await {
            let row = row.or_fail(|| "cannot read everything back, so nothing is verified".to_owned())?;
            let Some(number) = keys.number(family, &row.key) else { continue };
            verified.keys += 1;
            progress.at(verified.keys);
            let judged = match family {
                Family::Values => {
                    gap(&mut verified, &mut next_loaded, number.min(loaded));
                    next_loaded = (number + 1).max(next_loaded);
                    judge_row(&ledger.take(number), run, number, &row)
                }
                Family::Numbers => judge_number(ledger.take_number(number), &row.value),
            };
            match judged {
                Ok(Found::Expected) => {}
                Ok(Found::Unknown) => verified.unknown_found += 1,
                Err(why) => verified.wrong(1, || format!("{}{number} {why}", family as u8 as char)),
            }
        }
    }
    gap(&mut verified, &mut next_loaded, loaded);
    let (left, key, number) = ledger.left(loaded);
    verified.wrong(left, || match (key, number) {
        (Some(key), _) => format!("k{key} is absent, although a write of it was acknowledged"),
        (None, number) => format!("n{} is absent, although it was counted", number.unwrap_or_default()),
    });
    progress.finish();
    Ok(verified)
}

/// The loaded keys from `next` to `to` (exclusive) were not found.
fn gap(verified: &mut Verified, next: &mut u64, to: u64) {
    let first = *next;
    verified.wrong(to.saturating_sub(first), || format!("k{first} is absent, although it was loaded"));
    *next = to.max(first);
}

fn judge_row(record: &Record, run: u32, number: u64, row: &Row) -> Result<Found, String> {
    let origin = value::check(&row.value, number).map_err(|damage| format!("is damaged: {damage}"))?;
    judge(record, run, row.stamp, origin)
}

/// What a key holds against what is known of it.
fn judge(record: &Record, run: u32, stamp: Timestamp, origin: Origin) -> Result<Found, String> {
    match record.acknowledged {
        Some((newest, by)) if stamp == newest => match origin == by {
            true => return Ok(Found::Expected),
            false => return Err("holds another value under the timestamp of an acknowledged write".into()),
        },
        Some((newest, _)) if stamp < newest => {
            return Err(format!("is as of {stamp}: the write acknowledged at {newest} is lost"));
        }
        _ if stamp < record.seen => {
            return Err(format!("is as of {stamp}, although it was read as of {}", record.seen));
        }
        _ => {}
    }
    if record.unknown.contains(&origin) {
        return Ok(Found::Unknown);
    }
    if origin.run == run && origin.writer != LOADER {
        return Err("holds a write that was answered with an error, or one before that was replaced".into());
    }
    match record.acknowledged {
        Some(_) => Err("was written by somebody else after an acknowledged write".into()),
        None => Ok(Found::Expected),
    }
}

/// What a number is against what was added.
fn judge_number(counted: Counted, value: &[u8]) -> Result<Found, String> {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    let found = text.ok_or("is not a number")?;
    let Counted { least, greatest, acknowledged, unknown } = counted;
    if acknowledged == 0 {
        return Ok(if unknown > 0 { Found::Unknown } else { Found::Expected });
    }
    if found < greatest {
        return Err(format!("is {found}, although {greatest} was acknowledged"));
    }
    // All sums from the least on, each acknowledged once or unknown.
    let sums = |to: i64| to.abs_diff(least).saturating_add(1);
    if sums(greatest) < acknowledged {
        return Err("was counted twice with the same sum".into());
    }
    if sums(found) > acknowledged + unknown {
        return Err(format!("is {found}: more was added than was asked for"));
    }
    Ok(if found > greatest { Found::Unknown } else { Found::Expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u32 = 9;

    fn by(run: u32, sequence: u64) -> Origin {
        Origin { run, writer: 1, sequence }
    }

    fn record(acknowledged: Option<(u64, u64)>, seen: u64, unknown: &[u64]) -> Record {
        Record {
            acknowledged: acknowledged.map(|(stamp, sequence)| (Timestamp(stamp), by(RUN, sequence))),
            seen: Timestamp(seen),
            unknown: unknown.iter().map(|sequence| by(RUN, *sequence)).collect(),
        }
    }

    fn judged(record: &Record, stamp: u64, origin: Origin) -> Option<Found> {
        judge(record, RUN, Timestamp(stamp), origin).ok()
    }

    #[test]
    fn a_key_holds_its_newest_acknowledged_write_or_an_unknown_one() {
        let known = record(Some((20, 2)), 20, &[3]);
        assert_eq!(judged(&known, 20, by(RUN, 2)), Some(Found::Expected));
        assert_eq!(judged(&known, 30, by(RUN, 3)), Some(Found::Unknown));
        assert_eq!(judged(&known, 10, by(RUN, 1)), None, "a lost write");
        assert_eq!(judged(&known, 10, by(RUN, 3)), None, "a lost write, although the one found is unknown");
        assert_eq!(judged(&known, 20, by(RUN, 1)), None, "another value under its timestamp");
        assert_eq!(judged(&known, 30, by(RUN, 4)), None, "one that failed");
        assert_eq!(judged(&known, 30, by(RUN - 1, 9)), None, "somebody else's");
    }

    #[test]
    fn a_key_without_an_acknowledged_write_is_as_it_was_before() {
        let loaded = Origin { run: RUN, writer: LOADER, sequence: 5 };
        let untouched = record(None, 10, &[]);
        assert_eq!(judged(&untouched, 10, loaded), Some(Found::Expected));
        assert_eq!(judged(&untouched, 10, by(RUN - 1, 5)), Some(Found::Expected));
        assert_eq!(judged(&untouched, 9, loaded), None, "older than what was read");
        assert_eq!(judged(&untouched, 11, by(RUN, 1)), None, "a write that was answered with an error");
    }

    #[test]
    fn numbers_grow_by_what_was_asked_for() {
        let counted = |unknown| Counted { least: 4, greatest: 7, acknowledged: 4, unknown };
        let judged = |counted, value: &str| judge_number(counted, value.as_bytes()).ok();
        assert_eq!(judged(counted(0), "7"), Some(Found::Expected));
        assert_eq!(judged(counted(1), "8"), Some(Found::Unknown));
        assert_eq!(judged(counted(0), "8"), None, "added twice");
        assert_eq!(judged(counted(1), "6"), None, "lost");
        assert_eq!(judged(counted(1), "x"), None);
        assert_eq!(judged(Counted { acknowledged: 5, ..counted(0) }, "7"), None, "one sum twice");
        assert_eq!(
            judged(Counted { acknowledged: 3, ..counted(0) }, "7"),
            None,
            "a repeat was applied twice"
        );
        assert_eq!(judged(Counted::default(), "123"), Some(Found::Expected));
    }

    #[test]
    fn missing_keys_are_told_by_the_first() {
        let (mut verified, mut next) = (Verified::default(), 0);
        gap(&mut verified, &mut next, 0);
        assert_eq!(verified.wrong, 0);
        gap(&mut verified, &mut next, 3);
        gap(&mut verified, &mut next, 3);
        assert_eq!((verified.wrong, next), (3, 3));
        assert_eq!(verified.first_wrong.as_deref(), Some("k0 is absent, although it was loaded"));
        assert!(verified.sentences()[0].starts_with("NOT verified"));
    }
}
