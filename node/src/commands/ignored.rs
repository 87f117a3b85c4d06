//! `datnode ignored`: which rule leaves a name out.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

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
        let (root, path) = place(typed)?;
        let below = path.strip_prefix(&root).unwrap_or(&path).as_os_str().as_bytes();
        let rule = match below.split(|&byte| byte == b'/').next() {
            Some(first) if first.eq_ignore_ascii_case(DRIVE_FOLDER.as_bytes()) => {
                Some("the store itself".to_owned())
            }
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

/// Returns the shared folder around a path, and the path itself. A folder that was never shared is taken for the root.
fn place(typed: &Path) -> Result<(PathBuf, PathBuf), Error> {
    if is_keylike(typed.as_os_str().as_bytes()) {
        return Err(Error::new(Code::Key, "this is a key, not a file in a folder"));
    }
    let full = std::path::absolute(typed).map_err(|error| Error::io("find", typed, &error))?;
    if std::fs::symlink_metadata(&full).is_err() {
        let shown = escape::path(typed);
        return Err(Error::new(Code::NotFound, format!("there is no {shown}")));
    }
    let parent = full.parent().unwrap_or(&full);
    Ok(match find_drive(parent) {
        Ok(root) => (std::path::absolute(&root).unwrap_or(root), full),
        Err(_) => (std::env::current_dir().unwrap_or_else(|_| parent.to_owned()), full),
    })
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
