//! When memory that was freed goes back to the system.
//!
//! Left to itself, the allocator gives back what was freed a second ago as soon as any thread asks it for more. That thread
//! was often the one that applies writes, and after a flush there are hundreds of MiB to give back: it stood still for up to
//! 171 ms (traced with uprobes under puts on five million keys). So nobody at work gives anything back; a thread for
//! blocking work does, when the flusher asks for it.
//!
//! Promises: after [`keep_freed`] memory goes back in [`give_back`] alone. Relies on `main` having made mimalloc the
//! program's allocator; with another one both do nothing. Does not: decide when.

use std::ffi::c_long;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};

/// `mi_option_purge_delay` in mimalloc.h of version 3; the bindings do not name it.
const PURGE_DELAY: mi_option_t = 15;
/// A week, in milliseconds. With "never" the allocator would not keep account of what could be given back.
const LONG_MS: c_long = 7 * 24 * 3600 * 1000;

/// From now on memory that is free stays with the process until [`give_back`]. To be called before there are threads.
pub fn keep_freed() {
    // SAFETY: it sets a number, which no other thread reads yet.
    unsafe { mi_option_set(PURGE_DELAY, LONG_MS) }
}

/// Gives back what is free. It takes as long as the system needs for it: hundreds of milliseconds for hundreds of MiB, in
/// which other threads go on.
pub fn give_back() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    /// Options are numbers here: another version may count them otherwise.
    #[test]
    fn it_is_the_delay_that_is_set() {
        // SAFETY: no other test of this process reads or sets options.
        let delay_ms = || unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay_ms(), 1000, "what mimalloc.h says");
        keep_freed();
        assert_eq!(delay_ms(), LONG_MS);
        give_back();
    }
}
