//! Errors as applications see them: SQLSTATE, PostgreSQL's words, and whether to try again.

use crate::store::{Key, StoreError};
use std::fmt;

/// What went wrong, in terms that a program can act on.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A five-character SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(&'static str);

macro_rules! sql_states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: SqlState = SqlState($code);)*

            /// The state of this code, where it is one that Rome knows.
            pub fn from_code(code: &str) -> Option<SqlState> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

sql_states! {
    /// connection failure: the store or server can't be reached
    CONNECTION_FAILURE = "08006";
    /// the connection could not be established
    CONNECTION_REJECTED = "08001";
    /// transaction resolution unknown: a commit's outcome could not be learnt
    TRANSACTION_RESOLUTION_UNKNOWN = "08007";
    /// feature not supported
    FEATURE_NOT_SUPPORTED = "0A000";
    /// cardinality violation: a scalar subquery gave several rows, ON CONFLICT DO UPDATE met a row twice
    CARDINALITY_VIOLATION = "21000";
    /// string data right truncation: value too long for type
    STRING_RIGHT_TRUNCATION = "22001";
    /// numeric value out of range
    NUMERIC_OUT_OF_RANGE = "22003";
    /// datetime field overflow
    DATETIME_OVERFLOW = "22008";
    /// interval field overflow
    INTERVAL_OVERFLOW = "22015";
    /// division by zero
    DIVISION_BY_ZERO = "22012";
    /// invalid parameter value
    INVALID_PARAMETER_VALUE = "22023";
    /// invalid escape sequence
    INVALID_ESCAPE_SEQUENCE = "22025";
    /// invalid regular expression
    INVALID_REGULAR_EXPRESSION = "2201B";
    /// argument of a logarithm out of range
    INVALID_LOGARITHM_ARGUMENT = "2201E";
    /// argument of a power function out of range
    INVALID_POWER_ARGUMENT = "2201F";
    /// negative LIMIT
    INVALID_LIMIT = "2201W";
    /// negative OFFSET
    INVALID_OFFSET = "2201X";
    /// negative substring length
    SUBSTRING_ERROR = "22011";
    /// invalid text representation, as in 'abc'::integer
    INVALID_TEXT_REPRESENTATION = "22P02";
    /// invalid datetime format
    INVALID_DATETIME_FORMAT = "22007";
    /// not-null violation
    NOT_NULL_VIOLATION = "23502";
    /// foreign-key violation
    FOREIGN_KEY_VIOLATION = "23503";
    /// unique violation
    UNIQUE_VIOLATION = "23505";
    /// check violation
    CHECK_VIOLATION = "23514";
    /// invalid transaction state: a statement that this state does not allow
    INVALID_TRANSACTION_STATE = "25000";
    /// can't run inside a transaction block
    ACTIVE_SQL_TRANSACTION = "25001";
    /// read-only transaction
    READ_ONLY_TRANSACTION = "25006";
    /// in failed transaction
    IN_FAILED_TRANSACTION = "25P02";
    /// transaction time-out
    TRANSACTION_TIMEOUT = "25P04";
    /// dependent objects still exist
    DEPENDENT_OBJECTS = "2BP01";
    /// no such savepoint
    INVALID_SAVEPOINT = "3B001";
    /// invalid authorization: credentials were refused
    INVALID_AUTHORIZATION = "28000";
    /// serialization failure: try the transaction again
    SERIALIZATION_FAILURE = "40001";
    /// deadlock detected: try the transaction again
    DEADLOCK_DETECTED = "40P01";
    /// syntax error
    SYNTAX_ERROR = "42601";
    /// undefined column
    UNDEFINED_COLUMN = "42703";
    /// undefined table
    UNDEFINED_TABLE = "42P01";
    /// undefined function or operator
    UNDEFINED_FUNCTION = "42883";
    /// undefined object: constraint, index, type
    UNDEFINED_OBJECT = "42704";
    /// undefined parameter
    UNDEFINED_PARAMETER = "42P02";
    /// duplicate table
    DUPLICATE_TABLE = "42P07";
    /// duplicate column
    DUPLICATE_COLUMN = "42701";
    /// duplicate object
    DUPLICATE_OBJECT = "42710";
    /// duplicate alias
    DUPLICATE_ALIAS = "42712";
    /// ambiguous column
    AMBIGUOUS_COLUMN = "42702";
    /// ambiguous function
    AMBIGUOUS_FUNCTION = "42725";
    /// column must appear in GROUP BY
    GROUPING_ERROR = "42803";
    /// a column that another statement form requires, invalid column reference
    INVALID_COLUMN_REFERENCE = "42P10";
    /// datatype mismatch
    DATATYPE_MISMATCH = "42804";
    /// can't coerce
    CANNOT_COERCE = "42846";
    /// indeterminate datatype
    INDETERMINATE_DATATYPE = "42P18";
    /// invalid foreign key
    INVALID_FOREIGN_KEY = "42830";
    /// invalid table definition
    INVALID_TABLE_DEFINITION = "42P16";
    /// identity column written with a value, generated always
    GENERATED_ALWAYS = "428C9";
    /// wrong object type
    WRONG_OBJECT_TYPE = "42809";
    /// name too long
    NAME_TOO_LONG = "42622";
    /// invalid name
    INVALID_NAME = "42602";
    /// input or output of a file failed
    IO_ERROR = "58030";
    /// disk or memory of the store is full
    DISK_FULL = "53100";
    /// out of memory: a query's limit
    OUT_OF_MEMORY = "53200";
    /// too many clients
    TOO_MANY_CONNECTIONS = "53300";
    /// program limit exceeded
    PROGRAM_LIMIT_EXCEEDED = "54000";
    /// statement too complex
    STATEMENT_TOO_COMPLEX = "54001";
    /// object not in the required state
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000";
    /// object in use: something else is done to it at the moment
    OBJECT_IN_USE = "55006";
    /// query cancelled (statement time-out)
    QUERY_CANCELED = "57014";
    /// cannot connect now: the store is not usable
    CANNOT_CONNECT_NOW = "57P03";
    /// snapshot too old
    SNAPSHOT_TOO_OLD = "72000";
    /// data corrupted
    DATA_CORRUPTED = "XX001";
    /// internal error
    INTERNAL_ERROR = "XX000";
}

impl SqlState {
    /// The five characters.
    pub fn code(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error of a statement, a transaction or a connection.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    state: SqlState,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
    contended: Option<Key>,
    schema_changed: bool,
}

impl Error {
    /// An error with its state and PostgreSQL's wording.
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            state,
            message: message.into(),
            detail: None,
            hint: None,
            table: None,
            column: None,
            constraint: None,
            contended: None,
            schema_changed: false,
        }))
    }

    /// Adds the line that PostgreSQL calls DETAIL.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the table.
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.0.table = Some(table.into());
        self
    }

    /// Names the column.
    #[must_use]
    pub fn with_column(mut self, column: impl Into<String>) -> Self {
        self.0.column = Some(column.into());
        self
    }

    /// Names the constraint.
    #[must_use]
    pub fn with_constraint(mut self, constraint: impl Into<String>) -> Self {
        self.0.constraint = Some(constraint.into());
        self
    }

    /// Names the key that transactions contend for, so that retries can queue on it.
    #[must_use]
    pub fn with_contended(mut self, key: Key) -> Self {
        self.0.contended = Some(key);
        self
    }

    /// SQLSTATE 40001 in PostgreSQL's words.
    pub fn serialization_failure() -> Self {
        Self::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
            .with_hint("The transaction might succeed if retried.")
    }

    /// SQLSTATE 40001 because a table's description has changed under the transaction.
    pub fn schema_changed() -> Self {
        let mut error = Self::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to a schema change")
            .with_hint("The transaction might succeed if retried.");
        error.0.schema_changed = true;
        error
    }

    /// Whether a table's description has changed: cached ones are to be read again before a retry.
    pub fn is_schema_change(&self) -> bool {
        self.0.schema_changed
    }

    /// SQLSTATE 0A000.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// A condition that the program's own logic rules out.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, format!("internal error: {what}"))
            .with_hint("This is a defect of the program; please report it.")
    }

    /// The SQLSTATE.
    pub fn state(&self) -> SqlState {
        self.0.state
    }

    /// The message, without detail and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// PostgreSQL's DETAIL.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The table concerned.
    pub fn table(&self) -> Option<&str> {
        self.0.table.as_deref()
    }

    /// The column concerned.
    pub fn column(&self) -> Option<&str> {
        self.0.column.as_deref()
    }

    /// The constraint concerned.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }

    /// The key that was contended for, for a conflict.
    pub fn contended(&self) -> Option<&Key> {
        self.0.contended.as_ref()
    }

    /// Nothing happened, and the same transaction may succeed if it is run again.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.state, SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED)
    }

    /// It is not known whether the transaction took effect.
    pub fn is_undetermined(&self) -> bool {
        self.0.state == SqlState::TRANSACTION_RESOLUTION_UNKNOWN
    }

    /// Nothing happened, and it will not succeed without a change to the statement, the data or the surroundings.
    pub fn is_permanent(&self) -> bool {
        !self.is_retryable() && !self.is_undetermined()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.0.message, self.0.state)?;
        if let Some(detail) = &self.0.detail {
            write!(f, "; detail: {detail}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        if let StoreError::EpochChanged = error {
            // Descriptions of tables are of the old epoch, too.
            return Self::schema_changed().with_detail(error.to_string());
        }
        let state = match &error {
            StoreError::Unavailable { .. } => SqlState::CONNECTION_FAILURE,
            StoreError::Undetermined { .. } => SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
            StoreError::LaneClosed | StoreError::EpochChanged => SqlState::SERIALIZATION_FAILURE,
            StoreError::TooLarge { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
            StoreError::Invalid(_) => SqlState::INTERNAL_ERROR,
            StoreError::SnapshotTooOld(_) | StoreError::Compacted => SqlState::SNAPSHOT_TOO_OLD,
            StoreError::Corrupt(_) => SqlState::DATA_CORRUPTED,
            StoreError::Unsuitable(_) => SqlState::CANNOT_CONNECT_NOW,
            StoreError::Full(_) => SqlState::DISK_FULL,
            StoreError::Denied(_) => SqlState::INVALID_AUTHORIZATION,
        };
        let hint = match &error {
            StoreError::Unavailable { .. } => {
                Some("Check that the server runs and is reachable; the client reconnects by itself.")
            }
            StoreError::Undetermined { .. } => {
                Some("The transaction may or may not have taken effect: read before repeating it.")
            }
            StoreError::TooLarge { .. } => Some("Split the transaction into smaller ones."),
            _ => None,
        };
        let converted = Error::new(state, error.to_string());
        match hint {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
    }
}
