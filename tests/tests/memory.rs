//! Whatever bytes claim, reading them takes no more memory than a small multiple of what they are.

use datnode_drive::{Blocks, DrivePath, Location, Step, Version};
use datnode_feed::codec::Writer;
use datnode_feed::{Accusation, BlockIndex, FileId, MemoryStorage, SignedHead, Storage, Store};
use datnode_proto::wire::{Channel, Message, decode, encode};
use datnode_tests::meter::Meter;

#[global_allocator]
static METER: Meter = Meter;

/// How many bytes a decoder may take for each byte of input: runs and nodes are as large in memory as on the wire, and a
/// growing list is twice as large as what is in it at most, and three times while it moves.
const FACTOR: usize = 4;
/// What any decoder may take besides.
const BASE: usize = 1 << 10;

/// Claims of more than anybody has, in as many bytes as numbers take, in both orders and as a varint.
fn claims() -> Vec<Vec<u8>> {
    let mut claims = Vec::new();
    for number in [u64::MAX, (1 << 56) - 1, i64::MAX as u64, u64::from(u32::MAX), 1 << 20, 4_096] {
        for len in [1, 2, 4, 8] {
            claims.push(number.to_le_bytes()[..len].to_vec());
        }
        claims.push(Writer::new().varint(number).as_slice().to_vec());
    }
    claims
}

/// Runs `read` on an input with each claim written over each place; returns how often that was.
fn claim(input: &[u8], mut read: impl FnMut(&[u8])) -> usize {
    let mut count = 0;
    for claim in claims() {
        for at in 0..input.len() {
            let mut bytes = input.to_vec();
            let end = (at + claim.len()).min(bytes.len());
            bytes.splice(at..end, claim.iter().copied());
            let ((), peak) = Meter::peak(|| read(&bytes));
            let most = FACTOR * bytes.len() + BASE;
            assert!(peak <= most, "{peak} of {most} bytes: {claim:02x?} at {at}");
            count += 1;
        }
    }
    count
}

/// The seeds of an entry point of the fuzzers.
fn seeds(targets: &[datnode_feed::fuzz::Target], name: &str) -> Vec<Vec<u8>> {
    let target = targets.iter().find(|target| target.name == name).expect("there is such a one");
    (target.seeds)()
}

#[test]
fn frames() {
    let mut count = 0;
    for seed in seeds(datnode_proto::fuzz::TARGETS, "frame") {
        count += claim(&seed[1..], |header| drop(decode(header, b"")));
    }
    assert!(count > 10_000, "{count}");
    // The longest lists there may be, which are all true.
    let held = (0..4_096).map(|run| 2 * run..2 * run + 1).collect();
    let most =
        Message::Have { channel: Channel(1), length: 1 << 20, held, lost: vec![], head: None };
    let header = encode(&most);
    let (decoded, peak) = Meter::peak(|| decode(&header, b""));
    assert_eq!(decoded, Ok(most));
    assert!(peak <= FACTOR * header.len(), "{peak} for {} bytes", header.len());
}

#[test]
fn heads_and_accusations() {
    let mut count = 0;
    for seed in seeds(datnode_feed::fuzz::TARGETS, "head") {
        count += claim(&seed, |bytes| {
            let _ = SignedHead::decode(bytes);
        });
    }
    for seed in seeds(datnode_feed::fuzz::TARGETS, "accusation") {
        count += claim(&seed, |bytes| drop(Accusation::decode(bytes)));
    }
    assert!(count > 10_000, "{count}");
}

/// A changes feed of which one block is read.
struct One<'a>(&'a [u8]);

impl Blocks for One<'_> {
    type Error = std::convert::Infallible;

    fn block(&self, at: Location) -> Result<Option<std::borrow::Cow<'_, [u8]>>, Self::Error> {
        Ok((at.block == BlockIndex(9)).then_some(self.0.into()))
    }
}

#[test]
fn changes_and_nodes() {
    let changes = seeds(datnode_drive::fuzz::TARGETS, "change");
    let shortest = changes.iter().min_by_key(|block| block.len()).expect("there are changes");
    let count = claim(shortest, |bytes| {
        if let Ok(Step::Done(version)) = Version::open(&One(bytes), BlockIndex(9)) {
            let _ = version.list(&One(bytes), &DrivePath::root(), None, 10);
        }
    });
    assert!(count > 10_000, "{count}");
}

#[test]
fn files_of_a_store() {
    let mut count = 0;
    for seed in seeds(datnode_feed::fuzz::TARGETS, "meta") {
        // What a store takes in any case: pages and a table's piece.
        let open = |meta: &[u8]| {
            let mut storage = MemoryStorage::new();
            storage.write(FileId::Meta, 0, meta).expect("memory does not fail");
            Meter::peak(|| drop(Store::open(storage))).1
        };
        let least = open(&seed);
        for claim in claims() {
            for at in 0..seed.len() {
                let mut meta = seed.clone();
                let end = (at + claim.len()).min(meta.len());
                meta.splice(at..end, claim.iter().copied());
                let peak = open(&meta);
                assert!(peak <= least + (2 << 20), "{peak}: {claim:02x?} at {at}");
                count += 1;
            }
        }
    }
    assert!(count > 10_000, "{count}");
}
