//! What goes wrong when the existing project's tunneled-deployment guide is followed, row by row: the tests that prove
//! what ours does instead, and the faults that `interlinkctl check` must name where an operator can still bring them about.
//! Neither the tests nor the words that they assert can go without this table noticing.
#![allow(clippy::unwrap_used, clippy::panic)]

mod planted;
mod rows;

use std::collections::BTreeSet;
use std::fs;

use interlink_testkit::binaries::workspace;
use planted::{NO_FAULT, PLANTED};
use rows::ROWS;

pub(crate) const HEALTH: &str = "e2e/tests/units_health.rs";
pub(crate) const CHECK: &str = "crates/ctl/tests/check/main.rs";
pub(crate) const CLUSTER: &str = "crates/ctl/tests/check/cluster.rs";
pub(crate) const REMOTE: &str = "crates/ctl/tests/check/remote.rs";
pub(crate) const SERVICES: &str = "crates/ctl/src/check/units.rs";
pub(crate) const NODE: &str = "crates/ctl/src/check/cluster.rs";
pub(crate) const PINGS: &str = "crates/ctl/src/check/ping.rs";
pub(crate) const STOPPED: &str = "a_healthy_chain_has_no_fault_and_one_after_the_other_is_named_when_it_is_stopped";

/// The source of a test, from its name to the next one.
fn source(file: &str, test: &str) -> String {
    let text = fs::read_to_string(workspace().join(file)).unwrap_or_else(|why| panic!("{file}: {why}"));
    let name = format!("fn {test}()");
    let at = text.find(&name).unwrap_or_else(|| panic!("{file} has no {test}"));
    let before: Vec<&str> = text[..at].lines().rev().take(4).collect();
    assert!(before.iter().any(|line| line.trim().starts_with("#[test]") || line.contains("#[tokio::test")), "{test}");
    assert!(!before.iter().any(|line| line.contains("#[ignore")), "{test}");
    let rest = &text[at..];
    let end = ["#[test]", "#[tokio::test"].iter().filter_map(|mark| rest.find(mark)).min();
    rest[..end.unwrap_or(rest.len())].to_owned()
}

#[test]
fn every_row_has_tests_that_are_there() {
    let numbers: Vec<u8> = ROWS.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=36).collect::<Vec<u8>>());
    for row in ROWS {
        assert!(!row.proofs.is_empty() && !row.guide.is_empty(), "row {}", row.number);
        for (file, test) in row.proofs {
            source(file, test);
        }
    }
}

#[test]
fn every_row_that_can_still_go_wrong_has_a_planted_fault() {
    let planted: BTreeSet<u8> = PLANTED.iter().map(|(row, ..)| *row).filter(|row| *row > 0).collect();
    let without: BTreeSet<u8> = NO_FAULT.iter().map(|(row, _)| *row).collect();
    assert!(planted.is_disjoint(&without), "{planted:?} {without:?}");
    assert_eq!(planted.union(&without).copied().collect::<Vec<u8>>(), (1..=36).collect::<Vec<u8>>());
}

#[test]
fn the_words_of_every_planted_fault_are_asserted() {
    let mut words = BTreeSet::new();
    for (_, file, test, said) in PLANTED {
        assert!(source(file, test).contains(&said.replace('"', "\\\"")), "{test} does not assert {said:?}");
        words.insert(said);
    }
    assert_eq!(words.len(), PLANTED.len(), "each fault counts once");
    assert!(words.len() >= 40);
}
