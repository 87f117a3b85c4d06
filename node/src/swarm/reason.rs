//! Why a dial failed, in words for people.

use std::error::Error;
use std::io;

use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::DialError;

use super::limits;

/// Returns a short sentence about a failed dial, without a full stop.
pub(super) fn of_dial(error: &DialError) -> String {
    match error {
        DialError::LocalPeerId { address } => format!("{address} is this node itself"),
        DialError::NoAddresses => "there is no address to dial but our own".to_owned(),
        DialError::WrongPeerId { obtained, address } => {
            format!("at {address} is another node, {obtained}")
        }
        DialError::Denied { cause } => innermost(cause),
        DialError::Transport(errors) => {
            let all: Vec<String> = errors
                .iter()
                .map(|(address, error)| format!("{}: {}", bare(address), of_transport(error)))
                .collect();
            all.join("; ")
        }
        DialError::Aborted => "given up".to_owned(),
        DialError::DialPeerConditionFalse(_) => "connected already".to_owned(),
    }
}

pub(super) fn of_transport(error: &TransportError<io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "this kind of address is not supported".into(),
        TransportError::Other(error) => of_io(error),
    }
}

/// Returns an address without the peer id, which would only make the line long.
fn bare(address: &Multiaddr) -> Multiaddr {
    let peer = |part: &Protocol<'_>| matches!(part, Protocol::P2p(_));
    address.iter().filter(|part| !peer(part)).collect()
}

fn of_io(error: &io::Error) -> String {
    let text = innermost(error);
    match kind(error) {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "not reachable from here".into()
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
            "it closed the connection".into()
        }
        // What the negotiation says when the stream just ends.
        _ if text.contains("negotiation failed") => {
            "it ended the handshake (it may be full, or speak something else)".into()
        }
        _ if text.to_lowercase().contains("timeout")
            || text.to_lowercase().contains("timed out") =>
        {
            format!("no answer within {} s", limits::HANDSHAKE.as_secs())
        }
        _ => text,
    }
}

/// Returns whether an address or port is in use already.
pub(super) fn is_in_use(error: &io::Error) -> bool {
    kind(error) == io::ErrorKind::AddrInUse
}

/// Returns what the system said, below all that the library wrapped around it.
///
/// Some of its wrappers show their inside only in their text, which ends in "(os error N)" then.
fn kind(error: &io::Error) -> io::ErrorKind {
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return kind(inner);
    }
    let text = innermost(error);
    let code = text.rsplit_once("(os error ").and_then(|(_, end)| end.strip_suffix(')'));
    match code.and_then(|code| code.parse().ok()) {
        Some(code) => io::Error::from_raw_os_error(code).kind(),
        None => error.kind(),
    }
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    loop {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        error = match (wrapped, error.source()) {
            (Some(inner), _) => inner,
            (None, Some(source)) => source,
            (None, None) => return error.to_string(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_error_of_the_system_is_found() {
        let wrapped = io::Error::other(io::Error::other(io::Error::from_raw_os_error(98)));
        assert!(is_in_use(&wrapped));
        let refused = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(of_io(&refused), "connection refused");
        let shown = io::Error::other("reach: Connection refused (os error 111)");
        assert_eq!(of_io(&shown), "connection refused");
    }
}
