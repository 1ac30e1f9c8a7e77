//! Values from SQLite's five storage classes, by the column's type. A stored value that does not look like the type comes as it is stored:
//! SQLite lets any column hold anything.

use super::errors::classify;
use crate::errors::error_of;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use rome_core::error::Result;
use rome_core::value::{DataType, Value};
use rust_decimal::Decimal;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, TypeInfo as _, ValueRef as _};
use std::str::FromStr;
use uuid::Uuid;

/// The type of the value at a position as it is stored.
pub(super) fn stored_type(row: &SqliteRow, position: usize) -> DataType {
    match row.try_get_raw(position) {
        Ok(raw) if raw.is_null() => DataType::Text,
        Ok(raw) => match raw.type_info().name() {
            "INTEGER" => DataType::Int8,
            "REAL" => DataType::Float8,
            "BLOB" => DataType::Bytea,
            _ => DataType::Text,
        },
        Err(_) => DataType::Text,
    }
}

/// The value at a position.
pub(super) fn value(row: &SqliteRow, position: usize, data_type: &DataType) -> Result<Value> {
    let raw = row.try_get_raw(position).map_err(|error| error_of(error, classify))?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let class = raw.type_info().name().to_owned();
    Ok(match class.as_str() {
        "INTEGER" => integer(get(row, position)?, data_type),
        "REAL" => real(get(row, position)?, data_type),
        "BLOB" => Value::from(get::<Vec<u8>>(row, position)?),
        _ => text(get::<String>(row, position)?, data_type),
    })
}

fn get<'r, T: Decode<'r, Sqlite>>(row: &'r SqliteRow, position: usize) -> Result<T> {
    row.try_get_unchecked(position).map_err(|error| error_of(error, classify))
}

fn integer(stored: i64, data_type: &DataType) -> Value {
    match data_type {
        DataType::Bool => Value::Bool(stored != 0),
        DataType::Float4 | DataType::Float8 => Value::Float(stored as f64),
        DataType::Numeric(precision) => Value::Numeric(scaled(Decimal::from(stored), *precision)),
        _ => Value::Int(stored),
    }
}

fn real(stored: f64, data_type: &DataType) -> Value {
    match data_type {
        // The shortest decimal that is this number: what was written, up to 15 digits.
        DataType::Numeric(precision) => Decimal::from_str(&stored.to_string())
            .map_or(Value::Float(stored), |number| Value::Numeric(scaled(number, *precision))),
        _ => Value::Float(stored),
    }
}

/// SQLite drops trailing zeros; numeric(p, s) shows them.
fn scaled(mut number: Decimal, precision: Option<(u8, u8)>) -> Decimal {
    if let Some((_, scale)) = precision {
        number.rescale(scale.into());
    }
    number
}

fn text(stored: String, data_type: &DataType) -> Value {
    let typed = match data_type {
        DataType::Date => NaiveDate::parse_from_str(&stored, "%Y-%m-%d").ok().map(Value::from),
        DataType::Time => time(&stored).map(Value::from),
        DataType::Timestamp => timestamp(&stored).map(Value::from),
        DataType::TimestampTz => instant(&stored),
        DataType::Uuid => Uuid::from_str(&stored).ok().map(Value::from),
        DataType::Json | DataType::Jsonb => serde_json::from_str::<serde_json::Value>(&stored).ok().map(Value::from),
        DataType::Numeric(precision) => {
            Decimal::from_str(&stored).ok().map(|number| Value::Numeric(scaled(number, *precision)))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| Value::from(stored))
}

fn time(stored: &str) -> Option<NaiveTime> {
    ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|format| NaiveTime::parse_from_str(stored, format).ok())
}

fn timestamp(stored: &str) -> Option<NaiveDateTime> {
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    formats.iter().find_map(|format| NaiveDateTime::parse_from_str(stored, format).ok())
}

fn instant(stored: &str) -> Option<Value> {
    let zoned = ["%Y-%m-%d %H:%M:%S%.f %:z", "%Y-%m-%dT%H:%M:%S%.f%:z"]
        .iter()
        .find_map(|format| DateTime::parse_from_str(stored, format).ok())
        .or_else(|| DateTime::parse_from_rfc3339(stored).ok());
    // CURRENT_TIMESTAMP writes UTC without saying so.
    zoned.map(Value::from).or_else(|| timestamp(stored).map(|utc| Value::from(utc.and_utc())))
}
