//! A store that counts what passes through it: the measure of the round-trip budget, and what `EXPLAIN ANALYZE` prints.

use super::{
    Capabilities, Commit, CommitOutcome, HomeId, ReadOutcome, ReadRequest, Store, StoreError, Version, WatchStream,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many calls went to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Calls of [`Store::read`].
    pub reads: u64,
    /// Calls of [`Store::commit`].
    pub commits: u64,
}

impl Counts {
    /// All round trips.
    pub fn total(&self) -> u64 {
        self.reads + self.commits
    }
}

impl std::ops::Sub for Counts {
    type Output = Counts;

    fn sub(self, earlier: Counts) -> Counts {
        Counts { reads: self.reads - earlier.reads, commits: self.commits - earlier.commits }
    }
}

/// Wraps a store and counts its calls.
#[derive(Debug)]
pub struct CountingStore {
    inner: Arc<dyn Store>,
    reads: AtomicU64,
    commits: AtomicU64,
}

impl CountingStore {
    /// Counts the calls to `inner` from now on.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, reads: AtomicU64::new(0), commits: AtomicU64::new(0) }
    }

    /// The calls so far.
    pub fn counts(&self) -> Counts {
        Counts { reads: self.reads.load(Ordering::Relaxed), commits: self.commits.load(Ordering::Relaxed) }
    }
}

#[async_trait]
impl Store for CountingStore {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.inner.watch(home, stream, after).await
    }
}
