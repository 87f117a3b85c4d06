//! The error that nobody offers a drive: where peers were looked for, what came of it, and what else can be done.

use std::time::Duration;

use serde_json::json;

use super::{Code, Error};
use crate::cli::escape;
use crate::cli::units::Span;
use crate::engine::Sought;
use crate::swarm::{Channel, Lan};

/// How many reasons an error lists why peers could not be reached.
const REASONS_MAX: usize = 3;

impl Error {
    /// Nobody offers the drive: `link` was looked for during `waited`, where `sought` says.
    pub fn no_peers(link: &str, waited: Duration, sought: &Sought) -> Self {
        let cannot = match sought.lan() {
            Lan::Cannot(reason) => Some(format!("LAN: {reason}")),
            Lan::Off | Lan::On => None,
        };
        let failures = sought.failures().into_iter().map(str::to_owned);
        let reasons: Vec<String> = cannot.into_iter().chain(failures).collect();
        let mut error = Self::new(Code::NoPeers, "nobody is offering this drive at the moment")
            .context(format!("tried: {}", tried(waited, sought)));
        for reason in reasons.iter().take(REASONS_MAX) {
            error = error.context(format!("       {}", escape::controls(reason)));
        }
        if let Some(hint) = elsewhere(sought) {
            error = error.hint(hint);
        }
        let number = |used: bool, channel| used.then(|| sought.of(channel).0);
        let tried = json!({
            "lan": number(*sought.lan() == Lan::On, Channel::Lan),
            "remembered": number(sought.remembers(), Channel::Remembered),
            "addresses": sought.addresses(),
            "reasons": reasons,
        });
        error
            .hint("is `datnode share` running on the other side? Ask for a ticket, it contains addresses")
            .hint("give an address with --peer, or wait longer: --wait 5m (--wait 0 = no limit)")
            .field("drive", link)
            .field("tried", tried)
            .field("waited_s", waited.as_secs_f64())
    }
}

/// Returns what was tried, each way with its numbers.
fn tried(waited: Duration, sought: &Sought) -> String {
    let mut ways = Vec::new();
    let answered = |(_, answered): (usize, usize)| format!("{answered} answered");
    match (sought.lan(), sought.of(Channel::Lan)) {
        (Lan::Off, _) => {}
        (Lan::Cannot(_), _) => ways.push("LAN not possible".to_owned()),
        (Lan::On, (0, _)) => ways.push(format!("LAN {}, 0 found", Span(waited))),
        (Lan::On, found) => {
            ways.push(format!("LAN {}, {} found, {}", Span(waited), found.0, answered(found)));
        }
    }
    if sought.remembers() {
        let found = sought.of(Channel::Remembered);
        let peers = if found.0 == 1 { "peer" } else { "peers" };
        ways.push(match found.0 {
            0 => "no remembered peers".to_owned(),
            count => format!("{count} remembered {peers}, {}", answered(found)),
        });
    }
    match sought.addresses() {
        0 => {}
        1 => ways.push(format!("1 address, {}", answered(sought.of(Channel::Given)))),
        count => ways.push(format!("{count} addresses, {}", answered(sought.of(Channel::Given)))),
    }
    ways.push("the processes of this user".to_owned());
    let ways = ways.join(" · ");
    match sought.lan() {
        Lan::On => ways,
        Lan::Off | Lan::Cannot(_) => format!("{ways}, for {}", Span(waited)),
    }
}

/// Returns which way of looking is not used, and how to use it.
fn elsewhere(sought: &Sought) -> Option<&'static str> {
    match sought.lan() {
        Lan::Off if !sought.remembers() => Some(
            "--discover none is on; leave it out (and unset DATNODE_DISCOVER) to look on the local network as well",
        ),
        Lan::Off => Some("add lan to --discover to look on the local network as well"),
        Lan::On | Lan::Cannot(_) => None,
    }
}
