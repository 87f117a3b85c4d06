//! The file that says what is published: small, whole or not at all, replaced when everything that it speaks of is there.
//!
//! ```text
//! MAGIC | drive's key 32 | count | per feed: key 32, head (a byte string, SPEC 3.4), runs (count, each: gap, blocks) | check 32
//! ```
//!
//! Counts, gaps and blocks are varints. The first feed is that of the changes. The check is a hash of all before it: it finds what was
//! cut off or mixed up on its way, not what somebody made up, which signatures do.

use std::ops::Range;

use datnode_feed::codec::{DecodeError, Reader, Writer};
use datnode_feed::limits::HELD_END;
use datnode_feed::{Bitfield, PublicKey, SignedHead};
use thiserror::Error;

/// What it begins with.
const MAGIC: &[u8; 16] = b"datnode-heads/1\n";
/// What makes the check a hash of its own.
const CHECK: &str = "datnode 2026 published heads v1";
/// How many feeds a drive has at most.
pub const FEEDS_MAX: usize = 16;
/// How many runs of blocks of each are there at most.
pub const RUNS_MAX: usize = 16_384;
/// The longest file.
pub const HEADS_LEN_MAX: usize = 1 << 20;
/// The longest head: one with an ancestor.
const HEAD_LEN_MAX: usize = 168;

/// What is published of a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The drive.
    pub key: PublicKey,
    /// Its feeds, that of the changes first.
    pub feeds: Vec<Published>,
}

/// What is published of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its key.
    pub key: PublicKey,
    /// Its head.
    pub head: SignedHead,
    /// The blocks that are there: ascending, apart from each other, none beyond the head.
    pub runs: Vec<Range<u64>>,
}

impl Published {
    /// Returns the blocks that are there.
    pub fn have(&self) -> Bitfield {
        let mut have = Bitfield::new();
        self.runs.iter().for_each(|run| have.set_range(run.clone()));
        have
    }
}

/// Why bytes are no such file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeadsError {
    /// Something else.
    #[error("it is not what datnode publish writes")]
    Stranger,
    /// A part of one, or two mixed.
    #[error("it is cut off, or was mixed with another one on its way")]
    Damaged,
    /// What nobody publishes.
    #[error("it does not make sense")]
    Senseless,
}

impl From<DecodeError> for HeadsError {
    fn from(_: DecodeError) -> Self {
        Self::Senseless
    }
}

impl Heads {
    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(MAGIC).raw(self.key.as_bytes()).varint(self.feeds.len() as u64);
        for Published { key, head, runs } in &self.feeds {
            writer.raw(key.as_bytes()).bytes(&head.encode()).varint(runs.len() as u64);
            let mut end = 0;
            for run in runs {
                writer.varint(run.start - end).varint(run.end - run.start);
                end = run.end;
            }
        }
        let check = blake3::derive_key(CHECK, writer.as_slice());
        writer.raw(&check);
        writer.into_vec()
    }

    /// Returns bytes with their check behind them.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn checked(content: &[u8]) -> Vec<u8> {
        [content, &blake3::derive_key(CHECK, content)].concat()
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`HeadsError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadsError> {
        if bytes.len() > HEADS_LEN_MAX || !bytes.starts_with(MAGIC) {
            return Err(HeadsError::Stranger);
        }
        let (content, check) = bytes.split_last_chunk::<32>().ok_or(HeadsError::Damaged)?;
        if blake3::derive_key(CHECK, content) != *check {
            return Err(HeadsError::Damaged);
        }
        let mut reader = Reader::new(content.get(MAGIC.len()..).ok_or(HeadsError::Damaged)?);
        let key = public_key(&mut reader)?;
        let count = count(&mut reader, FEEDS_MAX)?;
        let feeds = (0..count).map(|_| feed(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let is_first = feeds.first().is_some_and(|feed| feed.key == key);
        let once = feeds
            .iter()
            .enumerate()
            .all(|(at, feed)| feeds.iter().skip(at + 1).all(|other| other.key != feed.key));
        match reader.is_empty() && is_first && once {
            true => Ok(Self { key, feeds }),
            false => Err(HeadsError::Senseless),
        }
    }
}

fn public_key(reader: &mut Reader<'_>) -> Result<PublicKey, HeadsError> {
    PublicKey::from_bytes(reader.array()?).map_err(|_| HeadsError::Senseless)
}

fn count(reader: &mut Reader<'_>, max: usize) -> Result<usize, HeadsError> {
    let count = usize::try_from(reader.varint()?).ok().filter(|&count| count <= max);
    count.ok_or(HeadsError::Senseless)
}

fn feed(reader: &mut Reader<'_>) -> Result<Published, HeadsError> {
    let key = public_key(reader)?;
    let head = SignedHead::decode(reader.bytes(HEAD_LEN_MAX)?)?;
    let (mut runs, mut end) = (Vec::new(), 0_u64);
    for at in 0..count(reader, RUNS_MAX)? {
        let (gap, blocks) = (reader.varint()?, reader.varint()?);
        let start = end.checked_add(gap).filter(|_| at == 0 || gap > 0);
        let start = start.ok_or(HeadsError::Senseless)?;
        let last = start.checked_add(blocks).filter(|_| blocks > 0);
        // A head is signed by whoever made it, and may be as long as they like.
        let there = last.filter(|&last| last <= head.head.length.min(HELD_END));
        end = there.ok_or(HeadsError::Senseless)?;
        runs.push(start..end);
    }
    Ok(Published { key, head, runs })
}

#[cfg(test)]
mod tests {
    use datnode_feed::{Hash, Head, SecretKey};

    use super::*;

    pub(crate) fn heads() -> Heads {
        let feed = |seed: u8, runs: &[Range<u64>]| {
            let secret = SecretKey::from_bytes([seed; 32]);
            let root = Hash([seed; 32]);
            let head = Head { fork: 0, length: 10, byte_length: 100, root, ancestor: None };
            let head = SignedHead::sign(head, &secret);
            Published { key: secret.public(), head, runs: runs.to_vec() }
        };
        let feeds = vec![feed(1, &[0..10]), feed(2, &[0..2, 4..5, 9..10]), feed(3, &[])];
        Heads { key: SecretKey::from_bytes([1; 32]).public(), feeds }
    }

    #[test]
    fn it_comes_back_and_no_part_of_it_is_taken() {
        let bytes = heads().encode();
        assert_eq!(Heads::decode(&bytes), Ok(heads()));
        for len in 0..bytes.len() {
            assert!(Heads::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Heads::decode(&bad).is_err(), "byte {at}");
        }
        assert_eq!(Heads::decode(b"<html>"), Err(HeadsError::Stranger));
        assert_eq!(Heads::decode(&vec![b'x'; HEADS_LEN_MAX + 1]), Err(HeadsError::Stranger));
    }

    #[test]
    fn what_nobody_publishes_is_refused() {
        let with = |change: &dyn Fn(&mut Heads)| {
            let mut heads = heads();
            change(&mut heads);
            let bytes = heads.encode();
            Heads::decode(&Heads::checked(&bytes[..bytes.len() - 32]))
        };
        assert!(with(&|_| {}).is_ok());
        let senseless = Err(HeadsError::Senseless);
        assert_eq!(with(&|heads| heads.feeds.clear()), senseless, "no changes");
        assert_eq!(with(&|heads| heads.feeds.swap(0, 1)), senseless, "content first");
        assert_eq!(with(&|heads| heads.feeds[1] = heads.feeds[0].clone()), senseless, "twice");
        assert_eq!(with(&|heads| heads.feeds[1].runs = vec![0..11]), senseless, "beyond the head");
        assert_eq!(with(&|heads| heads.feeds[1].runs = vec![0..2, 2..3]), senseless, "no gap");
        assert_eq!(with(&|heads| heads.feeds[1].runs = vec![1..1]), senseless, "an empty run");
        let secret = SecretKey::from_bytes([2; 32]);
        let head = Head { length: 1 << 55, byte_length: 1 << 55, ..heads().feeds[1].head.head };
        let head = SignedHead::sign(head, &secret);
        let more = |run: Range<u64>| {
            let feed = Published { key: secret.public(), head, runs: vec![run] };
            with(&|heads| heads.feeds[1] = feed.clone()).map(drop)
        };
        assert_eq!(more(0..HELD_END), Ok(()));
        assert_eq!(more(0..HELD_END + 1), Err(HeadsError::Senseless), "more than anybody holds");
        let many = |heads: &mut Heads| heads.feeds = vec![heads.feeds[2].clone(); FEEDS_MAX + 1];
        assert_eq!(with(&many), senseless, "too many feeds");
    }
}
