//! 2: sources of very different speeds, with hot-swap and without.

use std::time::Duration;

use datnode_proto::{Target, Want};

use super::plot::{Axis, Plot};
use super::star::{FAST, Source, Star};
use super::table::Table;
use super::{Figure, seconds};
use crate::swarm::Content;

const BLOCK_BYTES: usize = 64 << 10;

/// One reader and its sources.
struct Scene {
    name: &'static str,
    blocks: u64,
    sources: Vec<Source>,
}

/// What came of it.
struct Outcome {
    took: Option<Duration>,
    /// Blocks that came more than once.
    wasted: u64,
    /// When blocks were stored, in seconds.
    stored: Vec<f64>,
}

fn scenes() -> [Scene; 3] {
    let fast = Source::new(10_000_000, 5);
    let mut slow = vec![Source::new(100_000, 250); 20];
    slow.push(fast);
    let mut far = vec![Source::new(1_000_000, 10_000); 20];
    far.push(fast);
    [
        Scene { name: "20 slow, 1 fast", blocks: 1_024, sources: slow },
        Scene { name: "20 far, 1 fast", blocks: 500, sources: far },
        Scene { name: "8 equal", blocks: 2_048, sources: vec![Source::new(1_000_000, 20); 8] },
    ]
}

impl Scene {
    fn rate(&self) -> u64 {
        self.sources.iter().map(|source| source.rate).sum()
    }

    fn run(&self, hotswap: bool) -> Outcome {
        let content = Content::new(self.blocks, BLOCK_BYTES);
        let mut star = Star::new(content, FAST, &self.sources);
        let target = Target::Blocks(vec![0..self.blocks]);
        let want = star.want(Want { hotswap, ..Want::new(target) });
        let took = star.finish(want, Duration::from_secs(600));
        // What is on its way counts, though nobody waits for it.
        star.swarm.run(star.swarm.now + Duration::from_secs(120));
        let reader = star.swarm.at(star.reader);
        let since = |at: datnode_proto::Instant| at.since(star.began).as_secs_f64();
        let stored = reader.stored.iter().map(|(at, _)| since(*at)).collect();
        Outcome { took, wasted: reader.wasted(), stored }
    }
}

pub(super) fn run() -> Figure {
    let about = String::from(
        "Blocks of 64 KiB for one reader. Slow: 100 kB/s, 0.5 s round trip; far: 1 MB/s, 20 s round trip; fast: 10 MB/s, 10 ms;\n\
         equal: 1 MB/s, 40 ms. The bound is all rates together. Wasted: what came twice, also after the end.",
    );
    let mut figure = Figure { about, ..Figure::default() };
    let mut table = Table::new(&[
        "sources", "blocks", "hot-swap", "bound s", "took s", "x bound", "wasted", "%",
    ]);
    let mut series = Vec::new();
    for scene in scenes() {
        let bound = (scene.blocks * BLOCK_BYTES as u64) as f64 / scene.rate() as f64;
        for hotswap in [true, false] {
            let outcome = scene.run(hotswap);
            let took = outcome.took.map_or(f64::INFINITY, |took| took.as_secs_f64());
            let part = outcome.wasted as f64 * 100.0 / scene.blocks as f64;
            table.row(vec![
                String::from(scene.name),
                scene.blocks.to_string(),
                String::from(if hotswap { "on" } else { "off" }),
                seconds(bound),
                seconds(took),
                format!("{:.2}", took / bound),
                outcome.wasted.to_string(),
                format!("{part:.1}"),
            ]);
            promise(&mut figure, &scene, hotswap, took, &outcome);
            let points = outcome.stored.iter().zip(1..).map(|(at, n)| [*at, f64::from(n)]);
            let name = if hotswap { "hot-swap" } else { "without" };
            series.push((format!("{}, {name}", scene.name), points.collect()));
        }
    }
    figure.tables.push(table);
    let axes = [Axis::log("s"), Axis::new("blocks")];
    figure.plots.push(Plot { name: "hotswap", title: "Blocks that are here", axes, series });
    figure
}

fn promise(figure: &mut Figure, scene: &Scene, hotswap: bool, took: f64, outcome: &Outcome) {
    let Scene { name, blocks, .. } = scene;
    if !hotswap && *name == "20 far, 1 fast" {
        // Who is silent for so long is asked for nothing more, whether others may take over or not.
        return;
    }
    if !hotswap {
        let what = format!("{name}: without hot-swap nothing comes twice ({})", outcome.wasted);
        return figure.promise(outcome.wasted == 0, what);
    }
    match *name {
        "20 far, 1 fast" => {
            let what = format!("{name}: done long before a far one can answer ({took:.1} s of 20)");
            figure.promise(took < 10.0, what);
        }
        "8 equal" => {
            let what = format!("{name}: at most 1 % comes twice ({} of {blocks})", outcome.wasted);
            figure.promise(outcome.wasted * 100 <= *blocks, what);
        }
        _ => {
            let alone = (blocks * BLOCK_BYTES as u64) as f64 / 1e7;
            let what =
                format!("{name}: no slower than the fast one alone ({took:.1} s of {alone:.1})");
            figure.promise(took <= alone, what);
        }
    }
}
