//! How far each file is that this replica sends to others, for whoever watches; and whether it is held.
//!
//! Who drives a job that is paused says so again and again ([`Sending::hold`]); once it falls silent the transfer goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A transfer is held for so long after it was last said.
const HOLD_FOR: Duration = Duration::from_secs(5);
/// Receivers that are remembered; a shard has fewer members.
const RECEIVERS_MAX: usize = 16;

/// What each replica was sent. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Sending(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    sent: BTreeMap<u64, Sent>,
    /// Who is held, and until when.
    held: Option<(u64, Instant)>,
}

/// Of a file that is being sent, or was sent last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub bytes: u64,
    /// Of the whole file.
    pub of_bytes: u64,
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

    /// Nothing more is to be sent to this replica for a while; `None`: nobody is held.
    pub fn hold(&self, replica: Option<u64>) {
        self.0.lock().held = replica.map(|replica| (replica, Instant::now() + HOLD_FOR));
    }

    pub fn is_held(&self, replica: u64) -> bool {
        self.0.lock().held.is_some_and(|(held, until)| held == replica && Instant::now() < until)
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
        assert!(!sending.is_held(7));
        sending.hold(Some(7));
        tokio::time::sleep(HOLD_FOR / 2).await;
        assert!(sending.is_held(7) && !sending.is_held(8), "others need what they are sent");
        sending.hold(Some(7));
        tokio::time::sleep(HOLD_FOR / 2).await;
        assert!(sending.is_held(7));
        sending.hold(None);
        assert!(!sending.is_held(7));
        sending.hold(Some(7));
        tokio::time::sleep(HOLD_FOR).await;
        assert!(!sending.is_held(7));
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
