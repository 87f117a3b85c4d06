//! Keeps a drive in step with its working folder, while it is served.
//!
//! The system tells what happens in the folder (`watcher`); when that has settled (`pending`), what was touched is looked at (`look`)
//! and taken in as one change. Now and then, and whenever something may have been missed, the whole folder is looked through.
//! Elsewhere: taking in (`import`), telling peers (`pen`).

mod look;
mod pending;
mod watcher;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::engine::{AnyStore, Drive};
use crate::error::{Code, Error};
use crate::import::{
    How, Imported, Keep, Memory, Rules, Writer, import_inventory, import_stirred, latest,
};
use crate::pen::{Between, Pen};
use look::{Looked, look};
use pending::Due;
pub use watcher::Watcher;

/// How often the whole folder is looked through.
const SCAN: Duration = Duration::from_secs(600);
/// The same where the system does not tell of everything.
const SCAN_BLIND: Duration = Duration::from_secs(10);
/// When it is tried again after the folder could not be taken in.
const AGAIN: Duration = Duration::from_secs(10);

/// A drive that follows its folder.
pub struct Follower {
    /// The drive.
    pub drive: Drive,
    /// What it takes to change it.
    pub pen: Pen,
    /// What is left out.
    pub rules: Rules,
    /// What becomes of the bytes.
    pub keep: Keep,
    /// What is known of the store's chunks.
    pub memory: Memory,
}

/// What came of looking.
pub enum Outcome {
    /// The drive has a new version.
    Changed(Box<Imported>),
    /// The folder could not be taken in; it is tried again.
    Failed(Error),
}

impl Follower {
    /// Takes in what happens in the folder, and tells of it, until another process writes the drive.
    ///
    /// # Errors
    /// E-CONFLICT, why this one writes no more.
    pub async fn follow(
        self,
        watcher: &Watcher,
        mut tell: impl FnMut(Outcome),
    ) -> Result<(), Error> {
        let Self { drive, pen, rules, keep, memory } = self;
        let (rules, memory) = (Arc::new(rules), Arc::new(Mutex::new(memory)));
        let mut scan_at = Instant::now() + SCAN;
        loop {
            if watcher.is_blind() {
                scan_at = scan_at.min(Instant::now() + SCAN_BLIND);
            }
            let due = tokio::select! {
                due = watcher.next() => due,
                () = sleep_until(scan_at) => Due::Everything,
            };
            if due == Due::Everything {
                scan_at = Instant::now() + SCAN;
            }
            // Blocks that live in a file which changes may have to be found in an equal one, wherever that is.
            let due = if keep == Keep::InPlace { Due::Everything } else { due };
            match take_in(&drive, &pen, (watcher, due), &rules, keep, &memory).await {
                Ok(Taken::In(imported)) => {
                    let left_out = left_out(&imported);
                    if imported.changed {
                        tell(Outcome::Changed(imported));
                    }
                    if let Some(error) = left_out {
                        tell(Outcome::Failed(error));
                        scan_at = scan_at.min(Instant::now() + AGAIN);
                    }
                }
                Ok(Taken::Nothing) => {}
                Ok(Taken::TooLate) => scan_at = Instant::now(),
                Err(error) if error.code() == Code::Conflict => return Err(error),
                Err(error) => {
                    tell(Outcome::Failed(error));
                    scan_at = Instant::now() + AGAIN;
                }
            }
        }
    }
}

/// What came of looking at what may be different.
enum Taken {
    In(Box<Imported>),
    /// It is left out.
    Nothing,
    /// Somebody changed the drive while the folder was looked through.
    TooLate,
}

/// Looks at what may be different, and takes it in.
async fn take_in(
    drive: &Drive,
    pen: &Pen,
    (watcher, due): (&Watcher, Due),
    rules: &Arc<Rules>,
    keep: Keep,
    memory: &Arc<Mutex<Memory>>,
) -> Result<Taken, Error> {
    let known = drive.changes.news.borrow().length;
    let (folder, own_rules, watcher) = (pen.folder.clone(), rules.clone(), watcher.clone());
    let look = move || {
        if due == Due::Everything {
            watcher.catch_up();
        }
        look(&folder, due, &own_rules)
    };
    let looked = tokio::task::spawn_blocking(look).await.expect("looking does not panic")?;
    if matches!(&looked, Looked::Stirred(stirred) if stirred.paths.is_empty()) {
        return Ok(Taken::Nothing);
    }
    let (rules, memory) = (rules.clone(), memory.clone());
    let write =
        move |store: &mut AnyStore, writer: &Writer<'_>, folder: &Path, between: Between<'_>| {
            let how = How { rules: &rules, keep, message: "", folder_times: false };
            let base = latest(store, writer.changes.0)?;
            let memory = &mut *memory.lock().expect("no code panics while it holds this");
            let imported = match looked {
                // What came since would be taken for gone.
                Looked::Everything(_) if store.length(writer.changes.0) != known => {
                    return Ok(Taken::TooLate);
                }
                Looked::Everything(all) => {
                    import_inventory(store, writer, &base, folder, *all, &how, memory, between)
                }
                Looked::Stirred(stirred) => {
                    import_stirred(store, writer, &base, folder, &stirred, &how, memory, between)
                }
            };
            imported.map(|imported| Taken::In(Box::new(imported)))
        };
    pen.write(drive, write).await
}

/// Says what could not be taken in, if there is anything.
fn left_out(imported: &Imported) -> Option<Error> {
    let unreadable = &imported.walked.unreadable;
    match imported.unsteady.is_empty() {
        false => Some(Error::changed(&imported.unsteady)),
        true => (!unreadable.is_empty()).then(|| Error::unreadable(unreadable)),
    }
}
