//! One file for all targets: the decoder of the target's own name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nodenomad::cmd::decoders::DECODERS;

fuzz_target!(|bytes: &[u8]| {
    let decoder = DECODERS.iter().find(|decoder| decoder.name == env!("CARGO_BIN_NAME"));
    (decoder.expect("a target is named as a decoder").run)(bytes);
});
