//! The operations in the fewest commands of a store's own client: what Rome can at best come near to.
//!
//! "The same" means the same guarantees: a write checks the version of the schema and of every row that it rests on, and an insert that its
//! key is absent, all in one atomic step. What is left out is what makes it relational: rows are opaque bytes, and there
//! are neither statements nor plans nor types.

pub mod etcd;
pub mod redb;
pub mod redis;

use crate::subject::owner;

/// A row as bytes, as long as Rome's.
pub(crate) fn account(id: i64, balance: i64) -> Vec<u8> {
    let mut row = owner(id).into_bytes();
    row.extend_from_slice(&balance.to_be_bytes());
    row
}

/// The same account with another balance.
pub(crate) fn credited(row: &[u8]) -> Vec<u8> {
    let (owner, balance) = row.split_last_chunk::<8>().unwrap_or((row, &[0; 8]));
    let balance = i64::from_be_bytes(*balance).wrapping_add(1);
    [owner, &balance.to_be_bytes()].concat()
}

/// A row as it was read.
pub(crate) struct Row {
    pub key: Vec<u8>,
    /// Empty where the row is absent.
    pub version: Vec<u8>,
    pub value: Vec<u8>,
}

/// The key of a row, in the order of the ids.
pub(crate) fn key(prefix: &str, table: &str, id: i64) -> Vec<u8> {
    let mut key = format!("{prefix}{table}/").into_bytes();
    key.extend_from_slice(&id.to_be_bytes());
    key
}
