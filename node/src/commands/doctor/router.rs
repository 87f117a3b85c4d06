//! Whether the router lets others in when it is asked by UPnP.
//!
//! What it says may be anything, and it may never end: all of it happens within the limit of a step, and its words are shown to the user alone.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use igd_next::aio::tokio::search_gateway;
use igd_next::{PortMappingProtocol, SearchOptions};
use tokio::net::UdpSocket;

use super::step::Finding;
use super::words::Words;
use crate::cli::escape;
use crate::swarm::Router;

/// How long a router is looked for. Those that are there answer within three seconds, as they are asked to.
const SEARCH: Duration = Duration::from_millis(3_500);
/// How long what is tried stays if it cannot be taken back, in seconds.
const LEASE: u32 = 60;

/// What the router made of being asked.
#[derive(Debug)]
enum Answer {
    /// Nobody answers.
    Silent,
    /// It does not tell its own address.
    Mute(String),
    /// Its own address is not one of the world.
    Inner,
    /// It lets nobody in.
    Refuses(String),
    /// It does.
    Open,
}

/// Says whether the router lets others in at a port; `told` is what a process that serves knows of it, and `wanted` which port is to be
/// forwarded, if it is another one.
pub(super) async fn look(
    told: Option<(i32, Router)>,
    port: Option<u16>,
    wanted: Option<u16>,
) -> Finding {
    if let Some((pid, Router::Open(port))) = told {
        return Finding::ok(format!("UPnP lets others in at port {port} (process {pid})"));
    }
    let Some(port) = port else {
        return Finding::skipped("there is no port to let others in at");
    };
    let own = own_address().await;
    sum_up(ask(port).await, wanted.unwrap_or(port), own)
}

/// Asks the router for a port, and gives it back.
async fn ask(port: u16) -> Answer {
    let limit = Some(SEARCH);
    let options =
        SearchOptions { timeout: limit, single_search_timeout: limit, ..Default::default() };
    let Ok(gateway) = search_gateway(options).await else { return Answer::Silent };
    match gateway.get_external_ip().await {
        Err(error) => return Answer::Mute(error.to_string()),
        Ok(ip) if !is_of_the_world(ip) => return Answer::Inner,
        Ok(_) => {}
    }
    let Some(own) = towards(gateway.addr).await else { return Answer::Silent };
    let (kind, inside) = (PortMappingProtocol::TCP, SocketAddr::new(own, port));
    match gateway.add_port(kind, port, inside, LEASE, "datnode doctor").await {
        Err(error) => Answer::Refuses(error.to_string()),
        Ok(()) => {
            // What is not taken back ends with its lease.
            let _ = gateway.remove_port(kind, port).await;
            Answer::Open
        }
    }
}

fn sum_up(answer: Answer, port: u16, own: Option<IpAddr>) -> Finding {
    let forward = |first: &str| {
        let fix = Words::new(format!("{first}forward TCP and UDP port {port} to "));
        match own {
            Some(own) => fix.own("address", own),
            None => fix.and("this computer"),
        }
    };
    let refusal = |what: &str, reason: &str| {
        Finding::warn(Words::new(what).and(": ").own("answer", escape::text(reason)))
    };
    match answer {
        Answer::Silent => Finding::warn("no router answers by UPnP")
            .fix(forward("switch UPnP on in the router, or ")),
        Answer::Mute(reason) => {
            refusal("the router answers UPnP, and does not tell its address", &reason)
                .fix(forward(""))
        }
        Answer::Inner => Finding::warn(
            "the router has no address of its own in the world: another one is before it",
        )
        .fix("ask your provider for a public address, or use IPv6"),
        Answer::Refuses(reason) => refusal("the router answers UPnP, and lets nobody in", &reason)
            .fix(forward("allow it in the router, or ")),
        Answer::Open => Finding::ok("UPnP works: it lets others in"),
    }
}

/// Returns our address as somebody in the world would be sent it from.
async fn own_address() -> Option<IpAddr> {
    towards(SocketAddr::from(([192, 0, 2, 1], 9))).await
}

/// Returns our address as somebody sees it; nothing is sent.
async fn towards(other: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).await.ok()?;
    socket.connect(other).await.ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

/// Tells whether an address is understood everywhere.
fn is_of_the_world(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            // Shared by the customers of a provider (RFC 6598).
            let is_shared = matches!(ip.octets(), [100, 64..=127, ..]);
            let is_near = ip.is_private() || ip.is_loopback() || ip.is_link_local();
            !is_shared && !is_near && !ip.is_unspecified() && !ip.is_documentation()
        }
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::Verdict;
    use super::*;

    #[test]
    fn what_a_router_says_is_followed_by_what_to_do() {
        let own = Some("192.168.1.20".parse().unwrap());
        let lies = || "\x1b[2Jboo".to_owned();
        for answer in [Answer::Silent, Answer::Mute(lies()), Answer::Inner, Answer::Refuses(lies())]
        {
            let found = sum_up(answer, 3282, own);
            assert_eq!(found.verdict, Verdict::Warn);
            assert!(!found.says.shown().contains('\x1b'), "{found:?}");
            assert!(!found.says.hidden().contains("boo"), "{found:?}");
            assert!(!found.fix.unwrap().hidden().contains("192.168"));
        }
        let found = sum_up(Answer::Silent, 3282, own);
        let right =
            "switch UPnP on in the router, or forward TCP and UDP port 3282 to 192.168.1.20";
        assert_eq!(found.fix.unwrap().shown(), right);
        assert_eq!(sum_up(Answer::Open, 3282, own).verdict, Verdict::Ok);
    }

    #[tokio::test]
    async fn a_process_that_got_in_is_believed() {
        let found = look(Some((7, Router::Open(3282))), None, None).await;
        assert_eq!(found.says.shown(), "UPnP lets others in at port 3282 (process 7)");
        assert_eq!(look(Some((7, Router::Silent)), None, None).await.verdict, Verdict::Skipped);
    }

    #[test]
    fn addresses_of_homes_and_providers_are_none_of_the_world() {
        for ip in ["10.0.0.1", "192.168.0.1", "100.64.0.1", "100.127.9.9", "127.0.0.1", "fd00::1"] {
            assert!(!is_of_the_world(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "2600::1"] {
            assert!(is_of_the_world(ip.parse().unwrap()), "{ip}");
        }
    }
}
