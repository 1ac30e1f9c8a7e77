//! [`FromValue`] for the types that columns are read as one by one.
//!
//! A conversion keeps the whole value or fails with 42804: integers are range checked, a numeric becomes an integer only without a
//! fraction. Floating-point types round to the nearest, as they do everywhere. Where a server has no type of its own, what it
//! keeps instead converts too: 0 and 1 for booleans, 16 bytes or text for a UUID.

use super::FromValue;
use crate::error::{Error, Result, SqlState};
use crate::value::{DataType, Interval, Value};
use bytes::Bytes;
use chrono::{DateTime, FixedOffset, Local, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use rust_decimal::Decimal;
use std::sync::Arc;
use uuid::Uuid;

fn mismatch(value: &Value, expected: &str) -> Error {
    let message = match value {
        Value::Null => format!("NULL where a value of type {expected} was expected"),
        Value::Int(number) => format!("integer {number} where a value of type {expected} was expected"),
        other => format!("a value of type {} where one of type {expected} was expected", other.natural_type()),
    };
    let error = Error::new(SqlState::DATATYPE_MISMATCH, message);
    if value.is_null() { error.with_hint("Read a column that may be NULL into an Option.") } else { error }
}

/// A numeric without fraction, as an integer.
pub(super) fn integer_of_numeric(value: &Decimal) -> Option<i128> {
    let normal = value.normalize();
    (normal.scale() == 0).then(|| normal.mantissa())
}

macro_rules! integers {
    ($($integer:ident),*) => {$(
        impl FromValue for $integer {
            fn from_value(value: &Value) -> Result<Self> {
                let converted = match value {
                    Value::Int(number) => $integer::try_from(*number).ok(),
                    Value::Numeric(number) => integer_of_numeric(number).and_then(|number| $integer::try_from(number).ok()),
                    _ => None,
                };
                converted.ok_or_else(|| mismatch(value, stringify!($integer)))
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, i128, u8, u16, u32, u64, usize);

impl FromValue for f64 {
    fn from_value(value: &Value) -> Result<Self> {
        match crate::value::cast(value.clone(), &DataType::Float8) {
            Ok(Value::Float(number)) if !matches!(value, Value::Text(_)) => Ok(number),
            _ => Err(mismatch(value, "f64")),
        }
    }
}

impl FromValue for f32 {
    fn from_value(value: &Value) -> Result<Self> {
        let wide = f64::from_value(value)?;
        let narrow = wide as f32;
        if narrow.is_infinite() && wide.is_finite() { Err(mismatch(value, "f32")) } else { Ok(narrow) }
    }
}

/// Conversions of one or more variants, each an expression of the variant's content that gives an `Option`.
macro_rules! from_variants {
    ($($rust:ty: $($variant:ident($content:ident) => $converted:expr),+;)*) => {$(
        impl FromValue for $rust {
            fn from_value(value: &Value) -> Result<Self> {
                let converted: Option<Self> = match value {
                    $(Value::$variant($content) => $converted,)+
                    _ => None,
                };
                converted.ok_or_else(|| mismatch(value, stringify!($rust)))
            }
        }
    )*};
}

from_variants! {
    bool: Bool(value) => Some(*value), Int(number) => [false, true].get(usize::try_from(*number).unwrap_or(2)).copied();
    String: Text(text) => Some(text.to_string());
    Arc<str>: Text(text) => Some(Arc::clone(text));
    Bytes: Bytes(bytes) => Some(bytes.clone());
    Uuid: Uuid(uuid) => Some(*uuid), Bytes(bytes) => Uuid::from_slice(bytes).ok(), Text(text) => Uuid::parse_str(text).ok();
    Decimal: Numeric(number) => Some(*number), Int(number) => Some(Decimal::from(*number));
    NaiveDate: Date(date) => Some(*date);
    NaiveTime: Time(time) => Some(*time);
    NaiveDateTime: Timestamp(timestamp) => Some(*timestamp);
    DateTime<Utc>: TimestampTz(timestamp) => Some(*timestamp);
    DateTime<FixedOffset>: TimestampTz(timestamp) => Some(timestamp.fixed_offset());
    DateTime<Local>: TimestampTz(timestamp) => Some(timestamp.with_timezone(&Local));
    Interval: Interval(interval) => Some(*interval);
    serde_json::Value: Json(json) => Some(json.as_ref().clone());
    Arc<serde_json::Value>: Json(json) => Some(Arc::clone(json));
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Result<Self> {
        Ok(value.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Self> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

/// An array. A bytea counts as one of bytes, so that `Vec<u8>` reads it; [`Bytes`] does so without copying.
impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &Value) -> Result<Self> {
        match value {
            Value::Array(items) => items.iter().map(T::from_value).collect(),
            Value::Bytes(bytes) => bytes.iter().map(|byte| T::from_value(&Value::from(*byte))).collect(),
            _ => Err(mismatch(value, "Vec")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_range_checked() {
        assert_eq!(i16::from_value(&Value::Int(-5)).unwrap(), -5);
        assert_eq!(u8::from_value(&Value::Int(255)).unwrap(), 255);
        assert_eq!(i64::from_value(&Value::Numeric("7.00".parse().unwrap())).unwrap(), 7);
        assert_eq!(u64::from_value(&Value::from(u64::MAX)).unwrap(), u64::MAX);
        for error in [
            u8::from_value(&Value::Int(256)).unwrap_err(),
            u64::from_value(&Value::Int(-1)).map(|_| 0).unwrap_err(),
            i64::from_value(&Value::Numeric("7.5".parse().unwrap())).map(|_| 0).unwrap_err(),
            i64::from_value(&Value::Float(7.0)).map(|_| 0).unwrap_err(),
            i64::from_value(&Value::text("7")).map(|_| 0).unwrap_err(),
        ] {
            assert_eq!(error.state(), SqlState::DATATYPE_MISMATCH);
        }
    }

    #[test]
    fn null_needs_an_option() {
        assert_eq!(Option::<i32>::from_value(&Value::Null).unwrap(), None);
        assert_eq!(Option::<i32>::from_value(&Value::Int(1)).unwrap(), Some(1));
        assert!(i32::from_value(&Value::Null).unwrap_err().message().starts_with("NULL where"));
    }

    #[test]
    fn everything_else() {
        assert_eq!(f64::from_value(&Value::Numeric("0.1".parse().unwrap())).unwrap(), 0.1);
        assert_eq!(f32::from_value(&Value::Float(0.1)).unwrap(), 0.1);
        assert!(f32::from_value(&Value::Float(1e300)).is_err());
        assert!(f64::from_value(&Value::text("1")).is_err());
        assert!(bool::from_value(&Value::Int(1)).unwrap());
        assert!(bool::from_value(&Value::Int(2)).is_err());
        assert_eq!(Vec::<u8>::from_value(&Value::from(vec![1_u8, 2])).unwrap(), [1, 2]);
        let array = Value::Array([Value::text("a"), Value::Null].into());
        assert_eq!(Vec::<Option<String>>::from_value(&array).unwrap(), [Some("a".to_owned()), None]);
        let uuid = Uuid::from_u128(0x1234);
        for value in [Value::Uuid(uuid), Value::text(&uuid.to_string()), Value::from(uuid.as_bytes().to_vec())] {
            assert_eq!(Uuid::from_value(&value).unwrap(), uuid);
        }
        assert_eq!(Decimal::from_value(&Value::Int(3)).unwrap(), Decimal::from(3));
    }
}
