//! Conversions between [`Value`] and Rust types, sea-query's values, and serde.

use super::Value;
use bytes::Bytes;
use chrono::{DateTime, FixedOffset, Local, Utc};
use sea_query::{ArrayType, OptionEnum};
use serde::{Serialize, Serializer};
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
            Sea::Enum(OptionEnum::Some(value)) => (&*value.value).into(),
            Sea::Enum(OptionEnum::None(_)) => Self::Null,
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
            Sea::Array(_, Some(items)) => Self::Array(items.into_iter().map(Self::from).collect()),
            Sea::Array(_, None) => Self::Null,
            #[allow(
                unreachable_patterns,
                reason = "there are more variants where another crate of the build enables them"
            )]
            other => literal_of(&other),
        }
    }
}

/// A value of a type that Rome has no representation for, by the text of its PostgreSQL literal; the column's type reads it.
fn literal_of(value: &sea_query::Value) -> Value {
    let literal = sea_query::QueryBuilder::value_to_string(&sea_query::PostgresQueryBuilder, value);
    let quoted =
        literal.strip_prefix('E').unwrap_or(&literal).strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match quoted {
        Some(quoted) => {
            Value::from(sea_query::EscapeBuilder::unescape_string(&sea_query::PostgresQueryBuilder, quoted))
        }
        None if literal == "NULL" => Value::Null,
        None => Value::from(literal),
    }
}

impl Value {
    /// As sea-query's value. NULL has no type here and becomes `String(None)`; an interval goes as text; an array takes its type from
    /// its first element that is not NULL.
    pub fn to_sea(&self) -> sea_query::Value {
        use sea_query::Value as Sea;
        match self {
            Self::Null => Sea::String(None),
            Self::Bool(value) => Sea::Bool(Some(*value)),
            Self::Int(value) => Sea::BigInt(Some(*value)),
            Self::Float(value) => Sea::Double(Some(*value)),
            Self::Numeric(value) => Sea::Decimal(Some(*value)),
            Self::Text(value) => Sea::String(Some(value.to_string())),
            Self::Bytes(value) => Sea::Bytes(Some(value.to_vec())),
            Self::Uuid(value) => Sea::Uuid(Some(*value)),
            Self::Date(value) => Sea::ChronoDate(Some(*value)),
            Self::Time(value) => Sea::ChronoTime(Some(*value)),
            Self::Timestamp(value) => Sea::ChronoDateTime(Some(*value)),
            Self::TimestampTz(value) => Sea::ChronoDateTimeUtc(Some(*value)),
            Self::Interval(_) => Sea::String(Some(self.to_string())),
            Self::Json(value) => Sea::Json(Some(Box::new(value.as_ref().clone()))),
            Self::Array(items) => {
                let element = items.iter().find(|item| !item.is_null()).map_or(ArrayType::String, Self::sea_array_type);
                Sea::Array(element, Some(Box::new(items.iter().map(Self::to_sea).collect())))
            }
        }
    }

    fn sea_array_type(&self) -> ArrayType {
        match self {
            Self::Null | Self::Text(_) | Self::Interval(_) | Self::Array(_) => ArrayType::String,
            Self::Bool(_) => ArrayType::Bool,
            Self::Int(_) => ArrayType::BigInt,
            Self::Float(_) => ArrayType::Double,
            Self::Numeric(_) => ArrayType::Decimal,
            Self::Bytes(_) => ArrayType::Bytes,
            Self::Uuid(_) => ArrayType::Uuid,
            Self::Date(_) => ArrayType::ChronoDate,
            Self::Time(_) => ArrayType::ChronoTime,
            Self::Timestamp(_) => ArrayType::ChronoDateTime,
            Self::TimestampTz(_) => ArrayType::ChronoDateTimeUtc,
            Self::Json(_) => ArrayType::Json,
        }
    }
}

/// As [`Value::to_sea`].
impl From<Value> for sea_query::Value {
    fn from(value: Value) -> Self {
        value.to_sea()
    }
}

/// As JSON would have it: numbers as numbers, bytes and everything with a text form of its own as PostgreSQL's text. A numeric is
/// text, since a JSON reader would round it.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Json(value) => value.serialize(serializer),
            Self::Array(items) => items.serialize(serializer),
            other => serializer.collect_str(other),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sea_query::Value as Sea;

    #[test]
    fn sea_query_values_come_and_go() {
        let enumeration = sea_query::Enum { type_name: "mood".into(), value: "happy".into() };
        assert_eq!(Value::from(Sea::Enum(OptionEnum::Some(Box::new(enumeration)))), Value::text("happy"));
        assert_eq!(Value::from(Sea::Enum(OptionEnum::None("mood".into()))), Value::Null);
        assert_eq!(Value::from(Sea::Array(ArrayType::Int, None)), Value::Null);
        assert_eq!(Value::from(Sea::BigUnsigned(Some(u64::MAX))).to_string(), u64::MAX.to_string());
        let values = [
            Value::Null,
            true.into(),
            (-5).into(),
            2.5.into(),
            rust_decimal::Decimal::new(150, 2).into(),
            "text".into(),
            vec![0_u8, 255].into(),
            uuid::Uuid::from_u128(7).into(),
            chrono::NaiveDate::default().into(),
            chrono::NaiveDateTime::default().into(),
            DateTime::<Utc>::default().into(),
            serde_json::json!({"a": [1, null]}).into(),
            Value::Array(Arc::from([Value::Int(1), Value::Null])),
        ];
        for value in values {
            assert_eq!(Value::from(value.to_sea()), value);
        }
        assert_eq!(Value::Null.to_sea(), Sea::String(None));
        let array = Value::Array(Arc::from([Value::Null, true.into()]));
        assert!(matches!(array.to_sea(), Sea::Array(ArrayType::Bool, Some(_))));
    }

    #[test]
    fn what_has_no_representation_goes_as_its_literal() {
        assert_eq!(literal_of(&Sea::String(Some("it's".into()))), Value::text("it's"));
        assert_eq!(literal_of(&Sea::Int(None)), Value::Null);
        assert_eq!(literal_of(&Sea::Int(Some(5))), Value::text("5"));
    }

    #[test]
    fn serializes_as_json() {
        let values = [Value::Null, 1.into(), "a".into(), vec![1_u8].into(), rust_decimal::Decimal::new(15, 1).into()];
        assert_eq!(serde_json::to_string(&values).unwrap(), r#"[null,1,"a","\\x01","1.5"]"#);
    }
}
