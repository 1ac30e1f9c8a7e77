//! Rome's core: relational state on key/value stores, without any engine.
//!
//! A statement passes through the stages in this order, and imports go only downwards:
//!
//! [`database`] (the traits that applications use) · [`sql`] (text to bound statement) · [`plan`] (access paths) · [`exec`] (rows) ·
//! [`txn`] (guards and buffered writes) · [`topology`] (homes and sites) · [`catalog`] (tables and indexes, kept in the store) · [`encoding`] (keys and rows as bytes) ·
//! [`store`] (the contract with engines).
//!
//! [`value`] and [`error`] are what all stages share.

pub mod catalog;
pub mod database;
pub mod encoding;
pub mod error;
pub mod exec;
pub mod plan;
pub mod sql;
pub mod store;
pub mod topology;
pub mod txn;
pub mod value;

pub use error::{Error, Result, SqlState};
pub use value::{DataType, Value};
