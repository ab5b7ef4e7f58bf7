//! `nomad kv batch`: many writes from lines of JSON.
//!
//! Lines gather into groups; some groups are under way at once, but never two with the same key, so that each key sees
//! its changes in the order of the lines. A group is not a transaction.
//!
//! Promises: a failure names its line; exit codes that say "nothing changed" only if nothing did. Does not: hold more
//! than a few groups in memory.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};

use crate::client::{BatchOperation, Client};
use crate::cmd::exit::Exit;
use crate::cmd::fail::{Answer, Failure, OrFail};
use crate::cmd::global::Global;
use crate::cmd::lines::Lines;
use crate::cmd::progress::{Progress, Unit};
use crate::cmd::{escape, session, spell};

/// Most operations in a group.
const GROUP_MAX_OPERATIONS: usize = 256;
/// A group is sent once its keys and values reach this, in bytes.
const GROUP_MAX_BYTES: usize = 1 << 20;
/// How much of a file is read at once, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// Most groups under way.
const GROUPS_IN_FLIGHT: usize = 8;

/// Write many keys from JSON lines
///
///   {"put": {"key": "/a", "value": "1", "ttl": "30m"}}
///   {"del": {"key": "/b"}}
///
/// `key_b64` and `value_b64` stand for bytes that are not text. Each key sees its changes in the order of the lines;
/// lines are not a transaction. If one fails its number is told; if lines were written before it, the exit code is 6.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Batch {
    /// Where the lines are; `-` is stdin
    #[arg(default_value = "-")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Summary {
    operations: u64,
    duration_ms: u64,
}

/// One line of input.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Put(Fields),
    Del(Fields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    ttl: Option<String>,
}

/// Operations that travel together, and the lines they came from.
#[derive(Default)]
struct Group {
    operations: Vec<BatchOperation>,
    keys: BTreeSet<Bytes>,
    bytes: usize,
    first_line: u64,
    last_line: u64,
}

/// A group that came back: which one, and how.
type Landed = (Group, Result<u64, Failure>);

impl Batch {
    pub async fn run(self, global: &Global) -> Answer {
        let ui = global.ui();
        let client = session::connect(global).await?;
        let shown = self.file.display();
        let (source, total): (Box<dyn AsyncBufRead + Unpin>, _) = match self.file.as_os_str() == "-" {
            true => (Box::new(BufReader::new(tokio::io::stdin())), length("/dev/stdin".as_ref())),
            false => {
                let file = std::fs::File::open(&self.file).or_fail(|| format!("cannot read {shown}"))?;
                (Box::new(BufReader::with_capacity(READ_BYTES, PlainFile(file))), length(&self.file))
            }
        };
        let mut progress = Progress::start(&ui, "writing", Unit::Bytes, total);
        let mut writer = Writer::new(|operations| write(client.clone(), operations));
        let mut lines = Lines::new(source);
        let fed = feed(&mut lines, &mut writer, |bytes| progress.at(bytes)).await;
        let operations = writer.finish(fed).await?;
        let took = progress.finish();
        let summary = Summary { operations, duration_ms: took.as_millis() as u64 };
        match ui.is_json() {
            true => ui.show(&summary, String::new, String::new)?,
            false => ui.note(&format!(
                "{} operations in {}",
                spell::count(operations),
                spell::span(summary.duration_ms)
            )),
        }
        Ok(Exit::Done)
    }
}

/// Gives all lines to the writer.
async fn feed<R, W>(
    lines: &mut Lines<R>,
    writer: &mut Writer<W>,
    mut report: impl FnMut(u64),
) -> Result<(), Failure>
where
    R: AsyncBufRead + Unpin,
    W: Fn(Vec<BatchOperation>) -> BoxFuture<'static, Result<u64, Failure>>,
{
    while let Some(line) = lines.next().await? {
        if !line.trim_ascii().is_empty() {
            let operation = parse(&line).map_err(|failure| at_line(lines.number(), failure))?;
            writer.add(operation, lines.number()).await?;
        }
        report(lines.bytes());
    }
    Ok(())
}

/// Groups operations and keeps some groups under way.
struct Writer<W> {
    write: W,
    group: Group,
    in_flight: FuturesUnordered<BoxFuture<'static, Landed>>,
    keys_in_flight: BTreeSet<Bytes>,
    written: u64,
    maybe_written: bool,
}

impl<W: Fn(Vec<BatchOperation>) -> BoxFuture<'static, Result<u64, Failure>>> Writer<W> {
    fn new(write: W) -> Writer<W> {
        Writer {
            write,
            group: Group::default(),
            in_flight: FuturesUnordered::new(),
            keys_in_flight: BTreeSet::new(),
            written: 0,
            maybe_written: false,
        }
    }

    /// Takes the operation of a line; waits while too much is under way.
    async fn add(&mut self, operation: BatchOperation, line: u64) -> Result<(), Failure> {
        let (key, bytes) = match &operation {
            BatchOperation::Put { key, value, .. } => (key.clone(), key.len() + value.len()),
            BatchOperation::Delete { key } => (key.clone(), key.len()),
        };
        let full = self.group.operations.len() >= GROUP_MAX_OPERATIONS || self.group.bytes >= GROUP_MAX_BYTES;
        if full || self.group.keys.contains(&key) {
            self.send().await?;
        }
        if self.group.operations.is_empty() {
            self.group.first_line = line;
        }
        self.group.last_line = line;
        self.group.bytes += bytes;
        self.group.keys.insert(key);
        self.group.operations.push(operation);
        Ok(())
    }

    /// Sends the group, once no group under way has a key of it and there is room.
    async fn send(&mut self) -> Result<(), Failure> {
        if self.group.operations.is_empty() {
            return Ok(());
        }
        while self.in_flight.len() >= GROUPS_IN_FLIGHT || !self.keys_in_flight.is_disjoint(&self.group.keys) {
            self.land().await?;
        }
        let mut group = std::mem::take(&mut self.group);
        self.keys_in_flight.extend(group.keys.iter().cloned());
        let result = (self.write)(std::mem::take(&mut group.operations));
        self.in_flight.push(Box::pin(async move { (group, result.await) }));
        Ok(())
    }

    /// Waits for one group.
    async fn land(&mut self) -> Result<(), Failure> {
        let Some((group, result)) = self.in_flight.next().await else { return Ok(()) };
        for key in &group.keys {
            self.keys_in_flight.remove(key);
        }
        match result {
            Ok(operations) => {
                self.written += operations;
                Ok(())
            }
            Err(failure) => {
                self.maybe_written |= !failure.exit.promises_no_change();
                Err(Failure {
                    error: format!("lines {} to {}: {}", group.first_line, group.last_line, failure.error),
                    ..failure
                })
            }
        }
    }

    /// Waits for everything and says how it came out, given how feeding did. Returns the operations written.
    async fn finish(mut self, fed: Result<(), Failure>) -> Result<u64, Failure> {
        let mut result = fed;
        if result.is_ok() {
            result = self.send().await;
        }
        while !self.in_flight.is_empty() {
            let landed = self.land().await;
            result = result.and(landed);
        }
        match result {
            Ok(()) => Ok(self.written),
            Err(failure) if self.written > 0 || self.maybe_written => {
                let exit = if failure.exit.promises_no_change() { Exit::Unknown } else { failure.exit };
                let known = format!("{} operations of other lines were written", spell::count(self.written));
                Err(Failure { exit, ..failure }
                    .because(known)
                    .cure("the same file again: puts and deletions may be repeated"))
            }
            Err(failure) => Err(failure),
        }
    }
}

fn write(client: Client, operations: Vec<BatchOperation>) -> BoxFuture<'static, Result<u64, Failure>> {
    Box::pin(async move {
        let written = client.batch(operations).await.or_fail(|| "they were not all written".to_owned())?;
        Ok(written.operations)
    })
}

/// What a line asks for.
pub(in crate::cmd) fn parse(line: &[u8]) -> Result<BatchOperation, Failure> {
    let wrong = |reason: String| Failure::usage("it is not an operation").because(reason);
    // The parser's column counts within the line; its line is always the first.
    let parsed = serde_json::from_slice(line)
        .map_err(|error| wrong(error.to_string().replace("at line 1 column", "at column")))?;
    let bytes = |name: &str, text: Option<String>, b64: Option<String>| match (text, b64) {
        (Some(text), None) => Ok(Some(Bytes::from(text))),
        (None, Some(b64)) => {
            let decoded =
                BASE64_STANDARD.decode(b64).map_err(|error| wrong(format!("`{name}_b64`: {error}")))?;
            Ok(Some(Bytes::from(decoded)))
        }
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(wrong(format!("both `{name}` and `{name}_b64`"))),
    };
    match parsed {
        Line::Put(fields) => {
            let key =
                bytes("key", fields.key, fields.key_b64)?.ok_or_else(|| wrong("no `key`".to_owned()))?;
            let value = bytes("value", fields.value, fields.value_b64)?;
            let value = value.ok_or_else(|| wrong("no `value`".to_owned()))?;
            let ttl: Option<Duration> = fields
                .ttl
                .map(|ttl| spell::duration(&ttl))
                .transpose()
                .map_err(|reason| wrong(format!("`ttl`: {reason}")))?;
            Ok(BatchOperation::Put { key: spell::user_key_bytes(&key)?, value, ttl })
        }
        Line::Del(fields) => {
            let key =
                bytes("key", fields.key, fields.key_b64)?.ok_or_else(|| wrong("no `key`".to_owned()))?;
            if fields.value.is_some() || fields.value_b64.is_some() || fields.ttl.is_some() {
                return Err(wrong("a `del` has a key and nothing else".to_owned()));
            }
            Ok(BatchOperation::Delete { key: spell::user_key_bytes(&key)? })
        }
    }
}

fn at_line(number: u64, failure: Failure) -> Failure {
    let cure = match failure.exit {
        Exit::Usage => r#"a line like {"put":{"key":"/a","value":"1"}} or {"del":{"key":"/a"}}"#.to_owned(),
        _ => failure.cure.clone(),
    };
    Failure { error: format!("line {number}: {}", escape::cell(failure.error.as_bytes())), ..failure }
        .cure(cure)
}

/// How long the input is, if it is a plain file.
fn length(path: &std::path::Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// A plain file as a source: it is read in place, since a disk answers sooner than a thread could be asked.
struct PlainFile(std::fs::File);

impl AsyncRead for PlainFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = std::io::Read::read(&mut self.0, into.initialize_unfilled())?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "batch/tests.rs"]
mod tests;
