//! How much of its clients' requests a node has under way, in all.
//!
//! Each connection has limits of its own ([`crate::net::rpc::ServeLimits`]); a thousand connections could still fill the
//! memory together. Past the bounds here a request is refused at once, before it is decoded: nothing changed, its client
//! tries again. What members say to each other is not counted, so no crowd of clients can stop an election.
//!
//! Answers count too, while they wait for somebody who asked for much and reads slowly.
//!
//! Promises: what came in is let go when its [`Entered`] is dropped. Does not queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Requests of clients under way at once.
pub const REQUESTS_MAX: usize = 16 * 1024;
/// Their bodies together, bytes.
pub const REQUESTS_MAX_BYTES: usize = 256 << 20;

/// Large answers that were made and not taken yet, together, bytes.
pub const ANSWERS_MAX_BYTES: usize = 256 << 20;
/// Answers up to this size are not counted: they are copied together and gone.
pub const ANSWER_SMALL_BYTES: usize = 64 << 10;

/// The count.
#[derive(Default)]
pub struct Intake {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    answers: AtomicUsize,
}

/// A large answer, counted until the last reference to it goes.
struct Kept {
    answer: Vec<u8>,
    intake: Arc<Intake>,
}

/// One request's part of the count.
pub struct Entered<'a> {
    intake: &'a Intake,
    bytes: usize,
}

impl Intake {
    /// Counts a request with a body of `bytes`.
    ///
    /// # Errors
    ///
    /// If there is no room for it: in words for its client.
    pub fn enter(&self, bytes: usize) -> Result<Entered<'_>, String> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // From here on dropping it takes both back.
        let entered = Entered { intake: self, bytes };
        if requests >= REQUESTS_MAX {
            return Err(format!("{REQUESTS_MAX} requests are under way here; no more are taken at once"));
        }
        if before.saturating_add(bytes) > REQUESTS_MAX_BYTES {
            let limit = REQUESTS_MAX_BYTES >> 20;
            return Err(format!("requests of {limit} MiB are under way here; no more are taken at once"));
        }
        Ok(entered)
    }

    /// Requests under way, and the bytes of their bodies.
    pub fn under_way(&self) -> (usize, usize) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Bytes of large answers that were made and not taken yet.
    pub fn answers_bytes(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Intake {
    /// The bytes of an answer to somebody who reads, counted until they are written.
    ///
    /// # Errors
    ///
    /// If too much waits to be taken already: in words for the client. The answer is gone.
    pub fn keep(self: &Arc<Intake>, answer: Vec<u8>) -> Result<Bytes, String> {
        if answer.len() <= ANSWER_SMALL_BYTES {
            return Ok(answer.into());
        }
        let before = self.answers.fetch_add(answer.len(), Ordering::Relaxed);
        // From here on dropping it takes that back.
        let kept = Kept { answer, intake: Arc::clone(self) };
        if before.saturating_add(kept.answer.len()) > ANSWERS_MAX_BYTES {
            let limit = ANSWERS_MAX_BYTES >> 20;
            return Err(format!("answers of {limit} MiB wait here to be taken; no more are made at once"));
        }
        Ok(Bytes::from_owner(kept))
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.intake.answers.fetch_sub(self.answer.len(), Ordering::Relaxed);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.intake.requests.fetch_sub(1, Ordering::Relaxed);
        self.intake.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_and_the_next_is_refused() {
        let intake = Intake::default();
        let mut all: Vec<_> = (0..REQUESTS_MAX).map(|_| intake.enter(1).unwrap()).collect();
        let refused = intake.enter(1).err().unwrap();
        assert!(refused.contains("16384 requests"), "{refused}");
        // A refusal leaves nothing behind.
        all.pop();
        all.push(intake.enter(1).unwrap());
        assert!(intake.enter(1).is_err());
    }

    #[test]
    fn large_answers_are_counted_until_they_are_gone() {
        let intake = Arc::new(Intake::default());
        let half = || vec![0; ANSWERS_MAX_BYTES / 2];
        let (first, second) = (intake.keep(half()).unwrap(), intake.keep(half()).unwrap());
        let refused = intake.keep(vec![0; ANSWER_SMALL_BYTES + 1]).err().unwrap();
        assert!(refused.contains("256 MiB"), "{refused}");
        assert!(intake.keep(vec![0; ANSWER_SMALL_BYTES]).is_ok(), "small ones always go");
        // A part of it is all of it.
        let part = first.slice(1..2);
        drop((first, second));
        assert!(intake.keep(half()).is_ok() && intake.keep(vec![0; ANSWERS_MAX_BYTES]).is_err());
        drop(part);
        assert!(intake.keep(vec![0; ANSWERS_MAX_BYTES]).is_ok());
    }

    #[test]
    fn bytes_are_counted_and_the_next_is_refused() {
        let intake = Intake::default();
        let most = intake.enter(REQUESTS_MAX_BYTES).unwrap();
        let refused = intake.enter(1).err().unwrap();
        assert!(refused.contains("256 MiB"), "{refused}");
        assert!(intake.enter(usize::MAX).is_err());
        drop(most);
        assert!(intake.enter(REQUESTS_MAX_BYTES).is_ok());
    }
}
