//! Figures of the replicator in swarms: what is promised of many sources and many readers, measured in virtual time.
//!
//! Each experiment has a file of its own and gives a [`Figure`]: a table, promises, and plots. All but the times that a processor
//! took follow from seeds, and are kept in `sim/figures.txt`; `tests/figures.rs` holds them against that.

mod bisect;
mod crowd;
mod hotswap;
mod meeting;
mod picker;
pub mod plot;
mod sources;
mod star;
pub mod table;
mod urgent;
mod viewer;

use std::fmt::Write as _;
use std::time::Duration;

use plot::Plot;
use table::Table;

/// What came of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// What was done, in a line or two.
    pub about: String,
    /// What was measured.
    pub tables: Vec<Table>,
    /// What is promised, and whether it held.
    pub promises: Vec<Promise>,
    /// The same as images.
    pub plots: Vec<Plot>,
    /// Times that a processor took, which are never the same twice.
    pub timings: Vec<String>,
}

/// Something that is promised.
#[derive(Clone, Debug)]
pub struct Promise {
    /// What, with the figure that it was held against.
    pub what: String,
    /// Whether it held.
    pub is_kept: bool,
}

/// An experiment.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Its name, which its section begins with.
    pub name: &'static str,
    run: fn() -> Figure,
}

/// All experiments, in the order of their sections.
pub const EXPERIMENTS: [Experiment; 15] = [
    Experiment { name: "sources", run: sources::run },
    Experiment { name: "hotswap", run: hotswap::run },
    Experiment { name: "urgent", run: urgent::run },
    Experiment { name: "viewer", run: viewer::run },
    Experiment { name: "bisect", run: bisect::run },
    Experiment { name: "crowd", run: crowd::stays },
    Experiment { name: "churn", run: crowd::churns },
    Experiment { name: "meeting", run: meeting::some },
    Experiment { name: "picker", run: picker::run },
    Experiment { name: "dense-crowd", run: crowd::stays_dense },
    Experiment { name: "long-crowd", run: crowd::stays_long },
    Experiment { name: "large-crowd", run: crowd::many_stay },
    Experiment { name: "large-churn", run: crowd::many_churn },
    Experiment { name: "large-long-crowd", run: crowd::many_stay_long },
    Experiment { name: "large-meeting", run: meeting::many },
];

impl Experiment {
    /// Runs it.
    pub fn run(self) -> Figure {
        (self.run)()
    }
}

impl Figure {
    /// Promises something.
    fn promise(&mut self, is_kept: bool, what: String) {
        self.promises.push(Promise { what, is_kept });
    }

    /// Returns what was promised and did not hold.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        let broken = self.promises.iter().filter(|promise| !promise.is_kept);
        broken.map(|promise| promise.what.as_str())
    }

    /// Returns the section that is kept.
    pub fn section(&self, name: &str) -> String {
        let mut text = format!("== {name}\n{}\n", self.about);
        for table in &self.tables {
            let _ = write!(text, "\n{table}");
        }
        text.push('\n');
        for Promise { what, is_kept } in &self.promises {
            let word = if *is_kept { "kept" } else { "BROKEN" };
            let _ = writeln!(text, "  {word:<6} {what}");
        }
        text
    }
}

/// Where the sections are kept.
pub const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/figures.txt");

/// Returns a kept section by its name.
pub fn section<'a>(kept: &'a str, name: &str) -> Option<&'a str> {
    let rest = &kept[kept.find(&format!("== {name}\n"))?..];
    // An empty line stands between sections.
    let end = rest.find("\n\n== ").map_or(rest.len(), |end| end + 1);
    Some(&rest[..end])
}

fn megabytes(bytes: f64) -> String {
    format!("{:.2}", bytes / 1e6)
}

fn seconds(span: f64) -> String {
    format!("{span:.2}")
}

fn milliseconds(span: Duration) -> String {
    format!("{:.1}", span.as_secs_f64() * 1e3)
}
