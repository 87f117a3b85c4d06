//! A node that is there for others, for long: peers come and go, and neither descriptors nor memory grow; nothing happens, and it takes
//! next to no processor; it is stopped, as by a sleeping computer, and goes on.
//!
//! The quick form takes some seconds each. For minutes: `cargo test --release -p datnode-tests --test soak -- --ignored --nocapture`.

#![expect(clippy::print_stderr, reason = "the long form says what it measured")]

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use datnode::swarm::{Channel, SwarmConfig, SwarmEvent, start};
use datnode_tests::node::Node;
use datnode_tests::process::{Running, memory_anonymous, processor_time, signal, wait_until};
use datnode_tests::{User, assert_exit, noise, tree, write};
use libp2p::Multiaddr;
use libp2p::identity::Keypair;

/// What takes longer than this never comes.
const HANGS: Duration = Duration::from_secs(60);
/// Peers that come at once.
const PEERS: usize = 16;

/// A node with a drive, and whoever keeps it.
struct World {
    node: Node,
    address: Multiaddr,
    writer: User,
    _keeper: User,
}

impl World {
    fn new() -> Self {
        let (keeper, writer) = (User::new(), User::new());
        write(&writer.path("source"), b"a/file", &noise(1, 300_000));
        let sharer = writer.share(&writer.path("source"), &[]);
        let node = Node::start(&keeper, &[sharer.ticket()]);
        wait_until(HANGS, "the mirror", || node.figure("datnode_drives_whole") == 1.0);
        let address = node.address().parse().unwrap();
        Self { node, address, writer, _keeper: keeper }
    }

    /// Has peers come, and go once all of them are here.
    async fn come_and_go(&self) {
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            let config = SwarmConfig::new(Keypair::generate_ed25519(), Vec::new());
            let (swarm, mut events, driver) = start(config).unwrap();
            tokio::spawn(driver);
            swarm.keep(Channel::Given, vec![self.address.clone()]).await;
            let session = async {
                loop {
                    let event = events.recv().await.expect("the swarm runs");
                    if let SwarmEvent::Session(session) = event {
                        return session;
                    }
                }
            };
            let session = tokio::time::timeout(HANGS, session).await.expect("nobody is let in");
            peers.push((swarm, events, session));
        }
        for (swarm, _, session) in peers {
            drop(session);
            swarm.close().await;
        }
        wait_until(HANGS, "that they are gone", || self.node.figure("datnode_peers") == 0.0);
    }

    /// Returns how many descriptors are open; those of a connection that ended go a moment after it.
    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.node.child().id())).unwrap().count()
    }

    fn memory(&self) -> u64 {
        memory_anonymous(self.node.child()).unwrap()
    }

    fn link(&self) -> String {
        self.node.ready["drives"][0]["link"].as_str().unwrap().to_owned()
    }

    /// Clones from the node.
    fn clone(&self) {
        let reader = User::new();
        let args = ["clone", &self.link(), "copy", "--peer", self.node.address()];
        assert_exit(&reader.run(args), 0);
        assert_eq!(tree(&reader.path("copy")), tree(&self.writer.path("source")));
    }
}

/// Has peers come and go so many times; neither descriptors nor memory may have grown in the second half.
async fn stays_flat(rounds: usize) {
    let world = World::new();
    world.clone();
    let mut memory = Vec::new();
    let half = rounds / 2;
    for _ in 0..half {
        world.come_and_go().await;
        memory.push(world.memory());
    }
    let before = world.descriptors();
    for _ in half..rounds {
        world.come_and_go().await;
        memory.push(world.memory());
    }
    // A descriptor for each that came would be hundreds; three are those of whoever asked for a figure, and of a store that woke up.
    wait_until(HANGS, "the descriptors of before", || world.descriptors() <= before + 3);
    let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len() as u64;
    let (early, late) = (mean(&memory[half / 2..half]), mean(&memory[half + half / 2..]));
    let came = (half * PEERS) as u64;
    eprintln!("{came} peers more: {early} and then {late} bytes, {before} descriptors");
    // The allocator keeps what it likes of what is free, a megabyte; nobody who left may leave more than a kilobyte.
    let most = early + (1 << 20) + came * (1 << 10);
    assert!(late <= most, "{early} bytes, and {late} after {came} peers more: {memory:?}");
}

/// Lets nothing happen for so long; it may take one part in so many of it.
fn takes_no_processor(span: Duration, parts: u32) {
    let world = World::new();
    // What it began with is done when the sharer, who is gone, is not dialed at once any more.
    wait_until(HANGS, "that it is alone", || world.node.figure("datnode_peers") == 0.0);
    let (began, took) = (Instant::now(), processor_time(world.node.child()));
    std::thread::sleep(span);
    let (span, took) = (began.elapsed(), processor_time(world.node.child()) - took);
    eprintln!("{took:?} of a processor in {span:?}");
    // However busy the computer is, that adds nothing to what this process takes. A tick of the clock that counts it is 10 ms.
    let most = span / parts + Duration::from_millis(10);
    assert!(took <= most, "{took:?} in {span:?}");
}

/// Stops the node for so long, and lets it go on.
async fn goes_on_after(stopped: Duration) {
    let world = World::new();
    world.clone();
    signal(world.node.child(), "-STOP");
    std::thread::sleep(stopped);
    signal(world.node.child(), "-CONT");
    world.clone();
    world.come_and_go().await;
    assert_eq!(world.node.figure("datnode_drives_whole"), 1.0);
}

#[tokio::test]
async fn peers_that_come_and_go_leave_nothing_behind() {
    stays_flat(12).await;
}

#[test]
fn while_nothing_happens_it_takes_no_processor() {
    // Built without optimization, and on whatever computer; what is promised is held against the long form.
    takes_no_processor(Duration::from_secs(8), 20);
}

#[tokio::test]
async fn who_was_stopped_goes_on() {
    goes_on_after(Duration::from_secs(2)).await;
}

#[test]
fn who_sleeps_for_longer_than_its_peers_wait_serves_them_when_it_wakes() {
    let world = World::new();
    let (link, address) = (world.link(), world.node.address().to_owned());
    let (follower, hasty) = (User::new(), User::new());
    let mut follow = follower.command(["clone", "--live", &link, "copy", "--peer", &address]);
    let follow = follow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let follow = Running::new(follow);
    let note = || fs::read(follower.path("copy/note")).unwrap_or_default();
    wait_until(HANGS, "the clone", || follower.path("copy/a/file").exists());
    signal(world.node.child(), "-STOP");
    // Whoever comes now gives up, and says so.
    let clone = ["--json", "clone", &link, "copy", "--peer", &address, "--wait", "1s"];
    let output = hasty.run(clone);
    assert_exit(&output, 5);
    assert!(String::from_utf8_lossy(&output.stderr).contains("E-NOPEERS"));
    // What its writer does meanwhile is there for everybody once it is awake.
    write(&world.writer.path("source"), b"note", b"new");
    let sharer = world.writer.share(&world.writer.path("source"), &["--peer", &address]);
    signal(world.node.child(), "-CONT");
    wait_until(HANGS, "the change", || note() == b"new");
    drop(sharer);
    assert_exit(&hasty.run(["clone", &link, "copy", "--peer", &address]), 0);
    assert_eq!(tree(&hasty.path("copy")), tree(&world.writer.path("source")));
    follow.signal("-TERM");
    assert_exit(&follow.finish(HANGS).output, 0);
}

#[tokio::test]
#[ignore = "takes minutes; see the head of this file"]
async fn thousands_that_come_and_go_leave_nothing_behind() {
    stays_flat(600).await;
}

#[test]
#[ignore = "takes minutes; see the head of this file"]
fn in_minutes_of_nothing_it_takes_no_processor() {
    takes_no_processor(Duration::from_secs(120), 100);
}

#[tokio::test]
#[ignore = "takes minutes; see the head of this file"]
async fn who_slept_for_minutes_goes_on() {
    goes_on_after(Duration::from_secs(150)).await;
}
