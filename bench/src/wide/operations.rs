//! Single operations, by one client at each site but the first, where the central server is: what each costs at which distance.
//!
//! ```text
//! account  site, id, balance        by_site(site)
//! thing    id (rome_id()), site     by_site(site), some of them moved from where they were born
//! ```

use super::deployment::Deployment;
use super::dialect::System;
use super::load::{self, Samples, median};
use super::settings::Settings;
use crate::Result;
use crate::subject::expect_rows;
use futures::future::BoxFuture;
use rome::{Database, DatabaseExt, Queryable, Transaction, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Accounts at each site: enough that clients rarely meet.
const ACCOUNTS: i64 = 1_000;
/// Things born at each site; half of them have moved to the next one.
const THINGS: usize = 200;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// A row of the client's own site by its key
    LocalRead,
    /// Reads a row of the client's own site and writes it
    LocalTransaction,
    /// Inserts a row at the client's own site, by `rome_id()`
    LocalInsert,
    /// A row of another site by its key
    FarRead,
    /// One statement that inserts a row at the client's site and one at another
    FarInsert,
    /// Reads a row here and one at another site and writes both
    FarTransaction,
    /// A row by an identifier that was made at another site, where it still is
    Tagged,
    /// A row by an identifier that was made at another site, and that has moved to a third
    Moved,
}

impl Operation {
    /// All, in the order of the tables.
    pub const ALL: [Self; 8] = [
        Self::LocalRead,
        Self::LocalTransaction,
        Self::LocalInsert,
        Self::FarRead,
        Self::Tagged,
        Self::Moved,
        Self::FarInsert,
        Self::FarTransaction,
    ];

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalRead => "read a row of this site",
            Self::LocalTransaction => "transaction at this site: read, write",
            Self::LocalInsert => "insert at this site, id by rome_id()",
            Self::FarRead => "read a row of another site",
            Self::FarInsert => "insert at two sites, one statement",
            Self::FarTransaction => "transaction over two sites: 2 reads, 2 writes",
            Self::Tagged => "look up by id, born at another site",
            Self::Moved => "look up by id, moved from a second to a third site",
        }
    }

    /// The round trips between sites that Rome is to need at most.
    #[must_use]
    pub fn budget(self) -> u64 {
        match self {
            Self::LocalRead | Self::LocalTransaction | Self::LocalInsert => 0,
            Self::FarRead | Self::Tagged | Self::FarInsert => 1,
            Self::FarTransaction | Self::Moved => 2,
        }
    }
}

/// One line of the results: a system, an operation, a delay.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where.
    pub system: System,
    /// What.
    pub operation: Operation,
    /// The round trip between sites.
    pub delay: Duration,
    /// Median of the runs, as the next ones.
    pub p50_ms: f64,
    /// Of 100 operations the slowest.
    pub p99_ms: f64,
    /// Of all clients together.
    pub per_second: f64,
    /// Requests of Rome to other sites' stores for each operation; those that follow the answer are among them.
    pub far_requests: f64,
}

/// The tables, filled, on one system.
pub struct Bench {
    deployment: Deployment,
    /// Identifiers by the site where they were born: those that stayed, and those that moved.
    stayed: Vec<Arc<[Uuid]>>,
    moved: Vec<Arc<[Uuid]>>,
    /// The next number of an account.
    next: Arc<AtomicI64>,
}

impl Bench {
    /// Creates and fills the tables.
    ///
    /// # Errors
    /// The database's.
    pub async fn fill(deployment: Deployment) -> Result<Self> {
        let system = deployment.system;
        let first = deployment.client(0, 0)?;
        for table in [
            "CREATE TABLE account (site SITE NOT NULL, id bigint NOT NULL, balance bigint NOT NULL, PRIMARY KEY (site, id))PLACED",
            "CREATE TABLE thing (id ID NOT NULL PRIMARY KEY, site SITE NOT NULL)PLACED",
        ] {
            first.execute(system.ddl(table)).await?;
        }
        let (mut stayed, mut moved) = (vec![], vec![]);
        for (at, site) in deployment.sites.iter().enumerate() {
            let db = deployment.client(at, 0)?;
            let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("('{site}', {id}, 1000)")).collect();
            for rows in rows.chunks(500) {
                db.execute(format!("INSERT INTO account VALUES {}", rows.join(", "))).await?;
            }
            let mut ids = vec![];
            for _ in 0..THINGS {
                ids.push(insert_thing(system, db.as_ref(), site).await?);
            }
            let goes = ids.split_off(THINGS / 2);
            for id in &goes {
                let values = vec![deployment.site(at + 1).into(), (*id).into()];
                let update = system.statement("UPDATE thing SET site = $1 WHERE id = $2", values);
                expect_rows(usize::try_from(db.execute(update).await?)?, 1)?;
            }
            stayed.push(ids.into());
            moved.push(goes.into());
        }
        Ok(Self { deployment, stayed, moved, next: Arc::new(AtomicI64::new(ACCOUNTS)) })
    }

    /// Measures all operations at all delays, several times; the delays take turns, so that what drifts does not favour one.
    ///
    /// # Errors
    /// The database's.
    pub async fn measure(&self, settings: &Settings) -> Result<Vec<Point>> {
        let mut points = vec![];
        for operation in Operation::ALL {
            let mut runs: Vec<Vec<(Samples, f64)>> = settings.delays.iter().map(|_| vec![]).collect();
            // Lanes, connections and plans.
            self.deployment.set_round_trip(Duration::ZERO);
            self.run(operation, settings.time / 4).await?;
            for _ in 0..settings.runs {
                for (delay, runs) in settings.delays.iter().zip(&mut runs) {
                    self.deployment.set_round_trip(*delay);
                    // What was under way before.
                    tokio::time::sleep(Duration::from_millis(50) + *delay * 2).await;
                    let before = self.deployment.far_requests();
                    let samples = self.run(operation, settings.time).await?;
                    let requests = self.deployment.far_requests() - before;
                    let each = requests as f64 / samples.count().max(1) as f64;
                    runs.push((samples, each));
                }
            }
            for (delay, runs) in settings.delays.iter().zip(&runs) {
                let of = |figure: fn(&(Samples, f64)) -> f64| median(runs.iter().map(figure).collect());
                points.push(Point {
                    system: self.deployment.system,
                    operation,
                    delay: *delay,
                    p50_ms: of(|run| run.0.percentile_ms(50)),
                    p99_ms: of(|run| run.0.percentile_ms(99)),
                    per_second: of(|run| run.0.rate()),
                    far_requests: of(|run| run.1),
                });
            }
            eprintln!("{}: {}", self.deployment.system.name(), operation.name());
        }
        Ok(points)
    }

    /// Ends it.
    ///
    /// # Errors
    /// The database's.
    pub async fn remove(self) -> Result<()> {
        self.deployment.remove().await
    }

    async fn run(&self, operation: Operation, time: Duration) -> Result<Samples> {
        let mut clients: Vec<load::Client<()>> = vec![];
        // At the first site is the central server: its clients would be no measure of distance, on no system.
        for at in 1..self.deployment.sites.len() {
            let caller = Caller {
                system: self.deployment.system,
                db: self.deployment.client(at, 0)?,
                sites: (at..at + self.deployment.sites.len()).map(|site| self.deployment.site(site)).collect(),
                stayed: self.from(&self.stayed, at),
                moved: self.from(&self.moved, at),
                next: Arc::clone(&self.next),
            };
            let caller = Arc::new(caller);
            clients.push(Box::new(move || {
                let caller = Arc::clone(&caller);
                Box::pin(async move { caller.call(operation).await })
            }));
        }
        let done = load::run(clients, time).await?;
        Ok(Samples::new(done.into_iter().map(|(_, latency)| latency).collect(), time))
    }

    /// From this site's on.
    fn from(&self, things: &[Arc<[Uuid]>], at: usize) -> Vec<Arc<[Uuid]>> {
        things.iter().cycle().skip(at).take(things.len()).cloned().collect()
    }
}

/// A client at a site. Sites are numbered from its own.
struct Caller {
    system: System,
    db: Arc<dyn Database>,
    sites: Vec<String>,
    stayed: Vec<Arc<[Uuid]>>,
    moved: Vec<Arc<[Uuid]>>,
    next: Arc<AtomicI64>,
}

impl Caller {
    async fn call(&self, operation: Operation) -> Result<()> {
        let (here, other) = (self.site(0), self.site(rand::random_range(1..self.sites.len())));
        match operation {
            Operation::LocalRead => self.read(here).await,
            Operation::FarRead => self.read(other).await,
            Operation::LocalTransaction => self.add(vec![here]).await,
            Operation::FarTransaction => self.add(vec![here, other]).await,
            Operation::LocalInsert => insert_thing(self.system, self.db.as_ref(), &here).await.map(drop),
            Operation::FarInsert => {
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                let values = vec![here.into(), id.into(), 1.into(), other.into(), id.into(), 1.into()];
                let insert = self.system.statement("INSERT INTO account VALUES ($1, $2, $3), ($4, $5, $6)", values);
                expect_rows(usize::try_from(self.db.execute(insert).await?)?, 2)
            }
            Operation::Tagged => self.look_up(&self.stayed, 1).await,
            // What was born at the last site has moved to this one.
            Operation::Moved => self.look_up(&self.moved, 2).await,
        }
    }

    fn site(&self, number: usize) -> String {
        self.sites.get(number).cloned().unwrap_or_default()
    }

    async fn read(&self, site: String) -> Result<()> {
        let values = vec![site.into(), rand::random_range(0..ACCOUNTS).into()];
        let select = self.system.statement("SELECT balance FROM account WHERE site = $1 AND id = $2", values);
        expect_rows(self.db.query(select).await?.len(), 1)
    }

    /// Adds something to an account of each of these sites, as an application does that looks at them first.
    async fn add(&self, sites: Vec<String>) -> Result<()> {
        let accounts: Vec<(String, i64)> =
            sites.into_iter().map(|site| (site, rand::random_range(0..ACCOUNTS))).collect();
        let (system, accounts) = (self.system, Arc::new(accounts));
        let added = self.db.transaction(|tx: &dyn Transaction| {
            let accounts = Arc::clone(&accounts);
            Box::pin(async move {
                let mut balances: Vec<i64> = vec![];
                for (site, id) in accounts.iter() {
                    let key = vec![site.as_str().into(), (*id).into()];
                    let select = "SELECT balance FROM account WHERE site = $1 AND id = $2 FOR UPDATE";
                    balances.push(tx.query_one(system.statement(select, key)).await?);
                }
                let mut written = 0;
                for ((site, id), balance) in accounts.iter().zip(balances) {
                    let values = vec![Value::from(balance + 1), site.as_str().into(), (*id).into()];
                    let update = "UPDATE account SET balance = $1 WHERE site = $2 AND id = $3";
                    written += tx.execute(system.statement(update, values)).await?;
                }
                Ok(written)
            }) as BoxFuture<'_, rome::Result<u64>>
        });
        expect_rows(usize::try_from(added.await?)?, i64::try_from(accounts.len())?)
    }

    async fn look_up(&self, things: &[Arc<[Uuid]>], others: usize) -> Result<()> {
        let born = rand::random_range(1..=things.len() - others);
        let ids = things.get(born).ok_or("no such site")?;
        let id = ids.get(rand::random_range(0..ids.len())).ok_or("no things")?;
        let select = self.system.statement("SELECT site FROM thing WHERE id = $1", vec![(*id).into()]);
        expect_rows(self.db.query(select).await?.len(), 1)
    }
}

/// One row with an identifier of its own; which.
async fn insert_thing(system: System, db: &dyn Database, site: &str) -> Result<Uuid> {
    if system == System::Rome {
        let insert = system.statement("INSERT INTO thing (site) VALUES ($1) RETURNING id", vec![site.into()]);
        return Ok(db.query_one::<Uuid, _>(insert).await?);
    }
    let id = Uuid::now_v7();
    let insert = system.statement("INSERT INTO thing (id, site) VALUES ($1, $2)", vec![id.into(), site.into()]);
    expect_rows(usize::try_from(db.execute(insert).await?)?, 1)?;
    Ok(id)
}
