//! What a command that fetches is doing, told from what is true of its drive and its peers.

use std::cell::RefCell;

use crate::cli::escape;
use crate::cli::stages::{Stage, Status, of};
use crate::cli::units::{Count, Things};
use crate::engine::{Drive, LandingState, PeerReport};
use crate::landing::Current;

/// A drive that is being fetched.
#[derive(Default)]
pub(super) struct Scene {
    drive: RefCell<Option<Drive>>,
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
        match (peers, serving) {
            (0, _) => "nobody; looking at what is here".to_owned(),
            (1, 1) => "1 connected".to_owned(),
            (peers, serving) if serving == peers => format!("{peers} connected"),
            (peers, 1) => format!("{peers} connected, 1 has the drive"),
            (peers, serving) => format!("{peers} connected, {serving} have the drive"),
        }
    }

    fn facts(&self) -> Facts {
        let landing = self.landing.borrow().clone();
        let drive = self.drive.borrow();
        let Some(drive) = &*drive else { return Facts { landing, ..Facts::default() } };
        let peers = drive.hub.peers();
        let serves = |peer: &&PeerReport| peer.status.feeds > 0;
        let news = *drive.changes.news.borrow();
        Facts {
            sought: drive.hub.sought().count(),
            peers: peers.len(),
            serving: peers.iter().filter(serves).count(),
            blocks: news.stored,
            head: news.length > 0,
            landing,
        }
    }
}

/// Tells the stage, and what is waited for in it.
fn status(facts: &Facts) -> Status {
    let Facts { sought, peers, serving, blocks, head, ref landing } = *facts;
    let (bytes, total) =
        landing.as_ref().map_or((0, None), |state| (state.bytes, Some(state.total)));
    let (stage, note) = match landing {
        Some(state) if serving == 0 && state.bytes < state.total => {
            (Stage::Download, "waiting for somebody who has the rest".to_owned())
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
    use super::*;

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
}
