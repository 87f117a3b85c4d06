//! From the words of a command line to a command, or to the reason why there is none.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::builder::FalseyValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::settings::{self, File};
use super::{Cli, Discover, escape, topics};
use crate::address::key::SECRET_PREFIX;
use crate::address::{self, Address};
use crate::dirs::Dirs;
use crate::drives::Drives;
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

/// The commands by what they are for.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Share and fetch",
        &[
            "share", "clone", "pull", "sync", "mirror", "node", "checkout", "include", "exclude",
            "init", "link", "publish", "pipe",
        ],
    ),
    ("Read", &["ls", "stat", "du", "cat", "log", "changes", "diff", "tag"]),
    ("Change without a folder", &["put", "rm", "mv"]),
    ("See how it is", &["status", "peers", "doctor", "ignored"]),
    ("Keep it safe", &["verify", "recover", "keys"]),
    ("Make room", &["clear", "purge"]),
    ("Settings and help", &["config", "completions", "version", "help"]),
];

/// Returns the list of commands for the first page of help.
fn groups(all: &Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        text.push_str(&format!("{title}:\n"));
        for command in names.iter().filter_map(|name| all.find_subcommand(name)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {:<12} {about}\n", command.get_name()));
        }
        text.push('\n');
    }
    text
}

/// Returns the command line's grammar, for parsing and for help.
pub fn command() -> Command {
    let all = Cli::command().mut_subcommands(|command| command.help_template(HELP));
    let first = "{about-with-newline}\n{usage-heading} {usage}{after-help}\n\n";
    let first = format!("{first}{}Every command:\n{{options}}\n", groups(&all));
    let all = all.help_template(first);
    let examples = all.get_after_help().map(ToString::to_string).unwrap_or_default();
    let all = all.after_help(examples + "\n\n" + topics::list().trim_end());
    settings::each_flag(all, &mut |_, arg| with_variable(arg))
}

/// Gives a flag its variable.
fn with_variable(arg: Arg) -> Arg {
    let Some(long) = arg.get_long().map(variable) else { return arg };
    if std::env::var_os(&long).is_some_and(|value| value.is_empty()) {
        // An empty variable means nothing.
        return arg;
    }
    let arg = arg.env(long).hide_env(true);
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ => arg,
    }
}

/// Returns the name of a flag's variable.
pub(super) fn variable(long: &str) -> String {
    format!("DATNODE_{}", long.to_ascii_uppercase().replace('-', "_"))
}

/// Parses a command line, the program's name first, with the settings that count for it.
///
/// # Errors
///
/// [`Stop`], which tells what to print and how to end.
pub fn parse<I>(words: I) -> Result<Cli, Stop>
where
    I: IntoIterator<Item = OsString>,
{
    parse_for(words.into_iter().collect(), Dirs::find().ok().as_ref())
}

fn parse_for(words: Vec<OsString>, dirs: Option<&Dirs>) -> Result<Cli, Stop> {
    let (words, bare) = understand_bare(words)?;
    let stop = |error| Stop::Mistake { error, json: bare.global.json };
    let files = match bare.command {
        // A file that is broken must not be in the way of those who mend it.
        super::Command::Config(_)
        | super::Command::Help { .. }
        | super::Command::Completions(_)
        | super::Command::Version => Vec::new(),
        _ => files(&bare, dirs).map_err(stop)?,
    };
    let mut cli = match files.is_empty() {
        true => bare,
        false => {
            let command = settings::defaults(command(), &files).map_err(stop)?;
            understand(command, &words).map_err(|found| refuse(&found, &words))?
        }
    };
    cli.warnings = files.iter().filter_map(File::warning).collect();
    if let Some(network) = cli.command.network() {
        network.offline = cli.global.offline;
        if network.lan {
            network.discover = vec![Discover::Lan];
        }
        if network.ipfs && !network.discover.contains(&Discover::Public) {
            network.discover.push(Discover::Public);
        }
        // An empty word is an address, which leads nowhere.
        network.peer.retain(|address| !address.is_empty());
        network.bootstrap.retain(|address| !address.is_empty());
        if network
            .external
            .iter()
            .any(|place| place.addresses(network.outside_port()).iter().any(leads_nowhere))
        {
            let error = Error::usage("--external names no port, and with --port 0 nobody knows it")
                .hint("name the port that leads here (--external 203.0.113.7:3282), and listen on a fixed one (--port 3282)");
            return Err(Stop::Mistake { error, json: cli.global.json });
        }
        if network.discover.contains(&Discover::None) && network.discover.len() > 1 {
            let error = Error::usage("--discover none excludes all other ways to look for peers")
                .hint("--discover lan, --discover lan,dht, or --discover none");
            return Err(Stop::Mistake { error, json: cli.global.json });
        }
    }
    Ok(cli)
}

/// Tells whether nobody can be at an address: it names any free port, or any IP.
fn leads_nowhere(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => port == 0,
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    })
}

/// Understands a command line without settings; a bare folder or key gets the verb that it stands for.
fn understand_bare(words: Vec<OsString>) -> Result<(Vec<OsString>, Cli), Stop> {
    match understand(command(), &words) {
        Ok(cli) => Ok((words, cli)),
        Err(found) => match with_verb(&found, &words) {
            Some((words, Ok(cli))) => Ok((words, cli)),
            Some((words, Err(found))) => Err(refuse(&found, &words)),
            None => Err(refuse(&found, &words)),
        },
    }
}

fn understand(command: Command, words: &[OsString]) -> Result<Cli, clap::Error> {
    let parsed = command.try_get_matches_from(words);
    let mut cli = parsed.and_then(|matches| Cli::from_arg_matches(&matches))?;
    // A process may be elsewhere when it reads its settings again.
    for path in [&mut cli.global.config, &mut cli.global.dir].into_iter().flatten() {
        *path = start().join(&path);
    }
    Ok(cli)
}

/// Returns the folder that the process was started in.
fn start() -> &'static Path {
    static START: OnceLock<PathBuf> = OnceLock::new();
    START.get_or_init(|| std::env::current_dir().unwrap_or_default())
}

fn refuse(found: &clap::Error, words: &[OsString]) -> Stop {
    match found.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Show(found.to_string()),
        _ => Stop::Mistake { error: mistake(found, words), json: wants_json(words) },
    }
}

/// Words with a verb among them, and what they mean.
type WithVerb = (Vec<OsString>, Result<Cli, clap::Error>);

/// Puts the verb before a bare folder (share) or key (clone); none if the word is neither.
fn with_verb(found: &clap::Error, words: &[OsString]) -> Option<WithVerb> {
    let unknown = match (found.kind(), found.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => word,
        _ => return None,
    };
    // The same word may be the value of a flag, where a verb would be that value: the word is as unknown as before.
    let places = (1..words.len()).filter(|&at| words[at].to_string_lossy() == *unknown);
    let (word, words, meant) = places.into_iter().find_map(|at| {
        let verb = if is_key(&words[at]) { "clone" } else { "share" };
        let with = [&words[..at], &[verb.into()], &words[at..]].concat();
        let meant = understand(command(), &with);
        let same = meant.as_ref().err().is_some_and(|it| it.kind() == ErrorKind::InvalidSubcommand);
        (!same).then(|| (&words[at], with, meant))
    })?;
    let base = meant.as_ref().ok().and_then(|cli| cli.global.dir.as_deref()).unwrap_or(start());
    (is_key(word) || base.join(word).is_dir()).then_some((words, meant))
}

/// Returns the files of settings that count for a command, the one that comes first in front.
///
/// # Errors
/// Those of [`File::read`], and E-IO for one that was named and is not there.
pub(crate) fn files(cli: &Cli, dirs: Option<&Dirs>) -> Result<Vec<File>, Error> {
    let drive = drive_of(cli, dirs).map(|folder| File::path_of_drive(&folder));
    let user = match &cli.global.config {
        Some(path) => {
            std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
            Some(path.clone())
        }
        None => dirs.map(|dirs| dirs.config.join(settings::FILE)),
    };
    let there = drive.into_iter().chain(user).filter(|path| path.exists());
    there.map(|path| File::read(&path)).collect()
}

/// Returns the folder of the drive that a command is about, if it is about one that is here.
fn drive_of(cli: &Cli, dirs: Option<&Dirs>) -> Option<PathBuf> {
    let base = cli.global.dir.as_deref().unwrap_or(start());
    let place = cli.command.place()?;
    let drives = Drives::of(dirs?);
    // A version alone is of the drive here.
    let is_version = matches!(cli.command, super::Command::Diff(_) | super::Command::Tag(_))
        && Address::version_alone(place, base, &drives).is_some();
    let address =
        if is_version { Address::here(base) } else { Address::parse(place, base, &drives) };
    match address.ok()?.drive {
        address::Drive::Folder(folder) => Some(folder),
        _ => None,
    }
}

/// Returns what is said of words without the secret keys among them.
fn without_secrets(text: String, words: &[OsString]) -> String {
    let words = words.iter().filter_map(|word| word.to_str()?.split('=').next_back());
    let is_secret = |word: &&str| word.to_ascii_lowercase().starts_with(SECRET_PREFIX);
    words.filter(is_secret).fold(text, |text, word| text.replace(word, "datsec1…"))
}

/// Says in our form what clap found.
fn mistake(found: &clap::Error, words: &[OsString]) -> Error {
    if found.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Error::usage("no command is given").hint("datnode help lists the commands");
    }
    let text = without_secrets(found.to_string(), words);
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
        Some(word)
            if found.kind() == ErrorKind::InvalidSubcommand
                && word.as_encoded_bytes().contains(&b'/') =>
        {
            error.hint("to share a folder it has to be there:  datnode share DIR")
        }
        _ => error.hint("datnode help lists the commands; each has --help"),
    }
}

/// Tells whether a word begins with a key, so that it is an address and no folder.
fn is_key(word: &OsStr) -> bool {
    let word = word.as_encoded_bytes();
    let scheme = word.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"dat://"));
    let drive = word.split(|byte| matches!(byte, b'/' | b'+')).next().unwrap_or_default();
    scheme || address::key::is_keylike(drive)
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

    /// Without the settings of whoever runs the tests.
    fn parse<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Result<Cli, Stop> {
        parse_for(words.into_iter().map(Into::into).collect(), None)
    }

    fn error(words: &[&str]) -> (Error, bool) {
        match parse(words) {
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
        let (folder, _) = error(&["datnode", "./not-there"]);
        assert!(folder.to_string().contains("datnode share DIR"), "{folder}");
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
            assert!(matches!(parse(words), Err(Stop::Show(_))), "{words:?}");
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
        for (name, examples) in pages.into_iter().filter(|(name, _)| name != "gen-man") {
            assert!((2..=4).contains(&examples.len()), "{name} has {} examples", examples.len());
            for words in examples {
                let parsed = parse(&words);
                assert!(parsed.is_ok(), "{words:?}: {parsed:?}");
                assert!(name == "datnode" || words[1] == name, "{words:?} is about {name}");
            }
        }
    }

    #[test]
    fn lan_is_short_for_a_way_to_look_for_peers() {
        let discover = |words: &[&str]| match parse(words).unwrap().command {
            super::super::Command::Ls(args) => args.network.discover,
            other => panic!("{other:?}"),
        };
        for more in [&["--lan"][..], &["--lan", "--discover", "dht"], &["--discover", "lan"]] {
            let words = [&["datnode", "files", "x"], more].concat();
            assert_eq!(discover(&words), [Discover::Lan], "{words:?}");
        }
    }

    #[test]
    fn the_public_table_is_asked_by_those_alone_who_say_so() {
        let discover = |words: &[&str]| {
            let words = [&["datnode", "ls", "x"], words].concat();
            match parse(words).unwrap().command {
                super::super::Command::Ls(args) => args.network.discover,
                other => panic!("{other:?}"),
            }
        };
        use Discover::{Dht, Lan, Public};
        assert_eq!(discover(&[]), [Lan, Dht]);
        assert_eq!(discover(&["--public"]), [Lan, Dht, Public]);
        assert_eq!(discover(&["--public", "--discover", "public"]), [Public]);
        assert_eq!(discover(&["--lan", "--public"]), [Lan, Public]);
        let (none, _) = error(&["datnode", "ls", "x", "--public", "--discover", "none"]);
        assert_eq!(none.code(), Code::Usage);
    }

    #[test]
    fn flags_may_stand_behind_the_command() {
        let parsed = parse(["datnode", "ls", "-lR", "x", "--json", "-vv"]).unwrap();
        assert!(parsed.global.json);
        assert_eq!(parsed.global.verbose, 2);
    }

    #[test]
    fn a_bare_folder_is_shared_and_a_bare_key_cloned() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        for words in
            [&["datnode", folder][..], &["datnode", "--json", "-C", "/", folder, "--hidden"]]
        {
            let cli = parse(words).unwrap();
            assert!(
                matches!(&cli.command, super::super::Command::Share(args) if args.folder.to_str() == Some(folder))
            );
        }
        let hex = "ab".repeat(32);
        let z32 = "y".repeat(52) + "+12/path";
        for words in [
            &["datnode", "dat1x"][..],
            &["datnode", "-q", "datticketx", "copy"],
            &["datnode", &hex, "copy"],
            &["datnode", &z32],
            &["datnode", "DAT://x"],
            // The command says what is wrong with it, without the word.
            &["datnode", "datsec1x"],
        ] {
            assert!(matches!(parse(words).unwrap().command, super::super::Command::Clone(_)));
        }
    }

    #[test]
    fn a_verb_is_for_the_word_and_not_for_the_value_of_a_flag() {
        let home = tempfile::tempdir().unwrap();
        let here = home.path().to_str().unwrap();
        std::fs::create_dir(home.path().join("flights")).unwrap();
        for words in [
            &["datnode", "-C", here, "flights"][..],
            &["datnode", "flights", "-C", here],
            &["datnode", "-C", here, "--log-file", "flights", "flights"],
            &["datnode", "-C", here, here],
        ] {
            let cli = parse(words).unwrap();
            assert_eq!(cli.global.dir.as_deref(), Some(home.path()), "{words:?}");
            let super::super::Command::Share(args) = cli.command else { panic!("{words:?}") };
            let folder = args.folder.to_str().unwrap();
            assert!(["flights", here].contains(&folder), "{words:?}: {folder}");
        }
        let (nowhere, _) = error(&["datnode", "-C", here, "none"]);
        assert!(nowhere.message().contains("none"), "{nowhere}");
        let (flag, _) = error(&["datnode", here, "--nonsense"]);
        assert!(flag.message().contains("--nonsense"), "{flag}");
    }

    #[test]
    fn every_command_is_in_one_group() {
        let all = command();
        let listed: Vec<&str> =
            GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for command in all.get_subcommands().filter(|command| !command.is_hide_set()) {
            let times = listed.iter().filter(|name| **name == command.get_name()).count();
            assert_eq!(times, 1, "{}", command.get_name());
        }
        assert_eq!(listed.len(), all.get_subcommands().filter(|one| !one.is_hide_set()).count());
        assert!(groups(&all).contains("\nRead:\n  ls           List what is in a drive\n"));
    }

    #[test]
    fn every_flag_has_a_variable() {
        let mut flags = 0;
        settings::each_flag(command(), &mut |_, arg| {
            if let Some(long) = arg.get_long() {
                let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
                assert_eq!(name, Some(variable(long)));
                flags += 1;
            }
            arg
        });
        assert!(flags > 60, "{flags}");
        assert_eq!(variable("max-up"), "DATNODE_MAX_UP");
    }

    #[test]
    fn the_drive_comes_before_the_user_and_a_flag_before_both() {
        let home = tempfile::tempdir().unwrap();
        let [config, folder] = ["config", "drive"].map(|name| home.path().join(name));
        let dirs = Dirs::all_in(config.clone());
        let write = |path: &Path, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            &config.join(settings::FILE),
            "[network]\nport = 1\nwait = '7s'\n[share]\nhidden = true\nignore = ['*.tmp']\n",
        );
        write(&File::path_of_drive(&folder), "[network]\nport = 2\n");
        let share = |more: &[&str]| {
            let first = ["datnode", "share", folder.to_str().unwrap()];
            let words = first.iter().chain(more);
            match parse_for(words.map(OsString::from).collect(), Some(&dirs)).unwrap().command {
                super::super::Command::Share(args) => args,
                other => panic!("{other:?}"),
            }
        };
        let args = share(&[]);
        assert_eq!((args.network.port, args.filter.hidden), (2, true));
        assert_eq!(args.network.wait, "7s".parse().unwrap());
        assert_eq!(args.filter.ignore, ["*.tmp"]);
        let args = share(&["--port", "3", "--ignore", "x"]);
        assert_eq!((args.network.port, &args.filter.ignore[..]), (3, &["x".to_owned()][..]));
        write(&config.join(settings::FILE), "[network]\nport = 'many'\n");
        let words = ["datnode", "ls", "/"].map(OsString::from).to_vec();
        let Err(Stop::Mistake { error, .. }) = parse_for(words, Some(&dirs)) else {
            panic!("it is bad")
        };
        assert!(error.to_string().contains("config.toml"), "{error}");
    }
}
