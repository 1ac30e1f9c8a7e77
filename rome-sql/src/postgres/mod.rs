//! PostgreSQL.
//!
//! Each statement is prepared once on each connection, without parameter types, so that the server infers them from where the
//! parameters stand; values are then encoded as those types (see `bind`). A text that does not tell the types is remembered and
//! prepared with the values' own. Conflicts come from the server's serializable snapshot isolation and from waiting for a row lock
//! longer than [`LOCK_TIMEOUT`].

mod bind;
mod decode;
mod errors;

use crate::errors::error_of;
use crate::server::{
    ACQUIRE_TIMEOUT, Connection, LOCK_TIMEOUT, MAX_CONNECTIONS, Server, Step, TRUSTED_IDLE, bounded,
    check_parameter_count,
};
use async_trait::async_trait;
use errors::{classify, is_stale_plan};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use rome_core::database::{Dialect, Features, Row, TransactionOptions};
use rome_core::error::{Error, Result, SqlState};
use rome_core::value::Value;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgStatement, PgTransactionManager, PgTypeInfo};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection as _, Either, Executor as _, SqlSafeStr, Statement as _, TypeInfo as _,
};
use sqlx_core::transaction::TransactionManager;
use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prepared statements that each connection keeps.
const STATEMENTS_KEPT: usize = 256;

/// Texts of which it is remembered that their parameters need types.
const UNTYPED_KEPT: usize = 10_000;

/// A PostgreSQL server.
pub(crate) struct Postgres {
    pool: sqlx::PgPool,
    untyped: Arc<Untyped>,
}

/// Texts from which the server cannot infer the types of the parameters, as `SELECT $1 IS NULL`.
#[derive(Default)]
struct Untyped {
    texts: Mutex<HashSet<Arc<str>>>,
}

impl Untyped {
    fn contains(&self, sql: &str) -> bool {
        self.texts.lock().contains(sql)
    }

    fn insert(&self, sql: &Arc<str>) {
        let mut texts = self.texts.lock();
        if texts.len() >= UNTYPED_KEPT {
            texts.clear();
        }
        texts.insert(Arc::clone(sql));
    }
}

impl Postgres {
    pub async fn connect(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| error_of(error, classify))?
            .statement_cache_capacity(STATEMENTS_KEPT)
            .options([
                ("default_transaction_isolation", "serializable".to_owned()),
                ("lock_timeout", LOCK_TIMEOUT.as_millis().to_string()),
            ])
            .disable_statement_logging();
        // The pool would go on trying for its whole time-out where the server refuses at once.
        let probe = bounded(options.connect(), classify).await?;
        bounded(probe.close(), classify).await?;
        let pool = PgPoolOptions::new()
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_connections(MAX_CONNECTIONS)
            .test_before_acquire(false)
            .before_acquire(|connection, usage| {
                Box::pin(async move { Ok(usage.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, untyped: Arc::default() })
    }
}

#[async_trait]
impl Server for Postgres {
    async fn acquire(&self) -> Result<Box<dyn Connection>> {
        let connection = self.pool.acquire().await.map_err(|error| error_of(error, classify))?;
        Ok(Box::new(PostgresLink { connection, untyped: Arc::clone(&self.untyped), stale: Arc::default() }))
    }

    fn features(&self) -> Features {
        Features {
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
            watch: false,
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection in use.
struct PostgresLink {
    connection: PoolConnection<sqlx::Postgres>,
    untyped: Arc<Untyped>,
    /// A prepared statement has outlived a change of its table. sqlx cannot forget one alone: the connection is replaced.
    stale: Arc<AtomicBool>,
}

impl Drop for PostgresLink {
    fn drop(&mut self) {
        if self.stale.load(Ordering::Relaxed) {
            self.connection.close_on_drop();
        }
    }
}

impl PostgresLink {
    /// Prepares a text for these values; gives back the text under which the statement is known.
    async fn prepare(&mut self, sql: Arc<str>, values: &[Value]) -> Result<(Arc<str>, PgStatement)> {
        let natural_types = || values.iter().map(bind::natural_type).collect::<Vec<_>>();
        if self.untyped.contains(&sql) {
            return self.prepare_typed(&sql, &natural_types()).await;
        }
        let inferred = match self.prepare_with(&sql, &[]).await {
            Err(error) if bind::needs_types(&error) && !values.is_empty() => {
                self.untyped.insert(&sql);
                if PgTransactionManager::get_transaction_depth(&self.connection) > 0 {
                    // The error has ended the transaction. Run again, it will have the types.
                    return Err(Error::new(SqlState::SERIALIZATION_FAILURE, error.message()));
                }
                return self.prepare_typed(&sql, &natural_types()).await;
            }
            prepared => prepared?,
        };
        let parameters = match inferred.parameters() {
            Some(Either::Left(parameters)) => parameters,
            _ => &[],
        };
        check_parameter_count(parameters.len(), values.len())?;
        if parameters.iter().zip(values).all(|(parameter, value)| bind::fits(value, parameter)) {
            return Ok((sql, inferred));
        }
        // `smallint_column < 70000`, `SELECT $1` with a number: sent as what they are, the server converts or complains as it would for a literal.
        let types: Vec<_> = parameters
            .iter()
            .zip(values)
            .map(
                |(parameter, value)| {
                    if bind::fits(value, parameter) { parameter.clone() } else { bind::natural_type(value) }
                },
            )
            .collect();
        self.prepare_typed(&sql, &types).await
    }

    /// Prepares with given types. sqlx knows statements by their text alone, so that the types become a comment in it.
    async fn prepare_typed(&mut self, sql: &str, types: &[PgTypeInfo]) -> Result<(Arc<str>, PgStatement)> {
        let names: Vec<_> = types.iter().map(|parameter| parameter.name()).collect();
        let sql: Arc<str> = format!("{sql}\n-- parameters: {}", names.join(", ")).into();
        let statement = self.prepare_with(&sql, types).await?;
        Ok((sql, statement))
    }

    async fn prepare_with(&mut self, sql: &Arc<str>, types: &[PgTypeInfo]) -> Result<PgStatement> {
        let text = AssertSqlSafe(Arc::clone(sql)).into_sql_str();
        self.connection.prepare_with(text, types).await.map_err(|error| error_of(error, classify))
    }
}

#[async_trait]
impl Connection for PostgresLink {
    fn fetch(&mut self, sql: Arc<str>, values: Vec<Value>) -> BoxStream<'_, Result<Step>> {
        let start = async move {
            let (sql, statement) = self.prepare(sql, &values).await?;
            let columns = decode::columns(statement.columns());
            let parameters = match statement.parameters() {
                Some(Either::Left(parameters)) => parameters,
                _ => &[],
            };
            let arguments = bind::arguments(&values, parameters)?;
            let stale = Arc::clone(&self.stale);
            let row_columns = Arc::clone(&columns);
            let rows =
                self.connection.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments)).map(
                    move |item| match item {
                        Ok(Either::Left(done)) => Ok(Step::Done(done.rows_affected())),
                        Ok(Either::Right(row)) => {
                            Ok(Step::Row(Row::new(Arc::clone(&row_columns), decode::values(&row, &row_columns)?)))
                        }
                        Err(error) => {
                            stale.fetch_or(is_stale_plan(&error), Ordering::Relaxed);
                            Err(error_of(error, classify))
                        }
                    },
                );
            Ok::<_, Error>(stream::once(async move { Ok(Step::Columns(columns)) }).chain(rows))
        };
        stream::once(start).try_flatten().boxed()
    }

    async fn begin(&mut self, options: TransactionOptions) -> Result<()> {
        let mut begin = "BEGIN ISOLATION LEVEL SERIALIZABLE".to_owned();
        if options.read_only {
            begin.push_str(" READ ONLY");
        }
        if let Some(limit) = [options.statement_timeout, options.timeout].into_iter().flatten().min() {
            // Zero would mean no limit.
            begin
                .push_str(&format!("; SET LOCAL statement_timeout = {}", limit.as_millis().clamp(1, i32::MAX as u128)));
        }
        bounded(PgTransactionManager::begin(&mut self.connection, Some(AssertSqlSafe(begin).into_sql_str())), classify)
            .await
    }

    async fn commit(&mut self) -> Result<()> {
        bounded(PgTransactionManager::commit(&mut self.connection), classify).await
    }

    async fn rollback(&mut self) -> Result<()> {
        bounded(PgTransactionManager::rollback(&mut self.connection), classify).await
    }

    async fn control(&mut self, sql: String) -> Result<()> {
        bounded(self.connection.execute(AssertSqlSafe(sql)), classify).await.map(|_| ())
    }

    fn start_rollback(&mut self) {
        PgTransactionManager::start_rollback(&mut self.connection);
    }

    fn discard(&mut self) {
        self.connection.close_on_drop();
    }
}
