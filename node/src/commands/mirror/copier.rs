//! Content that a mirror lacks and another drive of this user has, mirrored or not: it is copied, not fetched.
//!
//! For one drive at a time, and looked up anew each time: what is known of the chunks of all others takes memory, and grows old.
//! Elsewhere: how they are found and copied (`engine::reuse`), when (`keeper`).

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::cli::Reuse;
use crate::dirs::Dirs;
use crate::engine::{Link, Snapshot, Sources};
use crate::error::Error;
use crate::neighbours::Neighbours;

/// How long a drive waits for its turn: one that copies much holds up nobody for longer, who then fetches.
const TURN_WAIT: Duration = Duration::from_secs(30);

/// Copies for the drives of a mirror, in turns.
pub(super) struct Copier {
    /// Where the user's drives are noted; none if nothing is to be copied.
    dirs: Option<Dirs>,
    turn: Mutex<()>,
    found: AtomicU64,
}

impl Copier {
    pub(super) fn new(dirs: &Dirs, reuse: &Reuse) -> Self {
        let dirs = (!reuse.no_reuse).then(|| dirs.clone());
        Self { dirs, turn: Mutex::default(), found: AtomicU64::new(0) }
    }

    /// Copies what can be found of some blocks into the drive whose store is in `folder`.
    ///
    /// # Errors
    /// What its own disk says.
    pub(super) async fn copy(
        &self,
        latest: &Snapshot,
        content: &Link,
        folder: &Path,
        blocks: &[Range<u64>],
    ) -> Result<(), Error> {
        let Some(dirs) = &self.dirs else { return Ok(()) };
        let Ok(_turn) = timeout(TURN_WAIT, self.turn.lock()).await else { return Ok(()) };
        let sources = Sources::new(Neighbours::of(dirs, folder));
        let copied = latest.reuse(content, &sources, blocks).await;
        self.found.fetch_add(sources.found(), Ordering::Relaxed);
        copied
    }

    /// Returns how many bytes were found so far.
    pub(super) fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }
}
