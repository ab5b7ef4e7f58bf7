//! Writers whose every acknowledged write can be checked afterwards.
//!
//! Each writer owns its keys. On each key it writes 1, 2, 3, ...; a write that is answered "unknown" is noted and the next
//! number is tried. So the value found later must be the last one acknowledged or one whose fate was unknown after it:
//! anything smaller is a lost write, or an old one that has come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nodenomad::client::{Client, ErrorOutcome};
use tokio::task::JoinHandle;

/// Keys of one writer.
const KEYS: usize = 8;

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: u64,
    tried: u64,
}

/// Writers at work.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Record>>,
}

/// What one writer did.
pub struct Record {
    writer: usize,
    known: [Known; KEYS],
    /// The longest time between two acknowledgements.
    pub longest_gap: Duration,
    pub unknown: u64,
    pub failed: u64,
}

fn key(writer: usize, n: usize) -> Vec<u8> {
    // Spread over the whole key space, so that every shard is written.
    let letter = char::from(b'a' + ((writer * KEYS + n) * 7 % 26) as u8);
    format!("{letter}/writer-{writer:03}/{n}").into_bytes()
}

impl Writers {
    /// Starts `count` writers on keys that nobody has written.
    pub fn start(client: &Client, count: usize) -> Writers {
        Writers::from(client, 0..count)
    }

    /// Starts `count` writers on the keys of round `round`, and none of an earlier one.
    pub fn start_round(client: &Client, count: usize, round: u64) -> Writers {
        let first = round as usize * count;
        Writers::from(client, first..first + count)
    }

    fn from(client: &Client, writers: std::ops::Range<usize>) -> Writers {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = writers
            .map(|writer| tokio::spawn(write(client.clone(), writer, stop.clone(), acknowledged.clone())))
            .collect();
        Writers { stop, acknowledged, tasks }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` further writes are acknowledged.
    pub async fn wait_for(&self, more: u64, limit: Duration) {
        let target = self.acknowledged() + more;
        let reached = async {
            while self.acknowledged() < target {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(limit, reached).await.expect("writes go on");
    }

    /// Stops them; what they did.
    pub async fn stop(self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        let mut records = Vec::new();
        for task in self.tasks {
            records.push(task.await.unwrap());
        }
        records
    }
}

async fn write(client: Client, writer: usize, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> Record {
    let mut record =
        Record { writer, known: Default::default(), longest_gap: Duration::ZERO, unknown: 0, failed: 0 };
    let mut last = Instant::now();
    for n in (0..KEYS).cycle() {
        if stop.load(Ordering::Relaxed) {
            return record;
        }
        let known = &mut record.known[n];
        known.tried += 1;
        match client.put(&key(writer, n), known.tried.to_string().into_bytes()).await {
            Ok(_) => {
                known.acknowledged = known.tried;
                acknowledged.fetch_add(1, Ordering::Relaxed);
                record.longest_gap = record.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) if error.outcome() == ErrorOutcome::Unknown => record.unknown += 1,
            Err(_) => {
                // Nothing changed: the number may be used again.
                known.tried -= 1;
                record.failed += 1;
            }
        }
    }
    record
}

/// Checks every key of every writer against what was acknowledged; the number of keys checked.
pub async fn verify(client: &Client, records: &[Record]) -> usize {
    let mut checked = 0;
    for record in records {
        for (n, known) in record.known.iter().enumerate() {
            let found = client.get(&key(record.writer, n)).await.expect("the cluster answers");
            let found = found.map_or(0, |value| std::str::from_utf8(&value.value).unwrap().parse().unwrap());
            assert!(
                found >= known.acknowledged,
                "writer {} key {n}: {} was acknowledged, {found} is there: a write is lost or an old one has come back",
                record.writer,
                known.acknowledged
            );
            assert!(found <= known.tried, "writer {} key {n}: {found} was never written", record.writer);
            checked += 1;
        }
    }
    checked
}
