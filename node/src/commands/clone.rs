//! `datnode clone`: fetch a drive into a folder, or bring the clone there up to date.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datnode_drive::DrivePath;
use datnode_feed::PublicKey;
use serde_json::json;
use tokio::sync::mpsc;

use super::context::{
    disk, folder_of, hub, look_for, memory, os, patience, read_key, swarm, ticket, write_key,
};
use super::follow::follow;
use super::missing::missing;
use super::scene::Scene;
use super::serving::Serving;
use super::stoppable;
use crate::address::{self, Address, Link, Places, VersionSpec};
use crate::choice::Choice;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::stages::{FETCHING, Stages};
use crate::cli::units::{Count, Size, Span, Things};
use crate::cli::{CloneArgs, Network as NetworkArgs, Pull, Reuse, Select};
use crate::dirs::Dirs;
use crate::disk::DRIVE_FOLDER;
use crate::drives::{Drives, Known};
use crate::edit::is_bare;
use crate::engine::{
    Drive, LandingPlan, LandingState, Network, Report, Snapshot, Sources, listen_locally, start,
};
use crate::error::{Code, Error};
use crate::landing::{FolderOf, Others};
use crate::neighbours::Neighbours;
use crate::origin::{Contact, ORIGINS_MAX, Origin};
use crate::runtime::{self, Announcement};
use crate::swarm::Channel;

/// How long somebody is waited for who has a newer version than one that is here or offered: a clone that is here already waits for
/// everybody, a new one for those whom its ticket or its user names.
const NEWER_WAIT: Duration = Duration::from_secs(3);
/// How often it is looked whether everybody has answered.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be cloned.
struct Request {
    key: PublicKey,
    places: Places,
    /// Where it is fetched from beside peers, as this command says.
    origins: Vec<Origin>,
    /// With the first of them that was, which told what the drive is.
    contact: Cell<Option<Contact>>,
    spec: VersionSpec,
    scope: DrivePath,
}

impl Request {
    /// Understands what is to be cloned; an origin is asked which drive it has.
    async fn of(args: &CloneArgs) -> Result<Self, Error> {
        let origins = args.network.from.clone();
        let Some(address) = &args.address else {
            let mut origins = origins.into_iter();
            let first = origins.next().ok_or_else(|| Error::usage("nothing says what to clone"))?;
            return Self::meet(first, args, origins).await;
        };
        if Origin::is_like(address.as_bytes()) {
            let text = address.to_str().ok_or_else(|| Error::usage("an origin is text"))?;
            let origin = text.parse().map_err(Error::usage)?;
            return Self::meet(origin, args, origins.into_iter()).await;
        }
        let here =
            std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
        let drives = Drives::of(&Dirs::open()?);
        let Address { drive, version, path } = Address::parse(address, &here, &drives)?;
        let scope = DrivePath::from_bytes(path).map_err(|error| Error::usage(error.to_string()))?;
        let mut origins = origins;
        let (key, places) = match drive {
            address::Drive::Key(key) => (key, Places::default()),
            address::Drive::Ticket(ticket) => {
                origins.extend(ticket.origins.iter().cloned());
                (ticket.key, ticket.places())
            }
            // A copy of what is here already, or a name for it.
            address::Drive::Folder(folder) => {
                let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
                (key, Places::default())
            }
        };
        let spec = args.at.clone().or(version).unwrap_or(VersionSpec::Latest);
        Ok(Self { key, places, origins, contact: Cell::new(None), spec, scope })
    }

    /// Asks an origin which drive it has; `more` may have it as well.
    async fn meet(
        origin: Origin,
        args: &CloneArgs,
        more: impl Iterator<Item = Origin>,
    ) -> Result<Self, Error> {
        if args.network.offline {
            return Err(Error::usage("--offline is on, and an origin is on another computer"));
        }
        let contact = origin.contact(args.network.wait.0).await?;
        let (key, spec) = (contact.key, args.at.clone().unwrap_or(VersionSpec::Latest));
        let origins = std::iter::once(origin).chain(more).collect();
        let (places, contact, scope) =
            (Places::default(), Cell::new(Some(contact)), DrivePath::root());
        Ok(Self { key, places, origins, contact, spec, scope })
    }
}

pub(super) async fn run(args: CloneArgs, out: &Out) -> Result<(), Error> {
    bring(None, args, out).await
}

/// Brings the clone in a folder up to date.
pub(super) async fn pull(args: Pull, out: &Out) -> Result<(), Error> {
    let Pull { folder, force, reuse, network } = args;
    let how = How { force, live: false, reuse };
    again(&folder, VersionSpec::Latest, how, network, out).await
}

/// How a clone goes on.
pub(super) struct How {
    /// Whether it replaces what is in the way.
    pub(super) force: bool,
    /// Whether it follows the drive.
    pub(super) live: bool,
    /// What it copies from other drives.
    pub(super) reuse: Reuse,
}

/// Goes on with the clone in a folder, to a version.
pub(super) async fn again(
    folder: &Path,
    spec: VersionSpec,
    how: How,
    network: NetworkArgs,
    out: &Out,
) -> Result<(), Error> {
    let folder = folder_of(folder)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let (places, origins, contact, scope) =
        (Places::default(), Vec::new(), Cell::new(None), DrivePath::root());
    let request = Request { key, places, origins, contact, spec, scope };
    let (address, at, name, select) = (None, None, None, Select::default());
    let (How { force, live, reuse }, folder) = (how, Some(folder));
    let args = CloneArgs { address, folder, at, name, force, live, select, reuse, network };
    bring(Some(request), args, out).await
}

/// Brings a drive into its folder: that of the request, or what the arguments say.
async fn bring(request: Option<Request>, args: CloneArgs, out: &Out) -> Result<(), Error> {
    let live = args.live;
    let cloned = {
        let (stages, scene) = (Stages::new(out, FETCHING), Scene::default());
        tokio::select! {
            // What ends at once has no stages to show.
            biased;
            done = stoppable(clone(request, args, &stages, &scene, out)) => done?,
            never = stages.watch(|| scene.look()) => match never {},
        }
    };
    let refusal = cloned.report.refusal();
    if live {
        refusal.iter().for_each(|error| out.warn(error));
        follow(cloned, out).await;
        return Ok(());
    }
    cloned.close().await;
    refusal.map_or(Ok(()), Err)
}

async fn clone(
    request: Option<Request>,
    args: CloneArgs,
    stages: &Stages,
    scene: &Scene,
    out: &Out,
) -> Result<Cloned, Error> {
    let started = Instant::now();
    let request = match request {
        Some(request) => request,
        None => Request::of(&args).await?,
    };
    if args.live && request.spec != VersionSpec::Latest {
        return Err(Error::usage("--live follows the latest version, and this names another one"));
    }
    args.select.over(Choice::default()).check()?;
    if let Some(name) = &args.name {
        Drives::of(&Dirs::open()?).check(&request.key, name)?;
    }
    let mut session =
        Session::open(&request, args.folder.as_deref(), &args.network, scene, out).await?;
    let mut snapshot = session.find(&request.spec).await?;
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => session.name().await?,
    };
    refuse_other(&folder, &request.key)?;
    if !session.settled && has_store(&folder) {
        // The name leads to a clone of this drive: its own store has more than was fetched to learn the name.
        session.network.close().await;
        session = Session::open(&request, Some(&folder), &args.network, scene, out).await?;
        snapshot = session.find(&request.spec).await?;
    }
    stages.tell("Peers", &scene.peers());
    let scope = &request.scope;
    if !snapshot.has(scope).await? {
        return Err(missing(&snapshot, scope).await);
    }
    let selection = args.select.over(Choice::kept(&folder)?);
    selection.check()?;
    // Its name is looked up meanwhile.
    let plan = session.plan(&snapshot, &folder, scope, &selection, args.force);
    let (plan, header) = tokio::try_join!(plan, snapshot.drive.header())?;
    // Whatever becomes of it, who goes on with it has what is known of where it is.
    note_name(&request.key, &header.name, &folder, args.name.as_deref())?;
    if !request.origins.is_empty() {
        Drives::of(&Dirs::open()?).note_origins(&request.key, &request.origins)?;
    }
    if !request.places.bootstrap.is_empty() {
        Drives::of(&Dirs::open()?).note_bootstrap(&request.key, &request.places.bootstrap)?;
    }
    let announcement = session.announce(&args.network, started, out)?;
    stages.tell("History", &history(&snapshot));
    if !selection.is_everything() {
        stages.tell("Selected", &selected(&snapshot, &plan));
    }
    scene.landing(plan.state());
    let sources = sources(&folder, args.reuse)?;
    let landed = snapshot.land(&folder, plan, &sources, |state| scene.landing(state)).await;
    let report = landed.map_err(|error| match error.code() {
        Code::NoPeers => error.hint("what came is kept: run the same command again to go on"),
        _ => error,
    })?;
    scene.landing(LandingState { bytes: report.bytes, total: report.bytes, current: None });
    stages.end(&scene.look());
    if session.drive.changes.news.borrow().accused {
        out.warn(&crate::home::two_histories_read());
    }
    finish(&snapshot, &folder, &report, &selection, (started, sources.found()), out)?;
    let (force, reuse, scope) = (args.force, args.reuse, request.scope);
    Ok(Cloned { session, folder, scope, selection, force, reuse, snapshot, report, announcement })
}

/// A drive that was brought into a folder, and is served from there.
pub(super) struct Cloned {
    session: Session,
    pub(super) folder: PathBuf,
    scope: DrivePath,
    selection: Choice,
    force: bool,
    reuse: Reuse,
    /// The version that is there.
    pub(super) snapshot: Snapshot,
    report: Report,
    announcement: Announcement,
}

impl Cloned {
    /// Brings a newer version there.
    pub(super) async fn bring(&mut self, newer: &Snapshot) -> Result<Report, Error> {
        // It may have been changed since.
        self.selection = Choice::kept(&self.folder)?;
        let sources = sources(&self.folder, self.reuse)?;
        let Self { session, folder, scope, selection, force, snapshot, report, .. } = self;
        let land = async |plan| newer.land(folder, plan, &sources, |_| {}).await;
        if scope.is_root() && report.is_whole() {
            let plan = newer.plan_update(snapshot, folder, selection, reader(*force)).await?;
            let report = land(plan).await?;
            // A block may have gone with a file, though another one that is as it was has it as well.
            if !report.refused.is_empty() || newer.is_here(selection).await? {
                return Ok(report);
            }
        }
        let plan = session.plan(newer, folder, scope, selection, *force).await?;
        land(plan).await
    }

    /// Notes that it landed.
    pub(super) fn landed(&mut self, newer: Snapshot, report: Report) -> (Snapshot, &Report) {
        self.report = report;
        (std::mem::replace(&mut self.snapshot, newer), &self.report)
    }

    pub(super) async fn close(self) {
        self.session.network.close().await;
        drop(self.announcement);
    }
}

/// A drive on its way into a folder, and the network.
///
/// Invariant: while it is not settled it is in memory, and nothing was written.
struct Session {
    drive: Drive,
    network: Network,
    settled: bool,
}

impl Session {
    /// Opens the drive: in the folder, if it is there already.
    async fn open(
        request: &Request,
        folder: Option<&Path>,
        args: &NetworkArgs,
        scene: &Scene,
        out: &Out,
    ) -> Result<Self, Error> {
        let (dirs, hub, key) = (Dirs::open()?, hub()?, request.key);
        let settled = match folder {
            Some(folder) => {
                refuse_other(folder, &key)?;
                has_store(folder)
            }
            None => false,
        };
        let store = match folder.filter(|_| settled) {
            Some(folder) => disk(folder, true)?,
            None => memory()?,
        };
        let patience = patience(args, &dirs, &key);
        let mut network = swarm(&hub, &dirs, args, request.places.peers.clone(), out).await?;
        network.enter(&hub, &key, &request.places.bootstrap).await;
        if !args.offline {
            let mut contact = request.contact.take();
            for origin in request.origins.iter().take(ORIGINS_MAX).cloned() {
                network.attend(&hub, key, origin, contact.take(), args.wait.0);
            }
        }
        look_for(&mut network, &hub, &dirs, args, key).await;
        // Who fetches is to be found as well: of two behind routers both have to try.
        network.offer(&key).await;
        let drive = Drive::open(&hub, start(store, hub.answers())?, key, patience).await?;
        scene.opened(&drive);
        Ok(Self { drive, network, settled })
    }

    /// Lets other processes of this user read the drive while its store is in use here.
    fn announce(
        &self,
        args: &NetworkArgs,
        began: Instant,
        out: &Out,
    ) -> Result<Announcement, Error> {
        let (dirs, key) = (Dirs::open()?, self.drive.key);
        let ticket = ticket(&dirs, key, &self.network, args);
        let (drive, out) = (self.drive.clone(), out.clone());
        let outside = self.network.outside();
        let serving = Serving { drive, ticket, outside, pen: None, fetches: true, began, out };
        let (edits, _) = mpsc::unbounded_channel();
        listen_locally(&self.drive.hub, &runtime::socket(&dirs.run), serving.answers(edits))?;
        runtime::announce(&dirs.run, self.network.local_addresses(), &[key])
            .map_err(|error| Error::io("write", &dirs.run, &error))
    }

    /// Finds peers and the version; what is here already will do if nobody answers and it is complete.
    async fn find(&self, spec: &VersionSpec) -> Result<Snapshot, Error> {
        let drive = &self.drive;
        let known = drive.changes.news.borrow().length;
        let limit = drive.patience.wait.unwrap_or(NEWER_WAIT).min(NEWER_WAIT);
        if known > 0 {
            // In vain or not: what is here will do.
            let _ = tokio::time::timeout(limit, self.newer(known)).await;
        }
        if known == 0 {
            drive.latest().await?;
            // In vain or not: what was found will do.
            let _ = tokio::time::timeout(limit, self.named()).await;
        }
        drive.version(spec).await
    }

    /// Waits until all who were named told of the drive, or cannot be reached, and the longest of what they told of is here.
    async fn named(&self) {
        let (hub, changes) = (&self.drive.hub, &self.drive.changes);
        loop {
            let peers = hub.peers();
            let told =
                peers.iter().filter(|peer| hub.holding(changes.id, peer.status.peer).is_some());
            let told: BTreeSet<&str> = told.map(|peer| &*peer.about.name).collect();
            let length = changes.news.borrow().length;
            let is_settled = hub.sought().is_settled(Channel::Given, |peer| told.contains(peer));
            if is_settled && hub.is_newest(changes.id, length) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the drive is longer than `known`, or until all who were looked for answered and none has more.
    async fn newer(&self, known: u64) {
        let (hub, changes) = (&self.drive.hub, &self.drive.changes);
        loop {
            let all_answered = hub.sought().pending() == 0 && hub.is_newest(changes.id, known);
            if all_answered || changes.news.borrow().length > known {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Returns the folder named like the drive.
    async fn name(&self) -> Result<PathBuf, Error> {
        let header = self.drive.header().await?;
        let name = DrivePath::from_bytes(header.name.clone()).ok();
        let safe = name
            .and_then(|name| datnode_drive::SafePath::new(&name).ok())
            .filter(|name| name.components().count() == 1);
        let link = Link(&self.drive.key).to_string();
        Ok(match safe {
            Some(name) => os(name.as_bytes()).to_owned(),
            None => PathBuf::from(link.chars().take(12).collect::<String>()),
        })
    }

    /// Plans the landing, and settles in the folder: a folder that is in use only once nothing is in the way.
    async fn plan(
        &mut self,
        snapshot: &Snapshot,
        folder: &Path,
        scope: &DrivePath,
        selection: &Choice,
        force: bool,
    ) -> Result<LandingPlan, Error> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
        let mut files =
            std::fs::read_dir(folder).map_err(|error| Error::io("read", folder, &error))?;
        let of = reader(force);
        if files.next().is_none() {
            // Nothing can be in the way, and the index has no need to fit into memory.
            self.settle(folder, selection).await?;
            return snapshot.plan(folder, scope, selection, of).await;
        }
        let plan = snapshot.plan(folder, scope, selection, of).await?;
        self.settle(folder, selection).await?;
        Ok(plan)
    }

    /// Keeps what is selected, and moves the drive into the folder, if it is not there yet: whoever goes on with it fetches the same.
    async fn settle(&mut self, folder: &Path, selection: &Choice) -> Result<(), Error> {
        selection.keep(folder)?;
        if !self.settled {
            self.drive.settle(folder).await?;
            self.settled = true;
        }
        if read_key(folder)?.is_none() {
            write_key(folder, &self.drive.key)?;
        }
        Ok(())
    }
}

/// Notes where the drive is, and how it is called here: as the user says, or by its own name if that is free.
pub(super) fn note_name(
    key: &PublicKey,
    own: &[u8],
    folder: &Path,
    name: Option<&str>,
) -> Result<(), Error> {
    let drives = Drives::of(&Dirs::open()?);
    let known = drives.of_key(key);
    let named = known.as_ref().is_some_and(|known| known.name.is_some());
    let free = || (!named).then(|| drives.free(key, own)).flatten();
    let name = name.map(str::to_owned).or_else(free);
    let folder =
        std::fs::canonicalize(folder).map_err(|error| Error::io("open", folder, &error))?;
    // A second copy does not take the name from the first.
    let folder = known.filter(Known::is_there).map_or(folder, |known| known.folder);
    drives.note(key, &folder, name.as_deref())
}

/// Returns what blocks are copied from.
fn sources(folder: &Path, reuse: Reuse) -> Result<Sources, Error> {
    match reuse.no_reuse {
        true => Ok(Sources::default()),
        false => Ok(Sources::new(Neighbours::of(&Dirs::open()?, folder))),
    }
}

fn reader(force: bool) -> FolderOf {
    FolderOf::Reader { others: if force { Others::Replace } else { Others::Refuse } }
}

/// Refuses a folder that holds another drive, or one that has no working files.
fn refuse_other(folder: &Path, key: &PublicKey) -> Result<(), Error> {
    if is_bare(folder)? {
        let shown = escape::path(folder);
        return Err(Error::new(Code::Dirty, format!("{shown} holds its drive without files"))
            .context("it is a mirror, or was made by init --bare")
            .hint("choose another folder; datnode mirror keeps a mirror up to date"));
    }
    match read_key(folder)? {
        Some(other) if other != *key => {
            Err(Error::new(Code::Dirty, format!("{} holds another drive", escape::path(folder)))
                .context(format!("it is {}", Link(&other)))
                .hint("choose another folder"))
        }
        _ => Ok(()),
    }
}

fn has_store(folder: &Path) -> bool {
    folder.join(DRIVE_FOLDER).join("store").is_dir()
}

/// Says what the version holds.
fn history(snapshot: &Snapshot) -> String {
    let counts = snapshot.version.change.counts;
    let changes = Things(snapshot.version.number, "change");
    format!("{changes}, {}, {}", Things(counts.files, "file"), Size(counts.bytes))
}

/// Says how much of it is wanted.
fn selected(snapshot: &Snapshot, plan: &LandingPlan) -> String {
    let (counts, (files, bytes)) = (snapshot.version.change.counts, plan.size());
    let all = Things(counts.files, "file");
    format!("{} of {all}, {} of {}", Count(files), Size(bytes), Size(counts.bytes))
}

/// Says what was done.
fn finish(
    snapshot: &Snapshot,
    folder: &Path,
    report: &Report,
    selection: &Choice,
    (started, reused): (Instant, u64),
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
            "selected": { "files": report.files, "bytes": report.bytes }, "selection": selection.to_json(),
            "folder": escape::path(folder), "peers": peers.len(), "received": received, "reused": reused,
            "seconds": started.elapsed().as_secs_f64(),
        }))?;
    }
    let (number, into, took) = (version.number, escape::path(folder), Span(started.elapsed()));
    match received + reused {
        0 if peers.is_empty() => out.say(format_args!(
            "✓ {into} is at {number} · {}     nothing was missing; nobody was there to tell of a newer version",
            &id[..6]
        )),
        0 => {
            out.say(format_args!("✓ {into} is at {number} · {}     nothing was missing", &id[..6]))
        }
        _ => out.say(format_args!(
            "✓ Cloned {number} · {} into {into}     {} in {took}, every block verified",
            &id[..6],
            Size(report.bytes),
        )),
    }
    if reused > 0 {
        out.say(format_args!("  {} of it came from other drives here", Size(reused)));
    }
    let shown = escape::shell(folder);
    if selection.sparse && selection.include.is_empty() {
        out.say("  no file was fetched: datnode cat fetches what it reads, datnode include what it names");
    } else if !selection.is_everything() {
        out.say("  the rest is left out: datnode include and datnode exclude change that");
    }
    out.say(format_args!(
        "  next: datnode ls {shown}      datnode log {shown}      datnode share {shown}"
    ));
    for name in &report.kept {
        out.say(format_args!(
            "  {} was changed here, so it stays; the drive has it no longer",
            escape::bytes(name)
        ));
    }
    Ok(())
}
