//! A first idea of speed: many clients of the library, writing and reading 256-byte values as fast as they can.
//!
//! `cargo run --release --example load -- DIR/admin.toml [CLIENTS [SECONDS]]` against any running cluster. It measures from
//! inside one process with one connection to each node; it is no benchmark suite.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nodenomad::client::Client;
use nodenomad::cmd::context_file::Context;
use nodenomad::cmd::session;

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 256;

#[derive(Clone, Copy, Debug)]
enum Work {
    Put,
    Get,
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = args.first().expect("the first argument is a context file");
    let number = |n: usize, usual: u64| args.get(n).map_or(usual, |text| text.parse().expect("a number"));
    let (clients, seconds) = (number(1, 64), number(2, 5));
    let context = Context::read(Path::new(file)).expect("a context file");
    let client = session::connect_to(&context, Duration::from_secs(10)).await.expect("the cluster answers");
    for work in [Work::Put, Work::Get, Work::Put, Work::Get, Work::Put, Work::Get] {
        measure(&client, work, clients, Duration::from_secs(seconds)).await;
    }
}

async fn measure(client: &Client, work: Work, clients: u64, time: Duration) {
    let (begin, value) = (Instant::now(), Arc::new(vec![b'v'; VALUE_BYTES]));
    let tasks: Vec<_> = (0..clients)
        .map(|n| tokio::spawn(one(client.clone(), work, n, begin + time, value.clone())))
        .collect();
    let mut waits = Vec::new();
    let mut errors = 0;
    for task in tasks {
        let (waited, failed) = task.await.expect("clients do not panic");
        waits.extend(waited);
        errors += failed;
    }
    waits.sort_unstable();
    let at = |part: f64| waits.get((waits.len() as f64 * part) as usize).copied().unwrap_or_default();
    let rate = waits.len() as f64 / begin.elapsed().as_secs_f64();
    println!(
        "{work:?} {clients} clients: {rate:.0}/s, p50 {:?}, p99 {:?}, {errors} errors",
        Duration::from_micros(at(0.5)),
        Duration::from_micros(at(0.99))
    );
}

/// One client until `end`: how long each operation took, in microseconds, and how many failed.
async fn one(client: Client, work: Work, n: u64, end: Instant, value: Arc<Vec<u8>>) -> (Vec<u64>, u64) {
    let (mut waits, mut errors, mut draw) = (Vec::new(), 0, n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    while Instant::now() < end {
        // xorshift64: enough to spread keys.
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        let key = format!("load/{:08}", draw % KEYS);
        let start = Instant::now();
        let done = match work {
            Work::Put => client.put(key.as_bytes(), value.to_vec()).await.is_ok(),
            Work::Get => client.get(key.as_bytes()).await.is_ok(),
        };
        errors += u64::from(!done);
        waits.push(start.elapsed().as_micros() as u64);
    }
    (waits, errors)
}
