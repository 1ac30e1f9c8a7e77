//! PostgreSQL's text output of every type: what `psql` shows, what the wire's text format carries, what a cast to text gives.
//!
//! Floats print the shortest digits that read back as the same number, with an exponent where PostgreSQL uses one (`1e+20`);
//! `bytea` prints in hex (`\x0a`); timestamps as ISO with microseconds only if there are some; intervals in the `postgres` style;
//! jsonb with its spacing and key order, json compactly. Input is in [`super::parse`].

use super::datetime::{write_date, write_time, write_timestamp};
use super::interval::write_interval;
use super::order::jsonb_pairs;
use super::{DataType, Value};
use chrono::DateTime;
use serde_json::Value as Json;
use std::fmt;

impl Value {
    /// The value as PostgreSQL prints one of this type. The type matters where one representation serves several: a `Float` is
    /// `real` or `double precision`, `Json` is json or jsonb. NULL gives `NULL`; callers that tell NULL apart ask first.
    pub fn to_text(&self, data_type: &DataType) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = self.write_text(&mut out, data_type);
        out
    }

    /// The type that a value has by itself: the widest of its representation, except that integers that fit are `integer`.
    pub fn natural_type(&self) -> DataType {
        match self {
            Self::Null => DataType::Unknown,
            Self::Bool(_) => DataType::Bool,
            Self::Int(value) if i32::try_from(*value).is_ok() => DataType::Int4,
            Self::Int(_) => DataType::Int8,
            Self::Float(_) => DataType::Float8,
            Self::Numeric(_) => DataType::Numeric(None),
            Self::Text(_) => DataType::Text,
            Self::Bytes(_) => DataType::Bytea,
            Self::Uuid(_) => DataType::Uuid,
            Self::Date(_) => DataType::Date,
            Self::Time(_) => DataType::Time,
            Self::Timestamp(_) => DataType::Timestamp,
            Self::TimestampTz(_) => DataType::TimestampTz,
            Self::Interval(_) => DataType::Interval,
            Self::Json(_) => DataType::Jsonb,
            Self::Array(items) => {
                let wider = |left: DataType, right: DataType| if right == DataType::Int8 { right } else { left };
                let types = items.iter().filter(|item| !item.is_null()).map(Self::natural_type);
                DataType::Array(types.reduce(wider).unwrap_or(DataType::Text).into())
            }
        }
    }

    fn write_text(&self, out: &mut impl fmt::Write, data_type: &DataType) -> fmt::Result {
        match self {
            Self::Null => out.write_str("NULL"),
            Self::Bool(value) => out.write_str(if *value { "t" } else { "f" }),
            Self::Int(value) => write!(out, "{value}"),
            Self::Float(value) if *data_type == DataType::Float4 => {
                write_float(out, &format!("{:e}", *value as f32), 6)
            }
            Self::Float(value) => write_float(out, &format!("{value:e}"), 15),
            Self::Numeric(value) if value.is_zero() => write!(out, "{}", value.abs()),
            Self::Numeric(value) => write!(out, "{value}"),
            Self::Text(value) => out.write_str(value),
            Self::Bytes(value) => {
                out.write_str("\\x")?;
                value.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
            Self::Uuid(value) => write!(out, "{}", value.hyphenated()),
            Self::Date(value) => write_date(out, *value),
            Self::Time(value) => write_time(out, *value),
            Self::Timestamp(value) => write_timestamp(out, *value, ""),
            Self::TimestampTz(value) => write_timestamp(out, DateTime::naive_utc(value), "+00"),
            Self::Interval(value) => write_interval(out, value),
            Self::Json(value) if *data_type == DataType::Json => write!(out, "{value}"),
            Self::Json(value) => write_jsonb(out, value),
            Self::Array(items) => write_array(out, items, data_type),
        }
    }
}

/// PostgreSQL's text form, of the value's natural type.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, &self.natural_type())
    }
}

/// From Rust's shortest scientific form (`1.25e-7`) to PostgreSQL's: an exponent below -4 and from `exponent_from` on.
fn write_float(out: &mut impl fmt::Write, scientific: &str, exponent_from: i32) -> fmt::Result {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return out.write_str(match scientific {
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            _ => "NaN",
        });
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if exponent < -4 || exponent >= exponent_from {
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    out.write_str(sign)?;
    let whole = usize::try_from(exponent + 1).unwrap_or_default();
    if whole == 0 {
        let zeros = usize::try_from(-(exponent + 1)).unwrap_or_default();
        return write!(out, "0.{}{digits}", "0".repeat(zeros));
    }
    match digits.split_at_checked(whole) {
        Some((digits, "")) => out.write_str(digits),
        Some((whole, fraction)) => write!(out, "{whole}.{fraction}"),
        None => write!(out, "{digits}{}", "0".repeat(whole - digits.len())),
    }
}

fn write_array(out: &mut impl fmt::Write, items: &[Value], data_type: &DataType) -> fmt::Result {
    out.write_char('{')?;
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.write_char(',')?;
        }
        if item.is_null() {
            out.write_str("NULL")?;
            continue;
        }
        let text = match data_type {
            DataType::Array(element) => item.to_text(element),
            _ => item.to_string(),
        };
        let special = |c: char| matches!(c, '{' | '}' | '"' | '\\' | ',') || c.is_ascii_whitespace() || c == '\u{b}';
        if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
            write!(out, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))?;
        } else {
            out.write_str(&text)?;
        }
    }
    out.write_char('}')
}

fn write_jsonb(out: &mut impl fmt::Write, json: &Json) -> fmt::Result {
    match json {
        Json::Array(items) => {
            out.write_char('[')?;
            for (position, item) in items.iter().enumerate() {
                out.write_str(if position > 0 { ", " } else { "" })?;
                write_jsonb(out, item)?;
            }
            out.write_char(']')
        }
        Json::Object(object) => {
            out.write_char('{')?;
            for (position, (key, item)) in jsonb_pairs(object).into_iter().enumerate() {
                out.write_str(if position > 0 { ", " } else { "" })?;
                write!(out, "{}: ", Json::from(key.as_str()))?;
                write_jsonb(out, item)?;
            }
            out.write_char('}')
        }
        scalar => write!(out, "{scalar}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn floats_print_as_postgresql_prints_them() {
        let cases = [
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1e20, "1e+20"),
            (123_456.789, "123456.789"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-1.25e-7, "-1.25e-07"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (float, text) in cases {
            assert_eq!(Value::Float(float).to_text(&DataType::Float8), text);
        }
        let real = |float: f32| Value::Float(f64::from(float)).to_text(&DataType::Float4);
        assert_eq!([real(0.1), real(123_456.0), real(1e6)], ["0.1", "123456", "1e+06"]);
    }

    #[test]
    fn every_other_type_too() {
        let json: Json = serde_json::from_str(r#"{"bb": [1, null], "a": "x\"y"}"#).unwrap();
        let json = Value::Json(Arc::new(json));
        assert_eq!(json.to_text(&DataType::Jsonb), r#"{"a": "x\"y", "bb": [1, null]}"#);
        assert!(!json.to_text(&DataType::Json).contains(": "));
        assert_eq!(Value::Bool(true).to_string(), "t");
        assert_eq!(Value::Bytes(vec![0, 255, 10].into()).to_string(), "\\x00ff0a");
        assert_eq!(Value::Numeric("1.50".parse().unwrap()).to_string(), "1.50");
        let items = ["a", "b c", "", "null", "q\"\\"].map(Value::text);
        let array = Value::Array(items.into_iter().chain([Value::Null]).collect());
        assert_eq!(array.to_string(), r#"{a,"b c","","null","q\"\\",NULL}"#);
    }

    #[test]
    fn natural_types() {
        assert_eq!(Value::Int(1).natural_type(), DataType::Int4);
        assert_eq!(Value::Int(1 << 40).natural_type(), DataType::Int8);
        let array = Value::Array(Arc::from([Value::Null, Value::Int(1), Value::Int(1 << 40)]));
        assert_eq!(array.natural_type(), DataType::Array(DataType::Int8.into()));
    }
}
