//! Values from MariaDB by the column's type. `tinyint(1)` is boolean and `binary(16)` is uuid, as sea-query writes them.

use super::errors::classify;
use crate::errors::error_of;
use rome_core::error::Result;
use rome_core::value::{DataType, Value};
use rust_decimal::Decimal;
use sqlx::mysql::{MySqlRow, MySqlTypeInfo};
use sqlx::{Decode, Row as _, Type, TypeInfo as _, ValueRef as _};
use uuid::Uuid;

/// The type. The server tells no lengths and scales that could be trusted in results.
pub(super) fn data_type(info: &MySqlTypeInfo) -> DataType {
    match info.name() {
        // Names alone do not tell: sqlx calls text of a binary collation VARBINARY or BLOB, too.
        _ if is_text(info) => DataType::Text,
        "BOOLEAN" => DataType::Bool,
        "TINYINT" | "SMALLINT" | "TINYINT UNSIGNED" | "YEAR" => DataType::Int2,
        "INT" | "MEDIUMINT" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" => DataType::Int4,
        "BIGINT" | "INT UNSIGNED" | "BIT" => DataType::Int8,
        "BIGINT UNSIGNED" | "DECIMAL" => DataType::Numeric(None),
        "FLOAT" => DataType::Float4,
        "DOUBLE" => DataType::Float8,
        "DATE" => DataType::Date,
        "TIME" => DataType::Time,
        "DATETIME" => DataType::Timestamp,
        "TIMESTAMP" => DataType::TimestampTz,
        "JSON" => DataType::Json,
        "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB" | "GEOMETRY" => DataType::Bytea,
        _ => DataType::Text,
    }
}

/// Whether it is a text type, of whatever collation.
fn is_text(info: &MySqlTypeInfo) -> bool {
    <str as Type<sqlx::MySql>>::compatible(info)
}

/// Whether it may be longtext, and so json: results do not tell the sizes of text types apart.
pub(super) fn may_be_json(info: &MySqlTypeInfo) -> bool {
    is_text(info) && matches!(info.name(), "TEXT" | "BLOB" | "LONGTEXT" | "LONGBLOB")
}

/// The value at a position.
pub(super) fn value(row: &MySqlRow, position: usize, data_type: &DataType) -> Result<Value> {
    let raw = row.try_get_raw(position).map_err(|error| error_of(error, classify))?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let name = raw.type_info().name().to_owned();
    let row = Cell { row, position };
    Ok(match data_type {
        DataType::Bool => Value::Bool(row.get::<i64>()? != 0),
        _ if name == "BIT" => bits(&row.get::<Vec<u8>>()?),
        _ if name == "YEAR" => row.get::<u16>()?.into(),
        _ if name == "BIGINT UNSIGNED" => Value::Numeric(row.get::<u64>()?.into()),
        _ if name.ends_with("UNSIGNED") => row.get::<u64>()?.into(),
        data_type if data_type.is_integer() => row.get::<i64>()?.into(),
        DataType::Numeric(_) => row.get::<Decimal>()?.into(),
        DataType::Float4 => row.get::<f32>()?.into(),
        DataType::Float8 => row.get::<f64>()?.into(),
        DataType::Date => row.get::<chrono::NaiveDate>()?.into(),
        DataType::Time => row.get::<chrono::NaiveTime>()?.into(),
        DataType::Timestamp => row.get::<chrono::NaiveDateTime>()?.into(),
        DataType::TimestampTz => row.get::<chrono::DateTime<chrono::Utc>>()?.into(),
        DataType::Json => json(row.get::<String>()?),
        DataType::Bytea => bytes(row.get()?, name == "BINARY"),
        _ => row.get::<String>()?.into(),
    })
}

fn bits(bytes: &[u8]) -> Value {
    Value::from(bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)))
}

fn json(text: String) -> Value {
    serde_json::from_str::<serde_json::Value>(&text).map_or_else(|_| Value::from(text), Value::from)
}

fn bytes(bytes: Vec<u8>, fixed_length: bool) -> Value {
    match Uuid::from_slice(&bytes) {
        Ok(uuid) if fixed_length => Value::Uuid(uuid),
        _ => bytes.into(),
    }
}

/// One value of a row.
#[derive(Clone, Copy)]
struct Cell<'r> {
    row: &'r MySqlRow,
    position: usize,
}

impl<'r> Cell<'r> {
    fn get<T: Decode<'r, sqlx::MySql>>(self) -> Result<T> {
        self.row.try_get_unchecked(self.position).map_err(|error| error_of(error, classify))
    }
}
