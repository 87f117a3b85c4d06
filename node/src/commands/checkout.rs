//! `datnode checkout`: go to another version, or write one out elsewhere.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::clone::{How, again};
use super::context::{folder_of, open_to_read, read_key};
use super::status::writes_here;
use crate::cli::Checkout;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Span, Things};
use crate::error::Error;
use crate::extract::extract;

pub(super) async fn run(args: Checkout, out: &Out) -> Result<(), Error> {
    match &args.into {
        Some(into) => write_out(&args, into, out).await,
        None => go(args, out).await,
    }
}

/// Brings a clone to a version.
async fn go(args: Checkout, out: &Out) -> Result<(), Error> {
    let Checkout { version, folder, force, reuse, network, .. } = args;
    let folder = folder_of(&folder)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    if writes_here(&key, &folder)? {
        return Err(Error::usage(
            "this drive is written here: what is in its folder is its next version",
        )
        .hint(format!(
            "write the old one out elsewhere: datnode checkout {version} --into FOLDER"
        )));
    }
    let how = How { force, live: false, reuse };
    again(&folder, version, how, network, out).await
}

/// Writes a version into another folder.
async fn write_out(args: &Checkout, into: &Path, out: &Out) -> Result<(), Error> {
    let began = Instant::now();
    let address: &OsStr = args.folder.as_os_str();
    let opened = open_to_read(&[], address, Some(&args.version), &args.network, out).await?;
    let snapshot = opened.snapshot().await?;
    let done = extract(&snapshot, &opened.path, opened.folder(), into).await?;
    let (number, id) = (snapshot.version.number, snapshot.version.id.to_string());
    if out.json {
        out.record(&json!({
            "type": "done", "change": number, "version": id, "files": done.files, "bytes": done.bytes, "shared": done.shared,
            "folder": escape::path(into), "seconds": began.elapsed().as_secs_f64(),
        }))?;
    }
    out.say(format_args!(
        "✓ {} has version {number} · {}     {}, {} in {}",
        escape::path(into),
        &id[..6],
        Things(done.files, "file"),
        Size(done.bytes),
        Span(began.elapsed())
    ));
    if done.shared > 0 {
        let from = opened.folder().map(escape::path).unwrap_or_default();
        out.say(format_args!(
            "  {} of it take no room: the disk shares them with {from}",
            Size(done.shared)
        ));
    }
    if done.refused.is_empty() {
        Ok(())
    } else {
        Err(Error::paths(&done.refused, done.refused_count))
    }
}
