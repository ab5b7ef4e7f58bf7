//! How an operation comes out, and how a script says how it should.

use std::fmt;

use super::form::Token;

/// Why an operation failed: a word for each kind of the client's errors.
pub const REASONS: &[&str] = &[
    "unreachable",
    "timeout",
    "conflict",
    "forbidden",
    "invalid",
    "full",
    "missing",
    "old",
    "damaged",
    "internal",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Absent,
    Value(String),
    /// A condition that did not hold, and what was there.
    Found(Option<String>),
    Rows(Vec<String>),
    /// Nothing changed. With a reason; none: whatever it is.
    Error(Option<String>),
    Unknown,
    Waiting,
}

impl Outcome {
    /// Whether this is how it should be, where `self` is what a script says.
    pub fn allows(&self, found: &Outcome) -> bool {
        match (self, found) {
            (Outcome::Error(None), Outcome::Error(_)) => true,
            _ => self == found,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Ok => write!(f, "ok"),
            Outcome::Absent => write!(f, "absent"),
            Outcome::Value(value) => write!(f, "{value}"),
            Outcome::Found(None) => write!(f, "found absent"),
            Outcome::Found(Some(value)) => write!(f, "found {value}"),
            Outcome::Rows(rows) if rows.is_empty() => write!(f, "nothing"),
            Outcome::Rows(rows) => write!(f, "{}", rows.join(" ")),
            Outcome::Error(None) => write!(f, "error"),
            Outcome::Error(Some(reason)) => write!(f, "error {reason}"),
            Outcome::Unknown => write!(f, "unknown"),
            Outcome::Waiting => write!(f, "waiting"),
        }
    }
}

/// Reads what stands after an arrow.
pub fn wanted(words: &[Token]) -> Result<Vec<Outcome>, String> {
    words.split(|word| word.is("or")).map(one).collect()
}

fn one(words: &[Token]) -> Result<Outcome, String> {
    let row = |word: &Token| !word.quoted && word.text.contains('=');
    match words {
        [] => Err("an outcome is missing".to_owned()),
        [word] if word.is("ok") => Ok(Outcome::Ok),
        [word] if word.is("absent") => Ok(Outcome::Absent),
        [word] if word.is("nothing") => Ok(Outcome::Rows(Vec::new())),
        [word] if word.is("error") => Ok(Outcome::Error(None)),
        [word] if word.is("unknown") => Ok(Outcome::Unknown),
        [word] if word.is("waiting") => Ok(Outcome::Waiting),
        [error, reason] if error.is("error") => match REASONS.contains(&reason.text.as_str()) {
            true => Ok(Outcome::Error(Some(reason.text.clone()))),
            false => Err(format!("`{}` is no reason", reason.text)),
        },
        [found, absent] if found.is("found") && absent.is("absent") => Ok(Outcome::Found(None)),
        [found, value] if found.is("found") => Ok(Outcome::Found(Some(value.text.clone()))),
        rows if rows.iter().all(row) => Ok(Outcome::Rows(rows.iter().map(|row| row.text.clone()).collect())),
        [value] => Ok(Outcome::Value(value.text.clone())),
        _ => Err("an outcome is one word; put `or` between several".to_owned()),
    }
}
