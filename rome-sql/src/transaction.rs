//! Transactions: one connection of the pool, a failed state that every server keeps to, and time limits.
//!
//! States: *open*, then after any error *failed* (all but rollback and rollback to a savepoint is 25P02), at the end *closed*. A call whose future
//! is dropped in the middle leaves a connection in an unknown state: only rollback is possible, and the connection is closed with it.
//! A transaction with a time-out has a watchdog that rolls it back even when nobody calls, so that its locks go.

use crate::command::Command;
use crate::database::{Lease, render, row_channel, rows_of, runnable};
use crate::errors::{in_failed_transaction, unreachable};
use crate::server::TIMEOUT_GRACE;
use async_trait::async_trait;
use rome_core::database::{
    Dialect, Executor, Features, QueryResult, RowStream, Statement, Transaction, TransactionOptions,
};
use rome_core::error::{Error, Result, SqlState};
use rome_core::value::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// An open transaction on a SQL server.
pub(crate) struct SqlTransaction {
    open: Arc<Mutex<Open>>,
    features: Features,
    watchdog: Option<AbortHandle>,
}

struct Open {
    /// `None` once the transaction's time is over.
    lease: Option<Lease>,
    failed: bool,
    deadline: Option<Instant>,
    statement_timeout: Option<Duration>,
}

impl SqlTransaction {
    pub fn new(lease: Lease, features: Features, options: TransactionOptions) -> Self {
        let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
        let open = Open { lease: Some(lease), failed: false, deadline, statement_timeout: options.statement_timeout };
        let open = Arc::new(Mutex::new(open));
        let watchdog = deadline.map(|deadline| {
            let watched = Arc::downgrade(&open);
            let task = async move {
                tokio::time::sleep_until(deadline).await;
                if let Some(open) = watched.upgrade() {
                    open.lock().await.expire().await;
                }
            };
            tokio::spawn(task).abort_handle()
        });
        Self { open, features, watchdog }
    }

    /// `verb "name"`, the name quoted as the server wants it.
    fn savepoint_command(&self, verb: &str, name: &str) -> String {
        let quote = if self.features.dialect == Dialect::MySql { "`" } else { "\"" };
        let name = name.replace(quote, &quote.repeat(2));
        format!("{verb} {quote}{name}{quote}")
    }
}

impl Drop for SqlTransaction {
    fn drop(&mut self) {
        // The lease rolls back by itself; without this the watchdog would keep a timer until the deadline.
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

impl Open {
    /// Rolls back because the time is over; the connection goes back.
    async fn expire(&mut self) {
        self.failed = true;
        if let Some(mut lease) = self.lease.take()
            && let Err(error) = lease.rollback().await
        {
            tracing::warn!(%error, "a transaction that timed out could not be rolled back");
        }
    }

    fn is_over(&self) -> bool {
        self.lease.is_none() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The connection, if a statement may run.
    async fn usable(&mut self) -> Result<&mut Lease> {
        if self.is_over() {
            self.expire().await;
            return Err(timed_out());
        }
        match &mut self.lease {
            Some(lease) if !self.failed && !lease.is_unusable() => Ok(lease),
            _ => Err(in_failed_transaction()),
        }
    }

    /// How long the next statement may take.
    fn limit(&self) -> Option<Duration> {
        let remaining = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match (remaining, self.statement_timeout) {
            (Some(remaining), Some(timeout)) => Some(remaining.min(timeout)),
            (remaining, timeout) => remaining.or(timeout),
        }
    }

    /// Runs a call under the time limit and keeps the failed state.
    async fn statement<T>(&mut self, call: impl AsyncFnOnce(&mut Lease) -> Result<T>) -> Result<T> {
        let limit = self.limit();
        let lease = self.usable().await?;
        let result = match limit {
            None => call(lease).await,
            // The server ends the statement in time by itself; this is for a server that has gone silent.
            Some(limit) => tokio::time::timeout(limit + TIMEOUT_GRACE, call(lease)).await.unwrap_or_else(|_| {
                Err(unreachable("the server did not end the statement at its time-out".to_owned()))
            }),
        };
        let Err(error) = result else { return result };
        self.failed = true;
        if error.state() == SqlState::QUERY_CANCELED && self.is_over() {
            self.expire().await;
            return Err(timed_out());
        }
        Err(error)
    }

    async fn run(&mut self, command: Command, sql: &Arc<str>, values: &[Value]) -> Result<QueryResult> {
        self.statement(async |lease| lease.run(command, sql, values).await).await
    }
}

fn timed_out() -> Error {
    Error::new(SqlState::TRANSACTION_TIMEOUT, "the transaction was rolled back because its time is over")
}

#[async_trait]
impl Executor for SqlTransaction {
    async fn run(&self, statement: Statement) -> Result<QueryResult> {
        let mut open = self.open.lock().await;
        open.usable().await?;
        let (sql, values) = render(&statement, self.features).inspect_err(|_| open.failed = true)?;
        let command = runnable(&sql).inspect_err(|_| open.failed = true)?;
        open.run(command, &sql, &values).await
    }

    async fn run_stream(&self, statement: Statement) -> Result<RowStream<'_>> {
        let mut open = Arc::clone(&self.open).lock_owned().await;
        open.usable().await?;
        let (sql, values) = render(&statement, self.features).inspect_err(|_| open.failed = true)?;
        runnable(&sql).inspect_err(|_| open.failed = true)?;
        let (sender, receiver) = row_channel();
        tokio::spawn(async move {
            let outcome = open.statement(async |lease| lease.pump(sql, values, &sender).await).await;
            // Free before the consumer hears of the end.
            drop(open);
            if let Err(error) = outcome {
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(rows_of(receiver))
    }

    fn features(&self) -> Features {
        self.features
    }
}

#[async_trait]
impl Transaction for SqlTransaction {
    async fn savepoint(&self, name: &str) -> Result<()> {
        let command = self.savepoint_command("SAVEPOINT", name);
        self.open.lock().await.statement(async |lease| lease.control(command).await).await
    }

    async fn rollback_to(&self, name: &str) -> Result<()> {
        let command = self.savepoint_command("ROLLBACK TO SAVEPOINT", name);
        let mut open = self.open.lock().await;
        if open.is_over() {
            open.expire().await;
            return Err(timed_out());
        }
        let result = match &mut open.lease {
            Some(lease) if !lease.is_unusable() => lease.control(command).await,
            _ => Err(in_failed_transaction()),
        };
        open.failed = result.is_err();
        result
    }

    async fn release(&self, name: &str) -> Result<()> {
        let command = self.savepoint_command("RELEASE SAVEPOINT", name);
        self.open.lock().await.statement(async |lease| lease.control(command).await).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let mut open = self.open.lock().await;
        let result = match open.usable().await {
            Ok(lease) => lease.commit().await,
            Err(error) => Err(error),
        };
        if result.is_err()
            && let Some(lease) = &mut open.lease
        {
            // The commit's error is the one to report; a connection that cannot roll back is closed.
            let _ = lease.rollback().await;
        }
        result
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        match &mut self.open.lock().await.lease {
            Some(lease) => lease.rollback().await,
            None => Ok(()),
        }
    }
}
