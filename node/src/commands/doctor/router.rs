//! Whether the router lets others in when it is asked by UPnP.
//!
//! What it says may be anything, and it may never end: all of it happens within the limit of a step, and its words are shown to the user alone.
//! That others get in is its word, unless a process that serves saw somebody come through.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::step::Finding;
use super::words::Words;
use crate::cli::escape;
use crate::swarm::{Gateway, Port, Router, is_of_the_world, towards};

/// How long what is tried stays if it cannot be taken back.
const LEASE: Duration = Duration::from_secs(60);

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
    /// It says that it does.
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
    let own = own_address().await;
    if let Some((pid, Router::Mapped(port))) = told {
        let says = format!(
            "the router says that it lets others in at port {port} (UPnP, process {pid}), and nobody came through yet who could tell"
        );
        return Finding::warn(says).fix(forward(
            "--bootstrap ADDRESS names a node that tries it; if it fails, ",
            port,
            own,
        ));
    }
    let Some(port) = port else {
        return Finding::skipped("there is no port to let others in at");
    };
    sum_up(ask(port).await, wanted.unwrap_or(port), own)
}

/// Asks the router for a port, and gives it back.
async fn ask(port: u16) -> Answer {
    let Some(gateway) = Gateway::find().await else { return Answer::Silent };
    match gateway.address().await {
        Err(error) => return Answer::Mute(error.to_string()),
        Ok(ip) if !is_of_the_world(ip) => return Answer::Inner,
        Ok(_) => {}
    }
    let port = Port { tcp: true, number: port };
    match gateway.open(port, LEASE).await {
        Err(error) => Answer::Refuses(error.to_string()),
        Ok(()) => {
            // What is not taken back ends with its lease.
            let _ = gateway.close(port).await;
            Answer::Open
        }
    }
}

fn sum_up(answer: Answer, port: u16, own: Option<IpAddr>) -> Finding {
    let forward = |first: &str| forward(first, port, own);
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
        Answer::Open => Finding::ok("UPnP answers: the router says that it lets others in"),
    }
}

/// Says what to do at the router by hand, after some other words.
fn forward(first: &str, port: u16, own: Option<IpAddr>) -> Words {
    let fix = Words::new(format!("{first}forward TCP and UDP port {port} to "));
    match own {
        Some(own) => fix.own("address", own),
        None => fix.and("this computer"),
    }
}

/// Returns our address as somebody in the world would be sent it from.
async fn own_address() -> Option<IpAddr> {
    towards(SocketAddr::from(([192, 0, 2, 1], 9))).await
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
    async fn a_process_is_believed_if_somebody_came_through() {
        let found = look(Some((7, Router::Open(3282))), None, None).await;
        assert_eq!(found.says.shown(), "UPnP lets others in at port 3282 (process 7)");
        let found = look(Some((7, Router::Mapped(3282))), None, None).await;
        assert_eq!((found.verdict, found.fix.is_some()), (Verdict::Warn, true), "{found:?}");
        assert_eq!(look(Some((7, Router::Silent)), None, None).await.verdict, Verdict::Skipped);
    }
}
