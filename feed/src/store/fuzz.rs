//! What a disk may hold: the files of a store, made of any bytes.

use alloc::vec;
use alloc::vec::Vec;

use super::journal::{Journal, Write, writes};
use super::table::{Cell, FeedRecord, Header, META_LEN, Span, seal};
use super::{Place, Store};
use crate::codec::{Reader, Writer};
use crate::fuzz::{block_bytes, sample};
use crate::limits::BLOCK_BYTES_MAX;
use crate::memory::MemoryStorage;
use crate::position::BlockIndex;
use crate::storage::{FeedSlot, FileId, Storage};

/// The working file that places may name.
const WORKING: &[u8] = b"dir/file";

/// The header of `meta`, or a feed's record in it; checksums are made right, or nothing would be read.
pub fn meta(input: &[u8]) -> bool {
    let mut bytes: Vec<u8> = input.iter().copied().take(Header::LEN).collect();
    seal(0, &mut bytes);
    if let Some(Ok(Ok(header))) = bytes.first_chunk().map(Header::decode) {
        let encoded = header.encode();
        let encoded = encoded.first_chunk().expect("a header has this length");
        assert_eq!(Header::decode(encoded), Ok(Ok(header)), "a header comes back");
        return true;
    }
    let slot = FeedSlot(1);
    let mut bytes: Vec<u8> = input.iter().copied().take(META_LEN as usize).collect();
    seal(FeedRecord::offset(slot), &mut bytes);
    let Some(Ok(record)) = bytes.first_chunk().map(|bytes| FeedRecord::decode(slot, bytes)) else {
        return false;
    };
    let encoded = record.encode(slot);
    let encoded = encoded.first_chunk().expect("a record has this length");
    assert_eq!(FeedRecord::decode(slot, encoded), Ok(record), "a record comes back");
    true
}

pub(crate) fn meta_seeds() -> Vec<Vec<u8>> {
    let (sample, slot) = (sample(), FeedSlot(1));
    let record = FeedRecord { key: sample.key, head: None, accusation: None };
    let span = Span { offset: 70, len: 400 };
    let full = FeedRecord { head: sample.heads.first().copied(), accusation: Some(span), ..record };
    vec![
        Header { feeds: 2, data_end: 1 << 40, names_end: 80, commits: 3 }.encode(),
        record.encode(slot),
        full.encode(slot),
    ]
}

/// Where a block is: an entry of `blocks`.
pub fn place(input: &[u8]) -> bool {
    let Ok(cell) = Cell::decode(input) else { return false };
    assert_eq!(Cell::decode(&cell.encode()), Ok(cell), "a place comes back");
    true
}

pub(crate) fn place_seeds() -> Vec<Vec<u8>> {
    let cells =
        [Cell::Absent, Cell::Data { offset: 1 << 50 }, Cell::Working { name: 8, offset: 4_096 }];
    cells.map(Cell::encode).to_vec()
}

/// The body of a journal record; and the same bytes as a whole journal.
pub fn journal(input: &[u8]) -> bool {
    let mut storage = MemoryStorage::new();
    storage.write(FileId::Journal, 0, input).expect("memory does not fail");
    Journal::replay(&mut storage, 0).expect("what has no checksum is no record");
    let Ok(found) = writes(input) else { return false };
    let mut journal = Journal::default();
    journal.append(&mut storage, &found).expect("memory does not fail");
    let mut body = vec![0; input.len()];
    storage.read(FileId::Journal, 20, &mut body).expect("it is there");
    assert_eq!(writes(&body).as_ref(), Ok(&found), "a record comes back");
    !found.is_empty()
}

pub(crate) fn journal_seeds() -> Vec<Vec<u8>> {
    let slot = FeedSlot(3);
    let files = [FileId::Names, FileId::Tree(slot), FileId::Blocks(slot), FileId::Meta];
    let writes = files.map(|file| Write { file, offset: 80, bytes: b"some bytes".to_vec() });
    let (mut journal, mut storage) = (Journal::default(), MemoryStorage::new());
    journal.append(&mut storage, &writes).expect("memory does not fail");
    vec![file(&storage, FileId::Journal).split_off(20)]
}

/// The files of a store: `(file u8 | bytes)*`. Whatever they hold, reading gives the writer's bytes or nothing.
pub fn store(input: &[u8]) -> bool {
    let mut storage = MemoryStorage::new();
    let mut reader = Reader::new(input);
    while let Ok(number) = reader.u8() {
        let Ok(bytes) = reader.bytes(1 << 20) else { break };
        let (file, mut bytes) = (number_to_file(number), bytes.to_vec());
        if file == FileId::Meta {
            seal_all(&mut bytes);
        }
        storage.write(file, 0, &bytes).expect("memory does not fail");
    }
    storage.set_working(WORKING, block_bytes(3));
    let Ok(mut store) = Store::open(storage) else { return false };
    use_store(&mut store);
    true
}

/// Makes the checksums of a whole `meta` right.
fn seal_all(meta: &mut [u8]) {
    for (at, part) in (0..).step_by(META_LEN as usize).zip(meta.chunks_mut(META_LEN as usize)) {
        let len = if at == 0 { Header::LEN } else { META_LEN as usize };
        if let Some(part) = part.get_mut(..len) {
            seal(at, part);
        }
    }
}

fn number_to_file(number: u8) -> FileId {
    let slot = FeedSlot(u16::from(number / 6 % 2));
    match number % 6 {
        0 => FileId::Meta,
        1 => FileId::Journal,
        2 => FileId::Data,
        3 => FileId::Names,
        4 => FileId::Tree(slot),
        _ => FileId::Blocks(slot),
    }
}

/// Asks everything there is to ask.
fn use_store(store: &mut Store<MemoryStorage>) {
    let sample = sample();
    let feeds: Vec<_> = store.feeds().take(4).collect();
    for (slot, key) in feeds {
        let is_ours = key == sample.key && store.head(slot) == sample.heads.first();
        let is_sound = is_ours && store.check(slot, false, &mut |_| ()).is_ok();
        if key == sample.key
            && let Some(found) = store.accusation(slot)
        {
            assert_eq!(*found, sample.accusation, "an accusation is verified when it is read");
        }
        for index in (0..12).map(BlockIndex) {
            let _ = (store.where_is(slot, index), store.byte_offset(slot, index));
            let _ = (store.prove(slot, index, 2), store.seek(slot, index.0 * 40));
            let _ = (store.knows_peaks(slot, index.0), store.prove_upgrade(slot, index.0));
            let rooted = is_sound && is_rooted(store, slot, index);
            let Ok(Some(bytes)) = store.read(slot, index) else { continue };
            assert!(store.length(slot) > index.0, "nothing is beyond the head");
            assert!(bytes.len() <= BLOCK_BYTES_MAX, "a block has its limit");
            if rooted {
                assert_eq!(bytes, block_bytes(index.0), "never other bytes, SPEC 5.8");
            }
        }
        let _ = store.check(slot, true, &mut |_| ());
    }
    let _ = store.rename_working(WORKING, b"dir/new");
    let _ = store.commit();
}

/// Tells whether the stored tree leads from a block up to the signed head.
fn is_rooted(store: &Store<MemoryStorage>, slot: FeedSlot, block: BlockIndex) -> bool {
    let height = crate::proof::peak_height(block, store.length(slot)).unwrap_or_default();
    store.prove(slot, block, height).is_ok_and(|proof| proof.is_some())
}

/// The sample's store; the same with a block in a working file and an accusation; and an empty one.
pub(crate) fn store_seeds() -> Vec<Vec<u8>> {
    let sample = sample();
    let storage = sample.store.storage();
    let mut store = Store::open(storage.clone()).expect("it is sound");
    let (slot, block) = (sample.feed, BlockIndex(3));
    let at = super::InPlace { path: WORKING, offset: 0 };
    store.place(slot, block, at).expect("memory does not fail");
    assert!(store.accuse(slot, &sample.accusation).expect("it holds"), "it is new");
    store.commit().expect("memory does not fail");
    store.checkpoint().expect("memory does not fail");
    let found = store.where_is(slot, block).expect("memory does not fail");
    assert!(matches!(found, Some(Place::Working { .. })), "the seed shows this");
    vec![files(storage), files(store.storage()), Vec::new()]
}

fn files(storage: &MemoryStorage) -> Vec<u8> {
    let mut writer = Writer::new();
    for number in 0..6 {
        writer.u8(number).bytes(&file(storage, number_to_file(number)));
    }
    writer.into_vec()
}

fn file(storage: &MemoryStorage, file: FileId) -> Vec<u8> {
    let len = storage.len(file).expect("memory does not fail");
    let mut bytes = vec![0; usize::try_from(len).expect("it is in memory")];
    storage.read(file, 0, &mut bytes).expect("it has this length");
    bytes
}
