//! `datnode mirror`: follow drives and serve them, all of them in one process, for ever.
//!
//! A mirror writes no drive and lands no file. It serves what it has from the moment it starts, whether the writers are there or not.
//! Elsewhere: one drive (`member`, `keeper`), which drives (`list`), how much of each (`history`, `quota`), what is copied from other
//! drives (`copier`), what is shown (`show`, `tell`), what is answered to other processes (`answers`), what rots (`check`), what is
//! measured (`figures`).

mod answers;
mod check;
mod copier;
mod figures;
pub(crate) mod history;
mod keeper;
mod list;
mod member;
mod part;
mod quota;
mod show;
mod tell;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use datnode_feed::PublicKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use self::answers::{Members, Reread, answers};
use self::copier::Copier;
use self::figures::figures;
use self::list::{List, Read};
use self::member::{Event, House, Member};
use self::quota::Ledger;
use self::show::{PAINT, Screen};
use self::tell::sum_up;
use super::context::{hub, look_for, swarm};
use super::metrics::Metrics;
use super::reached;
use crate::address::Places;
use crate::cli::interrupt::asked_to_stop;
use crate::cli::output::Out;
use crate::cli::{MirrorArgs, Network as NetworkArgs};
use crate::dirs::Dirs;
use crate::engine::{Network, listen_locally};
use crate::error::{Code, Error};
use crate::runtime::{self, Announcement};
use crate::swarm::{Outside, Reach};

pub(super) async fn run(args: MirrorArgs, out: &Out) -> Result<(), Error> {
    keep(args, None, out).await
}

/// Keeps drives for ever, and tells what there is to measure at an address, if there is one.
pub(super) async fn keep(
    args: MirrorArgs,
    metrics: Option<SocketAddr>,
    out: &Out,
) -> Result<(), Error> {
    let mut asked = std::pin::pin!(asked_to_stop());
    let said = |error| Error::io("listen for", Path::new("SIGHUP"), &error);
    let hangup = signal(SignalKind::hangup()).map_err(said)?;
    let (dirs, began) = (Dirs::open()?, Instant::now());
    let from_file = args.from_file.map(absolute).transpose()?;
    let list = List::new(&args.drives, from_file.as_deref(), args.network.public)?;
    let to = args.to.map_or_else(|| Ok(dirs.data.join("mirrors")), absolute)?;
    std::fs::create_dir_all(&to).map_err(|error| Error::io("create", &to, &error))?;
    let (tell, events) = mpsc::unbounded_channel();
    let ledger = args.quota.map(|quota| Arc::new(Ledger::open(quota, &to)));
    let hub = hub()?;
    let metrics = metrics.map(Metrics::listen).transpose()?;
    let copier = Arc::new(Copier::new(&dirs, &args.reuse));
    let house = House { hub, to, history: args.history, ledger, copier, tell };
    let opening = Mirror::open(house, list, dirs, args.network, out);
    let mut mirror = tokio::select! {
        biased;
        () = &mut asked => return Ok(()),
        mirror = opening => mirror?,
    };
    if let Some(metrics) = &metrics {
        mirror.metrics = Some(metrics.address());
        out.say(format_args!("Metrics    http://{}/metrics", metrics.address()));
    }
    let ended = tokio::select! {
        biased;
        () = &mut asked => Ok(()),
        // A check is a borrower of what the other changes.
        () = check_all(mirror.house.clone(), mirror.members.clone(), args.verify_every.0) => Ok(()),
        () = tell_metrics(metrics, mirror.house.clone(), mirror.members.clone(), began) => Ok(()),
        ended = mirror.serve(events, hangup) => ended,
    };
    let house = mirror.close().await;
    ended.and_then(|()| sum_up(&house, began, out))
}

fn absolute(path: PathBuf) -> Result<PathBuf, Error> {
    std::path::absolute(&path).map_err(|error| Error::io("find", &path, &error))
}

/// The drives that are mirrored, and the network.
struct Mirror {
    house: House,
    list: List,
    dirs: Dirs,
    args: NetworkArgs,
    network: Network,
    members: Members,
    /// Keeps the members; each ends when it is aborted.
    tasks: JoinSet<()>,
    keeping: BTreeMap<PublicKey, AbortHandle>,
    announcement: Announcement,
    /// Where figures are told.
    metrics: Option<SocketAddr>,
    rereads: UnboundedReceiver<Reread>,
    /// What was said of a drive's trouble last: the same is said once.
    troubles: BTreeMap<PublicKey, String>,
    /// Whether it was said that the quota is reached.
    is_full: bool,
    out: Out,
}

impl Mirror {
    /// Opens the drives of the list, and serves them.
    async fn open(
        house: House,
        list: List,
        dirs: Dirs,
        args: NetworkArgs,
        out: &Out,
    ) -> Result<Self, Error> {
        let Read { wanted, bad } = list.read()?;
        bad.iter().for_each(|error| out.warn(error));
        let mut opened = Vec::new();
        for (key, places) in wanted {
            let member = match Member::open(key, &house).await {
                Err(error) if error.code() == Code::Locked => return Err(error),
                Err(error) => {
                    out.warn(&error);
                    Arc::new(Member::closed(key, &house))
                }
                Ok(member) => member,
            };
            opened.push((member, places));
        }
        let (reread, rereads) = mpsc::unbounded_channel();
        let members = Members::default();
        let network = swarm(&house.hub, &dirs, &args, Vec::new(), out).await?;
        let answers = answers(&house, &members, reread);
        listen_locally(&house.hub, &runtime::socket(&dirs.run), answers)?;
        let announcement = runtime::announce(&dirs.run, network.local_addresses(), &[])
            .map_err(|error| Error::io("write", &dirs.run, &error))?;
        let (tasks, keeping, troubles) = (JoinSet::new(), BTreeMap::new(), BTreeMap::new());
        let out = out.clone();
        let mut mirror = Self {
            house,
            list,
            dirs,
            args,
            network,
            members,
            tasks,
            keeping,
            announcement,
            metrics: None,
            rereads,
            troubles,
            is_full: false,
            out,
        };
        for (member, places) in opened {
            mirror.begin(member, &places).await;
        }
        mirror.announce()?;
        Ok(mirror)
    }

    /// Begins to keep a drive.
    async fn begin(&mut self, member: Arc<Member>, places: &Places) {
        let key = member.key;
        look_for(&mut self.network, &self.house.hub, &self.dirs, &self.args, key).await;
        self.network.offer(&key).await;
        self.network.enter(&self.house.hub, &key, &places.bootstrap).await;
        self.network.seek(&self.house.hub, &places.peers).await;
        let task = self.tasks.spawn(member.clone().keep(self.house.clone()));
        self.keeping.insert(key, task);
        self.members().insert(runtime::name(&key), member);
    }

    /// Keeps a drive no longer; what is stored of it stays.
    async fn end(&mut self, key: &PublicKey) {
        if let Some(task) = self.keeping.remove(key) {
            task.abort();
        }
        self.network.forget(key).await;
        let member = self.members().remove(&runtime::name(key));
        if let Some(member) = member {
            member.close();
        }
        if let Some(ledger) = &self.house.ledger {
            ledger.leave(key);
        }
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Member>>> {
        self.members.lock().expect("no code panics while it holds this")
    }

    fn announce(&mut self) -> Result<(), Error> {
        let drives: Vec<PublicKey> = self.keeping.keys().copied().collect();
        let run = &self.dirs.run;
        self.announcement.change(&drives).map_err(|error| Error::io("write", run, &error))
    }

    /// Serves, and shows what happens, for ever.
    async fn serve(
        &mut self,
        mut events: UnboundedReceiver<Event>,
        mut hangup: Signal,
    ) -> Result<(), Error> {
        let mut screen = Screen::new(&self.out, &self.house);
        screen.paint(&self.house, &all(&self.members));
        if self.out.json {
            let addresses = self.network.addresses();
            let members = all(&self.members);
            self.out.record(&show::ready(&self.house, &members, &addresses, self.metrics))?;
        }
        self.out.say(format_args!(
            "{}     Ctrl-C stops",
            show::heading(&self.house, self.keeping.len(), self.args.public)
        ));
        self.out.doing("mirroring".to_owned());
        let (mut paint, mut outside) = (tokio::time::interval(PAINT), self.network.outside());
        let mut reach = None;
        loop {
            tokio::select! {
                Some(event) = events.recv() => self.tell(&mut screen, &event),
                Some(()) = hangup.recv() => self.reread(&mut screen).await,
                Some(asked) = self.rereads.recv() => {
                    self.reread(&mut screen).await;
                    // Whoever asked may have gone.
                    let _ = asked.send(());
                }
                now = changed(&mut outside) => {
                    if reach.replace(now.reach) != Some(now.reach) && now.reach != Reach::Checking {
                        screen.say(&reached::line(&now));
                    }
                }
                _ = paint.tick() => {
                    screen.paint(&self.house, &all(&self.members));
                    self.tell_quota(&mut screen);
                }
            }
        }
    }

    /// Reads the list again: what is new is begun, and what is gone is kept no longer.
    async fn reread(&mut self, screen: &mut Screen) {
        screen.wipe();
        let Read { wanted, bad } = match self.list.read() {
            Ok(read) => read,
            // The list as it was is better than none.
            Err(error) => return self.out.warn(&error),
        };
        bad.iter().for_each(|error| self.out.warn(error));
        let gone = self.keeping.keys().filter(|key| !wanted.contains_key(key));
        let gone: Vec<PublicKey> = gone.copied().collect();
        let mut begun = Vec::new();
        for key in &gone {
            self.end(key).await;
            self.troubles.remove(key);
        }
        for (key, places) in wanted {
            if !self.keeping.contains_key(&key) {
                begun.push(key);
                // Its store may be another's for a moment, perhaps one that was ours just now: it is opened as soon as that is over.
                let member = Arc::new(Member::closed(key, &self.house));
                self.begin(member, &places).await;
            }
        }
        if let Err(error) = self.announce() {
            self.out.warn(&error);
        }
        self.tell_list(screen, &begun, &gone);
    }

    async fn close(mut self) -> House {
        self.network.close().await;
        self.tasks.abort_all();
        for member in all(&self.members) {
            member.close();
        }
        self.house
    }
}

/// Waits until it is known anew how this node is reached; for ever where that cannot be.
async fn changed(outside: &mut Option<watch::Receiver<Outside>>) -> Outside {
    if let Some(outside) = outside
        && outside.changed().await.is_ok()
    {
        return outside.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Answers who asks for figures, for ever.
async fn tell_metrics(metrics: Option<Metrics>, house: House, members: Members, began: Instant) {
    match metrics {
        Some(metrics) => metrics.serve(|| figures(&house, &all(&members), began)).await,
        None => std::future::pending().await,
    }
}

/// Returns the drives that are mirrored now.
fn all(members: &Members) -> Vec<Arc<Member>> {
    let members = members.lock().expect("no code panics while it holds this");
    members.values().cloned().collect()
}

/// Checks all drives, one after the other, each time that such a time has passed; never without one.
async fn check_all(house: House, members: Members, every: Option<Duration>) {
    let Some(every) = every else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        for member in all(&members) {
            if let Err(error) = check::check(&member, &house).await {
                let _ = house.tell.send(Event::Trouble(member.key, error));
            }
        }
    }
}
