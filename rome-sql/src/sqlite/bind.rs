//! Parameters for SQLite: what it has no type for goes as the text that its own date functions and sea-query write.

use rome_core::error::{Error, Result};
use rome_core::value::Value;
use rust_decimal::prelude::ToPrimitive;
use sqlx::Arguments as _;
use sqlx::sqlite::SqliteArguments;

/// The values as sqlx wants them.
pub(super) fn arguments(values: &[Value]) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Bool(value) => arguments.add(*value),
            Value::Int(value) => arguments.add(*value),
            Value::Float(value) => arguments.add(*value),
            // A number must compare as a number, so not as text.
            Value::Numeric(value) if value.is_integer() && value.to_i64().is_some() => arguments.add(value.to_i64()),
            Value::Numeric(value) => arguments.add(value.to_f64()),
            Value::Text(value) => arguments.add(value.to_string()),
            Value::Bytes(value) => arguments.add(value.to_vec()),
            Value::Uuid(value) => arguments.add(value.hyphenated().to_string()),
            Value::Date(value) => arguments.add(value.format("%Y-%m-%d").to_string()),
            Value::Time(value) => arguments.add(value.format("%H:%M:%S%.f").to_string()),
            Value::Timestamp(value) => arguments.add(value.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
            Value::TimestampTz(value) => arguments.add(value.format("%Y-%m-%d %H:%M:%S%.f +00:00").to_string()),
            Value::Json(value) => arguments.add(value.to_string()),
            Value::Interval(_) => return Err(Error::unsupported("type interval in SQLite")),
            Value::Array(_) => return Err(Error::unsupported("array type in SQLite")),
        };
        added.map_err(Error::internal)?;
    }
    Ok(arguments)
}
