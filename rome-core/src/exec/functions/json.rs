//! json and jsonb functions, and the conversion of other values into JSON.

use super::Pattern::{Any, Bool, Int4, Json, Jsonb, Text};
use super::text::{count_result, text_result};
use super::{Call, ScalarFunction};
use crate::error::{Error, Result, SqlState};
use crate::value::{DataType, Value, cast};
use serde_json::Value as Document;

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new("jsonb_typeof", &[Jsonb], Text, type_of, "object, array, string, number, boolean or null."),
    ScalarFunction::new("json_typeof", &[Json], Text, type_of, "object, array, string, number, boolean or null."),
    ScalarFunction::new("jsonb_array_length", &[Jsonb], Int4, array_length, "The number of elements."),
    ScalarFunction::new("json_array_length", &[Json], Int4, array_length, "The number of elements."),
    ScalarFunction::new("jsonb_build_object", &[Any], Jsonb, build_object, "An object of keys and values in turn.")
        .variadic()
        .nullable(),
    ScalarFunction::new("json_build_object", &[Any], Json, build_object, "An object of keys and values in turn.")
        .variadic()
        .nullable(),
    ScalarFunction::new("jsonb_build_array", &[Any], Jsonb, build_array, "An array.").variadic().nullable(),
    ScalarFunction::new("json_build_array", &[Any], Json, build_array, "An array.").variadic().nullable(),
    ScalarFunction::new("to_jsonb", &[Any], Jsonb, to_document, "Any value as JSON."),
    ScalarFunction::new("to_json", &[Any], Json, to_document, "Any value as JSON."),
    ScalarFunction::new("jsonb_extract_path", &[Jsonb, Text], Jsonb, extract_path, "What lies at a path.").variadic(),
    ScalarFunction::new("json_extract_path", &[Json, Text], Json, extract_path, "What lies at a path.").variadic(),
    ScalarFunction::new(
        "jsonb_extract_path_text",
        &[Jsonb, Text],
        Text,
        extract_path_text,
        "What lies at a path, as text.",
    )
    .variadic(),
    ScalarFunction::new(
        "json_extract_path_text",
        &[Json, Text],
        Text,
        extract_path_text,
        "What lies at a path, as text.",
    )
    .variadic(),
    ScalarFunction::new("jsonb_exists", &[Jsonb, Text], Bool, exists, "Whether there is such a key or text element."),
    ScalarFunction::new("jsonb_strip_nulls", &[Jsonb], Jsonb, strip_nulls, "Without members that are null."),
];

fn type_of(call: &Call<'_>) -> Result<Value> {
    text_result(match call.json(0)? {
        Document::Null => "null",
        Document::Bool(_) => "boolean",
        Document::Number(_) => "number",
        Document::String(_) => "string",
        Document::Array(_) => "array",
        Document::Object(_) => "object",
    })
}

fn array_length(call: &Call<'_>) -> Result<Value> {
    match call.json(0)? {
        Document::Array(items) => count_result(items.len()),
        Document::Object(_) => {
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a non-array"))
        }
        _ => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "cannot get array length of a scalar")),
    }
}

fn build_object(call: &Call<'_>) -> Result<Value> {
    if !call.args.len().is_multiple_of(2) {
        let message = "argument list must have even number of elements";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let mut members = serde_json::Map::new();
    for position in (0..call.args.len()).step_by(2) {
        let key = call.value(position);
        if key.is_null() {
            let message = format!("argument {}: key must not be null", position + 1);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let value = to_json(call.value(position + 1), call.arg_type(position + 1))?;
        members.insert(key.to_text(call.arg_type(position)), value);
    }
    Ok(Value::from(Document::Object(members)))
}

fn build_array(call: &Call<'_>) -> Result<Value> {
    let items = call.args.iter().enumerate().map(|(position, value)| to_json(value, call.arg_type(position)));
    Ok(Value::from(Document::Array(items.collect::<Result<_>>()?)))
}

fn to_document(call: &Call<'_>) -> Result<Value> {
    to_json(call.value(0), call.arg_type(0)).map(Value::from)
}

/// Any value as JSON: numbers, booleans, arrays and documents as themselves, the rest as text.
///
/// # Errors
/// 22P02 for a numeric value that JSON can't hold.
pub(crate) fn to_json(value: &Value, data_type: &DataType) -> Result<Document> {
    Ok(match value {
        Value::Null => Document::Null,
        Value::Bool(value) => Document::Bool(*value),
        Value::Int(value) => Document::from(*value),
        Value::Float(value) if value.is_finite() => Document::from(*value),
        Value::Numeric(value) => value_from_json_text(&value.to_string())?,
        Value::Json(document) => (**document).clone(),
        Value::Array(items) => {
            let item_type = match data_type {
                DataType::Array(item) => item,
                other => other,
            };
            Document::Array(items.iter().map(|item| to_json(item, item_type)).collect::<Result<_>>()?)
        }
        // ISO 8601 with a T, as JSON's readers expect it.
        Value::Timestamp(_) | Value::TimestampTz(_) => Document::String(value.to_text(data_type).replacen(' ', "T", 1)),
        other => Document::String(other.to_text(data_type)),
    })
}

/// A JSON document from its text.
///
/// # Errors
/// 22P02
pub(crate) fn value_from_json_text(text: &str) -> Result<Document> {
    match cast(Value::text(text), &DataType::Jsonb)? {
        Value::Json(document) => Ok(std::sync::Arc::unwrap_or_clone(document)),
        _ => Err(Error::internal("a cast to jsonb gave something else")),
    }
}

/// Goes one step into a document: a key, or a position (from the end where negative).
pub(crate) fn step<'a>(document: &'a Document, key: &str) -> Option<&'a Document> {
    match document {
        Document::Object(members) => members.get(key),
        Document::Array(items) => element(items, key.parse().ok()?),
        _ => None,
    }
}

/// The element at a position, from 0; from the end where negative.
pub(crate) fn element(items: &[Document], position: i64) -> Option<&Document> {
    let length = i64::try_from(items.len()).ok()?;
    let position = if position < 0 { position.checked_add(length)? } else { position };
    items.get(usize::try_from(position).ok()?)
}

/// A document as `->>` gives it: strings bare, null as NULL.
pub(crate) fn as_text(document: &Document, data_type: &DataType) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::String(text) => Value::text(text),
        other => Value::text(&Value::from(other.clone()).to_text(data_type)),
    }
}

fn at_path<'a>(call: &Call<'a>) -> Result<Option<&'a Document>> {
    let mut found = Some(call.json(0)?);
    for position in 1..call.args.len() {
        let key = call.text(position)?;
        found = found.and_then(|document| step(document, key));
    }
    Ok(found)
}

fn extract_path(call: &Call<'_>) -> Result<Value> {
    Ok(at_path(call)?.map_or(Value::Null, |document| Value::from(document.clone())))
}

fn extract_path_text(call: &Call<'_>) -> Result<Value> {
    Ok(at_path(call)?.map_or(Value::Null, |document| as_text(document, call.arg_type(0))))
}

fn exists(call: &Call<'_>) -> Result<Value> {
    let key = call.text(1)?;
    Ok(Value::Bool(match call.json(0)? {
        Document::Object(members) => members.contains_key(key),
        Document::Array(items) => items.iter().any(|item| item.as_str() == Some(key)),
        Document::String(text) => text == key,
        _ => false,
    }))
}

fn strip_nulls(call: &Call<'_>) -> Result<Value> {
    Ok(Value::from(without_nulls(call.json(0)?)))
}

fn without_nulls(document: &Document) -> Document {
    match document {
        Document::Object(members) => {
            let kept = members.iter().filter(|(_, member)| !member.is_null());
            Document::Object(kept.map(|(key, member)| (key.clone(), without_nulls(member))).collect())
        }
        Document::Array(items) => Document::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// `left @> right`: every member, element or scalar of the right is found in the left.
pub(crate) fn contains(left: &Document, right: &Document) -> bool {
    match (left, right) {
        (Document::Object(left), Document::Object(right)) => {
            right.iter().all(|(key, value)| left.get(key).is_some_and(|found| contains(found, value)))
        }
        (Document::Array(left), Document::Array(right)) => {
            right.iter().all(|value| left.iter().any(|found| contains(found, value)))
        }
        // A scalar counts as an array of itself on the right, at the top as in PostgreSQL.
        (Document::Array(left), scalar) if !scalar.is_object() => left.iter().any(|found| same(found, scalar)),
        (left, right) => same(left, right),
    }
}

fn same(left: &Document, right: &Document) -> bool {
    let value = |document: &Document| Value::from(document.clone());
    value(left).total_cmp(&value(right)).is_eq()
}
