//! What is promised of large drives holds for smaller ones too: blocks, bytes, round trips and memory, not time.

#![expect(clippy::print_stdout, reason = "a lane says what it did")]

use datnode_tests::scale::{Sizes, Unit, measure};

#[test]
fn a_large_drive_costs_no_more_than_is_promised() {
    let mut figures = Vec::new();
    measure(Sizes { files: 20_000, changes: 1_000, real: 20_000 }, &mut |figure| {
        println!("{figure}");
        figures.push(figure);
    });
    let counts = figures.iter().filter(|figure| figure.unit != Unit::Seconds);
    let missed: Vec<_> = counts.filter(|figure| !figure.holds()).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(figures.len() > 20, "{}", figures.len());
}
