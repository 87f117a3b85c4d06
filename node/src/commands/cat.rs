//! `datnode cat`

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use datnode_drive::{Entry, Kind};
use tokio::sync::{mpsc, oneshot};

use super::context::{Opened, open_to_read, with_others};
use super::missing::missing;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Span};
use crate::cli::{ByteRange, Cat};
use crate::engine::Snapshot;
use crate::error::{Code, Error};

/// How many blocks wait for whoever reads.
const BLOCKS_MAX: usize = 4;

pub(super) async fn run(args: Cat, out: &Out) -> Result<(), Error> {
    let mut sink = None;
    let read = read(&args, &mut sink, out).await;
    let written = match sink {
        Some(sink) => sink.end().await,
        None => Ok(()),
    };
    // Reading ends when writing fails, which is what there is to say then.
    written.and(read)
}

async fn read(args: &Cat, sink: &mut Option<Sink>, out: &Out) -> Result<(), Error> {
    let mut drives = Vec::new();
    for address in &args.addresses {
        let started = Instant::now();
        let opened = open_to_read(&drives, address, args.at.as_ref(), &args.network, out).await?;
        drives.push(opened.clone());
        let snapshot = opened.here().await?;
        if opened.path.is_root() {
            return Err(no_bytes("the drive as a whole is a folder", address));
        }
        let Some(entry) = snapshot.entry(&opened.path).await? else {
            return Err(missing(&snapshot, &opened.path).await);
        };
        if entry.kind != Kind::File {
            let what = if entry.kind == Kind::Symlink { "link" } else { "folder" };
            let shown = escape::bytes(opened.path.as_bytes());
            return Err(no_bytes(&format!("{shown} is a {what}"), address));
        }
        let range = range(args, entry.size)?;
        // Only now is there something to write: a file that cannot be found must not cost the one that is there.
        if sink.is_none() {
            *sink = Some(Sink::open(args.output.clone(), out)?);
        }
        let sink = sink.as_ref().expect("it was just opened");
        let len = range.end - range.start;
        give((&opened, &snapshot), &entry, range, sink, (args, out)).await?;
        report(out, &opened.drive.hub, len, started);
    }
    Ok(())
}

/// Reads a range. A block that turns out to be damaged is fetched from others, and reading goes on with it.
async fn give(
    (opened, snapshot): (&Opened, &Snapshot),
    entry: &Entry,
    range: Range<u64>,
    sink: &Sink,
    (args, out): (&Cat, &Out),
) -> Result<(), Error> {
    let mut at = range.start;
    let mut take = async |bytes: Vec<u8>| {
        at += bytes.len() as u64;
        sink.take(bytes).await
    };
    match snapshot.read(entry, range.clone(), &mut take).await {
        // All was said to be here, so that nobody was looked for.
        Err(error) if error.code() == Code::NoData && opened.is_alone() => {}
        read => return read,
    }
    let opened = with_others(opened.clone(), &args.network, out).await?;
    opened.here().await?.read(entry, at..range.end, async |bytes| sink.take(bytes).await).await
}

/// Writes one block.
type Write = Box<dyn FnMut(&[u8]) -> Result<(), Error> + Send>;

/// A thread that writes: who reads a pipe may take his time, and peers are answered meanwhile.
struct Sink {
    blocks: mpsc::Sender<Vec<u8>>,
    ended: oneshot::Receiver<Result<(), Error>>,
}

impl Sink {
    fn open(path: Option<PathBuf>, out: &Out) -> Result<Self, Error> {
        let mut write: Write = match path {
            Some(path) => {
                let mut file =
                    File::create(&path).map_err(|error| Error::io("write", &path, &error))?;
                Box::new(move |bytes| {
                    file.write_all(bytes).map_err(|error| Error::io("write", &path, &error))
                })
            }
            None => {
                let out = out.clone();
                Box::new(move |bytes| out.data(bytes))
            }
        };
        let (blocks, mut taken) = mpsc::channel::<Vec<u8>>(BLOCKS_MAX);
        let (end, ended) = oneshot::channel();
        let run = move || {
            let mut written = Ok(());
            while let (Ok(()), Some(block)) = (&written, taken.blocking_recv()) {
                written = write(&block);
            }
            // Nobody waits for it after Ctrl-C.
            let _ = end.send(written);
        };
        let started = thread::Builder::new().name("writer".into()).spawn(run);
        started.map_err(|error| Error::threads(&error))?;
        Ok(Self { blocks, ended })
    }

    async fn take(&self, bytes: Vec<u8>) -> Result<(), Error> {
        self.blocks.send(bytes).await.map_err(|_| over())
    }

    /// Waits until everything is written.
    async fn end(self) -> Result<(), Error> {
        drop(self.blocks);
        self.ended.await.map_err(|_| over())?
    }
}

fn over() -> Error {
    Error::new(Code::Io, "writing is over")
}

/// Says that only files have bytes.
fn no_bytes(what: &str, address: &OsStr) -> Error {
    Error::usage(format!("{what}, and only files have bytes"))
        .hint(format!("datnode ls {} shows what is there", escape::shell(Path::new(address))))
}

/// Returns which bytes of a file of `size` are meant.
fn range(args: &Cat, size: u64) -> Result<Range<u64>, Error> {
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
