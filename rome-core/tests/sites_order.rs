//! What is read of each of three sites with 1,000 rows for a few rows of all of them: ordered streams are merged as they come, and how many rows are
//! wanted, and between which keys, is asked of each site, so that no site sends its whole table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::database::{FixedSites, Options, Queryable, RomeDatabase};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, MemoryStore, ReadOutcome, ReadRequest, Store, StoreError, Version,
    WatchStream,
};
use rome_core::txn::Patience;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];
const ROWS: i64 = 1_000;

/// A store that counts the entries that it sends, and their bytes.
#[derive(Debug)]
struct Weighing {
    store: MemoryStore,
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

#[async_trait]
impl Store for Weighing {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        let outcome = self.store.read(home, request).await?;
        if let ReadOutcome::Answer(answer) = &outcome {
            for entry in answer.results.iter().flat_map(|result| &result.entries) {
                self.entries.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(entry.key.len() + entry.value.len(), Ordering::Relaxed);
            }
        }
        Ok(outcome)
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}

struct World {
    stores: Vec<Arc<Weighing>>,
    db: RomeDatabase,
}

impl World {
    /// A table whose rows, in the order of their keys, come from one site after the other; `other` runs the other way.
    async fn filled() -> Self {
        let weighing =
            || Weighing { store: MemoryStore::new(), entries: AtomicUsize::new(0), bytes: AtomicUsize::new(0) };
        let stores: Vec<Arc<Weighing>> = NAMES.iter().map(|_| Arc::new(weighing())).collect();
        let sites = NAMES.iter().zip(&stores).map(|(name, store)| ((*name).to_owned(), Arc::clone(store) as _));
        let patience = Patience { sweep_every: None, replicate_every: None, ..Patience::default() };
        let options = Options { patience, ..Options::default() };
        let db = RomeDatabase::open_sites("rome", Arc::new(FixedSites::new(sites)), options).await.unwrap();
        for statement in [
            "CREATE TABLE host (id bigint, site text, other bigint, odd bigint, PRIMARY KEY (id, site)) WITH (placement = 'by_site(site)')",
            "CREATE INDEX host_other ON host (other)",
        ] {
            db.execute(statement).await.unwrap();
        }
        for (at, site) in (0..).zip(NAMES) {
            let numbers = (0..ROWS).map(|row| row * 3 + at);
            let rows: Vec<String> =
                numbers.map(|id| format!("({id}, '{site}', {}, {})", 3 * ROWS - id, id % 2)).collect();
            db.execute(format!("INSERT INTO host VALUES {}", rows.join(", ")).as_str()).await.unwrap();
        }
        Self { stores, db }
    }

    /// The numbers that a query gives, and the entries and bytes that each site sent for it.
    async fn weighed(&self, query: &str) -> (Vec<i64>, Vec<(usize, usize)>) {
        self.db.query(query).await.unwrap();
        for store in &self.stores {
            store.entries.store(0, Ordering::Relaxed);
            store.bytes.store(0, Ordering::Relaxed);
        }
        let ids: Vec<i64> = self.db.query_as(query).await.unwrap();
        let counts = self
            .stores
            .iter()
            .map(|store| (store.entries.load(Ordering::Relaxed), store.bytes.load(Ordering::Relaxed)));
        (ids, counts.collect())
    }
}

#[tokio::test]
async fn a_limit_is_asked_of_each_site() {
    let world = World::filled().await;
    let (all, whole) = world.weighed("SELECT id FROM host ORDER BY id").await;
    assert_eq!(all, (0..3 * ROWS).collect::<Vec<_>>());
    assert!(whole.iter().all(|(entries, _)| *entries >= ROWS as usize), "a site that sends all rows: {whole:?}");
    let first: Vec<i64> = (0..10).collect();
    let last: Vec<i64> = (0..10).map(|at| 3 * ROWS - 1 - at).collect();
    // A scan by an index sends entries with their rows, and entries that are read twice count twice.
    for (query, expected, most) in [
        ("SELECT id FROM host ORDER BY id LIMIT 10", &first, 15),
        ("SELECT id FROM host ORDER BY id DESC LIMIT 10", &last, 15),
        ("SELECT id FROM host ORDER BY other LIMIT 10", &last, 30),
        ("SELECT id FROM host ORDER BY other DESC LIMIT 10", &first, 30),
    ] {
        let (ids, sent) = world.weighed(query).await;
        assert_eq!(&ids, expected, "{query}");
        for ((entries, bytes), (_, bytes_of_all)) in sent.iter().zip(&whole) {
            assert!((1..=most).contains(entries), "{query}: {sent:?}");
            assert!(bytes * 20 < *bytes_of_all, "{query}: {sent:?} of {whole:?}");
        }
    }
    // What is skipped is read, nothing beyond.
    let (ids, sent) = world.weighed("SELECT id FROM host ORDER BY id LIMIT 5 OFFSET 20").await;
    assert_eq!(ids, [20, 21, 22, 23, 24]);
    assert!(sent.iter().all(|(entries, _)| (1..=35).contains(entries)), "{sent:?}");
}

#[tokio::test]
async fn conditions_are_asked_of_each_site() {
    let world = World::filled().await;
    for query in [
        "SELECT id FROM host WHERE id BETWEEN 600 AND 629 ORDER BY id",
        "SELECT id FROM host WHERE other > 2370 AND other <= 2400 ORDER BY id",
    ] {
        let (ids, sent) = world.weighed(query).await;
        assert_eq!(ids, (600..630).collect::<Vec<_>>(), "{query}");
        assert!(sent.iter().all(|(entries, _)| (10..=22).contains(entries)), "{query}: {sent:?}");
    }
    // No site can look into rows: what it sends before ten are found is a page or two, not the table.
    let (ids, sent) = world.weighed("SELECT id FROM host WHERE odd = 1 ORDER BY id LIMIT 10").await;
    assert_eq!(ids, (0..10).map(|at| 2 * at + 1).collect::<Vec<_>>());
    assert!(sent.iter().all(|(entries, _)| (1..=ROWS as usize / 4).contains(entries)), "{sent:?}");
    // One site's rows concern no other.
    let (ids, sent) = world.weighed("SELECT id FROM host WHERE site = 'turin' ORDER BY id LIMIT 10").await;
    assert_eq!(ids, (0..10).map(|at| 3 * at + 2).collect::<Vec<_>>());
    assert_eq!((sent[0].0, sent[1].0), (0, 0), "{sent:?}");
    assert!((10..=ROWS as usize / 4).contains(&sent[2].0), "{sent:?}");
}
