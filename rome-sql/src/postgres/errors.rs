//! PostgreSQL's errors: they are the reference, so almost all pass as they are.

use rome_core::error::{Error, SqlState};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// The error for one of PostgreSQL.
pub(super) fn classify(error: &dyn DatabaseError) -> Error {
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else { return Error::internal(error.message()) };
    let mut classified = if is_stale(error) {
        // Nothing happened; the connection that knows the old form of the table is not used again.
        Error::new(SqlState::SERIALIZATION_FAILURE, error.message())
    } else {
        Error::new(state(error.code()), error.message())
    };
    if let Some(detail) = error.detail() {
        classified = classified.with_detail(detail);
    }
    if let Some(hint) = error.hint() {
        classified = classified.with_hint(hint);
    }
    if let Some(table) = error.table() {
        classified = classified.with_table(table);
    }
    if let Some(column) = error.column() {
        classified = classified.with_column(column);
    }
    if let Some(constraint) = error.constraint() {
        classified = classified.with_constraint(constraint);
    }
    classified
}

/// Whether a prepared statement was refused because its table has changed since.
pub(super) fn is_stale_plan(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.try_downcast_ref::<PgDatabaseError>().is_some_and(is_stale),
        _ => false,
    }
}

fn is_stale(error: &PgDatabaseError) -> bool {
    error.code() == "0A000" && error.message() == "cached plan must not change result type"
}

fn state(code: &str) -> SqlState {
    match code {
        // A lock that did not become free in time.
        "55P03" => return SqlState::SERIALIZATION_FAILURE,
        // RESTRICT, from PostgreSQL 18 on.
        "23001" => return SqlState::FOREIGN_KEY_VIOLATION,
        "23P01" => return SqlState::UNIQUE_VIOLATION,
        "3D000" => return SqlState::CONNECTION_REJECTED,
        // The server is going down, or not up yet.
        "57P01" | "57P02" | "57P03" => return SqlState::CONNECTION_FAILURE,
        _ => {}
    }
    SqlState::from_code(code).unwrap_or_else(|| match code.get(..2) {
        Some("08") => SqlState::CONNECTION_FAILURE,
        Some("0A") => SqlState::FEATURE_NOT_SUPPORTED,
        Some("22") => SqlState::INVALID_PARAMETER_VALUE,
        Some("25") => SqlState::INVALID_TRANSACTION_STATE,
        Some("28") => SqlState::INVALID_AUTHORIZATION,
        Some("40") => SqlState::SERIALIZATION_FAILURE,
        Some("42") => SqlState::SYNTAX_ERROR,
        Some("53") => SqlState::OUT_OF_MEMORY,
        Some("54") => SqlState::PROGRAM_LIMIT_EXCEEDED,
        Some("55") => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        Some("58") => SqlState::DISK_FULL,
        _ => SqlState::INTERNAL_ERROR,
    })
}
