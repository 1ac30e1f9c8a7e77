//! Evaluating expressions over one row.
//!
//! [`evaluate`] is synchronous. Operands have been cast by the binder, so it never converts by itself; NULL propagates except where SQL says
//! otherwise; AND, OR, CASE and COALESCE evaluate from the left and stop as soon as the answer is known, so that an
//! error in a branch that is not needed does not surface.
//!
//! # Subqueries
//!
//! A subquery's answer depends on the values of its outer expressions alone. Evaluation looks it up in the statement's `Answers`; where it is
//! missing, evaluation notes the question there and stops with an error that nobody sees: the driver ([`super::context`])
//! answers the question by running the plan, and evaluates the expression again. So only those subqueries run that a row really needs.

mod answers;
mod arithmetic;
mod compound;
mod like;

pub(crate) use answers::{Answer, Answers, Form, Membership, Question};
pub(crate) use arithmetic::{add_values, divide_numerics, divide_values};

use super::expr::{BinaryOp, CompareOp, Expr, ExprKind, Subquery, SubqueryBody};
use super::functions::{Call, CallContext, ScalarFunction, compile_regex};
use crate::error::{Error, Result, SqlState};
use crate::value::{DataType, Value, cast, cast_from};

/// How deeply expressions may nest. The binder refuses deeper ones; this is the last line that keeps the stack safe.
pub const MAX_EXPRESSION_DEPTH: usize = 400;

/// What an expression may refer to besides its row.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The statement's parameters.
    pub params: &'a [Value],
    /// The values handed to a correlated subquery.
    pub outer: &'a [Value],
    /// Time, randomness, names.
    pub context: &'a CallContext,
    /// What subqueries of this statement have answered.
    pub(crate) answers: Option<&'a Answers>,
    depth: usize,
}

impl<'a> Scope<'a> {
    /// A scope for expressions without subqueries.
    pub fn new(params: &'a [Value], outer: &'a [Value], context: &'a CallContext) -> Self {
        Self { params, outer, context, answers: None, depth: 0 }
    }

    /// With the answers of subqueries.
    pub(crate) fn with_answers(mut self, answers: &'a Answers) -> Self {
        self.answers = Some(answers);
        self
    }
}

/// The value of an expression over a row.
///
/// # Errors
/// Those of the operators: 22003 out of range, 22012 division by zero, those of casts and functions; 54001 where it nests too deeply.
pub fn evaluate(expr: &Expr, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    match &expr.kind {
        ExprKind::Literal(value) => Ok(value.clone()),
        ExprKind::Slot(slot) => row.get(*slot).cloned().ok_or_else(|| missing(&expr.kind)),
        ExprKind::Param(number) => scope.params.get(*number).cloned().ok_or_else(|| missing(&expr.kind)),
        ExprKind::Outer(slot) => scope.outer.get(*slot).cloned().ok_or_else(|| missing(&expr.kind)),
        _ if scope.depth >= MAX_EXPRESSION_DEPTH => Err(too_deep()),
        _ => compute(expr, row, &Scope { depth: scope.depth + 1, ..*scope }),
    }
}

/// A value that the scope should have had.
fn missing(leaf: &ExprKind) -> Error {
    match leaf {
        ExprKind::Param(number) => {
            Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter ${}", number + 1))
        }
        other => Error::internal(format_args!("{other:?} has no value here")),
    }
}

fn too_deep() -> Error {
    Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
        .with_detail(format!("Expressions may nest {MAX_EXPRESSION_DEPTH} deep."))
}

/// Whether a condition is true (not false, not NULL).
pub(crate) fn holds(expr: &Expr, row: &[Value], scope: &Scope<'_>) -> Result<bool> {
    truth(&evaluate(expr, row, scope)?).map(|truth| truth == Some(true))
}

/// One level of an expression. Each form has a function of its own, so that the frame that recursion repeats stays small.
fn compute(expr: &Expr, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    match &expr.kind {
        ExprKind::Unary(op, operand) => arithmetic::unary(*op, evaluate(operand, row, scope)?, &expr.data_type),
        ExprKind::Binary(op, left, right) => binary(*op, left, right, &expr.data_type, row, scope),
        ExprKind::Compare(op, left, right) => compare(*op, left, right, row, scope),
        ExprKind::IsDistinct(left, right) => is_distinct(left, right, row, scope),
        ExprKind::And(list) => junction(list, false, row, scope),
        ExprKind::Or(list) => junction(list, true, row, scope),
        ExprKind::Not(operand) => not(operand, row, scope),
        ExprKind::IsNull(operand) => is_null(operand, row, scope),
        ExprKind::IsBool(operand, wanted) => is_bool(operand, *wanted, row, scope),
        ExprKind::Like { text, pattern, case_insensitive, escape } => {
            like_exprs((text, pattern), *case_insensitive, *escape, row, scope)
        }
        ExprKind::InList(operand, list) => in_list(operand, list, row, scope),
        ExprKind::QuantifiedArray { left, op, array, all } => quantified(left, *op, array, *all, row, scope),
        ExprKind::Case { whens, otherwise } => case(whens, otherwise.as_deref(), row, scope),
        ExprKind::Coalesce(list) => coalesce(list, row, scope),
        ExprKind::Cast(operand) => cast_value(operand, evaluate(operand, row, scope)?, &expr.data_type),
        ExprKind::Call(function, args) => call(function, args, &expr.data_type, row, scope),
        ExprKind::Array(items) => array(items, row, scope),
        ExprKind::Subquery(query) => subquery(query, row, scope),
        ExprKind::Column(id) => Err(Error::internal(format_args!("column {} was not planned", id.0))),
        ExprKind::Literal(_) | ExprKind::Slot(_) | ExprKind::Param(_) | ExprKind::Outer(_) => {
            Err(Error::internal("a leaf has no operands"))
        }
    }
}

fn binary(
    op: BinaryOp,
    left: &Expr,
    right: &Expr,
    result: &DataType,
    row: &[Value],
    scope: &Scope<'_>,
) -> Result<Value> {
    let (left_value, right_value) = (evaluate(left, row, scope)?, evaluate(right, row, scope)?);
    compound::binary(op, (left, left_value), (right, right_value), result)
}

fn compare(op: CompareOp, left: &Expr, right: &Expr, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let (left, right) = (evaluate(left, row, scope)?, evaluate(right, row, scope)?);
    Ok(truth_value(left.sql_cmp(&right).map(|order| op.holds(order))))
}

fn is_distinct(left: &Expr, right: &Expr, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let (left, right) = (evaluate(left, row, scope)?, evaluate(right, row, scope)?);
    Ok(Value::Bool(left.total_cmp(&right).is_ne()))
}

fn not(operand: &Expr, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let operand = truth(&evaluate(operand, row, scope)?)?;
    Ok(truth_value(operand.map(|truth| !truth)))
}

fn is_null(operand: &Expr, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    Ok(Value::Bool(evaluate(operand, row, scope)?.is_null()))
}

fn is_bool(operand: &Expr, wanted: bool, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    Ok(Value::Bool(truth(&evaluate(operand, row, scope)?)? == Some(wanted)))
}

fn case(whens: &[(Expr, Expr)], otherwise: Option<&Expr>, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    for (when, then) in whens {
        if holds(when, row, scope)? {
            return evaluate(then, row, scope);
        }
    }
    otherwise.map_or(Ok(Value::Null), |otherwise| evaluate(otherwise, row, scope))
}

fn coalesce(list: &[Expr], row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    for operand in list {
        let value = evaluate(operand, row, scope)?;
        if !value.is_null() {
            return Ok(value);
        }
    }
    Ok(Value::Null)
}

fn array(items: &[Expr], row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let items = items.iter().map(|item| evaluate(item, row, scope));
    Ok(Value::Array(items.collect::<Result<Vec<_>>>()?.into()))
}

fn subquery(subquery: &Subquery, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let SubqueryBody::Planned { node, outer } = &subquery.body else {
        return Err(Error::internal("a subquery was not planned"));
    };
    let answers = scope.answers.ok_or_else(|| Error::internal("a subquery where none is allowed"))?;
    let outer = outer.iter().map(|expr| evaluate(expr, row, scope)).collect::<Result<Vec<_>>>()?;
    answers.answer(node, outer, &subquery.kind, |expr| evaluate(expr, row, scope))
}

/// A boolean as SQL's three values.
pub(crate) fn truth(value: &Value) -> Result<Option<bool>> {
    match value {
        Value::Bool(value) => Ok(Some(*value)),
        Value::Null => Ok(None),
        other => Err(Error::internal(format_args!("a condition gave {}", other.natural_type()))),
    }
}

pub(crate) fn truth_value(truth: Option<bool>) -> Value {
    truth.map_or(Value::Null, Value::Bool)
}

/// AND (`decisive` false) and OR (`decisive` true).
fn junction(list: &[Expr], decisive: bool, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let mut unknown = false;
    for operand in list {
        match truth(&evaluate(operand, row, scope)?)? {
            Some(value) if value == decisive => return Ok(Value::Bool(decisive)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Value::Null } else { Value::Bool(!decisive) })
}

fn in_list(operand: &Expr, list: &[Expr], row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let operand = evaluate(operand, row, scope)?;
    let mut unknown = false;
    for item in list {
        match operand.sql_cmp(&evaluate(item, row, scope)?) {
            Some(order) if order.is_eq() => return Ok(Value::Bool(true)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Value::Null } else { Value::Bool(false) })
}

fn quantified(left: &Expr, op: CompareOp, array: &Expr, all: bool, row: &[Value], scope: &Scope<'_>) -> Result<Value> {
    let (left, array) = (evaluate(left, row, scope)?, evaluate(array, row, scope)?);
    match array {
        Value::Null => Ok(Value::Null),
        Value::Array(items) => {
            let answers = items.iter().map(|item| left.sql_cmp(item).map(|order| op.holds(order)));
            Ok(truth_value(quantify(answers, all)))
        }
        other => Err(Error::internal(format_args!("ANY over {}", other.natural_type()))),
    }
}

/// The truth of "for any" or "for all" of three-valued answers.
pub(crate) fn quantify(answers: impl Iterator<Item = Option<bool>>, all: bool) -> Option<bool> {
    let mut unknown = false;
    for answer in answers {
        match answer {
            Some(answer) if answer != all => return Some(!all),
            Some(_) => {}
            None => unknown = true,
        }
    }
    if unknown { None } else { Some(all) }
}

fn like_exprs(
    (text, pattern): (&Expr, &Expr),
    case_insensitive: bool,
    escape: Option<char>,
    row: &[Value],
    scope: &Scope<'_>,
) -> Result<Value> {
    match (evaluate(text, row, scope)?, evaluate(pattern, row, scope)?) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Text(text), Value::Text(pattern)) if case_insensitive => {
            like::matches(&text.to_lowercase(), &pattern.to_lowercase(), escape).map(Value::Bool)
        }
        (Value::Text(text), Value::Text(pattern)) => like::matches(&text, &pattern, escape).map(Value::Bool),
        (other, _) => Err(Error::internal(format_args!("LIKE over {}", other.natural_type()))),
    }
}

/// `text ~ pattern`
fn regex_matches(text: &Value, pattern: &Value, case_insensitive: bool) -> Result<Value> {
    match (text, pattern) {
        (Value::Text(text), Value::Text(pattern)) => {
            let regex = compile_regex(pattern, if case_insensitive { "i" } else { "" })?;
            Ok(Value::Bool(regex.is_match(text)))
        }
        (other, _) => Err(Error::internal(format_args!("a regular expression over {}", other.natural_type()))),
    }
}

fn cast_value(operand: &Expr, value: Value, to: &DataType) -> Result<Value> {
    match &operand.data_type {
        DataType::Unknown => cast(value, to),
        from if from == to => Ok(value),
        from => cast_from(value, from, to),
    }
}

fn call(
    function: &ScalarFunction,
    exprs: &[Expr],
    result: &DataType,
    row: &[Value],
    scope: &Scope<'_>,
) -> Result<Value> {
    let args = exprs.iter().map(|arg| evaluate(arg, row, scope)).collect::<Result<Vec<_>>>()?;
    if function.strict && args.iter().any(Value::is_null) {
        return Ok(Value::Null);
    }
    (function.call)(&Call { args: &args, exprs, result, context: scope.context })
}

#[cfg(test)]
mod tests;
