//! 5: an even sample at any time: after each k blocks, how large the largest gap between them is.

use std::time::Duration;

use datnode_proto::{Order, Target, Want};

use super::Figure;
use super::plot::{Axis, Plot};
use super::star::{FAST, Source, Star};
use super::table::Table;
use crate::swarm::Content;

/// Returns the blocks in the order in which they came.
fn order(blocks: u64) -> Vec<u64> {
    let content = Content::new(blocks, 64 << 10);
    let mut star = Star::new(content, FAST, &[Source::new(1_000_000, 20)]);
    let target = Target::Blocks(vec![0..blocks]);
    let want = star.want(Want { order: Order::Bisect, ..Want::new(target) });
    let _ = star.finish(want, Duration::from_secs(600));
    star.swarm.at(star.reader).stored.iter().map(|(_, block)| *block).collect()
}

/// Returns the length of the longest run of blocks that are not among these.
fn largest_gap(here: &[u64], blocks: u64) -> u64 {
    let mut here = here.to_vec();
    here.sort_unstable();
    let ends = here.iter().copied().chain([blocks]);
    let starts = [0].into_iter().chain(here.iter().map(|block| block + 1));
    starts.zip(ends).map(|(start, end)| end - start).max().unwrap_or(0)
}

pub(super) fn run() -> Figure {
    let about = String::from(
        "One reader, one source, 1 MB/s, 40 ms round trip. After k blocks of n came, the most missing blocks in a row;\n\
         the least possible is (n - k) / (k + 1), rounded up.",
    );
    let mut figure = Figure { about, ..Figure::default() };
    let mut table = Table::new(&["k", "1,023", "least", "1,000", "least"]);
    let counts: Vec<usize> = (1..10).map(|power| (1 << power) - 1).collect();
    let mut rows: Vec<Vec<String>> = counts.iter().map(|k| vec![k.to_string()]).collect();
    let mut series = Vec::new();
    for blocks in [1_023, 1_000] {
        let order = order(blocks);
        let (mut points, mut bounds, mut worst) = (Vec::new(), Vec::new(), 0);
        for (k, row) in counts.iter().zip(&mut rows) {
            let gap = largest_gap(&order[..(*k).min(order.len())], blocks);
            let least = (blocks - *k as u64).div_ceil(*k as u64 + 1);
            row.extend([gap.to_string(), least.to_string()]);
            points.push([*k as f64, gap as f64]);
            bounds.push([*k as f64, least as f64]);
            worst = worst.max(gap - least);
        }
        let what = format!("{blocks} blocks: never more than the least possible (by {worst})");
        figure.promise(worst == 0 && order.len() as u64 == blocks, what);
        series.extend([(format!("{blocks} blocks"), points), (format!("{blocks}, least"), bounds)]);
    }
    rows.into_iter().for_each(|row| table.row(row));
    figure.tables.push(table);
    let axes = [Axis::log("blocks here"), Axis::log("largest gap")];
    figure.plots.push(Plot { name: "bisect", title: "The largest gap", axes, series });
    figure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_lie_before_between_and_behind() {
        assert_eq!(largest_gap(&[], 10), 10);
        assert_eq!(largest_gap(&[9, 2], 10), 6);
        assert_eq!(largest_gap(&[0, 1], 10), 8);
    }
}
