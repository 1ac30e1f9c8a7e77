//! The test of the test: stores with one fault each, which the conformance suite must reject, and for the right rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use rome_core::store::conformance::check;
use rome_core::store::rules::{self, Admission};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Guard, HomeId, MemoryStore, Read, ReadLimits, ReadOutcome, ReadRequest, Store,
    StoreError, Version, WatchStream,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// What is wrong with a store. Each fault overrides what it spoils; the rest goes to the in-memory store.
#[async_trait]
trait Fault: Send + Sync + std::fmt::Debug + 'static {
    async fn read(&self, inner: &MemoryStore, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        inner.read(home, request).await
    }

    async fn commit(&self, inner: &MemoryStore, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        inner.commit(home, commit).await
    }

    async fn watch(
        &self,
        inner: &MemoryStore,
        home: &HomeId,
        stream: Bytes,
        after: Option<Version>,
    ) -> Result<WatchStream, StoreError> {
        inner.watch(home, stream, after).await
    }
}

#[derive(Debug)]
struct Faulty<F> {
    inner: MemoryStore,
    fault: F,
}

#[async_trait]
impl<F: Fault> Store for Faulty<F> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.fault.read(&self.inner, home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.fault.commit(&self.inner, home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.fault.watch(&self.inner, home, stream, after).await
    }
}

/// The suite must find these rules broken, and may find others.
async fn rejects(fault: impl Fault, rules: &[&str]) {
    let broken = check(Arc::new(Faulty { inner: MemoryStore::new(), fault })).await;
    let found: Vec<_> = broken.iter().map(|rule| rule.case).collect();
    for rule in rules {
        assert!(found.contains(rule), "{rule} was not noticed; only {found:?}");
    }
}

#[tokio::test]
async fn a_sound_store_is_accepted() {
    #[derive(Debug)]
    struct Sound;
    impl Fault for Sound {}
    let broken = check(Arc::new(Faulty { inner: MemoryStore::new(), fault: Sound })).await;
    assert!(broken.is_empty(), "{broken:?}");
}

async fn lengths(inner: &MemoryStore, home: &HomeId, reads: Vec<Read>) -> Result<Vec<usize>, StoreError> {
    let limits = ReadLimits { entries: usize::MAX, bytes: usize::MAX };
    match inner.read(home, ReadRequest { reads, limits, ..ReadRequest::default() }).await? {
        ReadOutcome::Answer(response) => Ok(response.results.iter().map(|result| result.entries.len()).collect()),
        ReadOutcome::Conflict { .. } => Ok(Vec::new()),
    }
}

/// Versions are compared whatever has come between.
#[tokio::test]
async fn epochs_that_are_ignored_are_rejected() {
    #[derive(Debug)]
    struct IgnoresEpochs;
    #[async_trait]
    impl Fault for IgnoresEpochs {
        async fn read(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            request: ReadRequest,
        ) -> Result<ReadOutcome, StoreError> {
            inner.read(home, ReadRequest { epoch: None, ..request }).await
        }

        async fn commit(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            commit: Commit,
        ) -> Result<CommitOutcome, StoreError> {
            inner.commit(home, Commit { epoch: None, ..commit }).await
        }
    }
    let rules = ["a_read_names_its_epoch_and_keeps_to_it", "a_commit_of_another_epoch_writes_nothing"];
    rejects(IgnoresEpochs, &rules).await;
}

/// A range guard that looks at versions only, as an engine without tombstones does.
#[tokio::test]
async fn range_guards_that_ignore_deletes_are_rejected() {
    #[derive(Debug)]
    struct IgnoresDeletes;
    #[async_trait]
    impl Fault for IgnoresDeletes {
        async fn commit(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            commit: Commit,
        ) -> Result<CommitOutcome, StoreError> {
            let mut commit = commit;
            rules::check_commit(&commit, inner.capabilities())?;
            for guard in &mut commit.guards {
                if let Guard::Range { range, count, .. } = guard
                    && *count > 0
                {
                    let read = Read::Range { range: range.clone(), limit: None, reverse: false };
                    *count = lengths(inner, home, vec![read]).await?[0] as u64;
                }
            }
            inner.commit(home, commit).await
        }
    }
    rejects(IgnoresDeletes, &["a_range_guard_sees_deletes"]).await;
}

/// Lanes that remember successes only, as a script does that returns before it stores a refusal.
#[tokio::test]
async fn lanes_that_forget_failures_are_rejected() {
    type Lane = (HomeId, u128, u32);
    #[derive(Debug, Default)]
    struct ForgetsFailures(Mutex<HashMap<Lane, (u64, CommitOutcome)>>);
    #[async_trait]
    impl Fault for ForgetsFailures {
        async fn commit(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            commit: Commit,
        ) -> Result<CommitOutcome, StoreError> {
            let Some(ticket) = commit.ticket else {
                return inner.commit(home, commit).await;
            };
            rules::check_commit(&commit, inner.capabilities())?;
            let mut lanes = self.0.lock().await;
            let lane = (home.clone(), ticket.client, ticket.lane);
            match rules::admit(lanes.get(&lane).copied(), ticket.sequence) {
                Admission::Repeat(outcome) => Ok(outcome),
                Admission::Closed => Err(StoreError::LaneClosed),
                Admission::Run => {
                    let outcome = inner.commit(home, Commit { ticket: None, ..commit }).await?;
                    if matches!(outcome, CommitOutcome::Committed { .. }) {
                        lanes.insert(lane, (ticket.sequence, outcome));
                    }
                    Ok(outcome)
                }
            }
        }
    }
    let rules = ["a_resend_finds_a_conflict", "a_resend_finds_out_of_bounds"];
    rejects(ForgetsFailures::default(), &rules).await;
}

/// No lanes at all: a resend is a commit like any other.
#[tokio::test]
async fn stores_without_lanes_are_rejected() {
    #[derive(Debug)]
    struct NoLanes;
    #[async_trait]
    impl Fault for NoLanes {
        async fn commit(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            commit: Commit,
        ) -> Result<CommitOutcome, StoreError> {
            inner.commit(home, Commit { ticket: None, ..commit }).await
        }
    }
    let rules = [
        "a_lane_begins_at_one",
        "a_resend_finds_its_outcome",
        "a_late_original_changes_nothing",
        "simultaneous_resends_take_effect_once",
        "a_dropped_commit_is_done_or_not_as_a_whole",
    ];
    rejects(NoLanes, &rules).await;
}

/// The second half of a commit's writes comes in a commit of its own, as in a script that meets an error in the middle.
#[tokio::test]
async fn stores_that_apply_half_a_commit_are_rejected() {
    #[derive(Debug)]
    struct Halves;
    #[async_trait]
    impl Fault for Halves {
        async fn commit(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            commit: Commit,
        ) -> Result<CommitOutcome, StoreError> {
            let mut commit = commit;
            rules::check_commit(&commit, inner.capabilities())?;
            let rest = commit.writes.split_off(commit.writes.len() / 2);
            let half = commit.writes.len();
            let first = inner.commit(home, commit).await?;
            tokio::task::yield_now().await;
            if rest.is_empty() || !matches!(first, CommitOutcome::Committed { .. }) {
                return Ok(first);
            }
            match inner.commit(home, Commit { writes: rest, ..Commit::default() }).await? {
                CommitOutcome::OutOfBounds { write } => Ok(CommitOutcome::OutOfBounds { write: write + half }),
                outcome => Ok(outcome),
            }
        }
    }
    let rules = ["a_counter_out_of_bounds_writes_nothing", "all_keys_of_a_commit_have_its_version"];
    rejects(Halves, &rules).await;
}

/// Each read of a request is answered by itself, from a state of its own.
#[tokio::test]
async fn torn_reads_are_rejected() {
    #[derive(Debug)]
    struct Torn;
    #[async_trait]
    impl Fault for Torn {
        async fn read(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            request: ReadRequest,
        ) -> Result<ReadOutcome, StoreError> {
            let alone = ReadRequest { reads: Vec::new(), ..request.clone() };
            let ReadOutcome::Answer(mut response) = inner.read(home, alone).await? else {
                return inner.read(home, request).await;
            };
            for read in request.reads {
                let one = ReadRequest { reads: vec![read], guards: Vec::new(), ..request };
                if let ReadOutcome::Answer(one) = inner.read(home, one).await? {
                    response.results.extend(one.results);
                }
                tokio::task::yield_now().await;
            }
            Ok(ReadOutcome::Answer(response))
        }
    }
    rejects(Torn, &["all_reads_of_a_request_see_one_state"]).await;
}

/// Guards are looked at first and the writes applied later, with a gap in between.
#[tokio::test]
async fn guards_apart_from_their_writes_are_rejected() {
    #[derive(Debug)]
    struct ChecksThenWrites;
    #[async_trait]
    impl Fault for ChecksThenWrites {
        async fn commit(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            commit: Commit,
        ) -> Result<CommitOutcome, StoreError> {
            if !commit.guards.is_empty() && commit.ticket.is_none() {
                let checks = Commit { guards: commit.guards.clone(), ..Commit::default() };
                let checked = inner.commit(home, checks).await?;
                if !matches!(checked, CommitOutcome::Committed { .. }) {
                    return Ok(checked);
                }
                tokio::task::yield_now().await;
                return inner.commit(home, Commit { guards: Vec::new(), ..commit }).await;
            }
            inner.commit(home, commit).await
        }
    }
    rejects(ChecksThenWrites, &["guarded_increments_are_not_lost"]).await;
}

/// Every tenth event of a watch is lost.
#[tokio::test]
async fn watches_with_gaps_are_rejected() {
    #[derive(Debug)]
    struct Gaps;
    #[async_trait]
    impl Fault for Gaps {
        async fn watch(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            stream: Bytes,
            after: Option<Version>,
        ) -> Result<WatchStream, StoreError> {
            let seen = AtomicU64::new(0);
            let events = inner.watch(home, stream, after).await?;
            let kept = events.filter(move |_| {
                let lost = (seen.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(10);
                futures::future::ready(!lost)
            });
            Ok(kept.boxed())
        }
    }
    let rules = ["concurrent_writers_leave_no_gap", "many_commits_are_complete_or_compacted"];
    rejects(Gaps, &rules).await;
}

/// A limited range that does not say that more follows, so that its reader believes to have seen all.
#[tokio::test]
async fn silent_limits_are_rejected() {
    #[derive(Debug)]
    struct Silent;
    #[async_trait]
    impl Fault for Silent {
        async fn read(
            &self,
            inner: &MemoryStore,
            home: &HomeId,
            request: ReadRequest,
        ) -> Result<ReadOutcome, StoreError> {
            let mut outcome = inner.read(home, request).await?;
            if let ReadOutcome::Answer(response) = &mut outcome {
                response.results.iter_mut().for_each(|result| result.more = None);
            }
            Ok(outcome)
        }
    }
    let rules = ["a_limit_cuts_and_says_so", "pages_by_entries_add_up", "random_histories_match_the_model"];
    rejects(Silent, &rules).await;
}
