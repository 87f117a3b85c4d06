//! Our own TCP transport among nodes that have the library's.

use std::time::Duration;

use datnode::swarm::{SwarmConfig, SwarmEvent, listen_addresses_for, start};
use libp2p::futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent as Happened;
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, noise, ping, tcp, tls, yamux};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(30);

/// What a node of the library has.
#[derive(Clone, Copy, Debug)]
enum Stock {
    Tls,
    Noise,
    Quic,
}

fn stock(kind: Stock) -> Swarm<ping::Behaviour> {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let behaviour = |_: &Keypair| ping::Behaviour::default();
    let (config, muxer) = (tcp::Config::default(), yamux::Config::default);
    match kind {
        Stock::Tls => {
            let builder = builder.with_tcp(config, tls::Config::new, muxer).unwrap();
            builder.with_behaviour(behaviour).unwrap().build()
        }
        Stock::Noise => {
            let builder = builder.with_tcp(config, noise::Config::new, muxer).unwrap();
            builder.with_behaviour(behaviour).unwrap().build()
        }
        Stock::Quic => builder.with_quic().with_behaviour(behaviour).unwrap().build(),
    }
}

/// Runs a node of the library until a ping to `peer` came back: a stream each way.
async fn pinged(mut swarm: Swarm<ping::Behaviour>, peer: PeerId) {
    loop {
        match swarm.select_next_some().await {
            Happened::Behaviour(ping::Event { peer: other, result, .. }) => {
                assert_eq!(other, peer);
                result.unwrap();
                return;
            }
            Happened::OutgoingConnectionError { error, .. } => panic!("{error}"),
            Happened::IncomingConnectionError { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

async fn listen(swarm: &mut Swarm<ping::Behaviour>, kind: Stock) -> Multiaddr {
    let address = match kind {
        Stock::Tls | Stock::Noise => "/ip4/127.0.0.1/tcp/0",
        Stock::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    swarm.listen_on(address.parse().unwrap()).unwrap();
    loop {
        if let Happened::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

#[tokio::test]
async fn nodes_of_the_library_are_understood_whoever_dials() {
    for kind in [Stock::Tls, Stock::Noise, Stock::Quic] {
        let test = async {
            they_dial(kind).await;
            we_dial(kind).await;
        };
        let done = tokio::time::timeout(HANGS, test).await;
        done.unwrap_or_else(|_| panic!("{kind:?} hangs"));
    }
}

fn node() -> (datnode::swarm::Swarm, tokio::sync::mpsc::Receiver<SwarmEvent>) {
    let listen_on = listen_addresses_for("127.0.0.1".parse().unwrap(), 0);
    let config = SwarmConfig::new(Keypair::generate_ed25519(), listen_on);
    let (ours, events, driver) = start(config).unwrap();
    tokio::spawn(driver);
    (ours, events)
}

async fn they_dial(kind: Stock) {
    let (ours, _events) = node();
    ours.listening().await;
    let is_quic = |address: &Multiaddr| address.to_string().contains("quic");
    let mut addresses = ours.dialable_addresses();
    addresses.retain(|address| is_quic(address) == matches!(kind, Stock::Quic));
    let mut theirs = stock(kind);
    theirs.dial(addresses.remove(0)).unwrap();
    pinged(theirs, ours.local_peer_id()).await;
}

async fn we_dial(kind: Stock) {
    let (ours, mut events) = node();
    let mut theirs = stock(kind);
    let (address, id) = (listen(&mut theirs, kind).await, *theirs.local_peer_id());
    tokio::spawn(async move {
        loop {
            theirs.select_next_some().await;
        }
    });
    ours.dial(vec![address.with(Protocol::P2p(id))]).await;
    loop {
        match events.recv().await.unwrap() {
            // A stream was opened, and answered in so many words.
            SwarmEvent::DialFailed(failed) => {
                assert_eq!(failed.reason, "it does not speak /datnode/replicate/1");
                assert_eq!(failed.peer, Some(id));
                return;
            }
            SwarmEvent::Session(session) => panic!("a session with {}", session.peer),
            _ => {}
        }
    }
}
