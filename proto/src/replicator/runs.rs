//! Sets of blocks as runs: ascending, with gaps between them. Each function goes through both sets once.

use crate::wire::Runs;

/// Returns what is in either set.
pub(super) fn union(a: &Runs, b: &Runs) -> Runs {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut all = Runs::new();
    loop {
        let from_a = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => x.start <= y.start,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let Some(next) = (if from_a { a.next() } else { b.next() }) else { return all };
        match all.last_mut() {
            Some(last) if last.end >= next.start => last.end = last.end.max(next.end),
            _ => all.push(next.clone()),
        }
    }
}

/// Returns what is in the first set and not in the second.
pub(super) fn without(all: &Runs, cuts: &Runs) -> Runs {
    let mut cuts = cuts.iter().peekable();
    let mut rest = Runs::new();
    for run in all {
        let mut at = run.start;
        while let Some(cut) = cuts.peek().filter(|cut| cut.start < run.end) {
            if at < cut.start {
                rest.push(at..cut.start);
            }
            at = at.max(cut.end);
            if cut.end > run.end {
                break; // It may cut the next run as well.
            }
            cuts.next();
        }
        if at < run.end {
            rest.push(at..run.end);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use datnode_feed::Bitfield;
    use proptest::prelude::*;

    use super::*;

    fn set(runs: &Runs) -> BTreeSet<u64> {
        runs.iter().cloned().flatten().collect()
    }

    fn any_runs() -> impl Strategy<Value = Runs> {
        let run = (0..60u64, 1..9u64).prop_map(|(start, count)| start..start + count);
        let all = proptest::collection::vec(run, 0..8);
        all.prop_map(|all| all.into_iter().collect::<Bitfield>().runs().collect())
    }

    proptest! {
        #[test]
        fn they_are_what_sets_say(a in any_runs(), b in any_runs()) {
            let (both, left) = (union(&a, &b), without(&a, &b));
            prop_assert_eq!(set(&both), &set(&a) | &set(&b));
            prop_assert_eq!(set(&left), &set(&a) - &set(&b));
            for runs in [both, left] {
                prop_assert!(runs.iter().all(|run| run.start < run.end));
                prop_assert!(runs.is_sorted_by(|x, y| x.end < y.start || x.end <= y.start));
            }
        }
    }
}
