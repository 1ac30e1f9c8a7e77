//! Rome's errors as SeaORM's, and back.
//!
//! SeaORM's `DbErr` is a closed enum whose only place for a foreign error with a SQLSTATE is a sqlx error, so that is where Rome's goes,
//! whole: nothing of it is lost on the way through SeaORM.

use rome_core::error::{Error, SqlState};
use sea_orm::sqlx;
use sea_orm::sqlx::error::{DatabaseError, ErrorKind};
use sea_orm::{DbErr, RuntimeErr, SqlErr};
use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// An error of Rome in the form in which SeaORM and sqlx carry errors of databases.
#[derive(Clone, Debug)]
pub struct RomeDatabaseError(Error);

impl RomeDatabaseError {
    /// What it wraps.
    pub fn as_rome(&self) -> &Error {
        &self.0
    }
}

impl fmt::Display for RomeDatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for RomeDatabaseError {}

impl DatabaseError for RomeDatabaseError {
    fn message(&self) -> &str {
        self.0.message()
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.0.state().code()))
    }

    fn constraint(&self) -> Option<&str> {
        self.0.constraint()
    }

    fn table(&self) -> Option<&str> {
        self.0.table()
    }

    fn kind(&self) -> ErrorKind {
        match self.0.state() {
            SqlState::UNIQUE_VIOLATION => ErrorKind::UniqueViolation,
            SqlState::FOREIGN_KEY_VIOLATION => ErrorKind::ForeignKeyViolation,
            SqlState::NOT_NULL_VIOLATION => ErrorKind::NotNullViolation,
            SqlState::CHECK_VIOLATION => ErrorKind::CheckViolation,
            _ => ErrorKind::Other,
        }
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }
}

/// The error of a statement without rows.
pub(crate) fn exec_error(error: Error) -> DbErr {
    DbErr::Exec(runtime_error(error))
}

/// The error of a query, and of BEGIN, COMMIT and ROLLBACK, which SeaORM's drivers report so.
pub(crate) fn query_error(error: Error) -> DbErr {
    DbErr::Query(runtime_error(error))
}

fn runtime_error(error: Error) -> RuntimeErr {
    RuntimeErr::SqlxError(Arc::new(sqlx::Error::Database(Box::new(RomeDatabaseError(error)))))
}

fn database_error(error: &DbErr) -> Option<&dyn DatabaseError> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner))
        | DbErr::Conn(RuntimeErr::SqlxError(inner)) => inner.as_database_error(),
        _ => None,
    }
}

/// Rome's error inside, where that is what it is.
pub fn rome_error(error: &DbErr) -> Option<&Error> {
    database_error(error)?.try_downcast_ref::<RomeDatabaseError>().map(RomeDatabaseError::as_rome)
}

/// Whether nothing happened and the same transaction may succeed if it is run again (SQLSTATE 40001, 40P01), on Rome and on SeaORM's own drivers alike.
pub fn is_retryable(error: &DbErr) -> bool {
    let code = database_error(error).and_then(DatabaseError::code);
    let state = code.and_then(|code| SqlState::from_code(&code));
    matches!(state, Some(SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED))
}

/// [`DbErr::sql_err`] for Rome and for SeaORM's own drivers alike.
pub fn sql_err(error: &DbErr) -> Option<SqlErr> {
    let Some(rome) = rome_error(error) else { return error.sql_err() };
    match rome.state() {
        SqlState::UNIQUE_VIOLATION => Some(SqlErr::UniqueConstraintViolation(rome.message().to_owned())),
        SqlState::FOREIGN_KEY_VIOLATION => Some(SqlErr::ForeignKeyConstraintViolation(rome.message().to_owned())),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keep_their_state_on_the_way_through() {
        let error = exec_error(Error::new(SqlState::UNIQUE_VIOLATION, "duplicate key").with_constraint("host_pkey"));
        assert_eq!(rome_error(&error).unwrap().constraint(), Some("host_pkey"));
        assert_eq!(sql_err(&error), Some(SqlErr::UniqueConstraintViolation("duplicate key".to_owned())));
        assert_eq!(database_error(&error).unwrap().code().unwrap(), "23505");
        assert!(database_error(&error).unwrap().is_unique_violation());
        assert!(!is_retryable(&error));
        assert!(is_retryable(&query_error(Error::serialization_failure())));
    }

    #[test]
    fn of_others_are_left_alone() {
        let error = DbErr::Custom("other".to_owned());
        assert!(rome_error(&error).is_none());
        assert_eq!(sql_err(&error), None);
        assert!(!is_retryable(&error));
    }
}
