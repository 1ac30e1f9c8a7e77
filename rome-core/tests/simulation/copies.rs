//! The same network under global tables: what is written at one site is read at all, from copies, and watched.
//!
//! ```text
//! debit  id, held        global; what one holds
//! credit id, held        the other doesn't, at any moment and in any copy
//! tag    id, name        global, name unique and indexed: rows that come and go
//! clock  id, n           global; one row that rises
//! note   site, moves     by site
//! ```

use crate::network::{Network, Weather};
use crate::world::Plan;
use futures::StreamExt;
use futures::future::BoxFuture;
use rand::Rng;
use rome_core::catalog::keys::whole_space;
use rome_core::database::{
    Database, DatabaseExt, Executor, FixedSites, IntoStatement, Options, Queryable, ReadMode, RomeDatabase, RowChange,
    Transaction, WatchItem,
};
use rome_core::exec::keys::{decode_table_row, index_entry};
use rome_core::store::{HomeId, Key, Read, ReadLimits, ReadOutcome, ReadRequest, Store};
use rome_core::txn::Patience;
use rome_core::{Error, Result, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const ROWS: i64 = 3;
const HELD: i64 = 100;

/// What runs came to.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    done: usize,
    refused: usize,
    unknown: usize,
    /// Answers from copies, and such that said that sites were missing.
    copies: usize,
    incomplete: usize,
    /// Changes that watchers were told, and how often they had to begin anew.
    told: usize,
    resets: usize,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.copies += other.copies;
        self.incomplete += other.incomplete;
        self.told += other.told;
        self.resets += other.resets;
    }

    /// Whether everything has happened that is to be checked.
    pub fn did_all(&self) -> bool {
        self.done > self.refused && self.unknown > 0 && self.copies > 0 && self.incomplete > 0 && self.told > 0
    }
}

struct World {
    plan: Plan,
    network: Arc<Network>,
    counts: parking_lot::Mutex<Counts>,
    clients: AtomicI64,
    /// When each value of the clock was acknowledged.
    acknowledged: parking_lot::Mutex<Vec<(Instant, i64)>>,
}

fn site(number: usize) -> String {
    format!("site{number}")
}

impl World {
    async fn client(&self, at: usize, crashed: &Arc<AtomicBool>) -> Result<RomeDatabase> {
        let stores = (0..self.plan.sites).map(|to| (site(to), self.network.reach(at, to, Arc::clone(crashed))));
        let patience = Patience {
            recovery_after: Duration::from_millis(300),
            sweep_every: Some(Duration::from_secs(2)),
            replicate_every: Some(Duration::from_millis(150)),
            ..Patience::default()
        };
        let number = self.clients.fetch_add(100, Ordering::Relaxed) as u64;
        let seed = Some(self.plan.seed.wrapping_mul(1_000_033).wrapping_add(number));
        let options = Options { patience, seed, max_attempts: 8, ..Options::default() };
        RomeDatabase::open_sites(&site(at), Arc::new(FixedSites::new(stores)), options).await
    }

    async fn found(&self) {
        let db = self.client(0, &Arc::new(AtomicBool::new(false))).await.expect("a calm network");
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
        for at in 0..self.plan.sites {
            db.execute(("INSERT INTO note VALUES ($1, 0)", [site(at).into()])).await.expect("a calm network");
        }
    }

    async fn work(self: Arc<Self>, at: usize) {
        let mut crashed = Arc::new(AtomicBool::new(false));
        let mut db = None;
        for _ in 0..self.plan.transactions {
            let pause = self.network.random(|random| random.random_range(0..120));
            sleep(Duration::from_millis(pause)).await;
            let open = match db.take() {
                Some(open) => open,
                None => match self.client(at, &crashed).await {
                    Ok(open) => open,
                    Err(_) => continue,
                },
            };
            let crash = self.plan.faults && self.network.random(|random| random.random_bool(0.08));
            let after = self.network.random(|random| random.random_range(0..150));
            let kind = self.network.random(|random| random.random_range(0..8));
            let doomed = self.step(&open, at, kind);
            let result = if crash {
                tokio::select! {
                    biased;
                    result = doomed => Some(result),
                    () = sleep(Duration::from_millis(after)) => None,
                }
            } else {
                Some(doomed.await)
            };
            let Some(result) = result else {
                crashed.store(true, Ordering::Relaxed);
                self.network.note(format_args!("a client at {at} crashes"));
                crashed = Arc::new(AtomicBool::new(false));
                continue;
            };
            self.note(at, kind, &result);
            db = Some(open);
        }
    }

    fn note(&self, at: usize, kind: u32, result: &Result<()>) {
        let mut counts = self.counts.lock();
        let what = match result {
            Ok(()) => {
                counts.done += 1;
                "done".to_owned()
            }
            Err(error) if error.is_undetermined() => {
                counts.unknown += 1;
                "unknown".to_owned()
            }
            Err(error) => {
                let usual = [SqlState::SERIALIZATION_FAILURE, SqlState::CONNECTION_FAILURE, SqlState::UNIQUE_VIOLATION];
                assert!(usual.contains(&error.state()), "{error}");
                counts.refused += 1;
                error.state().to_string()
            }
        };
        self.network.note(format_args!("at {at}: {kind} {what}"));
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

    async fn transfer(&self, db: &RomeDatabase, at: usize) -> Result<()> {
        let id = self.network.random(|random| random.random_range(0..ROWS));
        let spread = self.network.random(|random| random.random_bool(0.5));
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
        let (what, id) = self.network.random(|random| (random.random_range(0..4), random.random_range(0..6_i64)));
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
        self.count(|counts| {
            counts.copies += usize::from(report.staleness.is_some());
            counts.incomplete += usize::from(lacks);
        });
        self.network.note(format_args!("read {:?} {report:?}", row.values()));
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
        self.count(|counts| counts.incomplete += usize::from(missing > 0));
        assert_eq!(result.rows.len() + missing, self.plan.sites, "{:?}", result.report);
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
    }

    /// Follows a table from a site until `stop`, and then to the end.
    async fn follow(self: Arc<Self>, at: usize, stop: Arc<AtomicBool>) {
        let db = loop {
            match self.client(at, &Arc::new(AtomicBool::new(false))).await {
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
                        self.count(|counts| counts.resets += 1);
                        held.clear();
                    }
                    Ok(WatchItem::Rows(rows)) => held.extend(rows.iter().map(pair)),
                    Ok(WatchItem::Changes { changes, .. }) => {
                        self.count(|counts| counts.told += changes.len());
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

    /// Once everything has arrived: every copy is what its home is, with exactly the entries of its rows.
    async fn conclude(&self) {
        let mut clients = vec![];
        for at in 0..self.plan.sites {
            clients.push(self.client(at, &Arc::new(AtomicBool::new(false))).await.expect("a calm network"));
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
                let at_home = self.space(usize::from(home.0), space).await;
                for copy in table.homes.replicas() {
                    assert_eq!(self.space(usize::from(copy.0), space).await, at_home, "{} at {copy}", table.name);
                }
            }
            let rows = self.space(usize::from(home.0), table.row_space()).await;
            for index in &table.indexes {
                let entries = rows.iter().map(|(_, row)| {
                    let row = decode_table_row(table, row).expect("a row");
                    index_entry(table, index, &row).expect("an entry")
                });
                let entries: BTreeMap<Key, Key> = entries.collect();
                let found: BTreeMap<Key, Key> =
                    self.space(usize::from(home.0), index.space).await.into_iter().collect();
                assert_eq!(found, entries, "{}", index.name);
            }
        }
    }

    async fn space(&self, at: usize, space: u32) -> Vec<(Key, Key)> {
        let read = Read::Range { range: whole_space(space), limit: None, reverse: false };
        let limits = ReadLimits { entries: usize::MAX, bytes: usize::MAX };
        let request = ReadRequest { reads: vec![read], limits, ..ReadRequest::default() };
        let home = HomeId::new(&Options::default().home);
        match self.network.store(at).read(&home, request).await.expect("memory") {
            ReadOutcome::Answer(mut answer) => {
                answer.results.remove(0).entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
            }
            ReadOutcome::Conflict { .. } => unreachable!("no guards"),
        }
    }
}

/// Runs a plan to its end and checks what must hold; returns its log, too.
pub fn run(plan: Plan) -> (Counts, String) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let network = Network::new(plan.sites, plan.seed, Weather::FAIR);
        let world = Arc::new(World {
            plan,
            network: Arc::clone(&network),
            counts: parking_lot::Mutex::default(),
            clients: AtomicI64::new(0),
            acknowledged: parking_lot::Mutex::default(),
        });
        world.found().await;
        network.change(plan.weather);
        let stop = Arc::new(AtomicBool::new(false));
        let trouble = plan
            .faults
            .then(|| tokio::spawn(crate::world::trouble(Arc::clone(&network), plan.sites, Arc::clone(&stop))));
        let quiet = Arc::new(AtomicBool::new(false));
        let watcher = tokio::spawn(Arc::clone(&world).follow(0, Arc::clone(&quiet)));
        let workers: Vec<_> =
            (0..plan.clients).map(|client| tokio::spawn(Arc::clone(&world).work(client % plan.sites))).collect();
        for worker in workers {
            worker.await.expect("a worker's checks hold");
        }
        if let Some(trouble) = trouble {
            trouble.abort();
        }
        network.calm();
        world.conclude().await;
        quiet.store(true, Ordering::Relaxed);
        watcher.await.expect("a watcher's checks hold");
        (world.counts.lock().clone(), network.log())
    })
}
