//! Which keys there are: names below a prefix.
//!
//! `PREFIXk000000000042` holds a value, `PREFIXn000000000042` a number, `PREFIXloaded` says which values were loaded.
//! Promises: every key begins with the prefix; keys sort by their numbers. Does not: hold any of them.

use std::io::Write as _;

use bytes::Bytes;

use crate::cmd::fail::Failure;
use crate::cmd::spell;
use crate::model::key::{Key, KeyRange};

/// Digits of a number in a key.
const DIGITS: usize = 12;
/// Longest prefix, in bytes.
const PREFIX_MAX_BYTES: usize = 1_024;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A value that tells where it is from.
    Values = b'k' as isize,
    /// A decimal number.
    Numbers = b'n' as isize,
}

/// The keys of a bench.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Bytes,
}

impl Keys {
    /// Keys below `prefix`, which must not be empty: a bench would be in everybody's way.
    pub fn new(prefix: &[u8]) -> Result<Keys, Failure> {
        let wrong = |why: &str| {
            Err(Failure::usage("that prefix cannot be used").because(why).cure("--prefix bench/"))
        };
        match prefix.len() {
            0 => wrong("without a prefix the bench would write among other keys"),
            length if length > PREFIX_MAX_BYTES => wrong("it is longer than 1,024 bytes"),
            _ => Ok(Keys { prefix: spell::user_key_bytes(prefix)? }),
        }
    }

    /// Keys whose prefix goes on with `more`.
    pub fn below(&self, more: &str) -> Result<Keys, Failure> {
        Keys::new(&[&self.prefix[..], more.as_bytes()].concat())
    }

    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Writes the name of a key into a buffer, which is emptied first.
    pub fn name(&self, family: Family, number: u64, into: &mut Vec<u8>) {
        into.clear();
        into.extend_from_slice(&self.prefix);
        into.push(family as u8);
        write!(into, "{number:0DIGITS$}").expect("a vector takes everything");
    }

    /// The name of a key.
    pub fn key(&self, family: Family, number: u64) -> Bytes {
        let mut name = Vec::with_capacity(self.prefix.len() + 1 + DIGITS);
        self.name(family, number, &mut name);
        name.into()
    }

    /// The number in a key's name, if it is one of ours.
    pub fn number(&self, family: Family, name: &[u8]) -> Option<u64> {
        let digits = name.strip_prefix(&self.prefix[..])?.strip_prefix(&[family as u8])?;
        let plain = digits.len() == DIGITS && digits.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
    }

    /// Where it is written down what was loaded.
    pub fn marker(&self) -> Bytes {
        [&self.prefix[..], b"loaded"].concat().into()
    }

    /// All keys of a family.
    pub fn all(&self, family: Family) -> KeyRange {
        let prefix = [&self.prefix[..], &[family as u8]].concat();
        KeyRange::with_prefix(&prefix).expect("a checked prefix and one letter")
    }

    /// All keys of a family from one on.
    pub fn from(&self, family: Family, number: u64) -> KeyRange {
        let start = Key::from_name(&self.key(family, number)).expect("a checked prefix and few letters");
        KeyRange { start, ..self.all(family) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::exit::Exit;

    #[test]
    fn names_sort_by_number_and_can_be_read_back() {
        let keys = Keys::new(b"bench/").unwrap();
        assert_eq!(keys.key(Family::Values, 42), "bench/k000000000042");
        assert!(keys.key(Family::Values, 9) < keys.key(Family::Values, 10));
        let mut name = b"old".to_vec();
        keys.name(Family::Numbers, 7, &mut name);
        assert_eq!(name, b"bench/n000000000007");
        assert_eq!(keys.number(Family::Numbers, &name), Some(7));
        for foreign in
            [&b"bench/k000000000007"[..], b"bench/n7", b"bench/n00000000000x", b"n000000000007", b""]
        {
            assert_eq!(keys.number(Family::Numbers, foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn ranges_hold_a_family_and_nothing_else() {
        let keys = Keys::new(b"b").unwrap();
        let is_in = |range: &KeyRange, name: &[u8]| range.contains(&Key::from_name(name).unwrap());
        let all = keys.all(Family::Values);
        assert!(is_in(&all, &keys.key(Family::Values, 0)) && !is_in(&all, &keys.key(Family::Numbers, 0)));
        assert!(!is_in(&all, &keys.marker()));
        let from = keys.from(Family::Values, 5);
        assert!(is_in(&from, &keys.key(Family::Values, 5)) && !is_in(&from, &keys.key(Family::Values, 4)));
    }

    #[test]
    fn a_prefix_keeps_the_bench_apart() {
        assert_eq!(Keys::new(b"").unwrap_err().exit, Exit::Usage);
        assert_eq!(Keys::new(&[b'x'; 2_000]).unwrap_err().exit, Exit::Usage);
        assert_eq!(Keys::new(b"_/bench").unwrap_err().exit, Exit::Forbidden);
        assert!(Keys::new(b"_").is_ok() && Keys::new(b"\xff/").is_ok());
    }
}
