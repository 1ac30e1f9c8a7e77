//! Values in other forms: hashes, hexadecimal and base64, `format()`, and `to_char()` of timestamps.

use super::Pattern::{Any, Bytea, Int4, Int8, Number, Text, Timestamp, TimestampTz};
use super::text::{quoted_identifier, quoted_literal, text_result};
use super::{Call, ScalarFunction};
use crate::error::{Error, Result, SqlState};
use crate::value::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{Datelike, NaiveDateTime, Timelike};
use md5::{Digest, Md5};
use rust_decimal::Decimal;
use std::fmt::Write as _;

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new("md5", &[Text], Text, md5_text, "The MD5 hash in hexadecimal."),
    ScalarFunction::new("md5", &[Bytea], Text, md5_bytes, "The MD5 hash in hexadecimal."),
    ScalarFunction::new("to_hex", &[Int4], Text, to_hex, "In hexadecimal."),
    ScalarFunction::new("to_hex", &[Int8], Text, to_hex, "In hexadecimal."),
    ScalarFunction::new("encode", &[Bytea, Text], Text, encode, "As text: 'hex', 'base64' or 'escape'."),
    ScalarFunction::new("decode", &[Text, Text], Bytea, decode, "From text: 'hex', 'base64' or 'escape'."),
    ScalarFunction::new("format", &[Text, Any], Text, format_text, "%s, %I and %L replaced by the arguments.")
        .variadic()
        .nullable(),
    ScalarFunction::new(
        "to_char",
        &[Timestamp, Text],
        Text,
        to_char_time,
        "By a template such as 'YYYY-MM-DD HH24:MI:SS'.",
    ),
    ScalarFunction::new("to_char", &[TimestampTz, Text], Text, to_char_time, "By a template, in UTC."),
    ScalarFunction::new("to_char", &[Number, Text], Text, to_char_number, "By a template such as 'FM999,990.00'."),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn md5_text(call: &Call<'_>) -> Result<Value> {
    text_result(hex(&Md5::digest(call.text(0)?.as_bytes())))
}

fn md5_bytes(call: &Call<'_>) -> Result<Value> {
    text_result(hex(&Md5::digest(call.bytes(0)?)))
}

fn to_hex(call: &Call<'_>) -> Result<Value> {
    let value = call.int(0)?;
    // An integer shows its 32 bits, a bigint its 64.
    match (*call.arg_type(0) == crate::value::DataType::Int4, i32::try_from(value)) {
        (true, Ok(value)) => text_result(format!("{value:x}")),
        _ => text_result(format!("{value:x}")),
    }
}

fn unknown_encoding(name: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized encoding: \"{name}\""))
}

fn encode(call: &Call<'_>) -> Result<Value> {
    let bytes = call.bytes(0)?;
    match call.text(1)?.to_ascii_lowercase().as_str() {
        "hex" => text_result(hex(bytes)),
        "base64" => {
            // Broken after 76 characters, as MIME and PostgreSQL do.
            let encoded: Vec<char> = STANDARD.encode(bytes).chars().collect();
            let lines: Vec<String> = encoded.chunks(76).map(|line| line.iter().collect()).collect();
            text_result(lines.join("\n"))
        }
        "escape" => {
            let mut out = String::new();
            for byte in bytes {
                match byte {
                    b'\\' => out.push_str("\\\\"),
                    0 | 0x80.. => {
                        let _ = write!(out, "\\{byte:03o}");
                    }
                    _ => out.push(char::from(*byte)),
                }
            }
            text_result(out)
        }
        other => Err(unknown_encoding(other)),
    }
}

fn decode(call: &Call<'_>) -> Result<Value> {
    let text = call.text(0)?;
    let invalid = |what: &str| Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid {what} data"));
    let bytes = match call.text(1)?.to_ascii_lowercase().as_str() {
        "hex" => {
            let digits: Option<Vec<u32>> =
                text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16)).collect();
            let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or_else(|| invalid("hexadecimal"))?;
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | *digit as u8)).collect()
        }
        "base64" => {
            let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            STANDARD.decode(dense).map_err(|_| invalid("base64"))?
        }
        "escape" => decode_escaped(text.as_bytes()).ok_or_else(|| invalid("escaped"))?,
        other => return Err(unknown_encoding(other)),
    };
    Ok(Value::Bytes(bytes.into()))
}

fn decode_escaped(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![];
    loop {
        text = match text {
            [] => return Some(out),
            [b'\\', b'\\', rest @ ..] => {
                out.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest
            }
            [b'\\', ..] => return None,
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

fn format_text(call: &Call<'_>) -> Result<Value> {
    if call.value(0).is_null() {
        return Ok(Value::Null);
    }
    let mut out = String::new();
    let mut next = 1;
    let mut chars = call.text(0)?.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let kind = match chars.next() {
            Some('%') => {
                out.push('%');
                continue;
            }
            Some(kind @ ('s' | 'I' | 'L')) => kind,
            Some(other) => {
                let message = format!("unrecognized format() type specifier \"{other}\"");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            None => return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "unterminated format() type specifier")),
        };
        let Some(value) = call.args.get(next) else {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "too few arguments for format()"));
        };
        let text = (!value.is_null()).then(|| value.to_text(call.arg_type(next)));
        match (kind, text) {
            ('s', text) => out.push_str(&text.unwrap_or_default()),
            ('L', text) => out.push_str(&text.map_or("NULL".to_owned(), |text| quoted_literal(&text))),
            (_, Some(text)) => out.push_str(&quoted_identifier(&text)),
            (_, None) => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
        next += 1;
    }
    text_result(out)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A template's fields, longer ones before their prefixes.
type Field = (&'static str, fn(&NaiveDateTime) -> String);

static FIELDS: &[Field] = &[
    ("HH24", |t| format!("{:02}", t.hour())),
    ("HH12", |t| format!("{:02}", t.hour12().1)),
    ("HH", |t| format!("{:02}", t.hour12().1)),
    ("MI", |t| format!("{:02}", t.minute())),
    ("SS", |t| format!("{:02}", t.second())),
    ("MS", |t| format!("{:03}", t.nanosecond() / 1_000_000)),
    ("US", |t| format!("{:06}", t.nanosecond() / 1000)),
    ("AM", |t| meridiem(t, "AM", "PM")),
    ("PM", |t| meridiem(t, "AM", "PM")),
    ("am", |t| meridiem(t, "am", "pm")),
    ("pm", |t| meridiem(t, "am", "pm")),
    ("YYYY", |t| format!("{:04}", t.year())),
    ("YY", |t| format!("{:02}", t.year().rem_euclid(100))),
    ("Q", |t| t.month0().div_euclid(3).saturating_add(1).to_string()),
    ("MM", |t| format!("{:02}", t.month())),
    ("MONTH", |t| format!("{:9}", month(t).to_uppercase())),
    ("Month", |t| format!("{:9}", month(t))),
    ("month", |t| format!("{:9}", month(t).to_lowercase())),
    ("MON", |t| short(month(t)).to_uppercase()),
    ("Mon", |t| short(month(t))),
    ("mon", |t| short(month(t)).to_lowercase()),
    ("DAY", |t| format!("{:9}", day(t).to_uppercase())),
    ("Day", |t| format!("{:9}", day(t))),
    ("day", |t| format!("{:9}", day(t).to_lowercase())),
    ("DY", |t| short(day(t)).to_uppercase()),
    ("Dy", |t| short(day(t))),
    ("dy", |t| short(day(t)).to_lowercase()),
    ("DDD", |t| format!("{:03}", t.ordinal())),
    ("DD", |t| format!("{:02}", t.day())),
    ("ID", |t| t.weekday().number_from_monday().to_string()),
    ("IW", |t| format!("{:02}", t.iso_week().week())),
    ("IYYY", |t| format!("{:04}", t.iso_week().year())),
    ("D", |t| t.weekday().number_from_sunday().to_string()),
    ("WW", |t| format!("{:02}", t.ordinal0() / 7 + 1)),
    ("TZ", |_| "UTC".to_owned()),
    ("OF", |_| "+00".to_owned()),
];

fn meridiem(time: &NaiveDateTime, morning: &str, afternoon: &str) -> String {
    if time.hour() < 12 { morning.to_owned() } else { afternoon.to_owned() }
}

fn month(time: &NaiveDateTime) -> &'static str {
    MONTHS.get(time.month0() as usize).copied().unwrap_or_default()
}

fn day(time: &NaiveDateTime) -> &'static str {
    DAYS.get(time.weekday().num_days_from_sunday() as usize).copied().unwrap_or_default()
}

fn short(name: &str) -> String {
    name.chars().take(3).collect()
}

fn to_char_time(call: &Call<'_>) -> Result<Value> {
    let time = call.timestamp(0)?;
    let mut template = call.text(1)?;
    let mut out = String::new();
    while let Some(c) = template.chars().next() {
        if let Some(quoted) = template.strip_prefix('"') {
            let (literal, rest) = quoted.split_once('"').unwrap_or((quoted, ""));
            out.push_str(literal);
            template = rest;
            continue;
        }
        let (fill, body) = template.strip_prefix("FM").map_or((true, template), |body| (false, body));
        if let Some((name, render)) = FIELDS.iter().find(|(name, _)| body.starts_with(name)) {
            let text = render(&time);
            let trimmed = text.trim_end().trim_start_matches('0');
            out.push_str(match fill {
                true => &text,
                false if trimmed.is_empty() => "0",
                false => trimmed,
            });
            template = body.get(name.len()..).unwrap_or_default();
        } else {
            out.push(c);
            template = template.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    text_result(out)
}

/// Templates of digits (`9`, `0`), one decimal point (`.`, `D`), group separators (`,`, `G`) and `FM`.
fn to_char_number(call: &Call<'_>) -> Result<Value> {
    let (number, template) = (call.numeric(0)?, call.text(1)?);
    let (fill, template) = template.strip_prefix("FM").map_or((true, template), |rest| (false, rest));
    if let Some(other) = template.chars().find(|c| !matches!(c, '9' | '0' | '.' | 'D' | ',' | 'G')) {
        return Err(Error::unsupported(format_args!("'{other}' in a number template of to_char()")));
    }
    let (whole, fraction) = template.split_once(['.', 'D']).unwrap_or((template, ""));
    let digits = |part: &str| part.chars().filter(|c| matches!(c, '9' | '0')).count();
    let scale = u32::try_from(digits(fraction)).unwrap_or(u32::MAX);
    let rounded = number.round_dp_with_strategy(scale, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
    let absolute = rounded.abs().to_string();
    let (integral, decimals) = absolute.split_once('.').unwrap_or((&absolute, ""));
    let integral = if integral == "0" { "" } else { integral };
    let width = digits(whole);
    let negative = rounded < Decimal::ZERO;
    let mut source = format!("{integral:>width$}").chars().collect::<Vec<_>>().into_iter();
    let overflow = integral.len() > width;
    let mut out = String::new();
    let mut started = false;
    for c in whole.chars() {
        match c {
            '9' | '0' => {
                let digit = if overflow { '#' } else { source.next().unwrap_or(' ') };
                started |= digit != ' ' || c == '0';
                out.push(match digit {
                    ' ' if started => '0',
                    digit => digit,
                });
            }
            _ if started => out.push(','),
            _ => out.push(' '),
        }
    }
    let sign = if negative { '-' } else { ' ' };
    let blank = out.len() - out.trim_start().len();
    out.insert(blank, sign);
    if template.contains(['.', 'D']) {
        out.push('.');
        let mut decimals = decimals.chars();
        let kept_zeros = fraction.rfind('0').map_or(0, |last| last + 1);
        let mut tail = String::new();
        for _ in fraction.chars() {
            tail.push(if overflow { '#' } else { decimals.next().unwrap_or('0') });
        }
        if !fill {
            while tail.len() > kept_zeros && tail.ends_with('0') {
                tail.pop();
            }
        }
        out.push_str(&tail);
    }
    text_result(if fill { out.as_str() } else { out.trim() })
}
