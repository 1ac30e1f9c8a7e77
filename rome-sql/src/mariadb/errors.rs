//! MariaDB's error numbers as SQLSTATEs. Its own SQLSTATEs are too coarse: HY000 for most, 23000 for every constraint.

use crate::errors::between;
use rome_core::error::{Error, SqlState};
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

const ER_UNKNOWN_SYSTEM_VARIABLE: u16 = 1193;
const ER_UNSUPPORTED_PS: u16 = 1295;

/// The error for one of MariaDB.
pub(super) fn classify(error: &dyn DatabaseError) -> Error {
    let message = error.message();
    let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() else { return Error::internal(message) };
    let state = state(error.number(), error.code(), message);
    let classified = Error::new(state, message);
    match state {
        SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED => {
            classified.with_hint("The transaction might succeed if retried.")
        }
        SqlState::UNIQUE_VIOLATION => named(classified, between(message, "for key '", "'"), Error::with_constraint),
        SqlState::NOT_NULL_VIOLATION => named(classified, between(message, "'", "'"), Error::with_column),
        SqlState::CHECK_VIOLATION => named(classified, between(message, "CONSTRAINT `", "`"), Error::with_constraint),
        SqlState::FOREIGN_KEY_VIOLATION => {
            let classified = named(classified, between(message, "CONSTRAINT `", "`"), Error::with_constraint);
            named(classified, between(message, "`.`", "`"), Error::with_table)
        }
        _ => classified,
    }
}

fn named(error: Error, name: Option<&str>, with: fn(Error, String) -> Error) -> Error {
    match name {
        // MySQL puts the table in front of the key.
        Some(name) => with(error, name.rsplit('.').next().unwrap_or(name).to_owned()),
        None => error,
    }
}

fn state(number: u16, code: Option<&str>, message: &str) -> SqlState {
    match number {
        1213 => SqlState::DEADLOCK_DETECTED,
        // Lock wait time-out; the record has changed since it was read.
        1205 | 1020 => SqlState::SERIALIZATION_FAILURE,
        1062 | 1586 | 1859 | 1022 => SqlState::UNIQUE_VIOLATION,
        1451 | 1452 | 1216 | 1217 | 1761 | 1762 => SqlState::FOREIGN_KEY_VIOLATION,
        1048 | 1364 | 1263 => SqlState::NOT_NULL_VIOLATION,
        4025 | 3819 => SqlState::CHECK_VIOLATION,
        1264 | 1690 => SqlState::NUMERIC_OUT_OF_RANGE,
        1406 => SqlState::STRING_RIGHT_TRUNCATION,
        1366 => SqlState::INVALID_TEXT_REPRESENTATION,
        1292 | 1411 => SqlState::INVALID_DATETIME_FORMAT,
        1365 => SqlState::DIVISION_BY_ZERO,
        1146 | 1051 | 1109 => SqlState::UNDEFINED_TABLE,
        1054 | 1072 => SqlState::UNDEFINED_COLUMN,
        1064 | 1065 | 1136 | 1149 | 1222 => SqlState::SYNTAX_ERROR,
        1050 | 1061 => SqlState::DUPLICATE_TABLE,
        1060 => SqlState::DUPLICATE_COLUMN,
        1826 => SqlState::DUPLICATE_OBJECT,
        1052 => SqlState::AMBIGUOUS_COLUMN,
        1066 => SqlState::DUPLICATE_ALIAS,
        1055 | 1111 | 1140 => SqlState::GROUPING_ERROR,
        1091 | 1176 => SqlState::UNDEFINED_OBJECT,
        1305 if message.starts_with("SAVEPOINT") => SqlState::INVALID_SAVEPOINT,
        1305 | 1630 | 1582 => SqlState::UNDEFINED_FUNCTION,
        1005 | 1215 if message.contains("oreign key") => SqlState::INVALID_FOREIGN_KEY,
        1241 => SqlState::SYNTAX_ERROR,
        1242 => SqlState::CARDINALITY_VIOLATION,
        1792 => SqlState::READ_ONLY_TRANSACTION,
        1969 | 3024 | 1317 => SqlState::QUERY_CANCELED,
        1044 | 1045 | 1142 | 1143 | 1698 => SqlState::INVALID_AUTHORIZATION,
        1049 | 1130 => SqlState::CONNECTION_REJECTED,
        1040 | 1203 | 1226 => SqlState::TOO_MANY_CONNECTIONS,
        // Shutdown, or killed by somebody.
        1053 | 1077 | 1079 | 1927 => SqlState::CONNECTION_FAILURE,
        1021 | 1041 | 1114 => SqlState::DISK_FULL,
        1037 | 1038 => SqlState::OUT_OF_MEMORY,
        1059 => SqlState::NAME_TOO_LONG,
        1436 | 1390 => SqlState::STATEMENT_TOO_COMPLEX,
        1153 | 1301 => SqlState::PROGRAM_LIMIT_EXCEEDED,
        1235 | ER_UNSUPPORTED_PS => SqlState::FEATURE_NOT_SUPPORTED,
        _ => code.and_then(SqlState::from_code).unwrap_or(match code {
            Some("42000" | "42S22") => SqlState::SYNTAX_ERROR,
            Some("40000") => SqlState::SERIALIZATION_FAILURE,
            _ => SqlState::INTERNAL_ERROR,
        }),
    }
}

/// Whether the command exists in the text protocol only.
pub(super) fn is_not_preparable(error: &sqlx::Error) -> bool {
    has_number(error, ER_UNSUPPORTED_PS)
}

/// Whether the server has no such setting.
pub(super) fn is_unknown_variable(error: &sqlx::Error) -> bool {
    has_number(error, ER_UNKNOWN_SYSTEM_VARIABLE)
}

fn has_number(error: &sqlx::Error, number: u16) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|error| error.number() == number)
        }
        _ => false,
    }
}
