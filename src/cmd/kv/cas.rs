//! `nomad kv cas`: writes a value if the key still is what one thinks.

use std::ffi::OsString;

use serde::Serialize;

use crate::client::{self, Expected};
use crate::cmd::escape::{self, JsonKey, JsonRow};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, OrFail};
use crate::cmd::global::Global;
use crate::cmd::kv::put::typed;
use crate::cmd::{session, spell};
use crate::model::time::Timestamp;

/// Write a value if the key still has the expected one
///
///   nomad kv cas KEY OLD NEW          if the value is OLD
///   nomad kv cas KEY --absent NEW     if there is none
///
/// Exit code 1 if the condition fails; nothing changed then, and -o json shows what was found.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    override_usage = "nomad kv cas [OPTIONS] <KEY> <OLD> <NEW>\n       nomad kv cas [OPTIONS] <KEY> --absent <NEW>"
)]
pub struct Cas {
    /// The key
    key: OsString,

    /// The value expected, then the new one; `-` reads it from stdin
    #[arg(required = true, num_args = 1..=2, value_names = ["OLD", "NEW"], allow_negative_numbers = true)]
    values: Vec<OsString>,

    /// Expect that the key is absent
    #[arg(long)]
    absent: bool,
}

#[derive(Serialize)]
struct Judged {
    #[serde(flatten)]
    key: JsonKey,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<JsonRow>,
}

impl Cas {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let key = spell::user_key(&self.key)?;
        let (expected, new) = match (self.absent, self.values.as_slice()) {
            (true, [new]) => (Expected::Absent, typed(new)?),
            (false, [old, new]) => (Expected::Value(typed(old)?), typed(new)?),
            (true, _) => return Err(usage("with --absent there is only a new value, no old one")),
            (false, _) => return Err(usage("a new value is missing")),
        };
        let client = session::connect(global).await?;
        let judged = client.cas(&key, expected, new).await;
        let name = JsonKey::new(&key);
        match judged.or_fail(|| format!("cannot write {}", escape::short(&key, 60)))? {
            client::Cas::Done { stamp } => {
                if ui.is_json() {
                    let judged = Judged { key: name, done: true, ts: Some(stamp), found: None };
                    ui.show(&judged, String::new, String::new)?;
                }
                Ok(Exit::Done)
            }
            client::Cas::Failed { found } => {
                let has = found.as_ref().map_or("it is absent".to_owned(), |found| {
                    format!("it is `{}`", escape::short(&found.value, 60))
                });
                let found =
                    found.map(|found| JsonRow::new(&key, &found.value, found.stamp, found.expires_at_ms));
                match ui.is_json() {
                    true => ui.show(
                        &Judged { key: name, done: false, ts: None, found },
                        String::new,
                        String::new,
                    )?,
                    false => ui.note(&format!("{} was not written: {has}", escape::short(&key, 60))),
                }
                Ok(Exit::No)
            }
        }
    }
}

fn usage(reason: &str) -> crate::cmd::fail::Failure {
    crate::cmd::fail::Failure::usage(reason)
        .cure("nomad kv cas KEY OLD NEW, or nomad kv cas KEY --absent NEW")
}
