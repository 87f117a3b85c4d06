//! What those hear who lead to a drive and do not know its key: what it is called among strangers, and never the key.
//!
//! Elsewhere: what is said in a session before both have shown that they know the key (`secrets`, `proto`).

#![expect(clippy::print_stderr, reason = "a test that is skipped says why")]

use std::io::{self, BufRead as _, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use datnode::swarm::IDENTIFY;
use datnode::swarm::dht::PROTOCOL;
use datnode_feed::PublicKey;
use datnode_tests::hostile::Goods;
use datnode_tests::network::{Joined, MDNS, Network};
use datnode_tests::process::{Running, finish, wait_until};
use datnode_tests::spelled::tells;
use datnode_tests::{Sharer, User, assert_exit, noise, write};
use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt as _, StreamExt as _};
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, SwarmBuilder, identify, kad, tcp, tls, yamux};

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);

/// What came by each connection, one after the other.
type Heard = Arc<Mutex<Vec<Arc<Mutex<Vec<u8>>>>>>;

/// TLS, of which all is written down that comes, once it is decrypted.
#[derive(Clone)]
struct Tapped {
    tls: tls::Config,
    heard: Heard,
}

/// A connection of which that is so.
struct Tap<S> {
    stream: S,
    heard: Arc<Mutex<Vec<u8>>>,
}

type Secured<C> = Result<(PeerId, Tap<tls::TlsStream<C>>), tls::UpgradeError>;

impl Tapped {
    async fn tap<C>(
        heard: Heard,
        secured: impl Future<Output = Result<(PeerId, tls::TlsStream<C>), tls::UpgradeError>>,
    ) -> Secured<C> {
        let (peer, stream) = secured.await?;
        let own = Arc::default();
        heard.lock().unwrap().push(Arc::clone(&own));
        Ok((peer, Tap { stream, heard: own }))
    }
}

impl UpgradeInfo for Tapped {
    type Info = <tls::Config as UpgradeInfo>::Info;
    type InfoIter = <tls::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.tls.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Tapped {
    type Output = (PeerId, Tap<tls::TlsStream<C>>);
    type Error = tls::UpgradeError;
    type Future = BoxFuture<'static, Secured<C>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        Self::tap(self.heard, self.tls.upgrade_inbound(socket, info)).boxed()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Tapped {
    type Output = (PeerId, Tap<tls::TlsStream<C>>);
    type Error = tls::UpgradeError;
    type Future = BoxFuture<'static, Secured<C>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        Self::tap(self.heard, self.tls.upgrade_outbound(socket, info)).boxed()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.heard.lock().unwrap().extend(&buffer[..count]);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}

#[derive(NetworkBehaviour)]
struct Protocols {
    kad: kad::Behaviour<MemoryStore>,
    identify: identify::Behaviour,
}

fn protocols(key: &Keypair) -> Protocols {
    let local = key.public().to_peer_id();
    let mut kad =
        kad::Behaviour::with_config(local, MemoryStore::new(local), kad::Config::new(PROTOCOL));
    kad.set_mode(Some(kad::Mode::Server));
    let identify = identify::Config::new(IDENTIFY.to_owned(), key.public());
    Protocols { kad, identify: identify::Behaviour::new(identify) }
}

/// A node that serves the table on loopback, and writes down all that is said to it.
struct Guide {
    address: String,
    heard: Heard,
}

impl Guide {
    fn start() -> Self {
        let heard = Heard::default();
        let (tell, told) = std::sync::mpsc::channel();
        let taps = Arc::clone(&heard);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Self::serve(taps, tell));
        });
        Self { address: told.recv_timeout(HANGS).unwrap(), heard }
    }

    async fn serve(heard: Heard, tell: std::sync::mpsc::Sender<String>) {
        let tapped = |key: &Keypair| tls::Config::new(key).map(|tls| Tapped { tls, heard });
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), tapped, yamux::Config::default)
            .unwrap()
            .with_behaviour(protocols)
            .unwrap()
            .build();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                let address = address.with_p2p(*swarm.local_peer_id()).unwrap();
                let _ = tell.send(address.to_string());
            }
        }
    }

    /// Returns what was said, each connection by itself.
    fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().iter().map(|one| one.lock().unwrap().clone()).collect()
    }

    /// Has a command look for peers by this node.
    fn lead(&self, mut command: Command) -> Command {
        command.env("DATNODE_DISCOVER", "dht").env("DATNODE_BOOTSTRAP", &self.address);
        command
    }
}

fn source(writer: &User) {
    write(&writer.path("source"), b"a/file", &noise(1, 100_000));
}

/// Returns the keys of the feeds of a drive that somebody has a copy of.
fn keys(reader: &User) -> [PublicKey; 2] {
    let goods = Goods::of_clone(&reader.path("copy"));
    [0, 1].map(|feed| goods.key(feed))
}

fn run(mut command: Command) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_exit(&finish(child, HANGS).output, 0);
}

#[test]
fn who_serves_the_table_hears_what_a_drive_is_called_and_not_its_key() {
    let (guide, [writer, reader]) = (Guide::start(), [(); 2].map(|()| User::new()));
    source(&writer);
    let sharer = Sharer::start(guide.lead(writer.command(["--json", "share", "source"])));
    let clone = ["clone", sharer.link(), "copy", "--peer", sharer.address()];
    run(guide.lead(reader.command(clone)));
    let keys = keys(&reader);
    // Who looks on and on asks for it in the end, as who offers it says so.
    let looking = ["clone", "--live", sharer.link(), "other"];
    let mut looking = guide.lead(reader.command(looking));
    let _looking = Running::new(looking.stderr(Stdio::null()).spawn().unwrap());
    let is_told = |said: &Vec<u8>| keys.iter().any(|key| tells(said, key.as_bytes()));
    let is_called = |said: &Vec<u8>| tells(said, &keys[0].discovery().0);
    wait_until(HANGS, "the question and the offer", || {
        guide.heard().iter().filter(|said| is_called(said) || is_told(said)).count() >= 2
    });
    let told = guide.heard().into_iter().find(is_told);
    assert!(told.is_none(), "{}", told.unwrap().escape_ascii());
}

/// What one computer of a network hears that is said to all.
struct Listener {
    _program: Running,
    packets: io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Listener {
    fn start(network: &Network, computer: usize, address: &str) -> Self {
        let mut program = network.program(computer, env!("CARGO_BIN_EXE_overhear"));
        let mut child: Child = program.arg(address).stdout(Stdio::piped()).spawn().unwrap();
        let packets = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut listener = Self { _program: Running::new(child), packets };
        assert!(listener.next().is_empty(), "it listens");
        listener
    }

    /// Returns the next packet.
    fn next(&mut self) -> Vec<u8> {
        serde_json::from_str(&self.packets.next().unwrap().unwrap()).unwrap()
    }
}

#[test]
fn who_is_on_the_local_network_hears_nodes_and_not_the_keys_of_their_drives() {
    let network = Network::new(3, Joined::Switch).map_err(|why| eprintln!("skipped: {why}"));
    let Ok(network) = network else { return };
    let mut listener = Listener::start(&network, 2, "10.77.0.3");
    let [writer, reader] = [(); 2].map(|()| User::new());
    source(&writer);
    let sharer = network.share(0, &writer, &["source"]);
    run(network.command(1, &reader, &["clone", sharer.link(), "copy"]));
    let keys = keys(&reader);
    // Who says it aloud is heard, which ends what was said before.
    let (link, port) = (sharer.link().as_bytes(), MDNS.port());
    let aloud = format!("printf %s {} > /dev/udp/10.77.0.3/{port}", sharer.link());
    assert!(network.program(1, "bash").args(["-c", &aloud]).status().unwrap().success());
    let packets = std::iter::from_fn(|| Some(listener.next()));
    let packets: Vec<_> = packets.take_while(|packet| packet != link).collect();
    let is_told = |packet: &[u8]| keys.iter().any(|key| tells(packet, key.as_bytes()));
    assert!(is_told(link) && !packets.iter().any(|packet| is_told(packet)), "{packets:?}");
    let node = sharer.address().rsplit('/').next().unwrap();
    let names = |packet: &&Vec<u8>| packet.windows(node.len()).any(|at| at == node.as_bytes());
    assert!(packets.iter().any(|packet| names(&packet)), "{} packets", packets.len());
}
