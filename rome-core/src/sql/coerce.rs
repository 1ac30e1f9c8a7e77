//! Which types convert to which, when, and to what type several expressions agree.
//!
//! PostgreSQL has three contexts: *implicit* (inside expressions), *assignment* (INSERT and UPDATE), *explicit* (CAST). A literal or parameter
//! of unknown type converts everywhere, by being read as a literal of the type wanted.

use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{Expr, ExprKind};
use crate::value::{self, DataType, Value};
use std::sync::Arc;

/// Where a conversion is asked for; each allows what the ones before it do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Context {
    Implicit,
    Assignment,
    Explicit,
}

/// The rank of a number's type: lower ones convert to higher ones implicitly.
fn number_rank(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        DataType::Int2 => 0,
        DataType::Int4 => 1,
        DataType::Int8 => 2,
        DataType::Numeric(_) => 3,
        DataType::Float4 => 4,
        DataType::Float8 => 5,
        _ => return None,
    })
}

fn moment_rank(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        DataType::Date => 0,
        DataType::Timestamp => 1,
        DataType::TimestampTz => 2,
        _ => return None,
    })
}

/// The type without its length or scale.
pub(super) fn unconstrained(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Numeric(_) => DataType::Numeric(None),
        DataType::Varchar(_) => DataType::Varchar(None),
        DataType::Char(_) => DataType::Text,
        DataType::Array(element) => DataType::Array(Arc::new(unconstrained(element))),
        other => other.clone(),
    }
}

/// The name of a type in a message: without its length or scale, as PostgreSQL prints it there.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Char(_) => "character".to_owned(),
        DataType::Array(element) => format!("{}[]", type_name(element)),
        other => unconstrained(other).to_string(),
    }
}

/// Whether a value of the one type already is, in its representation, a value of the other, lengths and ranges aside.
pub(super) fn same_representation(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Float4 | DataType::Float8, DataType::Float4 | DataType::Float8)
        | (DataType::Numeric(_), DataType::Numeric(_))
        | (DataType::Text | DataType::Varchar(_), DataType::Text | DataType::Varchar(_)) => true,
        (DataType::Array(from), DataType::Array(to)) => same_representation(from, to),
        (from, to) => from == to || (from.is_integer() && to.is_integer()),
    }
}

/// Whether there is a conversion in this context.
pub(super) fn can_cast(from: &DataType, to: &DataType, context: Context) -> bool {
    least_context(from, to).is_some_and(|least| least <= context)
}

/// The strictest context that has this conversion.
fn least_context(from: &DataType, to: &DataType) -> Option<Context> {
    use Context::{Assignment, Explicit, Implicit};
    use DataType as T;
    if unconstrained(from) == unconstrained(to) || *from == T::Unknown {
        return Some(Implicit);
    }
    if let (Some(from), Some(to)) = (number_rank(from), number_rank(to)) {
        return Some(if from <= to { Implicit } else { Assignment });
    }
    if let (Some(from), Some(to)) = (moment_rank(from), moment_rank(to)) {
        return Some(if from <= to { Implicit } else { Assignment });
    }
    match (from, to) {
        (from, to) if from.is_text() && to.is_text() => Some(Implicit),
        (T::Time, T::Interval) => Some(Implicit),
        (T::Timestamp | T::TimestampTz | T::Interval, T::Time) | (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => {
            Some(Assignment)
        }
        (T::Int4, T::Bool) | (T::Bool, T::Int4) => Some(Explicit),
        (T::Jsonb, to) if to.is_number() || *to == T::Bool => Some(Explicit),
        (T::Array(from), T::Array(to)) => least_context(from, to),
        // Everything has a text form.
        (_, to) if to.is_text() => Some(Assignment),
        (from, _) if from.is_text() => Some(Explicit),
        _ => None,
    }
}

/// Converts for an operator's or function's operand: nothing is done where the representation is the same.
pub(super) fn operand(expr: Expr, to: &DataType) -> Result<Expr> {
    if same_representation(&expr.data_type, to) { Ok(expr) } else { convert(expr, to) }
}

/// Converts to exactly this type; the caller knows that the conversion exists.
pub(super) fn convert(expr: Expr, to: &DataType) -> Result<Expr> {
    if expr.data_type == *to {
        return Ok(expr);
    }
    match expr.kind {
        ExprKind::Literal(Value::Null) => Ok(Expr::literal(Value::Null, to.clone())),
        ExprKind::Literal(constant @ Value::Text(_)) if expr.data_type == DataType::Unknown => {
            Ok(Expr::literal(value::cast(constant, to)?, to.clone()))
        }
        // Numbers become constants of the type wanted, which saves a conversion for each row.
        ExprKind::Literal(number @ (Value::Int(_) | Value::Numeric(_) | Value::Float(_))) if to.is_number() => {
            Ok(Expr::literal(value::cast_from(number, &expr.data_type, to)?, to.clone()))
        }
        kind => {
            Ok(Expr { kind: ExprKind::Cast(Box::new(Expr { kind, data_type: expr.data_type })), data_type: to.clone() })
        }
    }
}

/// Converts where the context has such a conversion.
///
/// # Errors
/// What `mismatch` says where it has none; what the text of a literal gives.
pub(super) fn convert_in(
    expr: Expr,
    to: &DataType,
    context: Context,
    mismatch: impl FnOnce(&DataType) -> Error,
) -> Result<Expr> {
    if can_cast(&expr.data_type, to, context) { convert(expr, to) } else { Err(mismatch(&expr.data_type)) }
}

/// CAST.
pub(super) fn explicit(expr: Expr, to: &DataType) -> Result<Expr> {
    convert_in(expr, to, Context::Explicit, |from| {
        Error::new(SqlState::CANNOT_COERCE, format!("cannot cast type {} to {}", type_name(from), type_name(to)))
    })
}

/// A value for a column. Execution checks length and range, since it checks every row; here its kind is made to fit, and an unknown literal
/// becomes one of the column's type.
pub(super) fn assign(expr: Expr, column: &str, to: &DataType) -> Result<Expr> {
    if same_representation(&expr.data_type, to) {
        return Ok(expr);
    }
    if let (ExprKind::Literal(constant @ Value::Text(_)), DataType::Unknown) = (&expr.kind, &expr.data_type) {
        return Ok(Expr::literal(value::coerce_for_column(constant.clone(), to)?, to.clone()));
    }
    convert_in(expr, &unconstrained(to), Context::Assignment, |from| {
        let (to, from) = (type_name(to), type_name(from));
        let message = format!("column \"{column}\" is of type {to} but expression is of type {from}");
        Error::new(SqlState::DATATYPE_MISMATCH, message)
            .with_hint("You will need to rewrite or cast the expression.")
            .with_column(column)
    })
}

/// An unknown literal or parameter that nothing gave a type to becomes text.
pub(super) fn settle(expr: Expr) -> Result<Expr> {
    match &expr.data_type {
        DataType::Unknown => convert(expr, &DataType::Text),
        DataType::Array(element) if **element == DataType::Unknown => {
            convert(expr, &DataType::Array(Arc::new(DataType::Text)))
        }
        _ => Ok(expr),
    }
}

/// A condition.
pub(super) fn condition(expr: Expr, clause: &str) -> Result<Expr> {
    convert_in(expr, &DataType::Bool, Context::Implicit, |from| {
        let message = format!("argument of {clause} must be type boolean, not type {}", type_name(from));
        Error::new(SqlState::DATATYPE_MISMATCH, message)
    })
}

/// The type to which both convert implicitly, or `None`.
pub(super) fn common_of_two(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (left, right) if left == right => Some(left.clone()),
        (DataType::Unknown, other) | (other, DataType::Unknown) => Some(other.clone()),
        (DataType::Array(left), DataType::Array(right)) => Some(DataType::Array(Arc::new(common_of_two(left, right)?))),
        (left, right) => {
            // Lengths and scales that differ are given up.
            let (left, right) = (unconstrained(left), unconstrained(right));
            if can_cast(&left, &right, Context::Implicit) && can_cast(&right, &left, Context::Implicit) {
                return Some(if left == right { left } else { DataType::Text });
            }
            if can_cast(&left, &right, Context::Implicit) {
                return Some(right);
            }
            can_cast(&right, &left, Context::Implicit).then_some(left)
        }
    }
}

/// The type on which all agree: text where none is known.
///
/// # Errors
/// 42804 in the words of the construct (`CASE`, `UNION`, ...).
pub(super) fn common<'t>(types: impl IntoIterator<Item = &'t DataType>, construct: &str) -> Result<DataType> {
    let mut common = DataType::Unknown;
    for data_type in types {
        common = common_of_two(&common, data_type).ok_or_else(|| {
            let (common, data_type) = (type_name(&common), type_name(data_type));
            let message = format!("{construct} types {common} and {data_type} cannot be matched");
            Error::new(SqlState::DATATYPE_MISMATCH, message)
        })?;
    }
    Ok(match common {
        DataType::Unknown => DataType::Text,
        known => known,
    })
}

/// Converts all to their common type.
pub(super) fn unify(exprs: Vec<Expr>, construct: &str) -> Result<(Vec<Expr>, DataType)> {
    let to = common(exprs.iter().map(|expr| &expr.data_type), construct)?;
    let exprs = exprs.into_iter().map(|expr| convert(expr, &to)).collect::<Result<_>>()?;
    Ok((exprs, to))
}
