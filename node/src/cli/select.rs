//! What of a drive is fetched, as the command line says it.

use std::ffi::OsString;

use clap::Args;

use crate::choice::{Choice, parse_glob};

/// What of a drive a clone fetches. It is kept in the clone: without these flags the next one fetches the same.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What is fetched")]
pub struct Select {
    /// Fetch only what matches, as in .datignore: a name anywhere, a path from the top of the drive, or a folder with all that is in
    /// it. May be given more than once. It is kept: the next clone into the same folder fetches the same, until this is given again
    /// or datnode include changes it.
    #[arg(long, value_name = "GLOB", value_parser = parse_glob)]
    pub include: Vec<String>,
    /// Leave out what matches, whatever is included; kept in the same way. What is here already stays as it is.
    #[arg(long, value_name = "GLOB", value_parser = parse_glob)]
    pub exclude: Vec<String>,
    /// Fetch the history and the names, and no file but what is included; cat fetches what it reads, and keeps it. It stays so until
    /// --no-sparse is given. --skim and --empty mean the same.
    #[arg(long, aliases = ["skim", "empty"])]
    pub sparse: bool,
    /// Fetch the files as well, from now on.
    #[arg(long, conflicts_with = "sparse")]
    pub no_sparse: bool,
    /// Fetch what matches before anything else; of several the first one first. Kept in the same way.
    #[arg(long, value_name = "GLOB", value_parser = parse_glob)]
    pub priority: Vec<String>,
}

impl Select {
    /// Returns what is wanted where something is kept: each list that is given takes the place of the one before.
    pub fn over(&self, kept: Choice) -> Choice {
        let either =
            |given: &Vec<String>, kept| if given.is_empty() { kept } else { given.clone() };
        Choice {
            sparse: (self.sparse || kept.sparse) && !self.no_sparse,
            include: either(&self.include, kept.include),
            exclude: either(&self.exclude, kept.exclude),
            priority: either(&self.priority, kept.priority),
        }
    }
}

/// `datnode include` and `datnode exclude`
#[derive(Debug, Args)]
pub struct Choose {
    /// Globs to add, behind the clone's folder, name or key if it is not the one around here (see -C). Without any, those there are
    /// are listed. A glob is as in .datignore: a name anywhere, a path from the top of the drive, or a folder with all in it.
    #[arg(value_name = "DIR|KEY|GLOB")]
    pub words: Vec<OsString>,
    /// Take this glob from the list; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    pub remove: Vec<String>,
    /// Take all globs from the list, before others are added.
    #[arg(long, conflicts_with = "remove")]
    pub clear: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(globs: &[&str]) -> Vec<String> {
        globs.iter().map(|&glob| glob.to_owned()).collect()
    }

    #[test]
    fn a_list_that_is_given_takes_the_place_of_the_one_before() {
        let kept = Choice { sparse: true, include: list(&["a"]), ..Choice::default() };
        let given = Select { exclude: list(&["b"]), ..Select::default() };
        let now = given.over(kept.clone());
        assert_eq!(now, Choice { exclude: list(&["b"]), ..kept });
        let given = Select { include: list(&["c"]), no_sparse: true, ..Select::default() };
        let then = given.over(now.clone());
        assert_eq!(then, Choice { sparse: false, include: list(&["c"]), ..now });
        assert_eq!(Select::default().over(then.clone()), then);
    }
}
