//! Rows, and how they become structs and tuples.

use crate::error::{Error, Result, SqlState};
use crate::value::{DataType, Value};
use std::sync::Arc;

/// The name and type of a result column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnMeta {
    /// The name, or alias, or PostgreSQL's made-up name (`count`, `?column?`).
    pub name: Arc<str>,
    /// The type.
    pub data_type: DataType,
}

/// One row of a result.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<[ColumnMeta]>,
    values: Box<[Value]>,
}

impl Row {
    /// A row; `values` in the order of `columns`.
    pub fn new(columns: Arc<[ColumnMeta]>, values: Vec<Value>) -> Self {
        Self { columns, values: values.into_boxed_slice() }
    }

    /// Names and types.
    pub fn columns(&self) -> &[ColumnMeta] {
        &self.columns
    }

    /// The values, in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The value of the first column of this name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        let position = self.columns.iter().position(|column| &*column.name == name)?;
        self.values.get(position)
    }

    /// The value of the column of this name, converted.
    ///
    /// # Errors
    /// [`SqlState::UNDEFINED_COLUMN`] without such a column, [`SqlState::DATATYPE_MISMATCH`] where the value does not fit `T`
    /// (NULL needs an `Option`).
    pub fn get<T: FromValue>(&self, name: &str) -> Result<T> {
        let value = self.value(name).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_COLUMN, format!("the result has no column \"{name}\"")).with_column(name)
        })?;
        T::from_value(value).map_err(|error| in_column(&error, name))
    }

    /// The value at a position from 0, converted.
    ///
    /// # Errors
    /// As [`Row::get`].
    pub fn get_at<T: FromValue>(&self, position: usize) -> Result<T> {
        let value = self.values.get(position).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_COLUMN, format!("the result has no column number {}", position + 1))
        })?;
        T::from_value(value)
    }
}

/// The error of converting a value, with the column that it is about.
pub(super) fn in_column(error: &Error, name: &str) -> Error {
    let named = Error::new(error.state(), format!("column \"{name}\": {}", error.message())).with_column(name);
    match error.hint() {
        Some(hint) => named.with_hint(hint),
        None => named,
    }
}

/// A Rust type that one SQL value converts to. Conversions never lose anything: an integer out of range is an error.
pub trait FromValue: Sized {
    /// Converts.
    ///
    /// # Errors
    /// [`SqlState::DATATYPE_MISMATCH`].
    fn from_value(value: &Value) -> Result<Self>;
}

/// A Rust type that a whole row converts to. Implemented for everything that serde can deserialize: structs by column name,
/// tuples by position, and a plain value from a row of one column.
///
/// ```
/// # use rome_core::database::{Queryable, Database};
/// #[derive(serde::Deserialize)]
/// struct Host { name: String, free_ram_mb: i64, zone: Option<String> }
/// # async fn example(db: &dyn Database) -> rome_core::Result<()> {
/// let hosts: Vec<Host> = db.query_as("SELECT name, free_ram_mb, zone FROM host").await?;
/// # Ok(()) }
/// ```
pub trait FromRow: Sized {
    /// Converts.
    ///
    /// # Errors
    /// [`SqlState::DATATYPE_MISMATCH`], [`SqlState::UNDEFINED_COLUMN`].
    fn from_row(row: &Row) -> Result<Self>;
}
