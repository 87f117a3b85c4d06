//! Inputs made from others, the same ones in every run.

use datnode_sim::Random;

/// Numbers that sit at the ends of something.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0xffff_ffff,
    1 << 56,
    (1 << 56) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// A source of mutated inputs.
pub(crate) struct Mutator {
    random: Random,
    len_max: usize,
}

impl Mutator {
    /// Starts from a name.
    pub(crate) fn new(name: &str, len_max: usize) -> Self {
        let hash = datnode_feed::Hash::of(name.as_bytes());
        let seed = u64::from_le_bytes(hash.0[..8].try_into().unwrap());
        Self { random: Random::new(seed), len_max }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.random.below(256)).unwrap()
    }

    /// Makes an input from those.
    pub(crate) fn next(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.random.below(4) {
            self.change(&mut input, inputs);
        }
        input.truncate(self.len_max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let rest = input.len() - at;
        match self.below(9) {
            0 if rest > 0 => input[at] ^= 1 << self.below(8),
            1 if rest > 0 => input[at] = self.byte(),
            2 => input.insert(at, self.byte()),
            3 => drop(input.drain(at..at + self.below(rest + 1).min(16))),
            4 => input.truncate(at),
            5 => {
                // A number at its end, in as many bytes as numbers have.
                let bytes = EDGES[self.below(EDGES.len())].to_le_bytes();
                let len = [1, 2, 4, 8][self.below(4)].min(rest);
                input[at..at + len].copy_from_slice(&bytes[..len]);
            }
            6 => {
                let other = inputs[self.below(inputs.len())].clone();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            7 => {
                let piece = input[at..at + self.below(rest + 1).min(64)].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            _ => {
                let piece: Vec<u8> = (0..self.below(9)).map(|_| self.byte()).collect();
                input.splice(at..at, piece);
            }
        }
    }
}
