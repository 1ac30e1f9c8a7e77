//! What the server-independent part needs of a server: connections, and on them rows and transaction control.
//!
//! These traits hide sqlx's generic parameters; errors that come out of them are classified already.

use crate::errors::error_of;
use async_trait::async_trait;
use futures::stream::BoxStream;
use rome_core::database::{ColumnMeta, Features, Row, TransactionOptions};
use rome_core::error::{Error, Result, SqlState};
use rome_core::value::Value;
use sqlx::error::DatabaseError;
use std::sync::Arc;
use std::time::Duration;

/// Connections that one [`SqlDatabase`](crate::SqlDatabase) opens at most.
pub(crate) const MAX_CONNECTIONS: u32 = 32;

/// How long a caller waits for a connection, the time to open one included.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may have been idle and still be used unasked; after that it is pinged first.
pub(crate) const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How long a statement waits for another transaction's locks before that counts as a conflict.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long BEGIN, COMMIT, ROLLBACK and savepoints may take before the server counts as lost.
pub(crate) const CONTROL_TIMEOUT: Duration = Duration::from_secs(30);

/// How much later than the server's own statement time-out the client gives up.
pub(crate) const TIMEOUT_GRACE: Duration = Duration::from_secs(2);

/// A server: hands out connections.
#[async_trait]
pub(crate) trait Server: Send + Sync {
    /// A connection outside of any transaction.
    async fn acquire(&self) -> Result<Box<dyn Connection>>;

    /// What the server can do.
    fn features(&self) -> Features;

    /// Closes all connections.
    async fn close(&self);
}

/// What a statement gives, in this order: the columns once, rows, the end.
pub(crate) enum Step {
    Columns(Arc<[ColumnMeta]>),
    Row(Row),
    /// Rows inserted, updated or deleted, as the server counts.
    Done(u64),
}

/// One connection, lent by its pool until it is dropped.
#[async_trait]
pub(crate) trait Connection: Send {
    /// Runs a statement. Until the stream is at its end the connection is not to be used again.
    fn fetch(&mut self, sql: Arc<str>, values: Vec<Value>) -> BoxStream<'_, Result<Step>>;

    /// Begins a serializable transaction.
    async fn begin(&mut self, options: TransactionOptions) -> Result<()>;

    async fn commit(&mut self) -> Result<()>;

    async fn rollback(&mut self) -> Result<()>;

    /// Runs a savepoint command.
    async fn control(&mut self, sql: String) -> Result<()>;

    /// Queues a rollback, to be done before the connection is used again.
    fn start_rollback(&mut self);

    /// Makes sure that nobody uses the connection again: its state is unknown.
    fn discard(&mut self);
}

/// How a server's own errors become [`Error`]s.
pub(crate) type Classify = fn(&dyn DatabaseError) -> Error;

/// Refuses what sqlx would only find out half-way.
pub(crate) fn check_parameter_count(expected: usize, given: usize) -> Result<()> {
    if expected == given {
        return Ok(());
    }
    Err(Error::new(
        SqlState::UNDEFINED_PARAMETER,
        format!("the statement has {expected} parameters, but {given} values were given"),
    ))
}

/// Bounds a transaction-control call in time.
pub(crate) async fn bounded<T>(call: impl Future<Output = Result<T, sqlx::Error>>, classify: Classify) -> Result<T> {
    match tokio::time::timeout(CONTROL_TIMEOUT, call).await {
        Ok(result) => result.map_err(|error| error_of(error, classify)),
        Err(_) => Err(Error::new(
            SqlState::CONNECTION_FAILURE,
            format!("the server did not answer within {} s", CONTROL_TIMEOUT.as_secs()),
        )),
    }
}
