//! A file of settings: what it says, and changes to it that leave its comments alone.

use std::path::{Path, PathBuf};

use clap::Arg;
use toml_edit::{DocumentMut, Item, Table, Value};

use super::{FILE, SECTIONS, check, flag, is_list, is_setting, is_switch, keys, split};
use crate::cli::escape;
use crate::disk::{DRIVE_FOLDER, read_small, replace};
use crate::error::{Code, Error, nearest};

/// Files that are larger were written by something else.
const LEN_MAX: u64 = 1 << 20;
/// How many unknown settings are named; the rest is counted.
const NAMES_MAX: usize = 5;
/// How much of each is kept.
const NAME_CHARS_MAX: usize = 64;

/// What a drive's file may say. It may come from anywhere with its folder: where to listen, whom to call and which files to write
/// is the user's to say.
fn is_drives(key: &str) -> bool {
    !key.starts_with("output.") && !matches!(key, "network.peer" | "network.listen")
}

/// What the user's file may say. What is fetched of a drive is kept with that drive.
fn is_users(key: &str) -> bool {
    !key.starts_with("clone.")
}

/// A file of settings.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    document: DocumentMut,
    /// What it says that is no setting: a later release, or a writing error.
    unknown: Vec<String>,
}

impl File {
    /// Returns the file of a drive.
    pub fn path_of_drive(folder: &Path) -> PathBuf {
        folder.join(DRIVE_FOLDER).join(FILE)
    }

    /// Reads a file; one that is not there is empty.
    ///
    /// # Errors
    /// E-IO if it cannot be read, E-USAGE for what is no TOML.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = match read_small(path, LEN_MAX) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| wrong(path, "it is no text"))?,
            Err(error) if is_missing(&error) => String::new(),
            Err(error) => return Err(Error::io("read", path, &error)),
        };
        let document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| wrong(path, error.to_string().trim_end()))?;
        let unknown = unknown(&document);
        Ok(Self { path: path.to_owned(), document, unknown })
    }

    /// Returns what to say of settings that do not exist, which others of this file do not suffer from.
    pub fn warning(&self) -> Option<Error> {
        let first = self.unknown.first()?;
        let shown: Vec<String> =
            self.unknown.iter().take(NAMES_MAX).map(|key| escape::text(key)).collect();
        let more = match self.unknown.len().saturating_sub(NAMES_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let are = if self.unknown.len() == 1 { "is no setting" } else { "are no settings" };
        let warning = Error::usage(format!("{}{more} {are} of this release", shown.join(", ")))
            .context(format!("in {}", escape::path(&self.path)));
        let near = nearest(first.as_bytes(), keys().map(String::into_bytes));
        let near: Vec<String> = near.iter().map(|name| escape::bytes(name)).collect();
        Some(match near.is_empty() {
            true => warning.hint("datnode config show lists the settings"),
            false => warning.hint(format!("did you mean {}?", near.join(" or "))),
        })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn may_say(&self, key: &str) -> bool {
        if self.is_drives() { is_drives(key) } else { is_users(key) }
    }

    fn is_drives(&self) -> bool {
        self.path.parent().is_some_and(|folder| folder.ends_with(DRIVE_FOLDER))
    }

    /// Returns the values of a setting; none if it is not set here.
    pub fn values(&self, key: &str) -> Option<Vec<String>> {
        let (section, name) = key.split_once('.').filter(|_| self.may_say(key))?;
        let value = self.document.get(section)?.as_table_like()?.get(name)?.as_value()?;
        Some(match value {
            Value::Array(values) => values.iter().map(plain).collect(),
            other => vec![plain(other)],
        })
    }

    /// Changes a setting, or forgets it.
    ///
    /// # Errors
    /// E-NOTFOUND for what is no setting, E-USAGE for what is no value of it, and what the disk says.
    pub fn set(&mut self, key: &str, values: Option<&[String]>) -> Result<(), Error> {
        self.change(&[(key, values.map(<[String]>::to_vec))])
    }

    /// Changes settings, or forgets them: all or none.
    ///
    /// # Errors
    /// Those of [`set`](Self::set).
    pub fn change(&mut self, settings: &[(&str, Option<Vec<String>>)]) -> Result<(), Error> {
        for (key, values) in settings {
            self.put(key, values.as_deref())?;
        }
        let folder = self.path.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
        replace(&self.place()?, self.document.to_string().as_bytes())
    }

    fn put(&mut self, key: &str, values: Option<&[String]>) -> Result<(), Error> {
        let arg = flag(key)?;
        if !self.may_say(key) {
            return Err(self.not_its_to_say(key));
        }
        let (section, name) = key.split_once('.').expect("a setting has a section");
        let Some(values) = values else {
            let table = self.document.get_mut(section).and_then(Item::as_table_like_mut);
            table.into_iter().for_each(|table| drop(table.remove(name)));
            return Ok(());
        };
        let values = split(&arg, values);
        check(&arg, &values).map_err(Error::usage)?;
        let table = self.document.entry(section).or_insert(Item::Table(Table::new()));
        let table = table.as_table_like_mut();
        let table =
            table.ok_or_else(|| wrong(&self.path, &format!("{section} is no section there")))?;
        table.insert(name, Item::Value(typed(&arg, values)));
        Ok(())
    }

    fn not_its_to_say(&self, key: &str) -> Error {
        match self.is_drives() {
            true => Error::usage(format!("a drive does not set {key}")).hint("leave --drive out"),
            false => Error::usage(format!("{key} is a matter of one drive")).hint(
                "add --drive in its folder, or say it with datnode clone, include or exclude",
            ),
        }
    }

    /// Returns where it is written: a user may keep settings elsewhere and have a link to them. A drive's folder may come from
    /// somebody who would have us write anywhere.
    fn place(&self) -> Result<PathBuf, Error> {
        match std::fs::canonicalize(&self.path) {
            Ok(place) if !self.is_drives() => Ok(place),
            Err(error) if !is_missing(&error) => Err(Error::io("write", &self.path, &error)),
            _ => Ok(self.path.clone()),
        }
    }
}

/// Returns a value as TOML has it: numbers and switches bare, lists as arrays.
fn typed(arg: &Arg, values: Vec<String>) -> Value {
    if is_list(arg) {
        return Value::Array(values.into_iter().collect());
    }
    let value = values.into_iter().next().unwrap_or_default();
    match value.as_str() {
        "true" | "false" if is_switch(arg) => (value == "true").into(),
        digits => match digits.parse::<i64>() {
            Ok(number) if number.to_string() == digits => number.into(),
            _ => value.into(),
        },
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.value().clone(),
        other => other.clone().decorated("", "").to_string(),
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn wrong(path: &Path, why: &str) -> Error {
    let mut lines = why.lines().filter(|line| !line.trim().is_empty());
    let error = Error::new(Code::Usage, format!("{} is no file of settings", escape::path(path)));
    let error = lines.by_ref().take(4).fold(error, |error, line| error.context(line));
    error.hint("datnode config edit opens the user's file")
}

/// Returns what is no setting in a document: keys, and whole sections.
fn unknown(document: &DocumentMut) -> Vec<String> {
    let mut unknown = Vec::new();
    for (section, item) in document.iter() {
        let table = item.as_table_like().filter(|_| SECTIONS.iter().any(|one| one.name == section));
        match table {
            Some(table) => {
                let keys = table.iter().map(|(name, _)| format!("{section}.{name}"));
                unknown.extend(keys.filter(|key| !is_setting(key)));
            }
            None => unknown.push(section.to_owned()),
        }
    }
    let short = |key: String| key.chars().take(NAME_CHARS_MAX).collect();
    unknown.into_iter().map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_file_is_changed_and_its_comments_stay() {
        let folder = tempfile::tempdir().unwrap();
        let text = "# mine\n[network]\nport = 4000 # forwarded\n";
        let path = file(&folder, "config.toml", text);
        let mut settings = File::read(&path).unwrap();
        assert_eq!(settings.values("network.port").unwrap(), ["4000"]);
        let mut set = |key: &str, values: &[&str]| {
            let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
            settings.set(key, Some(&values)).unwrap();
        };
        set("network.max-up", &["2M"]);
        set("share.hidden", &["true"]);
        set("share.ignore", &["*.{tmp,bak}", "*.old"]);
        set("network.discover", &["lan, dht"]);
        set("output.log-file", &["007"]);
        set("network.port", &["4001"]);
        let again = File::read(&path).unwrap();
        assert_eq!(again.values("share.ignore").unwrap(), ["*.{tmp,bak}", "*.old"]);
        assert_eq!(again.values("network.discover").unwrap(), ["lan", "dht"]);
        assert_eq!(again.values("output.log-file").unwrap(), ["007"]);
        assert_eq!(again.values("share.hidden").unwrap(), ["true"]);
        settings.set("share.hidden", None).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\n[network]\n") && text.contains("port = 4001"), "{text}");
        assert!(text.contains("max-up = \"2M\"") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "bad.toml", "[network\n");
        let error = File::read(&path).unwrap_err();
        assert_eq!(error.code(), Code::Usage);
        assert!(error.message().contains("bad.toml is no file of settings"), "{error}");
        let mut good = File::read(&folder.path().join("none.toml")).unwrap();
        for (key, value) in [
            ("network.port", "99999"),
            ("network.port", "1,2"),
            ("share.hidden", "perhaps"),
            ("output.timeout", "soon"),
            ("output.color", "green"),
            ("network.discover", "mars"),
            ("share.ignore", "*.{tmp,bak"),
        ] {
            let error = good.set(key, Some(&[value.to_owned()])).unwrap_err();
            assert_eq!(error.code(), Code::Usage, "{key} {value}: {error}");
        }
        let two = ["1".to_owned(), "2".to_owned()];
        assert_eq!(good.set("network.port", Some(&two)).unwrap_err().code(), Code::Usage);
        assert!(!good.path().exists(), "nothing was written");
    }

    #[test]
    fn what_is_no_setting_is_told_and_the_rest_counts() {
        let folder = tempfile::tempdir().unwrap();
        for (text, said) in [
            ("[network]\nprot = 1\nwait = '7s'\n", "mean network.port or"),
            ("[network]\nwait = '7s'\n[http]\nlisten = '127.0.0.1'\n", "http is no setting"),
            ("port = 1\nnetwork.wait = '7s'\n", "port is no setting"),
            ("[share]\nmessage = 'x'\n[network]\nwait = '7s'\n", "share.message is no setting"),
            (
                "a=1\nb=1\nc=1\nd=1\ne=1\nf=1\n[network]\nwait = '7s'\n",
                "e and 1 more are no settings",
            ),
        ] {
            let read = File::read(&file(&folder, "odd.toml", text)).unwrap();
            let warning = read.warning().unwrap().to_string();
            assert!(warning.contains(said) && warning.contains("odd.toml"), "{warning}");
            assert_eq!(read.values("network.wait").unwrap(), ["7s"], "{text}");
        }
        let long = format!("{} = 1\n", "x".repeat(100_000));
        let warning = File::read(&file(&folder, "long.toml", &long)).unwrap().warning().unwrap();
        assert!(warning.message().len() < 200, "{warning}");
        let good = File::read(&file(&folder, "good.toml", "[network]\nport = 1\n")).unwrap();
        assert!(good.warning().is_none());
    }

    #[test]
    fn a_users_link_is_followed_and_a_drives_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let kept = file(&folder, "kept.toml", "[network]\nport = 1\n");
        let users = folder.path().join("config.toml");
        let drives = File::path_of_drive(folder.path());
        std::fs::create_dir(drives.parent().unwrap()).unwrap();
        for link in [&users, &drives] {
            std::os::unix::fs::symlink(&kept, link).unwrap();
        }
        let set = |path: &Path, port: &str| {
            File::read(path).unwrap().set("network.port", Some(&[port.to_owned()])).unwrap();
            File::read(path).unwrap().values("network.port").unwrap()
        };
        assert_eq!(set(&users, "2"), ["2"]);
        assert!(users.is_symlink() && std::fs::read_to_string(&kept).unwrap().contains('2'));
        assert_eq!(set(&drives, "3"), ["3"]);
        assert!(!drives.is_symlink() && std::fs::read_to_string(&kept).unwrap().contains('2'));
    }
}
