//! `datnode recover`: give a writer whose store was rolled back what it wrote, from whoever has it.
//!
//! The store follows the longer head as a reader would; what peers still hold of the lost blocks comes back, and the folder
//! becomes what was published last, except for what was changed in it. Then it may write again.

use std::path::Path;
use std::time::Duration;

use datnode_drive::DrivePath;
use datnode_feed::{FeedSlot, PublicKey};
use serde_json::json;

use super::context::{disk, folder_of, hub, network, patience, read_key};
use super::scene::Scene;
use crate::address::{Link, key::hex};
use crate::choice::Choice;
use crate::cli::Recover;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::stages::{FETCHING, Stages};
use crate::cli::units::Count;
use crate::dirs::Dirs;
use crate::engine::{AnyStore, Drive, Snapshot, Sources, start};
use crate::error::Error;
use crate::home::{self, Home};
use crate::import::latest;
use crate::keys::DriveKeys;
use crate::landing::{FolderOf, is_in_part, landed, note_landed};

/// How long a longer head is waited for, if none is known of.
const MOMENT: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody told of his history.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(args: Recover, out: &Out) -> Result<(), Error> {
    let (stages, scene) = (Stages::new(out, FETCHING), Scene::default());
    tokio::select! {
        // What ends at once has no stages to show.
        biased;
        done = recover(args, &stages, &scene, out) => done,
        never = stages.watch(|| scene.look()) => match never {},
    }
}

async fn recover(args: Recover, stages: &Stages, scene: &Scene, out: &Out) -> Result<(), Error> {
    let folder = folder_of(&args.folder)?;
    let folder =
        std::fs::canonicalize(&folder).map_err(|error| Error::io("open", &folder, &error))?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let dirs = Dirs::open()?;
    if DriveKeys::load(&dirs, &key)?.is_none() {
        let link = Link(&key).to_string();
        return Err(
            Error::read_only(&link).hint("a reader's folder is brought up to date by clone")
        );
    }
    let mut home = Home::open(&dirs, &key)?;
    if let Some(other) = home.elsewhere(&folder) {
        return Err(home::copied(&folder, other));
    }
    let mut store = disk(&folder, false)?;
    let changes = store.add_feed(key).map_err(Error::store)?;
    let before = store.length(changes);
    remember(&folder, &mut store, changes)?;

    let hub = hub()?;
    let patience = patience(&args.network, &dirs, &key);
    let drive = Drive::open(&hub, start(store, hub.answers())?, key, patience).await?;
    scene.opened(&drive);
    let network = network(&hub, &dirs, &args.network, key, Vec::new(), out).await?;
    follow(&drive, home.length()).await?;
    let (snapshot, lost) = fetch(&drive, &folder, scene, out).await?;
    stages.end(&scene.look());
    let head = drive.store.query(move |worker| worker.store.head(changes).copied()).await;
    let head = head.expect("a drive with a version has a head");
    home.note(&folder, &head)?;
    say(out, &snapshot, before, head.head.length, lost)?;
    network.close().await;
    Ok(())
}

/// Notes which version the folder's files may be of, so that they may be replaced by newer ones.
fn remember(folder: &Path, store: &mut AnyStore, changes: FeedSlot) -> Result<(), Error> {
    if store.length(changes) == 0 {
        return Ok(());
    }
    let mut versions = landed(folder)?;
    let here = latest(store, changes)?.number;
    if !versions.contains(&here) {
        versions.push(here);
    }
    note_landed(folder, &versions, is_in_part(folder)?)
}

/// Waits until the head is as long as it was; if nobody knows how long that is, for a moment.
async fn follow(drive: &Drive, known: u64) -> Result<(), Error> {
    let mut news = drive.changes.news.clone();
    let here = news.borrow().length;
    if here < known {
        let reached =
            async { news.wait_for(|news| news.length >= known || news.accused).await.is_ok() };
        drive.patience.wait(&drive.hub, reached).await?;
    } else {
        // Whoever met nobody knows nothing of others' histories.
        let (hub, changes) = (&drive.hub, drive.changes.id);
        let met = async {
            while !hub.is_newest(changes, u64::MAX) && !drive.changes.news.borrow().accused {
                tokio::time::sleep(LOOK).await;
            }
        };
        drive.patience.wait(hub, met).await?;
        let grown =
            async { news.wait_for(|news| news.length > here || news.accused).await.is_ok() };
        let limit = drive.patience.wait.map_or(MOMENT, |wait| wait.min(MOMENT));
        let _ = tokio::time::timeout(limit, grown).await;
    }
    if drive.changes.news.borrow().accused { Err(home::two_histories()) } else { Ok(()) }
}

/// Fetches all that can be had, and brings the folder up to date; returns how many blocks nobody has.
async fn fetch(
    drive: &Drive,
    folder: &Path,
    scene: &Scene,
    out: &Out,
) -> Result<(Snapshot, u64), Error> {
    let everything = Choice::default();
    loop {
        let snapshot = drive.latest().await?;
        let length = drive.changes.news.borrow().length;
        let plan = snapshot.plan(folder, &DrivePath::root(), &everything, FolderOf::Writer).await?;
        let report =
            snapshot.land(folder, plan, &Sources::default(), |state| scene.landing(state)).await?;
        let mut lost = drive.gather(&drive.changes).await?;
        if let Some(content) = &snapshot.content {
            lost += drive.gather(content).await?;
        }
        if drive.changes.news.borrow().length > length {
            continue;
        }
        for name in &report.kept {
            out.say(format_args!("  {} was changed here, so it stays", escape::bytes(name)));
        }
        return Ok((snapshot, lost));
    }
}

fn say(out: &Out, snapshot: &Snapshot, before: u64, now: u64, lost: u64) -> Result<(), Error> {
    let (key, version): (&PublicKey, _) = (&snapshot.drive.key, &snapshot.version);
    let id = version.id.to_string();
    if out.json {
        out.record(&json!({
            "type": "done", "drive": { "key": hex(key), "link": Link(key).to_string() },
            "change": version.number, "version": id, "blocks_before": before, "blocks": now, "lost": lost,
        }))?;
    }
    if before == now {
        out.say(format_args!(
            "✓ Nobody who is connected has more than this store: version {} · {}",
            version.number,
            &id[..6]
        ));
    } else {
        out.say(format_args!(
            "✓ Recovered version {} · {}     {} blocks of changes came back",
            version.number,
            &id[..6],
            Count(now - before)
        ));
    }
    if lost > 0 {
        out.say(format_args!(
            "  {} blocks of older versions are with nobody who is connected",
            Count(lost)
        ));
    }
    out.say("  datnode share writes on from here");
    Ok(())
}
