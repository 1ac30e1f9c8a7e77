//! sqlx's errors as [`Error`]s; the servers' own codes are classified in their modules.

use crate::server::{ACQUIRE_TIMEOUT, Classify};
use rome_core::error::{Error, SqlState};

const UNREACHABLE_HINT: &str = "Check that the server runs and is reachable; the client reconnects by itself.";

/// Converts; whatever broke the connection is 08006.
pub(crate) fn error_of(error: sqlx::Error, classify: Classify) -> Error {
    match error {
        sqlx::Error::Database(error) => classify(error.as_ref()),
        sqlx::Error::Io(error) => unreachable(format!("the connection to the server failed: {error}")),
        sqlx::Error::Tls(error) => unreachable(format!("the TLS session with the server failed: {error}")),
        sqlx::Error::Protocol(message) => unreachable(format!("the server's answer was not understood: {message}")),
        sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => unreachable(format!("the connection is gone: {error}")),
        sqlx::Error::PoolTimedOut => unreachable(format!(
            "no connection to the server within {} s: it is unreachable, or all connections are in use",
            ACQUIRE_TIMEOUT.as_secs()
        )),
        sqlx::Error::Configuration(error) => {
            Error::new(SqlState::CONNECTION_REJECTED, format!("the database's URL is not usable: {error}"))
        }
        sqlx::Error::Encode(error) => {
            Error::new(SqlState::DATATYPE_MISMATCH, format!("a parameter cannot be sent to the server: {error}"))
        }
        sqlx::Error::Decode(error) => undecodable(&error.to_string()),
        sqlx::Error::ColumnDecode { index, source } => undecodable(&format!("column {index}: {source}")),
        other => Error::internal(other),
    }
}

fn undecodable(what: &str) -> Error {
    Error::new(SqlState::DATATYPE_MISMATCH, format!("the server sent a value that cannot be represented: {what}"))
}

/// 08006, with what to do about it.
pub(crate) fn unreachable(message: String) -> Error {
    Error::new(SqlState::CONNECTION_FAILURE, message).with_hint(UNREACHABLE_HINT)
}

/// Whether the connection is of no more use.
pub(crate) fn is_connection_loss(error: &Error) -> bool {
    error.state() == SqlState::CONNECTION_FAILURE
}

/// 08007: the statement or COMMIT went out and no answer came.
pub(crate) fn undetermined(cause: &Error) -> Error {
    Error::new(
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        format!("the outcome of the transaction is unknown: {}", cause.message()),
    )
    .with_hint("The transaction may or may not have taken effect: read before repeating it.")
}

/// 25P02.
pub(crate) fn in_failed_transaction() -> Error {
    Error::new(
        SqlState::IN_FAILED_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

/// The text between the first `open` and the next `close` after it.
pub(crate) fn between<'m>(message: &'m str, open: &str, close: &str) -> Option<&'m str> {
    let (_, rest) = message.split_once(open)?;
    let (inside, _) = rest.split_once(close)?;
    Some(inside)
}
