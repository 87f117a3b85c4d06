//! 1: one reader with more and more sources, of which one is bad.

use std::time::Duration;

use datnode_proto::{Target, Want};

use super::plot::{Axis, Plot};
use super::star::{FAST, Habit, Source, Star};
use super::table::Table;
use super::{Figure, megabytes};
use crate::swarm::Content;

const BLOCKS: u64 = 1_024;
const BLOCK_BYTES: usize = 64 << 10;
/// What it may cost to have one source more, in parts of a hundred: when a want begins nobody knows who is slow.
const COST: f64 = 1.0;

const SOURCES: [Source; 8] = [
    Source::new(4_000_000, 10),
    Source::new(1_000_000, 40),
    Source::new(2_000_000, 20),
    Source::new(500_000, 80),
    Source::new(3_000_000, 5),
    Source::new(1_000_000, 60),
    Source::new(2_000_000, 30),
    Source::new(250_000, 100),
];

/// Sources that nobody would want, with their names.
const BAD: [(&str, Source); 3] = [
    ("slow", Source::new(10_000, 200)),
    ("stalls", Source { habit: Habit::Stalls(20), ..Source::new(2_000_000, 20) }),
    ("lies", Source { habit: Habit::Lies, ..Source::new(2_000_000, 20) }),
];

/// Returns how many bytes a second a reader gets of these sources.
fn throughput(sources: &[Source]) -> f64 {
    let content = Content::new(BLOCKS, BLOCK_BYTES);
    let bytes = content.bytes();
    let mut star = Star::new(content, FAST, sources);
    let want = star.want(Want::new(Target::Blocks(vec![0..BLOCKS])));
    let took = star.finish(want, Duration::from_secs(600));
    took.map_or(0.0, |took| bytes as f64 / took.as_secs_f64())
}

pub(super) fn run() -> Figure {
    let about = format!(
        "{BLOCKS} blocks of 64 KiB for one reader from sources of different rates, 5 to 100 ms away; MB a second.\n\
         A bad one besides sends 10 kB a second, or nothing after 20 blocks, or claims what it has not."
    );
    let mut figure = Figure { about, ..Figure::default() };
    let mut table =
        Table::new(&["sources", "their rates", "got", "and slow", "and stalls", "and lies"]);
    let mut lines = vec![(String::from("their rates"), vec![]), (String::from("got"), vec![])];
    lines.extend(BAD.map(|(name, _)| (format!("and one that {name}"), vec![])));
    let mut before = 0.0;
    for count in [1, 2, 4, 8] {
        let sources = &SOURCES[..count];
        let rates = sources.iter().map(|source| source.rate).sum::<u64>() as f64;
        let got = throughput(sources);
        let bad = BAD.map(|(_, bad)| throughput(&[sources, &[bad]].concat()));
        let all = [[rates, got].as_slice(), &bad].concat();
        table.row(
            [count.to_string()].into_iter().chain(all.iter().map(|r| megabytes(*r))).collect(),
        );
        for ((_, points), rate) in lines.iter_mut().zip(&all) {
            points.push([count as f64, rate / 1e6]);
        }
        promise_no_less(&mut figure, &format!("{count} good"), got, before);
        for ((name, _), bad) in BAD.iter().zip(bad) {
            promise_no_less(&mut figure, &format!("{count} and one bad ({name})"), bad, got);
        }
        before = got;
    }
    figure.tables.push(table);
    let axes = [Axis::new("good sources"), Axis::new("MB/s")];
    let title = "What one reader gets of several sources";
    figure.plots.push(Plot { name: "sources", title, axes, series: lines });
    figure
}

fn promise_no_less(figure: &mut Figure, what: &str, got: f64, before: f64) {
    let change = if before > 0.0 { (got / before - 1.0) * 100.0 } else { 0.0 };
    let is_kept = got > 0.0 && change >= -COST;
    figure.promise(is_kept, format!("{what}: {change:+.1} % beside what it was without"));
}
