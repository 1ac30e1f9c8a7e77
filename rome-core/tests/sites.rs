//! SQL over several sites: placement, pruning, moves, constraints, DDL, sites that come and go. Every site is an in-memory store of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::database::{DatabaseExt, FixedSites, Options, Queryable, RomeDatabase, Sites, Transaction};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, CountingStore, HomeId, KeyRange, MemoryStore, Read, ReadOutcome, ReadRequest,
    Store, StoreError, Version, WatchStream,
};
use rome_core::txn::{MARKS_SPACE, Patience, RECORDS_SPACE};
use rome_core::{Error, Result, SqlState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];

/// Of clients that do nothing by themselves: a sweep would be counted, too.
fn quiet() -> Options {
    let patience = Patience { sweep_every: None, replicate_every: None, ..Patience::default() };
    Options { patience, ..Options::default() }
}

/// Stores of three sites, and how often each is asked.
struct World {
    stores: Vec<Arc<CountingStore>>,
}

impl World {
    fn new() -> Self {
        Self { stores: NAMES.iter().map(|_| Arc::new(CountingStore::new(Arc::new(MemoryStore::new())))).collect() }
    }

    fn sites(&self, names: &[&str]) -> Arc<FixedSites> {
        let store = |name: &str| {
            let at = NAMES.iter().position(|other| *other == name).unwrap();
            (name.to_owned(), Arc::clone(&self.stores[at]) as Arc<dyn Store>)
        };
        Arc::new(FixedSites::new(names.iter().map(|name| store(name))))
    }

    async fn client(&self, local: &str) -> RomeDatabase {
        RomeDatabase::open_sites(local, self.sites(&NAMES), quiet()).await.unwrap()
    }

    /// A client whose commits all take effect, while it never hears of those at one site; soon forgotten, it is a client that died.
    async fn doomed_client(&self, local: &str, unheard: &str) -> RomeDatabase {
        let sites = NAMES.iter().enumerate().map(|(at, name)| {
            let store = Arc::clone(&self.stores[at]) as Arc<dyn Store>;
            let store = if *name == unheard { Arc::new(Unheard { store, gives_up: false }) as _ } else { store };
            ((*name).to_owned(), store)
        });
        RomeDatabase::open_sites(local, Arc::new(FixedSites::new(sites)), Options::default()).await.unwrap()
    }

    /// How many promises, records and marks besides those on rows each site holds.
    async fn left(&self) -> Vec<usize> {
        let mut left = vec![];
        for store in &self.stores {
            let reads = [MARKS_SPACE, RECORDS_SPACE].map(|space| {
                let range = KeyRange::prefix(&space.to_be_bytes());
                Read::Range { range, limit: None, reverse: false }
            });
            let request = ReadRequest { reads: reads.to_vec(), ..ReadRequest::default() };
            let ReadOutcome::Answer(answer) = store.read(&HomeId::new("main"), request).await.unwrap() else {
                unreachable!("no guards")
            };
            left.push(answer.results.iter().map(|result| result.entries.len()).sum());
        }
        left
    }

    /// Waits until these sites hold nothing any more that others left.
    async fn swept(&self, sites: &[usize]) {
        for _ in 0..1_000 {
            let left = self.left().await;
            if sites.iter().all(|site| left[*site] == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody sweeps: {:?}", self.left().await);
    }

    /// Requests to each site's store while something runs.
    async fn asked<T>(&self, run: impl Future<Output = T>) -> (T, Vec<u64>) {
        let counts =
            || -> Vec<u64> { self.stores.iter().map(|store| store.counts().reads + store.counts().commits).collect() };
        let before = counts();
        let result = run.await;
        // What ends a commit over several sites follows its answer.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        (result, counts().iter().zip(before).map(|(after, before)| after - before).collect())
    }
}

/// A store whose commits are done and never answered, or, where it gives up on them, said to be of unknown outcome.
#[derive(Debug)]
struct Unheard {
    store: Arc<dyn Store>,
    gives_up: bool,
}

#[async_trait]
impl Store for Unheard {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let opens_a_lane = commit.guards.is_empty() && commit.writes.is_empty();
        let outcome = self.store.commit(home, commit).await;
        match (self.gives_up, opens_a_lane) {
            (true, _) => Err(StoreError::Undetermined { address: "far away".into(), reason: "no answer".into() }),
            (false, true) => outcome,
            (false, false) => std::future::pending().await,
        }
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}

async fn with_hosts(world: &World) -> RomeDatabase {
    let db = world.client("rome").await;
    db.execute(
        "CREATE TABLE host (site text, id bigint, name text NOT NULL, cores bigint NOT NULL, PRIMARY KEY (site, id), \
         UNIQUE (site, name)) WITH (placement = 'by_site(site)')",
    )
    .await
    .unwrap();
    db.execute("CREATE INDEX host_cores ON host (cores)").await.unwrap();
    for (at, site) in NAMES.iter().enumerate() {
        for id in 0..5 {
            let number = id * 10 + at as i64;
            let insert = "INSERT INTO host (site, id, name, cores) VALUES ($1, $2, $3, $4)";
            db.execute((insert, [(*site).into(), id.into(), format!("h{number}").into(), number.into()]))
                .await
                .unwrap();
        }
    }
    db
}

fn state(result: Result<u64>) -> SqlState {
    result.unwrap_err().state()
}

#[tokio::test]
async fn rows_live_at_their_sites() {
    let world = World::new();
    let db = with_hosts(&world).await;
    // A row at the local site concerns nobody else; one elsewhere only that site.
    let insert = "INSERT INTO host VALUES ('rome', 50, 'x', 1)";
    let (_, asked) = world.asked(db.execute(insert)).await;
    assert_eq!(asked, [0, 1, 0]);
    let (_, asked) = world.asked(db.execute("INSERT INTO host VALUES ('turin', 50, 'x', 1)")).await;
    assert_eq!(asked, [0, 0, 1]);
    let read = "SELECT name FROM host WHERE site = $1 AND id = 2";
    for (site, expected) in [("pisa", [1, 0, 0]), ("rome", [0, 1, 0]), ("turin", [0, 0, 1])] {
        let (name, asked) = world.asked(db.query_one::<String, _>((read, [site.into()]))).await;
        assert_eq!(asked, expected);
        assert_eq!(name.unwrap().len(), 3);
    }
    // Two sites: read, then validated.
    let some = "SELECT count(*) FROM host WHERE site IN ('pisa', 'turin', 'atlantis')";
    let (count, asked) = world.asked(db.query_one::<i64, _>(some)).await;
    assert_eq!((count.unwrap(), asked), (11, vec![2, 0, 2]));
    let nowhere = world.asked(db.query_one::<i64, _>("SELECT count(*) FROM host WHERE site = 'atlantis'")).await;
    assert_eq!((nowhere.0.unwrap(), nowhere.1), (0, vec![0, 0, 0]));
}

#[tokio::test]
async fn streams_of_several_sites_are_merged_in_order() {
    let world = World::new();
    let db = with_hosts(&world).await;
    let rows: Vec<(String, i64)> = db.query_as("SELECT site, id FROM host ORDER BY site, id").await.unwrap();
    let mut sorted = rows.clone();
    sorted.sort();
    assert_eq!((rows.len(), rows), (15, sorted));
    let cores: Vec<i64> = db
        .query_as::<(i64,), _>("SELECT cores FROM host ORDER BY cores DESC LIMIT 4")
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(cores, [42, 41, 40, 32]);
    let some: Vec<(i64,)> =
        db.query_as("SELECT cores FROM host WHERE cores BETWEEN 10 AND 21 ORDER BY cores").await.unwrap();
    assert_eq!(some.into_iter().map(|row| row.0).collect::<Vec<_>>(), [10, 11, 12, 20, 21]);
}

#[tokio::test]
async fn a_row_moves_with_its_site() {
    let world = World::new();
    let db = with_hosts(&world).await;
    let moved = db.execute("UPDATE host SET site = 'turin', id = 100 WHERE site = 'pisa' AND id = 0").await.unwrap();
    assert_eq!(moved, 1);
    let at = "SELECT site FROM host WHERE name = 'h0'";
    assert_eq!(db.query_one::<String, _>(at).await.unwrap(), "turin");
    let by_index = "SELECT site, id FROM host WHERE cores = 0";
    assert_eq!(db.query_as::<(String, i64), _>(by_index).await.unwrap(), [("turin".to_owned(), 100)]);
    // Where its key is taken, nothing moves.
    let taken = db.execute("UPDATE host SET site = 'turin' WHERE site = 'rome' AND id = 3").await;
    assert_eq!(state(taken), SqlState::UNIQUE_VIOLATION);
    let count = db.query_one::<i64, _>("SELECT count(*) FROM host").await.unwrap();
    assert_eq!(count, 15);
    let unknown = db.execute("UPDATE host SET site = 'atlantis' WHERE site = 'rome'").await;
    assert_eq!(state(unknown), SqlState::INVALID_PARAMETER_VALUE);
    assert_eq!(
        state(db.execute("INSERT INTO host VALUES ('atlantis', 1, 'a', 1)").await),
        SqlState::INVALID_PARAMETER_VALUE
    );
    assert_eq!(state(db.execute("INSERT INTO host VALUES (NULL, 1, 'a', 1)").await), SqlState::NOT_NULL_VIOLATION);
}

#[tokio::test]
async fn a_transaction_spans_sites() {
    let world = World::new();
    let db = with_hosts(&world).await;
    let elsewhere = world.client("pisa").await;
    let transaction = db.begin().await.unwrap();
    transaction.execute("UPDATE host SET cores = cores + 100 WHERE id = 1").await.unwrap();
    // Nobody sees it before it commits.
    let sum = "SELECT sum(cores)::bigint FROM host";
    let before = elsewhere.query_one::<i64, _>(sum).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(elsewhere.query_one::<i64, _>(sum).await.unwrap(), before + 300);
    // One of two that read what the other writes must lose.
    let (left, right) = (db.begin().await.unwrap(), elsewhere.begin().await.unwrap());
    left.query_one::<i64, _>("SELECT cores FROM host WHERE site = 'pisa' AND id = 2").await.unwrap();
    right.query_one::<i64, _>("SELECT cores FROM host WHERE site = 'turin' AND id = 2").await.unwrap();
    left.execute("UPDATE host SET cores = 0 WHERE site = 'turin' AND id = 2").await.unwrap();
    right.execute("UPDATE host SET cores = 0 WHERE site = 'pisa' AND id = 2").await.unwrap();
    let (left, right) = tokio::join!(left.commit(), right.commit());
    assert!(left.is_ok() != right.is_ok() || left.is_err() && right.is_err(), "a write skew: {left:?}, {right:?}");
    for lost in [left, right].into_iter().filter_map(Result::err) {
        assert!(lost.is_retryable(), "{lost}");
    }
}

#[tokio::test]
async fn foreign_keys_hold_across_sites() {
    let world = World::new();
    let db = with_hosts(&world).await;
    db.execute("CREATE TABLE kind (name text PRIMARY KEY) WITH (placement = 'at(pisa)')").await.unwrap();
    db.execute(
        "CREATE TABLE vm (site text, id bigint, host bigint, kind text REFERENCES kind, PRIMARY KEY (site, id), \
         FOREIGN KEY (site, host) REFERENCES host (site, id)) WITH (placement = 'by_site(site)')",
    )
    .await
    .unwrap();
    db.execute("INSERT INTO kind VALUES ('small'), ('large')").await.unwrap();
    db.execute("INSERT INTO vm VALUES ('rome', 1, 1, NULL), ('turin', 1, 2, 'small')").await.unwrap();
    for wrong in ["('rome', 2, 77, NULL)", "('rome', 2, 1, 'huge')", "('turin', 2, 88, 'small')"] {
        let inserted = db.execute(format!("INSERT INTO vm VALUES {wrong}").as_str()).await;
        assert_eq!(state(inserted), SqlState::FOREIGN_KEY_VIOLATION, "{wrong}");
    }
    assert_eq!(state(db.execute("DELETE FROM kind WHERE name = 'small'").await), SqlState::FOREIGN_KEY_VIOLATION);
    assert_eq!(db.execute("DELETE FROM kind WHERE name = 'large'").await.unwrap(), 1);
    assert_eq!(state(db.execute("DELETE FROM host WHERE id = 1").await), SqlState::FOREIGN_KEY_VIOLATION);
    // A host's children are at its own site: the other sites are not asked.
    let (deleted, asked) = world.asked(db.execute("DELETE FROM host WHERE site = 'rome' AND id = 4")).await;
    assert_eq!((deleted.unwrap(), asked[0], asked[2]), (1, 0, 0));
    // By a join along the placement column each row asks its own site only.
    let joined = "SELECT vm.id, host.name FROM vm JOIN host ON host.site = vm.site AND host.id = vm.host WHERE vm.site = 'turin'";
    let (rows, asked) = world.asked(db.query_as::<(i64, String), _>(joined)).await;
    assert_eq!((rows.unwrap().len(), asked[0], asked[1]), (1, 0, 0));
}

#[tokio::test]
async fn a_changed_table_is_known_everywhere() {
    let world = World::new();
    let db = with_hosts(&world).await;
    let elsewhere = world.client("pisa").await;
    assert_eq!(elsewhere.query_one::<i64, _>("SELECT count(*) FROM host").await.unwrap(), 15);
    db.execute("ALTER TABLE host ADD COLUMN racks bigint NOT NULL DEFAULT 3").await.unwrap();
    // By its old description `elsewhere` would write a row without the column, at a site that is far from both.
    elsewhere.execute("INSERT INTO host (site, id, name, cores) VALUES ('turin', 70, 'new', 1)").await.unwrap();
    let racks = elsewhere.query_one::<i64, _>("SELECT racks FROM host WHERE site = 'turin' AND id = 70").await.unwrap();
    assert_eq!(racks, 3);
    db.execute("CREATE UNIQUE INDEX host_racks ON host (site, racks, id)").await.unwrap();
    let by_index = "SELECT count(*) FROM host WHERE site = 'turin' AND racks = 3";
    assert_eq!(elsewhere.query_one::<i64, _>(by_index).await.unwrap(), 6);
    elsewhere.execute("DROP TABLE host").await.unwrap();
    assert_eq!(state(db.execute("DELETE FROM host").await), SqlState::UNDEFINED_TABLE);
}

#[tokio::test]
async fn identity_numbers_are_never_the_same() {
    let world = World::new();
    let db = world.client("rome").await;
    let elsewhere = world.client("pisa").await;
    db.execute("CREATE TABLE log (site text, id bigserial, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    for _ in 0..3 {
        db.execute("INSERT INTO log (site) VALUES ('rome')").await.unwrap();
        elsewhere.execute("INSERT INTO log (site) VALUES ('pisa')").await.unwrap();
    }
    let distinct = db.query_one::<i64, _>("SELECT count(DISTINCT id) FROM log").await.unwrap();
    assert_eq!(distinct, 6);
}

#[tokio::test]
async fn sites_join_and_leave() {
    let world = World::new();
    let two = world.sites(&["pisa", "rome"]);
    let old = RomeDatabase::open_sites("pisa", two, Options::default()).await.unwrap();
    old.execute("CREATE TABLE t (site text, id bigint, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    old.execute("CREATE TABLE mine (id bigint PRIMARY KEY)").await.unwrap();
    old.execute("INSERT INTO t VALUES ('pisa', 1), ('rome', 1)").await.unwrap();
    assert_eq!(state(old.execute("INSERT INTO t VALUES ('turin', 1)").await), SqlState::INVALID_PARAMETER_VALUE);
    let db = world.client("rome").await;
    assert_eq!(db.topology().epoch, 1);
    db.add_site("turin").await.unwrap();
    assert_eq!(db.add_site("turin").await.unwrap_err().state(), SqlState::DUPLICATE_OBJECT);
    db.execute("INSERT INTO t VALUES ('turin', 1)").await.unwrap();
    // A client that does not know of the site must not overlook its rows.
    let counted = old.query_one::<i64, _>("SELECT count(*) FROM t").await;
    assert_eq!(counted.unwrap_err().state(), SqlState::CONNECTION_FAILURE);
    let there = world.client("turin").await;
    assert_eq!(there.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap(), 3);
    let held = db.remove_site("turin").await.unwrap_err();
    assert_eq!((held.state(), held.table()), (SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, Some("t")));
    let placed = there.remove_site("rome").await.unwrap_err();
    assert_eq!(placed.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    there.execute("DELETE FROM t WHERE site = 'turin'").await.unwrap();
    db.remove_site("turin").await.unwrap();
    assert_eq!((db.topology().epoch, db.topology().sites.len()), (3, 2));
    assert_eq!(old.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap(), 2);
    assert_eq!(state(db.execute("INSERT INTO t VALUES ('turin', 1)").await), SqlState::INVALID_PARAMETER_VALUE);
    // Who was there finds the site gone.
    assert!(there.execute("INSERT INTO t VALUES ('turin', 1)").await.is_err());
    db.add_site("turin").await.unwrap();
    assert_eq!(db.topology().sites[2].homes[0].0, 3, "numbers of homes are not used again");
}

#[tokio::test]
async fn a_database_of_one_site_grows() {
    let world = World::new();
    let store: Arc<dyn Store> = Arc::clone(&world.stores[0]) as _;
    let alone = RomeDatabase::open(store, Options::default()).await.unwrap();
    alone.execute("CREATE TABLE t (id bigint PRIMARY KEY, name text UNIQUE)").await.unwrap();
    alone.execute("INSERT INTO t VALUES (1, 'a')").await.unwrap();
    let db = world.client("turin").await;
    assert_eq!(db.query_one::<String, _>("SELECT name FROM t WHERE id = 1").await.unwrap(), "a");
    // Whoever knew the store as the only one is told.
    let stale = alone.execute("INSERT INTO t VALUES (2, 'b')").await;
    assert!(stale.is_err() || alone.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap() == 2);
    let wrong = RomeDatabase::open(Arc::clone(&world.stores[1]) as _, Options::default()).await.unwrap_err();
    assert_eq!(wrong.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
}

#[tokio::test]
async fn bad_topologies_are_refused() {
    let world = World::new();
    let open = |local: &str, names: &[&str]| {
        let sites = world.sites(names);
        let local = local.to_owned();
        async move { RomeDatabase::open_sites(&local, sites, Options::default()).await.map(drop) }
    };
    let refused = |result: Result<()>, state: SqlState| assert_eq!(result.unwrap_err().state(), state);
    refused(open("pisa", &["pisa", "rome", "pisa"]).await, SqlState::INVALID_PARAMETER_VALUE);
    refused(open("turin", &["pisa", "rome"]).await, SqlState::INVALID_PARAMETER_VALUE);
    open("pisa", &["pisa", "rome"]).await.unwrap();
    // A site that belongs to a database can't begin another, nor join one.
    refused(open("turin", &["turin", "rome"]).await, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    open("turin", &["turin"]).await.unwrap();
    let db = world.client("pisa").await;
    let joined = db.add_site("turin").await;
    refused(joined, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
}

#[tokio::test]
async fn bad_placements_are_refused() {
    let world = World::new();
    let db = with_hosts(&world).await;
    for (sql, expected) in [
        ("CREATE UNIQUE INDEX a ON host (cores)", SqlState::FEATURE_NOT_SUPPORTED),
        ("CREATE TABLE a (id bigint PRIMARY KEY) WITH (placement = 'by_site(site)')", SqlState::UNDEFINED_COLUMN),
        ("CREATE TABLE a (site bigint PRIMARY KEY) WITH (placement = 'by_site(site)')", SqlState::DATATYPE_MISMATCH),
        ("CREATE TABLE a (site text PRIMARY KEY) WITH (placement = 'somewhere')", SqlState::INVALID_PARAMETER_VALUE),
        ("CREATE TABLE a (site text PRIMARY KEY) WITH (placement = 'at(atlantis)')", SqlState::INVALID_PARAMETER_VALUE),
        ("CREATE TABLE a (site text PRIMARY KEY) WITH (fillfactor = 70)", SqlState::FEATURE_NOT_SUPPORTED),
    ] {
        assert_eq!(state(db.execute(sql).await), expected, "{sql}");
    }
    // Without a declared key rows have one that is unique everywhere.
    db.execute("CREATE TABLE a (site text, note text) WITH (placement = 'by_site(site)')").await.unwrap();
    db.execute("INSERT INTO a VALUES ('rome', 'x'), ('pisa', 'x')").await.unwrap();
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM a").await.unwrap(), 2);
    let closure = db
        .transaction(|tx: &dyn Transaction| {
            Box::pin(async move {
                tx.execute("DELETE FROM a WHERE site = 'rome'").await?;
                tx.execute("INSERT INTO a VALUES ('turin', 'y')").await
            }) as futures::future::BoxFuture<'_, Result<u64, Error>>
        })
        .await;
    assert_eq!(closure.unwrap(), 1);
}

#[tokio::test]
async fn explain_says_where() {
    let world = World::new();
    let db = with_hosts(&world).await;
    let explain = async |sql: &str| -> String {
        let lines = db.query_as::<(String,), _>(format!("EXPLAIN {sql}").as_str()).await.unwrap();
        lines.into_iter().map(|line| line.0 + "\n").collect()
    };
    for (sql, expected) in [
        (
            "SELECT * FROM host WHERE site = 'rome' AND id = 1",
            "Sites: rome; wide-area round trips: 0 (reads 0, commits 0)",
        ),
        (
            "SELECT * FROM host WHERE site = 'pisa'",
            "Sites: pisa; wide-area round trips: 1 (reads 1: host at pisa; commits 0)",
        ),
        ("SELECT * FROM host", "wide-area round trips: 2 (reads 1: host at pisa, rome, turin; commits 1: validation)"),
        ("INSERT INTO host VALUES ('rome', 9, 'n', 1)", "Sites: rome; wide-area round trips: 0 (reads 0, commits 0)"),
        (
            "UPDATE host SET cores = 1 WHERE site = 'pisa' AND id = 1",
            "Sites: pisa; wide-area round trips: 2 (reads 1: host at pisa; commits 1: host at pisa)",
        ),
        (
            "UPDATE host SET site = 'turin' WHERE site = 'rome' AND id = 1",
            "Sites: rome, up to 3 sites that their values name; wide-area round trips: at most 1 (reads 0; commits 1: rows of host)",
        ),
        (
            "SELECT * FROM host a JOIN host b ON b.site = a.site AND b.id = a.cores WHERE a.site = 'rome' AND a.id < 3",
            "wide-area round trips: at most 2 (reads 1: host at the site that its value names; commits 1: validation)",
        ),
    ] {
        let text = explain(sql).await;
        assert!(text.contains(expected), "{sql}\n{text}");
    }
    assert!(explain("SELECT * FROM host WHERE id = 3").await.contains("at pisa, rome, turin  rows~"));
}

async fn sharded(homes: u16) -> (World, RomeDatabase) {
    let world = World::new();
    let sites =
        FixedSites::new([("rome".to_owned(), Arc::clone(&world.stores[1]) as Arc<dyn Store>)]).with_homes(homes);
    let db = RomeDatabase::open_sites("rome", Arc::new(sites), quiet()).await.unwrap();
    (world, db)
}

#[tokio::test]
async fn a_table_is_spread_over_the_homes_of_its_site() {
    let (world, db) = sharded(4).await;
    db.execute("CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, amount bigint NOT NULL)").await.unwrap();
    db.execute("CREATE INDEX item_amount ON item (amount)").await.unwrap();
    let rows: Vec<String> = (0..100).map(|id| format!("({id}, 'n{id}', {})", id % 10)).collect();
    db.execute(format!("INSERT INTO item VALUES {}", rows.join(", ")).as_str()).await.unwrap();
    // By its key a row is found at one home; by anything else all are asked, and what they answer is validated.
    let by_key = world.asked(db.query_one::<String, _>("SELECT name FROM item WHERE id = 17")).await;
    assert_eq!((by_key.0.unwrap(), by_key.1[1]), ("n17".to_owned(), 1));
    let by_index = world.asked(db.query_as::<(i64,), _>("SELECT id FROM item WHERE amount = 3 ORDER BY id")).await;
    assert_eq!((by_index.0.unwrap().len(), by_index.1[1]), (10, 8));
    let ids: Vec<(i64,)> = db.query_as("SELECT id FROM item ORDER BY id DESC LIMIT 3").await.unwrap();
    assert_eq!(ids, [(99,), (98,), (97,)]);
    // Fractions and numbers beyond the type match nothing, wherever they would lie.
    for nothing in ["id = 1.5", "id = 99999999999999999999", "id IN (NULL)"] {
        let sql = format!("SELECT count(*) FROM item WHERE {nothing}");
        assert_eq!(db.query_one::<i64, _>(sql.as_str()).await.unwrap(), 0, "{nothing}");
    }
    assert_eq!(state(db.execute("INSERT INTO item VALUES (17, 'again', 1)").await), SqlState::UNIQUE_VIOLATION);
    // A new key is another home, as often as not: the rows move.
    assert_eq!(db.execute("UPDATE item SET id = id + 1000 WHERE amount = 3").await.unwrap(), 10);
    let sum = db.query_one::<i64, _>("SELECT sum(id)::bigint FROM item").await.unwrap();
    assert_eq!(sum, (0..100).sum::<i64>() + 10_000);
    assert_eq!(db.execute("DELETE FROM item WHERE id >= 1000").await.unwrap(), 10);
    let lines = db.query_as::<(String,), _>("EXPLAIN SELECT * FROM item WHERE name = 'n1'").await.unwrap();
    let text: String = lines.into_iter().map(|line| line.0 + "\n").collect();
    assert!(text.contains("at rome, 4 homes") && text.contains("wide-area round trips: 0"), "{text}");
}

#[tokio::test]
async fn sharded_parents_and_children() {
    let (_, db) = sharded(3).await;
    db.execute("CREATE TABLE parent (id bigint PRIMARY KEY)").await.unwrap();
    db.execute("CREATE TABLE child (id bigint PRIMARY KEY, parent bigint REFERENCES parent ON DELETE CASCADE)")
        .await
        .unwrap();
    db.execute("INSERT INTO parent SELECT n FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8)) AS v (n)")
        .await
        .unwrap();
    for id in 0..40 {
        db.execute(("INSERT INTO child VALUES ($1, $2)", [id.into(), (id % 8 + 1).into()])).await.unwrap();
    }
    assert_eq!(state(db.execute("INSERT INTO child VALUES (100, 9)").await), SqlState::FOREIGN_KEY_VIOLATION);
    assert_eq!(db.execute("DELETE FROM parent WHERE id = 3").await.unwrap(), 1);
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM child").await.unwrap(), 35);
    let joined = "SELECT count(*) FROM child JOIN parent ON parent.id = child.parent";
    assert_eq!(db.query_one::<i64, _>(joined).await.unwrap(), 35);
    db.execute("CREATE TABLE other (a bigint, b bigint, c text, PRIMARY KEY (a, b)) WITH (placement = 'sharded(a)')")
        .await
        .unwrap();
    db.execute("INSERT INTO other VALUES (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z')").await.unwrap();
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM other WHERE a = 1").await.unwrap(), 2);
    let refused = db.execute("CREATE UNIQUE INDEX other_c ON other (c)").await;
    assert_eq!(state(refused), SqlState::FEATURE_NOT_SUPPORTED);
}

/// Sites of which one can't be reached until it is up.
#[derive(Debug)]
struct Rising {
    sites: Arc<FixedSites>,
    late: &'static str,
    is_up: AtomicBool,
    tries: AtomicUsize,
}

#[async_trait]
impl Sites for Rising {
    fn names(&self) -> Vec<String> {
        self.sites.names()
    }

    async fn store(&self, site: &str) -> Result<Arc<dyn Store>> {
        if site == self.late && !self.is_up.load(Ordering::SeqCst) {
            self.tries.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Err(Error::new(SqlState::CONNECTION_FAILURE, "no answer"));
        }
        self.sites.store(site).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_site_that_was_not_there_is_found_later() {
    let world = World::new();
    drop(with_hosts(&world).await);
    let rising = Rising { sites: world.sites(&NAMES), late: "turin", is_up: false.into(), tries: 0.into() };
    let rising = Arc::new(rising);
    let begun = tokio::time::Instant::now();
    let db = RomeDatabase::open_sites("pisa", Arc::clone(&rising) as _, Options::default()).await.unwrap();
    assert_eq!((rising.tries.load(Ordering::SeqCst), begun.elapsed().as_secs()), (1, 5));
    let all = "SELECT count(*) FROM host";
    // Statements that need it at the same time try once together. Those that don't need it don't wait.
    let begun = tokio::time::Instant::now();
    let results = futures::future::join_all((0..20).map(|_| db.query_one::<i64, _>(all))).await;
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().state() == SqlState::CONNECTION_FAILURE));
    assert_eq!((rising.tries.load(Ordering::SeqCst), begun.elapsed().as_secs()), (2, 5));
    let waiting = db.query_one::<i64, _>(all);
    let near = async {
        db.execute("UPDATE host SET cores = cores + 1 WHERE site = 'pisa' AND id = 1").await.unwrap();
        begun.elapsed().as_secs()
    };
    let (waited, near) = tokio::join!(waiting, near);
    assert_eq!((waited.unwrap_err().state(), near), (SqlState::CONNECTION_FAILURE, 5));
    // A transaction whose statement needs it has failed; the next one finds it.
    rising.is_up.store(true, Ordering::SeqCst);
    let transaction = db.begin().await.unwrap();
    let error = transaction.query_one::<i64, _>(all).await.unwrap_err();
    assert!(error.message().contains("turin"), "{error}");
    let transaction = db.begin().await.unwrap();
    assert_eq!(transaction.query_one::<i64, _>(all).await.unwrap(), 15);
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn children_live_with_their_parents() {
    let (world, db) = sharded(4).await;
    db.execute("CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL)").await.unwrap();
    db.execute(
        "CREATE TABLE entry (account integer REFERENCES account ON DELETE CASCADE, number bigint, amount bigint NOT NULL, \
         PRIMARY KEY (account, number)) WITH (colocate_with = 'account')",
    )
    .await
    .unwrap();
    let rows: Vec<String> = (0..20).map(|id| format!("({id}, 0)")).collect();
    db.execute(format!("INSERT INTO account VALUES {}", rows.join(", ")).as_str()).await.unwrap();
    db.execute("INSERT INTO entry VALUES (1, 0, 0)").await.unwrap();
    for id in 0..20_i64 {
        // One commit at one home: the parent is there, too.
        let insert = "INSERT INTO entry VALUES ($1, 1, 5)";
        let (inserted, asked) = world.asked(db.execute((insert, [id.into()]))).await;
        inserted.unwrap();
        assert!(asked[1] <= 2, "{asked:?}");
    }
    assert_eq!(state(db.execute("INSERT INTO entry VALUES (77, 1, 5)").await), SqlState::FOREIGN_KEY_VIOLATION);
    let (deleted, asked) = world.asked(db.execute("DELETE FROM account WHERE id = 7")).await;
    assert_eq!((deleted.unwrap(), asked[1]), (1, 3), "the account, its entries, the commit");
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM entry").await.unwrap(), 20);
    for (sql, expected) in [
        ("CREATE TABLE x (id bigint PRIMARY KEY) WITH (colocate_with = 'account')", SqlState::INVALID_TABLE_DEFINITION),
        ("CREATE TABLE x (id bigint PRIMARY KEY) WITH (colocate_with = 'nobody')", SqlState::UNDEFINED_TABLE),
        (
            "CREATE TABLE x (id bigint PRIMARY KEY REFERENCES account) WITH (colocate_with = 'account', placement = 'sharded')",
            SqlState::INVALID_PARAMETER_VALUE,
        ),
    ] {
        assert_eq!(state(db.execute(sql).await), expected, "{sql}");
    }
}

/// Servers by identifiers that carry their birth site, with names that are unique everywhere.
async fn with_servers(world: &World) -> RomeDatabase {
    let db = world.client("rome").await;
    db.execute("CREATE TABLE server (id uuid PRIMARY KEY DEFAULT rome_id(), site text, cores bigint NOT NULL) WITH (placement = 'by_site(site)')").await.unwrap();
    db.execute("CREATE TABLE volume (id uuid PRIMARY KEY DEFAULT rome_id(), site text, name text UNIQUE, server uuid REFERENCES server ON DELETE SET NULL) WITH (placement = 'by_site(site)')").await.unwrap();
    db
}

#[tokio::test]
async fn identifiers_carry_their_birth_site() {
    let world = World::new();
    let db = with_servers(&world).await;
    let elsewhere = world.client("turin").await;
    let insert = "INSERT INTO server (site, cores) VALUES ('rome', 4) RETURNING id";
    db.query_one::<uuid::Uuid, _>(insert).await.unwrap();
    let (id, asked) = world.asked(db.query_one::<uuid::Uuid, _>(insert)).await;
    assert_eq!(asked, [0, 1, 0], "born where it lives: nobody else is concerned");
    let id = id.unwrap();
    let by_id = "SELECT cores FROM server WHERE id = $1";
    elsewhere.query_one::<i64, _>((by_id, [id.into()])).await.unwrap();
    let (cores, asked) = world.asked(elsewhere.query_one::<i64, _>((by_id, [id.into()]))).await;
    assert_eq!((cores.unwrap(), asked), (4, vec![0, 1, 0]), "one round trip, to its birth site");
    // Moved: the birth site knows where to.
    assert_eq!(db.execute(("UPDATE server SET site = 'pisa' WHERE id = $1", [id.into()])).await.unwrap(), 1);
    let site = elsewhere.query_one::<String, _>(("SELECT site FROM server WHERE id = $1", [id.into()])).await.unwrap();
    assert_eq!(site, "pisa");
    let taken = elsewhere.execute(("INSERT INTO server VALUES ($1, 'turin', 1)", [id.into()])).await;
    assert_eq!(state(taken), SqlState::UNIQUE_VIOLATION);
    let upsert = "INSERT INTO server VALUES ($1, 'turin', 9) ON CONFLICT (id) DO UPDATE SET cores = excluded.cores";
    assert_eq!(elsewhere.execute((upsert, [id.into()])).await.unwrap(), 1);
    assert_eq!(
        db.query_as::<(String, i64), _>("SELECT site, cores FROM server WHERE cores = 9").await.unwrap(),
        [("pisa".into(), 9)]
    );
    assert_eq!(elsewhere.execute(("DELETE FROM server WHERE id = $1", [id.into()])).await.unwrap(), 1);
    // Free again, at any site.
    elsewhere.execute(("INSERT INTO server VALUES ($1, 'turin', 1)", [id.into()])).await.unwrap();
    assert_eq!(db.query_one::<i64, _>((by_id, [id.into()])).await.unwrap(), 1);
    let foreign = rome_core::topology::tag::tagged(rome_core::topology::HomeNo(77), 1, 2);
    let unknown = db.execute(("INSERT INTO server VALUES ($1, 'turin', 1)", [foreign.into()])).await;
    assert_eq!(state(unknown), SqlState::INVALID_PARAMETER_VALUE);
    assert!(db.query((by_id, [foreign.into()])).await.unwrap().is_empty());
    let random = "INSERT INTO server VALUES (gen_random_uuid(), $1, 7)";
    for site in NAMES {
        db.execute((random, [site.into()])).await.unwrap();
    }
    let joined = "SELECT count(*) FROM server a JOIN server b ON b.id = a.id WHERE a.cores = 7";
    assert_eq!(db.query_one::<i64, _>(joined).await.unwrap(), 3);
    let listed: Vec<(uuid::Uuid,)> = db.query_as("SELECT id FROM server ORDER BY id").await.unwrap();
    let some = "SELECT count(*) FROM server WHERE id IN ($1, $2, $3)";
    let three = listed.iter().take(3).map(|row| row.0.into()).collect::<Vec<rome_core::Value>>();
    assert_eq!(db.query_one::<i64, _>((some, three)).await.unwrap(), 3);
}

#[tokio::test]
async fn names_are_unique_over_all_sites() {
    let world = World::new();
    let db = with_servers(&world).await;
    let elsewhere = world.client("pisa").await;
    let id = db
        .query_one::<uuid::Uuid, _>("INSERT INTO server (site, cores) VALUES ('turin', 4) RETURNING id")
        .await
        .unwrap();
    let insert = "INSERT INTO volume (site, name, server) VALUES ($1, $2, $3)";
    for (site, name) in [("rome", "a"), ("pisa", "b"), ("turin", "c"), ("rome", "d")] {
        db.execute((insert, [site.into(), name.into(), id.into()])).await.unwrap();
    }
    for site in NAMES {
        let again = elsewhere.execute((insert, [site.into(), "c".into(), id.into()])).await;
        assert_eq!(state(again), SqlState::UNIQUE_VIOLATION, "{site}");
    }
    let renamed = db.execute("UPDATE volume SET name = 'b' WHERE name = 'a'").await;
    assert_eq!(state(renamed), SqlState::UNIQUE_VIOLATION);
    assert_eq!(elsewhere.execute("UPDATE volume SET name = 'e', site = 'turin' WHERE name = 'a'").await.unwrap(), 1);
    assert_eq!(db.query_one::<String, _>("SELECT site FROM volume WHERE name = 'e'").await.unwrap(), "turin");
    db.execute((insert, ["rome".into(), "a".into(), id.into()])).await.unwrap();
    // NULLs are never the same.
    for site in ["rome", "pisa"] {
        db.execute((insert, [site.into(), rome_core::Value::Null, id.into()])).await.unwrap();
    }
    // Foreign keys ask where the parent was born, whether it has moved or not.
    let nobody = elsewhere.execute((insert, ["rome".into(), "x".into(), uuid::Uuid::from_u128(7).into()])).await;
    assert_eq!(state(nobody), SqlState::FOREIGN_KEY_VIOLATION);
    db.execute(("UPDATE server SET site = 'pisa' WHERE id = $1", [id.into()])).await.unwrap();
    elsewhere.execute((insert, ["turin".into(), "y".into(), id.into()])).await.unwrap();
    assert_eq!(elsewhere.execute(("DELETE FROM server WHERE id = $1", [id.into()])).await.unwrap(), 1);
    let left = db.query_one::<i64, _>("SELECT count(*) FROM volume WHERE server IS NOT NULL").await.unwrap();
    assert_eq!(left, 0);
    let late = db.execute("CREATE UNIQUE INDEX volume_server ON volume (server)").await;
    assert_eq!(state(late), SqlState::FEATURE_NOT_SUPPORTED);
    db.execute("DROP TABLE volume").await.unwrap();
    db.execute("DROP TABLE server").await.unwrap();
}

#[tokio::test]
async fn a_commit_that_found_no_lane_has_not_happened() {
    let world = World::new();
    drop(with_hosts(&world).await);
    let sites = NAMES.iter().enumerate().map(|(at, name)| {
        let store = Arc::clone(&world.stores[at]) as Arc<dyn Store>;
        let store = if *name == "turin" { Arc::new(Unheard { store, gives_up: true }) as _ } else { store };
        ((*name).to_owned(), store)
    });
    let db = RomeDatabase::open_sites("pisa", Arc::new(FixedSites::new(sites)), Options::default()).await.unwrap();
    for sites in ["'turin'", "'pisa', 'turin'"] {
        let update = format!("UPDATE host SET cores = -1 WHERE id = 1 AND site IN ({sites})");
        let error = db.execute(update.as_str()).await.unwrap_err();
        // The commit itself was never sent: nothing about it is unknown.
        assert_eq!((error.state(), error.detail()), (SqlState::CONNECTION_FAILURE, Some("At site \"turin\".")));
    }
    let changed = "SELECT count(*) FROM host WHERE cores = -1";
    assert_eq!(world.client("rome").await.query_one::<i64, _>(changed).await.unwrap(), 0);
}

#[tokio::test]
async fn what_dead_clients_left_is_swept() {
    let world = World::new();
    drop(with_hosts(&world).await);
    let cross =
        |other: &str| format!("UPDATE host SET cores = cores + 100 WHERE id = 1 AND site IN ('pisa', '{other}')");
    for other in ["turin", "rome"] {
        let doomed = world.doomed_client("pisa", other).await;
        // Of different rows.
        let update = cross(other).replace("id = 1", if other == "rome" { "id = 2" } else { "id = 1" });
        let unanswered = tokio::time::timeout(Duration::from_millis(200), doomed.execute(update.as_str())).await;
        assert!(unanswered.is_err(), "{unanswered:?}");
    }
    assert!(world.left().await.iter().all(|left| *left > 0), "{:?}", world.left().await);
    let patience = Patience {
        recovery_after: Duration::from_millis(50),
        record_kept: Duration::from_millis(100),
        sweep_every: Some(Duration::from_millis(20)),
        ..Patience::default()
    };
    let options = Options { patience, ..Options::default() };
    // Nobody meets these marks. One transaction needs a site that this client does not reach; that keeps it from nothing else.
    let two = RomeDatabase::open_sites("pisa", world.sites(&["pisa", "rome"]), options.clone()).await.unwrap();
    world.swept(&[1]).await;
    assert!(world.left().await[2] > 0);
    drop(two);
    let _all = RomeDatabase::open_sites("pisa", world.sites(&NAMES), options).await.unwrap();
    world.swept(&[0, 1, 2]).await;
    // All had promised: both are committed.
    let db = world.client("rome").await;
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM host WHERE cores >= 100").await.unwrap(), 4);
}

/// What one client changes of the sites, another must not undo by what it knew before.
#[tokio::test]
async fn nobody_goes_on_with_old_sites() {
    let world = World::new();
    let two = || world.sites(&["pisa", "rome"]);
    let old = RomeDatabase::open_sites("pisa", two(), Options::default()).await.unwrap();
    old.execute("CREATE TABLE t (site text, id bigserial, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    old.execute("INSERT INTO t (site) VALUES ('pisa'), ('rome')").await.unwrap();
    let db = world.client("rome").await;
    db.add_site("turin").await.unwrap();
    // It can't write to a site that it does not know how to reach; and it must not make a table without it.
    assert!(old.execute("CREATE TABLE u (id bigint PRIMARY KEY)").await.is_err());
    let there = world.client("turin").await;
    there.execute("CREATE TABLE u (id bigint PRIMARY KEY) WITH (placement = 'at(pisa)')").await.unwrap();
    there.execute("INSERT INTO t (site) VALUES ('turin')").await.unwrap();
    assert_eq!(db.query_one::<i64, _>("SELECT count(DISTINCT id) FROM t").await.unwrap(), 3);
    db.execute("DELETE FROM t WHERE site = 'turin'").await.unwrap();
    assert_eq!(there.remove_site("turin").await.unwrap_err().state(), SqlState::FEATURE_NOT_SUPPORTED);
    assert_eq!(db.remove_site("pisa").await.unwrap_err().state(), SqlState::FEATURE_NOT_SUPPORTED);
    db.remove_site("turin").await.unwrap();
    // Who was there is told, and writes nothing into the others' catalog.
    assert!(there.execute("CREATE TABLE w (id bigint PRIMARY KEY)").await.is_err());
    db.execute("CREATE TABLE w (id bigint PRIMARY KEY)").await.unwrap();
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap(), 2);
    // Numbers go on where they were.
    db.execute("INSERT INTO t (site) VALUES ('rome')").await.unwrap();
    assert_eq!(db.query_one::<i64, _>("SELECT count(DISTINCT id) FROM t").await.unwrap(), 3);
}
