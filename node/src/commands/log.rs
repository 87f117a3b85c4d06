//! `datnode log`: the changes of a drive, newest first; with `--live` oldest first, and then those that come.

use datnode_drive::Difference;
use serde_json::json;

use super::context::{Opened, open, with_others};
use super::filter::Filter;
use super::live::{Live, watch};
use super::tag;
use super::tally::Tally;
use crate::cli::Log;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::edit::Tagged;
use crate::engine::Snapshot;
use crate::error::{Code, Error};

pub(super) async fn run(args: Log, out: &Out) -> Result<(), Error> {
    let shown = async {
        let opened = open(args.address.as_deref(), None, &args.network, out).await?;
        let filter = Filter::new(opened.path.clone(), &args.path)?;
        // Else the changes themselves are all that is read, and those are here. The store of who watches is let go later.
        let opened = match (args.stat || !filter.is_open()) && !args.live {
            true => with_others(opened, &args.network, out).await?,
            false => opened,
        };
        let history = History { filter, stat: args.stat, json: out.json };
        let latest = opened.snapshot().await?;
        history.show(&args, &opened, &latest, out).await?;
        if args.live { history.follow(&args, opened, &latest, out).await } else { Ok(()) }
    };
    if args.live { watch(shown).await } else { shown.await }
}

/// How changes are shown.
struct History {
    filter: Filter,
    stat: bool,
    json: bool,
}

impl History {
    /// Shows those that there are.
    async fn show(
        &self,
        args: &Log,
        opened: &Opened,
        latest: &Snapshot,
        out: &Out,
    ) -> Result<(), Error> {
        let since = opened.number_of(args.since.as_ref()).await?;
        let mut held = Vec::new();
        let mut left = args.limit.unwrap_or(usize::MAX);
        let mut next = Some(latest.clone());
        while let Some(at) = next.filter(|at| left > 0 && at.version.number > since) {
            if let Some(text) = self.text(&at).await? {
                left -= 1;
                if args.reverse || args.live { held.push(text) } else { out.data(text.as_bytes())? }
            }
            next = at.previous().await?;
        }
        held.iter().rev().try_for_each(|text| out.data(text.as_bytes()))
    }

    /// Shows those that come.
    async fn follow(
        &self,
        args: &Log,
        opened: Opened,
        latest: &Snapshot,
        out: &Out,
    ) -> Result<(), Error> {
        let mut live = Live::behind(latest, opened, &args.network, out).await?;
        loop {
            let (latest, changes) = live.next().await?;
            for position in changes {
                if let Some(text) = self.text(&latest.at(position).await?).await? {
                    out.data(text.as_bytes())?;
                }
            }
        }
    }

    /// Returns a change as lines for a person, or as a line of JSON; none if it is not asked for.
    async fn text(&self, at: &Snapshot) -> Result<Option<String>, Error> {
        let mut tally = Tally::default();
        if self.stat {
            let count = |difference: Difference| {
                if self.filter.takes(&difference.path) {
                    tally.add(&difference);
                }
                Ok(())
            };
            at.touched(count).await?;
            let is_shown = self.filter.is_open() || !tally.is_empty();
            let tags = self.tags(at).await?;
            return Ok(is_shown.then(|| shown(at, Some(&tally), &tags, self.json)));
        }
        let mut is_shown = self.filter.is_open();
        if !is_shown {
            at.ops(|path, _| {
                is_shown |= self.filter.takes(&path);
                Ok(())
            })
            .await?;
        }
        let tags = self.tags(at).await?;
        Ok(is_shown.then(|| shown(at, None, &tags, self.json)))
    }

    /// Returns what a change did to tags; who asks for paths asks for no tags.
    async fn tags(&self, at: &Snapshot) -> Result<Vec<Tagged>, Error> {
        if !self.filter.is_open() {
            return Ok(Vec::new());
        }
        match at.tags_touched().await {
            Ok(touched) => Ok(touched.iter().map(Tagged::of).collect()),
            // The index of older tags need not be here: what changed otherwise is told all the same.
            Err(error) if matches!(error.code(), Code::NoData | Code::NoPeers) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Returns one change as lines for a person, or as a line of JSON.
fn shown(snapshot: &Snapshot, tally: Option<&Tally>, tags: &[Tagged], json: bool) -> String {
    let (version, change) = (&snapshot.version, &snapshot.version.change);
    let time = jiff::Timestamp::from_second(change.time.seconds)
        .map_or_else(|_| "–".to_owned(), |time| time.to_string());
    let id = version.id.to_string();
    let (put, deleted) = (change.counts.put, change.counts.deleted);
    if json {
        let mut record = json!({
            "change": version.number, "version": id, "time": time, "message": change.message,
            "put": put, "deleted": deleted,
            "files": change.counts.files, "bytes": change.counts.bytes,
        });
        if let Some(tally) = tally {
            record["stat"] = tally.json();
        }
        if !tags.is_empty() {
            record["tags"] = tags.iter().map(tag::record).collect();
        }
        return format!("{}\n", escape::json(&record.to_string()));
    }
    let message = escape::text(&change.message);
    let second = tally.map_or_else(|| format!("+{put} -{deleted}\n"), Tally::text);
    let tags: String = tags.iter().map(|tag| format!("      {tag}\n")).collect();
    format!("● {} · {}   {time}   {message}\n      {second}{tags}", version.number, &id[..6])
}
