//! How far a command is: shown while it runs, remembered for the error that may end it.
//!
//! A bar is redrawn in place on a terminal; elsewhere a plain line comes every ten seconds; JSON has a line for each stage, in
//! order, and one each second. A line of JSON that nobody reads is dropped: it must not hold up the work.
//! Elsewhere: what a stage is about (`commands::scene`), the streams (`output`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Progress;
use super::output::{Out, columns, width};
use super::painter::Painter;
use super::units::{Size, Span};

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How many columns a bar takes, where there is room.
const BAR_COLUMNS: usize = 20;
/// A bar of fewer would say nothing.
const BAR_COLUMNS_MIN: usize = 5;
/// What is between parts of a line.
const GAP: &str = "   ";
/// How many columns the title of a line takes, with the space behind it.
const TITLE_COLUMNS: usize = 11;
/// Over how long the rate is measured.
const RATE_SPAN: Duration = Duration::from_secs(5);
/// After less time than this a rate would say nothing.
const RATE_SPAN_MIN: Duration = Duration::from_millis(500);

/// A part of what a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Looks for somebody who offers the drive.
    Find,
    /// Connects to those who were found.
    Connect,
    /// Fetches what there is to know before the first file.
    History,
    /// Fetches files.
    Download,
    /// Takes files in.
    Import,
}

impl Stage {
    /// Returns the name that scripts see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Connect => "connect",
            Self::History => "history",
            Self::Download => "download",
            Self::Import => "import",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Find => "Find",
            Self::Connect => "Connect",
            Self::History => "History",
            Self::Download => "Download",
            Self::Import => "Import",
        }
    }
}

/// The stages of a command that fetches files, in order.
pub const FETCHING: &[Stage] = &[Stage::Find, Stage::Connect, Stage::History, Stage::Download];
/// Those of one that takes files in.
pub const IMPORTING: &[Stage] = &[Stage::Import];

/// How far a stage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The stage.
    pub stage: Stage,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all, if the stage has so many and they are known.
    pub total: Option<u64>,
    /// Peers that are connected.
    pub peers: usize,
    /// What it does, or waits for, in words; may be empty.
    pub note: String,
    /// The file that it is at, and how far that is.
    pub file: Option<String>,
}

/// Shows the stages of one command.
#[derive(Debug)]
pub struct Stages {
    out: Out,
    order: &'static [Stage],
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    /// The stage shown last, as its place in the order.
    at: Option<usize>,
    /// When it began.
    since: Instant,
    pace: Pace,
    rate: Rate,
    /// The bar on the screen.
    painter: Painter,
    /// When the last lasting line was written.
    told: Instant,
}

impl Stages {
    /// Begins to show a command that goes through stages in this order.
    pub fn new(out: &Out, order: &'static [Stage]) -> Self {
        let now = Instant::now();
        let every = match out.progress {
            Progress::Bar => LOOK,
            Progress::Json => Duration::from_secs(1),
            _ => Duration::from_secs(10),
        };
        let pace = Pace { every, last: now };
        let state = State {
            at: None,
            since: now,
            pace,
            rate: Rate::default(),
            painter: Painter::default(),
            told: now,
        };
        Self { out: out.clone(), order, state: RefCell::new(state) }
    }

    /// Begins to show a command whose stdout is for something else.
    pub fn aside(out: &Out, order: &'static [Stage]) -> Self {
        let mut out = out.clone();
        if out.json {
            out.progress = Progress::None;
        }
        Self::new(&out, order)
    }

    /// Looks at the state again and again, and shows it.
    pub async fn watch(&self, look: impl Fn() -> Status) -> Infallible {
        loop {
            self.show(&look());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Shows the state, if it is time to.
    pub fn show(&self, status: &Status) {
        let now = Instant::now();
        let state = &mut *self.state.borrow_mut();
        self.enter(state, status, now);
        state.rate.note(now, status.bytes);
        let rate = state.rate.bytes_per_second();
        self.out.doing(format!("{}: {}", status.stage.name(), text(status, rate).join(", ")));
        if state.pace.is_due(now) {
            self.print(state, status, rate, now);
        }
    }

    /// Shows how it ended, where that is worth a line; wipes the bar.
    pub fn end(&self, status: &Status) {
        let now = Instant::now();
        let state = &mut *self.state.borrow_mut();
        let entered = self.enter(state, status, now);
        if self.out.progress == Progress::Json && !entered {
            state.rate.note(now, status.bytes);
            self.print(state, status, state.rate.bytes_per_second(), now);
        }
        state.painter.wipe();
    }

    /// Writes a line that stays, with the time since the last one.
    pub fn tell(&self, title: &str, text: &str) {
        let state = &mut *self.state.borrow_mut();
        state.painter.wipe();
        let took = state.told.elapsed();
        state.told = Instant::now();
        if !matches!(self.out.progress, Progress::None | Progress::Json) {
            self.out.say(format_args!("{title:<10} {text:<45} {:>9}", Span(took).to_string()));
        }
    }

    /// Passes to the stage of `status`, if it is another; scripts see each stage on the way.
    fn enter(&self, state: &mut State, status: &Status, now: Instant) -> bool {
        let to = self.order.iter().position(|stage| *stage == status.stage);
        let to = to.expect("a command shows its own stages");
        if state.at == Some(to) {
            return false;
        }
        let from = state.at.map_or(0, |at| at + 1);
        if self.out.progress == Progress::Json {
            for stage in &self.order[from.min(to)..to] {
                let passed = Status { stage: *stage, bytes: 0, total: None, ..status.clone() };
                self.print(state, &passed, None, now);
            }
            self.print(state, status, None, now);
        }
        (state.at, state.since, state.rate) = (Some(to), now, Rate::default());
        true
    }

    fn print(&self, state: &mut State, status: &Status, rate: Option<u64>, now: Instant) {
        let spent = now.saturating_duration_since(state.since);
        match self.out.progress {
            Progress::Json => self.out.progress_record(&json!({
                "type": "stage", "stage": status.stage.name(), "bytes": status.bytes, "total": status.total,
                "rate": rate, "eta_s": left(status, rate).map(|left| left.as_secs()), "peers": status.peers,
            })),
            Progress::Bar => {
                let mut parts = text(status, rate);
                if status.total.is_none() {
                    parts.push(Span(spent).to_string());
                }
                // A line that reaches the last column could wrap.
                state.painter.paint(&block(status, parts, columns().saturating_sub(1)));
            }
            Progress::Plain => {
                let parts: Vec<String> =
                    text(status, rate).into_iter().chain([Span(spent).to_string()]).collect();
                self.out.mention(format_args!(
                    "{:<10} {}",
                    status.stage.title(),
                    parts.join(GAP)
                ));
            }
            Progress::None | Progress::Auto => {}
        }
    }
}

/// Returns the lines of a stage for a terminal of so many columns: a bar if there is room for one, and on as many lines as it
/// takes all that there is to say.
fn block(status: &Status, mut parts: Vec<String>, columns: usize) -> Vec<String> {
    let taken = TITLE_COLUMNS + parts.iter().map(|part| width(part) + GAP.len()).sum::<usize>();
    let room = columns.saturating_sub(taken).min(BAR_COLUMNS);
    if let Some(total) = status.total.filter(|_| room >= BAR_COLUMNS_MIN) {
        parts.insert(0, bar(status.bytes, total, room));
    }
    // A part stays in one piece, unless it is longer than a line.
    let is_long = |part: &str| TITLE_COLUMNS + width(part) > columns;
    let pieces = parts.iter().flat_map(|part| {
        let words = if is_long(part) { part.split(' ').collect() } else { vec![&part[..]] };
        let gaps = std::iter::once(GAP).chain(std::iter::repeat(" "));
        gaps.zip(words)
    });
    let mut lines = Vec::new();
    let mut line = format!("{:<1$}", status.stage.title(), TITLE_COLUMNS);
    for (at, (gap, piece)) in pieces.enumerate() {
        if at > 0 && width(&line) + gap.len() + width(piece) > columns {
            lines.push(std::mem::replace(&mut line, " ".repeat(TITLE_COLUMNS)));
        } else if at > 0 {
            line.push_str(gap);
        }
        line.push_str(piece);
    }
    lines.push(line);
    lines.extend(status.file.as_ref().map(|file| format!("{:TITLE_COLUMNS$}{file}", "")));
    lines
}

/// Says how far a stage is, part by part.
fn text(status: &Status, rate: Option<u64>) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(total) = status.total {
        let percent =
            (u128::from(status.bytes) * 100).checked_div(u128::from(total)).unwrap_or(100);
        parts.push(format!("{}  {percent} %", of(status.bytes, total)));
        parts.extend(rate.map(|rate| format!("{}/s", Size(rate))));
        parts.extend(left(status, rate).map(|left| format!("{} left", Span(left))));
    } else if status.bytes > 0 {
        parts.push(Size(status.bytes).to_string());
    }
    if !status.note.is_empty() {
        parts.push(status.note.clone());
    }
    match status.peers {
        0 => {}
        1 => parts.push("1 peer".to_owned()),
        peers => parts.push(format!("{peers} peers")),
    }
    parts
}

/// Returns two sizes as `1.9 / 3.9 GiB`.
pub fn of(done: u64, total: u64) -> String {
    let (done, total) = (Size(done).to_string(), Size(total).to_string());
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} / {total}"),
        _ => format!("{done} / {total}"),
    }
}

/// Returns how long the rest takes, if nothing changes.
fn left(status: &Status, rate: Option<u64>) -> Option<Duration> {
    status.total?.saturating_sub(status.bytes).checked_div(rate?).map(Duration::from_secs)
}

/// Returns a bar in eighths of a column.
fn bar(done: u64, total: u64, columns: usize) -> String {
    let all = columns as u128 * 8;
    let eighths = (u128::from(done.min(total)) * all).checked_div(u128::from(total)).unwrap_or(all);
    let eighths = usize::try_from(eighths).expect("a bar is short");
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((eighths % 8).wrapping_sub(1)));
    let used = bar.chars().count();
    bar + &" ".repeat(columns.saturating_sub(used))
}

/// When something is shown again.
#[derive(Debug)]
struct Pace {
    every: Duration,
    last: Instant,
}

impl Pace {
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.last) >= self.every;
        if due {
            self.last = now;
        }
        due
    }
}

/// How fast bytes came of late. What was here when a stage began does not count.
#[derive(Debug, Default)]
struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn note(&mut self, now: Instant, bytes: u64) {
        self.samples.push_back((now, bytes));
        let old = |at: &(Instant, u64)| now.saturating_duration_since(at.0) > RATE_SPAN;
        while self.samples.len() > 2 && self.samples.front().is_some_and(old) {
            self.samples.pop_front();
        }
    }

    fn bytes_per_second(&self) -> Option<u64> {
        let ((began, before), (now, bytes)) = (self.samples.front()?, self.samples.back()?);
        let span = now.saturating_duration_since(*began);
        if span < RATE_SPAN_MIN {
            return None;
        }
        let rate = u128::from(bytes.saturating_sub(*before)) * 1_000 / span.as_millis();
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_pace_is_kept() {
        let start = Instant::now();
        let mut pace = Pace { every: Duration::from_secs(10), last: start };
        let shown: Vec<u64> = (0..40).filter(|second| pace.is_due(at(start, *second))).collect();
        assert_eq!(shown, [10, 20, 30]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.bytes_per_second(), None);
        // A clone that goes on has some bytes already.
        rate.note(start, 1_000_000);
        assert_eq!(rate.bytes_per_second(), None);
        for second in 1..=10 {
            rate.note(at(start, second), 1_000_000 + 100 * second);
        }
        assert_eq!(rate.bytes_per_second(), Some(100));
        for second in 11..=20 {
            rate.note(at(start, second), 1_001_000);
        }
        assert_eq!(rate.bytes_per_second(), Some(0));
        assert!(rate.samples.len() < 10, "old samples go");
    }

    #[test]
    fn lines_read_like_the_contract() {
        let status = Status {
            stage: Stage::Download,
            bytes: 2_041_234_567,
            total: Some(4_187_593_113),
            peers: 3,
            note: String::new(),
            file: None,
        };
        let parts = text(&status, Some(63_963_136));
        assert_eq!(parts.join("   "), "1.9 / 3.9 GiB  48 %   61 MiB/s   33 s left   3 peers");
        assert_eq!(
            text(&Status { total: Some(0), bytes: 0, peers: 1, ..status.clone() }, None).join(" "),
            "0 / 0 B  100 % 1 peer"
        );
        let stalled = text(&status, Some(0)).join(" ");
        assert!(!stalled.contains("left"), "{stalled}");
        assert_eq!(of(900, 4_096), "900 B / 4.0 KiB");
    }

    #[test]
    fn a_bar_grows_by_eighths() {
        let table = [
            (0, 160, ""),
            (1, 160, "▏"),
            (8, 160, "█"),
            (15, 160, "█▉"),
            (160, 160, "████████████████████"),
            (0, 0, "████████████████████"),
            (9, 5, "████████████████████"),
        ];
        for (done, total, shown) in table {
            let bar = bar(done, total, BAR_COLUMNS);
            assert_eq!(bar.trim_end(), shown, "{done} of {total}");
            assert_eq!(bar.chars().count(), BAR_COLUMNS);
        }
        assert_eq!(bar(u64::MAX, u64::MAX, 5), "█████");
    }

    #[test]
    fn a_narrow_terminal_shows_all_there_is_to_say() {
        let mut status = Status {
            stage: Stage::Download,
            bytes: 2_041_234_567,
            total: Some(4_187_593_113),
            peers: 3,
            note: String::new(),
            file: Some("film.mkv".to_owned()),
        };
        let shown =
            |status: &Status, columns| block(status, text(status, Some(63_963_136)), columns);
        assert_eq!(
            shown(&status, 100),
            [
                "Download   █████████▋             1.9 / 3.9 GiB  48 %   61 MiB/s   33 s left   3 peers",
                "           film.mkv"
            ]
        );
        assert_eq!(
            shown(&status, 39),
            [
                "Download   1.9 / 3.9 GiB  48 %",
                "           61 MiB/s   33 s left",
                "           3 peers",
                "           film.mkv"
            ]
        );
        status.note = "nothing came for 12 s: waiting for 1 peer that has it".to_owned();
        status.total = None;
        assert_eq!(
            shown(&status, 39),
            [
                "Download   1.9 GiB   nothing came for",
                "           12 s: waiting for 1 peer",
                "           that has it   3 peers",
                "           film.mkv"
            ]
        );
        for columns in 30..120 {
            assert!(shown(&status, columns).iter().all(|line| width(line) <= columns), "{columns}");
        }
    }
}
