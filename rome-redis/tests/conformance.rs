//! The conformance suite of `rome-core` on this store, each case with a server of its own or in a namespace of its own.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, ReadOutcome, ReadRequest, Store, StoreError, Version, WatchStream,
};
use rome_redis::RedisStore;
use std::fmt;
use std::sync::Arc;
use support::Place;

/// A store that keeps its server alive.
struct Hosted {
    store: RedisStore,
    _place: Place,
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl Store for Hosted {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}

async fn store() -> Arc<dyn Store> {
    let place = Place::new().await;
    Arc::new(Hosted { store: place.store().await, _place: place })
}

mod cases {
    rome_core::conformance_tests!(super::store);
}
