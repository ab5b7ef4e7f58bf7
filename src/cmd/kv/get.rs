//! `nomad kv get`: prints a value.

use std::ffi::OsString;

use crate::client::Value;
use crate::cmd::escape::{self, JsonRow};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;
use crate::cmd::reading::Reading;
use crate::cmd::ui::{Format, Ui};
use crate::cmd::{session, spell, table};
use crate::model::time::Timestamp;

/// Print the value of a key
///
/// On a pipe these are the value's exact bytes, without a newline after them; on a terminal whatever cannot be printed
/// is escaped. With -o json: {"key", "value", "ts"}, with `key_b64` and `value_b64` where bytes are not UTF-8, and null
/// for an absent key. Exit code 1 if the key is absent.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// The key
    key: OsString,

    /// Show when it was written and how long it still lives
    #[arg(long)]
    meta: bool,

    #[command(flatten)]
    reading: Reading,
}

impl Get {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let key = spell::user_key(&self.key)?;
        let client = session::connect(global).await?;
        let read = client.get_with(&key, &self.reading.options()).await;
        match read.or_fail(|| format!("cannot read {}", escape::short(&key, 60)))? {
            Some(found) => {
                show(&ui, &key, &found, self.meta, client.seen())?;
                Ok(Exit::Done)
            }
            None if ui.is_json() => ui.line("null").map(|()| Exit::No),
            None => {
                ui.note(&format!("{} is absent", escape::short(&key, 60)));
                Ok(Exit::No)
            }
        }
    }
}

/// Writes the value; `now` is the cluster's clock, for the time left.
fn show(ui: &Ui, key: &[u8], found: &Value, meta: bool, now: Timestamp) -> Result<(), Failure> {
    match ui.format() {
        Some(Format::Json | Format::Jsonl) => {
            let row = JsonRow::new(key, &found.value, found.stamp, found.expires_at_ms);
            ui.show(&row, String::new, String::new)
        }
        Some(Format::Raw) => ui.bytes(&found.value),
        Some(Format::Table) | None if meta => {
            let left = found.expires_at_ms.map(|at_ms| at_ms.saturating_sub(now.ms()));
            ui.line(&table::pairs(&[
                ("key", escape::cell(key)),
                ("value", escape::cell(&found.value)),
                ("bytes", spell::count(found.value.len() as u64)),
                ("ts", format!("{} ({})", found.stamp, spell::moment(found.stamp.ms()))),
                (
                    "lives",
                    left.map_or("for ever".to_owned(), |ms| format!("for another {}", spell::span(ms))),
                ),
            ]))
        }
        Some(Format::Table) | None => match ui.stdout_is_terminal() {
            true => ui.line(&escape::value(&found.value)),
            false => ui.bytes(&found.value),
        },
    }
}
