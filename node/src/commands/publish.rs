//! `datnode publish`: write a drive as static files, which any web server can host.

use std::time::Instant;

use datnode_feed::Store;
use serde_json::json;

use super::context::{blocking, disk, folder_of, read_key};
use crate::address::{Link, key::hex};
use crate::cli::Publish;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::{Size, Span, Things};
use crate::disk::DiskStorage;
use crate::engine::AnyStore;
use crate::error::{Code, Error};
use crate::published::{HEADS, Written, write};

pub(super) async fn run(args: Publish, out: &Out) -> Result<(), Error> {
    let began = Instant::now();
    let folder = folder_of(&args.folder)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let site = args.site.clone();
    let written = blocking(move || {
        let mut store = match disk(&folder, false) {
            // Whoever has it open goes on; what it made durable so far is published.
            Err(error) if error.code() == Code::Locked => glance(&folder)?,
            other => other?,
        };
        write(&mut store, &key, &site)
    });
    let Written { bytes_new, blocks, missing } = written.await?;
    let link = Link(&key).to_string();
    if out.json {
        return out.record(&json!({
            "type": "done", "drive": { "key": hex(&key), "link": link }, "site": escape::path(&args.site),
            "bytes_new": bytes_new, "blocks": blocks, "missing": missing, "seconds": began.elapsed().as_secs_f64(),
        }));
    }
    let (site, took) = (escape::path(&args.site), Span(began.elapsed()));
    out.say(format_args!("✓ Published into {site}     {} new, {took}", Size(bytes_new)));
    if missing > 0 {
        let missing = Things(missing, "block");
        out.say(format_args!("  {missing} of its history are not here, and so not there"));
    }
    out.say(format_args!(
        "  upload the folder, {HEADS} last; then:  datnode clone {link} --from https://…"
    ));
    Ok(())
}

/// Opens a store that another process has open, to read it.
fn glance(folder: &std::path::Path) -> Result<AnyStore, Error> {
    let storage = DiskStorage::glance(folder).map_err(|error| Error::disk(folder, error))?;
    Store::glance(Box::new(storage) as Box<_>).map_err(Error::store)
}
