//! Binary operators: arithmetic first, then those on text, bytes, arrays and documents.

use super::{arithmetic, regex_matches};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{BinaryOp, Expr};
use crate::exec::functions::{as_text, contains, element, step};
use crate::value::{DataType, Value};
use serde_json::Value as Document;

/// `left op right`; each side comes with its expression, for its type.
pub(super) fn binary(op: BinaryOp, left: (&Expr, Value), right: (&Expr, Value), result: &DataType) -> Result<Value> {
    let ((left_expr, left), (right_expr, right)) = (left, right);
    if op == BinaryOp::Concat && matches!(result, DataType::Array(_)) {
        return concat_arrays(&left_expr.data_type, left, &right_expr.data_type, right);
    }
    if left.is_null() || right.is_null() {
        return Ok(Value::Null);
    }
    if let Some(computed) = arithmetic::binary(op, &left, &right, result) {
        return computed;
    }
    match (op, &left, &right) {
        (BinaryOp::Concat, Value::Bytes(left), Value::Bytes(right)) => {
            Ok(Value::Bytes([&left[..], &right[..]].concat().into()))
        }
        (BinaryOp::Concat, Value::Json(left), Value::Json(right)) => Ok(Value::from(merged(left, right))),
        (BinaryOp::Concat, left, right) => {
            Ok(Value::text(&(left.to_text(&left_expr.data_type) + &right.to_text(&right_expr.data_type))))
        }
        (BinaryOp::JsonGet, Value::Json(document), key) => {
            Ok(member(document, key)?.map_or(Value::Null, |found| Value::from(found.clone())))
        }
        (BinaryOp::JsonGetText, Value::Json(document), key) => {
            Ok(member(document, key)?.map_or(Value::Null, |found| as_text(found, &left_expr.data_type)))
        }
        (BinaryOp::Contains, Value::Json(left), Value::Json(right)) => Ok(Value::Bool(contains(left, right))),
        (BinaryOp::Contains, Value::Array(left), Value::Array(right)) => Ok(Value::Bool(
            right.iter().all(|sought| !sought.is_null() && left.iter().any(|item| item.sql_eq(sought) == Some(true))),
        )),
        (BinaryOp::Regex { case_insensitive }, text, pattern) => regex_matches(text, pattern, case_insensitive),
        _ => {
            let message = format!("operator is not defined for {} and {}", left_expr.data_type, right_expr.data_type);
            Err(Error::new(SqlState::UNDEFINED_FUNCTION, message))
        }
    }
}

/// `array || array`, `array || element` and `element || array`, by the operands' types. A NULL array counts as empty.
fn concat_arrays(left_type: &DataType, left: Value, right_type: &DataType, right: Value) -> Result<Value> {
    if left.is_null() && right.is_null() {
        return Ok(Value::Null);
    }
    let items = |data_type: &DataType, value: Value| match (data_type, value) {
        (_, Value::Array(items)) => items.to_vec(),
        (DataType::Array(_), _) => vec![],
        (_, element) => vec![element],
    };
    let mut joined = items(left_type, left);
    joined.extend(items(right_type, right));
    Ok(Value::Array(joined.into()))
}

fn member<'a>(document: &'a Document, key: &Value) -> Result<Option<&'a Document>> {
    match (key, document) {
        (Value::Int(position), Document::Array(items)) => Ok(element(items, *position)),
        (Value::Int(_), _) => Ok(None),
        // A text never counts as a position here, unlike in a path.
        (Value::Text(key), Document::Object(_)) => Ok(step(document, key)),
        (Value::Text(_), _) => Ok(None),
        (other, _) => Err(Error::internal(format_args!("a json key of type {}", other.natural_type()))),
    }
}

/// jsonb `||`: objects merge, the right wins; everything else is joined as arrays.
fn merged(left: &Document, right: &Document) -> Document {
    if let (Document::Object(left), Document::Object(right)) = (left, right) {
        let mut members = left.clone();
        members.extend(right.clone());
        return Document::Object(members);
    }
    let items = |document: &Document| match document {
        Document::Array(items) => items.clone(),
        other => vec![other.clone()],
    };
    Document::Array(items(left).into_iter().chain(items(right)).collect())
}
