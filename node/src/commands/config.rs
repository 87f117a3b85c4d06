//! `datnode config`: read and change settings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::future::join_all;
use serde_json::json;

use crate::address::find_drive;
use crate::cli::escape;
use crate::cli::interrupt::Lent;
use crate::cli::output::Out;
use crate::cli::settings::{self, File, Origin};
use crate::cli::{Config, ConfigCommand, Global};
use crate::control::{Question, ask};
use crate::dirs::Dirs;
use crate::error::{Code, Error};
use crate::runtime;

pub(super) async fn run(args: Config, flags: &Global, out: &Out) -> Result<(), Error> {
    match args.command {
        ConfigCommand::Get { key } => {
            let (values, _) = settings::look_up(&key, &files(flags)?)?;
            match out.json {
                true => {
                    out.record(&json!({ "key": key, "value": values.join(","), "values": values }))
                }
                false => {
                    let lines = values.iter().map(|value| escape::text(value) + "\n");
                    out.data(lines.collect::<String>().as_bytes())
                }
            }
        }
        ConfigCommand::Set { key, value, drive } => {
            change(&key, Some(&value), drive, flags, out).await
        }
        ConfigCommand::Unset { key, drive } => change(&key, None, drive, flags, out).await,
        ConfigCommand::Show { origin } => show(origin, &files(flags)?, out),
        ConfigCommand::Edit { drive } => {
            let file = edit(&path(drive, flags)?)?;
            file.warning().iter().for_each(|warning| out.warn(warning));
            Ok(())
        }
    }
}

/// Returns the files that count here, the drive's first.
fn files(flags: &Global) -> Result<Vec<File>, Error> {
    let drive = path(true, flags).ok();
    let all = drive.into_iter().chain([path(false, flags)?]);
    all.filter(|path| path.exists()).map(|path| File::read(&path)).collect()
}

/// Returns the file of the drive around here, or the user's.
fn path(drive: bool, flags: &Global) -> Result<PathBuf, Error> {
    if drive {
        let folder = find_drive(Path::new("."))?;
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        return Ok(File::path_of_drive(&folder));
    }
    match &flags.config {
        Some(path) => Ok(path.clone()),
        None => Ok(Dirs::find()?.config.join(settings::FILE)),
    }
}

async fn change(
    key: &str,
    values: Option<&[String]>,
    drive: bool,
    flags: &Global,
    out: &Out,
) -> Result<(), Error> {
    let mut file = File::read(&path(drive, flags)?)?;
    file.set(key, values)?;
    let (told, value) = (tell().await, values.map(|values| values.join(",")));
    if out.json {
        let shown = escape::path(file.path());
        return out
            .record(&json!({ "key": key, "value": value, "file": shown, "processes": told }));
    }
    out.say(format_args!(
        "{key} is {} in {}",
        value.map_or("not set".to_owned(), |value| escape::text(&value)),
        escape::path(file.path())
    ));
    Ok(())
}

/// Has the processes of this user read their settings again; returns how many did.
async fn tell() -> usize {
    let Ok(dirs) = Dirs::open() else { return 0 };
    let processes = runtime::all(&dirs.run);
    let told = processes.iter().map(|process| ask(&process.socket, None, &Question::Reload));
    join_all(told).await.iter().filter(|answer| answer.is_ok()).count()
}

fn show(origin: bool, files: &[File], out: &Out) -> Result<(), Error> {
    let mut record = serde_json::Map::new();
    for key in settings::keys() {
        let (values, from) = settings::look_up(&key, files)?;
        let (value, from) = (values.join(","), shown(&from));
        if out.json {
            record.insert(key, json!({ "value": value, "values": values, "origin": from }));
            continue;
        }
        let value = escape::text(&value);
        let line = match origin {
            true => format!("{key:<20} {value:<24} {from}\n"),
            false => format!("{key:<20} {value}\n"),
        };
        out.data(line.as_bytes())?;
    }
    if out.json { out.record(&record.into()) } else { Ok(()) }
}

fn shown(origin: &Origin) -> String {
    match origin {
        Origin::Variable(name) => name.clone(),
        Origin::File(path) => escape::path(path),
        Origin::Default => "default".to_owned(),
    }
}

/// Opens a file in the user's editor, and checks it afterwards.
fn edit(path: &Path) -> Result<File, Error> {
    let editor = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os);
    let editor =
        editor.into_iter().find(|editor| !editor.is_empty()).unwrap_or_else(|| "vi".into());
    let folder = path.parent().expect("a file is in a folder");
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
    let _lent = Lent::new();
    let ended = editing(&editor, path)
        .status()
        .map_err(|error| Error::io("start", Path::new(&editor), &error))?;
    if !ended.success() {
        return Err(Error::new(Code::Io, format!("the editor ended with {ended}")));
    }
    File::read(path)
}

/// Returns what starts an editor. As git does: one that comes with flags, or more, is a shell's to understand.
fn editing(editor: &OsStr, path: &Path) -> Command {
    if !editor.as_bytes().iter().any(|byte| b"|&;<>()$`\\\"' \t\n*?[#~=%".contains(byte)) {
        let mut command = Command::new(editor);
        command.arg(path);
        return command;
    }
    let mut script = editor.to_owned();
    script.push(" \"$1\"");
    let mut command = Command::new("sh");
    command.args(["-c".as_ref(), script.as_os_str(), editor, path.as_os_str()]);
    command
}
