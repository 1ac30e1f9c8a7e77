//! What applications code against: [`Database`], [`Transaction`], [`Statement`], [`Row`].
//!
//! The traits name no engine. Rome implements them over key/value stores ([`RomeDatabase`]), `rome-sql` over SQL servers, so that the
//! same program runs on either. Both traits are object-safe; the convenient methods (`query_one`, `transaction`, ...) live in
//! the extension traits [`DatabaseExt`] and [`Queryable`], implemented for everything.

mod ddl;
mod engine;
pub mod escrow;
mod from_row;
mod from_value;
mod retry;
mod row;
mod statement;
mod watch;

pub use crate::topology::{FixedSites, Sites};
pub use crate::txn::{ReadMode, ReadReport};
pub use engine::{ForgetOptions, Forgotten, Options, PlacementMove, RomeDatabase};
pub use engine::{Held, Lag, Prepared, SiteFound, SiteState, SiteStatus, Standing, Survey, SurveyOptions, Upgraded};
pub use escrow::Escrow;
pub use retry::RetryPolicy;
pub use row::{ColumnMeta, FromRow, FromValue, Row};
pub use statement::{Dialect, IntoStatement, QueryStatement, SchemaStatement, Statement};
pub use watch::{RowChange, Watch, WatchCursor, WatchItem};

use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;

/// What a statement gave.
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    /// Names and types of the columns; empty where the statement returns no rows.
    pub columns: Arc<[ColumnMeta]>,
    /// The rows, in the statement's order.
    pub rows: Vec<Row>,
    /// Rows inserted, updated or deleted; for a query the number of rows returned.
    pub affected: u64,
    /// The statement's kind as PostgreSQL's command tag names it: `SELECT`, `INSERT`, `CREATE TABLE`.
    pub command: &'static str,
    /// What the answer lacks; nothing unless another [`ReadMode`] than the strong one was asked for.
    pub report: ReadReport,
}

/// Rows as they are produced. Where an item is an error it is the last one, and the rows before it are provisional.
pub type RowStream<'a> = BoxStream<'a, Result<Row>>;

/// How a transaction is to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TransactionOptions {
    /// Refuse every write with SQLSTATE 25006.
    pub read_only: bool,
    /// How current answers must be. Any mode but the strong one makes the transaction read-only.
    pub read_mode: ReadMode,
    /// Roll back and fail with 25P04 once the transaction is so old.
    pub timeout: Option<Duration>,
    /// Fail a statement with 57014 once it has run so long.
    pub statement_timeout: Option<Duration>,
}

/// What a database can do that not every one can. The portable test suite is gated by these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// How sea-query statements are rendered for it.
    pub dialect: Dialect,
    /// FULL OUTER JOIN
    pub full_join: bool,
    /// aggregates with FILTER (WHERE ...)
    pub aggregate_filter: bool,
    /// INSERT and DELETE ... RETURNING
    pub returning: bool,
    /// UPDATE ... RETURNING
    pub update_returning: bool,
    /// UPDATE ... FROM
    pub update_from: bool,
    /// DELETE ... USING
    pub delete_using: bool,
    /// ON CONFLICT with a target
    pub on_conflict: bool,
    /// INTERSECT and EXCEPT
    pub intersect_except: bool,
    /// ORDER BY ... NULLS FIRST / LAST in text
    pub nulls_first_last: bool,
    /// DDL takes part in transactions
    pub transactional_ddl: bool,
    /// [`Database::watch`]
    pub watch: bool,
}

/// Runs single statements: a database (each statement its own transaction) or an open transaction.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs one statement to its end.
    ///
    /// # Errors
    /// With the SQLSTATE that PostgreSQL would give. Inside a transaction any error refuses everything but rollback afterwards (25P02).
    async fn run(&self, statement: Statement) -> Result<QueryResult>;

    /// [`Executor::run`] of a query whose answer need not be current: [`QueryResult::report`] says what it lacks. A database that always answers
    /// strongly may do so; statements that change anything are run as ever.
    ///
    /// # Errors
    /// As [`Executor::run`]. Inside a transaction the mode is the transaction's.
    async fn run_reading(&self, statement: Statement, mode: ReadMode) -> Result<QueryResult> {
        let _ = mode;
        self.run(statement).await
    }

    /// Runs a query and hands out its rows as they come, without holding them all.
    async fn run_stream(&self, statement: Statement) -> Result<RowStream<'_>>;

    /// What this database can do.
    fn features(&self) -> Features;
}

/// A database: hands out transactions, and runs single statements each in a transaction of its own, retried by itself on conflict.
#[async_trait]
pub trait Database: Executor + 'static {
    /// Begins a transaction.
    async fn begin_with(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>>;

    /// Watches a query: tells its rows, then every change of them as it is committed. The query must be one of the rows of one table
    /// (`SELECT columns FROM table WHERE condition`). With a cursor it goes on where an earlier watch has told it, without the rows; where that is no
    /// longer possible it begins with [`WatchItem::Reset`] and the rows. Errors of the query are the stream's first item.
    ///
    /// A table begins to tell of its changes when it is watched for the first time, or by `CREATE TABLE ... WITH (changes = true)`.
    ///
    /// # Errors
    /// 0A000 where the database or the query can't be watched.
    async fn watch(&self, statement: Statement, from: Option<WatchCursor>) -> Result<Watch> {
        let _ = (statement, from);
        Err(Error::unsupported("watching a query on this database").with_hint("Ask again from time to time."))
    }

    /// How [`DatabaseExt::transaction`] retries, and where retries queue.
    fn retry_policy(&self) -> &RetryPolicy;
}

/// An open transaction, serializable. Dropping it rolls it back.
///
/// Statements take `&self`, so that a transaction can be lent to several helpers; they run one after the other.
#[async_trait]
pub trait Transaction: Executor {
    /// Sets a savepoint.
    async fn savepoint(&self, name: &str) -> Result<()>;

    /// Undoes everything since the savepoint, which stays; also leaves the failed state.
    async fn rollback_to(&self, name: &str) -> Result<()>;

    /// Forgets a savepoint, keeping what was done.
    async fn release(&self, name: &str) -> Result<()>;

    /// Whether what this transaction has read at several sites was never true at one moment, so that it can't commit, and what a program concluded from it
    /// means nothing. Costs a round trip where it has read at several.
    async fn is_torn(&self) -> bool {
        false
    }

    /// Commits.
    ///
    /// # Errors
    /// 40001 where the transaction lost against another (nothing happened; run it again), 08007 where the outcome is unknown.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Rolls back.
    async fn rollback(self: Box<Self>) -> Result<()>;
}

/// The convenient forms of [`Executor::run`].
#[async_trait]
pub trait Queryable: Executor {
    /// Runs a statement and returns how many rows it inserted, updated or deleted.
    async fn execute<S: IntoStatement + Send>(&self, statement: S) -> Result<u64> {
        Ok(self.run(statement.into_statement()).await?.affected)
    }

    /// All rows.
    async fn query<S: IntoStatement + Send>(&self, statement: S) -> Result<Vec<Row>> {
        Ok(self.run(statement.into_statement()).await?.rows)
    }

    /// All rows as structs or tuples.
    async fn query_as<T: FromRow, S: IntoStatement + Send>(&self, statement: S) -> Result<Vec<T>> {
        self.query(statement).await?.iter().map(T::from_row).collect()
    }

    /// Exactly one row.
    ///
    /// # Errors
    /// 02000-like [`SqlState::CARDINALITY_VIOLATION`] where there is none or more than one.
    async fn query_one<T: FromRow, S: IntoStatement + Send>(&self, statement: S) -> Result<T> {
        self.query_opt(statement).await?.ok_or_else(|| {
            Error::new(SqlState::CARDINALITY_VIOLATION, "the query returned no row where one was expected")
        })
    }

    /// One row or none.
    ///
    /// # Errors
    /// [`SqlState::CARDINALITY_VIOLATION`] where there is more than one.
    async fn query_opt<T: FromRow, S: IntoStatement + Send>(&self, statement: S) -> Result<Option<T>> {
        let rows = self.query(statement).await?;
        match rows.as_slice() {
            [] => Ok(None),
            [row] => T::from_row(row).map(Some),
            _ => Err(Error::new(
                SqlState::CARDINALITY_VIOLATION,
                format!("the query returned {} rows where at most one was expected", rows.len()),
            )),
        }
    }

    /// Rows as they come.
    async fn stream<S: IntoStatement + Send>(&self, statement: S) -> Result<RowStream<'_>> {
        self.run_stream(statement.into_statement()).await
    }
}

impl<E: Executor + ?Sized> Queryable for E {}

/// The convenient forms of [`Database`].
#[async_trait]
pub trait DatabaseExt: Database {
    /// Begins a transaction with default options.
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        self.begin_with(TransactionOptions::default()).await
    }

    /// Runs the closure in a transaction and commits it. On a retryable error (of the closure or of the commit) all is undone and the closure runs
    /// again, after a jittered pause and in turn with other transactions of this process that lost on the same key, as the [`RetryPolicy`] says.
    ///
    /// ```
    /// # use rome_core::database::{DatabaseExt, Queryable, Database};
    /// # async fn example(db: &dyn Database) -> rome_core::Result<i64> {
    /// let left: i64 = db.transaction(|tx| Box::pin(async move {
    ///     tx.execute(("UPDATE account SET balance = balance - 10 WHERE id = $1", [1.into()])).await?;
    ///     let (left,): (i64,) = tx.query_one(("SELECT balance FROM account WHERE id = $1", [1.into()])).await?;
    ///     Ok::<_, rome_core::Error>(left)
    /// })).await?;
    /// # Ok(left) }
    /// ```
    async fn transaction<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send,
        E: From<Error> + AsRomeError + Send,
        F: for<'t> Fn(&'t dyn Transaction) -> BoxFuture<'t, Result<T, E>> + Send + Sync,
    {
        self.transaction_with(TransactionOptions::default(), work).await
    }

    /// [`DatabaseExt::transaction`] with options.
    async fn transaction_with<T, E, F>(&self, options: TransactionOptions, work: F) -> Result<T, E>
    where
        T: Send,
        E: From<Error> + AsRomeError + Send,
        F: for<'t> Fn(&'t dyn Transaction) -> BoxFuture<'t, Result<T, E>> + Send + Sync,
    {
        let mut attempt = self.retry_policy().start();
        loop {
            let failure = match self.begin_with(options).await {
                Ok(transaction) => match work(transaction.as_ref()).await {
                    Ok(value) => match transaction.commit().await {
                        Ok(()) => return Ok(value),
                        Err(error) => E::from(error),
                    },
                    Err(error) => {
                        let is_final = error.as_rome_error().is_none_or(|error| !error.is_retryable());
                        let torn = is_final && transaction.is_torn().await;
                        // The closure's error is the one to report, whatever becomes of the rollback.
                        let _ = transaction.rollback().await;
                        if torn && attempt.retry_after(Some(&Error::serialization_failure())).await {
                            continue;
                        }
                        error
                    }
                },
                Err(error) => E::from(error),
            };
            if !attempt.retry_after(failure.as_rome_error()).await {
                return Err(failure);
            }
        }
    }
}

impl<D: Database + ?Sized> DatabaseExt for D {}

/// Lets the retry loop look into an application's own error type.
pub trait AsRomeError {
    /// The database error inside, if that is what it is.
    fn as_rome_error(&self) -> Option<&Error>;
}

impl AsRomeError for Error {
    fn as_rome_error(&self) -> Option<&Error> {
        Some(self)
    }
}

/// Anything that becomes a parameter: `1.into()`, `"text".into()`, `None::<i32>.into()`.
pub type Parameter = Value;
