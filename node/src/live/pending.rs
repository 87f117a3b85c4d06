//! What a watcher told of and nobody looked at yet: which paths, and when to look.
//!
//! A file that was closed is looked at at once, but for a moment in which more of the same may come: an editor that writes a new file and
//! gives it the old one's name makes one change. What is still being written, and names that are gone, wait longer: a file is
//! often gone only until its new version has its name. If too much happens, the whole folder is looked through instead.
//! Elsewhere: what happened (`watcher`), looking (`look`), taking in (`import`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long nothing more has to happen to what was closed or moved into place before it is looked at.
pub(super) const SETTLED: Duration = Duration::from_millis(10);
/// The same for what is gone, or has another name.
pub(super) const GONE: Duration = Duration::from_millis(300);
/// The same for what is being written.
pub(super) const WRITTEN: Duration = Duration::from_secs(2);
/// It waits no longer than so many times that.
pub(super) const TIMES: u32 = 10;
/// How many paths are remembered; where more happens the whole folder is looked through.
pub(super) const PATHS_MAX: usize = 10_000;

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A file was closed after it was written, or something else is there that need not be waited for.
    Settled(PathBuf),
    /// A file is new, and is being written perhaps.
    Made(PathBuf),
    /// A file is being written.
    Written(PathBuf),
    /// Something is there no more.
    Gone(PathBuf),
    /// Something was moved.
    Moved(PathBuf, PathBuf),
    /// Something happened of which nobody knows where.
    Unknown,
}

/// What is to be looked at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// All of the folder.
    Everything,
    /// Paths, and what was moved where.
    Paths(BTreeSet<PathBuf>, Vec<(PathBuf, PathBuf)>),
}

/// What waits to be looked at.
#[derive(Debug, Default)]
pub(super) struct Pending {
    paths: BTreeMap<PathBuf, Wait>,
    moved: Vec<(PathBuf, PathBuf)>,
    everything: Option<Wait>,
}

/// Since when something waits, and for how long after the last time that it was told of.
#[derive(Clone, Copy, Debug)]
struct Wait {
    first: Instant,
    last: Instant,
    quiet: Duration,
    /// Whether it was made meanwhile.
    is_new: bool,
}

impl Wait {
    fn until(&self) -> Instant {
        (self.last + self.quiet).min(self.first + self.quiet * TIMES)
    }
}

impl Pending {
    /// Takes what happened.
    pub(super) fn note(&mut self, now: Instant, event: Event) {
        match event {
            Event::Settled(path) => self.wait(now, path, SETTLED),
            Event::Made(path) => {
                self.wait(now, path.clone(), WRITTEN);
                self.paths.entry(path).and_modify(|wait| wait.is_new = true);
            }
            Event::Written(path) => self.wait(now, path, WRITTEN),
            Event::Gone(path) => self.wait(now, path, GONE),
            Event::Moved(from, to) => {
                // A file that was made a moment ago is the new version of the other one.
                let is_new = self.paths.get(&from).is_some_and(|wait| wait.is_new);
                let quiet = if is_new { SETTLED } else { GONE };
                self.wait(now, from.clone(), quiet);
                self.wait(now, to.clone(), quiet);
                if !is_new {
                    self.moved.push((from, to));
                }
            }
            Event::Unknown => self.all(now),
        }
        if self.paths.len() > PATHS_MAX || self.moved.len() > PATHS_MAX {
            self.all(now);
        }
        if self.everything.is_some() {
            self.paths.clear();
            self.moved.clear();
        }
    }

    /// Tells whether a path is still to be looked at.
    pub(super) fn awaits(&self, path: &Path) -> bool {
        self.everything.is_some() || self.paths.contains_key(path)
    }

    fn wait(&mut self, now: Instant, path: PathBuf, quiet: Duration) {
        let new = Wait { first: now, last: now, quiet, is_new: false };
        let wait = self.paths.entry(path).or_insert(new);
        if wait.quiet != quiet {
            *wait = Wait { is_new: wait.is_new, first: wait.first, ..new };
        }
        wait.last = now;
    }

    fn all(&mut self, now: Instant) {
        let first = self.everything.map_or(now, |wait| wait.first);
        self.everything = Some(Wait { first, last: now, quiet: GONE, is_new: false });
    }

    /// Returns when something is to be looked at; nothing if nothing waits.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if let Some(wait) = &self.everything {
            return Some(wait.until());
        }
        // What settles does so together: one save may be of several files.
        let settled = self.paths.values().filter(|wait| wait.quiet == SETTLED);
        let settled = settled.copied().reduce(|a, b| Wait {
            first: a.first.min(b.first),
            last: a.last.max(b.last),
            ..a
        });
        let others = self.paths.values().filter(|wait| wait.quiet != SETTLED);
        settled.iter().chain(others).map(Wait::until).min()
    }

    /// Takes what is to be looked at now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Due> {
        if self.next_at().is_none_or(|at| at > now) {
            return None;
        }
        if self.everything.take().is_some() {
            return Some(Due::Everything);
        }
        let is_due = |wait: &Wait| wait.quiet == SETTLED || wait.until() <= now;
        let due = self.paths.iter().filter(|(_, wait)| is_due(wait));
        let paths: BTreeSet<PathBuf> = due.map(|(path, _)| path.clone()).collect();
        self.paths.retain(|path, _| !paths.contains(path));
        let is_among = |path: &Path| paths.contains(path);
        let moved = self.moved.extract_if(.., |(from, to)| is_among(from) || is_among(to));
        let moved = moved.collect();
        Some(Due::Paths(paths, moved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(1);

    fn path(name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    /// Lets events happen, each a millisecond after the one before; returns when something was due, in milliseconds, and what.
    fn due(events: impl IntoIterator<Item = Event>) -> Vec<(u128, Due)> {
        let (start, mut pending) = (Instant::now(), Pending::default());
        let (mut now, mut all) = (start, Vec::new());
        let mut take = |pending: &mut Pending, now: Instant| {
            all.extend(pending.take(now).map(|due| ((now - start).as_millis(), due)));
        };
        for event in events {
            take(&mut pending, now);
            pending.note(now, event);
            now += STEP;
        }
        while let Some(at) = pending.next_at() {
            take(&mut pending, at);
        }
        all
    }

    fn paths<const N: usize>(names: [&str; N]) -> Due {
        Due::Paths(names.into_iter().map(path).collect(), Vec::new())
    }

    #[test]
    fn a_file_that_is_closed_is_looked_at_at_once_and_one_being_written_when_it_is_quiet() {
        let written = || Event::Written(path("a"));
        assert_eq!(due([written(), Event::Settled(path("a"))]), [(11, paths(["a"]))]);
        assert_eq!(due([written(), written()]), [(2_001, paths(["a"]))]);
        let both = due([Event::Written(path("b")), Event::Settled(path("a"))]);
        assert_eq!(both, [(11, paths(["a"])), (2_000, paths(["b"]))]);
    }

    #[test]
    fn what_never_rests_is_looked_at_now_and_then() {
        let most = SETTLED * TIMES;
        let events = (0..2 * most.as_millis()).map(|_| Event::Settled(path("a")));
        let due = due(events);
        assert_eq!(due[0].0, most.as_millis());
        assert_eq!(due.len(), 2);
    }

    #[test]
    fn what_editors_do_to_save_a_file_is_looked_at_once() {
        // A new file gets the old one's name.
        let new = due([
            Event::Made(path("a.tmp")),
            Event::Settled(path("a.tmp")),
            Event::Gone(path("a.tmp")),
            Event::Settled(path("a")),
            Event::Moved(path("a.tmp"), path("a")),
        ]);
        assert_eq!(new, [(14, paths(["a", "a.tmp"]))]);
        // The old one is kept under another name until the new one is written.
        let kept = due([
            Event::Gone(path("a")),
            Event::Settled(path("a~")),
            Event::Moved(path("a"), path("a~")),
            Event::Made(path("a")),
            Event::Settled(path("a")),
            Event::Gone(path("a~")),
        ]);
        let moved = vec![(path("a"), path("a~"))];
        assert_eq!(kept[0], (14, Due::Paths([path("a")].into(), moved)));
        assert_eq!(kept[1..], [(305, paths(["a~"]))]);
    }

    #[test]
    fn what_was_moved_is_told_with_where_it_is() {
        let moved = due([Event::Moved(path("a"), path("b"))]);
        let both = vec![(path("a"), path("b"))];
        assert_eq!(moved, [(300, Due::Paths([path("a"), path("b")].into(), both))]);
    }

    #[test]
    fn too_much_is_everything() {
        let (start, mut pending) = (Instant::now(), Pending::default());
        for number in 0..=PATHS_MAX {
            pending.note(start, Event::Gone(path(&number.to_string())));
        }
        assert!(pending.paths.is_empty(), "they are forgotten");
        assert_eq!(pending.take(start + GONE - STEP), None);
        assert_eq!(pending.take(start + GONE), Some(Due::Everything));
        assert_eq!(due([Event::Gone(path("a")), Event::Unknown]), [(301, Due::Everything)]);
    }
}
