//! What `verify` found: damaged blocks by file, files that differ, and how that is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use datnode_drive::DrivePath;
use datnode_feed::Checked;
use serde_json::{Value, json};

use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Count, Size, Span, Things};
use crate::engine::Differing;
use crate::error::Error;

/// How many damaged blocks are named, and how many files.
const NAMES_MAX: usize = 10;

pub(super) const CHANGES: &str = "changes";
pub(super) const CONTENT: &str = "content";

/// A block that is not what was signed.
#[derive(Clone, Debug)]
pub(super) struct Bad {
    pub(super) feed: &'static str,
    pub(super) block: u64,
    /// The file of the version here that it belongs to, and which block of the file it is.
    pub(super) file: Option<(DrivePath, u64)>,
}

impl PartialEq for Bad {
    fn eq(&self, other: &Self) -> bool {
        (self.feed, self.block) == (other.feed, other.block)
    }
}

/// What was found.
pub(super) struct Found {
    /// What was looked at.
    pub(super) checked: Checked,
    pub(super) took: Duration,
    pub(super) bad: Vec<Bad>,
    /// How many blocks of files that are left out changed or went.
    pub(super) left: usize,
    pub(super) differing: Differing,
}

impl Found {
    /// Counts blocks as bad that were dropped when somebody read them.
    pub(super) fn add_dropped(&mut self) {
        let content = self.bad.iter().filter(|bad| bad.feed == CONTENT);
        let mut known: BTreeSet<u64> = content.map(|bad| bad.block).collect();
        for one in &self.differing.dropped {
            if known.insert(one.block.0) {
                let file = Some((one.path.clone(), one.file_block));
                self.bad.push(Bad { feed: CONTENT, block: one.block.0, file });
            }
        }
    }

    /// Tells whether there is nothing to mend; with `force`, what was changed here is mended as well.
    pub(super) fn is_well(&self, force: bool) -> bool {
        self.bad.is_empty() && self.files(force).is_empty()
    }

    /// Returns the files that are written anew; of those that were changed here, only what their blocks need unless `force` is there.
    pub(super) fn files(&self, force: bool) -> BTreeSet<&DrivePath> {
        let Differing { damaged, changed, removed, .. } = &self.differing;
        let of_blocks = self.bad.iter().filter_map(|bad| bad.file.as_ref()).map(|(path, _)| path);
        let changed = changed.iter().filter(|_| force);
        of_blocks.chain(damaged).chain(removed).chain(changed).collect()
    }

    /// Says it, with the damage first.
    pub(super) fn say(&self, folder: &Path, out: &Out) {
        let Self { checked, took, bad, left, differing } = self;
        out.say(format_args!(
            "checked {}, {} blocks, {} signatures in {}      {} bad",
            Size(checked.bytes),
            Count(checked.blocks),
            checked.signatures,
            Span(*took),
            bad.len()
        ));
        bad.iter().take(NAMES_MAX).for_each(|bad| out.say(format_args!("  {}", bad.describe())));
        if bad.len() > NAMES_MAX {
            out.say(format_args!("  and {} more", bad.len() - NAMES_MAX));
        }
        name(&differing.damaged, "is damaged: it looks as it landed, and has other bytes", out);
        name(&differing.removed, "was removed here", out);
        self.say_changed(folder, out);
        if *left > 0 {
            let blocks = Things(*left as u64, "block");
            out.say(format_args!(
                "  {blocks} of files that are left out changed or went, which is no damage"
            ));
        }
    }

    /// Says what was changed here, and how the drive's bytes would come back.
    fn say_changed(&self, folder: &Path, out: &Out) {
        if !self.differing.changed.is_empty() {
            name(&self.differing.changed, "was changed here, and stays as it is", out);
            out.say(format_args!(
                "  datnode verify --repair --force {} puts the drive's bytes there instead",
                escape::shell(folder)
            ));
        }
    }

    /// Says that all is well again which was not `before`.
    pub(super) fn say_mended(&self, before: &Self, folder: &Path, out: &Out) {
        if !before.bad.is_empty() {
            let blocks = Things(before.bad.len() as u64, "block");
            out.say(format_args!("fetched again: {blocks}  ✓"));
        }
        let changed: BTreeSet<_> = self.differing.changed.iter().collect();
        let files = before.files(true).difference(&changed).count();
        if files > 0 {
            out.say(format_args!("right again: {}  ✓", Things(files as u64, "file")));
        }
        self.say_changed(folder, out);
    }

    pub(super) fn record(&self, repaired: usize, out: &Out) -> Result<(), Error> {
        if !out.json {
            return Ok(());
        }
        let Self { checked, bad, left, differing, .. } = self;
        let bad: Vec<Value> = bad.iter().map(Bad::record).collect();
        let Differing { damaged, changed, removed, .. } = differing;
        let how = [(damaged, "damaged"), (changed, "changed"), (removed, "removed")];
        let files = how.into_iter().flat_map(|(files, how)| {
            files.iter().map(move |path| {
                let mut record = json!({ "is": how });
                escape::json_path(&mut record, path.as_bytes());
                record
            })
        });
        out.record(&json!({
            "blocks": checked.blocks, "bytes": checked.bytes, "signatures": checked.signatures, "bad": bad,
            "files": files.collect::<Vec<Value>>(), "left_out": left, "repaired": repaired,
        }))
    }

    /// Ends with an error if something is not what was signed; `cause` is why it could not be fetched again. What was changed here is
    /// none.
    pub(super) fn verdict(&self, cause: Option<Error>) -> Result<(), Error> {
        let (bad, damaged) = (&self.bad, &self.differing.damaged);
        let what = match (bad.len() as u64, damaged.len() as u64) {
            (0, 0) => return cause.map_or(Ok(()), Err),
            (0, files) => Things(files, "file").to_string(),
            (blocks, _) => Things(blocks, "block").to_string(),
        };
        let is = if bad.len().max(damaged.len()) == 1 { "is" } else { "are" };
        let error = Error::verify(format!("{what} {is} not what was signed"));
        let blocks = bad.iter().map(Bad::describe);
        let files = damaged.iter().map(|path| escape::bytes(path.as_bytes()));
        let error = blocks.chain(files).take(NAMES_MAX).fold(error, Error::context);
        Err(match cause {
            Some(cause) => {
                let error = error.context(format!("not fetched again: {}", cause.message()));
                cause.hints().iter().fold(error, Error::hint)
            }
            None => error.hint("datnode verify --repair fetches them again"),
        })
    }
}

/// Names files of which the same is to be said.
fn name(files: &[DrivePath], what: &str, out: &Out) {
    for path in files.iter().take(NAMES_MAX) {
        out.say(format_args!("  {} {what}", escape::bytes(path.as_bytes())));
    }
    if files.len() > NAMES_MAX {
        out.say(format_args!("  and {} more", files.len() - NAMES_MAX));
    }
}

impl Bad {
    pub(super) fn describe(&self) -> String {
        match &self.file {
            Some((path, at)) => format!("{} block {at}", escape::bytes(path.as_bytes())),
            None if self.feed == CHANGES => format!("block {} of the changes", self.block),
            None => format!("block {} of the content, of an older version", self.block),
        }
    }

    /// Reads what [`record`](Self::record) wrote in another process, but for the file.
    pub(super) fn of(record: &Value) -> Option<Self> {
        let feed = if record["feed"] == CHANGES { CHANGES } else { CONTENT };
        Some(Self { feed, block: record["block"].as_u64()?, file: None })
    }

    pub(super) fn record(&self) -> Value {
        let mut record = json!({ "feed": self.feed, "block": self.block });
        if let Some((path, at)) = &self.file {
            escape::json_path(&mut record, path.as_bytes());
            record["file_block"] = (*at).into();
        }
        record
    }
}
