//! The [`Database`](rome_core::database::Database) trait over SQL servers: PostgreSQL, MariaDB (and MySQL), SQLite.
//!
//! A program written against the trait runs on Rome's key/value stores and, with another URL, on one of these:
//!
//! | URL | server |
//! |---|---|
//! | `postgres://user@host/database` | PostgreSQL |
//! | `mysql://user@host/database`, `mariadb://...` | MariaDB, MySQL |
//! | `sqlite:path/to/file`, `sqlite::memory:` | SQLite, in this process |
//!
//! What is evened out, and nothing else:
//!
//! - sea-query statements are rendered with the server's own builder; SQL text reaches the server as it is.
//! - Transactions are SERIALIZABLE. Whatever a server calls a conflict (PostgreSQL 40001 and 40P01, MariaDB 1020, 1205 and 1213, SQLite's
//!   BUSY and LOCKED) is the same retryable error, so that `transaction(closure)` retries.
//! - Errors carry the SQLSTATE that PostgreSQL gives, the server's own words, and the constraint, table and column where the server names them.
//! - After an error in a transaction everything is refused until rollback (25P02), on servers that would go on, too.
//! - A server that cannot be reached is 08006 within a bounded time; a COMMIT without an answer is 08007.
//!
//! Layers, imports going downwards: [`SqlDatabase`] and its transactions (`database`, `transaction`), which know no server; the two small
//! traits that they use (`server`); one module for each server (`postgres`, `mariadb`, `sqlite`), which binds values, decodes rows and
//! classifies errors.

mod command;
mod database;
mod errors;
mod mariadb;
mod postgres;

mod server;
mod sqlite;
mod transaction;

pub use database::SqlDatabase;
