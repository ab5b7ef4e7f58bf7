//! Reads of one replica.
//!
//! *Linearizable*: this replica leads and a ReadIndex round that began after the read arrived has confirmed it.
//! *Session*: this replica has applied what the client has seen, or asks the leader for an index and waits for it.
//! *Stale*: whatever this replica has applied.
//!
//! **At a timestamp T** (leader only): the clock is moved past T, what is under way at or below T is waited for, leadership
//! is confirmed, and a ceiling at or above T is committed before the answer is given. So no later write can be stamped at
//! or below T, by this leader or any other: the answer at T stays the answer.
//!
//! **Expiry** is judged at a time no higher than the committed ceiling, for the same reason: a key seen expired once
//! never comes back, whatever clocks do.
//!
//! ## Invariants and what guards each
//!
//! - A linearizable read was confirmed by a round that began after it came: guarded by
//!   `sim_node::a_reader_waits_for_a_round_of_its_own`, `sim_cluster::a_leader_left_alone_answers_nothing_stale`.
//! - No write is ever stamped at or below a timestamp that was read: guarded by
//!   `sim_node::what_was_read_at_a_timestamp_stays_when_the_leader_changes`,
//!   `sim_node::what_was_read_at_a_timestamp_stays_after_a_restart`.
//! - A read that a split overtakes is refused, not answered without what that gave away: guarded by
//!   `sim_split::scans_miss_nothing_while_shards_are_split`.
//! - Nothing is answered from a shard that another may have taken over, but what cannot change any more: guarded by
//!   `sim_merge::shards_are_merged_and_nobody_notices`.
//! - What was seen expired stays so: guarded by `sim_node::what_was_seen_expired_stays_so_when_the_leader_changes`.
//! - A session read sees at least what its client has seen: guarded by
//!   `sim_node::a_session_read_sees_what_its_client_has_seen`.
//! - A read below the watermark is refused, also if it gets there meanwhile: guarded by
//!   `node::store::tests::versions::reads_at_any_remembered_time_are_those_of_the_model`, and in `check_history`.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::model::evaluate::ShardState;
use crate::model::key::{Key, KeyRange};
use crate::model::row::Version;
use crate::model::time::Timestamp;
use crate::net::trouble::{Bug, planted};
use crate::net::wire::Consistency;
use crate::node::raft::group::ConfirmError;
use crate::node::store::{Page, PageBounds, StoreError};

use super::Replica;
use super::proposer::Rejected;

/// What a read asks of consistency.
#[derive(Clone, Copy, Debug)]
pub struct ReadWish {
    pub consistency: Consistency,
    /// `None`: the newest.
    pub at: Option<Timestamp>,
    /// Session: what the client has seen.
    pub seen: Timestamp,
}

/// A page to be read.
#[derive(Clone, Debug)]
pub struct PageWish {
    pub range: KeyRange,
    pub limit: usize,
    pub max_bytes: usize,
    pub reverse: bool,
}

/// Why a read has no answer. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the key does not belong to this shard")]
    WrongShard,
    #[error("history before {watermark} has been forgotten")]
    TooOld { watermark: Timestamp },
    #[error("too many reads wait for this shard")]
    Busy,
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("the replica could not ask its leader")]
    NoLeader,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the timestamp asked for: {0}")]
    Clock(#[from] crate::model::time::ClockTooFarAhead),
}

impl Replica {
    /// The version of `key` that the wish asks for, if it is there and alive.
    pub async fn get(&self, key: &Key, wish: ReadWish) -> Result<Option<Version>, ReadError> {
        let begin = Instant::now();
        self.asked.note(1, |_| key.as_bytes());
        let found = self.read_key(key, wish).await;
        self.counts.read_seconds.observe_time(begin.elapsed());
        found
    }

    /// A page of rows; the timestamp is the one at which expiry was judged.
    pub async fn range(&self, page: PageWish, wish: ReadWish) -> Result<(Page, Timestamp), ReadError> {
        let begin = Instant::now();
        self.asked.note(1, |_| page.range.start.as_bytes());
        let found = self.read_page(page, wish).await;
        found.iter().for_each(|(page, _)| self.counts.add_keys(page.rows.len()));
        self.counts.read_seconds.observe_time(begin.elapsed());
        found
    }

    async fn read_key(&self, key: &Key, wish: ReadWish) -> Result<Option<Version>, ReadError> {
        self.prepare(wish).await?;
        self.check_bounds(|range| range.contains(key))?;
        let version = self.store.get(key, wish.at)?;
        self.check_history(wish.at)?;
        // Bounds as well: a split that was applied meanwhile hides what it gave away.
        self.check_bounds(|range| range.contains(key))?;
        let Some(version) = version else { return Ok(None) };
        let Some(expires_at) = version.expires_at else {
            return Ok(Some(version).filter(|version| version.value.is_some()));
        };
        let judged_at = self.expiry_time(wish, expires_at).await?;
        // What was under way may have found it alive and changed it: only what has settled may be called expired.
        let version = self.store.get(key, wish.at)?;
        self.check_bounds(|range| range.contains(key))?;
        Ok(version.filter(|version| version.live_at(judged_at).is_some()))
    }

    async fn read_page(&self, page: PageWish, wish: ReadWish) -> Result<(Page, Timestamp), ReadError> {
        self.prepare(wish).await?;
        let wanted = &page.range;
        let is_inside = |range: &KeyRange| {
            let ends_inside = match (&range.end, &wanted.end) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(end), Some(wanted)) => wanted <= end,
            };
            range.start <= wanted.start && ends_inside
        };
        self.check_bounds(is_inside)?;
        let judged_at = self.expiry_time(wish, Timestamp::ZERO).await?;
        let bounds = PageBounds {
            at: wish.at,
            live_at: judged_at,
            limit: page.limit,
            max_bytes: page.max_bytes,
            reverse: page.reverse,
        };
        let rows = self.store.range(wanted, &bounds)?;
        self.check_history(wish.at)?;
        self.check_bounds(is_inside)?;
        Ok((rows, judged_at))
    }

    /// Returns once this replica may answer.
    async fn prepare(&self, wish: ReadWish) -> Result<(), ReadError> {
        match (wish.at, wish.consistency) {
            (Some(at), _) => self.prepare_at(at).await,
            (None, Consistency::Linearizable) => self.confirm().await,
            (None, Consistency::Session) => self.catch_up_with(wish.seen).await,
            (None, Consistency::Stale) => Ok(()),
        }
    }

    async fn prepare_at(&self, at: Timestamp) -> Result<(), ReadError> {
        self.check_history(Some(at))?;
        // A follower that has applied something stamped above T has everything at or below it.
        if self.applied().borrow().stamp >= at {
            return Ok(());
        }
        self.clock.merge(at)?;
        self.proposer.settled(at).await;
        self.confirm().await?;
        self.promise(at).await
    }

    /// Has a ceiling at or above `at` committed.
    async fn promise(&self, at: Timestamp) -> Result<(), ReadError> {
        let promised = || self.store.state(|state| state.ceiling) >= at;
        if !promised() {
            self.proposer.reserve(at).await?;
            // One that stands still for a merge promises nothing more.
            if !promised() {
                return Err(ReadError::WrongShard);
            }
        }
        Ok(())
    }

    async fn catch_up_with(&self, seen: Timestamp) -> Result<(), ReadError> {
        if self.applied().borrow().stamp >= seen {
            return Ok(());
        }
        if self.group.leadership().here {
            return self.confirm().await;
        }
        // In a box: most reads never ask, and the future of each would have room for it.
        let index = Box::pin(self.ask_leader()).await.ok_or(ReadError::NoLeader)?;
        let mut applied = self.applied();
        match applied.wait_for(|applied| applied.index >= index).await {
            Ok(_) => self.check_moving(),
            Err(_) => Err(ConfirmError::Stopped("the replica was closed".to_owned()).into()),
        }
    }

    /// Returns once this replica is confirmed as leader by a round that began after the call, with its clock past
    /// everything that an earlier leader may have served.
    async fn confirm(&self) -> Result<(), ReadError> {
        self.rounds.join().await.ok_or(ReadError::Busy)??;
        let term = self.group.leadership().term;
        if self.read_term.load(Ordering::Acquire) != term {
            let (stamp, ceiling) = self.store.state(|state| (state.highest_stamp, state.ceiling));
            let ceiling = if planted(Bug::CeilingIgnored) { stamp } else { ceiling };
            self.clock.advance(stamp.max(ceiling));
            // Only now: a reader that finds the term noted goes by the clock at once.
            self.read_term.store(term, Ordering::Release);
        }
        self.check_moving()
    }

    /// What stands still for a merge may have been taken over already: what is new is elsewhere then.
    fn check_moving(&self) -> Result<(), ReadError> {
        match self.store.state(ShardState::is_frozen) {
            true if !planted(Bug::ReadWhileMerged) => Err(ReadError::WrongShard),
            _ => Ok(()),
        }
    }

    /// The time at which a version that expires at `expires_at` is judged; by then everything stamped at or below it has
    /// settled.
    async fn expiry_time(&self, wish: ReadWish, expires_at: Timestamp) -> Result<Timestamp, ReadError> {
        if let Some(at) = wish.at {
            return Ok(at);
        }
        if planted(Bug::LocalExpiry) {
            return Ok(Timestamp::from_ms(self.clock.wall_ms()));
        }
        let now = self.clock.now();
        let committed = self.store.state(|state| state.ceiling.max(state.highest_stamp));
        if wish.consistency != Consistency::Linearizable {
            return Ok(committed.min(now));
        }
        if expires_at <= now {
            self.proposer.settled(now).await;
            if now > committed {
                self.promise(now).await?;
            }
        }
        Ok(now)
    }

    fn check_bounds(&self, inside: impl FnOnce(&KeyRange) -> bool) -> Result<(), ReadError> {
        match self.store.state(|state| state.range.as_ref().is_some_and(inside)) {
            true => Ok(()),
            false => Err(ReadError::WrongShard),
        }
    }

    /// Judged after reading as well: the watermark may have passed meanwhile.
    fn check_history(&self, at: Option<Timestamp>) -> Result<(), ReadError> {
        let Some(at) = at else { return Ok(()) };
        match self.store.state(|state| (state.remembers(at), state.watermark)) {
            (true, _) => Ok(()),
            (false, watermark) => Err(ReadError::TooOld { watermark }),
        }
    }
}
