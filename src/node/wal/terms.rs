//! Which term the entry at each index has: all that is needed to say whether a log is the right one, since term and index
//! name an entry. Small, because terms seldom change.
//!
//! Does not hold entries, and does not know which of them are on disk.

/// Terms of an unbroken run of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Where each term begins, ascending.
    runs: Vec<Run>,
    /// Behind the last index; says nothing while `runs` is empty.
    end: u64,
}

/// Entries of one term, from `start` to where the next run starts.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Run {
    #[prost(uint64, tag = "1")]
    pub start: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
}

impl Terms {
    /// As [`Terms::runs`] and [`Terms::end`] gave it; `None` if they never did.
    pub fn of(runs: Vec<Run>, end: u64) -> Option<Terms> {
        let ascending = runs.windows(2).all(|pair| pair[0].start < pair[1].start);
        let ends = runs.last().is_none_or(|last| last.start < end);
        (ascending && ends).then_some(Terms { runs, end })
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// The first index; `None`: there is none.
    pub fn first(&self) -> Option<u64> {
        self.runs.first().map(|run| run.start)
    }

    /// How many indexes there are.
    pub fn len(&self) -> u64 {
        self.first().map_or(0, |first| self.end - first)
    }

    pub fn get(&self, index: u64) -> Option<u64> {
        let behind = self.runs.partition_point(|run| run.start <= index);
        let run = self.runs[..behind].last()?;
        (index < self.end).then_some(run.term)
    }

    /// Puts an entry at its index and drops what is at and above it. False if that leaves a gap before it; then only the
    /// new one is there.
    pub fn put(&mut self, index: u64, term: u64) -> bool {
        self.cut(index);
        let follows = self.runs.is_empty() || self.end == index;
        if !follows {
            self.runs.clear();
        }
        if self.runs.last().is_none_or(|last| last.term != term) {
            self.runs.push(Run { start: index, term });
        }
        self.end = index + 1;
        follows
    }

    /// Drops what is at and above `from`.
    pub fn cut(&mut self, from: u64) {
        while self.runs.last().is_some_and(|run| run.start >= from) {
            self.runs.pop();
        }
        self.end = self.end.min(from);
    }

    /// Drops what is below `first`.
    pub fn drop_below(&mut self, first: u64) {
        if first >= self.end {
            self.runs.clear();
            return;
        }
        let behind = self.runs.partition_point(|run| run.start <= first);
        self.runs.drain(..behind.saturating_sub(1));
        if let Some(run) = self.runs.first_mut() {
            run.start = run.start.max(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_from_index_to_term(steps in prop::collection::vec((0..3u8, 0..30u64, 1..4u64), 0..60)) {
            let (mut terms, mut model) = (Terms::default(), BTreeMap::new());
            for (step, index, term) in steps {
                match step {
                    0 => {
                        let next: Option<u64> = model.last_key_value().map(|(last, _)| last + 1);
                        // Somewhere in it, right behind it, or anywhere if it is empty.
                        let first = model.first_key_value().map_or(index, |(first, _)| *first);
                        let index = next.map_or(index, |next| index.clamp(first, next));
                        model.split_off(&index);
                        model.insert(index, term);
                        prop_assert!(terms.put(index, term));
                    }
                    1 => {
                        model.split_off(&index);
                        terms.cut(index);
                    }
                    _ => {
                        model = model.split_off(&index);
                        terms.drop_below(index);
                    }
                }
                prop_assert_eq!(terms.len(), model.len() as u64);
                prop_assert_eq!(terms.first(), model.first_key_value().map(|(first, _)| *first));
                for index in 0..31 {
                    prop_assert_eq!(terms.get(index), model.get(&index).copied());
                }
                prop_assert_eq!(Terms::of(terms.runs().to_vec(), terms.end()), Some(terms.clone()));
            }
        }
    }

    #[test]
    fn a_gap_is_told() {
        let mut terms = Terms::default();
        assert!(terms.put(5, 1) && terms.put(6, 1) && !terms.put(9, 2));
        assert_eq!((terms.get(6), terms.get(9), terms.len()), (None, Some(2), 1));
    }
}
