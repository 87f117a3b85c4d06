//! The globs of a selection: how they are written, and how many there may be.

use std::path::Path;

use ignore::overrides::Override;

use crate::cli::escape;
use crate::error::Error;
use crate::import::{matcher, parse_pattern};

/// The longest glob, in bytes: as a path.
const GLOB_LEN_MAX: usize = 4_096;
/// How many globs a selection has at most.
const GLOBS_MAX: usize = 1_000;
/// How many bytes they have together: a file of settings holds them, however each is written there.
const GLOBS_LEN_MAX: usize = 64 << 10;
/// How many priorities there are at most; each is one pass over the names of the drive.
const PRIORITIES_MAX: usize = 16;

/// Takes a glob of a selection.
///
/// # Errors
/// Why it is none, or would match nothing.
pub fn parse_glob(text: &str) -> Result<String, String> {
    let name = text.trim_end().trim_matches('/');
    if name.is_empty() {
        return Err("a glob is a name or a pattern such as docs/** or *.md".to_owned());
    }
    if text.starts_with('!') {
        return Err(
            "it begins with !: what is included and what is excluded are lists of their own \
                    (a name that begins so is written \\!…)"
                .to_owned(),
        );
    }
    if name.split('/').any(|part| matches!(part, "." | ".." | "")) {
        return Err("it begins at the top of the drive, without . or .. or //".to_owned());
    }
    if text.len() > GLOB_LEN_MAX || text.contains('\0') {
        return Err(format!("a glob has at most {GLOB_LEN_MAX} bytes, none of them zero"));
    }
    parse_pattern(text)
}

/// Checks all globs of a selection.
pub(super) fn check_all(
    include: &[String],
    exclude: &[String],
    priority: &[String],
) -> Result<(), Error> {
    let all = || [include, exclude, priority].into_iter().flatten();
    let (count, len) = (all().count(), all().map(String::len).sum::<usize>());
    if count > GLOBS_MAX || len > GLOBS_LEN_MAX {
        return Err(Error::usage(format!("{count} globs of {len} bytes are too many"))
            .context(format!("at most {GLOBS_MAX} globs, and {GLOBS_LEN_MAX} bytes together"))
            .hint("name folders instead of what is in them"));
    }
    if priority.len() > PRIORITIES_MAX {
        let found = priority.len();
        return Err(Error::usage(format!("{found} priorities are too many"))
            .context(format!("at most {PRIORITIES_MAX}")));
    }
    for glob in all() {
        parse_glob(glob)
            .map_err(|why| Error::usage(format!("“{}” is no glob: {why}", escape::text(glob))))?;
    }
    // Each may be small enough, and all of them too large to be looked for together.
    [include, exclude, priority].into_iter().try_for_each(|globs| compile(globs).map(drop))
}

/// Returns what finds the names that globs match.
pub(super) fn compile(globs: &[String]) -> Result<Override, Error> {
    matcher(Path::new(""), "a glob", globs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_that_would_match_nothing_are_refused() {
        for bad in
            ["", " ", "/", "//", "!x", "!", "..", "../x", "a/../b", "./a", "a//b", "a{b", "[", "\\"]
        {
            assert!(parse_glob(bad).is_err(), "{bad:?}");
        }
        assert!(parse_glob(&"x".repeat(GLOB_LEN_MAX + 1)).is_err());
        for good in
            ["docs/**", "/docs", "docs/", "*.iso", "a b", "\\!x", "#x", "**/x", "{a,b}", "..x"]
        {
            assert_eq!(parse_glob(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn there_are_not_too_many() {
        let many = |count: usize, len: usize| vec!["x".repeat(len); count];
        assert!(check_all(&many(GLOBS_MAX, 8), &[], &[]).is_ok());
        assert!(check_all(&many(GLOBS_MAX - 1, 8), &many(2, 8), &[]).is_err());
        assert!(check_all(&many(20, GLOB_LEN_MAX), &[], &[]).is_err());
        assert!(check_all(&[], &[], &many(PRIORITIES_MAX, 1)).is_ok());
        assert!(check_all(&[], &[], &many(PRIORITIES_MAX + 1, 1)).is_err());
    }
}
