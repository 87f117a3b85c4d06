//! Hears what happens in a folder, from the system.
//!
//! Some systems watch all that is below a folder. Linux watches each folder by itself: there they are found here, without a look at
//! their files, as the library would take one at each (half the time in which a folder that did not change is shared again).
//! Elsewhere: what is made of it (`pending`), the library that speaks with each system (`notify`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, Flag, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::pending::{Due, Event, PATHS_MAX, Pending};
use crate::disk::DRIVE_FOLDER;
use crate::import::is_gone;

/// Whether the system watches each folder by itself.
const BY_FOLDER: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A folder that is watched until the last of these is dropped.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
    inner: Arc<Mutex<Option<RecommendedWatcher>>>,
}

struct Shared {
    root: PathBuf,
    pending: Mutex<Pending>,
    /// What is new or has another name, and may be a folder that is not watched yet: paths below the root.
    folders: Mutex<BTreeSet<PathBuf>>,
    wake: Notify,
    /// Whether something happened of which nothing was told: folders that are new since may not be watched, and others may have
    /// been moved.
    has_missed: AtomicBool,
    /// Whether something happens that nobody tells of.
    is_blind: AtomicBool,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("no code panics while it holds this")
    }

    fn folders(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.folders.lock().expect("no code panics while it holds this")
    }

    fn note(&self, events: impl IntoIterator<Item = Event>) {
        let mut events = events.into_iter().peekable();
        if events.peek().is_none() {
            return;
        }
        let (now, mut pending) = (Instant::now(), self.pending());
        events.by_ref().for_each(|event| pending.note(now, event));
        drop(pending);
        self.wake.notify_one();
    }

    fn hear(&self, heard: notify::Result<notify::Event>) {
        match heard {
            Ok(event) => {
                if BY_FOLDER && may_be_folder(event.kind) {
                    // Before it is noted: nobody looks at one that is not watched.
                    let new = event.paths.last().and_then(|path| below(&self.root, path));
                    let mut folders = self.folders();
                    folders.extend(new);
                    if folders.len() > PATHS_MAX {
                        folders.clear();
                        self.note([Event::Unknown]);
                    }
                }
                self.note(events(&self.root, event));
            }
            Err(error) => {
                self.lose_sight(&error);
                self.note([Event::Unknown]);
            }
        }
    }

    fn lose_sight(&self, error: &notify::Error) {
        tracing::warn!(%error, "the folder is not watched, or not all of it");
        self.is_blind.store(true, Ordering::Relaxed);
    }
}

impl Watcher {
    /// Watches the folder `root`, whose path is canonical. A system that cannot is no error: then nothing is heard.
    pub fn new(root: &Path) -> Self {
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            pending: Mutex::default(),
            folders: Mutex::default(),
            wake: Notify::new(),
            // Nothing is watched yet.
            has_missed: AtomicBool::new(true),
            is_blind: AtomicBool::new(false),
        });
        let hearing = shared.clone();
        let config = Config::default().with_follow_symlinks(false);
        let inner = RecommendedWatcher::new(move |heard| hearing.hear(heard), config);
        let inner = inner.map_err(|error| shared.lose_sight(&error)).ok();
        let watcher = Self { shared, inner: Arc::new(Mutex::new(inner)) };
        watcher.catch_up();
        watcher
    }

    /// Watches what it does not watch because something was missed; to be called before the folder is looked through.
    pub(super) fn catch_up(&self) {
        if self.shared.has_missed.swap(false, Ordering::Relaxed) && self.watch(&self.shared.root) {
            self.shared.is_blind.store(false, Ordering::Relaxed);
        }
    }

    /// Watches what is new and a folder.
    fn watch_new(&self) {
        // In a line of its own, so that it is locked no longer: who tells of the next one is who answers when this one is watched.
        let new = std::mem::take(&mut *self.shared.folders());
        for below in new {
            let folder = self.shared.root.join(&below);
            // What a symlink leads to is not the folder's.
            if fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
                self.watch(&folder);
                // What came before it was watched is met when it is looked at.
                if !self.shared.pending().awaits(&below) {
                    self.shared.note([Event::Settled(below)]);
                }
            }
        }
    }

    /// Watches a folder and those below it; tells whether all of them are watched now.
    fn watch(&self, folder: &Path) -> bool {
        let mut inner = self.inner.lock().expect("no code panics while it holds this");
        let Some(watcher) = inner.as_mut() else { return false };
        let (mut left, mut is_whole) = (vec![folder.to_owned()], true);
        while let Some(folder) = left.pop() {
            let depth =
                if BY_FOLDER { RecursiveMode::NonRecursive } else { RecursiveMode::Recursive };
            match watcher.watch(&folder, depth) {
                // After it is watched: of what comes later the system tells.
                Ok(()) if BY_FOLDER => left.extend(folders_in(&folder)),
                Ok(()) => {}
                // It went away meanwhile; of that the folder above tells.
                Err(_) if folder != self.shared.root && has_gone(&folder) => {}
                Err(error) => {
                    is_whole = false;
                    self.shared.lose_sight(&error);
                    if matches!(error.kind, ErrorKind::MaxFilesWatch) {
                        // What could be watched is.
                        break;
                    }
                    self.shared.has_missed.store(true, Ordering::Relaxed);
                }
            }
        }
        is_whole
    }

    /// Tells whether something may happen of which nothing is heard.
    pub fn is_blind(&self) -> bool {
        self.shared.is_blind.load(Ordering::Relaxed)
    }

    /// Returns what is to be looked at, as soon as there is something.
    pub(super) async fn next(&self) -> Due {
        loop {
            if !self.shared.folders().is_empty() {
                let watcher = self.clone();
                let watching = tokio::task::spawn_blocking(move || watcher.watch_new());
                watching.await.expect("watching does not panic");
            }
            let at = {
                let mut pending = self.shared.pending();
                if let Some(due) = pending.take(Instant::now()) {
                    if due == Due::Everything {
                        // Which folders are new was not kept.
                        self.shared.has_missed.store(true, Ordering::Relaxed);
                    }
                    return due;
                }
                pending.next_at()
            };
            let sleep = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.shared.wake.notified() => {}
            }
        }
    }
}

/// Tells whether what happened may be that a folder is new, or has another name.
fn may_be_folder(kind: EventKind) -> bool {
    let renamed = ModifyKind::Name;
    matches!(kind, EventKind::Create(made) if made != CreateKind::File)
        || kind == EventKind::Modify(renamed(RenameMode::To))
        || kind == EventKind::Modify(renamed(RenameMode::Both))
}

fn has_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| is_gone(&error))
}

/// Returns a path as it is below `root`; nothing for the root, the store, and what is elsewhere.
fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(root).ok()?;
    let first = below.components().next()?;
    let own = first.as_os_str().eq_ignore_ascii_case(DRIVE_FOLDER);
    (!own).then(|| below.to_owned())
}

/// Returns the folders in a folder, but for the store; none if it cannot be listed.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !entry.file_name().eq_ignore_ascii_case(DRIVE_FOLDER)
    });
    folders.map(|entry| entry.path()).collect()
}

/// Returns what an event of the library means, but for what happens in `.dat`; paths are below `root`.
fn events(root: &Path, event: notify::Event) -> Vec<Event> {
    if event.flag() == Some(Flag::Rescan) {
        return vec![Event::Unknown];
    }
    let paths: Vec<PathBuf> = event.paths.iter().filter_map(|path| below(root, path)).collect();
    let of_each = |make: fn(PathBuf) -> Event| paths.iter().cloned().map(make).collect();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => of_each(Event::Settled),
        EventKind::Access(_) => Vec::new(),
        EventKind::Create(CreateKind::File) => of_each(Event::Made),
        EventKind::Modify(ModifyKind::Data(_)) => of_each(Event::Written),
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
            of_each(Event::Gone)
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => match &paths[..] {
            [from, to] => vec![Event::Moved(from.clone(), to.clone())],
            // The other one is not ours.
            _ => of_each(Event::Settled),
        },
        _ => of_each(Event::Settled),
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, MetadataKind, RemoveKind};

    use super::*;

    fn heard(kind: EventKind, paths: &[&str]) -> Vec<Event> {
        let event = paths
            .iter()
            .fold(notify::Event::new(kind), |event, path| event.add_path(PathBuf::from(path)));
        events(Path::new("/root"), event)
    }

    #[test]
    fn what_the_system_tells_is_taken_by_what_has_to_be_waited_for() {
        let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
        let (a, b) = (PathBuf::from("a"), PathBuf::from("b"));
        for (kind, means) in [
            (EventKind::Create(CreateKind::File), Some(Event::Made(a.clone()))),
            (EventKind::Create(CreateKind::Folder), Some(Event::Settled(a.clone()))),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(Event::Written(a.clone()))),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                Some(Event::Settled(a.clone())),
            ),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
            (
                EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
                Some(Event::Settled(a.clone())),
            ),
            (EventKind::Remove(RemoveKind::File), Some(Event::Gone(a.clone()))),
            (name(RenameMode::From), Some(Event::Gone(a.clone()))),
            (name(RenameMode::To), Some(Event::Settled(a.clone()))),
        ] {
            assert_eq!(heard(kind, &["/root/a"]), Vec::from_iter(means), "{kind:?}");
        }
        let moved = heard(name(RenameMode::Both), &["/root/a", "/root/b"]);
        assert_eq!(moved, [Event::Moved(a, b.clone())]);
        let moved_in = heard(name(RenameMode::Both), &["/root/.dat/a", "/root/b"]);
        assert_eq!(moved_in, [Event::Settled(b)]);
    }

    #[test]
    fn nobody_hears_of_the_store_and_what_was_missed_is_everything() {
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(heard(written, &["/root/.dat/store/data", "/root/.DAT/x", "/root"]), []);
        let rescan = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(events(Path::new("/root"), rescan), [Event::Unknown]);
    }
}
