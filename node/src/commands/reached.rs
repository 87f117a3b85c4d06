//! How this node can be reached from elsewhere, in words and for scripts.

use serde_json::{Value, json};

use crate::cli::units::Things;
use crate::swarm::{Outside, Reach};

/// Says how this node can be reached, in one line.
pub(super) fn line(outside: &Outside) -> String {
    let how = match outside.reach {
        Reach::Reachable => "● reachable from outside",
        Reach::Punching => {
            "◐ behind a NAT: people on your LAN can connect, others by hole punching (works in about 7 of 10 cases)"
        }
        Reach::Outgoing => {
            "○ outgoing only: people on your LAN can connect, others only where you connect to them"
        }
        Reach::Checking => "◌ finding out whether others can connect",
        Reach::Lan => "○ LAN only: nobody outside is known",
    };
    match outside.nodes {
        0 => how.to_owned(),
        nodes => format!("{how}   DHT {}", Things(nodes as u64, "node")),
    }
}

/// Says the same of what a process said of itself; nothing if it did not.
pub(super) fn line_of(state: &Value) -> Option<String> {
    let reach = *ALL.iter().find(|reach| state["how"] == name(**reach))?;
    let nodes = usize::try_from(state["dht_nodes"].as_u64()?).ok()?;
    Some(line(&Outside { reach, nodes, ..Outside::default() }))
}

/// Returns the same for scripts.
pub(super) fn report(outside: Option<&Outside>) -> Value {
    outside.map_or(
        Value::Null,
        |outside| json!({ "how": name(outside.reach), "dht_nodes": outside.nodes }),
    )
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
            for nodes in [0, 1, 14] {
                let outside = Outside { reach, nodes, ..Outside::default() };
                assert_eq!(line_of(&report(Some(&outside))), Some(line(&outside)));
            }
        }
        assert_eq!(line_of(&report(None)), None);
        let outside = Outside { reach: Reach::Reachable, nodes: 14, ..Outside::default() };
        assert_eq!(line(&outside), "● reachable from outside   DHT 14 nodes");
    }
}
