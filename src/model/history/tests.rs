use proptest::prelude::*;

use super::*;

fn op(begin: u64, end: impl Into<Option<u64>>, action: Action) -> Operation {
    Operation { client: 0, begin, end: end.into(), action }
}

fn put(value: u64) -> Action {
    Action::Put { value }
}

fn get(found: impl Into<Option<u64>>) -> Action {
    Action::Get { found: found.into() }
}

fn cas(expected: impl Into<Option<u64>>, value: u64, told: Swapped) -> Action {
    Action::Cas { expected: expected.into(), value, told }
}

fn incr(sum: impl Into<Option<i64>>) -> Action {
    Action::Incr { by: 1, sum: sum.into() }
}

/// Whether any order of all that was answered and some of the rest explains everything.
fn by_trying_every_order(left: &[Operation], state: Option<u64>) -> bool {
    if left.iter().all(|operation| operation.end.is_none()) {
        return true;
    }
    let first_end = left.iter().filter_map(|operation| operation.end).min().unwrap();
    (0..left.len()).filter(|n| left[*n].begin <= first_end).any(|n| {
        let mut rest = left.to_vec();
        let next = rest.remove(n);
        next.action.step(state).is_some_and(|after| by_trying_every_order(&rest, after))
    })
}

fn any_action() -> impl Strategy<Value = Action> {
    let held = || prop::option::of(0..3u64);
    let told = prop_oneof![
        Just(Swapped::Done),
        Just(Swapped::Unknown),
        held().prop_map(|found| Swapped::Failed { found })
    ];
    prop_oneof![
        3 => held().prop_map(|found| Action::Get { found }),
        2 => (0..3u64).prop_map(put),
        1 => prop::option::of(any::<bool>()).prop_map(|existed| Action::Delete { existed }),
        2 => (held(), 0..3u64, told).prop_map(|(expected, value, told)| cas(expected, value, told)),
        1 => prop::option::of(0..4i64).prop_map(incr),
    ]
}

/// What nobody knows of has no end, and what has no end was told nothing.
fn fitting(begin: u64, length: u64, action: Action) -> Operation {
    let told_nothing = matches!(
        action,
        Action::Delete { existed: None }
            | Action::Incr { sum: None, .. }
            | Action::Cas { told: Swapped::Unknown, .. }
    );
    let may_be_unknown = matches!(action, Action::Put { .. }) && length == 0;
    let end = (!told_nothing && !may_be_unknown).then_some(begin + length);
    op(begin, end, action)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn the_judgement_is_that_of_trying_every_order(
        drawn in prop::collection::vec((0..8u64, 0..5u64, any_action()), 0..7),
    ) {
        let history: Vec<_> =
            drawn.into_iter().map(|(begin, length, action)| fitting(begin, length, action)).collect();
        let possible = by_trying_every_order(&history, None);
        match judge(&history) {
            Verdict::Linearizable => prop_assert!(possible, "{history:#?}"),
            Verdict::Impossible { operation, .. } => {
                prop_assert!(!possible, "{history:#?}");
                prop_assert!(history[operation].end.is_some(), "what was answered stands in the way");
            }
            Verdict::Undecided => prop_assert!(false, "so few are always decided"),
        }
    }
}

#[test]
fn known_good_histories_pass() {
    let failed = |found: Option<u64>| Swapped::Failed { found };
    let histories: &[&[Operation]] = &[
        &[],
        &[op(0, 1, get(None))],
        // A read during a write may see either.
        &[op(0, 1, put(1)), op(2, 9, put(2)), op(3, 4, get(2)), op(2, 3, get(1))],
        // An unknown write may take effect late, or never.
        &[op(0, None, put(1)), op(1, 2, get(None)), op(3, 4, get(1)), op(5, 6, get(1))],
        &[op(0, None, put(1)), op(1, 2, put(2)), op(3, 4, get(2))],
        &[op(0, 1, put(1)), op(2, 3, cas(1, 2, Swapped::Done)), op(4, 5, cas(1, 3, failed(Some(2))))],
        &[op(0, None, incr(None)), op(1, 2, incr(1)), op(3, 4, incr(3)), op(5, 6, get(3))],
        &[op(0, 1, put(1)), op(2, 3, Action::Delete { existed: Some(true) }), op(4, 5, get(None))],
    ];
    for history in histories {
        assert_eq!(judge(history), Verdict::Linearizable, "{history:#?}");
    }
}

#[test]
fn known_bad_histories_are_found_out() {
    let histories: &[(&[Operation], usize)] = &[
        // A stale read: what was acknowledged before it began is not there.
        (&[op(0, 1, put(1)), op(2, 3, put(2)), op(4, 5, get(1))], 2),
        // A lost write.
        (&[op(0, 1, put(1)), op(2, 3, get(None))], 1),
        // Seen, then not seen: reads that go back in time.
        (&[op(0, 9, put(1)), op(1, 2, get(1)), op(3, 4, get(None))], 2),
        // A value that nobody wrote.
        (&[op(0, 1, put(1)), op(2, 3, get(7))], 1),
        // A failed write that was done all the same is a value that nobody wrote; an unknown one done twice:
        (&[op(0, None, put(1)), op(1, 2, get(1)), op(3, 4, put(2)), op(5, 6, get(1))], 3),
        // Both won.
        (&[op(0, 1, put(1)), op(2, 5, cas(1, 2, Swapped::Done)), op(2, 5, cas(1, 3, Swapped::Done))], 2),
        // An increment that was counted twice.
        (&[op(0, 1, incr(1)), op(2, 3, incr(3))], 1),
        // A deleted key that comes back.
        (&[op(0, 1, put(1)), op(2, 3, Action::Delete { existed: Some(true) }), op(4, 5, get(1))], 2),
    ];
    for (history, wrong) in histories {
        let Verdict::Impossible { operation, .. } = judge(history) else { panic!("{history:#?}") };
        assert_eq!(operation, *wrong, "{history:#?}");
    }
}

/// A number from a number: SplitMix64.
fn drawn(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) % below
}

/// What `clients` are told by a true register, each operation taking effect at a drawn moment; one in `unknown_each` is
/// never answered.
fn told_by_a_register(count: usize, clients: u64, unknown_each: u64, seed: &mut u64) -> Vec<Operation> {
    let mut history = Vec::new();
    let mut free_at = vec![0; clients as usize];
    let mut moments = Vec::new();
    for n in 0..count {
        let client = drawn(seed, clients) as usize;
        let begin = free_at[client] + drawn(seed, 20);
        let moment = begin + drawn(seed, 100);
        let end = moment + drawn(seed, 100);
        free_at[client] = end + 1;
        moments.push((moment, n, begin, end, client));
    }
    moments.sort();
    let mut state = None;
    for (_, n, begin, end, client) in moments {
        let unknown = drawn(seed, unknown_each) == 0;
        let (action, after) = match drawn(seed, 10) {
            0..5 => (get(state), state),
            5..8 => (put(n as u64 + 1), Some(n as u64 + 1)),
            _ if unknown => (cas(state, n as u64 + 1, Swapped::Unknown), Some(n as u64 + 1)),
            8 => (cas(state, n as u64 + 1, Swapped::Done), Some(n as u64 + 1)),
            _ => (cas(u64::MAX, n as u64 + 1, Swapped::Failed { found: state }), state),
        };
        state = after;
        let end = (!unknown || matches!(action, Action::Get { .. })).then_some(end);
        history.push(Operation { client: client as u32, begin, end, action });
    }
    history
}

#[test]
fn a_hundred_thousand_operations_are_judged() {
    let mut seed = 1;
    for key in 0..64 {
        let mut history = told_by_a_register(1600, 8, 100, &mut seed);
        assert_eq!(judge(&history), Verdict::Linearizable);
        if key % 16 == 0 {
            // One read of the past spoils it.
            let n = read_of_the_past(&mut history, &mut seed);
            let verdict = judge(&history);
            assert!(
                matches!(verdict, Verdict::Impossible { operation, .. } if operation == n),
                "{verdict:?}"
            );
        }
    }
}

/// Makes a late read find what was written long before; its number.
fn read_of_the_past(history: &mut [Operation], seed: &mut u64) -> usize {
    let is_read = |n: &usize| matches!(history[*n].action, Action::Get { found: Some(_) });
    let reads: Vec<usize> = (800..history.len()).filter(is_read).collect();
    let n = reads[drawn(seed, reads.len() as u64) as usize];
    let long_ago = history[..400].iter().rev().find_map(|operation| match operation.action {
        Action::Put { value } if operation.end.is_some() => Some(value),
        _ => None,
    });
    history[n].action = get(long_ago);
    n
}
