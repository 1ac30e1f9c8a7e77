//! Global tables and read modes over three sites, each an in-memory store that can be cut off and that counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::ready;
use rome_core::Error;
use rome_core::SqlState;
use rome_core::database::{
    Database, DatabaseExt, Executor, FixedSites, ForgetOptions, IntoStatement, Lag, Options, QueryResult, Queryable,
    ReadMode, RomeDatabase, RowChange, Sites, SurveyOptions, TransactionOptions, WatchItem,
};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, CountingStore, Epoch, HomeId, KeyRange, MemoryStore, Read, ReadOutcome,
    ReadRequest, Store, StoreError, Version, WatchStream,
};
use rome_core::txn::Patience;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];
const SECONDS: Duration = Duration::from_secs(30);

/// A site's store as the other sites reach it.
#[derive(Debug)]
struct Link {
    memory: Arc<MemoryStore>,
    store: Arc<CountingStore>,
    cut: Arc<AtomicBool>,
    /// So many ms pass before a read is answered.
    slow: AtomicU64,
}

fn check(cut: &AtomicBool) -> Result<(), StoreError> {
    match cut.load(Ordering::Relaxed) {
        true => Err(StoreError::Unavailable { address: "far away".into(), reason: "cut".into() }),
        false => Ok(()),
    }
}

impl Link {
    fn check(&self) -> Result<(), StoreError> {
        check(&self.cut)
    }
}

#[async_trait]
impl Store for Link {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.check()?;
        tokio::time::sleep(Duration::from_millis(self.slow.load(Ordering::Relaxed))).await;
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.check()?;
        self.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.check()?;
        let (events, link) = (self.store.watch(home, stream, after).await?, Arc::clone(&self.cut));
        let mut over = false;
        let while_whole = events.map(move |event| check(&link).and(event));
        Ok(while_whole.take_while(move |event| ready(!std::mem::replace(&mut over, event.is_err()))).boxed())
    }
}

/// A store that takes few guards and writes at once.
#[derive(Debug)]
struct Narrow {
    store: Arc<CountingStore>,
    capabilities: Capabilities,
}

impl Narrow {
    fn new(store: &Arc<CountingStore>, most: usize) -> Self {
        let capabilities = Capabilities { max_guards: most, max_writes: most, ..store.capabilities().clone() };
        Self { store: Arc::clone(store), capabilities }
    }
}

#[async_trait]
impl Store for Narrow {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        assert!(commit.writes.len().max(commit.guards.len()) <= self.capabilities.max_writes);
        self.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}

struct World {
    links: Vec<Arc<Link>>,
}

impl World {
    fn new() -> Self {
        let link = || {
            let memory = Arc::new(MemoryStore::new());
            let store = Arc::new(CountingStore::new(Arc::clone(&memory) as _));
            Link { memory, store, cut: Arc::default(), slow: AtomicU64::new(0) }
        };
        Self { links: NAMES.iter().map(|_| Arc::new(link())).collect() }
    }

    async fn client(&self, local: &str) -> RomeDatabase {
        self.client_with(local, Some(Duration::from_millis(20))).await
    }

    /// A client that looks after the copies at its site so often, or never.
    async fn client_with(&self, local: &str, replicate_every: Option<Duration>) -> RomeDatabase {
        let near: Arc<dyn Store> =
            Arc::clone(&self.links[NAMES.iter().position(|name| *name == local).unwrap()].store) as _;
        self.client_at(local, near, replicate_every).await
    }

    /// A client that reaches its own site in this way.
    async fn client_at(&self, local: &str, near: Arc<dyn Store>, replicate_every: Option<Duration>) -> RomeDatabase {
        let stores = NAMES.iter().zip(&self.links).map(|(name, link)| {
            let store: Arc<dyn Store> = if *name == local { Arc::clone(&near) } else { Arc::clone(link) as _ };
            ((*name).to_owned(), store)
        });
        let patience = Patience {
            sweep_every: None,
            replicate_every,
            recovery_after: Duration::from_millis(50),
            ..Patience::default()
        };
        let options = Options { patience, ..Options::default() };
        RomeDatabase::open_sites(local, Arc::new(FixedSites::new(stores)), options).await.unwrap()
    }

    /// The store of a site begins an epoch, as after a failover.
    fn begin_epoch(&self, site: usize, epoch: Epoch) {
        self.links[site].memory.begin_epoch(&HomeId::new("main"), epoch);
    }

    fn cut(&self, site: usize, cut: bool) {
        self.links[site].cut.store(cut, Ordering::Relaxed);
    }

    fn asked(&self, site: usize) -> u64 {
        let counts = self.links[site].store.counts();
        counts.reads + counts.commits
    }

    /// What a site holds of a table, rows and index entries.
    async fn held(&self, site: usize, db: &RomeDatabase, table: &str) -> Vec<(Bytes, Bytes)> {
        let catalog = db.catalog();
        let tables = catalog.tables();
        let table = tables.iter().find(|found| found.name == table).unwrap();
        let spaces = table.indexes.iter().map(|index| index.space).chain([table.row_space()]);
        let reads = spaces.map(|space| {
            let range = KeyRange::prefix(&space.to_be_bytes());
            Read::Range { range, limit: None, reverse: false }
        });
        let request = ReadRequest { reads: reads.collect(), ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = self.links[site].store.read(&HomeId::new("main"), request).await.unwrap()
        else {
            unreachable!("no guards")
        };
        answer.results.into_iter().flat_map(|result| result.entries).map(|entry| (entry.key, entry.value)).collect()
    }

    /// Waits until two sites hold the same of a table.
    async fn copied(&self, from: usize, to: usize, db: &RomeDatabase, table: &str) {
        let begun = tokio::time::Instant::now();
        loop {
            let (home, copy) = (self.held(from, db, table).await, self.held(to, db, table).await);
            if home == copy {
                return;
            }
            assert!(begun.elapsed() < SECONDS, "{} entries at home, {} in the copy", home.len(), copy.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn stale(db: &RomeDatabase, query: &str, max: Duration) -> QueryResult {
    db.run_reading(query.into_statement(), ReadMode::Stale { max }).await.unwrap()
}

/// Waits until a site's client reads a table from its copy.
async fn until_copied(db: &RomeDatabase, query: &str) -> QueryResult {
    let begun = tokio::time::Instant::now();
    loop {
        let result = stale(db, query, SECONDS).await;
        if result.report.staleness.is_some() {
            return result;
        }
        assert!(begun.elapsed() < SECONDS, "no copy is made");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_read_without_asking_another_site() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    pisa.execute(
        "CREATE TABLE flavor (id bigint PRIMARY KEY, name text UNIQUE, cores bigint) WITH (placement = 'global')",
    )
    .await
    .unwrap();
    pisa.execute("CREATE INDEX by_cores ON flavor (cores)").await.unwrap();
    pisa.execute("INSERT INTO flavor VALUES (1, 'small', 1), (2, 'large', 8)").await.unwrap();
    let query = "SELECT name FROM flavor WHERE cores > 0 ORDER BY id";
    until_copied(&turin, query).await;
    world.copied(0, 2, &turin, "flavor").await;
    // A reader that has looked after the copy once, and does not again for an hour.
    let reader = world.client_with("turin", Some(Duration::from_secs(3_600))).await;
    assert_eq!(until_copied(&reader, query).await.rows.len(), 2);
    drop((turin, pisa));
    let mut here = 0;
    while here != world.asked(2) {
        here = world.asked(2);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let at_home = world.asked(0);
    for _ in 0..20 {
        let result = stale(&reader, query, SECONDS).await;
        assert!(result.report.staleness.unwrap() < SECONDS && result.report.missing_sites.is_empty());
        assert_eq!(result.rows.len(), 2);
    }
    assert_eq!(world.asked(2) - here, 40, "the copy's cursor, then the rows");
    assert_eq!(world.asked(0) - at_home, 0, "its home is not asked");
    let plan = stale(&reader, &format!("EXPLAIN {query}"), SECONDS).await;
    let plan: Vec<String> = plan.rows.iter().map(|row| row.values()[0].to_string()).collect();
    let plan = plan.join("\n");
    for line in ["from the copy at turin", "wide-area round trips: 0", "Copies miss nothing older than"] {
        assert!(plan.contains(line), "{plan}");
    }
    // A strong read asks the home, and is current.
    let before = world.asked(0);
    let strong = reader.run(query.into_statement()).await.unwrap();
    assert!(strong.report.is_complete() && world.asked(0) > before);
    // What must be fresher than anybody knows is read at home.
    let fresh = stale(&reader, query, Duration::ZERO).await;
    assert_eq!((fresh.report.staleness, fresh.rows.len()), (None, 2));
}

/// However many clients a site has, one of them asks the home.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_clients_leave_the_home_alone() {
    const EVERY: Duration = Duration::from_millis(20);
    let world = World::new();
    let pisa = world.client("pisa").await;
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY) WITH (placement = 'global')").await.unwrap();
    pisa.execute("INSERT INTO flavor VALUES (1)").await.unwrap();
    let mut clients = vec![];
    for _ in 0..8 {
        clients.push(world.client_with("turin", Some(EVERY)).await);
    }
    let query = "SELECT count(*) FROM flavor";
    for client in &clients {
        until_copied(client, query).await;
    }
    // Until all have seen that somebody does it.
    tokio::time::sleep(EVERY * 10).await;
    let (begun, before) = (tokio::time::Instant::now(), world.asked(0));
    tokio::time::sleep(EVERY * 50).await;
    let asked = world.asked(0) - before;
    // One asks each time, and one at each of the other sites; a second one takes over where the first was held up.
    let most = 3 * begun.elapsed().as_millis() / EVERY.as_millis();
    assert!(asked > 0 && u128::from(asked) < most, "{asked} requests, {most} at most");
    // And yet all know how stale the copy is.
    for client in &clients {
        let known = stale(client, query, SECONDS).await.report.staleness.unwrap();
        assert!(known < begun.elapsed(), "{known:?}");
    }
}

/// Clients of one site don't take the copying of a large table from each other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_table_is_copied_by_one() {
    let world = World::new();
    let pisa = world.client("pisa").await;
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY) WITH (placement = 'global')").await.unwrap();
    for thousand in 0..6 {
        let rows: Vec<String> = (0..1_000).map(|id| format!("({})", thousand * 1_000 + id)).collect();
        pisa.execute(format!("INSERT INTO flavor VALUES {}", rows.join(", "))).await.unwrap();
    }
    world.links[0].slow.store(50, Ordering::Relaxed);
    let turin = world.client("turin").await;
    let _others = [world.client("turin").await, world.client("turin").await];
    until_copied(&turin, "SELECT count(*) FROM flavor").await;
    world.copied(0, 2, &turin, "flavor").await;
}

/// A copy is whole although its home has gone on since, with other tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_tables_keep_no_copy_from_being_whole() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY) WITH (placement = 'global')").await.unwrap();
    pisa.execute("CREATE TABLE host (id bigint PRIMARY KEY) WITH (placement = 'at(pisa)')").await.unwrap();
    pisa.execute("INSERT INTO flavor VALUES (1)").await.unwrap();
    until_copied(&turin, "SELECT count(*) FROM flavor").await;
    for id in 0..10 {
        pisa.execute(("INSERT INTO host VALUES ($1)", [id.into()])).await.unwrap();
    }
    pisa.execute("CREATE TABLE image (id bigint PRIMARY KEY) WITH (placement = 'global')").await.unwrap();
    assert_eq!(until_copied(&turin, "SELECT count(*) FROM image").await.rows.len(), 1);
}

/// After a failover of their home copies go on, whoever looks after them and whatever they were doing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_go_on_in_another_epoch() {
    let world = World::new();
    let pisa = world.client("pisa").await;
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY) WITH (placement = 'global')").await.unwrap();
    for thousand in 0..3 {
        let rows: Vec<String> = (0..1_000).map(|id| format!("({})", thousand * 1_000 + id)).collect();
        pisa.execute(format!("INSERT INTO flavor VALUES {}", rows.join(", "))).await.unwrap();
    }
    world.links[0].slow.store(20, Ordering::Relaxed);
    let insert = async |id: i64| pisa.execute(("INSERT INTO flavor VALUES ($1)", [id.into()])).await.unwrap();
    let query = "SELECT count(*) FROM flavor";
    // While the table is copied for the first time.
    let turin = world.client("turin").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.begin_epoch(0, 2);
    insert(10_000).await;
    until_copied(&turin, query).await;
    world.copied(0, 2, &turin, "flavor").await;
    // While somebody applies events.
    world.begin_epoch(0, 3);
    insert(10_001).await;
    world.copied(0, 2, &turin, "flavor").await;
    // While nobody does.
    drop(turin);
    world.begin_epoch(0, 4);
    insert(10_002).await;
    let turin = world.client("turin").await;
    world.copied(0, 2, &turin, "flavor").await;
    until_copied(&turin, query).await;
}

/// A transaction that is more than the store of a copy takes at once does not stop the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_too_large_for_a_copy_does_not_stop_it() {
    let world = World::new();
    let pisa = world.client("pisa").await;
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY, cores bigint) WITH (placement = 'global')")
        .await
        .unwrap();
    pisa.execute("CREATE INDEX by_cores ON flavor (cores)").await.unwrap();
    let narrow = Arc::new(Narrow::new(&world.links[2].store, 60));
    let turin = world.client_at("turin", narrow, Some(Duration::from_millis(20))).await;
    let rows: Vec<String> = (0..300).map(|id| format!("({id}, 1)")).collect();
    let query = "SELECT sum(cores)::bigint FROM flavor";
    until_copied(&turin, query).await;
    pisa.execute(format!("INSERT INTO flavor VALUES {}", rows.join(", "))).await.unwrap();
    for _ in 0..3 {
        pisa.execute("UPDATE flavor SET cores = cores + 1").await.unwrap();
        pisa.execute("UPDATE flavor SET cores = cores + 1 WHERE id < 10").await.unwrap();
    }
    world.copied(0, 2, &turin, "flavor").await;
    until_copied(&turin, query).await;
}

/// How stale a copy is remains known while its home is written to all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_is_known_amid_changes() {
    let world = World::new();
    let pisa = world.client("pisa").await;
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY, x bigint) WITH (placement = 'global')").await.unwrap();
    pisa.execute("INSERT INTO flavor VALUES (1, 0)").await.unwrap();
    let clients = [world.client("turin").await, world.client("turin").await];
    for client in &clients {
        until_copied(client, "SELECT x FROM flavor").await;
    }
    // Between any question and its answer there is a change.
    world.links[0].slow.store(30, Ordering::Relaxed);
    let writer = tokio::spawn(async move {
        loop {
            pisa.execute("UPDATE flavor SET x = x + 1").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    for client in &clients {
        let staleness = stale(client, "SELECT x FROM flavor", SECONDS).await.report.staleness.unwrap();
        assert!(staleness < Duration::from_secs(2), "{staleness:?}");
    }
    writer.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_shows_whole_transactions() {
    let world = World::new();
    let mut clients = vec![];
    for name in NAMES {
        clients.push(world.client(name).await);
    }
    for table in ["left_side", "right_side"] {
        let sql = format!("CREATE TABLE {table} (id bigint PRIMARY KEY, held bigint) WITH (placement = 'global')");
        clients[0].execute(sql).await.unwrap();
    }
    clients[0]
        .execute("CREATE TABLE ledger (site text PRIMARY KEY, moves bigint) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    for id in 0..4_i64 {
        clients[0].execute(("INSERT INTO left_side VALUES ($1, 100)", [id.into()])).await.unwrap();
        clients[0].execute(("INSERT INTO right_side VALUES ($1, 100)", [id.into()])).await.unwrap();
    }
    for name in NAMES {
        clients[0].execute(("INSERT INTO ledger VALUES ($1, 0)", [name.into()])).await.unwrap();
    }
    let done = AtomicBool::new(false);
    let movers = async {
        let movers = clients.iter().zip(NAMES).map(|(db, site)| async move {
            for step in 0..15_i64 {
                db.transaction(move |tx| {
                    Box::pin(async move {
                        let id = [(step % 4).into()];
                        tx.execute(("UPDATE left_side SET held = held - 1 WHERE id = $1", id.clone())).await?;
                        tx.execute(("UPDATE right_side SET held = held + 1 WHERE id = $1", id)).await?;
                        // Over two homes, from two of the sites.
                        tx.execute(("UPDATE ledger SET moves = moves + 1 WHERE site = $1", [site.into()])).await?;
                        Ok::<_, Error>(())
                    })
                })
                .await
                .unwrap();
            }
        });
        futures::future::join_all(movers).await;
        done.store(true, Ordering::Relaxed);
    };
    let query = "SELECT (SELECT sum(held) FROM left_side) + (SELECT sum(held) FROM right_side)";
    let watcher = async {
        let mut from_copies = 0;
        while !done.load(Ordering::Relaxed) || from_copies == 0 {
            for db in &clients[1..] {
                let result = stale(db, query, SECONDS).await;
                let sum: rome_core::Value = result.rows[0].values()[0].clone();
                assert_eq!(sum.to_string(), "800", "{:?}", result.report);
                from_copies += u64::from(result.report.staleness.is_some());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(movers, watcher);
    for site in [1, 2] {
        world.copied(0, site, &clients[0], "left_side").await;
        world.copied(0, site, &clients[0], "right_side").await;
    }
    let moves: Vec<(String, i64)> = clients[2].query_as("SELECT site, moves FROM ledger ORDER BY site").await.unwrap();
    assert_eq!(moves, NAMES.map(|name| (name.to_owned(), 15)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_catches_up() {
    let world = World::new();
    let pisa = world.client("pisa").await;
    pisa.execute("CREATE TABLE image (id bigint PRIMARY KEY, name text) WITH (placement = 'global')").await.unwrap();
    // Rows from before there was a copy, more than a page of them.
    let rows: Vec<String> = (0..1_500).map(|id| format!("({id}, 'image {id}')")).collect();
    pisa.execute(format!("INSERT INTO image VALUES {}", rows.join(", "))).await.unwrap();
    let turin = world.client("turin").await;
    world.copied(0, 2, &pisa, "image").await;
    until_copied(&turin, "SELECT id FROM image WHERE id = 1").await;
    // While the site is away: more changes than the stream keeps, so that the copy begins anew.
    world.cut(0, true);
    for step in 0..4_200 {
        pisa.execute(format!("UPDATE image SET name = 'version {step}' WHERE id = {}", step % 1_500)).await.unwrap();
    }
    pisa.execute("DELETE FROM image WHERE id >= 700 AND id < 900").await.unwrap();
    world.cut(0, false);
    world.copied(0, 2, &pisa, "image").await;
    // And less.
    world.cut(0, true);
    pisa.execute("DELETE FROM image WHERE id < 10").await.unwrap();
    world.cut(0, false);
    world.copied(0, 2, &pisa, "image").await;
    // A unique index on what the copy, which is behind, holds twice: it is made, and the copy gets it.
    pisa.execute("INSERT INTO image VALUES (5000, 'twice'), (5001, 'twice')").await.unwrap();
    world.copied(0, 2, &pisa, "image").await;
    world.cut(0, true);
    pisa.execute("UPDATE image SET name = 'no more' WHERE id = 5000").await.unwrap();
    pisa.execute("CREATE UNIQUE INDEX once ON image (name)").await.unwrap();
    world.cut(0, false);
    world.copied(0, 2, &pisa, "image").await;
    pisa.execute("DROP INDEX once").await.unwrap();
    pisa.execute("DELETE FROM image WHERE id >= 5000").await.unwrap();
    // Any index comes to where copies are.
    pisa.execute("CREATE INDEX by_name ON image (name)").await.unwrap();
    pisa.execute("UPDATE image SET name = 'renamed' WHERE id < 100").await.unwrap();
    world.copied(0, 2, &pisa, "image").await;
    assert_eq!(world.held(2, &pisa, "image").await.len(), 2 * (1_500 - 200 - 10));
    let result = until_copied(&turin, "SELECT count(*) FROM image WHERE name = 'renamed'").await;
    assert_eq!(result.rows[0].values()[0].to_string(), "90");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_sites_answer_as_their_read_mode_says() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY, cores bigint) WITH (placement = 'global')")
        .await
        .unwrap();
    pisa.execute("CREATE TABLE host (id bigint PRIMARY KEY, site text) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    pisa.execute("INSERT INTO flavor VALUES (1, 1)").await.unwrap();
    pisa.execute("INSERT INTO host VALUES (1, 'pisa'), (2, 'rome'), (3, 'turin')").await.unwrap();
    let flavors = "SELECT id FROM flavor";
    until_copied(&turin, flavors).await;
    world.copied(0, 2, &turin, "flavor").await;
    let available = ReadMode::Available;
    let all = turin.run_reading("SELECT id FROM host".into_statement(), available).await.unwrap();
    assert_eq!((all.rows.len(), all.report.is_complete()), (3, true));
    world.cut(0, true);
    // Strong: an error that names the site. Stale: as long as somebody knows how stale. Available: always, and says what it lacks.
    let error = turin.run(flavors.into_statement()).await.unwrap_err();
    assert_eq!(error.state(), SqlState::CONNECTION_FAILURE);
    assert!(error.detail().is_some_and(|detail| detail.contains("pisa")), "{error:?}");
    assert_eq!(stale(&turin, flavors, SECONDS).await.rows.len(), 1);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let error = turin.run_reading(flavors.into_statement(), ReadMode::Stale { max: Duration::from_millis(50) }).await;
    assert_eq!(error.unwrap_err().state(), SqlState::CONNECTION_FAILURE);
    let result = turin.run_reading(flavors.into_statement(), available).await.unwrap();
    assert_eq!(result.rows.len(), 1);
    assert!(result.report.staleness.unwrap() >= Duration::from_millis(50));
    let result = turin.run_reading("SELECT id FROM host ORDER BY id".into_statement(), available).await.unwrap();
    assert_eq!(result.rows.len(), 2);
    assert_eq!(result.report.missing_sites, ["pisa"]);
    assert_eq!(result.report.notices(), ["rows at these sites are missing: pisa"]);
    // In a transaction, by SET.
    let options = TransactionOptions { read_only: true, ..TransactionOptions::default() };
    let tx = turin.begin_with(options).await.unwrap();
    tx.execute("SET rome.read_mode = 'available'").await.unwrap();
    assert_eq!(tx.query("SELECT id FROM host").await.unwrap().len(), 2);
    let (missing,): (String,) = tx.query_one("SHOW rome.missing_sites").await.unwrap();
    assert_eq!(missing, "pisa");
    tx.commit().await.unwrap();
    let tx = turin.begin_with(options).await.unwrap();
    tx.execute("SET rome.max_staleness = '1min'").await.unwrap();
    assert_eq!(tx.query(flavors).await.unwrap().len(), 1);
    let (staleness,): (String,) = tx.query_one("SHOW rome.staleness").await.unwrap();
    assert!(staleness.strip_suffix("ms").unwrap().parse::<u64>().unwrap() >= 50, "{staleness}");
    tx.commit().await.unwrap();
    // What writes must rest on what is true.
    let tx = turin.begin().await.unwrap();
    let error = tx.execute("SET rome.read_mode = 'available'").await.unwrap_err();
    assert_eq!(error.state(), SqlState::ACTIVE_SQL_TRANSACTION);
    drop(tx);
    let reading = TransactionOptions { read_mode: available, ..TransactionOptions::default() };
    let tx = turin.begin_with(reading).await.unwrap();
    assert_eq!(tx.execute("DELETE FROM host WHERE id = 3").await.unwrap_err().state(), SqlState::READ_ONLY_TRANSACTION);
    drop(tx);
    world.cut(0, false);
    assert_eq!(turin.query(flavors).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn global_rows_keep_every_rule() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY, name text UNIQUE) WITH (placement = 'global(rome)')")
        .await
        .unwrap();
    pisa.execute(
        "CREATE TABLE server (id bigint PRIMARY KEY, site text, flavor bigint REFERENCES flavor) WITH (placement = 'by_site(site)')",
    )
    .await
    .unwrap();
    turin.execute("INSERT INTO flavor VALUES (1, 'small')").await.unwrap();
    assert_eq!(
        pisa.execute("INSERT INTO flavor VALUES (2, 'small')").await.unwrap_err().state(),
        SqlState::UNIQUE_VIOLATION
    );
    turin.execute("INSERT INTO server VALUES (1, 'turin', 1)").await.unwrap();
    let error = turin.execute("INSERT INTO server VALUES (2, 'turin', 2)").await.unwrap_err();
    assert_eq!(error.state(), SqlState::FOREIGN_KEY_VIOLATION);
    assert_eq!(pisa.execute("DELETE FROM flavor").await.unwrap_err().state(), SqlState::FOREIGN_KEY_VIOLATION);
    until_copied(&turin, "SELECT id FROM flavor").await;
    // An unknown site, a site that leaves: its copies go with it, the home can't.
    let error = pisa.execute("CREATE TABLE x (id bigint) WITH (placement = 'global(nowhere)')").await.unwrap_err();
    assert_eq!(error.state(), SqlState::INVALID_PARAMETER_VALUE);
    let error = pisa.remove_site("rome").await.unwrap_err();
    assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error}");
    turin.execute("DROP TABLE server").await.unwrap();
    pisa.remove_site("turin").await.unwrap();
    pisa.execute("INSERT INTO flavor VALUES (2, 'large')").await.unwrap();
    world.copied(1, 0, &pisa, "flavor").await;
    pisa.execute("DROP TABLE flavor").await.unwrap();
}

/// The home of global tables is lost for good: the copy of the site that says so becomes the table, and every other copy follows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_takes_over() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY, name text UNIQUE) WITH (placement = 'global(rome)')")
        .await
        .unwrap();
    pisa.execute("INSERT INTO flavor VALUES (1, 'small'), (2, 'large')").await.unwrap();
    until_copied(&turin, "SELECT id FROM flavor").await;
    world.copied(1, 2, &turin, "flavor").await;
    // Changes that reach neither copy.
    world.cut(1, true);
    let rome = world.client("rome").await;
    rome.execute("DELETE FROM flavor WHERE id = 2").await.unwrap();
    drop(rome);
    let all = NAMES.iter().zip(&world.links);
    let stores = all.map(|(name, link)| ((*name).to_owned(), Arc::clone(link) as Arc<dyn Store>));
    let sites = Arc::new(FixedSites::new(stores));
    let accepted = ForgetOptions { drop_tables: false };
    let (db, forgotten) =
        RomeDatabase::forget_site("turin", sites, "rome", accepted, Options::default()).await.unwrap();
    assert_eq!(forgotten.taken_over, [("flavor".to_owned(), "turin".to_owned())]);
    assert!(forgotten.dropped.is_empty() && forgotten.lost_rows.is_empty());
    assert_eq!(db.query_as::<i64, _>("SELECT id FROM flavor ORDER BY id").await.unwrap(), [1, 2]);
    // It is written here, and copied from here.
    db.execute("INSERT INTO flavor VALUES (3, 'huge')").await.unwrap();
    let error = pisa.execute("INSERT INTO flavor VALUES (4, 'huge')").await.unwrap_err();
    assert_eq!(error.state(), SqlState::UNIQUE_VIOLATION, "{error}");
    world.copied(2, 0, &db, "flavor").await;
    let plan: Vec<String> = db.query_as("EXPLAIN SELECT id FROM flavor WHERE id = 1").await.unwrap();
    assert!(plan.iter().any(|line| line == "Sites: turin; wide-area round trips: 0 (reads 0, commits 0)"), "{plan:?}");
}

/// A table becomes global, its home moves to another site, and it becomes an ordinary one again, while it is written; copies and watchers follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn homes_of_global_tables_move() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY, name text UNIQUE, uses bigint)").await.unwrap();
    let rows: Vec<String> = (0..700).map(|id| format!("({id}, 'flavor {id}', 0)")).collect();
    pisa.execute(format!("INSERT INTO flavor VALUES {}", rows.join(", "))).await.unwrap();
    let mut watch = turin.watch("SELECT id, uses FROM flavor WHERE id = 0".into_statement(), None).await.unwrap();
    let done = AtomicBool::new(false);
    let writer = async {
        let mut uses = 0_i64;
        while !done.load(Ordering::Relaxed) {
            for id in [0_i64, uses % 700] {
                let change = "UPDATE flavor SET uses = uses + 1 WHERE id = $1";
                assert_eq!(turin.execute((change, [id.into()])).await.unwrap(), 1);
                uses += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        uses
    };
    let mover = async {
        for placement in ["global", "global(rome)", "at(turin)", "global(turin)"] {
            pisa.execute(format!("ALTER TABLE flavor SET (placement = '{placement}')")).await.unwrap();
            if placement.starts_with("global") {
                until_copied(&pisa_or_turin(&pisa, &turin, placement), "SELECT id FROM flavor WHERE id = 1").await;
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    let (uses, ()) = tokio::join!(writer, mover);
    world.copied(2, 0, &turin, "flavor").await;
    assert_eq!(world.held(0, &turin, "flavor").await.len(), 2 * 700);
    let sum: i64 = pisa.query_one("SELECT sum(uses)::bigint FROM flavor").await.unwrap();
    assert_eq!(sum, uses);
    let here: i64 = pisa.query_one("SELECT uses FROM flavor WHERE id = 0").await.unwrap();
    let mut last = None;
    while last != Some(here) {
        let item = tokio::time::timeout(SECONDS, watch.next()).await.expect("it is told").unwrap().unwrap();
        match item {
            WatchItem::Reset => last = None,
            WatchItem::Rows(rows) => last = Some(rows[0].get_at(1).unwrap()),
            WatchItem::Changes { changes, .. } => {
                let [RowChange::Updated { old, new }] = changes.as_slice() else { panic!("{changes:?}") };
                assert_eq!(last, Some(old.get_at(1).unwrap()), "nothing is told twice or left out");
                last = Some(new.get_at(1).unwrap());
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_copies_are_behind_is_told() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    let stores = NAMES.iter().zip(&world.links);
    let stores = stores.map(|(name, link)| ((*name).to_owned(), Arc::clone(link) as Arc<dyn Store>));
    let sites: Arc<dyn Sites> = Arc::new(FixedSites::new(stores));
    let options = SurveyOptions { timeout: Duration::from_millis(500), ..SurveyOptions::default() };
    let survey = RomeDatabase::survey(None, &sites, options.clone()).await.unwrap();
    assert_eq!(survey.lag_at("turin").await.unwrap(), None, "nothing is copied");
    pisa.execute("CREATE TABLE flavor (id bigint PRIMARY KEY) WITH (placement = 'global')").await.unwrap();
    pisa.execute("INSERT INTO flavor VALUES (1)").await.unwrap();
    until_copied(&turin, "SELECT id FROM flavor").await;
    let lag = survey.lag_at("turin").await.unwrap();
    assert!(matches!(lag, Some(Lag::CaughtUpAfter(_))), "{lag:?}");
    assert_eq!(survey.lag_at("pisa").await.unwrap(), None, "it is the home");
    // Also while the home is written to without pause.
    let writer = tokio::spawn({
        let pisa = pisa.clone();
        async move {
            for id in 2_i64.. {
                pisa.execute(("INSERT INTO flavor VALUES ($1)", [id.into()])).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    world.links[0].slow.store(5, Ordering::Relaxed);
    let lag = survey.lag_at("turin").await.unwrap();
    assert!(matches!(lag, Some(Lag::CaughtUpAfter(_))), "{lag:?}");
    writer.abort();
    // Nobody looks after the copy at the third site.
    assert_eq!(survey.lag_at("rome").await.unwrap(), Some(Lag::Behind));
    world.cut(0, true);
    assert_eq!(survey.lag_at("turin").await.unwrap_err().state(), SqlState::CONNECTION_FAILURE);
}

/// The client for which a table with this placement has a copy.
fn pisa_or_turin(pisa: &RomeDatabase, turin: &RomeDatabase, placement: &str) -> RomeDatabase {
    if placement == "global" { turin.clone() } else { pisa.clone() }
}
