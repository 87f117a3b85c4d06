//! 3: what is urgent while bulk takes all that a line carries.
//!
//! The reader pulls everything; at random moments it wants one block more urgently than that, one that is already owed by somebody
//! perhaps. A server *begins* a block when it puts it into its send buffer, from where nothing overtakes it.

use std::collections::BTreeMap;
use std::time::Duration;

use datnode_proto::limits::{BLOCK_COST, CREDIT_START, SIBLING_COST};
use datnode_proto::{Instant, PeerId, Priority, Target, Want};

use super::plot::{Axis, Plot};
use super::star::{Source, Star};
use super::table::Table;
use super::{Figure, milliseconds};
use crate::Random;
use crate::swarm::Content;
use crate::swarm::log::{Log, Passed, Way, What};

const RATE: u64 = 10_000_000;
const BLOCKS: u64 = 8_192;
const BLOCK_BYTES: usize = 64 << 10;
const URGENT: Priority = Priority(200);
/// How often something is urgent in each scene.
const TIMES: usize = 60;
/// How many other blocks may be begun before what is urgent.
const OTHERS_MAX: u64 = 2;

/// How one urgent block came.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// Whether it was asked for more urgently than bulk is.
    is_urgent: bool,
    /// How many other blocks its server began after it was asked.
    others: u64,
    /// What came from this server before, as credit counts it.
    bytes: u64,
    /// The credit that the server had when it was asked.
    credit: u64,
    took: Duration,
}

struct Scene {
    star: Star,
    random: Random,
    /// Of each source, what it was granted, and what of that it used.
    credit: BTreeMap<PeerId, (u64, u64)>,
}

impl Scene {
    fn new(sources: usize, rtt_ms: u64) -> Self {
        let content = Content::new(BLOCKS, BLOCK_BYTES);
        let latency = Duration::from_micros(rtt_ms * 500);
        let source = Source { latency, ..Source::new(RATE, 0) };
        let mut star = Star::new(content, RATE, &vec![source; sources]);
        star.swarm.log = Some(Log::default());
        star.want(Want::new(Target::Blocks(vec![0..BLOCKS])));
        let credit = star.sources.iter().map(|(_, peer, _)| (*peer, (CREDIT_START, 0)));
        let (credit, random) = (credit.collect(), Random::new(rtt_ms + sources as u64));
        let mut scene = Self { star, random, credit };
        scene.pass(Duration::from_secs(3));
        scene
    }

    /// Lets time pass, and counts what the sources were granted and used.
    fn pass(&mut self, span: Duration) {
        self.star.swarm.run(self.star.swarm.now + span);
        let log = self.star.swarm.log.replace(Log::default()).unwrap_or_default();
        log.0.iter().for_each(|passed| self.account(passed));
    }

    fn account(&mut self, passed: &Passed) {
        let Some((granted, used)) = self.credit.get_mut(&passed.peer) else { return };
        match (passed.way, passed.what) {
            (Way::Left, What::Credit(total)) => *granted = total,
            (Way::Came, What::Block { cost, .. }) => *used += cost,
            _ => {}
        }
    }

    /// Wants a block that is not here, at random; returns how it comes.
    fn ask(&mut self) -> Option<Answer> {
        let (first, store) =
            (self.random.below(BLOCKS), &self.star.swarm.at(self.star.reader).store);
        let block = (first..BLOCKS).chain(0..first).find(|block| !store.has(*block))?;
        let began = self.star.swarm.now;
        let target = Target::Blocks(vec![block..block + 1]);
        let want = self.star.want(Want { priority: URGENT, ..Want::new(target) });
        self.star.finish(want, Duration::from_secs(600))?;
        self.answer(block, began)
    }

    /// Returns how a block came that was wanted then, from what passed since.
    fn answer(&mut self, block: u64, began: Instant) -> Option<Answer> {
        let log = self.star.swarm.log.replace(Log::default())?.0;
        let is_it = |passed: &Passed| passed.what.block() == Some(block);
        let is_request = |passed: &Passed| passed.what.priority() == Some(URGENT);
        let came = log.iter().position(|passed| passed.way == Way::Came && is_it(passed))?;
        let ours = log[came].peer;
        let (server, _, source) = *self.star.sources.iter().find(|(_, peer, _)| *peer == ours)?;
        // Bulk may bring it as well, for which it was asked before.
        let at_server = log.iter().filter(|passed| passed.host == server);
        let request = at_server.clone().find(|passed| is_request(passed));
        let asked_at = request.map_or(began + source.latency, |request| request.at);
        // It may have been on its way already.
        let begun = at_server.filter(|passed| passed.way == Way::Left);
        let blocks = begun.take_while(|passed| !is_it(passed));
        let after = blocks.filter(|passed| passed.what.block().is_some() && passed.at >= asked_at);
        let others = after.count() as u64;
        let asked = log.iter().position(|passed| passed.peer == ours && is_request(passed));
        log[..asked.unwrap_or(0)].iter().for_each(|passed| self.account(passed));
        let (granted, used) = self.credit[&ours];
        log[asked.unwrap_or(0)..came].iter().for_each(|passed| self.account(passed));
        let bytes = self.credit[&ours].1 - used;
        log[came..].iter().for_each(|passed| self.account(passed));
        let (is_urgent, took) = (request.is_some(), log[came].at.since(began));
        let credit = granted.saturating_sub(used);
        Some(Answer { is_urgent, others, bytes, credit, took })
    }
}

pub(super) fn run() -> Figure {
    let about = format!(
        "Blocks of 64 KiB over a line of 10 MB/s that bulk fills; {TIMES} times one block is wanted at priority 200.\n\
         Others: blocks that its server begins after it was asked. Before: what comes from that server first, as a part of\n\
         the credit that it had then. The least time is the round trip and 6.6 ms for the block."
    );
    let mut figure = Figure { about, ..Figure::default() };
    let head = [
        "sources, round trip",
        "asked",
        "others most",
        "before most",
        "credit kB",
        "ms median",
        "ms most",
    ];
    let mut table = Table::new(&head);
    let mut series = Vec::new();
    for sources in [1, 4] {
        for rtt_ms in [1, 20, 100] {
            let name = format!("{sources}, {rtt_ms} ms");
            let mut scene = Scene::new(sources, rtt_ms);
            let answers: Vec<Answer> = (0..TIMES)
                .filter_map(|_| {
                    let span = Duration::from_millis(100 + scene.random.below(200));
                    scene.pass(span);
                    scene.ask()
                })
                .collect();
            table.row(row(&name, &answers));
            promise(&mut figure, &name, &answers);
            series.push((name, shares(&answers)));
        }
    }
    figure.tables.push(table);
    let axes = [Axis::log("ms"), Axis::new("part")];
    let title = "Part of the urgent blocks that are here";
    figure.plots.push(Plot { name: "urgent", title, axes, series });
    figure
}

/// Returns how much came before an urgent block as a part of the credit.
fn part(answer: &Answer) -> f64 {
    answer.bytes as f64 / answer.credit.max(1) as f64
}

fn row(name: &str, answers: &[Answer]) -> Vec<String> {
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    times.sort_unstable();
    let time = |at: usize| times.get(at).map_or_else(String::new, |took| milliseconds(*took));
    let urgent = answers.iter().filter(|answer| answer.is_urgent).count();
    let others = answers.iter().map(|answer| answer.others).max().unwrap_or(0);
    let before = answers.iter().map(part).fold(0.0, f64::max);
    let credit =
        answers.iter().map(|answer| answer.credit).sum::<u64>() / answers.len().max(1) as u64;
    vec![
        String::from(name),
        format!("{urgent} of {}", answers.len()),
        others.to_string(),
        format!("{before:.2}"),
        (credit / 1_000).to_string(),
        time(times.len() / 2),
        time(times.len().wrapping_sub(1)),
    ]
}

fn promise(figure: &mut Figure, name: &str, answers: &[Answer]) {
    let urgent = answers.iter().filter(|answer| answer.is_urgent).count();
    figure.promise(
        answers.len() == TIMES,
        format!("{name}: each is asked for at once, or on its way ({urgent} of {TIMES} asked for)"),
    );
    let others = answers.iter().map(|answer| answer.others).max().unwrap_or(0);
    figure.promise(
        others <= OTHERS_MAX,
        format!("{name}: at most {OTHERS_MAX} other blocks are begun before ({others})"),
    );
    // The block that reaches the credit may go beyond it, and so may the others that were begun.
    let block = BLOCK_BYTES as u64 + BLOCK_COST + SIBLING_COST * u64::from(BLOCKS.ilog2());
    let beside = block * (1 + OTHERS_MAX);
    let is_kept = |answer: &Answer| answer.bytes <= answer.credit + beside;
    let broken = answers.iter().filter(|answer| !is_kept(answer)).count();
    figure.promise(
        broken == 0,
        format!("{name}: no more than the credit and these come before ({broken} times more)"),
    );
}

fn shares(answers: &[Answer]) -> Vec<[f64; 2]> {
    let mut times: Vec<f64> =
        answers.iter().map(|answer| answer.took.as_secs_f64() * 1e3).collect();
    times.sort_unstable_by(f64::total_cmp);
    let count = times.len() as f64;
    times.into_iter().zip(1..).map(|(took, at)| [took, f64::from(at) / count]).collect()
}
