//! The transport on loopback: sessions, frames, refusals, reconnects.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use datnode::pool::Pool;
use datnode::swarm::frames::{FrameError, FrameReader, FrameWriter};
use datnode::swarm::{
    Channel, Closed, DialFailed, Session, Swarm, SwarmConfig, SwarmError, SwarmEvent, limits,
    listen_addresses_for, start,
};
use datnode_proto::limits::PAYLOAD_BYTES_MAX;
use datnode_proto::wire::Frame;
use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, SwarmBuilder, ping, tcp, tls, yamux};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A test that takes this long hangs.
const DEADLINE: Duration = Duration::from_secs(60);

struct Node {
    swarm: Swarm,
    events: Receiver<SwarmEvent>,
    driver: JoinHandle<()>,
}

impl Node {
    async fn new() -> Self {
        Self::with(config()).await
    }

    async fn with(config: SwarmConfig) -> Self {
        let (swarm, events, driver) = start(config).unwrap();
        let driver = tokio::spawn(driver);
        within(swarm.listening()).await;
        Self { swarm, events, driver }
    }

    fn peer(&self) -> PeerId {
        self.swarm.local_peer_id()
    }

    fn tcp(&self) -> Multiaddr {
        self.address(|part| matches!(part, Protocol::Tcp(_)))
    }

    fn quic(&self) -> Multiaddr {
        self.address(|part| matches!(part, Protocol::QuicV1))
    }

    fn address(&self, has: impl Fn(&Protocol<'_>) -> bool) -> Multiaddr {
        let addresses = self.swarm.dialable_addresses();
        addresses.into_iter().find(|address| address.iter().any(|part| has(&part))).unwrap()
    }

    async fn event(&mut self) -> SwarmEvent {
        loop {
            match within(self.events.recv()).await.expect("the swarm runs") {
                SwarmEvent::Listening(_) | SwarmEvent::Reached { .. } => {}
                event => return event,
            }
        }
    }

    async fn session(&mut self) -> Session {
        match self.event().await {
            SwarmEvent::Session(session) => session,
            other => panic!("no session but {other:?}"),
        }
    }

    /// Returns the next session of a kept peer. Dials may fail before; each says when the next one is.
    async fn session_at_last(&mut self) -> Session {
        loop {
            match self.event().await {
                SwarmEvent::Session(session) => return session,
                SwarmEvent::DialFailed(failed) => assert!(failed.retry_in.is_some(), "{failed:?}"),
                other => panic!("no session but {other:?}"),
            }
        }
    }

    async fn closed(&mut self) -> Closed {
        match self.event().await {
            SwarmEvent::Closed(closed) => closed,
            other => panic!("not closed but {other:?}"),
        }
    }

    async fn failed(&mut self) -> DialFailed {
        match self.event().await {
            SwarmEvent::DialFailed(failed) => failed,
            other => panic!("not failed but {other:?}"),
        }
    }

    async fn close(self) {
        self.swarm.close().await;
        within(self.driver).await.unwrap();
    }
}

fn config() -> SwarmConfig {
    SwarmConfig::new(Keypair::generate_ed25519(), listen_addresses_for(LOOPBACK, 0))
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it takes too long")
}

fn frame(header: &[u8], payload: usize) -> Frame {
    let payload: Vec<u8> = (0..payload).map(|at| (at ^ (at >> 8)) as u8).collect();
    Frame { header: header.to_vec(), payload: payload.into() }
}

/// Sends frames both ways at once, and compares what arrives.
async fn exchange(one: Session, two: Session, frames: &[Frame]) {
    let side = |session: Session| {
        let (reader, writer) = tokio::io::split(session.stream);
        let (mut reader, mut writer) =
            (FrameReader::new(reader, Pool::default()), FrameWriter::new(writer));
        async move {
            let write = async {
                for frame in frames {
                    writer.write(frame).await.unwrap();
                }
                writer.flush().await.unwrap();
            };
            let read = async {
                for frame in frames {
                    assert!(reader.read().await.unwrap().unwrap() == *frame);
                }
            };
            tokio::join!(write, read);
            writer.close().await.unwrap();
            assert!(reader.read().await.unwrap().is_none(), "the stream ends after its frames");
        }
    };
    within(async { tokio::join!(side(one), side(two)) }).await;
}

#[tokio::test]
async fn two_nodes_exchange_frames_over_tcp_and_over_quic() {
    let over: [fn(&Node) -> Multiaddr; 2] = [Node::tcp, Node::quic];
    for address in over {
        let (mut near, mut far) = (Node::new().await, Node::new().await);
        near.swarm.dial(vec![address(&far)]).await;
        let (one, two) = (near.session().await, far.session().await);
        assert!(one.outbound && !two.outbound);
        assert_eq!((one.peer, two.peer), (far.peer(), near.peer()));
        assert_eq!(one.address.clone().with_p2p(far.peer()).unwrap(), address(&far));
        let frames = [0, 10, 70_000, PAYLOAD_BYTES_MAX].map(|len| frame(b"header", len));
        exchange(one, two, &frames).await;
        assert_eq!(near.closed().await.peer, far.peer());
        assert_eq!(far.closed().await.peer, near.peer());
    }
}

#[tokio::test]
async fn many_large_payloads_arrive_intact() {
    let (mut near, mut far) = (Node::new().await, Node::new().await);
    near.swarm.dial(far.swarm.dialable_addresses()).await;
    let (one, two) = (near.session().await, far.session().await);
    let frames: Vec<Frame> =
        (0..64_u8).map(|at| frame(&[at; 100], 500_000 + usize::from(at))).collect();
    exchange(one, two, &frames).await;
}

#[tokio::test]
async fn tcp_is_taken_when_both_are_there() {
    let (mut near, mut far) = (Node::new().await, Node::new().await);
    near.swarm.dial(vec![far.quic(), far.tcp()]).await;
    let session = near.session().await;
    assert!(session.address.iter().any(|part| matches!(part, Protocol::Tcp(_))));
    drop(far.session().await);
}

#[tokio::test]
async fn an_address_without_a_peer_id_is_enough() {
    let (mut near, mut far) = (Node::new().await, Node::new().await);
    near.swarm.dial(far.swarm.listen_addresses()).await;
    assert_eq!(near.session().await.peer, far.peer());
    far.session().await;
}

#[tokio::test]
async fn quic_is_taken_when_tcp_is_refused() {
    let (mut near, mut far) = (Node::new().await, Node::new().await);
    let closed: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    near.swarm.dial(vec![closed, far.quic()]).await;
    let session = near.session().await;
    assert!(session.address.iter().any(|part| matches!(part, Protocol::QuicV1)));
    far.session().await;
}

/// Follows a node's events until it has a session that answers.
async fn settled(node: &mut Node, word: &[u8; 4]) -> (Session, usize) {
    let mut begun = 0;
    let mut current = None;
    loop {
        if current.is_none() {
            match node.event().await {
                SwarmEvent::Session(session) => {
                    begun += 1;
                    current = Some(session);
                }
                other => panic!("no session but {other:?}"),
            }
        }
        let Some(session) = &mut current else { continue };
        let mut answer = [0; 4];
        let talk = async {
            session.stream.write_all(word).await?;
            session.stream.flush().await?;
            session.stream.read_exact(&mut answer).await
        };
        if within(talk).await.is_ok() {
            let session = current.take().expect("it was there a moment ago");
            return (session, begun);
        }
        let ended = session.id;
        current = None;
        assert_eq!(node.closed().await.session, ended);
    }
}

#[tokio::test]
async fn dials_at_the_same_moment_end_in_one_session() {
    for round in 0..60 {
        let (mut one, mut two) = (Node::new().await, Node::new().await);
        let over: fn(&Node) -> Multiaddr = if round % 2 == 0 { Node::tcp } else { Node::quic };
        let (to_one, to_two) = (vec![over(&one)], vec![over(&two)]);
        tokio::join!(one.swarm.dial(to_two), two.swarm.dial(to_one));
        let (first, second) = tokio::join!(settled(&mut one, b"ping"), settled(&mut two, b"ping"));
        let ((first, begun), (second, also)) = (first, second);
        assert!(begun <= 2 && also <= 2, "round {round}: {begun} and {also} sessions");
        assert_ne!(first.outbound, second.outbound, "round {round}: two connections");
        // Whatever else was under way between them must leave this session alone.
        exchange(first, second, &[frame(b"still here", 1_000)]).await;
        one.closed().await;
        two.closed().await;
    }
}

#[tokio::test]
async fn dialing_a_connected_peer_changes_nothing() {
    let (mut near, mut far) = (Node::new().await, Node::new().await);
    near.swarm.dial(vec![far.tcp()]).await;
    let (one, two) = (near.session().await, far.session().await);
    near.swarm.dial(vec![far.quic()]).await;
    near.swarm.dial(far.swarm.listen_addresses()).await;
    far.swarm.dial(vec![near.tcp()]).await;
    exchange(one, two, &[frame(b"still here", 1_000)]).await;
    assert_eq!(near.closed().await.peer, far.peer());
}

#[tokio::test]
async fn another_peer_at_the_address_is_a_failure() {
    let (mut near, far) = (Node::new().await, Node::new().await);
    for address in [far.tcp(), far.quic()] {
        let stranger = PeerId::random();
        let mut wrong = address;
        wrong.pop();
        let wrong = wrong.with_p2p(stranger).unwrap();
        near.swarm.dial(vec![wrong.clone()]).await;
        let failed = near.failed().await;
        assert_eq!((failed.peer, failed.addresses), (Some(stranger), vec![wrong]));
        assert!(failed.reason.contains(&far.peer().to_string()), "{}", failed.reason);
        assert_eq!(failed.retry_in, None);
    }
}

#[tokio::test]
async fn another_peer_at_one_address_does_not_hide_the_right_one() {
    let far = Node::new().await;
    for _ in 0..10 {
        let mut near = Node::new().await;
        // Our own address may be in a ticket: another network has the same numbers.
        let ours = [near.tcp(), near.quic()].map(|mut address| {
            address.pop();
            address.with_p2p(far.peer()).unwrap()
        });
        near.swarm.dial(ours.into_iter().chain([far.tcp()]).collect()).await;
        assert_eq!(near.session().await.peer, far.peer());
    }
}

#[tokio::test]
async fn a_closed_port_is_a_failure_with_its_reason() {
    let mut near = Node::new().await;
    near.swarm.dial(vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()]).await;
    let failed = near.failed().await;
    assert_eq!(failed.reason, "/ip4/127.0.0.1/tcp/1: connection refused");
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_a_failure_with_its_reason() {
    let mut other = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), tls::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| ping::Behaviour::default())
        .unwrap()
        .build();
    other.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let libp2p::swarm::SwarmEvent::NewListenAddr { address, .. } =
            within(other.select_next_some()).await
        {
            break address;
        }
    };
    tokio::spawn(async move {
        loop {
            other.select_next_some().await;
        }
    });
    let mut near = Node::new().await;
    near.swarm.dial(vec![address]).await;
    assert_eq!(near.failed().await.reason, "it does not speak /datnode/replicate/1");
}

#[tokio::test]
async fn dialing_ourselves_fails_once() {
    let mut near = Node::new().await;
    near.swarm.keep(Channel::Given, vec![near.tcp()]).await;
    assert_eq!(near.failed().await.retry_in, None);
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let first = Node::new().await;
    for address in [first.tcp(), first.quic()] {
        let port = address.iter().find_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        });
        let listen = listen_addresses_for(LOOPBACK, port.unwrap());
        let second = start(SwarmConfig::new(Keypair::generate_ed25519(), listen));
        assert!(
            matches!(second, Err(SwarmError::PortTaken { port: found }) if Some(found) == port)
        );
    }
}

#[tokio::test]
async fn a_dropped_stream_ends_the_session_at_both_ends() {
    let (mut near, mut far) = (Node::new().await, Node::new().await);
    near.swarm.dial(vec![far.tcp()]).await;
    let (one, mut two) = (near.session().await, far.session().await);
    let id = one.id;
    drop(one);
    assert_eq!(near.closed().await.session, id);
    let mut nothing = [0];
    assert!(!matches!(within(two.stream.read(&mut nothing)).await, Ok(1..)));
    assert_eq!(far.closed().await.session, two.id);
    // And the peers may meet again.
    near.swarm.dial(vec![far.tcp()]).await;
    exchange(near.session().await, far.session().await, &[frame(b"again", 10)]).await;
}

#[tokio::test]
async fn a_kept_peer_is_found_again_after_its_restart() {
    let far_key = Keypair::generate_ed25519();
    let mut near = Node::new().await;
    let mut far =
        Node::with(SwarmConfig::new(far_key.clone(), listen_addresses_for(LOOPBACK, 0))).await;
    let at = far.tcp();
    near.swarm.keep(Channel::Given, vec![at.clone()]).await;
    let mut session = near.session().await;
    for _ in 0..2 {
        assert_eq!(session.peer, far.peer());
        far.session().await;
        far.close().await;
        assert_eq!(near.closed().await.session, session.id);
        let mut listen = at.clone();
        listen.pop();
        far = Node::with(SwarmConfig::new(far_key.clone(), vec![listen])).await;
        session = near.session_at_last().await;
    }
    near.swarm.forget(far.peer()).await;
}

#[tokio::test]
async fn what_is_beyond_the_limit_is_refused() {
    let mut hub = Node::with(SwarmConfig { connections_inbound: 3, ..config() }).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut node = Node::new().await;
        node.swarm.dial(vec![hub.tcp()]).await;
        let sessions = (node.session().await, hub.session().await);
        kept.push((node, sessions));
    }
    let mut late = Node::new().await;
    late.swarm.dial(vec![hub.tcp()]).await;
    let failed = late.failed().await;
    assert_eq!(failed.peer, Some(hub.peer()), "{}", failed.reason);
    // A slot that becomes free is given away again.
    let (node, sessions) = kept.pop().unwrap();
    drop((node, sessions));
    hub.closed().await;
    late.swarm.keep(Channel::Given, vec![hub.tcp()]).await;
    assert_eq!(late.session_at_last().await.peer, hub.peer());
    assert_eq!(hub.session().await.peer, late.peer());
}

#[tokio::test]
async fn a_peer_that_is_known_gets_in_while_strangers_flood() {
    let mut hub = Node::with(SwarmConfig { connections_inbound: 8, ..config() }).await;
    // A peer of a drive, which was here before.
    let mut friend = Node::new().await;
    friend.swarm.dial(vec![hub.tcp()]).await;
    let sessions = (friend.session().await, hub.session().await);
    hub.swarm.know(friend.peer()).await;
    drop(sessions);
    friend.closed().await;
    hub.closed().await;
    // Strangers who take every place that they get, and come again and again for more.
    let mut flood = Vec::new();
    for _ in 0..40 {
        let node = Node::with(SwarmConfig::new(Keypair::generate_ed25519(), Vec::new())).await;
        node.swarm.keep(Channel::Given, vec![hub.tcp()]).await;
        flood.push(node);
    }
    let mut taken = Vec::new();
    while taken.len() < 8 {
        taken.push(hub.session().await);
    }
    friend.swarm.dial(vec![hub.tcp()]).await;
    assert_eq!(friend.session().await.peer, hub.peer());
    assert_eq!(hub.session().await.peer, friend.peer(), "and no stranger before it");
    // They are as many as before.
    let mut late = Node::new().await;
    late.swarm.dial(vec![hub.tcp()]).await;
    assert_eq!(late.failed().await.peer, Some(hub.peer()));
}

#[tokio::test]
async fn two_hundred_dials_in_a_burst_lose_none() {
    let burst = 200;
    let wide = SwarmConfig {
        connections_inbound: burst,
        pending_inbound: burst,
        connections: burst,
        ..config()
    };
    let mut hub = Node::with(wide).await;
    let mut nodes = Vec::new();
    for _ in 0..burst {
        let listens_nowhere = SwarmConfig::new(Keypair::generate_ed25519(), Vec::new());
        nodes.push(Node::with(listens_nowhere).await);
    }
    for node in &nodes {
        node.swarm.dial(vec![hub.tcp()]).await;
    }
    let mut sessions = Vec::new();
    for node in &mut nodes {
        sessions.push((node.session().await, hub.session().await));
    }
    let mut peers: Vec<PeerId> = sessions.iter().map(|(_, session)| session.peer).collect();
    peers.sort();
    peers.dedup();
    assert_eq!(peers.len(), nodes.len());
}

#[tokio::test]
async fn a_burst_beyond_the_pending_limit_gets_through_by_retrying() {
    let mut hub = Node::with(SwarmConfig { pending_inbound: 4, ..config() }).await;
    let mut nodes = Vec::new();
    for _ in 0..50 {
        let node = Node::with(SwarmConfig::new(Keypair::generate_ed25519(), Vec::new())).await;
        node.swarm.keep(Channel::Given, vec![hub.tcp()]).await;
        nodes.push(node);
    }
    let mut sessions = Vec::new();
    for node in &mut nodes {
        sessions.push((node.session_at_last().await, hub.session().await));
    }
}

#[tokio::test]
async fn a_malformed_prefix_is_refused() {
    let (mut near, mut far) = (Node::new().await, Node::new().await);
    near.swarm.dial(vec![far.tcp()]).await;
    let (mut one, two) = (near.session().await, far.session().await);
    one.stream.write_all(&[255; 8]).await.unwrap();
    one.stream.flush().await.unwrap();
    let mut reader = FrameReader::new(two.stream, Pool::default());
    assert!(matches!(within(reader.read()).await, Err(FrameError::Fault(_))));
}

#[tokio::test]
async fn a_caller_that_takes_no_events_loses_none() {
    let mut hub = Node::new().await;
    let mut near = Node::new().await;
    // More than the channel holds, less than what is kept in all: beyond that, dials would wait and fail.
    let rounds = limits::EVENTS_QUEUED - 10;
    for _ in 0..rounds {
        near.swarm.dial(vec![hub.tcp()]).await;
        drop(near.session().await);
        near.closed().await;
    }
    for _ in 0..rounds {
        let session = hub.session().await;
        assert_eq!(hub.closed().await.session, session.id);
    }
}
