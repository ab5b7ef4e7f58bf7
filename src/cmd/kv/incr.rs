//! `nomad kv incr`: adds to a number.

use std::ffi::OsString;

use serde::Serialize;

use crate::cmd::escape::{self, JsonKey};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, OrFail};
use crate::cmd::global::Global;
use crate::cmd::{session, spell};

/// Add to a number and print the new one
///
/// An absent key counts as 0. A value that is not a decimal number of 64 bits is left as it is.
#[derive(Debug, clap::Args)]
pub struct Incr {
    /// The key
    key: OsString,

    /// How much to add; negative to subtract
    #[arg(default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    by: i64,
}

#[derive(Serialize)]
struct Counted {
    #[serde(flatten)]
    key: JsonKey,
    number: i64,
}

impl Incr {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let key = spell::user_key(&self.key)?;
        let client = session::connect(global).await?;
        let counted = client.incr(&key, self.by).await;
        let number = counted.or_fail(|| format!("cannot add to {}", escape::short(&key, 60)))?;
        let text = || number.to_string();
        ui.show(&Counted { key: JsonKey::new(&key), number }, text, text)?;
        Ok(Exit::Done)
    }
}
