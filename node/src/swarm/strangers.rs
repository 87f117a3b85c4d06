//! How often strangers may knock: a handshake is more work than all that is refused afterwards.
//!
//! Each host has a pace of its own, and all of them together another; hosts from which the protocol was broken again and again are
//! turned away for a while. Loopback, which is our own machine, does not count, nor do those who are known (`guests`).
//! Invariant: so many handshakes a second take no more than a part of a processor, however many hosts take part.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use thiserror::Error;

use super::shunned::Shunned;
use super::{limits, nearby};

/// Why a stranger is not let on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum Refused {
    /// From there the protocol was broken.
    #[error("peers from there broke the protocol just now")]
    Shunned,
    /// It comes too often, or all of them do.
    #[error("too many handshakes at once")]
    TooMany,
}

/// An IPv4 address, or an IPv6 /64: what one computer has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Host(IpAddr);

impl Host {
    fn of(address: &Multiaddr) -> Option<Self> {
        let ip = address.iter().find_map(|part| match part {
            Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            Protocol::Ip6(ip) => Some(ip.to_canonical()),
            _ => None,
        })?;
        Some(Self(match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        }))
    }
}

/// So many at once, and one more each such time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) at_once: u32,
    pub(super) every: Duration,
}

impl Pace {
    /// Tells from when on time alone has paid for another one; nothing if it is one too many now.
    pub(super) fn take(self, now: Instant, paid: Option<Instant>) -> Option<Instant> {
        let next = paid.map_or(now, |paid| paid.max(now)) + self.every;
        (next <= now + self.every * self.at_once).then_some(next)
    }
}

/// How often one host, and all of them, may knock.
const OF_HOST: Pace =
    Pace { at_once: limits::HOST_HANDSHAKES, every: limits::HOST_HANDSHAKE_EVERY };
const OF_ALL: Pace = Pace { at_once: limits::HANDSHAKES, every: limits::HANDSHAKE_EVERY };

/// Who knocked lately.
#[derive(Debug)]
pub(super) struct Strangers {
    shunned: Shunned<Host>,
    /// When time alone has paid for what each host did; in the past is as good as never. So there are no more than
    /// all of them together may do meanwhile.
    hosts: BTreeMap<Host, Instant>,
    all: Option<Instant>,
}

impl Strangers {
    pub(super) fn new() -> Self {
        let shunned = Shunned::new(limits::HOST_FAULTS);
        Self { shunned, hosts: BTreeMap::new(), all: None }
    }

    /// Somebody from there broke the protocol.
    pub(super) fn shun(&mut self, now: Instant, from: &Multiaddr) {
        if let Some(host) = counted(from) {
            self.shunned.insert(now, host);
        }
    }

    /// Somebody from there begins a handshake.
    pub(super) fn handle_pending(&mut self, now: Instant, from: &Multiaddr) -> Result<(), Refused> {
        let Some(host) = counted(from) else { return Ok(()) };
        if self.shunned.contains(now, &host) {
            return Err(Refused::Shunned);
        }
        let of_host = OF_HOST.take(now, self.hosts.get(&host).copied());
        let of_host = of_host.ok_or(Refused::TooMany)?;
        let of_all = OF_ALL.take(now, self.all).ok_or(Refused::TooMany)?;
        self.hosts.retain(|_, paid| *paid > now);
        self.hosts.insert(host, of_host);
        self.all = Some(of_all);
        Ok(())
    }
}

/// Returns whose pace it is; nobody's if it does not count.
fn counted(from: &Multiaddr) -> Option<Host> {
    Host::of(from).filter(|_| !nearby::is_loopback(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    /// Returns how many of `count` are let on that come from these hosts in turn.
    fn knock(strangers: &mut Strangers, now: Instant, hosts: &[Multiaddr], count: u32) -> u32 {
        let hosts = hosts.iter().cycle();
        let let_on = |host| u32::from(strangers.handle_pending(now, host).is_ok());
        hosts.take(count as usize).map(let_on).sum()
    }

    #[test]
    fn a_host_knocks_so_often_and_leaves_the_rest_to_others() {
        let (mut strangers, now) = (Strangers::new(), Instant::now());
        let (one, other) = ([at("/ip4/192.0.2.1/tcp/1")], [at("/ip4/192.0.2.2/tcp/1")]);
        assert_eq!(knock(&mut strangers, now, &one, 10_000), limits::HOST_HANDSHAKES);
        assert_eq!(knock(&mut strangers, now, &other, 10_000), limits::HOST_HANDSHAKES);
        let later = now + 3 * limits::HOST_HANDSHAKE_EVERY;
        assert_eq!(knock(&mut strangers, later, &one, 100), 3);
        let mapped = [at("/ip6/::ffff:192.0.2.1/udp/1/quic-v1")];
        assert_eq!(knock(&mut strangers, later, &mapped, 100), 0, "the same host");
        let net = ["/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8::ffff:1:2:3/tcp/1"].map(at);
        assert_eq!(knock(&mut strangers, later, &net, 1_000), limits::HOST_HANDSHAKES);
    }

    #[test]
    fn all_hosts_together_knock_so_often_and_little_of_them_is_remembered() {
        let (mut strangers, mut now) = (Strangers::new(), Instant::now());
        let hosts: Vec<Multiaddr> = (0..50_000_u32)
            .map(|host| {
                at(&format!("/ip4/{}/tcp/1", std::net::Ipv4Addr::from_bits(0x2000_0000 + host)))
            })
            .collect();
        assert_eq!(knock(&mut strangers, now, &hosts, 50_000), limits::HANDSHAKES);
        for _ in 0..5 {
            now += Duration::from_secs(1);
            let in_a_second = Duration::from_secs(1).div_duration_f64(limits::HANDSHAKE_EVERY);
            assert!(f64::from(knock(&mut strangers, now, &hosts, 50_000)) <= in_a_second + 1.0);
            // Each is remembered until it paid for one alone.
            let most = f64::from(limits::HANDSHAKES)
                + limits::HOST_HANDSHAKE_EVERY.div_duration_f64(limits::HANDSHAKE_EVERY);
            assert!(strangers.hosts.len() as f64 <= most, "{}", strangers.hosts.len());
        }
    }

    #[test]
    fn a_host_from_which_the_protocol_is_broken_is_turned_away_and_this_machine_never_is() {
        let (mut strangers, now) = (Strangers::new(), Instant::now());
        let (bad, other) = (at("/ip4/192.0.2.1/tcp/1"), at("/ip4/192.0.2.2/tcp/1"));
        for _ in 0..limits::HOST_FAULTS {
            strangers.shun(now, &bad);
        }
        assert_eq!(strangers.handle_pending(now, &bad), Ok(()), "one may have a neighbour");
        strangers.shun(now, &bad);
        assert_eq!(strangers.handle_pending(now, &bad), Err(Refused::Shunned));
        assert_eq!(strangers.handle_pending(now, &other), Ok(()));
        assert_eq!(strangers.handle_pending(now + limits::SHUN_FIRST, &bad), Ok(()));
        let near = at("/ip4/127.0.0.1/tcp/1");
        for _ in 0..10 * limits::HANDSHAKES {
            strangers.shun(now, &near);
            assert_eq!(strangers.handle_pending(now, &near), Ok(()));
        }
    }
}
