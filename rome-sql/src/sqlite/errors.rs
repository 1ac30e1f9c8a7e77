//! SQLite's result codes and messages as SQLSTATEs.
//!
//! Extended result codes tell constraints and conflicts apart; everything that is wrong with a statement is code 1, where only the message tells.

use crate::errors::between;
use rome_core::error::{Error, SqlState};
use sqlx::error::DatabaseError;

/// The error for one of SQLite.
pub(super) fn classify(error: &dyn DatabaseError) -> Error {
    let message = error.message();
    let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(1);
    let state = match code {
        2067 | 1555 | 2579 => return violation(SqlState::UNIQUE_VIOLATION, message),
        1299 => return violation(SqlState::NOT_NULL_VIOLATION, message),
        275 => return check_violation(message),
        787 | 1811 => SqlState::FOREIGN_KEY_VIOLATION,
        // The low byte is the primary code.
        _ => match code & 0xff {
            // BUSY and LOCKED: another transaction is in the way.
            5 | 6 => {
                return Error::new(SqlState::SERIALIZATION_FAILURE, message)
                    .with_hint("The transaction might succeed if retried.");
            }
            7 => SqlState::OUT_OF_MEMORY,
            8 => SqlState::READ_ONLY_TRANSACTION,
            9 => SqlState::QUERY_CANCELED,
            10 => SqlState::CONNECTION_FAILURE,
            11 | 26 => SqlState::DATA_CORRUPTED,
            13 => SqlState::DISK_FULL,
            14 | 23 => SqlState::CONNECTION_REJECTED,
            18 => SqlState::PROGRAM_LIMIT_EXCEEDED,
            20 => SqlState::DATATYPE_MISMATCH,
            25 => SqlState::UNDEFINED_PARAMETER,
            19 => SqlState::CHECK_VIOLATION,
            _ => state_of_message(message),
        },
    };
    Error::new(state, message)
}

/// `UNIQUE constraint failed: host.zone, host.name` and the like: table and first column are in the message.
fn violation(state: SqlState, message: &str) -> Error {
    let error = Error::new(state, message);
    let Some((_, columns)) = message.split_once("failed: ") else { return error };
    if let Some(index) = between(columns, "index '", "'") {
        return error.with_constraint(index);
    }
    let first = columns.split(", ").next().unwrap_or(columns);
    match first.split_once('.') {
        Some((table, column)) => error.with_table(table).with_column(column),
        None => error,
    }
}

/// `CHECK constraint failed: name`, or the expression where the constraint has no name.
fn check_violation(message: &str) -> Error {
    let error = Error::new(SqlState::CHECK_VIOLATION, message);
    match message.split_once("failed: ") {
        Some((_, constraint)) => error.with_constraint(constraint),
        None => error,
    }
}

/// Words of messages, in the order in which they are looked for.
const MESSAGES: &[(&str, SqlState)] = &[
    ("no such table", SqlState::UNDEFINED_TABLE),
    ("no such view", SqlState::UNDEFINED_TABLE),
    ("no such column", SqlState::UNDEFINED_COLUMN),
    ("has no column named", SqlState::UNDEFINED_COLUMN),
    ("no such index", SqlState::UNDEFINED_OBJECT),
    ("no such function", SqlState::UNDEFINED_FUNCTION),
    ("wrong number of arguments", SqlState::UNDEFINED_FUNCTION),
    ("no such savepoint", SqlState::INVALID_SAVEPOINT),
    ("ambiguous column name", SqlState::AMBIGUOUS_COLUMN),
    ("duplicate column name", SqlState::DUPLICATE_COLUMN),
    ("already exists", SqlState::DUPLICATE_TABLE),
    ("already another table or index", SqlState::DUPLICATE_TABLE),
    ("there is already an index", SqlState::DUPLICATE_TABLE),
    ("misuse of aggregate", SqlState::GROUPING_ERROR),
    ("foreign key mismatch", SqlState::INVALID_FOREIGN_KEY),
    ("ON CONFLICT clause does not match", SqlState::INVALID_COLUMN_REFERENCE),
    ("integer overflow", SqlState::NUMERIC_OUT_OF_RANGE),
    ("malformed JSON", SqlState::INVALID_TEXT_REPRESENTATION),
    ("too many SQL variables", SqlState::STATEMENT_TOO_COMPLEX),
    ("too large", SqlState::STATEMENT_TOO_COMPLEX),
    ("parser stack overflow", SqlState::STATEMENT_TOO_COMPLEX),
    ("syntax error", SqlState::SYNTAX_ERROR),
    ("incomplete input", SqlState::SYNTAX_ERROR),
    ("unrecognized token", SqlState::SYNTAX_ERROR),
    (" values for ", SqlState::SYNTAX_ERROR),
    ("values were supplied", SqlState::SYNTAX_ERROR),
];

fn state_of_message(message: &str) -> SqlState {
    let known = MESSAGES.iter().find(|(words, _)| message.contains(words));
    known.map_or(SqlState::SYNTAX_ERROR, |(_, state)| *state)
}
