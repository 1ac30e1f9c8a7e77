//! Casts between types, with PostgreSQL's rules and errors.
//!
//! An explicit cast ([`cast`], [`cast_from`]) cuts text to length and converts wherever PostgreSQL has a cast or both sides have a
//! text form. Assignment to a column ([`coerce_for_column`]) is stricter: it refuses text that is too long, and kinds that
//! PostgreSQL converts only explicitly; but text is read as a literal of the column's type, since applications send parameters as
//! text. In both, double precision rounds half to even when it becomes an integer, numeric rounds half away from zero, every
//! result is checked against the range of its type, and the time zone of a timestamptz is UTC.

use super::datetime::{micros_of_time, time_of_micros};
use super::order::nearest_float;
use super::{DataType, Interval, Value};
use crate::error::{Error, Result, SqlState};
use chrono::{DateTime, Duration, NaiveDateTime, NaiveTime, Timelike};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value as Json;
use std::sync::Arc;

/// How deeply the arrays and objects of a JSON document may nest: as deep as its text form can be read back.
pub const JSON_DEPTH_MAX: usize = 127;

/// An explicit cast, `value::to`, of a value of its natural type. NULL stays NULL.
///
/// # Errors
/// 22P02 for text that does not parse, 22003 out of range, 42846 where no such cast exists.
pub fn cast(value: Value, to: &DataType) -> Result<Value> {
    let from = value.natural_type();
    cast_from(value, &from, to)
}

/// An explicit cast, `value::to`, of a value of type `from`. The type matters for `real` and `char(n)`, which share their
/// representation with other types but not their text.
///
/// # Errors
/// As [`cast`].
pub fn cast_from(value: Value, from: &DataType, to: &DataType) -> Result<Value> {
    let fitted = fit(convert(value, from, to, Strictness::Explicit)?, to, Strictness::Explicit)?;
    Ok(fitted)
}

/// Brings a value that an application or statement supplied for a column to the column's type: range, length, scale, padding.
///
/// # Errors
/// 22001 too long, 22003 out of range, 22P02, 42804.
pub fn coerce_for_column(value: Value, to: &DataType) -> Result<Value> {
    let from = value.natural_type();
    fit(convert(value, &from, to, Strictness::Assignment)?, to, Strictness::Assignment)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    Assignment,
    Explicit,
}

/// To the representation and range of `to`, without its length or scale.
fn convert(value: Value, from: &DataType, to: &DataType, strictness: Strictness) -> Result<Value> {
    let explicit = strictness == Strictness::Explicit;
    Ok(match (value, to) {
        (value, DataType::Unknown) | (value @ Value::Null, _) => value,

        (Value::Text(text), to) if to.is_text() => match from {
            DataType::Char(_) if !matches!(to, DataType::Char(_)) => Value::text(text.trim_end_matches(' ')),
            _ => Value::Text(text),
        },
        (Value::Text(text), to) => Value::from_text(&text, to)?,
        (value, to) if to.is_text() => match value {
            Value::Bool(value) => Value::text(if value { "true" } else { "false" }),
            value => Value::from(value.to_text(from)),
        },

        (value @ Value::Bool(_), DataType::Bool) => value,
        (Value::Int(value), DataType::Bool) if explicit => Value::Bool(value != 0),
        (Value::Bool(value), to) if explicit && to.is_integer() => Value::Int(i64::from(value)),

        (Value::Int(value), to) if to.is_integer() => Value::Int(in_range(Some(value), to)?),
        (Value::Float(value), to) if to.is_integer() => Value::Int(in_range(integer_of_float(value), to)?),
        (Value::Numeric(value), to) if to.is_integer() => Value::Int(in_range(integer_of_decimal(&value), to)?),
        (Value::Int(value), DataType::Float8) => Value::Float(value as f64),
        (Value::Int(value), DataType::Float4) => Value::Float(f64::from(value as f32)),
        (value @ Value::Float(_), DataType::Float8) => value,
        (Value::Float(value), DataType::Float4) => Value::Float(real_of_double(value)?),
        (Value::Numeric(value), DataType::Float8) => Value::Float(nearest_float(&value)),
        (Value::Numeric(value), DataType::Float4) => {
            // Through text, so that it is rounded once.
            Value::Float(f64::from(value.to_string().parse::<f32>().unwrap_or(f32::NAN)))
        }
        (Value::Int(value), DataType::Numeric(_)) => Value::Numeric(value.into()),
        (Value::Float(value), DataType::Numeric(_)) => {
            Value::Numeric(decimal_of_float(value, *from == DataType::Float4)?)
        }
        (value @ Value::Numeric(_), DataType::Numeric(_)) => value,

        (value @ Value::Bytes(_), DataType::Bytea) => value,
        (value @ Value::Uuid(_), DataType::Uuid) => value,
        (value @ Value::Json(_), DataType::Json | DataType::Jsonb) => value,
        (Value::Json(json), to) if explicit => {
            scalar_of_json(&json, to)?.ok_or_else(|| no_conversion(from, to, strictness))?
        }

        (value, DataType::Date | DataType::Time | DataType::Timestamp | DataType::TimestampTz | DataType::Interval) => {
            convert_time(&value, to, explicit).ok_or_else(|| no_conversion(from, to, strictness))?
        }

        (Value::Array(items), DataType::Array(element)) => {
            let element_from = match from {
                DataType::Array(element) => element,
                other => other,
            };
            let one = |item: &Value| {
                let item_from =
                    if matches!(item, Value::Text(_)) { element_from.clone() } else { item_type(item, element_from) };
                fit(convert(item.clone(), &item_from, element, strictness)?, element, strictness)
            };
            Value::Array(items.iter().map(one).collect::<Result<_>>()?)
        }
        _ => return Err(no_conversion(from, to, strictness)),
    })
}

/// The declared element type where it is a real one; an element of an array without a known type has its own.
fn item_type(item: &Value, declared: &DataType) -> DataType {
    if *declared == DataType::Unknown { item.natural_type() } else { declared.clone() }
}

fn no_conversion(from: &DataType, to: &DataType, strictness: Strictness) -> Error {
    match strictness {
        Strictness::Explicit => Error::new(SqlState::CANNOT_COERCE, format!("cannot cast type {from} to {to}")),
        Strictness::Assignment => {
            Error::new(SqlState::DATATYPE_MISMATCH, format!("column is of type {to} but expression is of type {from}"))
                .with_hint("You will need to rewrite or cast the expression.")
        }
    }
}

/// Applies length, precision, scale and depth of the type.
fn fit(value: Value, to: &DataType, strictness: Strictness) -> Result<Value> {
    match (value, to) {
        (Value::Text(text), DataType::Varchar(Some(length))) => fit_text(text, *length, false, to, strictness),
        (Value::Text(text), DataType::Char(length)) => fit_text(text, *length, true, to, strictness),
        (Value::Numeric(value), DataType::Numeric(Some((precision, scale)))) => fit_numeric(value, *precision, *scale),
        (Value::Time(value), _) => Ok(Value::Time(time_to_micros(value))),
        (Value::Timestamp(value), _) => Ok(Value::Timestamp(timestamp_to_micros(value))),
        (Value::TimestampTz(value), _) => Ok(Value::TimestampTz(timestamp_to_micros(value.naive_utc()).and_utc())),
        (Value::Json(json), _) if json_depth_exceeds(&json, JSON_DEPTH_MAX) => {
            Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, format!("JSON nests deeper than {JSON_DEPTH_MAX} levels")))
        }
        (value, _) => Ok(value),
    }
}

/// Cuts (explicitly, or if only blanks go) and pads. Lengths are in characters.
fn fit_text(text: Arc<str>, length: u32, pad: bool, to: &DataType, strictness: Strictness) -> Result<Value> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if let Some((end, _)) = text.char_indices().nth(length) {
        let (kept, rest) = text.split_at_checked(end).unwrap_or((&text, ""));
        if strictness == Strictness::Assignment && rest.contains(|c| c != ' ') {
            return Err(Error::new(SqlState::STRING_RIGHT_TRUNCATION, format!("value too long for type {to}")));
        }
        return Ok(Value::text(kept));
    }
    if pad {
        let missing = length.saturating_sub(text.chars().count());
        if missing > 0 {
            return Ok(Value::from(format!("{text}{}", " ".repeat(missing))));
        }
    }
    Ok(Value::Text(text))
}

fn fit_numeric(value: Decimal, precision: u8, scale: u8) -> Result<Value> {
    let mut rounded = value.round_dp_with_strategy(u32::from(scale), RoundingStrategy::MidpointAwayFromZero);
    let whole_digits = u32::from(precision.saturating_sub(scale));
    // Beyond 28 digits no decimal reaches the limit.
    let limit = 10_i128.checked_pow(whole_digits).and_then(|limit| Decimal::try_from_i128_with_scale(limit, 0).ok());
    if limit.is_some_and(|limit| rounded.abs() >= limit) {
        return Err(Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {}.",
            if whole_digits == 0 { "1".to_owned() } else { format!("10^{whole_digits}") }
        )));
    }
    rounded.rescale(u32::from(scale));
    Ok(Value::Numeric(rounded))
}

fn in_range(value: Option<i64>, to: &DataType) -> Result<i64> {
    let (least, greatest) = to.integer_range().unwrap_or((i64::MIN, i64::MAX));
    value
        .filter(|value| (least..=greatest).contains(value))
        .ok_or_else(|| Error::new(SqlState::NUMERIC_OUT_OF_RANGE, format!("{to} out of range")))
}

/// Rounded half to even, as PostgreSQL does with `rint`.
fn integer_of_float(value: f64) -> Option<i64> {
    let rounded = value.round_ties_even();
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
    fits.then_some(rounded as i64)
}

/// Rounded half away from zero.
fn integer_of_decimal(value: &Decimal) -> Option<i64> {
    let rounded = value.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
    i64::try_from(rounded.mantissa()).ok()
}

fn real_of_double(value: f64) -> Result<f64> {
    let real = value as f32;
    let fault = |what| Err(Error::new(SqlState::NUMERIC_OUT_OF_RANGE, format!("value out of range: {what}")));
    if real.is_infinite() && value.is_finite() {
        return fault("overflow");
    }
    if real == 0.0 && value != 0.0 {
        return fault("underflow");
    }
    Ok(f64::from(real))
}

/// By the digits that are sure: 15 of a double, 6 of a real.
fn decimal_of_float(value: f64, real: bool) -> Result<Decimal> {
    if !value.is_finite() {
        return Err(Error::unsupported(format!("{} as numeric", Value::Float(value))));
    }
    let text = if real { format!("{value:.5e}") } else { format!("{value:.14e}") };
    let overflow = || Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "value overflows numeric format");
    let digits = super::digits::Digits::parse(&text).ok_or_else(overflow)?;
    if let Some(decimal) = digits.to_decimal() {
        return Ok(decimal);
    }
    // More than 28 digits after the point: the rest rounds away.
    if digits.exponent > 0 { Err(overflow()) } else { Decimal::from_scientific(&text).or(Ok(Decimal::ZERO)) }
}

/// PostgreSQL's casts of a jsonb scalar to a boolean or a number; `None` where the target is neither.
fn scalar_of_json(json: &Json, to: &DataType) -> Result<Option<Value>> {
    let kind = match json {
        Json::Bool(value) if *to == DataType::Bool => return Ok(Some(Value::Bool(*value))),
        Json::Number(number) if to.is_number() => {
            let value = Value::from_text(
                &number.to_string(),
                if number.is_f64() { to_exact(to) } else { &DataType::Numeric(None) },
            )?;
            return cast(value, to).map(Some);
        }
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "numeric",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    if *to != DataType::Bool && !to.is_number() {
        return Ok(None);
    }
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("cannot cast jsonb {kind} to type {to}")))
}

/// What a JSON number with fraction or exponent is read as on its way to a numeric type.
fn to_exact(to: &DataType) -> &DataType {
    if matches!(to, DataType::Float4 | DataType::Float8) { &DataType::Float8 } else { &DataType::Numeric(None) }
}

/// Casts among dates, times, timestamps and intervals. `None` where there is none.
fn convert_time(value: &Value, to: &DataType, explicit: bool) -> Option<Value> {
    let timestamp = match value {
        Value::Date(value) => Some(value.and_time(NaiveTime::MIN)),
        Value::Timestamp(value) => Some(*value),
        Value::TimestampTz(value) => Some(DateTime::naive_utc(value)),
        _ => None,
    };
    Some(match (value, to) {
        (Value::Time(_), DataType::Time) | (Value::Interval(_), DataType::Interval) => value.clone(),
        (Value::Time(value), DataType::Interval) => {
            Value::Interval(Interval { months: 0, days: 0, micros: micros_of_time(*value) })
        }
        (Value::Interval(value), DataType::Time) => {
            Value::Time(time_of_micros(value.micros.rem_euclid(86_400_000_000))?)
        }
        (Value::Date(_), DataType::Time) if !explicit => return None,
        (_, DataType::Date) => Value::Date(timestamp?.date()),
        (Value::Timestamp(_) | Value::TimestampTz(_), DataType::Time) => Value::Time(timestamp?.time()),
        (_, DataType::Timestamp) => Value::Timestamp(timestamp?),
        (_, DataType::TimestampTz) => Value::TimestampTz(timestamp?.and_utc()),
        _ => return None,
    })
}

/// Rounds to microseconds, but never past midnight.
fn time_to_micros(time: NaiveTime) -> NaiveTime {
    let micros = time.nanosecond() / 1_000 + u32::from(time.nanosecond() % 1_000 >= 500);
    let rounded =
        time.with_nanosecond(0).unwrap_or(time).overflowing_add_signed(Duration::microseconds(i64::from(micros)));
    if rounded.1 == 0 { rounded.0 } else { time.with_nanosecond(999_999_000).unwrap_or(time) }
}

fn timestamp_to_micros(timestamp: NaiveDateTime) -> NaiveDateTime {
    let nanos = i64::from(timestamp.nanosecond() % 1_000);
    if nanos == 0 {
        return timestamp;
    }
    let difference = if nanos >= 500 { 1_000 - nanos } else { -nanos };
    timestamp.checked_add_signed(Duration::nanoseconds(difference)).unwrap_or(timestamp)
}

fn json_depth_exceeds(json: &Json, depth: usize) -> bool {
    let deeper = |item: &Json| depth.checked_sub(1).is_none_or(|depth| json_depth_exceeds(item, depth));
    match json {
        Json::Array(items) => depth == 0 || items.iter().any(deeper),
        Json::Object(object) => depth == 0 || object.values().any(deeper),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(result: Result<Value>, to: &DataType) -> String {
        match result {
            Ok(value) => value.to_text(to),
            Err(error) => format!("{} {}", error.state(), error.message()),
        }
    }

    fn cast_text(text: &str, from: &DataType, to: &DataType) -> String {
        shown(cast_from(Value::from_text(text, from).unwrap(), from, to), to)
    }

    fn assigned(value: impl Into<Value>, to: &DataType) -> String {
        shown(coerce_for_column(value.into(), to), to)
    }

    #[test]
    fn numbers() {
        use DataType::*;
        let numeric = Numeric(None);
        let cases = [
            (["0.5", "1.5", "2.5", "-2.5"], Float8, Int4, ["0", "2", "2", "-2"]),
            (["0.5", "1.5", "2.5", "-2.5"], numeric.clone(), Int4, ["1", "2", "3", "-3"]),
            (["1", "0.1", "123456789", "1e-7"], Float4, numeric.clone(), ["1", "0.1", "123457000", "0.0000001"]),
            (
                ["0.1", "1e-30", "123456789012345678", "2"],
                Float8,
                numeric.clone(),
                ["0.1", "0", "123456789012346000", "2"],
            ),
            (["1", "0", "-1", "7"], Int4, Bool, ["t", "f", "t", "t"]),
            (
                ["1", "0.1", "16777217", "1e300"],
                Float8,
                Float4,
                ["1", "0.1", "1.6777216e+07", "22003 value out of range: overflow"],
            ),
            (
                ["1.005", "-1.005", "99.994", "99.995"],
                numeric.clone(),
                Numeric(Some((4, 2))),
                ["1.01", "-1.01", "99.99", "22003 numeric field overflow"],
            ),
            (
                ["32768", "-32769", "5", "0"],
                Int4,
                Int2,
                ["22003 smallint out of range", "22003 smallint out of range", "5", "0"],
            ),
            (
                ["NaN", "Infinity", "1e19", "2e9"],
                Float8,
                Int8,
                ["22003 bigint out of range", "22003 bigint out of range", "22003 bigint out of range", "2000000000"],
            ),
        ];
        for (texts, from, to, expected) in cases {
            assert_eq!(texts.map(|text| cast_text(text, &from, &to)), expected, "{from} to {to}");
        }
        assert_eq!(cast_text("3000000000", &Int8, &Int4), "22003 integer out of range");
        assert_eq!(shown(cast(Value::Bool(true), &Int4), &Int4), "1");
        assert_eq!(shown(cast(Value::Bool(true), &Uuid), &Uuid), "42846 cannot cast type boolean to uuid");
        assert_eq!(shown(cast(Value::Bool(true), &Text), &Text), "true");
    }

    #[test]
    fn text_lengths() {
        use DataType::*;
        assert_eq!(cast_text("abcdef", &Text, &Varchar(Some(3))), "abc");
        assert_eq!(cast_text("äöü€", &Text, &Char(3)), "äöü");
        assert_eq!(cast_text("a", &Text, &Char(3)), "a  ");
        assert_eq!(cast_text("a  ", &Char(3), &Text), "a");
        assert_eq!(assigned("abcd", &Varchar(Some(3))), "22001 value too long for type character varying(3)");
        assert_eq!(assigned("abc   ", &Varchar(Some(3))), "abc");
        assert_eq!(assigned("abcd", &Char(3)), "22001 value too long for type character(3)");
        assert_eq!(assigned("a", &Char(3)), "a  ");
    }

    #[test]
    fn times() {
        use DataType::*;
        assert_eq!(cast_text("2024-01-02 03:04:05", &Timestamp, &Date), "2024-01-02");
        assert_eq!(cast_text("2024-01-02 03:04:05", &Timestamp, &Time), "03:04:05");
        assert_eq!(cast_text("2024-01-02", &Date, &TimestampTz), "2024-01-02 00:00:00+00");
        assert_eq!(cast_text("2024-01-02 03:04:05+02", &TimestampTz, &Timestamp), "2024-01-02 01:04:05");
        assert_eq!(cast_text("1 day -02:00", &Interval, &Time), "22:00:00");
        assert_eq!(cast_text("02:00", &Time, &Interval), "02:00:00");
        assert_eq!(cast_text("02:00", &Time, &Date), "42846 cannot cast type time without time zone to date");
    }

    #[test]
    fn json_and_arrays() {
        use DataType::*;
        assert_eq!(cast_text("12.7", &Jsonb, &Int4), "13");
        assert_eq!(cast_text("true", &Jsonb, &Bool), "t");
        assert_eq!(cast_text("\"a\"", &Jsonb, &Int4), "22023 cannot cast jsonb string to type integer");
        assert_eq!(cast_text("{\"a\":1}", &Jsonb, &Text), "{\"a\": 1}");
        assert_eq!(cast_text("{1,NULL,3}", &Array(Int4.into()), &Array(Text.into())), "{1,NULL,3}");
        assert_eq!(cast_text("{1,2}", &Text, &Array(Int2.into())), "{1,2}");
        assert_eq!(cast_text("{0.1}", &Array(Float4.into()), &Array(Text.into())), "{0.1}");
        assert_eq!(cast_text("{70000}", &Array(Int4.into()), &Array(Int2.into())), "22003 smallint out of range");
        let nested = |depth| (0..depth).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]));
        let deepest = coerce_for_column(Value::from(nested(JSON_DEPTH_MAX)), &Jsonb).unwrap();
        assert_eq!(Value::from_text(&deepest.to_text(&Json), &Json).unwrap(), deepest);
        assert!(assigned(nested(JSON_DEPTH_MAX + 1), &Jsonb).starts_with("54001"));
    }

    #[test]
    fn assignment() {
        use DataType::*;
        assert_eq!(assigned("42", &Int4), "42");
        assert_eq!(assigned("abc", &Int4), "22P02 invalid input syntax for type integer: \"abc\"");
        assert_eq!(assigned(1, &Float8), "1");
        assert_eq!(assigned(1, &Numeric(Some((5, 2)))), "1.00");
        assert_eq!(assigned(2.5, &Int4), "2");
        assert_eq!(assigned(5_000_000_000_i64, &Int4), "22003 integer out of range");
        assert_eq!(assigned(true, &Int4), "42804 column is of type integer but expression is of type boolean");
        assert_eq!(assigned(1, &Bool), "42804 column is of type boolean but expression is of type integer");
        assert_eq!(assigned(12, &Text), "12");
        assert_eq!(coerce_for_column(Value::Null, &Int4).unwrap(), Value::Null);
        let nanos = chrono::NaiveDate::default().and_hms_nano_opt(1, 2, 3, 1_500).unwrap();
        assert_eq!(assigned(nanos, &Timestamp), "1970-01-01 01:02:03.000002");
    }

    proptest! {
        #[test]
        fn casts_never_panic(text in ".{0,12}", int in any::<i64>(), bits in any::<u64>(), to in 0_usize..22) {
            use DataType::*;
            let types = [
                Unknown, Bool, Int2, Int4, Int8, Float4, Float8, Numeric(None), Numeric(Some((3, 5))), Text, Varchar(Some(2)), Char(4),
                Bytea, Uuid, Date, Time, Timestamp, TimestampTz, Interval, Json, Jsonb, Array(Int2.into()),
            ];
            for value in [Value::from(text), Value::Int(int), Value::Float(f64::from_bits(bits))] {
                if let Ok(cast) = cast(value.clone(), &types[to]) {
                    // What a cast gives is already of the type.
                    prop_assert_eq!(coerce_for_column(cast.clone(), &types[to]).unwrap(), cast);
                }
                let _ = coerce_for_column(value, &types[to]);
            }
        }
    }
}
