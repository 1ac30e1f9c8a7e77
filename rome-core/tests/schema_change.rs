//! A client that works by an old description while its store can't be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::database::{DatabaseExt, Options, Queryable, RomeDatabase};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, MemoryStore, ReadOutcome, ReadRequest, Store, StoreError, Version,
    WatchStream,
};
use rome_core::{SqlState, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store whose reads fail while it is told so; its commits arrive.
#[derive(Debug)]
struct Unreadable {
    inner: Arc<MemoryStore>,
    fails: AtomicBool,
}

#[async_trait]
impl Store for Unreadable {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable { address: "here".into(), reason: "told so".into() });
        }
        self.inner.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.inner.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.inner.watch(home, stream, after).await
    }
}

#[tokio::test]
async fn a_failing_refresh_does_not_hide_the_retryable_error() {
    let inner = Arc::new(MemoryStore::new());
    let other = RomeDatabase::open(inner.clone(), Options::default()).await.unwrap();
    other.execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    let store = Arc::new(Unreadable { inner, fails: AtomicBool::new(false) });
    let db = RomeDatabase::open(store.clone(), Options::default()).await.unwrap();

    let tx = db.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)").await.unwrap();
    other.execute("ALTER TABLE t ADD COLUMN note text").await.unwrap();
    store.fails.store(true, Ordering::Relaxed);
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.state(), SqlState::SERIALIZATION_FAILURE, "{error}");
    assert!(error.is_retryable() && error.is_schema_change(), "{error}");

    store.fails.store(false, Ordering::Relaxed);
    db.transaction(|tx| Box::pin(async move { tx.execute("INSERT INTO t VALUES (1)").await })).await.unwrap();
    let row = db.query("SELECT * FROM t").await.unwrap().remove(0);
    assert_eq!(row.values(), [Value::Int(1), Value::Null]);
}

/// A restore takes back what others know: tables are described anew before anyone relies on their versions.
#[tokio::test]
async fn an_epoch_ends_transactions_and_descriptions() {
    let store = Arc::new(MemoryStore::new());
    let db = RomeDatabase::open(store.clone(), Options::default()).await.unwrap();
    db.execute("CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    db.execute("INSERT INTO t VALUES (1)").await.unwrap();

    let tx = db.begin().await.unwrap();
    tx.execute("UPDATE t SET id = 2 WHERE id = 1").await.unwrap();
    store.begin_epoch(&HomeId::new(&Options::default().home), 7);
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.state(), SqlState::SERIALIZATION_FAILURE, "{error}");
    assert!(error.is_retryable() && error.is_schema_change(), "{error}");

    // Neither a blind write nor a read goes on with the description of the old epoch; both are tried again by themselves.
    store.begin_epoch(&HomeId::new(&Options::default().home), 8);
    db.execute("INSERT INTO t VALUES (3)").await.unwrap();
    store.begin_epoch(&HomeId::new(&Options::default().home), 9);
    assert_eq!(db.query("SELECT * FROM t").await.unwrap().len(), 2);
    let tx = db.begin().await.unwrap();
    store.begin_epoch(&HomeId::new(&Options::default().home), 10);
    let error = tx.query("SELECT * FROM t").await.unwrap_err();
    assert!(error.is_retryable() && error.is_schema_change(), "{error}");
}
