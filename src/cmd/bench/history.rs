//! What every client asked and was told, for `--check`: could one copy of each key have told all that?
//!
//! While the run lasts each operation is noted with its beginning, its end and its answer; afterwards each key's history
//! is judged ([`crate::model::history`]). A scan counts as a read of each key in it, those that were not there included.
//! What failed is left out: it must have changed nothing, and if it did, somebody read what nobody wrote.
//!
//! Promises: bounded ([`NOTES_MAX`]); clients seldom wait for each other. Relies on: nobody else writing these keys, which
//! held nothing before; values that tell their writes apart. Does not: forgive a weaker read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use crate::cmd::bench::keys::Family;
use crate::cmd::bench::value::Origin;
use crate::cmd::progress::{Progress, Unit};
use crate::cmd::spell;
use crate::cmd::ui::Ui;
use crate::model::history::{Action, Operation, Swapped, Verdict, judge};

/// Most operations noted; about 80 bytes of memory each.
pub const NOTES_MAX: u64 = 10_000_000;
/// Parts that are locked apart.
const STRIPES: u64 = 64;
/// The number of a value that no write of this run made.
pub const FOREIGN: u64 = u64::MAX;

type Names = BTreeMap<(u8, u64), Vec<Operation>>;

/// The histories of all keys.
pub struct History {
    began: Instant,
    run: u32,
    stripes: Vec<Mutex<Names>>,
    noted: AtomicU64,
}

/// What judging showed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    pub keys: u64,
    /// Noted of them: each row of a scan is one.
    pub operations: u64,
    /// Of those: writes of unknown outcome.
    pub unknown: u64,
    /// Keys whose clients were told what no single copy could have told.
    pub wrong: u64,
    /// Keys with too many orders to try.
    pub undecided: u64,
    /// One that is wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_wrong: Option<String>,
}

impl History {
    /// Of the values of this run, from now on.
    pub fn begin(run: u32) -> History {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        History { began: Instant::now(), run, stripes, noted: AtomicU64::new(0) }
    }

    /// Nanoseconds since it began.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// What stands for a value, given the write that made it.
    pub fn number(&self, origin: Origin) -> u64 {
        let Origin { run, writer, sequence } = origin;
        if run == self.run { u64::from(writer) << 48 | sequence } else { FOREIGN }
    }

    /// Notes what `client` asked at `begin` and was told just now. Once there are too many notes, reads are left out: that
    /// can hide something, but never make something up.
    pub fn answered(&self, key: (Family, u64), client: u16, begin: u64, action: Action) {
        if matches!(action, Action::Get { .. }) && self.is_full() {
            return;
        }
        self.note(key, Operation { client: client.into(), begin, end: Some(self.now()), action });
    }

    /// Notes a write that may have been done since `begin`, or be done yet.
    pub fn unknown(&self, key: (Family, u64), client: u16, begin: u64, action: Action) {
        self.note(key, Operation { client: client.into(), begin, end: None, action });
    }

    /// True if no more should be noted.
    pub fn is_full(&self) -> bool {
        self.noted.load(Ordering::Relaxed) >= NOTES_MAX
    }

    fn note(&self, (family, number): (Family, u64), operation: Operation) {
        self.noted.fetch_add(1, Ordering::Relaxed);
        let mut names = self.stripes[(number % STRIPES) as usize].lock();
        names.entry((family as u8, number)).or_default().push(operation);
    }

    /// Judges all keys. Blocks.
    pub fn check(&self, ui: &Ui) -> Checked {
        let mut checked = Checked::default();
        let all = self.stripes.iter().map(|stripe| stripe.lock().len() as u64).sum();
        let mut progress = Progress::start(ui, "checking", Unit::Keys, Some(all));
        for stripe in &self.stripes {
            for ((family, number), operations) in std::mem::take(&mut *stripe.lock()) {
                checked.add(&format!("{}{number}", family as char), &operations);
                progress.at(checked.keys);
            }
        }
        progress.finish();
        checked
    }
}

impl Checked {
    fn add(&mut self, key: &str, operations: &[Operation]) {
        self.keys += 1;
        self.operations += operations.len() as u64;
        self.unknown += operations.iter().filter(|operation| operation.end.is_none()).count() as u64;
        match judge(operations) {
            Verdict::Linearizable => {}
            Verdict::Undecided => self.undecided += 1,
            Verdict::Impossible { operation, state } => {
                self.wrong += 1;
                let told = told(&operations[operation]);
                let held = state.map_or("nothing".to_owned(), |value| format!("{value:#x}"));
                self.first_wrong.get_or_insert_with(|| {
                    format!("{key}: {told}; no order explains that, at best the key held {held}")
                });
            }
        }
    }

    /// In words, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let [keys, operations, unknown, wrong, undecided] =
            [self.keys, self.operations, self.unknown, self.wrong, self.undecided].map(spell::count);
        let mut lines = vec![match (self.wrong, self.undecided) {
            (0, 0) => format!("checked: {operations} operations on {keys} keys are linearizable"),
            (0, _) => format!("NOT decided: {undecided} of {keys} keys have too many orders to try"),
            _ => format!("NOT linearizable: {wrong} of {keys} keys ({operations} operations)"),
        }];
        lines.extend(self.first_wrong.clone());
        if self.unknown > 0 {
            lines.push(format!("  {unknown} of them are writes of unknown outcome"));
        }
        lines
    }
}

/// An operation and its answer, in words.
fn told(operation: &Operation) -> String {
    let value = |value: Option<u64>| value.map_or("nothing".to_owned(), |value| format!("{value:#x}"));
    let what = match operation.action {
        Action::Get { found } => format!("read {}", value(found)),
        Action::Put { value } => format!("wrote {value:#x}"),
        Action::Delete { existed } => format!("deleted it (existed: {existed:?})"),
        Action::Cas { expected, value: new, told } => {
            let expected = value(expected);
            match told {
                Swapped::Done => format!("replaced {expected} by {new:#x}"),
                Swapped::Failed { found } => format!("found {} instead of {expected}", value(found)),
                Swapped::Unknown => format!("may have replaced {expected} by {new:#x}"),
            }
        }
        Action::Incr { by, sum } => format!("added {by} and was told {sum:?}"),
    };
    let at_s = |ns: u64| ns as f64 / 1e9;
    let end = operation.end.map_or("?".to_owned(), |end| format!("{:.6}", at_s(end)));
    format!("client {} {what} between {:.6} and {end} s", operation.client, at_s(operation.begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::ui::Colour;

    const KEY: (Family, u64) = (Family::Values, 7);

    fn origin(run: u32, sequence: u64) -> Origin {
        Origin { run, writer: 3, sequence }
    }

    #[test]
    fn what_is_true_passes_and_what_is_not_is_told() {
        let ui = Ui::new(None, Colour::Never, true, false);
        let history = History::begin(1);
        let value = history.number(origin(1, 5));
        history.answered(KEY, 3, history.now(), Action::Put { value });
        history.answered(KEY, 4, history.now(), Action::Get { found: Some(value) });
        history.unknown((Family::Numbers, 7), 3, history.now(), Action::Incr { by: 1, sum: None });
        let checked = history.check(&ui);
        assert_eq!((checked.keys, checked.operations, checked.unknown, checked.wrong), (2, 3, 1, 0));

        let history = History::begin(1);
        history.answered(KEY, 3, history.now(), Action::Get { found: Some(history.number(origin(2, 5))) });
        let checked = history.check(&ui);
        assert_eq!(checked.wrong, 1);
        let why = checked.first_wrong.unwrap();
        assert!(why.starts_with("k7: client 3 read 0xffffffffffffffff between"), "{why}");
    }
}
