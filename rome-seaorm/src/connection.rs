//! [`RomeConnection`]: SeaORM's connection traits over a [`Database`].

use crate::errors::{exec_error, query_error};
use crate::rows::{query_result_of, statement_of};
use crate::transaction::RomeTransaction;
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use rome_core::database::{Database, Dialect, Executor};
use rome_core::error::Error;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, ProxyExecResult, QueryResult, Statement,
    StreamTrait, TransactionError, TransactionOptions, TransactionTrait,
};
use std::fmt;
use std::sync::Arc;

/// A database of Rome as a connection of SeaORM. Cheap to clone; clones share the database.
#[derive(Clone)]
pub struct RomeConnection {
    database: Arc<dyn Database>,
}

impl RomeConnection {
    /// Wraps a database.
    ///
    /// # Errors
    /// 0A000 for a database that does not speak PostgreSQL's dialect: SeaORM has drivers of its own for those.
    pub fn new(database: Arc<dyn Database>) -> Result<Self, DbErr> {
        match database.features().dialect {
            Dialect::Postgres => Ok(Self { database }),
            Dialect::MySql | Dialect::Sqlite => Err(query_error(
                Error::unsupported("SeaORM on a database of another dialect than PostgreSQL's")
                    .with_hint("Use the driver that SeaORM has for it."),
            )),
        }
    }

    /// The database itself, for what SeaORM has no words for.
    pub fn database(&self) -> &Arc<dyn Database> {
        &self.database
    }
}

impl fmt::Debug for RomeConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RomeConnection").finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionTrait for RomeConnection {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        execute(self.database.as_ref(), statement_of(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        execute(self.database.as_ref(), rome_core::database::Statement::text(sql, Vec::new())).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        query_one(self.database.as_ref(), statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        query_all(self.database.as_ref(), statement).await
    }
}

impl StreamTrait for RomeConnection {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Postgres
    }

    fn stream_raw<'a>(&'a self, statement: Statement) -> BoxFuture<'a, Result<Self::Stream<'a>, DbErr>> {
        Box::pin(stream(self.database.as_ref(), statement))
    }
}

#[async_trait]
impl TransactionTrait for RomeConnection {
    type Transaction = RomeTransaction;

    async fn begin(&self) -> Result<RomeTransaction, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<RomeTransaction, DbErr> {
        self.begin_with_options(TransactionOptions { isolation_level, access_mode, sqlite_transaction_mode: None })
            .await
    }

    /// Serializable satisfies every isolation level, so that it is what each of them gets.
    async fn begin_with_options(&self, options: TransactionOptions) -> Result<RomeTransaction, DbErr> {
        let options = rome_core::database::TransactionOptions {
            read_only: options.access_mode == Some(AccessMode::ReadOnly),
            ..Default::default()
        };
        let transaction = self.database.begin_with(options).await.map_err(query_error)?;
        Ok(RomeTransaction::outermost(transaction))
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c RomeTransaction) -> BoxFuture<'c, Result<T, E>> + Send,
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
        F: for<'c> FnOnce(&'c RomeTransaction) -> BoxFuture<'c, Result<T, E>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.begin_with_config(isolation_level, access_mode).await?.run(callback).await
    }
}

/// Runs a statement for how many rows it touched.
pub(crate) async fn execute<X: Executor + ?Sized>(
    executor: &X,
    statement: rome_core::database::Statement,
) -> Result<ExecResult, DbErr> {
    let result = executor.run(statement).await.map_err(exec_error)?;
    // PostgreSQL knows no last inserted id either: SeaORM asks for it by RETURNING.
    Ok(ProxyExecResult::new(0, result.affected).into())
}

/// The first row, if there is one.
pub(crate) async fn query_one<X: Executor + ?Sized>(
    executor: &X,
    statement: Statement,
) -> Result<Option<QueryResult>, DbErr> {
    let result = executor.run(statement_of(statement)).await.map_err(query_error)?;
    Ok(result.rows.first().map(query_result_of))
}

/// All rows.
pub(crate) async fn query_all<X: Executor + ?Sized>(
    executor: &X,
    statement: Statement,
) -> Result<Vec<QueryResult>, DbErr> {
    let result = executor.run(statement_of(statement)).await.map_err(query_error)?;
    Ok(result.rows.iter().map(query_result_of).collect())
}

/// Rows as they come.
pub(crate) async fn stream<X: Executor + ?Sized>(
    executor: &X,
    statement: Statement,
) -> Result<BoxStream<'_, Result<QueryResult, DbErr>>, DbErr> {
    let rows = executor.run_stream(statement_of(statement)).await.map_err(query_error)?;
    Ok(rows.map(|row| row.map(|row| query_result_of(&row)).map_err(query_error)).boxed())
}
