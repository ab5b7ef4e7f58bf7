//! What can go wrong, by what the caller can do about it.
//!
//! Promises: an error that says "nothing changed" is true, also later: no copy of the request is still under way that
//! could change something. Whatever is in doubt is [`Error::Unknown`]. Each error keeps the last trouble met as its source.
//! Does not: know the command line; it only says which exit code belongs to an error.

use std::io;
use std::sync::Arc;

use crate::model::id::NodeId;
use crate::model::key::KeyError;
use crate::model::wire::Refusal;
use crate::net::rpc::CallError;
use crate::net::transport::{Address, ConnectError};
use crate::net::wire::FailureCode;

/// Why an operation has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nobody was reached at all. Try again, or look at the network.
    #[error("no member of the cluster could be reached; nothing changed")]
    Unreachable(#[source] Trouble),
    /// Somebody was reached, but nobody could do it in time. Try again.
    #[error("out of time; nothing changed")]
    TimedOut(#[source] Trouble),
    /// It was sent and no answer tells what became of it. Only looking tells; a repeat may do it twice.
    #[error("nobody knows whether it was done")]
    Unknown(#[source] Trouble),
    /// Somebody else was first. Look again, then try again.
    #[error("somebody else was first; nothing changed")]
    Conflict(#[source] Trouble),
    /// This identity may not do that.
    #[error("not allowed; nothing changed")]
    Forbidden(#[source] Trouble),
    /// The request makes no sense.
    #[error("the request is wrong; nothing changed")]
    Invalid(#[source] Trouble),
    /// The disk of the node that leads the shard has no room for writes that grow. Delete something, or add room.
    #[error("no room on a disk; nothing changed")]
    Full(#[source] Trouble),
    /// There is no such shard, node or token.
    #[error("there is no such thing; nothing changed")]
    NotFound(#[source] Trouble),
    /// A read of a past that is forgotten already.
    #[error("the cluster no longer remembers that time")]
    TooOld(#[source] Trouble),
    /// The cluster met damaged data or a fault of its own while it read.
    #[error("the cluster could not read its data; nothing changed")]
    Damaged(#[source] Trouble),
    /// An answer that follows no rule: a fault of this program.
    #[error("an answer made no sense")]
    Internal(#[source] Trouble),
}

/// What an error says about the change that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorOutcome {
    /// Nothing changed and nothing will.
    Failed,
    /// It may have been done, or may still be.
    Unknown,
}

/// The last thing that went wrong before an operation ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    #[error("no connection to {address}")]
    Connect { address: Address, source: Arc<ConnectError> },
    #[error("the connection to {address} broke at once")]
    Open { address: Address, source: Arc<io::Error> },
    #[error("{address} does not say which member it is")]
    Nameless { address: Address },
    #[error("the call to {node} failed")]
    Call { node: NodeId, source: CallError },
    #[error("{who} did not answer within {waited_ms} ms")]
    NoAnswer { who: String, waited_ms: u64 },
    #[error("{node} answers: {}", said(*code, message))]
    Failure { node: NodeId, code: FailureCode, message: String },
    #[error("{node} answers: {}", reasoned(*reason))]
    Refused { node: NodeId, reason: Refusal },
    #[error("the condition failed at {node}, but an earlier copy of the request may still be under way")]
    FailedAfterDoubt { node: NodeId },
    #[error("the answer of {node} cannot be used: {what}")]
    Garbled { node: NodeId, what: &'static str },
    #[error("the answer contradicts the request: {what}")]
    Senseless { what: &'static str },
    #[error("{node} belongs to another cluster, {found}")]
    OtherCluster { node: NodeId, found: String },
    #[error("the shard map names nobody who could answer")]
    NoRoute,
    #[error("no endpoint is given")]
    NoEndpoint,
    #[error("{node} is not a member")]
    NoMember { node: NodeId },
    #[error("too many writes of this client are under way")]
    WindowFull,
    #[error("time ran out before anything was tried")]
    NotTried,
    #[error("of {operations} operations {applied} were applied for sure")]
    Partial { applied: u64, operations: u64, source: Box<Error> },
    #[error("the task that carried it was ended")]
    Abandoned,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("a value has at most {max} bytes, this one has {bytes}")]
    ValueTooLong { bytes: usize, max: usize },
    #[error("a time to live must be at least a millisecond")]
    NoTimeToLive,
}

/// What a member said, or what its code means if it said nothing.
fn said(code: FailureCode, message: &str) -> &str {
    if !message.is_empty() {
        return message;
    }
    match code {
        FailureCode::FailureUnspecified => "no, and nothing more",
        FailureCode::FailureNotLeader => "it does not lead the shard",
        FailureCode::FailureWrongShard => "the shard is elsewhere by now",
        FailureCode::FailureBusy => "it has too much to do",
        FailureCode::FailureTimeout => "time ran out before anything was proposed",
        FailureCode::FailureUnknown => "nobody can say how it came out",
        FailureCode::FailureInvalid => "the request is wrong",
        FailureCode::FailureForbidden => "not allowed",
        FailureCode::FailureTooOld => "that time has been forgotten",
        FailureCode::FailureNotFound => "there is no such thing",
        FailureCode::FailureInternal => "damaged data, or a fault of the program",
        FailureCode::FailureConflict => "somebody else was first",
        FailureCode::FailureFull => "its disk is full",
    }
}

/// Why a shard refused a write.
fn reasoned(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Unspecified => "the shard refused it, and said no more",
        Refusal::WrongEpoch => "the shard has changed since the map was read",
        Refusal::OutOfBounds => "the key belongs to another shard by now",
        Refusal::Forgotten => "too much time has passed to tell whether it was done before",
        Refusal::Superseded => "it was no longer waited for",
        Refusal::NotANumber => "what is there is not a number",
        Refusal::Overflow => "the sum does not fit in 64 bits",
        Refusal::StaleStamp => "the shard has moved past its timestamp",
        Refusal::Invalid => "the write is malformed",
    }
}

impl Error {
    /// Whether the change asked for may have been made.
    pub fn outcome(&self) -> ErrorOutcome {
        match self {
            Error::Unknown(_) => ErrorOutcome::Unknown,
            Error::Unreachable(_)
            | Error::TimedOut(_)
            | Error::Conflict(_)
            | Error::Forbidden(_)
            | Error::Invalid(_)
            | Error::Full(_)
            | Error::NotFound(_)
            | Error::TooOld(_)
            | Error::Damaged(_)
            | Error::Internal(_) => ErrorOutcome::Failed,
        }
    }

    /// True if asking again, with a new operation, is safe and may help.
    pub fn retryable(&self) -> bool {
        matches!(self, Error::Unreachable(_) | Error::TimedOut(_) | Error::Conflict(_))
    }

    /// What a command that ends with this error exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NotFound(_) | Error::TooOld(_) => 1,
            Error::Invalid(_) => 2,
            Error::Unreachable(_) | Error::TimedOut(_) | Error::Full(_) => 3,
            Error::Forbidden(_) => 4,
            Error::Conflict(_) => 5,
            Error::Unknown(_) => 6,
            Error::Damaged(_) => 7,
            Error::Internal(_) => 70,
        }
    }

    /// The last trouble met.
    pub fn trouble(&self) -> &Trouble {
        match self {
            Error::Unreachable(trouble)
            | Error::TimedOut(trouble)
            | Error::Unknown(trouble)
            | Error::Conflict(trouble)
            | Error::Forbidden(trouble)
            | Error::Invalid(trouble)
            | Error::Full(trouble)
            | Error::NotFound(trouble)
            | Error::TooOld(trouble)
            | Error::Damaged(trouble)
            | Error::Internal(trouble) => trouble,
        }
    }
}

impl Trouble {
    /// The error of an operation that nobody could be reached for, because of this.
    pub(super) fn unreached(self) -> Error {
        match &self {
            Trouble::Connect { source, .. } if matches!(**source, ConnectError::Refused { .. }) => {
                Error::Forbidden(self)
            }
            _ => Error::Unreachable(self),
        }
    }

    /// True if whoever answered is not of the cluster that we know.
    pub fn is_foreign(&self) -> bool {
        match self {
            Trouble::Connect { source, .. } => matches!(**source, ConnectError::Identity { .. }),
            _ => matches!(self, Trouble::OtherCluster { .. }),
        }
    }

    /// True for what will not be better in a moment.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Trouble::Connect { source, .. } => {
                matches!(
                    **source,
                    ConnectError::Identity { .. }
                        | ConnectError::Refused { .. }
                        | ConnectError::Resolve { .. }
                        | ConnectError::Closed
                )
            }
            _ => matches!(self, Trouble::Nameless { .. } | Trouble::NoEndpoint),
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Error {
        Error::Invalid(error.into())
    }
}
