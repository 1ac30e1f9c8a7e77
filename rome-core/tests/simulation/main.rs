//! Deterministic simulation: transactions over several homes on memory stores behind a network that delays, loses, repeats and cuts, with
//! clients that crash at any point, in virtual time. The same seed is the same run.
//!
//! [`run`] is the frame of a run, [`scenario`] how its clients work, [`seeds`] which seeds are run. Scenarios hold what is their own: [`world`] works
//! on keys and records histories, [`sql`] runs a small cloud's database, [`copies`] reads and watches global tables, [`escrow`] spends counters.
//!
//! `ROME_TEST_SEEDS=n` runs n seeds instead of the usual number, `ROME_TEST_SEED=s` only one, printing what happened. Seeds that have failed are kept
//! in [`regressions`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../../tests/histories/checker.rs"]
mod checker;
mod copies;
mod counts;
mod escrow;
mod network;
mod regressions;
mod run;
mod scenario;
mod seeds;
mod sql;
mod world;

/// What is tested of each scenario.
macro_rules! tests {
    ($($name:ident: $Scenario:ty,)*) => {
        $(mod $name {
            #[test]
            fn many_seeds() {
                crate::seeds::many::<$Scenario>();
            }

            #[test]
            fn seeds_that_once_failed() {
                crate::seeds::once_failed::<$Scenario>();
            }

            #[test]
            fn same_seed_same_run() {
                crate::seeds::the_same::<$Scenario>();
            }
        })*
    };
}

tests! {
    histories: crate::world::World,
    databases: crate::sql::Cloud,
    global_tables: crate::copies::Copies,
    escrowed_counters: crate::escrow::Theatre,
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
