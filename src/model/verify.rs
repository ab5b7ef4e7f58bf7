//! Whether replicas hold the same, told from digests.
//!
//! An entry in the shard's log asks for it: whoever applies the entry makes a digest of what it then holds, so all speak of
//! the same moment whatever each has flushed. They say so with their reports, each at its own time; some never will, because
//! they got a snapshot that lies beyond the entry, or have started since. [`judge`] looks at what was said.
//!
//! Promises: nothing is called the same unless a majority of the voters and the newcomer have made the same digest at the
//! same entry. Does not make digests.
//!
//! ## Invariants and what guards each
//!
//! - Only digests of the entry asked about count: guarded by `tests::only_the_entry_asked_about_counts`.
//! - A voter that differs from the majority does not decide: guarded by `tests::the_majority_of_voters_decides`.
//! - As long as somebody still works, it is waited for; where too few can answer, it is asked again: guarded by
//!   `tests::it_is_asked_again_where_too_few_can_answer`.

use std::collections::{BTreeMap, BTreeSet};

use super::id::ReplicaId;

/// A digest of everything a shard holds.
pub type Digest = [u8; 32];

/// What a replica has said of itself, all of it at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// How far it had applied the log.
    pub applied_index: u64,
    /// The last entry it has met that asked for a digest; 0: none since it started.
    pub asked_index: u64,
    /// The digest it made for that, once made.
    pub digest: Option<Digest>,
}

/// What is to be concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The newcomer holds what a majority of the voters holds.
    Same,
    /// A majority of the voters holds the same, and the newcomer something else.
    Differs,
    /// All voters have answered, and no majority of them holds the same.
    Split,
    /// Somebody is still at it.
    Wait,
    /// Nobody was asked, or too few can answer: another entry is needed.
    Ask,
}

/// How one replica stands to the entry asked about.
enum Answer {
    Said(Digest),
    Working,
    /// It has passed the entry without having met it, or has forgotten.
    Lost,
}

/// Judges what was said about the entry at `asked_index`, the last that the shard's leader has met. One at or before
/// `joined_index`, where the newcomer came in, is too old.
pub fn judge(
    asked_index: u64,
    joined_index: u64,
    voters: &BTreeSet<ReplicaId>,
    newcomer: ReplicaId,
    words: &BTreeMap<ReplicaId, Word>,
) -> Verdict {
    if asked_index <= joined_index {
        return Verdict::Ask;
    }
    let answer = |id: &ReplicaId| words.get(id).map_or(Answer::Working, |word| word.answer(asked_index));
    let majority = voters.len() / 2 + 1;
    let mut said: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut working = 0;
    for voter in voters {
        match answer(voter) {
            Answer::Said(digest) => *said.entry(digest).or_default() += 1,
            Answer::Working => working += 1,
            Answer::Lost => {}
        }
    }
    let answered: usize = said.values().sum();
    let agreed = said.iter().find_map(|(digest, count)| (*count >= majority).then_some(*digest));
    match (agreed, answer(&newcomer)) {
        (_, Answer::Lost) => Verdict::Ask,
        (Some(agreed), Answer::Said(own)) if agreed == own => Verdict::Same,
        (Some(_), Answer::Said(_)) => Verdict::Differs,
        (Some(_), Answer::Working) => Verdict::Wait,
        (None, _) if answered == voters.len() => Verdict::Split,
        (None, _) if answered + working < majority => Verdict::Ask,
        (None, _) if working > 0 => Verdict::Wait,
        // The rest has forgotten, and of those that answered too few agree.
        (None, _) => Verdict::Ask,
    }
}

impl Word {
    fn answer(&self, asked_index: u64) -> Answer {
        match self.digest {
            Some(digest) if self.asked_index == asked_index => Answer::Said(digest),
            None if self.asked_index == asked_index => Answer::Working,
            _ if self.applied_index < asked_index => Answer::Working,
            _ => Answer::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: u64 = 50;
    const NEW: ReplicaId = ReplicaId(4);

    fn said(content: u8) -> Word {
        Word { applied_index: 60, asked_index: ASKED, digest: Some([content; 32]) }
    }

    fn working() -> Word {
        Word { applied_index: 60, asked_index: ASKED, digest: None }
    }

    fn behind() -> Word {
        Word { applied_index: ASKED - 1, asked_index: 7, digest: Some([1; 32]) }
    }

    fn lost() -> Word {
        Word { applied_index: ASKED, asked_index: 0, digest: None }
    }

    fn verdict(voters: &[Word], newcomer: Word) -> Verdict {
        let ids: BTreeSet<ReplicaId> = (1..=voters.len() as u64).map(ReplicaId).collect();
        let mut words: BTreeMap<_, _> = ids.iter().copied().zip(voters.iter().copied()).collect();
        words.insert(NEW, newcomer);
        judge(ASKED, 10, &ids, NEW, &words)
    }

    #[test]
    fn only_the_entry_asked_about_counts() {
        let ids = BTreeSet::from([ReplicaId(1)]);
        let words = BTreeMap::from([(ReplicaId(1), said(1)), (NEW, said(1))]);
        assert_eq!(judge(ASKED, ASKED - 1, &ids, NEW, &words), Verdict::Same);
        assert_eq!(judge(ASKED, ASKED, &ids, NEW, &words), Verdict::Ask, "it came in after the question");
        assert_eq!(judge(0, 0, &ids, NEW, &words), Verdict::Ask, "nobody was asked");
        assert_eq!(judge(ASKED + 11, 10, &ids, NEW, &words), Verdict::Wait, "nobody has come that far");
        assert_eq!(judge(ASKED + 5, 10, &ids, NEW, &words), Verdict::Ask, "both have passed it unasked");
        assert_eq!(judge(ASKED, 10, &ids, NEW, &BTreeMap::new()), Verdict::Wait, "nobody was heard");
    }

    #[test]
    fn the_majority_of_voters_decides() {
        assert_eq!(verdict(&[said(1), said(1), said(1)], said(1)), Verdict::Same);
        assert_eq!(verdict(&[said(1), said(1), said(9)], said(1)), Verdict::Same);
        assert_eq!(verdict(&[said(1), said(1), said(9)], said(9)), Verdict::Differs);
        assert_eq!(verdict(&[said(1), said(1), lost()], said(2)), Verdict::Differs);
        assert_eq!(verdict(&[said(1), said(1), working()], said(1)), Verdict::Same, "it is enough");
        assert_eq!(verdict(&[said(1), said(2), said(3)], said(1)), Verdict::Split);
        assert_eq!(verdict(&[said(1)], said(1)), Verdict::Same);
        assert_eq!(verdict(&[said(1)], said(2)), Verdict::Differs);
    }

    #[test]
    fn it_is_asked_again_where_too_few_can_answer() {
        assert_eq!(verdict(&[said(1), said(1), said(1)], working()), Verdict::Wait);
        assert_eq!(verdict(&[said(1), said(1), said(1)], behind()), Verdict::Wait);
        assert_eq!(verdict(&[said(1), said(1), said(1)], lost()), Verdict::Ask);
        assert_eq!(verdict(&[said(1), working(), lost()], said(1)), Verdict::Wait);
        assert_eq!(verdict(&[said(1), behind(), behind()], said(1)), Verdict::Wait);
        assert_eq!(verdict(&[said(1), lost(), lost()], said(1)), Verdict::Ask);
        assert_eq!(
            verdict(&[said(1), said(2), lost()], said(1)),
            Verdict::Ask,
            "two that differ decide nothing"
        );
        assert_eq!(verdict(&[working(), lost(), lost()], said(1)), Verdict::Ask, "one is no majority");
    }
}
