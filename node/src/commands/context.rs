//! What commands share: opening a drive, wherever it is, and knowing when to stop.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datnode_drive::{DrivePath, Entry, Kind};
use datnode_feed::{MemoryStorage, PublicKey, Store};
use jiff::Timestamp;
use libp2p::Multiaddr;

use super::content::lacking;
use super::held::{Held, held};
use super::scene::Scene;
use super::status::writes_here;
use crate::address::{self, Address, Link, Places, Ticket, VersionSpec};
use crate::choice::Choice;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::stages::{FETCHING, Stages};
use crate::cli::{Discover, Listen, Network as NetworkArgs};
use crate::dirs::Dirs;
use crate::disk::DiskStorage;
use crate::drives::{Drives, Known};
use crate::engine::{
    AnyStore, Drive, Hub, Network, NetworkOptions, Patience, Reach, Snapshot, start,
};
use crate::error::{Code, Error};
use crate::keys::{DriveKeys, random};
use crate::landing::landed;
use crate::origin::ORIGINS_MAX;
use crate::runtime;
use crate::swarm::dht::IPFS_WAY_IN;
use crate::swarm::is_loopback;

pub(super) use crate::drives::{read_key, write_key};

/// A drive that is read, and where in it.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) drive: Drive,
    pub(super) path: DrivePath,
    /// The version that was named.
    version: Option<VersionSpec>,
    /// How the drive was named.
    named: address::Drive,
    out: Out,
    /// Held for as long as the drive is used; none for a drive in a folder.
    _network: Option<Arc<Network>>,
}

impl Opened {
    /// Returns the same place in another version of the drive.
    pub(super) fn at(&self, version: VersionSpec) -> Self {
        Self { version: Some(version), ..self.clone() }
    }

    /// Returns the folder that holds the drive, if it is read from one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match &self.named {
            address::Drive::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    /// Tells whether it is read from a folder, and nobody was looked for who has what that lacks.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.drive.patience.reach, Reach::Folder(_))
    }

    /// Returns what is wanted of the drive here; all of one that is in no folder, or is written.
    pub(super) fn selection(&self) -> Result<Choice, Error> {
        match self.folder() {
            Some(folder) if !writes_here(&self.drive.key, folder)? => Choice::kept(folder),
            _ => Ok(Choice::default()),
        }
    }

    /// Tells whether the file at the path, or all that is in the folder there, is here, as far as that can be told from what is here.
    async fn holds_all(&self) -> bool {
        let holds = async {
            let snapshot = self.drive.version(&self.version_here()?).await?;
            let held = snapshot.held().await?;
            let entry = snapshot.entry(&self.path).await?;
            if let Some(entry) = entry.filter(|entry| entry.kind != Kind::Directory) {
                return Ok::<_, Error>(lacking(&entry, &held) == 0);
            }
            let mut lacks = 0;
            let count = |_, entry: Entry| {
                lacks += lacking(&entry, &held);
                Ok(())
            };
            snapshot.walk_in(&self.path, count).await?;
            Ok(lacks == 0)
        };
        holds.await.unwrap_or(false)
    }

    /// Returns the number of another version; that of the empty drive if none is named.
    pub(super) async fn number_of(&self, version: Option<&VersionSpec>) -> Result<u64, Error> {
        match version {
            Some(version) => Ok(self.drive.version(version).await?.version.number),
            None => Ok(0),
        }
    }

    /// Returns the version that was asked for, else the latest.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Error> {
        self.find(&self.version.clone().unwrap_or(VersionSpec::Latest)).await
    }

    /// Returns the version that was asked for, else the one whose files are in the folder: a clone may be held at an older one.
    pub(super) async fn here(&self) -> Result<Snapshot, Error> {
        self.find(&self.version_here()?).await
    }

    fn version_here(&self) -> Result<VersionSpec, Error> {
        if let Some(version) = &self.version {
            return Ok(version.clone());
        }
        let last = match self.folder() {
            // What a writer's folder holds is the next version.
            Some(folder) if !writes_here(&self.drive.key, folder)? => landed(folder)?.pop(),
            _ => None,
        };
        Ok(last.map_or(VersionSpec::Latest, VersionSpec::Number))
    }

    async fn find(&self, version: &VersionSpec) -> Result<Snapshot, Error> {
        let (stages, scene) = (Stages::aside(&self.out, FETCHING), Scene::default());
        scene.opened(&self.drive);
        tokio::select! {
            // What ends at once has no stages to show.
            biased;
            found = self.drive.version(version) => found,
            never = stages.watch(|| scene.look()) => match never {},
        }
    }
}

/// Runs work that blocks on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Code::Io, error.to_string()))?
}

/// Starts a hub with its driver.
pub(super) fn hub() -> Result<Hub, Error> {
    let (hub, driver) = Hub::new(*random()?);
    tokio::spawn(driver);
    Ok(hub)
}

/// Starts the network of a command that is about one drive.
pub(super) async fn network(
    hub: &Hub,
    dirs: &Dirs,
    args: &NetworkArgs,
    drive: PublicKey,
    peers: Vec<Multiaddr>,
    out: &Out,
) -> Result<Network, Error> {
    let mut network = swarm(hub, dirs, args, peers, out).await?;
    look_for(&mut network, hub, dirs, args, drive).await;
    Ok(network)
}

/// Looks for peers of a drive, of other times, far away and on this computer, until the network forgets it.
pub(super) async fn look_for(
    network: &mut Network,
    hub: &Hub,
    dirs: &Dirs,
    args: &NetworkArgs,
    drive: PublicKey,
) {
    if !args.offline && !args.discover.contains(&Discover::None) {
        network.remember(hub, &dirs.state, &drive);
    }
    network.find_locally(hub, &dirs.run, drive);
    network.find(&drive).await;
    if args.offline {
        return;
    }
    network.enter(hub, &drive, &known_ways(dirs, &drive)).await;
    let kept = Drives::of(dirs).of_key(&drive).map(|known| known.origins).unwrap_or_default();
    for origin in args.from.iter().cloned().chain(kept).take(ORIGINS_MAX) {
        network.attend(hub, drive, origin, None, args.wait.0);
    }
}

/// Returns the nodes that lead to peers of a drive by the DHT, as a ticket said.
pub(super) fn known_ways(dirs: &Dirs, drive: &PublicKey) -> Vec<Multiaddr> {
    Drives::of(dirs).of_key(drive).map_or_else(Vec::new, |known| known.bootstrap)
}

/// Returns a ticket of a drive that is served here: who has it finds us as this command finds others.
pub(super) fn ticket(dirs: &Dirs, key: PublicKey, network: &Network, args: &NetworkArgs) -> Ticket {
    let addresses = network.addresses();
    // With --public they lead into the table of IPFS.
    let is_told =
        args.discover.contains(&Discover::Dht) && !args.discover.contains(&Discover::Public);
    let mut nodes = Vec::new();
    if is_told {
        let known = known_ways(dirs, &key).into_iter().filter(|at| !args.bootstrap.contains(at));
        nodes = args.bootstrap.iter().cloned().chain(known).collect();
    }
    // Elsewhere this computer's loopback is another computer's.
    if !addresses.iter().all(is_loopback) {
        nodes.retain(|node| !is_loopback(node));
    }
    Ticket::new(key, addresses).with_bootstrap(nodes)
}

/// Starts the network of a command, which looks for peers of no drive yet.
pub(super) async fn swarm(
    hub: &Hub,
    dirs: &Dirs,
    args: &NetworkArgs,
    peers: Vec<Multiaddr>,
    out: &Out,
) -> Result<Network, Error> {
    hub.limit(args.limits());
    if args.offline {
        return Ok(Network::offline());
    }
    say_public(args, out);
    Error::too_early(Timestamp::now()).iter().for_each(|error| out.warn(error));
    let network = Network::start(hub, &options(dirs, args, peers)).await?;
    if let Some(port) = network.taken() {
        out.say(format_args!(
            "Port {port} is in use by another program: listening on any free one. What a router forwards to {port} does not come here."
        ));
    }
    Ok(network)
}

/// Says that the public IPFS DHT is asked, if it is.
pub(super) fn say_public(args: &NetworkArgs, out: &Out) {
    if args.discover.contains(&Discover::Public) && !args.offline {
        out.say("Asking the public IPFS DHT (--public): its nodes see your address, and which drives you look for or offer, but not their keys.");
    }
}

/// Returns how a command takes part in the network.
pub(super) fn options(dirs: &Dirs, args: &NetworkArgs, peers: Vec<Multiaddr>) -> NetworkOptions {
    NetworkOptions {
        listen: args.listen.iter().flat_map(|place| place.addresses(args.port)).collect(),
        external: args
            .external
            .iter()
            .flat_map(|place| place.addresses(args.outside_port()))
            .collect(),
        ports_fixed: args.listen.iter().any(Listen::names_port),
        peers: args.peer.iter().cloned().chain(peers).collect(),
        lan: args.discover.contains(&Discover::Lan),
        dht: args.discover.contains(&Discover::Dht),
        bootstrap: args.bootstrap.clone(),
        ipfs: ways_into_ipfs(args),
        public: args.public,
        exchange: !args.discover.contains(&Discover::None),
        relays: !args.no_relay,
        upnp: !args.no_upnp && !args.discover.contains(&Discover::None),
        data: dirs.data.clone(),
        run: dirs.run.clone(),
    }
}

/// Returns the nodes that lead into the public IPFS DHT; none unless it is to be asked.
fn ways_into_ipfs(args: &NetworkArgs) -> Vec<Multiaddr> {
    match () {
        () if !args.discover.contains(&Discover::Public) => Vec::new(),
        () if !args.bootstrap.is_empty() => args.bootstrap.clone(),
        () => vec![IPFS_WAY_IN.parse().expect("it is an address")],
    }
}

/// Returns how patient a command is.
pub(super) fn patience(args: &NetworkArgs, dirs: &Dirs, key: &PublicKey) -> Patience {
    let reach = if args.offline { Reach::Computer } else { Reach::Network };
    let in_vain = args.offline && runtime::find(&dirs.run, key).is_empty();
    let wait = if in_vain { Some(Duration::ZERO) } else { args.wait.0 };
    Patience { wait, reach, link: Link(key).to_string() }
}

/// Opens a drive to read from: in a folder, or from peers without keeping it.
pub(super) async fn open(
    address: Option<&OsStr>,
    at: Option<&VersionSpec>,
    args: &NetworkArgs,
    out: &Out,
) -> Result<Opened, Error> {
    open_beside(&[], address, at, args, out).await
}

/// Does the same beside drives that are open: one of them is used again.
pub(super) async fn open_beside(
    others: &[Opened],
    address: Option<&OsStr>,
    at: Option<&VersionSpec>,
    args: &NetworkArgs,
    out: &Out,
) -> Result<Opened, Error> {
    let here =
        std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
    let dirs = Dirs::open()?;
    let Address { drive, version, path } = match address {
        Some(text) => Address::parse(text, &here, &Drives::of(&dirs))?,
        None => Address::here(&here)?,
    };
    let drive = match drive {
        address::Drive::Key(key) => here_or_elsewhere(&dirs, key, args)?,
        other => other,
    };
    // However a folder is written, it is opened once.
    let named = match &drive {
        address::Drive::Folder(folder) => {
            address::Drive::Folder(std::fs::canonicalize(folder).unwrap_or_else(|_| folder.clone()))
        }
        remote => remote.clone(),
    };
    let path = DrivePath::from_bytes(path).map_err(|error| Error::usage(error.to_string()))?;
    let version = at.cloned().or(version);
    if let Some(other) = others.iter().find(|other| other.named == named) {
        return Ok(Opened { path, version, ..other.clone() });
    }
    let hub = hub()?;
    let (drive, network) = match drive {
        address::Drive::Folder(folder) => (open_folder(&hub, &dirs, &folder, args).await?, None),
        address::Drive::Key(key) => open_remote(&hub, &dirs, key, Vec::new(), args, out).await?,
        address::Drive::Ticket(ticket) => {
            let mut args = args.clone();
            args.from.extend(ticket.origins.iter().cloned());
            let (key, Places { peers, bootstrap }) = (ticket.key, ticket.places());
            let (drive, mut network) = open_remote(&hub, &dirs, key, peers, &args, out).await?;
            if let Some(network) = &mut network {
                network.enter(&hub, &key, &bootstrap).await;
            }
            (drive, network)
        }
    };
    out.detail(format_args!("reading {}", Link(&drive.key)));
    let network = network.map(Arc::new);
    Ok(Opened { drive, path, version, named, out: out.clone(), _network: network })
}

/// Does the same to read a file: what a clone in a folder lacks of it is fetched from others, and kept there.
pub(super) async fn open_to_read(
    others: &[Opened],
    address: &OsStr,
    at: Option<&VersionSpec>,
    args: &NetworkArgs,
    out: &Out,
) -> Result<Opened, Error> {
    let opened = open_beside(others, Some(address), at, args, out).await?;
    if opened.holds_all().await { Ok(opened) } else { with_others(opened, args, out).await }
}

/// Has what a clone in a folder lacks fetched from others, when it is read; the drive of a writer has all there is.
pub(super) async fn with_others(
    opened: Opened,
    args: &NetworkArgs,
    out: &Out,
) -> Result<Opened, Error> {
    let (dirs, key) = (Dirs::open()?, opened.drive.key);
    let Reach::Folder(folder) = &opened.drive.patience.reach else { return Ok(opened) };
    if writes_here(&key, folder)? {
        let mut own = opened.clone();
        own.drive.patience.reach = Reach::Own(folder.clone());
        return Ok(own);
    }
    let (hub, here) = (&opened.drive.hub, on_any_port(args));
    let network = network(hub, &dirs, &here, key, Vec::new(), out).await?;
    let network = Some(Arc::new(network));
    let mut drive = opened.drive.clone();
    drive.patience = patience(args, &dirs, &key);
    Ok(Opened { drive, _network: network, ..opened })
}

/// Opens a drive again to wait for what is new of it, for as long as it takes. One in a folder is read from whoever serves it, so that
/// its store is free for others.
pub(super) async fn open_to_watch(
    opened: Opened,
    args: &NetworkArgs,
    out: &Out,
) -> Result<Opened, Error> {
    let (dirs, key) = (Dirs::open()?, opened.drive.key);
    let mut watched = match opened.folder() {
        None => opened,
        Some(_) => {
            let Opened { path, version, named, drive, .. } = opened;
            if matches!(drive.patience.reach, Reach::Folder(_)) {
                // The thread of the store ends with the process, and the lock of the folder with its store. Nothing is staged in one
                // that was only read, and nobody is connected who could ask for what was in it.
                let empty = memory()?;
                drive.store.query(move |worker| worker.store = empty).await;
            }
            let (drive, network) = open_remote(&hub()?, &dirs, key, Vec::new(), args, out).await?;
            let network = network.map(Arc::new);
            Opened { drive, path, version, named, out: out.clone(), _network: network }
        }
    };
    watched.drive.patience.wait = None;
    Ok(watched)
}

/// Returns the flags of a command that only reads, and needs no fixed port.
fn on_any_port(args: &NetworkArgs) -> NetworkArgs {
    let listen = args.listen.iter().map(Listen::on_any_port).collect();
    // What leads to the fixed port does not lead here.
    NetworkArgs { port: 0, listen, external: Vec::new(), ..args.clone() }
}

/// Returns where a drive is read that was named by its key: where it is written, if that is here, and offline where a copy is;
/// others may have what no copy here has.
fn here_or_elsewhere(
    dirs: &Dirs,
    key: PublicKey,
    args: &NetworkArgs,
) -> Result<address::Drive, Error> {
    let known = Drives::of(dirs).of_key(&key).filter(Known::is_there);
    let is_whole = args.offline || DriveKeys::load(dirs, &key)?.is_some();
    Ok(match known.filter(|_| is_whole) {
        Some(known) => address::Drive::Folder(known.folder),
        None => address::Drive::Key(key),
    })
}

async fn open_remote(
    hub: &Hub,
    dirs: &Dirs,
    key: PublicKey,
    peers: Vec<Multiaddr>,
    args: &NetworkArgs,
    out: &Out,
) -> Result<(Drive, Option<Network>), Error> {
    let patience = patience(args, dirs, &key);
    let store = start(memory()?, hub.answers())?;
    let drive = Drive::open(hub, store, key, patience).await?;
    let network = network(hub, dirs, &on_any_port(args), key, peers, out).await?;
    Ok((drive, Some(network)))
}

/// Opens the drive in a folder: its store, or, when another process has that, through its control socket.
async fn open_folder(
    hub: &Hub,
    dirs: &Dirs,
    folder: &Path,
    args: &NetworkArgs,
) -> Result<Drive, Error> {
    let key = read_key(folder)?.ok_or_else(|| Error::not_drive(folder))?;
    let patience = patience(args, dirs, &key);
    let (owner, locked) = match held(dirs, &key, async || disk(folder, false)).await? {
        Held::Here(store) => {
            let reach = Reach::Folder(folder.to_owned());
            let alone = Patience { wait: Some(Duration::ZERO), reach, ..patience };
            return Drive::open(hub, start(store, hub.answers())?, key, alone).await;
        }
        Held::By(owner, locked) => (owner, locked),
    };
    let locked = locked.hint(format!("if it is stopped, let it go on: kill -CONT {}", owner.pid));
    let store = start(memory()?, hub.answers())?;
    let through = Patience {
        reach: Reach::Owner { socket: owner.socket.clone(), locked: locked.clone() },
        ..patience
    };
    let drive = Drive::open(hub, store, key, through).await?;
    match crate::engine::connect_locally(hub, &owner.socket).await {
        Ok(()) => Ok(drive),
        Err(error) => Err(locked.context(error.message())),
    }
}

/// Returns the folder of the drive that an address stands for: of the whole drive, and one that is here.
///
/// # Errors
/// Those of [`Address::parse`]; E-NOTDRIVE for a drive that is in no folder here, E-USAGE for a version or a path of one.
pub(super) fn folder_of(typed: &Path) -> Result<PathBuf, Error> {
    let drives = Drives::of(&Dirs::find()?);
    let Address { drive, version, path } =
        Address::parse(typed.as_os_str(), Path::new("."), &drives)?;
    let folder = match drive {
        address::Drive::Folder(folder) => folder,
        address::Drive::Key(key) => folder_with(&drives, &key)?,
        address::Drive::Ticket(ticket) => folder_with(&drives, &ticket.key)?,
    };
    // In a folder of a drive one is in the drive, as with git.
    if version.is_none() && (path.is_empty() || typed.is_dir()) {
        return Ok(folder);
    }
    let what = if version.is_some() { "one version of it" } else { "what is in it" };
    let shown = escape::path(&folder);
    Err(Error::usage(format!("this command is about a drive as a whole, not about {what}"))
        .hint(format!("name its folder: {shown}")))
}

/// Returns the folder that holds a drive here.
fn folder_with(drives: &Drives, key: &PublicKey) -> Result<PathBuf, Error> {
    let link = Link(key);
    match drives.of_key(key) {
        Some(known) if known.is_there() => Ok(known.folder),
        Some(known) => Err(Error::not_drive(&known.folder)
            .context(format!("it held {} when it was seen last", link.short()))),
        None => Err(Error::new(Code::NotDrive, format!("{} is in no folder here", link.short()))
            .hint("datnode status --all lists your drives")
            .hint(format!("datnode clone {link} FOLDER   fetches it"))),
    }
}

/// Opens a store in memory, for a drive that nobody keeps.
pub(super) fn memory() -> Result<AnyStore, Error> {
    Store::open(Box::new(MemoryStorage::new()) as Box<_>).map_err(Error::store)
}

/// Opens the store in a folder.
pub(super) fn disk(folder: &Path, create: bool) -> Result<AnyStore, Error> {
    let storage = DiskStorage::open(folder, create).map_err(|error| Error::disk(folder, error))?;
    Store::open(Box::new(storage) as Box<_>).map_err(|error| match error {
        datnode_feed::StoreError::Newer { found, known } => {
            Error::newer_format(folder, found.into(), known.into())
        }
        other => Error::store(other),
    })
}

/// Returns a path as the system takes it.
pub(super) fn os(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
