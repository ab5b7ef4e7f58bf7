//! What the groups of a node count, all together.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use crate::model::wire::Vote;
use crate::node::histogram::Histogram;

/// Shared by all groups of a node.
#[derive(Debug)]
pub struct RaftCounts {
    /// Entries of each append request sent; heartbeats are none.
    pub append_entries: Histogram,
    /// From an append request to its answer.
    pub append_seconds: Histogram,
    /// Append requests without an answer that counts.
    pub append_failures: Counter,
    /// Elections begun here: a replica has voted for itself in a new term.
    pub elections: Counter,
    /// Leaders that replicas here have come to know of, themselves included.
    pub leader_changes: Counter,
    /// Shard files sent and received.
    pub sent: TransferCounts,
    pub received: TransferCounts,
}

/// Transfers of shard files, one way.
#[derive(Debug)]
pub struct TransferCounts {
    pub bytes: Counter,
    /// Those that came to a good end.
    pub seconds: Histogram,
    pub failures: Counter,
}

impl RaftCounts {
    /// A replica is about to save a vote.
    pub fn saves_vote(&self, replica: u64, vote: &Vote) {
        if vote.committed {
            self.leader_changes.inc();
        } else if vote.replica == replica {
            self.elections.inc();
        }
    }
}

impl TransferCounts {
    /// A transfer of `bytes` has ended, well or not.
    pub fn ended(&self, well: bool, bytes: u64, took: Duration) {
        if well {
            self.bytes.inc_by(bytes);
            self.seconds.observe_time(took);
        } else {
            self.failures.inc();
        }
    }
}

impl Default for RaftCounts {
    fn default() -> RaftCounts {
        RaftCounts {
            append_entries: Histogram::of_numbers(),
            append_seconds: Histogram::of_seconds(),
            append_failures: Counter::default(),
            elections: Counter::default(),
            leader_changes: Counter::default(),
            sent: TransferCounts::default(),
            received: TransferCounts::default(),
        }
    }
}

impl Default for TransferCounts {
    fn default() -> TransferCounts {
        TransferCounts {
            bytes: Counter::default(),
            seconds: Histogram::of_seconds_coarse(),
            failures: Counter::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_votes_for_itself_stands_for_election_and_a_vote_that_is_committed_is_a_leader() {
        let counts = RaftCounts::default();
        let count = || (counts.elections.get(), counts.leader_changes.get());
        let vote = |replica, committed| Vote { term: 3, replica, committed };
        counts.saves_vote(1, &vote(2, false));
        assert_eq!(count(), (0, 0), "it votes for another");
        counts.saves_vote(1, &vote(1, false));
        assert_eq!(count(), (1, 0));
        counts.saves_vote(1, &vote(1, true));
        counts.saves_vote(1, &vote(2, true));
        assert_eq!(count(), (1, 2));
    }
}
