//! What commands print: data to stdout, everything else to stderr.

use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::{Colour, Global, Progress, escape};
use crate::error::Error;

/// Where and how to print.
#[derive(Clone, Debug)]
pub struct Out {
    /// JSON instead of text.
    pub json: bool,
    /// No text but results and errors.
    pub quiet: bool,
    /// How much is said.
    pub verbose: u8,
    /// Whether what goes to stderr may have colours.
    pub colour: bool,
    /// How progress is shown; never `Auto`.
    pub progress: Progress,
    /// What is being done, for the error that says that it took too long.
    doing: Arc<Mutex<String>>,
}

impl Out {
    /// Returns what the flags, the environment and the terminal ask for.
    pub fn new(flags: &Global) -> Self {
        let env = |name: &str| std::env::var_os(name);
        let terminal = std::io::stderr().is_terminal();
        let dumb = env("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let colour = match flags.color {
            Colour::Auto => colour(terminal, &env),
            Colour::Always => true,
            Colour::Never => false,
        };
        let progress = match flags.progress {
            _ if flags.quiet => Progress::None,
            Progress::Auto if flags.json => Progress::Json,
            Progress::Auto if terminal && !dumb => Progress::Bar,
            Progress::Auto => Progress::Plain,
            asked => asked,
        };
        let doing = Arc::new(Mutex::new("starting".to_owned()));
        let Global { json, quiet, verbose, .. } = *flags;
        Self { json, quiet, verbose, colour, progress, doing }
    }

    /// Returns how to print when the flags could not be understood.
    pub fn plain(json: bool) -> Self {
        let colour = colour(std::io::stderr().is_terminal(), &|name| std::env::var_os(name));
        let progress = Progress::None;
        Self { json, quiet: false, verbose: 0, colour, progress, doing: Arc::default() }
    }

    /// Writes data to stdout.
    ///
    /// # Errors
    /// E-PIPE, silently, when nobody reads any more; E-IO otherwise.
    pub fn data(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(said)
    }

    /// Returns a way to write very many lines to stdout.
    pub fn lines(&self) -> Lines {
        Lines { out: self.clone(), buffer: Vec::new(), since: Instant::now() }
    }

    /// Writes a line of JSON to stdout.
    ///
    /// # Errors
    /// As for [`data`](Self::data).
    pub fn record(&self, value: &Value) -> Result<(), Error> {
        self.data(format!("{}\n", escape::json(&value.to_string())).as_bytes())
    }

    /// Writes a line about progress: to stdout with `--json`, else to stderr. One that nobody reads in time is dropped.
    pub(crate) fn progress_record(&self, value: &Value) {
        let line = format!("{}\n", escape::json(&value.to_string()));
        // An error means that nobody reads at all; what is written last will find out.
        let _ = match self.json {
            true if has_room(std::io::stdout()) => self.data(line.as_bytes()).is_ok(),
            false if has_room(std::io::stderr()) => {
                std::io::stderr().lock().write_all(line.as_bytes()).is_ok()
            }
            _ => false,
        };
    }

    /// Notes what is being done.
    pub(crate) fn doing(&self, what: String) {
        *self.doing.lock().expect("nothing panics while it holds this") = what;
    }

    /// Returns what is being done.
    pub fn is_doing(&self) -> String {
        self.doing.lock().expect("nothing panics while it holds this").clone()
    }

    /// Says something to a person.
    pub fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet && !self.json {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Says something that may be missed: where nobody reads in time it is dropped, and nothing waits.
    pub fn mention(&self, text: impl std::fmt::Display) {
        if has_room(std::io::stderr()) {
            self.say(text);
        }
    }

    /// Says something to a person who asked for more.
    pub fn detail(&self, text: impl std::fmt::Display) {
        if self.verbose > 0 && !self.json {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Copies text to the clipboard of the terminal, which need not be on this computer (OSC 52). Many terminals have to be told
    /// to allow it.
    pub fn copy(&self, text: &str) {
        if std::io::stderr().is_terminal() {
            let text = data_encoding::BASE64.encode(text.as_bytes());
            let _ = write!(std::io::stderr().lock(), "\x1b]52;c;{text}\x07");
        }
    }

    /// Says what went wrong.
    pub fn error(&self, error: &Error) {
        if error.is_silent() {
            return;
        }
        let text = match self.json {
            true => escape::json(&error.to_json().to_string()),
            false => error.render(self.colour),
        };
        let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
    }

    /// Says what is wrong and does not end the command.
    pub fn warn(&self, error: &Error) {
        let text = match self.json {
            true => {
                let mut record = error.to_json();
                record["type"] = "warning".into();
                escape::json(&record.to_string())
            }
            false => error.render_warning(self.colour),
        };
        let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
    }
}

/// How much of them is written at a time.
const LINES_BYTES: usize = 64 << 10;
/// How long a line waits for the next one at most.
const LINES_AGE: Duration = Duration::from_millis(50);

/// Lines on their way to stdout, many at a time. The last ones are written by [`end`](Self::end).
pub struct Lines {
    out: Out,
    buffer: Vec<u8>,
    since: Instant,
}

impl Lines {
    /// Writes text.
    ///
    /// # Errors
    /// As for [`Out::data`].
    pub fn data(&mut self, text: &str) -> Result<(), Error> {
        self.buffer.extend_from_slice(text.as_bytes());
        if self.buffer.len() >= LINES_BYTES || self.since.elapsed() >= LINES_AGE {
            self.write()?;
        }
        Ok(())
    }

    /// Writes a line of JSON.
    ///
    /// # Errors
    /// As for [`Out::data`].
    pub fn record(&mut self, value: &Value) -> Result<(), Error> {
        self.data(&format!("{}\n", escape::json(&value.to_string())))
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// As for [`Out::data`].
    pub fn end(mut self) -> Result<(), Error> {
        self.write()
    }

    fn write(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        self.since = Instant::now();
        if buffer.is_empty() { Ok(()) } else { self.out.data(&buffer) }
    }
}

/// Tells whether a short line can be written without waiting for somebody to read.
pub(super) fn has_room(stream: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&stream, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Tells whether to colour: on terminals that can, unless the user says otherwise (no-color.org, bixense.com/clicolors).
fn colour(terminal: bool, env: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal && set("TERM").is_none_or(|value| value != "dumb")
}

/// Returns as much of a line as fits so many columns, for a line that is redrawn in place.
pub(super) fn fit(line: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, char) in line.char_indices() {
        used += columns_of(char);
        if used > columns {
            return &line[..at];
        }
    }
    line
}

/// Returns how many columns a line takes.
pub(super) fn width(line: &str) -> usize {
    line.chars().map(columns_of).sum()
}

/// Where in doubt a character counts as wide: a short line is better than a broken one.
fn columns_of(char: char) -> usize {
    if char < '\u{1100}' || matches!(char, '\u{2000}'..='\u{25ff}') { 1 } else { 2 }
}

/// Returns how wide the terminal behind stderr is.
pub(super) fn columns() -> usize {
    let columns =
        rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { 80 } else { columns }
}

fn said(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Error::pipe(),
        _ => Error::io("write", std::path::Path::new("stdout"), &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_terminal_and_the_user() {
        type Row = (bool, &'static [(&'static str, &'static str)], bool);
        let table: &[Row] = &[
            (true, &[], true),
            (false, &[], false),
            (true, &[("TERM", "xterm")], true),
            (true, &[("TERM", "dumb")], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "")], true),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ];
        for (terminal, env, expected) in table {
            let env = |name: &str| {
                env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
            };
            assert_eq!(colour(*terminal, &env), *expected, "{terminal}");
        }
    }

    #[test]
    fn a_line_never_passes_the_last_column() {
        assert_eq!(fit("Download  1.9 GiB", 40), "Download  1.9 GiB");
        assert_eq!(fit("Download", 4), "Down");
        assert_eq!(fit("日本語", 5), "日本");
        assert_eq!(fit("größe", 3), "grö");
        assert_eq!(fit("", 0), "");
    }
}
