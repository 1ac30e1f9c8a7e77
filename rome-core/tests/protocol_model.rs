//! The commit protocol over several homes, explored exhaustively: every order of messages, each lost, late or repeated, a client that stops at
//! any point (it is one whose replies stay away), and recoveries at any time.
//!
//! Homes are modelled by what `txn::protocol` says they do; coordinators and recoveries are the very code that production drives. The
//! last tests break the protocol on purpose and expect the checks to notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../tests/src/figures.rs"]
mod figures;
mod model;

use model::{Flaw, Item, Local, Model, Part, Spec};
use stateright::{Checker, HasDiscoveries, Model as _};
use std::time::Instant;

fn reads_and_writes(home: usize, reads: &[Item], writes: &[usize]) -> Part {
    Part { home, reads: reads.to_vec(), writes: writes.to_vec() }
}

/// Each of two transactions reads at one home what the other writes there: one may commit, not both.
fn write_skew() -> Model {
    Model::of(
        2,
        vec![
            Spec(vec![reads_and_writes(0, &[Item::Key(0)], &[]), reads_and_writes(1, &[], &[0])]),
            Spec(vec![reads_and_writes(1, &[Item::Key(0)], &[]), reads_and_writes(0, &[], &[0])]),
        ],
    )
}

/// The same with ranges: each inserts a key into what the other has scanned.
fn phantoms() -> Model {
    let scan = [Item::Range(0, 2)];
    Model::of(
        2,
        vec![
            Spec(vec![reads_and_writes(0, &scan, &[]), reads_and_writes(1, &[], &[1])]),
            Spec(vec![reads_and_writes(1, &scan, &[]), reads_and_writes(0, &[], &[1])]),
        ],
    )
}

/// Two transfers between the same two accounts at two homes, with a local deposit to one of them.
fn transfers() -> Model {
    let both = || Spec(vec![reads_and_writes(0, &[Item::Key(0)], &[0]), reads_and_writes(1, &[Item::Key(0)], &[0])]);
    let mut model = Model::of(2, vec![both(), both()]);
    model.locals = vec![Local { home: 0, reads: vec![Item::Key(0)], writes: vec![0] }];
    model
}

/// One transaction over three homes that writes without reading, and a local one that writes after it.
fn three_homes() -> Model {
    let blind = |home| reads_and_writes(home, &[], &[0]);
    let mut model = Model::of(3, vec![Spec(vec![blind(0), blind(1), blind(2)])]);
    model.locals = vec![Local { home: 1, reads: vec![], writes: vec![0] }];
    model
}

/// Three transactions, each reading at one home what the next one writes: any two may commit, not all three.
fn ring() -> Model {
    let link = |home: usize| {
        Spec(vec![reads_and_writes(home, &[Item::Key(0)], &[]), reads_and_writes((home + 1) % 3, &[], &[0])])
    };
    Model { recovered: 1, ..Model::of(3, vec![link(0), link(1), link(2)]) }
}

/// Explores everything, and notes how much that is.
fn holds(name: &str, model: Model) {
    let begun = Instant::now();
    let checker = model.checker().threads(2).spawn_bfs().join();
    let (states, depth, seconds) = (checker.unique_state_count(), checker.max_depth(), begun.elapsed().as_secs_f64());
    figures::note(&format!("protocol model, {name}: {states} states, depth {depth}, {seconds:.1} s"));
    checker.assert_properties();
}

/// Finds a history that breaks one of these properties.
fn is_caught(model: Model, flaw: Flaw, properties: &[&'static str]) {
    let broken = HasDiscoveries::AnyOf(properties.iter().copied().collect());
    let checker = Model { flaw: Some(flaw), ..model }.checker().threads(2).finish_when(broken).spawn_bfs().join();
    let found: Vec<&str> = checker.discoveries().into_keys().filter(|name| properties.contains(name)).collect();
    let states = checker.unique_state_count();
    figures::note(&format!("protocol model, {flaw:?}: {states} states, broken: {found:?}"));
    assert!(!found.is_empty(), "{flaw:?} was not noticed");
}

const SAFETY: [&str; 4] = ["atomic", "acknowledged", "once", "serializable"];

#[test]
fn two_homes_write_skew() {
    holds("write skew", write_skew());
}

#[test]
fn two_homes_phantoms() {
    holds("phantoms", phantoms());
}

#[test]
fn two_homes_transfers() {
    holds("transfers", transfers());
}

#[test]
fn three_homes_with_a_local_writer() {
    holds("three homes", three_homes());
}

#[test]
fn three_homes_ring() {
    holds("ring", ring());
}

#[test]
fn without_read_marks() {
    is_caught(write_skew(), Flaw::NoReadMarks, &["serializable"]);
}

#[test]
fn without_range_marks() {
    is_caught(phantoms(), Flaw::NoRangeMarks, &["serializable"]);
}

#[test]
fn aborting_without_poison() {
    is_caught(write_skew(), Flaw::NoPoison, &SAFETY);
}

#[test]
fn finalising_before_the_decision() {
    is_caught(write_skew(), Flaw::FinalisesEarly, &["atomic", "acknowledged"]);
}

#[test]
fn using_a_collected_transaction_again() {
    is_caught(three_homes(), Flaw::ForgetsLanes, &["once", "atomic"]);
}

/// Whatever happened before: once messages arrive again, nothing stays marked.
#[test]
fn every_history_can_be_brought_to_its_end() {
    for (name, model) in [("write skew", write_skew()), ("transfers", transfers()), ("three homes", three_homes())] {
        for seed in 0..500 {
            model::end_of_a_random_history(&model, seed)
                .unwrap_or_else(|problem| panic!("{name}, seed {seed}: {problem}"));
        }
    }
}
