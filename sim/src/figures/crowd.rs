//! 6: a swarm with one seed, and one whose peers come and go.
//!
//! Each host has one line for all its connections, all of the same rate, and its neighbours at random. Nobody can be done before
//! the content has passed a line, neither the seed's nor its own: that is the bound. A content that is small has passed it
//! before the first blocks have gone from hand to hand; a host with few neighbours is asked by few, and asks few.

use std::time::Duration;

use datnode_proto::{Instant, Target, Want};

use super::Figure;
use super::plot::{Axis, Plot};
use super::table::Table;
use crate::swarm::{Content, Light, Line, Swarm};
use crate::{HostId, Random};

const BLOCK_BYTES: usize = 64 << 10;
const RATE: u64 = 5_000_000;
/// One of so many leaves in a second.
const LEAVES: usize = 100;
/// Everybody has to be done by then.
const END: Instant = Instant(300_000_000);
/// What is promised of the time, in parts of the bound, and of what the seed sends, in parts of the content.
const TIME_MOST: f64 = 1.3;
const SEED_MOST: f64 = 2.0;
/// What may come twice, in parts of all blocks that come.
const WASTED_MOST: f64 = 0.1;

const SEED: HostId = HostId(0);

#[derive(Clone, Copy)]
struct Setting {
    /// How many peers there are beside the seed.
    peers: usize,
    /// How many blocks the content has.
    blocks: u64,
    /// How many others a host connects with; about as many connect with it.
    dials: u64,
}

/// Some peers, and a content that is fetched within seconds.
const SMALL: Setting = Setting { peers: 100, blocks: 512, dials: 5 };
/// The same peers, who know more of each other.
const DENSE: Setting = Setting { dials: 20, ..SMALL };
/// The same peers, and a content that takes a minute.
const LONG: Setting = Setting { blocks: 4_096, dials: 10, ..SMALL };
/// Many peers.
const LARGE: Setting = Setting { peers: 1_000, ..SMALL };
/// Many peers, and a content that takes a minute.
const LARGE_LONG: Setting = Setting { peers: 1_000, ..LONG };

impl Setting {
    /// Returns what the content takes on a line, in seconds.
    fn bound(&self) -> f64 {
        (self.blocks * BLOCK_BYTES as u64) as f64 / RATE as f64
    }
}

struct Crowd {
    swarm: Swarm,
    random: Random,
    content: Content,
    setting: Setting,
    /// Who is there now, but for the seed.
    present: Vec<HostId>,
}

/// What came of it.
struct Outcome {
    /// When those were done who were there all the time, in seconds.
    done: Vec<f64>,
    /// How many of those who are there at the end are not done.
    left_over: usize,
    /// What the seed sent, in parts of the content.
    seed: f64,
    /// Blocks that came twice, in parts of all that came.
    wasted: f64,
}

impl Crowd {
    fn new(setting: Setting) -> Self {
        let Setting { peers, blocks, dials } = setting;
        let content = Content::new(blocks, BLOCK_BYTES);
        let (swarm, random) = (Swarm::new(1), Random::new(1));
        let mut crowd = Self { swarm, random, content, setting, present: Vec::new() };
        crowd.swarm.host(Line::even(RATE), Light::full(&crowd.content));
        let hosts: Vec<HostId> = (0..peers).map(|_| crowd.join()).collect();
        [SEED].into_iter().chain(hosts).for_each(|host| crowd.dial(host, dials));
        crowd
    }

    fn join(&mut self) -> HostId {
        let host = self.swarm.host(Line::even(RATE), Light::empty(&self.content));
        self.swarm.want(host, Want::new(Target::Blocks(vec![0..self.setting.blocks])));
        self.present.push(host);
        host
    }

    /// Connects a host with others, 10 to 100 ms away.
    fn dial(&mut self, host: HostId, count: u64) {
        for _ in 0..count {
            let at = self.random.below(self.present.len() as u64 + 1) as usize;
            let other = self.present.get(at).copied().unwrap_or(SEED);
            let latency = Duration::from_micros(5_000 + self.random.below(45_000));
            if other != host {
                self.swarm.connect(host, other, latency);
            }
        }
    }

    /// Some leave, and as many join.
    fn churn(&mut self) {
        let count = self.setting.peers / LEAVES;
        for _ in 0..count {
            let at = self.random.below(self.present.len() as u64) as usize;
            let host = self.present.swap_remove(at);
            self.swarm.leave(host);
        }
        for _ in 0..count {
            let host = self.join();
            self.dial(host, 2 * self.setting.dials);
        }
    }

    fn is_done(&self, host: &HostId) -> bool {
        !self.swarm.at(*host).done.is_empty()
    }

    /// Returns those who were there from the beginning.
    fn stayed(&self) -> impl Iterator<Item = &HostId> {
        self.present.iter().filter(|host| host.0 <= self.setting.peers)
    }

    /// Runs until everybody is done; peers come and go until those are who stay.
    fn run(mut self, churns: bool) -> Outcome {
        while self.swarm.now < END && !self.present.iter().all(|host| self.is_done(host)) {
            if churns && !self.stayed().all(|host| self.is_done(host)) {
                self.churn();
            }
            self.swarm.run(self.swarm.now + Duration::from_secs(1));
        }
        let done = self.stayed().filter_map(|host| self.swarm.at(*host).done.values().next());
        let mut done: Vec<f64> = done.map(|at| at.0 as f64 / 1e6).collect();
        done.sort_unstable_by(f64::total_cmp);
        let left_over = self.present.iter().filter(|host| !self.is_done(host)).count();
        let seed = self.swarm.at(SEED).left_bytes as f64 / self.content.bytes() as f64;
        let wasted: u64 = self.swarm.hosts().map(|host| host.wasted()).sum();
        let came: u64 = self.swarm.hosts().map(|host| host.came).sum();
        Outcome { done, left_over, seed, wasted: wasted as f64 / came as f64 }
    }
}

/// Everybody stays.
pub(super) fn stays() -> Figure {
    run("crowd", SMALL, false)
}

/// Everybody stays, and has many neighbours.
pub(super) fn stays_dense() -> Figure {
    run("dense-crowd", DENSE, false)
}

/// Everybody stays, for a longer time.
pub(super) fn stays_long() -> Figure {
    run("long-crowd", LONG, false)
}

/// Some leave and join in each second.
pub(super) fn churns() -> Figure {
    run("churn", SMALL, true)
}

/// Many stay.
pub(super) fn many_stay() -> Figure {
    run("large-crowd", LARGE, false)
}

/// Many stay, for a longer time.
pub(super) fn many_stay_long() -> Figure {
    run("large-long-crowd", LARGE_LONG, false)
}

/// Of many some leave and join in each second.
pub(super) fn many_churn() -> Figure {
    run("large-churn", LARGE, true)
}

fn run(name: &'static str, setting: Setting, churns: bool) -> Figure {
    let Setting { peers, blocks, dials } = setting;
    let bound = setting.bound();
    let change = if churns { ", of whom 1 % leave in a second and as many join" } else { "" };
    let about = format!(
        "Blocks of 64 KiB from one seed to peers{change}. Lines of {} MB/s up and down.\n\
         Neighbours: how many each has, about. Seed: what it sent, in parts of the content. Wasted: of the blocks that came.",
        RATE / 1_000_000
    );
    let mut figure = Figure { about, ..Figure::default() };
    let head = [
        "peers",
        "neighbours",
        "blocks",
        "bound s",
        "stayed",
        "median s",
        "last s",
        "x bound",
        "seed",
        "wasted %",
    ];
    let mut table = Table::new(&head);
    let Outcome { done, left_over, seed, wasted } = Crowd::new(setting).run(churns);
    let last = done.last().copied().unwrap_or(f64::INFINITY);
    table.row(vec![
        peers.to_string(),
        (2 * dials).to_string(),
        blocks.to_string(),
        format!("{bound:.2}"),
        done.len().to_string(),
        format!("{:.2}", done.get(done.len() / 2).copied().unwrap_or(f64::INFINITY)),
        format!("{last:.2}"),
        format!("{:.2}", last / bound),
        format!("{seed:.2}"),
        format!("{:.1}", wasted * 100.0),
    ]);
    figure.tables.push(table);
    figure.promise(left_over == 0, format!("{peers}: all who stay are done ({left_over} are not)"));
    if !churns {
        let times = last / bound;
        let what = format!("{peers}: the last is done within {TIME_MOST} x the bound ({times:.2})");
        figure.promise(times <= TIME_MOST, what);
        let what = format!("{peers}: the seed sends at most {SEED_MOST} x the content ({seed:.2})");
        figure.promise(seed <= SEED_MOST, what);
        let (most, percent) = (WASTED_MOST * 100.0, wasted * 100.0);
        let what = format!("{peers}: at most {most} % of what comes was here ({percent:.1} %)");
        figure.promise(wasted <= WASTED_MOST, what);
    }
    let part = |(at, number): (&f64, i32)| [*at, f64::from(number) / done.len() as f64];
    let series = vec![(format!("{peers} peers"), done.iter().zip(1..).map(part).collect())];
    let title = match churns {
        true => "Part of the peers that are done, while others come and go",
        false => "Part of the peers that are done",
    };
    let axes = [Axis::new("s"), Axis::new("part")];
    figure.plots.push(Plot { name, title, axes, series });
    figure
}
