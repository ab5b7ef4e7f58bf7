//! `nomad kv put`: writes a value.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::client::{Cas, PutOptions};
use crate::cmd::escape::{self, JsonKey};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;
use crate::cmd::{session, spell};
use crate::model::key::VALUE_MAX_BYTES;
use crate::model::time::Timestamp;

/// Write a value
///
/// A value that begins with a dash goes after `--`: nomad kv put KEY -- -1
#[derive(Debug, clap::Args)]
pub struct Put {
    /// The key
    key: OsString,

    /// The value; `-` reads it from stdin
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_negative_numbers = true)]
    value: Option<OsString>,

    /// Take the value from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// How long it lives, such as 30m or 12h; for ever unless given
    #[arg(long, value_parser = spell::duration)]
    ttl: Option<Duration>,
}

#[derive(Serialize)]
struct Written {
    #[serde(flatten)]
    key: JsonKey,
    ts: Timestamp,
}

impl Put {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let key = spell::user_key(&self.key)?;
        let value = match &self.file {
            Some(file) => from_file(file)?,
            None => typed(&self.value.unwrap_or_default())?,
        };
        let client = session::connect(global).await?;
        let written = client.put_with(&key, value, &PutOptions { ttl: self.ttl, condition: None }).await;
        let written = written.or_fail(|| format!("cannot write {}", escape::short(&key, 60)))?;
        let Cas::Done { stamp: ts } = written else { unreachable!("there was no condition that could fail") };
        if ui.is_json() {
            ui.show(&Written { key: JsonKey::new(&key), ts }, String::new, String::new)?;
        }
        Ok(Exit::Done)
    }
}

/// A value as typed; `-` is stdin.
pub fn typed(value: &OsStr) -> Result<Bytes, Failure> {
    match value.as_bytes() {
        b"-" => bounded(std::io::stdin().lock(), "stdin"),
        bytes => Ok(Bytes::copy_from_slice(bytes)),
    }
}

fn from_file(path: &Path) -> Result<Bytes, Failure> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).or_fail(|| format!("cannot read {shown}"))?;
    bounded(file, &shown)
}

/// Reads a value, but never more than the largest there can be.
fn bounded(source: impl Read, name: &str) -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    let read = source.take(VALUE_MAX_BYTES as u64 + 1).read_to_end(&mut value);
    read.or_fail(|| format!("cannot read {name}"))?;
    match value.len() > VALUE_MAX_BYTES {
        true => Err(Failure::usage(format!("{name} is too large for a value"))
            .because(format!("values have at most {}", spell::size(VALUE_MAX_BYTES as u64)))
            .cure("several keys, each with a part of it")),
        false => Ok(value.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_input_is_cut_off() {
        let failure = bounded(std::io::repeat(b'x'), "stdin").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(bounded(&b"abc"[..], "stdin").unwrap(), Bytes::from_static(b"abc"));
    }
}
