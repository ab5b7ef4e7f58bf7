//! Every decoder of the program against bytes made up by chance, and against what it accepts with faults in it: a short
//! walk, the same with each run. `fuzz/` walks on from here for as long as one likes.
//!
//! failures.md, Security: "Decoding", "Untrusted lengths".

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nodenomad::cmd::decoders::{DECODERS, Decoder};
use nodenomad::net::chance::Chance;

/// Inputs of pure chance, for each decoder.
const RANDOM: u64 = 600;
/// Inputs made of each sample.
const MUTATED: u64 = 600;
/// What decoding may take beyond a multiple of what came; announced lengths reach 4 GiB.
const FREE_BYTES: usize = 4 << 20;
/// Memory a byte of input may take: the messages hold many small fields.
const BYTES_A_BYTE: usize = 256;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread holds.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is going down allocates too.
        let _ = HELD.try_with(|held| {
            held.set(held.get() + layout.size());
            let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
        });
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // What another thread took is given back here.
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(layout.size())));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs a decoder on one input; tells the input if it fails.
fn feed(decoder: &Decoder, input: &[u8]) {
    let before = HELD.get();
    MOST.set(before);
    let ended = catch_unwind(AssertUnwindSafe(|| (decoder.run)(input)));
    let taken = MOST.get() - before;
    let bound = FREE_BYTES + BYTES_A_BYTE * input.len();
    if ended.is_err() || taken > bound {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{}: {} bytes took {taken} bytes of memory; the input: {hex}", decoder.name, input.len());
    }
}

fn below(chance: &Chance, limit: usize) -> usize {
    chance.between(0, limit.max(1) as u64) as usize
}

fn random(chance: &Chance) -> Vec<u8> {
    // Short ones reach more decisions; long ones reach the bounds.
    let most = [4, 32, 256, 4096][below(chance, 4)];
    (0..below(chance, most)).map(|_| chance.between(0, 256) as u8).collect()
}

/// A few faults of the kinds that lengths and numbers suffer from.
fn mutate(chance: &Chance, input: &mut Vec<u8>) {
    for _ in 0..=below(chance, 4) {
        let at = below(chance, input.len());
        match below(chance, 8) {
            0 => input.truncate(at),
            1 => input.insert(at, chance.between(0, 256) as u8),
            2 => input.extend(random(chance)),
            3 => {
                let piece: Vec<u8> = input[at..].iter().take(16).copied().collect();
                input.splice(at..at, piece);
            }
            4 => {
                // A number at its edge, in any width.
                let edge = [0, 1, 0x7f, 0x80, 0xff][below(chance, 5)];
                let width = [1, 2, 4, 8][below(chance, 4)];
                input.iter_mut().skip(at).take(width).for_each(|byte| *byte = edge);
            }
            5 if !input.is_empty() => drop(input.remove(at)),
            _ if !input.is_empty() => input[at] ^= 1 << below(chance, 8),
            _ => {}
        }
    }
}

fn walk(decoder: &Decoder, seed: u64) {
    let chance = Chance::from_seed(seed);
    for sample in (decoder.samples)() {
        feed(decoder, &sample);
        // Cut anywhere, at most a few hundred times.
        for cut in (0..sample.len()).step_by(sample.len().div_ceil(400).max(1)) {
            feed(decoder, &sample[..cut]);
        }
        for _ in 0..MUTATED {
            let mut input = sample.clone();
            mutate(&chance, &mut input);
            feed(decoder, &input);
        }
    }
    for _ in 0..RANDOM {
        feed(decoder, &random(&chance));
    }
}

#[test]
fn no_decoder_panics_hangs_or_takes_what_was_only_announced() {
    for (seed, decoder) in DECODERS.iter().enumerate() {
        walk(decoder, seed as u64);
    }
}

#[test]
fn a_decoder_that_believes_a_length_is_caught() {
    let believer = Decoder {
        name: "believer",
        run: |bytes| {
            let length = bytes.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) >> 4);
            drop(Vec::<u8>::with_capacity(length as usize));
        },
        samples: Vec::new,
    };
    assert!(catch_unwind(|| feed(&believer, &[0xff; 8])).is_err());
}

#[test]
fn the_fuzzer_has_a_target_for_each_decoder() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let targets: Vec<&str> = manifest.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    let expected: Vec<String> = ["nodenomad-fuzz"]
        .into_iter()
        .chain(DECODERS.iter().map(|decoder| decoder.name))
        .map(|name| format!("\"{name}\""))
        .collect();
    assert_eq!(targets, expected);
}
