//! Parameters for PostgreSQL: each value in the binary form of the type that the server expects there.
//!
//! A value *fits* a type when it can be sent as that type without loss: an integer within the range, text that parses as a date. What does not fit is
//! declared with its natural type instead, and the server judges.

use super::decode::data_type;
use rome_core::error::{Error, Result, SqlState};
use rome_core::value::{DataType, Value, cast};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgArguments, PgTypeInfo};
use sqlx::{Arguments as _, Type, TypeInfo as _};
use std::borrow::Cow;
use std::str::FromStr;
use uuid::Uuid;

type Postgres = sqlx::Postgres;
type Instant = chrono::DateTime<chrono::Utc>;
type Json = serde_json::Value;

/// Whether preparing failed because nothing says what type a parameter has.
pub(super) fn needs_types(error: &Error) -> bool {
    matches!(error.state(), SqlState::INDETERMINATE_DATATYPE | SqlState::AMBIGUOUS_FUNCTION)
}

/// The type that a literal of this value would have.
pub(super) fn natural_type(value: &Value) -> PgTypeInfo {
    fn of<T: Type<Postgres>>() -> PgTypeInfo {
        T::type_info()
    }
    match value {
        Value::Null | Value::Text(_) => of::<String>(),
        Value::Bool(_) => of::<bool>(),
        Value::Int(value) if i32::try_from(*value).is_ok() => of::<i32>(),
        Value::Int(_) => of::<i64>(),
        Value::Float(_) => of::<f64>(),
        Value::Numeric(_) => of::<Decimal>(),
        Value::Bytes(_) => of::<Vec<u8>>(),
        Value::Uuid(_) => of::<Uuid>(),
        Value::Date(_) => of::<chrono::NaiveDate>(),
        Value::Time(_) => of::<chrono::NaiveTime>(),
        Value::Timestamp(_) => of::<chrono::NaiveDateTime>(),
        Value::TimestampTz(_) => of::<Instant>(),
        Value::Interval(_) => of::<PgInterval>(),
        Value::Json(_) => of::<Json>(),
        Value::Array(items) => match items.iter().find(|item| !item.is_null()) {
            Some(Value::Bool(_)) => of::<Vec<bool>>(),
            Some(Value::Int(_)) => of::<Vec<i64>>(),
            Some(Value::Float(_)) => of::<Vec<f64>>(),
            Some(Value::Numeric(_)) => of::<Vec<Decimal>>(),
            Some(Value::Uuid(_)) => of::<Vec<Uuid>>(),
            Some(Value::Bytes(_)) => of::<Vec<Vec<u8>>>(),
            Some(Value::Date(_)) => of::<Vec<chrono::NaiveDate>>(),
            Some(Value::Timestamp(_)) => of::<Vec<chrono::NaiveDateTime>>(),
            Some(Value::TimestampTz(_)) => of::<Vec<Instant>>(),
            Some(Value::Json(_)) => of::<Vec<Json>>(),
            _ => of::<Vec<String>>(),
        },
    }
}

/// Whether the value can be sent as this type.
pub(super) fn fits(value: &Value, parameter: &PgTypeInfo) -> bool {
    data_type(parameter).is_some_and(|data_type| fitted(value, &data_type).is_some())
}

/// The value in the variant in which this type is sent.
fn fitted<'v>(value: &'v Value, to: &DataType) -> Option<Cow<'v, Value>> {
    let same = Some(Cow::Borrowed(value));
    match (value, to) {
        (Value::Null, _)
        | (Value::Bool(_), DataType::Bool)
        | (Value::Float(_), DataType::Float4 | DataType::Float8)
        | (Value::Numeric(_), DataType::Numeric(_))
        | (Value::Bytes(_), DataType::Bytea)
        | (Value::Uuid(_), DataType::Uuid)
        | (Value::Date(_), DataType::Date)
        | (Value::Time(_), DataType::Time)
        | (Value::Timestamp(_), DataType::Timestamp)
        | (Value::TimestampTz(_), DataType::TimestampTz)
        | (Value::Interval(_), DataType::Interval)
        | (Value::Json(_), DataType::Json | DataType::Jsonb) => same,
        (Value::Text(_), to) if to.is_text() => same,
        (Value::Int(number), to) if to.is_integer() => {
            to.integer_range().is_some_and(|(from, to)| (from..=to).contains(number)).then_some(Cow::Borrowed(value))
        }
        (Value::Int(number), DataType::Numeric(_)) => Some(Cow::Owned(Value::Numeric((*number).into()))),
        (Value::Int(number), DataType::Float4 | DataType::Float8) => Some(Cow::Owned(Value::Float(*number as f64))),
        (Value::Float(number), DataType::Numeric(_)) => {
            Decimal::from_str(&number.to_string()).ok().map(|number| Cow::Owned(Value::Numeric(number)))
        }
        (Value::Numeric(number), DataType::Float4 | DataType::Float8) => {
            number.to_f64().map(|number| Cow::Owned(Value::Float(number)))
        }
        (Value::Numeric(number), to) if to.is_integer() && number.is_integer() => {
            let number = Value::Int(number.to_i64()?);
            fitted(&number, to).is_some().then_some(Cow::Owned(number))
        }
        // Text takes the type of its place, as an unadorned literal does.
        (Value::Text(_), to) => cast(value.clone(), to).ok().map(Cow::Owned),
        (Value::Array(items), DataType::Array(element)) => {
            let items: Option<Vec<Value>> =
                items.iter().map(|item| fitted(item, element).map(Cow::into_owned)).collect();
            items.map(|items| Cow::Owned(Value::Array(items.into())))
        }
        _ => None,
    }
}

/// The values as the prepared statement wants them.
pub(super) fn arguments(values: &[Value], parameters: &[PgTypeInfo]) -> Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for (value, parameter) in values.iter().zip(parameters) {
        let unsupported = || Error::unsupported(format!("a parameter of type {}", parameter.name()));
        let data_type = match (value, data_type(parameter)) {
            // NULL has the same form in every type.
            (Value::Null, data_type) => data_type.unwrap_or(DataType::Text),
            (_, Some(data_type)) => data_type,
            (_, None) => return Err(unsupported().with_hint("Cast a text parameter: $1::text::type.")),
        };
        let value = fitted(value, &data_type).ok_or_else(unsupported)?;
        add(&mut arguments, &value, &data_type)?;
    }
    Ok(arguments)
}

fn add(arguments: &mut PgArguments, value: &Value, data_type: &DataType) -> Result<()> {
    let added = match value {
        Value::Null => arguments.add(None::<i32>),
        Value::Bool(value) => arguments.add(*value),
        Value::Int(value) => match data_type {
            DataType::Int2 => arguments.add(value.to_i16()),
            DataType::Int4 => arguments.add(value.to_i32()),
            _ => arguments.add(*value),
        },
        Value::Float(value) if *data_type == DataType::Float4 => arguments.add(*value as f32),
        Value::Float(value) => arguments.add(*value),
        Value::Numeric(value) => arguments.add(*value),
        Value::Text(value) => arguments.add(value.to_string()),
        Value::Bytes(value) => arguments.add(value.to_vec()),
        Value::Uuid(value) => arguments.add(*value),
        Value::Date(value) => arguments.add(*value),
        Value::Time(value) => arguments.add(*value),
        Value::Timestamp(value) => arguments.add(*value),
        Value::TimestampTz(value) => arguments.add(*value),
        Value::Interval(value) => {
            arguments.add(PgInterval { months: value.months, days: value.days, microseconds: value.micros })
        }
        // The wrapper's form follows the declared type: jsonb has a version byte in front, json has not.
        Value::Json(value) if *data_type == DataType::Json => arguments.add(value.to_string()),
        Value::Json(value) => arguments.add((**value).clone()),
        Value::Array(items) => return add_array(arguments, items, data_type),
    };
    added.map_err(Error::internal)
}

fn add_array(arguments: &mut PgArguments, items: &[Value], data_type: &DataType) -> Result<()> {
    let DataType::Array(element) = data_type else { return Err(Error::internal("array for a scalar parameter")) };
    macro_rules! items {
        ($pattern:pat => $item:expr) => {{
            let items = items.iter().map(|item| if let $pattern = item { Some($item) } else { None });
            arguments.add(items.collect::<Vec<Option<_>>>())
        }};
    }
    let added = match &**element {
        DataType::Bool => items!(Value::Bool(item) => *item),
        DataType::Int2 => items!(Value::Int(item) => item.to_i16().unwrap_or_default()),
        DataType::Int4 => items!(Value::Int(item) => item.to_i32().unwrap_or_default()),
        DataType::Int8 => items!(Value::Int(item) => *item),
        DataType::Float4 => items!(Value::Float(item) => *item as f32),
        DataType::Float8 => items!(Value::Float(item) => *item),
        DataType::Numeric(_) => items!(Value::Numeric(item) => *item),
        DataType::Bytea => items!(Value::Bytes(item) => item.to_vec()),
        DataType::Uuid => items!(Value::Uuid(item) => *item),
        DataType::Date => items!(Value::Date(item) => *item),
        DataType::Time => items!(Value::Time(item) => *item),
        DataType::Timestamp => items!(Value::Timestamp(item) => *item),
        DataType::TimestampTz => items!(Value::TimestampTz(item) => *item),
        DataType::Jsonb => items!(Value::Json(item) => (**item).clone()),
        element if element.is_text() => items!(Value::Text(item) => item.to_string()),
        element => return Err(Error::unsupported(format!("a parameter of type {element}[]"))),
    };
    added.map_err(Error::internal)
}
