//! `datnode peers`: who is connected to the processes that serve a drive here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use datnode_feed::PublicKey;
use datnode_proto::PeerId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde_json::{Value, json};

use super::context::{folder_of, read_key};
use super::live::watch;
use crate::cli::Peers;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Count, Size};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::engine::{About, PeerReport};
use crate::error::{Code, Error};
use crate::runtime::{self, Announced};

/// How often `--live` asks.
const LIVE: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Peers, out: &Out) -> Result<(), Error> {
    if !args.live {
        return show(&look(&args).await?, None, out);
    }
    let mut last = Totals::new();
    watch(async {
        loop {
            let peers = look(&args).await?;
            show(&peers, Some(&last), out)?;
            last = peers.iter().map(total).collect();
            tokio::time::sleep(LIVE).await;
        }
    })
    .await
}

/// Asks the processes that are meant.
async fn look(args: &Peers) -> Result<Vec<Value>, Error> {
    let dirs = Dirs::open()?;
    let (processes, drive) = match args.all {
        true => (runtime::all(&dirs.run), None),
        false => serving(&dirs, &args.folder)?,
    };
    let mut peers = Vec::new();
    for process in processes {
        let said = match ask(&process.socket, drive.as_ref(), &Question::Peers).await {
            Err(error) if args.all => {
                tracing::info!(pid = process.pid, error = error.message(), "does not answer");
                continue;
            }
            said => said?,
        };
        peers.extend(said["peers"].as_array().cloned().unwrap_or_default());
    }
    Ok(peers)
}

fn serving(dirs: &Dirs, folder: &Path) -> Result<(Vec<Announced>, Option<PublicKey>), Error> {
    let folder = folder_of(folder)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let processes = runtime::find(&dirs.run, &key);
    if processes.is_empty() {
        let shown = escape::shell(&folder);
        return Err(Error::new(
            Code::NoPeers,
            "no process here serves this drive, so nobody is connected",
        )
        .hint(format!("datnode share {shown}")));
    }
    Ok((processes, Some(key)))
}

/// Returns what peers are like, and how much each `has` of the drive.
pub(super) fn report(reports: &[PeerReport], has: impl Fn(PeerId) -> Option<u64>) -> Value {
    let mut peers = Vec::new();
    for PeerReport { about, status } in reports {
        let has = has(status.peer);
        peers.push(json!({
            "type": "peer", "node": about.name, "how": how(about), "address": about.address,
            "rtt_ms": status.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            "bytes_out": status.bytes_out, "bytes_in": status.bytes_in, "rate_in": status.rate_in,
            "has": has, "wants": status.wants, "client": status.agent, "feeds": status.feeds,
        }));
    }
    json!({ "peers": peers })
}

/// Says how a peer is connected.
pub(super) fn how(about: &About) -> &'static str {
    let Ok(address) = about.address.parse::<Multiaddr>() else {
        return match about.address.split_once("://") {
            Some(("ssh", _)) => "by ssh",
            Some(_) => "web server",
            None => "this computer",
        };
    };
    let quic = address.iter().any(|part| part == Protocol::QuicV1);
    let near = address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_private() || ip.is_link_local(),
        Protocol::Ip6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        _ => false,
    });
    let here = address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    });
    match (here, near, quic) {
        _ if about.punched => "hole-punched",
        (true, ..) => "this computer",
        (_, true, _) => "LAN",
        (.., true) => "direct QUIC",
        (.., false) => "direct TCP",
    }
}

/// Returns the first and last characters of a node's id, for tables.
pub(super) fn short(node: &str) -> String {
    match (node.get(..4), node.len().checked_sub(4).and_then(|at| node.get(at..))) {
        (Some(start), Some(end)) if node.starts_with("12D3") => format!("{start}…{end}"),
        _ => escape::text(node),
    }
}

/// What was sent to and received from each peer.
type Totals = BTreeMap<String, (u64, u64)>;

/// Returns who a peer is, and what was sent to and received from it.
fn total(peer: &Value) -> (String, (u64, u64)) {
    let number = |name: &str| peer[name].as_u64().unwrap_or_default();
    (format!("{} {}", peer["node"], peer["address"]), (number("bytes_out"), number("bytes_in")))
}

/// Shows peers as a table; with what was a second ago, what came and went since.
fn show(peers: &[Value], last: Option<&Totals>, out: &Out) -> Result<(), Error> {
    if out.json {
        return peers.iter().try_for_each(|peer| out.record(peer));
    }
    if peers.is_empty() {
        return out.data(b"nobody is connected\n");
    }
    let [up, down] = if last.is_some() { ["↑/s", "↓/s"] } else { ["↑", "↓"] };
    let title = format!(
        "{:<13} {:<14} {:>8} {up:>10} {down:>10} {:>6} {:>8}   client\n",
        "node", "how", "rtt", "has", "wants"
    );
    let rows = peers.iter().map(|peer| {
        let (id, (up, down)) = total(peer);
        let since = last.and_then(|last| last.get(&id).copied());
        let (up_before, down_before) = match last {
            Some(_) => since.unwrap_or((up, down)),
            None => (0, 0),
        };
        let text = |name: &str| escape::text(peer[name].as_str().unwrap_or("–"));
        let rtt = peer["rtt_ms"].as_f64().map_or("–".to_owned(), |rtt| format!("{rtt:.1} ms"));
        let has = peer["has"].as_u64().map_or("–".to_owned(), |has| format!("{has} %"));
        let wants = peer["wants"].as_u64().filter(|&wants| wants > 0);
        let wants = wants.map_or("–".to_owned(), |wants| Count(wants).to_string());
        format!(
            "{:<13} {:<14} {rtt:>8} {:>10} {:>10} {has:>6} {wants:>8}   {}\n",
            short(peer["node"].as_str().unwrap_or_default()),
            text("how"),
            Size(up.saturating_sub(up_before)).to_string(),
            Size(down.saturating_sub(down_before)).to_string(),
            text("client"),
        )
    });
    let table: String = std::iter::once(title).chain(rows).collect();
    out.data(table.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_called_by_what_they_are() {
        for (address, called) in [
            ("/ip4/127.0.0.1/tcp/1", "this computer"),
            ("control socket", "this computer"),
            ("/ip4/192.168.1.2/udp/1/quic-v1", "LAN"),
            ("/ip6/fe80::1/tcp/1", "LAN"),
            ("/ip4/8.8.8.8/tcp/1", "direct TCP"),
            ("/ip4/8.8.8.8/udp/1/quic-v1", "direct QUIC"),
        ] {
            let about = |punched| {
                let (name, address) = (String::new(), address.to_owned());
                About { name, address, punched, is_local: false }
            };
            assert_eq!(how(&about(false)), called, "{address}");
        }
        let (name, address) = (String::new(), "/ip4/8.8.8.8/tcp/1".to_owned());
        assert_eq!(how(&About { name, address, punched: true, is_local: false }), "hole-punched");
        assert_eq!(short("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"), "12D3…U5SA");
        assert_eq!(short("this computer"), "this computer");
    }
}
