//! Databases over several sites whose clients are held up, cut short or too slow at chosen moments.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::SqlState;
use rome_core::database::{FixedSites, Options, Queryable, RomeDatabase};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, MemoryStore, ReadOutcome, ReadRequest, Store, StoreError, Version,
    WatchStream,
};
use rome_core::txn::Patience;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A store as one client reaches it: its requests wait at gates that the test opens and shuts.
#[derive(Debug)]
struct Gated {
    inner: Arc<MemoryStore>,
    reads: watch::Receiver<bool>,
    commits: watch::Receiver<bool>,
}

async fn pass(gate: &watch::Receiver<bool>) {
    // Who has shut the gate and gone holds the request for ever.
    if gate.clone().wait_for(|open| *open).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Store for Gated {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        pass(&self.reads).await;
        self.inner.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        // A lane is opened by a commit without writes.
        if !commit.writes.is_empty() {
            pass(&self.commits).await;
        }
        self.inner.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.inner.watch(home, stream, after).await
    }
}

/// A gate, open at first, and what passes it.
fn gate() -> (watch::Sender<bool>, watch::Receiver<bool>) {
    watch::channel(true)
}

fn options() -> Options {
    let patience = Patience { recovery_after: Duration::from_millis(50), ..Patience::default() };
    Options { patience, ..Options::default() }
}

async fn open(local: &str, sites: Vec<(&str, Arc<dyn Store>)>, options: Options) -> RomeDatabase {
    let sites = FixedSites::new(sites.into_iter().map(|(name, store)| (name.to_owned(), store)));
    RomeDatabase::open_sites(local, Arc::new(sites), options).await.unwrap()
}

/// A query that saw one site before and another after somebody's transfer divides by a sum that never was: it runs again.
#[tokio::test]
async fn an_error_of_what_never_was_is_a_lost_race() {
    let (pisa, rome) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let other = open("pisa", vec![("pisa", pisa.clone()), ("rome", rome.clone())], options()).await;
    other
        .execute("CREATE TABLE t (site text PRIMARY KEY, x bigint NOT NULL) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    other.execute("INSERT INTO t VALUES ('pisa', 1), ('rome', 1)").await.unwrap();
    let (shut, reads) = gate();
    let slow: Arc<dyn Store> = Arc::new(Gated { inner: pisa.clone(), reads, commits: gate().1 });
    let db = open("rome", vec![("pisa", slow), ("rome", rome.clone())], options()).await;
    let divides = "SELECT 10 / sum(x)::bigint FROM t";
    assert_eq!(db.query_one::<i64, _>(divides).await.unwrap(), 5);
    shut.send_replace(false);
    let reader = tokio::spawn({
        let db = db.clone();
        async move { db.query_one::<i64, _>(divides).await }
    });
    // The other site has answered; this one comes later.
    tokio::time::sleep(Duration::from_millis(50)).await;
    other.execute("UPDATE t SET x = CASE site WHEN 'pisa' THEN -1 ELSE 3 END").await.unwrap();
    // Also where the transfer is finalised.
    assert_eq!(other.query_one::<i64, _>("SELECT sum(x)::bigint FROM t").await.unwrap(), 2);
    shut.send_replace(true);
    assert_eq!(reader.await.unwrap().unwrap(), 5);
    let never = db.query_one::<i64, _>("SELECT 10 / (sum(x)::bigint - 2) FROM t").await.unwrap_err();
    assert_eq!(never.state(), SqlState::DIVISION_BY_ZERO, "what is so is no lost race");
}

/// A client that dies while it adds a site leaves marks that name a home nobody else knows.
#[tokio::test]
async fn a_site_half_added_stops_nobody() {
    let stores: Vec<Arc<MemoryStore>> = (0..3).map(|_| Arc::new(MemoryStore::new())).collect();
    let plain = |at: usize| -> Arc<dyn Store> { stores[at].clone() };
    let two = vec![("pisa", plain(0)), ("rome", plain(1))];
    let three = vec![("pisa", plain(0)), ("rome", plain(1)), ("turin", plain(2))];
    let first = open("pisa", two, options()).await;
    first.execute("CREATE TABLE t (site text PRIMARY KEY) WITH (placement = 'by_site(site)')").await.unwrap();
    first.execute("INSERT INTO t VALUES ('pisa'), ('rome')").await.unwrap();
    let works_on = open("rome", three.clone(), options()).await;
    let (shut, commits) = gate();
    let deaf: Arc<dyn Store> = Arc::new(Gated { inner: stores[2].clone(), reads: gate().1, commits });
    let dies = open("pisa", vec![("pisa", plain(0)), ("rome", plain(1)), ("turin", deaf)], options()).await;
    shut.send_replace(false);
    let added = tokio::spawn(async move { dies.add_site("turin").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    added.abort();
    // Its tables are marked at both sites. Whoever comes ends it, and so does a client that has not been there before.
    works_on.execute("DELETE FROM t WHERE site = 'rome'").await.unwrap();
    assert_eq!(works_on.topology().sites.len(), 2);
    let new = open("pisa", three, options()).await;
    assert_eq!(new.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap(), 1);
    new.add_site("turin").await.unwrap();
    new.execute("INSERT INTO t VALUES ('turin')").await.unwrap();
    assert_eq!(works_on.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap(), 2);
}

/// A statement whose time is over while its change is on its way has not failed: nobody knows.
#[tokio::test]
async fn a_statement_that_is_too_late_does_not_say_that_it_failed() {
    let inner = Arc::new(MemoryStore::new());
    let (shut, commits) = gate();
    let (shut_reads, reads) = gate();
    let store: Arc<dyn Store> = Arc::new(Gated { inner, reads, commits });
    let hasty = Options { statement_timeout: Some(Duration::from_millis(100)), ..Options::default() };
    let db = RomeDatabase::open(store, hasty).await.unwrap();
    db.execute("CREATE TABLE t (id bigint PRIMARY KEY)").await.unwrap();
    shut.send_replace(false);
    let unknown = db.execute("INSERT INTO t VALUES (1)").await.unwrap_err();
    assert!(unknown.is_undetermined(), "{unknown}");
    shut_reads.send_replace(false);
    let canceled = db.query("SELECT * FROM t").await.unwrap_err();
    assert_eq!(canceled.state(), SqlState::QUERY_CANCELED);
}
