//! `datnode doctor`: whether this computer can fetch and serve, step by step, and what helps most where it cannot.
//!
//! All steps are taken at once, and each ends within five seconds. A node of our own is started for them; of what a process knows that
//! serves already, and that a new node could not know so soon, that process is asked. What the user switched off is left alone.
//! Elsewhere: each step (`files`, `port`, `router`, `outside`, `lan`, `drive`, `peer`), what is said in the end (`tell`), and what of it may
//! be sent to others (`words`).

mod drive;
mod files;
mod lan;
mod outside;
mod peer;
mod port;
mod router;
mod step;
mod tell;
mod words;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use datnode_feed::PublicKey;
use futures::future::join_all;
use jiff::Timestamp;
use libp2p::multiaddr::Protocol;

use self::peer::Wanted;
use self::step::{Finding, LIMIT, Step, WAIT, take};
use self::tell::Diagnosis;
use self::words::Words;
use super::context::{hub, look_for, memory, options, patience, read_key, say_public};
use super::reached;
use crate::address::{self, Address, Places, find_drive};
use crate::cli::output::Out;
use crate::cli::{Discover, Doctor, Network as NetworkArgs, escape};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::drives::{Drives, Known};
use crate::engine::{Drive, Hub, LOCAL, Network, NetworkOptions, start};
use crate::error::Error;
use crate::runtime::{self, Announced};
use crate::swarm::{Channel, Outside, is_loopback, peer_of};

/// How often it is looked whether something came of what is tried.
const LOOK: Duration = Duration::from_millis(20);
/// How long a process of this user has to answer; one that serves does so at once.
const TELLING: Duration = Duration::from_secs(1);
/// How long nodes on the local network have to answer: they are asked at once, after half a second and after another.
const NEARBY: Duration = Duration::from_secs(3);
/// Where the report goes if not into a file.
const STDOUT: &str = "-";

pub(super) async fn run(args: Doctor, out: &Out) -> Result<(), Error> {
    let began = Instant::now();
    let dirs = Dirs::open().or_else(|_| Dirs::find())?;
    let target = Target::of(args.target.as_deref(), &dirs)?;
    say_public(&args.network, out);
    out.doing("looking".to_owned());
    let patient = Patient::meet(&dirs, &args.network, target, began).await?;
    let steps = patient.examine().await;
    let settings = settings(&args.network);
    patient.leave().await;
    let diagnosis = Diagnosis { steps, settings };
    let is_stdout = args.report.as_deref() == Some(Path::new(STDOUT));
    match &args.report {
        _ if out.json => out.record(&diagnosis.to_json())?,
        Some(_) if is_stdout => out.data(diagnosis.report().as_bytes())?,
        _ => out.data(diagnosis.table(Words::shown).as_bytes())?,
    }
    if let Some(path) = args.report.filter(|_| !is_stdout) {
        std::fs::write(&path, diagnosis.report())
            .map_err(|error| Error::io("write", &path, &error))?;
        out.say(format_args!("Report without addresses, keys and names: {}", escape::path(&path)));
    }
    diagnosis.error().map_or(Ok(()), Err)
}

/// What is asked about.
enum Target {
    /// This computer.
    None,
    /// A drive, where somebody may have it, and the folder here that has it.
    Drive { key: PublicKey, places: Places, folder: Option<PathBuf> },
    /// A node.
    Peer(Wanted),
}

impl Target {
    fn of(text: Option<&OsStr>, dirs: &Dirs) -> Result<Self, Error> {
        let Some(text) = text else { return Ok(Self::None) };
        if let Some(wanted) = text.to_str().and_then(Wanted::parse) {
            return Ok(Self::Peer(wanted));
        }
        let here =
            std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
        let drives = Drives::of(dirs);
        let (key, places) = match Address::parse(text, &here, &drives)?.drive {
            address::Drive::Key(key) => (key, Places::default()),
            address::Drive::Ticket(ticket) => (ticket.key, ticket.places()),
            address::Drive::Folder(folder) => {
                let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
                return Ok(Self::Drive { key, places: Places::default(), folder: Some(folder) });
            }
        };
        let folder = drives.of_key(&key).filter(Known::is_there).map(|known| known.folder);
        Ok(Self::Drive { key, places, folder })
    }

    /// Returns the folder whose store is looked at.
    fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Drive { folder, .. } => folder.clone(),
            Self::None => find_drive(&std::env::current_dir().ok()?).ok(),
            Self::Peer(_) => None,
        }
    }
}

/// This computer, as it is looked at.
struct Patient<'a> {
    dirs: &'a Dirs,
    args: &'a NetworkArgs,
    target: Target,
    began: Instant,
    hub: Hub,
    /// Our node, or why there is none.
    network: Result<Network, Error>,
    /// The drive that is asked about.
    drive: Option<Drive>,
    /// The processes of this user.
    ours: Vec<Announced>,
    /// How one of them is reached.
    told: Option<(i32, Outside)>,
}

impl<'a> Patient<'a> {
    /// Starts a node, and has it look for what is asked about.
    async fn meet(
        dirs: &'a Dirs,
        args: &'a NetworkArgs,
        target: Target,
        began: Instant,
    ) -> Result<Self, Error> {
        let (hub, ours) = (hub()?, runtime::all(&dirs.run));
        let starting = async {
            match args.offline {
                true => Ok(Network::offline()),
                // The router is asked by the step that tells of it.
                false => {
                    let options = options(dirs, args, Vec::new());
                    Network::start(&hub, &NetworkOptions { upnp: false, ..options }).await
                }
            }
        };
        let (mut network, told) = tokio::join!(starting, told(&ours));
        let mut drive = None;
        if let Ok(network) = &mut network {
            match &target {
                Target::Drive { key, places, .. } => {
                    let (store, patience) =
                        (start(memory()?, hub.answers())?, patience(args, dirs, key));
                    drive = Some(Drive::open(&hub, store, *key, patience).await?);
                    look_for(network, &hub, dirs, args, *key).await;
                    network.enter(&hub, key, &places.bootstrap).await;
                    network.seek(&hub, &places.peers).await;
                }
                Target::Peer(wanted) => {
                    network.seek(&hub, wanted.address.as_slice()).await;
                    // Where it was some other time.
                    let known =
                        wanted.peer.map(|peer| crate::remembered::places_of(&dirs.state, peer));
                    network.seek(&hub, &known.unwrap_or_default()).await;
                }
                Target::None => {}
            }
        }
        Ok(Self { dirs, args, target, began, hub, network, drive, ours, told })
    }

    async fn leave(&self) {
        if let Ok(network) = &self.network {
            network.close().await;
        }
    }

    /// Takes all steps at once.
    async fn examine(&self) -> Vec<Step> {
        let about = if matches!(self.target, Target::Peer(_)) { "peer" } else { "drive" };
        let steps = tokio::join!(
            take("files", LIMIT, files::look(self.dirs, self.target.folder())),
            take("clock", LIMIT, self.clock()),
            take("port", LIMIT, self.port()),
            take("router", LIMIT, self.router()),
            take("NAT", LIMIT, self.nat()),
            take("LAN", LIMIT, self.lan()),
            take("DHT", LIMIT, self.dht()),
            take(about, LIMIT, self.target()),
        );
        let (files, clock, port, router, nat, lan, dht, target) = steps;
        vec![files, clock, port, router, nat, lan, dht, target]
    }

    async fn clock(&self) -> Finding {
        if self.args.offline {
            return Finding::skipped("--offline is on");
        }
        let now = Timestamp::now();
        match Error::too_early(now) {
            Some(error) => {
                let (what, fix) = (error.message().to_owned(), error.hints().concat());
                Finding::fail(error, what).fix(fix)
            }
            None => Finding::ok(now.strftime("%Y-%m-%d %H:%M UTC").to_string()),
        }
    }

    async fn port(&self) -> Finding {
        match self.args.offline {
            true => Finding::skipped("--offline is on"),
            false => port::look(&self.network, &self.ours),
        }
    }

    async fn router(&self) -> Finding {
        let why = match self.away() {
            Err(why) => Some(why),
            Ok(_) if self.args.no_upnp => Some("--no-upnp is on"),
            Ok(_) if self.args.discover.contains(&Discover::None) => Some("--discover none is on"),
            Ok(network) if is_alone(network) => Some(ALONE),
            Ok(_) => None,
        };
        if let Some(why) = why {
            return Finding::skipped(why);
        }
        let told = self.told.as_ref().map(|(pid, outside)| (*pid, outside.router));
        // What others have to come to is what will be listened on.
        let wanted = Some(self.args.port).filter(|port| *port != 0);
        router::look(told, self.own_port(), wanted).await
    }

    async fn nat(&self) -> Finding {
        if let Err(why) = self.away() {
            return Finding::skipped(why);
        }
        // A process that serves was tried out long ago.
        if let Some((_, outside)) =
            self.told.as_ref().filter(|(_, outside)| outside::is_known(outside))
        {
            return outside::nat(outside);
        }
        let is_public = self.args.discover.contains(&Discover::Public);
        if !is_public && !self.args.discover.contains(&Discover::Dht) {
            return Finding::skipped("--discover leaves out those who could tell (dht)");
        }
        if !is_public && self.hub.sought().of(Channel::Bootstrap).0 == 0 {
            return Finding::skipped("nobody outside is known who could tell (see DHT)");
        }
        let outside = || self.hub.sought().outside().cloned().unwrap_or_default();
        self.wait(WAIT, || outside::is_known(&outside())).await;
        outside::nat(&outside())
    }

    async fn lan(&self) -> Finding {
        match self.away() {
            Err(why) => Finding::skipped(why),
            Ok(network) if self.args.discover.contains(&Discover::Lan) && is_alone(network) => {
                Finding::skipped(ALONE)
            }
            Ok(network) => {
                let found = self.wait(NEARBY, || self.hub.sought().of(Channel::Lan).0 > 0);
                lan::look(&self.hub, network, found).await
            }
        }
    }

    async fn dht(&self) -> Finding {
        if let Err(why) = self.away() {
            return Finding::skipped(why);
        }
        let ways = options(self.dirs, self.args, Vec::new()).ipfs.len();
        if !self.args.discover.contains(&Discover::Dht) {
            if ways == 0 {
                return Finding::skipped("--discover leaves it out");
            }
            self.wait(WAIT, || outside::is_public(&self.hub.sought(), ways)).await;
            return outside::public(&self.hub.sought(), ways);
        }
        self.wait(WAIT, || outside::is_entered(&self.hub.sought())).await;
        let told = self.told.as_ref().map(|(pid, outside)| (*pid, outside.nodes));
        outside::dht(&self.hub.sought(), told)
    }

    async fn target(&self) -> Finding {
        if let Err(error) = &self.network {
            return Finding::skipped(format!("there is no network ({})", error.code().name()));
        }
        match &self.target {
            Target::None => Finding::skipped("name one: datnode doctor KEY"),
            Target::Peer(_) if self.args.offline => Finding::skipped("--offline is on"),
            Target::Peer(wanted) => {
                self.wait(WAIT, || {
                    let outcome = wanted.outcome(&self.hub.sought()).map(|outcome| outcome.is_ok());
                    let name = wanted.peer.map(|peer| peer.to_string());
                    // A session follows a moment after the connection.
                    let is_it = |other: &String| name.as_ref().is_none_or(|name| name == other);
                    let met = || self.hub.peers().iter().any(|peer| is_it(&peer.about.name));
                    outcome.is_some_and(|is_reached| !is_reached || met())
                })
                .await;
                peer::sum_up(wanted, &self.hub.sought(), &self.hub.peers())
            }
            Target::Drive { key, folder, .. } => self.drive(*key, folder.clone()).await,
        }
    }

    async fn drive(&self, key: PublicKey, folder: Option<PathBuf>) -> Finding {
        let serving = runtime::find(&self.dirs.run, &key);
        let far = |hub: &Hub| {
            let sought = hub.sought();
            hub.peers_of(&key).iter().any(|peer| drive::is_elsewhere(&peer.about, &sought))
        };
        self.wait(WAIT, || {
            far(&self.hub) || self.began.elapsed() > TELLING && drive::is_over(&self.hub.sought())
        })
        .await;
        let length = self.drive.as_ref().map(|drive| drive.changes.news.borrow().length);
        let own = self.own_id();
        let asked = serving.iter().map(|process| connected(process, &key, own.as_deref()));
        let connected = join_all(asked).await;
        let serving: Vec<(i32, usize)> =
            serving.iter().map(|process| process.pid).zip(connected).collect();
        drive::sum_up(&drive::Facts {
            key,
            folder,
            serving: &serving,
            peers: self.hub.peers_of(&key),
            blocks: length.filter(|length| *length > 0),
            sought: self.hub.sought(),
            waited: self.began.elapsed(),
        })
    }

    /// Returns the node, if other computers are asked at all.
    fn away(&self) -> Result<&Network, &'static str> {
        match &self.network {
            _ if self.args.offline => Err("--offline is on"),
            Ok(network) => Ok(network),
            Err(_) => Err("there is no network (see port)"),
        }
    }

    fn own_id(&self) -> Option<String> {
        let addresses = self.network.as_ref().ok()?.local_addresses();
        peer_of(addresses.first()?).map(|id| id.to_string())
    }

    /// Returns the port of our node. That of another process is not ours to try out, and to give back.
    fn own_port(&self) -> Option<u16> {
        let addresses = self.network.as_ref().ok()?.local_addresses();
        addresses.iter().flatten().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        })
    }

    /// Waits until something is so, no longer than this since the beginning.
    async fn wait(&self, limit: Duration, mut is: impl FnMut() -> bool) {
        while self.began.elapsed() < limit && !is() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Asks the processes of this user how they are reached, and returns what the one says who is reached best.
async fn told(ours: &[Announced]) -> Option<(i32, Outside)> {
    let asked = ours.iter().map(|process| async {
        let said =
            tokio::time::timeout(TELLING, ask(&process.socket, None, &Question::Reach)).await;
        Some((process.pid, reached::of(&said.ok()?.ok()?)?))
    });
    join_all(asked).await.into_iter().flatten().max_by_key(|(_, outside)| outside.reach)
}

/// Asks a process how many nodes but ours are connected to it with whom it has a drive open.
async fn connected(process: &Announced, key: &PublicKey, own: Option<&str>) -> usize {
    let asking = ask(&process.socket, Some(key), &Question::Peers);
    let Ok(Ok(said)) = tokio::time::timeout(TELLING, asking).await else { return 0 };
    let peers = said["peers"].as_array().cloned().unwrap_or_default();
    let is_one = |peer: &&serde_json::Value| {
        let name = peer["node"].as_str();
        name != Some(LOCAL) && name != own && peer["feeds"] != 0
    };
    peers.iter().filter(is_one).count()
}

/// Why others are not asked by a node that they could not reach.
const ALONE: &str = "this computer alone is listened on (--listen)";

/// Tells whether a node listens on this computer only.
fn is_alone(network: &Network) -> bool {
    network.local_addresses().iter().all(is_loopback)
}

/// Returns how the network was to be used, without a word that names anybody.
fn settings(args: &NetworkArgs) -> String {
    let discover = args.discover.iter().map(|way| format!("{way:?}").to_ascii_lowercase());
    let is = |on: bool| if on { "yes" } else { "no" };
    format!(
        "discover {}, bootstrap {}, peers {}, UPnP {}, relays {}, offline {}",
        discover.collect::<Vec<_>>().join("+"),
        args.bootstrap.len(),
        args.peer.len(),
        is(!args.no_upnp),
        is(!args.no_relay),
        is(args.offline),
    )
}
