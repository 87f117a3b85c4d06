//! `datnode clear`: free content that is no longer needed, and keep history and proofs.
//!
//! Elsewhere: which blocks nobody needs (`clearing`), files that go as well (`clearing::files`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use datnode_feed::PublicKey;
use serde_json::json;

use super::choose::place;
use super::confirm::confirm;
use super::context::{disk, hub, read_key};
use super::held::{Held, held};
use crate::address::{Link, key::hex};
use crate::choice::Choice;
use crate::clearing::{self, Done, Order, Removed};
use crate::cli::Clear;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Things};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::engine::{Drive, Patience, Reach, start};
use crate::error::{Code, Error};
use crate::keys::DriveKeys;
use crate::landing::landed;

pub(super) async fn run(args: Clear, yes: bool, out: &Out) -> Result<(), Error> {
    let (folder, globs) = place(&args.words)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let writes = DriveKeys::load(&Dirs::open()?, &key)?.is_some();
    if args.files && writes {
        return Err(Error::usage(
            "this drive is written here: what is in its folder is its next version",
        )
        .hint("remove the file itself, and share; then clear --keep-latest frees what it was"));
    }
    if args.files && globs.is_empty() {
        return Err(Error::usage("which files? --files needs a glob"));
    }
    let order = Order {
        older_than: args.older_than.as_ref().map(ToString::to_string),
        // Nobody else may have what is new in the latest version of a writer.
        keep_latest: args.keep_latest || writes,
        landed: if writes { Vec::new() } else { landed(&folder)? },
        partial: !writes,
        dry_run: args.dry_run,
        globs,
    };
    let place = Place { at: open(&folder, &key).await?, folder, key };
    if writes && !yes && !args.dry_run {
        ask_before(&place, &order).await?;
    }
    let mut told = Told { removed: Removed::default(), done: Done::default() };
    if args.files {
        told.removed = place.remove_files(&order).await?;
    }
    told.done = place.clear(&order).await?;
    if out.json {
        return told.record(&place, &order, out);
    }
    told.say(&order, writes, args.files, out);
    Ok(())
}

/// What only the writer may have goes for good: so its user says so.
async fn ask_before(place: &Place, order: &Order) -> Result<(), Error> {
    let found = place.clear(&Order { dry_run: true, ..order.clone() }).await?;
    if found.blocks == 0 {
        return Ok(());
    }
    let question = format!(
        "You write this drive. {} of its older versions go, for good if nobody else has them.",
        Size(found.bytes)
    );
    confirm(question, "yes".to_owned()).await
}

/// The drive that is cleared.
struct Place {
    folder: PathBuf,
    key: PublicKey,
    at: Held<Drive>,
}

/// Opens a drive with nobody else, or finds the process that has it.
async fn open(folder: &Path, key: &PublicKey) -> Result<Held<Drive>, Error> {
    let store = match held(&Dirs::open()?, key, async || disk(folder, false)).await? {
        Held::Here(store) => store,
        Held::By(owner, locked) => return Ok(Held::By(owner, locked)),
    };
    let (hub, reach) = (hub()?, Reach::Folder(folder.to_owned()));
    let alone = Patience { wait: Some(Duration::ZERO), reach, link: Link(key).to_string() };
    Drive::open(&hub, start(store, hub.answers())?, *key, alone).await.map(Held::Here)
}

impl Place {
    /// Has content freed by whoever has the store.
    async fn clear(&self, order: &Order) -> Result<Done, Error> {
        let owner = match &self.at {
            Held::Here(drive) => return clearing::clear(drive, order).await,
            Held::By(owner, _) => owner,
        };
        let question = Question::Clear(order.clone());
        let done = ask(&owner.socket, Some(&self.key), &question).await?;
        serde_json::from_value(done).map_err(|_| {
            Error::new(Code::Version, "the process that has the drive open is of another version")
        })
    }

    /// Leaves files of a clone out from now on, and removes those that are as they landed.
    async fn remove_files(&self, order: &Order) -> Result<Removed, Error> {
        let drive = match &self.at {
            Held::Here(drive) => drive,
            Held::By(_, locked) => return Err(locked.clone()),
        };
        if !order.dry_run {
            // Before anything goes: a run that is cut short leaves nothing that is missed.
            let mut choice = Choice::kept(&self.folder)?;
            for glob in &order.globs {
                if !choice.exclude.contains(glob) {
                    choice.exclude.push(glob.clone());
                }
            }
            choice.keep(&self.folder)?;
        }
        clearing::remove_files(drive, &self.folder, order).await
    }
}

/// What is told in the end.
struct Told {
    removed: Removed,
    done: Done,
}

impl Told {
    fn say(&self, order: &Order, writes: bool, files: bool, out: &Out) {
        let Self { removed, done } = self;
        let blocks = Things(done.blocks, "block");
        match order.dry_run {
            true => out.say(format_args!("{blocks} would go, {}", Size(done.bytes))),
            false => out.say(format_args!(
                "✓ Cleared {blocks}, {}     {} of the disk are free again",
                Size(done.bytes),
                Size(done.freed.saturating_add(removed.freed))
            )),
        }
        if files {
            let would =
                if order.dry_run { " would go" } else { " removed, and left out from now on" };
            out.say(format_args!("  {}{would}", Things(removed.files, "file")));
        }
        if !removed.kept.is_empty() {
            let names: Vec<_> =
                removed.kept.iter().take(3).map(|path| escape::bytes(path)).collect();
            let more = if removed.kept.len() > 3 { ", …" } else { "" };
            out.say(format_args!(
                "  {} changed here and stay: {}{more}",
                Things(removed.kept.len() as u64, "file"),
                names.join(", ")
            ));
        }
        if done.in_files > 0 && !files {
            let hint = match (writes, order.globs.is_empty()) {
                (false, false) => "     --files removes them",
                _ => "",
            };
            out.say(format_args!(
                "  {} more live in files of the folder, which stay{hint}",
                Size(done.in_files)
            ));
        }
        if writes && !order.globs.is_empty() {
            out.say("  what the latest version needs stays: you write this drive");
        }
    }

    fn record(&self, place: &Place, order: &Order, out: &Out) -> Result<(), Error> {
        let Self { removed, done } = self;
        let kept: Vec<_> = removed.kept.iter().map(|path| escape::bytes(path)).collect();
        out.record(&json!({
            "drive": { "key": hex(&place.key), "link": Link(&place.key).to_string() },
            "folder": escape::path(Path::new(&place.folder)), "dry_run": order.dry_run,
            "blocks": done.blocks, "bytes": done.bytes, "freed": done.freed.saturating_add(removed.freed),
            "in_files": done.in_files, "files_removed": removed.files, "files_kept": kept,
        }))
    }
}
