//! `datnode put`, `rm` and `mv`: a drive is changed by paths, by this process or the one that has it open.

use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::read_key;
use super::held::{Held, held};
use super::writing::{self, Own};
use crate::address::{self, Address, Link, VersionSpec};
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Things};
use crate::cli::{Cli, Command, Mv, Put, Rm, Stop, parse};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::edit::{Edit, Edited, Order, Raw, carry_out, is_bare, staging_place};
use crate::error::{Code, Error};
use crate::import::{Finder, Rules};

pub(super) async fn put(args: Put, out: &Out) -> Result<(), Error> {
    let place = Place::of(&args.address)?;
    let stdin = args.source.as_os_str() == "-";
    let name = args.source.file_name().filter(|_| !stdin).map(|name| Raw(name.as_bytes().to_vec()));
    let source = (!stdin).then_some(args.source);
    let put = |staged: Option<&Path>| {
        let (path, name, staged) = (Raw(place.path.clone()), name.clone(), staged.map(Raw::of));
        Edit::Put { path, name, staged }
    };
    // Before a copy is made, which may take long.
    place.change(put(None), String::new(), args.if_version.clone()).await?;
    let staged = Staged(staging_place(&place.folder)?);
    let to = staged.0.clone();
    blocking(move || stage(source.as_deref(), &to)).await?;
    let done = place.change(put(Some(&staged.0)), args.message, args.if_version).await?;
    place.warn(&done, out)?;
    let stored = format!("Stored {}   {}", escape::bytes(&done.path.0), Size(done.bytes));
    say(out, &done, &stored)
}

pub(super) async fn rm(args: Rm, out: &Out) -> Result<(), Error> {
    let places = args.addresses.iter().map(|address| Place::of(address));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let [first, ..] = &places[..] else { return Err(Error::usage("nothing is named")) };
    let folder = &first.folder;
    if places.iter().any(|place| place.folder != *folder) {
        return Err(Error::usage("all names have to be in one drive"));
    }
    let paths = places.iter().map(|place| Raw(place.path.clone())).collect();
    let edit = Edit::Remove { paths, recursive: args.recursive };
    let done = first.change(edit, args.message, args.if_version).await?;
    let what = match &places[..] {
        [_] => escape::bytes(&done.path.0),
        _ => Things(places.len() as u64, "name").to_string(),
    };
    say(out, &done, &format!("Deleted {what}"))
}

pub(super) async fn mv(args: Mv, out: &Out) -> Result<(), Error> {
    let from = Place::of(&args.from)?;
    let to = match Place::of(&args.to) {
        Ok(to) if to.folder == from.folder => to,
        Ok(_) => return Err(Error::usage("both names have to be in one drive")),
        Err(error) => return Err(error),
    };
    let edit = Edit::Move { from: Raw(from.path.clone()), to: Raw(to.path) };
    let done = from.change(edit, args.message, args.if_version).await?;
    from.warn(&done, out)?;
    let moved = format!("Moved {} to {}", escape::bytes(&from.path), escape::bytes(&done.path.0));
    say(out, &done, &moved)
}

/// A path in a drive that is written here.
pub(super) struct Place {
    folder: PathBuf,
    pub(super) path: Vec<u8>,
}

impl Place {
    /// Takes an address without a version.
    pub(super) fn of(address: &OsStr) -> Result<Self, Error> {
        match Self::with_version(address)? {
            (place, None) => Ok(place),
            (_, Some(_)) => Err(Error::usage("only the latest version can be changed")
                .hint("--if-version makes sure that it is the one you know")),
        }
    }

    /// Takes an address, and the version that it names.
    pub(super) fn with_version(address: &OsStr) -> Result<(Self, Option<VersionSpec>), Error> {
        let here =
            std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
        let dirs = Dirs::open()?;
        let Address { drive, version, path } = Address::parse(address, &here, &Drives::of(&dirs))?;
        let folder = match drive {
            address::Drive::Folder(folder) => std::fs::canonicalize(&folder)
                .map_err(|error| Error::io("open", &folder, &error))?,
            address::Drive::Key(key) => match Drives::of(&dirs).of_key(&key) {
                Some(known) if known.is_there() => known.folder,
                _ => return Err(Error::read_only(&Link(&key).to_string())),
            },
            address::Drive::Ticket(ticket) => {
                return Err(Error::read_only(&Link(&ticket.key).to_string()));
            }
        };
        Ok((Self { folder, path }, version))
    }

    /// Warns of a name that a share would leave out, and so take away again.
    fn warn(&self, done: &Edited, out: &Out) -> Result<(), Error> {
        let rules = rules(&self.folder)?;
        let left_out = !is_bare(&self.folder)?
            && Finder::new(&self.folder, &rules)?.rule_of(&done.path.0).is_some();
        if left_out {
            let (shown, path) = (escape::bytes(&done.path.0), escape::path(&self.folder));
            out.warn(
                &Error::new(
                    Code::Path,
                    format!("share leaves {shown} out, and takes it away again"),
                )
                .hint(format!("datnode ignored {path}/{shown} names the rule")),
            );
        }
        Ok(())
    }

    /// Has the drive changed by whoever has its store.
    pub(super) async fn change(
        &self,
        edit: Edit,
        message: String,
        if_version: Option<VersionSpec>,
    ) -> Result<Edited, Error> {
        let if_version = if_version.map(|version| version.to_string());
        let order = Order { edit, message, if_version };
        let (dirs, folder) = (Dirs::open()?, self.folder.clone());
        let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
        // On a thread of its own, so that Ctrl-C is heard.
        let here = async || {
            let (dirs, folder, order) = (dirs.clone(), folder.clone(), order.clone());
            blocking(move || change_here(&dirs, &folder, &order)).await
        };
        let owner = match held(&dirs, &key, here).await? {
            Held::Here(done) => return Ok(done),
            Held::By(owner, _) => owner,
        };
        let done = ask(&owner.socket, Some(&key), &Question::Edit(order)).await?;
        serde_json::from_value(done).map_err(|_| {
            Error::new(Code::Version, "the process that has the drive open is of another version")
        })
    }
}

/// Returns what `share` leaves out in a folder by the settings there are.
fn rules(folder: &Path) -> Result<Rules, Error> {
    let words = ["datnode".as_ref(), "share".as_ref(), folder.as_os_str()];
    match parse(words.map(OsStr::to_owned)) {
        Ok(Cli { command: Command::Share(share), .. }) => Ok(share.filter.rules()),
        Err(Stop::Mistake { error, .. }) => Err(error),
        Ok(_) | Err(Stop::Show(_)) => unreachable!("this is a share of a folder"),
    }
}

/// Changes the drive of a folder that no other process has open.
fn change_here(dirs: &Dirs, folder: &Path, order: &Order) -> Result<Edited, Error> {
    let mut written = match writing::open_existing(dirs, folder)? {
        Own::Written(written) => written,
        Own::Read(_, key) => return Err(Error::read_only(&Link(&key).to_string())),
    };
    written.begin(folder, None)?;
    let (store, writer) = written.parts();
    let done = carry_out(store, &writer, folder, order);
    // A change may have been made in part before it failed: it counts all the same.
    written.note(folder)?;
    written.store.checkpoint().map_err(Error::store)?;
    done
}

/// Runs what blocks beside what waits for the end.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(run).await;
    ended.map_err(|error| Error::new(Code::Io, error.to_string()))?
}

/// A file that waits to be put, and goes away if it was not.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Copies a file, or stdin, to where it waits; it looks like the one it comes from.
fn stage(source: Option<&Path>, staged: &Path) -> Result<(), Error> {
    let said = |error| Error::io("write", staged, &error);
    // Until it has the mode of its source, nobody else reads it.
    let mode = if source.is_some() { 0o600 } else { 0o666 };
    let mut options = File::options();
    let mut to = options.write(true).create_new(true).mode(mode).open(staged).map_err(said)?;
    match source {
        None => {
            io::copy(&mut io::stdin().lock(), &mut to).map_err(said)?;
        }
        Some(path) => {
            let said = |error| Error::io("read", path, &error);
            let mut from = File::open(path).map_err(said)?;
            let about = from.metadata().map_err(said)?;
            if !about.is_file() {
                return Err(Error::usage(format!("{} is no file", escape::path(path))));
            }
            io::copy(&mut from, &mut to).map_err(|error| Error::io("copy", path, &error))?;
            let times = FileTimes::new().set_modified(about.modified().map_err(said)?);
            to.set_permissions(about.permissions())
                .and_then(|()| to.set_times(times))
                .map_err(said)?;
        }
    }
    to.sync_all().map_err(said)
}

fn say(out: &Out, done: &Edited, what: &str) -> Result<(), Error> {
    if out.json {
        let mut record = json!({
            "type": "done", "change": done.change, "version": done.version, "changed": done.changed,
            "bytes": done.bytes, "bytes_new": done.bytes_new, "count": done.count,
        });
        escape::json_path(&mut record, &done.path.0);
        return out.record(&record);
    }
    let note = if done.changed { "" } else { "   nothing changed" };
    out.say(format_args!(
        "{what}   version {} · {}{note}",
        done.change,
        done.version.get(..6).unwrap_or_default()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_staged_file_looks_like_its_source_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        std::fs::write(&from, "bytes").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let file = File::options().write(true).open(&from).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();
        let staged = Staged(to.clone());
        stage(Some(&from), &to).unwrap();
        let found = std::fs::metadata(&to).unwrap();
        assert_eq!((found.len(), found.modified().unwrap()), (5, old));
        drop(staged);
        assert!(!to.exists());
        assert_eq!(stage(Some(folder.path()), &to).unwrap_err().code(), Code::Usage);
        // As long as it is not known who may read it, nobody else does.
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = stage(Some(&from), &to).unwrap_err();
        assert_eq!(taken.message(), format!("cannot write {}: file exists", to.display()));
        std::fs::remove_file(&to).unwrap();
        assert_eq!(stage(Some(Path::new("nowhere")), &to).unwrap_err().code(), Code::Io);
    }
}
