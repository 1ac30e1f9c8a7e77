//! Rome itself as a [`Database`]: statements in, store calls out.
//!
//! | file | what |
//! |---|---|
//! | `statement` | from text to a prepared statement, cached |
//! | `running` | a prepared statement inside a transaction |
//! | `autocommit` | a statement as its own transaction, retried |
//! | `interactive` | a transaction of several statements |
//! | `moves` | moving tables to other placements |
//! | `numbers` | identity columns |
//! | `sweeper` | ending what other clients have left behind |
//! | `sites` | opening a database at several sites; sites that join and leave |
//! | `membership` | noticing that the local site was forgotten |
//! | `replication` | copies of global tables |
//! | `watch` | the rows of a query, then their changes |
//! | `status`, `lag` | how the sites are, and how far their copies are behind, asked from outside |
//! | `forget`, `heirs`, `reclaim` | a site that is gone for good; who goes on with its global tables; claims made anew |
//! | `upgrade` | the format, raised at all sites; stores that were left behind |
//! | `upkeep` | filling new indexes, emptying dropped spaces |

mod autocommit;
mod forget;
mod heirs;
mod interactive;
mod lag;
mod membership;
mod moves;
mod numbers;
mod reclaim;
mod replication;
mod restored;
mod running;
mod sites;
mod statement;
mod status;
mod sweeper;
mod upgrade;
mod upkeep;
mod watch;

use super::{Database, Executor, Features, QueryResult, RetryPolicy, RowStream, Statement, Transaction};
use super::{Dialect, ReadMode, TransactionOptions, Watch, WatchCursor};
use crate::catalog::{Catalog, ColumnId, MAX_CATALOG_BYTES, TableId};
use crate::error::Result;
use crate::exec::ExecContext;
use crate::exec::functions::CallContext;
use crate::store::{HomeId, ReadLimits, Store};
use crate::topology::Sites;
use crate::txn::{Client, Patience, Txn};
use crate::value::Value;
use async_trait::async_trait;
pub use forget::{ForgetOptions, Forgotten};
use interactive::RomeTransaction;
pub use lag::Lag;
use membership::Membership;
pub use moves::PlacementMove;
use numbers::Numbers;
use parking_lot::{Mutex as SyncMutex, RwLock};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replication::{Freshness, Replicator};
use statement::{StatementCache, row_rules};
pub use status::{Held, Prepared, SiteFound, SiteState, SiteStatus, Standing, Survey, SurveyOptions};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use sweeper::Sweeper;
use tokio::sync::Mutex;
use tokio::time::Instant;
pub use upgrade::Upgraded;
use watch::Events;

/// How to open a database.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the home in each site's store.
    pub home: String,
    /// How to deal with transactions over several sites.
    pub patience: Patience,
    /// Draws what steers the engine (the names of its clients, the pauses of retries) from this seed, so that a simulation can be repeated. No two
    /// clients of a database may have the same.
    pub seed: Option<u64>,
    /// The longest that one autocommitted statement may take, retries included.
    pub statement_timeout: Option<Duration>,
    /// The memory that one query may hold, in bytes.
    pub query_memory_bytes: usize,
    /// Attempts of a transaction that loses against others.
    pub max_attempts: u32,
}

impl Options {
    /// A random number for a client's incarnation; `number` tells several of one database apart.
    fn incarnation(&self, number: u64) -> u128 {
        match self.seed {
            None => rand::random(),
            Some(seed) => StdRng::seed_from_u64(seed.wrapping_add(number)).random(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            home: "main".to_owned(),
            patience: Patience::default(),
            seed: None,
            statement_timeout: None,
            query_memory_bytes: 256 << 20,
            max_attempts: 100,
        }
    }
}

/// A relational database on a key/value store.
///
/// Cloning is cheap; clones share the connection, the catalog and the plans.
#[derive(Clone, Debug)]
pub struct RomeDatabase {
    engine: Arc<Engine>,
    _background: Option<Arc<Background>>,
}

/// What a client of several sites does in the background. Not the engine's: tasks hold the engine while they are at work, and end with the last handle.
#[derive(Debug)]
struct Background {
    _replicator: Option<Replicator>,
    _membership: Option<Membership>,
}

impl RomeDatabase {
    /// Opens the database that a store holds; an empty store is a database without tables.
    ///
    /// # Errors
    /// 57P03 where this build does not speak the store's format, 55000 where it is one of several sites, and the store's own.
    pub async fn open(store: Arc<dyn Store>, options: Options) -> Result<Self> {
        let home = HomeId::new(&options.home);
        let client = Client::new(store, home, options.incarnation(0));
        sites::prepare(&client).await?;
        let catalog = load_catalog(&client).await?;
        if catalog.topology().is_spread() {
            return Err(sites::one_of_several(catalog.topology()));
        }
        Ok(Self::of(client, catalog, options, None))
    }

    fn of(client: Arc<Client>, catalog: Catalog, options: Options, sites: Option<Arc<dyn Sites>>) -> Self {
        client.speak(catalog.format());
        let mut retry = RetryPolicy::with_attempts(options.max_attempts);
        if let Some(seed) = options.seed {
            retry = retry.with_seed(seed);
        }
        let numbers = Arc::new(Numbers::new(Arc::clone(&client)));
        let random = StdRng::seed_from_u64(options.incarnation(5) as u64);
        let sweeper = sites.as_ref().and_then(|_| Sweeper::start(&client, random));
        let engine = Engine {
            client,
            options,
            retry,
            numbers,
            sites,
            failed: Mutex::default(),
            catalog: RwLock::new(Arc::new(catalog)),
            statements: StatementCache::default(),
            events: Events::default(),
            freshness: Freshness::default(),
            moving: SyncMutex::default(),
            _sweeper: sweeper,
        };
        let random = StdRng::seed_from_u64(engine.options.incarnation(7) as u64);
        let engine = Arc::new(engine);
        let background = engine.sites.as_ref().map(|_| {
            Arc::new(Background {
                _replicator: Replicator::start(&engine),
                _membership: Membership::start(&engine, random),
            })
        });
        Self { engine, _background: background }
    }

    /// Waits until what this client's commits have left to do at other sites is done. A program that ends earlier leaves that to others, who find its
    /// marks in their way meanwhile.
    pub async fn ended(&self) {
        self.engine.client.ended().await;
    }

    /// The store below, for measuring.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.engine.client.store()
    }

    /// The catalog as this client knows it.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.engine.catalog()
    }
}

#[async_trait]
impl Executor for RomeDatabase {
    async fn run(&self, statement: Statement) -> Result<QueryResult> {
        self.engine.run_autocommit(&statement, ReadMode::Strong).await
    }

    async fn run_reading(&self, statement: Statement, mode: ReadMode) -> Result<QueryResult> {
        self.engine.run_autocommit(&statement, mode).await
    }

    async fn run_stream(&self, statement: Statement) -> Result<RowStream<'_>> {
        Arc::clone(&self.engine).stream_autocommit(&statement).await
    }

    fn features(&self) -> Features {
        FEATURES
    }
}

/// What Rome can do, on any store.
const FEATURES: Features = Features {
    dialect: Dialect::Postgres,
    full_join: true,
    aggregate_filter: true,
    returning: true,
    update_returning: true,
    update_from: true,
    delete_using: true,
    on_conflict: true,
    intersect_except: true,
    nulls_first_last: true,
    transactional_ddl: true,
    watch: true,
};

#[async_trait]
impl Database for RomeDatabase {
    async fn begin_with(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>> {
        Ok(Box::new(RomeTransaction::begin(Arc::clone(&self.engine), options)))
    }

    async fn watch(&self, statement: Statement, from: Option<WatchCursor>) -> Result<Watch> {
        Ok(Arc::clone(&self.engine).watch(&statement, from))
    }

    fn retry_policy(&self) -> &RetryPolicy {
        &self.engine.retry
    }
}

/// What all sessions of a client share.
#[derive(Debug)]
pub(super) struct Engine {
    client: Arc<Client>,
    options: Options,
    retry: RetryPolicy,
    numbers: Arc<Numbers>,
    sites: Option<Arc<dyn Sites>>,
    /// When the last attempt to reach each site has failed; held by who is trying.
    failed: Mutex<HashMap<String, Instant>>,
    catalog: RwLock<Arc<Catalog>>,
    statements: StatementCache,
    events: Events,
    freshness: Freshness,
    /// The tables that this client moves, by the space of the copies: rows that it has passed.
    moving: SyncMutex<HashMap<u32, u64>>,
    _sweeper: Option<Sweeper>,
}

/// Reads the catalog of the local home, in one round trip.
async fn load_catalog(client: &Client) -> Result<Catalog> {
    let limits = ReadLimits { entries: usize::MAX, bytes: MAX_CATALOG_BYTES };
    let (answers, epoch) = client.read_in_epoch(Catalog::reads(), limits).await?;
    Catalog::from_answers(&answers, epoch, client.local_site())
}

impl Engine {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// Reads the catalog again, and looks for the sites that are not reached.
    async fn refresh_catalog(&self) -> Result<Arc<Catalog>> {
        self.client.forget_descriptions();
        let fresh = Arc::new(load_catalog(&self.client).await?);
        if fresh.topology().epoch == 0 && self.catalog().topology().epoch > 0 {
            return Err(sites::was_removed(self.client.local_site()));
        }
        if fresh.format() < self.catalog().format() {
            return Err(upgrade::fell_behind(self.client.local_site(), fresh.format(), self.catalog().format()));
        }
        self.client.speak(fresh.format());
        self.reach_sites(fresh.topology()).await?;
        *self.catalog.write() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// Reads the catalog for the first time, when as many sites as can be reached are.
    async fn read_catalog(&self) -> Result<()> {
        let fresh = load_catalog(&self.client).await?;
        self.expect_sites(fresh.topology());
        self.client.speak(fresh.format());
        *self.catalog.write() = Arc::new(fresh);
        Ok(())
    }

    /// What execution needs besides the plan.
    fn context<'t>(&self, txn: &'t mut Txn, catalog: &Arc<Catalog>, params: &[Value]) -> ExecContext<'t> {
        let calls = CallContext {
            home: self.client.local(),
            topology: Some(Arc::clone(catalog.topology())),
            epochs: Some(Arc::clone(txn.epochs())),
            ..CallContext::at(chrono::Utc::now())
        };
        let numbers = Arc::clone(&self.numbers) as _;
        let mut context = ExecContext::new(txn, Arc::clone(catalog) as _, params.into(), calls, numbers, row_rules);
        context.limits.memory_bytes = self.options.query_memory_bytes;
        context
    }

    /// Drops the numbers that were reserved for an identity column.
    pub(super) fn forget_numbers(&self, table: TableId, column: ColumnId) {
        self.numbers.forget(table, column);
    }
}
