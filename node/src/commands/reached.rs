//! How this node can be reached from elsewhere, in words and for scripts.

use serde_json::{Value, json};

use crate::cli::units::Things;
use crate::swarm::{Nat, Outside, Reach, Router};

/// Says how this node can be reached, in one line.
pub(super) fn line(outside: &Outside) -> String {
    let how = match outside.reach {
        Reach::Reachable if let Router::Open(port) = outside.router => {
            &format!("● reachable from outside (UPnP port {port})")
        }
        Reach::Reachable => "● reachable from outside",
        // Without anybody who could tell there is the router's word alone.
        Reach::Lan | Reach::Checking if let Router::Mapped(port) = outside.router => &format!(
            "◌ reachable from outside if the router is right (UPnP port {port}): nobody who could tell was met"
        ),
        Reach::Punching => {
            "◐ behind a NAT: people on your LAN can connect, others by hole punching (works in about 7 of 10 cases)"
        }
        Reach::Outgoing => {
            "○ outgoing only: people on your LAN can connect, others only where you connect to them"
        }
        Reach::Checking => "◌ finding out whether others can connect",
        Reach::Lan => "○ LAN only: nobody outside is known",
    };
    let table = |name: &str, nodes: usize| match nodes {
        0 => String::new(),
        nodes => format!("   {name} {}", Things(nodes as u64, "node")),
    };
    let public = outside.ipfs.map(|nodes| table("public IPFS DHT", nodes));
    format!("{how}{}{}", table("DHT", outside.nodes), public.unwrap_or_default())
}

/// Says the same of what a process said of itself; nothing if it did not.
pub(super) fn line_of(state: &Value) -> Option<String> {
    of(state).as_ref().map(line)
}

/// Returns how a process is reached, as far as it said so; nothing if it did not.
pub(super) fn of(state: &Value) -> Option<Outside> {
    let reach = *ALL.iter().find(|reach| state["how"] == name(**reach))?;
    let nodes = usize::try_from(state["dht_nodes"].as_u64()?).ok()?;
    let port = state["port"].as_u64().and_then(|port| port.try_into().ok());
    let routers = [Router::Off, Router::Asked, Router::Silent, Router::Inner];
    let with_port = port.into_iter().flat_map(|port| [Router::Mapped(port), Router::Open(port)]);
    let mut routers = routers.into_iter().chain(with_port);
    let router = routers.find(|router| state["router"] == router_name(*router));
    let nat = NATS.iter().find(|nat| state["nat"] == nat_name(**nat)).copied();
    let (router, nat) = (router.unwrap_or_default(), nat.unwrap_or_default());
    let ipfs = state["ipfs_nodes"].as_u64().and_then(|nodes| nodes.try_into().ok());
    Some(Outside { reach, nodes, ipfs, router, nat, ..Outside::default() })
}

/// Returns the same for scripts.
pub(super) fn report(outside: Option<&Outside>) -> Value {
    let Some(outside) = outside else { return Value::Null };
    let port = match outside.router {
        Router::Mapped(port) | Router::Open(port) => Some(port),
        _ => None,
    };
    json!({
        "how": name(outside.reach), "dht_nodes": outside.nodes, "ipfs_nodes": outside.ipfs,
        "router": router_name(outside.router), "port": port, "nat": nat_name(outside.nat),
    })
}

const NATS: [Nat; 5] = [Nat::Unknown, Nat::None, Nat::Some, Nat::Steady, Nat::Changing];

fn nat_name(nat: Nat) -> &'static str {
    match nat {
        Nat::Unknown => "unknown",
        Nat::None => "none",
        Nat::Some => "some",
        Nat::Steady => "steady",
        Nat::Changing => "changing",
    }
}

fn router_name(router: Router) -> &'static str {
    match router {
        Router::Off => "off",
        Router::Asked => "asked",
        Router::Silent => "silent",
        Router::Inner => "inner",
        Router::Mapped(_) => "mapped",
        Router::Open(_) => "open",
    }
}

const ALL: [Reach; 5] =
    [Reach::Reachable, Reach::Punching, Reach::Outgoing, Reach::Checking, Reach::Lan];

fn name(reach: Reach) -> &'static str {
    match reach {
        Reach::Reachable => "reachable",
        Reach::Punching => "punching",
        Reach::Outgoing => "outgoing",
        Reach::Checking => "checking",
        Reach::Lan => "lan",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_says_of_itself_is_said_alike_by_others() {
        for reach in ALL {
            for (nodes, nat) in [0, 1, 14].into_iter().zip(NATS.into_iter().skip(2)) {
                let routers = [Router::Off, Router::Asked, Router::Silent, Router::Inner];
                for router in routers.into_iter().chain([Router::Mapped(3282), Router::Open(3282)])
                {
                    let ipfs = (nodes > 0).then_some(nodes - nodes.min(1));
                    let outside = Outside { reach, nodes, ipfs, router, nat, ..Outside::default() };
                    assert_eq!(of(&report(Some(&outside))), Some(outside.clone()));
                    assert_eq!(line_of(&report(Some(&outside))), Some(line(&outside)));
                }
            }
        }
        // One of an earlier version says less.
        let before = json!({ "how": "punching", "dht_nodes": 3 });
        assert_eq!(of(&before).map(|outside| outside.router), Some(Router::Off));
        assert_eq!(line_of(&report(None)), None);
        let outside = Outside { reach: Reach::Reachable, nodes: 14, ..Outside::default() };
        assert_eq!(line(&outside), "● reachable from outside   DHT 14 nodes");
        let mapped = Outside { router: Router::Open(3282), ..outside };
        assert_eq!(line(&mapped), "● reachable from outside (UPnP port 3282)   DHT 14 nodes");
        // A router's word is told as such, and not at all once others found it to be wrong.
        let said = Outside { router: Router::Mapped(3282), ..mapped };
        assert_eq!(line(&said), "● reachable from outside   DHT 14 nodes");
        let said = Outside { reach: Reach::Lan, nodes: 0, ..said };
        assert!(line(&said).starts_with("◌ reachable from outside if the router is right"));
        let tried = Outside { reach: Reach::Outgoing, ..said };
        assert!(line(&tried).starts_with("○ outgoing only"));
    }
}
