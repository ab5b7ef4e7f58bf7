//! Silence: a seat whose node cannot do its part ([`crate::node::stall`]) is, to all others, not there.
//!
//! While it lasts nothing goes out on its own account (no tick, so no heartbeat and no candidacy), nothing is taken in,
//! and it knows of no leadership of its own. What was under way is given up: whoever waits is told what is certain.

use super::Group;

impl Group {
    /// Begins or ends the silence; harmless if it is so already.
    pub fn set_silent(&self, silent: bool) {
        if self.is_silent() != silent {
            self.rest(|rest| rest.set_silent(silent));
            self.silent.send_replace(silent);
        }
    }

    pub fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    /// Does something unless the seat is silent, or until it falls silent: then `None`.
    pub async fn unless_silent<R>(&self, work: impl Future<Output = R>) -> Option<R> {
        let mut silent = self.silent.subscribe();
        tokio::select! {
            biased;
            // The sender is this seat's own.
            _ = silent.wait_for(|silent| *silent) => None,
            done = work => Some(done),
        }
    }
}
