//! Whether one node can be reached, and by which way.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::super::peers::{how, short};
use super::step::Finding;
use super::words::Words;
use crate::cli::escape;
use crate::cli::units::Span;
use crate::engine::{About, PeerReport, Sought, target_of};
use crate::error::{Code, Error};

/// Who is meant.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Its address, if that was named.
    pub(super) address: Option<Multiaddr>,
    /// Its id, if that was.
    pub(super) peer: Option<PeerId>,
}

impl Wanted {
    /// Understands an address or an id; nothing else is any.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(peer) = text.parse::<PeerId>() {
            return Some(Self { address: None, peer: Some(peer) });
        }
        let address: Multiaddr = text.parse().ok().filter(|_| text.starts_with('/'))?;
        let is_place = address.iter().next().is_some_and(|part| {
            use Protocol::{Dns, Dns4, Dns6, Dnsaddr, Ip4, Ip6};
            matches!(part, Ip4(_) | Ip6(_) | Dns(_) | Dns4(_) | Dns6(_) | Dnsaddr(_))
        });
        let peer = crate::swarm::peer_of(&address);
        is_place.then_some(Self { address: Some(address), peer })
    }

    /// Returns what it is called where peers are looked for.
    fn target(&self) -> Option<String> {
        let by_id = self.peer.map(|peer| peer.to_string());
        by_id.or_else(|| self.address.as_ref().map(target_of))
    }

    /// Returns what came of looking for it, if that is known.
    pub(super) fn outcome<'a>(&self, sought: &'a Sought) -> Option<Result<PeerId, &'a str>> {
        sought.outcome(&self.target()?)
    }
}

/// Says whether it was reached.
pub(super) fn sum_up(wanted: &Wanted, sought: &Sought, peers: &[PeerReport]) -> Finding {
    let failed = |says: Words, reason: &str| {
        let error = Error::new(Code::NoPeers, "the node cannot be reached");
        Finding::fail(error.context(escape::controls(reason)), says)
    };
    match wanted.outcome(sought) {
        Some(Ok(peer)) => reached(peer, sought, peers),
        Some(Err(reason)) => failed(Words::new("it cannot be reached: ").own("reason", reason), reason)
            .fix("is it running, at this address, and does a firewall or router there let others in?"),
        None if wanted.address.is_none() && sought.count() == 0 => {
            failed("no address of it is known".into(), "no address of it is known").fix(NAME_IT)
        }
        None if wanted.address.is_none() => {
            failed("it was not found".into(), "nobody who was found is this node").fix(NAME_IT)
        }
        None => failed("nothing comes back from there".into(), "nothing comes back from there")
            .fix("a firewall or router drops what is sent to it, there or here: try from another network"),
    }
}

/// What helps where nothing but an id is known.
const NAME_IT: &str = "name its address: datnode doctor /ip4/…/tcp/3282/p2p/…";

fn reached(peer: PeerId, sought: &Sought, peers: &[PeerReport]) -> Finding {
    let name = peer.to_string();
    let session = peers.iter().find(|report| report.about.name == name);
    let dialed = sought.dialed_at(&name).map(|address| About {
        name: name.clone(),
        address: address.to_string(),
        punched: false,
        is_local: false,
    });
    let about = session.map(|session| session.about.clone()).or(dialed);
    let says = Words::default().own("node", short(&name)).and(" answers");
    let path = about.map(|about| format!(" ({})", how(&about))).unwrap_or_default();
    let rtt = session.and_then(|session| session.status.rtt);
    let says = says.and(path).and(rtt.map(|rtt| format!(", {}", Span(rtt))).unwrap_or_default());
    match session {
        Some(_) => Finding::ok(says),
        None => Finding::warn(says.and(", and speaks no protocol of ours")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;
    use crate::swarm::Channel;

    const ID: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    #[test]
    fn addresses_and_ids_are_told_from_drives_and_folders() {
        let wanted = Wanted::parse(ID).unwrap();
        assert!(wanted.peer.is_some() && wanted.address.is_none());
        let wanted = Wanted::parse(&format!("/ip4/10.0.0.1/tcp/1/p2p/{ID}")).unwrap();
        assert!(wanted.peer.is_some() && wanted.address.is_some());
        assert!(Wanted::parse("/dns4/example.org/udp/1/quic-v1").is_some());
        for other in ["", ".", "flights", "/home/alice", "/ip4", "/p2p", "/unix/x", "dat1qqq"] {
            assert!(Wanted::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn silence_refusal_and_not_knowing_where_are_told_apart() {
        let (wanted, mut sought) =
            (Wanted::parse("/ip4/10.0.0.1/tcp/1").unwrap(), Sought::default());
        let says = |wanted: &Wanted, sought: &Sought| sum_up(wanted, sought, &[]).says.shown();
        let nowhere = Wanted::parse(ID).unwrap();
        assert_eq!(says(&nowhere, &sought), "no address of it is known");
        let address = wanted.address.clone().unwrap();
        sought.seek(Channel::Given, &address);
        assert_eq!(says(&wanted, &sought), "nothing comes back from there");
        assert_eq!(says(&nowhere, &sought), "it was not found");
        sought.failed(Channel::Given, std::slice::from_ref(&address), "connection refused");
        let found = sum_up(&wanted, &sought, &[]);
        assert_eq!(found.says.shown(), "it cannot be reached: connection refused");
        assert_eq!((found.verdict, found.error.unwrap().exit()), (Verdict::Fail, 5));
        sought.reached(ID.parse().unwrap(), &address);
        assert_eq!(says(&wanted, &sought), "12D3…U5SA answers, and speaks no protocol of ours");
    }
}
