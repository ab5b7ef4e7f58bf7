use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream;
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::super::types::{self, log_id};
use super::*;

/// What is under way at the follower, by the number of the append, and in which order it came.
#[derive(Default)]
struct Follower {
    under_way: BTreeSet<u64>,
    came: Vec<u64>,
}

type Answer = LocalBoxFuture<'static, Result<AppendEntriesResponse<Types>, Failed>>;
type Answers = Vec<Option<oneshot::Sender<()>>>;

/// Appends of these sizes, one entry each, and what answers them.
fn appends(large: &[bool], follower: &Rc<RefCell<Follower>>) -> (Vec<Append<Answer>>, Answers) {
    let one = |(n, large): (u64, bool)| {
        let (answer, answered) = oneshot::channel();
        let follower = follower.clone();
        let append = Append {
            number: n,
            previous: Some(log_id(1, n)),
            last: Some(log_id(1, n + 1)),
            large,
            answer: async move {
                follower.borrow_mut().came.push(n);
                follower.borrow_mut().under_way.insert(n);
                answered.await.expect("the test answers");
                follower.borrow_mut().under_way.remove(&n);
                Ok(AppendEntriesResponse::Success)
            }
            .boxed_local(),
        };
        (append, Some(answer))
    };
    (0..).zip(large.iter().copied()).map(one).unzip()
}

proptest! {
    #[test]
    fn what_is_large_goes_alone_and_nothing_overtakes(
        large in prop::collection::vec(prop::bool::weighted(0.3), 1..20),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 20),
    ) {
        let follower = Rc::new(RefCell::new(Follower::default()));
        let (appends, mut answers) = appends(&large, &follower);
        let mut stream = Box::pin(in_order(stream::iter(appends), Ends::default()));
        let mut context = Context::from_waker(Waker::noop());
        let (mut told, mut most) = (Vec::new(), 0);
        for pick in picks {
            while let Poll::Ready(Some(answer)) = stream.as_mut().poll_next(&mut context) {
                told.push(answer.unwrap().unwrap().unwrap().index);
            }
            let under_way: Vec<u64> = follower.borrow().under_way.iter().copied().collect();
            most = most.max(under_way.len());
            prop_assert!(under_way.len() <= APPENDS_IN_FLIGHT);
            let alone = under_way.iter().any(|n| large[*n as usize]);
            prop_assert!(!alone || under_way.len() == 1, "{under_way:?} of {large:?}");
            // Any of them may be answered next.
            if !under_way.is_empty() {
                let next = under_way[pick.index(under_way.len())];
                answers[next as usize].take().expect("answered once").send(()).expect("it waits");
            }
        }
        while let Poll::Ready(Some(answer)) = stream.as_mut().poll_next(&mut context) {
            told.push(answer.unwrap().unwrap().unwrap().index);
        }
        let count = large.len() as u64;
        prop_assert_eq!(&follower.borrow().came, &(0..count).collect::<Vec<_>>());
        prop_assert_eq!(told, (1..=count).collect::<Vec<_>>());
        let together = large.len().min(APPENDS_IN_FLIGHT);
        prop_assert!(large.contains(&true) || most == together, "small ones go together: {} of {}", most, together);
    }
}

/// Two requests that lead to 5 and one beyond it, all answered: openraft hears of the second, and of the third.
#[test]
fn an_answer_is_withheld_if_a_later_request_leads_to_the_same_place() {
    let ends = Ends::default();
    let places = [(4, 5), (5, 5), (5, 6)].map(|(previous, last)| (log_id(1, previous), log_id(1, last)));
    let appends = (1..).zip(places).map(|(number, (previous, last))| {
        ends.taken(number, Some(last));
        let answer = async { Ok(AppendEntriesResponse::Success) };
        Append { number, previous: Some(previous), last: Some(last), large: false, answer }
    });
    // All were made before any was answered.
    let appends: Vec<_> = appends.collect();
    let mut stream = Box::pin(in_order(stream::iter(appends), ends.clone()));
    let mut context = Context::from_waker(Waker::noop());
    let mut told = Vec::new();
    while let Poll::Ready(Some(answer)) = stream.as_mut().poll_next(&mut context) {
        told.push(answer.unwrap().unwrap().unwrap().index);
    }
    assert_eq!(told, [5, 6], "once, and not for the first of them");
    assert_eq!(ends.0.lock().len(), 1, "what was answered is forgotten");
}

/// News that went with the next entries was never sent, and openraft does not know.
#[test]
fn what_was_never_sent_is_answered_by_what_came_behind_it() {
    let ends = Ends::default();
    let at = |index| Some(log_id(1, index));
    for (number, last) in [(1, 5), (2, 5), (3, 6)] {
        ends.taken(number, at(last));
    }
    assert!(!ends.is_the_last(1, at(5)), "openraft would take it for the answer to the second");
    assert!(ends.is_the_last(3, at(6)));
}

fn conflict(confirmed: u64, previous: Option<u64>) -> Result<StreamAppendResult<Types>, Failed> {
    let at = |index| log_id(3, index);
    judge(&mut Some(at(confirmed)), previous.map(at), Some(at(99)), AppendEntriesResponse::Conflict)
}

#[test]
fn a_conflict_below_what_was_confirmed_is_not_for_openraft() {
    assert!(matches!(conflict(7, Some(8)), Ok(Err(StreamAppendError::Conflict(at))) if at == log_id(3, 8)));
    for previous in [None, Some(1), Some(7)] {
        assert!(matches!(conflict(7, previous), Err(RPCError::Network(_))), "{previous:?}");
    }
}

#[test]
fn what_is_confirmed_is_what_the_follower_has() {
    let mut confirmed = None;
    let (first, second, third) = (Some(log_id(3, 1)), Some(log_id(3, 5)), Some(log_id(3, 9)));
    let told = judge(&mut confirmed, first, third, AppendEntriesResponse::PartialSuccess(second));
    assert_eq!((told.unwrap().unwrap(), confirmed), (second, second));
    let vote = types::Vote::new(4, 2);
    let told = judge(&mut confirmed, second, third, AppendEntriesResponse::HigherVote(vote));
    assert!(matches!(told, Ok(Err(StreamAppendError::HigherVote(higher))) if higher == vote));
    assert_eq!(confirmed, second);
    let told = judge(&mut confirmed, second, third, AppendEntriesResponse::Success);
    assert_eq!((told.unwrap().unwrap(), confirmed), (third, third));
}
