//! The conformance suite of `rome-core`, on etcd.

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, ReadOutcome, ReadRequest, Store, StoreError, Version, WatchStream,
};
use std::sync::Arc;
use support::Fixture;

/// A store that keeps its server alive.
struct Hosted(Fixture);

impl std::fmt::Debug for Hosted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.store.fmt(f)
    }
}

#[async_trait]
impl Store for Hosted {
    fn capabilities(&self) -> &Capabilities {
        self.0.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.0.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.0.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.0.store.watch(home, stream, after).await
    }
}

async fn store() -> Arc<dyn Store> {
    Arc::new(Hosted(support::fixture().await))
}

rome_core::conformance_tests!(store);
