//! TCP, secured and carrying several streams.

use futures::io::BufWriter;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport as _, tcp};

use super::ahead::ReadAhead;
use super::brief::Brief;
use super::meter::{Metered, Turns};
use super::muxer::Mux;
use super::secure::Secure;
use crate::swarm::limits;

/// Makes the transport of a node.
pub(super) fn transport(
    identity: &Keypair,
    turns: Turns,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    let secure = Secure::new(identity)?;
    let connections = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    // A frame is many small writes of TLS, which go out as one, and reads likewise. Whoever waits for an answer flushes.
    let buffered = connections.map(|stream, point| {
        choose_congestion(&stream.0);
        let buffered = ReadAhead::new(BufWriter::with_capacity(limits::SOCKET_BUFFER, stream));
        if point.is_listener() { Brief::theirs(buffered) } else { Brief::ours(buffered) }
    });
    let connected = buffered.upgrade(Version::V1Lazy).authenticate(secure).multiplex(Mux::new());
    let metered = move |muxer| StreamMuxerBox::new(Metered::new(muxer, turns.clone()));
    Ok(connected.map(move |(peer, muxer), _| (peer, metered(muxer))).boxed())
}

/// BBR measures a path and paces itself by it, which on this very machine only costs: up to four fifths of the rate.
#[cfg(target_os = "linux")]
fn choose_congestion(stream: &tokio::net::TcpStream) {
    if stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
        // Where it may not be chosen, the system's will do.
        let _ = rustix::net::sockopt::set_tcp_congestion(stream, "cubic");
    }
}

#[cfg(not(target_os = "linux"))]
fn choose_congestion(_: &tokio::net::TcpStream) {}
