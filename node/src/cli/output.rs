//! What commands print: data to stdout, everything else to stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::units::{Size, Span};
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
}

impl Out {
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
        self.data(format!("{value}\n").as_bytes())
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
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = if self.json { error.to_json().to_string() } else { error.render(colour) };
        let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
    }
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
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[K{text}")
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
