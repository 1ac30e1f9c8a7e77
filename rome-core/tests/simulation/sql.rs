//! The same network under whole databases: a small cloud's tables over several sites, changed by SQL.
//!
//! ```text
//! host   site, id, name, free    by site; what is free and what its servers use is what it has
//! server site, id, host, cores   by site, with its host
//! quota  project, left           at the first site
//! volume id, site, name          by site; id and name unique over all sites
//! ```
//!
//! Each of them may at any time be moved to another placement.

use crate::regressions::{DATABASES, Regression};
use crate::run::{Plan, Run, patience, site};
use crate::scenario::Scenario;
use async_trait::async_trait;
use rand::Rng;
use rome_core::catalog::Table;
use rome_core::database::{DatabaseExt, Queryable, RomeDatabase, Transaction};
use rome_core::exec::claims::claims_of_row;
use rome_core::exec::keys::{Located, decode_table_row, index_entry, row_key};
use rome_core::store::Key;
use rome_core::topology::HomeNo;
use rome_core::txn::Sweep;
use rome_core::{Error, Result, SqlState, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const HOSTS: i64 = 3;
const CORES: i64 = 8;
const QUOTA: i64 = 30;

/// The kind of change that moves a table.
const MOVE: u32 = 10;

pub struct Cloud {
    run: Arc<Run>,
    ids: AtomicI64,
}

impl Cloud {
    /// Takes room on the host with the most of it, and quota at the first site.
    async fn boot(&self, db: &RomeDatabase, site: &str, id: i64, cores: i64) -> Result<()> {
        let site = site.to_owned();
        db.transaction(|tx: &dyn Transaction| {
            let site = site.clone();
            Box::pin(async move {
                let roomiest = "SELECT id FROM host WHERE site = $1 ORDER BY free DESC, id LIMIT 1";
                let host: i64 = tx.query_one((roomiest, [site.as_str().into()])).await?;
                let take = "UPDATE host SET free = free - $3 WHERE site = $1 AND id = $2";
                tx.execute((take, [site.as_str().into(), host.into(), cores.into()])).await?;
                let insert = "INSERT INTO server VALUES ($1, $2, $3, $4)";
                tx.execute((insert, [site.into(), id.into(), host.into(), cores.into()])).await?;
                tx.execute(("UPDATE quota SET \"left\" = \"left\" - $1 WHERE project = 1", [cores.into()])).await?;
                Ok(())
            }) as futures::future::BoxFuture<'_, Result<(), Error>>
        })
        .await
    }

    /// Sends a table to another placement, or goes on with where it is going, or gives that up.
    async fn move_table(&self, db: &RomeDatabase, site: &str) -> Result<()> {
        let (table, column) = self.run.random(|random| match random.random_range(0..4) {
            0 => ("host", "name"),
            1 => ("server", "cores"),
            2 => ("volume", "id"),
            _ => ("quota", "project"),
        });
        let mut places = vec![format!("at({site})"), "sharded".to_owned(), format!("sharded({column})")];
        if table != "quota" {
            places.extend(["by_site(site)".to_owned(), "by_site(site)".to_owned()]);
        }
        let place = self.run.random(|random| places.swap_remove(random.random_range(0..places.len())));
        self.run.network.note(format_args!("{table} is to be {place}"));
        let moved = db.execute(format!("ALTER TABLE {table} SET (placement = '{place}')").as_str()).await.map(drop);
        if moved.is_ok() {
            self.run.count(|counts| counts.count("tables moved", 1));
        }
        moved
    }

    async fn delete(&self, db: &RomeDatabase, site: &str) -> Result<()> {
        let site = site.to_owned();
        db.transaction(|tx: &dyn Transaction| {
            let site = site.clone();
            Box::pin(async move {
                let oldest = "SELECT id, host, cores FROM server WHERE site = $1 ORDER BY id LIMIT 1";
                let found: Option<(i64, i64, i64)> = tx.query_opt((oldest, [site.as_str().into()])).await?;
                let Some((id, host, cores)) = found else { return Ok(()) };
                tx.execute(("DELETE FROM server WHERE site = $1 AND id = $2", [site.as_str().into(), id.into()]))
                    .await?;
                let give = "UPDATE host SET free = free + $3 WHERE site = $1 AND id = $2";
                tx.execute((give, [site.into(), host.into(), cores.into()])).await?;
                tx.execute(("UPDATE quota SET \"left\" = \"left\" + $1 WHERE project = 1", [cores.into()])).await?;
                Ok(())
            }) as futures::future::BoxFuture<'_, Result<(), Error>>
        })
        .await
    }

    /// Makes a volume, or moves, renames or removes one, all by keys that do not say where it is.
    async fn volume(&self, db: &RomeDatabase, site: &str, id: i64) -> Result<()> {
        let name = format!("v{}", id % 5);
        let what = self.run.random(|random| random.random_range(0..6));
        let changed = match what {
            0..2 => {
                db.execute(("INSERT INTO volume VALUES ($1, $2, $3)", [(id % 7).into(), site.into(), name.into()]))
                    .await
            }
            2 => db.execute(("UPDATE volume SET site = $1 WHERE name = $2", [site.into(), name.into()])).await,
            3 => db.execute(("UPDATE volume SET name = $1 WHERE id = $2", [name.into(), (id % 7).into()])).await,
            4 => {
                db.execute((
                    "UPDATE volume SET id = $1, site = $2 WHERE name = $3",
                    [(id % 7).into(), site.into(), name.into()],
                ))
                .await
            }
            _ => db.execute(("DELETE FROM volume WHERE id = $1", [(id % 7).into()])).await,
        };
        changed.map(drop)
    }

    /// A server moves to a host of another site: its row changes homes.
    async fn migrate(&self, db: &RomeDatabase, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        db.transaction(|tx: &dyn Transaction| {
            let (from, to) = (from.clone(), to.clone());
            Box::pin(async move {
                let newest = "SELECT id, host, cores FROM server WHERE site = $1 ORDER BY id DESC LIMIT 1";
                let found: Option<(i64, i64, i64)> = tx.query_opt((newest, [from.as_str().into()])).await?;
                let Some((id, host, cores)) = found else { return Ok(()) };
                let change = "UPDATE host SET free = free + $3 WHERE site = $1 AND id = $2";
                tx.execute((change, [from.as_str().into(), host.into(), cores.into()])).await?;
                tx.execute((change, [to.as_str().into(), 1_i64.into(), (-cores).into()])).await?;
                let moved = "UPDATE server SET site = $3, host = 1 WHERE site = $1 AND id = $2";
                tx.execute((moved, [from.into(), id.into(), to.into()])).await?;
                Ok(())
            }) as futures::future::BoxFuture<'_, Result<(), Error>>
        })
        .await
    }

    /// What one query must see at any time: each host's cores are free or used, and so is the quota.
    async fn audit(&self, db: &RomeDatabase) -> Result<()> {
        let all = "SELECT h.site, h.id, h.free + coalesce((SELECT sum(s.cores)::bigint FROM server s WHERE s.site = h.site AND s.host = h.id), 0) \
                   FROM host h ORDER BY h.site, h.id";
        let hosts: Vec<(String, i64, i64)> = db.query_as(all).await?;
        assert_eq!(hosts.len(), self.run.plan.sites * HOSTS as usize);
        assert!(hosts.iter().all(|(.., cores)| *cores == CORES), "{hosts:?}");
        let quota = "SELECT \"left\" + coalesce((SELECT sum(cores)::bigint FROM server), 0) FROM quota";
        assert_eq!(db.query_one::<i64, _>(quota).await?, QUOTA, "quota");
        let twice = "SELECT count(*) - count(DISTINCT id) + count(*) - count(DISTINCT name) FROM volume";
        assert_eq!(db.query_one::<i64, _>(twice).await?, 0, "two volumes have one key");
        Ok(())
    }

    /// In every home exactly the rows, index entries and claims that must be there; copies of tables on their way only of rows that there are.
    async fn check_stores(&self, db: &RomeDatabase) {
        db.placement_moves().await.expect("a calm network");
        for table in db.catalog().tables() {
            let rows = self.check_table(table).await;
            if let Some(target) = &table.target {
                let copies = self.check_table(target).await;
                let stray: Vec<_> = copies.iter().filter(|copy| !rows.contains(copy)).collect();
                assert!(stray.is_empty(), "copies without rows in {}: {stray:?}", table.name);
            }
        }
    }

    async fn check_table(&self, table: &Table) -> Vec<Vec<Value>> {
        let (mut rows, mut claimed, mut claims) = (vec![], BTreeMap::new(), BTreeMap::new());
        for at in 0..self.run.plan.sites {
            let home = HomeNo(at as u16);
            let mut expected: Vec<BTreeMap<Key, Key>> = vec![BTreeMap::new(); table.indexes.len()];
            for (key, value) in self.run.network.entries(at, &[table.row_space()]).await {
                let row = decode_table_row(table, &value).expect("no mark is left where everybody has read");
                assert_eq!(row_key(table, &row).expect("a key"), key);
                claimed.extend(claims_of_row(table, &row).expect("claims"));
                assert_eq!(table.homes.of_row(&row).expect("a site"), home, "a row of {} is elsewhere", table.name);
                for (index, expected) in table.indexes.iter().zip(&mut expected) {
                    let (key, value) = index_entry(table, index, &row).expect("a key");
                    expected.insert(key, value);
                }
                rows.push(row);
            }
            for (index, expected) in table.indexes.iter().zip(expected) {
                let found: BTreeMap<Key, Key> =
                    self.run.network.entries(at, &[index.space]).await.into_iter().collect();
                assert_eq!(found, expected, "entries of {} at site {at}", index.name);
            }
            for space in table.indexes.iter().filter_map(|index| index.claims).chain(table.claims) {
                let found = self.run.network.entries(at, &[space]).await.into_iter();
                claims.extend(found.map(|(key, value)| (Located { home, key }, value)));
            }
        }
        let stray: Vec<_> = claims.iter().filter(|(place, value)| claimed.get(place) != Some(value)).collect();
        let missing: Vec<_> = claimed.iter().filter(|(place, _)| !claims.contains_key(place)).collect();
        assert!(
            stray.is_empty() && missing.is_empty(),
            "claims without rows: {stray:?}; rows without claims: {missing:?}"
        );
        rows
    }

    /// Ends what crashed clients have left.
    async fn sweep(&self) {
        let incarnation = u128::from(self.run.plan.seed) << 32;
        let client = self.run.client(0, &Arc::default(), incarnation, patience());
        let mut seen = Sweep::default();
        for _ in 0..10 {
            for at in 0..self.run.plan.sites {
                client.sweep(HomeNo(at as u16), &mut seen).await.expect("a calm network");
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

#[async_trait]
impl Scenario for Cloud {
    const NAME: &'static str = "databases";
    const PAUSE: u64 = 30;
    const USUAL: &'static [SqlState] = &[
        SqlState::UNIQUE_VIOLATION,
        SqlState::FOREIGN_KEY_VIOLATION,
        SqlState::CHECK_VIOLATION,
        // Somebody else moves the table, or has given the move up.
        SqlState::OBJECT_IN_USE,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    ];
    const HAPPENS: &'static [&'static str] = &["tables moved", "moves left to others"];
    const REGRESSIONS: &'static [Regression] = DATABASES;

    type Client = RomeDatabase;
    type Step = u32;

    fn plan(seed: u64) -> Plan {
        Plan::of(seed, 8)
    }

    fn new(run: Arc<Run>) -> Self {
        Self { run, ids: AtomicI64::new(1) }
    }

    fn run(&self) -> &Run {
        &self.run
    }

    async fn found(&self) {
        let db = self.open(0, &Arc::default()).await.expect("a calm network");
        for statement in [
            "CREATE TABLE host (site text, id bigint, name text NOT NULL, free bigint NOT NULL CHECK (free >= 0), \
             PRIMARY KEY (site, id), UNIQUE (site, name)) WITH (placement = 'by_site(site)')",
            "CREATE TABLE server (site text, id bigint, host bigint NOT NULL, cores bigint NOT NULL, PRIMARY KEY (site, id), \
             FOREIGN KEY (site, host) REFERENCES host (site, id)) WITH (placement = 'by_site(site)')",
            "CREATE INDEX server_cores ON server (cores)",
            "CREATE TABLE quota (project bigint PRIMARY KEY, \"left\" bigint NOT NULL CHECK (\"left\" >= 0)) \
             WITH (placement = 'at(site0)')",
            "CREATE TABLE volume (id bigint PRIMARY KEY, site text, name text UNIQUE) WITH (placement = 'by_site(site)')",
        ] {
            db.execute(statement).await.expect("a calm network");
        }
        for at in 0..self.run.plan.sites {
            for id in 0..HOSTS {
                let insert = "INSERT INTO host VALUES ($1, $2, $3, $4)";
                let values = [site(at).into(), id.into(), format!("h{id}").into(), CORES.into()];
                db.execute((insert, values)).await.expect("a calm network");
            }
        }
        db.execute(("INSERT INTO quota VALUES (1, $1)", [QUOTA.into()])).await.expect("a calm network");
    }

    async fn open(&self, at: usize, crashed: &Arc<AtomicBool>) -> Result<RomeDatabase> {
        self.run.open(at, crashed, patience()).await
    }

    fn draw(&self) -> (u32, Option<Duration>) {
        let kind = self.run.random(|random| random.random_range(0..11));
        // A move takes long: whoever dies of it dies anywhere in it.
        let (often, longest) = if kind == MOVE { (0.5, 1_500) } else { (0.05, 150) };
        let (dies, after) = (self.run.fault(often), self.run.moment(longest));
        (kind, dies.then_some(after))
    }

    async fn step(&self, db: &RomeDatabase, at: usize, kind: u32) -> Result<()> {
        let other = self.run.random(|random| random.random_range(0..self.run.plan.sites));
        let cores = self.run.random(|random| random.random_range(1..=3));
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        match kind {
            0 | 1 => self.boot(db, &site(at), id, cores).await,
            2 => self.volume(db, &site(at), id).await,
            3 => self.boot(db, &site(other), id, cores).await,
            4 | 5 => self.delete(db, &site(other)).await,
            6 => self.migrate(db, &site(at), &site(other)).await,
            7 => {
                let host = id % HOSTS;
                let rename = "UPDATE host SET name = $3 WHERE site = $1 AND id = $2";
                let name = format!("h{}", id % (HOSTS + 1));
                db.execute((rename, [site(other).into(), host.into(), name.into()])).await.map(drop)
            }
            8 => self.volume(db, &site(other), id).await,
            MOVE => self.move_table(db, &site(other)).await,
            _ => self.audit(db).await,
        }
    }

    /// Once everything has arrived and has been swept: in every home exactly the index entries that its rows have, and exactly their claims.
    async fn conclude(&self) {
        let db = self.open(0, &Arc::default()).await.expect("a calm network");
        sleep(Duration::from_secs(10)).await;
        self.sweep().await;
        for _ in 0..400 {
            match self.audit(&db).await {
                Ok(()) => break,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        self.audit(&db).await.expect("a calm network");
        self.check_stores(&db).await;
        // What dead movers have left is gone on with, or given up.
        for left in db.placement_moves().await.expect("a calm network") {
            self.run.count(|counts| counts.count("moves left to others", 1));
            let goes_on = self.run.random(|random| random.random_bool(0.5));
            let place = if goes_on { &left.to } else { &left.from };
            let place = place.split_once(" at site ").map_or(place.as_str(), |(place, _)| place);
            self.run.network.note(format_args!("{} ends its way {place}", left.table));
            let alter = format!("ALTER TABLE {} SET (placement = '{place}')", left.table);
            for _ in 0..100 {
                match db.execute(alter.as_str()).await {
                    Ok(_) => break,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        }
        self.audit(&db).await.expect("a calm network");
        sleep(Duration::from_secs(10)).await;
        self.check_stores(&db).await;
    }
}
