//! `datnode share`: take a folder in, then serve it until asked to stop.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datnode_drive::{Header, Step, Version};
use datnode_feed::PublicKey;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::context::{blocking, folder_of, hub, network, patience, read_key, ticket};
use super::link::qr;
use super::serving::{News, Serving};
use super::writing::{self, Own, Written};
use super::{dry_run, left_out};
use crate::address::{Link, key::hex};
use crate::cli::escape;
use crate::cli::interrupt::asked_to_stop;
use crate::cli::output::Out;
use crate::cli::stages::{IMPORTING, Stage, Stages, Status};
use crate::cli::units::{Count, Size, Span, Things};
use crate::cli::{Progress, Share};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::edit::is_bare;
use crate::engine::{AnyStore, Drive, listen_locally, start};
use crate::error::Error;
use crate::home::{self, Home};
use crate::import::{self, How, Imported, Keep, Memory, latest};
use crate::live::{Follower, Outcome, Watcher};
use crate::pen::Pen;
use crate::runtime;
use crate::view::View;

pub(super) async fn run(args: Share, out: &Out) -> Result<(), Error> {
    let folder = folder(&args.folder)?;
    if args.dry_run {
        return dry_run::run(&args, &folder, out).await;
    }
    let dirs = Dirs::open()?;
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let (args, asked) = (Arc::new(args), asked_to_stop());
    tokio::pin!(asked);
    // Before it is looked through: what happens meanwhile is not missed.
    let watches = !args.no_watch && !args.no_import && !is_bare(&folder)?;
    let watcher = watches.then(|| Watcher::new(&folder));
    let taking = {
        let (args, dirs, out, folder, stop) =
            (args.clone(), dirs.clone(), out.clone(), folder.clone(), stop.0.clone());
        blocking(move || take(&args, &dirs, &folder, &out, &stop))
    };
    let Taken { store, key, version, imported, pen, memory } = tokio::select! {
        taken = taking => taken?,
        () = &mut asked => return Err(Error::interrupted()),
    };
    Drives::of(&dirs).note(&key, &folder, args.name.as_deref())?;
    let (hub, patience) = (hub()?, patience(&args.network, &dirs, &key));
    let drive = Drive::open(&hub, start(store, hub.answers())?, key, patience).await?;
    drive.latest().await?;
    let network = network(&hub, &dirs, &args.network, key, Vec::new(), out).await?;
    network.offer(&key).await;
    let ticket = ticket(&dirs, key, &network, &args.network);
    let ticket = ticket.with_origins(args.network.from.iter().cloned());
    let (began, out_too) = (Instant::now(), out.clone());
    let outside = network.outside();
    let serving = Serving { drive, ticket, outside, pen, fetches: false, began, out: out_too };
    let (tell, mut told) = mpsc::unbounded_channel();
    listen_locally(&hub, &runtime::socket(&dirs.run), serving.answers(tell.clone()))?;
    let _announcement = runtime::announce(&dirs.run, network.local_addresses(), &[key])
        .map_err(|error| Error::io("write", &dirs.run, &error))?;
    if out.json {
        out.record(&ready(&serving, &version, imported.as_ref()))?;
    }
    invite(&args, &serving)?;
    out.doing("serving".to_owned());
    tokio::select! {
        () = asked => {}
        never = serving.show(&mut told) => match never {},
        never = watch(&serving.drive, &dirs, &folder, out) => return never,
        never = follow(&args, &serving, watcher, memory, tell) => match never {},
    }
    network.close().await;
    serving.sum_up()
}

/// Returns the folder that is meant: by its path, which need not lead to a drive yet, or by an address of a drive.
fn folder(typed: &Path) -> Result<PathBuf, Error> {
    let found = if typed.exists() { typed.to_owned() } else { folder_of(typed)? };
    let folder = std::fs::canonicalize(&found).map_err(|error| Error::io("open", typed, &error))?;
    match folder.is_dir() {
        true => Ok(folder),
        false => Err(Error::usage(format!("{} is no folder", escape::path(typed)))),
    }
}

/// Returns what scripts are told.
fn ready(serving: &Serving, version: &Version, imported: Option<&Imported>) -> Value {
    let (key, counts) = (&serving.drive.key, version.change.counts);
    let addresses = serving.ticket.addresses.iter().map(ToString::to_string);
    let mut record = json!({
        "type": "ready", "drive": { "key": hex(key), "link": Link(key).to_string() },
        "ticket": serving.ticket.to_string(), "addresses": addresses.collect::<Vec<_>>(),
        "change": version.number, "version": version.id.to_string(), "files": counts.files, "bytes": counts.bytes,
    });
    if let Some(imported) = imported {
        count(&mut record, imported);
    }
    record
}

/// Shows what others have to type.
fn invite(args: &Share, serving: &Serving) -> Result<(), Error> {
    let (out, link) = (&serving.out, Link(&serving.drive.key).to_string());
    let word = if args.ticket { serving.ticket.to_string() } else { link.clone() };
    let what = if args.ticket { "ticket" } else { "key" };
    if args.qr {
        out.say(qr(&link)?);
    }
    if args.copy {
        out.copy(&format!("datnode clone {word}"));
    }
    let keys = match out.progress {
        Progress::Bar => "   c copy   t ticket   q QR   p peers   Ctrl-C stops",
        _ => "   Ctrl-C stops",
    };
    out.say(format_args!(
        "\n    datnode clone {word}\n\nAnyone with this {what} can read the drive.{keys}"
    ));
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

/// Takes in what changes in the folder, for ever.
async fn follow(
    args: &Share,
    serving: &Serving,
    watcher: Option<Watcher>,
    memory: Memory,
    tell: mpsc::UnboundedSender<News>,
) -> Infallible {
    let (Some(watcher), Some(pen)) = (watcher, serving.pen.clone()) else {
        return std::future::pending().await;
    };
    let out = &serving.out;
    if watcher.is_blind() {
        out.say("The system watches no more folders: this one is looked through every 10 s.");
    }
    let (rules, drive) = (args.filter.rules(), serving.drive.clone());
    let follower = Follower { drive, pen, rules, keep: keep(args), memory };
    let mut failed = String::new();
    let done = follower.follow(&watcher, |outcome| match outcome {
        Outcome::Changed(imported) => {
            failed.clear();
            if out.json {
                // Who reads no more is told no more.
                let _ = out.record(&changed(&imported));
            }
            let _ = tell.send(News::from(&*imported));
        }
        // The same is said once.
        Outcome::Failed(error) if error.message() == failed => {}
        Outcome::Failed(error) => {
            error.message().clone_into(&mut failed);
            out.warn(&error);
        }
    });
    if let Err(error) = done.await {
        out.warn(&error);
    }
    std::future::pending().await
}

/// Returns what scripts are told of a new version.
fn changed(imported: &Imported) -> Value {
    let (change, version) = (imported.version.number, imported.version.id.to_string());
    json!({
        "type": "change", "change": change, "version": version, "added": imported.added,
        "changed": imported.altered, "removed": imported.removed, "bytes_new": imported.bytes_new,
    })
}

fn keep(args: &Share) -> Keep {
    if args.in_place { Keep::InPlace } else { Keep::History }
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
    /// What it takes to change it; none for a reader's.
    pen: Option<Pen>,
    /// What is known of the store's chunks.
    memory: Memory,
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
    if let Some(name) = &args.name {
        // Before a key is made that nobody would use.
        let drives = Drives::of(dirs);
        known.map_or_else(|| drives.check_new(name), |key| drives.check(&key, name))?;
    }
    let mut written = match writing::open(dirs, folder)? {
        Own::Written(written) => written,
        Own::Read(store, key) => {
            out.say("The secret key of this drive is not here: serving what there is, taking nothing in.");
            return serve_only(*store, key);
        }
    };
    let key = written.key();
    let changes = written.changes;
    if args.no_import && written.store.length(changes) > 0 {
        let version = latest(&mut written.store, changes)?;
        // Whether this folder may write was not asked.
        return Ok(Taken {
            version,
            store: written.store,
            key,
            imported: None,
            pen: None,
            memory: Memory::default(),
        });
    }
    let base = written.begin(folder, args.name.as_deref())?;
    if args.no_import || is_bare(folder)? {
        return Ok(taken(*written, dirs, folder, base, (None, Memory::default())));
    }
    let (rules, began) = (args.filter.rules(), Instant::now());
    let stages = Stages::new(out, IMPORTING);
    let mut last = status(import::Progress::default());
    let mut progress = |now: import::Progress| {
        last = status(now);
        stages.show(&last);
    };
    let how = How { rules: &rules, keep: keep(args), message: &args.message, folder_times: true };
    let mut memory = Memory::default();
    let (store, writer) = written.parts();
    let imported =
        import::import(store, &writer, &base, folder, &how, &mut memory, stop, &mut progress)?;
    written.note(folder)?;
    stages.end(&last);
    if args.show_ignored {
        left_out::list(out, &imported.walked.left_out)?;
    }
    describe(out, &imported, began.elapsed());
    out.say(version_line(&mut written, &imported)?);
    let version = imported.version.clone();
    Ok(taken(*written, dirs, folder, version, (Some(imported), memory)))
}

fn taken(
    written: Written,
    dirs: &Dirs,
    folder: &Path,
    version: Version,
    (imported, memory): (Option<Imported>, Memory),
) -> Taken {
    let key = written.key();
    let Written { store, keys, changes, content, .. } = written;
    let (keys, folder, dirs) = (Arc::new(keys), folder.to_owned(), dirs.clone());
    let pen = Some(Pen { keys, changes, content, folder, dirs });
    Taken { store, key, version, imported, pen, memory }
}

fn status(now: import::Progress) -> Status {
    let note = format!("{} of {}", Count(now.files), Things(now.files_total, "file"));
    Status { stage: Stage::Import, bytes: now.bytes, total: None, peers: 0, note, file: None }
}

/// Returns what to leave out.
fn serve_only(mut store: AnyStore, key: PublicKey) -> Result<Taken, Error> {
    let changes = store.add_feed(key).map_err(Error::store)?;
    if store.length(changes) == 0 {
        return Err(
            Error::read_only(&Link(&key).to_string()).hint("datnode clone fetches the drive first")
        );
    }
    let version = latest(&mut store, changes)?;
    Ok(Taken { store, key, version, imported: None, pen: None, memory: Memory::default() })
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
}

/// Says which version there is now, and of what.
fn version_line(written: &mut Written, imported: &Imported) -> Result<String, Error> {
    let (id, number) = (imported.version.id.to_string(), imported.version.number);
    let view = View::new(&mut written.store, written.changes, None);
    let name = match Header::read(&view).map_err(Error::damaged)? {
        Step::Done(header) => escape::bytes(&header.name),
        Step::Need(_) => return Err(Error::verify("the first block is not here")),
    };
    let note = if imported.changed { "" } else { "   nothing changed" };
    Ok(format!("Version   {number} · {}   \"{name}\"   you can write{note}", &id[..6]))
}
