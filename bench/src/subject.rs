//! What is measured: five operations on three tables.

use crate::Result;
use async_trait::async_trait;

/// Rows of the table that selects, updates and transactions work on.
pub const ACCOUNTS: i64 = 10_000;
/// Rows that the join returns.
pub const HOSTS: i64 = 1_000;
/// Rows that they are joined with.
pub const ZONES: i64 = 100;

/// The text column of an account, so that rows have a usual size.
#[must_use]
pub fn owner(id: i64) -> String {
    format!("owner {id:010} of an account")
}

/// What an operation is called in benchmarks and tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// One row by its primary key
    Select,
    /// One row
    Insert,
    /// One row by its primary key: reads it, writes another value
    Update,
    /// [`HOSTS`] rows, each with the row of another table that it points to
    Join,
    /// Three rows read by their primary keys and two of them written, in one transaction
    Transaction,
}

impl Operation {
    /// All, in the order of the report.
    pub const ALL: [Self; 5] = [Self::Select, Self::Insert, Self::Update, Self::Join, Self::Transaction];

    /// The name of the benchmark group.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "point select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Join => "join of 1,000 rows",
            Self::Transaction => "transaction, 3 reads 2 writes",
        }
    }
}

/// Something that the operations run on, filled with the tables. Each checks what it got, so that nothing fast and wrong is measured.
#[async_trait]
pub trait Subject: Send + Sync {
    /// See [`Operation::Select`].
    async fn select(&self, id: i64) -> Result<()>;

    /// See [`Operation::Insert`]; ids are never repeated.
    async fn insert(&self, id: i64) -> Result<()>;

    /// See [`Operation::Update`].
    async fn update(&self, id: i64) -> Result<()>;

    /// See [`Operation::Join`].
    async fn join(&self) -> Result<()>;

    /// See [`Operation::Transaction`]; the ids differ.
    async fn transaction(&self, ids: [i64; 3]) -> Result<()>;

    /// One operation, the `turn`th of its kind: every turn works on other rows.
    async fn run(&self, operation: Operation, turn: i64) -> Result<()> {
        // A step that shares no factor with the number of rows visits all of them in an order without locality.
        let id = turn * 7_919 % ACCOUNTS;
        match operation {
            Operation::Select => self.select(id).await,
            Operation::Insert => self.insert(turn).await,
            Operation::Update => self.update(id).await,
            Operation::Join => self.join().await,
            Operation::Transaction => self.transaction([id, (id + 1) % ACCOUNTS, (id + 2) % ACCOUNTS]).await,
        }
    }
}

/// An error where the number of rows is not the expected one.
///
/// # Errors
/// Then.
pub fn expect_rows(found: usize, expected: i64) -> Result<()> {
    match i64::try_from(found) {
        Ok(found) if found == expected => Ok(()),
        _ => Err(format!("{found} rows where {expected} were expected").into()),
    }
}
