//! How much a node says to those who have proven nothing: no more than they said, but for its part of a handshake. Bytes are counted by
//! phase, over real sockets, against the built binary.

#![expect(clippy::print_stdout, reason = "a lane prints what it reached")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use datnode_proto::wire::{Channel, Frame, Hello, Message, PREFIX_LEN, decode, encode};
use datnode_tests::hostile::Raw;
use datnode_tests::{Sharer, User, noise, write};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::Multiaddr;
use libp2p::core::muxing::SubstreamBox;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Far longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);
/// What both sides say first to agree on a protocol.
const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";
const TLS: &[u8] = b"\x0b/tls/1.0.0\n";
/// Asks which protocols there are.
const LIST: &[u8] = b"\x03ls\n";
/// The most that a server says in a handshake before its client has proven anything: what they agree on, and of TLS once its greeting,
/// certificate and signature.
const FLIGHT: usize = 1_500;

/// A drive that is shared, and by whom.
struct Shared {
    _writer: User,
    sharer: Sharer,
}

impl Shared {
    fn new() -> Self {
        let writer = User::new();
        write(&writer.path("source"), b"a", b"hello");
        let sharer = writer.share(&writer.path("source"), &[]);
        Self { _writer: writer, sharer }
    }

    async fn connect(&self) -> Raw {
        Raw::connect(&self.sharer.address_with("/tcp/"), &Keypair::generate_ed25519())
            .await
            .unwrap()
    }
}

fn socket(address: &Multiaddr) -> SocketAddr {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    (Ipv4Addr::LOCALHOST, port.unwrap()).into()
}

/// Says something to a node and nothing more; returns everything that it says.
fn hear(node: SocketAddr, said: &[u8]) -> Vec<u8> {
    let mut speaks = TcpStream::connect(node).unwrap();
    let mut listens = speaks.try_clone().unwrap();
    listens.set_read_timeout(Some(HANGS)).unwrap();
    let hears = std::thread::spawn(move || {
        let mut heard = Vec::new();
        // It may end this in any way.
        let _ = listens.read_to_end(&mut heard);
        heard
    });
    let _ = speaks.write_all(said);
    let _ = speaks.shutdown(Shutdown::Write);
    hears.join().unwrap()
}

/// Returns what a client says first: that it wants TLS, and the first message of that.
fn first_words() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = std::thread::spawn(move || {
        let address = format!("/ip4/127.0.0.1/tcp/{}", address.port()).parse().unwrap();
        let client = Keypair::generate_ed25519();
        let dialed = Raw::connect(&address, &client);
        assert!(runtime.block_on(dialed).is_err(), "nobody answers it");
    });
    let (mut socket, _) = listener.accept().unwrap();
    let mut words = vec![0; HEADER.len() + TLS.len() + 5];
    socket.read_exact(&mut words).unwrap();
    assert!(words.starts_with(&[HEADER, TLS].concat()));
    // The length of a record is the last thing before it.
    let len = u16::from_be_bytes(words[words.len() - 2..].try_into().unwrap());
    let mut hello = vec![0; len.into()];
    socket.read_exact(&mut hello).unwrap();
    drop(socket);
    client.join().unwrap();
    [words, hello].concat()
}

#[test]
fn over_tcp_a_node_says_no_more_than_was_said_to_it_and_then_its_part_of_a_handshake() {
    let shared = Shared::new();
    let node = socket(&shared.sharer.address_with("/tcp/"));
    let words = first_words();
    let strange = b"\x02/\n".repeat(500);
    let cases: [(&str, Vec<u8>); 9] = [
        ("nothing", Vec::new()),
        ("half a header", HEADER[..10].to_vec()),
        ("a header", HEADER.to_vec()),
        ("protocols that nobody speaks", [HEADER, &strange].concat()),
        ("the question for a list", [HEADER, LIST].concat()),
        ("many such questions", [HEADER, &LIST.repeat(500)].concat()),
        ("most of a handshake", words[..words.len() - 1].to_vec()),
        ("noise", noise(1, 100_000)),
        ("a web browser's", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    for (what, said) in cases {
        let heard = hear(node, &said).len();
        println!("{what}: {heard} bytes for {}", said.len());
        assert!(heard <= said.len(), "{what}: {heard} bytes for {}", said.len());
    }
    let heard = hear(node, &words).len();
    println!("a handshake's beginning: {heard} bytes for {}", words.len());
    assert!((HEADER.len() + TLS.len() + 1..FLIGHT).contains(&heard), "{heard} bytes");
}

/// A datagram of a version of QUIC that there is not; of its answer a name is part that is its own.
fn unknown_version(name: u64) -> Vec<u8> {
    let head =
        [&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8][..], &name.to_be_bytes(), &[8], &[7; 8]].concat();
    [head, vec![0; 1_200]].concat()[..1_200].to_vec()
}

#[tokio::test]
async fn over_quic_a_node_answers_those_who_may_be_somebody_else_with_three_times_as_much_at_most()
{
    let shared = Shared::new();
    let node = socket(&shared.sharer.address_with("/quic-v1"));
    let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ours.connect(node).await.unwrap();
    // A client's words pass until the node answers the first time, which nobody tells the client.
    let between = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = between.local_addr().unwrap().port();
    let address: Multiaddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap();
    let client = Keypair::generate_ed25519();
    let mut dialed = std::pin::pin!(Raw::connect(&address, &client));
    let (mut said, mut heard, mut datagrams) = (0, 0, 0);
    let (mut words, mut answer) = ([0; 2_048], [0; 2_048]);
    loop {
        tokio::select! {
            connected = &mut dialed => {
                assert!(connected.is_err(), "nobody tells it anything");
                break;
            }
            len = between.recv(&mut words) => {
                if heard == 0 {
                    said += ours.send(&words[..len.unwrap()]).await.unwrap();
                }
            }
            len = ours.recv(&mut answer) => {
                heard += len.unwrap();
                datagrams += 1;
                assert!(heard <= 3 * said, "{heard} bytes for {said}");
            }
        }
    }
    println!("a handshake's beginning: {heard} bytes in {datagrams} datagrams for {said}");
    assert!(heard > said && datagrams > 1, "it answers, and tries again");
}

#[tokio::test]
async fn over_quic_what_begins_no_handshake_is_answered_by_less() {
    let shared = Shared::new();
    let node = socket(&shared.sharer.address_with("/quic-v1"));
    let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    ours.connect(node).await.unwrap();
    let known_version = |mut bytes: Vec<u8>| {
        bytes[1..5].copy_from_slice(&[0, 0, 0, 1]);
        bytes
    };
    let of_a_connection = |len: usize| [&[0x40], &noise(len as u64, len - 1)[..]].concat();
    let mut cases: Vec<_> = (1..=64).chain([100, 500, 1_200]).map(of_a_connection).collect();
    cases.extend((1..=1_200).step_by(37).map(|len| noise(len as u64, len)));
    cases.extend((1..=1_200).step_by(37).map(|len| unknown_version(0)[..len].to_vec()));
    cases.push(known_version(unknown_version(0)));
    let mut answer = [0; 2_048];
    for (number, said) in (1_u64..).zip(&cases) {
        ours.send(said).await.unwrap();
        // It answers in order, so that whatever it says to this comes before what it says to a version that there is not.
        ours.send(&unknown_version(number)).await.unwrap();
        let heard = async {
            let mut heard = 0;
            loop {
                let len = ours.recv(&mut answer).await.unwrap();
                if answer[..len].windows(8).any(|part| part == number.to_be_bytes()) {
                    assert!(len <= 1_200, "{len}");
                    return heard;
                }
                heard += len;
            }
        };
        let heard = timeout(HANGS, heard).await.expect("an unknown version is answered");
        assert!(heard <= said.len(), "{heard} bytes for {}", said.len());
    }
}

/// Reads a frame; returns its message and how long it was.
async fn frame(stream: &mut SubstreamBox) -> (Message, usize) {
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await.unwrap();
    let len = |at: usize| u32::from_le_bytes(prefix[at..at + 4].try_into().unwrap()) as usize;
    let (mut header, mut payload) = (vec![0; len(0)], vec![0; len(4)]);
    stream.read_exact(&mut header).await.unwrap();
    stream.read_exact(&mut payload).await.unwrap();
    let message = decode(&header, &Bytes::from(payload)).unwrap();
    (message, PREFIX_LEN + len(0) + len(4))
}

fn bytes(message: &Message) -> Vec<u8> {
    let frame = Frame { header: encode(message), payload: Bytes::new() };
    [&frame.prefix(), &frame.header[..]].concat()
}

#[tokio::test]
async fn who_knows_no_key_hears_no_more_than_it_said_and_a_greeting() {
    const MANY: u8 = 100;
    let shared = Shared::new();
    // Whoever greets hears a greeting, and that there are two feeds.
    let (version_min, version_max, features, agent) = (1, 1, u64::MAX, String::new());
    let hello =
        Message::Hello(Hello { version_min, version_max, features, agent, credit: u64::MAX });
    let connection = shared.connect().await;
    let mut stream = connection.begin().await.unwrap();
    let mut said = bytes(&hello);
    said.extend((0..MANY).flat_map(|number| {
        let (channel, nonce, tag) = (Channel(number.into()), [3; 16], [number; 32]);
        bytes(&Message::Open { channel, nonce, tag })
    }));
    stream.write_all(&said).await.unwrap();
    stream.flush().await.unwrap();
    let (mut heard, mut greeting, mut rejected) = (0, 0, 0);
    while rejected < MANY {
        match timeout(HANGS, frame(&mut stream)).await.expect("it answers") {
            (Message::Hello(_) | Message::Open { .. }, len) => greeting += len,
            (Message::Reject { .. }, len) => (heard, rejected) = (heard + len, rejected + 1),
            (other, _) => panic!("{other:?}"),
        }
    }
    println!("{heard} bytes for {}, and {greeting} of its own", said.len());
    assert!(heard <= said.len(), "{heard} bytes for {}", said.len());
    assert!(greeting <= 3 * said.len() / usize::from(MANY) + 128, "{greeting} bytes of its own");
}

#[tokio::test]
async fn on_a_stream_nobody_hears_more_than_it_said_before_a_protocol_is_agreed_on() {
    let shared = Shared::new();
    let strange = b"\x02/\n".repeat(500);
    for (what, said) in [
        ("a header", HEADER.to_vec()),
        ("protocols that nobody speaks", [HEADER, &strange].concat()),
        ("the question for a list", [HEADER, LIST].concat()),
        ("many such questions", [HEADER, &LIST.repeat(500)].concat()),
    ] {
        let connection = shared.connect().await;
        let mut stream = connection.open().await.unwrap();
        stream.write_all(&said).await.unwrap();
        stream.flush().await.unwrap();
        let _ = stream.close().await;
        let mut heard = Vec::new();
        // It may end this in any way.
        let _ = timeout(HANGS, stream.read_to_end(&mut heard)).await.expect("it ends");
        println!("{what}: {} bytes for {}", heard.len(), said.len());
        assert!(heard.len() <= said.len(), "{what}: {} bytes for {}", heard.len(), said.len());
    }
}
