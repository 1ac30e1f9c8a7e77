//! Rows from PostgreSQL: all values arrive in the binary form of their type.

use super::errors::classify;
use crate::errors::error_of;
use rome_core::database::ColumnMeta;
use rome_core::error::{Error, Result};
use rome_core::value::{DataType, Interval, Value};
use rust_decimal::Decimal;
use sqlx::postgres::types::{Oid, PgInterval};
use sqlx::postgres::{PgColumn, PgRow, PgTypeInfo, PgTypeKind};
use sqlx::{Column as _, Decode, Row as _, TypeInfo as _, ValueRef as _};
use std::sync::Arc;
use uuid::Uuid;

/// Names and types of result columns. The server does not tell lengths and scales.
pub(super) fn columns(columns: &[PgColumn]) -> Arc<[ColumnMeta]> {
    let described = columns.iter().map(|column| ColumnMeta {
        name: column.name().into(),
        data_type: data_type(column.type_info()).unwrap_or(DataType::Unknown),
    });
    described.collect()
}

/// The type, where it is one that can be represented.
pub(super) fn data_type(info: &PgTypeInfo) -> Option<DataType> {
    match info.kind() {
        PgTypeKind::Domain(base) => return data_type(base),
        PgTypeKind::Enum(_) => return Some(DataType::Text),
        PgTypeKind::Array(element) => return data_type(element).map(|element| DataType::Array(element.into())),
        _ => {}
    }
    Some(match info.name() {
        "BOOL" => DataType::Bool,
        "INT2" => DataType::Int2,
        "INT4" => DataType::Int4,
        "INT8" | "OID" => DataType::Int8,
        "FLOAT4" => DataType::Float4,
        "FLOAT8" => DataType::Float8,
        "NUMERIC" => DataType::Numeric(None),
        "VARCHAR" => DataType::Varchar(None),
        "TEXT" | "CHAR" | "NAME" | "UNKNOWN" | "citext" => DataType::Text,
        "BYTEA" => DataType::Bytea,
        "UUID" => DataType::Uuid,
        "DATE" => DataType::Date,
        "TIME" => DataType::Time,
        "TIMESTAMP" => DataType::Timestamp,
        "TIMESTAMPTZ" => DataType::TimestampTz,
        "INTERVAL" => DataType::Interval,
        "JSON" => DataType::Json,
        "JSONB" => DataType::Jsonb,
        _ => return None,
    })
}

/// The values of a row.
pub(super) fn values(row: &PgRow, columns: &[ColumnMeta]) -> Result<Vec<Value>> {
    columns.iter().enumerate().map(|(position, column)| value(row, position, &column.data_type)).collect()
}

fn value(row: &PgRow, position: usize, data_type: &DataType) -> Result<Value> {
    let raw = row.try_get_raw(position).map_err(|error| error_of(error, classify))?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let row = Cell { row, position };
    Ok(match data_type {
        DataType::Bool => Value::Bool(row.get()?),
        DataType::Int2 => row.get::<i16>()?.into(),
        DataType::Int4 => row.get::<i32>()?.into(),
        DataType::Int8 if raw.type_info().name() == "OID" => row.get::<Oid>()?.0.into(),
        DataType::Int8 => row.get::<i64>()?.into(),
        DataType::Float4 => row.get::<f32>()?.into(),
        DataType::Float8 => row.get::<f64>()?.into(),
        DataType::Numeric(_) => row.get::<Decimal>()?.into(),
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) => row.get::<String>()?.into(),
        DataType::Bytea => row.get::<Vec<u8>>()?.into(),
        DataType::Uuid => row.get::<Uuid>()?.into(),
        DataType::Date => row.get::<chrono::NaiveDate>()?.into(),
        DataType::Time => row.get::<chrono::NaiveTime>()?.into(),
        DataType::Timestamp => row.get::<chrono::NaiveDateTime>()?.into(),
        DataType::TimestampTz => row.get::<chrono::DateTime<chrono::Utc>>()?.into(),
        DataType::Interval => interval(row.get()?).into(),
        DataType::Json | DataType::Jsonb => row.get::<serde_json::Value>()?.into(),
        DataType::Array(element) => row.array(element)?,
        DataType::Unknown => {
            return Err(Error::unsupported(format!("a result of type {}", raw.type_info().name()))
                .with_hint("Cast it in the query: column::text."));
        }
    })
}

fn interval(interval: PgInterval) -> Interval {
    Interval { months: interval.months, days: interval.days, micros: interval.microseconds }
}

/// One value of a row.
#[derive(Clone, Copy)]
struct Cell<'r> {
    row: &'r PgRow,
    position: usize,
}

impl<'r> Cell<'r> {
    fn get<T: Decode<'r, sqlx::Postgres>>(self) -> Result<T> {
        self.row.try_get_unchecked(self.position).map_err(|error| error_of(error, classify))
    }

    fn items<T>(self) -> Result<Value>
    where
        Vec<Option<T>>: Decode<'r, sqlx::Postgres>,
        Value: From<Option<T>>,
    {
        let items: Vec<Option<T>> = self.get()?;
        Ok(Value::Array(items.into_iter().map(Value::from).collect()))
    }

    fn array(self, element: &DataType) -> Result<Value> {
        match element {
            DataType::Bool => self.items::<bool>(),
            DataType::Int2 => self.items::<i16>(),
            DataType::Int4 => self.items::<i32>(),
            DataType::Int8 => self.items::<i64>(),
            DataType::Float4 => self.items::<f32>(),
            DataType::Float8 => self.items::<f64>(),
            DataType::Numeric(_) => self.items::<Decimal>(),
            DataType::Text | DataType::Varchar(_) => self.items::<String>(),
            DataType::Bytea => self.items::<Vec<u8>>(),
            DataType::Uuid => self.items::<Uuid>(),
            DataType::Date => self.items::<chrono::NaiveDate>(),
            DataType::Time => self.items::<chrono::NaiveTime>(),
            DataType::Timestamp => self.items::<chrono::NaiveDateTime>(),
            DataType::TimestampTz => self.items::<chrono::DateTime<chrono::Utc>>(),
            DataType::Json | DataType::Jsonb => self.items::<serde_json::Value>(),
            element => Err(Error::unsupported(format!("a result of type {element}[]"))),
        }
    }
}
