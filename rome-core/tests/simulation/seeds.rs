//! Which seeds are run, and how those that fail are told.

use crate::counts::Counts;
use crate::run::{Outcome, run};
use crate::scenario::Scenario;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::panic::catch_unwind;

/// In the environment: the only seed to run, whose log is printed...
const ONE: &str = "ROME_TEST_SEED";
/// ... or how many.
const HOW_MANY: &str = "ROME_TEST_SEEDS";
/// Runs in the gate.
const SEEDS: u64 = 1_000;
/// In so many runs everything happens that is to be checked.
const ENOUGH: usize = 100;
/// As many histories are judged at once.
const BATCH: usize = 1_000;
/// Nobody reads of more.
const FAILURES: usize = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The seeds that were asked for.
fn chosen() -> Vec<u64> {
    match number(ONE) {
        Some(seed) => vec![seed],
        None => (0..number(HOW_MANY).unwrap_or(SEEDS)).collect(),
    }
}

/// Prints a line at once, also of a test that passes: println! keeps it until the test fails.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("somebody reads");
}

/// Runs of one scenario, one after the other.
struct Runs {
    total: Counts,
    /// Of all logs: the same runs have the same.
    digest: DefaultHasher,
    histories: Vec<(String, Vec<serde_json::Value>)>,
    failed: Vec<u64>,
}

impl Runs {
    fn of<S: Scenario>(seeds: &[u64]) -> Self {
        let mut runs =
            Self { total: Counts::default(), digest: DefaultHasher::new(), histories: vec![], failed: vec![] };
        for seed in seeds {
            let Ok(Outcome { counts, history, log }) = catch_unwind(|| run::<S>(*seed)) else {
                say(&format!("simulation of {}: seed {seed} failed; {ONE}={seed} repeats it", S::NAME));
                runs.failed.push(*seed);
                if runs.failed.len() == FAILURES {
                    break;
                }
                continue;
            };
            if number(ONE) == Some(*seed) {
                println!("{log}");
            }
            log.hash(&mut runs.digest);
            runs.total.add(&counts);
            runs.histories.push((format!("seed {seed}"), history));
            if runs.histories.len() == BATCH {
                S::judge(std::mem::take(&mut runs.histories));
            }
        }
        // The last batch may have been a whole one.
        if !runs.histories.is_empty() {
            S::judge(std::mem::take(&mut runs.histories));
        }
        runs
    }
}

/// Runs a scenario with the seeds that were asked for, prints one line of what they came to, and panics with those that failed.
pub fn many<S: Scenario>() {
    let seeds = chosen();
    let runs = Runs::of::<S>(&seeds);
    assert!(runs.failed.is_empty(), "{}: seeds {:?} failed", S::NAME, runs.failed);
    let (total, digest) = (&runs.total, runs.digest.finish());
    say(&format!("simulation of {}: {} seeds, {total}; digest {digest:016x}", S::NAME, seeds.len()));
    if seeds.len() >= ENOUGH {
        let missing = runs.total.missing(S::HAPPENS);
        assert!(missing.is_empty(), "{}: the simulation does not do what it should: {missing:?}", S::NAME);
    }
}

/// Runs a scenario with the seeds that have failed before.
pub fn once_failed<S: Scenario>() {
    let seeds: Vec<u64> = S::REGRESSIONS.iter().map(|regression| regression.seed).collect();
    let failed = Runs::of::<S>(&seeds).failed;
    let again: Vec<_> = S::REGRESSIONS.iter().filter(|regression| failed.contains(&regression.seed)).collect();
    assert!(again.is_empty(), "{}: what was found before is there again: {again:#?}", S::NAME);
}

/// Runs a scenario twice with some seeds and compares everything that happened.
pub fn the_same<S: Scenario>() {
    for seed in [2, 3, 7] {
        let (first, second) = (run::<S>(seed), run::<S>(seed));
        assert_eq!(first.log, second.log);
        assert_eq!(first.history, second.history);
    }
}
