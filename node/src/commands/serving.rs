//! What share shows while it serves, and what it answers to other processes of its user.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datnode_feed::PublicKey;
use datnode_proto::Limits;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;

use super::link::qr;
use super::peers::{how, report, short};
use super::reached;
use super::verify::check;
use crate::address::{Link, Ticket, key::hex};
use crate::clearing::clear;
use crate::cli::escape;
use crate::cli::keyboard::Keyboard;
use crate::cli::output::Out;
use crate::cli::painter::Painter;
use crate::cli::units::{Size, Span, Things};
use crate::cli::{Progress, Stop, parse};
use crate::control::{Answers, Question};
use crate::dirs::Dirs;
use crate::edit::{Edited, carry_out};
use crate::engine::{AnyStore, Drive, Hub, PeerReport, Traffic};
use crate::error::{Code, Error};
use crate::import::{Imported, Writer};
use crate::keys::DriveKeys;
use crate::pen::{Between, Pen};
use crate::swarm::{Outside, Reach};

/// How often the screen is painted.
const PAINT: Duration = Duration::from_secs(1);
/// How often a line is written where there is no terminal, if there is something new.
const TELL: Duration = Duration::from_secs(10);
/// How many peers are shown in one line.
const PEERS_MAX: usize = 3;
/// How many have a line each: more than a terminal has lines could not be wiped again.
const ROWS_MAX: usize = 20;

/// How many runs of blocks that nobody has are told.
const RUNS_MAX: usize = 1_000;

/// A drive that is served.
pub(super) struct Serving {
    pub(super) drive: Drive,
    /// What was known of our addresses when we began.
    pub(super) ticket: Ticket,
    /// How others reach us, as it changes; none offline.
    pub(super) outside: Option<watch::Receiver<Outside>>,
    /// None for a reader's.
    pub(super) pen: Option<Pen>,
    /// Whether what is missing is fetched.
    pub(super) fetches: bool,
    pub(super) began: Instant,
    pub(super) out: Out,
}

impl Serving {
    /// Returns the ticket, with the addresses that others reach us at by now.
    pub(super) fn ticket(&self) -> Ticket {
        let outside = self.outside.as_ref().map(|outside| outside.borrow().addresses.clone());
        let mut addresses = self.ticket.addresses.clone();
        let new = outside.into_iter().flatten().filter(|one| !self.ticket.addresses.contains(one));
        // What others confirmed comes first: a ticket has room for few.
        addresses.splice(0..0, new);
        self.ticket.clone().with_addresses(addresses)
    }

    /// Returns what answers other processes; each change is told to `edits`.
    pub(super) fn answers(&self, edits: mpsc::UnboundedSender<News>) -> Answers {
        let (drive, pen) = (self.drive.clone(), self.pen.clone());
        let (fetches, began) = (self.fetches, self.began);
        Arc::new(move |_, question| {
            let (drive, pen, edits) = (drive.clone(), pen.clone(), edits.clone());
            Box::pin(async move {
                match question {
                    Question::Peers => {
                        Ok(report(&drive.hub.peers(), |peer| drive.percent_of(peer)))
                    }
                    Question::State => Ok(state(&drive, &drive.hub.peers(), fetches, began)),
                    Question::Fetch { start, end } => {
                        let latest = drive.latest().await?;
                        latest.bring(start..end).await.map(|()| json!({}))
                    }
                    Question::Check { full } => check(&drive, full).await,
                    Question::Reload => reload(&drive.hub),
                    Question::Reach => Ok(reached::report(drive.hub.sought().outside())),
                    Question::Clear(_) if fetches => Err(at_work(&drive.key)),
                    Question::Clear(order) => {
                        let mut drive = drive;
                        // What is not here does not say what is needed: nobody is asked for it.
                        drive.patience.wait = Some(Duration::ZERO);
                        clear(&drive, &order).await.map(|done| json!(done))
                    }
                    Question::Edit(order) => {
                        let pen = pen.map_or_else(|| Err(without_pen(&drive.key)), Ok)?;
                        // Who asked may go away meanwhile; what was begun is ended.
                        let change = async move {
                            let edit =
                                move |store: &mut AnyStore,
                                      writer: &Writer<'_>,
                                      folder: &Path,
                                      _: Between<'_>| {
                                    carry_out(store, writer, folder, &order)
                                };
                            let done = pen.write(&drive, edit).await?;
                            if done.changed {
                                let _ = edits.send(News::from(&done));
                            }
                            Ok(json!(done))
                        };
                        let lost = |error: JoinError| Error::new(Code::Io, error.to_string());
                        tokio::spawn(change).await.map_err(lost)?
                    }
                }
            })
        })
    }

    /// Shows who is there, and answers keys, for ever.
    pub(super) async fn show(&self, edits: &mut mpsc::UnboundedReceiver<News>) -> Infallible {
        let screen = Screen::new(self);
        let mut keyboard = match self.out.progress {
            Progress::Bar => Keyboard::open(),
            _ => None,
        };
        let keys = async {
            match &mut keyboard {
                Some(keyboard) => loop {
                    screen.press(keyboard.next().await);
                },
                None => std::future::pending().await,
            }
        };
        let reach = async {
            let Some(mut outside) = self.outside.clone() else {
                return std::future::pending().await;
            };
            let mut last = None;
            // An error means that the swarm ended.
            while outside.changed().await.is_ok() {
                let now = outside.borrow_and_update().clone();
                if last != Some(now.reach) && now.reach != Reach::Checking {
                    screen.say(&reached::line(&now));
                    last = Some(now.reach);
                }
            }
            std::future::pending().await
        };
        let told = async {
            while let Some(news) = edits.recv().await {
                screen.changed(&news);
            }
            std::future::pending().await
        };
        let painted = async {
            let every = match self.out.progress {
                Progress::Bar => PAINT,
                Progress::Plain => TELL,
                // Nobody looks: who is there is not even counted.
                _ => std::future::pending().await,
            };
            loop {
                screen.paint();
                tokio::time::sleep(every).await;
            }
        };
        tokio::select! {
            never = keys => never,
            never = told => never,
            never = reach => never,
            never = painted => never,
        }
    }

    /// Says what was done.
    pub(super) fn sum_up(&self) -> Result<(), Error> {
        let Traffic { bytes_out, served, .. } = self.drive.hub.traffic();
        let took = self.began.elapsed();
        if self.out.json {
            return self.out.record(&json!({
                "type": "done", "drive": { "key": hex(&self.drive.key), "link": Link(&self.drive.key).to_string() },
                "bytes_out": bytes_out, "served": served, "seconds": took.as_secs_f64(),
            }));
        }
        let to = Things(served, "peer");
        self.out.say(format_args!("Served {} to {to} in {}", Size(bytes_out), Span(took)));
        Ok(())
    }
}

/// A new version, to be told.
pub(super) struct News {
    change: u64,
    version: String,
    /// What is different.
    what: String,
    /// How many bytes the files have that were put, and how many of them were not stored before.
    bytes: u64,
    bytes_new: u64,
}

impl From<&Edited> for News {
    fn from(done: &Edited) -> Self {
        let Edited { change, bytes, bytes_new, .. } = *done;
        let what = match &done.tag {
            Some(tag) => tag.to_string(),
            None => format!("~ {}", escape::bytes(&done.path.0)),
        };
        Self { change, version: done.version.clone(), what, bytes, bytes_new }
    }
}

impl From<&Imported> for News {
    fn from(done: &Imported) -> Self {
        let (added, altered, removed) = (done.added, done.altered, done.removed);
        let (what, bytes) = match &done.single {
            Some((path, bytes)) => {
                let sign = if removed > 0 {
                    '-'
                } else if added > 0 {
                    '+'
                } else {
                    '~'
                };
                (format!("{sign} {}", escape::bytes(path.as_bytes())), *bytes)
            }
            None => {
                let bytes = done.bytes_new + done.bytes_known;
                (format!("+{added} ~{altered} -{removed}"), bytes)
            }
        };
        let (change, version) = (done.version.number, done.version.id.to_string());
        Self { change, version, what, bytes, bytes_new: done.bytes_new }
    }
}

/// Returns what a process says of itself that has a drive open.
pub(super) fn state(drive: &Drive, peers: &[PeerReport], fetches: bool, began: Instant) -> Value {
    let lost = drive.out_of_reach().map(|lost| {
        let runs = lost.iter().take(RUNS_MAX).map(|run| json!([run.start, run.end]));
        runs.collect::<Vec<_>>()
    });
    // Who asks this is connected as well.
    let peers = peers.iter().filter(|peer| !peer.about.is_local).count();
    let (traffic, Limits { up, down }) = (drive.hub.traffic(), drive.hub.limits());
    json!({
        "pid": std::process::id(), "seconds": began.elapsed().as_secs_f64(), "peers": peers,
        "bytes_out": traffic.bytes_out, "bytes_in": traffic.bytes_in, "max_up": up, "max_down": down,
        "fetches": fetches, "out_of_reach": lost, "reach": reached::report(drive.hub.sought().outside()),
    })
}

/// Reads the settings again, as they would be if this command were started now, and limits the rates by them.
pub(super) fn reload(hub: &Hub) -> Result<Value, Error> {
    let mut cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Stop::Mistake { error, .. }) => return Err(error),
        Err(Stop::Show(_)) => unreachable!("this command was understood before"),
    };
    if let Some(network) = cli.command.network() {
        hub.limit(network.limits());
    }
    let Limits { up, down } = hub.limits();
    Ok(json!({ "max_up": up, "max_down": down }))
}

/// Why this process frees nothing now.
pub(super) fn at_work(key: &PublicKey) -> Error {
    let pid = std::process::id();
    let message = format!("process {pid} is fetching {}", Link(key).short());
    Error::new(Code::Locked, message)
        .hint(format!("wait for it, or end it first: kill {pid}"))
        .field("pid", pid)
}

/// Why this process does not change the drive.
fn without_pen(key: &PublicKey) -> Error {
    let link = Link(key).to_string();
    match Dirs::open().and_then(|dirs| DriveKeys::load(&dirs, key)) {
        Ok(Some(_)) => {
            let pid = std::process::id();
            let message = format!("process {pid} serves the drive as it is and changes nothing");
            Error::new(Code::Locked, message)
                .context("it is a share --no-import, or a clone")
                .hint(format!("end it first: kill {pid}"))
                .field("pid", pid)
        }
        Ok(None) => Error::read_only(&link),
        Err(error) => error,
    }
}

/// The lines at the bottom, or lines now and then where there is no terminal.
struct Screen<'a> {
    serving: &'a Serving,
    state: RefCell<State>,
}

struct State {
    painter: Painter,
    /// When it was looked last, and what had been sent and received by then.
    last: (Instant, Traffic),
    /// The line that was written last where nothing is painted.
    told: String,
    /// Whether the table of peers is open.
    peers: bool,
}

impl<'a> Screen<'a> {
    fn new(serving: &'a Serving) -> Self {
        let now = Instant::now();
        let last = (now, serving.drive.hub.traffic());
        let told = String::new();
        let state = State { painter: Painter::default(), last, told, peers: false };
        Self { serving, state: RefCell::new(state) }
    }

    fn paint(&self) {
        let (state, out) = (&mut *self.state.borrow_mut(), &self.serving.out);
        let (now, traffic) = (Instant::now(), self.serving.drive.hub.traffic());
        let (then, before) = std::mem::replace(&mut state.last, (now, traffic));
        let peers = self.serving.drive.hub.peers();
        match out.progress {
            Progress::Bar => {
                let sent = traffic.bytes_out.saturating_sub(before.bytes_out);
                let up = rate(now - then, sent);
                let mut lines = vec![summary(up, &peers, &self.serving.drive)];
                if state.peers {
                    let shown = peers.iter().take(ROWS_MAX);
                    lines.extend(shown.map(|peer| row(peer, &self.serving.drive)));
                }
                state.painter.paint(&lines);
            }
            Progress::Plain if traffic.served > 0 => {
                let line = format!(
                    "↑ {} in all   {}",
                    Size(traffic.bytes_out),
                    Things(peers.len() as u64, "peer")
                );
                if line != state.told {
                    out.mention(&line);
                    state.told = line;
                }
            }
            _ => {}
        }
    }

    /// Writes lines that stay above those that are painted.
    fn say(&self, text: &str) {
        self.state.borrow_mut().painter.wipe();
        self.serving.out.mention(text);
        self.paint();
    }

    fn changed(&self, news: &News) {
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let id = news.version.get(..6).unwrap_or_default();
        let bytes = match news.bytes {
            0 => String::new(),
            bytes => format!("   {} ({} new)", Size(bytes), Size(news.bytes_new)),
        };
        self.say(&format!("{time}  {}{bytes}   version {} · {id}", news.what, news.change));
    }

    fn press(&self, key: u8) {
        let (key, out) = (key.to_ascii_lowercase(), &self.serving.out);
        let command = format!("datnode clone {}", Link(&self.serving.drive.key));
        match key {
            b'c' => {
                out.copy(&command);
                self.say("copied, if this terminal lets programs do so (OSC 52)");
            }
            b't' => self.say(&format!("\n    datnode clone {}\n", self.serving.ticket())),
            b'q' => match qr(&Link(&self.serving.drive.key).to_string()) {
                Ok(drawn) => self.say(&drawn),
                Err(error) => out.warn(&error),
            },
            b'p' => {
                let state = &mut *self.state.borrow_mut();
                state.peers = !state.peers;
            }
            _ => {}
        }
        if key == b'p' {
            self.paint();
        }
    }
}

/// Returns bytes a second.
fn rate(span: Duration, bytes: u64) -> u64 {
    let rate = u128::from(bytes) * 1_000_000 / span.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn summary(up: u64, peers: &[PeerReport], drive: &Drive) -> String {
    let count = match peers.len() {
        0 => "nobody is connected".to_owned(),
        count => Things(count as u64, "peer").to_string(),
    };
    let shown = peers.iter().take(PEERS_MAX).map(|peer| {
        let has = drive.percent_of(peer.status.peer).map(|has| format!("  {has} %"));
        let (node, how) = (short(&peer.about.name), how(&peer.about));
        format!("    {node}{}  {how}", has.unwrap_or_default())
    });
    format!("↑ {}/s   {count}{}", Size(up), shown.collect::<String>())
}

fn row(peer: &PeerReport, drive: &Drive) -> String {
    let has = drive.percent_of(peer.status.peer).map_or("–".to_owned(), |has| format!("{has} %"));
    let rtt = peer.status.rtt.map_or("–".to_owned(), |rtt| Span(rtt).to_string());
    format!(
        "  {:<13} {:<14} {rtt:>8}   ↑ {:>8}   has {has}",
        short(&peer.about.name),
        how(&peer.about),
        Size(peer.status.bytes_out).to_string()
    )
}
