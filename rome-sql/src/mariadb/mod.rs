//! MariaDB, and MySQL as far as it is the same.
//!
//! InnoDB's SERIALIZABLE locks what it reads: conflicts are deadlocks (1213) or waits for a lock that take longer than [`LOCK_TIMEOUT`] (1205), both
//! retryable. DDL commits the open transaction; [`Features::transactional_ddl`] says so.

mod bind;
mod columns;
mod decode;
mod errors;

use crate::errors::error_of;
use crate::server::{
    ACQUIRE_TIMEOUT, Connection, LOCK_TIMEOUT, MAX_CONNECTIONS, Server, Step, TRUSTED_IDLE, bounded,
    check_parameter_count,
};
use async_trait::async_trait;
use columns::{JsonColumns, ResultColumns};
use errors::{classify, is_not_preparable, is_unknown_variable};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use rome_core::database::{Dialect, Features, TransactionOptions};
use rome_core::error::{Error, Result};
use rome_core::value::Value;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlPoolOptions, MySqlTransactionManager};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Either, Executor as _, SqlSafeStr, Statement as _};
use sqlx_core::transaction::TransactionManager;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Prepared statements that each connection keeps.
const STATEMENTS_KEPT: usize = 256;

/// A MariaDB or MySQL server.
pub(crate) struct MariaDb {
    pool: sqlx::MySqlPool,
    json_columns: Arc<JsonColumns>,
}

impl MariaDb {
    pub async fn connect(url: &str) -> Result<Self> {
        let options = MySqlConnectOptions::from_str(url)
            .map_err(|error| error_of(error, classify))?
            .statement_cache_capacity(STATEMENTS_KEPT)
            .disable_statement_logging();
        // The pool would go on trying for its whole time-out where the server refuses at once.
        let probe = bounded(options.connect(), classify).await?;
        bounded(probe.close(), classify).await?;
        let pool = MySqlPoolOptions::new()
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_connections(MAX_CONNECTIONS)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(prepare_session(connection)))
            .before_acquire(|connection, usage| {
                Box::pin(async move { Ok(usage.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, json_columns: Arc::default() })
    }
}

async fn prepare_session(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
    let lock_timeout = format!("SET SESSION innodb_lock_wait_timeout = {}", LOCK_TIMEOUT.as_secs());
    connection.execute(AssertSqlSafe(lock_timeout)).await?;
    Ok(())
}

#[async_trait]
impl Server for MariaDb {
    async fn acquire(&self) -> Result<Box<dyn Connection>> {
        let connection = self.pool.acquire().await.map_err(|error| error_of(error, classify))?;
        Ok(Box::new(MariaDbLink { connection, json_columns: Arc::clone(&self.json_columns) }))
    }

    fn features(&self) -> Features {
        Features {
            dialect: Dialect::MySql,
            full_join: false,
            aggregate_filter: false,
            returning: true,
            update_returning: false,
            update_from: false,
            delete_using: false,
            on_conflict: false,
            intersect_except: true,
            nulls_first_last: false,
            transactional_ddl: false,
            watch: false,
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection in use.
struct MariaDbLink {
    connection: PoolConnection<sqlx::MySql>,
    json_columns: Arc<JsonColumns>,
}

impl MariaDbLink {
    /// Sets a limit for all statements of this connection, which is closed afterwards instead of being reused.
    async fn limit_statements(&mut self, limit: Duration) -> Result<()> {
        self.connection.close_on_drop();
        let mariadb = format!("SET SESSION max_statement_time = {:.3}", limit.as_secs_f64().max(0.001));
        match self.connection.execute(AssertSqlSafe(mariadb)).await {
            Err(error) if is_unknown_variable(&error) => {
                let mysql = format!("SET SESSION max_execution_time = {}", limit.as_millis().max(1));
                bounded(self.connection.execute(AssertSqlSafe(mysql)), classify).await.map(|_| ())
            }
            result => result.map(|_| ()).map_err(|error| error_of(error, classify)),
        }
    }
}

#[async_trait]
impl Connection for MariaDbLink {
    fn fetch(&mut self, sql: Arc<str>, values: Vec<Value>) -> BoxStream<'_, Result<Step>> {
        let start = async move {
            let connection = &mut *self.connection;
            let text = AssertSqlSafe(Arc::clone(&sql)).into_sql_str();
            let (mut columns, rows) = match connection.prepare(text).await {
                Ok(statement) => {
                    if let Some(Either::Right(expected)) = statement.parameters() {
                        check_parameter_count(expected, values.len())?;
                    }
                    let columns = self.json_columns.result(connection, statement.columns()).await?;
                    let arguments = bind::arguments(&values)?;
                    (columns, connection.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments)))
                }
                // A few commands only exist without preparation.
                Err(error) if is_not_preparable(&error) && values.is_empty() => {
                    (ResultColumns::default(), connection.fetch_many(AssertSqlSafe(sql)))
                }
                Err(error) => return Err(error_of(error, classify)),
            };
            let steps = rows.map(move |item| match item.map_err(|error| error_of(error, classify))? {
                Either::Left(done) => Ok(columns.at_end(done.rows_affected())),
                Either::Right(row) => columns.at_row(&row),
            });
            Ok::<_, Error>(steps.map_ok(|steps| stream::iter(steps.into_iter().map(Ok))).try_flatten())
        };
        stream::once(start).try_flatten().boxed()
    }

    async fn begin(&mut self, options: TransactionOptions) -> Result<()> {
        if let Some(limit) = [options.statement_timeout, options.timeout].into_iter().flatten().min() {
            self.limit_statements(limit).await?;
        }
        let begin = if options.read_only { "START TRANSACTION READ ONLY" } else { "START TRANSACTION" };
        bounded(MySqlTransactionManager::begin(&mut self.connection, Some(begin.into_sql_str())), classify).await
    }

    async fn commit(&mut self) -> Result<()> {
        bounded(MySqlTransactionManager::commit(&mut self.connection), classify).await
    }

    async fn rollback(&mut self) -> Result<()> {
        bounded(MySqlTransactionManager::rollback(&mut self.connection), classify).await
    }

    async fn control(&mut self, sql: String) -> Result<()> {
        bounded(self.connection.execute(AssertSqlSafe(sql)), classify).await.map(|_| ())
    }

    fn start_rollback(&mut self) {
        MySqlTransactionManager::start_rollback(&mut self.connection);
    }

    fn discard(&mut self) {
        self.connection.close_on_drop();
    }
}
