//! One transaction.

use crate::catalog::TableId;
use crate::error::{Error, Result};
use crate::store::{Guard, Key, Read, ReadLimits, ReadResult, Version};
use bytes::Bytes;

/// One open transaction: everything that execution reads or writes passes through here.
#[derive(Debug)]
pub struct Txn {}

impl Txn {
    /// Notes that the statement relies on a table's description as of `version`. The next read checks it in the same round trip, and the
    /// commit guards it: a stale description is a retryable error, never a wrong result.
    pub fn use_table(&mut self, _table: TableId, _version: Version) {}

    /// Reads, in one round trip where the store can, through the transaction's own writes. Everything read is validated at commit
    /// (where needed). `Read::Follow` may always be sent. Entries that this transaction wrote have version 0.
    ///
    /// # Errors
    /// 40001 where what was read before has changed meanwhile, and the store's own errors.
    pub async fn read(&mut self, _reads: Vec<Read>, _limits: ReadLimits) -> Result<Vec<ReadResult>> {
        Err(Error::unsupported("read"))
    }

    /// Buffers a write.
    ///
    /// # Errors
    /// 25006 in a read-only transaction, 54000 beyond the limits on a transaction's size.
    pub fn put(&mut self, _key: Key, _value: Bytes) -> Result<()> {
        Err(Error::unsupported("put"))
    }

    /// Buffers a removal.
    ///
    /// # Errors
    /// As [`Txn::put`].
    pub fn delete(&mut self, _key: Key) -> Result<()> {
        Err(Error::unsupported("delete"))
    }

    /// Adds a guard that was not read: `Absent`, `Present`, or an empty `Range` (`count: 0`). The transaction's own earlier writes are taken
    /// into account at once: where they contradict it, `failure` is returned now. Where the guard fails at commit, the commit's error is `failure`.
    ///
    /// # Errors
    /// `failure`.
    pub fn expect(&mut self, _guard: Guard, failure: Error) -> Result<()> {
        Err(failure)
    }

    /// Whether a key is known to this transaction without a read: `Some(true)` if it wrote it, `Some(false)` if it deleted it.
    pub fn own_write(&self, _key: &Key) -> Option<bool> {
        None
    }

    /// FOR UPDATE: what was read is validated at commit even if nothing is written.
    pub fn validate_at_commit(&mut self) {}

    /// Whether uniqueness and foreign keys are to be checked by reading at the statement (inside an explicit transaction, so that the error
    /// comes with the statement that caused it) or by guards alone (autocommit: one round trip less).
    pub fn checks_early(&self) -> bool {
        true
    }
}
