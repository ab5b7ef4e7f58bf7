//! The order of appends under way to one follower.
//!
//! Up to [`APPENDS_IN_FLIGHT`] are sent before the first is answered; each follows on the one before it, so the follower
//! must see them in the order of the log. Small ones share one stream of the connection, which keeps their order. What is
//! too large for it travels on a stream of its own, which the requests behind it could overtake; so it goes alone.
//!
//! That order is not enough when a connection is lost and made anew in between: what was sent first may then arrive
//! second, and the follower refuses the second as not following on its log. openraft would take that for a follower that
//! lost what it had confirmed. So a conflict below what was confirmed ends the stream, which openraft begins again.

use std::future::Future;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::types::{LogId, Types};

/// Append requests under way to one follower. Deeper pipelines were measured to hurt where every append is synced.
pub const APPENDS_IN_FLIGHT: usize = 4;

/// Why a peer gave no answer.
pub type Failed = RPCError<Types>;

/// One append, ready to be sent by polling `answer`.
pub struct Append<F> {
    /// What it follows on.
    pub previous: Option<LogId>,
    /// Where the follower's log matches after it.
    pub last: Option<LogId>,
    /// Too large to share a stream.
    pub large: bool,
    pub answer: F,
}

/// Held while an append is under way.
enum Turn {
    Among(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

/// Sends the appends in their order; their answers in the same order, up to the first that openraft must not see.
pub fn in_order<F>(
    appends: impl Stream<Item = Append<F>>,
) -> impl Stream<Item = Result<StreamAppendResult<Types>, Failed>>
where
    F: Future<Output = Result<AppendEntriesResponse<Types>, Failed>>,
{
    let turns = Arc::new(RwLock::new(()));
    // Turns are taken one after the other, before the answer is polled: whoever comes later is behind.
    let in_turn = appends.then(move |append| {
        let turns = turns.clone();
        async move {
            let turn = match append.large {
                true => Turn::Alone(turns.write_owned().await),
                false => Turn::Among(turns.read_owned().await),
            };
            (turn, append)
        }
    });
    let sent = in_turn.map(|(turn, append)| async move {
        let answer = append.answer.await;
        drop(turn);
        (append.previous, append.last, answer)
    });
    let mut confirmed = None;
    sent.buffered(APPENDS_IN_FLIGHT)
        .map(move |(previous, last, answer)| judge(&mut confirmed, previous, last, answer?))
}

/// What openraft is told of an answer, given what the follower confirmed before it.
fn judge(
    confirmed: &mut Option<LogId>,
    previous: Option<LogId>,
    last: Option<LogId>,
    response: AppendEntriesResponse<Types>,
) -> Result<StreamAppendResult<Types>, Failed> {
    match response {
        AppendEntriesResponse::Success => *confirmed = last,
        AppendEntriesResponse::PartialSuccess(up_to) => *confirmed = up_to,
        AppendEntriesResponse::HigherVote(vote) => return Ok(Err(StreamAppendError::HigherVote(vote))),
        AppendEntriesResponse::Conflict => match previous {
            Some(previous) if Some(previous) > *confirmed => {
                return Ok(Err(StreamAppendError::Conflict(previous)));
            }
            // It has what it says it lacks.
            _ => return Err(NetworkError::from_string("an append was overtaken").into()),
        },
    }
    Ok(Ok(*confirmed))
}

#[cfg(test)]
mod tests;
