//! Keys and ranges of keys.
//!
//! Inside the cluster a key is a keyspace byte followed by the user's bytes, so that system keys sort before all
//! user keys and more keyspaces can be added. Outside, keys that start with `_/` are the system's.

use bytes::Bytes;

/// Longest key a user may write, in bytes.
pub const KEY_MAX_BYTES: usize = 4096;
/// Largest value accepted unless the cluster is configured otherwise, in bytes.
pub const VALUE_DEFAULT_MAX_BYTES: usize = 1 << 20;
/// Largest value that can be configured, in bytes.
pub const VALUE_MAX_BYTES: usize = 16 << 20;
/// What system keys start with, as people type them.
pub const SYSTEM_PREFIX: &[u8] = b"_/";

const SYSTEM: u8 = 0x00;
const USER: u8 = 0x10;

/// A key as the cluster stores it: keyspace byte, then the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

/// Keys from `start` (inclusive) to `end` (exclusive; `None`: no end).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    pub start: Key,
    pub end: Option<Key>,
}

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a key has at least one byte")]
    Empty,
    #[error("a key has at most {KEY_MAX_BYTES} bytes, this one has {bytes}")]
    TooLong { bytes: usize },
    #[error("not an internal key")]
    Keyspace,
}

impl Key {
    /// The least key of all: where the meta shard begins.
    pub const FIRST: Key = Key(Bytes::from_static(&[SYSTEM]));
    /// The least user key: where the first user shard begins.
    pub const FIRST_USER: Key = Key(Bytes::from_static(&[USER]));

    /// The internal key of what a person or program calls `name`: a system key if it starts with `_/`.
    pub fn from_name(name: &[u8]) -> Result<Key, KeyError> {
        match name.len() {
            0 => Err(KeyError::Empty),
            bytes if bytes > KEY_MAX_BYTES => Err(KeyError::TooLong { bytes }),
            _ if name.starts_with(SYSTEM_PREFIX) => Ok(Key::prefixed(SYSTEM, name)),
            _ => Ok(Key::prefixed(USER, name)),
        }
    }

    /// A key from its stored form, for instance from the wire.
    pub fn from_internal(bytes: Bytes) -> Result<Key, KeyError> {
        match bytes.first() {
            None => Err(KeyError::Empty),
            Some(&(SYSTEM | USER)) if bytes.len() <= KEY_MAX_BYTES + 1 => Ok(Key(bytes)),
            Some(&(SYSTEM | USER)) => Err(KeyError::TooLong { bytes: bytes.len() }),
            Some(_) => Err(KeyError::Keyspace),
        }
    }

    fn prefixed(space: u8, name: &[u8]) -> Key {
        let mut bytes = Vec::with_capacity(name.len() + 1);
        bytes.push(space);
        bytes.extend_from_slice(name);
        Key(bytes.into())
    }

    /// The least key above this one.
    pub fn successor(&self) -> Key {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Key(bytes.into())
    }

    /// The stored form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The stored form, sharing the memory.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// What people call it.
    pub fn name(&self) -> &[u8] {
        &self.0[1..]
    }

    /// What people call it, sharing the memory.
    pub fn to_name(&self) -> Bytes {
        self.0.slice(1..)
    }

    /// True for the cluster's own records.
    pub fn is_system(&self) -> bool {
        self.0[0] == SYSTEM
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl KeyRange {
    /// Everything from `start` to `end`; `None` is no end.
    pub fn new(start: Key, end: Option<Key>) -> KeyRange {
        KeyRange { start, end }
    }

    /// All user keys.
    pub fn user() -> KeyRange {
        KeyRange::new(Key::FIRST_USER, None)
    }

    /// All system keys: the meta shard's range.
    pub fn system() -> KeyRange {
        KeyRange::new(Key::FIRST, Some(Key::FIRST_USER))
    }

    /// All keys whose name starts with `prefix`.
    pub fn with_prefix(prefix: &[u8]) -> Result<KeyRange, KeyError> {
        if prefix.is_empty() {
            return Ok(KeyRange::user());
        }
        let start = Key::from_name(prefix)?;
        let mut end = start.0.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let last = end.last_mut().expect("the keyspace byte is below 0xff");
        *last += 1;
        Ok(KeyRange::new(start, Some(Key(end.into()))))
    }

    /// True if `key` lies inside.
    pub fn contains(&self, key: &Key) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// True if there is no key inside.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// What both ranges hold.
    pub fn intersection(&self, other: &KeyRange) -> KeyRange {
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        KeyRange::new(self.start.clone().max(other.start.clone()), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn system_keys_sort_first() {
        let system = Key::from_name(b"_/nodes/1").unwrap();
        let user = Key::from_name(b"\x00").unwrap();
        assert!(system < user && system.is_system() && !user.is_system());
        assert!(KeyRange::system().contains(&system) && !KeyRange::system().contains(&user));
        assert!(KeyRange::user().contains(&user) && !KeyRange::user().contains(&system));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(Key::from_name(b""), Err(KeyError::Empty));
        assert!(Key::from_name(&[b'k'; KEY_MAX_BYTES]).is_ok());
        assert!(matches!(Key::from_name(&[b'k'; KEY_MAX_BYTES + 1]), Err(KeyError::TooLong { .. })));
        assert_eq!(Key::from_internal(Bytes::from_static(b"\x77x")), Err(KeyError::Keyspace));
    }

    proptest! {
        #[test]
        fn a_prefix_range_holds_exactly_what_starts_so(prefix in prop::collection::vec(any::<u8>(), 1..6),
                                                       name in prop::collection::vec(any::<u8>(), 1..8)) {
            prop_assume!(prefix.starts_with(SYSTEM_PREFIX) == name.starts_with(SYSTEM_PREFIX));
            let range = KeyRange::with_prefix(&prefix).unwrap();
            let key = Key::from_name(&name).unwrap();
            prop_assert_eq!(range.contains(&key), name.starts_with(&prefix));
        }

        #[test]
        fn order_of_keys_is_order_of_names(a in prop::collection::vec(any::<u8>(), 1..8),
                                           b in prop::collection::vec(any::<u8>(), 1..8)) {
            prop_assume!(!a.starts_with(SYSTEM_PREFIX) && !b.starts_with(SYSTEM_PREFIX));
            let (ka, kb) = (Key::from_name(&a).unwrap(), Key::from_name(&b).unwrap());
            prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
            prop_assert!(ka.successor() > ka);
        }
    }
}
