//! Array functions. Arrays have one dimension and begin at 1.

use super::Pattern::{Element, Elements, Int4, Text, Texts};
use super::{Call, ScalarFunction, text};
use crate::error::Result;
use crate::value::{DataType, Value};

pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction::new("array_length", &[Elements, Int4], Int4, array_length, "The length; NULL where empty."),
    ScalarFunction::new("array_upper", &[Elements, Int4], Int4, array_length, "The last position; NULL where empty."),
    ScalarFunction::new("array_lower", &[Elements, Int4], Int4, array_lower, "The first position; NULL where empty."),
    ScalarFunction::new("array_ndims", &[Elements], Int4, array_ndims, "1; NULL where empty."),
    ScalarFunction::new("cardinality", &[Elements], Int4, cardinality, "The number of elements."),
    ScalarFunction::new(
        "array_element",
        &[Elements, Int4],
        Element,
        array_element,
        "The element at a position, as `array[position]`; NULL outside.",
    ),
    ScalarFunction::new(
        "array_position",
        &[Elements, Element],
        Int4,
        array_position,
        "Where an element is first found.",
    )
    .nullable(),
    ScalarFunction::new("array_append", &[Elements, Element], Elements, array_append, "With an element at the end.")
        .nullable(),
    ScalarFunction::new(
        "array_prepend",
        &[Element, Elements],
        Elements,
        array_prepend,
        "With an element at the start.",
    )
    .nullable(),
    ScalarFunction::new("array_cat", &[Elements, Elements], Elements, array_cat, "Both, one after the other.")
        .nullable(),
    ScalarFunction::new("array_remove", &[Elements, Element], Elements, array_remove, "Without an element.").nullable(),
    ScalarFunction::new(
        "array_to_string",
        &[Elements, Text],
        Text,
        array_to_string,
        "Joined by a separator, NULLs left out.",
    ),
    ScalarFunction::new(
        "array_to_string",
        &[Elements, Text, Text],
        Text,
        array_to_string,
        "With a text in place of NULLs.",
    ),
    ScalarFunction::new("string_to_array", &[Text, Text], Texts, string_to_array, "Split at a separator.").nullable(),
];

fn array_length(call: &Call<'_>) -> Result<Value> {
    let items = call.array(0)?;
    if items.is_empty() || call.int(1)? != 1 { Ok(Value::Null) } else { text::count_result(items.len()) }
}

fn array_lower(call: &Call<'_>) -> Result<Value> {
    let items = call.array(0)?;
    Ok(if items.is_empty() || call.int(1)? != 1 { Value::Null } else { Value::Int(1) })
}

fn array_ndims(call: &Call<'_>) -> Result<Value> {
    Ok(if call.array(0)?.is_empty() { Value::Null } else { Value::Int(1) })
}

fn cardinality(call: &Call<'_>) -> Result<Value> {
    text::count_result(call.array(0)?.len())
}

/// The items; a NULL array has none.
fn items<'a>(call: &Call<'a>, position: usize) -> Result<&'a [Value]> {
    if call.value(position).is_null() { Ok(&[]) } else { call.array(position) }
}

fn array_element(call: &Call<'_>) -> Result<Value> {
    let items = call.array(0)?;
    let position = call.int(1)?.checked_sub(1).and_then(|position| usize::try_from(position).ok());
    Ok(position.and_then(|position| items.get(position)).cloned().unwrap_or(Value::Null))
}

fn array_position(call: &Call<'_>) -> Result<Value> {
    if call.value(0).is_null() {
        return Ok(Value::Null);
    }
    let found = call.array(0)?.iter().position(|item| item.total_cmp(call.value(1)).is_eq());
    found.map_or(Ok(Value::Null), |position| text::count_result(position + 1))
}

fn array_append(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Array(items(call, 0)?.iter().chain([call.value(1)]).cloned().collect()))
}

fn array_prepend(call: &Call<'_>) -> Result<Value> {
    Ok(Value::Array([call.value(0)].into_iter().chain(items(call, 1)?).cloned().collect()))
}

fn array_cat(call: &Call<'_>) -> Result<Value> {
    if call.args.iter().all(Value::is_null) {
        return Ok(Value::Null);
    }
    Ok(Value::Array(items(call, 0)?.iter().chain(items(call, 1)?).cloned().collect()))
}

fn array_remove(call: &Call<'_>) -> Result<Value> {
    if call.value(0).is_null() {
        return Ok(Value::Null);
    }
    let kept = call.array(0)?.iter().filter(|item| item.total_cmp(call.value(1)).is_ne());
    Ok(Value::Array(kept.cloned().collect()))
}

fn array_to_string(call: &Call<'_>) -> Result<Value> {
    let for_null = if call.args.len() > 2 { Some(call.text(2)?) } else { None };
    let item_type = match call.arg_type(0) {
        DataType::Array(item) => (**item).clone(),
        other => other.clone(),
    };
    let parts = call.array(0)?.iter().filter_map(|item| match item {
        Value::Null => for_null.map(str::to_owned),
        item => Some(item.to_text(&item_type)),
    });
    text::text_result(parts.collect::<Vec<_>>().join(call.text(1)?))
}

fn string_to_array(call: &Call<'_>) -> Result<Value> {
    if call.value(0).is_null() {
        return Ok(Value::Null);
    }
    let text = call.text(0)?;
    let parts: Vec<Value> = match call.value(1) {
        _ if text.is_empty() => vec![],
        Value::Null => text.chars().map(|c| Value::text(c.encode_utf8(&mut [0; 4]))).collect(),
        Value::Text(separator) if separator.is_empty() => vec![Value::text(text)],
        _ => text.split(call.text(1)?).map(Value::text).collect(),
    };
    Ok(Value::Array(parts.into()))
}
