//! A difference as a line for a person.

use datnode_drive::{Difference, Entry, Kind};

use crate::cli::escape;
use crate::cli::units::Size;
use crate::commands::value::is_known;

/// How wide names are, at least.
const NAME_COLUMNS: usize = 28;

/// Returns the line.
pub(super) fn text(difference: &Difference) -> String {
    let Difference { path, old, new } = difference;
    let (sign, what) = match (old, new) {
        (None, Some(new)) => ('+', whole(new)),
        (Some(old), None) => ('-', whole(old)),
        (Some(old), Some(new)) => ('~', change(old, new)),
        (None, None) => (' ', String::new()),
    };
    let is_folder = new.as_ref().or(old.as_ref()).is_some_and(|it| it.kind == Kind::Directory);
    let slash = if is_folder { "/" } else { "" };
    let name = format!("{}{slash}", escape::bytes(path.as_bytes()));
    let line = format!("{sign} {name:<NAME_COLUMNS$} {what}");
    format!("{}\n", line.trim_end())
}

/// Returns what something is.
fn whole(entry: &Entry) -> String {
    match entry.kind {
        Kind::File => Size(entry.size).to_string(),
        Kind::Symlink => format!("link to {}", escape::bytes(&entry.target)),
        Kind::Directory => String::new(),
    }
}

/// Returns what of something is another.
fn change(old: &Entry, new: &Entry) -> String {
    let content = old.chunks != new.chunks || old.size != new.size;
    let link = old.target != new.target;
    if old.kind != new.kind {
        let name = |entry: &Entry| match entry.kind {
            Kind::Directory => "folder".to_owned(),
            _ => whole(entry),
        };
        return format!("{} → {}", name(old), name(new));
    }
    let (mode, time) = (old.mode != new.mode, old.mtime != new.mtime);
    // Whether a file of the folder has another content is not known before it is read; its time tells that it may.
    let unread = old.kind == Kind::File && !is_known(new) && time;
    if link || (content && is_known(new)) || old.size != new.size || unread {
        return format!("{} → {}", whole(old), whole(new));
    }
    match mode {
        true => format!("mode {:04o} → {:04o}", old.mode, new.mode),
        false => "time".to_owned(),
    }
}
