//! `datnode tag`: names for versions; listed, set, moved and deleted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use datnode_drive::{Tag, TagName};
use serde_json::{Value, json};

use super::context::open;
use super::edit::Place;
use crate::address::{Address, VersionSpec, key};
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::{Network, TagArgs};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::edit::{Edit, Edited, Tagged, tag_name};
use crate::error::Error;

pub(super) async fn run(args: TagArgs, out: &Out) -> Result<(), Error> {
    let TagArgs { name, version, list: from, delete, force, message, if_version, network } = args;
    let Some(name) = name else { return list(from.as_deref(), &network, out).await };
    let name = name_of(&name)?;
    let (place, version) = place(version.as_deref())?;
    let edit = match (delete, version) {
        (true, None) => Edit::Untag { name },
        (true, Some(_)) => {
            return Err(Error::usage("a tag is deleted whatever version it names"));
        }
        (false, version) => {
            let version = version.map(|version| version.to_string());
            Edit::Tag { name, version, force }
        }
    };
    say(out, &place.change(edit, message, if_version).await?)
}

/// Takes the name of a tag; who names a drive wants to see its tags.
fn name_of(word: &OsStr) -> Result<String, Error> {
    let bytes = word.as_bytes();
    let first = bytes.split(|byte| b"+/".contains(byte)).next().unwrap_or_default();
    if key::is_key(first)? || bytes.contains(&b'/') {
        let list = format!("datnode tag --list {}", escape::bytes(bytes));
        return Err(Error::usage("a drive cannot be the name of a tag").hint(list));
    }
    let text = word.to_str().ok_or_else(|| Error::usage("the name of a tag is UTF-8"))?;
    tag_name(text).map(|name| name.as_str().to_owned())
}

/// Returns the drive whose version gets a name, and the version: a version alone is of the drive here.
fn place(word: Option<&OsStr>) -> Result<(Place, Option<VersionSpec>), Error> {
    let Some(word) = word else { return Ok((Place::of(OsStr::new("."))?, None)) };
    let drives = Drives::of(&Dirs::find()?);
    match Address::version_alone(word, Path::new("."), &drives) {
        Some(version) => Ok((Place::of(OsStr::new("."))?, Some(version))),
        None => {
            let (place, version) = Place::with_version(word)?;
            whole(word, &place.path)?;
            Ok((place, version))
        }
    }
}

/// Refuses an address of something in a drive. In a folder of a drive one is in the drive, as with git.
fn whole(word: &OsStr, path: &[u8]) -> Result<(), Error> {
    if path.is_empty() || Path::new(word).is_dir() {
        return Ok(());
    }
    Err(Error::usage("tags are of a drive as a whole, not of what is in it"))
}

/// Shows the tags of a drive, here or elsewhere.
async fn list(address: Option<&OsStr>, network: &Network, out: &Out) -> Result<(), Error> {
    let opened = open(address, None, network, out).await?;
    whole(address.unwrap_or(OsStr::new(".")), opened.path.as_bytes())?;
    let snapshot = opened.snapshot().await?;
    let (mut lines, mut all) = (out.lines(), Vec::new());
    let json = out.json;
    let show = |name: TagName, tag: Tag| {
        match json {
            true => all.push(listed(&name, &tag)),
            false => lines.data(&line(&name, &tag))?,
        }
        Ok(true)
    };
    let ended = snapshot.tags(show).await;
    lines.end().and(ended)?;
    if json { out.record(&json!({ "tags": all })) } else { Ok(()) }
}

fn time(tag: &Tag) -> String {
    jiff::Timestamp::from_second(tag.time.seconds)
        .map_or_else(|_| "–".to_owned(), |time| time.to_string())
}

fn line(name: &TagName, tag: &Tag) -> String {
    let (name, number, id) = (escape::text(name.as_str()), tag.number, tag.version.to_string());
    format!("{name:<20}  {number} · {}   {}\n", &id[..6], time(tag))
}

fn listed(name: &TagName, tag: &Tag) -> Value {
    json!({
        "name": name.as_str(), "change": tag.number, "version": tag.version.to_string(),
        "time": time(tag),
    })
}

fn say(out: &Out, done: &Edited) -> Result<(), Error> {
    let Some(tag) = &done.tag else { return Ok(()) };
    if out.json {
        return out.record(&json!({
            "type": "done", "change": done.change, "version": done.version, "changed": done.changed,
            "tag": tag.name, "of": tag.of,
        }));
    }
    let id = done.version.get(..6).unwrap_or_default();
    let note = if done.changed { "" } else { "   nothing changed" };
    out.say(format_args!("{tag}   version {} · {id}{note}", done.change));
    Ok(())
}

/// Returns what scripts are told of a tag that a change set or deleted.
pub(super) fn record(tag: &Tagged) -> Value {
    json!({ "tag": tag.name, "of": tag.of })
}
