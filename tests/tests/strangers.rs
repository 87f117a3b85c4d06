//! Strangers who break the protocol with streams and connections, over real sockets, against a node as the binary makes it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use datnode::engine::{Hub, Network, NetworkOptions};
use datnode::swarm::limits::{STREAM_TURN, STREAMS_AT_ONCE};
use datnode::swarm::listen_addresses_for;
use datnode_tests::hostile::Raw;
use futures::AsyncWriteExt as _;
use libp2p::Multiaddr;
use libp2p::core::muxing::SubstreamBox;
use libp2p::identity::Keypair;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);
/// No frame: it would be too long.
const MALFORMED: [u8; 8] = [0xff; 8];

/// A node without a drive, and where it listens by TCP.
struct Node {
    _network: Network,
    _folder: TempDir,
    address: Multiaddr,
}

impl Node {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = NetworkOptions {
            external: Vec::new(),
            listen: listen_addresses_for(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            ports_fixed: false,
            peers: Vec::new(),
            lan: false,
            dht: false,
            bootstrap: Vec::new(),
            ipfs: Vec::new(),
            public: false,
            exchange: false,
            relays: false,
            upnp: false,
            data: folder.path().to_owned(),
            run: folder.path().to_owned(),
        };
        let (hub, driver) = Hub::new([0; 32]);
        tokio::spawn(driver);
        let network = Network::start(&hub, &options).await.unwrap();
        let addresses = network.local_addresses().into_iter();
        let address = addresses.into_iter().find(|at| at.to_string().contains("/tcp/")).unwrap();
        Self { _network: network, _folder: folder, address }
    }

    async fn connect(&self, identity: &Keypair) -> Raw {
        Raw::connect(&self.address, identity).await.unwrap()
    }

    /// Tells whether somebody gets in: connected, and given a stream.
    async fn admits(&self, identity: &Keypair) -> bool {
        // Who is turned away learns it after its own part of the handshake.
        let Ok(connection) = Raw::connect(&self.address, identity).await else { return false };
        let begins = connection.begins();
        timeout(HANGS, begins).await.expect("either comes soon")
    }
}

/// Offends again and again until the node turns it away: each time that is for longer, so that it is seen at last.
async fn until_turned_away<F>(node: &Node, who: &Keypair, offend: F)
where
    F: AsyncFn(&Raw, SubstreamBox),
{
    let turned_away = async {
        while let Ok(connection) = Raw::connect(&node.address, who).await {
            let Ok(session) = connection.begin().await else { break };
            offend(&connection, session).await;
            connection.gone().await;
        }
    };
    timeout(HANGS, turned_away).await.expect("it is turned away");
}

#[tokio::test]
async fn a_malformed_frame_ends_the_connection_and_keeps_its_sender_out_and_nobody_else() {
    let node = Node::new().await;
    let (bad, good) = [(); 2].map(|()| Keypair::generate_ed25519()).into();
    assert!(node.admits(&good).await && node.admits(&bad).await);
    until_turned_away(&node, &bad, async |_, mut session| {
        // An error means that it was thrown out meanwhile.
        let _ = session.write_all(&MALFORMED).await;
        let _ = session.flush().await;
    })
    .await;
    assert!(node.admits(&good).await);
    let forgiven = async { while !node.admits(&bad).await {} };
    timeout(HANGS, forgiven).await.expect("it is forgiven in the end");
}

#[tokio::test]
async fn a_second_stream_of_a_session_ends_the_connection_and_keeps_its_sender_out() {
    let node = Node::new().await;
    let (bad, good) = [(); 2].map(|()| Keypair::generate_ed25519()).into();
    until_turned_away(&node, &bad, async |connection, _first| {
        let _ = connection.begin().await;
    })
    .await;
    assert!(node.admits(&good).await);
}

#[tokio::test]
async fn streams_for_what_nobody_speaks_are_taken_one_after_the_other() {
    let node = Node::new().await;
    let connection = node.connect(&Keypair::generate_ed25519()).await;
    let (many, started) = (STREAMS_AT_ONCE + 400, Instant::now());
    for _ in 0..many {
        connection.ask_for(b"/nonsense").await.unwrap();
    }
    // All beyond the first ones had their turn, but for those that time paid for, four a second.
    let least = STREAM_TURN * 300;
    assert!(started.elapsed() >= least, "{:?}", started.elapsed());
}
