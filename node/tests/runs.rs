//! Files that were edited at very many places: each version reads right, has runs that are read fast, and cost what the rule says.
//! SPEC 8.5-6

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use datnode::disk::DiskStorage;
use datnode::import::{How, Imported, Keep, Memory, Rules, Writer, create, import, latest};
use datnode::view::View;
use datnode_drive::limits::{ENTRY_BYTES_MAX, EXTENTS_FREE, RUN_BYTES_MIN};
use datnode_drive::{ChunkerParams, DrivePath, Entry, Step, Version};
use datnode_feed::{BlockIndex, FeedSlot, Hash, SecretKey, Store};

const MIB: u64 = 1 << 20;
/// The longest chunk.
const CHUNK_MAX: u64 = 96 << 10;

/// Bytes that look random.
fn noise(seed: u64, len: u64) -> Vec<u8> {
    let mut state = seed;
    let word = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_le_bytes()
    };
    let words = usize::try_from(len.div_ceil(8)).unwrap();
    let mut bytes: Vec<u8> = std::iter::repeat_with(word).take(words).flatten().collect();
    bytes.truncate(usize::try_from(len).unwrap());
    bytes
}

/// A drive that is written here, and its folder.
struct Shared {
    folder: tempfile::TempDir,
    store: Store<DiskStorage>,
    keys: [SecretKey; 2],
    keep: Keep,
    memory: Memory,
}

impl Shared {
    const SLOTS: [FeedSlot; 2] = [FeedSlot(0), FeedSlot(1)];

    fn new(keep: Keep) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(DiskStorage::open(folder.path(), true).unwrap()).unwrap();
        let keys = [1, 2].map(|seed| SecretKey::from_bytes([seed; 32]));
        let slots = keys.each_ref().map(|key| store.add_feed(key.public()).unwrap());
        assert_eq!(slots, Self::SLOTS);
        let mut shared = Self { folder, store, keys, keep, memory: Memory::default() };
        let writer = writer(&shared.keys);
        create(&mut shared.store, &writer, "runs").unwrap();
        shared
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes the folder in, and nothing of it is left out.
    fn take(&mut self) -> Imported {
        let base = latest(&mut self.store, Self::SLOTS[0]).unwrap();
        let rules = Rules::default();
        let how = How { rules: &rules, keep: self.keep, message: "", folder_times: false };
        let done = import(
            &mut self.store,
            &writer(&self.keys),
            &base,
            self.folder.path(),
            &how,
            &mut self.memory,
            &AtomicBool::new(false),
            &mut |_| {},
        );
        let done = done.unwrap();
        assert!(done.unsteady.is_empty() && done.walked.unreadable.is_empty());
        done
    }

    fn entry(&mut self, version: &Version, name: &str) -> Entry {
        let view = View::new(&mut self.store, Self::SLOTS[0], None);
        match version.entry(&view, &DrivePath::from_bytes(name).unwrap()).unwrap() {
            Step::Done(entry) => entry.expect("it is there"),
            Step::Need(_) => panic!("all of the index is here"),
        }
    }

    /// Reads a file of a version as its entry says.
    fn read(&mut self, entry: &Entry) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in &entry.extents {
            for block in extent.blocks() {
                let block = self.store.read(Self::SLOTS[1], BlockIndex(block)).unwrap();
                bytes.extend_from_slice(&block.expect("it is here"));
            }
        }
        bytes
    }

    /// Returns how many bytes the content has.
    fn content_bytes(&self) -> u64 {
        self.store.byte_length(Self::SLOTS[1])
    }
}

fn writer(keys: &[SecretKey; 2]) -> Writer<'_> {
    Writer { changes: (Shared::SLOTS[0], &keys[0]), content: (Shared::SLOTS[1], &keys[1]) }
}

/// The most extents that SPEC 8.5-6 lets a file of so many bytes have, in feeds as short as these.
fn extents_max(size: u64) -> u64 {
    (size / RUN_BYTES_MIN).max(EXTENTS_FREE as u64)
}

fn assert_entry(entry: &Entry, bytes: &[u8]) {
    assert_eq!((entry.size, entry.content), (bytes.len() as u64, Hash::of(bytes)));
    assert!(entry.extents.len() as u64 <= extents_max(entry.size), "{}", entry.extents.len());
    assert!(entry.is_valid() && entry.encoded_len() <= ENTRY_BYTES_MAX);
}

/// The most bytes that are stored for so many edits of 4 KiB: an edit changes the chunks it is in, two at most, and those behind them
/// until a cut meets an old one again, which is told apart below; and each run that they make more than there may be, two an edit, costs four
/// mean runs.
fn bytes_max(size: u64, edits: u64, changed: u64) -> u64 {
    changed + size.min(4 * (2 * edits + 1) * size / extents_max(size))
}

/// Returns how many bytes the chunks have that are in one file and not in the other.
fn changed_bytes(old: &[u8], new: &[u8]) -> u64 {
    let chunker = datnode_drive::Chunker::new(ChunkerParams::default()).unwrap();
    let cut = |bytes: &[u8]| {
        let (mut at, mut chunks) = (0, Vec::new());
        while let Some(len) = chunker.next(&bytes[at..], true) {
            chunks.push((Hash::of(&bytes[at..at + len]), len as u64));
            at += len;
        }
        chunks
    };
    let old: std::collections::HashSet<_> = cut(old).into_iter().collect();
    cut(new).iter().filter(|chunk| !old.contains(chunk)).map(|(_, len)| len).sum()
}

/// Edits a file more than 5,000 times at scattered places, in versions of a few and of very many edits.
fn edit_on_and_on(keep: Keep) {
    const SIZE: u64 = 12 * MIB;
    let mut shared = Shared::new(keep);
    let mut bytes = noise(1, SIZE);
    fs::write(shared.path("image"), &bytes).unwrap();
    let mut versions = vec![(shared.take().version, Hash::of(&bytes))];
    let (mut number, mut few) = (0_u64, 0);
    for version in 1..=40 {
        let file = fs::File::options().write(true).open(shared.path("image")).unwrap();
        let edits = if version % 2 == 0 { 1 } else { 251 };
        let before = bytes.clone();
        for _ in 0..edits {
            number += 1;
            let at = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (SIZE - 4_096);
            let edit = noise(number + 100, 4_096);
            file.write_all_at(&edit, at).unwrap();
            bytes[usize::try_from(at).unwrap()..][..edit.len()].copy_from_slice(&edit);
        }
        let length = shared.content_bytes();
        let done = shared.take();
        let stored = shared.content_bytes() - length;
        let most = bytes_max(SIZE, edits, changed_bytes(&before, &bytes));
        assert!(stored <= most, "{stored} bytes for {edits} edits, at most {most}");
        assert_eq!(done.bytes_new, stored);
        few += u64::from(edits == 1);
        let entry = shared.entry(&done.version, "image");
        assert_entry(&entry, &bytes);
        assert!(shared.read(&entry) == bytes, "version {version} is another one");
        versions.push((done.version, entry.content));
    }
    assert!(number > 5_000 && few == 20);
    if keep == Keep::History {
        for (version, content) in versions {
            let entry = shared.entry(&version, "image");
            assert!(Hash::of(&shared.read(&entry)) == content, "{} is lost", version.number);
        }
    }
}

#[test]
fn a_file_edited_five_thousand_times_reads_right_in_every_version() {
    edit_on_and_on(Keep::History);
}

#[test]
fn it_does_in_place_too() {
    edit_on_and_on(Keep::InPlace);
}

#[test]
fn a_file_of_very_many_known_pieces_has_long_runs_at_once() {
    for keep in [Keep::History, Keep::InPlace] {
        let mut shared = Shared::new(keep);
        // Pieces long enough to hold whole chunks of the file that is known, with something new between them.
        let (piece, size) = (256 << 10, 32 * MIB);
        let known = noise(2, size);
        fs::write(shared.path("known"), &known).unwrap();
        shared.take();
        let pieces = known.chunks(piece).rev().zip(3_000..);
        let mixed: Vec<u8> =
            pieces.flat_map(|(piece, n)| [piece.to_vec(), noise(n, 40_000)].concat()).collect();
        fs::write(shared.path("mixed"), &mixed).unwrap();
        let length = shared.content_bytes();
        let done = shared.take();
        // Two runs a piece are more than there may be, so that some are stored twice, what is new among them, and nothing more often.
        assert!(done.bytes_known > 0 && shared.content_bytes() - length <= 2 * mixed.len() as u64);
        for (name, bytes) in [("mixed", &mixed), ("known", &known)] {
            let entry = shared.entry(&done.version, name);
            assert_entry(&entry, bytes);
            assert!(shared.read(&entry) == *bytes);
        }
        // What is there twice now is taken as it is, whatever is read again.
        let extents = shared.entry(&done.version, "known").extents;
        for (name, bytes) in [("known", &known), ("mixed", &mixed)] {
            fs::write(shared.path(&format!("{name} copy")), bytes).unwrap();
        }
        let length = shared.content_bytes();
        let done = shared.take();
        assert_eq!((shared.content_bytes(), done.added), (length, 2));
        assert_eq!(shared.entry(&done.version, "known copy").extents, extents);
        let entry = shared.entry(&done.version, "mixed copy");
        assert!(shared.read(&entry) == mixed);
    }
}

#[test]
fn a_hole_is_stored_as_one_run_that_is_used_again_and_again() {
    for keep in [Keep::History, Keep::InPlace] {
        let mut shared = Shared::new(keep);
        let (hole, rim) = (96 * MIB, 300_000);
        let bytes =
            [noise(4, rim), vec![0; usize::try_from(hole).unwrap()], noise(5, rim)].concat();
        fs::write(shared.path("image"), &bytes).unwrap();
        let done = shared.take();
        let entry = shared.entry(&done.version, "image");
        assert_entry(&entry, &bytes);
        assert!(shared.read(&entry) == bytes);
        // Chunks of the hole are stored until they are four usual runs, and one that the cut at its end goes through.
        let most = 2 * rim + 4 * RUN_BYTES_MIN + 2 * CHUNK_MAX;
        assert!(shared.content_bytes() <= most, "{}", shared.content_bytes());
        // A longer one is made of the same run.
        let longer = [&bytes[..], &vec![0; bytes.len()]].concat();
        fs::write(shared.path("image"), &longer).unwrap();
        let length = shared.content_bytes();
        let done = shared.take();
        let entry = shared.entry(&done.version, "image");
        assert_entry(&entry, &longer);
        assert!(shared.content_bytes() - length <= 3 * CHUNK_MAX);
        assert!(shared.read(&entry) == longer);
    }
}
