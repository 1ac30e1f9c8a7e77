//! JSON documents as order-preserving bytes, in the order of jsonb that [`crate::value::Value::total_cmp`] follows.
//!
//! ```text
//! document = 01            an empty array (least, but only as the whole document)
//!          | item
//! item     = 02            null
//!          | 03 string     a string
//!          | 04 decimal    a number, by its decimal text
//!          | 05 00|01      false, true
//!          | 06 count item…              an array; the count in 4 bytes
//!          | 07 count (string item)…     an object, its pairs by key length, then key bytes
//! ```
//!
//! `string` and `decimal` are those of [`super::key`].

use super::ordered::{Reader, corrupt, put_decimal, put_string};
use crate::error::{Error, Result, SqlState};
use crate::value::digits::Digits;
use crate::value::{JSON_DEPTH_MAX, order};
use serde_json::{Map, Value as Json};

const EMPTY_DOCUMENT: u8 = 0x01;
const NULL: u8 = 0x02;
const STRING: u8 = 0x03;
const NUMBER: u8 = 0x04;
const BOOLEAN: u8 = 0x05;
const ARRAY: u8 = 0x06;
const OBJECT: u8 = 0x07;

pub(super) fn put(out: &mut Vec<u8>, document: &Json) -> Result<()> {
    match document {
        Json::Array(items) if items.is_empty() => {
            out.push(EMPTY_DOCUMENT);
            Ok(())
        }
        document => put_item(out, document, JSON_DEPTH_MAX),
    }
}

fn put_item(out: &mut Vec<u8>, item: &Json, depth_left: usize) -> Result<()> {
    let too_deep = || {
        let message = format!("JSON nests deeper than {JSON_DEPTH_MAX} levels");
        Error::new(SqlState::STATEMENT_TOO_COMPLEX, message)
    };
    match item {
        Json::Null => out.push(NULL),
        Json::Bool(value) => out.extend([BOOLEAN, u8::from(*value)]),
        Json::Number(number) => {
            out.push(NUMBER);
            put_decimal(out, &Digits::from(number))?;
        }
        Json::String(text) => {
            out.push(STRING);
            put_string(out, text.as_bytes());
        }
        Json::Array(items) => {
            let depth_left = depth_left.checked_sub(1).ok_or_else(too_deep)?;
            put_count(out, ARRAY, items.len())?;
            for item in items {
                put_item(out, item, depth_left)?;
            }
        }
        Json::Object(object) => {
            let depth_left = depth_left.checked_sub(1).ok_or_else(too_deep)?;
            put_count(out, OBJECT, object.len())?;
            for (key, item) in order::jsonb_pairs(object) {
                put_string(out, key.as_bytes());
                put_item(out, item, depth_left)?;
            }
        }
    }
    Ok(())
}

fn put_count(out: &mut Vec<u8>, tag: u8, count: usize) -> Result<()> {
    let count = u32::try_from(count)
        .map_err(|_| Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many elements in a JSON document"))?;
    out.push(tag);
    out.extend(count.to_be_bytes());
    Ok(())
}

pub(super) fn take(reader: &mut Reader<'_, '_>) -> Result<Json> {
    match reader.byte()? {
        EMPTY_DOCUMENT => Ok(Json::Array(Vec::new())),
        tag => take_item(reader, tag, JSON_DEPTH_MAX),
    }
}

fn take_item(reader: &mut Reader<'_, '_>, tag: u8, depth_left: usize) -> Result<Json> {
    let deeper = || depth_left.checked_sub(1).ok_or_else(|| corrupt("JSON that nests too deeply"));
    Ok(match tag {
        NULL => Json::Null,
        BOOLEAN => match reader.byte()? {
            0 => Json::Bool(false),
            1 => Json::Bool(true),
            other => return Err(corrupt(format!("boolean {other:#04x}"))),
        },
        NUMBER => {
            Json::Number(reader.decimal()?.to_json_number().ok_or_else(|| corrupt("a JSON number out of range"))?)
        }
        STRING => Json::String(reader.text()?),
        ARRAY => {
            let depth_left = deeper()?;
            let count = u32::from_be_bytes(reader.fixed()?);
            let mut items = Vec::new();
            for _ in 0..count {
                let tag = reader.byte()?;
                items.push(take_item(reader, tag, depth_left)?);
            }
            Json::Array(items)
        }
        OBJECT => {
            let depth_left = deeper()?;
            let count = u32::from_be_bytes(reader.fixed()?);
            let mut object = Map::new();
            for _ in 0..count {
                let key = reader.text()?;
                let tag = reader.byte()?;
                object.insert(key, take_item(reader, tag, depth_left)?);
            }
            Json::Object(object)
        }
        other => return Err(corrupt(format!("JSON tag {other:#04x}"))),
    })
}
