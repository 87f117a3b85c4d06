//! `datnode clone`: fetch a drive into a folder, or bring the clone there up to date.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datnode_drive::{DrivePath, Header};
use datnode_feed::PublicKey;
use datnode_proto::{Order, Priority, Target, Want};
use serde_json::json;

use super::context::{disk, hub, memory, network, patience, read_key, write_key};
use crate::address::{self, Address, Link, VersionSpec};
use crate::cli::CloneArgs;
use crate::cli::escape;
use crate::cli::output::{Meter, Out};
use crate::cli::units::{Size, Span};
use crate::dirs::Dirs;
use crate::disk::DRIVE_FOLDER;
use crate::engine::{Drive, Snapshot, StoreHandle, start};
use crate::error::{Code, Error};
use crate::landing::{Landing, Ours};

/// How often the state is shown.
const SHOW: Duration = Duration::from_millis(200);

pub(super) async fn run(args: CloneArgs, out: &Out) -> Result<(), Error> {
    let started = Instant::now();
    let here =
        std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
    let Address { drive, version, .. } = Address::parse(&args.address, &here)?;
    let (key, peers) = match drive {
        address::Drive::Key(key) => (key, Vec::new()),
        address::Drive::Ticket(ticket) => (ticket.key, ticket.addresses),
        address::Drive::Folder(_) => {
            return Err(Error::usage("clone takes a key or a ticket, not a folder"));
        }
    };
    let spec = args.at.clone().or(version).unwrap_or(VersionSpec::Latest);
    let (dirs, hub) = (Dirs::open()?, hub()?);
    if let Some(folder) = &args.folder {
        refuse_other(folder, &key)?;
    }
    let patience = patience(&args.network, &key, peers.len());
    let network = network(&hub, &dirs, &args.network, key, peers).await?;
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => name(&hub, key, &patience).await?,
    };
    refuse_other(&folder, &key)?;
    std::fs::create_dir_all(&folder).map_err(|error| Error::io("create", &folder, &error))?;
    let store = start(disk(&folder, true)?, hub.answers());
    write_key(&folder, &key)?;
    let drive = Drive::open(&hub, store, key, patience).await?;
    let ours = files_of(&drive).await;
    let snapshot = find(&drive, &spec, &network, out).await?;
    let fetched = fetch(&drive, &snapshot, &folder, &ours, args.force, out).await?;
    finish(&drive, &snapshot, &folder, fetched, started, out)?;
    network.swarm.close().await;
    Ok(())
}

/// Refuses a folder that holds another drive.
fn refuse_other(folder: &Path, key: &PublicKey) -> Result<(), Error> {
    match read_key(folder)? {
        Some(other) if other != *key => {
            Err(Error::new(Code::Dirty, format!("{} holds another drive", escape::path(folder)))
                .context(format!("it is {}", Link(&other)))
                .hint("choose another folder"))
        }
        _ => Ok(()),
    }
}

/// Returns the folder named like the drive, whose header is asked for first.
async fn name(
    hub: &crate::engine::Hub,
    key: PublicKey,
    patience: &crate::engine::Patience,
) -> Result<PathBuf, Error> {
    let drive = Drive::open(hub, start(memory()?, hub.answers()), key, patience.clone()).await?;
    drive.latest().await?;
    let header = drive.header().await?;
    let name = DrivePath::from_bytes(header.name.clone()).ok();
    let safe = name
        .and_then(|name| datnode_drive::SafePath::new(&name).ok())
        .filter(|name| name.components().count() == 1);
    Ok(match safe {
        Some(name) => super::context::os(name.as_bytes()).to_owned(),
        None => PathBuf::from(Link(&key).to_string().chars().take(12).collect::<String>()),
    })
}

/// Returns what the version that is here says of its files: these may be replaced while they are still so.
async fn files_of(drive: &Drive) -> Ours {
    let mut ours = HashMap::new();
    if drive.changes.news.borrow().length == 0 {
        return ours;
    }
    if let Ok(snapshot) = drive.latest().await {
        let note = |path: DrivePath, entry: datnode_drive::Entry| {
            ours.insert(path.as_bytes().to_vec(), (entry.size, entry.mtime));
            Ok(())
        };
        if let Err(error) = snapshot.walk(note).await {
            tracing::debug!(error = error.message(), "the earlier version is not all here");
        }
    }
    ours
}

/// Finds peers and the version; what is here already will do if nobody answers and it is complete.
async fn find(
    drive: &Drive,
    spec: &VersionSpec,
    _network: &crate::engine::Network,
    out: &Out,
) -> Result<Snapshot, Error> {
    let known = drive.changes.news.borrow().length;
    if known > 0 {
        // A moment for peers to show a longer head; the clone that is here is complete or resumed without one.
        let mut news = drive.changes.news.clone();
        let grown = async { news.wait_for(|news| news.length > known).await.is_ok() };
        let limit =
            drive.patience.wait.unwrap_or(Duration::from_secs(3)).min(Duration::from_secs(3));
        if tokio::time::timeout(limit, grown).await.is_err() && drive.hub.peers().is_empty() {
            out.say("Nobody is offering this drive at the moment; looking at what is here.");
        }
    }
    drive.version(spec).await
}

/// Fetches what the version needs and lands it.
async fn fetch(
    drive: &Drive,
    snapshot: &Snapshot,
    folder: &Path,
    ours: &Ours,
    force: bool,
    out: &Out,
) -> Result<u64, Error> {
    let mut entries = Vec::new();
    snapshot
        .walk(|path, entry| {
            entries.push((path, entry));
            Ok(())
        })
        .await?;
    let landing = Landing::new(folder, entries, ours, force)?;
    let refused: Vec<String> = landing
        .refused
        .iter()
        .map(|(path, why)| format!("{} ({why})", escape::bytes(path.as_bytes())))
        .collect();
    let (total, runs) = (landing.total, landing.runs());
    if let Some(content) = &snapshot.content {
        let slot = content.slot;
        let mut landing = Some(landing);
        let begun = drive.store.query(move |worker| {
            let mut landing = landing.take().expect("a query runs once");
            let begun = landing.begin(&mut worker.store, slot);
            worker.landing = Some((landing, slot));
            begun.map(|()| worker.store.have(slot).clone())
        });
        let have = begun.await?;
        have.runs().for_each(|run| drive.hub.have(content.id, run));
        let want =
            Want { target: Target::Blocks(runs), priority: Priority(0), order: Order::Rarest };
        let mut wanted = drive.hub.want(content.id, want);
        let mut meter = Meter::new(out, "Download");
        tokio::select! {
            done = drive.patience.wait(&drive.hub, wanted.done()) => done?,
            error = watch(&drive.store, drive, total, &mut meter) => return Err(error),
        }
        meter.end();
    } else {
        let made = drive.store.query(move |worker| {
            let mut landing = landing;
            let begun = landing.begin(&mut worker.store, datnode_feed::FeedSlot(0));
            worker.landing = Some((landing, datnode_feed::FeedSlot(0)));
            begun
        });
        made.await?;
    }
    let left = drive.store.query(|worker| {
        let (mut landing, _) = worker.landing.take().expect("it was put there above");
        let left = landing.finish()?;
        worker.commit()?;
        Ok::<_, Error>(left)
    });
    if left.await? > 0 {
        return Err(Error::verify("blocks and files of this drive do not fit together"));
    }
    if refused.is_empty() {
        Ok(total)
    } else {
        Err(Error::partial("some names cannot be written here; all else is done", &refused))
    }
}

/// Shows the state, and gives the error when our own disk fails.
async fn watch(store: &StoreHandle, drive: &Drive, total: u64, meter: &mut Meter) -> Error {
    loop {
        tokio::time::sleep(SHOW).await;
        let state = store.query(|worker| {
            let landed = worker.landing.as_ref().map_or(0, |(landing, _)| landing.landed);
            (worker.take_failure(), landed)
        });
        let (failure, landed) = state.await;
        if let Some(failure) = failure {
            return failure;
        }
        let received: u64 = drive.hub.peers().iter().map(|peer| peer.status.bytes_in).sum();
        meter.show(received.max(landed).min(total), total, drive.hub.peers().len());
    }
}

fn finish(
    drive: &Drive,
    snapshot: &Snapshot,
    folder: &Path,
    bytes: u64,
    started: Instant,
    out: &Out,
) -> Result<(), Error> {
    let (version, counts) = (&snapshot.version, snapshot.version.change.counts);
    let id = version.id.to_string();
    if out.json {
        out.record(&json!({
            "type": "done", "drive": { "key": crate::address::key::hex(&drive.key), "link": Link(&drive.key).to_string() },
            "change": version.number, "version": id, "files": counts.files, "bytes": counts.bytes,
            "folder": escape::path(folder), "seconds": started.elapsed().as_secs_f64(),
        }))?;
    }
    out.say(format_args!(
        "✓ Cloned {} · {} into {}     {} in {}, every block verified",
        version.number,
        &id[..6],
        escape::path(folder),
        Size(bytes),
        Span(started.elapsed())
    ));
    debug_assert!(folder.join(DRIVE_FOLDER).exists());
    Ok(())
}

impl Drive {
    /// Returns the drive's header.
    async fn header(&self) -> Result<Header, Error> {
        self.ask(None, |view| Header::read(view)).await
    }
}
