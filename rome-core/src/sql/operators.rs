//! What operators take and give.
//!
//! PostgreSQL looks an operator up by the types of its operands; an operand of unknown type first counts as the other's type. The tables
//! here are its catalog's, reduced to the types of Rome, with implicit casts applied.

use super::coerce::{self, common_of_two, operand};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{BinaryOp, CompareOp, Expr, ExprKind, UnaryOp};
use crate::value::{DataType, Value};
use std::sync::Arc;

/// 42883 for an operator between two operands.
pub(super) fn undefined(symbol: &str, left: &DataType, right: &DataType) -> Error {
    let (left, right) = (coerce::type_name(left), coerce::type_name(right));
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {left} {symbol} {right}"))
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

fn not_unique(symbol: &str, left: &DataType, right: &DataType) -> Error {
    Error::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: {left} {symbol} {right}"))
        .with_hint("Could not choose a best candidate operator. You might need to add explicit type casts.")
}

/// How an operator is written.
pub(super) fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::Modulo => "%",
        BinaryOp::Power => "^",
        BinaryOp::Concat => "||",
        BinaryOp::BitAnd => "&",
        BinaryOp::BitOr => "|",
        BinaryOp::BitXor => "#",
        BinaryOp::ShiftLeft => "<<",
        BinaryOp::ShiftRight => ">>",
        BinaryOp::JsonGet => "->",
        BinaryOp::JsonGetText => "->>",
        BinaryOp::Contains => "@>",
        BinaryOp::Regex { case_insensitive: false } => "~",
        BinaryOp::Regex { case_insensitive: true } => "~*",
    }
}

fn compare_symbol(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "=",
        CompareOp::NotEq => "<>",
        CompareOp::Lt => "<",
        CompareOp::LtEq => "<=",
        CompareOp::Gt => ">",
        CompareOp::GtEq => ">=",
    }
}

/// What an operator makes of its operands' types: the types to cast them to, and the result.
struct Signature {
    left: DataType,
    right: DataType,
    result: DataType,
}

impl Signature {
    fn new(left: DataType, right: DataType, result: DataType) -> Option<Self> {
        Some(Self { left, right, result })
    }

    /// Both operands and the result of one type.
    fn uniform(data_type: DataType) -> Option<Self> {
        Self::new(data_type.clone(), data_type.clone(), data_type)
    }
}

/// A binary operator over two operands.
pub(super) fn binary(op: BinaryOp, left: Expr, right: Expr) -> Result<Expr> {
    let (left_type, right_type) = (left.data_type.clone(), right.data_type.clone());
    let both_unknown = left_type == DataType::Unknown && right_type == DataType::Unknown;
    let found = match op {
        BinaryOp::Add
        | BinaryOp::Subtract
        | BinaryOp::Multiply
        | BinaryOp::Divide
        | BinaryOp::Modulo
        | BinaryOp::Power => {
            if both_unknown {
                return Err(not_unique(symbol(op), &left_type, &right_type));
            }
            arithmetic(op, &left_type, &right_type)
        }
        BinaryOp::Concat => return concat(left, right),
        BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor => {
            if both_unknown {
                return Err(not_unique(symbol(op), &left_type, &right_type));
            }
            common_of_two(&left_type, &right_type).filter(DataType::is_integer).and_then(Signature::uniform)
        }
        BinaryOp::ShiftLeft | BinaryOp::ShiftRight => match (&left_type, &right_type) {
            (left, right) if left.is_integer() && (right.is_integer() || *right == DataType::Unknown) => {
                Signature::new(left.clone(), DataType::Int4, left.clone())
            }
            _ => None,
        },
        BinaryOp::JsonGet | BinaryOp::JsonGetText => json_get(op, &left_type, &right_type),
        BinaryOp::Contains => match common_of_two(&left_type, &right_type) {
            Some(common @ (DataType::Jsonb | DataType::Array(_))) => {
                Signature::new(common.clone(), common, DataType::Bool)
            }
            _ => None,
        },
        BinaryOp::Regex { .. } => {
            let text = |side: &DataType| side.is_text() || *side == DataType::Unknown;
            if text(&left_type) && text(&right_type) {
                Signature::new(DataType::Text, DataType::Text, DataType::Bool)
            } else {
                None
            }
        }
    };
    let signature = found.ok_or_else(|| undefined(symbol(op), &left_type, &right_type))?;
    let left = operand(left, &signature.left)?;
    let right = operand(right, &signature.right)?;
    Ok(Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), data_type: signature.result })
}

fn json_get(op: BinaryOp, left: &DataType, right: &DataType) -> Option<Signature> {
    let json = match left {
        DataType::Json | DataType::Jsonb => left.clone(),
        _ => return None,
    };
    let key = match right {
        DataType::Unknown => DataType::Text,
        right if right.is_text() => DataType::Text,
        right if right.is_integer() => DataType::Int4,
        _ => return None,
    };
    let result = if op == BinaryOp::JsonGet { json.clone() } else { DataType::Text };
    Signature::new(json, key, result)
}

/// `+ - * / % ^`
fn arithmetic(op: BinaryOp, left: &DataType, right: &DataType) -> Option<Signature> {
    use DataType as T;
    if let Some(signature) = arithmetic_on_numbers(op, left, right) {
        return Some(signature);
    }
    let moment = |data_type: &T| match data_type {
        T::Date => T::Timestamp,
        other => other.clone(),
    };
    match (op, left, right) {
        // Dates count in days.
        (BinaryOp::Add | BinaryOp::Subtract, T::Date, T::Int2 | T::Int4 | T::Int8) => {
            Signature::new(T::Date, T::Int4, T::Date)
        }
        (BinaryOp::Add, T::Int2 | T::Int4 | T::Int8, T::Date) => Signature::new(T::Int4, T::Date, T::Date),
        (BinaryOp::Subtract, T::Date, T::Date | T::Unknown) | (BinaryOp::Subtract, T::Unknown, T::Date) => {
            Signature::new(T::Date, T::Date, T::Int4)
        }
        // Moments and intervals. A time of day added to a date is an interval since midnight.
        (BinaryOp::Add | BinaryOp::Subtract, T::Date | T::Timestamp | T::TimestampTz, T::Interval) => {
            Signature::new(moment(left), T::Interval, moment(left))
        }
        (BinaryOp::Add, T::Interval, T::Date | T::Timestamp | T::TimestampTz) => {
            Signature::new(T::Interval, moment(right), moment(right))
        }
        (BinaryOp::Add, T::Date, T::Time) => Signature::new(T::Timestamp, T::Interval, T::Timestamp),
        (BinaryOp::Add, T::Time, T::Date) => Signature::new(T::Interval, T::Timestamp, T::Timestamp),
        (BinaryOp::Add, T::Timestamp | T::TimestampTz, T::Unknown) => {
            Signature::new(left.clone(), T::Interval, left.clone())
        }
        (BinaryOp::Add, T::Unknown, T::Timestamp | T::TimestampTz) => {
            Signature::new(T::Interval, right.clone(), right.clone())
        }
        (BinaryOp::Subtract, T::Timestamp | T::TimestampTz, T::Unknown) => {
            Signature::new(left.clone(), left.clone(), T::Interval)
        }
        (BinaryOp::Subtract, T::Unknown, T::Timestamp | T::TimestampTz) => {
            Signature::new(right.clone(), right.clone(), T::Interval)
        }
        (BinaryOp::Subtract, T::Date | T::Timestamp | T::TimestampTz, T::Date | T::Timestamp | T::TimestampTz) => {
            let common = common_of_two(&moment(left), &moment(right))?;
            Signature::new(common.clone(), common, T::Interval)
        }
        // Times of day.
        (BinaryOp::Add | BinaryOp::Subtract, T::Time, T::Interval) => Signature::new(T::Time, T::Interval, T::Time),
        (BinaryOp::Add, T::Interval, T::Time) => Signature::new(T::Interval, T::Time, T::Time),
        (BinaryOp::Subtract, T::Time, T::Time | T::Unknown) | (BinaryOp::Subtract, T::Unknown, T::Time) => {
            Signature::new(T::Time, T::Time, T::Interval)
        }
        // Intervals.
        (BinaryOp::Add | BinaryOp::Subtract, T::Interval, T::Interval | T::Unknown)
        | (BinaryOp::Add | BinaryOp::Subtract, T::Unknown, T::Interval) => Signature::uniform(T::Interval),
        (BinaryOp::Multiply | BinaryOp::Divide, T::Interval, other) if other.is_number() || *other == T::Unknown => {
            Signature::new(T::Interval, T::Float8, T::Interval)
        }
        (BinaryOp::Multiply, other, T::Interval) if other.is_number() || *other == T::Unknown => {
            Signature::new(T::Float8, T::Interval, T::Interval)
        }
        _ => None,
    }
}

fn arithmetic_on_numbers(op: BinaryOp, left: &DataType, right: &DataType) -> Option<Signature> {
    let number = |side: &DataType| side.is_number() || *side == DataType::Unknown;
    if !number(left) || !number(right) {
        return None;
    }
    let mut common = coerce::unconstrained(&common_of_two(left, right)?);
    // There is no operator on real and another type of number: both become double precision.
    let is_other = |side: &DataType| !matches!(side, DataType::Float4 | DataType::Unknown);
    if common == DataType::Float4 && (is_other(left) || is_other(right)) {
        common = DataType::Float8;
    }
    match op {
        BinaryOp::Power if !matches!(common, DataType::Numeric(_)) => Signature::uniform(DataType::Float8),
        BinaryOp::Modulo if matches!(common, DataType::Float4 | DataType::Float8) => None,
        _ => Signature::uniform(common),
    }
}

/// `||`
fn concat(left: Expr, right: Expr) -> Result<Expr> {
    use DataType as T;
    let (left_type, right_type) = (left.data_type.clone(), right.data_type.clone());
    let textual = |side: &T| side.is_text() || *side == T::Unknown;
    let no_array = |side: &T| !matches!(side, T::Array(_));
    let mismatch = || undefined("||", &left_type, &right_type);
    let common = match (&left_type, &right_type) {
        (T::Bytea, T::Bytea | T::Unknown) | (T::Unknown, T::Bytea) => T::Bytea,
        (T::Jsonb, T::Jsonb | T::Unknown) | (T::Unknown, T::Jsonb) => T::Jsonb,
        (T::Array(_), T::Array(_)) => common_of_two(&left_type, &right_type).ok_or_else(mismatch)?,
        (T::Array(_), T::Unknown) => left_type.clone(),
        (T::Unknown, T::Array(_)) => right_type.clone(),
        // An element is an array of one.
        (T::Array(element), other) => {
            let to = common_of_two(element, other).ok_or_else(mismatch)?;
            return concat_arrays(left, one_element(right, &to)?, to);
        }
        (other, T::Array(element)) => {
            let to = common_of_two(element, other).ok_or_else(mismatch)?;
            return concat_arrays(one_element(left, &to)?, right, to);
        }
        (left, right) if (textual(left) && no_array(right)) || (textual(right) && no_array(left)) => T::Text,
        _ => return Err(mismatch()),
    };
    let (left, right) = (operand(left, &common)?, operand(right, &common)?);
    Ok(Expr { kind: ExprKind::Binary(BinaryOp::Concat, Box::new(left), Box::new(right)), data_type: common })
}

fn one_element(expr: Expr, element: &DataType) -> Result<Expr> {
    let data_type = DataType::Array(Arc::new(element.clone()));
    Ok(Expr { kind: ExprKind::Array(vec![coerce::convert(expr, element)?]), data_type })
}

fn concat_arrays(left: Expr, right: Expr, element: DataType) -> Result<Expr> {
    let data_type = DataType::Array(Arc::new(element));
    let (left, right) = (operand(left, &data_type)?, operand(right, &data_type)?);
    Ok(Expr { kind: ExprKind::Binary(BinaryOp::Concat, Box::new(left), Box::new(right)), data_type })
}

/// `-x`, `~x`
pub(super) fn unary(op: UnaryOp, expr: Expr) -> Result<Expr> {
    let fits = match op {
        UnaryOp::Negate => expr.data_type.is_number() || expr.data_type == DataType::Interval,
        UnaryOp::BitNot => expr.data_type.is_integer(),
    };
    if fits {
        let data_type = coerce::unconstrained(&expr.data_type);
        return Ok(Expr { kind: ExprKind::Unary(op, Box::new(expr)), data_type });
    }
    let sign = if op == UnaryOp::Negate { "-" } else { "~" };
    if expr.data_type == DataType::Unknown {
        // PostgreSQL prefers double precision among the candidates for `-`; for `~` it can't decide.
        if op == UnaryOp::Negate {
            return unary(op, coerce::convert(expr, &DataType::Float8)?);
        }
        return Err(Error::new(SqlState::AMBIGUOUS_FUNCTION, "operator is not unique: ~ unknown"));
    }
    Err(Error::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("operator does not exist: {sign} {}", coerce::type_name(&expr.data_type)),
    )
    .with_hint("No operator matches the given name and argument type. You might need to add an explicit type cast."))
}

/// The type in which two operands are compared.
pub(super) fn comparison_type(op: CompareOp, left: &DataType, right: &DataType) -> Result<DataType> {
    let mismatch = || undefined(compare_symbol(op), left, right);
    let common = match common_of_two(left, right).ok_or_else(mismatch)? {
        DataType::Unknown => DataType::Text,
        DataType::Array(element) if *element == DataType::Unknown => DataType::Array(Arc::new(DataType::Text)),
        common => common,
    };
    if has_order(&common) { Ok(common) } else { Err(mismatch()) }
}

/// json has neither equality nor order.
pub(super) fn has_order(data_type: &DataType) -> bool {
    match data_type {
        DataType::Json => false,
        DataType::Array(element) => has_order(element),
        _ => true,
    }
}

/// Casts two operands to the type in which they are compared.
pub(super) fn comparable(op: CompareOp, left: Expr, right: Expr) -> Result<(Expr, Expr)> {
    let common = comparison_type(op, &left.data_type, &right.data_type)?;
    if matches!(common, DataType::Char(_)) && left.data_type != right.data_type {
        return Ok((without_blanks(left)?, without_blanks(right)?));
    }
    let common = coerce::unconstrained(&common);
    let keep = left.data_type == right.data_type;
    if keep { Ok((left, right)) } else { Ok((operand(left, &common)?, operand(right, &common)?)) }
}

/// A side of a comparison with char(n), where trailing blanks do not count.
fn without_blanks(expr: Expr) -> Result<Expr> {
    match (&expr.kind, &expr.data_type) {
        (ExprKind::Literal(Value::Text(text)), DataType::Unknown) => {
            Ok(Expr::literal(Value::text(text.trim_end_matches(' ')), DataType::Text))
        }
        _ => coerce::convert(expr, &DataType::Text),
    }
}

/// A comparison of two values.
pub(super) fn compare(op: CompareOp, left: Expr, right: Expr) -> Result<Expr> {
    let (left, right) = comparable(op, left, right)?;
    Ok(Expr { kind: ExprKind::Compare(op, Box::new(left), Box::new(right)), data_type: DataType::Bool })
}

/// NOT
pub(super) fn not(expr: Expr) -> Expr {
    Expr { kind: ExprKind::Not(Box::new(expr)), data_type: DataType::Bool }
}

/// NOT, where a construct is written in its negated form.
pub(super) fn negated(expr: Expr, negated: bool) -> Expr {
    if negated { not(expr) } else { expr }
}
