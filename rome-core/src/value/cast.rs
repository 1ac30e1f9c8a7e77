//! Casts between types, with PostgreSQL's rules and errors.

use super::{DataType, Value};
use crate::error::{Error, Result};

/// An explicit cast, `value::to`. NULL stays NULL.
///
/// # Errors
/// 22P02 for text that does not parse, 22003 out of range, 42846 where no such cast exists.
pub fn cast(value: Value, to: &DataType) -> Result<Value> {
    Err(Error::unsupported(format!("cast of {value:?} to {to}")))
}

/// Brings a value that an application or statement supplied for a column to the column's type: range, length, scale, padding.
///
/// # Errors
/// 22001 too long, 22003 out of range, 22P02, 42804.
pub fn coerce_for_column(value: Value, to: &DataType) -> Result<Value> {
    cast(value, to)
}
