//! `datnode log`

use serde_json::json;

use super::context::open;
use crate::cli::Log;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::error::Error;

pub(super) async fn run(args: Log, out: &Out) -> Result<(), Error> {
    let opened = open(args.address.as_deref(), None, &args.network, out).await?;
    let mut next = Some(opened.snapshot().await?);
    let mut left = args.count.unwrap_or(usize::MAX);
    while let Some(snapshot) = next.filter(|snapshot| left > 0 && snapshot.version.number > 0) {
        left -= 1;
        let (version, change) = (&snapshot.version, &snapshot.version.change);
        let time = jiff::Timestamp::from_second(change.time.seconds)
            .map_or_else(|_| "–".to_owned(), |time| time.to_string());
        let id = version.id.to_string();
        if out.json {
            out.record(&json!({
                "change": version.number, "version": id, "time": time, "message": change.message,
                "put": change.counts.put, "deleted": change.counts.deleted,
                "files": change.counts.files, "bytes": change.counts.bytes,
            }))?;
        } else {
            let message = escape::text(&change.message);
            let (put, deleted) = (change.counts.put, change.counts.deleted);
            let short = &id[..6];
            out.data(
                format!(
                    "● {} · {short}   {time}   {message}\n      +{put} -{deleted}\n",
                    version.number
                )
                .as_bytes(),
            )?;
        }
        next = snapshot.previous().await?;
    }
    Ok(())
}
