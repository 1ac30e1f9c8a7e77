//! redb's errors as the contract's.

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};
use rome_core::store::StoreError;
use std::io::ErrorKind;
use std::path::Path;

/// Why the file could not be opened.
pub(crate) fn opening(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::Unsuitable(format!(
            "{path} is already open, here or in another process. The embedded store serves one process; close the other \
             one, or share the state through a server (redis://, etcd://)"
        )),
        DatabaseError::UpgradeRequired(version) => {
            StoreError::Unsuitable(format!("{path} was written by an older storage engine (format {version})"))
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            StoreError::Unsuitable(format!("{path} is not a file of the embedded store: {error}"))
        }
        DatabaseError::Storage(StorageError::Corrupted(reason)) => StoreError::Corrupt(format!("{path}: {reason}")),
        DatabaseError::Storage(error) => with_path(&path.to_string(), storage(error)),
        other => StoreError::Corrupt(format!("{path}: {other}")),
    }
}

fn with_path(path: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { reason, .. } => StoreError::Unavailable { address: path.to_owned(), reason },
        StoreError::Full(reason) => StoreError::Full(format!("{path}: {reason}")),
        StoreError::Denied(reason) => StoreError::Denied(format!("{path}: {reason}")),
        other => other,
    }
}

/// A failure to read or to prepare a write: nothing was written.
pub(crate) fn storage(error: StorageError) -> StoreError {
    match error {
        StorageError::Corrupted(reason) => StoreError::Corrupt(reason),
        StorageError::ValueTooLarge(size) => {
            StoreError::TooLarge { what: "the size of a value in bytes", size, limit: u32::MAX as usize }
        }
        StorageError::Io(error) => match error.kind() {
            // The last one is a limit of the file system, or of the process.
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreError::Full(error.to_string())
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::Denied(error.to_string()),
            _ => unavailable(error.to_string()),
        },
        other => unavailable(other.to_string()),
    }
}

pub(crate) fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { address: "the embedded file".into(), reason }
}

pub(crate) fn table(error: TableError) -> StoreError {
    match error {
        TableError::Storage(error) => storage(error),
        other => StoreError::Corrupt(other.to_string()),
    }
}

pub(crate) fn transaction(error: TransactionError) -> StoreError {
    match error {
        TransactionError::Storage(error) => storage(error),
        other => unavailable(other.to_string()),
    }
}

/// A failure of the last step. A full disk refuses the new pages, before the header names them; after any other failure of
/// the disk the header may or may not have got there.
pub(crate) fn commit(error: CommitError) -> StoreError {
    match error {
        CommitError::Storage(error) => match storage(error) {
            StoreError::Unavailable { address, reason } => StoreError::Undetermined { address, reason },
            other => other,
        },
        other => unavailable(other.to_string()),
    }
}
