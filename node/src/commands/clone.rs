//! `datnode clone`: fetch a drive into a folder, or bring the clone there up to date.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datnode_drive::DrivePath;
use datnode_feed::PublicKey;
use serde_json::json;

use super::context::{disk, hub, memory, network, patience, read_key, write_key};
use super::missing::missing;
use crate::address::{self, Address, Link, VersionSpec};
use crate::cli::CloneArgs;
use crate::cli::escape;
use crate::cli::output::{Meter, Out};
use crate::cli::units::{Size, Span};
use crate::dirs::Dirs;
use crate::engine::{Drive, LandingState, Report, Snapshot, start};
use crate::error::{Code, Error};
use crate::landing::FolderOf;

pub(super) async fn run(args: CloneArgs, out: &Out) -> Result<(), Error> {
    let started = Instant::now();
    let here =
        std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
    let Address { drive, version, path } = Address::parse(&args.address, &here)?;
    let scope = DrivePath::from_bytes(path).map_err(|error| Error::usage(error.to_string()))?;
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
    let patience = patience(&args.network, &dirs, &key, peers.len());
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
    let snapshot = find(&drive, &spec, out).await?;
    if !scope.is_root() && snapshot.entry(&scope).await?.is_none() {
        return Err(missing(&snapshot, &scope).await);
    }
    let mut meter = Meter::new(out, "Download");
    let show = |state: LandingState| {
        meter.show(state.bytes, state.total, drive.hub.peers().len());
    };
    let report =
        snapshot.land(&folder, &scope, FolderOf::Reader { force: args.force }, show).await?;
    meter.end();
    if drive.changes.news.borrow().accused {
        out.warn(&crate::home::two_histories_read());
    }
    finish(&snapshot, &folder, &report, started, out)?;
    network.close().await;
    if report.refused.is_empty() {
        return Ok(());
    }
    let names = report.refused.iter();
    let names: Vec<String> =
        names.map(|(path, why)| format!("{} ({why})", escape::bytes(path.as_bytes()))).collect();
    Err(Error::partial("some names cannot be written here; all else is done", &names))
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

/// Finds peers and the version; what is here already will do if nobody answers and it is complete.
async fn find(drive: &Drive, spec: &VersionSpec, out: &Out) -> Result<Snapshot, Error> {
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

/// Says what was done.
fn finish(
    snapshot: &Snapshot,
    folder: &Path,
    report: &Report,
    started: Instant,
    out: &Out,
) -> Result<(), Error> {
    let (key, version, counts) =
        (&snapshot.drive.key, &snapshot.version, snapshot.version.change.counts);
    let id = version.id.to_string();
    let peers = snapshot.drive.hub.peers();
    let received: u64 = peers.iter().map(|peer| peer.status.bytes_in).sum();
    if out.json {
        out.record(&json!({
            "type": "done", "drive": { "key": crate::address::key::hex(key), "link": Link(key).to_string() },
            "change": version.number, "version": id, "files": counts.files, "bytes": counts.bytes,
            "folder": escape::path(folder), "received": received, "seconds": started.elapsed().as_secs_f64(),
        }))?;
    }
    out.say(format_args!(
        "✓ Cloned {} · {} into {}     {} in {}, every block verified",
        version.number,
        &id[..6],
        escape::path(folder),
        Size(report.bytes),
        Span(started.elapsed())
    ));
    for name in &report.kept {
        out.say(format_args!(
            "  {} was changed here, so it stays; the drive has it no longer",
            escape::bytes(name)
        ));
    }
    Ok(())
}
