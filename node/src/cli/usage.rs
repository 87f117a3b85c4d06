//! From the words of a command line to a command, or to the reason why there is none.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _, FromArgMatches as _};

use super::{Cli, Discover, escape};
use crate::error::Error;

/// Why no command runs.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version was asked for: print this to stdout and end with 0.
    Show(String),
    /// The words make no sense.
    Mistake {
        /// What is wrong, as E-USAGE.
        error: Error,
        /// Whether the user wants JSON.
        json: bool,
    },
}

/// How help looks: examples come before the flags, as most people need nothing else.
const HELP: &str = "{about-with-newline}\n{usage-heading} {usage}{after-help}\n\n{all-args}\n";

/// Returns the command line's grammar, for parsing and for help.
pub fn command() -> Command {
    Cli::command().help_template(HELP).mut_subcommands(|command| command.help_template(HELP))
}

/// Parses a command line, the program's name first.
///
/// # Errors
///
/// [`Stop`], which tells what to print and how to end.
pub fn parse<I>(words: I) -> Result<Cli, Stop>
where
    I: IntoIterator<Item = OsString>,
{
    let words: Vec<OsString> = words.into_iter().collect();
    let parsed = command().try_get_matches_from(&words);
    let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|found| {
        match found.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Show(found.to_string()),
            _ => Stop::Mistake { error: mistake(&found, &words), json: wants_json(&words) },
        }
    });
    let mut cli = parsed?;
    if let Some(network) = cli.command.network() {
        network.offline = cli.global.offline;
        // An empty variable means nothing; as an address it would be one that leads nowhere.
        network.peer.retain(|address| !address.is_empty());
        if network.discover.contains(&Discover::None) && network.discover.len() > 1 {
            let error = Error::usage("--discover none excludes all other ways to look for peers")
                .hint("--discover lan, --discover lan,dht, or --discover none");
            return Err(Stop::Mistake { error, json: cli.global.json });
        }
    }
    Ok(cli)
}

/// Says in our form what clap found.
fn mistake(found: &clap::Error, words: &[OsString]) -> Error {
    if found.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Error::usage("no command is given").hint("datnode help lists the commands");
    }
    let text = found.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let mut error = Error::usage(escape::controls(message));
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            error = error.hint(tip);
        } else if !line.starts_with("For more information") {
            error = error.context(line);
        }
    }
    match words.get(1).map(OsString::as_os_str) {
        Some(word) if found.kind() == ErrorKind::InvalidSubcommand && is_key(word) => {
            error.hint("to fetch a drive:  datnode clone KEY")
        }
        _ => error.hint("datnode help lists the commands; each has --help"),
    }
}

fn is_key(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| {
        let word = word.to_ascii_lowercase();
        ["dat1", "datticket", "dat://"].iter().any(|start| word.starts_with(start))
    })
}

/// Tells whether errors shall be JSON, although the command line could not be understood.
fn wants_json(words: &[OsString]) -> bool {
    let flagged =
        words.iter().skip(1).take_while(|word| *word != "--").any(|word| word == "--json");
    let set = |value: OsString| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "f" | "false" | "n" | "no" | "off")
    };
    flagged || std::env::var_os("DATNODE_JSON").is_some_and(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn error(words: &[&str]) -> (Error, bool) {
        match parse(words.iter().map(OsString::from)) {
            Err(Stop::Mistake { error, json }) => (error, json),
            other => panic!("{words:?} gave {other:?}"),
        }
    }

    #[test]
    fn mistakes_are_usage_errors_with_hints() {
        let (misspelled, json) = error(&["datnode", "sahre"]);
        assert_eq!((misspelled.code(), misspelled.exit(), json), (Code::Usage, 2, false));
        assert!(misspelled.message().contains("sahre"), "{misspelled}");
        assert!(misspelled.to_string().contains("'share'"), "{misspelled}");
        let (_, json) = error(&["datnode", "ls", "--json", "--nonsense"]);
        assert!(json);
        let (key, _) = error(&["datnode", "dat1qqqq"]);
        assert!(key.to_string().contains("datnode clone KEY"), "{key}");
        for words in [
            &["datnode"][..],
            &["datnode", "cat"],
            &["datnode", "clone"],
            &["datnode", "ls", "--timeout", "soon"],
            &["datnode", "cat", "x", "--range", "9-3"],
            &["datnode", "verify", "--quick", "--full"],
            &["datnode", "share", "--port", "99999"],
            &["datnode", "share", "--peer", "nowhere"],
            &["datnode", "share", "--listen", "localhost"],
            &["datnode", "share", "--discover", "mars"],
            &["datnode", "share", "--discover", "lan,none"],
        ] {
            assert_eq!(error(words).0.code(), Code::Usage, "{words:?}");
        }
    }

    #[test]
    fn help_and_version_are_shown() {
        for words in
            [&["datnode", "--help"][..], &["datnode", "ls", "-h"], &["datnode", "--version"]]
        {
            assert!(
                matches!(parse(words.iter().map(OsString::from)), Err(Stop::Show(_))),
                "{words:?}"
            );
        }
    }

    /// The examples of a page of help, word by word; none holds quoted spaces.
    fn examples(command: &mut Command) -> Vec<Vec<String>> {
        let page = command.render_long_help().to_string();
        let lines = page.lines().skip_while(|line| *line != "Examples:").skip(1);
        let lines = lines.take_while(|line| line.starts_with("  datnode"));
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    }

    #[test]
    fn every_page_shows_examples_that_parse_before_the_flags() {
        let mut all = command();
        let names: Vec<String> =
            all.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let mut pages = vec![(String::from("datnode"), examples(&mut all))];
        for name in names {
            let page = all.find_subcommand_mut(&name).unwrap();
            let text = page.render_long_help().to_string();
            assert!(text.find("Examples:") < text.find("Every command:"), "{text}");
            let dials = page.get_arguments().any(|flag| flag.get_id() == "peer");
            assert_eq!(text.contains("\nNetwork:\n"), dials, "{text}");
            pages.push((name, examples(page)));
        }
        for (name, examples) in pages {
            assert!((2..=4).contains(&examples.len()), "{name} has {} examples", examples.len());
            for words in examples {
                let parsed = parse(words.iter().map(OsString::from));
                assert!(parsed.is_ok(), "{words:?}: {parsed:?}");
                assert!(name == "datnode" || words[1] == name, "{words:?} is about {name}");
            }
        }
    }

    #[test]
    fn flags_may_stand_behind_the_command() {
        let parsed =
            parse(["datnode", "ls", "-lR", "x", "--json", "-vv"].map(OsString::from)).unwrap();
        assert!(parsed.global.json);
        assert_eq!(parsed.global.verbose, 2);
    }
}
