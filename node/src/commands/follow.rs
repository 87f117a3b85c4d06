//! Brings each new version of a drive into its clone, until asked to stop.
//!
//! Versions land one after the other, as they come; of several that came meanwhile, the last. What cannot land, since it is in the
//! user's way or nobody has it, is told, and tried again with the next version or after a while.

use std::path::Path;
use std::time::Duration;

use datnode_drive::TagDifference;
use serde_json::{Value, json};

use super::clone::Cloned;
use super::tag;
use crate::cli::escape;
use crate::cli::interrupt::asked_to_stop;
use crate::cli::output::Out;
use crate::cli::units::{Count, Size, Things};
use crate::edit::Tagged;
use crate::engine::{Report, Snapshot};
use crate::error::Error;

/// When it is tried again after a version could not land.
const AGAIN: Duration = Duration::from_secs(10);

/// Follows the drive of a clone until it is asked to stop.
pub(super) async fn follow(mut cloned: Cloned, out: &Out) {
    let (folder, drive) = (cloned.folder.clone(), cloned.snapshot.drive.clone());
    out.say(format_args!("Following {}, and serving it    Ctrl-C stops", escape::path(&folder)));
    let mut news = drive.changes.news.clone();
    let (mut failed, mut asked) = (String::new(), std::pin::pin!(asked_to_stop()));
    // How long the drive was when it was last tried to land.
    let mut tried = cloned.snapshot.version.position.0 + 1;
    loop {
        let newer = async {
            let retry = async {
                match failed.is_empty() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(AGAIN).await,
                }
            };
            tokio::select! {
                found = news.wait_for(|news| news.length > tried) => drop(found),
                () = retry => {}
            }
            tried = drive.changes.news.borrow().length;
            bring(&mut cloned, out).await
        };
        let brought = tokio::select! {
            biased;
            () = &mut asked => break,
            brought = newer => brought,
        };
        match brought {
            Ok(()) => failed.clear(),
            // The same is said once.
            Err(error) if error.message() == failed => {}
            Err(error) => {
                error.message().clone_into(&mut failed);
                out.warn(&error);
            }
        }
    }
    cloned.close().await;
}

/// Lands the latest version, and says so.
async fn bring(cloned: &mut Cloned, out: &Out) -> Result<(), Error> {
    let latest = cloned.snapshot.drive.latest().await?;
    let report = cloned.bring(&latest).await?;
    let folder = cloned.folder.clone();
    let (before, report) = cloned.landed(latest.clone(), report);
    if let Some(refusal) = report.refusal() {
        out.warn(&refusal);
    }
    let tags = before.tags_changed(&latest).await?;
    tell(&before, &latest, &tags, report, &folder, out)
}

/// Says what came.
fn tell(
    before: &Snapshot,
    now: &Snapshot,
    tags: &[TagDifference],
    report: &Report,
    folder: &Path,
    out: &Out,
) -> Result<(), Error> {
    if out.json {
        return out.record(&record(before, now, tags, report));
    }
    let (number, counts) = (now.version.number, now.version.change.counts);
    let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    let id = now.version.id.to_string();
    let more = number - before.version.number;
    let what = match more {
        1 => format!("{} put, {} deleted", Count(counts.put), Count(counts.deleted)),
        _ => Things(more, "change").to_string(),
    };
    let all = format!("{}, {}", Things(counts.files, "file"), Size(counts.bytes));
    out.mention(format!("{time}  version {number} · {}   {what}   {all}", &id[..6]));
    for tag in tags {
        out.mention(format!("  {}", Tagged::of(tag)));
    }
    for name in &report.kept {
        let name = escape::bytes(name);
        out.mention(format!("  {name} was changed in {}, so it stays", escape::path(folder)));
    }
    Ok(())
}

/// Returns what scripts are told.
fn record(before: &Snapshot, now: &Snapshot, tags: &[TagDifference], report: &Report) -> Value {
    let (change, counts) = (now.version.number, now.version.change.counts);
    let kept: Vec<_> = report.kept.iter().map(|name| escape::bytes(name)).collect();
    let mut record = json!({
        "type": "change", "change": change, "version": now.version.id.to_string(), "before": before.version.number,
        "files": counts.files, "bytes": counts.bytes, "kept": kept,
    });
    if !tags.is_empty() {
        record["tags"] = tags.iter().map(|one| tag::record(&Tagged::of(one))).collect();
    }
    record
}
