//! Conversions between [`Value`] and Rust types, sea-query's values, and serde.

use super::Value;
use bytes::Bytes;
use chrono::{DateTime, FixedOffset, Local, Utc};
use std::sync::Arc;

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Int(i64::from(value))
            }
        }
    )*};
}

from_integers!(i8, i16, i32, i64, u8, u16, u32);

macro_rules! from_types {
    ($($rust:ty => $variant:ident),*) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from_types!(
    bool => Bool,
    f64 => Float,
    f32 => Float,
    rust_decimal::Decimal => Numeric,
    &str => Text,
    String => Text,
    Arc<str> => Text,
    Bytes => Bytes,
    Vec<u8> => Bytes,
    uuid::Uuid => Uuid,
    chrono::NaiveDate => Date,
    chrono::NaiveTime => Time,
    chrono::NaiveDateTime => Timestamp,
    DateTime<Utc> => TimestampTz,
    DateTime<FixedOffset> => TimestampTz,
    DateTime<Local> => TimestampTz,
    super::Interval => Interval,
    Arc<serde_json::Value> => Json
);

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(Arc::new(value))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<u64> for Value {
    /// Above `i64::MAX` as numeric.
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or_else(|_| Self::Numeric(value.into()), Self::Int)
    }
}

impl From<sea_query::Value> for Value {
    fn from(value: sea_query::Value) -> Self {
        use sea_query::Value as Sea;
        match value {
            Sea::Bool(value) => value.into(),
            Sea::TinyInt(value) => value.into(),
            Sea::SmallInt(value) => value.into(),
            Sea::Int(value) => value.into(),
            Sea::BigInt(value) => value.into(),
            Sea::TinyUnsigned(value) => value.into(),
            Sea::SmallUnsigned(value) => value.into(),
            Sea::Unsigned(value) => value.into(),
            Sea::BigUnsigned(value) => value.into(),
            Sea::Float(value) => value.into(),
            Sea::Double(value) => value.into(),
            Sea::String(value) => value.into(),
            Sea::Char(value) => value.map(|value| value.to_string()).into(),
            Sea::Bytes(value) => value.into(),
            Sea::Json(value) => value.map(|json| *json).into(),
            Sea::ChronoDate(value) => value.into(),
            Sea::ChronoTime(value) => value.into(),
            Sea::ChronoDateTime(value) => value.into(),
            Sea::ChronoDateTimeUtc(value) => value.into(),
            Sea::ChronoDateTimeLocal(value) => value.into(),
            Sea::ChronoDateTimeWithTimeZone(value) => value.into(),
            Sea::Uuid(value) => value.into(),
            Sea::Decimal(value) => value.into(),
            other => unconverted(other),
        }
    }
}

/// Variants that only exist under sea-query features of other crates in the build.
fn unconverted(value: sea_query::Value) -> Value {
    match value {
        sea_query::Value::Array(_, Some(items)) => Value::Array(items.into_iter().map(Value::from).collect()),
        _ => Value::Null,
    }
}
