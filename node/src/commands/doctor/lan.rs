//! Whether the local network carries what nodes find each other by.

use std::net::Ipv4Addr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::super::context::blocking;
use super::step::Finding;
use super::words::Words;
use crate::engine::{Hub, Network, Sought};
use crate::swarm::{Channel, Lan, hears_itself};

/// Says whether multicast works, and who was found by it.
pub(super) async fn look(hub: &Hub, network: &Network, found: impl Future<Output = ()>) -> Finding {
    match hub.sought().lan() {
        Lan::Off => return Finding::skipped("--discover leaves it out"),
        Lan::Cannot(reason) => return cannot(reason),
        Lan::On => {}
    }
    let interfaces: Vec<Ipv4Addr> = network.local_addresses().iter().filter_map(ip4).collect();
    let heard =
        blocking(move || Ok(interfaces.into_iter().any(|at| hears_itself(at).unwrap_or(false))));
    let (heard, ()) = tokio::join!(heard, found);
    sum_up(heard.unwrap_or(false), &hub.sought())
}

fn cannot(reason: &str) -> Finding {
    let says = Words::new("mDNS cannot be spoken: ").own("reason", reason);
    Finding::warn(says).fix("connect this computer to a network, with multicast")
}

fn sum_up(heard: bool, sought: &Sought) -> Finding {
    // It may have become so since.
    if let Lan::Cannot(reason) = sought.lan() {
        return cannot(reason);
    }
    let nodes = match sought.of(Channel::Lan).0 {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    match (heard, sought.of(Channel::Lan).0) {
        (false, 0) => Finding::warn("what is sent by multicast does not come back, not even here")
            .fix("let UDP port 5353 (mDNS) through the firewall"),
        _ => Finding::ok(format!("mDNS works, {nodes}")),
    }
}

fn ip4(address: &Multiaddr) -> Option<Ipv4Addr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn silence_of_the_network_is_told_from_silence_of_the_nodes() {
        let mut sought = Sought::default();
        sought.lan = Lan::On;
        assert_eq!(sum_up(true, &sought).says.shown(), "mDNS works, 0 nodes");
        assert_eq!(sum_up(false, &sought).verdict, Verdict::Warn);
        let at: Multiaddr = "/ip4/10.0.0.2/tcp/1".parse().unwrap();
        sought.seek(Channel::Lan, &at);
        assert_eq!(sum_up(false, &sought).says.shown(), "mDNS works, 1 node", "somebody was heard");
        sought.lan = Lan::Cannot("cannot use multicast on 10.0.0.1".to_owned());
        let found = sum_up(true, &sought);
        assert_eq!(found.verdict, Verdict::Warn);
        assert!(!found.says.hidden().contains("10.0.0.1"), "{found:?}");
    }
}
