//! A large file is edited where it is shared, and a clone follows: how long until it has the new one, and what that sends.
//!
//! From the close of the edited file to the moment at which the clone's has its name. `rsync` brings the same edit from a folder of
//! its own to a copy of its own, in turns with it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::data::{self, Outs};
use crate::node::{Follower, Sharer};
use crate::reference::{self, Rsync};
use crate::relay::Relay;
use crate::table::Table;

type Edit = fn(&Path);

const EDITS: [(&str, Edit); 2] = [
    ("4 KiB edited in the middle, live", data::overwrite_middle),
    ("1 KiB inserted at the front, live", data::insert_front),
];
/// How often it is looked whether the file is there.
const LOOK: Duration = Duration::from_millis(1);
/// How long the clone is left in peace afterwards, since it makes durable what it has.
const REST: Duration = Duration::from_secs(3);

/// A folder that is shared, and a clone that follows.
struct Pair {
    _sharer: Sharer,
    _follower: Follower,
    relay: Relay,
    source: PathBuf,
    copy: PathBuf,
}

/// Measures both edits in so many rounds, with history and in place.
pub(crate) fn edits(
    table: &mut Table,
    original: &Path,
    outs: &mut Outs,
    rsync: Option<&Rsync>,
    rounds: usize,
) {
    for (kind, flags) in [("with history", &[][..]), ("in place", &["--in-place"][..])] {
        outs.with(|out| {
            fs::create_dir_all(out).expect("room for data");
            let file = data::first_file(original);
            let pair = Pair::new(original, out, flags, &out.join(kind));
            let theirs = rsync.map(|rsync| {
                let (source, copy) = (out.join("rsync"), out.join("rsync-copy"));
                reference::copy(original, &source);
                rsync.fetch(&source, &copy);
                (rsync, source, copy)
            });
            for round in 1..=rounds {
                eprintln!("live edits {kind}: round {round} of {rounds}");
                for (name, edit) in EDITS {
                    if let Some((rsync, source, copy)) = &theirs {
                        data::settle();
                        edit(&source.join(&file));
                        table.reference("rsync", name, rsync.fetch(source, copy));
                    }
                    pair.edit(table, (kind, name), edit, &file);
                }
            }
        });
    }
}

impl Pair {
    fn new(original: &Path, out: &Path, flags: &[&str], homes: &Path) -> Self {
        let (source, copy) = (out.join("source"), out.join("copy"));
        reference::copy(original, &source);
        let _ = fs::remove_dir_all(source.join(".dat"));
        let home = |name| crate::node::Home::new(homes, name);
        let sharer = home("writer").share(&source, flags);
        let relay = Relay::new(sharer.port());
        let follower = home("reader").follow(&sharer, &relay, &copy);
        Self { _sharer: sharer, _follower: follower, relay, source, copy }
    }

    fn edit(&self, table: &mut Table, (kind, name): (&str, &str), edit: Edit, file: &str) {
        let (ours, theirs) = (self.source.join(file), self.copy.join(file));
        thread::sleep(REST);
        data::settle();
        let (before, passed) = (look(&theirs), self.relay.passed());
        edit(&ours);
        let closed = Instant::now();
        let len = look(&ours).len();
        let is_there = |now: &Metadata| now.ino() != before.ino() && now.len() == len;
        while !is_there(&look(&theirs)) {
            thread::sleep(LOOK);
        }
        let row = |what: &str| format!("{name}, {kind}: {what}");
        table.seconds(&row("in place"), closed.elapsed().as_secs_f64(), Some(("rsync", name)));
        let sent = self.relay.passed() - passed;
        table.number(&row("KiB sent, both ways"), sent as f64 / 1024.0);
        assert!(data::are_equal(&ours, &theirs), "it is not what was written");
    }
}

fn look(path: &Path) -> Metadata {
    fs::metadata(path).expect("it is always there, old or new")
}
