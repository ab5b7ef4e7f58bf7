//! How far each file is that this replica sends to others, for whoever watches; and how fast it may be sent.
//!
//! Who drives a job that is paused, or that is to spare the clients, says so again and again ([`Sending::throttle`]); once it
//! falls silent the transfer goes on as fast as the settings let it.

use std::collections::BTreeMap;
use std::sync::Arc;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A rate holds for so long after it was last said.
const HOLDS_FOR: Duration = Duration::from_secs(5);
/// Receivers that are remembered; a shard has fewer members.
const RECEIVERS_MAX: usize = 16;

/// What each replica was sent. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Sending(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    sent: BTreeMap<u64, Sent>,
    throttle: Option<(Throttle, Instant)>,
}

/// Of a file that is being sent, or was sent last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub bytes: u64,
    /// Of the whole file.
    pub of_bytes: u64,
}

/// How fast a replica may be sent a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    pub replica: u64,
    /// 0: it is sent nothing.
    pub bytes_per_s: u64,
}

impl Sending {
    /// So much is on its way to a replica.
    pub fn note(&self, replica: u64, sent: Sent) {
        let all = &mut self.0.lock().sent;
        all.insert(replica, sent);
        if all.len() > RECEIVERS_MAX {
            // Ids rise: the lowest is the oldest.
            all.pop_first();
        }
    }

    /// This rate holds for a while; `None`: none does.
    pub fn throttle(&self, throttle: Option<Throttle>) {
        self.0.lock().throttle = throttle.map(|throttle| (throttle, Instant::now() + HOLDS_FOR));
    }

    /// How fast a replica may be sent a file, in bytes a second; `None`: as fast as it goes.
    pub fn rate(&self, replica: u64) -> Option<u64> {
        let (throttle, until) = self.0.lock().throttle?;
        (throttle.replica == replica && Instant::now() < until).then_some(throttle.bytes_per_s)
    }

    /// True while a replica is to be sent nothing.
    pub fn is_held(&self, replica: u64) -> bool {
        self.rate(replica) == Some(0)
    }

    /// What each replica was sent.
    pub fn all(&self) -> Vec<(u64, Sent)> {
        self.0.lock().sent.iter().map(|(replica, sent)| (*replica, *sent)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_held_goes_on_when_nobody_says_so_any_more() {
        let sending = Sending::default();
        let hold = Some(Throttle { replica: 7, bytes_per_s: 0 });
        assert!(!sending.is_held(7));
        sending.throttle(hold);
        tokio::time::sleep(HOLDS_FOR / 2).await;
        assert!(sending.is_held(7) && !sending.is_held(8), "others need what they are sent");
        sending.throttle(hold);
        tokio::time::sleep(HOLDS_FOR / 2).await;
        assert!(sending.is_held(7));
        sending.throttle(None);
        assert!(!sending.is_held(7));
        sending.throttle(hold);
        tokio::time::sleep(HOLDS_FOR).await;
        assert!(!sending.is_held(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_for_one_and_for_a_while() {
        let sending = Sending::default();
        sending.throttle(Some(Throttle { replica: 7, bytes_per_s: 1 << 20 }));
        assert_eq!((sending.rate(7), sending.rate(8), sending.is_held(7)), (Some(1 << 20), None, false));
        tokio::time::sleep(HOLDS_FOR).await;
        assert_eq!(sending.rate(7), None);
    }

    #[test]
    fn the_last_receivers_are_remembered() {
        let sending = Sending::default();
        let sent = |n| Sent { bytes: n, of_bytes: 100 };
        for replica in 1..=20 {
            sending.note(replica, sent(replica));
        }
        sending.note(20, sent(50));
        let all = sending.all();
        assert_eq!(all.len(), RECEIVERS_MAX);
        assert_eq!(all[RECEIVERS_MAX - 2..], [(19, sent(19)), (20, sent(50))]);
    }
}
