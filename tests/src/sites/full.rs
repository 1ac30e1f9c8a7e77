//! A site whose store is full while the others are not: what goes on there and elsewhere, what is refused and how, and that everything adds up once there
//! is room again.
//!
//! Whoever tests an engine brings the sites and knows how to fill the store of one and how to make room:
//!
//! 1. [`Scene::start`]: the load of the other tests at all sites, within sites and across them;
//! 2. [`Scene::hold`]: a transaction over two sites that is prepared at the one that will be full, and not yet at the other;
//! 3. the store is filled, for instance by [`Scene::fill`];
//! 4. [`Scene::endure`]: what must hold while it is full;
//! 5. room is made;
//! 6. [`Scene::conclude`]: everything works again, and everything adds up.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::gate::Gated;
use super::load::Load;
use super::{CALL_TIMEOUT, SITES, options, probe};
use rome_core::database::{Options, Queryable, RomeDatabase, Sites};
use rome_core::txn::Patience;
use rome_core::{Error, Result, SqlState};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How long the store is full.
const FULL: Duration = Duration::from_secs(3);
/// The longest until everything works again.
const TIDYING: Duration = Duration::from_secs(30);
/// A row that needs room, in bytes.
const LARGE: usize = 900_000;
/// Rows of that size until any of these stores is full.
const ENOUGH: i64 = 100;
/// The first of the rows that are to be at all sites.
const EVERYWHERE: i64 = 1_000;

/// How a store is filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// With rows.
    Rows,
    /// With what a row was before.
    History,
}

/// Three sites under load, one of which becomes full.
pub struct Scene {
    full: usize,
    sites: Vec<Arc<dyn Sites>>,
    clients: Vec<Arc<RomeDatabase>>,
    load: Load,
    /// How many rows were tried to add at all sites, and those of them that are there.
    everywhere: (i64, Vec<i64>),
}

/// A transaction over two sites that waits for the store of the one that is not full.
pub struct Held {
    gate: Arc<Gated>,
    client: Arc<RomeDatabase>,
    commit: JoinHandle<Result<u64>>,
}

/// Patience for transactions that are prepared and stand still: they are left alone for longer than a store takes to be filled.
pub fn patient() -> Options {
    let patience = Patience { recovery_after: Duration::from_secs(4), ..options().patience };
    Options { patience, ..options() }
}

impl Scene {
    /// Opens the database, makes its tables and starts the load; `sites` are as seen from each site.
    pub async fn start(sites: Vec<Arc<dyn Sites>>, full: usize) -> Self {
        let mut clients = vec![];
        for (site, stores) in SITES.into_iter().zip(&sites) {
            let opened = RomeDatabase::open_sites(site, Arc::clone(stores), patient()).await;
            clients.push(Arc::new(opened.unwrap_or_else(|error| panic!("{site}: {error}"))));
        }
        let first = clients[0].as_ref();
        for table in
            ["large (site text, id bigint, body text NOT NULL", "held (site text, id bigint, n bigint NOT NULL"]
        {
            let create = format!("CREATE TABLE {table}, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')");
            first.execute(create.as_str()).await.unwrap();
        }
        for site in SITES {
            first.execute(("INSERT INTO held VALUES ($1, 0, 0), ($1, 1, 0)", [site.into()])).await.unwrap();
            first.execute(("INSERT INTO large VALUES ($1, 0, '')", [site.into()])).await.unwrap();
        }
        let load = Load::start(&clients).await;
        Self { full, sites, clients, load, everywhere: (0, vec![]) }
    }

    /// The name of the site that is, or will be, full.
    pub fn name(&self) -> &'static str {
        SITES[self.full]
    }

    fn others(&self) -> Vec<usize> {
        (0..SITES.len()).filter(|site| *site != self.full).collect()
    }

    fn here(&self) -> &RomeDatabase {
        &self.clients[self.full]
    }

    /// Writes so much there that little is left to do until the store is full.
    pub async fn prepare_to_fill(&self, fill: Fill, rows: i64) {
        for number in 1..=rows {
            self.fill_with(fill, -number).await.expect("there is room yet");
        }
    }

    async fn fill_with(&self, fill: Fill, number: i64) -> Result<u64> {
        match fill {
            Fill::Rows => insert_large(self.here(), &[self.name()], number).await,
            Fill::History => {
                let update = "UPDATE large SET body = $2 WHERE site = $1 AND id = 0";
                self.here().execute((update, [self.name().into(), large(number).into()])).await
            }
        }
    }

    /// Fills the store of the site until it refuses a row.
    pub async fn fill(&self, fill: Fill) {
        let begun = Instant::now();
        for number in 1..ENOUGH {
            if let Err(error) = self.fill_with(fill, number).await {
                println!("{} is full after {number} rows and {} ms", self.name(), begun.elapsed().as_millis());
                self.assert_named(&error);
                return;
            }
        }
        panic!("{} is not full", self.name());
    }

    fn assert_named(&self, error: &Error) {
        let site = format!("At site \"{}\".", self.name());
        assert!(error.state() == SqlState::DISK_FULL && error.detail() == Some(&site), "{error}");
    }

    /// Begins a transaction that is prepared at the site that will be full and waits for another site; it must be let go before others lose patience.
    pub async fn hold(&self) -> Held {
        let near = SITES[self.others()[0]];
        let gate = Gated::new(Arc::clone(&self.sites[self.others()[0]]), near);
        let client = RomeDatabase::open_sites(near, Arc::clone(&gate) as _, patient()).await.unwrap();
        let client = Arc::new(client);
        let update = format!("UPDATE held SET n = n + 1 WHERE site IN ('{near}', '{}') AND id = 0", self.name());
        // Once before, so that it has lanes at both.
        client.execute(update.as_str()).await.unwrap();
        client.ended().await;
        gate.close();
        let commit = tokio::spawn({
            let client = Arc::clone(&client);
            async move { client.execute(update.as_str()).await }
        });
        sleep(Duration::from_millis(200)).await;
        Held { gate, client, commit }
    }

    /// What must hold while the store is full. `ends`: a transaction that had prepared there is ended though there is no room.
    pub async fn endure(&mut self, held: Held, ends: bool) {
        let before: Vec<_> = self.load.probes.iter().map(|counts| counts.now()).collect();
        self.let_go(held, ends).await;
        let refused = self.refusals().await;
        let until = Instant::now() + FULL;
        let (read, changed) = tokio::join!(self.reads(until), self.changes_between_others(until));
        println!(
            "{} is full: {refused} transactions refused, {read} reads there, {changed} changes over the other two sites",
            self.name()
        );
        for site in self.others() {
            let after = self.load.probes[site].now();
            let before = before[site];
            let (done, failed, slow) =
                (after.done - before.done, after.failed - before.failed, after.slow - before.slow);
            println!("  {}: {done} changes of its own rows, {failed} failed, {slow} too slow", SITES[site]);
            assert!(done > 0 && failed == 0, "a site suffers because another is full");
            assert!(100 * slow <= done, "{slow} of its own store did not answer in time");
        }
        self.load.check();
    }

    /// The transaction that is prepared at the full site commits: it was promised.
    async fn let_go(&self, held: Held, ends: bool) {
        held.gate.open();
        let begun = Instant::now();
        assert_eq!(held.commit.await.expect("it does not panic").unwrap(), 2, "what was promised is kept");
        println!("  what was prepared was committed {} ms after it could go on", begun.elapsed().as_millis());
        let read = "SELECT n FROM held WHERE site = $1 AND id = 0";
        let read = self.here().query_one::<i64, _>((read, [self.name().into()])).await;
        println!("  what it has written at {}, asked for there: {read:?}", self.name());
        match read {
            Ok(n) => assert_eq!(n, 2, "an acknowledged change"),
            Err(error) => {
                assert!(!ends && error.state() == SqlState::DISK_FULL, "{error}");
                assert!(error.to_string().contains(&format!("\"{}\"", self.name())), "{error}");
            }
        }
        drop(held.client);
    }

    /// What needs room at the full site is refused in its name, whoever asks; returns how often that was tried.
    async fn refusals(&mut self) -> usize {
        let mut refused = 0;
        for db in self.clients.clone() {
            self.everywhere.0 += 1;
            let id = EVERYWHERE + self.everywhere.0;
            for sites in [&[self.name()][..], &SITES] {
                let begun = Instant::now();
                let error = insert_large(&db, sites, id).await.expect_err("there is no room");
                self.assert_named(&error);
                assert!(begun.elapsed() < 2 * CALL_TIMEOUT, "it took {:?} to be refused", begun.elapsed());
                refused += 1;
            }
        }
        refused
    }

    /// Reads at the full site, by a client that was there and by one that comes new.
    async fn reads(&self, until: Instant) -> usize {
        let site = self.name();
        let stores = Arc::clone(&self.sites[self.full]);
        let newcomer = RomeDatabase::open_sites(site, stores, patient()).await.expect("a full site can be opened");
        let mut done = 0;
        while Instant::now() < until {
            for db in [self.here(), &newcomer] {
                let count = "SELECT count(*) FROM probe WHERE site = $1";
                let count = db.query_one::<i64, _>((count, [site.into()])).await.expect("a full site can be read");
                assert_eq!(count, (probe::ROWS + probe::SHARED_ROWS) as i64);
                let body = "SELECT length(body) FROM large WHERE site = $1 AND id = 0";
                db.query_one::<i64, _>((body, [site.into()])).await.expect("a full site can be read");
                done += 2;
            }
            sleep(Duration::from_millis(20)).await;
        }
        done
    }

    /// Changes rows of both other sites together.
    async fn changes_between_others(&self, until: Instant) -> usize {
        let [one, other] = self.others()[..] else { unreachable!("there are three sites") };
        let update =
            format!("UPDATE held SET n = n + 1 WHERE site IN ('{}', '{}') AND id = 1", SITES[one], SITES[other]);
        let mut done = 0;
        while Instant::now() < until {
            let changed = self.clients[one].execute(update.as_str()).await.expect("neither of them is full");
            assert_eq!(changed, 2);
            done += 1;
            sleep(Duration::from_millis(20)).await;
        }
        done
    }

    /// Until the site takes rows again, and all sites together do.
    async fn recovers(&mut self) {
        let begun = Instant::now();
        loop {
            self.everywhere.0 += 1;
            let id = EVERYWHERE + self.everywhere.0;
            match insert_large(self.here(), &SITES, id).await {
                Ok(_) => {
                    self.everywhere.1.push(id);
                    break;
                }
                Err(error) => assert!(begun.elapsed() < TIDYING && error.is_permanent(), "{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
        println!("{} takes rows again after {} ms", self.name(), begun.elapsed().as_millis());
        let before = self.load.probes[self.full].now();
        sleep(Duration::from_secs(2)).await;
        let after = self.load.probes[self.full].now();
        assert!(after.done - before.done > 10, "{} does not go on: {before:?}, {after:?}", self.name());
    }

    /// Everything works again; then it is stopped, and everything adds up. Returns the history of the lists, for the checker.
    pub async fn conclude(mut self) -> Vec<Json> {
        self.recovers().await;
        self.load.check();
        self.nothing_is_half_there().await;
        self.load.conclude(&self.sites, BTreeMap::new(), &[]).await
    }

    async fn nothing_is_half_there(&self) {
        let db = self.clients[0].as_ref();
        let rows = "SELECT id, count(*) FROM large WHERE id > $1 GROUP BY id ORDER BY id";
        let rows: Vec<(i64, i64)> = db.query_as((rows, [EVERYWHERE.into()])).await.unwrap();
        let expected: Vec<(i64, i64)> = self.everywhere.1.iter().map(|id| (*id, SITES.len() as i64)).collect();
        assert_eq!(rows, expected, "rows that were to be at all sites or nowhere");
        let [one, other] = self.others()[..] else { unreachable!("there are three sites") };
        let held: Vec<(i64, String, i64)> = db.query_as("SELECT id, site, n FROM held").await.unwrap();
        let n = |id: i64, site: usize| {
            held.iter().find(|row| (row.0, row.1.as_str()) == (id, SITES[site])).map(|row| row.2)
        };
        assert_eq!((n(0, one), n(0, self.full)), (Some(2), Some(2)), "prepared when the store became full");
        assert!(n(1, one) == n(1, other) && n(1, self.full) == Some(0), "{held:?}");
    }
}

fn large(number: i64) -> String {
    let digit = char::from_digit(number.rem_euclid(10) as u32, 10).expect("a digit");
    digit.to_string().repeat(LARGE)
}

/// Inserts a row that needs room at each of some sites, in one transaction.
async fn insert_large(db: &RomeDatabase, sites: &[&str], id: i64) -> Result<u64> {
    let rows: Vec<String> = sites.iter().map(|site| format!("('{site}', $1, $2)")).collect();
    db.execute((format!("INSERT INTO large VALUES {}", rows.join(", ")).as_str(), [id.into(), large(id).into()])).await
}
