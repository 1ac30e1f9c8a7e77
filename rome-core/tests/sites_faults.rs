//! Databases over several sites whose clients are held up, cut short or too slow at chosen moments.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::SqlState;
use rome_core::database::{DatabaseExt, FixedSites, Options, Queryable, RomeDatabase};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Guard, HomeId, KeyRange, MemoryStore, Read, ReadOutcome, ReadRequest, Store,
    StoreError, Version, WatchStream, Write,
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
    capabilities: Capabilities,
}

impl Gated {
    fn new(inner: &Arc<MemoryStore>, reads: watch::Receiver<bool>, commits: watch::Receiver<bool>) -> Self {
        Self { inner: Arc::clone(inner), reads, commits, capabilities: inner.capabilities().clone() }
    }
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
        &self.capabilities
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
    let slow: Arc<dyn Store> = Arc::new(Gated::new(&pisa, reads, gate().1));
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
    let deaf: Arc<dyn Store> = Arc::new(Gated::new(&stores[2], gate().1, commits));
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

/// A client that dies leaves word of an interval that it relied on. Whoever writes elsewhere in the table, at several sites, is held up until
/// that client's transaction is ended, and ends it.
#[tokio::test]
async fn an_interval_of_a_dead_client_is_nobodys_for_long() {
    let (pisa, rome) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let quiet = Options { patience: Patience { sweep_every: None, ..options().patience }, ..options() };
    let db = open("rome", vec![("pisa", pisa.clone()), ("rome", rome.clone())], quiet.clone()).await;
    let create = "CREATE TABLE t (site text, id bigint, x bigint NOT NULL, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')";
    db.execute(create).await.unwrap();
    db.execute("INSERT INTO t VALUES ('pisa', 1, 0), ('pisa', 15, 0), ('rome', 1, 0), ('rome', 2, 0)").await.unwrap();
    let (shut, commits) = gate();
    let deaf: Arc<dyn Store> = Arc::new(Gated::new(&rome, gate().1, commits));
    let dies = open("pisa", vec![("pisa", pisa.clone()), ("rome", deaf)], quiet).await;
    let between = "SELECT count(*) FROM t WHERE site = 'pisa' AND id BETWEEN 10 AND 20";
    let txn = dies.begin().await.unwrap();
    assert_eq!(txn.query_one::<i64, _>(between).await.unwrap(), 1);
    txn.execute("UPDATE t SET x = 1 WHERE site = 'rome' AND id = 2").await.unwrap();
    shut.send_replace(false);
    let unanswered = tokio::time::timeout(Duration::from_millis(200), txn.commit()).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    let both = db.execute("UPDATE t SET x = 2 WHERE id = 1 AND site IN ('pisa', 'rome')");
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), both).await.unwrap().unwrap(), 2);
    assert_eq!(db.query_one::<i64, _>("SELECT sum(x)::bigint FROM t").await.unwrap(), 4, "nobody had promised at rome");
}

/// A store that can't be reached when what was dropped is to be cleared away.
#[derive(Debug)]
struct Hoarder(Arc<MemoryStore>);

#[async_trait]
impl Store for Hoarder {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.0.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let clears = commit.writes.iter().all(|write| matches!(write, Write::Delete(_)));
        // Nothing is relied upon but that the format is still spoken.
        let blindly = commit.guards.iter().all(|guard| matches!(guard, Guard::Absent(_)));
        if clears && blindly && !commit.writes.is_empty() {
            return Err(StoreError::Unavailable { address: "far away".into(), reason: "cut".into() });
        }
        self.0.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.0.watch(home, stream, after).await
    }
}

/// What has taken effect does not fail because of what follows it.
#[tokio::test]
async fn a_table_that_is_gone_was_dropped() {
    let (pisa, rome) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let hoarder: Arc<dyn Store> = Arc::new(Hoarder(rome.clone()));
    let db = open("pisa", vec![("pisa", pisa.clone()), ("rome", hoarder)], options()).await;
    let create = "CREATE TABLE t (site text PRIMARY KEY) WITH (placement = 'by_site(site)')";
    db.execute(create).await.unwrap();
    db.execute("INSERT INTO t VALUES ('pisa'), ('rome')").await.unwrap();
    let space = db.catalog().tables()[0].row_space();
    let held = async || {
        let range = KeyRange::prefix(&space.to_be_bytes());
        let request =
            ReadRequest { reads: vec![Read::Range { range, limit: None, reverse: false }], ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = rome.read(&HomeId::new("main"), request).await.unwrap() else {
            unreachable!("no guards")
        };
        answer.results[0].entries.len()
    };
    db.execute("DROP TABLE t").await.unwrap();
    assert_eq!(held().await, 1);
    // Who comes next clears it away.
    let next = open("pisa", vec![("pisa", pisa), ("rome", rome.clone())], options()).await;
    next.execute(create).await.unwrap();
    next.execute("DROP TABLE t").await.unwrap();
    assert_eq!(held().await, 0);
}

/// A site that is cut off holds a mark of a transaction that nobody can end now. Whatever touches nothing of it goes on there, also what writes more
/// than the store takes guards for.
#[tokio::test]
async fn marks_stop_no_large_transaction_elsewhere() {
    let (pisa, rome) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    let capabilities = Capabilities { max_guards: 100, ..pisa.capabilities().clone() };
    let quiet = Options { patience: Patience { sweep_every: None, ..options().patience }, ..options() };
    let narrow: Arc<dyn Store> = Arc::new(Gated { capabilities, ..Gated::new(&pisa, gate().1, gate().1) });
    let ((shut, commits), (shut_reads, reads)) = (gate(), gate());
    let deaf: Arc<dyn Store> = Arc::new(Gated::new(&rome, reads, commits));
    let db = open("pisa", vec![("pisa", narrow), ("rome", deaf)], quiet).await;
    let create = "CREATE TABLE t (site text, id bigint, x bigint NOT NULL, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')";
    db.execute(create).await.unwrap();
    db.execute("INSERT INTO t VALUES ('pisa', 1, 0), ('rome', 1, 0)").await.unwrap();
    shut.send_replace(false);
    let both = db.execute("UPDATE t SET x = 1 WHERE id = 1 AND site IN ('pisa', 'rome')");
    assert!(tokio::time::timeout(Duration::from_millis(200), both).await.is_err());
    shut_reads.send_replace(false);
    let rows: Vec<String> = (2..90).map(|id| format!("('pisa', {id}, 0)")).collect();
    let bulk = format!("INSERT INTO t VALUES {}", rows.join(", "));
    let inserted = tokio::time::timeout(Duration::from_secs(20), db.execute(bulk)).await;
    assert_eq!(inserted.expect("it waits for nobody").unwrap(), 88);
    // What the mark is on waits.
    let marked = db.execute("UPDATE t SET x = x + 1 WHERE site = 'pisa' AND id < 80");
    let waits = tokio::time::timeout(Duration::from_millis(300), marked).await;
    assert!(waits.is_err(), "{waits:?}");
    shut.send_replace(true);
    shut_reads.send_replace(true);
    assert_eq!(db.execute("UPDATE t SET x = x + 1 WHERE site = 'pisa' AND id < 80").await.unwrap(), 79);
}

/// A statement whose time is over while its change is on its way has not failed: nobody knows.
#[tokio::test]
async fn a_statement_that_is_too_late_does_not_say_that_it_failed() {
    let inner = Arc::new(MemoryStore::new());
    let (shut, commits) = gate();
    let (shut_reads, reads) = gate();
    let store: Arc<dyn Store> = Arc::new(Gated::new(&inner, reads, commits));
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
