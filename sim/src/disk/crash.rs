//! What a crash leaves: any part of what was pending.
//!
//! The parts are whole operations, where a name, bytes and a length are parts of their own; writes to the journal, whose
//! records commit, are cut at sectors. With few parts all subsets are made, with many a sample.

use datnode_feed::FileId;

use super::{Files, Inode, Item, State};
use crate::Random;

/// How many images are made of one state.
#[derive(Clone, Copy, Debug)]
pub struct Images {
    /// All subsets of so many parts at most.
    pub parts_max: usize,
    /// So many of the subsets of more.
    pub samples: u64,
}

impl Default for Images {
    fn default() -> Self {
        Self { parts_max: 10, samples: 64 }
    }
}

impl Images {
    /// Makes images of a state whose first `old` pending items were there before; gives each to `judge` with its number.
    ///
    /// Without `old` all are made, otherwise those that keep something of what is new.
    ///
    /// # Errors
    /// The first that `judge` returns.
    pub fn each<E>(
        &self,
        state: &State,
        old: Option<usize>,
        random: &mut Random,
        mut judge: impl FnMut(u64, State) -> Result<(), E>,
    ) -> Result<u64, E> {
        let parts = parts(state.pending());
        let seen = old.map_or(0, |old| self::parts(&state.pending()[..old]).len());
        let count = if parts.len() <= self.parts_max { 1 << parts.len() } else { self.samples };
        let mut made = 0;
        for number in 0..count {
            let kept = if parts.len() <= self.parts_max {
                if old.is_some() && number >> seen == 0 {
                    continue;
                }
                subset(&parts, |part| number >> part & 1 == 1)
            } else {
                sample(state, &parts, number, random)
            };
            judge(number, State::of(build(state.durable(), &kept)))?;
            made += 1;
        }
        Ok(made)
    }
}

/// Returns what one crash leaves, as the seed says: after a kill everything, still pending; after a power cut any part.
pub fn image(state: &State, random: &mut Random) -> State {
    if random.below(4) == 0 {
        return state.clone();
    }
    let number = random.below(64);
    let kept = sample(state, &parts(state.pending()), number, random);
    State::of(build(state.durable(), &kept))
}

fn sample(state: &State, parts: &[Item], number: u64, random: &mut Random) -> Vec<Item> {
    let count = parts.len() as u64;
    match number {
        0 => Vec::new(),
        1 => parts.to_vec(),
        // In the order of writing, up to some part.
        _ if number % 4 == 2 => {
            let end = random.below(count + 1);
            subset(parts, |part| (part as u64) < end)
        }
        // All but one.
        _ if number % 4 == 3 => {
            let lost = random.below(count);
            subset(parts, |part| part as u64 != lost)
        }
        // Every write torn at sectors, tables as well.
        _ if number % 16 == 4 => {
            let parts: Vec<Item> = state.pending().iter().flat_map(Item::sectors).collect();
            subset(&parts, |_| random.below(2) == 0)
        }
        _ => {
            let dense = 1 + random.below(7);
            subset(parts, |_| random.below(8) < dense)
        }
    }
}

fn parts(pending: &[Item]) -> Vec<Item> {
    let cut = |item: &Item| match item.inode() {
        Some(Inode::Store(FileId::Journal)) => item.sectors(),
        _ => vec![item.clone()],
    };
    pending.iter().flat_map(cut).collect()
}

fn subset(parts: &[Item], mut is_kept: impl FnMut(usize) -> bool) -> Vec<Item> {
    let kept = parts.iter().enumerate().filter(|(part, _)| is_kept(*part));
    kept.map(|(_, item)| item.clone()).collect()
}

fn build(durable: &Files, kept: &[Item]) -> Files {
    let mut files = durable.clone();
    kept.iter().for_each(|item| files.apply(item));
    files
}
