//! `datnode purge`: delete what is here of a drive, but for the files in its folder.

use serde_json::json;

use super::confirm::confirm;
use super::context::{blocking, folder_of, read_key};
use super::status::{Writing, writing};
use crate::address::{Link, key::hex};
use crate::cli::Purge;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::Size;
use crate::dirs::Dirs;
use crate::disk::purge;
use crate::drives::Drives;
use crate::error::Error;
use crate::keys::DriveKeys;
use crate::remembered::Remembered;

pub(super) async fn run(args: Purge, yes: bool, out: &Out) -> Result<(), Error> {
    let folder = folder_of(&args.folder)?;
    let folder =
        std::fs::canonicalize(&folder).map_err(|error| Error::io("open", &folder, &error))?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let dirs = Dirs::open()?;
    let writes = matches!(writing(&key, &folder)?, Writing::Here(_));
    if args.with_key && !writes {
        return Err(Error::usage("the key of this drive is not used in this folder")
            .hint("datnode keys lists the keys here"));
    }
    let drives = Drives::of(&dirs);
    let known = drives
        .of_key(&key)
        .filter(|known| std::fs::canonicalize(&known.folder).is_ok_and(|there| there == folder));
    let name = known.as_ref().and_then(|known| known.name.clone());
    if !yes {
        let of_folder = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let word = name.or_else(of_folder).unwrap_or_else(|| "yes".to_owned());
        confirm(question(&folder, writes, args.with_key), word).await?;
    }
    let place = folder.clone();
    let freed = blocking(move || purge(&place).map_err(|error| Error::disk(&place, error))).await?;
    Remembered::of(&dirs.state, &key).forget()?;
    if known.is_some() {
        drives.forget(&key)?;
    }
    if args.with_key {
        DriveKeys::delete(&dirs, &key)?;
    }
    let link = Link(&key);
    if out.json {
        return out.record(&json!({
            "drive": { "key": hex(&key), "link": link.to_string() }, "folder": escape::path(&folder),
            "freed": freed, "key_deleted": args.with_key,
        }));
    }
    let shown = escape::path(&folder);
    out.say(format_args!(
        "✓ {shown} is a plain folder now     {} free again; its files stay",
        Size(freed)
    ));
    if writes && !args.with_key {
        out.say("  its secret key is kept: datnode keys");
    }
    Ok(())
}

/// Says what is about to go.
fn question(folder: &std::path::Path, writes: bool, with_key: bool) -> String {
    let shown = escape::path(folder);
    let what = match (writes, with_key) {
        (false, _) => "it can be fetched again from others",
        (true, false) => {
            "you write it: what nobody else has goes for good, all but the files in the folder"
        }
        (true, true) => {
            "its key goes too: nobody can ever change this drive again without a backup of the key"
        }
    };
    format!("This deletes the drive in {shown}; {what}.")
}
