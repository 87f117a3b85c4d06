//! What is at a path, as `diff` and `changes` tell it to programs.

use datnode_drive::{Entry, Kind};
use serde_json::{Value, json};

use super::ls::kind;
use crate::cli::escape;

/// Returns what an entry says. Hashes are left out where they are not known: of a file that no drive holds yet.
pub(super) fn value(entry: &Entry) -> Value {
    let nanos = i32::try_from(entry.mtime.nanos).unwrap_or_default();
    let mtime = jiff::Timestamp::new(entry.mtime.seconds, nanos);
    let mut value = json!({
        "kind": kind(entry.kind), "size": entry.size, "mode": format!("{:04o}", entry.mode),
        "mtime": mtime.map_or_else(|_| "–".to_owned(), |time| time.to_string()),
    });
    if is_known(entry) {
        value["chunks"] = entry.chunks.to_string().into();
        value["content"] = entry.content.to_string().into();
    }
    if entry.kind == Kind::Symlink {
        escape::json_name(&mut value, "target", &entry.target);
    }
    value
}

/// Returns how many bytes a file has; null for others.
pub(super) fn size(entry: &Entry) -> Value {
    if entry.kind == Kind::File { entry.size.into() } else { Value::Null }
}

/// Tells whether the content of a file is known by its hashes.
pub(super) fn is_known(entry: &Entry) -> bool {
    entry.kind == Kind::File && entry.chunks.0 != [0; 32]
}
