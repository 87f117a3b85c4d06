//! A node with a thousand idle peers: what it takes of memory and processor.
//!
//! No option of the binary lets so many in, so the node is one of this very program, with the library in it and the limits raised:
//! `--serve FOLDER` makes it one, which is why this test brings its own `main`. The peers are in the test's process.

#![expect(
    clippy::print_stdout,
    reason = "a lane prints what it reached, and a node where it listens"
)]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use datnode::disk::DiskStorage;
use datnode::engine::{About, AnyStore, Hub, start};
use datnode::swarm::{self, SwarmConfig, SwarmEvent, listen_addresses_for};
use datnode_feed::{FeedSlot, Store};
use datnode_proto::{Binding, Class, Replica};
use datnode_tests::hostile::{Goods, Hostile};
use datnode_tests::process::{finish, memory, processor_time, wait_until};
use datnode_tests::{User, assert_exit, noise, tree, write};
use libp2p::identity::Keypair;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const NAME: &str = "a_thousand_idle_peers_take_little_memory_and_no_processor";

/// How many peers there are.
const PEERS: u32 = 1_000;
/// What a node may take with nobody there, and with all of them, in bytes.
const ALONE: u64 = 40 << 20;
const CROWDED: u64 = 300 << 20;
/// Descriptors that all of this takes at most, in either process.
const DESCRIPTORS: u64 = 8 * PEERS as u64;
/// How long it is watched.
const SPAN: Duration = Duration::from_secs(10);
/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(300);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let filter = args.iter().find(|arg| !arg.starts_with('-'));
    let most = getrlimit(Resource::Nofile).maximum;
    match &args[..] {
        [flag, folder] if flag == "--serve" => serve(folder.as_ref()),
        _ if has("--list") => println!("{NAME}: test"),
        _ if has("--ignored") || filter.is_some_and(|part| !NAME.contains(part.as_str())) => {}
        _ if most.is_some_and(|most| most < DESCRIPTORS) => {
            println!("test {NAME} ... skipped: it needs {DESCRIPTORS} descriptors (ulimit -Hn)");
        }
        _ => {
            a_thousand_idle_peers_take_little_memory_and_no_processor();
            println!("test {NAME} ... ok");
        }
    }
}

/// Lets this process have as many descriptors as the system gives it.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum }).unwrap();
}

/// Serves the drive of a folder, as the binary does but to more peers, until its input ends.
fn serve(folder: &Path) {
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (hub, driver) = Hub::new([0; 32]);
    let storage = DiskStorage::open(folder, false).unwrap();
    let store: AnyStore = Store::open(Box::new(storage) as Box<_>).unwrap();
    let replicas: Vec<_> = store
        .feeds()
        .map(|(slot, key)| {
            let class = if slot == FeedSlot(0) { Class::Changes } else { Class::Content };
            let (head, have) = (store.head(slot).copied(), store.have(slot).clone());
            (slot, Replica { key, class, head, have, accusation: None })
        })
        .collect();
    let _guard = runtime.enter();
    let store = start(store, hub.answers()).unwrap();
    for (slot, replica) in replicas {
        hub.add_feed(replica, store.clone(), slot);
    }
    let listen = listen_addresses_for(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let config = SwarmConfig {
        connections_inbound: PEERS + 10,
        connections: PEERS + 10,
        ..SwarmConfig::new(Keypair::generate_ed25519(), listen)
    };
    let (swarm, mut events, network) = swarm::start(config).unwrap();
    runtime.spawn(driver);
    runtime.spawn(network);
    let ours = swarm.local_peer_id().to_bytes();
    runtime.spawn(async move {
        while let Some(event) = events.recv().await {
            let SwarmEvent::Session(session) = event else { continue };
            let (hub, ours) = (hub.clone(), ours.clone());
            tokio::spawn(async move {
                let binding = Binding { ours, theirs: session.peer.to_bytes() };
                let about = About {
                    name: String::from("peer"),
                    address: String::from("loopback"),
                    punched: false,
                    is_local: false,
                };
                let (read, write) = tokio::io::split(session.stream);
                hub.replicate(read, write, binding, about).await
            });
        }
    });
    runtime.block_on(async {
        swarm.listening().await;
        println!("{}", swarm.dialable_addresses()[0]);
        let ended = || std::io::stdin().read_to_end(&mut Vec::new());
        tokio::task::spawn_blocking(ended).await.unwrap().unwrap();
    });
}

fn a_thousand_idle_peers_take_little_memory_and_no_processor() {
    raise_descriptors();
    let (writer, mirror, reader) = (User::new(), User::new(), User::new());
    let source = writer.path("source");
    write(&source, b"file", &noise(1, 3 << 20));
    let sharer = writer.share(&source, &[]);
    let link = sharer.link().to_owned();
    assert_exit(&mirror.run(["clone", sharer.ticket(), "copy"]), 0);
    let of_binary = memory(&sharer.child).unwrap();
    drop(sharer);
    let goods = Goods::of_clone(&mirror.path("copy"));

    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([OsStr::new("--serve"), source.as_os_str()]);
    let mut node = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let address = address.trim();
    let alone = memory(&node).unwrap();

    let joined = Arc::new(AtomicUsize::new(0));
    let joins = joined.clone();
    let crowd = Hostile::crowd(address, PEERS as usize, move |mut line| {
        let (goods, joins) = (goods.clone(), joins.clone());
        async move {
            let is_open = line.join(&goods).await.is_ok();
            joins.fetch_add(usize::from(is_open), Ordering::SeqCst);
            line.until_gone().await;
        }
    });
    let all = || joined.load(Ordering::SeqCst) >= PEERS as usize;
    wait_until(HANGS, "a thousand peers", all);
    let (started, before) = (Instant::now(), processor_time(&node));
    std::thread::sleep(SPAN);
    let share = (processor_time(&node) - before).as_secs_f64() / started.elapsed().as_secs_f64();
    let crowded = memory(&node).unwrap();
    println!(
        "the binary takes {} MiB, a node {} MiB alone and {} MiB with {PEERS} idle peers, and {:.1} % of a processor",
        of_binary >> 20,
        alone >> 20,
        crowded >> 20,
        share * 100.0
    );
    let clone = ["clone", &link, "copy", "--peer", address];
    let clone = reader.command(clone).stderr(Stdio::piped()).spawn().unwrap();
    assert_exit(&finish(clone, HANGS).output, 0);
    assert!(tree(&source) == tree(&reader.path("copy")), "who comes then is served");
    assert_eq!(crowd.closed(), 0, "they break no rule");
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(of_binary < ALONE && alone < ALONE, "{of_binary} {alone}");
    assert!(crowded < CROWDED, "{crowded}");
    assert!(share < 0.1, "{share}");
}
