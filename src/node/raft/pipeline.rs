//! The order of appends under way to one follower.
//!
//! Up to [`APPENDS_IN_FLIGHT`] are sent before the first is answered; each follows on the one before it, so the follower
//! must see them in the order of the log. Small ones share one stream of the connection, which keeps their order. What is
//! too large for it travels on a stream of its own, which the requests behind it could overtake; so it goes alone.
//!
//! That order is not enough when a connection is lost and made anew in between: what was sent first may then arrive
//! second, and the follower refuses the second as not following on its log. openraft would take that for a follower that
//! lost what it had confirmed. So a conflict below what was confirmed ends the stream, which openraft begins again.
//!
//! ## When an answer says what it seems to say
//!
//! openraft takes a confirmation that a log matches up to P for the answer to *all* requests that lead to P, and for a sign of
//! life as of when it made the last of these ([`Ends`]): also of one that was made after this one was answered. A read round
//! that began in between would count it, though it says nothing about who leads by now: the answer of a follower that has
//! voted for another leader since could be all that a linearizable read rests on. So an answer is withheld if openraft has
//! made a later request that leads to the same place. That one, or one behind it, is answered as well, and says more. No
//! commit waits for it: a request is held back ([`super::news`]) only where all that was sent is committed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::ready;
use futures_util::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesResponse, StreamAppendError, StreamAppendResult};
use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::types::{LogId, Types};

/// Append requests under way to one follower. Deeper pipelines were measured to hurt where every append is synced.
pub const APPENDS_IN_FLIGHT: usize = 4;

/// Why a peer gave no answer.
pub type Failed = RPCError<Types>;

/// One append, ready to be sent by polling `answer`.
pub struct Append<F> {
    /// Its number among the requests of the stream.
    pub number: u64,
    /// What it follows on.
    pub previous: Option<LogId>,
    /// Where the follower's log matches after it.
    pub last: Option<LogId>,
    /// Too large to share a stream.
    pub large: bool,
    pub answer: F,
}

/// Which request was the last that leads to a place in the log. Shared; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ends(Arc<Mutex<BTreeMap<Option<LogId>, u64>>>);

impl Ends {
    /// openraft has made a request, which it takes for sent.
    pub fn taken(&self, number: u64, last: Option<LogId>) {
        self.0.lock().insert(last, number);
    }

    /// True if no later request leads to the same place. Those that lead less far are answered with it.
    fn is_the_last(&self, number: u64, last: Option<LogId>) -> bool {
        let mut ends = self.0.lock();
        let rest = ends.split_off(&last);
        *ends = rest;
        ends.get(&last).is_none_or(|newest| *newest == number)
    }
}

/// Held while an append is under way.
enum Turn {
    Among(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

/// Sends the appends in their order; their answers in the same order, up to the first that openraft must not see.
pub fn in_order<F>(
    appends: impl Stream<Item = Append<F>>,
    ends: Ends,
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
        (append.number, append.previous, append.last, answer)
    });
    let mut confirmed = None;
    sent.buffered(APPENDS_IN_FLIGHT).filter_map(move |(number, previous, last, answer)| {
        let told = answer.and_then(|response| judge(&mut confirmed, previous, last, response));
        let says_more = match &told {
            Ok(Ok(_)) => ends.is_the_last(number, last),
            _ => true,
        };
        ready(says_more.then_some(told))
    })
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
