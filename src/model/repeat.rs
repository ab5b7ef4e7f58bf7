//! Recognising a write that was sent twice.
//!
//! A client numbers its writes. The shard remembers the outcome of each applied one until the client says that it no
//! longer waits for it, so a retry gets the first answer and changes nothing. The table is replicated state: every
//! replica holds the same rows, and they travel with flushes and snapshots.
//!
//! It is bounded. When full, the client that has been silent longest goes whole, and `forgotten` rises to the
//! timestamp of its last write: a write whose client held an older timestamp than that when it first tried may be a
//! repeat of something forgotten, so it is answered "unknown" rather than applied. Why that is enough: the leader stamps
//! a write above the timestamp its client held, hence a forgotten write's `first_seen` lies below `forgotten`.
//!
//! A client that was evicted and writes again gets a new row, which keeps the `forgotten` of its making as `since`: the
//! row knows nothing of what the client wrote before, so a write first tried below `since` is answered "unknown" too.
//!
//! Kept is every outcome that the client is told as final: applied, condition failed, not a number, overflow. If a failed
//! condition were not kept, a first copy that arrives after its repeat was answered could find the condition to hold.
//! Refusals that only send the client elsewhere (epoch, bounds, stamp) are not final and are not kept.
//!
//! ## Invariants and what guards each
//!
//! - A write that was applied, or has failed for good, is never evaluated again: guarded by
//!   `tests::a_repeat_gets_the_first_answer`, `tests::a_failed_condition_is_an_answer_for_good`,
//!   `tests::what_nobody_awaits_goes_and_stays_refused`.
//! - What may be a repeat of something evicted is not applied: guarded by
//!   `tests::a_forgotten_client_is_answered_unknown_and_a_new_one_is_not`,
//!   `tests::a_row_made_anew_knows_that_it_has_forgotten`,
//!   `sim_node::a_write_is_stamped_above_what_its_client_has_seen`.
//! - Of two tables that become one nothing is evaluated again, nor applied that may be a repeat: guarded by
//!   `tests::two_tables_know_together_what_each_knew`.
//! - The table is bounded, and the same on every replica: guarded by `tests::the_window_is_bounded`,
//!   `tests::the_stored_form_loses_nothing`,
//!   `node::store::tests::versions::the_digest_does_not_depend_on_what_was_flushed_when`.

use std::collections::{BTreeMap, BTreeSet};

use super::time::Timestamp;
use super::wire::{self, Identity, Outcome, Refusal};

/// Clients remembered by a shard.
pub const CLIENTS_MAX: usize = 4096;
/// Outcomes remembered by a shard, of all clients together.
pub const OUTCOMES_MAX: usize = 65_536;
/// A found value longer than this is not kept with a failed condition, in bytes.
pub const VALUE_KEPT_MAX_BYTES: usize = 1024;
/// How far a client's sequence may run ahead of the lowest one it still waits for.
pub const WINDOW_MAX: u64 = 4096;

/// The table of one shard.
#[derive(Clone, Debug, Default)]
pub struct RepeatTable {
    clients: BTreeMap<u64, ClientRows>,
    /// Each client once, with a timestamp at or below that of its last write: it is put right when somebody must go, not
    /// with every write.
    by_touch: BTreeSet<(Timestamp, u64)>,
    outcomes: usize,
    forgotten: Timestamp,
}

/// What is replicated; `by_touch` follows from it.
impl PartialEq for RepeatTable {
    fn eq(&self, other: &RepeatTable) -> bool {
        (&self.clients, self.forgotten) == (&other.clients, other.forgotten)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ClientRows {
    lowest_awaited: u64,
    touched: Timestamp,
    since: Timestamp,
    outcomes: BTreeMap<u64, Outcome>,
}

/// How much a table remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepeatSize {
    pub clients: usize,
    pub outcomes: usize,
}

/// What the table says of a write before it is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Never applied: evaluate it.
    Fresh,
    /// Applied before, with this outcome.
    Repeat(Outcome),
    /// Not to be evaluated.
    Refused(Refusal),
}

impl RepeatTable {
    /// Judges a write by its identity alone.
    pub fn judge(&self, identity: &Identity) -> Verdict {
        let client = self.clients.get(&identity.client);
        if let Some(outcome) = client.and_then(|rows| rows.outcomes.get(&identity.sequence)) {
            return Verdict::Repeat(outcome.clone());
        }
        if identity.sequence < identity.lowest_awaited
            || identity.sequence - identity.lowest_awaited >= WINDOW_MAX
        {
            return Verdict::Refused(Refusal::Invalid);
        }
        match client {
            Some(rows) if identity.sequence < rows.lowest_awaited => Verdict::Refused(Refusal::Superseded),
            Some(rows) if Timestamp(identity.first_seen) < rows.since => Verdict::Refused(Refusal::Forgotten),
            Some(_) => Verdict::Fresh,
            None if Timestamp(identity.first_seen) < self.forgotten => Verdict::Refused(Refusal::Forgotten),
            None => Verdict::Fresh,
        }
    }

    /// Notes an evaluated write of `identity`, stamped `stamp`, and makes room.
    pub fn note(&mut self, identity: &Identity, stamp: Timestamp, outcome: &Outcome) {
        let since = self.forgotten;
        let rows = self.clients.entry(identity.client).or_insert_with(|| {
            self.by_touch.insert((stamp, identity.client));
            ClientRows { since, touched: stamp, ..ClientRows::default() }
        });
        rows.touched = rows.touched.max(stamp);
        rows.lowest_awaited = rows.lowest_awaited.max(identity.lowest_awaited);
        while let Some(oldest) = rows.outcomes.first_entry() {
            if *oldest.key() >= rows.lowest_awaited {
                break;
            }
            oldest.remove();
            self.outcomes -= 1;
        }
        if let Some(kept) = final_outcome(outcome)
            && rows.outcomes.insert(identity.sequence, kept).is_none()
        {
            self.outcomes += 1;
        }
        self.evict();
    }

    /// Clients and outcomes that are remembered.
    pub fn size(&self) -> RepeatSize {
        RepeatSize { clients: self.clients.len(), outcomes: self.outcomes }
    }

    /// The highest timestamp that was evicted.
    pub fn forgotten(&self) -> Timestamp {
        self.forgotten
    }

    /// The rows in their stored form, in order of client.
    pub fn to_wire(&self) -> Vec<wire::Client> {
        let remembered = |rows: &ClientRows| {
            rows.outcomes
                .iter()
                .map(|(sequence, outcome)| wire::Remembered {
                    sequence: *sequence,
                    outcome: Some(outcome.clone()),
                })
                .collect()
        };
        self.clients
            .iter()
            .map(|(client, rows)| wire::Client {
                client: *client,
                lowest_awaited: rows.lowest_awaited,
                touched: rows.touched.0,
                since: rows.since.0,
                remembered: remembered(rows),
            })
            .collect()
    }

    /// The table whose stored form this is.
    pub fn from_wire(clients: Vec<wire::Client>, forgotten: Timestamp) -> RepeatTable {
        let mut table = RepeatTable { forgotten, ..RepeatTable::default() };
        for stored in clients {
            let outcomes: BTreeMap<_, _> = stored
                .remembered
                .into_iter()
                .map(|row| (row.sequence, row.outcome.unwrap_or_default()))
                .collect();
            let touched = Timestamp(stored.touched);
            table.outcomes += outcomes.len();
            table.by_touch.insert((touched, stored.client));
            let since = Timestamp(stored.since);
            let rows = ClientRows { lowest_awaited: stored.lowest_awaited, touched, since, outcomes };
            table.clients.insert(stored.client, rows);
        }
        table
    }

    /// Takes in what another shard remembers, whose keys become this one's. Of a client that only one of them knows the other may
    /// have forgotten something.
    pub fn absorb(&mut self, other: &RepeatTable) {
        for (client, rows) in &mut self.clients {
            if !other.clients.contains_key(client) {
                rows.since = rows.since.max(other.forgotten);
            }
        }
        for (client, theirs) in &other.clients {
            let unknown = ClientRows { since: self.forgotten, ..ClientRows::default() };
            let rows = self.clients.entry(*client).or_insert(unknown);
            rows.lowest_awaited = rows.lowest_awaited.max(theirs.lowest_awaited);
            rows.touched = rows.touched.max(theirs.touched);
            rows.since = rows.since.max(theirs.since);
            for (sequence, outcome) in &theirs.outcomes {
                rows.outcomes.entry(*sequence).or_insert_with(|| outcome.clone());
            }
            rows.outcomes = rows.outcomes.split_off(&rows.lowest_awaited);
        }
        self.forgotten = self.forgotten.max(other.forgotten);
        self.outcomes = self.clients.values().map(|rows| rows.outcomes.len()).sum();
        self.by_touch = self.clients.iter().map(|(client, rows)| (rows.touched, *client)).collect();
        self.evict();
    }

    fn evict(&mut self) {
        while self.clients.len() > CLIENTS_MAX || self.outcomes > OUTCOMES_MAX {
            let Some((noted, client)) = self.by_touch.pop_first() else { return };
            let rows = &self.clients[&client];
            if rows.touched > noted {
                self.by_touch.insert((rows.touched, client));
                continue;
            }
            self.outcomes -= rows.outcomes.len();
            self.forgotten = self.forgotten.max(noted);
            self.clients.remove(&client);
        }
    }
}

/// What is kept of an outcome; `None` if the client is not done with it.
fn final_outcome(outcome: &Outcome) -> Option<Outcome> {
    use wire::outcome::Kind;
    match outcome.kind.as_ref()? {
        Kind::Applied(_) => Some(outcome.clone()),
        Kind::ConditionFailed(failed) => {
            let mut kept = failed.clone();
            if kept.value.len() > VALUE_KEPT_MAX_BYTES {
                (kept.value, kept.value_left_out) = (Default::default(), true);
            }
            Some(Outcome { stamp: outcome.stamp, kind: Some(Kind::ConditionFailed(kept)) })
        }
        Kind::Refused(refused) => match refused.reason() {
            Refusal::NotANumber | Refusal::Overflow => Some(outcome.clone()),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(client: u64, sequence: u64, first_seen: u64, lowest_awaited: u64) -> Identity {
        Identity { client, sequence, first_seen, lowest_awaited }
    }

    fn applied(stamp: u64) -> Outcome {
        Outcome { stamp, kind: Some(wire::outcome::Kind::Applied(wire::Applied::default())) }
    }

    #[test]
    fn a_repeat_gets_the_first_answer() {
        // failures.md row 24: a retry without identity is applied twice.
        let mut table = RepeatTable::default();
        let first = identity(7, 1, 10, 1);
        assert_eq!(table.judge(&first), Verdict::Fresh);
        table.note(&first, Timestamp(11), &applied(11));
        assert_eq!(table.judge(&first), Verdict::Repeat(applied(11)));
    }

    #[test]
    fn what_nobody_awaits_goes_and_stays_refused() {
        let mut table = RepeatTable::default();
        table.note(&identity(7, 1, 10, 1), Timestamp(11), &applied(11));
        table.note(&identity(7, 2, 11, 2), Timestamp(12), &applied(12));
        assert_eq!(table.judge(&identity(7, 1, 10, 1)), Verdict::Refused(Refusal::Superseded));
        assert_eq!(table.forgotten(), Timestamp::ZERO);
    }

    #[test]
    fn a_forgotten_client_is_answered_unknown_and_a_new_one_is_not() {
        let mut table = RepeatTable::default();
        for client in 0..=CLIENTS_MAX as u64 {
            let stamp = 100 + client;
            table.note(&identity(client, 1, stamp - 1, 1), Timestamp(stamp), &applied(stamp));
        }
        assert_eq!(table.forgotten(), Timestamp(100));
        assert_eq!(table.judge(&identity(0, 1, 99, 1)), Verdict::Refused(Refusal::Forgotten));
        assert_eq!(table.judge(&identity(u64::MAX, 1, 100, 1)), Verdict::Fresh);
    }

    #[test]
    fn two_tables_know_together_what_each_knew() {
        let (mut left, mut right) = (RepeatTable::default(), RepeatTable::default());
        left.note(&identity(7, 1, 10, 1), Timestamp(11), &applied(11));
        right.note(&identity(7, 2, 11, 1), Timestamp(12), &applied(12));
        right.note(&identity(8, 1, 11, 1), Timestamp(13), &applied(13));
        left.note(&identity(9, 4, 13, 4), Timestamp(14), &applied(14));
        right.forgotten = Timestamp(12);
        left.absorb(&right);
        assert_eq!(left.judge(&identity(7, 1, 10, 1)), Verdict::Repeat(applied(11)));
        assert_eq!(left.judge(&identity(7, 2, 11, 1)), Verdict::Repeat(applied(12)));
        assert_eq!(left.judge(&identity(8, 1, 11, 1)), Verdict::Repeat(applied(13)));
        assert_eq!(left.size(), RepeatSize { clients: 3, outcomes: 4 });
        assert_eq!(left.forgotten(), Timestamp(12));
        // The right one may have forgotten what this one of the left one's clients wrote there.
        let old = identity(9, 5, 11, 4);
        assert_eq!(left.judge(&old), Verdict::Refused(Refusal::Forgotten));
        assert_eq!(left.judge(&identity(9, 5, 12, 4)), Verdict::Fresh);
        let stored = RepeatTable::from_wire(left.to_wire(), left.forgotten());
        assert_eq!(stored, left);
        // What nobody awaits any more, by either, goes.
        let mut third = RepeatTable::default();
        third.note(&identity(7, 3, 20, 3), Timestamp(21), &applied(21));
        left.absorb(&third);
        assert_eq!(left.judge(&identity(7, 2, 11, 1)), Verdict::Refused(Refusal::Superseded));
        assert_eq!(left.size().outcomes, 3);
    }

    #[test]
    fn a_table_that_takes_in_another_stays_bounded() {
        let (mut left, mut right) = (RepeatTable::default(), RepeatTable::default());
        for client in 0..CLIENTS_MAX as u64 {
            left.note(&identity(client, 1, 99, 1), Timestamp(100 + client), &applied(100 + client));
            let other = 1_000_000 + client;
            right.note(&identity(other, 1, 99, 1), Timestamp(100 + client), &applied(100 + client));
        }
        left.absorb(&right);
        assert_eq!(left.size().clients, CLIENTS_MAX);
        assert!(left.forgotten() >= Timestamp(100 + CLIENTS_MAX as u64 / 2 - 1));
    }

    #[test]
    fn the_client_that_was_silent_longest_goes_first() {
        let mut table = RepeatTable::default();
        let clients = CLIENTS_MAX as u64;
        for client in 0..clients {
            table.note(&identity(client, 1, 100, 1), Timestamp(101 + client), &applied(101 + client));
        }
        // The first to come has written again since: it stays, and the next in line goes.
        table.note(&identity(0, 2, 9_000, 2), Timestamp(9_001), &applied(9_001));
        table.note(&identity(clients, 1, 9_000, 1), Timestamp(9_002), &applied(9_002));
        assert_eq!(table.forgotten(), Timestamp(102));
        assert_eq!(table.judge(&identity(0, 2, 9_000, 2)), Verdict::Repeat(applied(9_001)));
        assert_eq!(table.judge(&identity(1, 1, 100, 1)), Verdict::Refused(Refusal::Forgotten));
    }

    #[test]
    fn a_row_made_anew_knows_that_it_has_forgotten() {
        let mut table = RepeatTable::default();
        let lost = identity(0, 1, 50, 1);
        table.note(&lost, Timestamp(60), &applied(60));
        for client in 1..=CLIENTS_MAX as u64 {
            table.note(&identity(client, 1, 100, 1), Timestamp(100 + client), &applied(100 + client));
        }
        table.note(&identity(0, 2, 9_000, 1), Timestamp(9_001), &applied(9_001));
        assert_eq!(table.judge(&lost), Verdict::Refused(Refusal::Forgotten));
        assert_eq!(table.judge(&identity(0, 3, 9_000, 1)), Verdict::Fresh);
    }

    #[test]
    fn a_failed_condition_is_an_answer_for_good() {
        let mut table = RepeatTable::default();
        for (length, left_out) in [(10, false), (VALUE_KEPT_MAX_BYTES + 1, true)] {
            let failed =
                wire::ConditionFailed { present: true, value: vec![7; length].into(), ..Default::default() };
            let outcome = Outcome { stamp: 0, kind: Some(wire::outcome::Kind::ConditionFailed(failed)) };
            let who = identity(7, length as u64, 10, length as u64);
            table.note(&who, Timestamp(11 + length as u64), &outcome);
            let Verdict::Repeat(kept) = table.judge(&who) else { panic!() };
            let Some(wire::outcome::Kind::ConditionFailed(kept)) = kept.kind else { panic!() };
            assert_eq!((kept.value_left_out, kept.value.is_empty()), (left_out, left_out));
        }
    }

    #[test]
    fn the_window_is_bounded() {
        let table = RepeatTable::default();
        assert_eq!(table.judge(&identity(1, WINDOW_MAX + 1, 0, 1)), Verdict::Refused(Refusal::Invalid));
        assert_eq!(table.judge(&identity(1, WINDOW_MAX, 0, 1)), Verdict::Fresh);
    }

    #[test]
    fn the_stored_form_loses_nothing() {
        let mut table = RepeatTable::default();
        for n in 1..200u64 {
            table.note(&identity(n % 5, n, n, n.saturating_sub(20)), Timestamp(n + 1), &applied(n + 1));
        }
        let copy = RepeatTable::from_wire(table.to_wire(), table.forgotten());
        assert_eq!(copy, table);
    }
}
