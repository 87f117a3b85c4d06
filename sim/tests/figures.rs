//! The figures of swarms are what was kept of them, and what is promised of them holds.

use datnode_sim::figures::{EXPERIMENTS, section};

/// What is promised and not reached so far, by experiment and the beginning of the promise; whoever reaches one takes it out.
const NOT_REACHED: [(&str, &str); 3] = [
    ("crowd", "100: the last is done within"),
    ("dense-crowd", "100: the last is done within"),
    ("large-crowd", "1000: the last is done within"),
];
const KEEP: &str = "cargo run --release --locked -p datnode-sim -- figures --keep";

/// Returns the lines of each that are not in the other.
fn differences(kept: &str, now: &str) -> String {
    let only = |sign: char, these: &str, others: &str| {
        let lines = these.lines().filter(|line| !others.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    only('-', kept, now) + &only('+', now, kept)
}

fn check(name: &str) {
    let experiment = EXPERIMENTS.iter().find(|one| one.name == name).unwrap();
    let figure = experiment.run();
    let known =
        |what: &str| NOT_REACHED.iter().any(|(at, start)| *at == name && what.starts_with(start));
    let broken: Vec<&str> = figure.broken().filter(|what| !known(what)).collect();
    assert!(broken.is_empty(), "{name}: promises that do not hold:\n{}", broken.join("\n"));
    let reached = figure.promises.iter().find(|promise| promise.is_kept && known(&promise.what));
    assert!(reached.is_none(), "{name}: it is reached now: {reached:?}");
    let kept = section(include_str!("../figures.txt"), name).unwrap_or_default();
    let now = figure.section(name);
    assert!(
        kept == now,
        "{name}: other figures than those kept:\n{}If that is right: {KEEP}",
        differences(kept, &now)
    );
}

#[test]
fn nobody_is_slower_with_one_source_more() {
    check("sources");
}

#[test]
fn who_would_be_done_sooner_takes_over() {
    check("hotswap");
}

#[test]
fn what_is_urgent_overtakes_bulk() {
    check("urgent");
}

#[test]
fn who_seeks_sees_something_soon() {
    check("viewer");
}

#[test]
fn those_who_know_one_other_meet_and_lose_nobody_when_many_leave() {
    check("meeting");
}

#[test]
fn a_bisected_feed_is_an_even_sample_at_any_time() {
    check("bisect");
}

#[test]
fn a_swarm_takes_little_more_than_the_time_of_one_line() {
    check("crowd");
}

#[test]
fn who_stays_in_a_swarm_is_done_though_others_come_and_go() {
    check("churn");
}

#[test]
fn a_peer_of_a_large_feed_takes_no_more_memory() {
    check("picker");
}

#[test]
#[ignore = "minutes: cargo test --release --locked -p datnode-sim --test figures -- --ignored"]
fn who_has_many_neighbours_gets_little_twice() {
    check("dense-crowd");
}

#[test]
#[ignore = "minutes: cargo test --release --locked -p datnode-sim --test figures -- --ignored"]
fn a_swarm_with_much_to_do_takes_no_more_than_is_promised() {
    check("long-crowd");
}

#[test]
#[ignore = "minutes: cargo test --release --locked -p datnode-sim --test figures -- --ignored"]
fn a_large_swarm_takes_no_longer() {
    check("large-crowd");
}

#[test]
#[ignore = "three quarters of an hour: cargo test --release --locked -p datnode-sim --test figures -- --ignored"]
fn a_large_swarm_with_much_to_do_takes_no_more_than_is_promised() {
    check("large-long-crowd");
}

#[test]
#[ignore = "minutes: cargo test --release --locked -p datnode-sim --test figures -- --ignored"]
fn who_stays_in_a_large_swarm_is_done_as_well() {
    check("large-churn");
}

#[test]
#[ignore = "minutes: cargo test --release --locked -p datnode-sim --test figures -- --ignored"]
fn hundreds_who_know_one_other_meet_as_well() {
    check("large-meeting");
}

#[test]
fn every_experiment_is_a_test_and_is_kept() {
    for experiment in EXPERIMENTS {
        assert!(section(include_str!("../figures.txt"), experiment.name).is_some());
        assert!(include_str!("figures.rs").contains(&format!("check(\"{}\")", experiment.name)));
    }
}
