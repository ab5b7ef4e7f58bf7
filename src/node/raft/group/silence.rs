//! The [`Silence`](crate::node::raft::silence) of one seat: what it means for what is asked of it.

use crate::node::raft::silence::Cause;

use super::Group;

impl Group {
    /// Begins or ends the silence for this cause; harmless if it is so already.
    pub fn set_silent(&self, cause: Cause, silent: bool) {
        if self.silence.lasts_for(cause) != silent {
            // Under the lock of its rest, so that two causes at once leave what both say.
            self.rest(|rest| rest.set_silent(self.silence.set(cause, silent)));
        }
    }

    /// True for any cause.
    pub fn is_silent(&self) -> bool {
        self.silence.lasts()
    }

    /// True if what others ask must be refused.
    pub fn takes_nothing(&self) -> bool {
        self.silence.lasts_for(Cause::DiskHangs)
    }

    /// Does something unless the seat is silent, or until it falls silent: then `None`.
    pub async fn unless_silent<R>(&self, work: impl Future<Output = R>) -> Option<R> {
        tokio::select! {
            biased;
            () = self.silence.begun() => None,
            done = work => Some(done),
        }
    }
}
