//! `nomad kv del`: removes a key.

use std::ffi::OsString;

use serde::Serialize;

use crate::cmd::escape::{self, JsonKey};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, OrFail};
use crate::cmd::global::Global;
use crate::cmd::{session, spell};

/// Remove a key
///
/// Exit code 0 whether the key was there or not; -o json says which.
#[derive(Debug, clap::Args)]
pub struct Del {
    /// The key
    key: OsString,
}

#[derive(Serialize)]
struct Removed {
    #[serde(flatten)]
    key: JsonKey,
    existed: bool,
}

impl Del {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let key = spell::user_key(&self.key)?;
        let client = session::connect(global).await?;
        let existed =
            client.delete(&key).await.or_fail(|| format!("cannot remove {}", escape::short(&key, 60)))?;
        if ui.is_json() {
            ui.show(&Removed { key: JsonKey::new(&key), existed }, String::new, String::new)?;
        } else if !existed {
            ui.note(&format!("{} was absent already", escape::short(&key, 60)));
        }
        Ok(Exit::Done)
    }
}
