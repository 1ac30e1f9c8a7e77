//! A store for suites that hold nothing but the store.

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, ReadOutcome, ReadRequest, Store, StoreError, Version, WatchStream,
};
use rome_redis::RedisStore;
use std::fmt;

/// A store that keeps the servers alive on which it lives.
pub struct Hosted<T> {
    pub store: RedisStore,
    pub servers: T,
}

impl<T> fmt::Debug for Hosted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl<T: Send + Sync + 'static> Store for Hosted<T> {
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
