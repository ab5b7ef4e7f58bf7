//! The search for an order that explains a history.
//!
//! Depth first: of the operations that have begun before any other has ended, one is taken to come next, if it was told
//! what the key holds then; and so on, until all that were answered have their place. What was tried in vain is remembered
//! by what has its place and what the key holds, so that no situation is looked at twice (Wing and Gong, JPDC 1993; Lowe,
//! CCPE 2017; the list of calls and returns is that of Horn and Kroening, FORTE 2015).
//!
//! Operations of unknown outcome may have their place at any time after they began, so each doubles what there is to try.
//! Two rules keep that in bounds and change no judgement: a put whose value nobody was shown is left out; and of those that
//! are alike the one that began first comes first.

use std::collections::{HashMap, HashSet};

use super::{Action, Operation, Verdict};

/// Situations that are looked at before a history is given up as undecided.
pub const STATES_MAX: usize = 5_000_000;

/// The head of the list.
const HEAD: usize = 0;
/// Behind the end of the list.
const END: usize = usize::MAX;

/// Tells whether some order of the operations of one key, which held nothing before, explains them.
pub fn judge(operations: &[Operation]) -> Verdict {
    Search::new(operations).run()
}

/// A call or a return in the list.
#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    is_return: bool,
    previous: usize,
    next: usize,
}

/// What has its place and what the key holds then.
#[derive(PartialEq, Eq, Hash)]
struct Situation {
    /// All answered operations before this one, in the order of their beginnings, have their place.
    before: usize,
    /// Those behind it that have, too, a bit each.
    behind: Vec<u64>,
    /// Those of unknown outcome that have.
    unknown: Vec<u32>,
    state: Option<u64>,
}

struct Search<'a> {
    operations: &'a [Operation],
    /// In the order of time, calls before returns: what touches counts as overlapping.
    events: Vec<Event>,
    /// The event of each operation's call and return.
    calls: Vec<usize>,
    returns: Vec<usize>,
    /// Answered operations by their beginnings; and where each stands among them.
    answered: Vec<usize>,
    rank: Vec<usize>,
    /// How many of them, from the first on, have their place.
    before: usize,
    unknown: Vec<usize>,
    /// For each operation of unknown outcome, the one like it that began last before it.
    elder: Vec<Option<usize>>,
    placed: Vec<bool>,
    /// Answered operations without a place.
    left: usize,
    seen: HashSet<Situation>,
    /// What has its place, in that order, and what the key held before it.
    path: Vec<(usize, Option<u64>)>,
    /// The longest path so far, and what stood in its way.
    furthest: (usize, Verdict),
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation]) -> Search<'a> {
        let mut taken = that_matter(operations);
        taken.sort_by_key(|n| operations[*n].begin);
        let answered: Vec<usize> = taken.iter().copied().filter(|n| operations[*n].end.is_some()).collect();
        let mut rank = vec![0; operations.len()];
        answered.iter().enumerate().for_each(|(at, n)| rank[*n] = at);
        let mut search = Search {
            operations,
            events: Vec::new(),
            calls: vec![END; operations.len()],
            returns: vec![END; operations.len()],
            left: answered.len(),
            answered,
            rank,
            before: 0,
            unknown: taken.iter().copied().filter(|n| operations[*n].end.is_none()).collect(),
            elder: elders(operations, &taken),
            placed: vec![false; operations.len()],
            seen: HashSet::new(),
            path: Vec::new(),
            furthest: (0, Verdict::Linearizable),
        };
        search.list(&taken);
        search
    }

    /// Lays out the list.
    fn list(&mut self, taken: &[usize]) {
        let calls = taken.iter().map(|n| (self.operations[*n].begin, false, *n));
        let returns = self.answered.iter().map(|n| (self.operations[*n].end.unwrap_or(u64::MAX), true, *n));
        let mut times: Vec<_> = calls.chain(returns).collect();
        times.sort();
        let head = Event { operation: END, is_return: false, previous: END, next: END };
        self.events.push(head);
        for (_, is_return, operation) in times {
            let at = self.events.len();
            self.events[at - 1].next = at;
            self.events.push(Event { operation, is_return, previous: at - 1, next: END });
            let of = if is_return { &mut self.returns } else { &mut self.calls };
            of[operation] = at;
        }
    }

    fn run(mut self) -> Verdict {
        let mut state = None;
        let mut at = self.events[HEAD].next;
        while self.left > 0 {
            if self.seen.len() > STATES_MAX {
                return Verdict::Undecided;
            }
            // An operation without a place returns before the end of the list.
            let event = self.events[at];
            if event.is_return {
                self.note_obstacle(event.operation, state);
                let Some((operation, before)) = self.path.pop() else { return self.furthest.1 };
                state = before;
                at = self.take_back(operation);
                continue;
            }
            at = match self.place(event.operation, state) {
                None => event.next,
                Some(after) => {
                    state = after;
                    self.events[HEAD].next
                }
            };
        }
        Verdict::Linearizable
    }

    /// Gives an operation the next place, if that explains it and leads to what was not looked at before. Returns what the
    /// key holds then.
    fn place(&mut self, operation: usize, state: Option<u64>) -> Option<Option<u64>> {
        if self.elder[operation].is_some_and(|elder| !self.placed[elder]) {
            return None;
        }
        let after = self.operations[operation].action.step(state)?;
        self.placed[operation] = true;
        let situation = self.situation(after);
        if !self.seen.insert(situation) {
            self.forget(operation);
            return None;
        }
        self.path.push((operation, state));
        self.unlink(self.calls[operation]);
        if self.operations[operation].end.is_some() {
            self.left -= 1;
            self.unlink(self.returns[operation]);
        }
        Some(after)
    }

    /// Returns what comes behind it in the list.
    fn take_back(&mut self, operation: usize) -> usize {
        self.forget(operation);
        if self.operations[operation].end.is_some() {
            self.left += 1;
            self.link(self.returns[operation]);
        }
        self.link(self.calls[operation]);
        self.events[self.calls[operation]].next
    }

    fn forget(&mut self, operation: usize) {
        self.placed[operation] = false;
        if self.operations[operation].end.is_some() {
            self.before = self.before.min(self.rank[operation]);
        }
    }

    fn situation(&mut self, state: Option<u64>) -> Situation {
        while self.answered.get(self.before).is_some_and(|n| self.placed[*n]) {
            self.before += 1;
        }
        let mut behind = Vec::new();
        // Only what began before the first without a place ended can have one.
        let limit = self.answered.get(self.before).and_then(|n| self.operations[*n].end).unwrap_or(0);
        let window = self.answered[self.before..].iter().enumerate();
        for (distance, operation) in window.take_while(|(_, n)| self.operations[**n].begin <= limit) {
            if distance % 64 == 0 {
                behind.push(0);
            }
            if self.placed[*operation] {
                behind[distance / 64] |= 1u64 << (distance % 64);
            }
        }
        let unknown = self.unknown.iter().filter(|n| self.placed[**n]).map(|n| *n as u32).collect();
        Situation { before: self.before, behind, unknown, state }
    }

    /// Remembers what stands in the way of the longest path: `operation` ends here and has no place.
    fn note_obstacle(&mut self, operation: usize, state: Option<u64>) {
        let placed = self.answered.len() - self.left + 1;
        if placed > self.furthest.0 {
            self.furthest = (placed, Verdict::Impossible { operation, state });
        }
    }

    fn unlink(&mut self, at: usize) {
        let Event { previous, next, .. } = self.events[at];
        self.events[previous].next = next;
        if next != END {
            self.events[next].previous = previous;
        }
    }

    /// Undoes the last [`Search::unlink`] that was not undone.
    fn link(&mut self, at: usize) {
        let Event { previous, next, .. } = self.events[at];
        self.events[previous].next = at;
        if next != END {
            self.events[next].previous = at;
        }
    }
}

/// The operations that have to do with what anybody was told: of those of unknown outcome, only what may have been seen.
fn that_matter(operations: &[Operation]) -> Vec<usize> {
    let shown: HashSet<u64> = operations.iter().flat_map(|operation| operation.action.shows()).collect();
    // These tell what is there from what is not, whatever it is.
    let counts = |action| matches!(action, Action::Delete { .. } | Action::Incr { .. });
    let all = operations.iter().any(|operation| counts(operation.action));
    let matters = |operation: &Operation| match operation.action {
        _ if operation.end.is_some() => true,
        Action::Get { .. } => false,
        Action::Put { value } | Action::Cas { value, .. } => all || shown.contains(&value),
        Action::Delete { .. } | Action::Incr { .. } => true,
    };
    (0..operations.len()).filter(|n| matters(&operations[*n])).collect()
}

/// For each operation of unknown outcome, the last one before it that does the same.
fn elders(operations: &[Operation], taken: &[usize]) -> Vec<Option<usize>> {
    let mut last = HashMap::new();
    let mut elders = vec![None; operations.len()];
    for n in taken.iter().copied().filter(|n| operations[*n].end.is_none()) {
        elders[n] = last.insert(operations[n].action, n);
    }
    elders
}
