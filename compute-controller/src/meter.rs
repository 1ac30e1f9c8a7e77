//! A database that counts what it is asked: statements, and transactions with more than one.
//!
//! It forwards everything unchanged, so that the program can say what a server costs on any store.

use async_trait::async_trait;
use rome_core::Result;
use rome_core::database::{
    Database, Executor, Features, QueryResult, RetryPolicy, RowStream, Statement, Transaction, TransactionOptions,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Statements, inside and outside of transactions.
    pub statements: u64,
    /// Transactions begun, retries included.
    pub transactions: u64,
    /// Transactions committed.
    pub commits: u64,
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            statements: self.statements.saturating_sub(earlier.statements),
            transactions: self.transactions.saturating_sub(earlier.transactions),
            commits: self.commits.saturating_sub(earlier.commits),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    statements: AtomicU64,
    transactions: AtomicU64,
    commits: AtomicU64,
}

/// Counts what another database is asked.
pub struct Metered {
    inner: Arc<dyn Database>,
    counters: Arc<Counters>,
}

impl Metered {
    /// Counts from zero.
    pub fn new(inner: Arc<dyn Database>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts {
            statements: self.counters.statements.load(Ordering::Relaxed),
            transactions: self.counters.transactions.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
        }
    }
}

#[async_trait]
impl Executor for Metered {
    async fn run(&self, statement: Statement) -> Result<QueryResult> {
        self.counters.statements.fetch_add(1, Ordering::Relaxed);
        self.inner.run(statement).await
    }

    async fn run_stream(&self, statement: Statement) -> Result<RowStream<'_>> {
        self.counters.statements.fetch_add(1, Ordering::Relaxed);
        self.inner.run_stream(statement).await
    }

    fn features(&self) -> Features {
        self.inner.features()
    }
}

#[async_trait]
impl Database for Metered {
    async fn begin_with(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>> {
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        let inner = self.inner.begin_with(options).await?;
        Ok(Box::new(MeteredTransaction { inner, counters: Arc::clone(&self.counters) }))
    }

    fn retry_policy(&self) -> &RetryPolicy {
        self.inner.retry_policy()
    }
}

struct MeteredTransaction {
    inner: Box<dyn Transaction>,
    counters: Arc<Counters>,
}

#[async_trait]
impl Executor for MeteredTransaction {
    async fn run(&self, statement: Statement) -> Result<QueryResult> {
        self.counters.statements.fetch_add(1, Ordering::Relaxed);
        self.inner.run(statement).await
    }

    async fn run_stream(&self, statement: Statement) -> Result<RowStream<'_>> {
        self.counters.statements.fetch_add(1, Ordering::Relaxed);
        self.inner.run_stream(statement).await
    }

    fn features(&self) -> Features {
        self.inner.features()
    }
}

#[async_trait]
impl Transaction for MeteredTransaction {
    async fn savepoint(&self, name: &str) -> Result<()> {
        self.inner.savepoint(name).await
    }

    async fn rollback_to(&self, name: &str) -> Result<()> {
        self.inner.rollback_to(name).await
    }

    async fn release(&self, name: &str) -> Result<()> {
        self.inner.release(name).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.inner.commit().await?;
        self.counters.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.inner.rollback().await
    }
}
