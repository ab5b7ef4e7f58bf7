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
//! Only applied outcomes are kept. A write that failed its condition or was refused changed nothing, so judging its
//! repeat anew is right as well.

use std::collections::{BTreeMap, BTreeSet};

use super::time::Timestamp;
use super::wire::{self, Identity, Outcome, Refusal};

/// Clients remembered by a shard.
pub const CLIENTS_MAX: usize = 4096;
/// Outcomes remembered by a shard, of all clients together.
pub const OUTCOMES_MAX: usize = 65_536;
/// How far a client's sequence may run ahead of the lowest one it still waits for.
pub const WINDOW_MAX: u64 = 4096;

/// The table of one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RepeatTable {
    clients: BTreeMap<u64, ClientRows>,
    by_touch: BTreeSet<(Timestamp, u64)>,
    outcomes: usize,
    forgotten: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ClientRows {
    lowest_awaited: u64,
    touched: Timestamp,
    outcomes: BTreeMap<u64, Outcome>,
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
            Some(_) => Verdict::Fresh,
            None if Timestamp(identity.first_seen) < self.forgotten => Verdict::Refused(Refusal::Forgotten),
            None => Verdict::Fresh,
        }
    }

    /// Notes an evaluated write of `identity`, stamped `stamp`, and makes room.
    pub fn note(&mut self, identity: &Identity, stamp: Timestamp, outcome: &Outcome) {
        let rows = self.clients.entry(identity.client).or_default();
        self.by_touch.remove(&(rows.touched, identity.client));
        rows.touched = rows.touched.max(stamp);
        self.by_touch.insert((rows.touched, identity.client));
        if identity.lowest_awaited > rows.lowest_awaited {
            rows.lowest_awaited = identity.lowest_awaited;
            let kept = rows.outcomes.split_off(&identity.lowest_awaited);
            self.outcomes -= rows.outcomes.len();
            rows.outcomes = kept;
        }
        if matches!(outcome.kind, Some(wire::outcome::Kind::Applied(_)))
            && rows.outcomes.insert(identity.sequence, outcome.clone()).is_none()
        {
            self.outcomes += 1;
        }
        self.evict();
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
            let rows = ClientRows { lowest_awaited: stored.lowest_awaited, touched, outcomes };
            table.clients.insert(stored.client, rows);
        }
        table
    }

    fn evict(&mut self) {
        while self.clients.len() > CLIENTS_MAX || self.outcomes > OUTCOMES_MAX {
            let Some((touched, client)) = self.by_touch.pop_first() else { return };
            let rows = self.clients.remove(&client).expect("by_touch and clients hold the same clients");
            self.outcomes -= rows.outcomes.len();
            self.forgotten = self.forgotten.max(touched);
        }
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
