//! `datnode cat`

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use datnode_drive::Kind;

use super::context::open;
use super::ls::missing;
use crate::cli::Cat;
use crate::cli::output::Out;
use crate::cli::units::{Size, Span};
use crate::error::Error;

pub(super) async fn run(args: Cat, out: &Out) -> Result<(), Error> {
    let mut file: Option<(File, &PathBuf)> = None;
    for address in &args.addresses {
        let started = Instant::now();
        let opened = open(Some(address), args.at.as_ref(), &args.network, out).await?;
        let snapshot = opened.snapshot().await?;
        let entry = snapshot.entry(&opened.path).await?.ok_or_else(|| missing(&opened.path))?;
        if entry.kind != Kind::File {
            return Err(Error::usage("only files have bytes; this is a folder or a link"));
        }
        let range = match args.range {
            None => 0..entry.size,
            Some(range) => range.within(entry.size).ok_or_else(|| {
                Error::usage(format!(
                    "the file has {} bytes; there is nothing in that range",
                    entry.size
                ))
            })?,
        };
        // Only now is there something to write: a file that cannot be found must not cost the one that is there.
        if let (None, Some(path)) = (&file, &args.output) {
            let made = File::create(path).map_err(|error| Error::io("write", path, &error))?;
            file = Some((made, path));
        }
        let len = range.end - range.start;
        let write = |bytes: &[u8]| match &mut file {
            Some((file, path)) => {
                file.write_all(bytes).map_err(|error| Error::io("write", path, &error))
            }
            None => out.data(bytes),
        };
        snapshot.read(&entry, range, false, write).await?;
        report(out, &opened.drive.hub, len, started);
    }
    Ok(())
}

/// Tells how much came from whom.
fn report(out: &Out, hub: &crate::engine::Hub, len: u64, started: Instant) {
    for peer in hub.peers() {
        let (blocks, bytes) = (peer.status.blocks_in, peer.status.bytes_in);
        out.detail(format_args!(
            "read {len} B: fetched {blocks} blocks ({}) from {} in {}",
            Size(bytes),
            peer.about.name,
            Span(started.elapsed())
        ));
    }
}
