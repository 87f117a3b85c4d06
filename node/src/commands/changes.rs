//! `datnode changes`: what each change set and deleted, oldest first, a line of JSON each.

use datnode_drive::{DrivePath, Entry};
use serde_json::{Value, json};

use super::context::{Opened, open, with_others};
use super::filter::Filter;
use super::live::{Live, watch};
use super::value::{size, value};
use crate::cli::Changes;
use crate::cli::escape;
use crate::cli::output::{Lines, Out};
use crate::edit::Tagged;
use crate::engine::Snapshot;
use crate::error::Error;

pub(super) async fn run(args: Changes, out: &Out) -> Result<(), Error> {
    let shown = async {
        let at = args.until.as_ref();
        let opened = open(args.address.as_deref(), at, &args.network, out).await?;
        let opened = match args.live {
            // Its store is let go later.
            true => opened,
            false => with_others(opened, &args.network, out).await?,
        };
        let filter = Filter::new(opened.path.clone(), &args.path)?;
        let left = args.limit.unwrap_or(usize::MAX);
        let mut stream = Stream { filter, values: args.values, left, lines: out.lines() };
        let latest = opened.snapshot().await?;
        let ended = stream.history(&args, &opened, &latest).await;
        // What was found out is shown, whatever went wrong then.
        stream.flush(out).and(ended)?;
        if args.live { stream.follow(&args, opened, &latest, out).await } else { Ok(()) }
    };
    if args.live { watch(shown).await } else { shown.await }
}

/// Lines on their way out.
struct Stream {
    filter: Filter,
    values: bool,
    /// How many lines are still wanted.
    left: usize,
    lines: Lines,
}

impl Stream {
    /// Shows what there is.
    async fn history(
        &mut self,
        args: &Changes,
        opened: &Opened,
        latest: &Snapshot,
    ) -> Result<(), Error> {
        let since = opened.number_of(args.since.as_ref()).await?;
        for position in latest.changes_since(since).await? {
            if self.left == 0 {
                break;
            }
            self.show(&latest.at(position).await?).await?;
        }
        Ok(())
    }

    /// Shows what comes, until enough is shown.
    async fn follow(
        &mut self,
        args: &Changes,
        opened: Opened,
        latest: &Snapshot,
        out: &Out,
    ) -> Result<(), Error> {
        let mut live = Live::behind(latest, opened, &args.network, out).await?;
        while self.left > 0 {
            let (latest, changes) = live.next().await?;
            for position in changes {
                self.show(&latest.at(position).await?).await?;
            }
            self.flush(out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &Out) -> Result<(), Error> {
        std::mem::replace(&mut self.lines, out.lines()).end()
    }

    /// Shows what one change did.
    async fn show(&mut self, at: &Snapshot) -> Result<(), Error> {
        at.ops(|path, entry| self.line(at, &path, entry.as_ref())).await?;
        // Who asks for paths asks for no tags.
        if self.left == 0 || !self.filter.is_open() {
            return Ok(());
        }
        at.tags_touched().await?.iter().try_for_each(|tag| self.tag(at, &Tagged::of(tag)))
    }

    fn tag(&mut self, at: &Snapshot, tag: &Tagged) -> Result<(), Error> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let mut record = begun(at, "tag");
        (record["tag"], record["of"]) = (json!(tag.name), json!(tag.of));
        self.lines.record(&record)
    }

    fn line(
        &mut self,
        at: &Snapshot,
        path: &DrivePath,
        entry: Option<&Entry>,
    ) -> Result<(), Error> {
        if self.left == 0 || !self.filter.takes(path) {
            return Ok(());
        }
        self.left -= 1;
        let mut record = begun(at, if entry.is_some() { "put" } else { "del" });
        escape::json_name(&mut record, "key", path.as_bytes());
        if let Some(entry) = entry {
            record["size"] = size(entry);
            if self.values {
                record["value"] = value(entry);
            }
        }
        self.lines.record(&record)
    }
}

/// Returns what every line says of its change.
fn begun(at: &Snapshot, kind: &str) -> Value {
    let time = jiff::Timestamp::from_second(at.version.change.time.seconds);
    json!({
        "type": kind, "change": at.version.number, "version": at.version.id.to_string(),
        "time": time.map_or_else(|_| "–".to_owned(), |time| time.to_string()),
    })
}
