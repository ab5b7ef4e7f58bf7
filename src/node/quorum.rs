//! # A leader that hears nobody
//!
//! A link may carry one way only. A leader that hears nobody, but is heard, can confirm no read and commit no write; its
//! heartbeats keep its followers from electing another all the same. So a leader that no quorum has acknowledged for
//! [`NO_QUORUM_AFTER`] falls *silent* ([`crate::node::raft::silence`]): its followers miss it and elect as they do when a machine
//! is dead, within about two seconds.
//!
//! | state | what it is | left by |
//! |---|---|---|
//! | exempt | it does not lead, has no other voters, or is at rest | it leads others, awake: leads |
//! | leads | counted from the last acknowledgement, at least from when it entered this state | 2.5 s without one: silent |
//! | silent | nothing goes out but answers | another leads: exempt, at once. After [`SILENCE`]: leads |
//!
//! Whoever is elected meanwhile has a higher term, and its voters refuse what the old leader says from then on: it may
//! fall silent and speak in turns for as long as it hears nobody, and disturbs nobody. If nobody was elected (the
//! others are dead, or know less), it leads on in its old term as soon as it is acknowledged: no vote was given, nothing
//! written. A leader in its turn of silence votes for whoever asks and knows as much.
//!
//! ## Why this is safe
//!
//! To the others a silent replica is one whose network is cut, and Raft bears that at any moment, for any time. What it
//! has under way is answered "unknown" at once: it may be committed by the others' copies.
//!
//! ## When it does not count
//!
//! - *Asleep*, nobody sends heartbeats, and there is nothing to acknowledge. The machine's pulse tells whether it hears
//!   anybody ([`crate::node::pulse`]). A leader that wakes counts from then.
//! - *Held up*: a process that stood still finds old acknowledgements, and new ones waiting. It counts from when it goes on.
//!
//! openraft has a switch for this (`quorum_loss_probe_interval`), which knows of no sleep: it would hold back every second
//! first heartbeat after it.
//!
//! ## Invariants and what guards each
//!
//! - Others lead, and writes go on, within 6 s although the link stays so, also if all sleep: guarded by `scripts::deaf-leader`, `sim_idle::a_deaf_leader_of_sleeping_groups_is_replaced`.
//! - Whoever is acknowledged by a quorum does not fall silent, however slow the others: guarded by
//!   `sim_quorum::a_leader_with_one_slow_follower_never_falls_silent`.
//! - Who is back finds a leader soon: guarded by `sim_quorum::a_leader_whose_followers_were_dead_serves_soon`.
//! - Sleep is no lack of a quorum: guarded by `sim_quorum::a_sleeping_leader_does_not_fall_silent`.
//! - Who stood still does not fall silent for that: guarded by `sim_quorum::who_stood_still_leads_on`.
//! - It ends no silence of a disk that hangs, and is not ended by it: guarded by
//!   `node::raft::silence::tests::one_cause_does_not_end_another`.
//!
//! Does not: step down. Who leads is decided by elections alone.

use std::time::Duration;

use super::raft::group::{NO_QUORUM_AFTER, SILENCE};
use super::shards::Shards;

/// How often the leaders are looked at. Hundreds of groups at rest cost a few microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Has leaders without a quorum fall silent and speak again, for ever.
pub async fn watch(shards: Shards) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let fell_silent = shards.all().iter().filter(|replica| replica.group.look_at_quorum()).count();
        if fell_silent > 0 {
            tracing::warn!(
                shards = fell_silent,
                "no majority has answered this node as leader for {NO_QUORUM_AFTER:?}; it says nothing for {SILENCE:?}, so \
                 that others may lead"
            );
        }
    }
}
