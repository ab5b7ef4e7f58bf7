//! Which keys a replica is asked for: a few of them, the newest, so that it can be told where to split.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::model::key::Key;

/// One key of so many is remembered: the others pay for a counter.
const ONE_OF: u32 = 32;
/// Keys that are remembered.
const ASKED_MAX: usize = 512;

/// What was asked lately.
#[derive(Debug, Default)]
pub struct Asked {
    count: AtomicU32,
    keys: Mutex<VecDeque<Key>>,
}

impl Asked {
    /// Notes some of so many keys, perhaps. `key` is called for those, with their places; what it returns is copied.
    pub fn note<'a>(&self, count: usize, key: impl Fn(usize) -> &'a [u8]) {
        let before = self.count.fetch_add(count as u32, Ordering::Relaxed);
        // As if each had been counted by itself.
        let first = (ONE_OF - before % ONE_OF) % ONE_OF;
        for place in (first as usize..count).step_by(ONE_OF as usize) {
            let copied = bytes::Bytes::copy_from_slice(key(place));
            let Ok(key) = Key::from_internal(copied) else { continue };
            let mut keys = self.keys.lock();
            if keys.len() >= ASKED_MAX {
                keys.pop_front();
            }
            keys.push_back(key);
        }
    }

    /// Those that are remembered, oldest first.
    pub fn keys(&self) -> Vec<Key> {
        self.keys.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_no_more() {
        let asked = Asked::default();
        let all: Vec<Key> =
            (0..100_000).map(|n| Key::from_name(format!("{n:06}").as_bytes()).unwrap()).collect();
        all[..50_001].iter().for_each(|key| asked.note(1, |_| key.as_bytes()));
        all[50_001..].chunks(77).for_each(|some| asked.note(some.len(), |n| some[n].as_bytes()));
        let keys = asked.keys();
        assert_eq!(keys.len(), ASKED_MAX);
        assert!(keys.is_sorted());
        assert!(keys[0] > all[all.len() - (ASKED_MAX + 1) * ONE_OF as usize], "{:?}", keys[0]);
        asked.note(ONE_OF as usize, |_| &[]);
        assert_eq!(asked.keys(), keys, "what is no key is passed over");
    }
}
