//! One value within a row, with its kind; the grammar is that of [`super`].

use super::corrupt;
use crate::error::Result;
use crate::value::{Interval, Value, datetime};
use bytes::Bytes;
use chrono::{DateTime, Datelike, NaiveDate};
use rust_decimal::Decimal;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

const FALSE: u8 = 0x01;
const TRUE: u8 = 0x02;
const INTEGER: u8 = 0x03;
const FLOAT: u8 = 0x04;
const NUMERIC: u8 = 0x05;
const TEXT: u8 = 0x06;
const BYTES: u8 = 0x07;
const UUID: u8 = 0x08;
const DATE: u8 = 0x09;
const TIME: u8 = 0x0a;
const TIMESTAMP: u8 = 0x0b;
const TIMESTAMPTZ: u8 = 0x0c;
const INTERVAL: u8 = 0x0d;
const JSON: u8 = 0x0e;
const ARRAY: u8 = 0x0f;

const NEGATIVE: u8 = 0x80;

const DAYS_FROM_CE_TO_1970: i32 = 719_163;

/// Arrays have one dimension; bytes that nest deeper than this are corrupt and must not exhaust the stack.
const ARRAY_DEPTH_MAX: usize = 8;

/// Appends a value; NULL appends nothing.
pub(super) fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Value::Int(value) => put_integer(out, INTEGER, *value),
        Value::Float(value) => {
            out.push(FLOAT);
            out.extend(value.to_le_bytes());
        }
        Value::Numeric(value) => {
            let sign = if value.is_sign_negative() { NEGATIVE } else { 0 };
            let scale = u8::try_from(value.scale()).unwrap_or_default(); // 28 at most
            let mantissa = value.mantissa().unsigned_abs();
            let length = (128 - mantissa.leading_zeros() as usize).div_ceil(8);
            out.extend([NUMERIC, sign | scale]);
            out.extend(mantissa.to_le_bytes().iter().take(length));
        }
        Value::Text(value) => {
            out.push(TEXT);
            out.extend_from_slice(value.as_bytes());
        }
        Value::Bytes(value) => {
            out.push(BYTES);
            out.extend_from_slice(value);
        }
        Value::Uuid(value) => {
            out.push(UUID);
            out.extend_from_slice(value.as_bytes());
        }
        Value::Date(value) => put_integer(out, DATE, i64::from(value.num_days_from_ce() - DAYS_FROM_CE_TO_1970)),
        Value::Time(value) => put_integer(out, TIME, datetime::micros_of_time(*value)),
        Value::Timestamp(value) => put_integer(out, TIMESTAMP, value.and_utc().timestamp_micros()),
        Value::TimestampTz(value) => put_integer(out, TIMESTAMPTZ, value.timestamp_micros()),
        Value::Interval(value) => {
            out.push(INTERVAL);
            out.extend(value.months.to_le_bytes());
            out.extend(value.days.to_le_bytes());
            put_integer_bytes(out, value.micros);
        }
        Value::Json(value) => {
            out.push(JSON);
            out.extend_from_slice(value.to_string().as_bytes());
        }
        Value::Array(items) => {
            out.push(ARRAY);
            let mut encoded = Vec::new();
            for item in items.iter() {
                encoded.clear();
                put(&mut encoded, item);
                put_length(out, encoded.len());
                out.extend_from_slice(&encoded);
            }
        }
    }
}

fn put_integer(out: &mut Vec<u8>, tag: u8, value: i64) {
    out.push(tag);
    put_integer_bytes(out, value);
}

fn put_integer_bytes(out: &mut Vec<u8>, value: i64) {
    let redundant = if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    // One bit for the sign; 0 needs none.
    let bits = if value == 0 { 0 } else { 65 - redundant as usize };
    out.extend(value.to_le_bytes().iter().take(bits.div_ceil(8)));
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// The value in this range of the row.
pub(super) fn take(row: &Bytes, range: Range<usize>) -> Result<Value> {
    take_nested(row, range, ARRAY_DEPTH_MAX)
}

fn take_nested(row: &Bytes, range: Range<usize>, depth_left: usize) -> Result<Value> {
    let encoded = row.get(range.clone()).ok_or_else(|| corrupt("an offset out of range"))?;
    let Some((tag, payload)) = encoded.split_first() else { return Ok(Value::Null) };
    Ok(match *tag {
        FALSE if payload.is_empty() => Value::Bool(false),
        TRUE if payload.is_empty() => Value::Bool(true),
        INTEGER => Value::Int(integer(payload)?),
        FLOAT => Value::Float(f64::from_le_bytes(fixed(payload)?)),
        NUMERIC => Value::Numeric(numeric(payload)?),
        TEXT => Value::Text(Arc::from(text(payload)?)),
        BYTES => Value::Bytes(row.slice(range.start + 1..range.end)),
        UUID => Value::Uuid(Uuid::from_bytes(fixed(payload)?)),
        DATE => {
            let days = i32::try_from(integer(payload)?).ok().and_then(|days| days.checked_add(DAYS_FROM_CE_TO_1970));
            let date = days.and_then(NaiveDate::from_num_days_from_ce_opt);
            Value::Date(date.ok_or_else(|| corrupt("a date out of range"))?)
        }
        TIME => Value::Time(datetime::time_of_micros(integer(payload)?).ok_or_else(|| corrupt("a time out of range"))?),
        TIMESTAMP => Value::Timestamp(instant(payload)?.naive_utc()),
        TIMESTAMPTZ => Value::TimestampTz(instant(payload)?),
        INTERVAL => {
            let (months, payload) = payload.split_first_chunk().ok_or_else(|| corrupt("a short interval"))?;
            let (days, payload) = payload.split_first_chunk().ok_or_else(|| corrupt("a short interval"))?;
            let (months, days) = (i32::from_le_bytes(*months), i32::from_le_bytes(*days));
            Value::Interval(Interval { months, days, micros: integer(payload)? })
        }
        JSON => {
            let document = serde_json::from_slice(payload).map_err(|error| corrupt(format!("JSON: {error}")))?;
            Value::Json(Arc::new(document))
        }
        ARRAY => {
            let depth_left = depth_left.checked_sub(1).ok_or_else(|| corrupt("arrays nest too deeply"))?;
            let mut items = Vec::new();
            let mut position = range.start + 1;
            while position < range.end {
                let (length, start) = length(row, position..range.end)?;
                let end = start.checked_add(length).filter(|end| *end <= range.end);
                let end = end.ok_or_else(|| corrupt("an array's element is cut off"))?;
                items.push(take_nested(row, start..end, depth_left)?);
                position = end;
            }
            Value::Array(items.into())
        }
        tag => return Err(corrupt(format!("value tag {tag:#04x}"))),
    })
}

fn fixed<const N: usize>(payload: &[u8]) -> Result<[u8; N]> {
    payload.try_into().map_err(|_| corrupt(format!("a value of {} bytes instead of {N}", payload.len())))
}

fn integer(payload: &[u8]) -> Result<i64> {
    if payload.len() > 8 {
        return Err(corrupt("an integer of more than 64 bits"));
    }
    let sign = if payload.last().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    Ok(payload.iter().rev().fold(sign, |value, byte| value << 8 | i64::from(*byte)))
}

fn numeric(payload: &[u8]) -> Result<Decimal> {
    let (head, mantissa) = payload.split_first().ok_or_else(|| corrupt("an empty numeric"))?;
    if mantissa.len() > 12 {
        return Err(corrupt("a numeric of more than 96 bits"));
    }
    let mantissa = mantissa.iter().rev().fold(0_i128, |value, byte| value << 8 | i128::from(*byte));
    let mut decimal = Decimal::try_from_i128_with_scale(mantissa, u32::from(head & !NEGATIVE))
        .map_err(|_| corrupt("a numeric's scale out of range"))?;
    decimal.set_sign_negative(head & NEGATIVE != 0);
    Ok(decimal)
}

fn text(payload: &[u8]) -> Result<&str> {
    std::str::from_utf8(payload).map_err(|_| corrupt("text that is not UTF-8"))
}

fn instant(payload: &[u8]) -> Result<DateTime<chrono::Utc>> {
    DateTime::from_timestamp_micros(integer(payload)?).ok_or_else(|| corrupt("a timestamp out of range"))
}

/// A length, and where it ends.
fn length(row: &[u8], range: Range<usize>) -> Result<(usize, usize)> {
    let mut length = 0;
    let bytes = row.get(range.clone()).unwrap_or_default();
    for (position, (byte, shift)) in bytes.iter().zip((0..63).step_by(7)).enumerate() {
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((length, range.start + position + 1));
        }
    }
    Err(corrupt("a length is cut off"))
}
