//! Deterministic simulation: transactions over several homes on memory stores behind a network that delays, loses, repeats and cuts, with
//! clients that crash at any point, in virtual time. The same seed is the same run.
//!
//! `ROME_TEST_SEEDS=n` runs n seeds instead of the usual number, `ROME_TEST_SEED=s` only one, printing what happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../../tests/histories/checker.rs"]
mod checker;
mod copies;
mod escrow;
mod network;
mod sql;
mod world;

use network::Weather;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Outcome, Plan, run};

/// Runs in the gate.
const SEEDS: u64 = 1_000;

fn plan(seed: u64) -> Plan {
    let sites = 2 + (seed % 3) as usize;
    let weather = if seed.is_multiple_of(4) { Weather::FAIR } else { Weather::FOUL };
    Plan { seed, sites, clients: sites * 2, transactions: 12, weather, faults: seed % 4 > 1 }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("ROME_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ROME_TEST_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn many_seeds() {
    let mut total = Outcome::default();
    let mut histories = vec![];
    let only = seeds().count() == 1;
    for seed in seeds() {
        match catch_unwind(AssertUnwindSafe(|| run(plan(seed)))) {
            Ok(outcome) => {
                if only {
                    println!("{}", outcome.log);
                }
                total.committed += outcome.committed;
                total.refused += outcome.refused;
                total.unknown += outcome.unknown;
                histories.push((format!("seed {seed}"), outcome.history));
            }
            Err(_) => panic!("seed {seed} failed; ROME_TEST_SEED={seed} repeats it"),
        }
    }
    let Outcome { committed, refused, unknown, .. } = total;
    let problems = checker::problems(histories);
    assert!(problems.is_empty(), "{problems}");
    println!("{} seeds: {committed} committed, {refused} refused, {unknown} unknown", seeds().count());
    assert!(committed > refused && unknown > 0 || only, "the simulation does not do what it should");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [2, 3, 7] {
        let (first, second) = (run(plan(seed)), run(plan(seed)));
        assert_eq!(first.log, second.log);
        assert_eq!(first.history, second.history);
    }
}

/// What the checker of histories is there for: it must see a write skew.
#[test]
fn a_write_skew_is_noticed() {
    let history = |second: serde_json::Value| {
        let skew = [
            serde_json::json!({"type": "invoke", "process": 0, "value": [["r", 0, null], ["r", 1, null], ["append", 0, 1]]}),
            serde_json::json!({"type": "invoke", "process": 1, "value": [["r", 0, null], ["r", 1, null], ["append", 1, 2]]}),
            serde_json::json!({"type": "ok", "process": 0, "value": [["r", 0, []], ["r", 1, []], ["append", 0, 1]]}),
            second,
        ];
        vec![("skew".to_owned(), skew.to_vec())]
    };
    let done = |read: &[u64]| serde_json::json!({"type": "ok", "process": 1, "value": [["r", 0, read], ["r", 1, []], ["append", 1, 2]]});
    assert!(checker::problems(history(done(&[1]))).is_empty());
    assert!(!checker::problems(history(done(&[]))).is_empty());
}

/// Runs all seeds; `run` notes what came of one and returns its log, which is printed where it is the only one. Whether it is.
fn each_seed(run: impl Fn(u64) -> String) -> bool {
    let only = seeds().count() == 1;
    for seed in seeds() {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(log) if only => println!("{log}"),
            Ok(_) => {}
            Err(_) => panic!("seed {seed} failed; ROME_TEST_SEED={seed} repeats it"),
        }
    }
    only
}

#[test]
fn databases_under_many_seeds() {
    let total = RefCell::new(sql::Counts::default());
    let only = each_seed(|seed| {
        let (counts, log) = sql::run(Plan { transactions: 8, ..plan(seed) });
        let mut total = total.borrow_mut();
        total.done += counts.done;
        total.refused += counts.refused;
        total.unknown += counts.unknown;
        total.moved += counts.moved;
        total.left += counts.left;
        log
    });
    let sql::Counts { done, refused, unknown, moved, left } = total.into_inner();
    println!(
        "{} seeds: {done} done, {refused} refused, {unknown} unknown; {moved} tables moved, {left} left on their way",
        seeds().count()
    );
    let all_happens = done > refused && unknown > 0 && moved > 0 && left > 0;
    assert!(all_happens || only, "the simulation does not do what it should");
}

#[test]
fn the_same_seed_is_the_same_database() {
    for seed in [2, 3, 7] {
        let plan = Plan { transactions: 8, ..plan(seed) };
        assert_eq!(sql::run(plan).1, sql::run(plan).1);
    }
}

#[test]
fn copies_under_many_seeds() {
    let total = RefCell::new(copies::Counts::default());
    let only = each_seed(|seed| {
        let (counts, log) = copies::run(Plan { transactions: 10, ..plan(seed) });
        total.borrow_mut().add(&counts);
        log
    });
    let total = total.into_inner();
    println!("{} seeds: {total:?}", seeds().count());
    assert!(total.did_all() || only, "the simulation does not do what it should");
}

#[test]
fn the_same_seed_is_the_same_copy() {
    for seed in [2, 3, 7] {
        let plan = Plan { transactions: 10, ..plan(seed) };
        assert_eq!(copies::run(plan).1, copies::run(plan).1);
    }
}

fn escrow_plan(seed: u64) -> Plan {
    let sites = if seed % 8 == 7 { 4 } else { 2 + (seed % 2) as usize };
    Plan { transactions: 8, sites, clients: sites, ..plan(seed) }
}

#[test]
fn escrow_under_many_seeds() {
    let total = RefCell::new(escrow::Counts::default());
    let only = each_seed(|seed| {
        let (counts, log) = escrow::run(escrow_plan(seed));
        total.borrow_mut().add(&counts);
        log
    });
    let total = total.into_inner();
    println!("{} seeds: {total:?}", seeds().count());
    let escrow::Counts { done, refused, unknown, exhausted, alone } = total;
    let all_happens = done > refused && unknown > 0 && exhausted > 0 && alone > 0;
    assert!(all_happens || only, "the simulation does not do what it should");
}

#[test]
fn the_same_seed_is_the_same_escrow() {
    for seed in [2, 3, 7] {
        assert_eq!(escrow::run(escrow_plan(seed)).1, escrow::run(escrow_plan(seed)).1);
    }
}
