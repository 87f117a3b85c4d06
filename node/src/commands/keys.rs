//! `datnode keys`: list the secret keys here, back them up, restore them.
//!
//! A backup is an age file under a passphrase (scrypt), which `age -d` opens without us; in it is the secret as a word. Secrets come by
//! a file, a prompt or the environment, never by an argument, and go to stdout only on `--plain`.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use datnode_feed::PublicKey;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::context::{folder_of, read_key};
use crate::address::key::{hex, is_keylike};
use crate::address::{self, Address, Link, find_drive};
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::{Keys, KeysCommand};
use crate::dirs::Dirs;
use crate::drives::{Drives, Known};
use crate::edit::is_bare;
use crate::error::{Code, Error};
use crate::home::Home;
use crate::keys::DriveKeys;

/// Where a passphrase is read from where nobody can be asked.
const VARIABLE: &str = "DATNODE_PASSPHRASE";
/// What every age file begins with.
const AGE: &[u8] = b"age-encryption.org/";
/// What a passphrase costs to try, as a power of two: that of `age` itself, 256 MiB and a second or so. It is not what this computer, as
/// busy as it happens to be, would do in a second: a slower one has to open it.
const WORK_FACTOR: u8 = 18;
/// What a backup may cost to open at most: as much as `age` allows.
const WORK_FACTOR_MAX: u8 = 22;
/// A backup is some 200 bytes; what is longer is something else.
const LEN_MAX: u64 = 64 << 10;

pub(super) fn run(args: Keys, out: &Out) -> Result<(), Error> {
    let dirs = Dirs::open()?;
    match args.command {
        None => list(&dirs, out),
        Some(KeysCommand::Export { folder, encrypt, plain }) => {
            let (key, folder) = drive_of(&dirs, &folder)?;
            let link = Link(&key).to_string();
            let keys = DriveKeys::load(&dirs, &key)?.ok_or_else(|| Error::read_only(&link))?;
            if plain {
                out.say("This is the SECRET key: whoever sees it can change the drive.");
                let word = keys.secret_word();
                return match out.json {
                    true => out.record(&json!({ "type": "secret", "secret": &*word })),
                    false => out.data(Zeroizing::new(format!("{}\n", &*word)).as_bytes()),
                };
            }
            let file = encrypt.unwrap_or_else(|| beside(&dirs, &key, &folder));
            export(&keys, &file, out)
        }
        Some(KeysCommand::Import { file }) => import(&dirs, &file, out),
    }
}

fn list(dirs: &Dirs, out: &Out) -> Result<(), Error> {
    let mut records = Vec::new();
    for key in DriveKeys::all(dirs) {
        let known = Drives::of(dirs).of_key(&key);
        // One damaged note hides no other key.
        let (home, trouble) = match Home::open(dirs, &key) {
            Ok(home) => (home.folder().map(Path::to_owned), None),
            Err(error) => (None, Some(error.message().to_owned())),
        };
        let folder = home.or_else(|| known.as_ref().map(|known| known.folder.clone()));
        let name = known.and_then(|known: Known| known.name);
        if out.json {
            records.push(json!({
                "key": hex(&key), "link": Link(&key).to_string(), "name": name, "folder": folder.as_deref().map(escape::path),
                "error": trouble,
            }));
            continue;
        }
        let folder =
            folder.map_or_else(|| "no folder yet".to_owned(), |folder| escape::path(&folder));
        let name = name.map(|name| format!("\"{name}\"   ")).unwrap_or_default();
        let trouble = trouble.map(|trouble| format!("   {trouble}")).unwrap_or_default();
        out.data(format!("{}   {name}{folder}{trouble}\n", Link(&key)).as_bytes())?;
    }
    if out.json {
        return out.record(&json!({ "keys": Value::Array(records) }));
    }
    out.say(format_args!("Secret keys are in {}", escape::path(&dirs.data.join("keys"))));
    Ok(())
}

/// Returns a drive and its folder; a key counts whose folder is gone, too: nothing else may be left of it.
fn drive_of(dirs: &Dirs, typed: &Path) -> Result<(PublicKey, PathBuf), Error> {
    let parsed = Address::parse(typed.as_os_str(), Path::new("."), &Drives::of(dirs));
    if let Ok(Address { drive: address::Drive::Key(key), version: None, path }) = parsed
        && path.is_empty()
        && Drives::of(dirs).of_key(&key).is_none_or(|known| !known.is_there())
    {
        let here =
            std::env::current_dir().map_err(|error| Error::io("open", Path::new("."), &error))?;
        return Ok((key, here.join(&Link(&key).to_string()[..12])));
    }
    let folder = folder_of(typed)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    Ok((key, folder))
}

/// Returns the file for a backup: named like the drive and beside its folder, or beside that of the drive around it: what is in there
/// is shared.
fn beside(dirs: &Dirs, key: &PublicKey, folder: &Path) -> PathBuf {
    let known = Drives::of(dirs).of_key(key).and_then(|known| known.name);
    let full = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let of_folder = || full.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = known.or_else(of_folder).unwrap_or_else(|| Link(key).to_string()[..12].to_owned());
    let mut place = full.parent().unwrap_or(&full).to_owned();
    while let Some(above) =
        find_drive(&place).ok().and_then(|drive| Some(drive.parent()?.to_owned()))
    {
        place = above;
    }
    place.join(format!("{name}.datkey"))
}

fn export(keys: &DriveKeys, file: &Path, out: &Out) -> Result<(), Error> {
    let (said, shown) = (|error| Error::io("write", file, &error), escape::path(file));
    let there = || {
        Error::new(Code::Dirty, format!("{shown} is there already"))
            .hint("name another file with --encrypt FILE")
    };
    if std::fs::symlink_metadata(file).is_ok() {
        return Err(there());
    }
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    // What is in the folder of a bare drive is no part of it.
    if let Ok(drive) = find_drive(parent.unwrap_or(Path::new(".")))
        && !is_bare(&drive)?
    {
        return Err(Error::usage(format!("{shown} would be shared with the drive it is in"))
            .hint("name a file elsewhere with --encrypt FILE"));
    }
    let word = Zeroizing::new(format!("{}\n", &*keys.secret_word()));
    let mut recipient = age::scrypt::Recipient::new(passphrase("Passphrase: ", true)?);
    recipient.set_work_factor(WORK_FACTOR);
    let sealed = age::encrypt(&recipient, word.as_bytes())
        .map_err(|error| Error::new(Code::Io, format!("cannot encipher the key: {error}")))?;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => there(),
        _ => said(error),
    })?;
    if let Err(error) = made.write_all(&sealed).and_then(|()| made.sync_all()) {
        let _ = std::fs::remove_file(file);
        return Err(said(error));
    }
    let key = keys.changes.public();
    if out.json {
        return out.record(&json!({
            "type": "done", "drive": { "key": hex(&key), "link": Link(&key).to_string() }, "file": shown,
        }));
    }
    out.say(format_args!("written {shown} (age, scrypt)"));
    warn(out);
    Ok(())
}

fn import(dirs: &Dirs, file: &Path, out: &Out) -> Result<(), Error> {
    let bytes = read(file)?;
    let word = match bytes.starts_with(AGE) {
        false => bytes,
        true => {
            let mut identity = age::scrypt::Identity::new(passphrase("Passphrase: ", false)?);
            identity.set_max_work_factor(WORK_FACTOR_MAX);
            let opened = age::decrypt(&identity, &bytes).map_err(|error| {
                let error = match error {
                    age::DecryptError::DecryptionFailed
                    | age::DecryptError::KeyDecryptionFailed => {
                        "the passphrase does not open this file".to_owned()
                    }
                    other => format!("this file cannot be opened: {other}"),
                };
                Error::new(Code::SecretKey, error)
            })?;
            Zeroizing::new(opened)
        }
    };
    let word = std::str::from_utf8(&word)
        .map_err(|_| Error::new(Code::SecretKey, "this file holds no secret key"))?;
    let (keys, new) = DriveKeys::import(dirs, word)?;
    let key = keys.changes.public();
    if out.json {
        return out.record(&json!({
            "type": "done", "drive": { "key": hex(&key), "link": Link(&key).to_string() }, "new": new,
        }));
    }
    let here = if new { "is here now" } else { "was here already" };
    out.say(format_args!("The secret key of {} {here}", Link(&key)));
    warn(out);
    out.say(format_args!(
        "  next: datnode clone {}      then: datnode recover FOLDER      datnode share FOLDER",
        Link(&key)
    ));
    Ok(())
}

fn warn(out: &Out) {
    out.say("warning: use this key on one device at a time. Two devices writing with one key fork the drive.");
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    // The word itself, which errors and the log must not repeat; whoever lists processes has seen it.
    if is_keylike(file.as_os_str().as_bytes()) {
        return Err(Error::new(Code::SecretKey, "this is a key itself, not a file that holds one")
            .hint("keep secrets out of command lines: others can see them, and shells keep them")
            .hint("datnode keys import -   reads the secret from stdin")
            .hint("for a file that is called so, write ./ before it"));
    }
    let said = |error| Error::io("read", file, &error);
    let mut bytes = Zeroizing::new(Vec::new());
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(LEN_MAX).read_to_end(&mut bytes).map_err(said)?;
    } else {
        let file = std::fs::File::open(file).map_err(said)?;
        file.take(LEN_MAX).read_to_end(&mut bytes).map_err(said)?;
    }
    Ok(bytes)
}

/// Asks for a passphrase, twice for a new one; where there is no terminal it has to be in the environment.
fn passphrase(prompt: &str, new: bool) -> Result<SecretString, Error> {
    if let Ok(passphrase) = std::env::var(VARIABLE) {
        if new && passphrase.is_empty() {
            return Err(Error::usage("an empty passphrase protects nothing"));
        }
        return Ok(SecretString::from(passphrase));
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => Error::interrupted(),
            _ => Error::usage("there is no terminal to ask for the passphrase")
                .hint(format!("run it on a terminal, or set {VARIABLE}")),
        })
    };
    let typed = Zeroizing::new(ask(prompt)?);
    if new {
        if typed.is_empty() {
            return Err(Error::usage("an empty passphrase protects nothing"));
        }
        if *Zeroizing::new(ask("Once more:  ")?) != *typed {
            return Err(Error::usage("these were two different passphrases"));
        }
    }
    Ok(SecretString::from(typed.to_string()))
}
