//! Whom to dial, where, and when again.
//!
//! Told what became of dials and peers, asked what to dial next. TCP comes before QUIC, which carries bulk at
//! twice the cost; addresses after the first choice wait until it failed or took too long.
//!
//! A peer that several channels name is as many targets: what one channel says of it delays no other.
//!
//! Invariant: a target waits, dials, or is connected; only a kept one ever waits for a second time.
//! Elsewhere: who becomes a target (`named`), one target (`target`), addresses (`addresses`), the dials themselves (`driver`).

mod addresses;
mod named;
mod target;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use self::addresses::bare;
pub(super) use self::addresses::is_tcp;
pub(crate) use self::addresses::peer_of;
use self::target::{Attempt, Phase, Target};
use super::channel::Channel;
use super::{chance, limits};

/// Names a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetId(u64);

/// A dial to begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) target: TargetId,
    pub(super) channel: Channel,
    pub(super) peer: Option<PeerId>,
    pub(super) addresses: Vec<Multiaddr>,
}

/// A target that could not be reached.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) channel: Channel,
    pub(super) peer: Option<PeerId>,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) reason: String,
    /// When it is tried again, if it is.
    pub(super) retry_in: Option<Duration>,
}

/// What there is with a peer already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// Nothing.
    None,
    /// A connection that may get a session.
    Connection,
    /// A session.
    Session,
}

/// All peers that somebody wants to be connected to.
#[derive(Debug)]
pub(super) struct Targets {
    /// Our own id: pauses differ by it.
    local: PeerId,
    next: u64,
    targets: BTreeMap<TargetId, Target>,
}

impl Targets {
    pub(super) fn new(local: PeerId) -> Self {
        Self { local, next: 0, targets: BTreeMap::new() }
    }

    /// Stops dialing a peer for one channel.
    pub(super) fn forget_in(&mut self, channel: Channel, peer: &PeerId) {
        self.targets
            .retain(|_, target| target.channel != channel || target.peer.as_ref() != Some(peer));
    }

    /// Stops dialing an address for one channel.
    pub(super) fn forget_at(&mut self, channel: Channel, address: &Multiaddr) {
        self.targets.retain(|_, target| {
            if target.channel == channel {
                target.addresses.retain(|other| other != address);
            }
            !target.addresses.is_empty()
        });
    }

    /// Stops dialing a peer.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.targets.retain(|_, target| {
            let is_it = match &target.phase {
                Phase::Connected { peer: other, .. } => other == peer,
                Phase::Dialing { attempts, .. } => attempts.contains(&Attempt::Established(*peer)),
                Phase::Waiting { .. } => false,
            };
            !is_it && target.peer.as_ref() != Some(peer)
        });
    }

    /// Stops dialing anybody.
    pub(super) fn clear(&mut self) {
        self.targets.clear();
    }

    /// Returns the next dial to begin.
    pub(super) fn poll_dial(
        &mut self,
        now: Instant,
        contact: impl Fn(&PeerId) -> Contact,
    ) -> Option<Dial> {
        self.notice(now, contact);
        let (due, id) = self.next_due()?;
        let target = self.targets.get_mut(&id).filter(|_| due <= now)?;
        let addresses = target.next_try(now)?;
        Some(Dial { target: id, channel: target.channel, peer: target.peer, addresses })
    }

    /// Returns when [`Targets::poll_dial`] will have something new to say.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_due().map(|(due, _)| due)
    }

    /// Returns what is to be dialed next, and when: what waited longest, so that everybody has a turn.
    fn next_due(&self) -> Option<(Instant, TargetId)> {
        if self.dials(|_| true) >= limits::PENDING_OUTBOUND as usize {
            return None;
        }
        let full = Channel::ALL.map(|channel| (channel, self.is_full(channel)));
        let is_open = |target: &Target| !full.contains(&(target.channel, true));
        let open = self.targets.iter().filter(|(_, target)| is_open(target));
        open.filter_map(|(&id, target)| Some((target.due()?, id))).min()
    }

    /// Tells whether a channel has its share of dials, or of connections.
    fn is_full(&self, channel: Channel) -> bool {
        let Some((dials, connections)) = channel.share() else { return false };
        let of_it = |target: &Target| target.channel == channel;
        let connected =
            |target: &&Target| of_it(target) && matches!(target.phase, Phase::Connected { .. });
        self.dials(of_it) >= dials || self.targets.values().filter(connected).count() >= connections
    }

    /// Returns those who are connected and were named by a channel.
    pub(super) fn connected_in(&self, channel: Channel) -> Vec<PeerId> {
        let of_it = self.targets.values().filter(|target| target.channel == channel);
        let peers = of_it.filter_map(|target| match target.phase {
            Phase::Connected { peer, .. } => Some(peer),
            Phase::Waiting { .. } | Phase::Dialing { .. } => None,
        });
        peers.collect()
    }

    /// Lets a peer go that leads into the DHT, until a while later.
    pub(super) fn rest(&mut self, now: Instant, peer: &PeerId) {
        for target in self.targets.values_mut() {
            let Phase::Connected { peer: other, .. } = &target.phase else { continue };
            if target.channel == Channel::Bootstrap && other == peer {
                target.failures = 0;
                let whom = peer.to_bytes();
                let pause =
                    chance::at_most(limits::BOOTSTRAP_REST, &[&self.local.to_bytes(), &whom]);
                target.phase = Phase::Waiting { until: now + pause };
            }
        }
    }

    /// Has those who lead into the DHT and were let go dialed again at once.
    pub(super) fn wake(&mut self, now: Instant) {
        for target in self.targets.values_mut() {
            if let Phase::Waiting { until } = &mut target.phase
                && target.channel == Channel::Bootstrap
                && target.failures == 0
            {
                *until = now.min(*until);
            }
        }
    }

    /// Returns whether somebody asked for a connection to a peer, more than that strangers named it or that it leads into the DHT.
    pub(super) fn wants(&self, peer: &PeerId) -> bool {
        self.targets.values().any(|target| {
            let there =
                matches!(&target.phase, Phase::Connected { peer: other, .. } if other == peer);
            let passes =
                matches!(target.channel, Channel::Dht | Channel::Exchanged | Channel::Bootstrap);
            !passes && (there || target.peer.as_ref() == Some(peer))
        })
    }

    /// A dial has begun.
    pub(super) fn handle_dialing(&mut self, target: TargetId, connection: ConnectionId) {
        if let Some(Target { phase: Phase::Dialing { attempts, .. }, .. }) =
            self.targets.get_mut(&target)
        {
            attempts.push(Attempt::Dialing(connection));
        }
    }

    /// Tells whether a connection was dialed for one of the targets.
    pub(super) fn dials_by(&self, connection: ConnectionId) -> bool {
        self.targets.values().any(|target| match &target.phase {
            Phase::Dialing { attempts, .. } => attempts.contains(&Attempt::Dialing(connection)),
            Phase::Waiting { .. } | Phase::Connected { .. } => false,
        })
    }

    /// A dial led to a peer.
    pub(super) fn handle_established(&mut self, connection: ConnectionId, peer: PeerId) {
        for target in self.targets.values_mut() {
            let Phase::Dialing { attempts, .. } = &mut target.phase else { continue };
            for attempt in attempts {
                if *attempt == Attempt::Dialing(connection) {
                    *attempt = Attempt::Established(peer);
                }
            }
        }
    }

    /// A session with a peer began.
    pub(super) fn handle_session(&mut self, now: Instant, peer: PeerId) {
        self.targets.retain(|_, target| {
            let reached = match &target.phase {
                Phase::Dialing { attempts, .. } => attempts.contains(&Attempt::Established(peer)),
                _ => false,
            };
            if reached || target.peer == Some(peer) {
                target.phase = Phase::Connected { peer, since: now };
            }
            target.keep || !matches!(target.phase, Phase::Connected { .. })
        });
    }

    /// A dial failed. With `fatal` no later one could succeed.
    pub(super) fn handle_failed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        reason: &str,
        fatal: bool,
    ) -> Vec<Failure> {
        self.fail(now, Attempt::Dialing(connection), reason, fatal)
    }

    /// At one of the addresses that were dialed at once was another node. That ended the dial, and says nothing of the others:
    /// they are dialed again without it.
    pub(super) fn handle_wrong(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        address: &Multiaddr,
        reason: &str,
    ) -> Vec<Failure> {
        for target in self.targets.values_mut() {
            let Phase::Dialing { tries, attempts, wrong, .. } = &mut target.phase else { continue };
            if attempts.contains(&Attempt::Dialing(connection)) {
                wrong.push(bare(address));
                let left = |other: &&Multiaddr| {
                    is_tcp(other) == is_tcp(address) && !wrong.contains(&bare(other))
                };
                let rest: Vec<_> = target.addresses.iter().filter(left).cloned().collect();
                if target.peer.is_some() && !rest.is_empty() {
                    tries.push_front(rest);
                }
            }
        }
        self.handle_failed(now, connection, reason, false)
    }

    /// The last connection to a peer is gone.
    pub(super) fn handle_gone(&mut self, now: Instant, peer: PeerId, reason: &str) -> Vec<Failure> {
        self.targets.retain(|_, target| {
            let Phase::Connected { peer: other, since } = target.phase else { return true };
            if other == peer {
                let lived = now.saturating_duration_since(since);
                let good = lived >= limits::REDIAL_RESET_AFTER;
                target.failures = if good { 0 } else { target.failures.saturating_add(1) };
                target.phase = Phase::Waiting { until: now + target.pause(self.local) };
            }
            other != peer || target.keep
        });
        self.fail(now, Attempt::Established(peer), reason, false)
    }

    fn fail(&mut self, now: Instant, attempt: Attempt, reason: &str, fatal: bool) -> Vec<Failure> {
        let mut failures = Vec::new();
        self.targets.retain(|_, target| {
            let Phase::Dialing { tries, attempts, next_at, reasons, .. } = &mut target.phase else {
                return true;
            };
            let before = attempts.len();
            attempts.retain(|other| *other != attempt);
            if attempts.len() == before {
                return true;
            }
            reasons.push(reason.to_owned());
            if fatal {
                tries.clear();
            }
            if !attempts.is_empty() {
                return true;
            }
            if !tries.is_empty() {
                *next_at = now;
                return true;
            }
            let reason = reasons.join("; ");
            target.failures = target.failures.saturating_add(1);
            // Who is still there is named again.
            let named = target.channel.peers_max().is_some();
            let in_vain = named && target.failures >= limits::DHT_FAILURES;
            let keep = target.keep && !fatal && !in_vain;
            let pause = target.pause(self.local);
            target.phase = Phase::Waiting { until: now + pause };
            failures.push(Failure {
                channel: target.channel,
                peer: target.peer,
                addresses: target.addresses.clone(),
                reason,
                retry_in: keep.then_some(pause),
            });
            keep
        });
        failures
    }

    /// Peers may have come to us meanwhile.
    fn notice(&mut self, now: Instant, contact: impl Fn(&PeerId) -> Contact) {
        self.targets.retain(|_, target| {
            let (Some(peer), Phase::Waiting { until }) = (target.peer, &target.phase) else {
                return true;
            };
            if *until > now {
                return true;
            }
            match contact(&peer) {
                Contact::None => {}
                Contact::Session => target.phase = Phase::Connected { peer, since: now },
                Contact::Connection => {
                    target.phase = Phase::Dialing {
                        tries: VecDeque::new(),
                        attempts: vec![Attempt::Established(peer)],
                        next_at: now,
                        reasons: Vec::new(),
                        wrong: Vec::new(),
                    };
                }
            }
            target.keep || !matches!(target.phase, Phase::Connected { .. })
        });
    }

    /// Returns how many dials to some of the targets are under way.
    fn dials(&self, of: impl Fn(&Target) -> bool) -> usize {
        let dialing = |attempt: &&Attempt| matches!(attempt, Attempt::Dialing(_));
        self.targets
            .values()
            .filter(|target| of(target))
            .map(|target| match &target.phase {
                Phase::Dialing { attempts, .. } => attempts.iter().filter(dialing).count(),
                _ => 0,
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerId {
        PeerId::random()
    }

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn connection(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    const NOBODY: fn(&PeerId) -> Contact = |_| Contact::None;

    #[test]
    fn quic_is_dialed_once_tcp_failed() {
        let now = Instant::now();
        let peer = peer();
        let tcp = address("/ip4/127.0.0.1/tcp/1");
        let quic = address("/ip4/127.0.0.1/udp/1/quic-v1").with_p2p(peer).unwrap();
        let mut targets = Targets::new(PeerId::random());
        targets.add(now, Channel::Given, vec![quic.clone(), tcp.clone()], false);
        let dial = targets.poll_dial(now, NOBODY).unwrap();
        assert_eq!((dial.peer, dial.addresses), (Some(peer), vec![tcp]));
        targets.handle_dialing(dial.target, connection(0));
        assert_eq!(targets.poll_dial(now, NOBODY), None);
        assert_eq!(targets.poll_timeout(), Some(now + limits::NEXT_ADDRESSES_AFTER));
        assert_eq!(targets.handle_failed(now, connection(0), "refused", false), []);
        let dial = targets.poll_dial(now, NOBODY).unwrap();
        assert_eq!(dial.addresses, [quic]);
        targets.handle_dialing(dial.target, connection(1));
        let failures = targets.handle_failed(now, connection(1), "silent", false);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].reason, "refused; silent");
        assert_eq!(targets.poll_timeout(), None, "it was not to be kept");
    }

    #[test]
    fn a_slow_first_choice_does_not_hold_up_the_second() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let both = vec![
            address("/ip4/127.0.0.1/tcp/1").with_p2p(peer()).unwrap(),
            address("/ip4/127.0.0.1/udp/1/quic-v1"),
        ];
        targets.add(now, Channel::Given, both, false);
        let dial = targets.poll_dial(now, NOBODY).unwrap();
        targets.handle_dialing(dial.target, connection(0));
        let later = now + limits::NEXT_ADDRESSES_AFTER;
        assert!(targets.poll_dial(later, NOBODY).is_some());
    }

    #[test]
    fn a_kept_peer_is_dialed_again_with_growing_pauses() {
        let mut now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let peer = peer();
        let at = address("/ip4/127.0.0.1/tcp/1").with_p2p(peer).unwrap();
        targets.add(now, Channel::Given, vec![at], true);
        let mut pauses = Vec::new();
        for attempt in 0..8 {
            let dial = targets.poll_dial(now, NOBODY).unwrap();
            targets.handle_dialing(dial.target, connection(attempt));
            let failures = targets.handle_failed(now, connection(attempt), "refused", false);
            let pause = failures[0].retry_in.unwrap();
            assert_eq!(targets.poll_dial(now, NOBODY), None);
            now += pause;
            pauses.push(pause);
        }
        assert!(pauses[0] < Duration::from_millis(320), "{pauses:?}");
        assert!(pauses[7] > Duration::from_secs(7), "{pauses:?}");
        assert!(pauses[7] < Duration::from_secs(13), "{pauses:?}");
        targets.forget(&peer);
        assert_eq!(targets.poll_dial(now, NOBODY), None);
    }

    #[test]
    fn a_kept_peer_that_came_to_us_is_dialed_when_it_leaves() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let peer = peer();
        let at = address("/ip4/127.0.0.1/tcp/1").with_p2p(peer).unwrap();
        targets.add(now, Channel::Given, vec![at], true);
        assert_eq!(targets.poll_dial(now, |_| Contact::Session), None);
        assert_eq!(targets.poll_timeout(), None);
        targets.handle_gone(now, peer, "gone");
        let due = targets.poll_timeout().unwrap();
        assert!(targets.poll_dial(due, NOBODY).is_some());
    }

    #[test]
    fn a_connection_that_gives_no_session_is_a_failure() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let peer = peer();
        targets.add(now, Channel::Given, vec![address("/ip4/127.0.0.1/tcp/1")], false);
        let dial = targets.poll_dial(now, NOBODY).unwrap();
        targets.handle_dialing(dial.target, connection(0));
        targets.handle_established(connection(0), peer);
        let failures = targets.handle_gone(now, peer, "it speaks something else");
        assert_eq!(failures[0].reason, "it speaks something else");
    }

    #[test]
    fn dialing_ourselves_is_not_repeated() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        targets.add(now, Channel::Given, vec![address("/ip4/127.0.0.1/tcp/1")], true);
        let dial = targets.poll_dial(now, NOBODY).unwrap();
        targets.handle_dialing(dial.target, connection(0));
        let failures = targets.handle_failed(now, connection(0), "ourselves", true);
        assert_eq!(failures[0].retry_in, None);
        assert_eq!(targets.poll_timeout(), None);
    }

    #[test]
    fn dials_wait_for_their_turn() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let count = 200;
        for port in 1..=count {
            let at = address(&format!("/ip4/127.0.0.1/tcp/{port}"));
            targets.add(now, Channel::Given, vec![at], false);
        }
        let mut begun = 0;
        while let Some(dial) = targets.poll_dial(now, NOBODY) {
            targets.handle_dialing(dial.target, connection(begun));
            begun += 1;
        }
        assert_eq!(begun, limits::PENDING_OUTBOUND as usize);
        assert_eq!(targets.poll_timeout(), None, "no timer may spin meanwhile");
        let mut done = 0;
        while done < begun {
            targets.handle_failed(now, connection(done), "refused", false);
            done += 1;
            while let Some(dial) = targets.poll_dial(now, NOBODY) {
                targets.handle_dialing(dial.target, connection(begun));
                begun += 1;
            }
        }
        assert_eq!(done, count);
    }

    #[test]
    fn somebody_else_at_one_address_does_not_hide_the_peer_at_another() {
        let now = Instant::now();
        let (mut targets, peer) = (Targets::new(PeerId::random()), peer());
        let at = |port| address(&format!("/ip4/127.0.0.1/tcp/{port}"));
        let quic = address("/ip4/127.0.0.1/udp/1/quic-v1").with_p2p(peer).unwrap();
        targets.add(now, Channel::Given, vec![at(1), quic.clone(), at(2), at(3)], true);
        let mut connections = (0..).map(connection);
        let mut dial = |targets: &mut Targets| {
            let dial = targets.poll_dial(now, NOBODY).unwrap();
            let connection = connections.next().unwrap();
            targets.handle_dialing(dial.target, connection);
            (dial.addresses, connection)
        };
        let (all, first) = dial(&mut targets);
        assert_eq!(all, [at(1), at(2), at(3)]);
        let wrong = at(2).with_p2p(peer).unwrap();
        assert_eq!(targets.handle_wrong(now, first, &wrong, "another"), []);
        let (rest, second) = dial(&mut targets);
        assert_eq!(rest, [at(1), at(3)]);
        assert_eq!(targets.handle_wrong(now, second, &at(1), "another"), []);
        let (rest, third) = dial(&mut targets);
        assert_eq!(rest, [at(3)]);
        assert_eq!(targets.handle_wrong(now, third, &at(3), "another"), []);
        let (rest, fourth) = dial(&mut targets);
        assert_eq!(rest, std::slice::from_ref(&quic), "then the second choice");
        assert_eq!(targets.handle_wrong(now, fourth, &quic, "another").len(), 1);
        // The next time all of them may be right.
        let due = targets.poll_timeout().unwrap();
        assert_eq!(targets.poll_dial(due, NOBODY).unwrap().addresses.len(), 3);
    }

    #[test]
    fn what_one_channel_says_of_a_peer_delays_no_other() {
        let now = Instant::now();
        let (mut targets, peer) = (Targets::new(PeerId::random()), peer());
        let at =
            |port: usize| address(&format!("/ip4/127.0.0.1/tcp/{port}")).with_p2p(peer).unwrap();
        let channels = [(1, Channel::Remembered), (2, Channel::Lan), (3, Channel::Given)];
        for (port, channel) in channels {
            targets.add(now, channel, vec![at(port)], true);
        }
        for port in 1..=3 {
            let dial = targets.poll_dial(now, NOBODY).unwrap();
            assert_eq!(dial.addresses, [at(port)]);
            targets.handle_dialing(dial.target, connection(port));
        }
        // The first is silent, the second is refused and forgotten, the third answers.
        let failures = targets.handle_failed(now, connection(2), "refused", false);
        assert_eq!((failures.len(), failures[0].channel), (1, Channel::Lan));
        targets.forget_in(Channel::Lan, &peer);
        assert_eq!(targets.poll_timeout(), None);
        targets.handle_established(connection(3), peer);
        targets.handle_session(now, peer);
        assert_eq!(targets.poll_timeout(), None);
        targets.handle_gone(now, peer, "gone");
        let due = targets.poll_timeout().unwrap();
        let again: Vec<Vec<Multiaddr>> = (0..2)
            .map(|_| targets.poll_dial(due + limits::REDIAL_FIRST, NOBODY).unwrap().addresses)
            .collect();
        assert!(again.contains(&vec![at(1)]) && again.contains(&vec![at(3)]), "{again:?}");
    }

    #[test]
    fn a_flood_of_names_on_the_local_network_leaves_room_for_who_was_asked_for() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let at = |port| address(&format!("/ip4/10.0.0.1/tcp/{port}")).with_p2p(peer()).unwrap();
        for port in 1..=limits::LAN_PEERS {
            assert_eq!(targets.add(now, Channel::Lan, vec![at(port)], true), []);
        }
        let mut begun = 0;
        while let Some(dial) = targets.poll_dial(now, NOBODY) {
            targets.handle_dialing(dial.target, connection(begun));
            begun += 1;
        }
        assert_eq!(begun, limits::LAN_DIALS);
        assert_eq!(targets.poll_timeout(), None, "no timer may spin meanwhile");
        let asked = at(9_999);
        targets.add(now, Channel::Given, vec![asked.clone()], true);
        assert_eq!(targets.poll_dial(now, NOBODY).unwrap().addresses, [asked]);
        // Those that fail make room for the others, in turn, before any of them is dialed again.
        let mut dialed = BTreeMap::new();
        for done in 0..limits::LAN_PEERS {
            targets.handle_failed(now, connection(done), "refused", false);
            while let Some(dial) = targets.poll_dial(now + limits::REDIAL_MAX, NOBODY) {
                targets.handle_dialing(dial.target, connection(begun));
                begun += 1;
                *dialed.entry(dial.peer).or_insert(0) += 1;
            }
        }
        assert!(dialed.len() >= limits::LAN_PEERS - limits::LAN_DIALS, "{}", dialed.len());
        assert!(dialed.values().all(|&times| times <= 2), "{dialed:?}");
    }

    #[test]
    fn whom_the_table_names_takes_a_share_and_is_left_after_a_few_vain_dials() {
        let mut now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let at = |port| address(&format!("/ip4/10.0.0.1/tcp/{port}")).with_p2p(peer()).unwrap();
        for port in 1..=2 * limits::DHT_PEERS {
            assert_eq!(targets.add(now, Channel::Dht, vec![at(port)], true), []);
        }
        assert_eq!(targets.targets.len(), limits::DHT_PEERS);
        let (mut begun, mut left) = (0, limits::DHT_PEERS);
        while left > 0 {
            let first = begun;
            while let Some(dial) = targets.poll_dial(now, NOBODY) {
                targets.handle_dialing(dial.target, connection(begun));
                begun += 1;
            }
            assert!(begun - first <= limits::DHT_DIALS);
            for done in first..begun {
                let failures = targets.handle_failed(now, connection(done), "refused", false);
                left -= failures.iter().filter(|failure| failure.retry_in.is_none()).count();
            }
            now += limits::REDIAL_DHT_MAX;
        }
        assert_eq!(begun, limits::DHT_PEERS * limits::DHT_FAILURES as usize);
        assert!(targets.targets.is_empty());
        let known = at(1);
        targets.add(now, Channel::Dht, vec![known.clone()], true);
        let peer = peer_of(&known).unwrap();
        assert!(!targets.wants(&peer), "nobody asked for it");
        targets.add(now, Channel::Given, vec![known], true);
        assert!(targets.wants(&peer));
        targets.handle_session(now, peer);
        assert_eq!(targets.connected_in(Channel::Dht), [peer]);
        assert_eq!(targets.connected_in(Channel::Bootstrap), []);
    }

    #[test]
    fn whoever_names_a_victim_again_and_again_has_it_dialed_a_few_times() {
        let mut now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let at = |ip: &str, port: u16| {
            address(&format!("/ip4/{ip}/tcp/{port}")).with_p2p(peer()).unwrap()
        };
        let mut begun = 0;
        for port in 1..=1_000 {
            targets.add(now, Channel::Exchanged, vec![at("198.51.100.7", port)], true);
        }
        for _ in 0..100 {
            let first = begun;
            while let Some(dial) = targets.poll_dial(now, NOBODY) {
                targets.handle_dialing(dial.target, connection(begun));
                begun += 1;
            }
            for done in first..begun {
                targets.handle_failed(now, connection(done), "refused", false);
            }
            now += limits::REDIAL_DHT_MAX;
        }
        assert_eq!(begun, limits::EXCHANGE_PER_IP * limits::DHT_FAILURES as usize);
        assert!(targets.targets.is_empty());
        for number in 0..=255 {
            let ip = format!("198.51.100.{number}");
            targets.add(now, Channel::Exchanged, vec![at(&ip, 1)], true);
        }
        assert_eq!(targets.targets.len(), limits::EXCHANGE_PEERS);
        let mut dialed = 0;
        while let Some(dial) = targets.poll_dial(now, NOBODY) {
            targets.handle_dialing(dial.target, connection(begun + dialed));
            dialed += 1;
        }
        assert_eq!(dialed, limits::EXCHANGE_DIALS);
    }

    #[test]
    fn who_leads_into_the_dht_is_let_go_and_called_again() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let peer = peer();
        let at = address("/ip4/198.51.100.7/tcp/1").with_p2p(peer).unwrap();
        targets.add(now, Channel::Bootstrap, vec![at], true);
        targets.handle_session(now, peer);
        assert!(!targets.wants(&peer));
        targets.rest(now, &peer);
        assert_eq!(targets.handle_gone(now, peer, "let go"), []);
        let pause = targets.poll_timeout().unwrap() - now;
        assert!((limits::BOOTSTRAP_REST * 3 / 4..=limits::BOOTSTRAP_REST).contains(&pause));
        targets.wake(now);
        assert!(targets.poll_dial(now, NOBODY).is_some());
    }

    #[test]
    fn no_more_nodes_lead_into_the_dht_than_may_and_each_goes_with_its_address() {
        let now = Instant::now();
        let mut targets = Targets::new(PeerId::random());
        let (first, second) = (peer(), peer());
        let at =
            |peer, port| address(&format!("/ip4/198.51.100.7/tcp/{port}")).with_p2p(peer).unwrap();
        for port in 1..=limits::TARGETS {
            targets.add(now, Channel::Bootstrap, vec![at(peer(), port)], true);
        }
        assert_eq!(targets.targets.len(), limits::BOOTSTRAP_PEERS);
        // Whoever is there for a drive has a place all the same.
        assert_eq!(targets.add(now, Channel::Given, vec![at(first, 1)], true), []);
        targets.clear();
        for (channel, peer, port) in [
            (Channel::Bootstrap, first, 1),
            (Channel::Bootstrap, first, 2),
            (Channel::Bootstrap, second, 3),
            (Channel::Given, first, 1),
        ] {
            targets.add(now, channel, vec![at(peer, port)], true);
        }
        targets.forget_at(Channel::Bootstrap, &at(first, 1));
        assert_eq!(targets.targets.len(), 3, "it has another address");
        targets.forget_at(Channel::Bootstrap, &at(first, 2));
        assert_eq!(targets.targets.len(), 2);
        assert!(targets.wants(&first), "somebody else asked for it");
    }

    #[test]
    fn what_mdns_says_again_and_again_is_dialed_no_more_often() {
        let now = Instant::now();
        let (mut targets, peer) = (Targets::new(PeerId::random()), peer());
        let at = |port| address(&format!("/ip4/10.0.0.1/tcp/{port}")).with_p2p(peer).unwrap();
        targets.add(now, Channel::Lan, vec![at(1)], true);
        let dial = targets.poll_dial(now, NOBODY).unwrap();
        targets.handle_dialing(dial.target, connection(0));
        targets.handle_failed(now, connection(0), "refused", false);
        targets.add(now, Channel::Lan, vec![at(2)], true);
        assert_eq!(targets.poll_dial(now, NOBODY), None);
        let dial = targets.poll_dial(now + limits::REDIAL_FIRST, NOBODY).unwrap();
        assert_eq!(dial.addresses, [at(2)], "the old address is out of date");
    }
}
