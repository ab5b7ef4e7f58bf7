//! What has been committed travels with the next entry.
//!
//! openraft sends a follower a request of its own whenever the commit index moves and no entry is at hand. Where writes
//! follow one another that is every second request, and each costs a message, its answer and a turn of the core at both
//! ends. So news of a commit alone is held back for a moment: entries that come meanwhile carry it, being built later.
//!
//! Nothing is decided by it. What a leader acknowledges is committed whether followers know or not; a follower that must
//! know at once (a session read) asks for a read index, and the round for that tells it. A follower that nobody writes to
//! applies `NEWS_WAIT` later, or with the next heartbeat if the stream breaks meanwhile.
//!
//! ## Invariants and what guards each
//!
//! - Entries are neither held back, nor lost, nor put in another order: guarded by
//!   `tests::entries_go_on_at_once_and_news_with_them`.
//! - News goes on in bounded time, also when nothing follows: guarded by
//!   `tests::news_is_told_when_nothing_follows`, `tests::the_last_news_of_a_stream_is_told`.
//! - The first request of a stream, which may be a question, is asked: guarded by `tests::a_question_is_asked_at_once`.
//! - Nothing that a commit may wait for is held back: guarded by `tests::what_is_not_all_committed_goes_on_at_once`.

use std::time::Duration;

use futures_util::stream::{Fuse, Stream, StreamExt, unfold};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, timeout_at};

use super::pipeline::Ends;
use super::types::{LogId, Types};

/// How long news of a commit waits for an entry to travel with. Longer than the time between two entries of a shard that
/// is one of many busy ones.
const NEWS_WAIT: Duration = Duration::from_millis(20);

type Request = AppendEntriesRequest<Types>;

/// A request, and its number among those that openraft has made for this stream.
pub struct Numbered {
    pub number: u64,
    pub request: Request,
}

struct News<S> {
    requests: Fuse<S>,
    /// Where those lead to that openraft takes for sent: all that were taken from it.
    ends: Ends,
    taken: u64,
    /// Where the last request that went on leads to.
    sent: Option<Option<LogId>>,
    /// What waits, and how long.
    held: Option<(Numbered, Instant)>,
}

/// The requests of one stream, with news of commits in fewer of them.
pub fn gathered<S>(requests: S, ends: Ends) -> impl Stream<Item = Numbered>
where
    S: Stream<Item = Request> + Unpin,
{
    unfold(News { requests: requests.fuse(), ends, taken: 0, sent: None, held: None }, News::next)
}

impl<S: Stream<Item = Request> + Unpin> News<S> {
    async fn next(mut self) -> Option<(Numbered, Self)> {
        loop {
            let next = self.requests.next();
            let came = match &self.held {
                None => next.await,
                // Out of time is like an end: what is held goes on.
                Some((_, until)) => timeout_at(*until, next).await.unwrap_or(None),
            };
            let Some(request) = came else {
                return self.held.take().map(|(request, _)| (request, self));
            };
            let (is_news, last) = (self.is_news(&request), last(&request));
            self.taken += 1;
            self.ends.taken(self.taken, last);
            let request = Numbered { number: self.taken, request };
            if is_news {
                let until = self.held.map_or_else(|| Instant::now() + NEWS_WAIT, |(_, until)| until);
                self.held = Some((request, until));
            } else {
                self.held = None;
                self.sent = Some(last);
                return Some((request, self));
            }
        }
    }

    /// True if it brings nothing but that all that was sent is committed: then nobody waits for the answer, nor for those that
    /// are withheld because of it (see [`super::pipeline`]). Otherwise a commit may wait for these.
    fn is_news(&self, request: &Request) -> bool {
        request.entries.is_empty()
            && self.sent == Some(request.prev_log_id)
            && request.leader_commit >= request.prev_log_id
    }
}

/// Where the follower's log matches after it.
pub fn last(request: &Request) -> Option<LogId> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    use super::super::types::{Vote, log_id};
    use super::*;

    /// A request for the entries behind `previous` up to `last`, which says that `committed` is committed.
    fn request(previous: u64, last: u64, committed: u64) -> Request {
        let blank =
            |index| openraft::Entry { log_id: log_id(1, index), payload: openraft::EntryPayload::Blank };
        AppendEntriesRequest {
            vote: Vote::new(1, 1),
            prev_log_id: Some(log_id(1, previous)),
            entries: (previous + 1..=last).map(blank).collect(),
            leader_commit: Some(log_id(1, committed)),
        }
    }

    /// Previous, last and committed index.
    fn told(request: Option<Numbered>) -> (u64, u64, u64) {
        let request = request.expect("the stream goes on").request;
        let index = |id: Option<LogId>| id.expect("it has one").index;
        (index(request.prev_log_id), index(last(&request)), index(request.leader_commit))
    }

    fn stream() -> (mpsc::UnboundedSender<Request>, std::pin::Pin<Box<dyn Stream<Item = Numbered>>>) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let requests = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        (sender, Box::pin(gathered(requests, Ends::default())))
    }

    #[tokio::test(start_paused = true)]
    async fn entries_go_on_at_once_and_news_with_them() {
        let (sender, mut stream) = stream();
        sender.send(request(0, 3, 0)).unwrap();
        sender.send(request(3, 3, 3)).unwrap();
        sender.send(request(3, 4, 3)).unwrap();
        sender.send(request(4, 6, 3)).unwrap();
        let begin = Instant::now();
        assert_eq!(told(stream.next().await), (0, 3, 0));
        assert_eq!(told(stream.next().await), (3, 4, 3));
        assert_eq!(told(stream.next().await), (4, 6, 3));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn news_is_told_when_nothing_follows() {
        let (sender, mut stream) = stream();
        sender.send(request(0, 3, 0)).unwrap();
        assert_eq!(told(stream.next().await), (0, 3, 0));
        let begin = Instant::now();
        sender.send(request(3, 3, 3)).unwrap();
        assert!(stream.next().now_or_never().is_none(), "it is held back");
        tokio::time::advance(NEWS_WAIT / 2).await;
        sender.send(request(3, 3, 3)).unwrap();
        assert_eq!(told(stream.next().await), (3, 3, 3));
        assert_eq!(begin.elapsed(), NEWS_WAIT, "later news does not prolong the wait");
        sender.send(request(3, 5, 3)).unwrap();
        assert_eq!(told(stream.next().await), (3, 5, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_all_committed_goes_on_at_once() {
        let (sender, mut stream) = stream();
        sender.send(request(0, 3, 0)).unwrap();
        sender.send(request(3, 3, 2)).unwrap();
        assert_eq!(told(stream.next().await), (0, 3, 0));
        let begin = Instant::now();
        assert_eq!(told(stream.next().await), (3, 3, 2));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_news_of_a_stream_is_told() {
        let (sender, mut stream) = stream();
        sender.send(request(0, 3, 0)).unwrap();
        sender.send(request(3, 3, 3)).unwrap();
        drop(sender);
        assert_eq!(told(stream.next().await), (0, 3, 0));
        assert_eq!(told(stream.next().await), (3, 3, 3));
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_asked_at_once() {
        let (sender, mut stream) = stream();
        // Does the follower have entry 7?
        sender.send(request(7, 7, 5)).unwrap();
        let begin = Instant::now();
        assert_eq!(told(stream.next().await), (7, 7, 5));
        // And entry 2?
        sender.send(request(2, 2, 5)).unwrap();
        assert_eq!(told(stream.next().await), (2, 2, 5));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
