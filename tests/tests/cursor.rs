//! A byte cursor on a file that somebody else has: any place, forwards and backwards, and no more than is read and soon will be.

use std::time::Duration;

use datnode::disk::DiskStorage;
use datnode::engine::{About, AnyStore, Drive, Hub, Patience, Reach, start};
use datnode_drive::{DrivePath, Entry};
use datnode_feed::{MemoryStorage, PublicKey, Store};
use datnode_proto::Binding;
use datnode_tests::hostile::Goods;
use datnode_tests::{User, noise, write};
use tokio::io::duplex;

const SIZE: usize = 9_000_000;
const HANGS: Duration = Duration::from_secs(120);

async fn drive(hub: &Hub, store: AnyStore, key: PublicKey) -> Drive {
    let patience = Patience {
        wait: Some(Duration::from_secs(10)),
        reach: Reach::Network,
        link: String::from("the drive"),
    };
    Drive::open(hub, start(store, hub.answers()).unwrap(), key, patience).await.unwrap()
}

fn connect(a: &Hub, b: &Hub) {
    let (near, far) = duplex(1 << 20);
    for (hub, ours, theirs, end) in [(a, 0, 1, near), (b, 1, 0, far)] {
        let hub = hub.clone();
        tokio::spawn(async move {
            let (read, write) = tokio::io::split(end);
            let about = About {
                name: "peer".into(),
                address: "pipe".into(),
                punched: false,
                is_local: false,
            };
            let binding = Binding { ours: vec![ours], theirs: vec![theirs] };
            hub.replicate(read, write, binding, about).await;
        });
    }
}

/// Returns how many bytes of blocks came.
fn received(hub: &Hub) -> u64 {
    hub.peers().iter().map(|peer| peer.status.bytes_in).sum()
}

/// Runs a test on a reader of a drive whose writer shared one film.
fn with_film<F: Future<Output = ()>>(test: impl FnOnce(Vec<u8>, Hub, Drive, Entry) -> F) {
    let user = User::new();
    let film = noise(3, SIZE);
    write(&user.path("source"), b"film", &film);
    drop(user.share(&user.path("source"), &[]));
    let key = Goods::of_clone(&user.path("source")).key(0);
    let storage = DiskStorage::open(&user.path("source"), false).unwrap();
    let store = Store::open(Box::new(storage) as Box<_>).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [(writer, one), (reader, other)] = [Hub::new([0; 32]), Hub::new([1; 32])];
        tokio::spawn(one);
        tokio::spawn(other);
        let writes = drive(&writer, store, key).await;
        // It serves the content from then on.
        writes.latest().await.unwrap();
        let empty = Store::open(Box::new(MemoryStorage::new()) as Box<_>).unwrap();
        let reads = drive(&reader, empty, key).await;
        connect(&writer, &reader);
        let latest = reads.latest().await.unwrap();
        let path = DrivePath::from_bytes("film").unwrap();
        let entry = latest.entry(&path).await.unwrap().expect("it was shared");
        let run = test(film, reader, reads, entry);
        tokio::time::timeout(HANGS, run).await.expect("it hangs");
    });
}

#[test]
fn any_place_is_read_forwards_and_backwards_however_often() {
    with_film(|film, _hub, drive, entry| async move {
        let mut cursor = drive.latest().await.unwrap().cursor(&entry);
        assert_eq!(cursor.size(), SIZE as u64);
        let mut all = Vec::new();
        for _ in 0..2 {
            // More passes than a reader in memory keeps.
            cursor.seek(0);
            all.clear();
            while let Some(bytes) = cursor.next().await.unwrap() {
                all.extend(bytes);
            }
            assert!(all == film);
            let mut none = [0; 10];
            assert_eq!(cursor.read(&mut none).await.unwrap(), 0);
        }
        for place in 0..60_u64 {
            let at = place * 7_919_333 % (SIZE as u64 - 70_000);
            let mut bytes = vec![0; 1 + place as usize * 1_100];
            cursor.read_exact_at(at, &mut bytes).await.unwrap();
            let at = at as usize;
            assert!(bytes == film[at..at + bytes.len()], "{at}");
            assert_eq!(cursor.position(), (at + bytes.len()) as u64);
        }
        let mut bytes = [0; 100];
        cursor.seek(SIZE as u64 - 40);
        assert_eq!(cursor.read(&mut bytes).await.unwrap(), 40);
        assert!(cursor.read_exact_at(SIZE as u64 - 40, &mut bytes).await.is_err());
        cursor.seek(u64::MAX);
        assert_eq!(cursor.read(&mut bytes).await.unwrap(), 0);
        assert_eq!(cursor.read(&mut []).await.unwrap(), 0);
    });
}

#[test]
fn of_a_range_no_more_is_fetched_than_its_blocks() {
    with_film(|film, hub, drive, entry| async move {
        let mut cursor = drive.latest().await.unwrap().cursor(&entry);
        let before = received(&hub);
        for at in [3_000_000_u64, 6_500_000] {
            cursor.limit(at..at + 65_536);
            let mut read = Vec::new();
            while let Some(bytes) = cursor.next().await.unwrap() {
                read.extend(bytes);
            }
            assert!(read == film[at as usize..at as usize + 65_536]);
        }
        // Two ranges, and what of their first and last blocks lies outside.
        let fetched = received(&hub) - before;
        assert!(fetched <= 2 * (65_536 + 2 * (96 << 10)), "{fetched} bytes");
    });
}

#[test]
fn who_seeks_is_sent_little_of_what_it_left() {
    with_film(|film, hub, drive, entry| async move {
        let mut cursor = drive.latest().await.unwrap().cursor(&entry);
        let before = received(&hub);
        let mut bytes = vec![0; 1_000];
        for at in [1_000_000, 4_000_000, 7_000_000] {
            cursor.read_exact_at(at, &mut bytes).await.unwrap();
            assert!(bytes == film[at as usize..at as usize + 1_000]);
        }
        drop(cursor);
        // A megabyte ahead of each is the most, in blocks of 64 KiB by and large: where it is not known yet how long they are, as many may
        // come, of 96 KiB each, and those in which it begins and ends.
        let fetched = received(&hub) - before;
        assert!(fetched <= 3 * (16 + 2) * (96 << 10), "{fetched} bytes");
    });
}
