//! `datnode diff`: what differs between two versions, of one drive or of two, or between a version and the folder it came from.
//!
//! Elsewhere: what is compared (`sides`), a difference as a line (`line`), as a patch (`patch`), and what it would cost to get
//! (`transfer`).

mod line;
mod patch;
mod sides;
mod transfer;

use datnode_drive::{Difference, Kind};
use serde_json::json;

use self::patch::Patches;
use self::sides::{New, Sides};
use self::transfer::Transfer;
use super::filter::Filter;
use super::missing::missing;
use super::tally::Tally;
use super::value::{size, value};
use crate::cli::Diff;
use crate::cli::escape;
use crate::cli::output::{Lines, Out};
use crate::cli::units::{Size, Things};
use crate::engine::Comparison;
use crate::error::{Code, Error};

pub(super) async fn run(args: Diff, out: &Out) -> Result<(), Error> {
    if args.text && out.json {
        return Err(Error::usage("--text is for people, and --json for programs"));
    }
    let sides = Sides::open(&args, out).await?;
    let path = &sides.opened.path;
    let is_there = sides.old.has(path).await?
        || match &sides.new {
            New::Version(new) => new.has(path).await?,
            New::Folder(_) => true,
        };
    if !is_there {
        return Err(missing(&sides.old, path).await);
    }
    let mut report = Report::new(&args, &sides, out)?;
    let ended = report.fill(&args, &sides).await;
    let Report { lines, tally, transfer, counts, .. } = report;
    lines.end().and(ended)?;
    let bytes = transfer.bytes(&sides).await?;
    if out.json && args.stat {
        let mut record = tally.json();
        record["type"] = "diff_stat".into();
        record["transfer"] = bytes.into();
        out.record(&record)?;
    } else if !out.json {
        let stat = if args.stat && !tally.is_empty() { tally.text() } else { String::new() };
        out.data(format!("{stat}{}\n", counts.text(bytes, &sides)).as_bytes())?;
    }
    let differs = args.exit_code && !tally.is_empty();
    if differs { Err(Error::new(Code::Differs, "there are differences")) } else { Ok(()) }
}

/// What was found out so far.
struct Report<'a> {
    json: bool,
    stat: bool,
    filter: Filter,
    /// The versions that are compared, as their ids; none for a folder.
    forks: [Option<String>; 2],
    lines: Lines,
    patches: Option<Patches<'a>>,
    tally: Tally,
    transfer: Transfer,
    counts: Counts,
}

impl<'a> Report<'a> {
    fn new(args: &Diff, sides: &'a Sides, out: &Out) -> Result<Self, Error> {
        let new = match &sides.new {
            New::Version(new) => Some(new.version.id.to_string()),
            New::Folder(_) => None,
        };
        Ok(Self {
            json: out.json,
            stat: args.stat,
            filter: Filter::new(sides.opened.path.clone(), &args.path)?,
            forks: [Some(sides.old.version.id.to_string()), new],
            lines: out.lines(),
            patches: args.text.then(|| Patches::new(sides)),
            tally: Tally::default(),
            transfer: Transfer::new(sides),
            counts: Counts::default(),
        })
    }

    /// Goes through all differences.
    async fn fill(&mut self, args: &Diff, sides: &Sides) -> Result<(), Error> {
        match &sides.new {
            New::Version(new) => {
                let mut comparison = Comparison::new(&sides.old, new);
                while let Some(difference) = comparison.next().await? {
                    self.take(difference).await?;
                }
            }
            New::Folder(folder) => {
                let (found, ended) = sides::of_folder(&sides.old, folder, &args.filter).await?;
                for difference in found {
                    self.take(difference).await?;
                }
                return ended;
            }
        }
        Ok(())
    }

    async fn take(&mut self, difference: Difference) -> Result<(), Error> {
        if !self.filter.takes(&difference.path) {
            return Ok(());
        }
        if !is_time_of_folder(&difference) {
            self.tally.add(&difference);
            self.counts.add(&difference);
            self.transfer.add(&difference);
        } else if !self.json {
            // It changes with everything that is put in the folder.
            return Ok(());
        }
        match (self.json, self.stat) {
            (_, true) => return Ok(()),
            (true, _) => return self.record(&difference),
            (false, _) => self.lines.data(&line::text(&difference))?,
        }
        match &self.patches {
            Some(patches) => self.lines.data(&patches.of(&difference).await?),
            None => Ok(()),
        }
    }

    /// Shows a difference to a program.
    fn record(&mut self, difference: &Difference) -> Result<(), Error> {
        let Difference { path, old, new } = difference;
        let versions = [old, new].map(|entry| {
            let mut put = json!({ "type": "put" });
            let entry = entry.as_ref()?;
            escape::json_name(&mut put, "key", path.as_bytes());
            put["size"] = size(entry);
            put["value"] = value(entry);
            if entry.change > 0 {
                put["change"] = entry.change.into();
            }
            Some(put)
        });
        let mut record = json!({ "forks": self.forks, "versions": versions });
        escape::json_name(&mut record, "key", path.as_bytes());
        self.lines.record(&record)
    }
}

/// Tells whether nothing differs but when a folder changed.
fn is_time_of_folder(difference: &Difference) -> bool {
    let both = difference.old.as_ref().zip(difference.new.as_ref());
    both.is_some_and(|(old, new)| old.is_folder_but_for_time(new))
}

/// How many names differ.
#[derive(Default)]
struct Counts {
    files: u64,
    folders: u64,
}

impl Counts {
    fn add(&mut self, difference: &Difference) {
        let entry = difference.new.as_ref().or(difference.old.as_ref());
        match entry.map(|entry| entry.kind) {
            Some(Kind::Directory) => self.folders += 1,
            _ => self.files += 1,
        }
    }

    /// Returns the last line.
    fn text(&self, bytes: u64, sides: &Sides) -> String {
        let what = match (self.files, self.folders) {
            (0, 0) => return "nothing differs".to_owned(),
            (files, 0) => Things(files, "file").to_string(),
            (0, folders) => Things(folders, "folder").to_string(),
            (files, folders) => {
                format!("{} and {}", Things(files, "file"), Things(folders, "folder"))
            }
        };
        let verb = if self.files + self.folders == 1 { "differs" } else { "differ" };
        // What is equal inside of a file shows when it is cut.
        let most = if matches!(sides.new, New::Folder(_)) { "up to " } else { "" };
        format!("{what} {verb}, {most}{} would be transferred", Size(bytes))
    }
}
