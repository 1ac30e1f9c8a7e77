//! Parameters for MariaDB, which converts them to what their place needs. Uuids go as the 16 bytes that sea-query's `binary(16)` columns hold and
//! MariaDB's own uuid type takes.

use rome_core::error::{Error, Result};
use rome_core::value::Value;
use sqlx::Arguments as _;
use sqlx::mysql::MySqlArguments;

/// The values as sqlx wants them.
pub(super) fn arguments(values: &[Value]) -> Result<MySqlArguments> {
    let mut arguments = MySqlArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Bool(value) => arguments.add(*value),
            Value::Int(value) => arguments.add(*value),
            Value::Float(value) => arguments.add(*value),
            Value::Numeric(value) => arguments.add(*value),
            Value::Text(value) => arguments.add(value.to_string()),
            Value::Bytes(value) => arguments.add(value.to_vec()),
            Value::Uuid(value) => arguments.add(value.as_bytes().to_vec()),
            Value::Date(value) => arguments.add(*value),
            Value::Time(value) => arguments.add(*value),
            Value::Timestamp(value) => arguments.add(*value),
            Value::TimestampTz(value) => arguments.add(*value),
            Value::Json(value) => arguments.add(value.to_string()),
            Value::Interval(_) => return Err(Error::unsupported("type interval in MariaDB")),
            Value::Array(_) => return Err(Error::unsupported("array type in MariaDB")),
        };
        added.map_err(Error::internal)?;
    }
    Ok(arguments)
}
