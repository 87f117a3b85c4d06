//! Settings in files: what a user, or a drive, wants from all commands.
//!
//! A flag comes before its variable, that before the drive's file (`.dat/config.toml`), that before the user's, that before the default.
//! A setting is a flag without its dashes, in a section of TOML; its values are those of the flag. Files become the defaults of
//! the flags, so that nothing else has to know of them.
//! Elsewhere: one file of them (`file`).

mod file;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use super::escape;
use super::usage::variable;
use crate::error::{Error, nearest};

pub use file::File;

/// The name of a file of settings.
pub const FILE: &str = "config.toml";

/// Settings of one kind: a section of a file.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Its settings, each a flag.
    pub flags: &'static [&'static str],
    /// The commands that it is for; all that have such a flag if none is named.
    commands: &'static [&'static str],
}

/// The settings there are.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "network",
        flags: &[
            "port",
            "listen",
            "external",
            "peer",
            "bootstrap",
            "discover",
            "no-upnp",
            "no-relay",
            "wait",
            "max-up",
            "max-down",
            "offline",
            "no-reuse",
        ],
        commands: &[],
    },
    Section {
        name: "share",
        flags: &["hidden", "ignore", "no-ignore", "gitignore", "in-place", "ticket", "qr"],
        // A link has flags of these names as well, with another meaning.
        commands: &["share", "status", "ignored", "diff"],
    },
    // What a clone fetches; a drive's own file alone has it.
    Section {
        name: "clone",
        flags: &["sparse", "include", "exclude", "priority"],
        commands: &["clone"],
    },
    Section {
        name: "output",
        flags: &[
            "json",
            "quiet",
            "verbose",
            "color",
            "progress",
            "timeout",
            "yes",
            "log-file",
            "log-format",
        ],
        commands: &[],
    },
];

impl Section {
    fn is_for(&self, command: &str) -> bool {
        self.commands.is_empty() || self.commands.contains(&command)
    }
}

/// Returns all settings, by their full names.
pub fn keys() -> impl Iterator<Item = String> {
    let full = |section: &'static Section| {
        section.flags.iter().map(move |flag| format!("{}.{flag}", section.name))
    };
    SECTIONS.iter().flat_map(full)
}

/// Returns the flag of a setting.
///
/// # Errors
/// E-NOTFOUND if there is no such setting.
pub fn flag(key: &str) -> Result<Arg, Error> {
    let found = parts(key).and_then(|(section, name)| {
        let all = super::command();
        let commands = all.get_subcommands().filter(|command| section.is_for(command.get_name()));
        let in_commands = commands.flat_map(Command::get_arguments);
        all.get_arguments().chain(in_commands).find(|arg| arg.get_long() == Some(name)).cloned()
    });
    found.ok_or_else(|| {
        let shown = escape::text(key);
        let near = nearest(key.as_bytes(), keys().map(String::into_bytes));
        Error::not_found(format!("there is no setting {shown}"), &near)
            .hint("datnode config show lists them")
    })
}

/// Makes what files say the defaults of a command line; of several files the first that sets something counts.
///
/// # Errors
/// E-USAGE for a value that its flag does not take, with the file.
pub(super) fn defaults(command: Command, files: &[File]) -> Result<Command, Error> {
    let mut bad = None;
    let command = each_flag(command, &mut |command, arg| {
        let Some(key) = arg.get_long().and_then(|long| key_of(command, long)) else { return arg };
        let Some((file, values)) = files.iter().find_map(|file| Some((file, file.values(&key)?)))
        else {
            return arg;
        };
        if let Err(error) = check(&arg, &values) {
            bad.get_or_insert_with(|| {
                Error::usage(error).context(format!("{key} in {}", escape::path(file.path())))
            });
            return arg;
        }
        arg.default_values(values)
    });
    bad.map_or(Ok(command), Err)
}

/// Changes each flag of a command and those below it, told whose flag it is.
pub(super) fn each_flag(command: Command, change: &mut dyn FnMut(&str, Arg) -> Arg) -> Command {
    let of = command.get_name().to_owned();
    let command = command.mut_args(|arg| change(&of, arg));
    let names: Vec<String> =
        command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| each_flag(below, change))
    })
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A variable of the environment.
    Variable(String),
    /// A file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

/// Returns the values of a setting without flags, and where they come from.
///
/// # Errors
/// E-NOTFOUND if there is no such setting.
pub fn look_up(key: &str, files: &[File]) -> Result<(Vec<String>, Origin), Error> {
    let arg = flag(key)?;
    let variable = variable(arg.get_long().unwrap_or_default());
    if let Some(value) = std::env::var_os(&variable) {
        let values = split(&arg, &[value.to_string_lossy().into_owned()]);
        return Ok((values, Origin::Variable(variable)));
    }
    let in_file = |file: &File| Some((file.values(key)?, Origin::File(file.path().to_owned())));
    let default = || {
        let values = arg.get_default_values().iter();
        let values: Vec<String> =
            values.map(|value| value.to_string_lossy().into_owned()).collect();
        let values =
            if values.is_empty() && is_switch(&arg) { vec!["false".to_owned()] } else { values };
        (values, Origin::Default)
    };
    Ok(files.iter().find_map(in_file).unwrap_or_else(default))
}

/// Checks values as the command line would.
fn check(arg: &Arg, values: &[String]) -> Result<(), String> {
    let name = arg.get_long().unwrap_or_default();
    let bad = |value: &str, why: &str| {
        let value = escape::text(value);
        Err(format!("{name} cannot be “{value}”{why}"))
    };
    if values.len() > 1 && !is_list(arg) {
        return bad(&values.join(" "), ": it has one value");
    }
    if is_switch(arg) {
        return match values.iter().find(|value| !matches!(value.as_str(), "true" | "false")) {
            Some(value) => bad(value, ": it is true or false"),
            None => Ok(()),
        };
    }
    if matches!(arg.get_action(), ArgAction::Count) {
        return match values.iter().find(|value| value.parse::<u8>().is_err()) {
            Some(value) => bad(value, ": it is a number"),
            None => Ok(()),
        };
    }
    let only = Command::new("datnode").arg(arg.clone().required(false));
    let words = values.iter().map(|value| OsString::from(format!("--{name}={value}")));
    match only.try_get_matches_from(std::iter::once("datnode".into()).chain(words)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().next().unwrap_or_default();
            Err(escape::controls(why.strip_prefix("error: ").unwrap_or(why)))
        }
    }
}

/// Splits values as the command line does: some lists may come in one word. An empty word is an empty list.
fn split(arg: &Arg, values: &[String]) -> Vec<String> {
    if !is_list(arg) {
        return values.to_vec();
    }
    let parts = values.iter().flat_map(|value| match arg.get_value_delimiter() {
        Some(delimiter) => value.split(delimiter).map(|part| part.trim().to_owned()).collect(),
        None => vec![value.clone()],
    });
    parts.filter(|part| !part.is_empty()).collect()
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn is_setting(key: &str) -> bool {
    parts(key).is_some()
}

/// Returns the section of a setting, and the name of its flag.
fn parts(key: &str) -> Option<(&'static Section, &str)> {
    let (section, name) = key.split_once('.')?;
    let section = SECTIONS.iter().find(|one| one.name == section && one.flags.contains(&name))?;
    Some((section, name))
}

/// Returns the setting that is the default of a command's flag.
fn key_of(command: &str, long: &str) -> Option<String> {
    let section = SECTIONS.iter().find(|one| one.flags.contains(&long) && one.is_for(command))?;
    Some(format!("{}.{long}", section.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_setting_is_a_flag() {
        let mut set = BTreeSet::new();
        each_flag(crate::cli::command(), &mut |command, arg| {
            set.extend(arg.get_long().and_then(|long| key_of(command, long)));
            arg
        });
        assert_eq!(set, keys().collect());
        for key in keys() {
            assert!(key.ends_with(flag(&key).unwrap().get_long().unwrap()), "{key}");
        }
        assert!(flag("network.prot").unwrap_err().to_string().contains("network.port"));
        assert!(flag("share.message").is_err(), "what is said of one change is no setting");
    }

    #[test]
    fn a_bad_value_in_a_file_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.toml");
        std::fs::write(&path, "[network]\nport = 99999\n").unwrap();
        let files = [File::read(&path).unwrap()];
        let error = defaults(crate::cli::command(), &files).unwrap_err();
        assert!(error.to_string().contains("network.port in "), "{error}");
    }
}
