//! How others reach this computer: what its NAT makes of its port, and whether somebody came through; and the way into the DHT.

use super::step::Finding;
use super::words::Words;
use crate::engine::Sought;
use crate::error::{Code, Error};
use crate::swarm::{Channel, Nat, Outside, Reach};

/// Tells whether nothing more is to be learned about the NAT.
pub(super) fn is_known(outside: &Outside) -> bool {
    let reached = matches!(outside.reach, Reach::Reachable | Reach::Punching | Reach::Outgoing);
    reached && matches!(outside.nat, Nat::None | Nat::Steady | Nat::Changing)
}

/// Says what is known of the ways to this computer.
pub(super) fn nat(outside: &Outside) -> Finding {
    const FORWARD: &str = "let others in at the router: switch UPnP on, or forward the port";
    const FIREWALL: &str = "let TCP and UDP in at this port through the firewall";
    match (outside.reach, outside.nat) {
        (Reach::Reachable, _) => Finding::ok("others reach this computer from outside"),
        (_, Nat::None) => Finding::warn("no NAT, and nobody from outside was seen to come through").fix(FIREWALL),
        (_, Nat::Steady) => Finding::warn(
            "one outside port for all: hole punching works in about 7 of 10 cases",
        )
        .fix(FORWARD),
        (_, Nat::Changing) => Finding::warn(
            "different outside ports per destination (\"symmetric\"): hole punching will often fail",
        )
        .fix(FORWARD),
        (_, Nat::Some) => {
            Finding::warn("behind a NAT; of which kind, a second node elsewhere would tell").fix(FORWARD)
        }
        (Reach::Punching, Nat::Unknown) => Finding::warn("others come by hole punching alone").fix(FORWARD),
        (_, Nat::Unknown) => Finding::skipped("nobody outside was met who could tell"),
    }
}

/// Tells whether nothing more is to be learned about the DHT.
pub(super) fn is_entered(sought: &Sought) -> bool {
    let (count, answered) = sought.of(Channel::Bootstrap);
    let failed = sought.failures_of(Channel::Bootstrap).len();
    let nodes = sought.outside().map_or(0, |outside| outside.nodes);
    answered + failed >= count && (nodes >= answered || answered == 0)
}

/// Tells whether the public IPFS DHT answers, into which so many nodes lead.
pub(super) fn is_public(sought: &Sought, ways: usize) -> bool {
    sought.outside().and_then(|outside| outside.ipfs).is_some_and(|nodes| nodes > ways)
}

/// Says whether it does.
pub(super) fn public(sought: &Sought, ways: usize) -> Finding {
    let nodes = sought.outside().and_then(|outside| outside.ipfs).unwrap_or_default();
    match is_public(sought, ways) {
        true => Finding::ok(format!("public IPFS DHT, {nodes} nodes known")),
        false => Finding::warn("nobody who leads into the public IPFS DHT answers")
            .fix("name another node of it: --public --bootstrap ADDRESS"),
    }
}

/// Says whether the DHT can be asked; `told` is how many nodes of it a process that serves knows.
pub(super) fn dht(sought: &Sought, told: Option<(i32, usize)>) -> Finding {
    let nodes = sought.outside().map_or(0, |outside| outside.nodes);
    let (count, answered) = sought.of(Channel::Bootstrap);
    let known = |nodes: usize| match nodes {
        1 => "1 node known".to_owned(),
        nodes => format!("{nodes} nodes known"),
    };
    let of_process = told.filter(|(_, nodes)| *nodes > 0);
    let elsewhere =
        "name another node that leads into the DHT: --bootstrap ADDRESS (of any `datnode node`)";
    if count == 0 {
        return match of_process {
            Some((pid, nodes)) => Finding::ok(format!("{} (process {pid})", known(nodes))),
            None => Finding::warn("no node that leads into it is known")
                .fix("--bootstrap ADDRESS (of any `datnode node`), a ticket in place of a key, or --public"),
        };
    }
    let answers = format!(
        "{answered} of {count} bootstrap {} answered",
        if count == 1 { "node" } else { "nodes" }
    );
    let says = Words::new(format!("{}, {answers}", known(nodes)));
    let mut reasons = sought.failures_of(Channel::Bootstrap);
    reasons.truncate(1);
    let says = reasons.into_iter().fold(says, |says, why| says.and(": ").own("reason", why));
    if answered == 0 || nodes == 0 {
        let error = Error::new(Code::NoPeers, "no node that leads into the DHT answers");
        return Finding::fail(error, says).fix(elsewhere);
    }
    if answered < count { Finding::warn(says).fix(elsewhere) } else { Finding::ok(says) }
}

#[cfg(test)]
mod tests {
    use libp2p::multiaddr::Protocol;
    use libp2p::{Multiaddr, PeerId};

    use super::super::step::Verdict;
    use super::*;

    fn at(port: u16) -> Multiaddr {
        let at: Multiaddr = format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap();
        at.with(Protocol::P2p(PeerId::random()))
    }

    #[test]
    fn each_kind_of_nat_has_words_and_a_fix() {
        for nat_kind in [Nat::None, Nat::Some, Nat::Steady, Nat::Changing] {
            for reach in [Reach::Lan, Reach::Checking, Reach::Outgoing, Reach::Punching] {
                let found = nat(&Outside { reach, nat: nat_kind, ..Outside::default() });
                assert!(found.verdict == Verdict::Warn && found.fix.is_some(), "{found:?}");
            }
            let outside = Outside { reach: Reach::Reachable, nat: nat_kind, ..Outside::default() };
            assert_eq!(nat(&outside).verdict, Verdict::Ok);
        }
        assert_eq!(nat(&Outside::default()).verdict, Verdict::Skipped);
    }

    #[test]
    fn the_public_table_is_there_once_it_named_somebody() {
        let of = |ipfs| {
            let mut sought = Sought::default();
            sought.outside = Some(Outside { ipfs, ..Outside::default() });
            public(&sought, 1).verdict
        };
        assert_eq!(
            [of(None), of(Some(1)), of(Some(9))],
            [Verdict::Warn, Verdict::Warn, Verdict::Ok]
        );
    }

    #[test]
    fn the_dht_is_as_good_as_the_ways_into_it() {
        let mut sought = Sought::default();
        assert_eq!(dht(&sought, None).verdict, Verdict::Warn);
        assert_eq!(dht(&sought, Some((7, 0))).verdict, Verdict::Warn);
        assert_eq!(dht(&sought, Some((7, 14))).says.shown(), "14 nodes known (process 7)");
        let (one, two) = (at(1), at(2));
        sought.seek(Channel::Bootstrap, &one);
        sought.seek(Channel::Bootstrap, &two);
        assert!(!is_entered(&sought));
        sought.failed(Channel::Bootstrap, &[one], "connection refused at /ip4/10.0.0.1/tcp/1");
        let found = dht(&sought, Some((7, 14)));
        assert_eq!(found.verdict, Verdict::Fail);
        assert_eq!(found.says.hidden(), "0 nodes known, 0 of 2 bootstrap nodes answered: <reason>");
        let peer = two.iter().find_map(|part| match part {
            Protocol::P2p(peer) => Some(peer),
            _ => None,
        });
        sought.reached(peer.unwrap(), &two);
        assert!(!is_entered(&sought), "that it is a node of the DHT is not known yet");
        sought.outside = Some(Outside { nodes: 1, ..Outside::default() });
        assert!(is_entered(&sought));
        assert_eq!(dht(&sought, None).verdict, Verdict::Warn);
    }
}
