//! Order-preserving keys: bytes that compare as the values do.
//!
//! For values `a` and `b` of one column, `encode(a) < encode(b)` exactly if `a` comes before `b` under the column's order: that of
//! [`Value::total_cmp`], reversed for DESC, with NULL where the column puts it. Equal values have equal bytes. No encoding is a
//! prefix of another of the same column, so the concatenation of several columns' encodings compares column by column.
//!
//! ```text
//! value   = marker payload
//! marker  = 00 NULL, of a column with NULLS FIRST; no payload
//!           01 not NULL
//!           02 NULL, of a column with NULLS LAST; no payload
//! payload = as below; each byte inverted if the column is DESC. All integers are big-endian.
//!
//! boolean                    00 false, 01 true
//! smallint, integer, bigint  8 bytes, two's complement with the sign bit flipped: one encoding for all widths
//! real, double precision     8 bytes, IEEE 754 double; a positive number with the sign bit flipped, a negative one with all bits
//!                            flipped. -0.0 as 0.0; NaN as ff..ff
//! numeric                    decimal (its scale is lost: 1.0 and 1.00 are the same key)
//! text, varchar, char        string of the UTF-8 bytes (collation C)
//! bytea                      string
//! uuid                       16 bytes
//! date                       4 bytes, days since 1970-01-01, sign bit flipped
//! time                       8 bytes, microseconds since midnight, sign bit flipped
//! timestamp, timestamptz     8 bytes, microseconds since 1970-01-01 00:00 UTC, sign bit flipped
//! interval                   12 bytes, its total length in microseconds, sign bit flipped (months, days and time are not told
//!                            apart: intervals that compare equal are the same key)
//! json, jsonb                document, see the module `document`
//! T[]                        for each element 01 payload-of-T or 02 for NULL; then 00
//!
//! string  = each byte as it is, but 00 as 00 ff; then 00 00
//! decimal = 01 magnitude-inverted (negative) | 02 (zero) | 03 magnitude (positive)
//! magnitude = exponent digits: the number is 0.d₁d₂… × 10^exponent; the exponent in 2 bytes, sign bit flipped; the digits two in a
//!             byte, their value 0 to 99 plus 1; then 00
//! ```
//!
//! These bytes are on disk: a change of any of them needs a new format and a migration (`golden_bytes` guards this).

use super::document;
use super::ordered::{Reader, corrupt, put_decimal, put_signed, put_string};
use crate::error::{Error, Result};
use crate::value::digits::Digits;
use crate::value::{DataType, Interval, Value, datetime};
use chrono::{DateTime, Datelike, NaiveDate};
use std::sync::Arc;
use uuid::Uuid;

const NULL_FIRST: u8 = 0x00;
const NOT_NULL: u8 = 0x01;
const NULL_LAST: u8 = 0x02;

const ARRAY_END: u8 = 0x00;
const ARRAY_VALUE: u8 = 0x01;
const ARRAY_NULL: u8 = 0x02;

/// How one column of a key is encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyColumn {
    /// The column's type.
    pub data_type: DataType,
    /// DESC
    pub descending: bool,
    /// NULLS FIRST
    pub nulls_first: bool,
}

impl KeyColumn {
    /// ASC NULLS LAST
    pub fn ascending(data_type: DataType) -> Self {
        Self { data_type, descending: false, nulls_first: false }
    }

    /// DESC NULLS FIRST
    pub fn descending(data_type: DataType) -> Self {
        Self { data_type, descending: true, nulls_first: true }
    }

    fn null_marker(&self) -> u8 {
        if self.nulls_first { NULL_FIRST } else { NULL_LAST }
    }

    /// What the bytes of a payload are xor-ed with.
    fn mask(&self) -> u8 {
        if self.descending { 0xff } else { 0x00 }
    }
}

/// Appends the encoding of `value`, which is of the column's type already.
///
/// # Errors
/// XX000 where the value is not of the column's type; 22003 and 54001 for JSON beyond the limits of numbers and depth.
pub fn encode_key_value(out: &mut Vec<u8>, value: &Value, column: &KeyColumn) -> Result<()> {
    if value.is_null() {
        out.push(column.null_marker());
        return Ok(());
    }
    out.push(NOT_NULL);
    let start = out.len();
    put_payload(out, value, &column.data_type)?;
    if column.descending {
        out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

/// Takes one value off the front. Where the encoding forgets something (the scale of a numeric, how an interval is put together),
/// the result equals what was encoded under [`Value::total_cmp`].
///
/// # Errors
/// XX001 where the bytes are none of the column's; `input` is then at some point within them.
pub fn decode_key_value(input: &mut &[u8], column: &KeyColumn) -> Result<Value> {
    let mut reader = Reader::new(input, column.mask());
    if is_null(&mut reader, column)? { Ok(Value::Null) } else { payload(&mut reader, &column.data_type) }
}

/// Takes one value off the front without decoding it.
///
/// # Errors
/// XX001 where the bytes are none of the column's.
pub fn skip_key_value(input: &mut &[u8], column: &KeyColumn) -> Result<()> {
    let mut reader = Reader::new(input, column.mask());
    if is_null(&mut reader, column)? { Ok(()) } else { skip_payload(&mut reader, &column.data_type) }
}

/// Reads the marker.
fn is_null(reader: &mut Reader<'_, '_>, column: &KeyColumn) -> Result<bool> {
    match reader.plain_byte()? {
        NOT_NULL => Ok(false),
        marker if marker == column.null_marker() => Ok(true),
        marker => Err(corrupt(format!("marker {marker:#04x}"))),
    }
}

fn put_payload(out: &mut Vec<u8>, value: &Value, data_type: &DataType) -> Result<()> {
    match (value, data_type) {
        (Value::Bool(value), DataType::Bool) => out.push(u8::from(*value)),
        (Value::Int(value), DataType::Int2 | DataType::Int4 | DataType::Int8) => put_signed(out, *value),
        (Value::Float(value), DataType::Float4 | DataType::Float8) => out.extend(ordered_bits(*value).to_be_bytes()),
        (Value::Numeric(value), DataType::Numeric(_)) => put_decimal(out, &Digits::from(value))?,
        (Value::Text(value), DataType::Text | DataType::Varchar(_) | DataType::Char(_)) => {
            put_string(out, value.as_bytes())
        }
        (Value::Bytes(value), DataType::Bytea) => put_string(out, value),
        (Value::Uuid(value), DataType::Uuid) => out.extend(value.as_bytes()),
        (Value::Date(value), DataType::Date) => {
            let days = value.num_days_from_ce() - DAYS_FROM_CE_TO_1970;
            out.extend((days ^ i32::MIN).to_be_bytes());
        }
        (Value::Time(value), DataType::Time) => put_signed(out, datetime::micros_of_time(*value)),
        (Value::Timestamp(value), DataType::Timestamp) => put_signed(out, value.and_utc().timestamp_micros()),
        (Value::TimestampTz(value), DataType::TimestampTz) => put_signed(out, value.timestamp_micros()),
        (Value::Interval(value), DataType::Interval) => {
            let biased = value.total_micros() + INTERVAL_BIAS;
            out.extend(biased.to_be_bytes().iter().skip(16 - INTERVAL_BYTES));
        }
        (Value::Json(value), DataType::Json | DataType::Jsonb) => document::put(out, value)?,
        (Value::Array(items), DataType::Array(element)) => {
            for item in items.iter() {
                if item.is_null() {
                    out.push(ARRAY_NULL);
                } else {
                    out.push(ARRAY_VALUE);
                    put_payload(out, item, element)?;
                }
            }
            out.push(ARRAY_END);
        }
        (value, data_type) => {
            let kind = value.natural_type();
            return Err(Error::internal(format!("a value of type {kind} in a key column of type {data_type}")));
        }
    }
    Ok(())
}

fn payload(reader: &mut Reader<'_, '_>, data_type: &DataType) -> Result<Value> {
    Ok(match data_type {
        DataType::Unknown => return Err(unknown_type()),
        DataType::Bool => match reader.byte()? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            other => return Err(corrupt(format!("boolean {other:#04x}"))),
        },
        DataType::Int2 | DataType::Int4 | DataType::Int8 => Value::Int(reader.signed()?),
        DataType::Float4 | DataType::Float8 => Value::Float(float_of_bits(u64::from_be_bytes(reader.fixed()?))),
        DataType::Numeric(_) => {
            Value::Numeric(reader.decimal()?.to_decimal().ok_or_else(|| corrupt("a numeric of more than 96 bits"))?)
        }
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) => Value::from(reader.text()?),
        DataType::Bytea => Value::Bytes(reader.string()?.into()),
        DataType::Uuid => Value::Uuid(Uuid::from_bytes(reader.fixed()?)),
        DataType::Date => {
            let days = i32::from_be_bytes(reader.fixed()?) ^ i32::MIN;
            let date = days.checked_add(DAYS_FROM_CE_TO_1970).and_then(NaiveDate::from_num_days_from_ce_opt);
            Value::Date(date.ok_or_else(|| corrupt("a date out of range"))?)
        }
        DataType::Time => {
            Value::Time(datetime::time_of_micros(reader.signed()?).ok_or_else(|| corrupt("a time out of range"))?)
        }
        DataType::Timestamp => Value::Timestamp(timestamp(reader)?.naive_utc()),
        DataType::TimestampTz => Value::TimestampTz(timestamp(reader)?),
        DataType::Interval => {
            let mut bytes = [0; 16];
            for (to, from) in bytes.iter_mut().skip(16 - INTERVAL_BYTES).zip(reader.fixed::<INTERVAL_BYTES>()?) {
                *to = from;
            }
            let interval = Interval::of_total_micros(i128::from_be_bytes(bytes) - INTERVAL_BIAS);
            Value::Interval(interval.ok_or_else(|| corrupt("an interval out of range"))?)
        }
        DataType::Json | DataType::Jsonb => Value::Json(Arc::new(document::take(reader)?)),
        DataType::Array(element) => {
            let mut items = Vec::new();
            loop {
                items.push(match reader.byte()? {
                    ARRAY_END => break Value::Array(items.into()),
                    ARRAY_VALUE => payload(reader, element)?,
                    ARRAY_NULL => Value::Null,
                    other => return Err(corrupt(format!("array element {other:#04x}"))),
                });
            }
        }
    })
}

fn skip_payload(reader: &mut Reader<'_, '_>, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Unknown => Err(unknown_type()),
        DataType::Bool => reader.skip(1),
        DataType::Date => reader.skip(4),
        DataType::Int2 | DataType::Int4 | DataType::Int8 | DataType::Float4 | DataType::Float8 => reader.skip(8),
        DataType::Time | DataType::Timestamp | DataType::TimestampTz => reader.skip(8),
        DataType::Interval => reader.skip(INTERVAL_BYTES),
        DataType::Uuid => reader.skip(16),
        DataType::Numeric(_) => reader.decimal().map(drop),
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) | DataType::Bytea => reader.skip_string(),
        DataType::Json | DataType::Jsonb => document::take(reader).map(drop),
        DataType::Array(element) => loop {
            match reader.byte()? {
                ARRAY_END => return Ok(()),
                ARRAY_VALUE => skip_payload(reader, element)?,
                ARRAY_NULL => {}
                other => return Err(corrupt(format!("array element {other:#04x}"))),
            }
        },
    }
}

const DAYS_FROM_CE_TO_1970: i32 = 719_163;

/// A total of months, days and microseconds at their extremes takes less than 80 bits.
const INTERVAL_BYTES: usize = 12;
const INTERVAL_BIAS: i128 = 1 << 95;

fn timestamp(reader: &mut Reader<'_, '_>) -> Result<DateTime<chrono::Utc>> {
    DateTime::from_timestamp_micros(reader.signed()?).ok_or_else(|| corrupt("a timestamp out of range"))
}

fn unknown_type() -> Error {
    Error::internal("a key column of unknown type")
}

fn ordered_bits(float: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    if float.is_nan() {
        return u64::MAX;
    }
    let bits = if float == 0.0 { 0 } else { float.to_bits() };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn float_of_bits(bits: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    match bits {
        u64::MAX => f64::NAN,
        _ => f64::from_bits(if bits & SIGN == 0 { !bits } else { bits & !SIGN }),
    }
}

#[cfg(test)]
mod tests;
