//! `datnode verify`

use serde_json::json;

use super::context::{disk, read_key};
use crate::address::find_drive;
use crate::cli::Verify;
use crate::cli::output::Out;
use crate::cli::units::{Count, Size};
use crate::error::Error;

pub(super) async fn run(args: Verify, out: &Out) -> Result<(), Error> {
    let folder = find_drive(&args.folder)?;
    read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    let mut store = disk(&folder, false)?;
    let feeds: Vec<_> = store.feeds().map(|(slot, _)| slot).collect();
    let (mut blocks, mut bytes, mut signatures, mut bad) = (0, 0, 0, Vec::new());
    for slot in feeds {
        let kind = if slot.0 == 0 { "changes" } else { "content" };
        let mut note = |block| bad.push(format!("{kind} block {block}"));
        let checked = store.check(slot, !args.quick, &mut note).map_err(Error::store)?;
        blocks += checked.blocks;
        bytes += checked.bytes;
        signatures += checked.signatures;
    }
    if out.json {
        out.record(
            &json!({ "blocks": blocks, "bytes": bytes, "signatures": signatures, "bad": bad }),
        )?;
    }
    out.say(format_args!(
        "checked {}, {} blocks, {signatures} signatures      {} bad",
        Size(bytes),
        Count(blocks),
        bad.len()
    ));
    if bad.is_empty() {
        return Ok(());
    }
    let error = Error::verify(format!("{} blocks are not what was signed", bad.len()));
    let error = bad.iter().take(10).fold(error, |error, block| error.context(block.clone()));
    Err(error.hint("datnode clone fetches them again"))
}
