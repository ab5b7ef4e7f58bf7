//! The language of scripts: a story, one step a line. What can be said is in [`table`] and, for people, in
//! `tests/scripts/README.md`.

#![allow(dead_code, reason = "each of two tests uses a part")]

pub mod form;
pub mod outcome;
pub mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use form::{Args, Furthest, Token, node, tokens};
use outcome::{Outcome, wanted};
use table::{Act, CONDITIONS, Fact, OPERATIONS, STEPS, Verb};

/// A file: what it is about, and its steps.
#[derive(Clone, Debug)]
pub struct Script {
    /// As people call it: the file's name without its ending.
    pub name: String,
    pub path: String,
    pub steps: Vec<Step>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Step {
    pub line: usize,
    pub text: String,
    pub verb: Verb,
    pub args: Args,
    pub operation: Option<(Act, Args)>,
    pub condition: Option<(Fact, Args)>,
    pub outcomes: Vec<Outcome>,
}

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub path: String,
    pub line: usize,
    pub text: String,
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { path, line, text, why } = self;
        write!(f, "{path}:{line}: {text}\n  {why}")
    }
}

/// What a story has told so far that later lines refer to.
#[derive(Default)]
struct Known {
    nodes: usize,
    begun: BTreeSet<String>,
    /// Of these the end has not been looked at.
    open: BTreeSet<String>,
    load: bool,
    count: bool,
}

/// Reads a file.
pub fn parse(path: &str, text: &str) -> Result<Script, Mistake> {
    let mistake = |line: usize, text: &str, why: String| {
        Err(Mistake { path: path.to_owned(), line, text: text.trim().to_owned(), why })
    };
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("# failures row") {
        let why = "a file begins with `# failures row`, its number, and what bit whom".to_owned();
        return mistake(1, first, why);
    }
    let (mut steps, mut known) = (Vec::new(), Known::default());
    for (n, line) in text.lines().enumerate() {
        match step(n + 1, line, &mut known) {
            Ok(None) => {}
            Ok(Some(step)) => steps.push(step),
            Err(why) => return mistake(n + 1, line, why),
        }
    }
    if steps.is_empty() {
        return mistake(text.lines().count(), "", "nothing happens".to_owned());
    }
    if let Some(why) = known.left_open() {
        return mistake(text.lines().count(), "", why);
    }
    let name = Path::new(path).file_stem().map(|name| name.to_string_lossy().into_owned());
    Ok(Script { name: name.unwrap_or_default(), path: path.to_owned(), steps })
}

/// Reads a line; `None`: there is nothing on it.
fn step(line: usize, text: &str, known: &mut Known) -> Result<Option<Step>, String> {
    let words = tokens(text)?;
    if words.is_empty() {
        return Ok(None);
    }
    let mut furthest = Furthest::default();
    let Some((row, args)) = form::row(STEPS, &words, &mut furthest) else {
        return Err(misread(&words, &furthest));
    };
    let part = |hole: &str| args.words(hole).to_vec();
    let operation = form::row(OPERATIONS, &part("OPERATION"), &mut Furthest::default());
    let condition = form::row(CONDITIONS, &part("CONDITION"), &mut Furthest::default());
    let outcomes = part("OUTCOME");
    let step = Step {
        line,
        text: text.trim().to_owned(),
        verb: row.verb,
        operation: operation.map(|(row, args)| (row.verb, args)),
        condition: condition.map(|(row, args)| (row.verb, args)),
        outcomes: if outcomes.is_empty() { Vec::new() } else { wanted(&outcomes)? },
        args,
    };
    known.learn(&step, &words)?;
    Ok(Some(step))
}

impl Known {
    /// What a story that is over has not judged.
    fn left_open(&self) -> Option<String> {
        match (self.load, self.count, self.open.first()) {
            (true, _, _) => Some("`end load` is missing, which judges it".to_owned()),
            (_, true, _) => Some("`end count` is missing, which judges it".to_owned()),
            (_, _, Some(name)) => Some(format!("nobody looks at what comes of `{name}`")),
            _ => None,
        }
    }

    /// Whether what a step refers to is there.
    fn learn(&mut self, step: &Step, words: &[Token]) -> Result<(), String> {
        let args = &step.args;
        match step.verb {
            Verb::Nodes if self.nodes > 0 => return Err("a story has one cluster".to_owned()),
            Verb::Nodes => {
                self.nodes =
                    args.text("NUMBER").parse().ok().filter(|n| *n > 0).ok_or("one node at least")?;
            }
            _ if self.nodes == 0 => return Err("a story begins with `nodes`".to_owned()),
            Verb::Join if node(args.text("NODE")) != Some(self.nodes + 1) => {
                return Err(format!("the next to join is n{}", self.nodes + 1));
            }
            Verb::Join => self.nodes += 1,
            Verb::Begin if !self.begun.insert(args.text("NAME").to_owned()) => {
                return Err(format!("`{}` was begun above", args.text("NAME")));
            }
            Verb::Begin => _ = self.open.insert(args.text("NAME").to_owned()),
            Verb::Ended if !self.begun.contains(args.text("NAME")) => {
                return Err(format!("nothing was begun as `{}`", args.text("NAME")));
            }
            Verb::Ended if !step.outcomes.contains(&Outcome::Waiting) => {
                _ = self.open.remove(args.text("NAME"))
            }
            Verb::Load | Verb::EndLoad => toggle(&mut self.load, step.verb == Verb::Load, "load")?,
            Verb::Count | Verb::EndCount => toggle(&mut self.count, step.verb == Verb::Count, "count")?,
            _ => {}
        }
        let named = words.iter().filter(|word| !word.quoted).filter_map(|word| node(&word.text));
        if let Some(n) = named.filter(|n| *n > self.nodes).max() {
            return Err(format!("there is no n{n}, only n1 to n{}", self.nodes));
        }
        let Some((act, _)) = &step.operation else { return Ok(()) };
        match step.outcomes.iter().find(|outcome| !possible(*act, outcome)) {
            Some(never) => Err(format!("this never comes out as `{never}`")),
            None => Ok(()),
        }
    }
}

/// Begins or ends what there may be one of.
fn toggle(on: &mut bool, begin: bool, what: &str) -> Result<(), String> {
    match (*on, begin) {
        (true, true) => return Err(format!("end the {what} above first")),
        (false, false) => return Err(format!("there is no {what} to end")),
        _ => *on = begin,
    }
    Ok(())
}

/// Whether an operation can come out so at all.
fn possible(act: Act, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Error(_) => true,
        Outcome::Unknown => !matches!(act, Act::Get | Act::Scan),
        Outcome::Ok => matches!(act, Act::Put | Act::Delete | Act::Cas),
        Outcome::Absent => matches!(act, Act::Get | Act::Delete),
        Outcome::Value(_) => matches!(act, Act::Get | Act::Incr),
        Outcome::Found(_) => act == Act::Cas,
        Outcome::Rows(_) => act == Act::Scan,
        Outcome::Waiting => false,
    }
}

/// Why a line fits no form.
fn misread(words: &[Token], furthest: &Furthest) -> String {
    let first = words[0].text.as_str();
    let begins = |form: &str| form.split_whitespace().next() == Some(first);
    let mut forms: Vec<&str> = STEPS.iter().map(|row| row.form).filter(|form| begins(form)).collect();
    let mut operations = OPERATIONS.iter().filter(|row| begins(row.form)).peekable();
    if let Some(operation) = operations.peek() {
        let form = table::STEPS.iter().find(|row| row.verb == Verb::Do).map_or("", |row| row.form);
        return format!("write `{}`, where OPERATION is `{}`", form, operation.form);
    }
    if forms.is_empty() {
        return format!("no step begins with `{first}`; README.md has all of them");
    }
    if matches!(first, "expect" | "until" | "hold") {
        let rest = &words[1..];
        let near =
            |form: &&str| form.split_whitespace().any(|part| rest.iter().any(|word| word.text == part));
        let conditions: Vec<&str> = CONDITIONS.iter().map(|row| row.form).filter(near).collect();
        return format!(
            "write `{}`; conditions like this: `{}`",
            forms.join("` or `"),
            conditions.join("`, `")
        );
    }
    forms.dedup();
    let at = words.get(furthest.at).map_or("the end".to_owned(), |word| format!("`{}`", word.text));
    let wanted = furthest.wanted.join(" or ");
    format!("write `{}`: {at} should be {wanted}", forms.join("` or `"))
}

/// `150ms`, `3s`, `2m`, `1h`, with a sign.
pub fn time_ms(text: &str) -> Option<i64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(end);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms)
}

/// `100B`, `64KiB`, `1MiB`.
pub fn size_bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(end);
    let unit_bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_bytes)
}
