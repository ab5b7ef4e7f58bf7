//! Which keys a replica is asked for: a few of them, the newest, so that it can be told where to split.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::model::key::Key;

/// One request of so many is remembered: the others pay for a counter.
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
    /// Notes a request, perhaps. `key` is called if so; what it returns is copied.
    pub fn note<'a>(&self, key: impl FnOnce() -> Option<&'a [u8]>) {
        if !self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(ONE_OF) {
            return;
        }
        let copied = key().map(bytes::Bytes::copy_from_slice);
        let Some(key) = copied.and_then(|key| Key::from_internal(key).ok()) else { return };
        let mut keys = self.keys.lock();
        if keys.len() >= ASKED_MAX {
            keys.pop_front();
        }
        keys.push_back(key);
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
        all.iter().for_each(|key| asked.note(|| Some(key.as_bytes())));
        let keys = asked.keys();
        assert_eq!(keys.len(), ASKED_MAX);
        assert!(keys.is_sorted());
        assert!(keys[0] > all[all.len() - (ASKED_MAX + 1) * ONE_OF as usize], "{:?}", keys[0]);
        (0..ONE_OF).for_each(|_| asked.note(|| Some(&[])));
        assert_eq!(asked.keys(), keys, "what is no key is passed over");
    }
}
