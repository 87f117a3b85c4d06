//! `datnode init`: make a drive without serving it.

use serde_json::json;

use super::context::read_key;
use super::writing::{self, Own};
use crate::address::{Link, key::hex};
use crate::cli::Init;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::dirs::Dirs;
use crate::drives::Drives;
use crate::edit::make_bare;
use crate::error::{Code, Error};

pub(super) fn run(args: &Init, out: &Out) -> Result<(), Error> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
    let folder =
        std::fs::canonicalize(folder).map_err(|error| Error::io("open", folder, &error))?;
    let shown = escape::path(&folder);
    let check_new = || match read_key(&folder)? {
        Some(_) => Err(Error::new(Code::Dirty, format!("{shown} is a drive already"))
            .hint(format!("datnode status {}", escape::shell(&folder)))),
        None => Ok(()),
    };
    check_new()?;
    let dirs = Dirs::open()?;
    // Before a key is made that nobody would use.
    args.name.as_deref().map_or(Ok(()), |name| Drives::of(&dirs).check_new(name))?;
    let opened = writing::open(&dirs, &folder)?;
    // Another process may have made one before this one had the lock.
    check_new()?;
    let Own::Written(mut written) = opened else {
        unreachable!("a folder without a key gets a new one");
    };
    let key = written.key();
    if args.bare {
        make_bare(&folder)?;
    }
    let version = written.begin(&folder, args.name.as_deref())?;
    written.store.checkpoint().map_err(Error::store)?;
    Drives::of(&dirs).note(&key, &folder, args.name.as_deref())?;
    if out.json {
        return out.record(&json!({
            "type": "done", "drive": { "key": hex(&key), "link": Link(&key).to_string() },
            "folder": shown, "bare": args.bare, "change": version.number, "version": version.id.to_string(),
        }));
    }
    out.say(format_args!("Made {} in {shown}", Link(&key)));
    let shown = escape::shell(&folder);
    match args.bare {
        true => out
            .say(format_args!("  next: datnode put FILE {shown}/NAME      datnode share {shown}")),
        false => out.say(format_args!("  next: datnode share {shown}")),
    }
    Ok(())
}
