//! `datnode link`: the link of a drive, a ticket, a QR code.

use std::path::Path;

use datnode_feed::PublicKey;
use fast_qr::{ECL, QRBuilder};
use libp2p::Multiaddr;
use serde_json::json;

use super::context::{known_ways, open, read_key};
use crate::address::{self, Address, Link, Ticket, VersionSpec, key::hex};
use crate::cli::output::Out;
use crate::cli::{LinkArgs, Network};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::error::{Code, Error};
use crate::runtime;

pub(super) async fn run(args: LinkArgs, out: &Out) -> Result<(), Error> {
    let here =
        std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
    let dirs = Dirs::open()?;
    let address = match &args.address {
        Some(text) => Address::parse(text, &here, &Drives::of(&dirs))?,
        None => Address::here(&here)?,
    };
    let mut origins = args.from.clone();
    // An empty word is an address, which leads nowhere.
    let mut bootstrap: Vec<_> =
        args.bootstrap.iter().filter(|at| !at.is_empty()).cloned().collect();
    let (key, mut addresses) = match address.drive {
        address::Drive::Key(key) => (key, Vec::new()),
        address::Drive::Ticket(ticket) => {
            origins.extend(ticket.origins);
            bootstrap.extend(ticket.bootstrap);
            (ticket.key, ticket.addresses)
        }
        address::Drive::Folder(folder) => {
            (read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?, Vec::new())
        }
    };
    addresses.extend(served_at(&dirs, &key));
    let known = known_ways(&dirs, &key).into_iter().filter(|node| !bootstrap.contains(node));
    bootstrap.extend(known.collect::<Vec<_>>());
    let version = match args.at.or(address.version) {
        None | Some(VersionSpec::Latest) => None,
        Some(spec) => Some(version(args.address.as_deref(), &spec, out).await?),
    };
    let ticket = Ticket::new(key, addresses).with_origins(origins).with_bootstrap(bootstrap);
    let names_nobody = ticket.addresses.is_empty() && ticket.origins.is_empty();
    if args.ticket && names_nobody {
        return Err(Error::new(
            Code::NoPeers,
            "no process here serves this drive, so a ticket would have no address",
        )
        .hint("datnode share serves it; datnode link prints its key"));
    }
    let suffix = version.as_ref().map(|version| format!("+{version}")).unwrap_or_default();
    let word = match () {
        () if args.ticket => ticket.to_string(),
        () if args.hex => hex(&key) + &suffix,
        () => Link(&key).to_string() + &suffix,
    };
    if out.json {
        let mut record = json!({ "drive": { "key": hex(&key), "link": Link(&key).to_string() }, "version": version });
        if !names_nobody {
            record["ticket"] = ticket.to_string().into();
        }
        return out.record(&record);
    }
    if args.qr {
        out.data(qr(&word)?.as_bytes())?;
    }
    out.data(format!("{word}\n").as_bytes())
}

/// Returns where processes of this user serve a drive.
fn served_at(dirs: &Dirs, key: &PublicKey) -> Vec<Multiaddr> {
    runtime::find(&dirs.run, key).into_iter().flat_map(|found| found.addresses).collect()
}

/// Returns the hash of a version, which means the same everywhere; numbers do not.
async fn version(
    address: Option<&std::ffi::OsStr>,
    spec: &VersionSpec,
    out: &Out,
) -> Result<String, Error> {
    let opened = open(address, Some(spec), &Network::none(), out).await?;
    let found = opened.snapshot().await.map_err(|error| match error.code() {
        Code::NoPeers => nobody(&opened.drive.key, spec),
        _ => error,
    })?;
    Ok(found.version.id.to_string()[..ID_DIGITS].to_owned())
}

/// Which version is meant, only those know who have the drive: nobody on this computer.
fn nobody(key: &PublicKey, spec: &VersionSpec) -> Error {
    let link = Link(key);
    let what = "this drive is not on this computer, so its versions are not known here";
    Error::new(Code::NoPeers, what)
        .hint(format!("fetch it, and ask again:  datnode clone {link} FOLDER"))
        .hint(format!("or look it up:  datnode stat {link}+{spec}"))
}

/// How many digits of a version's hash a link has: enough to be the only one of its drive.
const ID_DIGITS: usize = 16;

/// Draws a word. In capitals alone it needs a smaller code, and keys and tickets mean the same in capitals.
pub(super) fn qr(word: &str) -> Result<String, Error> {
    let code = QRBuilder::new(word.to_ascii_uppercase()).ecl(ECL::L).build();
    let code = code.map_err(|_| {
        Error::usage("this is too long for a QR code").hint("draw the key instead of the ticket")
    })?;
    Ok(format!("{}\n", code.to_str()))
}

#[cfg(test)]
mod tests {
    use datnode_feed::SecretKey;

    use super::*;

    #[test]
    fn a_link_makes_a_small_code() {
        let link = Link(&SecretKey::from_bytes([1; 32]).public()).to_string();
        let drawn = qr(&link).unwrap();
        let lines: Vec<&str> = drawn.lines().filter(|line| !line.is_empty()).collect();
        // Version 3: 29 modules and a border, two of them in a line.
        assert!(lines.len() <= 20, "{} lines", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{drawn}");
        assert!(qr(&"a".repeat(10_000)).is_err());
    }
}
