//! `datnode ignored`: which rule leaves a name out.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use serde_json::json;

use crate::address::find_drive;
use crate::address::key::is_keylike;
use crate::cli::Ignored;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::disk::DRIVE_FOLDER;
use crate::error::{Code, Error};
use crate::import::{Finder, Rule, Why};

pub(super) fn run(args: &Ignored, out: &Out) -> Result<(), Error> {
    let rules = args.filter.rules();
    for typed in &args.paths {
        let (root, path) = place(typed, out)?;
        let below = path.strip_prefix(&root).unwrap_or(&path).as_os_str().as_bytes();
        let rule = match below.split(|&byte| byte == b'/').next() {
            Some(first) if first.eq_ignore_ascii_case(DRIVE_FOLDER.as_bytes()) => {
                Some("the store itself".to_owned())
            }
            _ if is_special(&path) => Some("no file, folder or link".to_owned()),
            _ => Finder::new(&root, &rules)?.rule_of(below).map(|rule| describe(&rule, &root)),
        };
        if out.json {
            let mut record = json!({ "ignored": rule.is_some(), "rule": rule });
            escape::json_path(&mut record, below);
            out.record(&record)?;
        } else {
            let verdict =
                rule.map_or_else(|| "shared".to_owned(), |rule| format!("left out: {rule}"));
            out.data(format!("{}   {verdict}\n", escape::path(typed)).as_bytes())?;
        }
    }
    Ok(())
}

/// Tells whether something is there that no drive holds: a pipe, a socket, a device.
fn is_special(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        !(kind.is_file() || kind.is_dir() || kind.is_symlink())
    })
}

/// Returns the shared folder around a path, and the path itself.
///
/// What is in no drive yet may be shared with any folder above it: it is said which one is meant.
fn place(typed: &Path, out: &Out) -> Result<(PathBuf, PathBuf), Error> {
    if is_keylike(typed.as_os_str().as_bytes()) {
        return Err(Error::new(Code::Key, "this is a key, not a file in a folder"));
    }
    let said = |error| Error::io("find", typed, &error);
    let mut full = std::path::absolute(typed).map_err(said)?;
    if std::fs::symlink_metadata(&full).is_err() {
        let shown = escape::path(typed);
        return Err(Error::new(Code::NotFound, format!("there is no {shown}")));
    }
    if full.components().any(|component| component == Component::ParentDir) {
        full = std::fs::canonicalize(&full).map_err(said)?;
    }
    let parent = full.parent().unwrap_or(&full);
    if let Ok(root) = find_drive(parent) {
        return Ok((std::path::absolute(&root).unwrap_or(root), full));
    }
    let here = std::env::current_dir().map_err(said)?;
    let root = if full.starts_with(&here) { here } else { parent.to_owned() };
    out.say(format_args!("in no drive yet: as if {} were shared", escape::path(&root)));
    Ok((root, full))
}

fn describe(rule: &Rule, root: &Path) -> String {
    let of = match (&rule.file, &rule.pattern) {
        (Some(file), Some(pattern)) => {
            let file = file.strip_prefix(root).unwrap_or(file);
            format!("“{}” in {}", escape::text(pattern), escape::path(file))
        }
        _ => match rule.why {
            Why::Hidden => "hidden; --hidden takes it".to_owned(),
            Why::Flag => "--ignore".to_owned(),
            Why::Datignore | Why::Gitignore => unreachable!("such a rule is in a file"),
        },
    };
    format!("{of} ({})", escape::bytes(&rule.path))
}
