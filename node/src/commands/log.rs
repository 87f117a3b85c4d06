//! `datnode log`: the changes of a drive, newest first.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use datnode_drive::{DrivePath, Kind};
use ignore::overrides::{Override, OverrideBuilder};
use serde_json::{Value, json};

use super::context::{open, os};
use crate::cli::Log;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::Size;
use crate::engine::{Snapshot, Touched};
use crate::error::Error;

/// How many folders a change's summary names.
const PLACES_MAX: usize = 3;

pub(super) async fn run(args: Log, out: &Out) -> Result<(), Error> {
    let opened = open(args.address.as_deref(), None, &args.network, out).await?;
    let filter = Filter::new(opened.path.clone(), &args.path)?;
    let looks = args.stat || !filter.is_open();
    let mut held = Vec::new();
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut next = Some(opened.snapshot().await?);
    while let Some(snapshot) = next.filter(|snapshot| left > 0 && snapshot.version.number > 0) {
        let before = snapshot.previous().await?;
        let touched = match &before {
            Some(before) if looks => filter.pick(snapshot.touched(before).await?),
            _ => Vec::new(),
        };
        if filter.is_open() || !touched.is_empty() {
            left -= 1;
            let text = shown(&snapshot, args.stat.then(|| Stat::of(&touched)), out.json);
            if args.reverse { held.push(text) } else { out.data(text.as_bytes())? }
        }
        next = before;
    }
    held.iter().rev().try_for_each(|text| out.data(text.as_bytes()))
}

/// Which changes are shown: all, or those that touch a place.
struct Filter {
    within: DrivePath,
    places: Vec<Vec<u8>>,
    patterns: Override,
}

impl Filter {
    fn new(within: DrivePath, places: &[OsString]) -> Result<Self, Error> {
        let mut patterns = OverrideBuilder::new("");
        for place in places.iter().filter_map(|place| place.to_str()) {
            let bad = |error| Error::usage(format!("--path {}: {error}", escape::text(place)));
            patterns.add(place).map_err(bad)?;
        }
        let patterns = patterns.build().map_err(|error| Error::usage(error.to_string()))?;
        let place = |place: &OsString| {
            let bytes = place.as_bytes();
            bytes.strip_suffix(b"/").unwrap_or(bytes).to_vec()
        };
        Ok(Self { within, places: places.iter().map(place).collect(), patterns })
    }

    fn is_open(&self) -> bool {
        self.within.is_root() && self.places.is_empty()
    }

    fn pick(&self, mut touched: Vec<Touched>) -> Vec<Touched> {
        touched.retain(|touched| self.takes(&touched.path));
        touched
    }

    fn takes(&self, path: &DrivePath) -> bool {
        let named = |place: &Vec<u8>| {
            path.as_bytes()
                .strip_prefix(&place[..])
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        };
        path.is_within(&self.within)
            && (self.places.is_empty()
                || self.places.iter().any(named)
                || self.patterns.matched(os(path.as_bytes()), false).is_whitelist())
    }
}

/// What a change did, in numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stat {
    added: usize,
    changed: usize,
    removed: usize,
    /// Bytes of the files it set.
    bytes: u64,
    /// How much it touched at each place at the top, most first.
    places: Vec<(String, usize)>,
}

impl Stat {
    fn of(touched: &[Touched]) -> Self {
        let mut stat = Self::default();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for touched in touched {
            match (&touched.before, &touched.after) {
                (None, _) => stat.added += 1,
                (Some(_), Some(_)) => stat.changed += 1,
                (Some(_), None) => stat.removed += 1,
            }
            let set = touched.after.as_ref().filter(|entry| entry.kind == Kind::File);
            stat.bytes = stat.bytes.saturating_add(set.map_or(0, |entry| entry.size));
            *places.entry(top(touched)).or_default() += 1;
        }
        stat.places = places.into_iter().collect();
        stat.places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        stat.places.truncate(PLACES_MAX);
        stat
    }

    fn json(&self) -> Value {
        let place = |(name, count): &(String, usize)| json!({ "path": name, "count": count });
        json!({
            "added": self.added, "changed": self.changed, "removed": self.removed, "bytes": self.bytes,
            "places": self.places.iter().map(place).collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let places: Vec<String> =
            self.places.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let (added, changed, removed) = (self.added, self.changed, self.removed);
        let counts = format!("+{added} ~{changed} -{removed}");
        format!("      {counts}   {}     {}\n", Size(self.bytes), places.join("   "))
    }
}

/// Returns the first name of a path, with a slash if it is a folder.
fn top(touched: &Touched) -> String {
    let first = touched.path.components().next().unwrap_or_default();
    let deeper = touched.path.components().count() > 1;
    let entry = touched.after.as_ref().or(touched.before.as_ref());
    let folder = deeper || entry.is_some_and(|entry| entry.kind == Kind::Directory);
    format!("{}{}", escape::bytes(first), if folder { "/" } else { "" })
}

/// Returns one change as lines for a person, or as a line of JSON.
fn shown(snapshot: &Snapshot, stat: Option<Stat>, json: bool) -> String {
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
        if let Some(stat) = stat {
            record["stat"] = stat.json();
        }
        return format!("{}\n", escape::json(&record.to_string()));
    }
    let message = escape::text(&change.message);
    let second = stat.map_or_else(|| format!("      +{put} -{deleted}\n"), |stat| stat.text());
    format!("● {} · {}   {time}   {message}\n{second}", version.number, &id[..6])
}
