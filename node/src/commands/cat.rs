//! `datnode cat`

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use datnode_drive::Kind;

use super::context::open_beside;
use super::missing::missing;
use crate::cli::output::Out;
use crate::cli::units::{Size, Span};
use crate::cli::{ByteRange, Cat};
use crate::error::Error;

pub(super) async fn run(args: Cat, out: &Out) -> Result<(), Error> {
    let mut file: Option<(File, &PathBuf)> = None;
    let mut drives = Vec::new();
    for address in &args.addresses {
        let started = Instant::now();
        let opened =
            open_beside(&drives, Some(address), args.at.as_ref(), &args.network, out).await?;
        drives.push(opened.clone());
        let snapshot = opened.snapshot().await?;
        let Some(entry) = snapshot.entry(&opened.path).await? else {
            return Err(missing(&snapshot, &opened.path).await);
        };
        if entry.kind != Kind::File {
            return Err(Error::usage("only files have bytes; this is a folder or a link"));
        }
        let range = range(&args, entry.size)?;
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

/// Returns which bytes of a file of `size` are meant.
fn range(args: &Cat, size: u64) -> Result<std::ops::Range<u64>, Error> {
    let nothing = || {
        Error::usage(format!("the file has {size} bytes; there is nothing in that range"))
            .hint("bytes count from 0; datnode ls -l shows sizes")
    };
    let asked = match (args.range, args.offset, args.length) {
        (Some(range), _, _) => range,
        (None, None, None) => return Ok(0..size),
        (None, offset, Some(0)) => return Ok(offset.unwrap_or(0)..offset.unwrap_or(0)),
        (None, offset, None) => ByteRange::From(offset.unwrap_or(0)),
        (None, offset, Some(length)) => {
            let first = offset.unwrap_or(0);
            ByteRange::Between(first, first.saturating_add(length - 1))
        }
    };
    asked.within(size).ok_or_else(nothing)
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
