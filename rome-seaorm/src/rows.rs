//! Statements on their way to Rome, and rows on their way back.
//!
//! SeaORM reads a value of a row by the exact variant of sea-query's `Value` that belongs to the Rust type, so the column's SQL type decides the variant.
//!
//! A `ProxyRow` is a map from names to values and counts positions in the order of names. Where that is not the order of
//! the result's columns, each value gets a second entry under a key that sorts before every name and in the columns'
//! order, so that reading by position (`into_tuple`, `try_get_by_index`) finds the right one, columns of the same name included. Those entries are
//! not reachable as columns, but whoever lists a row's columns (`into_json`, `column_names`) sees them, under names that
//! start with a NUL, which no column's name can.

use chrono::{DateTime, FixedOffset};
use rome_core::database::{ColumnMeta, Row, Statement};
use rome_core::value::{DataType, Value};
use sea_orm::ProxyRow;
use sea_query::{ArrayType, Value as Sea};
use std::collections::BTreeMap;

/// SeaORM's statement as Rome's.
pub(crate) fn statement_of(statement: sea_orm::Statement) -> Statement {
    let values = statement.values.map_or_else(Vec::new, |values| values.0.into_iter().map(Value::from).collect());
    Statement::text(statement.sql, values)
}

/// A row as SeaORM takes it.
pub(crate) fn query_result_of(row: &Row) -> sea_orm::QueryResult {
    let mut values = BTreeMap::new();
    let columns = row.columns();
    if !columns.is_sorted_by(|left, right| left.name < right.name) {
        for (position, (column, value)) in columns.iter().zip(row.values()).enumerate() {
            values.insert(format!("\0{position:05}"), sea_value_of(column, value));
        }
    }
    for (column, value) in columns.iter().zip(row.values()) {
        // Of columns of one name the first counts.
        values.entry(column.name.to_string()).or_insert_with(|| sea_value_of(column, value));
    }
    ProxyRow::new(values).into()
}

fn sea_value_of(column: &ColumnMeta, value: &Value) -> Sea {
    typed(&column.data_type, value)
}

fn typed(data_type: &DataType, value: &Value) -> Sea {
    match (data_type, value) {
        (DataType::Int2, Value::Int(number)) => {
            i16::try_from(*number).map_or_else(|_| value.to_sea(), |number| Sea::SmallInt(Some(number)))
        }
        (DataType::Int4, Value::Int(number)) => {
            i32::try_from(*number).map_or_else(|_| value.to_sea(), |number| Sea::Int(Some(number)))
        }
        #[allow(clippy::cast_possible_truncation, reason = "a value of type real came from an f32")]
        (DataType::Float4, Value::Float(number)) => Sea::Float(Some(*number as f32)),
        (DataType::TimestampTz, Value::TimestampTz(time)) => {
            Sea::ChronoDateTimeWithTimeZone(Some(DateTime::<FixedOffset>::from(*time)))
        }
        (DataType::Array(element), Value::Array(items)) => {
            Sea::Array(array_type(element), Some(Box::new(items.iter().map(|item| typed(element, item)).collect())))
        }
        (data_type, Value::Null) => null_of(data_type),
        (_, value) => value.to_sea(),
    }
}

fn null_of(data_type: &DataType) -> Sea {
    match data_type {
        DataType::Bool => Sea::Bool(None),
        DataType::Int2 => Sea::SmallInt(None),
        DataType::Int4 => Sea::Int(None),
        DataType::Int8 => Sea::BigInt(None),
        DataType::Float4 => Sea::Float(None),
        DataType::Float8 => Sea::Double(None),
        DataType::Numeric(_) => Sea::Decimal(None),
        DataType::Bytea => Sea::Bytes(None),
        DataType::Uuid => Sea::Uuid(None),
        DataType::Date => Sea::ChronoDate(None),
        DataType::Time => Sea::ChronoTime(None),
        DataType::Timestamp => Sea::ChronoDateTime(None),
        DataType::TimestampTz => Sea::ChronoDateTimeWithTimeZone(None),
        DataType::Json | DataType::Jsonb => Sea::Json(None),
        DataType::Array(element) => Sea::Array(array_type(element), None),
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) | DataType::Interval | DataType::Unknown => {
            Sea::String(None)
        }
    }
}

fn array_type(element: &DataType) -> ArrayType {
    match element {
        DataType::Bool => ArrayType::Bool,
        DataType::Int2 => ArrayType::SmallInt,
        DataType::Int4 => ArrayType::Int,
        DataType::Int8 => ArrayType::BigInt,
        DataType::Float4 => ArrayType::Float,
        DataType::Float8 => ArrayType::Double,
        DataType::Numeric(_) => ArrayType::Decimal,
        DataType::Bytea => ArrayType::Bytes,
        DataType::Uuid => ArrayType::Uuid,
        DataType::Date => ArrayType::ChronoDate,
        DataType::Time => ArrayType::ChronoTime,
        DataType::Timestamp => ArrayType::ChronoDateTime,
        DataType::TimestampTz => ArrayType::ChronoDateTimeWithTimeZone,
        DataType::Json | DataType::Jsonb => ArrayType::Json,
        _ => ArrayType::String,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn row(columns: &[(&str, DataType)], values: Vec<Value>) -> sea_orm::QueryResult {
        let columns: Arc<[ColumnMeta]> = columns
            .iter()
            .map(|(name, data_type)| ColumnMeta { name: Arc::from(*name), data_type: data_type.clone() })
            .collect();
        query_result_of(&Row::new(columns, values))
    }

    #[test]
    fn are_read_by_name_and_by_position() {
        let row = row(
            &[("name", DataType::Text), ("id", DataType::Int4), ("id", DataType::Int8)],
            vec!["a".into(), 1.into(), 2.into()],
        );
        assert_eq!(row.try_get::<String>("", "name").unwrap(), "a");
        assert_eq!(row.try_get::<i32>("", "id").unwrap(), 1);
        assert_eq!(row.try_get_by_index::<String>(0).unwrap(), "a");
        assert_eq!(row.try_get_by_index::<i32>(1).unwrap(), 1);
        assert_eq!(row.try_get_by_index::<i64>(2).unwrap(), 2);
    }

    #[test]
    fn have_no_extra_entries_where_the_names_are_in_order() {
        let row = row(&[("id", DataType::Int8), ("name", DataType::Text)], vec![7.into(), Value::Null]);
        assert_eq!(row.column_names(), ["id", "name"]);
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 7);
        assert_eq!(row.try_get::<Option<String>>("", "name").unwrap(), None);
    }

    #[test]
    fn take_the_variant_of_the_columns_type() {
        let moment = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let values = vec![3.into(), 1.5.into(), moment.into(), Value::Array(Arc::from([Value::Int(1)])), Value::Null];
        let row = row(
            &[
                ("a", DataType::Int2),
                ("b", DataType::Float4),
                ("c", DataType::TimestampTz),
                ("d", DataType::Array(Arc::new(DataType::Int4))),
                ("e", DataType::Array(Arc::new(DataType::Int4))),
            ],
            values,
        );
        assert_eq!(row.try_get::<i16>("", "a").unwrap(), 3);
        assert!((row.try_get::<f32>("", "b").unwrap() - 1.5).abs() < f32::EPSILON);
        assert_eq!(row.try_get::<DateTime<FixedOffset>>("", "c").unwrap(), moment);
        assert_eq!(row.try_get::<Vec<i32>>("", "d").unwrap(), [1]);
        assert_eq!(row.try_get::<Option<Vec<i32>>>("", "e").unwrap(), None);
    }
}
