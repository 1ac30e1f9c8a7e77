//! Databases that are raised to the next format by a build that speaks two (feature `next-format`), on memory stores.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::catalog::Format;
use rome_core::catalog::keys::{all_tables, format_key, whole_space};
use rome_core::database::{DatabaseExt, FixedSites, ForgetOptions, Options, Queryable, RomeDatabase, Sites, Upgraded};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Entry, HomeId, Key, MemoryStore, Read, ReadLimits, ReadOutcome, ReadRequest,
    Store, StoreError, Version, WatchStream, Write,
};
use rome_core::txn::{MARKS_SPACE, Patience, RECORDS_SPACE};
use rome_core::{Result, SqlState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];

/// A store as one client reaches it: until it is lost, and only the first so many of its commits.
#[derive(Debug)]
struct Mortal {
    inner: Arc<MemoryStore>,
    lost: Arc<AtomicBool>,
    left: Arc<AtomicUsize>,
}

#[async_trait]
impl Store for Mortal {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable { address: "nowhere".into(), reason: "it is gone".into() });
        }
        self.inner.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable { address: "nowhere".into(), reason: "it is gone".into() });
        }
        let is_left = |left: usize| left.checked_sub(1);
        // A lane is opened without writing.
        if !commit.writes.is_empty() && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_err() {
            std::future::pending::<()>().await;
        }
        self.inner.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.inner.watch(home, stream, after).await
    }
}

#[derive(Default)]
struct World {
    stores: [Arc<MemoryStore>; 3],
    lost: [Arc<AtomicBool>; 3],
}

impl World {
    /// A database in the oldest format at three sites.
    async fn old() -> Self {
        let world = Self::default();
        put(world.stores[0].as_ref(), format_key(), Format::OLDEST.mark()).await;
        let db = world.client("pisa").await;
        assert_eq!(db.format(), Format::OLDEST);
        for statement in [
            "CREATE TABLE host (site text, id bigint, name text UNIQUE, PRIMARY KEY (site, id)) \
             WITH (placement = 'by_site(site)')",
            "CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n bigint)",
            "INSERT INTO host VALUES ('pisa', 1, 'a'), ('rome', 1, 'b'), ('turin', 1, 'c')",
        ] {
            db.execute(statement).await.unwrap();
        }
        db.ended().await;
        world
    }

    /// As a client reaches it that dies after so many commits.
    fn sites(&self, commits: usize) -> Arc<dyn Sites> {
        let left = Arc::new(AtomicUsize::new(commits));
        let store = |at: usize| {
            let (inner, lost, left) = (Arc::clone(&self.stores[at]), Arc::clone(&self.lost[at]), Arc::clone(&left));
            (NAMES[at].to_owned(), Arc::new(Mortal { inner, lost, left }) as Arc<dyn Store>)
        };
        Arc::new(FixedSites::new((0..3).map(store)))
    }

    async fn client(&self, local: &str) -> RomeDatabase {
        self.mortal(local, usize::MAX).await
    }

    async fn mortal(&self, local: &str, commits: usize) -> RomeDatabase {
        let patience = Patience {
            recovery_after: Duration::from_millis(20),
            record_kept: Duration::from_millis(50),
            sweep_every: (commits == usize::MAX).then_some(Duration::from_millis(20)),
            replicate_every: None,
            ..Patience::default()
        };
        let options = Options { patience, ..Options::default() };
        RomeDatabase::open_sites(local, self.sites(commits), options).await.unwrap()
    }

    /// The format of each store, and how its tables' descriptions begin.
    async fn formats(&self) -> Vec<(String, Vec<u8>)> {
        let mut formats = vec![];
        for store in &self.stores {
            let reads =
                vec![Read::Point(format_key()), Read::Range { range: all_tables(), limit: None, reverse: false }];
            let mut entries = entries(store.as_ref(), reads).await.into_iter().map(|entry| entry.value);
            let format = String::from_utf8(entries.next().unwrap().to_vec()).unwrap();
            formats.push((format, entries.map(|description| description[0]).collect()));
        }
        formats
    }

    /// Waits until nothing is left of any transaction.
    async fn swept(&self) {
        for _ in 0..1_000 {
            let mut left = 0;
            for store in &self.stores {
                let spaces = [MARKS_SPACE, RECORDS_SPACE].map(|space| Read::Range {
                    range: whole_space(space),
                    limit: None,
                    reverse: false,
                });
                left += entries(store.as_ref(), spaces.to_vec()).await.len();
            }
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("something is left of a transaction");
    }
}

async fn entries(store: &dyn Store, reads: Vec<Read>) -> Vec<Entry> {
    let request = ReadRequest { reads, limits: ReadLimits::default(), ..ReadRequest::default() };
    let ReadOutcome::Answer(answer) = store.read(&HomeId::new("main"), request).await.unwrap() else {
        unreachable!("no guards")
    };
    answer.results.into_iter().flat_map(|result| result.entries).collect()
}

async fn put(store: &dyn Store, key: Key, value: Bytes) {
    let commit = Commit { writes: vec![Write::Put(key, value)], ..Commit::default() };
    store.commit(&HomeId::new("main"), commit).await.unwrap();
}

const RAISED: Upgraded = Upgraded { from: Format::OLDEST, to: Format::NEWEST };

fn old() -> Vec<(String, Vec<u8>)> {
    vec![("1".to_owned(), vec![b'{'; 2]); 3]
}

fn new() -> Vec<(String, Vec<u8>)> {
    vec![("2".to_owned(), vec![2; 2]); 3]
}

#[tokio::test]
async fn clients_go_on_while_it_is_raised() {
    let world = World::old().await;
    let other = world.client("rome").await;
    let begun = other.begin().await.unwrap();
    begun.execute("INSERT INTO host VALUES ('rome', 2, 'd'), ('turin', 2, 'e')").await.unwrap();
    assert_eq!(world.formats().await, old());
    assert_eq!(world.client("pisa").await.upgrade().await.unwrap(), RAISED);
    assert_eq!(world.formats().await, new());
    // What was planned in the old format loses, and is done again.
    let error = begun.commit().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    other.execute("INSERT INTO numbered (n) VALUES (1)").await.unwrap();
    other.execute("INSERT INTO host VALUES ('rome', 2, 'd'), ('turin', 2, 'e')").await.unwrap();
    other.execute("CREATE TABLE late (id bigint PRIMARY KEY)").await.unwrap();
    assert_eq!(other.format(), Format::NEWEST);
    assert_eq!(other.upgrade().await.unwrap(), Upgraded { from: Format::NEWEST, to: Format::NEWEST });
    other.ended().await;
    assert_eq!(world.formats().await, vec![("2".to_owned(), vec![2; 3]); 3]);
    // Sites that join get what is there.
    assert_eq!(other.query_one::<i64, _>("SELECT count(*) FROM host").await.unwrap(), 5);
}

#[tokio::test]
async fn all_sites_must_be_there() {
    let world = World::old().await;
    let db = world.client("pisa").await;
    world.lost[2].store(true, Ordering::Relaxed);
    for client in [&db, &world.client("rome").await] {
        let error = client.upgrade().await.unwrap_err();
        assert_eq!(error.state(), SqlState::CONNECTION_FAILURE, "{error}");
        let all = format!("{error} {:?}", error.detail());
        assert!(all.contains("turin"), "{all}");
    }
    assert_eq!(world.formats().await, old());
    world.lost[2].store(false, Ordering::Relaxed);
    assert_eq!(db.upgrade().await.unwrap(), RAISED);
    db.ended().await;
    assert_eq!(world.formats().await, new());
}

/// Whoever raises it dies after each of its commits in turn: it is raised everywhere or nowhere.
#[tokio::test]
async fn an_upgrade_is_done_or_not() {
    let mut raised = vec![];
    for commits in 0..8 {
        let world = World::old().await;
        let dying = world.mortal("rome", commits).await;
        let told = tokio::time::timeout(Duration::from_millis(100), dying.upgrade()).await;
        // Each sweeps its own site.
        let (db, _rome, _pisa) = (world.client("turin").await, world.client("rome").await, world.client("pisa").await);
        db.execute("UPDATE host SET name = name || 'x'").await.unwrap();
        world.swept().await;
        let found = world.formats().await;
        assert!(found == old() || found == new(), "after {commits} commits: {found:?}");
        assert!(found == new() || !matches!(told, Ok(Ok(_))), "after {commits} commits it was said to be done");
        raised.push(found == new());
        db.upgrade().await.unwrap();
        db.ended().await;
        assert_eq!(world.formats().await, new());
        drop(dying);
    }
    println!("raised, by commits: {raised:?}");
    assert!(!raised[0] && raised[7], "{raised:?}");
}

#[tokio::test]
async fn a_database_on_one_store() {
    let store = Arc::new(MemoryStore::new());
    put(store.as_ref(), format_key(), Format::OLDEST.mark()).await;
    let db = RomeDatabase::open(Arc::clone(&store) as _, Options::default()).await.unwrap();
    let other = RomeDatabase::open(Arc::clone(&store) as _, Options::default()).await.unwrap();
    db.execute("CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n bigint)").await.unwrap();
    other.execute("SELECT * FROM t").await.unwrap();
    assert_eq!(db.upgrade().await.unwrap(), RAISED);
    other.execute("CREATE TABLE u (id bigint PRIMARY KEY)").await.unwrap();
    other.execute("INSERT INTO t (n) VALUES (1)").await.unwrap();
    assert_eq!(other.format(), Format::NEWEST);
    let reads = vec![Read::Range { range: all_tables(), limit: None, reverse: false }];
    assert!(entries(store.as_ref(), reads).await.iter().all(|entry| entry.value.starts_with(&[2, b'{'])));
    // The store as it was before is not worked with.
    put(store.as_ref(), format_key(), Format::OLDEST.mark()).await;
    assert!(db.execute("CREATE TABLE v (id bigint)").await.is_err());
    let alone = RomeDatabase::open(Arc::new(MemoryStore::new()), Options::default()).await.unwrap();
    assert_eq!(alone.format(), Format::NEWEST);
}

/// What is done to a raised database without its tables' statements leaves their descriptions in its format.
#[tokio::test]
async fn a_site_is_forgotten_and_claims_are_made_anew() {
    let world = World::old().await;
    let db = world.client("pisa").await;
    assert_eq!(db.upgrade().await.unwrap(), RAISED);
    assert_eq!(db.claim_anew().await.unwrap(), [("host".to_owned(), 3)]);
    db.ended().await;
    world.lost[2].store(true, Ordering::Relaxed);
    let (options, accepted) = (Options::default(), ForgetOptions::default());
    let forgotten = RomeDatabase::forget_site("pisa", world.sites(usize::MAX), "turin", accepted, options).await;
    let (db, forgotten) = forgotten.unwrap();
    assert_eq!(forgotten.claimed, [("host".to_owned(), 2)]);
    let taken = db.execute("INSERT INTO host VALUES ('rome', 2, 'a')").await.unwrap_err();
    assert_eq!(taken.state(), SqlState::UNIQUE_VIOLATION);
    db.execute("INSERT INTO host VALUES ('rome', 2, 'c')").await.unwrap();
    let reads = vec![Read::Range { range: all_tables(), limit: None, reverse: false }];
    let described = entries(world.stores[0].as_ref(), reads).await;
    assert!(described.iter().all(|entry| entry.value.starts_with(&[2, b'{'])), "{described:?}");
}

/// A site's store from before the database was raised: its descriptions and its topology are older, too.
#[tokio::test]
async fn a_site_that_was_restored_from_before() {
    let world = World::old().await;
    let db = world.client("pisa").await;
    let spaces =
        || (1..5).chain(1024..1040).map(whole_space).map(|range| Read::Range { range, limit: None, reverse: false });
    let backup = entries(world.stores[2].as_ref(), spaces().collect()).await;
    db.upgrade().await.unwrap();
    db.ended().await;
    world.swept().await;
    let now = entries(world.stores[2].as_ref(), spaces().collect()).await;
    let writes = now.into_iter().map(|entry| Write::Delete(entry.key));
    let writes = writes.chain(backup.into_iter().map(|entry| Write::Put(entry.key, entry.value))).collect();
    // Each key once.
    let mut last: std::collections::BTreeMap<Key, Write> = Default::default();
    let all: Vec<Write> = writes;
    all.into_iter().for_each(|write| drop(last.insert(write.key().clone(), write)));
    let commit = Commit { writes: last.into_values().collect(), ..Commit::default() };
    world.stores[2].commit(&HomeId::new("main"), commit).await.unwrap();
    let before = entries(world.stores[2].as_ref(), spaces().collect()).await;
    // To who was there, and to who comes new, and there.
    for client in [&db, &world.client("rome").await] {
        let error = client.execute("INSERT INTO host (site, id) VALUES ('turin', 9)").await.unwrap_err();
        assert_eq!(error.state(), SqlState::CONNECTION_FAILURE, "{error}");
        assert!(error.message().contains("the store of site \"turin\" holds format 1"), "{error}");
        client.execute("INSERT INTO numbered (n) VALUES (1)").await.unwrap();
    }
    let patience = Patience { sweep_every: None, replicate_every: None, ..Patience::default() };
    let options = Options { patience, ..Options::default() };
    let error = RomeDatabase::open_sites("turin", world.sites(usize::MAX), options).await.unwrap_err();
    assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error}");
    assert!(error.message().contains("the store of site \"turin\" holds format 1"), "{error}");
    assert_eq!(entries(world.stores[2].as_ref(), spaces().collect()).await, before);
}
