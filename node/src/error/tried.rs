//! The error that nobody offers a drive: where peers were looked for, what came of it, and what else can be done.

use std::time::Duration;

use serde_json::json;

use super::{Code, Error};
use crate::cli::escape;
use crate::cli::units::{Span, Things};
use crate::engine::Sought;
use crate::swarm::{Channel, Lan};

/// How many reasons an error lists why peers could not be reached.
const REASONS_MAX: usize = 3;

impl Error {
    /// Nobody offers the drive: `link` was looked for during `waited`, where `sought` says.
    pub fn no_peers(link: &str, waited: Duration, sought: &Sought) -> Self {
        let cannot = match sought.lan() {
            Lan::Cannot(reason) => Some(format!("LAN: {reason}")),
            Lan::Off | Lan::On => None,
        };
        let failures = sought.failures().into_iter().map(str::to_owned);
        let reasons: Vec<String> = cannot.into_iter().chain(failures).collect();
        let mut error = Self::new(Code::NoPeers, "nobody is offering this drive at the moment")
            .context(format!("tried: {}", tried(waited, sought)));
        for reason in reasons.iter().take(REASONS_MAX) {
            error = error.context(format!("       {}", escape::controls(reason)));
        }
        if let Some(hint) = elsewhere(sought) {
            error = error.hint(hint);
        }
        let number = |used: bool, channel| used.then(|| sought.of(channel).0);
        let tried = json!({
            "lan": number(*sought.lan() == Lan::On, Channel::Lan),
            "remembered": number(sought.remembers(), Channel::Remembered),
            "dht": sought.dht().map(|_| sought.of(Channel::Dht).0),
            "dht_nodes": sought.dht(),
            "addresses": sought.addresses(),
            "reasons": reasons,
        });
        error
            .hint("is `datnode share` running on the other side? Ask for a ticket, it contains addresses")
            .hint("give an address with --peer, or wait longer: --wait 5m (--wait 0 = no limit)")
            .field("drive", link)
            .field("tried", tried)
            .field("waited_s", waited.as_secs_f64())
    }
}

/// Returns what was tried, each way with its numbers.
fn tried(waited: Duration, sought: &Sought) -> String {
    let mut ways = Vec::new();
    let answered = |(_, answered): (usize, usize)| format!("{answered} answered");
    match (sought.lan(), sought.of(Channel::Lan)) {
        (Lan::Off, _) => {}
        (Lan::Cannot(_), _) => ways.push("LAN not possible".to_owned()),
        (Lan::On, (0, _)) => ways.push(format!("LAN {}, 0 found", Span(waited))),
        (Lan::On, found) => {
            ways.push(format!("LAN {}, {} found, {}", Span(waited), found.0, answered(found)));
        }
    }
    if sought.remembers() {
        let found = sought.of(Channel::Remembered);
        let peers = if found.0 == 1 { "peer" } else { "peers" };
        ways.push(match found.0 {
            0 => "no remembered peers".to_owned(),
            count => format!("{count} remembered {peers}, {}", answered(found)),
        });
    }
    match (sought.dht(), sought.of(Channel::Dht)) {
        (None, _) => {}
        (Some(0), _) => ways.push("DHT: no node known".to_owned()),
        (Some(nodes), (0, _)) => {
            ways.push(format!("DHT {}, 0 found", Things(nodes as u64, "node")))
        }
        (Some(nodes), found) => {
            let nodes = Things(nodes as u64, "node");
            ways.push(format!("DHT {nodes}, {} found, {}", found.0, answered(found)));
        }
    }
    match sought.addresses() {
        0 => {}
        1 => ways.push(format!("1 address, {}", answered(sought.of(Channel::Given)))),
        count => ways.push(format!("{count} addresses, {}", answered(sought.of(Channel::Given)))),
    }
    match sought.origins() {
        (0, _) => {}
        (1, 0) => ways.push("1 origin, which is not there".to_owned()),
        (count, there) => ways.push(format!("{count} origins, {there} there")),
    }
    ways.push("the processes of this user".to_owned());
    let ways = ways.join(" · ");
    match sought.lan() {
        Lan::On => ways,
        Lan::Off | Lan::Cannot(_) => format!("{ways}, for {}", Span(waited)),
    }
}

/// Returns which way of looking is not used, and how to use it.
fn elsewhere(sought: &Sought) -> Option<&'static str> {
    match sought.lan() {
        Lan::Off if !sought.remembers() => Some(
            "--discover none is on; leave it out (and unset DATNODE_DISCOVER) to look on the local network as well",
        ),
        Lan::Off => Some("add lan to --discover to look on the local network as well"),
        Lan::On | Lan::Cannot(_) if sought.dht() == Some(0) => Some(
            "to look far away, name a node that leads into the DHT: --bootstrap ADDRESS (of any `datnode node`), or ask the public one: --public",
        ),
        Lan::On | Lan::Cannot(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use libp2p::multiaddr::Protocol;
    use libp2p::{Multiaddr, PeerId};

    use super::*;
    use crate::swarm::Outside;

    fn error(sought: &Sought) -> (String, serde_json::Value) {
        let error = Error::no_peers("dat1", Duration::from_secs(5), sought);
        (error.to_string(), error.to_json())
    }

    fn at(port: u16) -> Multiaddr {
        let at: Multiaddr = format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap();
        at.with(Protocol::P2p(PeerId::random()))
    }

    #[test]
    fn each_way_is_named_with_its_numbers() {
        let mut sought = Sought::default();
        (sought.lan, sought.remembers) = (Lan::On, true);
        let (text, json) = error(&sought);
        let right =
            "tried: LAN 5.0 s, 0 found · no remembered peers · the processes of this user\n";
        assert!(text.contains(right), "{text}");
        assert_eq!(text.matches("hint:").count(), 2, "{text}");
        let right = json!({
            "lan": 0, "remembered": 0, "dht": null, "dht_nodes": null, "addresses": 0, "reasons": [],
        });
        assert_eq!(json["tried"], right);

        (1..=6).for_each(|port| sought.seek(Channel::Remembered, &at(port)));
        let (one, two) = (at(7), at(8));
        [&one, &two].into_iter().for_each(|address| sought.seek(Channel::Given, address));
        sought.seek(Channel::Lan, &two);
        sought.reached(crate::swarm::peer_of(&two).unwrap(), &two);
        sought.failed(Channel::Given, &[one], "connection refused");
        let (text, json) = error(&sought);
        let right = "tried: LAN 5.0 s, 1 found, 1 answered · 6 remembered peers, 0 answered · \
                     2 addresses, 1 answered · the processes of this user\n";
        assert!(text.contains(right), "{text}");
        let right = json!({
            "lan": 1, "remembered": 6, "dht": null, "dht_nodes": null, "addresses": 2,
            "reasons": ["connection refused"],
        });
        assert_eq!(json["tried"], right);

        sought.outside = Some(Outside::default());
        let (text, _) = error(&sought);
        assert!(text.contains(" answered · DHT: no node known · 2 addresses"), "{text}");
        assert!(text.contains("hint:  to look far away, name a node"), "{text}");
        sought.outside = Some(Outside { nodes: 14, ..Outside::default() });
        assert!(error(&sought).0.contains(" answered · DHT 14 nodes, 0 found · 2 addresses"));
        sought.seek(Channel::Dht, &at(9));
        let (text, json) = error(&sought);
        assert!(text.contains(" · DHT 14 nodes, 1 found, 0 answered · "), "{text}");
        assert_eq!((&json["tried"]["dht"], &json["tried"]["dht_nodes"]), (&1.into(), &14.into()));
    }

    #[test]
    fn what_is_off_or_impossible_is_said() {
        let mut sought = Sought::default();
        let (text, json) = error(&sought);
        assert!(text.contains("tried: the processes of this user, for 5.0 s\n"), "{text}");
        assert!(text.contains("hint:  --discover none is on"), "{text}");
        assert_eq!(text.matches("hint:").count(), 3, "{text}");
        let right = json!({
            "lan": null, "remembered": null, "dht": null, "dht_nodes": null, "addresses": 0, "reasons": [],
        });
        assert_eq!(json["tried"], right);

        sought.remembers = true;
        assert!(error(&sought).0.contains("hint:  add lan to --discover"));

        sought.lan = Lan::Cannot("this computer has no network".to_owned());
        let (text, json) = error(&sought);
        let right = "tried: LAN not possible · no remembered peers · the processes of this user, for 5.0 s\n";
        assert!(text.contains(right), "{text}");
        assert_eq!(json["tried"]["reasons"], json!(["LAN: this computer has no network"]));
    }
}
