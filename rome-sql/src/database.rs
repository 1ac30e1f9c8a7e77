//! [`SqlDatabase`]: the [`Database`] trait over any [`Server`].

use crate::command::{Command, Effect, command_of};
use crate::errors::{is_connection_loss, undetermined};
use crate::server::{Connection, Server, Step};
use crate::transaction::SqlTransaction;
use crate::{mariadb, postgres, sqlite};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use rome_core::database::{
    Database, Executor, Features, QueryResult, RetryPolicy, Row, RowStream, Statement, Transaction, TransactionOptions,
};
use rome_core::error::{Error, Result, SqlState};
use rome_core::value::Value;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows that a stream reads ahead of its consumer.
const STREAM_AHEAD_ROWS: usize = 64;

/// Parameters of one statement: the wire protocols count them in two bytes.
const MAX_PARAMETERS: usize = 65_535;

/// A SQL server as a [`Database`]. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct SqlDatabase {
    server: Arc<dyn Server>,
    features: Features,
    retry_policy: Arc<RetryPolicy>,
}

impl fmt::Debug for SqlDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlDatabase").field("dialect", &self.features.dialect).finish_non_exhaustive()
    }
}

impl SqlDatabase {
    /// Connects to the server that the URL names.
    ///
    /// # Errors
    /// 08001 for a URL that is not usable, 08006 where the server cannot be reached, 28000 where it refuses the credentials.
    ///
    /// ```
    /// # use rome_core::database::Queryable;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> rome_core::Result<()> {
    /// let db = rome_sql::SqlDatabase::connect("sqlite::memory:").await?;
    /// db.execute("CREATE TABLE host (name text PRIMARY KEY, ram_mb bigint)").await?;
    /// db.execute(("INSERT INTO host VALUES ($1, $2)", ["a1".into(), 4096.into()])).await?;
    /// let rows = db.query("SELECT ram_mb FROM host").await?;
    /// assert_eq!(rows[0].value("ram_mb").map(|value| format!("{value:?}")), Some("Int(4096)".to_owned()));
    /// # Ok(()) }
    /// ```
    pub async fn connect(url: &str) -> Result<Self> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let server: Arc<dyn Server> = match scheme {
            "postgres" | "postgresql" => Arc::new(postgres::Postgres::connect(url).await?),
            "mysql" | "mariadb" => Arc::new(mariadb::MariaDb::connect(url).await?),
            "sqlite" => Arc::new(sqlite::SqliteFile::connect(url).await?),
            _ => {
                return Err(Error::new(
                    SqlState::CONNECTION_REJECTED,
                    format!("no SQL server has URLs like \"{scheme}:\""),
                )
                .with_hint("Use postgres://, mysql://, mariadb:// or sqlite:"));
            }
        };
        let features = server.features();
        Ok(Self { server, features, retry_policy: Arc::new(RetryPolicy::default()) })
    }

    /// Closes all connections; calls that come later fail with 08006.
    pub async fn close(&self) {
        self.server.close().await;
    }

    async fn run_once(&self, command: Command, sql: &Arc<str>, values: &[Value]) -> Result<QueryResult> {
        let mut lease = Lease::new(self.server.acquire().await?);
        let result = lease.run(command, sql, values).await;
        result.map_err(|error| match command.effect {
            Effect::Write | Effect::Schema if is_connection_loss(&error) => undetermined(&error),
            _ => error,
        })
    }
}

#[async_trait]
impl Executor for SqlDatabase {
    async fn run(&self, statement: Statement) -> Result<QueryResult> {
        let (sql, values) = render(&statement, self.features)?;
        let command = runnable(&sql)?;
        let mut attempts = self.retry_policy.start();
        loop {
            match self.run_once(command, &sql, &values).await {
                Err(error) if attempts.retry_after(Some(&error)).await => {}
                result => return result,
            }
        }
    }

    async fn run_stream(&self, statement: Statement) -> Result<RowStream<'_>> {
        let (sql, values) = render(&statement, self.features)?;
        runnable(&sql)?;
        let lease = Lease::new(self.server.acquire().await?);
        Ok(stream_from(lease, sql, values))
    }

    fn features(&self) -> Features {
        self.features
    }
}

#[async_trait]
impl Database for SqlDatabase {
    async fn begin_with(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>> {
        // A connection that the server closed while it was idle shows here, where nothing is lost by taking another.
        let mut fresh = false;
        loop {
            let mut lease = Lease::new(self.server.acquire().await?);
            match lease.begin(options).await {
                Ok(()) => return Ok(Box::new(SqlTransaction::new(lease, self.features, options))),
                Err(error) if is_connection_loss(&error) && !fresh => fresh = true,
                Err(error) => return Err(error),
            }
        }
    }

    fn retry_policy(&self) -> &RetryPolicy {
        &self.retry_policy
    }
}

/// The text and values for a server. Where sea-query panics because the server has no such statement or type, that is an error here.
pub(crate) fn render(statement: &Statement, features: Features) -> Result<(Arc<str>, Vec<Value>)> {
    let rendered = std::panic::catch_unwind(AssertUnwindSafe(|| statement.render(features.dialect)));
    let (sql, values) = rendered.map_err(|cause| {
        let cause =
            cause.downcast_ref::<&str>().map(|&words| words.to_owned()).or_else(|| cause.downcast_ref().cloned());
        let message = cause.unwrap_or_else(|| "the server has no such statement".to_owned());
        Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    })?;
    if values.len() > MAX_PARAMETERS {
        let message = format!("the statement has {} parameters, more than {MAX_PARAMETERS}", values.len());
        return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, message));
    }
    Ok((sql, values))
}

/// Refuses texts that would begin or end a transaction behind the pool's back.
pub(crate) fn runnable(sql: &str) -> Result<Command> {
    let command = command_of(sql);
    if command.effect == Effect::Control {
        return Err(Error::unsupported(format!("{} as a statement", command.tag))
            .with_hint("Use Database::begin and the methods of the transaction."));
    }
    Ok(command)
}

/// A connection in use. Whoever drops it in the middle of a call, or after its loss, leaves a connection that is closed, not reused.
pub(crate) struct Lease {
    connection: Box<dyn Connection>,
    /// A call is under way, or was abandoned, or the connection is lost.
    unusable: bool,
    in_transaction: bool,
}

impl Lease {
    pub fn new(connection: Box<dyn Connection>) -> Self {
        Self { connection, unusable: false, in_transaction: false }
    }

    pub fn is_unusable(&self) -> bool {
        self.unusable
    }

    pub async fn begin(&mut self, options: TransactionOptions) -> Result<()> {
        self.in_transaction = true;
        self.unusable = true;
        let result = self.connection.begin(options).await;
        self.settle(result)
    }

    pub async fn run(&mut self, command: Command, sql: &Arc<str>, values: &[Value]) -> Result<QueryResult> {
        self.unusable = true;
        let result = collect(self.connection.as_mut(), command, sql, values).await;
        self.settle(result)
    }

    /// Hands rows to the channel until nobody listens.
    pub async fn pump(&mut self, sql: Arc<str>, values: Vec<Value>, rows: &mpsc::Sender<Result<Row>>) -> Result<()> {
        self.unusable = true;
        let result = async {
            let mut steps = self.connection.fetch(sql, values);
            while let Some(step) = steps.try_next().await? {
                if let Step::Row(row) = step
                    && rows.send(Ok(row)).await.is_err()
                {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        .await;
        // A stream that is cut short leaves rows on the way: the connection is not worth draining them.
        match self.settle(result) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.unusable = !self.in_transaction;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub async fn control(&mut self, sql: String) -> Result<()> {
        self.unusable = true;
        let result = self.connection.control(sql).await;
        self.settle(result)
    }

    pub async fn commit(&mut self) -> Result<()> {
        self.unusable = true;
        let result = self.connection.commit().await;
        self.in_transaction = result.is_err();
        self.settle(result).map_err(|error| if is_connection_loss(&error) { undetermined(&error) } else { error })
    }

    pub async fn rollback(&mut self) -> Result<()> {
        if self.unusable {
            // The server rolls back when the connection ends.
            return Ok(());
        }
        self.unusable = true;
        let result = self.connection.rollback().await;
        self.in_transaction = result.is_err();
        self.settle(result)
    }

    fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        self.unusable = matches!(&result, Err(error) if is_connection_loss(error));
        result
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.unusable {
            self.connection.discard();
        } else if self.in_transaction {
            self.connection.start_rollback();
        }
    }
}

async fn collect(
    connection: &mut dyn Connection,
    command: Command,
    sql: &Arc<str>,
    values: &[Value],
) -> Result<QueryResult> {
    let mut result = QueryResult { command: command.tag, ..QueryResult::default() };
    let mut steps = connection.fetch(Arc::clone(sql), values.to_vec());
    while let Some(step) = steps.next().await {
        match step? {
            Step::Columns(columns) => result.columns = columns,
            Step::Row(row) => result.rows.push(row),
            Step::Done(affected) => result.affected += affected,
        }
    }
    // With rows, servers differ in what they count; without a write, some repeat the count of an earlier statement.
    if !result.columns.is_empty() {
        result.affected = u64::try_from(result.rows.len()).unwrap_or(u64::MAX);
    } else if command.effect != Effect::Write {
        result.affected = 0;
    }
    Ok(result)
}

/// The rows of a query on a connection of its own, which goes back to the pool at the end.
fn stream_from(mut lease: Lease, sql: Arc<str>, values: Vec<Value>) -> RowStream<'static> {
    let (sender, receiver) = row_channel();
    tokio::spawn(async move {
        if let Err(error) = lease.pump(sql, values, &sender).await {
            // Nobody listens any more: nobody misses the error.
            let _ = sender.send(Err(error)).await;
        }
    });
    rows_of(receiver)
}

/// What arrives on a channel, as a stream.
pub(crate) fn rows_of(receiver: mpsc::Receiver<Result<Row>>) -> RowStream<'static> {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|row| (row, receiver)) })
        .boxed()
}

/// A channel for a stream of rows.
pub(crate) fn row_channel() -> (mpsc::Sender<Result<Row>>, mpsc::Receiver<Result<Row>>) {
    mpsc::channel(STREAM_AHEAD_ROWS)
}
