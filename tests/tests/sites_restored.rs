//! A database at three sites, the store of one of which is restored from a backup: that site is as it was, everything else goes on, and nobody takes what was
//! read in the lost time for what is there now.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use futures::StreamExt;
use rome_core::SqlState;
use rome_core::database::{
    Database, DatabaseExt, Executor, IntoStatement, Options, Queryable, ReadMode, RomeDatabase, Row, RowChange,
    WatchItem,
};
use rome_core::store::{HomeId, ReadOutcome, ReadRequest, Store};
use rome_tests::audit::audit_site;
use rome_tests::server::Program;
use rome_tests::sites::full::patient;
use rome_tests::sites::gate::Gated;
use rome_tests::sites::load::nothing_is_left;
use rome_tests::sites::{SITES, World};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The site that is restored.
const RESTORED: usize = 1;
/// How long things may take to become as they must.
const PATIENCE: Duration = Duration::from_secs(20);
/// Rows with unique names that are made after the backup at another site; the claims of about a third of them are at the restored one.
const NAMES: i64 = 12;

/// What the program logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false);
        subscriber.with_writer(move || writer.clone()).init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

async fn open(db: &RomeDatabase) {
    for statement in [
        "CREATE TABLE stock (site text, id bigint, n bigint NOT NULL, PRIMARY KEY (site, id)) \
         WITH (placement = 'by_site(site)', changes = true)",
        "CREATE TABLE pair (site text, id bigint, n bigint NOT NULL, PRIMARY KEY (site, id)) \
         WITH (placement = 'by_site(site)')",
        "CREATE TABLE machine (site text, id bigint, name text NOT NULL, PRIMARY KEY (site, id), \
         CONSTRAINT machine_name UNIQUE (name)) WITH (placement = 'by_site(site)')",
        "CREATE TABLE rule (id bigint PRIMARY KEY, n bigint NOT NULL) WITH (placement = 'global(rome)')",
        "CREATE TABLE flag (id bigint PRIMARY KEY, n bigint NOT NULL) WITH (placement = 'global(pisa)')",
        "INSERT INTO rule VALUES (0, 0)",
        "INSERT INTO flag VALUES (0, 0)",
        "INSERT INTO machine VALUES ('rome', 1, 'old-rome'), ('pisa', 1, 'old-pisa')",
    ] {
        db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    for site in SITES {
        for id in 0..6 {
            db.execute(("INSERT INTO stock VALUES ($1, $2, 0)", [site.into(), id.into()])).await.unwrap();
            db.execute(("INSERT INTO pair VALUES ($1, $2, 0)", [site.into(), id.into()])).await.unwrap();
        }
    }
}

/// Until a query gives this number.
async fn until(db: &RomeDatabase, query: &str, mode: ReadMode, expected: i64) {
    let begun = Instant::now();
    loop {
        let found = db.run_reading(query.into_statement(), mode).await;
        let found = found.and_then(|result| result.rows.first().expect("a row").get_at::<i64>(0));
        match found {
            Ok(found) if found == expected => return,
            other => assert!(begun.elapsed() < PATIENCE, "{query} gives {other:?}, not {expected}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A statement that loses against what is being put in order at first.
async fn eventually(db: &RomeDatabase, statement: &str) {
    let begun = Instant::now();
    while let Err(error) = db.execute(statement).await {
        assert!(begun.elapsed() < PATIENCE, "{statement}: {error}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn version(store: &Arc<dyn Store>) -> u64 {
    let home = HomeId::new(&Options::default().home);
    match store.read(&home, ReadRequest::default()).await.unwrap() {
        ReadOutcome::Answer(answer) => answer.snapshot,
        ReadOutcome::Conflict { .. } => unreachable!("a read without guards has no conflict"),
    }
}

/// A transaction over pisa and rome of a client at one of them that is prepared at rome and waits for pisa. Whether the client `goes_on` with others once it
/// is over.
async fn prepared(
    world: &World,
    near: &str,
    id: i64,
    goes_on: bool,
) -> (Arc<Gated>, JoinHandle<rome_core::Result<u64>>) {
    let gate = Gated::new(Arc::new(world.urls(near)), SITES[0]);
    let db = RomeDatabase::open_sites(near, Arc::clone(&gate) as _, patient()).await.unwrap();
    db.execute("UPDATE pair SET n = n + 1 WHERE site IN ('pisa', 'rome') AND id = 0").await.unwrap();
    db.ended().await;
    gate.close();
    let commit = tokio::spawn(async move {
        let update = "UPDATE pair SET n = n + 1 WHERE site IN ('pisa', 'rome') AND id = $1";
        let committed = db.execute((update, [id.into()])).await;
        db.ended().await;
        for _ in 0..if goes_on { 3 } else { 0 } {
            db.execute("UPDATE pair SET n = n + 1 WHERE site IN ('pisa', 'rome') AND id = 0").await?;
            db.ended().await;
        }
        committed
    });
    (gate, commit)
}

async fn pairs(db: &RomeDatabase, id: i64) -> Vec<(String, i64)> {
    let pair = "SELECT site, n FROM pair WHERE id = $1 AND site IN ('pisa', 'rome') ORDER BY site";
    db.query_as((pair, [id.into()])).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_is_restored_is_in_another_epoch_for_everybody() {
    let log = Log::start();
    let mut world = World::start([Program::Redis; 3]).await;
    let mut clients = vec![];
    for site in SITES {
        let opened = RomeDatabase::open_sites(site, Arc::new(world.urls(site)), patient()).await;
        clients.push(Arc::new(opened.unwrap()));
    }
    let [pisa, rome, turin] = &clients[..] else { unreachable!("there are three sites") };
    open(pisa).await;

    // Transactions that are half in the backup: the records of two are kept at pisa, that of another at rome.
    let mut halves = vec![];
    for (id, near, goes_on) in [(1, SITES[0], false), (2, SITES[1], false), (3, SITES[0], true)] {
        halves.push(prepared(&world, near, id, goes_on).await);
    }
    sleep(Duration::from_millis(300)).await;
    let backup = world.server(RESTORED).back_up();
    for (gate, _) in &halves {
        gate.open();
    }
    for (_, committed) in halves {
        assert_eq!(committed.await.unwrap().unwrap(), 2);
    }

    // What the backup does not have.
    pisa.execute("UPDATE pair SET n = n + 1 WHERE site IN ('pisa', 'rome') AND id = 4").await.unwrap();
    pisa.execute("CREATE TABLE late (site text, id bigint, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    pisa.execute("INSERT INTO late VALUES ('pisa', 1), ('rome', 1)").await.unwrap();
    rome.execute("INSERT INTO machine VALUES ('rome', 2, 'new-rome')").await.unwrap();
    for id in 0..NAMES {
        let values = [(100 + id).into(), format!("new-{id}").into()];
        pisa.execute(("INSERT INTO machine VALUES ('pisa', $1, $2)", values)).await.unwrap();
    }
    rome.execute("UPDATE rule SET n = 1").await.unwrap();
    pisa.execute("UPDATE flag SET n = 1").await.unwrap();
    until(pisa, "SELECT n FROM rule", ReadMode::Available, 1).await;
    until(rome, "SELECT n FROM flag", ReadMode::Available, 1).await;
    for _ in 0..50 {
        rome.execute("UPDATE stock SET n = n + 1 WHERE site = 'rome' AND id = 1").await.unwrap();
    }
    let watched = "SELECT id, n FROM stock WHERE site = 'rome'";
    let mut watch = pisa.watch(watched.into_statement(), None).await.unwrap();
    let cursor = loop {
        if let WatchItem::Current(cursor) = watch.next().await.expect("it goes on").unwrap() {
            break cursor;
        }
    };
    let store = world.store(SITES[RESTORED]).await;
    nothing_is_left(&[Arc::clone(&store)]).await;
    rome.execute("UPDATE stock SET n = 1 WHERE site = 'rome' AND id = 0").await.unwrap();
    let seen_at = version(&store).await;
    let relying = pisa.begin().await.unwrap();
    let seen: i64 = relying.query_one("SELECT n FROM stock WHERE site = 'rome' AND id = 0").await.unwrap();
    assert_eq!(seen, 1);
    relying.execute("UPDATE stock SET n = 100 WHERE site = 'rome' AND id = 2").await.unwrap();

    world.server(RESTORED).kill();
    world.server(RESTORED).put_back(&backup);
    world.server(RESTORED).restart().await;

    // The restored home ends what was half in the backup by itself, and says so.
    nothing_is_left(&[Arc::clone(&store)]).await;
    let parts = async |id| -> (i64, i64) {
        let pair = pairs(pisa, id).await;
        assert_eq!(pair, pairs(rome, id).await);
        (pair[0].1, pair[1].1)
    };
    assert_eq!((parts(1).await, parts(2).await), ((1, 1), (1, 1)), "what all have prepared was committed");
    assert_eq!((parts(3).await, parts(4).await), ((1, 0), (1, 0)), "what the restored home can't know");
    let told: Vec<String> =
        log.text().lines().filter(|line| line.contains("restored home")).map(str::to_owned).collect();
    println!("{}", told.join("\n"));
    for decision in ["Committed", "Aborted"] {
        assert!(told.iter().any(|line| line.contains(decision) && line.contains("site=\"rome\"")), "{told:?}");
    }

    // The version at which the row was read is issued once more, for another content.
    let begun = version(&store).await;
    assert!(begun < seen_at, "the test is about versions that are issued again: {begun}, {seen_at}");
    while version(&store).await + 1 < seen_at {
        eventually(rome, "UPDATE stock SET n = n + 1 WHERE site = 'rome' AND id = 3").await;
    }
    rome.execute("UPDATE stock SET n = 7 WHERE site = 'rome' AND id = 0").await.unwrap();
    assert_eq!(version(&store).await, seen_at, "nobody else writes there");
    let refused = relying.commit().await.expect_err("what it has read is gone");
    assert!(refused.is_retryable(), "{refused}");
    assert_eq!(pisa.query_one::<i64, _>("SELECT n FROM stock WHERE site = 'rome' AND id = 2").await.unwrap(), 0);

    // A watch that was there, and one that comes with a cursor of the lost time.
    let later = pisa.watch(watched.into_statement(), Some(cursor)).await.unwrap();
    for mut watch in [watch, later] {
        let found: BTreeMap<i64, i64> = pisa.query_as::<(i64, i64), _>(watched).await.unwrap().into_iter().collect();
        let mut rows: Option<BTreeMap<i64, i64>> = None;
        let told = async {
            while rows.as_ref() != Some(&found) {
                let row = |row: &Row| (row.get_at::<i64>(0).unwrap(), row.get_at::<i64>(1).unwrap());
                match (watch.next().await.expect("it goes on").unwrap(), &mut rows) {
                    (WatchItem::Reset, _) => rows = Some(BTreeMap::new()),
                    (WatchItem::Rows(more), Some(rows)) => rows.extend(more.iter().map(row)),
                    (WatchItem::Changes { changes, .. }, Some(rows)) => {
                        for change in &changes {
                            let RowChange::Updated { new, .. } = change else { panic!("{change:?}") };
                            rows.extend([row(new)]);
                        }
                    }
                    (WatchItem::Rows(_), None) => panic!("rows follow a reset"),
                    // From the lost time, told before it was lost.
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("a watch begins again with what is there");
    }

    // Copies of what was written there, and there of what is written elsewhere.
    until(rome, "SELECT n FROM rule", ReadMode::Strong, 0).await;
    for db in [pisa, turin] {
        until(db, "SELECT n FROM rule", ReadMode::Available, 0).await;
    }
    until(rome, "SELECT n FROM flag", ReadMode::Available, 1).await;
    eventually(pisa, "UPDATE rule SET n = 5").await;
    for db in [pisa, turin] {
        until(db, "SELECT n FROM rule", ReadMode::Available, 5).await;
    }

    // Rows elsewhere have lost the claims that were kept there, and tables their description, until the operator has this put in order.
    for (table, claims) in pisa.claim_anew().await.unwrap() {
        println!("{table}: {claims} keys claimed");
        assert_eq!((table.as_str(), claims), ("machine", 2 + NAMES as usize));
    }
    for (at, db) in clients.iter().enumerate() {
        for id in 0..NAMES {
            let values = [SITES[at].into(), (200 + id).into(), format!("new-{id}").into()];
            let twice = db.execute(("INSERT INTO machine VALUES ($1, $2, $3)", values)).await;
            let error = twice.expect_err("pisa has a row of this name");
            assert_eq!(error.state(), SqlState::UNIQUE_VIOLATION, "{error}");
        }
        let values = [SITES[at].into(), (10 + at as i64).into()];
        assert_eq!(db.execute(("INSERT INTO late VALUES ($1, $2)", values)).await.unwrap(), 1);
        assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM late").await.unwrap(), 2 + at as i64);
    }
    // The row of this name is gone, and so is its claim.
    rome.execute("INSERT INTO machine VALUES ('rome', 2, 'new-rome')").await.unwrap();
    for site in SITES {
        audit_site(world.store(site).await.as_ref(), site).await;
    }
}
