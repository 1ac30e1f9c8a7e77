//! SQLite, in this process: a file in WAL mode, or a database in memory.
//!
//! A file has several connections: readers go on while one writes. Transactions begin DEFERRED; the one that would write upon a snapshot that
//! another has overtaken gets SQLITE_BUSY at once, which is retryable. A database in memory belongs to one connection, so its
//! transactions run one after the other.
//!
//! SQLite has no date, uuid, json or exact numeric types. Values of these types are stored as text (numeric: as SQLite's affinity makes it) and come
//! back by the column's declared type; see `columns`.

mod bind;
mod columns;
mod decode;
mod errors;

use crate::command::{Effect, command_of};
use crate::errors::error_of;
use crate::server::{
    ACQUIRE_TIMEOUT, Connection, LOCK_TIMEOUT, MAX_CONNECTIONS, Server, Step, bounded, check_parameter_count,
};
use async_trait::async_trait;
use columns::{DeclaredTypes, ResultColumns};
use errors::classify;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use rome_core::database::{Dialect, Features, TransactionOptions};
use rome_core::error::{Error, Result};
use rome_core::value::Value;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    SqliteTransactionManager,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Either, Executor as _, SqlSafeStr, Statement as _};
use sqlx_core::transaction::TransactionManager;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Virtual machine steps between two looks at the clock, for statements with a time-out.
const STEPS_BETWEEN_CHECKS: i32 = 1000;

/// Makes a connection read the schema again if it has changed.
const READ_SCHEMA: &str = "SELECT 1 FROM sqlite_schema LIMIT 0";

/// A SQLite database.
pub(crate) struct SqliteFile {
    pool: sqlx::SqlitePool,
    types: Arc<DeclaredTypes>,
}

impl SqliteFile {
    pub async fn connect(url: &str) -> Result<Self> {
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let mut options = SqliteConnectOptions::from_str(url)
            .map_err(|error| error_of(error, classify))?
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(LOCK_TIMEOUT)
            // sqlx would keep a statement's columns across changes of the schema; compiling takes microseconds.
            .statement_cache_capacity(0)
            .disable_statement_logging();
        if !in_memory {
            // FULL: durable when acknowledged, as the other servers are.
            options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        }
        let pool = SqlitePoolOptions::new()
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_connections(if in_memory { 1 } else { MAX_CONNECTIONS })
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.lock_handle().await?.remove_progress_handler();
                    connection.execute("PRAGMA query_only = OFF").await?;
                    Ok(true)
                })
            })
            .connect_with(options)
            .await
            .map_err(|error| error_of(error, classify))?;
        Ok(Self { pool, types: Arc::default() })
    }
}

#[async_trait]
impl Server for SqliteFile {
    async fn acquire(&self) -> Result<Box<dyn Connection>> {
        let mut connection = self.pool.acquire().await.map_err(|error| error_of(error, classify))?;
        // A connection notices only when it runs something that another has changed the schema; preparing alone would go by the old one.
        connection.execute(READ_SCHEMA).await.map_err(|error| error_of(error, classify))?;
        Ok(Box::new(SqliteLink {
            connection,
            types: Arc::clone(&self.types),
            statement_timeout: None,
            changes_schema: false,
        }))
    }

    fn features(&self) -> Features {
        Features {
            dialect: Dialect::Sqlite,
            full_join: true,
            aggregate_filter: true,
            returning: true,
            update_returning: true,
            update_from: true,
            delete_using: false,
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
struct SqliteLink {
    connection: PoolConnection<sqlx::Sqlite>,
    types: Arc<DeclaredTypes>,
    statement_timeout: Option<Duration>,
    changes_schema: bool,
}

impl Drop for SqliteLink {
    fn drop(&mut self) {
        if self.changes_schema {
            self.types.forget();
        }
    }
}

impl SqliteLink {
    /// Everything before the first row: what the columns are, and the parameters.
    async fn prepare(&mut self, sql: &Arc<str>, values: &[Value]) -> Result<(ResultColumns, SqliteArguments)> {
        let connection = &mut *self.connection;
        let text = AssertSqlSafe(Arc::clone(sql)).into_sql_str();
        let statement = connection.prepare(text).await.map_err(|error| error_of(error, classify))?;
        if let Some(Either::Right(expected)) = statement.parameters() {
            check_parameter_count(expected, values.len())?;
        }
        if self.changes_schema {
            self.types.forget();
        }
        let columns = self.types.of(connection, statement.columns()).await?;
        if let Some(timeout) = self.statement_timeout {
            let deadline = Instant::now() + timeout;
            let mut handle = connection.lock_handle().await.map_err(|error| error_of(error, classify))?;
            handle.set_progress_handler(STEPS_BETWEEN_CHECKS, move || Instant::now() < deadline);
        }
        Ok((ResultColumns::new(columns), bind::arguments(values)?))
    }

    fn execute(
        &mut self,
        sql: Arc<str>,
        mut columns: ResultColumns,
        arguments: SqliteArguments,
    ) -> BoxStream<'_, Result<Step>> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        (*self.connection)
            .fetch_many(query)
            .map(move |item| match item.map_err(|error| error_of(error, classify))? {
                Either::Left(done) => Ok(columns.at_end(done.rows_affected())),
                Either::Right(row) => columns.at_row(&row),
            })
            .map_ok(|steps| stream::iter(steps.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }
}

#[async_trait]
impl Connection for SqliteLink {
    fn fetch(&mut self, sql: Arc<str>, values: Vec<Value>) -> BoxStream<'_, Result<Step>> {
        let start = async move {
            let (columns, arguments) = self.prepare(&sql, &values).await?;
            self.changes_schema |= command_of(&sql).effect == Effect::Schema;
            Ok::<_, Error>(self.execute(sql, columns, arguments))
        };
        stream::once(start).try_flatten().boxed()
    }

    async fn begin(&mut self, options: TransactionOptions) -> Result<()> {
        if options.read_only {
            let pragma = self.connection.execute("PRAGMA query_only = ON").await;
            pragma.map_err(|error| error_of(error, classify))?;
        }
        self.statement_timeout = [options.statement_timeout, options.timeout].into_iter().flatten().min();
        bounded(SqliteTransactionManager::begin(&mut self.connection, Some("BEGIN DEFERRED".into_sql_str())), classify)
            .await
    }

    async fn commit(&mut self) -> Result<()> {
        bounded(SqliteTransactionManager::commit(&mut self.connection), classify).await
    }

    async fn rollback(&mut self) -> Result<()> {
        bounded(SqliteTransactionManager::rollback(&mut self.connection), classify).await
    }

    fn start_rollback(&mut self) {
        SqliteTransactionManager::start_rollback(&mut self.connection);
    }

    async fn control(&mut self, sql: String) -> Result<()> {
        bounded(self.connection.execute(AssertSqlSafe(sql)), classify).await.map(|_| ())
    }

    fn discard(&mut self) {
        // Calls are finished by the connection's own thread, whoever waits for them, so the connection is as good as ever; and with
        // the last connection a database in memory would be gone.
        if SqliteTransactionManager::get_transaction_depth(&self.connection) > 0 {
            SqliteTransactionManager::start_rollback(&mut self.connection);
        }
    }
}
