//! What one observation costs, in nanoseconds: beside `prometheus-client`'s own histogram, alone and with a thread a core
//! counting in the same place.
//!
//! `cargo run --release --manifest-path benches/observe/Cargo.toml`

#[allow(dead_code, reason = "a node reads what it counts; here it is only counted")]
#[path = "../../../src/node/histogram.rs"]
mod histogram;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use histogram::Histogram;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram as theirs;

const ROUNDS: u64 = 500_000;
const TRIES: usize = 50;

/// Nanoseconds of one `work`, done by so many threads at once: the least of some tries, since whatever else the machine does
/// only adds.
fn measure(threads: usize, work: impl Fn(u64) + Sync) -> f64 {
    (0..TRIES).map(|_| once(threads, &work)).fold(f64::INFINITY, f64::min)
}

fn once(threads: usize, work: &(impl Fn(u64) + Sync)) -> f64 {
    let start = Barrier::new(threads);
    let run = || {
        start.wait();
        let begin = Instant::now();
        // Values of all sizes, from 1 µs to 65 ms in nanoseconds.
        (0..ROUNDS).for_each(|n| work(black_box(1000 << (n % 17))));
        begin.elapsed()
    };
    let took: Duration = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        all.into_iter().map(|thread| thread.join().expect("it only counts")).sum()
    });
    took.as_nanos() as f64 / (threads as u64 * ROUNDS) as f64
}

fn main() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (ours, counter) = (Histogram::of_seconds(), Counter::<u64>::default());
    let library = theirs::Histogram::new(theirs::exponential_buckets(0.000_1, 2.0, 18));
    println!("nanoseconds          1 thread  {threads} threads");
    let row = |name: &str, work: &(dyn Fn(u64) + Sync)| {
        println!("{name:20} {:8.1} {:10.1}", measure(1, work), measure(threads, work));
    };
    row("histogram", &|nanos| ours.observe(nanos));
    row("prometheus-client's", &|nanos| library.observe(Duration::from_nanos(nanos).as_secs_f64()));
    row("counter", &|_| _ = counter.inc());
    row("reading the clock", &|_| _ = black_box(Instant::now()));
}
