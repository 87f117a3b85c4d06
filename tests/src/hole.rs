//! Addresses where nobody says a word, each silent in a way of its own.

use std::any::Any;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use tokio::net::TcpSocket;

/// How long a connection on this computer may take; one that takes longer is not answered.
const CONNECTS: Duration = Duration::from_millis(200);
/// More connections than any queue of length one takes.
const CONNECTIONS_MAX: usize = 16;

/// An address where nobody says a word, until this is dropped.
pub struct Hole {
    address: String,
    _held: Box<dyn Any>,
}

impl Hole {
    /// Connects, and then comes nothing.
    pub fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::tcp(listener.local_addr().unwrap(), Box::new(listener))
    }

    /// Does not even connect, and refuses nothing: what is sent there is lost.
    pub fn lost() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            socket.listen(0).unwrap().into_std().unwrap()
        });
        let address = listener.local_addr().unwrap();
        // Once the queue of those who wait to be accepted is full, the system drops whoever comes.
        let mut waiting = Vec::new();
        loop {
            match TcpStream::connect_timeout(&address, CONNECTS) {
                Ok(stream) => waiting.push(stream),
                Err(error) if error.kind() == ErrorKind::TimedOut => break,
                Err(error) => panic!("{error}"),
            }
            assert!(waiting.len() < CONNECTIONS_MAX, "the queue never fills");
        }
        Self::tcp(address, Box::new((listener, waiting)))
    }

    /// Takes datagrams, and answers none.
    pub fn deaf() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        Self { address: format!("/ip4/127.0.0.1/udp/{port}/quic-v1"), _held: Box::new(socket) }
    }

    /// Refuses whoever comes.
    pub fn closed() -> Self {
        // The port is taken, so that nobody else listens there meanwhile.
        let held = TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::tcp(held.local_addr().unwrap(), Box::new(held))
    }

    fn tcp(address: SocketAddr, held: Box<dyn Any>) -> Self {
        Self { address: format!("/ip4/127.0.0.1/tcp/{}", address.port()), _held: held }
    }

    /// Returns the address for `--peer`.
    pub fn address(&self) -> &str {
        &self.address
    }
}
