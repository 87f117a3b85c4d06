//! `datnode share --dry-run`: what a share would take in, found out without writing.

use std::path::Path;

use datnode_drive::Kind;
use serde_json::json;

use super::context::{open, read_key};
use super::left_out;
use super::working::{Base, Counts, Difference, Sign, differences};
use crate::cli::Share;
use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::Size;
use crate::error::Error;
use crate::import::{Walked, walk};
use crate::landing::is_in_part;

pub(super) async fn run(args: &Share, folder: &Path, out: &Out) -> Result<(), Error> {
    let base = match read_key(folder)? {
        Some(_) => {
            let opened = open(Some(folder.as_os_str()), None, &args.network, out).await?;
            Base::of(&opened.snapshot().await?).await?
        }
        None => Base::default(),
    };
    let mut walked = walk(folder, &args.filter.rules())?;
    walked.in_part = is_in_part(folder)?;
    let counts = differences(folder, &mut walked, base, |difference| show(&difference, out))?;
    if args.show_ignored {
        left_out::list(out, &walked.left_out)?;
    }
    finish(out, counts, &walked)
}

fn show(difference: &Difference<'_>, out: &Out) -> Result<(), Error> {
    let Difference { sign, path, kind, size, .. } = difference;
    if out.json {
        let op = if *sign == Sign::Removed { "del" } else { "put" };
        let mut record = json!({ "type": op, "new": *sign == Sign::Added, "size": size });
        escape::json_path(&mut record, path.as_bytes());
        return out.record(&record);
    }
    let sign = match sign {
        Sign::Added => '+',
        Sign::Changed => '~',
        Sign::Removed => '-',
    };
    let slash = if *kind == Kind::Directory { "/" } else { "" };
    let size = size.map_or_else(String::new, |size| format!("   {}", Size(size)));
    out.data(format!("{sign} {}{slash}{size}\n", escape::bytes(path.as_bytes())).as_bytes())
}

fn finish(out: &Out, counts: Counts, walked: &Walked) -> Result<(), Error> {
    if out.json {
        let Counts { added, changed, removed } = counts;
        let mut record = json!({
            "type": "done", "dry_run": true, "added": added, "changed": changed, "removed": removed,
        });
        left_out::count(&mut record, walked);
        out.record(&record)?;
    }
    left_out::say(out, walked);
    out.say(format_args!("{counts}; a dry run, nothing was written"));
    if walked.unreadable.is_empty() { Ok(()) } else { Err(Error::unreadable(&walked.unreadable)) }
}
