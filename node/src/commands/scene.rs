//! What a command that fetches is doing, told from what is true of its drive and its peers.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::cli::escape;
use crate::cli::stages::{Stage, Status, of};
use crate::cli::units::{Count, Span, Things};
use crate::engine::{Drive, LOCAL, LandingState, PeerReport, Sought};
use crate::landing::Current;
use crate::swarm::{Channel, Lan};

/// After so long without a block people want to know why.
const STALLED: Duration = Duration::from_secs(3);

/// A drive that is being fetched.
#[derive(Default)]
pub(super) struct Scene {
    drive: RefCell<Option<Drive>>,
    /// What had moved when it was looked last, and since when nothing more did.
    moved: Cell<Option<(u64, Instant)>>,
    landing: RefCell<Option<LandingState>>,
}

/// What there is to tell the stage from.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Who is looked for.
    sought: usize,
    /// Who is connected.
    peers: usize,
    /// Who of them has the drive.
    serving: usize,
    /// Blocks of the changes feed that came.
    blocks: u64,
    /// Whether the drive's head is known.
    head: bool,
    /// How long nothing came that was asked for.
    idle: Duration,
    landing: Option<LandingState>,
}

impl Scene {
    /// Tells which drive it is.
    pub(super) fn opened(&self, drive: &Drive) {
        *self.drive.borrow_mut() = Some(drive.clone());
    }

    /// Tells how far its files are.
    pub(super) fn landing(&self, state: LandingState) {
        *self.landing.borrow_mut() = Some(state);
    }

    /// Returns what is being done.
    pub(super) fn look(&self) -> Status {
        status(&self.facts())
    }

    /// Says who is there.
    pub(super) fn peers(&self) -> String {
        let Facts { peers, serving, .. } = self.facts();
        let drive = self.drive.borrow();
        let Some(hub) = drive.as_ref().map(|drive| &drive.hub).filter(|_| peers > 0) else {
            return "nobody; looking at what is here".to_owned();
        };
        let sought = hub.sought();
        if sought.remembers() {
            let serving = hub.peers().into_iter().filter(serves);
            let names: Vec<String> = serving.map(|peer| peer.about.name).collect();
            return by_channel(&sought, &names);
        }
        match (peers, serving) {
            (1, 1) => "1 connected".to_owned(),
            (peers, serving) if serving == peers => format!("{peers} connected"),
            (peers, 1) => format!("{peers} connected, 1 has the drive"),
            (peers, serving) => format!("{peers} connected, {serving} have the drive"),
        }
    }

    /// Returns how long nothing moved.
    fn idle(&self, progress: u64) -> Duration {
        let now = Instant::now();
        match self.moved.get() {
            Some((before, since)) if before == progress => now - since,
            _ => {
                self.moved.set(Some((progress, now)));
                Duration::ZERO
            }
        }
    }

    fn facts(&self) -> Facts {
        let landing = self.landing.borrow().clone();
        let drive = self.drive.borrow();
        let Some(drive) = &*drive else { return Facts { landing, ..Facts::default() } };
        let peers = drive.hub.peers();
        let news = *drive.changes.news.borrow();
        Facts {
            sought: drive.hub.sought().count(),
            peers: peers.len(),
            serving: peers.iter().filter(|peer| serves(peer)).count(),
            blocks: news.stored,
            head: news.length > 0,
            idle: self.idle(drive.hub.progress()),
            landing,
        }
    }
}

/// Tells whether a peer has the drive.
fn serves(peer: &PeerReport) -> bool {
    peer.status.feeds > 0
}

/// Says through which channels the peers that have the drive became known; one that two of them named counts in both.
fn by_channel(sought: &Sought, serving: &[String]) -> String {
    let lan = Some("LAN").filter(|_| *sought.lan() != Lan::Off);
    let dht = Some("DHT").filter(|_| sought.dht().is_some_and(|nodes| nodes > 0));
    let given = Some("given").filter(|_| sought.addresses() > 0);
    let always = [
        (Channel::Lan, lan),
        (Channel::Remembered, Some("remembered")),
        (Channel::Dht, dht),
        (Channel::Given, given),
    ];
    let count = |channel| serving.iter().filter(|peer| sought.named(channel, peer)).count();
    let cell = |name: &str, count: usize| match count {
        0 => format!("{name} –"),
        count => format!("{name} ✓{count}"),
    };
    let mut cells: Vec<String> = always
        .into_iter()
        .filter_map(|(channel, name)| Some(cell(name?, count(channel))))
        .collect();
    // A control socket has no peer id.
    let local = |peer: &&String| **peer == LOCAL || sought.named(Channel::Local, peer);
    let strange = |peer: &&String| {
        !local(peer)
            && !sought.is_origin(peer)
            && Channel::ALL.iter().all(|&channel| !sought.named(channel, peer))
    };
    let locals = serving.iter().filter(local).count();
    let strangers = serving.iter().filter(strange).count();
    let origins = serving.iter().filter(|peer| sought.is_origin(peer)).count();
    let all = [(LOCAL, locals), ("origins", origins), ("came by themselves", strangers)];
    for (name, count) in all {
        if count > 0 {
            cells.push(cell(name, count));
        }
    }
    cells.join("   ")
}

/// Tells the stage, and what is waited for in it.
fn status(facts: &Facts) -> Status {
    let Facts { sought, peers, serving, blocks, head, idle, ref landing } = *facts;
    let (bytes, total) =
        landing.as_ref().map_or((0, None), |state| (state.bytes, Some(state.total)));
    let (stage, note) = match landing {
        Some(state) if serving == 0 && state.bytes < state.total => {
            (Stage::Download, "waiting for somebody who has the rest".to_owned())
        }
        Some(state) if idle >= STALLED && state.bytes < state.total => {
            let whom = Things(serving as u64, "peer");
            (Stage::Download, format!("nothing came for {}: waiting for {whom}", Span(idle)))
        }
        Some(_) => (Stage::Download, String::new()),
        None if head && (serving > 0 || sought == 0) => {
            (Stage::History, Things(blocks, "block").to_string())
        }
        None if sought == 0 && peers == 0 => {
            (Stage::Find, "looking for somebody who offers the drive".to_owned())
        }
        None if peers == 0 => {
            (Stage::Connect, format!("{} known, none answered yet", Count(sought as u64)))
        }
        None => (Stage::Connect, "waiting for somebody who has the drive".to_owned()),
    };
    let file = landing.as_ref().and_then(|state| state.current.as_ref()).map(file);
    Status { stage, bytes, total, peers, note, file }
}

/// Says which file is being written, and how far it is.
fn file(current: &Current) -> String {
    let Current { path, size, here } = current;
    format!("{}   {}", escape::bytes(path), of(*here, *size))
}

#[cfg(test)]
mod tests {
    use libp2p::multiaddr::Protocol;
    use libp2p::{Multiaddr, PeerId};

    use super::*;
    use crate::swarm::Outside;

    #[test]
    fn the_stage_follows_from_the_facts() {
        let none = Facts::default;
        let current = Some(Current { path: b"a\n".to_vec(), size: 4096, here: 2048 });
        let landing = Some(LandingState { bytes: 5, total: 10, current });
        let table = [
            (none(), Stage::Find, "looking for"),
            (Facts { sought: 2, ..none() }, Stage::Connect, "2 known, none answered"),
            (Facts { peers: 1, ..none() }, Stage::Connect, "waiting for somebody"),
            (Facts { sought: 1, peers: 1, serving: 1, ..none() }, Stage::Connect, "waiting for"),
            (
                Facts { sought: 1, peers: 1, serving: 1, head: true, blocks: 7, ..none() },
                Stage::History,
                "7 blocks",
            ),
            // A clone that is here already looks for a newer version first.
            (Facts { sought: 1, head: true, ..none() }, Stage::Connect, "1 known"),
            (Facts { head: true, ..none() }, Stage::History, "0 blocks"),
            (
                Facts { peers: 1, serving: 1, head: true, landing: landing.clone(), ..none() },
                Stage::Download,
                "",
            ),
            (
                Facts {
                    serving: 2,
                    head: true,
                    idle: Duration::from_secs(7),
                    landing: landing.clone(),
                    ..none()
                },
                Stage::Download,
                "nothing came for 7.0 s: waiting for 2 peers",
            ),
            (
                Facts { head: true, landing, ..none() },
                Stage::Download,
                "waiting for somebody who has the rest",
            ),
        ];
        for (facts, stage, note) in table {
            let status = status(&facts);
            assert_eq!(status.stage, stage, "{facts:?}");
            let file = facts.landing.is_some().then(|| "a\\n   2.0 / 4.0 KiB".to_owned());
            assert_eq!(status.file, file, "{facts:?}");
            assert!(status.note.starts_with(note), "{facts:?}: {}", status.note);
        }
    }

    #[test]
    fn peers_are_told_by_how_they_became_known() {
        let peers = [(); 3].map(|()| PeerId::random());
        let at = |number: usize| -> Multiaddr {
            let at: Multiaddr = format!("/ip4/10.0.0.{number}/tcp/1").parse().unwrap();
            at.with(Protocol::P2p(peers[number]))
        };
        let mut sought = Sought::default();
        (sought.lan, sought.remembers) = (Lan::On, true);
        assert_eq!(by_channel(&sought, &[]), "LAN –   remembered –");
        let names = peers.map(|peer| peer.to_string());
        for (number, peer) in peers.into_iter().enumerate() {
            sought.reached(peer, &at(number));
        }
        assert_eq!(
            by_channel(&sought, &names[..1]),
            "LAN –   remembered –   came by themselves ✓1"
        );
        sought.seek(Channel::Lan, &at(0));
        sought.seek(Channel::Remembered, &at(0));
        sought.seek(Channel::Lan, &at(1));
        sought.seek(Channel::Given, &at(2));
        assert_eq!(by_channel(&sought, &names), "LAN ✓2   remembered ✓1   given ✓1");
        sought.outside = Some(Outside { nodes: 3, ..Outside::default() });
        sought.seek(Channel::Dht, &at(1));
        assert_eq!(by_channel(&sought, &names), "LAN ✓2   remembered ✓1   DHT ✓1   given ✓1");
        sought.outside = None;
        assert_eq!(by_channel(&sought, &names[..1]), "LAN ✓1   remembered ✓1   given –");
        sought.lan = Lan::Off;
        let local = [names[2].clone(), LOCAL.to_owned()];
        let right = "remembered –   given ✓1   this computer ✓1";
        assert_eq!(by_channel(&sought, &local), right);
    }
}
