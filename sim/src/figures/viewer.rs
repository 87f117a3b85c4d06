//! 4: somebody who watches, and seeks: how soon the first byte is there, and how often the picture stands still.
//!
//! The line is a quarter faster than the picture, and its sender pauses now and then. What is watched is asked for as the cursors
//! of a node do it (`datnode::engine::ByteCursor`).

use std::time::Duration;

use datnode_drive::ReadAhead;
use datnode_proto::{Instant, Order, Priority, Target, Want, WantId};

use super::plot::{Axis, Plot};
use super::star::{Source, Star};
use super::table::Table;
use super::{Figure, milliseconds, seconds};
use crate::Random;
use crate::swarm::Content;

/// 10 Mbit/s.
const LINE: u64 = 1_250_000;
/// 8 Mbit/s.
const PICTURE: u64 = 1_000_000;
const ONE_WAY_MS: u64 = 50;
const BLOCKS: u64 = 32_768;
const BLOCK_BYTES: u64 = 64 << 10;
/// How long is watched.
const SPAN: Duration = Duration::from_secs(600);
/// How exactly it is looked at.
const TICK: Duration = Duration::from_millis(5);
/// A hundredth of the time the sender pauses, so long each.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_EVERY_MS: u64 = 20_000;
const SEEK_EVERY_MS: u64 = 10_000;

/// What is waited for, and what comes next: how urgently, how much, and how soon.
const URGENT: Priority = Priority(200);
const AHEAD: Priority = Priority(100);
const NEAR: u64 = 256 << 10;
const SOON: Duration = Duration::from_secs(1);

struct Viewer {
    star: Star,
    random: Random,
    ahead: ReadAhead,
    wants: Vec<WantId>,
    /// Which byte is shown.
    at: u64,
    sought_at: Instant,
    /// Whether the first byte since then was shown.
    shows: bool,
    stands_since: Option<Instant>,
    first_bytes: Vec<Duration>,
    stalls: Vec<Duration>,
}

impl Viewer {
    fn new() -> Self {
        let content = Content::new(BLOCKS, BLOCK_BYTES as usize);
        let star = Star::new(content, LINE, &[Source::new(LINE, ONE_WAY_MS)]);
        let (random, sought_at) = (Random::new(1), star.swarm.now);
        let (ahead, wants, at, shows, stands_since, first_bytes, stalls) = Default::default();
        Self { star, random, ahead, wants, at, sought_at, shows, stands_since, first_bytes, stalls }
    }

    /// Draws a span around a mean.
    fn around(&mut self, mean_ms: u64) -> Duration {
        Duration::from_millis(mean_ms / 2 + self.random.below(mean_ms))
    }

    fn watch(mut self, pauses: bool) -> Self {
        let began = self.star.swarm.now;
        let (mut seek_at, mut pause_at) = (began, began);
        while self.star.swarm.now < began + SPAN {
            let now = self.star.swarm.now;
            if now >= seek_at {
                seek_at = now + self.around(SEEK_EVERY_MS);
                self.seek();
            }
            if now >= pause_at && pauses {
                pause_at = now + self.around(PAUSE_EVERY_MS);
                self.star.swarm.pause(self.star.sources[0].0, now + PAUSE);
            }
            self.want();
            self.star.swarm.run(now + TICK);
            self.show();
        }
        self
    }

    fn seek(&mut self) {
        self.goes_on();
        self.at = self.random.below((BLOCKS - 1_024) * BLOCK_BYTES);
        self.ahead.sought(self.at);
        (self.sought_at, self.shows) = (self.star.swarm.now, false);
    }

    /// Wants what is shown now and what comes next, if that is more than was wanted.
    fn want(&mut self) {
        let end = BLOCKS * BLOCK_BYTES;
        let Some(wanted) = self.ahead.read(self.at..self.at + shown_in_a_tick(), end) else {
            return;
        };
        let now = self.star.swarm.now;
        let first = wanted.start / BLOCK_BYTES;
        let near = (wanted.start + NEAR).div_ceil(BLOCK_BYTES);
        let parts = [
            (first..near, URGENT, now),
            (near..wanted.end.div_ceil(BLOCK_BYTES), AHEAD, now + SOON),
        ];
        let old = std::mem::take(&mut self.wants);
        for (blocks, priority, due) in parts {
            let target = Target::Blocks(vec![blocks]);
            let (order, deadline) = (Order::Linear, Some(due));
            let want = self.star.want(Want { priority, order, deadline, ..Want::new(target) });
            self.wants.push(want);
        }
        // Only now: what both want goes on.
        old.into_iter().for_each(|want| self.star.swarm.unwant(self.star.reader, want));
    }

    /// Shows what came, for a tick.
    fn show(&mut self) {
        let now = self.star.swarm.now;
        if !self.star.swarm.at(self.star.reader).store.has(self.at / BLOCK_BYTES) {
            if self.shows {
                self.stands_since.get_or_insert(now);
            }
            return;
        }
        if !std::mem::replace(&mut self.shows, true) {
            self.first_bytes.push(now.since(self.sought_at));
        }
        self.goes_on();
        self.at += shown_in_a_tick();
    }

    /// The picture does not stand still any more, if it did.
    fn goes_on(&mut self) {
        let now = self.star.swarm.now;
        self.stalls.extend(self.stands_since.take().map(|since| now.since(since)));
    }
}

const fn shown_in_a_tick() -> u64 {
    PICTURE * TICK.as_millis() as u64 / 1_000
}

pub(super) fn run() -> Figure {
    let about = String::from(
        "8 Mbit/s watched for 600 s over a line of 10 Mbit/s with 100 ms round trip; a seek every 10 s. It is shown as soon as the\n\
         first block is there, not before 152 ms. The sender pauses 200 ms every 20 s, or never.",
    );
    let mut figure = Figure { about, ..Figure::default() };
    let head =
        ["sender", "seeks", "first byte ms, median", "most", "stalls", "s in all", "most ms"];
    let mut table = Table::new(&head);
    let mut series = Vec::new();
    for (name, pauses) in [("pauses", true), ("never pauses", false)] {
        let viewer = Viewer::new().watch(pauses);
        let mut first = viewer.first_bytes;
        first.sort_unstable();
        let [median, most] = [first.len() / 2, first.len().saturating_sub(1)]
            .map(|at| first.get(at).copied().unwrap_or_default());
        let stood: Duration = viewer.stalls.iter().sum();
        table.row(vec![
            String::from(name),
            first.len().to_string(),
            milliseconds(median),
            milliseconds(most),
            viewer.stalls.len().to_string(),
            seconds(stood.as_secs_f64()),
            milliseconds(viewer.stalls.iter().max().copied().unwrap_or_default()),
        ]);
        let count = first.len() as f64;
        let part = |(took, at): (&Duration, i32)| [took.as_secs_f64() * 1e3, f64::from(at) / count];
        series.push((String::from(name), first.iter().zip(1..).map(part).collect()));
    }
    figure.tables.push(table);
    let axes = [Axis::new("ms"), Axis::new("part")];
    let title = "Part of the seeks whose first byte is there";
    figure.plots.push(Plot { name: "viewer", title, axes, series });
    figure
}
