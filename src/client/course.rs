//! The course of one operation: how long it may take, what its attempts have met, what to do next.
//!
//! Promises: [`Course::judge`] is a pure function of what was met so far, so every rule of retrying is in one place:
//! - what surely changed nothing is tried again while there is time;
//! - after an attempt that may have reached a shard, no failure is reported as "nothing changed" any more;
//! - what cannot be recognised when repeated ([`Nature::Once`]) is not repeated after such an attempt.
//!
//! Does not: send, or know the map.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{Error, Trouble};
use crate::model::id::NodeId;
use crate::model::wire::Refusal;
use crate::net::chance::Chance;
use crate::net::rpc::CallError;
use crate::net::wire::{Failure, FailureCode};

/// Least pause before a further attempt, milliseconds (drawn from the upper half).
pub const PAUSE_MIN_MS: u64 = 10;
/// Longest pause before a further attempt, milliseconds.
pub const PAUSE_MAX_MS: u64 = 500;
/// How long a first attempt waits for its answer, milliseconds; twice as long after each that got none.
pub const ATTEMPT_MS: u64 = 2_000;
/// Times an operation goes where it was sent without a pause; then it pauses.
pub const REDIRECTS_MAX: u32 = 3;

/// How an operation may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Changes nothing: repeat at will.
    Read,
    /// Carries an identity, so shards recognise a repeat.
    Write,
    /// Changes something and nobody recognises a repeat.
    Once,
}

/// Why an attempt gave no answer that ends the operation.
#[derive(Clone, Debug)]
pub(super) enum Miss {
    /// It surely never reached the other side.
    Unsent(Trouble),
    /// Perhaps it did.
    Lost(Trouble),
    /// A member answered that it did not do it, or does not know.
    Failure(NodeId, Failure),
    /// The shard answered so, out of its log.
    Refused(NodeId, Refusal),
}

impl Miss {
    /// What happened, without what it means.
    pub(super) fn into_trouble(self) -> Trouble {
        match self {
            Miss::Unsent(trouble) | Miss::Lost(trouble) => trouble,
            Miss::Failure(node, failure) => {
                let code = failure.code();
                Trouble::Failure { node, code, message: failure.message }
            }
            Miss::Refused(node, reason) => Trouble::Refused { node, reason },
        }
    }
}

/// What to do after a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this member, at once.
    Redirect(NodeId),
    /// Pause, then ask another one.
    Elsewhere,
    /// Pause, then ask the same one.
    Again,
    /// Get a map of at least this version; then pause if `pause`.
    Remap { at_least: u64, pause: bool },
    /// Take a new identity, then as `Again`.
    Renew,
}

/// One operation under way.
pub(super) struct Course {
    nature: Nature,
    deadline: Instant,
    attempt_ms: u64,
    pause_ms: u64,
    redirects: u32,
    /// An attempt may have reached a shard, and no answer said what became of it.
    doubt: bool,
    /// Somebody was reached.
    reached: bool,
    last: Trouble,
    /// Attempts so far that got no useful answer.
    pub(super) misses: usize,
    /// Which of the candidates is next.
    pub(super) turn: usize,
    /// Who was of no use the last time.
    pub(super) avoid: Option<NodeId>,
    /// Whom another member called the leader.
    pub(super) named: Option<NodeId>,
}

impl Course {
    pub(super) fn new(nature: Nature, timeout: Duration) -> Course {
        Course {
            nature,
            deadline: Instant::now() + timeout,
            attempt_ms: ATTEMPT_MS,
            pause_ms: PAUSE_MIN_MS,
            redirects: 0,
            doubt: false,
            reached: false,
            last: Trouble::NotTried,
            misses: 0,
            turn: 0,
            avoid: None,
            named: None,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(super) fn in_doubt(&self) -> bool {
        self.doubt
    }

    /// How long the next attempt may wait; an error when time is up.
    pub(super) fn attempt(&self) -> Result<Duration, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) {
            return Err(self.give_up());
        }
        Ok(left.min(Duration::from_millis(self.attempt_ms)))
    }

    /// Waits a little longer each time, with jitter, but not past the deadline.
    pub(super) async fn pause(&mut self, chance: &Chance) {
        let pause_ms = chance.between(self.pause_ms / 2, self.pause_ms + 1);
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MAX_MS);
        let end = Instant::now() + Duration::from_millis(pause_ms);
        tokio::time::sleep_until(end.min(self.deadline)).await;
    }

    /// What an operation that ran out of time, or must stop for another reason, ends with.
    pub(super) fn give_up(&self) -> Error {
        match (self.doubt && self.nature != Nature::Read, self.reached) {
            (true, _) => Error::Unknown(self.last.clone()),
            (false, true) => Error::TimedOut(self.last.clone()),
            (false, false) => self.last.clone().unreached(),
        }
    }

    /// Time is up although nobody was asked: something of this client's own was waited for.
    pub(super) fn held_up(&mut self, by: Trouble) -> Error {
        self.last = by;
        self.reached = true;
        self.give_up()
    }

    /// Nobody who could be asked is known.
    pub(super) fn no_route(&mut self) -> Next {
        self.last = Trouble::NoRoute;
        self.misses += 1;
        Next::Remap { at_least: 0, pause: true }
    }

    /// What to do after a miss; an error if nothing more can be done.
    pub(super) fn judge(&mut self, miss: Miss) -> Result<Next, Error> {
        self.misses += 1;
        match miss {
            Miss::Unsent(trouble) => self.judge_unsent(trouble),
            Miss::Lost(trouble) => {
                self.reached = true;
                self.attempt_ms = self.attempt_ms.saturating_mul(2);
                self.last = trouble;
                self.doubtful(Next::Elsewhere)
            }
            Miss::Failure(node, failure) => {
                self.reached = true;
                let code = failure.code();
                self.last = Trouble::Failure { node, code, message: failure.message };
                self.judge_failure(code, NodeId(failure.leader_node), failure.map_version)
            }
            Miss::Refused(node, reason) => {
                self.reached = true;
                self.last = Trouble::Refused { node, reason };
                self.judge_refusal(reason)
            }
        }
    }

    fn judge_unsent(&mut self, trouble: Trouble) -> Result<Next, Error> {
        let next = match &trouble {
            Trouble::Call { source: CallError::TooLarge { .. }, .. } => None,
            Trouble::Call { source: CallError::Busy, .. } => Some(Next::Again),
            Trouble::NoMember { .. } => Some(Next::Remap { at_least: 0, pause: true }),
            _ => Some(Next::Elsewhere),
        };
        self.last = trouble;
        next.ok_or_else(|| self.stop(Error::Invalid))
    }

    fn judge_failure(&mut self, code: FailureCode, leader: NodeId, map_version: u64) -> Result<Next, Error> {
        match code {
            FailureCode::FailureNotLeader if leader == NodeId(0) => Ok(Next::Elsewhere),
            FailureCode::FailureNotLeader if self.redirect() => Ok(Next::Redirect(leader)),
            FailureCode::FailureNotLeader => Ok(Next::Elsewhere),
            FailureCode::FailureWrongShard => {
                Ok(Next::Remap { at_least: map_version, pause: !self.redirect() })
            }
            FailureCode::FailureBusy => Ok(Next::Again),
            // Perhaps a leader that has lost its majority and does not know yet.
            FailureCode::FailureTimeout => Ok(Next::Elsewhere),
            FailureCode::FailureUnknown => self.doubtful(Next::Elsewhere),
            FailureCode::FailureInternal | FailureCode::FailureUnspecified => match self.nature {
                Nature::Read => Err(Error::Damaged(self.last.clone())),
                // It does not say that nothing changed.
                Nature::Write | Nature::Once => Err(Error::Unknown(self.last.clone())),
            },
            FailureCode::FailureInvalid => Err(self.stop(Error::Invalid)),
            FailureCode::FailureForbidden => Err(self.stop(Error::Forbidden)),
            FailureCode::FailureTooOld => Err(self.stop(Error::TooOld)),
            FailureCode::FailureNotFound => Err(self.stop(Error::NotFound)),
            FailureCode::FailureConflict => Err(self.stop(Error::Conflict)),
            // Waiting does not make room; somebody must.
            FailureCode::FailureFull => Err(self.stop(Error::Full)),
        }
    }

    fn judge_refusal(&mut self, reason: Refusal) -> Result<Next, Error> {
        match reason {
            Refusal::WrongEpoch | Refusal::OutOfBounds => {
                Ok(Next::Remap { at_least: 0, pause: !self.redirect() })
            }
            Refusal::StaleStamp => Ok(Next::Again),
            // Nothing was ever evaluated, so nothing was forgotten: only our timestamp was too old.
            Refusal::Forgotten if !self.doubt => Ok(Next::Renew),
            // Superseded: never met by a client that still waits (see the room's essay); if it is, all is in doubt.
            Refusal::Forgotten | Refusal::Superseded | Refusal::Unspecified => {
                Err(Error::Unknown(self.last.clone()))
            }
            // Form does not depend on the shard's state: every copy was, or will be, refused for it.
            Refusal::Invalid => Err(Error::Invalid(self.last.clone())),
            // Remembered by the shard: no copy will come out otherwise.
            Refusal::NotANumber | Refusal::Overflow => Err(Error::Invalid(self.last.clone())),
        }
    }

    /// Ends the operation with `plain`, unless an earlier copy may still be applied.
    fn stop(&self, plain: fn(Trouble) -> Error) -> Error {
        match self.doubt && self.nature != Nature::Read {
            true => Error::Unknown(self.last.clone()),
            false => plain(self.last.clone()),
        }
    }

    fn doubtful(&mut self, next: Next) -> Result<Next, Error> {
        self.doubt = true;
        match self.nature {
            Nature::Read | Nature::Write => Ok(next),
            Nature::Once => Err(Error::Unknown(self.last.clone())),
        }
    }

    fn redirect(&mut self) -> bool {
        self.redirects += 1;
        self.redirects <= REDIRECTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(4);

    fn course(nature: Nature) -> Course {
        Course::new(nature, Duration::from_secs(10))
    }

    fn says(code: FailureCode, leader_node: u64) -> Miss {
        Miss::Failure(NODE, Failure { code: code.into(), leader_node, map_version: 9, ..Failure::default() })
    }

    fn lost() -> Miss {
        Miss::Lost(Trouble::NoAnswer { who: NODE.to_string(), waited_ms: 1 })
    }

    #[tokio::test(start_paused = true)]
    async fn what_surely_changed_nothing_is_repeated_by_all() {
        for nature in [Nature::Read, Nature::Write, Nature::Once] {
            let judge = |miss| course(nature).judge(miss).unwrap();
            assert_eq!(judge(says(FailureCode::FailureNotLeader, 0)), Next::Elsewhere);
            assert_eq!(judge(says(FailureCode::FailureNotLeader, 5)), Next::Redirect(NodeId(5)));
            let remap = Next::Remap { at_least: 9, pause: false };
            assert_eq!(judge(says(FailureCode::FailureWrongShard, 0)), remap);
            assert_eq!(judge(says(FailureCode::FailureBusy, 0)), Next::Again);
            assert_eq!(judge(says(FailureCode::FailureTimeout, 0)), Next::Elsewhere);
            assert_eq!(judge(Miss::Unsent(Trouble::NoRoute)), Next::Elsewhere);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_arrived_is_repeated_only_if_a_repeat_is_recognised() {
        for miss in [lost(), says(FailureCode::FailureUnknown, 0)] {
            assert_eq!(course(Nature::Read).judge(miss.clone()).unwrap(), Next::Elsewhere);
            assert_eq!(course(Nature::Write).judge(miss.clone()).unwrap(), Next::Elsewhere);
            assert!(matches!(course(Nature::Once).judge(miss), Err(Error::Unknown(_))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_promises_nothing_leaves_a_write_unknown() {
        for code in [FailureCode::FailureInternal, FailureCode::FailureUnspecified] {
            assert!(matches!(course(Nature::Read).judge(says(code, 0)), Err(Error::Damaged(_))));
            assert!(matches!(course(Nature::Write).judge(says(code, 0)), Err(Error::Unknown(_))));
            assert!(matches!(course(Nature::Once).judge(says(code, 0)), Err(Error::Unknown(_))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn doubt_stays() {
        let mut write = course(Nature::Write);
        write.judge(lost()).unwrap();
        write.judge(says(FailureCode::FailureTimeout, 0)).unwrap();
        assert!(matches!(write.give_up(), Error::Unknown(_)));
        for reason in [Refusal::Forgotten, Refusal::Superseded] {
            assert!(matches!(write.judge(Miss::Refused(NODE, reason)), Err(Error::Unknown(_))));
        }
        let mut write = course(Nature::Write);
        assert_eq!(write.judge(Miss::Refused(NODE, Refusal::Forgotten)).unwrap(), Next::Renew);
        let refused = write.judge(Miss::Refused(NODE, Refusal::NotANumber));
        assert!(matches!(refused, Err(Error::Invalid(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn redirects_without_a_pause_are_bounded_and_pauses_end_at_the_deadline() {
        let mut write = course(Nature::Write);
        for _ in 0..REDIRECTS_MAX {
            assert!(matches!(write.judge(says(FailureCode::FailureNotLeader, 5)), Ok(Next::Redirect(_))));
        }
        assert_eq!(write.judge(says(FailureCode::FailureNotLeader, 5)).unwrap(), Next::Elsewhere);
        let (chance, begun) = (Chance::from_seed(1), Instant::now());
        let mut pauses = 0;
        while write.attempt().is_ok() {
            write.pause(&chance).await;
            pauses += 1;
        }
        assert!((20..60).contains(&pauses), "{pauses}");
        assert!(begun.elapsed() <= Duration::from_millis(10_001));
    }
}
