//! Whether anybody else votes in the group, as its core knows. What that is for: `node::replica::sole`.

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use crate::node::raft::types::StoredMembership;

use super::{Group, ProposeError};

impl Group {
    /// True if the group has begun: there is an entry, or was one.
    pub async fn is_begun(&self) -> Result<bool, ProposeError> {
        self.raft.is_initialized().await.map_err(|error| ProposeError::Stopped(error.to_string()))
    }

    /// False if this replica surely is not the only voter. Costs nothing, and may be late.
    pub fn seems_sole(&self) -> bool {
        let metrics = self.metrics.borrow_watched();
        metrics.state == ServerState::Leader && votes_alone(self.replica.0, &metrics.membership_config)
    }

    /// True if this replica is the only voter, nothing else is under way, and nobody can have it otherwise: it leads, and an
    /// entry of its term is committed. False if it cannot be told.
    pub async fn is_sole(&self) -> bool {
        let id = self.replica.0;
        // Behind all that was asked of the core before, changes of members among it.
        let asked = self.raft.with_raft_state(move |state| {
            let members = &state.membership_state;
            let term = state.vote_ref().leader_id.term;
            state.server_state == ServerState::Leader
                && votes_alone(id, members.effective())
                && members.effective().log_id() == members.committed().log_id()
                && state.local_committed().is_some_and(|committed| committed.leader_id.term == term)
        });
        matches!(self.unless_silent(asked).await, Some(Ok(true)))
    }
}

/// True if nobody but this replica votes.
fn votes_alone(id: u64, members: &StoredMembership) -> bool {
    let configs = members.membership().get_joint_config();
    !configs.is_empty() && configs.iter().all(|voters| voters.len() == 1 && voters.contains(&id))
}
