//! What a mirror shows: lines at the bottom of a terminal, lines that stay, and records for scripts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datnode_drive::Version;
use datnode_feed::PublicKey;
use libp2p::Multiaddr;
use serde_json::{Value, json};

use super::member::{House, Member, State};
use crate::address::{Link, key::hex};
use crate::cli::Progress;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::painter::Painter;
use crate::cli::stages::{FETCHING, Stage, Stages, Status};
use crate::cli::units::{Count, Size, Things};
use crate::engine::Traffic;

/// How often the screen is painted.
pub(super) const PAINT: Duration = Duration::from_secs(1);
/// How often a line is written where there is no terminal, if there is something new.
const TELL: Duration = Duration::from_secs(10);
/// How many drives have a line each: more than a terminal has lines could not be wiped again.
const ROWS_MAX: usize = 20;
/// How many columns a drive's name takes at most.
const NAME_COLUMNS: usize = 24;

/// The screen of a mirror.
pub(super) struct Screen {
    out: Out,
    painter: Painter,
    stages: Stages,
    /// When it was looked last, and what had been sent and received by then.
    last: (Instant, Traffic),
    /// The line that was written last where nothing is painted, and when.
    told: (String, Instant),
}

impl Screen {
    pub(super) fn new(out: &Out, house: &House) -> Self {
        let now = Instant::now();
        Self {
            out: out.clone(),
            painter: Painter::default(),
            stages: Stages::new(out, FETCHING),
            last: (now, house.hub.traffic()),
            told: (String::new(), now),
        }
    }

    /// Writes a line that stays.
    pub(super) fn say(&mut self, text: &str) {
        self.painter.wipe();
        let time = jiff::Zoned::now().strftime("%H:%M:%S");
        self.out.mention(format_args!("{time}  {text}"));
    }

    /// Wipes what is painted, so that something else can be written.
    pub(super) fn wipe(&mut self) {
        self.painter.wipe();
    }

    /// Shows how far all drives are.
    pub(super) fn paint(&mut self, house: &House, members: &[Arc<Member>]) {
        let (now, traffic) = (Instant::now(), house.hub.traffic());
        let (then, before) = std::mem::replace(&mut self.last, (now, traffic));
        let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), then.elapsed());
        let (up, down) =
            (rate(traffic.bytes_out, before.bytes_out), rate(traffic.bytes_in, before.bytes_in));
        match self.out.progress {
            Progress::Bar => {
                let rates = format!("↑ {}/s   ↓ {}/s", Size(up), Size(down));
                let heading = heading(house, members.len(), false);
                let mut lines = vec![format!("{heading}   {rates}")];
                // Those that are not whole come first: of many, they are what is looked for.
                let mut shown: Vec<_> = members.iter().collect();
                shown.sort_by_key(|member| is_whole(&member.state()));
                lines.extend(shown.iter().take(ROWS_MAX).map(|member| row(house, member)));
                if let Some(more) = shown.len().checked_sub(ROWS_MAX + 1) {
                    lines.push(format!("  and {} more", Count(more as u64 + 1)));
                }
                self.painter.paint(&lines);
            }
            Progress::Plain if now.duration_since(self.told.1) >= TELL => {
                let whole = members.iter().filter(|member| is_whole(&member.state())).count();
                let (of, sent) = (Things(members.len() as u64, "drive"), Size(traffic.bytes_out));
                let line = format!(
                    "{} of {of} whole   ↑ {sent} in all{}",
                    Count(whole as u64),
                    room(house)
                );
                if line != self.told.0 {
                    self.say(&line);
                }
                self.told = (line, now);
            }
            Progress::Json if members.iter().any(|member| !is_whole(&member.state())) => {
                self.stages.show(&status(house, members));
            }
            _ => {}
        }
    }
}

/// Says what is mirrored, and how much room it takes.
pub(super) fn heading(house: &House, drives: usize, public: bool) -> String {
    let drives = Things(drives as u64, "drive");
    if public {
        let serves = "Serving the DHT, relaying, and mirroring";
        return format!("{serves} {drives}, {}{}", house.history, room(house));
    }
    format!("Mirroring {drives}, read-only, {}{}", house.history, room(house))
}

fn room(house: &House) -> String {
    let Some(ledger) = &house.ledger else { return String::new() };
    let (used, quota) = ledger.state();
    let full = if ledger.is_full() { ", reached: nothing more is fetched" } else { "" };
    format!("     quota {} of {}{full}", Size(used), Size(quota))
}

/// Says what a drive is called: as it does itself, or by its link.
pub(super) fn name(member: &Member) -> String {
    let name = member.state().name.clone();
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| Link(&member.key).short())
}

/// Tells whether all that is wanted of the newest version that is known is here.
pub(super) fn is_whole(state: &State) -> bool {
    let latest = state.latest.as_ref().map(|latest| latest.version.number);
    state.here == state.wanted && latest.is_some() && state.whole == latest
}

fn row(house: &House, member: &Member) -> String {
    let state = member.state().clone();
    let name: String = name(member).chars().take(NAME_COLUMNS).collect();
    let peers = house.hub.peers_of(&member.key).len() as u64;
    let version = state.latest.as_ref().map_or_else(String::new, |latest| {
        format!("{} · {}", latest.version.number, &latest.version.id.to_string()[..6])
    });
    let what = match () {
        () if state.drive.is_none() => "its store is opened again soon".to_owned(),
        () if state.wanted == 0 => "nobody has told of it yet".to_owned(),
        () if state.is_full => format!("{}   no room for the rest", percent(&state)),
        () => percent(&state),
    };
    format!("  {name:<NAME_COLUMNS$} {version:<18} {what}   {}", Things(peers, "peer"))
}

/// Returns how much of what is wanted is here; 100 % only if that is all.
fn percent(state: &State) -> String {
    let State { here, wanted, .. } = *state;
    let tenths = u128::from(here) * 1_000 / u128::from(wanted.max(1));
    match tenths {
        1_000.. => "100 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// Returns the stage that the mirror as a whole is in.
fn status(house: &House, members: &[Arc<Member>]) -> Status {
    let (peers, sought) = (house.hub.peers(), house.hub.sought().count());
    let serving = peers.iter().any(|peer| peer.status.feeds > 0);
    let knows = |member: &&Arc<Member>| member.state().latest.is_some();
    let stage = match () {
        () if sought == 0 && peers.is_empty() => Stage::Find,
        () if !serving => Stage::Connect,
        () if !members.iter().all(|member| knows(&member)) => Stage::History,
        () => Stage::Download,
    };
    let bytes = house.hub.traffic().bytes_in;
    Status { stage, bytes, total: None, peers: peers.len(), note: String::new(), file: None }
}

/// Returns bytes a second.
fn per_second(bytes: u64, span: Duration) -> u64 {
    let rate = u128::from(bytes) * 1_000_000 / span.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Returns a drive as scripts are told of it.
pub(super) fn drive(key: &PublicKey) -> Value {
    json!({ "key": hex(key), "link": Link(key).to_string() })
}

/// Returns what scripts are told once the mirror serves.
pub(super) fn ready(
    house: &House,
    members: &[Arc<Member>],
    addresses: &[Multiaddr],
    metrics: Option<SocketAddr>,
) -> Value {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let drives: Vec<Value> = members.iter().map(|member| drive(&member.key)).collect();
    let mut ready = json!({
        "type": "ready", "folder": escape::path(&house.to), "addresses": addresses,
        "drives": drives, "quota": quota(house),
    });
    if let Some(metrics) = metrics {
        ready["metrics"] = json!(metrics.to_string());
    }
    ready
}

/// Returns what scripts are told of the quota; null without one.
pub(super) fn quota(house: &House) -> Value {
    house.ledger.as_ref().map_or(Value::Null, |ledger| {
        let (used, quota) = ledger.state();
        json!({ "bytes": quota, "used": used, "reached": ledger.is_full() })
    })
}

/// Returns what scripts are told when a version is here, as far as it is wanted.
pub(super) fn whole(key: &PublicKey, version: &Version, before: u64) -> Value {
    let counts = version.change.counts;
    json!({
        "type": "change", "drive": drive(key), "change": version.number, "before": before,
        "version": version.id.to_string(), "files": counts.files, "bytes": counts.bytes,
    })
}
