//! When a leader has been without a quorum for too long, and when it may speak again: see [`crate::node::quorum`].

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ServerState};
use tokio::time::Instant;

use crate::node::raft::silence::Cause;

use super::{ELECTION_MS, Group};

/// A leader that no quorum has acknowledged for this long falls silent.
pub const NO_QUORUM_AFTER: Duration = Duration::from_millis(2500);
/// For this long, unless another leads before. Its followers' leases last a second, and then they wait up to another.
pub const SILENCE: Duration = Duration::from_millis(2500);
/// Who was not looked at for this long was held up itself: its answers may be waiting.
const HELD_UP: Duration = Duration::from_secs(1);

const _: () = assert!(SILENCE.as_millis() as u64 > 2 * ELECTION_MS.1);

/// What is remembered of one seat from look to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quorum(State);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It was no leader that needs others, or it slept.
    #[default]
    Exempt,
    Leads {
        term: u64,
        /// The later of the last acknowledgement and the time from which it counts.
        since: Instant,
        looked_at: Instant,
    },
    Silent {
        term: u64,
        until: Instant,
    },
}

/// What a leader whose clock runs, and who needs others, knows of them.
#[derive(Clone, Copy, Debug)]
struct Leads {
    term: u64,
    /// When that was sent which a quorum has acknowledged.
    acked_at: Option<Instant>,
}

impl Quorum {
    /// `leads`: `None` for everybody else. Returns true if it must be silent.
    fn look(&mut self, now: Instant, leads: Option<Leads>) -> bool {
        let Some(Leads { term: now_term, acked_at }) = leads else {
            self.0 = State::Exempt;
            return false;
        };
        self.0 = match self.0 {
            State::Silent { term, until } if term == now_term && now < until => self.0,
            State::Leads { term, since, looked_at }
                if term == now_term && now.duration_since(looked_at) < HELD_UP =>
            {
                let since = acked_at.map_or(since, |acked| acked.max(since));
                match now.duration_since(since) >= NO_QUORUM_AFTER {
                    true => State::Silent { term, until: now + SILENCE },
                    false => State::Leads { term, since, looked_at: now },
                }
            }
            _ => State::Leads { term: now_term, since: now, looked_at: now },
        };
        matches!(self.0, State::Silent { .. })
    }
}

impl Group {
    /// Falls silent, or speaks again, as it must. Returns true if it has fallen silent now. Allocates nothing.
    pub fn look_at_quorum(&self) -> bool {
        let now = Instant::now();
        let leads = self.leads_others(now);
        let mut quorum = self.quorum.lock();
        let was_silent = matches!(quorum.0, State::Silent { .. });
        let silent = quorum.look(now, leads);
        self.set_silent(Cause::NoQuorum, silent);
        silent && !was_silent
    }

    fn leads_others(&self, now: Instant) -> Option<Leads> {
        if !self.is_awake() {
            return None;
        }
        let metrics = self.metrics.borrow_watched();
        let own = self.replica.0;
        let voters = metrics.membership_config.membership().get_joint_config();
        let needs_others = voters.iter().flatten().any(|voter| *voter != own);
        let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(own);
        let acked_at = metrics.last_quorum_acked.and_then(|acked| now.checked_sub(acked.elapsed()));
        (leads && needs_others).then_some(Leads { term: metrics.current_term, acked_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(250);

    /// Looks four times a second from `from` to `to`, in ms, with acknowledgements as `acked` tells them, also in ms.
    /// Returns when it was silent: the first and the last look that said so.
    fn looks(
        quorum: &mut Quorum,
        start: Instant,
        (from, to): (u64, u64),
        leads: impl Fn(u64) -> Option<(u64, Option<u64>)>,
    ) -> Option<(u64, u64)> {
        let at = |ms| start + Duration::from_millis(ms);
        let mut silent = None;
        for ms in (from..=to).step_by(LOOK.as_millis() as usize) {
            let leads = leads(ms).map(|(term, acked)| Leads { term, acked_at: acked.map(at) });
            if quorum.look(at(ms), leads) {
                silent = Some((silent.map_or(ms, |(first, _)| first), ms));
            }
        }
        silent
    }

    #[test]
    fn whoever_is_acknowledged_speaks_and_whoever_is_not_falls_silent_for_a_while() {
        let (start, mut quorum) = (Instant::now(), Quorum::default());
        // The acknowledgements are a second old, and more.
        assert_eq!(
            looks(&mut quorum, start, (0, 60_000), |ms| Some((1, Some(ms.saturating_sub(2000))))),
            None
        );
        assert_eq!(
            looks(&mut quorum, start, (60_250, 64_750), |_| Some((1, Some(60_000)))),
            Some((62_500, 64_750))
        );
        // It speaks, for as long as it would without having been silent, and is silent again.
        assert_eq!(looks(&mut quorum, start, (65_000, 67_250), |_| Some((1, Some(60_000)))), None);
        assert_eq!(
            looks(&mut quorum, start, (67_500, 69_750), |_| Some((1, Some(60_000)))),
            Some((67_500, 69_750))
        );
        // They are back.
        assert_eq!(looks(&mut quorum, start, (70_000, 80_000), |ms| Some((1, Some(ms)))), None);
    }

    #[test]
    fn a_new_term_and_the_end_of_sleep_count_from_now() {
        let (start, mut quorum) = (Instant::now(), Quorum::default());
        assert_eq!(looks(&mut quorum, start, (0, 9000), |_| None), None);
        assert_eq!(looks(&mut quorum, start, (9250, 11_500), |_| Some((1, Some(0)))), None);
        assert_eq!(looks(&mut quorum, start, (11_750, 11_750), |_| Some((1, None))), Some((11_750, 11_750)));
        // Elected again while it was silent.
        assert_eq!(looks(&mut quorum, start, (12_000, 14_250), |_| Some((2, None))), None);
        // Nobody's leader, or asleep.
        assert_eq!(looks(&mut quorum, start, (14_500, 14_500), |_| None), None);
        assert_eq!(looks(&mut quorum, start, (14_750, 17_000), |_| Some((2, None))), None);
        assert!(looks(&mut quorum, start, (17_250, 17_250), |_| Some((2, None))).is_some());
        // Another leads: at once.
        assert_eq!(looks(&mut quorum, start, (17_500, 17_500), |_| None), None);
    }

    #[test]
    fn who_was_held_up_itself_is_given_time() {
        let (start, mut quorum) = (Instant::now(), Quorum::default());
        assert_eq!(looks(&mut quorum, start, (0, 1000), |ms| Some((1, Some(ms)))), None);
        // The process stood still for half a minute.
        assert_eq!(looks(&mut quorum, start, (31_000, 33_250), |_| Some((1, Some(1000)))), None);
        assert!(looks(&mut quorum, start, (33_500, 33_500), |_| Some((1, Some(1000)))).is_some());
    }
}
