//! SeaORM 2 on Rome: a connection and a transaction that every SeaORM program can take in place of its own.
//!
//! A program that is generic over SeaORM's traits (`C: ConnectionTrait + TransactionTrait`) runs on PostgreSQL with SeaORM's own driver and on
//! any store of Rome with [`RomeConnection`]; entities, relations, active models, loaders, raw statements and closure
//! transactions stay as they are. SeaORM renders every statement for PostgreSQL, whose dialect Rome speaks, so text and values go
//! through unchanged.
//!
//! - **Transactions** are serializable whatever isolation level is asked for, and nest by savepoints. A commit that lost against another
//!   transaction is an error of SQLSTATE 40001: `TransactionError::Connection` from a closure transaction. SeaORM's closures
//!   run once, so it is the caller who runs the transaction again; [`is_retryable`] says when. Dropping rolls back.
//! - **Errors** are `DbErr::Exec` and `DbErr::Query` with `RuntimeErr::SqlxError` inside, as SeaORM's drivers make them, so that code which
//!   looks for a SQLSTATE through `as_database_error().code()` works on both. `DbErr::sql_err` knows the drivers' own error types
//!   only; [`sql_err`] gives the same classification for either.
//! - **Rows** enter SeaORM as `ProxyRow`s, maps ordered by name, the one form that it lets others make (see the module `rows` for what is done to keep
//!   columns readable by position, and what shows of it). A `timestamptz` is read as `DateTimeWithTimeZone`, the type that SeaORM's
//!   code generator gives such columns.
//!
//! ```
//! use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Statement, TransactionTrait};
//!
//! // Knows nothing of Rome.
//! async fn hosts<C: ConnectionTrait + TransactionTrait>(db: &C) -> Result<u64, DbErr> {
//!     Ok(db.execute_unprepared("DELETE FROM host WHERE ram_mb < 1024").await?.rows_affected())
//! }
//!
//! # async fn example(database: std::sync::Arc<dyn rome_core::database::Database>) -> Result<(), Box<dyn std::error::Error>> {
//! let deleted = hosts(&rome_seaorm::RomeConnection::new(database)?).await?;
//! # Ok(()) }
//! ```

mod connection;
mod errors;
mod rows;
mod transaction;

pub use connection::RomeConnection;
pub use errors::{RomeDatabaseError, is_retryable, rome_error, sql_err};
pub use transaction::RomeTransaction;
