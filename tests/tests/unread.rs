//! What a crowd of strangers makes a node keep: frames that they begin and never end, and bytes that nobody reads, over real sockets,
//! against the built binary.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datnode::swarm::limits::{
    CONNECTIONS, CONNECTIONS_INBOUND, FRAMES_ALL, QUIC_SHARE, QUIC_UNREAD,
};
use datnode_tests::hostile::{Raw, one_byte_short, pings, push};
use datnode_tests::process::{finish, memory, memory_peak};
use datnode_tests::{Sharer, User, assert_exit, noise, tree, write};
use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(300);
/// Nobody of the crowd got rid of a byte for so long: it has to wait for others, or for ever.
const LULL: Duration = Duration::from_secs(2);
/// As many strangers as are let in, but some for others.
const CROWD: u64 = CONNECTIONS_INBOUND as u64 - 12;
/// What a node may take whatever its peers do, in bytes.
const MEMORY: u64 = 256 << 20;
/// What a connection takes: 100 KiB that is idle, 256 KiB for its socket, as much that yamux lets a stream hold, and a read buffer
/// (ARCHITECTURE.md, "What peers may make us remember").
const CONNECTION: u64 = 628 * KIB;
const KIB: u64 = 1 << 10;

struct Shared {
    writer: User,
    sharer: Sharer,
}

impl Shared {
    fn new() -> Self {
        let writer = User::new();
        write(&writer.path("source"), b"large", &noise(1, 4 << 20));
        let sharer = writer.share(&writer.path("source"), &[]);
        Self { writer, sharer }
    }

    /// Lets a crowd come whose members each get rid of as much as they can, at least `each` bytes on so many `places`; returns how much
    /// memory that took. Meanwhile others are served.
    async fn besiege(
        &self,
        address: Multiaddr,
        say: fn() -> Vec<u8>,
        each: u64,
        places: u64,
    ) -> u64 {
        let before = memory(&self.sharer.child).unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            // Who is turned away stays away.
            let Ok(raw) = Raw::connect(&address, &Keypair::generate_ed25519()).await else {
                continue;
            };
            let Ok(mut stream) = raw.open().await else { continue };
            let sent = sent.clone();
            crowd.push(tokio::spawn(async move {
                push(&mut stream, &say(), &sent).await;
                // All of it stays open.
                let _open = (raw, stream);
                std::future::pending::<()>().await;
            }));
        }
        let came = crowd.len() as u64;
        assert!(came > places / 2, "{came} of {places} were let in");
        let least = each * came.min(places);
        let quiet = async {
            let mut last = 0;
            while last < least || last != sent.load(Ordering::SeqCst) {
                last = sent.load(Ordering::SeqCst);
                sleep(LULL).await;
            }
            last
        };
        let sent = timeout(HANGS, quiet).await.expect("nobody gets rid of any more");
        let reader = User::new();
        let clone = reader.command(["clone", self.sharer.ticket(), "copy"]);
        let ended = tokio::task::spawn_blocking(move || finish_clone(clone)).await.unwrap();
        assert_exit(&ended, 0);
        assert!(tree(&self.writer.path("source")) == tree(&reader.path("copy")));
        let peak = memory_peak(&self.sharer.child).unwrap();
        assert!(peak < MEMORY, "{} MiB", peak >> 20);
        crowd.iter().for_each(JoinHandle::abort);
        println!("{} MiB were sent, which took {}", sent >> 20, (peak - before) >> 20);
        peak - before
    }
}

fn finish_clone(mut clone: std::process::Command) -> std::process::Output {
    finish(clone.stderr(Stdio::piped()).spawn().unwrap(), HANGS).output
}

#[tokio::test]
async fn frames_that_are_never_whole_take_no_more_than_there_is_room_for() {
    let shared = Shared::new();
    // Whoever has no room yet sends what yamux lets a stream hold.
    let took =
        shared.besiege(shared.sharer.address_with("/tcp/"), one_byte_short, 256 * KIB, CROWD).await;
    let most = FRAMES_ALL as u64 + CROWD * CONNECTION;
    assert!(took <= most, "{} of {} MiB", took >> 20, most >> 20);
}

#[tokio::test]
async fn what_nobody_reads_over_quic_has_a_bound_for_all_together() {
    let shared = Shared::new();
    // A quarter of the places is left for those whom it dials.
    let places = u64::from(CONNECTIONS) / QUIC_SHARE as u64 * 3 / 4;
    shared
        .besiege(shared.sharer.address_with("/quic-v1"), pings, QUIC_UNREAD.1.into(), places)
        .await;
}
