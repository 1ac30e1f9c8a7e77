//! Names of types.

use super::names;
use crate::error::{Error, Result, SqlState};
use crate::value::DataType;
use sqlparser::ast::{self, ArrayElemTypeDef, CharacterLength, ExactNumberInfo, TimezoneInfo};
use std::sync::Arc;

/// The longest char(n) and varchar(n), as in PostgreSQL.
const LENGTH_MAX: u64 = 10_485_760;
/// The digits that a numeric can hold.
const PRECISION_MAX: u64 = 28;

/// The type that a statement names.
pub(super) fn data_type(named: &ast::DataType) -> Result<DataType> {
    use ast::DataType as Named;
    Ok(match named {
        Named::Bool | Named::Boolean => DataType::Bool,
        Named::SmallInt(None) | Named::Int2(None) => DataType::Int2,
        Named::Int(None) | Named::Integer(None) | Named::Int4(None) => DataType::Int4,
        Named::BigInt(None) | Named::Int8(None) => DataType::Int8,
        Named::Real | Named::Float4 => DataType::Float4,
        Named::DoublePrecision | Named::Float8 => DataType::Float8,
        Named::Float(info) | Named::Double(info) => match info {
            ExactNumberInfo::None | ExactNumberInfo::Precision(25..=53) => DataType::Float8,
            ExactNumberInfo::Precision(1..=24) => DataType::Float4,
            _ => {
                return Err(invalid("precision for type float must be between 1 and 53 bits"));
            }
        },
        Named::Numeric(info) | Named::Decimal(info) | Named::Dec(info) => numeric(info)?,
        Named::Text => DataType::Text,
        Named::Varchar(length) | Named::CharacterVarying(length) | Named::CharVarying(length) => {
            DataType::Varchar(text_length(length.as_ref(), "varchar")?)
        }
        Named::Char(length) | Named::Character(length) => {
            DataType::Char(text_length(length.as_ref(), "char")?.unwrap_or(1))
        }
        Named::Bytea => DataType::Bytea,
        Named::Uuid => DataType::Uuid,
        Named::Date => DataType::Date,
        Named::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Time,
        Named::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Timestamp,
        Named::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => DataType::TimestampTz,
        Named::Interval { .. } => DataType::Interval,
        Named::JSON => DataType::Json,
        Named::JSONB => DataType::Jsonb,
        Named::Array(
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::Qualified(element, _)
            | ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => match data_type(element)? {
            // PostgreSQL does not tell arrays of several dimensions apart by their type; Rome has one dimension.
            DataType::Array(_) => return Err(Error::unsupported("an array of more than one dimension")),
            element => DataType::Array(Arc::new(element)),
        },
        Named::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return Err(undefined(&other.to_string())),
    })
}

/// Types that the parser does not know by itself.
fn custom(name: &ast::ObjectName, modifiers: &[String]) -> Result<DataType> {
    let name = match names::function(name) {
        Ok(name) => name,
        Err(_) => return Err(undefined(&name.to_string())),
    };
    Ok(match (name.as_str(), modifiers) {
        ("bpchar", []) => DataType::Text,
        ("timestamptz", _) => DataType::TimestampTz,
        ("name" | "citext", []) if name == "name" => DataType::Text,
        ("inet" | "cidr" | "macaddr" | "money" | "xml" | "citext" | "timetz" | "oid" | "int4range", _) => {
            return Err(Error::unsupported(format!("the type {name}")));
        }
        _ => return Err(undefined(&name)),
    })
}

/// The integer type behind `serial` and its relatives.
pub(super) fn serial(named: &ast::DataType) -> Option<DataType> {
    let ast::DataType::Custom(name, modifiers) = named else { return None };
    if !modifiers.is_empty() {
        return None;
    }
    match names::function(name).ok()?.as_str() {
        "smallserial" | "serial2" => Some(DataType::Int2),
        "serial" | "serial4" => Some(DataType::Int4),
        "bigserial" | "serial8" => Some(DataType::Int8),
        _ => None,
    }
}

fn undefined(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{}\" does not exist", name.to_lowercase()))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn numeric(info: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(DataType::Numeric(None)),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if !(1..=PRECISION_MAX).contains(&precision) {
        return Err(invalid(format!("NUMERIC precision {precision} must be between 1 and {PRECISION_MAX}")));
    }
    let fits = u64::try_from(scale).is_ok_and(|scale| scale <= precision);
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if fits => Ok(DataType::Numeric(Some((precision, scale)))),
        _ => Err(invalid(format!("NUMERIC scale {scale} must be between 0 and precision {precision}"))),
    }
}

fn text_length(length: Option<&CharacterLength>, name: &str) -> Result<Option<u32>> {
    let length = match length {
        None | Some(CharacterLength::Max) => return Ok(None),
        Some(CharacterLength::IntegerLength { length, .. }) => *length,
    };
    if length == 0 {
        return Err(invalid(format!("length for type {name} must be at least 1")));
    }
    match u32::try_from(length) {
        Ok(fits) if length <= LENGTH_MAX => Ok(Some(fits)),
        _ => Err(invalid(format!("length for type {name} cannot exceed {LENGTH_MAX}"))),
    }
}

/// The name that a cast to the type gives to its column: PostgreSQL's internal one, an array's being its element's.
pub(super) fn type_label(named: &ast::DataType) -> Option<String> {
    let label = match data_type(named).ok()? {
        DataType::Array(element) => internal_name(&element),
        other => internal_name(&other),
    };
    Some(label.to_owned())
}

fn internal_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Unknown => "unknown",
        DataType::Bool => "bool",
        DataType::Int2 => "int2",
        DataType::Int4 => "int4",
        DataType::Int8 => "int8",
        DataType::Float4 => "float4",
        DataType::Float8 => "float8",
        DataType::Numeric(_) => "numeric",
        DataType::Text => "text",
        DataType::Varchar(_) => "varchar",
        DataType::Char(_) => "bpchar",
        DataType::Bytea => "bytea",
        DataType::Uuid => "uuid",
        DataType::Date => "date",
        DataType::Time => "time",
        DataType::Timestamp => "timestamp",
        DataType::TimestampTz => "timestamptz",
        DataType::Interval => "interval",
        DataType::Json => "json",
        DataType::Jsonb => "jsonb",
        DataType::Array(_) => "array",
    }
}
