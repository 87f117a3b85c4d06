//! What a share leaves out, counted and listed.

use serde_json::{Value, json};

use crate::cli::escape;
use crate::cli::output::Out;
use crate::cli::units::Count;
use crate::error::Error;
use crate::import::{LeftOut, Walked, Why};

/// How many names are shown of each kind.
const NAMES_MAX: usize = 10;

/// Lists what is left out, with the reason, on stdout: somebody asked for it.
pub(super) fn list(out: &Out, left_out: &[LeftOut]) -> Result<(), Error> {
    for LeftOut { path, why } in left_out {
        if out.json {
            let why = match why {
                Why::Hidden => "hidden",
                Why::Datignore => "datignore",
                Why::Gitignore => "gitignore",
                Why::Flag => "ignore",
            };
            let mut record = json!({ "type": "left_out", "why": why });
            escape::json_path(&mut record, path);
            out.record(&record)?;
        } else {
            let why = match why {
                Why::Hidden => "hidden",
                Why::Datignore => "ignored by .datignore",
                Why::Gitignore => "ignored by .gitignore",
                Why::Flag => "ignored by --ignore",
            };
            out.data(format!("! {}   {why}\n", escape::bytes(path)).as_bytes())?;
        }
    }
    Ok(())
}

/// Says how much is left out, and names what is no file; and that nothing is removed where not all was.
pub(super) fn say(out: &Out, walked: &Walked) {
    if walked.in_part {
        out.say("          not all of the drive landed here, so what is not here stays in it (datnode rm)");
    }
    let parts = [
        (number(walked, Why::Datignore), "ignored by .datignore"),
        (number(walked, Why::Gitignore), "ignored by .gitignore"),
        (number(walked, Why::Flag), "ignored by --ignore"),
        (number(walked, Why::Hidden), "hidden"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> =
        parts.map(|(count, what)| format!("{} {what}", Count(count))).collect();
    if !parts.is_empty() {
        out.say(format_args!("          {} (--show-ignored)", parts.join(", ")));
    }
    names(out, "no file, left out", walked.special.iter().map(|name| escape::bytes(name)));
}

/// Says what is the matter with some names; the first ones, if there are many.
fn names(out: &Out, what: &str, names: impl ExactSizeIterator<Item = String>) {
    let more = names.len().saturating_sub(NAMES_MAX);
    for name in names.take(NAMES_MAX) {
        out.say(format_args!("          {what}: {name}"));
    }
    if more > 0 {
        out.say(format_args!("          {what}: and {more} more"));
    }
}

/// Adds to a record how much is left out for which reason.
pub(super) fn count(record: &mut Value, walked: &Walked) {
    let ignored: u64 = [Why::Datignore, Why::Gitignore, Why::Flag]
        .into_iter()
        .map(|why| number(walked, why))
        .sum();
    record["hidden"] = number(walked, Why::Hidden).into();
    record["ignored"] = ignored.into();
    record["special"] = walked.special.len().into();
    record["unreadable"] = walked.unreadable.len().into();
}

fn number(walked: &Walked, why: Why) -> u64 {
    walked.left_out.iter().filter(|left| left.why == why).count() as u64
}
