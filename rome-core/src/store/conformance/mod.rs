//! The conformance suite: what a store must do to be one. A new engine is accepted when every case passes.
//!
//! As tests, one for each case, from a crate that implements a store:
//!
//! ```ignore
//! async fn store() -> Arc<dyn Store> { ... }
//! rome_core::conformance_tests!(store);
//! ```
//!
//! or as one call that lists the rules that a store breaks: [`check`]. Each case works in a home of its own with a random name, so
//! that a server may be shared. Cases that need a capability that the store lacks check that it refuses instead.
//!
//! This is a test library: its assertions panic, and the message names the rule that was broken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod cancellation;
pub mod commits;
pub mod concurrency;
pub mod counters;
pub mod epochs;
pub mod follow;
pub mod guards;
pub mod lanes;
pub mod limits;
pub mod model;
pub mod ranges;
pub mod reads;
pub mod rig;
pub mod snapshots;
pub mod watch;

use super::{HomeId, Store};
use futures::future::BoxFuture;
use rig::Rig;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A case that takes longer hangs.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// The rule that it checks.
    pub name: &'static str,
    /// Checks it; panics where it is broken.
    pub run: fn(Rig) -> BoxFuture<'static, ()>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A rule that a store breaks.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The case's name.
    pub case: &'static str,
    /// What the case found.
    pub message: String,
}

/// All cases.
pub const CASES: &[Case] = crate::__conformance_cases! { list };

/// Runs all cases against `store` and returns those that it fails.
pub async fn check(store: Arc<dyn Store>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for case in CASES {
        if let Err(message) = outcome(case, store.clone()).await {
            broken.push(Broken { case: case.name, message });
        }
    }
    broken
}

/// Runs the case of this name against `store`; panics where the store fails it.
pub async fn run(name: &str, store: Arc<dyn Store>) {
    let case = CASES.iter().find(|case| case.name == name).expect("a case of the suite");
    let engine = store.capabilities().engine;
    if let Err(message) = outcome(case, store).await {
        panic!("{engine} breaks the rule {name}: {message}");
    }
}

async fn outcome(case: &Case, store: Arc<dyn Store>) -> Result<(), String> {
    let home = HomeId::new(&format!("conformance/{}-{:016x}", case.name, rand::random::<u64>()));
    let running = tokio::spawn(tokio::time::timeout(CASE_TIMEOUT, (case.run)(Rig::new(store, home))));
    match running.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(format!("no end after {} seconds", CASE_TIMEOUT.as_secs())),
        Err(join) => match join.try_into_panic() {
            Ok(panic) => Err(message(&*panic)),
            Err(_) => Err("the case was cancelled".into()),
        },
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// One `#[tokio::test]` for each case of the conformance suite. The argument is an `async fn() -> Arc<dyn Store>` that gives a
/// connection to a running store; it is called once for each case. Invoke it in a module of its own.
#[macro_export]
macro_rules! conformance_tests {
    ($factory:expr) => {
        $crate::__conformance_cases! { tests $factory }
    };
}

/// The list of cases; the only place that names them all.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($($purpose:tt)*) => {
        $crate::__conformance_expand! { { $($purpose)* }
            reads::a_point_read_finds_what_was_put,
            reads::results_come_in_the_order_of_the_reads,
            reads::a_request_without_reads_is_answered,
            reads::all_reads_of_a_request_see_one_state,
            reads::an_acknowledged_commit_is_seen,
            reads::homes_are_separate,
            reads::binary_keys_and_values_survive,
            reads::large_values_survive,
            reads::many_points_in_one_request,
            ranges::a_range_is_ordered_and_half_open,
            ranges::a_reverse_range_descends,
            ranges::a_range_stays_in_its_space,
            ranges::an_empty_range_has_no_entries,
            ranges::a_limit_cuts_and_says_so,
            ranges::pages_by_entries_add_up,
            ranges::pages_by_bytes_add_up,
            ranges::a_long_range_is_complete,
            commits::all_keys_of_a_commit_have_its_version,
            commits::versions_rise,
            commits::a_commit_without_writes_changes_nothing,
            commits::deleting_what_is_not_there_is_no_error,
            commits::a_failed_guard_writes_nothing,
            commits::a_counter_out_of_bounds_writes_nothing,
            commits::puts_deletes_and_adds_go_together,
            commits::a_commit_may_be_as_large_as_a_batch,
            guards::a_version_guard_sees_update_delete_and_rebirth,
            guards::absent_and_present_guards,
            guards::a_conflict_names_a_guard_that_failed,
            guards::guards_look_at_the_state_before_the_commit,
            guards::a_range_guard_holds_while_nothing_changes,
            guards::a_range_guard_sees_inserts,
            guards::a_range_guard_sees_updates,
            guards::a_range_guard_sees_deletes,
            guards::a_range_guard_sees_a_delete_with_an_insert,
            guards::a_range_guard_sees_a_rebirth,
            guards::a_range_guard_of_nothing_means_empty,
            guards::a_limited_range_guards_only_what_was_read,
            guards::a_range_guard_ignores_other_spaces,
            guards::an_unchanged_guard_sees_every_change,
            guards::a_guarded_read_answers_or_conflicts,
            guards::a_guarded_read_sees_range_changes,
            counters::a_counter_begins_at_zero,
            counters::a_counter_is_decimal_text,
            counters::bounds_are_inclusive,
            counters::a_sum_beyond_the_integers_is_out_of_bounds,
            counters::what_is_no_counter_is_not_added_to,
            lanes::a_lane_begins_at_one,
            lanes::a_resend_finds_its_outcome,
            lanes::a_resend_finds_a_conflict,
            lanes::a_resend_finds_out_of_bounds,
            lanes::a_late_original_changes_nothing,
            lanes::a_sequence_may_jump,
            lanes::lanes_are_independent,
            lanes::a_refused_commit_leaves_the_lane_alone,
            lanes::simultaneous_resends_take_effect_once,
            watch::a_watch_from_a_cursor_sees_all_after_it,
            watch::a_watch_without_a_cursor_begins_with_the_next_commit,
            watch::a_watch_goes_on_as_commits_come,
            watch::streams_and_homes_are_separate,
            watch::only_what_was_committed_is_seen_and_once,
            watch::concurrent_writers_leave_no_gap,
            watch::many_commits_are_complete_or_compacted,
            follow::index_entries_come_with_their_targets,
            follow::a_dangling_entry_has_no_target,
            follow::following_is_limited_and_continued,
            snapshots::a_read_at_an_old_version_sees_the_old_state,
            epochs::a_read_names_its_epoch_and_keeps_to_it,
            epochs::a_commit_of_another_epoch_writes_nothing,
            limits::too_many_guards_are_refused,
            limits::too_many_writes_are_refused,
            limits::too_many_bytes_are_refused,
            limits::malformed_reads_are_invalid,
            limits::malformed_commits_are_invalid,
            concurrency::transfers_keep_the_total,
            concurrency::guarded_increments_are_not_lost,
            concurrency::added_increments_are_not_lost,
            concurrency::one_of_many_takes_a_free_range,
            concurrency::crossed_guards_admit_no_write_skew,
            cancellation::a_dropped_commit_is_done_or_not_as_a_whole,
            cancellation::dropped_reads_and_watches_do_no_harm,
            model::random_histories_match_the_model,
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_expand {
    ({ list } $($topic:ident :: $case:ident,)*) => {
        &[$(Case { name: stringify!($case), run: |rig| Box::pin($topic::$case(rig)) }),*]
    };
    ({ tests $factory:expr } $($topic:ident :: $case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::store::conformance::run(stringify!($case), $factory().await).await;
            }
        )*
    };
}
