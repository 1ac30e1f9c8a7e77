//! Expressions.

mod call;
mod predicate;
mod subquery;

pub(super) use predicate::row_fields;

use super::coerce::{self, Context, convert_in};
use super::operators::{self, negated};
use super::{Binder, literals, names, types};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{BinaryOp, CompareOp, Expr, ExprKind, UnaryOp};
use crate::value::{DataType, Value};
use sqlparser::ast::{self, BinaryOperator, UnaryOperator};
use std::sync::Arc;

impl<'a> Binder<'a> {
    /// Binds an expression. Its type may be unknown, for the place to decide.
    pub(super) fn expr(&mut self, expr: &'a ast::Expr) -> Result<Expr> {
        self.deeper(|binder| binder.expr_here(expr))
    }

    /// An expression whose type is then known.
    pub(super) fn settled(&mut self, expr: &'a ast::Expr) -> Result<Expr> {
        coerce::settle(self.expr(expr)?)
    }

    /// A condition.
    pub(super) fn condition(&mut self, expr: &'a ast::Expr, clause: &str) -> Result<Expr> {
        coerce::condition(self.expr(expr)?, clause)
    }

    /// Several expressions.
    pub(super) fn exprs(&mut self, exprs: impl IntoIterator<Item = &'a ast::Expr>) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.expr(expr)).collect()
    }

    fn expr_here(&mut self, expr: &'a ast::Expr) -> Result<Expr> {
        use ast::Expr as Ast;
        match expr {
            Ast::Identifier(ident) => self.identifier(ident),
            Ast::CompoundIdentifier(parts) => self.resolve_qualified(parts),
            Ast::Value(value) => self.bind_value(&value.value),
            Ast::Nested(inner) => self.expr(inner),
            Ast::TypedString(typed) => {
                let to = types::data_type(&typed.data_type)?;
                coerce::explicit(self.bind_value(&typed.value.value)?, &to)
            }
            Ast::Interval(interval) => self.interval(interval),
            Ast::Cast { expr, data_type, kind, format } => {
                if format.is_some() || !matches!(kind, ast::CastKind::Cast | ast::CastKind::DoubleColon) {
                    return Err(Error::unsupported("this form of CAST"));
                }
                self.cast(expr, data_type)
            }
            Ast::UnaryOp { op, expr } => self.unary(*op, expr),
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right),
            Ast::IsNull(inner) => self.is_null(inner, false),
            Ast::IsNotNull(inner) => self.is_null(inner, true),
            Ast::IsTrue(inner) => self.is_bool(inner, true, false, "IS TRUE"),
            Ast::IsNotTrue(inner) => self.is_bool(inner, true, true, "IS NOT TRUE"),
            Ast::IsFalse(inner) => self.is_bool(inner, false, false, "IS FALSE"),
            Ast::IsNotFalse(inner) => self.is_bool(inner, false, true, "IS NOT FALSE"),
            Ast::IsUnknown(inner) => self.is_unknown(inner, false),
            Ast::IsNotUnknown(inner) => self.is_unknown(inner, true),
            Ast::IsDistinctFrom(left, right) => self.is_distinct(left, right, false),
            Ast::IsNotDistinctFrom(left, right) => self.is_distinct(left, right, true),
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Ast::InSubquery { expr, subquery, negated } => self.in_subquery(expr, subquery, *negated),
            Ast::Between { expr, negated, low, high } => self.between(expr, low, high, *negated),
            Ast::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), false, *negated)
            }
            Ast::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), true, *negated)
            }
            Ast::AnyOp { left, compare_op, right, .. } => self.quantified(left, compare_op, right, false),
            Ast::AllOp { left, compare_op, right } => self.quantified(left, compare_op, right, true),
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Ast::Exists { subquery, negated } => self.exists(subquery, *negated),
            Ast::Subquery(query) => self.scalar_subquery(query, 0, 1),
            Ast::Array(array) => self.array(&array.elem),
            Ast::Function(function) => self.call(function),
            Ast::Collate { expr, collation } => self.collate(expr, collation),
            Ast::Tuple(_) => Err(Error::unsupported("a row in this place")),
            Ast::CompoundFieldAccess { root, access_chain } => self.subscript(root, access_chain),
            Ast::SimilarTo { .. } => Err(Error::unsupported("SIMILAR TO")),
            Ast::Extract { .. }
            | Ast::Ceil { .. }
            | Ast::Floor { .. }
            | Ast::Position { .. }
            | Ast::Substring { .. }
            | Ast::Trim { .. }
            | Ast::Overlay { .. }
            | Ast::AtTimeZone { .. } => self.special_call(expr),
            other => Err(unsupported_expr(other)),
        }
    }

    fn identifier(&mut self, ident: &ast::Ident) -> Result<Expr> {
        let name = names::fold(ident);
        if ident.quote_style.is_none() && name == "default" {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "DEFAULT is not allowed in this context"));
        }
        self.resolve_column(&name)
    }

    fn cast(&mut self, expr: &'a ast::Expr, to: &ast::DataType) -> Result<Expr> {
        let to = types::data_type(to)?;
        // ARRAY[]::integer[] has no other way to its element's type.
        if let (ast::Expr::Array(array), DataType::Array(_)) = (expr, &to)
            && array.elem.is_empty()
        {
            return Ok(Expr { kind: ExprKind::Array(vec![]), data_type: to });
        }
        let expr = self.expr(expr)?;
        coerce::explicit(expr, &to)
    }

    fn interval(&mut self, interval: &'a ast::Interval) -> Result<Expr> {
        let plain = interval.last_field.is_none() && interval.leading_precision.is_none();
        if !plain {
            return Err(Error::unsupported("an interval of a range of fields"));
        }
        let value = self.expr(&interval.value)?;
        // INTERVAL '5' DAY means '5 day'.
        let value = match (&interval.leading_field, &value.kind) {
            (Some(field), ExprKind::Literal(Value::Text(text))) => {
                Expr::literal(Value::text(&format!("{text} {field}")), DataType::Unknown)
            }
            (Some(_), _) => return Err(Error::unsupported("an interval that is no literal")),
            (None, _) => value,
        };
        coerce::explicit(value, &DataType::Interval)
    }

    fn unary(&mut self, op: UnaryOperator, expr: &'a ast::Expr) -> Result<Expr> {
        match op {
            UnaryOperator::Not => {
                let condition = self.condition(expr, "NOT")?;
                Ok(operators::not(condition))
            }
            UnaryOperator::Minus => {
                if let ast::Expr::Value(value) = expr
                    && let ast::Value::Number(digits, _) = &value.value
                {
                    return literals::number(digits, true);
                }
                operators::unary(UnaryOp::Negate, self.expr(expr)?)
            }
            UnaryOperator::Plus => {
                let operand = self.expr(expr)?;
                if operand.data_type.is_number() {
                    return Ok(operand);
                }
                Err(Error::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("operator does not exist: + {}", operand.data_type),
                ))
            }
            UnaryOperator::BitwiseNot => operators::unary(UnaryOp::BitNot, self.expr(expr)?),
            UnaryOperator::PGAbs => {
                let operand = self.expr(expr)?;
                self.call_named("abs", vec![operand])
            }
            UnaryOperator::PGSquareRoot => {
                let operand = self.expr(expr)?;
                self.call_named("sqrt", vec![operand])
            }
            UnaryOperator::PGCubeRoot => {
                let operand = self.expr(expr)?;
                self.call_named("cbrt", vec![operand])
            }
            other => Err(Error::unsupported(format!("the operator {other}"))),
        }
    }

    fn binary(&mut self, left: &'a ast::Expr, op: &'a BinaryOperator, right: &'a ast::Expr) -> Result<Expr> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            return self.connective(left, op, right);
        }
        if let Some(op) = comparison(op) {
            return self.comparison(op, left, right);
        }
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        let regex = |case_insensitive| BinaryOp::Regex { case_insensitive };
        let op = match op {
            BinaryOperator::Plus => BinaryOp::Add,
            BinaryOperator::Minus => BinaryOp::Subtract,
            BinaryOperator::Multiply => BinaryOp::Multiply,
            BinaryOperator::Divide => BinaryOp::Divide,
            BinaryOperator::Modulo => BinaryOp::Modulo,
            // The parser has a name of its own for PostgreSQL's `^` and `#`.
            BinaryOperator::PGExp | BinaryOperator::BitwiseXor => BinaryOp::Power,
            BinaryOperator::StringConcat => BinaryOp::Concat,
            BinaryOperator::BitwiseAnd => BinaryOp::BitAnd,
            BinaryOperator::BitwiseOr => BinaryOp::BitOr,
            BinaryOperator::PGBitwiseXor => BinaryOp::BitXor,
            BinaryOperator::PGBitwiseShiftLeft => BinaryOp::ShiftLeft,
            BinaryOperator::PGBitwiseShiftRight => BinaryOp::ShiftRight,
            BinaryOperator::Arrow => BinaryOp::JsonGet,
            BinaryOperator::LongArrow => BinaryOp::JsonGetText,
            BinaryOperator::AtArrow => BinaryOp::Contains,
            BinaryOperator::ArrowAt => return operators::binary(BinaryOp::Contains, right, left),
            BinaryOperator::PGRegexMatch => regex(false),
            BinaryOperator::PGRegexIMatch => regex(true),
            BinaryOperator::PGRegexNotMatch => {
                return Ok(operators::not(operators::binary(regex(false), left, right)?));
            }
            BinaryOperator::PGRegexNotIMatch => {
                return Ok(operators::not(operators::binary(regex(true), left, right)?));
            }
            BinaryOperator::PGLikeMatch => return like_match(left, right, Some('\\'), false),
            BinaryOperator::PGILikeMatch => return like_match(left, right, Some('\\'), true),
            BinaryOperator::PGNotLikeMatch => return Ok(operators::not(like_match(left, right, Some('\\'), false)?)),
            BinaryOperator::PGNotILikeMatch => return Ok(operators::not(like_match(left, right, Some('\\'), true)?)),
            BinaryOperator::PGStartsWith => return self.call_named("starts_with", vec![left, right]),
            other => return Err(operators::undefined(&other.to_string(), &left.data_type, &right.data_type)),
        };
        operators::binary(op, left, right)
    }

    /// AND and OR: the parser has made their chains shallow trees, and here each chain becomes one list.
    fn connective(&mut self, left: &'a ast::Expr, op: &'a BinaryOperator, right: &'a ast::Expr) -> Result<Expr> {
        let and = *op == BinaryOperator::And;
        let clause = if and { "AND" } else { "OR" };
        let mut list = vec![];
        for side in [left, right] {
            let bound = self.condition(side, clause)?;
            match bound.kind {
                ExprKind::And(inner) if and => list.extend(inner),
                ExprKind::Or(inner) if !and => list.extend(inner),
                kind => list.push(Expr { kind, data_type: DataType::Bool }),
            }
        }
        let kind = if and { ExprKind::And(list) } else { ExprKind::Or(list) };
        Ok(Expr { kind, data_type: DataType::Bool })
    }

    fn case(
        &mut self,
        operand: Option<&'a ast::Expr>,
        conditions: &'a [ast::CaseWhen],
        otherwise: Option<&'a ast::Expr>,
    ) -> Result<Expr> {
        let operand = operand.map(|operand| self.expr(operand)).transpose()?;
        let mut whens = vec![];
        let mut results = vec![];
        for when in conditions {
            let condition = match &operand {
                Some(operand) => {
                    let value = self.expr(&when.condition)?;
                    operators::compare(CompareOp::Eq, self.copy(operand)?, value)?
                }
                None => self.condition(&when.condition, "CASE/WHEN")?,
            };
            whens.push(condition);
            results.push(self.expr(&when.result)?);
        }
        // PostgreSQL lets ELSE speak first where types disagree; the common type is the same.
        if let Some(otherwise) = otherwise {
            results.push(self.expr(otherwise)?);
        }
        let (mut results, data_type) = coerce::unify(results, "CASE")?;
        let otherwise = if otherwise.is_some() { results.pop().map(Box::new) } else { None };
        Ok(Expr { kind: ExprKind::Case { whens: whens.into_iter().zip(results).collect(), otherwise }, data_type })
    }

    fn array(&mut self, elements: &'a [ast::Expr]) -> Result<Expr> {
        if elements.is_empty() {
            return Err(Error::new(SqlState::INDETERMINATE_DATATYPE, "cannot determine type of empty array")
                .with_hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
        }
        let elements = self.exprs(elements)?;
        let all_unknown = elements.iter().all(|element| element.data_type == DataType::Unknown);
        let (elements, element) = coerce::unify(elements, "ARRAY")?;
        if matches!(element, DataType::Array(_)) && !all_unknown {
            return Err(Error::unsupported("an array of more than one dimension"));
        }
        Ok(Expr { kind: ExprKind::Array(elements), data_type: DataType::Array(Arc::new(element)) })
    }

    /// Text compares by code points here, which is what these collations do.
    fn collate(&mut self, expr: &'a ast::Expr, collation: &ast::ObjectName) -> Result<Expr> {
        let name = names::parts(collation)?.pop().unwrap_or_default();
        if !matches!(name.as_str(), "C" | "POSIX" | "default" | "ucs_basic") {
            return Err(Error::unsupported(format!("the collation \"{name}\"")));
        }
        let expr = self.expr(expr)?;
        convert_in(expr, &DataType::Text, Context::Implicit, |from| {
            Error::new(SqlState::DATATYPE_MISMATCH, format!("collations are not supported by type {from}"))
        })
    }
}

/// The comparison that an operator is.
fn comparison(op: &BinaryOperator) -> Option<CompareOp> {
    Some(match op {
        BinaryOperator::Eq => CompareOp::Eq,
        BinaryOperator::NotEq => CompareOp::NotEq,
        BinaryOperator::Lt => CompareOp::Lt,
        BinaryOperator::LtEq => CompareOp::LtEq,
        BinaryOperator::Gt => CompareOp::Gt,
        BinaryOperator::GtEq => CompareOp::GtEq,
        _ => return None,
    })
}

/// LIKE and ILIKE of two operands.
fn like_match(text: Expr, pattern: Expr, escape: Option<char>, case_insensitive: bool) -> Result<Expr> {
    let fits = |side: &Expr| side.data_type.is_text() || side.data_type == DataType::Unknown;
    if !fits(&text) || !fits(&pattern) {
        let symbol = if case_insensitive { "~~*" } else { "~~" };
        return Err(operators::undefined(symbol, &text.data_type, &pattern.data_type));
    }
    let text = Box::new(coerce::operand(text, &DataType::Text)?);
    let pattern = Box::new(coerce::operand(pattern, &DataType::Text)?);
    Ok(Expr { kind: ExprKind::Like { text, pattern, case_insensitive, escape }, data_type: DataType::Bool })
}

fn unsupported_expr(expr: &ast::Expr) -> Error {
    const SHOWN_CHARS_MAX: usize = 60;
    let shown: String = expr.to_string().chars().take(SHOWN_CHARS_MAX).collect();
    Error::unsupported(format!("the expression {shown}"))
}

/// `IS NULL` of something bound.
fn null_test(expr: Expr, negate: bool) -> Expr {
    negated(Expr { kind: ExprKind::IsNull(Box::new(expr)), data_type: DataType::Bool }, negate)
}
