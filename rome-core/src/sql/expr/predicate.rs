//! Comparisons and the other tests, of single values and of rows.

use super::super::coerce;
use super::super::operators::{self, negated};
use super::super::{Binder, names};
use super::{comparison, like_match, null_test};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{CompareOp, Expr, ExprKind};
use crate::value::{DataType, Value};
use sqlparser::ast::{self, BinaryOperator};
use std::sync::Arc;

/// The fields of a row: `(a, b)` or `ROW(a, b)`.
pub(in super::super) fn row_fields(expr: &ast::Expr) -> Option<Vec<&ast::Expr>> {
    match expr {
        ast::Expr::Tuple(fields) => Some(fields.iter().collect()),
        ast::Expr::Nested(inner) => row_fields(inner),
        ast::Expr::Function(function) => {
            if names::function(&function.name).ok()? != "row" {
                return None;
            }
            let ast::FunctionArguments::List(list) = &function.args else { return None };
            let fields = list.args.iter().map(|arg| match arg {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            });
            fields.collect()
        }
        _ => None,
    }
}

impl<'a> Binder<'a> {
    pub(super) fn comparison(&mut self, op: CompareOp, left: &'a ast::Expr, right: &'a ast::Expr) -> Result<Expr> {
        let Some(left_fields) = row_fields(left) else {
            let (left, right) = (self.expr(left)?, self.expr(right)?);
            return operators::compare(op, left, right);
        };
        if let ast::Expr::Subquery(query) = right {
            let left = self.exprs(left_fields)?;
            return self.row_against_subquery(op, left, query);
        }
        let right_fields = row_fields(right).ok_or_else(unequal_rows)?;
        let (left, right) = (self.exprs(left_fields)?, self.exprs(right_fields)?);
        self.compare_rows(op, &left, &right)
    }

    pub(super) fn is_null(&mut self, expr: &'a ast::Expr, negate: bool) -> Result<Expr> {
        if let Some(fields) = row_fields(expr) {
            // A row is null if all of its fields are, and is not null if none is.
            let tests = self.exprs(fields)?.into_iter().map(|field| null_test(field, negate));
            return Ok(Expr::all(tests.collect()));
        }
        let expr = self.settled(expr)?;
        Ok(null_test(expr, negate))
    }

    pub(super) fn is_bool(&mut self, expr: &'a ast::Expr, value: bool, negate: bool, clause: &str) -> Result<Expr> {
        let condition = self.condition(expr, clause)?;
        let test = Expr { kind: ExprKind::IsBool(Box::new(condition), value), data_type: DataType::Bool };
        Ok(negated(test, negate))
    }

    pub(super) fn is_unknown(&mut self, expr: &'a ast::Expr, negate: bool) -> Result<Expr> {
        let condition = self.condition(expr, if negate { "IS NOT UNKNOWN" } else { "IS UNKNOWN" })?;
        Ok(null_test(condition, negate))
    }

    pub(super) fn is_distinct(&mut self, left: &'a ast::Expr, right: &'a ast::Expr, negate: bool) -> Result<Expr> {
        let fields = (row_fields(left), row_fields(right));
        let (left, right) = match fields {
            (Some(left), Some(right)) if left.len() == right.len() => (self.exprs(left)?, self.exprs(right)?),
            (None, None) => (vec![self.expr(left)?], vec![self.expr(right)?]),
            _ => return Err(unequal_rows()),
        };
        let mut distinct = vec![];
        for (left, right) in left.into_iter().zip(right) {
            let (left, right) = operators::comparable(CompareOp::Eq, left, right)?;
            let kind = ExprKind::IsDistinct(Box::new(left), Box::new(right));
            distinct.push(Expr { kind, data_type: DataType::Bool });
        }
        Ok(negated(any(distinct), negate))
    }

    pub(super) fn between(
        &mut self,
        expr: &'a ast::Expr,
        low: &'a ast::Expr,
        high: &'a ast::Expr,
        negate: bool,
    ) -> Result<Expr> {
        let low = self.comparison(CompareOp::GtEq, expr, low)?;
        let high = self.comparison(CompareOp::LtEq, expr, high)?;
        Ok(negated(Expr::all(vec![low, high]), negate))
    }

    pub(super) fn like(
        &mut self,
        text: &'a ast::Expr,
        pattern: &'a ast::Expr,
        escape: Option<&'a ast::Expr>,
        case_insensitive: bool,
        negate: bool,
    ) -> Result<Expr> {
        let escape = match escape {
            None => Some('\\'),
            Some(escape) => self.escape(escape)?,
        };
        let (text, pattern) = (self.expr(text)?, self.expr(pattern)?);
        Ok(negated(like_match(text, pattern, escape, case_insensitive)?, negate))
    }

    fn escape(&mut self, escape: &'a ast::Expr) -> Result<Option<char>> {
        let ExprKind::Literal(Value::Text(text)) = self.expr(escape)?.kind else {
            return Err(Error::unsupported("ESCAPE with anything but a literal"));
        };
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (escape, None) => Ok(escape),
            _ => Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
                .with_hint("Escape string must be empty or one character.")),
        }
    }

    pub(super) fn in_list(&mut self, expr: &'a ast::Expr, list: &'a [ast::Expr], negate: bool) -> Result<Expr> {
        if let Some(fields) = row_fields(expr) {
            let left = self.exprs(fields)?;
            let mut alternatives = vec![];
            for row in list {
                let right = self.exprs(row_fields(row).ok_or_else(unequal_rows)?)?;
                alternatives.push(self.compare_rows(CompareOp::Eq, &left, &right)?);
            }
            return Ok(negated(any(alternatives), negate));
        }
        let left = self.expr(expr)?;
        let list = self.exprs(list)?;
        Ok(negated(self.in_values(left, list)?, negate))
    }

    /// `x op ANY (array or subquery)` and ALL.
    pub(super) fn quantified(
        &mut self,
        left: &'a ast::Expr,
        op: &BinaryOperator,
        right: &'a ast::Expr,
        all: bool,
    ) -> Result<Expr> {
        let op = comparison(op).ok_or_else(|| Error::unsupported(format!("{op} with ANY or ALL")))?;
        if let ast::Expr::Subquery(query) = right {
            return self.quantified_subquery(left, op, query, all);
        }
        let (left, array) = (self.expr(left)?, self.expr(right)?);
        let element = match &array.data_type {
            DataType::Array(element) => (**element).clone(),
            DataType::Unknown => DataType::Unknown,
            _ => {
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, "op ANY/ALL (array) requires array on right side"));
            }
        };
        let common = coerce::unconstrained(&operators::comparison_type(op, &left.data_type, &element)?);
        let left = coerce::operand(left, &common)?;
        let array = coerce::operand(array, &DataType::Array(Arc::new(common)))?;
        let kind = ExprKind::QuantifiedArray { left: Box::new(left), op, array: Box::new(array), all };
        Ok(Expr { kind, data_type: DataType::Bool })
    }

    /// `left IN (list)` over bound values.
    fn in_values(&mut self, left: Expr, list: Vec<Expr>) -> Result<Expr> {
        let common = coerce::common(std::iter::once(&left).chain(&list).map(|expr| &expr.data_type), "IN");
        let common = match common {
            Ok(common) if list.len() > 1 && !matches!(common, DataType::Char(_)) => common,
            // Where no type suits all, each pair may still have its operator.
            _ => {
                let mut tests = vec![];
                for value in list {
                    tests.push(operators::compare(CompareOp::Eq, self.copy(&left)?, value)?);
                }
                return Ok(any(tests));
            }
        };
        let common = coerce::unconstrained(&operators::comparison_type(CompareOp::Eq, &common, &common)?);
        let left = coerce::operand(left, &common)?;
        let list = list.into_iter().map(|value| coerce::operand(value, &common)).collect::<Result<_>>()?;
        Ok(Expr { kind: ExprKind::InList(Box::new(left), list), data_type: DataType::Bool })
    }

    /// Rows compare field by field, the first difference deciding.
    fn compare_rows(&mut self, op: CompareOp, left: &[Expr], right: &[Expr]) -> Result<Expr> {
        if left.len() != right.len() {
            return Err(unequal_rows());
        }
        if left.is_empty() {
            return Err(Error::unsupported("comparing rows without fields"));
        }
        let strict = match op {
            CompareOp::Eq | CompareOp::NotEq => {
                let mut tests = vec![];
                for (left, right) in left.iter().zip(right) {
                    tests.push(operators::compare(op, self.copy(left)?, self.copy(right)?)?);
                }
                return Ok(if op == CompareOp::Eq { Expr::all(tests) } else { any(tests) });
            }
            CompareOp::Lt | CompareOp::LtEq => CompareOp::Lt,
            CompareOp::Gt | CompareOp::GtEq => CompareOp::Gt,
        };
        let last = left.len().saturating_sub(1);
        let mut alternatives = vec![];
        let mut equal: Vec<Expr> = vec![];
        for (position, (left, right)) in left.iter().zip(right).enumerate() {
            let op = if position == last { op } else { strict };
            let mut conjuncts = vec![];
            for test in &equal {
                conjuncts.push(self.copy(test)?);
            }
            conjuncts.push(operators::compare(op, self.copy(left)?, self.copy(right)?)?);
            alternatives.push(Expr::all(conjuncts));
            equal.push(operators::compare(CompareOp::Eq, self.copy(left)?, self.copy(right)?)?);
        }
        Ok(any(alternatives))
    }
}

fn unequal_rows() -> Error {
    Error::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions")
}

/// The disjunction of all; false for none.
fn any(mut alternatives: Vec<Expr>) -> Expr {
    match alternatives.len() {
        0 => Expr::bool(false),
        1 => alternatives.remove(0),
        _ => Expr { kind: ExprKind::Or(alternatives), data_type: DataType::Bool },
    }
}
