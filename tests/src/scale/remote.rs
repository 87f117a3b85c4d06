//! Reading a drive that somebody else has.
//!
//! The shipped binary asks through a relay that counts what is carried, ciphers and handshakes included. Round trips are counted
//! where messages can be read: between the engines of two nodes, on a line on which all that is asked at one time has left before
//! any answer arrives.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use datnode::disk::DiskStorage;
use datnode::engine::{About, AnyStore, Drive, Hub, Patience, Reach, Snapshot, start};
use datnode::pool::Pool;
use datnode::swarm::frames::{FrameReader, FrameWriter};
use datnode_feed::{MemoryStorage, PublicKey, Store};
use datnode_proto::Binding;
use datnode_proto::wire::{Message, decode};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{FOLDER_FILES, Figure, MEMORY_MAX, Sizes, Unit, folder_name, name, path, scattered};
use crate::hostile::Goods;
use crate::process::{finish, memory_anonymous, wait_until};
use crate::{Sharer, User, assert_exit};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(600);
/// How long the line is, one way: far longer than a node needs to say all that it has to say at one time.
const DELAY: Duration = Duration::from_millis(25);
/// What a listing, or a look at one file, may carry, in bytes, and how often it may wait.
const BYTES_MAX: f64 = (200 << 10) as f64;
const TRIPS_MAX: f64 = 4.0;

pub(super) fn measure(user: &User, folder: &Path, sizes: Sizes, tell: &mut dyn FnMut(Figure)) {
    trips(folder, sizes, tell);
    let sharer = user.share(folder, &["--no-import"]);
    let whole = folder_name(scattered(1, sizes.files) / FOLDER_FILES);
    let file = name(scattered(2, sizes.files));
    let mut most = 0;
    let asked = [
        ("ls of one folder, as carried", ["ls", &whole]),
        ("stat of one file, as carried", ["stat", &file]),
        ("cat of one small file, as carried", ["cat", &file]),
    ];
    for (what, [command, place]) in asked {
        let relay = Relay::to(sharer.address());
        let address = format!("{}/{place}", sharer.link());
        let reader = User::new();
        let args = [command, &address, "--peer", &relay.address];
        let child = reader.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let ended = finish(child.unwrap(), HANGS);
        assert_exit(&ended.output, 0);
        assert!(!ended.output.stdout.is_empty(), "{what}");
        let seen = relay.carried.load(Ordering::SeqCst) as f64;
        tell(Figure { what, seen, unit: Unit::Bytes, promised: Some(BYTES_MAX) });
        most = most.max(ended.anonymous);
    }
    let memory = |what, seen: u64| Figure {
        what,
        seen: seen as f64,
        unit: Unit::Memory,
        promised: Some(MEMORY_MAX),
    };
    tell(memory("memory of who asks", most));
    tell(memory("memory of who serves it", served(&sharer)));
}

/// Returns the memory of a share.
fn served(sharer: &Sharer) -> u64 {
    memory_anonymous(&sharer.child).expect("it is running")
}

/// A line to a node that counts what it carries; it ends when this is dropped.
struct Relay {
    address: String,
    carried: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Relay {
    /// Begins to listen for whoever wants to reach a node through it.
    fn to(address: &str) -> Self {
        let mut parts: Vec<&str> = address.split('/').collect();
        let far = format!("{}:{}", parts[2], parts[4]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        parts[4] = &port;
        let (carried, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let relay = Self { address: parts.join("/"), carried, over };
        let (carried, over) = (relay.carried.clone(), relay.over.clone());
        thread::spawn(move || {
            for near in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (near, far) = (near.unwrap(), TcpStream::connect(&far).unwrap());
                let ways = [(&near, &far), (&far, &near)]
                    .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()));
                for (from, to) in ways {
                    let carried = carried.clone();
                    thread::spawn(move || carry(from, to, &carried));
                }
            }
        });
        relay
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let port = self.address.split('/').nth(4).expect("it was put there");
        // It waits for the next one to come.
        let _ = TcpStream::connect(format!("127.0.0.1:{port}"));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, carried: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        carried.fetch_add(count as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Either end may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

/// Counts round trips.
fn trips(folder: &Path, sizes: Sizes, tell: &mut dyn FnMut(Figure)) {
    let listed = path(&folder_name(scattered(3, sizes.files) / FOLDER_FILES));
    let found = path(&name(scattered(4, sizes.files)));
    let key = Goods::of_clone(folder).key(0);
    let disk = Store::open(Box::new(DiskStorage::open(folder, false).unwrap()) as Box<_>).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (list, entry) = runtime.block_on(async {
        let (writer, driver) = Hub::new([0; 32]);
        tokio::spawn(driver);
        let writes = open(&writer, disk, key).await;
        // It serves the content from then on.
        writes.latest().await.unwrap();
        let list = through_a_long_line(&writer, key, async |latest| {
            let mut count = 0;
            let each = |_, _| {
                count += 1;
                Ok(())
            };
            latest.list(&listed, each).await.unwrap();
            assert!(count > 0);
        });
        let list = list.await;
        let entry = through_a_long_line(&writer, key, async |latest| {
            assert!(latest.entry(&found).await.unwrap().is_some());
        });
        (list, entry.await)
    });
    drop(runtime);
    // The thread that had the store ends when nobody needs it.
    wait_until(HANGS, "the store", || DiskStorage::open(folder, false).is_ok());
    for (what, seen) in [("ls of one folder, once connected", list), ("a lookup", entry)] {
        let seen = f64::from(seen);
        tell(Figure { what, seen, unit: Unit::RoundTrips, promised: Some(TRIPS_MAX) });
    }
}

/// How often somebody asked who had been answered.
#[derive(Default)]
struct Turns {
    asked: u32,
    waits: bool,
}

impl Turns {
    /// Notes a message that sets out, or arrives.
    fn note(&mut self, message: &Message) {
        match message {
            Message::Request { .. } if !self.waits => {
                self.asked += 1;
                self.waits = true;
            }
            Message::Block { .. } => self.waits = false,
            _ => {}
        }
    }
}

/// Reads the latest version of a drive that somebody far away has; returns how many round trips that took.
async fn through_a_long_line(
    writer: &Hub,
    key: PublicKey,
    read: impl AsyncFnOnce(Snapshot),
) -> u32 {
    let (reader, driver) = Hub::new([1; 32]);
    tokio::spawn(driver);
    let empty = Store::open(Box::new(MemoryStorage::new()) as Box<_>).unwrap();
    let reads = open(&reader, empty, key).await;
    let ends = [connect(&reader, 1), connect(writer, 0)];
    let [(from_near, to_near), (from_far, to_far)] = ends.map(tokio::io::split);
    let turns = Arc::new(Mutex::new(Turns::default()));
    let asks = delayed(from_near, to_far, turns.clone(), true);
    let answers = delayed(from_far, to_near, turns.clone(), false);
    tokio::select! {
        () = async { read(reads.latest().await.unwrap()).await } => {}
        () = async { tokio::join!(asks, answers); } => panic!("the line ended"),
        () = tokio::time::sleep(HANGS) => panic!("it hangs"),
    }
    let turns = turns.lock().unwrap();
    turns.asked
}

async fn open(hub: &Hub, store: AnyStore, key: PublicKey) -> Drive {
    let (wait, link) = (Some(HANGS), String::from("the drive"));
    let patience = Patience { wait, reach: Reach::Network, link };
    Drive::open(hub, start(store, hub.answers()).unwrap(), key, patience).await.unwrap()
}

/// Lets a node replicate; returns the other end of its stream.
fn connect(hub: &Hub, number: u8) -> DuplexStream {
    let (own, other) = duplex(1 << 20);
    let hub = hub.clone();
    let binding = Binding { ours: vec![number], theirs: vec![1 - number] };
    tokio::spawn(async move {
        let (read, write) = tokio::io::split(own);
        let about =
            About { name: "peer".into(), address: "pipe".into(), punched: false, is_local: false };
        hub.replicate(read, write, binding, about).await
    });
    other
}

/// Carries frames one way, each as much later; what is asked is noted as it sets out, an answer as it arrives.
async fn delayed(
    from: tokio::io::ReadHalf<DuplexStream>,
    to: tokio::io::WriteHalf<DuplexStream>,
    turns: Arc<Mutex<Turns>>,
    asks: bool,
) {
    let (enter, mut leave) = mpsc::unbounded_channel();
    let mut frames = FrameReader::new(from, Pool::default());
    let note = |frame: &datnode_proto::wire::Frame| {
        let message = decode(&frame.header, &frame.payload).expect("nodes speak the protocol");
        turns.lock().unwrap().note(&message);
    };
    let take = async {
        while let Ok(Some(frame)) = frames.read().await {
            if asks {
                note(&frame);
            }
            let _ = enter.send((Instant::now() + DELAY, frame));
        }
    };
    let give = async {
        let mut frames = FrameWriter::new(to);
        while let Some((at, frame)) = leave.recv().await {
            sleep_until(at).await;
            if !asks {
                note(&frame);
            }
            if frames.write(&frame).await.is_err() || frames.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::join!(take, give);
}
