//! What one request may hold.
//!
//! etcd's own limits, at its default settings, are 128 operations in a transaction and 1.5 MiB in a request.
//! Transactions nest, and etcd counts operations by level rather than in total (a level of `n` leaves `128 - n` to each
//! transaction below it), so that a commit can be a tree: see [`commit`](crate::commit). The limits here are what such
//! a tree is certain to hold, whatever the mix: a guard takes at most two comparisons, a write at most two operations,
//! or a comparison and an operation for a counter.

use crate::keyspace::Keyspace;
use rome_core::store::{Capabilities, Durability, Epoch, StoreError};

/// Operations in one transaction, at etcd's default of `--max-txn-ops`.
pub(crate) const TXN_OPERATIONS: usize = 128;
/// Guards in one commit or guarded read.
const GUARDS: usize = 960;
/// Writes and changes in one commit.
const WRITES: usize = 960;
/// Bytes of a commit as the contract counts them.
const COMMIT_BYTES: usize = 1280 * 1024;
/// Bytes of a commit as it is sent: etcd's default of `--max-request-bytes`, less room for what the server adds to its
/// log entry.
const REQUEST_BYTES: usize = 1536 * 1024 - 4096;
/// What the encoding adds to each operation or comparison: tags, lengths, revisions.
pub(crate) const OPERATION_BYTES: usize = 32;

/// Revisions of a cluster only rise, whichever members it loses. (A restore keeps them rising with `etcdutl snapshot restore
/// --bump-revision`.)
pub(crate) const EPOCH: Epoch = 0;

/// What this engine can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    engine: "etcd",
    follow: false,
    snapshots: true,
    max_guards: GUARDS,
    // A compare loads every key of its range, with its value.
    cheap_unchanged: false,
    max_writes: WRITES,
    max_reads: TXN_OPERATIONS,
    max_commit_bytes: COMMIT_BYTES,
    durability: Durability::Fsync,
};

/// Refuses a request that etcd would not take.
pub(crate) fn check_request_bytes(size: usize) -> Result<(), StoreError> {
    if size <= REQUEST_BYTES {
        return Ok(());
    }
    Err(StoreError::TooLarge { what: "the size of the request to etcd in bytes", size, limit: REQUEST_BYTES })
}

/// The bytes that a key of this length takes in a request.
pub(crate) fn key_bytes(keys: &Keyspace, key: &[u8]) -> usize {
    keys.overhead() + key.len() + OPERATION_BYTES
}
