//! What one request may hold, and the refusal of everything else before anything is sent.
//!
//! etcd's own limits, at its default settings, are 128 operations in a transaction and 1.5 MiB in a request. Transactions nest, and etcd
//! counts operations by level rather than in total (a level of `n` leaves `128 - n` to each transaction below it), so that a commit can be
//! a tree: see [`commit`](crate::commit). The limits here are what such a tree is certain to hold, whatever the mix: a guard takes at most
//! two comparisons, a write at most two operations, or a comparison and an operation for a counter.

use crate::keyspace::Keyspace;
use rome_core::store::{Capabilities, Commit, Durability, Guard, Key, KeyRange, SPACE_LEN, StoreError, Write};
use std::collections::HashSet;

/// Operations in one transaction, at etcd's default of `--max-txn-ops`.
pub(crate) const TXN_OPERATIONS: usize = 128;
/// Guards in one commit or guarded read.
const GUARDS: usize = 960;
/// Writes and changes in one commit.
const WRITES: usize = 960;
/// Bytes of a commit as the contract counts them.
const COMMIT_BYTES: usize = 1280 * 1024;
/// Bytes of a commit as it is sent: etcd's default of `--max-request-bytes`, less room for what the server adds to its log entry.
const REQUEST_BYTES: usize = 1536 * 1024 - 4096;
/// What the encoding adds to each operation or comparison: tags, lengths, revisions.
pub(crate) const OPERATION_BYTES: usize = 32;

/// What this engine can do.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        engine: "etcd",
        follow: false,
        snapshots: true,
        max_guards: GUARDS,
        max_writes: WRITES,
        max_reads: TXN_OPERATIONS,
        max_commit_bytes: COMMIT_BYTES,
        durability: Durability::Fsync,
    }
}

fn at_most(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Refuses a malformed or too large commit.
pub(crate) fn check_commit(commit: &Commit) -> Result<(), StoreError> {
    check_guards(&commit.guards)?;
    at_most("the number of writes", commit.writes.len() + commit.changes.len(), WRITES)?;
    let guards = commit.guards.iter().map(guard_bytes).sum::<usize>();
    let writes = commit.writes.iter().map(write_bytes).sum::<usize>();
    let changes = commit.changes.iter().map(|change| change.stream.len() + change.payload.len()).sum::<usize>();
    at_most("the size of the commit in bytes", guards + writes + changes, COMMIT_BYTES)?;
    let mut keys = HashSet::with_capacity(commit.writes.len());
    for write in &commit.writes {
        check_key(write.key())?;
        if !keys.insert(write.key()) {
            return Err(StoreError::Invalid("a commit writes a key twice".to_owned()));
        }
        if let Write::Add { min, max, .. } = write
            && min > max
        {
            return Err(StoreError::Invalid("a counter's bounds are empty".to_owned()));
        }
    }
    let mut streams = HashSet::with_capacity(commit.changes.len());
    if !commit.changes.iter().all(|change| streams.insert(&change.stream)) {
        return Err(StoreError::Invalid("a commit has two changes for one stream".to_owned()));
    }
    match commit.ticket {
        Some(ticket) if ticket.sequence == 0 => Err(StoreError::Invalid("a lane's sequence begins at 1".to_owned())),
        _ => Ok(()),
    }
}

/// Refuses malformed or too many guards.
pub(crate) fn check_guards(guards: &[Guard]) -> Result<(), StoreError> {
    at_most("the number of guards", guards.len(), GUARDS)?;
    guards.iter().try_for_each(|guard| match guard {
        Guard::Version { key, .. } | Guard::Absent(key) | Guard::Present(key) => check_key(key),
        Guard::Range { range, .. } => check_range(range),
    })
}

/// Refuses a request that etcd would not take.
pub(crate) fn check_request_bytes(size: usize) -> Result<(), StoreError> {
    at_most("the size of the request to etcd in bytes", size, REQUEST_BYTES)
}

/// Refuses a key that names no space.
pub(crate) fn check_key(key: &Key) -> Result<(), StoreError> {
    if key.len() < SPACE_LEN {
        return Err(StoreError::Invalid(format!("a key has at least {SPACE_LEN} bytes, the name of its space")));
    }
    Ok(())
}

/// Refuses a range that leaves its space.
pub(crate) fn check_range(range: &KeyRange) -> Result<(), StoreError> {
    check_key(&range.from)?;
    if range.is_empty() {
        return Ok(());
    }
    let space = range.from.get(..SPACE_LEN).unwrap_or_default();
    if range.to.starts_with(space) || range.to == KeyRange::prefix(space).to {
        return Ok(());
    }
    Err(StoreError::Invalid("a range leaves its space".to_owned()))
}

fn guard_bytes(guard: &Guard) -> usize {
    match guard {
        Guard::Version { key, .. } | Guard::Absent(key) | Guard::Present(key) => key.len(),
        Guard::Range { range, .. } => range.from.len() + range.to.len(),
    }
}

fn write_bytes(write: &Write) -> usize {
    match write {
        Write::Put(key, value) => key.len() + value.len(),
        Write::Delete(key) | Write::Add { key, .. } => key.len(),
    }
}

/// The bytes that a key of this length takes in a request.
pub(crate) fn key_bytes(keys: &Keyspace, key: &[u8]) -> usize {
    keys.overhead() + key.len() + OPERATION_BYTES
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn range(from: &'static [u8], to: &'static [u8]) -> KeyRange {
        KeyRange { from: Bytes::from_static(from), to: Bytes::from_static(to) }
    }

    #[test]
    fn ranges_stay_in_their_space() {
        assert!(check_range(&range(b"spac1", b"spac7")).is_ok());
        assert!(check_range(&range(b"spac", b"spad")).is_ok());
        assert!(check_range(&range(b"spac", b"spad0")).is_err());
        assert!(check_range(&range(b"spac", b"spae")).is_err());
        assert!(check_range(&range(b"spa", b"spad")).is_err());
        assert!(check_range(&range(b"spac7", b"spac1")).is_ok(), "an empty range is a range");
    }

    #[test]
    fn a_key_is_written_once() {
        let key = Bytes::from_static(b"spac1");
        let writes = vec![Write::Delete(key.clone()), Write::Put(key, Bytes::new())];
        let error = check_commit(&Commit { writes, ..Commit::default() }).unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    }
}
