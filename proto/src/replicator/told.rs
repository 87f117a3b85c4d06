//! What a peer was told that we hold: up to which change of that, and where something is still to be said.
//!
//! What was said of a block is not kept: it is what we held then, and a feed remembers its last changes. So a peer takes a few bytes
//! here however many pieces we hold.
//! Elsewhere: when it is told (`channel`), what it says to hold itself (`holder`).

use core::ops::Range;

use super::feed::Feed;
use super::runs::RunSet;
use crate::wire::Runs;

/// What a peer was told that we hold of a feed.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// How often what we hold had changed when it was told last.
    changes: u64,
    /// From this block on it was never told of any.
    end: u64,
    /// Where, below that, something is to be said beside what changed since.
    rest: RunSet,
}

impl Told {
    /// Tells whether there is nothing to say.
    pub(super) fn is_all(&self, feed: &Feed) -> bool {
        self.changes == feed.changes && self.end == u64::MAX && self.rest.is_empty()
    }

    /// Returns what is held and what no longer, of what was not said so: both as ascending runs with gaps between them, so many at
    /// most together. The rest is for the next time.
    pub(super) fn tell(&mut self, feed: &Feed, limit: usize) -> (Runs, Runs) {
        for part in feed.changed_since(self.changes).unwrap_or_else(|| alloc::vec![0..u64::MAX]) {
            self.say_again(part);
        }
        self.changes = feed.changes;
        let (mut held, mut lost) = (Runs::new(), Runs::new());
        while let Some(part) = self.rest.first() {
            let (mut at, end) = (part.start, part.end.min(feed.length));
            while at < end {
                if held.len() + lost.len() >= limit {
                    self.rest.remove(part.start..at);
                    return (held, lost);
                }
                let (runs, next) = match feed.have.contains(at) {
                    true => (&mut held, feed.have.first_zero(&(at..end))),
                    false => (&mut lost, feed.have.first_one(&(at..end))),
                };
                let next = next.unwrap_or(end);
                runs.push(at..next);
                at = next;
            }
            self.rest.remove(part);
        }
        for run in feed.have.runs_in(self.end..u64::MAX) {
            if held.len() + lost.len() >= limit {
                return (held, lost);
            }
            self.end = run.end;
            match held.last_mut() {
                // What was told of ended where this begins.
                Some(last) if last.end == run.start => last.end = run.end,
                _ => held.push(run),
            }
        }
        self.end = u64::MAX;
        (held, lost)
    }

    /// Notes that blocks were refused: what is held of them all the same is told once more.
    pub(super) fn refused(&mut self, feed: &Feed, blocks: &Runs) {
        let held = blocks.iter().flat_map(|run| feed.have.runs_in(run.clone()));
        held.for_each(|run| self.say_again(run));
    }

    /// Tells whether the peer may take all of some blocks for held: they are, or it was not told yet that they are not.
    pub(super) fn may_count_on(&self, feed: &Feed, blocks: &Runs) -> bool {
        let mut lacked = blocks.iter().flat_map(|run| feed.have.gaps_in(run.clone())).peekable();
        if lacked.peek().is_none() {
            return true;
        }
        let mut unsaid = self.rest.clone();
        feed.changed_since(self.changes).into_iter().flatten().for_each(|part| unsaid.insert(part));
        lacked.all(|run| run.end <= self.end && unsaid.part(&run) == [run])
    }

    fn say_again(&mut self, part: Range<u64>) {
        let part = part.start..part.end.min(self.end);
        if !part.is_empty() {
            self.rest.insert(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use datnode_feed::{Bitfield, SecretKey};
    use proptest::prelude::*;

    use super::super::blocks::BlockSet;
    use super::super::feed::Replica;
    use super::*;
    use crate::ids::Class;
    use crate::limits::CHANGES_MAX;

    const BLOCKS: u64 = 60;

    #[derive(Clone, Debug)]
    enum Step {
        Stored(u64),
        Lost(Range<u64>),
        Refused(Range<u64>),
        Told(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let run = || (0..BLOCKS, 1..9_u64).prop_map(|(at, len)| at..(at + len).min(BLOCKS));
        prop_oneof![
            4 => (0..BLOCKS).prop_map(Step::Stored),
            2 => run().prop_map(Step::Lost),
            1 => run().prop_map(Step::Refused),
            3 => (1..6_usize).prop_map(Step::Told),
        ]
    }

    /// A feed of which nothing is held.
    fn empty(length: u64) -> Feed {
        let (key, have) = (SecretKey::from_bytes([1; 32]).public(), Bitfield::new());
        let mut feed =
            Feed::new(Replica { key, class: Class::Content, head: None, have, accusation: None });
        feed.length = length;
        feed
    }

    /// A feed that holds every third of its first blocks.
    fn feed() -> Feed {
        let mut feed = empty(BLOCKS);
        (0..BLOCKS / 2).step_by(3).for_each(|block| drop(feed.stored(block, &(0..1))));
        feed
    }

    /// Tells a peer what is to be told, in messages of so many runs.
    fn tell(told: &mut Told, feed: &Feed, limit: usize, peer: &mut BlockSet) {
        let (held, lost) = told.tell(feed, limit);
        assert!(held.len() + lost.len() <= limit);
        for runs in [&held, &lost] {
            assert!(runs.windows(2).all(|two| two[0].end < two[1].start), "{runs:?}");
        }
        held.into_iter().for_each(|run| peer.set_range(run));
        lost.into_iter().for_each(|run| peer.clear_range(run));
    }

    proptest! {
        #[test]
        fn in_the_end_a_peer_knows_what_is_held(steps in proptest::collection::vec(any_step(), 0..60)) {
            let (mut feed, mut told, mut peer) = (feed(), Told::default(), BlockSet::default());
            for step in steps {
                match step {
                    Step::Stored(block) => drop(feed.stored(block, &(0..1))),
                    Step::Lost(run) => feed.lost(run),
                    Step::Refused(run) => {
                        peer.clear_range(run.clone());
                        told.refused(&feed, &alloc::vec![run]);
                    }
                    Step::Told(limit) => tell(&mut told, &feed, limit, &mut peer),
                }
                // Whatever it takes for held it may ask for.
                prop_assert!(peer.runs().all(|run| told.may_count_on(&feed, &alloc::vec![run])));
            }
            for _ in 0..BLOCKS {
                tell(&mut told, &feed, 3, &mut peer);
            }
            prop_assert!(told.is_all(&feed));
            prop_assert_eq!(&peer, &feed.have);
            let lacked = (0..BLOCKS).filter(|block| !feed.have.contains(*block));
            for block in lacked {
                prop_assert!(!told.may_count_on(&feed, &alloc::vec![block..block + 1]));
            }
        }
    }

    #[test]
    fn who_was_told_nothing_for_long_is_told_all() {
        let (mut feed, mut told, mut peer) = (feed(), Told::default(), BlockSet::default());
        tell(&mut told, &feed, 100, &mut peer);
        feed.lost(27..28);
        for _ in 0..CHANGES_MAX {
            feed.lost(40..41);
        }
        assert!(!told.is_all(&feed));
        tell(&mut told, &feed, 5, &mut peer);
        assert!(!told.is_all(&feed) && peer != feed.have);
        tell(&mut told, &feed, 100, &mut peer);
        assert!(told.is_all(&feed) && peer == feed.have);
    }

    #[test]
    fn what_was_told_takes_no_memory() {
        let (mut feed, mut told, mut peer) = (empty(1 << 20), Told::default(), BlockSet::default());
        (0..1 << 20).step_by(64).for_each(|block| drop(feed.stored(block, &(0..1))));
        tell(&mut told, &feed, 1 << 20, &mut peer);
        assert!(told.is_all(&feed) && told.rest.is_empty() && peer == feed.have);
    }
}
