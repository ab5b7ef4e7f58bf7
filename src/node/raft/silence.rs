//! Silence: a seat that cannot do its part says nothing on its own account, so that others do it.
//!
//! There are two causes, each begun and ended by its own watcher; a seat speaks again when neither is left:
//!
//! | cause | watcher | what others ask of it |
//! |---|---|---|
//! | [`Cause::DiskHangs`] | [`crate::node::stall`] | is refused: nothing of it could be answered before it is on disk |
//! | [`Cause::NoQuorum`] | [`crate::node::quorum`] | is answered: whoever leads next is followed at once |
//!
//! While it lasts nothing goes out: no tick, so no heartbeat and no candidacy, and no entries, which followers would take
//! for heartbeats. It knows of no leadership of its own. What was under way is given up: whoever waits is told what is
//! certain.

use tokio::sync::watch;

/// Why a seat is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The log has finished nothing for long.
    DiskHangs,
    /// It leads, and no majority has acknowledged that for long.
    NoQuorum,
}

/// The silence of one seat: the causes that last.
#[derive(Debug, Default)]
pub struct Silence(watch::Sender<Causes>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Causes {
    disk_hangs: bool,
    no_quorum: bool,
}

impl Causes {
    fn of(&mut self, cause: Cause) -> &mut bool {
        match cause {
            Cause::DiskHangs => &mut self.disk_hangs,
            Cause::NoQuorum => &mut self.no_quorum,
        }
    }

    fn any(self) -> bool {
        self.disk_hangs || self.no_quorum
    }
}

impl Silence {
    /// Returns once it lasts, for any cause.
    pub fn begun(&self) -> impl Future<Output = ()> + use<> {
        let mut causes = self.0.subscribe();
        async move {
            // The sender lives as long as the seat whose work waits here.
            let _ = causes.wait_for(|causes| causes.any()).await;
        }
    }

    /// True for any cause.
    pub fn lasts(&self) -> bool {
        self.0.borrow().any()
    }

    /// True for this cause.
    pub fn lasts_for(&self, cause: Cause) -> bool {
        let mut causes = *self.0.borrow();
        *causes.of(cause)
    }

    /// Begins or ends it for this cause. Returns true if there is any cause now.
    pub fn set(&self, cause: Cause, lasts: bool) -> bool {
        self.0.send_if_modified(|causes| std::mem::replace(causes.of(cause), lasts) != lasts);
        self.lasts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_does_not_end_another() {
        let silence = Silence::default();
        assert!(silence.set(Cause::DiskHangs, true) && silence.set(Cause::NoQuorum, true));
        assert!(silence.set(Cause::NoQuorum, false), "the disk hangs still");
        assert!(silence.lasts_for(Cause::DiskHangs) && !silence.lasts_for(Cause::NoQuorum));
        assert!(silence.set(Cause::NoQuorum, true));
        assert!(silence.set(Cause::DiskHangs, false), "there is no majority still");
        assert!(!silence.set(Cause::NoQuorum, false) && !silence.lasts());
    }
}
