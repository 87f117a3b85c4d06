//! `datnode share`: take a folder in, then serve it until asked to stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datnode_drive::{Step, Version};
use datnode_feed::{BlockIndex, FeedSlot, PublicKey};
use serde_json::{Value, json};

use super::context::{asked_to_stop, disk, hub, network, patience, read_key, write_key};
use super::{dry_run, left_out};
use crate::address::{Link, Ticket, key::hex};
use crate::cli::Share;
use crate::cli::output::Out;
use crate::cli::stages::{IMPORTING, Stage, Stages, Status};
use crate::cli::units::{Count, Size, Span, Things};
use crate::dirs::Dirs;
use crate::engine::{AnyStore, Drive, listen_locally, start};
use crate::error::{Code, Error};
use crate::home::{self, Home};
use crate::import::{How, Imported, Keep, Progress, Rules, Writer, create, import};
use crate::keys::DriveKeys;
use crate::runtime;
use crate::view::View;

pub(super) async fn run(args: Share, out: &Out) -> Result<(), Error> {
    let folder = std::fs::canonicalize(&args.folder)
        .map_err(|error| Error::io("open", &args.folder, &error))?;
    if !folder.is_dir() {
        return Err(Error::usage(format!("{} is no folder", args.folder.display())));
    }
    if args.dry_run {
        return dry_run::run(&args, &folder, out).await;
    }
    let dirs = Dirs::open()?;
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let asked = asked_to_stop();
    let taking = {
        let (args, dirs, out, folder, stop) =
            (Arc::new(args), dirs.clone(), out.clone(), folder.clone(), stop.0.clone());
        let shared = args.clone();
        (args, tokio::task::spawn_blocking(move || take(&shared, &dirs, &folder, &out, &stop)))
    };
    let (args, taken) = taking;
    tokio::pin!(asked);
    let Taken { store, key, version, imported } = tokio::select! {
        taken = taken => taken.map_err(|error| Error::new(Code::Io, error.to_string()))??,
        () = &mut asked => return Err(Error::interrupted()),
    };
    let hub = hub()?;
    let (counts, number, id) = (version.change.counts, version.number, version.id.to_string());
    let drive =
        Drive::open(&hub, start(store, hub.answers()), key, patience(&args.network, &dirs, &key))
            .await?;
    drive.latest().await?;
    let network = network(&hub, &dirs, &args.network, key, Vec::new(), out).await?;
    let addresses = network.addresses();
    let _announcement = runtime::announce(&dirs.run, addresses.clone(), &[key])
        .map_err(|error| Error::io("write", &dirs.run, &error))?;
    listen_locally(&hub, &runtime::socket(&dirs.run))?;
    let ticket = Ticket::new(key, addresses.clone()).to_string();
    if out.json {
        let mut record = json!({
            "type": "ready", "drive": { "key": hex(&key), "link": Link(&key).to_string() }, "ticket": ticket,
            "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "change": number, "version": id, "files": counts.files, "bytes": counts.bytes,
        });
        if let Some(imported) = &imported {
            count(&mut record, imported);
        }
        out.record(&record)?;
    }
    let word = if args.ticket { ticket } else { Link(&key).to_string() };
    out.say(format_args!(
        "\n    datnode clone {word}\n\nAnyone with this {} can read the drive.   Ctrl-C stops",
        if args.ticket { "ticket" } else { "key" }
    ));
    out.doing("serving".to_owned());
    tokio::select! {
        () = asked => {}
        never = watch(&drive, &dirs, &folder, out) => return never,
    }
    network.close().await;
    Ok(())
}

/// Says what others know of this drive that its writer must know as well.
async fn watch(drive: &Drive, dirs: &Dirs, folder: &Path, out: &Out) -> Result<(), Error> {
    let mut news = drive.changes.news.clone();
    let (mut behind, mut accused) = (None, false);
    loop {
        let now = *news.borrow_and_update();
        if let Some(theirs) = now.behind.filter(|_| now.behind != behind) {
            behind = now.behind;
            Home::open(dirs, &drive.key)?.note_seen(theirs)?;
            out.warn(&home::older(folder, now.length, theirs));
        }
        if now.accused && !accused {
            accused = true;
            out.warn(&home::two_histories());
        }
        if news.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Ends an import when the command that waits for it is over, for whatever reason.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A drive that is ready to be served.
struct Taken {
    store: AnyStore,
    key: PublicKey,
    version: Version,
    /// What was taken in just now; none if the folder was not looked at.
    imported: Option<Imported>,
}

/// Opens the drive of a folder and takes in what changed; gives the store, ready to be served.
fn take(
    args: &Share,
    dirs: &Dirs,
    folder: &Path,
    out: &Out,
    stop: &AtomicBool,
) -> Result<Taken, Error> {
    let known = read_key(folder)?;
    let mut store = disk(folder, true)?;
    let keys = match known {
        Some(key) => match DriveKeys::load(dirs, &key)? {
            Some(keys) => keys,
            None => {
                out.say("The secret key of this drive is not here: serving what there is, taking nothing in.");
                return serve_only(store, key);
            }
        },
        None => DriveKeys::create(dirs)?,
    };
    let key = keys.changes.public();
    let (changes, content) = (
        store.add_feed(key).map_err(Error::store)?,
        store.add_feed(keys.content.public()).map_err(Error::store)?,
    );
    store.own(changes);
    store.own(content);
    let mut home = Home::open(dirs, &key)?;
    if args.no_import && store.length(changes) > 0 {
        return Ok(Taken { version: latest(&mut store, changes)?, store, key, imported: None });
    }
    home.check(folder, &mut store, changes)?;
    let writer = Writer { changes: (changes, &keys.changes), content: (content, &keys.content) };
    if store.length(changes) == 0 {
        let name = args
            .name
            .clone()
            .or_else(|| folder.file_name().map(|name| name.to_string_lossy().into_owned()));
        create(&mut store, &writer, &name.unwrap_or_default()).map_err(Error::store)?;
    }
    if known.is_none() {
        write_key(folder, &key)?;
    }
    let base = latest(&mut store, changes)?;
    note_home(&mut home, folder, &store, changes)?;
    if args.no_import {
        return Ok(Taken { store, key, version: base, imported: None });
    }
    let (rules, began) = (rules(args), Instant::now());
    let stages = Stages::new(out, IMPORTING);
    let mut last = status(Progress::default());
    let mut progress = |now: Progress| {
        last = status(now);
        stages.show(&last);
    };
    let keep = if args.in_place { Keep::InPlace } else { Keep::History };
    let how = How { rules: &rules, keep, message: &args.message };
    let imported = import(&mut store, &writer, &base, folder, &how, stop, &mut progress)?;
    note_home(&mut home, folder, &store, changes)?;
    stages.end(&last);
    if args.show_ignored {
        left_out::list(out, &imported.walked.left_out)?;
    }
    describe(out, &imported, began.elapsed());
    let version = imported.version.clone();
    Ok(Taken { store, key, version, imported: Some(imported) })
}

/// Notes where the drive is written, and how far it is.
fn note_home(
    home: &mut Home,
    folder: &Path,
    store: &AnyStore,
    changes: FeedSlot,
) -> Result<(), Error> {
    store.head(changes).map_or(Ok(()), |head| home.note(folder, head))
}

fn status(now: Progress) -> Status {
    let note = format!("{} of {}", Count(now.files), Things(now.files_total, "file"));
    Status { stage: Stage::Import, bytes: now.bytes, total: None, peers: 0, note }
}

/// Returns what to leave out.
pub(super) fn rules(args: &Share) -> Rules {
    Rules { hidden: args.hidden, no_ignore: args.no_ignore, ignore: args.ignore.clone() }
}

fn serve_only(mut store: AnyStore, key: PublicKey) -> Result<Taken, Error> {
    let changes = store.add_feed(key).map_err(Error::store)?;
    if store.length(changes) == 0 {
        return Err(
            Error::read_only(&Link(&key).to_string()).hint("datnode clone fetches the drive first")
        );
    }
    let version = latest(&mut store, changes)?;
    Ok(Taken { store, key, version, imported: None })
}

/// Returns the latest version that is here.
pub(super) fn latest(
    store: &mut AnyStore,
    changes: datnode_feed::FeedSlot,
) -> Result<Version, Error> {
    let last = BlockIndex(store.length(changes).saturating_sub(1));
    match Version::open(&View::new(store, changes, None), last).map_err(Error::damaged)? {
        Step::Done(version) => Ok(version),
        Step::Need(_) => Err(Error::verify("the latest change is not here")),
    }
}

/// Adds to a record what an import did.
fn count(record: &mut Value, imported: &Imported) {
    record["added"] = imported.added.into();
    record["changed"] = imported.altered.into();
    record["removed"] = imported.removed.into();
    record["bytes_new"] = imported.bytes_new.into();
    record["unsteady"] = imported.unsteady.len().into();
    left_out::count(record, &imported.walked);
}

fn describe(out: &Out, imported: &Imported, took: Duration) {
    let counts = imported.version.change.counts;
    out.say(format_args!(
        "Scanned   {}, {}    {}",
        Things(counts.files, "file"),
        Size(counts.bytes),
        Span(took)
    ));
    left_out::say(out, &imported.walked);
    if !imported.walked.unreadable.is_empty() {
        out.warn(&Error::unreadable(&imported.walked.unreadable));
    }
    if !imported.unsteady.is_empty() {
        out.warn(&Error::changed(&imported.unsteady));
    }
    out.say(format_args!(
        "Imported  {} new, {} changed, {} removed    {} new, {} already known",
        Count(imported.added),
        Count(imported.altered),
        Count(imported.removed),
        Size(imported.bytes_new),
        Size(imported.bytes_known)
    ));
    let id = imported.version.id.to_string();
    let note = if imported.changed { "" } else { "   nothing changed" };
    out.say(format_args!("Version   {} · {}{note}", imported.version.number, &id[..6]));
}
