//! New changes of a drive, as they come.

use datnode_feed::BlockIndex;

use super::context::{Opened, open_to_watch};
use crate::cli::Network;
use crate::cli::interrupt::asked_to_stop;
use crate::cli::output::Out;
use crate::engine::Snapshot;
use crate::error::Error;

/// A drive that is watched.
pub(super) struct Live {
    opened: Opened,
    /// The number of the last change that is known.
    seen: u64,
}

impl Live {
    /// Watches a drive from behind a version on. A store in a folder is let go.
    pub(super) async fn behind(
        seen: &Snapshot,
        opened: Opened,
        args: &Network,
        out: &Out,
    ) -> Result<Self, Error> {
        let seen = seen.version.number;
        Ok(Self { opened: open_to_watch(opened, args, out).await?, seen })
    }

    /// Waits for changes; returns the newest version, and where the changes are that led to it, oldest first.
    pub(super) async fn next(&mut self) -> Result<(Snapshot, Vec<BlockIndex>), Error> {
        let mut news = self.opened.drive.changes.news.clone();
        loop {
            // Seen before looking: news that come while we look wake us up afterwards.
            news.borrow_and_update();
            let latest = self.opened.drive.latest().await?;
            let changes = latest.changes_since(self.seen).await?;
            if !changes.is_empty() {
                self.seen = latest.version.number;
                return Ok((latest, changes));
            }
            if news.changed().await.is_err() {
                return Err(Error::interrupted());
            }
        }
    }
}

/// Runs what only watches: it ends well when the user or the system asks for it.
pub(super) async fn watch(ended: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::select! {
        // Whoever sees the first line may end it: it is listened for that before.
        biased;
        () = asked_to_stop() => Ok(()),
        ended = ended => ended,
    }
}
