//! The terminal: the one owner of stdout, stderr, colour and questions.
//!
//! Promises: answers go to stdout, everything else to stderr; a reader that closes the pipe ends the command quietly;
//! colour only on a terminal that wants it. Does not: decide what is said.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;

use crate::cmd::fail::Failure;
use crate::cmd::table;

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people; may change any day
    Table,
    /// One JSON document; a stable contract
    Json,
    /// One JSON object a line
    Jsonl,
    /// The bare thing: a value's exact bytes, ids, a token
    Raw,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

/// The longest answer to a question, in bytes.
const REPLY_MAX_BYTES: u64 = 64;

/// Where answers, notes and questions go.
#[derive(Clone, Debug)]
pub struct Ui {
    format: Option<Format>,
    coloured: bool,
    quiet: bool,
    yes: bool,
    stdout_terminal: bool,
    stderr_terminal: bool,
}

impl Ui {
    pub fn new(format: Option<Format>, colour: Colour, quiet: bool, yes: bool) -> Ui {
        let (stdout_terminal, stderr_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let coloured = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => stderr_terminal && !dumb && !set("NO_COLOR"),
        };
        Ui { format, coloured, quiet, yes, stdout_terminal, stderr_terminal }
    }

    /// What was asked for, if anything.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// True if answers are JSON of either kind.
    pub fn is_json(&self) -> bool {
        matches!(self.format, Some(Format::Json | Format::Jsonl))
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub fn stdout_is_terminal(&self) -> bool {
        self.stdout_terminal
    }

    pub fn stderr_is_terminal(&self) -> bool {
        self.stderr_terminal
    }

    /// True if what goes to stderr may be coloured.
    pub fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// The width of stdout, if it is a terminal.
    pub fn columns(&self) -> Option<u16> {
        self.stdout_terminal.then(table::terminal_columns)
    }

    /// Writes bytes to stdout as they are, at once.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = self.out();
        out.write(bytes)?;
        out.flush()
    }

    /// Writes a line to stdout.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.bytes(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
    }

    /// stdout for an answer of many parts.
    pub fn out(&self) -> Out {
        Out(io::BufWriter::new(io::stdout().lock()))
    }

    /// One answer: JSON if asked for, else the text of `table` or `raw`.
    pub fn show(
        &self,
        answer: &impl Serialize,
        table: impl FnOnce() -> String,
        raw: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Some(Format::Json) => self.line(&json(answer, true)),
            Some(Format::Jsonl) => self.line(&json(answer, false)),
            Some(Format::Raw) => self.line(&raw()),
            Some(Format::Table) | None => self.line(&table()),
        }
    }

    /// A list: JSON if asked for, else a table, or what `raw` makes of each, one a line.
    pub fn list<T: Serialize>(
        &self,
        items: &[T],
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
        raw: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Some(Format::Json) => self.line(&json(&items, true)),
            Some(Format::Jsonl) => {
                items.iter().try_for_each(|item| self.bytes((json(item, false) + "\n").as_bytes()))
            }
            Some(Format::Raw) => items.iter().try_for_each(|item| self.bytes((raw(item) + "\n").as_bytes())),
            Some(Format::Table) | None => {
                let rows = items.iter().map(row).collect();
                self.bytes(table::render(self.columns(), header, rows).as_bytes())
            }
        }
    }

    /// Something worth knowing that is not the answer.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Something that must not be missed.
    pub fn warn(&self, text: &str) {
        self.say(&format!("{} {text}", self.paint("warning:", "33")));
    }

    /// Tells why the command failed.
    pub fn failure(&self, failure: &Failure) {
        if failure.is_silent() {
            return;
        }
        match self.is_json() {
            true => self.say(&json(failure, false)),
            false => {
                let paint = |label: &str| match label {
                    "error:" => self.paint(label, "1;31"),
                    "try:" => self.paint(label, "36"),
                    _ => label.to_owned(),
                };
                self.say(failure.render(paint).trim_end());
            }
        }
    }

    /// Asks before something that cannot be taken back. Without a terminal only `--yes` answers.
    pub fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if !(io::stdin().is_terminal() && self.stderr_terminal) {
            return Err(Failure::usage(format!("{question} Nobody is here to answer"))
                .because("this is not a terminal")
                .cure("the same with --yes"));
        }
        eprint!("{question} [y/N] ");
        let mut reply = String::new();
        let read = io::Read::take(io::stdin().lock(), REPLY_MAX_BYTES).read_line(&mut reply);
        Ok(read.is_ok() && matches!(reply.trim(), "y" | "Y" | "yes"))
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A line to stderr; if nobody listens there, so be it.
    fn say(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// A buffered stdout. Nothing is promised to be out before [`Out::flush`].
pub struct Out(io::BufWriter<io::StdoutLock<'static>>);

impl Out {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(|error| write_failed(&error))
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| write_failed(&error))
    }
}

/// JSON text, over many lines or on one.
pub fn json(answer: &impl Serialize, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(answer) } else { serde_json::to_string(answer) };
    text.expect("our answers have string keys and no failing parts")
}

fn write_failed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::usage("cannot write the answer")
            .caused_by(error)
            .cure("the same with stdout going elsewhere"),
    }
}
