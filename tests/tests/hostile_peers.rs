//! Peers that mean harm, over real sockets, against the built binary: the work is done, or ends with the right code.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use datnode::engine::{About, Ended, Hub};
use datnode::swarm::limits::CONNECTIONS_INBOUND;
use datnode_feed::BlockIndex;
use datnode_proto::wire::{Channel, Hello, Message, PREFIX_LEN, decode, encode};
use datnode_proto::{Binding, RequestId};
use datnode_tests::hostile::{
    Acts, Asker, Burst, Goods, Hostile, Line, Raw, Source, one_byte_short, pings, push,
};
use datnode_tests::meter::thread_time;
use datnode_tests::process::{finish, memory_peak, processor_time, signal, wait_until};
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(300);

/// What a command may take, whatever its peers do, in bytes.
const MEMORY: u64 = 256 << 20;

/// How much of a flood is looked at at least, in bytes and in frames.
const FLOOD: u64 = 256 << 10;
const FLOOD_FRAMES: u64 = 60;
/// How many times as much of a processor a flood may cost as to write and read its messages: a debug build takes 400 where the sessions end and
/// begin again, a handshake each.
const FLOOD_COSTS: u32 = 2_000;

/// Tests that compare rates have this machine to themselves.
static MACHINE: RwLock<()> = RwLock::new(());

fn with_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// A drive that is shared, and its blocks for peers in this process.
struct Shared {
    writer: User,
    sharer: Sharer,
    _mirror: User,
    goods: Goods,
}

impl Shared {
    fn new(size: usize) -> Self {
        let writer = User::new();
        write(&writer.path("source"), b"large", &noise(1, size));
        (0..50).for_each(|number| {
            write(
                &writer.path("source"),
                format!("small/{number}").as_bytes(),
                &noise(number, 3_000),
            );
        });
        let sharer = writer.share(&writer.path("source"), &[]);
        let mirror = User::new();
        assert_exit(&mirror.run(["clone", sharer.ticket(), "copy"]), 0);
        let goods = Goods::of_clone(&mirror.path("copy"));
        Self { writer, sharer, _mirror: mirror, goods }
    }

    /// Starts a node that serves the drive in this way.
    fn source(&self, source: Source) -> (Hostile, Acts) {
        let (goods, acts) = (self.goods.clone(), Acts::default());
        let noted = acts.clone();
        let act = move |line| source.act(line, goods.clone(), noted.clone());
        (Hostile::listen(act), acts)
    }

    /// Starts a node that comes to the sharer, again and again, to ask in this way.
    fn asker(&self, asker: Asker, burst: Burst) -> (Hostile, Acts) {
        let (goods, acts) = (self.goods.clone(), Acts::default());
        let noted = acts.clone();
        let act = move |line| asker.act(burst, line, goods.clone(), noted.clone());
        (Hostile::attack(self.sharer.address(), act), acts)
    }

    /// Clones from the sharer; returns how long that took.
    fn clone_whole(&self) -> Duration {
        self.clone_from(&[])
    }

    /// Clones from the sharer, and from others as well; returns how long that took.
    fn clone_from(&self, others: &[&str]) -> Duration {
        let reader = User::new();
        let started = Instant::now();
        let mut command = reader.command(["clone", self.sharer.ticket(), "copy"]);
        command.args(others.iter().flat_map(|other| ["--peer", other]));
        let ended = finish(command.stderr(Stdio::piped()).spawn().unwrap(), HANGS);
        let took = started.elapsed();
        assert_exit(&ended.output, 0);
        assert!(tree(&self.writer.path("source")) == tree(&reader.path("copy")));
        assert!(ended.memory < MEMORY, "{} MiB", ended.memory >> 20);
        took
    }

    /// Asserts how much memory the sharer had at most so far.
    fn assert_memory(&self) {
        let memory = memory_peak(&self.sharer.child).unwrap();
        println!("the sharer had {} MiB at most", memory >> 20);
        assert!(memory < MEMORY, "{} MiB", memory >> 20);
    }
}

/// Speaks a newer protocol only.
async fn newer(mut line: Line) {
    let _ = line.hello(2, 3).await;
    line.until_gone().await;
}

#[test]
fn a_peer_that_speaks_a_newer_protocol_only_is_named() {
    let _turn = with_others();
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let link = user.share(&user.path("source"), &[]).link().to_owned();
    let peer = Hostile::listen(newer);
    let reader = User::new();
    let clone = ["clone", &link, "copy", "--wait", "2s", "--peer", peer.address()];
    let output = reader.run(clone);
    assert_exit(&output, 1);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error[E-VERSION]: the other side speaks a newer protocol"), "{said}");
    assert!(said.contains("it speaks version 2, this program speaks 1"), "{said}");
    let output = reader.run(["--json"].into_iter().chain(clone));
    assert_exit(&output, 1);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&"E-VERSION".into(), &1.into()));
    assert_eq!((&error["theirs"], &error["ours"]), (&"2".into(), &"1".into()));
    assert!(peer.sessions() >= 2);
}

/// Comes and goes.
async fn fleeting(mut line: Line) {
    let _ = line.hello(1, 1).await;
    let _ = line.receive().await;
}

#[test]
fn peers_that_come_and_go_keep_nobody_waiting() {
    let _turn = with_others();
    let user = User::new();
    write(&user.path("source"), b"a", b"hello");
    let link = user.share(&user.path("source"), &[]).link().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = format!("/ip4/127.0.0.1/tcp/{port}");
    let peers: Vec<_> = (0..3).map(|_| Hostile::attack(&target, fleeting)).collect();
    let reader = User::new();
    let (port, wait) = (port.to_string(), ["--wait", "2s"]);
    let clone = ["clone", &link, "copy", "--port", &port].into_iter().chain(wait);
    // How often they come meanwhile is the machine's affair; it is to be often.
    while peers.iter().map(Hostile::sessions).sum::<u64>() <= 10 {
        let child = reader.command(clone.clone()).stderr(Stdio::piped()).spawn().unwrap();
        assert_exit(&finish(child, HANGS).output, 5);
    }
}

/// Clones beside a hostile source that has its chance before the honest one says a word: until it did harm, and was thrown out
/// if it is `faulty`.
fn clone_beside(shared: &Shared, source: Source, faulty: bool) {
    let (hostile, acts) = shared.source(source);
    let done = || acts.count() > 0 && (hostile.closed() > 0 || !faulty);
    clone_once(shared, &[hostile.address()], &format!("{source:?}"), done);
}

/// Clones beside hostile sources; the honest one says no word before they are done.
fn clone_once(shared: &Shared, sources: &[&str], what: &str, done: impl FnMut() -> bool) {
    signal(&shared.sharer.child, "-STOP");
    let reader = User::new();
    let mut command = reader.command(["clone", shared.sharer.link(), "copy"]);
    let all = sources.iter().copied().chain([shared.sharer.address()]);
    command.args(all.flat_map(|address| ["--peer", address]));
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_until(HANGS, &format!("{what} and what follows"), done);
    signal(&shared.sharer.child, "-CONT");
    let ended = finish(child, HANGS);
    assert_exit(&ended.output, 0);
    assert!(tree(&shared.writer.path("source")) == tree(&reader.path("copy")), "{what}");
    println!("{what}: {} MiB at most", ended.memory >> 20);
    assert!(ended.memory < MEMORY, "{what}: {} MiB", ended.memory >> 20);
}

#[test]
fn whoever_sends_what_is_wrong_is_thrown_out_and_does_no_harm() {
    let _turn = with_others();
    let shared = Shared::new(12 << 20);
    Source::FAULTY.iter().for_each(|source| clone_beside(&shared, *source, true));
}

#[test]
fn whoever_is_tiring_does_no_harm() {
    let _turn = with_others();
    let shared = Shared::new(12 << 20);
    Source::TIRING.iter().for_each(|source| clone_beside(&shared, *source, false));
}

/// Clones from a sharer that is asked too much.
fn share_beside(shared: &Shared, asker: Asker, faulty: bool) {
    let (hostile, acts) = shared.asker(asker, Burst::WILD);
    let done = || acts.count() > 0 && (hostile.closed() > 0 || !faulty);
    wait_until(HANGS, &format!("{asker:?} and what follows"), done);
    shared.clone_whole();
}

#[test]
fn whoever_asks_too_much_is_thrown_out_and_others_are_served() {
    let _turn = with_others();
    let shared = Shared::new(12 << 20);
    Asker::FAULTY.iter().for_each(|asker| share_beside(&shared, *asker, true));
    Asker::TIRING.iter().for_each(|asker| share_beside(&shared, *asker, false));
    shared.assert_memory();
}

#[test]
fn whoever_stands_still_is_thrown_out_in_the_end_and_costs_nothing_till_then() {
    let _turn = with_others();
    let shared = Shared::new(12 << 20);
    let (started, before) = (Instant::now(), processor_time(&shared.sharer.child));
    let askers = [Asker::Deaf, Asker::Partial].map(|asker| shared.asker(asker, Burst::WILD).0);
    wait_until(HANGS, "the end", || askers.iter().all(|asker| asker.closed() > 0));
    let spent = processor_time(&shared.sharer.child) - before;
    assert!(spent < started.elapsed() / 4, "{spent:?} of {:?}", started.elapsed());
}

#[test]
fn nine_who_flood_leave_an_honest_one_its_rate() {
    let _turn = alone();
    // Those who take blocks are no flood: each gets its share, the honest one among them.
    let floods = [Asker::Opens, Asker::Haves, Asker::Cancels, Asker::Seeks, Asker::Heads];
    let idle = [Asker::Deaf, Asker::Partial, Asker::Trickle, Asker::Trickle];
    let shared = Shared::new(48 << 20);
    let (mut best, mut sent): (f64, u64) = (0.0, 0);
    for _ in 0..12 {
        let alone = shared.clone_whole();
        let kinds = floods.iter().chain(&idle);
        let askers: Vec<_> = kinds.map(|asker| shared.asker(*asker, Burst::STEADY)).collect();
        wait_until(HANGS, "nine", || askers.iter().all(|(_, acts)| acts.count() > 0));
        let count = || askers.iter().map(|(_, acts)| acts.count()).sum::<u64>();
        let (before, started) = (count(), Instant::now());
        let beside = shared.clone_whole();
        let rate = alone.as_secs_f64() / beside.as_secs_f64();
        let pace = ((count() - before) as f64 / started.elapsed().as_secs_f64()) as u64;
        // Where they had no turn on a busy machine, nothing is shown.
        if rate > best && pace > 100 {
            (best, sent) = (rate, pace);
        }
        if best >= 0.9 {
            break;
        }
    }
    // What this very machine sends is no part of what it costs to be sent that: so it is not much here. What one core takes is
    // for the example `absorb` to say.
    println!("{best:.2} of the rate alone, beside {sent} frames a second");
    assert!(best >= 0.9, "{best:.2} of the rate alone, beside {sent} frames a second");
    shared.assert_memory();
}

#[test]
fn nine_who_flood_wildly_do_not_keep_an_honest_one_from_its_work() {
    let _turn = with_others();
    let floods = [Asker::Opens, Asker::Haves, Asker::Cancels, Asker::Beyond, Asker::Heads];
    let shared = Shared::new(24 << 20);
    let kinds = floods.iter().cycle().take(9);
    let askers: Vec<_> = kinds.map(|asker| shared.asker(*asker, Burst::WILD)).collect();
    wait_until(HANGS, "nine", || askers.iter().all(|(_, acts)| acts.count() > 0));
    shared.clone_whole();
    shared.assert_memory();
}

#[test]
fn nine_hostile_sources_at_most_double_the_time() {
    let _turn = alone();
    let shared = Shared::new(96 << 20);
    let mut best = f64::MAX;
    for _ in 0..6 {
        let alone = shared.clone_whole();
        let nine = Source::NINE.map(|source| shared.source(source));
        let addresses: Vec<_> = nine.iter().map(|(hostile, _)| hostile.address()).collect();
        let beside = shared.clone_from(&addresses).as_secs_f64() / alone.as_secs_f64();
        let acted = nine.iter().filter(|(_, acts)| acts.count() > 0).count();
        println!("{beside:.2} of the time alone, beside nine of whom {acted} had their chance");
        // Where most of them came too late, nothing is shown.
        if acted > 4 {
            best = best.min(beside);
        }
        if best <= 2.0 {
            break;
        }
    }
    assert!(best <= 2.0, "{best:.2} of the time alone");
}

#[test]
fn those_who_come_and_go_or_stay_without_a_word_take_little_memory() {
    let _turn = with_others();
    let shared = Shared::new(12 << 20);
    let fleeting: Vec<_> =
        (0..3).map(|_| Hostile::attack(shared.sharer.address(), fleeting)).collect();
    let sessions = || fleeting.iter().map(Hostile::sessions).sum::<u64>();
    wait_until(HANGS, "many who come and go", || sessions() > 300);
    shared.clone_whole();
    drop(fleeting);
    // As many as are let in, but some for others: no option raises that.
    let (goods, idle) = (shared.goods.clone(), usize::try_from(CONNECTIONS_INBOUND).unwrap() - 12);
    let joined = Arc::new(AtomicUsize::new(0));
    let joins = joined.clone();
    let crowd = Hostile::crowd(shared.sharer.address(), idle, move |mut line| {
        let (goods, joins) = (goods.clone(), joins.clone());
        async move {
            let is_open = line.join(&goods).await.is_ok();
            joins.fetch_add(usize::from(is_open), Ordering::SeqCst);
            line.until_gone().await;
        }
    });
    wait_until(HANGS, "a crowd that is idle", || joined.load(Ordering::SeqCst) >= idle);
    shared.clone_whole();
    assert_eq!(crowd.closed(), 0, "they break no rule");
    shared.assert_memory();
}

/// Strangers that do not greet: each gets rid of as much as it can, and stays. They are gone when this is dropped.
struct Strangers {
    sent: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Strangers {
    /// So many come to each address of a node: with frames that lack a byte, and with pings whose answers they do not take.
    fn besiege(sharer: &Sharer, each: usize) -> Self {
        let addresses = sharer.ready["addresses"].as_array().unwrap().clone();
        let addresses = addresses.into_iter().filter_map(|address| address.as_str()?.parse().ok());
        let addresses: Vec<Multiaddr> = addresses.collect();
        let (sent, (stop, stopped)) = (Arc::new(AtomicU64::new(0)), oneshot::channel());
        let counted = sent.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let all = addresses.iter().flat_map(|address| {
                let says = [one_byte_short, pings].into_iter().cycle().take(2 * each);
                says.map(|say| stranger(address, say(), &counted))
            });
            runtime.unwrap().block_on(async {
                tokio::select! {
                    _ = futures::future::join_all(all) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { sent, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns how many bytes they got rid of.
    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Says as much as is taken, and is back when it was thrown out.
async fn stranger(address: &Multiaddr, says: Vec<u8>, sent: &AtomicU64) {
    loop {
        let identity = Keypair::generate_ed25519();
        let Ok(raw) = Raw::connect(address, &identity).await else { continue };
        let Ok(mut stream) = raw.open().await else { continue };
        push(&mut stream, &says, sent).await;
        raw.gone().await;
    }
}

#[test]
fn all_attacks_at_once_leave_a_node_its_memory_and_an_honest_one_its_work() {
    let _turn = alone();
    let shared = Shared::new(12 << 20);
    let asks = Asker::FAULTY.iter().chain(&Asker::TIRING);
    let askers: Vec<_> = asks.map(|asker| shared.asker(*asker, Burst::WILD)).collect();
    let comes_and_goes = Hostile::attack(shared.sharer.address(), fleeting);
    let strangers = Strangers::besiege(&shared.sharer, 12);
    let all_came = || {
        let acted = askers.iter().all(|(_, acts)| acts.count() > 0);
        acted && comes_and_goes.sessions() > 0 && strangers.sent() > 8 << 20
    };
    wait_until(HANGS, "all who ask", all_came);
    let kinds = Source::FAULTY.iter().chain(&Source::TIRING);
    let sources: Vec<_> = kinds.map(|source| shared.source(*source)).collect();
    let addresses: Vec<_> = sources.iter().map(|(hostile, _)| hostile.address()).collect();
    let acted = || sources.iter().filter(|(_, acts)| acts.count() > 0).count();
    clone_once(&shared, &addresses, "all of them", || acted() > sources.len() / 2);
    println!("{} of {} sources, {} askers", acted(), sources.len(), askers.len());
    shared.assert_memory();
}

/// Returns what it costs of a processor to write and read a mebibyte of small messages, and nothing else.
fn mebibyte() -> Duration {
    let message = Message::Open { channel: Channel(1), nonce: [1; 16], tag: [2; 32] };
    let (start, mut passed) = (thread_time(), 0);
    while passed < 1 << 20 {
        let header = encode(&message);
        assert_eq!(decode(&header, &[]).unwrap(), message);
        passed += PREFIX_LEN + header.len();
    }
    thread_time() - start
}

#[test]
fn what_a_flood_costs_of_a_processor_has_a_bound() {
    let _turn = alone();
    let shared = Shared::new(1 << 20);
    // Who is thrown out for the first frame costs a handshake each time, which has a pace of its own.
    let floods = [Asker::Requests, Asker::Seeks, Asker::Leaves, Asker::Haves, Asker::Cancels];
    for asker in floods.into_iter().chain([Asker::Opens, Asker::Beyond]) {
        let before = processor_time(&shared.sharer.child);
        let (hostile, acts) = shared.asker(asker, Burst::WILD);
        let much = || hostile.passed() > FLOOD && acts.count() > FLOOD_FRAMES;
        wait_until(HANGS, &format!("much of {asker:?}"), much);
        let passed = hostile.passed();
        let spent = processor_time(&shared.sharer.child) - before;
        let each = spent.mul_f64(f64::from(1 << 20) / passed as f64);
        let words = mebibyte();
        println!("{asker:?}: {each:.2?} for a mebibyte, {words:.2?} to write and read it");
        assert!(each <= words * FLOOD_COSTS, "{asker:?}: {each:?}, {words:?} of {passed} bytes");
    }
}

/// How many strangers come, one after the other, to say the same.
const STRANGERS: u64 = 500;

/// Returns what a node pays of a processor when strangers greet it, say this and go; and how many of them it found at fault.
fn cost_of(said: &[u8]) -> (Duration, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (hub, driver) = Hub::new([0; 32]);
        tokio::spawn(driver);
        let (start, mut faults) = (thread_time(), 0);
        for stranger in 0..STRANGERS {
            let (mut near, far) = tokio::io::duplex(64 << 10);
            near.write_all(said).await.unwrap();
            near.shutdown().await.unwrap();
            let (read, write) = tokio::io::split(far);
            let theirs = stranger.to_le_bytes().to_vec();
            let binding = Binding { ours: b"us".to_vec(), theirs };
            let (name, address) = (String::from("stranger"), String::from("pipe"));
            let about = About { name, address, punched: false, is_local: false };
            let ended = hub.replicate(read, write, binding, about).await;
            faults += usize::from(matches!(ended, Ended::Fault(_)));
        }
        (thread_time() - start, faults)
    })
}

#[test]
fn a_frame_that_is_none_costs_twice_what_an_honest_one_does_at_most() {
    let prefix = |header: u32, payload: u32| [header, payload].map(u32::to_le_bytes).concat();
    let bytes = |message: &Message| {
        let header = encode(message);
        [prefix(header.len() as u32, 0), header].concat()
    };
    let agent = String::from("stranger");
    let hello = Hello { version_min: 1, version_max: 1, features: 0, agent, credit: 0 };
    let hello = bytes(&Message::Hello(hello));
    let say = |frame: &[u8]| (0..3).map(|_| cost_of(&[&hello, frame].concat())).min().unwrap();
    let (honest, faults) = say(&bytes(&Message::Credit { total: 1 }));
    assert_eq!(faults, 0);
    let (channel, id, block) = (Channel(0), RequestId(1), BlockIndex(1));
    let unasked = Message::Block { channel, id, block, siblings: vec![] };
    for (what, frame) in [
        ("no message", [prefix(100, 0), noise(1, 100)].concat()),
        ("too long", prefix(u32::MAX, u32::MAX)),
        ("unasked", bytes(&unasked)),
    ] {
        let (hostile, faults) = say(&frame);
        assert_eq!(faults as u64, STRANGERS, "{what}");
        let each = hostile / STRANGERS as u32;
        println!("{what}: {each:?}, {:.2} of an honest one", hostile.div_duration_f64(honest));
        assert!(hostile <= honest * 2, "{what}: {hostile:?}, an honest one {honest:?}");
    }
}
