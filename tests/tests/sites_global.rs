//! What sites share, on real servers (Redis, etcd and Redis, 10 ms apart) and while some of them are cut off: copies of global tables and what
//! they say of themselves, reads that do with the sites there are, budgets that all spend from, watching all of them.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use futures::StreamExt;
use futures::future::BoxFuture;
use rome_core::database::{
    Database, DatabaseExt, Escrow, Executor, IntoStatement, QueryResult, Queryable, ReadMode, RomeDatabase, RowChange,
    Transaction, TransactionOptions, Watch, WatchItem,
};
use rome_core::{Result, SqlState, Value};
use rome_tests::figures;
use rome_tests::server::Program;
use rome_tests::sites::{CALL_TIMEOUT, SITES, Stop, Told, World, is_usual, keys};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const PROGRAMS: [Program; 3] = [Program::Redis, Program::Etcd, Program::Redis];
/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What may be read of a copy while its home is cut off.
const OLD: Duration = Duration::from_secs(600);
/// The longest until a statement has given up on a site: twice the time-out of a call, and a second for a busy machine.
const GIVES_UP: Duration = Duration::from_millis(2 * CALL_TIMEOUT.as_millis() as u64 + 1_000);

async fn start() -> (World, Vec<Arc<RomeDatabase>>) {
    let world = World::start(PROGRAMS).await;
    let mut clients = vec![];
    for site in SITES {
        clients.push(world.client(site).await);
    }
    (world, clients)
}

fn others(site: usize) -> [usize; 2] {
    [(site + 1) % 3, (site + 2) % 3]
}

async fn reading(db: &RomeDatabase, query: &str, mode: ReadMode) -> Result<QueryResult> {
    db.run_reading(query.into_statement(), mode).await
}

async fn stale(db: &RomeDatabase, query: &str, max: Duration) -> Result<QueryResult> {
    reading(db, query, ReadMode::Stale { max }).await
}

/// What a call came to and how long it took, which must not be for ever.
async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = call.await;
    assert!(begun.elapsed() <= GIVES_UP, "it took {:?}", begun.elapsed());
    result
}

/// A query in a transaction that was told by SET how it may read, and what it then says of a setting.
async fn by_set(db: &RomeDatabase, set: &str, query: &str, show: &str) -> (Vec<Vec<Value>>, String) {
    let options = TransactionOptions { read_only: true, ..TransactionOptions::default() };
    let tx = db.begin_with(options).await.unwrap();
    tx.execute(set).await.unwrap();
    let rows = tx.query(query).await.unwrap();
    let (shown,): (String,) = tx.query_one(show).await.unwrap();
    tx.commit().await.unwrap();
    (rows.into_iter().map(|row| row.values().to_vec()).collect(), shown)
}

/// A global table and who changes it.
struct Global<'w> {
    world: &'w World,
    clients: &'w [Arc<RomeDatabase>],
    home: usize,
    table: String,
    /// When each value of the first row was acknowledged.
    acknowledged: Mutex<Vec<(Instant, i64)>>,
    /// Reads of copies.
    from_copies: Mutex<u64>,
    stop: Stop,
}

const ROWS: i64 = 60;

fn name_at(home: usize) -> String {
    format!("flavor_{}", SITES[home])
}

impl<'w> Global<'w> {
    async fn create(world: &'w World, clients: &'w [Arc<RomeDatabase>], home: usize) -> Self {
        let table = name_at(home);
        let sql = |text: &str| text.replace("{table}", &table).replace("{home}", SITES[home]);
        for statement in [
            "CREATE TABLE {table} (id bigint PRIMARY KEY, name text UNIQUE, cores bigint, n bigint) WITH (placement = 'global({home})')",
            "CREATE INDEX {table}_cores ON {table} (cores)",
        ] {
            clients[home].execute(sql(statement).as_str()).await.unwrap();
        }
        let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, 'flavor {id}', {}, 0)", id % 7)).collect();
        // Not at its home.
        let insert = sql(&format!("INSERT INTO {{table}} VALUES {}", rows.join(", ")));
        clients[others(home)[0]].execute(insert.as_str()).await.unwrap();
        Self::of(world, clients, home)
    }

    /// The table that is there.
    fn of(world: &'w World, clients: &'w [Arc<RomeDatabase>], home: usize) -> Self {
        let (table, stop) = (name_at(home), Stop::default());
        let acknowledged = Mutex::new(vec![(Instant::now(), 0)]);
        Self { world, clients, home, table, acknowledged, from_copies: Mutex::default(), stop }
    }

    fn sql(&self, text: &str) -> String {
        text.replace("{table}", &self.table)
    }

    /// What a site holds of it: rows and index entries.
    async fn held(&self, site: usize) -> Vec<(bytes::Bytes, bytes::Bytes)> {
        let catalog = self.clients[self.home].catalog();
        let tables = catalog.tables();
        let table = tables.iter().find(|table| table.name == self.table).unwrap();
        let spaces: Vec<u32> = table.indexes.iter().map(|index| index.space).chain([table.row_space()]).collect();
        let store = self.world.store(SITES[site]).await;
        let mut held = vec![];
        for space in spaces {
            held.extend(keys(store.as_ref(), space).await);
        }
        held
    }

    /// Waits until the other sites hold what its home does; returns how many rows and entries that are.
    async fn copied(&self) -> usize {
        let begun = Instant::now();
        loop {
            let home = self.held(self.home).await;
            let [one, other] = others(self.home);
            let copies = [self.held(one).await, self.held(other).await];
            if copies.iter().all(|copy| *copy == home) {
                return home.len();
            }
            let differs = |copy: &[_]| copy.iter().filter(|entry| !home.contains(entry)).count();
            assert!(
                begun.elapsed() < PATIENCE,
                "{}: {} entries at home; {:?} in the copies, of which {:?} are not as at home",
                self.table,
                home.len(),
                copies.each_ref().map(Vec::len),
                copies.each_ref().map(|copy| differs(copy))
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a client at each of the other sites reads the copy there.
    async fn read(&self) {
        let begun = Instant::now();
        for site in others(self.home) {
            let query = self.sql("SELECT n FROM {table} WHERE id = 0");
            while stale(&self.clients[site], &query, OLD).await.unwrap().report.staleness.is_none() {
                assert!(begun.elapsed() < PATIENCE, "{} has no copy of {}", SITES[site], self.table);
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Changes rows and index entries at the home until told to stop. This never leaves the site and so never fails.
    async fn write(&self) {
        let db = &self.clients[self.home];
        for n in 1.. {
            if self.stop.is_now() {
                return;
            }
            let (id, fresh) = (1 + n % (ROWS - 1), ROWS + n);
            let changes = [
                format!("UPDATE {{table}} SET n = {n} WHERE id = 0"),
                format!("UPDATE {{table}} SET cores = cores + 1, name = 'flavor {id}, {n}' WHERE id = {id}"),
                format!("INSERT INTO {{table}} VALUES ({fresh}, 'new {n}', {n}, {n})"),
                format!("DELETE FROM {{table}} WHERE id = {} AND id >= {ROWS}", fresh - 5),
            ]
            .map(|change| self.sql(&change));
            let written = db.transaction(|tx: &dyn Transaction| {
                let changes = changes.clone();
                Box::pin(async move {
                    for change in &changes {
                        tx.execute(change.as_str()).await?;
                    }
                    Ok(())
                }) as BoxFuture<'_, Result<()>>
            });
            written.await.expect("the home of a table is written at the site itself");
            self.acknowledged.lock().unwrap().push((Instant::now(), n));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads a copy until told to stop: what was acknowledged before the staleness that it tells must be in it.
    async fn judge(&self, site: usize) {
        let query = self.sql("SELECT n, (SELECT max(n) FROM {table} WHERE id > 0) FROM {table} WHERE id = 0");
        while !self.stop.is_now() {
            let asked = Instant::now();
            let result = stale(&self.clients[site], &query, OLD).await.unwrap();
            let [Value::Int(n), Value::Int(newest)] = result.rows[0].values() else { panic!("{:?}", result.rows) };
            assert_eq!(n, newest, "half a transaction, {:?}", result.report);
            if let Some(staleness) = result.report.staleness {
                let due = asked.checked_sub(staleness).unwrap();
                let known = self.acknowledged.lock().unwrap();
                let due = known.iter().rev().find(|(at, _)| *at <= due).map_or(0, |(_, n)| *n);
                assert!(*n >= due, "{n} was read as at most {staleness:?} old, when {due} had been acknowledged");
                *self.from_copies.lock().unwrap() += 1;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The home can't be reached from the other sites.
    async fn cut_off(&self) {
        self.world.network.cut(SITES[self.home]);
        let cut = Instant::now();
        sleep(Duration::from_secs(2)).await;
        let query = self.sql("SELECT id FROM {table} WHERE cores = 3");
        let (missing, home) = (self.sql("{table}"), SITES[self.home]);
        for site in others(self.home) {
            let db = &self.clients[site];
            let error = in_time(db.run(query.as_str().into_statement())).await.unwrap_err();
            assert_eq!(error.state(), SqlState::CONNECTION_FAILURE);
            assert!(error.detail().is_some_and(|detail| detail.contains(home)), "{missing}: {error:?}");
            let error = in_time(stale(db, &query, Duration::from_millis(500))).await.unwrap_err();
            assert_eq!(error.state(), SqlState::CONNECTION_FAILURE, "a copy that is older than wanted answered");
            // Nobody can know more of it than before the cut.
            let least = cut.elapsed();
            let result = in_time(stale(db, &query, OLD)).await.unwrap();
            assert!(result.report.staleness.is_some_and(|staleness| staleness >= least), "{:?}", result.report);
            assert!(!result.rows.is_empty());
            let least = cut.elapsed().as_millis();
            let (rows, shown) = by_set(db, "SET rome.max_staleness = '10min'", &query, "SHOW rome.staleness").await;
            let shown: u128 = shown.strip_suffix("ms").unwrap().parse().unwrap();
            assert!(shown >= least && rows.len() == result.rows.len(), "{shown} ms");
            let result = in_time(reading(db, &query, ReadMode::Available)).await.unwrap();
            assert!(result.report.staleness.is_some() && result.report.missing_sites.is_empty());
        }
        self.world.network.heal();
    }
}

/// Changed at its home without pause, the home cut off for a while: what copies tell is true, and in the end they are what is at home.
async fn copies_are_true(home: usize) {
    let (world, clients) = start().await;
    let global = Global::create(&world, &clients, home).await;
    global.read().await;
    let [one, other] = others(home);
    let faults = async {
        sleep(Duration::from_secs(2)).await;
        let before = *global.from_copies.lock().unwrap();
        assert!(before > 0, "no copy was read");
        global.cut_off().await;
        sleep(Duration::from_secs(2)).await;
        global.stop.now();
    };
    tokio::join!(global.write(), global.judge(one), global.judge(other), faults);
    let entries = global.copied().await;
    assert_eq!(entries % 3, 0, "each row has two entries");
    // A copy that is still needed keeps every rule of its home's rows.
    let error = clients[one].execute(global.sql("INSERT INTO {table} VALUES (-1, 'flavor 0', 1, 1)").as_str()).await;
    assert_eq!(error.unwrap_err().state(), SqlState::UNIQUE_VIOLATION);
    let (changes, reads) = (global.acknowledged.lock().unwrap().len(), *global.from_copies.lock().unwrap());
    figures::note(&format!(
        "copies of {}: {changes} transactions, {reads} reads of copies, {entries} rows and entries in the end",
        global.table
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_redis_are_true() {
    copies_are_true(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_etcd_are_true() {
    copies_are_true(1).await;
}

/// The home's server is killed and starts again, which begins another epoch: copies are made anew, and follow it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_follow_a_home_that_was_killed() {
    let (mut world, clients) = start().await;
    let global = Global::create(&world, &clients, 0).await;
    global.read().await;
    global.copied().await;
    for n in 1..=2 {
        world.server(0).kill();
        world.server(0).restart().await;
        let global = Global::of(&world, &clients, 0);
        let begun = Instant::now();
        let update = global.sql(&format!("UPDATE {{table}} SET n = {n}, cores = 100 + {n} WHERE id IN (0, 1, 2)"));
        while let Err(error) = clients[1].execute(update.as_str()).await {
            assert!(is_usual(&error) && begun.elapsed() < PATIENCE, "{error}");
        }
        global.copied().await;
        // Read by their index, from a copy that is hardly behind.
        let query = global.sql(&format!("SELECT n FROM {{table}} WHERE cores = 100 + {n}"));
        for site in others(0) {
            loop {
                let result = stale(&clients[site], &query, Duration::from_secs(5)).await.unwrap();
                let is_there = result.rows.len() == 3 && result.rows.iter().all(|row| row.values() == [Value::Int(n)]);
                if is_there && result.report.staleness.is_some() {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "at {}: {:?}, {:?}", SITES[site], result.rows, result.report);
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn available_reads_do_with_the_sites_there_are() {
    let (world, clients) = start().await;
    let create = "CREATE TABLE host (site text, id bigint, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')";
    clients[0].execute(create).await.unwrap();
    for site in SITES {
        clients[0].execute(("INSERT INTO host VALUES ($1, 1), ($1, 2)", [site.into()])).await.unwrap();
    }
    let query = "SELECT site, id FROM host ORDER BY site, id";
    for (cut, name) in SITES.into_iter().enumerate() {
        for db in &clients {
            let whole = reading(db, query, ReadMode::Available).await.unwrap();
            assert_eq!((whole.rows.len(), whole.report.is_complete()), (6, true));
        }
        world.network.cut(name);
        for (here, db) in clients.iter().enumerate() {
            let missing: Vec<&str> = match here == cut {
                true => others(cut).into_iter().map(|site| SITES[site]).collect(),
                false => vec![name],
            };
            let missing: Vec<&str> = SITES.into_iter().filter(|site| missing.contains(site)).collect();
            let strong = in_time(db.query(query)).await.unwrap_err();
            assert_eq!(strong.state(), SqlState::CONNECTION_FAILURE);
            let result = in_time(reading(db, query, ReadMode::Available)).await.unwrap();
            assert_eq!(result.report.missing_sites, missing, "at {}", SITES[here]);
            let sites: Vec<Value> = result.rows.iter().map(|row| row.values()[0].clone()).collect();
            let there = SITES.into_iter().filter(|site| !missing.contains(site));
            assert_eq!(sites, there.flat_map(|site| [Value::from(site), site.into()]).collect::<Vec<_>>());
            let set = "SET rome.read_mode = 'available'";
            let (rows, shown) = in_time(by_set(db, set, query, "SHOW rome.missing_sites")).await;
            assert_eq!((rows.len(), shown), (result.rows.len(), missing.join(", ")));
        }
        world.network.heal();
    }
}

/// What was sold, in seats.
#[derive(Debug, Default)]
struct Sales {
    done: i64,
    /// Nobody knows of these.
    unknown: i64,
    /// Refused since sites that may have some could not be reached.
    unreachable: u64,
}

/// Sells seats at a site until there are none.
async fn sell(db: Arc<RomeDatabase>, escrow: Escrow, first: i64, is_cut: Arc<AtomicBool>) -> Sales {
    let mut sales = Sales::default();
    let begun = Instant::now();
    for id in first.. {
        assert!(begun.elapsed() < PATIENCE, "they are never sold out: {sales:?}");
        // The last ones one by one.
        let seats = if is_cut.load(Ordering::SeqCst) || sales.done < 200 { rand::random_range(1..=3) } else { 1 };
        let cut = is_cut.load(Ordering::SeqCst);
        let sold = db.transaction(|tx: &dyn Transaction| {
            let escrow = escrow.clone();
            Box::pin(async move {
                escrow.spend_in(tx, "seats", seats).await?;
                let values = [escrow.site().into(), id.into(), seats.into()];
                tx.execute(("INSERT INTO sold VALUES ($1, $2, $3)", values)).await.map(drop)
            }) as BoxFuture<'_, Result<()>>
        });
        match sold.await {
            Ok(()) => sales.done += seats,
            Err(error) if error.is_undetermined() => sales.unknown += seats,
            Err(error) if error.state() == SqlState::CHECK_VIOLATION => {
                let known = !(cut && is_cut.load(Ordering::SeqCst));
                assert!(known, "nobody can know during a cut that all is spent: {error}");
                if seats == 1 {
                    return sales;
                }
            }
            Err(error) => {
                assert!(is_usual(&error), "{error}");
                sales.unreachable += 1;
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    sales
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_spent_to_the_last_and_never_beyond() {
    const BUDGET: i64 = 1_500;
    let (world, clients) = start().await;
    Escrow::install(clients[0].as_ref()).await.unwrap();
    let create = "CREATE TABLE sold (site text, id bigint, seats bigint NOT NULL, PRIMARY KEY (site, id)) \
                  WITH (placement = 'by_site(site)')";
    clients[0].execute(create).await.unwrap();
    let is_cut = Arc::new(AtomicBool::new(false));
    let mut tasks = vec![];
    for (site, db) in clients.iter().enumerate() {
        let escrow = Escrow::open(Arc::clone(db) as Arc<dyn Database>).await.unwrap();
        if site == 0 {
            // Two have to ask the third soon, one of them while it is cut off.
            let shares = [(SITES[0], BUDGET - 160), (SITES[1], 60), (SITES[2], 100)];
            escrow.create_at("seats", &shares).await.unwrap();
        }
        for task in 0..2 {
            let work = sell(Arc::clone(db), escrow.clone(), task * 1_000_000, Arc::clone(&is_cut));
            tasks.push((site, tokio::spawn(work)));
        }
    }
    sleep(Duration::from_millis(500)).await;
    world.network.cut(SITES[2]);
    is_cut.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(4)).await;
    is_cut.store(false, Ordering::SeqCst);
    world.network.heal();
    let mut all = Sales::default();
    for (site, task) in tasks {
        let sales = task.await.unwrap();
        figures::note(&format!("escrow on real servers, {}: {sales:?}", SITES[site]));
        assert!(sales.done > 0, "{} sold nothing", SITES[site]);
        all.done += sales.done;
        all.unknown += sales.unknown;
    }
    let sold: i64 = clients[1].query_one("SELECT sum(seats)::bigint FROM sold").await.unwrap();
    let escrow = Escrow::open(Arc::clone(&clients[1]) as Arc<dyn Database>).await.unwrap();
    let balance = escrow.balance("seats").await.unwrap();
    assert_eq!((balance.budget, balance.spent, balance.unspent), (BUDGET, BUDGET, 0), "{balance:?}");
    assert_eq!(sold, BUDGET, "what is sold was spent, and the other way round");
    assert!((all.done..=all.done + all.unknown).contains(&BUDGET), "{all:?}");
    assert!(balance.sites.iter().all(|site| site.unspent == 0), "{balance:?}");
}

/// Rows as a watch tells of them: each change must fit what was there before, so that none is missing, repeated or out of order.
#[derive(Debug, Default)]
struct Copy {
    rows: BTreeMap<(String, i64), i64>,
    cursor: Option<String>,
    resets: usize,
    changes: usize,
    /// Sites that are not heard of.
    lost: Vec<String>,
}

fn fields(values: &[Value]) -> ((String, i64), i64) {
    match values {
        [Value::Text(site), Value::Int(id), Value::Int(n)] => ((site.to_string(), *id), *n),
        other => panic!("{other:?}"),
    }
}

impl Copy {
    fn apply(&mut self, item: WatchItem) {
        match item {
            WatchItem::Reset => {
                self.rows.clear();
                self.resets += 1;
            }
            WatchItem::Rows(rows) => self.rows.extend(rows.iter().map(|row| fields(row.values()))),
            WatchItem::Current(cursor) => self.cursor = Some(cursor.to_string()),
            WatchItem::Changes { changes, cursor } => {
                for change in changes {
                    self.changes += 1;
                    match change {
                        RowChange::Inserted(row) => {
                            let (key, n) = fields(row.values());
                            let before = self.rows.insert(key.clone(), n);
                            assert_eq!(before, None, "{key:?} is told twice");
                        }
                        RowChange::Updated { old, new } => {
                            let ((key, n), old) = (fields(new.values()), fields(old.values()).1);
                            let before = self.rows.insert(key.clone(), n);
                            assert_eq!(before, Some(old), "of {key:?} a change is missing or out of order");
                        }
                        RowChange::Deleted(row) => {
                            let (key, n) = fields(row.values());
                            assert_eq!(self.rows.remove(&key), Some(n), "of {key:?} a change is missing");
                        }
                    }
                }
                self.cursor = Some(cursor.to_string());
            }
            WatchItem::Lost { site, .. } => self.lost.push(site),
            WatchItem::Regained { site } => self.lost.retain(|lost| *lost != site),
        }
    }

    /// Listens until something is true.
    async fn until(&mut self, watch: &mut Watch, what: &str, is_true: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_true(self) {
            let next = tokio::time::timeout(PATIENCE.saturating_sub(begun.elapsed()), watch.next()).await;
            let item = next.unwrap_or_else(|_| panic!("{what}: not heard within {PATIENCE:?}; {self:?}"));
            self.apply(item.expect("a watch does not end").unwrap());
        }
    }

    async fn listen(&mut self, watch: &mut Watch, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while let Ok(item) = tokio::time::timeout_at(until, watch.next()).await {
            self.apply(item.expect("a watch does not end").unwrap());
        }
    }
}

const WATCHED: &str = "SELECT site, id, n FROM item WHERE n >= 0";

/// Inserts, changes and deletes rows of a site, and with those of another where that can be reached, until told to stop.
async fn change(db: Arc<RomeDatabase>, here: usize, stop: Stop) {
    let site = SITES[here];
    for id in 0_i64.. {
        if stop.is_now() {
            return;
        }
        let insert = "INSERT INTO item VALUES ($1, $2, 0)";
        Told::by(&db.execute((insert, [site.into(), id.into()])).await);
        let update = "UPDATE item SET n = n + 1 WHERE site = $1 AND id BETWEEN $2 AND $3";
        Told::by(&db.execute((update, [site.into(), (id - 3).into(), id.into()])).await);
        let delete = "DELETE FROM item WHERE site = $1 AND id = $2";
        Told::by(&db.execute((delete, [site.into(), (id - 20).into()])).await);
        if id % 8 == 7 {
            let both = "UPDATE item SET n = n + 100 WHERE site IN ($1, $2) AND id = 0";
            Told::by(&db.execute((both, [site.into(), SITES[others(here)[0]].into()])).await);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn rows(db: &RomeDatabase) -> BTreeMap<(String, i64), i64> {
    db.query(WATCHED).await.unwrap().iter().map(|row| fields(row.values())).collect()
}

/// Watched from the third site: each of the others is cut off for a while, the watcher goes in the middle of a cut and another takes its cursor up,
/// a server is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_where_it_stopped() {
    let (mut world, clients) = start().await;
    let create = "CREATE TABLE item (site text, id bigint, n bigint NOT NULL, PRIMARY KEY (site, id)) \
                  WITH (placement = 'by_site(site)', changes = true)";
    clients[0].execute(create).await.unwrap();
    for site in SITES {
        clients[0].execute(("INSERT INTO item VALUES ($1, -1, 1)", [site.into()])).await.unwrap();
    }
    let mut copy = Copy::default();
    let mut watch = clients[2].watch(WATCHED.into_statement(), None).await.unwrap();
    copy.until(&mut watch, "the rows that are there", |copy| copy.cursor.is_some()).await;
    assert_eq!(copy.rows.len(), SITES.len());
    let stop = Stop::default();
    let work: Vec<_> =
        clients.iter().enumerate().map(|(at, db)| tokio::spawn(change(Arc::clone(db), at, stop.clone()))).collect();
    copy.until(&mut watch, "what changes", |copy| copy.changes > 50).await;
    for cut in [0, 1] {
        let site = SITES[cut];
        world.network.cut(site);
        copy.until(&mut watch, "that a site is lost", |copy| copy.lost == [site]).await;
        let before = copy.changes;
        copy.listen(&mut watch, Duration::from_millis(500)).await;
        assert!(copy.changes > before, "the others are heard of nevertheless");
        drop(watch);
        sleep(Duration::from_millis(500)).await;
        // A new client, which has never seen the site that is cut off.
        let db = world.client(SITES[2]).await;
        let cursor = copy.cursor.as_ref().unwrap().parse().unwrap();
        copy.lost.clear();
        watch = db.watch(WATCHED.into_statement(), Some(cursor)).await.unwrap();
        copy.listen(&mut watch, Duration::from_secs(1)).await;
        world.network.heal();
        // As long as it takes to hear of rows there that were not there before the cut.
        let last = copy.rows.keys().filter(|(at, _)| at == site).map(|(_, id)| *id).max().unwrap_or(0);
        copy.until(&mut watch, "what happened meanwhile", |copy| copy.rows.contains_key(&(site.to_owned(), last + 30)))
            .await;
        assert!(copy.lost.is_empty(), "{:?}", copy.lost);
    }
    assert_eq!(copy.resets, 0, "nothing was missed");
    stop.now();
    for task in work {
        task.await.unwrap();
    }
    // Versions of another epoch can't be compared with the cursor's: the watch begins again, and says so.
    world.server(0).kill();
    world.server(0).restart().await;
    for (site, db) in SITES.into_iter().zip(&clients) {
        let insert = ("INSERT INTO item VALUES ($1, 1000000, 0)", [site.into()]);
        let begun = Instant::now();
        while let Err(error) = db.execute(insert.clone()).await {
            assert!(is_usual(&error) && begun.elapsed() < PATIENCE, "{error}");
        }
    }
    let last = |copy: &Copy| SITES.into_iter().all(|site| copy.rows.contains_key(&(site.to_owned(), 1_000_000)));
    copy.until(&mut watch, "the last words of each site", last).await;
    // What ends transactions over several sites may still be told.
    let begun = Instant::now();
    while copy.rows != rows(&clients[0]).await {
        assert!(begun.elapsed() < PATIENCE, "{:?}", copy.rows);
        copy.listen(&mut watch, Duration::from_millis(200)).await;
    }
    assert!(copy.resets > 0, "a home has begun an epoch");
    figures::note(&format!("watching three sites: {} changes told", copy.changes));
}
