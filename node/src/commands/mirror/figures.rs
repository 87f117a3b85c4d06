//! What there is to measure of a node that runs for ever.

use std::sync::Arc;
use std::time::Instant;

use super::super::metrics::Text;
use super::member::{House, Member};
use super::show::is_whole;
use crate::engine::Traffic;
use crate::swarm::{Outside, Reach};

/// Returns the figures of now.
pub(super) fn figures(house: &House, members: &[Arc<Member>], began: Instant) -> String {
    let (peers, Traffic { bytes_in, bytes_out, .. }) = (house.hub.peers(), house.hub.traffic());
    let whole = members.iter().filter(|member| is_whole(&member.state())).count();
    let with_drive = peers.iter().filter(|peer| peer.status.feeds > 0).count();
    let Outside { reach, nodes, records, places, circuits, .. } =
        house.hub.sought().outside().cloned().unwrap_or_default();
    let mut text = Text::default();
    let up = began.elapsed().as_secs_f64();
    text.counter("datnode_uptime_seconds_total", "How long the process runs.", up);
    text.gauge("datnode_drives", "Drives of the list.", members.len());
    text.gauge("datnode_drives_whole", "Those of which all that is wanted is here.", whole);
    text.gauge("datnode_peers", "Peers that are connected.", peers.len());
    text.gauge("datnode_peers_with_drive", "Those with a drive in common.", with_drive);
    text.counter("datnode_sent_bytes_total", "Bytes of blocks sent.", bytes_out);
    text.counter("datnode_received_bytes_total", "Bytes of blocks received.", bytes_in);
    let reachable = u8::from(reach == Reach::Reachable);
    text.gauge("datnode_reachable", "1 if others can connect from everywhere.", reachable);
    text.gauge("datnode_dht_nodes", "Nodes of the DHT that are known.", nodes);
    text.gauge("datnode_dht_records", "Records kept for others.", records);
    text.gauge("datnode_relay_places", "Others who are reached through this node.", places);
    text.gauge("datnode_relay_circuits", "Connections that are relayed now.", circuits);
    text.finish()
}
