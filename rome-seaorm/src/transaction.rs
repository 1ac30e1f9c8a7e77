//! [`RomeTransaction`]: SeaORM's transaction traits over a [`Transaction`], nested by savepoints.
//!
//! All levels of a nest share the outermost transaction. Each inner level is a savepoint: committing releases it, rolling back undoes to it. An
//! inner level that is dropped while open cannot wait for its rollback; it is noted and done before whatever is asked of
//! the transaction next. Dropping the outermost level drops the transaction itself, which rolls it back.

use crate::connection::{execute, query_all, query_one, stream};
use crate::errors::query_error;
use crate::rows::statement_of;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use rome_core::database::Transaction;
use rome_core::error::{Error, Result, SqlState};
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult, Statement, StreamTrait,
    TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open transaction, or a level nested in one. Dropping it rolls it back.
pub struct RomeTransaction {
    /// Set where this is an inner level.
    savepoint: Option<Savepoint>,
    shared: Arc<Shared>,
}

/// What the levels of a nest have in common.
struct Shared {
    transaction: Box<dyn Transaction>,
    levels_begun: AtomicU64,
    /// Of the levels that were dropped while open the outermost: undoing it undoes what is nested in it.
    abandoned: Mutex<Option<u64>>,
}

impl Shared {
    async fn undo(&self, level: u64) -> Result<()> {
        let name = savepoint_name(level);
        self.transaction.rollback_to(&name).await?;
        self.transaction.release(&name).await
    }

    /// The transaction, once nothing of an abandoned level is left in it.
    async fn transaction(&self) -> Result<&dyn Transaction, DbErr> {
        let abandoned = *self.abandoned.lock();
        if let Some(level) = abandoned {
            self.undo(level).await.map_err(query_error)?;
            // Only now, so that a caller who goes away while waiting leaves the note to the next one.
            self.abandoned.lock().take_if(|noted| *noted >= level);
        }
        Ok(self.transaction.as_ref())
    }
}

/// Levels are numbered as they begin, so that a nested one has a greater number.
fn savepoint_name(level: u64) -> String {
    format!("seaorm_{level}")
}

/// The start of an inner level; noted as abandoned when it is dropped without having ended.
struct Savepoint {
    level: u64,
    ended: bool,
    shared: Arc<Shared>,
}

impl Savepoint {
    async fn release(mut self) -> Result<(), DbErr> {
        self.shared.transaction().await?.release(&savepoint_name(self.level)).await.map_err(query_error)?;
        self.ended = true;
        Ok(())
    }

    async fn undo(mut self) -> Result<(), DbErr> {
        self.shared.transaction().await?;
        self.shared.undo(self.level).await.map_err(query_error)?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for Savepoint {
    fn drop(&mut self) {
        if !self.ended {
            let mut abandoned = self.shared.abandoned.lock();
            *abandoned = Some(abandoned.map_or(self.level, |noted| noted.min(self.level)));
        }
    }
}

impl RomeTransaction {
    /// The outermost level.
    pub(crate) fn outermost(transaction: Box<dyn Transaction>) -> Self {
        let shared = Shared { transaction, levels_begun: AtomicU64::new(0), abandoned: Mutex::default() };
        Self { savepoint: None, shared: Arc::new(shared) }
    }

    /// Runs a closure and ends the transaction as it says.
    pub(crate) async fn run<F, T, E>(self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> BoxFuture<'c, Result<T, E>> + Send,
        E: fmt::Display + fmt::Debug,
    {
        match callback(&self).await {
            Ok(value) => {
                self.commit().await?;
                Ok(value)
            }
            Err(error) => {
                self.rollback().await?;
                Err(TransactionError::Transaction(error))
            }
        }
    }

    /// The whole transaction, for its end.
    fn into_transaction(self) -> Result<Box<dyn Transaction>, DbErr> {
        Arc::try_unwrap(self.shared).map(|shared| shared.transaction).map_err(|_| {
            query_error(
                Error::new(SqlState::INVALID_TRANSACTION_STATE, "a nested transaction is still open")
                    .with_hint("End or drop the nested transactions first; with the last of them all is rolled back."),
            )
        })
    }
}

impl fmt::Debug for RomeTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.savepoint.as_ref().map(|savepoint| savepoint.level);
        f.debug_struct("RomeTransaction").field("level", &level).finish_non_exhaustive()
    }
}

#[async_trait]
impl TransactionSession for RomeTransaction {
    async fn commit(mut self) -> Result<(), DbErr> {
        match self.savepoint.take() {
            Some(savepoint) => savepoint.release().await,
            None => {
                self.shared.transaction().await?;
                self.into_transaction()?.commit().await.map_err(query_error)
            }
        }
    }

    async fn rollback(mut self) -> Result<(), DbErr> {
        match self.savepoint.take() {
            Some(savepoint) => savepoint.undo().await,
            None => self.into_transaction()?.rollback().await.map_err(query_error),
        }
    }
}

#[async_trait]
impl ConnectionTrait for RomeTransaction {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        execute(self.shared.transaction().await?, statement_of(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        execute(self.shared.transaction().await?, rome_core::database::Statement::text(sql, Vec::new())).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        query_one(self.shared.transaction().await?, statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        query_all(self.shared.transaction().await?, statement).await
    }
}

impl StreamTrait for RomeTransaction {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    fn stream_raw<'a>(&'a self, statement: Statement) -> BoxFuture<'a, Result<Self::Stream<'a>, DbErr>> {
        Box::pin(async move { stream(self.shared.transaction().await?, statement).await })
    }
}

#[async_trait]
impl TransactionTrait for RomeTransaction {
    type Transaction = Self;

    async fn begin(&self) -> Result<Self, DbErr> {
        let level = self.shared.levels_begun.fetch_add(1, Ordering::Relaxed);
        self.shared.transaction().await?.savepoint(&savepoint_name(level)).await.map_err(query_error)?;
        let savepoint = Savepoint { level, ended: false, shared: Arc::clone(&self.shared) };
        Ok(Self { savepoint: Some(savepoint), shared: Arc::clone(&self.shared) })
    }

    /// An inner level cannot differ from the outermost one, whose isolation is the strongest already.
    async fn begin_with_config(
        &self,
        _: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<Self, DbErr> {
        match access_mode {
            Some(AccessMode::ReadOnly) => {
                Err(query_error(Error::unsupported("READ ONLY for a transaction nested in another")))
            }
            Some(AccessMode::ReadWrite) | None => self.begin().await,
        }
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Self, DbErr> {
        self.begin_with_config(options.isolation_level, options.access_mode).await
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> BoxFuture<'c, Result<T, E>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.begin().await?.run(callback).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> BoxFuture<'c, Result<T, E>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.begin_with_config(isolation_level, access_mode).await?.run(callback).await
    }
}
