//! Versions of a key.

use bytes::Bytes;

use super::time::Timestamp;

/// What a key held from `stamp` on, until its next version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub stamp: Timestamp,
    /// First instant at which it is no longer there; `None`: stays.
    pub expires_at: Option<Timestamp>,
    /// `None`: the key was deleted.
    pub value: Option<Bytes>,
}

impl Version {
    /// A version that says the key is gone.
    pub fn tombstone(stamp: Timestamp) -> Version {
        Version { stamp, expires_at: None, value: None }
    }

    /// The value, if it is one and has not expired at `at`.
    pub fn live_at(&self, at: Timestamp) -> Option<&Bytes> {
        self.value.as_ref().filter(|_| !self.expired_at(at))
    }

    /// True if its time had run out at `at`.
    pub fn expired_at(&self, at: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= at)
    }
}
