//! Whether this computer can be listened on, and who has the port if not.

use std::fs;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::step::Finding;
use super::words::Words;
use crate::cli::escape;
use crate::engine::Network;
use crate::error::Error;
use crate::runtime::Announced;

/// Who listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A process of this user that is a datnode.
    Ours(i32),
    /// Another one.
    Program(i32, String),
    /// The system does not say.
    Unknown,
}

/// Says whether others find somebody here.
pub(super) fn look(network: &Result<Network, Error>, ours: &[Announced]) -> Finding {
    let network = match network {
        Ok(network) => network,
        Err(error) => return Finding::failed("nothing can be listened on", error.clone()),
    };
    let ports = ports(&network.local_addresses());
    sum_up(&ports, network.taken().map(|port| (port, holder(port, ours))))
}

fn sum_up(ports: &[String], taken: Option<(u16, Holder)>) -> Finding {
    if ports.is_empty() {
        let error = Error::new(crate::error::Code::Port, "there is no address to listen on");
        return Finding::fail(error, "this computer has no network").fix("connect it to one");
    }
    let Some((port, holder)) = taken else {
        return Finding::ok(format!("{} listening", ports.join(", ")));
    };
    let other =
        format!("any free one will do, but what a router forwards to {port} goes elsewhere");
    match holder {
        Holder::Ours(pid) => {
            Finding::ok(format!("{port} is served by process {pid}, which is yours"))
        }
        Holder::Program(pid, name) => {
            let says = Words::new(format!("{port} is taken by process {pid}"));
            let says = says.own("program", format!(" ({name})")).and(format!(": {other}"));
            Finding::warn(says).fix("end that program, or forward another port: --port N")
        }
        Holder::Unknown => Finding::warn(format!("{port} is taken by another program: {other}"))
            .fix("end that program, or forward another port: --port N"),
    }
}

/// Returns the ports that are listened on, each once, as people say them.
fn ports(addresses: &[Multiaddr]) -> Vec<String> {
    let mut ports = Vec::new();
    for address in addresses {
        let port = address.iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(format!("TCP {port}")),
            Protocol::Udp(port) => Some(format!("UDP {port}")),
            _ => None,
        });
        ports.extend(port.filter(|port| !ports.contains(port)));
    }
    ports
}

/// Finds out who listens on a port.
fn holder(port: u16, ours: &[Announced]) -> Holder {
    let has = |address: &Multiaddr| {
        address.iter().any(|part| part == Protocol::Tcp(port) || part == Protocol::Udp(port))
    };
    if let Some(process) = ours.iter().find(|process| process.addresses.iter().any(has)) {
        return Holder::Ours(process.pid);
    }
    let tables = ["tcp", "tcp6", "udp", "udp6"].map(|name| format!("/proc/net/{name}"));
    let tables = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let sockets: Vec<String> = tables.flat_map(|table| sockets(&table, port)).collect();
    let named = process_with(&sockets).map(|pid| Holder::Program(pid, name_of(pid)));
    named.unwrap_or(Holder::Unknown)
}

/// Returns the sockets that listen on a port, as descriptors name them; those of a table of the system (`proc_net_tcp`).
fn sockets(table: &str, port: u16) -> Vec<String> {
    const LISTENS: &str = "0A";
    const UNCONNECTED: &str = "07";
    let end = format!(":{port:04X}");
    let lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let ours = lines.filter(|fields| {
        let at = |field: usize| fields.get(field).copied().unwrap_or_default();
        at(1).ends_with(&end) && [LISTENS, UNCONNECTED].contains(&at(3))
    });
    ours.filter_map(|fields| fields.get(9).map(|inode| format!("socket:[{inode}]"))).collect()
}

/// Returns the process that has one of some sockets, as far as this user may look.
fn process_with(sockets: &[String]) -> Option<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut leads = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        leads.any(|lead| lead.to_str().is_some_and(|lead| sockets.iter().any(|one| one == lead)))
    })
}

fn name_of(pid: i32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    escape::bytes(name.trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn who_has_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(holder(port, &[]), Holder::Program(pid, _) if pid == own));
        let address = format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap();
        let (drives, socket) = (Vec::new(), "".into());
        let ours = Announced { pid: 12, began: None, addresses: vec![address], drives, socket };
        assert_eq!(holder(port, &[ours]), Holder::Ours(12));
    }

    #[test]
    fn a_table_of_the_system_is_understood() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:0CD2 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1\n   \
            1: 0100007F:0CD2 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1\n";
        assert_eq!(sockets(table, 3282), ["socket:[4242]"]);
        assert!(sockets(table, 3283).is_empty());
        assert!(sockets("what nobody\nunderstands :0CD2 x 0A", 3282).is_empty());
    }

    #[test]
    fn each_way_it_can_be_has_words_of_its_own() {
        let ports = ports(&[
            "/ip4/10.0.0.1/tcp/3282".parse().unwrap(),
            "/ip4/127.0.0.1/tcp/3282".parse().unwrap(),
            "/ip4/10.0.0.1/udp/3282/quic-v1".parse().unwrap(),
        ]);
        let found = sum_up(&ports, None);
        assert_eq!(
            (found.verdict, found.says.shown().as_str()),
            (Verdict::Ok, "TCP 3282, UDP 3282 listening")
        );
        assert_eq!(sum_up(&[], None).verdict, Verdict::Fail);
        let ours = sum_up(&ports, Some((3282, Holder::Ours(7))));
        assert_eq!((ours.verdict, ours.says.shown().contains("process 7")), (Verdict::Ok, true));
        for holder in [Holder::Program(7, "nginx".into()), Holder::Unknown] {
            let found = sum_up(&ports, Some((3282, holder)));
            assert_eq!(found.verdict, Verdict::Warn);
            assert!(found.fix.is_some() && !found.says.hidden().contains("nginx"), "{found:?}");
        }
    }
}
