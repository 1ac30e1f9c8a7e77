//! The same network under global tables: what is written at one site is read at all, from copies, and watched.
//!
//! ```text
//! debit  id, held        global; what one holds
//! credit id, held        the other doesn't, at any moment and in any copy
//! tag    id, name        global, name unique and indexed: rows that come and go
//! clock  id, n           global; one row that rises
//! note   site, moves     by site
//! ```

use crate::regressions::{COPIES, Regression};
use crate::run::{Plan, Run, Tasks, patience, site};
use crate::scenario::Scenario;
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use rome_core::database::{
    Database, DatabaseExt, Executor, IntoStatement, Queryable, ReadMode, RomeDatabase, RowChange, Transaction,
    WatchItem,
};
use rome_core::exec::keys::{decode_table_row, index_entry};
use rome_core::store::Key;
use rome_core::txn::Patience;
use rome_core::{Error, Result, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const ROWS: i64 = 3;
const HELD: i64 = 100;

pub struct Copies {
    run: Arc<Run>,
    /// When each value of the clock was acknowledged.
    acknowledged: Mutex<Vec<(Instant, i64)>>,
}

impl Copies {
    async fn transfer(&self, db: &RomeDatabase, at: usize) -> Result<()> {
        let id = self.run.random(|random| random.random_range(0..ROWS));
        let spread = self.run.random(|random| random.random_bool(0.5));
        db.transaction(|tx: &dyn Transaction| {
            Box::pin(async move {
                tx.execute(("UPDATE debit SET held = held - 1 WHERE id = $1", [id.into()])).await?;
                if spread {
                    tx.execute(("UPDATE note SET moves = moves + 1 WHERE site = $1", [site(at).into()])).await?;
                }
                tx.execute(("UPDATE credit SET held = held + 1 WHERE id = $1", [id.into()])).await?;
                Ok(())
            }) as BoxFuture<'_, Result<(), Error>>
        })
        .await
    }

    async fn tag(&self, db: &RomeDatabase) -> Result<()> {
        let (what, id) = self.run.random(|random| (random.random_range(0..4), random.random_range(0..6_i64)));
        let name = format!("t{}", (id * 7 + i64::from(what)) % 5);
        let changed = match what {
            0 | 1 => db.execute(("INSERT INTO tag VALUES ($1, $2)", [id.into(), name.into()])).await,
            2 => db.execute(("UPDATE tag SET name = $2 WHERE id = $1", [id.into(), name.into()])).await,
            _ => db.execute(("DELETE FROM tag WHERE id = $1", [id.into()])).await,
        };
        changed.map(drop)
    }

    async fn tick(&self, db: &RomeDatabase) -> Result<()> {
        let n = db
            .transaction(|tx: &dyn Transaction| {
                Box::pin(async move {
                    let n: i64 = tx.query_one("SELECT n FROM clock WHERE id = 1").await?;
                    tx.execute(("UPDATE clock SET n = $1 WHERE id = 1", [(n + 1).into()])).await?;
                    Ok(n + 1)
                }) as BoxFuture<'_, Result<i64, Error>>
            })
            .await?;
        self.acknowledged.lock().push((Instant::now(), n));
        Ok(())
    }

    /// One statement over all: the sum is what it always is, and what had been acknowledged before the staleness that is told is in it.
    async fn read(&self, db: &RomeDatabase, mode: ReadMode) -> Result<()> {
        let query = "SELECT (SELECT coalesce(sum(held), 0)::bigint FROM debit) + (SELECT coalesce(sum(held), 0)::bigint FROM credit), \
                     (SELECT n FROM clock WHERE id = 1)";
        let begun = Instant::now();
        let result = db.run_reading(query.into_statement(), mode).await?;
        let row = &result.rows[0];
        let report = &result.report;
        let lacks = !report.missing_sites.is_empty();
        self.count("answers from copies", usize::from(report.staleness.is_some()));
        self.count("answers that lack sites", usize::from(lacks));
        self.run.network.note(format_args!("read {:?} {report:?}", row.values()));
        if lacks {
            return Ok(());
        }
        let sum: i64 = row.get_at(0)?;
        if report.staleness_unknown {
            // Perhaps a copy from before there was anything.
            assert!(sum == 0 || sum == 2 * ROWS * HELD, "{sum}: {report:?}");
            return Ok(());
        }
        assert_eq!(sum, 2 * ROWS * HELD, "{report:?}");
        let since = begun.checked_sub(report.staleness.unwrap_or_default());
        let seen: i64 = row.get_at(1)?;
        for (when, n) in self.acknowledged.lock().iter() {
            assert!(
                since.is_none_or(|since| *when >= since) || *n <= seen,
                "{n} was acknowledged, {seen} seen: {report:?}"
            );
        }
        Ok(())
    }

    async fn read_sites(&self, db: &RomeDatabase) -> Result<()> {
        let query = "SELECT site FROM note ORDER BY site";
        let result = db.run_reading(query.into_statement(), ReadMode::Available).await?;
        let missing = result.report.missing_sites.len();
        self.count("answers that lack sites", usize::from(missing > 0));
        assert_eq!(result.rows.len() + missing, self.run.plan.sites, "{:?}", result.report);
        Ok(())
    }

    fn count(&self, what: &'static str, times: usize) {
        self.run.count(|counts| counts.count(what, times));
    }

    /// Follows a table from a site until `stop`, and then to the end.
    async fn follow(self: Arc<Self>, at: usize, stop: Arc<AtomicBool>) {
        let db = loop {
            match self.open(at, &Arc::default()).await {
                Ok(db) => break db,
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
        };
        let mut held: BTreeMap<i64, i64> = BTreeMap::new();
        let pair = |row: &rome_core::database::Row| (row.get_at::<i64>(0).unwrap(), row.get_at::<i64>(1).unwrap());
        'anew: loop {
            let query = "SELECT id, held FROM debit WHERE id >= 0";
            let mut watch = db.watch(query.into_statement(), None).await.expect("a query that can be watched");
            held.clear();
            loop {
                let item = tokio::select! {
                    biased;
                    item = watch.next() => item,
                    () = sleep(Duration::from_secs(6)) => {
                        if stop.load(Ordering::Relaxed) {
                            break 'anew;
                        }
                        continue;
                    }
                };
                match item.expect("a watch does not end") {
                    Ok(WatchItem::Reset) => {
                        self.count("watches begun anew", 1);
                        held.clear();
                    }
                    Ok(WatchItem::Rows(rows)) => held.extend(rows.iter().map(pair)),
                    Ok(WatchItem::Changes { changes, .. }) => {
                        self.count("changes told", changes.len());
                        for change in changes {
                            let RowChange::Updated { old, new } = change else { panic!("{change:?}") };
                            let (id, was) = pair(&old);
                            assert_eq!(held.insert(id, pair(&new).1), Some(was), "every change once, in order");
                        }
                    }
                    Ok(WatchItem::Current(_) | WatchItem::Lost { .. } | WatchItem::Regained { .. }) => {}
                    // It could not begin.
                    Err(error) => {
                        assert_eq!(error.state(), SqlState::CONNECTION_FAILURE, "{error}");
                        sleep(Duration::from_millis(500)).await;
                        continue 'anew;
                    }
                }
            }
        }
        let rows: Vec<(i64, i64)> = db.query_as("SELECT id, held FROM debit").await.expect("a calm network");
        assert_eq!(held, rows.into_iter().collect(), "a watcher at {at} has been told everything");
    }
}

#[async_trait]
impl Scenario for Copies {
    const NAME: &'static str = "global tables";
    const PAUSE: u64 = 120;
    const USUAL: &'static [SqlState] = &[SqlState::UNIQUE_VIOLATION];
    const HAPPENS: &'static [&'static str] = &["answers from copies", "answers that lack sites", "changes told"];
    const REGRESSIONS: &'static [Regression] = COPIES;

    type Client = RomeDatabase;
    type Step = u32;

    fn plan(seed: u64) -> Plan {
        Plan::of(seed, 10)
    }

    fn first_client(seed: u64) -> u64 {
        seed.wrapping_mul(1_000_033)
    }

    fn new(run: Arc<Run>) -> Self {
        Self { run, acknowledged: Mutex::default() }
    }

    fn run(&self) -> &Run {
        &self.run
    }

    async fn found(&self) {
        let db = self.open(0, &Arc::default()).await.expect("a calm network");
        for statement in [
            "CREATE TABLE debit (id bigint PRIMARY KEY, held bigint NOT NULL) WITH (placement = 'global(site1)')",
            "CREATE TABLE credit (id bigint PRIMARY KEY, held bigint NOT NULL) WITH (placement = 'global(site1)')",
            "CREATE TABLE tag (id bigint PRIMARY KEY, name text UNIQUE) WITH (placement = 'global(site1)')",
            "CREATE INDEX tag_by_name ON tag (name DESC)",
            "CREATE TABLE clock (id bigint PRIMARY KEY, n bigint NOT NULL) WITH (placement = 'global(site1)')",
            "CREATE TABLE note (site text PRIMARY KEY, moves bigint NOT NULL) WITH (placement = 'by_site(site)')",
            "INSERT INTO clock VALUES (1, 0)",
        ] {
            db.execute(statement).await.expect("a calm network");
        }
        db.transaction(|tx: &dyn Transaction| {
            let rows = (0..ROWS).map(|id| format!("({id}, {HELD})")).collect::<Vec<_>>().join(", ");
            Box::pin(async move {
                tx.execute(format!("INSERT INTO debit VALUES {rows}")).await?;
                tx.execute(format!("INSERT INTO credit VALUES {rows}")).await?;
                Ok(())
            }) as BoxFuture<'_, Result<(), Error>>
        })
        .await
        .expect("a calm network");
        for at in 0..self.run.plan.sites {
            db.execute(("INSERT INTO note VALUES ($1, 0)", [site(at).into()])).await.expect("a calm network");
        }
    }

    fn beside(self: &Arc<Self>, tasks: &mut Tasks) {
        tasks.cut_sites();
        tasks.until_stopped(|stop| Arc::clone(self).follow(0, stop));
    }

    async fn open(&self, at: usize, crashed: &Arc<AtomicBool>) -> Result<RomeDatabase> {
        let sweep_every = Some(Duration::from_secs(2));
        let replicate_every = Some(Duration::from_millis(150));
        self.run.open(at, crashed, Patience { sweep_every, replicate_every, ..patience() }).await
    }

    fn draw(&self) -> (u32, Option<Duration>) {
        let (dies, after) = (self.run.fault(0.08), self.run.moment(150));
        (self.run.random(|random| random.random_range(0..8)), dies.then_some(after))
    }

    async fn step(&self, db: &RomeDatabase, at: usize, kind: u32) -> Result<()> {
        match kind {
            0 | 1 => self.transfer(db, at).await,
            2 => self.tag(db).await,
            3 => self.tick(db).await,
            4..6 => self.read(db, ReadMode::Stale { max: Duration::from_secs(20) }).await,
            6 => self.read(db, ReadMode::Available).await,
            _ => self.read_sites(db).await,
        }
    }

    /// Once everything has arrived: every copy is what its home is, with exactly the entries of its rows.
    async fn conclude(&self) {
        let mut clients = vec![];
        for at in 0..self.run.plan.sites {
            clients.push(self.open(at, &Arc::default()).await.expect("a calm network"));
        }
        sleep(Duration::from_secs(15)).await;
        for db in &clients {
            self.read(db, ReadMode::Strong).await.expect("a calm network");
        }
        let catalog = clients[0].catalog();
        for table in catalog.tables() {
            let spaces: Vec<u32> = table.indexes.iter().map(|index| index.space).chain([table.row_space()]).collect();
            let Some(home) = table.homes.only() else { continue };
            for space in spaces {
                let at_home = self.run.network.entries(usize::from(home.0), &[space]).await;
                for copy in table.homes.replicas() {
                    assert_eq!(
                        self.run.network.entries(usize::from(copy.0), &[space]).await,
                        at_home,
                        "{} at {copy}",
                        table.name
                    );
                }
            }
            let rows = self.run.network.entries(usize::from(home.0), &[table.row_space()]).await;
            for index in &table.indexes {
                let entries = rows.iter().map(|(_, row)| {
                    let row = decode_table_row(table, row).expect("a row");
                    index_entry(table, index, &row).expect("an entry")
                });
                let entries: BTreeMap<Key, Key> = entries.collect();
                let found: BTreeMap<Key, Key> =
                    self.run.network.entries(usize::from(home.0), &[index.space]).await.into_iter().collect();
                assert_eq!(found, entries, "{}", index.name);
            }
        }
    }
}
