//! How long to wait for peers, and what to say when it was in vain.
//!
//! Where nobody can come, nothing is waited for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::hub::{Hub, Liar};
use crate::cli::units::Span;
use crate::error::Error;

/// Waits that must see progress every so often.
#[derive(Clone, Debug)]
pub struct Patience {
    /// The longest time without progress; nothing waits for ever.
    pub wait: Option<Duration>,
    /// From where help can come.
    pub reach: Reach,
    /// The drive, for the error that says that nobody offers it.
    pub link: String,
}

/// From where blocks can come that are not here.
#[derive(Clone, Debug)]
pub enum Reach {
    /// From anywhere.
    Network,
    /// From processes of this user: `--offline`.
    Computer,
    /// From nowhere: a drive in this folder is read as it is.
    Folder(PathBuf),
    /// From nowhere: so it is with the folder that the drive is written in, where all was once.
    Own(PathBuf),
    /// From the process that has the folder open.
    Owner {
        /// Its control socket.
        socket: PathBuf,
        /// What to say when it does not answer.
        locked: Error,
    },
}

/// A lie is why nothing moves if it was told so long before at most: what was sent before it is still taken in meanwhile.
const LATELY: Duration = Duration::from_secs(5);
/// How often progress is looked at while waiting.
pub(super) const LOOK: Duration = Duration::from_millis(100);

impl Patience {
    /// Waits for `done`, as long as something moves.
    ///
    /// # Errors
    /// E-NOPEERS when nobody was connected, E-NODATA when somebody was and nothing came, E-VERSION when the only peers speak
    /// a newer protocol, E-VERIFY when the only ones who could have it sent what was not signed.
    pub async fn wait<T>(&self, hub: &Hub, done: impl Future<Output = T>) -> Result<T, Error> {
        tokio::pin!(done);
        let mut mark = hub.progress();
        let mut moved = Instant::now();
        loop {
            if let Ok(value) = tokio::time::timeout(LOOK, &mut done).await {
                return Ok(value);
            }
            let now = hub.progress();
            if now != mark {
                (mark, moved) = (now, Instant::now());
            }
            if self.wait.is_some_and(|wait| moved.elapsed() >= wait) {
                return Err(self.verdict(hub, moved));
            }
        }
    }

    /// Says why nothing moved since then.
    fn verdict(&self, hub: &Hub, moved: Instant) -> Error {
        let (peers, waited) = (hub.peers(), moved.elapsed());
        let liar = hub.liar().filter(|liar| liar.at + LATELY >= moved);
        let serving = peers.iter().any(|peer| {
            let helps = |liar: &Liar| {
                // One who lied is back soon, to be thrown out again.
                liar.name != peer.about.name && hub.may_help(peer.status.peer)
            };
            peer.status.feeds > 0 && liar.as_ref().is_none_or(helps)
        });
        match hub.newer_protocol() {
            Some(theirs) if !serving => Error::newer_protocol(theirs, 1),
            _ if serving => {
                let silent = peers.iter().any(|peer| hub.may_help(peer.status.peer));
                let error = Error::no_data(silent, peers.len(), waited);
                // One that is there again may have been lost for what it did.
                hub.sought().origin_failures().fold(error, Error::context)
            }
            _ if let Some(liar) = &liar => Error::lied(&self.link, &liar.name, liar.fault),
            _ => match &self.reach {
                Reach::Network => Error::no_peers(&self.link, waited, &hub.sought()),
                Reach::Computer => Error::offline(&self.link),
                Reach::Folder(folder) => Error::not_here(&self.link, folder),
                Reach::Own(folder) => Error::no_longer_here(&self.link, folder),
                Reach::Owner { locked, .. } => {
                    locked.clone().context(format!("it did not answer for {}", Span(waited)))
                }
            },
        }
    }
}
