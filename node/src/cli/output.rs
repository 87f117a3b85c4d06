//! What commands print: data to stdout, everything else to stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::units::{Size, Span};
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
        Self { json: flags.json, quiet: flags.quiet, verbose: flags.verbose, colour, progress }
    }

    /// Returns how to print when the flags could not be understood.
    pub fn plain(json: bool) -> Self {
        let colour = colour(std::io::stderr().is_terminal(), &|name| std::env::var_os(name));
        Self { json, quiet: false, verbose: 0, colour, progress: Progress::None }
    }

    /// Writes data to stdout.
    ///
    /// # Errors
    /// E-PIPE, silently, when nobody reads any more; E-IO otherwise.
    pub fn data(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(said)
    }

    /// Writes a line of JSON to stdout.
    ///
    /// # Errors
    /// As for [`data`](Self::data).
    pub fn record(&self, value: &Value) -> Result<(), Error> {
        self.data(format!("{}\n", escape::json(&value.to_string())).as_bytes())
    }

    /// Says something to a person.
    pub fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet && !self.json {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Says something to a person who asked for more.
    pub fn detail(&self, text: impl std::fmt::Display) {
        if self.verbose > 0 {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
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
fn fit(line: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, char) in line.char_indices() {
        // Where in doubt a character counts as wide: a short line is better than a broken one.
        used += if char < '\u{1100}' || matches!(char, '\u{2000}'..='\u{25ff}') { 1 } else { 2 };
        if used > columns {
            return &line[..at];
        }
    }
    line
}

/// Returns how wide the terminal behind stderr is.
fn columns() -> usize {
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

/// Shows how far something is: a line that is redrawn on a terminal, one line every ten seconds elsewhere.
#[derive(Debug)]
pub struct Meter {
    out: Out,
    stage: &'static str,
    started: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Meter {
    /// Begins a stage.
    pub fn new(out: &Out, stage: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal()
            && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        Self { out: out.clone(), stage, started: Instant::now(), shown: None, terminal }
    }

    /// Shows the state, if it is time to.
    pub fn show(&mut self, done: u64, total: u64, peers: usize) {
        let every =
            if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(10) };
        let since = self.shown.map_or(self.started.elapsed(), |shown| shown.elapsed());
        if self.out.quiet || since < every {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = (done as f64 / seconds) as u64;
        let left = (total.saturating_sub(done)).checked_div(rate).map(Duration::from_secs);
        if self.out.json {
            let line = serde_json::json!({
                "type": "stage", "stage": self.stage, "bytes": done, "total": total, "rate": rate,
                "eta_s": left.map(|left| left.as_secs()), "peers": peers,
            });
            let _ = self.out.record(&line);
            return;
        }
        let left = left.map_or_else(String::new, |left| format!("   {} left", Span(left)));
        let peers = if peers == 1 { "1 peer".to_owned() } else { format!("{peers} peers") };
        let text = format!(
            "{:<9} {} / {}   {}/s{left}   {peers}",
            self.stage,
            Size(done),
            Size(total),
            Size(rate)
        );
        let mut stderr = std::io::stderr().lock();
        // A line that reaches the last column would wrap and could not be redrawn.
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K{}", fit(&text, columns().saturating_sub(1)))
        } else {
            writeln!(stderr, "{text}")
        };
    }

    /// Ends the stage; its line is wiped from a terminal.
    pub fn end(&mut self) {
        if self.terminal && self.shown.take().is_some() && !self.out.json {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
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
