//! PostgreSQL's text input of every type, with its errors: the literals of a statement, parameters in text format, casts from text.

use super::datetime::{parse_date, parse_time, parse_timestamp, parse_timestamptz};
use super::interval::parse_interval;
use super::{DataType, Value};
use crate::error::{Error, Result, SqlState};
use rust_decimal::Decimal;
use std::iter::Peekable;
use std::str::{Chars, FromStr};
use std::sync::Arc;
use uuid::Uuid;

impl Value {
    /// The value that a text stands for as one of this type. Length, precision and scale of the type are not applied: that is the
    /// business of [`super::cast`] (which cuts and rounds) and [`super::coerce_for_column`] (which refuses).
    ///
    /// # Errors
    /// 22P02, 22007 for text that isn't of this form, 22003, 22008 out of range, in PostgreSQL's words.
    pub fn from_text(text: &str, data_type: &DataType) -> Result<Value> {
        Ok(match data_type {
            DataType::Unknown | DataType::Text | DataType::Varchar(_) | DataType::Char(_) => Value::text(text),
            DataType::Bool => Value::Bool(parse_bool(text)?),
            DataType::Int2 | DataType::Int4 | DataType::Int8 => Value::Int(parse_integer(text, data_type)?),
            DataType::Float4 => Value::Float(f64::from(parse_float::<f32>(text, data_type)?)),
            DataType::Float8 => Value::Float(parse_float::<f64>(text, data_type)?),
            DataType::Numeric(_) => Value::Numeric(parse_numeric(text)?),
            DataType::Bytea => Value::Bytes(parse_bytea(text)?.into()),
            DataType::Uuid => Value::Uuid(Uuid::parse_str(text.trim()).map_err(|_| invalid_syntax("uuid", text))?),
            DataType::Date => Value::Date(parse_date(text)?),
            DataType::Time => Value::Time(parse_time(text)?),
            DataType::Timestamp => Value::Timestamp(parse_timestamp(text)?),
            DataType::TimestampTz => Value::TimestampTz(parse_timestamptz(text)?),
            DataType::Interval => Value::Interval(parse_interval(text)?),
            DataType::Json | DataType::Jsonb => Value::Json(Arc::new(parse_json(text)?)),
            DataType::Array(element) => Value::Array(parse_array(text, element)?.into()),
        })
    }
}

fn invalid_syntax(type_name: &str, text: &str) -> Error {
    Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type {type_name}: \"{text}\""))
}

/// Any prefix of true, false, yes, no, on and off that is not ambiguous, and 1 and 0.
fn parse_bool(text: &str) -> Result<bool> {
    let word = text.trim().to_ascii_lowercase();
    let is_prefix = |full: &str, shortest: usize| word.len() >= shortest && full.starts_with(&word);
    if is_prefix("true", 1) || is_prefix("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid_syntax("boolean", text))
    }
}

fn parse_integer(text: &str, data_type: &DataType) -> Result<i64> {
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid_syntax(&data_type.to_string(), text));
    }
    let (least, greatest) = data_type.integer_range().unwrap_or((i64::MIN, i64::MAX));
    trimmed.parse().ok().filter(|value| (least..=greatest).contains(value)).ok_or_else(|| {
        Error::new(SqlState::NUMERIC_OUT_OF_RANGE, format!("value \"{text}\" is out of range for type {data_type}"))
    })
}

fn parse_float<F: FromStr + Into<f64> + Copy>(text: &str, data_type: &DataType) -> Result<F> {
    let trimmed = text.trim();
    let parsed: F = trimmed.parse().map_err(|_| invalid_syntax(&data_type.to_string(), text))?;
    let float: f64 = parsed.into();
    let is_word = trimmed.contains(['n', 'N']); // Infinity, inf, NaN
    let mantissa = trimmed.split(['e', 'E']).next().unwrap_or_default();
    let underflow = float == 0.0 && mantissa.contains(|c: char| matches!(c, '1'..='9'));
    if (float.is_infinite() && !is_word) || underflow {
        return Err(Error::new(
            SqlState::NUMERIC_OUT_OF_RANGE,
            format!("\"{trimmed}\" is out of range for type {data_type}"),
        ));
    }
    Ok(parsed)
}

/// Up to 28 digits; more digits after the point are rounded.
fn parse_numeric(text: &str) -> Result<Decimal> {
    let trimmed = text.trim();
    let digits = super::digits::Digits::parse(trimmed).ok_or_else(|| match trimmed.to_ascii_lowercase().as_str() {
        "nan" | "infinity" | "-infinity" | "inf" | "-inf" => Error::unsupported(format!("{trimmed} as numeric")),
        _ => invalid_syntax("numeric", text),
    })?;
    let parsed = if trimmed.contains(['e', 'E']) {
        digits.to_decimal().or_else(|| Decimal::from_scientific(trimmed).ok())
    } else {
        Decimal::from_str(trimmed).ok()
    };
    let too_large = || Error::new(SqlState::NUMERIC_OUT_OF_RANGE, "value overflows numeric format");
    parsed.filter(|_| digits.exponent <= 29).ok_or_else(too_large)
}

/// The hex form `\x0aff`, or the old escape form with `\\` and `\ooo`.
fn parse_bytea(text: &str) -> Result<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        return parse_hex(hex);
    }
    let fault = || Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Ok(bytes),
            [b'\\', b'\\', tail @ ..] => {
                bytes.push(b'\\');
                tail
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                tail
            }
            [b'\\', ..] => return Err(fault()),
            [byte, tail @ ..] => {
                bytes.push(*byte);
                tail
            }
        };
    }
}

fn parse_hex(hex: &str) -> Result<Vec<u8>> {
    let mut digits = Vec::with_capacity(hex.len());
    for c in hex.chars().filter(|c| !c.is_ascii_whitespace()) {
        let digit = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        digits.push(digit.ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid hexadecimal digit: \"{c}\""))
        })?);
    }
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() {
        let message = "invalid hexadecimal data: odd number of digits";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn parse_json(text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
            .with_detail(error.to_string())
    })
}

/// `{a,"b c",NULL}`
fn parse_array(text: &str, element: &DataType) -> Result<Vec<Value>> {
    let malformed = |detail: &str| {
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
            .with_detail(detail)
    };
    let mut chars = text.trim().chars().peekable();
    if chars.next() != Some('{') {
        return Err(malformed("Array value must start with \"{\"."));
    }
    let mut items = Vec::new();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        if items.is_empty() && chars.next_if_eq(&'}').is_some() {
            break;
        }
        if chars.peek() == Some(&'{') {
            return Err(Error::unsupported("an array of more than one dimension"));
        }
        let (item, end) = array_element(&mut chars).map_err(malformed)?;
        items.push(item.map_or(Ok(Value::Null), |item| Value::from_text(&item, element))?);
        if end == '}' {
            break;
        }
    }
    if chars.next().is_some() {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(items)
}

/// One element, `None` for NULL, and the comma or brace after it. Only a word without quotes and escapes can be NULL, and only
/// blanks outside them are cut off at its end. Errors are the detail of the message.
fn array_element(chars: &mut Peekable<Chars<'_>>) -> Result<(Option<String>, char), &'static str> {
    const CUT_OFF: &str = "Unexpected end of input.";
    const UNEXPECTED: &str = "Unexpected array element.";
    let mut item = String::new();
    if chars.next_if_eq(&'"').is_some() {
        loop {
            match chars.next().ok_or(CUT_OFF)? {
                '"' => break,
                '\\' => item.push(chars.next().ok_or(CUT_OFF)?),
                c => item.push(c),
            }
        }
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        return match chars.next().ok_or(CUT_OFF)? {
            end @ (',' | '}') => Ok((Some(item), end)),
            _ => Err(UNEXPECTED),
        };
    }
    let mut escaped = false;
    let mut length = 0; // up to the last character that is no blank
    let end = loop {
        match chars.next().ok_or(CUT_OFF)? {
            end @ (',' | '}') => break end,
            '"' | '{' => return Err(UNEXPECTED),
            '\\' => {
                item.push(chars.next().ok_or(CUT_OFF)?);
                escaped = true;
                length = item.len();
            }
            c => {
                item.push(c);
                if !c.is_ascii_whitespace() {
                    length = item.len();
                }
            }
        }
    };
    item.truncate(length);
    match item.as_str() {
        "" => Err(UNEXPECTED),
        word if !escaped && word.eq_ignore_ascii_case("null") => Ok((None, end)),
        _ => Ok((Some(item), end)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(text: &str, data_type: &DataType) -> String {
        match Value::from_text(text, data_type) {
            Ok(value) => value.to_text(data_type),
            Err(error) => format!("{} {}", error.state(), error.message()),
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(through(" -12 ", &DataType::Int2), "-12");
        assert_eq!(through("abc", &DataType::Int4), "22P02 invalid input syntax for type integer: \"abc\"");
        let out_of_range = "22003 value \"99999999999\" is out of range for type integer";
        assert_eq!(through("99999999999", &DataType::Int4), out_of_range);
        assert_eq!(
            through("9223372036854775808", &DataType::Int8),
            "22003 value \"9223372036854775808\" is out of range for type bigint"
        );
        assert_eq!(through("1e400", &DataType::Float8), "22003 \"1e400\" is out of range for type double precision");
        assert_eq!(through("1e-400", &DataType::Float8), "22003 \"1e-400\" is out of range for type double precision");
        assert_eq!(through("1e40", &DataType::Float4), "22003 \"1e40\" is out of range for type real");
        assert_eq!(through("-inf", &DataType::Float8), "-Infinity");
        assert_eq!(through("0e5", &DataType::Float8), "0");
        assert_eq!(through("1.50", &DataType::Numeric(None)), "1.50");
        assert_eq!(through("1.5e3", &DataType::Numeric(None)), "1500");
        assert_eq!(through("1e30", &DataType::Numeric(None)), "22003 value overflows numeric format");
        assert_eq!(through("1,5", &DataType::Numeric(None)), "22P02 invalid input syntax for type numeric: \"1,5\"");
        assert_eq!(through("", &DataType::Float8), "22P02 invalid input syntax for type double precision: \"\"");
    }

    #[test]
    fn everything_else() {
        let yes = ["t", "TRUE", "y", "yes", "on", "1", " tr "];
        assert!(yes.iter().all(|text| through(text, &DataType::Bool) == "t"));
        assert!(["f", "no", "off", "of", "0"].iter().all(|text| through(text, &DataType::Bool) == "f"));
        assert_eq!(through("o", &DataType::Bool), "22P02 invalid input syntax for type boolean: \"o\"");
        assert_eq!(through("\\x0aFF", &DataType::Bytea), "\\x0aff");
        assert_eq!(through("a\\\\b\\001", &DataType::Bytea), "\\x615c6201");
        assert_eq!(through("\\x0", &DataType::Bytea), "22023 invalid hexadecimal data: odd number of digits");
        assert_eq!(through("\\x0g", &DataType::Bytea), "22023 invalid hexadecimal digit: \"g\"");
        assert_eq!(through("nonsense", &DataType::Uuid), "22P02 invalid input syntax for type uuid: \"nonsense\"");
        assert_eq!(through("{\"a\":", &DataType::Jsonb), "22P02 invalid input syntax for type json");
        let texts = DataType::Array(DataType::Text.into());
        let round_trip = r#"{a,"b c",NULL,"NULL",""}"#;
        assert_eq!(through(round_trip, &texts), round_trip);
        assert_eq!(through("{ 1 , 2 }", &DataType::Array(DataType::Int4.into())), "{1,2}");
        assert_eq!(through("{}", &texts), "{}");
        assert!(through("{a,}", &texts).starts_with("22P02 malformed array literal"));
        assert!(through("{ \"a\" b }", &texts).starts_with("22P02 malformed array literal"));
        assert_eq!(through("{a b , \"c\" ,\\,}", &texts), r#"{"a b",c,","}"#);
        assert!(through("{{1}}", &texts).starts_with("0A000"));
    }

    fn any_type() -> impl Strategy<Value = DataType> {
        use DataType::*;
        proptest::sample::select(vec![
            Bool,
            Int2,
            Int4,
            Int8,
            Float4,
            Float8,
            Numeric(None),
            Text,
            Bytea,
            Uuid,
            Date,
            Time,
            Timestamp,
            TimestampTz,
            Interval,
            Json,
            Jsonb,
            Array(Int4.into()),
            Array(Text.into()),
        ])
    }

    proptest! {
        /// Whatever parses prints, and its print parses to the same value; nothing panics.
        #[test]
        fn what_parses_round_trips(text in r#"([0-9]{1,4}[-:./ TP"\\{},]?){0,6}[a-z+-]{0,3}|.{0,20}"#, data_type in any_type()) {
            if let Ok(value) = Value::from_text(&text, &data_type) {
                prop_assert_eq!(Value::from_text(&value.to_text(&data_type), &data_type).unwrap(), value);
            }
        }

        #[test]
        fn floats_round_trip(bits in any::<u64>()) {
            let value = Value::Float(f64::from_bits(bits));
            prop_assert_eq!(Value::from_text(&value.to_text(&DataType::Float8), &DataType::Float8).unwrap(), value);
        }
    }
}
