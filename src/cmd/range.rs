//! `nomad range`: prints keys with their values, in order.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use futures_util::StreamExt;

use crate::client::{RangeQuery, Row};
use crate::cmd::escape::{self, JsonRow};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;
use crate::cmd::reading::Reading;
use crate::cmd::ui::{Format, Out, Ui, json};
use crate::cmd::{session, spell};
use crate::model::key::{Key, KeyRange};

/// Print keys and values in order
///
/// From START (inclusive) to END (exclusive); without END to the last key. Rows are printed as they arrive: escaped text
/// on a terminal, JSON lines on a pipe. With -o raw: key, tab, value and a newline, as they are.
#[derive(Debug, clap::Args)]
pub struct Range {
    /// First key
    #[arg(conflicts_with = "prefix")]
    start: Option<OsString>,

    /// Key to stop before
    end: Option<OsString>,

    /// All keys that start so
    #[arg(long, value_name = "P")]
    prefix: Option<OsString>,

    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// From the last to the first
    #[arg(long)]
    reverse: bool,

    #[command(flatten)]
    reading: Reading,
}

impl Range {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let range = self.range()?;
        let client = session::connect(global).await?;
        let (limit, reverse, options) = (self.limit, self.reverse, self.reading.options());
        let mut rows = client.range(RangeQuery { range, limit, reverse, options });
        let mut printer = Printer::new(&ui);
        while let Some(row) = rows.next().await {
            match row.or_fail(|| "cannot read on".to_owned()) {
                Ok(row) => printer.row(&row)?,
                Err(failure) => {
                    printer.flush()?;
                    return Err(failure);
                }
            }
        }
        printer.end()?;
        Ok(Exit::Done)
    }

    fn range(&self) -> Result<KeyRange, Failure> {
        if let Some(prefix) = &self.prefix {
            spell::user_key(prefix)?;
            let range = KeyRange::with_prefix(prefix.as_bytes());
            return range.map_err(|error| Failure::usage("that is not a prefix").caused_by(&error));
        }
        let bound = |typed: &Option<OsString>| {
            typed.as_ref().map(|typed| spell::user_bound(typed.as_bytes())).transpose()
        };
        let (start, end) = (bound(&self.start)?.unwrap_or(Key::FIRST_USER), bound(&self.end)?);
        if end.as_ref().is_some_and(|end| *end < start) {
            return Err(Failure::usage("the range ends before it begins")
                .because("keys are ordered byte by byte, and END must not come before START")
                .cure("nomad range START END, and --reverse to read it backwards"));
        }
        Ok(KeyRange::new(start, end))
    }
}

/// Writes rows as they come.
struct Printer {
    out: Out,
    format: Format,
    flush_each: bool,
    rows: u64,
}

impl Printer {
    fn new(ui: &Ui) -> Printer {
        let flush_each = ui.stdout_is_terminal();
        let default = if flush_each { Format::Table } else { Format::Jsonl };
        Printer { out: ui.out(), format: ui.format().unwrap_or(default), flush_each, rows: 0 }
    }

    fn row(&mut self, row: &Row) -> Result<(), Failure> {
        let first = self.rows == 0;
        self.rows += 1;
        match self.format {
            Format::Raw => self.out.write(&[&row.key, &b"\t"[..], &row.value, b"\n"].concat())?,
            Format::Table => {
                self.out.write(
                    format!("{}  {}\n", escape::cell(&row.key), escape::cell(&row.value)).as_bytes(),
                )?;
            }
            Format::Jsonl => self.out.write((text(row) + "\n").as_bytes())?,
            Format::Json => {
                self.out.write(if first { b"[\n  " } else { b",\n  " })?;
                self.out.write(text(row).as_bytes())?;
            }
        }
        if self.flush_each { self.out.flush() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), Failure> {
        match (self.format, self.rows) {
            (Format::Json, 0) => self.out.write(b"[]\n")?,
            (Format::Json, _) => self.out.write(b"\n]\n")?,
            _ => {}
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush()
    }
}

fn text(row: &Row) -> String {
    json(&JsonRow::new(&row.key, &row.value, row.stamp, row.expires_at_ms), false)
}
