//! What of a version's files is here, what is not, and why.

use std::ops::Range;
use std::time::Duration;

use datnode_drive::{DrivePath, Entry, Extent, Kind};
use datnode_feed::Bitfield;
use serde_json::{Value, json};

use super::shared::{self, Distinct};
use crate::choice::Chooser;
use crate::cli::units::{Count, Size, Span, Things};
use crate::engine::Snapshot;
use crate::error::Error;

/// What of the files is here.
#[derive(Default)]
pub(super) struct Content {
    /// How many files there are.
    pub(super) files: u64,
    /// The bytes of all files.
    pub(super) bytes: u64,
    /// Of these, what is here.
    pub(super) here: u64,
    /// The same of what is selected.
    pub(super) selected: Part,
    /// What is selected and not here.
    pub(super) missing: Vec<Missing>,
    /// How much of the bytes of all files needs no room, since others have the same; none if that was not looked at.
    pub(super) saved: Option<u64>,
}

/// Some of the files.
#[derive(Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) here: u64,
}

impl Part {
    pub(super) fn to_json(self) -> Value {
        json!({ "files": self.files, "bytes": self.bytes, "here": self.here })
    }
}

/// A file that is not whole.
pub(super) struct Missing {
    pub(super) path: DrivePath,
    /// How many bytes it lacks.
    pub(super) bytes: u64,
    pub(super) why: String,
}

impl Content {
    /// Looks at all files of a version. What the choice leaves out is not missing.
    pub(super) async fn of(
        snapshot: &Snapshot,
        why: &Why,
        choice: &Chooser,
    ) -> Result<Self, Error> {
        let held = snapshot.held().await?;
        let change = &snapshot.version.change;
        let whole = change.feeds.first().is_none_or(|feed| held.all(0..feed.length));
        let counted = change.counts.files <= shared::FILES_MAX;
        if whole && matches!(why, Why::Changed) && !counted {
            // Everything is here, and what there is, our own change says.
            let (files, bytes) = (change.counts.files, change.counts.bytes);
            let selected = Part { files, bytes, here: bytes };
            let (missing, saved) = (Vec::new(), None);
            return Ok(Self { files, bytes, here: bytes, selected, missing, saved });
        }
        let (mut content, mut distinct) = (Self::default(), Distinct::of(snapshot));
        let count = |path: DrivePath, entry: Entry| {
            if entry.kind == Kind::File {
                let missing = lacking(&entry, &held);
                let here = entry.size - missing;
                distinct.add(&entry);
                content.files += 1;
                content.bytes = content.bytes.saturating_add(entry.size);
                content.here = content.here.saturating_add(here);
                if !choice.takes(&path, entry.kind) {
                    return Ok(());
                }
                let selected = &mut content.selected;
                selected.files += 1;
                selected.bytes = selected.bytes.saturating_add(entry.size);
                selected.here = selected.here.saturating_add(here);
                if missing > 0 {
                    let why = why.of(&entry, &held);
                    content.missing.push(Missing { path, bytes: missing, why });
                }
            }
            Ok(())
        };
        snapshot.walk(count).await?;
        content.saved = distinct.bytes().map(|distinct| content.bytes.saturating_sub(distinct));
        Ok(content)
    }

    /// Says how much is selected.
    pub(super) fn describe(&self) -> String {
        let Part { files, bytes, .. } = self.selected;
        let all = Things(self.files, "file");
        format!("{} of {all} selected, {} of {}", Count(files), Size(bytes), Size(self.bytes))
    }
}

/// Returns how many bytes of a file are not here; of an extent that is here in part, its share of blocks.
pub(super) fn lacking(entry: &Entry, held: &Bitfield) -> u64 {
    let missing = |extent: &Extent| {
        let here = held.iter_ones(extent.blocks()).count() as u64;
        let bytes = u128::from(extent.bytes) * u128::from(extent.count - here);
        u64::try_from(bytes.div_ceil(u128::from(extent.count.max(1)))).unwrap_or(extent.bytes)
    };
    entry.extents.iter().map(missing).sum::<u64>().min(entry.size)
}

/// Why something is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The drive is written here: its files were changed after they were shared in place, or the disk lost them.
    Changed,
    /// No process fetches it; a peer answered so long ago.
    Idle(Option<Duration>),
    /// A process fetches it, but nobody who is connected told what they have.
    Alone,
    /// A process fetches it; nobody who is connected has these blocks of the content.
    OutOfReach(Vec<Range<u64>>),
}

impl Why {
    /// Returns why a reader's folder is not whole, by what the processes say that have the drive open.
    pub(super) fn by(processes: &[Value], seen: Option<Duration>) -> Self {
        let Some(process) = processes.iter().find(|process| process["fetches"] == true) else {
            return Self::Idle(seen);
        };
        let Some(lost) = process["out_of_reach"].as_array() else { return Self::Alone };
        Self::OutOfReach(
            lost.iter().filter_map(|run| Some(run[0].as_u64()?..run[1].as_u64()?)).collect(),
        )
    }

    fn of(&self, entry: &Entry, held: &Bitfield) -> String {
        match self {
            Self::Changed => "its bytes changed since it was shared".to_owned(),
            Self::Idle(None) => "nothing is fetching it".to_owned(),
            Self::Idle(Some(ago)) => {
                format!("nothing is fetching it; a peer answered {} ago", Span(*ago))
            }
            Self::Alone => "nobody is connected".to_owned(),
            Self::OutOfReach(lost) => match first_lost(entry, held, lost) {
                None => "on its way".to_owned(),
                Some(run) if run.end - run.start == 1 => {
                    format!("nobody online has block {}", run.start)
                }
                Some(run) => {
                    format!("nobody online has blocks {} to {}", run.start, run.end - 1)
                }
            },
        }
    }
}

/// Returns the first blocks of a file that are neither here nor within reach.
fn first_lost(entry: &Entry, held: &Bitfield, lost: &[Range<u64>]) -> Option<Range<u64>> {
    let of_file = |run: &Range<u64>| {
        let cut = |blocks: Range<u64>| blocks.start.max(run.start)..blocks.end.min(run.end);
        entry.extents.iter().map(|extent| cut(extent.blocks())).find(|part| part.start < part.end)
    };
    let run = lost.iter().find_map(of_file)?;
    // What came since the process said so is no longer lost.
    (!held.all(run.clone())).then_some(run)
}

#[cfg(test)]
mod tests {
    use datnode_drive::Mtime;
    use serde_json::json;

    use super::*;

    /// A file of the blocks 10 to 19.
    fn entry() -> Entry {
        let extent = Extent { slot: 0, first_block: 10, count: 10, first_byte: 0, bytes: 1_000 };
        let extents = vec![extent];
        Entry { kind: Kind::File, size: 1_000, extents, ..Entry::directory(0, Mtime::default()) }
    }

    #[test]
    fn reasons_follow_from_what_processes_say() {
        let (held, hour) = (Bitfield::new(), Some(Duration::from_secs(3_600)));
        let fetching = |lost: Value| vec![json!({ "fetches": true, "out_of_reach": lost })];
        for (processes, seen, said) in [
            (vec![], None, "nothing is fetching it"),
            (
                vec![json!({ "fetches": false })],
                hour,
                "nothing is fetching it; a peer answered 1 h",
            ),
            (fetching(Value::Null), None, "nobody is connected"),
            (fetching(json!([])), None, "on its way"),
            (fetching(json!([[0, 10], [20, 30]])), None, "on its way"),
            (fetching(json!([[0, 11]])), None, "nobody online has block 10"),
            (fetching(json!([[12, 40]])), None, "nobody online has blocks 12 to 19"),
        ] {
            let why = Why::by(&processes, seen).of(&entry(), &held);
            assert!(why.starts_with(said), "{why}");
        }
        let here: Bitfield = [10..11].into_iter().collect();
        assert_eq!(Why::OutOfReach(vec![0..11]).of(&entry(), &here), "on its way");
    }
}
