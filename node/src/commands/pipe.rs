//! `datnode pipe`: serve a drive on stdin and stdout, to whoever is at their other end.
//!
//! A folder whose store another process has open is served by that process: what is said is passed on to its control socket.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use datnode_feed::PublicKey;
use datnode_proto::Binding;
use rustix::termios::isatty;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::context::{disk, folder_of, hub, read_key};
use super::held::{Held, held};
use super::serving::Serving;
use crate::address::{Link, Ticket};
use crate::cli::Pipe;
use crate::cli::output::Out;
use crate::control;
use crate::dirs::Dirs;
use crate::engine::{
    About, AnyStore, Drive, Ended, Patience, Reach, listen_locally, meet_locally, start,
};
use crate::error::{Code, Error};
use crate::keys::random;
use crate::origin::stdio::{RANDOM_LEN, welcome};
use crate::runtime::{self, Announced};

/// What the one at the other end is called.
const OTHER: &str = "standard streams";
/// How much is passed on at a time.
const PIECE_LEN: usize = 64 << 10;

pub(super) async fn run(args: Pipe, out: &Out) -> Result<(), Error> {
    if isatty(std::io::stdin()) || isatty(std::io::stdout()) {
        return Err(Error::usage("pipe speaks datnode's protocol, and this is a terminal")
            .hint("it is run by others:  datnode clone ssh://HOST/FOLDER"));
    }
    let folder = folder_of(&args.folder)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let dirs = Dirs::open()?;
    match held(&dirs, &key, async || disk(&folder, false)).await? {
        Held::Here(store) => serve(store, key, &folder, &dirs, out).await,
        Held::By(owner, locked) => pass_on(&owner, &key, locked).await,
    }
}

/// Serves the drive of a store, and lets other processes read it meanwhile.
async fn serve(
    mut store: AnyStore,
    key: PublicKey,
    folder: &Path,
    dirs: &Dirs,
    out: &Out,
) -> Result<(), Error> {
    // Nothing is taken from the other end: it may not even move a head, as if the drive were written here.
    let slots: Vec<_> = store.feeds().map(|(slot, _)| slot).collect();
    slots.into_iter().for_each(|slot| store.own(slot));
    let hub = hub()?;
    let reach = Reach::Folder(folder.to_owned());
    let patience = Patience { wait: Some(Duration::ZERO), reach, link: Link(&key).to_string() };
    let drive = Drive::open(&hub, start(store, hub.answers())?, key, patience).await?;
    drive.open_content().await?;
    let ticket = Ticket::new(key, Vec::new());
    let (outside, pen, began, out) = (None, None, Instant::now(), out.clone());
    let serving = Serving { drive, ticket, outside, pen, fetches: false, began, out };
    let (edits, _) = mpsc::unbounded_channel();
    listen_locally(&hub, &runtime::socket(&dirs.run), serving.answers(edits))?;
    let _announcement = runtime::announce(&dirs.run, Vec::new(), &[key])
        .map_err(|error| Error::io("write", &dirs.run, &error))?;
    let (mut read, mut write) = (tokio::io::stdin(), tokio::io::stdout());
    let ours: [u8; RANDOM_LEN] = *random()?;
    let theirs = match welcome(&mut read, &mut write, &key, &ours).await {
        Ok(theirs) => theirs,
        Err(error) => return over(error),
    };
    let binding = Binding { ours: ours.to_vec(), theirs: theirs.to_vec() };
    let about =
        About { name: OTHER.into(), address: OTHER.into(), punched: false, is_local: false };
    match hub.replicate(read, write, binding, about).await {
        Ended::Gone(_) => Ok(()),
        Ended::Fault(fault) => {
            Err(Error::new(Code::Io, "the other end broke the protocol").context(fault))
        }
    }
}

/// Lets the process serve that has the store.
async fn pass_on(owner: &Announced, key: &PublicKey, locked: Error) -> Result<(), Error> {
    let met = async {
        let mut stream = UnixStream::connect(&owner.socket).await?;
        let ours = meet_locally(&mut stream).await?;
        io::Result::Ok((stream, ours))
    };
    // It stands for us: its random bytes go out, and the other end's go in.
    let Ok(Ok((mut stream, ours))) = tokio::time::timeout(control::SILENCE, met).await else {
        return Err(locked.context("it does not answer"));
    };
    let (mut read, mut write) = (tokio::io::stdin(), tokio::io::stdout());
    let passed = async {
        let theirs = welcome(&mut read, &mut write, key, &ours).await?;
        stream.write_all(&theirs).await?;
        let (mut from_owner, mut to_owner) = stream.split();
        // When one way ends the session does.
        tokio::select! {
            ended = pass(&mut from_owner, &mut write) => ended,
            ended = pass(&mut read, &mut to_owner) => ended,
        }
    };
    passed.await.or_else(over)
}

/// Passes on what comes, at once.
async fn pass<R, W>(from: &mut R, to: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut some = vec![0; PIECE_LEN];
    loop {
        let count = from.read(&mut some).await?;
        let Some(piece @ [_, ..]) = some.get(..count) else { return Ok(()) };
        to.write_all(piece).await?;
        to.flush().await?;
    }
}

/// The other end has all that it wanted, or is gone: both are the end of a pipe.
fn over(error: io::Error) -> Result<(), Error> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error.kind() {
        UnexpectedEof | BrokenPipe | ConnectionReset => Ok(()),
        _ => Err(Error::io("use", Path::new(OTHER), &error)),
    }
}
