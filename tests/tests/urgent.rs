//! What somebody waits for comes before bulk, over real sockets: single blocks under a saturated connection, and a player that
//! seeks while the same drive is cloned.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use std::os::unix::fs::FileExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use datnode::engine::{About, AnyStore, Feed, Hub, Interest, Options, Wait, start};
use datnode_feed::{BlockIndex, MemoryStorage, SecretKey, Store};
use datnode_proto::{Binding, Limits, Order};
use datnode_tests::process::wait_until;
use datnode_tests::{User, assert_exit, noise, write};
use tokio::net::{TcpListener, TcpStream};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);
const BLOCK: usize = 64 << 10;
const BLOCKS: u64 = 2_000;
/// What all sources send in a second: less than any machine takes in, so that their links are what is saturated.
const LINK: u64 = 16 << 20;
/// How many urgent blocks are asked for.
const URGENT: u64 = 40;

fn secret() -> SecretKey {
    SecretKey::from_bytes([5; 32])
}

fn memory() -> AnyStore {
    Store::open(Box::new(MemoryStorage::new()) as Box<_>).unwrap()
}

fn bytes(block: u64) -> Vec<u8> {
    noise(block, BLOCK)
}

/// A node in this process, on a thread of its own, which has the whole feed and serves whoever connects, so many bytes a second; returns its port.
fn source(name: u8, rate: u64) -> u16 {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut store = memory();
            let slot = store.add_feed(secret().public()).unwrap();
            for block in 0..BLOCKS {
                store.append(slot, &bytes(block)).unwrap();
            }
            store.sign(slot, &secret()).unwrap();
            store.commit().unwrap();
            let (hub, driver) = Hub::new([name; 32]);
            tokio::spawn(driver);
            hub.limit(Limits { up: Some(rate), down: None });
            let store = start(store, hub.answers()).unwrap();
            let _feed =
                Feed::open(&hub, &store, secret().public(), Interest::Sparse).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            // Whoever else on this computer may come by.
            while let Ok((stream, _)) = listener.accept().await {
                let hub = hub.clone();
                tokio::spawn(async move { replicate(&hub, stream, name, 0).await });
            }
        });
    });
    told.recv().unwrap()
}

async fn replicate(hub: &Hub, stream: TcpStream, ours: u8, theirs: u8) {
    stream.set_nodelay(true).unwrap();
    let (read, write) = stream.into_split();
    let about =
        About { name: theirs.to_string(), address: "tcp".into(), punched: false, is_local: false };
    let binding = Binding { ours: vec![ours], theirs: vec![theirs] };
    hub.replicate(read, write, binding, about).await;
}

/// How long an urgent block took, how many bytes came before it, and how many had been granted then.
struct Arrival {
    took: Duration,
    before: u64,
    granted: u64,
}

/// Asks for urgent blocks one after the other while bulk comes from so many sources.
async fn urgent(sources: u8) -> Vec<Arrival> {
    let ports: Vec<u16> =
        (1..=sources).map(|name| source(name, LINK / u64::from(sources))).collect();
    let (hub, driver) = Hub::new([0; 32]);
    tokio::spawn(driver);
    let store = start(memory(), hub.answers()).unwrap();
    let feed = Feed::open(&hub, &store, secret().public(), Interest::Sparse).await.unwrap();
    for (name, port) in (1..).zip(ports) {
        let (hub, stream) = (hub.clone(), TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        tokio::spawn(async move { replicate(&hub, stream, 0, name).await });
    }
    feed.grown_to(BLOCKS).await;
    let linear = Options { order: Order::Linear, ..Options::default() };
    let bulk = feed.prioritize(0..BLOCKS, linear);
    let here = || bulk.progress().map_or(BLOCKS, |progress| progress.here);
    let mut arrivals = Vec::new();
    for count in 0..URGENT {
        // At any time while it lasts, for blocks at its end.
        feed.prioritize(0..BLOCKS / 2 * count / URGENT + 20, linear).done().await;
        let (block, began) = (BLOCKS - 1 - 3 * count, Instant::now());
        let counted = || {
            let peers = hub.peers().into_iter();
            let counts = peers.map(|peer| (peer.status.bytes_in, peer.status.credit));
            counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
        };
        let (came, granted) = counted();
        let read = feed.get(BlockIndex(block), Wait::For(HANGS)).await.unwrap();
        let before = (counted().0 - came).saturating_sub(BLOCK as u64);
        assert_eq!(read, Some(bytes(block)));
        arrivals.push(Arrival { took: began.elapsed(), before, granted });
        assert!(here() < BLOCKS, "the bulk is over");
    }
    arrivals
}

#[test]
fn an_urgent_block_comes_after_what_was_granted_and_little_more() {
    for sources in [1, 4] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut arrivals = runtime.block_on(urgent(sources));
        let middle = |mut all: Vec<u64>| {
            all.sort_unstable();
            all[all.len() / 2]
        };
        let before = middle(arrivals.iter().map(|one| one.before).collect());
        let granted = middle(arrivals.iter().map(|one| one.granted).collect());
        arrivals.sort_by_key(|one| one.took);
        let (took, before_kib, granted_kib) =
            (arrivals[arrivals.len() / 2].took, before >> 10, granted >> 10);
        println!(
            "{sources} sources, {URGENT} urgent blocks, in the middle: {took:?}, {before_kib} KiB before, {granted_kib} KiB granted"
        );
        // Beside that: two blocks that had begun at each source, and those whose credit is renewed while the request is under way.
        let slack = 4 * u64::from(sources) * BLOCK as u64;
        assert!(before <= granted + granted / 4 + slack, "{before} bytes of {granted}");
    }
}

#[test]
fn a_player_that_seeks_is_served_while_the_drive_is_cloned() {
    const SIZE: usize = 48 << 20;
    let user = User::new();
    let film = noise(9, SIZE);
    write(&user.path("source"), b"film", &film);
    let sharer = user.share(&user.path("source"), &["--max-up", "6MB"]);
    let (cloner, player) = (User::new(), User::new());
    let began = Instant::now();
    let mut clone =
        cloner.command(["clone", sharer.ticket(), "copy"]).stderr(Stdio::null()).spawn().unwrap();
    wait_until(HANGS, "a clone that begins", || cloner.path("copy/.dat").exists());
    let mut took = Vec::new();
    for seek in 0..12_u64 {
        let at = (seek * 7_919_333) % (SIZE as u64 - 100_000);
        let range = format!("{at}-{}", at + 65_535);
        let begins = Instant::now();
        let read = player.run([
            "cat",
            "--peer",
            sharer.address(),
            "--range",
            &range,
            &format!("{}/film", sharer.link()),
        ]);
        took.push(begins.elapsed());
        assert_exit(&read, 0);
        let at = usize::try_from(at).unwrap();
        assert!(read.stdout == film[at..at + 65_536], "seek {seek}");
    }
    assert!(clone.try_wait().unwrap().is_none(), "the clone was over before: {took:?}");
    assert!(clone.wait().unwrap().success());
    let whole = began.elapsed();
    took.sort();
    println!(
        "a clone of {whole:?}, seeks meanwhile: {:?} in the middle, {:?} at most",
        took[6], took[11]
    );
    // Each begins a process that dials; all of them together take less than what they would wait for in line.
    assert!(took[6] * 5 < whole, "{took:?} of {whole:?}");
    let file = std::fs::File::open(cloner.path("copy/film")).unwrap();
    let mut end = [0; 1_000];
    file.read_exact_at(&mut end, SIZE as u64 - 1_000).unwrap();
    assert_eq!(end, film[SIZE - 1_000..]);
}
