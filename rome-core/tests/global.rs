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
    Capabilities, Commit, CommitOutcome, CountingStore, HomeId, KeyRange, MemoryStore, Read, ReadOutcome, ReadRequest,
    Store, StoreError, Version, WatchStream,
};
use rome_core::txn::Patience;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];
const SECONDS: Duration = Duration::from_secs(30);

/// A site's store as the other sites reach it.
#[derive(Debug)]
struct Link {
    store: Arc<CountingStore>,
    cut: Arc<AtomicBool>,
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

struct World {
    links: Vec<Arc<Link>>,
}

impl World {
    fn new() -> Self {
        let link = || Link { store: Arc::new(CountingStore::new(Arc::new(MemoryStore::new()))), cut: Arc::default() };
        Self { links: NAMES.iter().map(|_| Arc::new(link())).collect() }
    }

    async fn client(&self, local: &str) -> RomeDatabase {
        self.client_with(local, Some(Duration::from_millis(20))).await
    }

    /// A client that looks after the copies at its site so often, or never.
    async fn client_with(&self, local: &str, replicate_every: Option<Duration>) -> RomeDatabase {
        let stores = NAMES.iter().zip(&self.links).map(|(name, link)| {
            let store: Arc<dyn Store> =
                if *name == local { Arc::clone(&link.store) as _ } else { Arc::clone(link) as _ };
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
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (at_home, here) = (world.asked(0), world.asked(2));
    for _ in 0..20 {
        let result = stale(&reader, query, SECONDS).await;
        assert!(result.report.staleness.unwrap() < SECONDS && result.report.missing_sites.is_empty());
        assert_eq!(result.rows.len(), 2);
    }
    assert_eq!(world.asked(2) - here, 40, "the copy's cursor, then the rows");
    assert_eq!(world.asked(0) - at_home, 0, "its home is not asked");
    // A strong read asks the home, and is current.
    let before = world.asked(0);
    let strong = reader.run(query.into_statement()).await.unwrap();
    assert!(strong.report.is_complete() && world.asked(0) > before);
    // What must be fresher than anybody knows is read at home.
    let fresh = stale(&reader, query, Duration::ZERO).await;
    assert_eq!((fresh.report.staleness, fresh.rows.len()), (None, 2));
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
    // Nobody looks after the copy at the third site.
    assert_eq!(survey.lag_at("rome").await.unwrap(), Some(Lag::Behind));
    world.cut(0, true);
    assert_eq!(survey.lag_at("turin").await.unwrap_err().state(), SqlState::CONNECTION_FAILURE);
}

/// The client for which a table with this placement has a copy.
fn pisa_or_turin(pisa: &RomeDatabase, turin: &RomeDatabase, placement: &str) -> RomeDatabase {
    if placement == "global" { turin.clone() } else { pisa.clone() }
}
