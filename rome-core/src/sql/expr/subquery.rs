//! Subqueries inside expressions.

use super::super::operators::{self, negated};
use super::super::scope::Clause;
use super::super::{Binder, coerce};
use super::predicate::row_fields;
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{CompareOp, Expr, ExprKind, Subquery, SubqueryBody, SubqueryKind};
use crate::exec::node::OutputColumn;
use crate::plan::logical::{Query, Rel};
use crate::value::DataType;
use sqlparser::ast;
use std::sync::Arc;

impl<'a> Binder<'a> {
    fn inner_query(&mut self, query: &'a ast::Query) -> Result<Query> {
        match self.clause() {
            Some(Clause::Default) => {
                Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use subquery in DEFAULT expression"))
            }
            Some(Clause::Check) => {
                Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, "cannot use subquery in check constraint"))
            }
            _ => self.query(query),
        }
    }

    pub(super) fn exists(&mut self, query: &'a ast::Query, negate: bool) -> Result<Expr> {
        let query = self.inner_query(query)?;
        Ok(negated(subquery(SubqueryKind::Exists, query, DataType::Bool), negate))
    }

    /// `(SELECT ...)`: column `position` of the `width` that it must have.
    pub(in super::super) fn scalar_subquery(
        &mut self,
        query: &'a ast::Query,
        position: usize,
        width: usize,
    ) -> Result<Expr> {
        let mut query = self.inner_query(query)?;
        if query.output.len() != width {
            let message = if width == 1 {
                "subquery must return only one column".to_owned()
            } else {
                "number of columns does not match number of values".to_owned()
            };
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
        let wanted = query.output.get(position).cloned().ok_or_else(|| Error::internal("a column of a subquery"))?;
        let data_type = wanted.1.data_type.clone();
        query.output = vec![wanted];
        Ok(subquery(SubqueryKind::Scalar, query, data_type))
    }

    /// `ARRAY(SELECT ...)`
    pub(super) fn array_subquery(&mut self, query: &'a ast::Query) -> Result<Expr> {
        let query = self.inner_query(query)?;
        let [(_, column)] = query.output.as_slice() else {
            return Err(Error::new(SqlState::SYNTAX_ERROR, "subquery must return only one column"));
        };
        let data_type = DataType::Array(Arc::new(column.data_type.clone()));
        Ok(subquery(SubqueryKind::Array, query, data_type))
    }

    pub(super) fn in_subquery(&mut self, left: &'a ast::Expr, query: &'a ast::Query, negate: bool) -> Result<Expr> {
        let test = self.quantified_subquery(left, CompareOp::Eq, query, false)?;
        Ok(negated(test, negate))
    }

    pub(super) fn quantified_subquery(
        &mut self,
        left: &'a ast::Expr,
        op: CompareOp,
        query: &'a ast::Query,
        all: bool,
    ) -> Result<Expr> {
        let left = match row_fields(left) {
            Some(fields) => self.exprs(fields)?,
            None => vec![self.expr(left)?],
        };
        if left.len() > 1 && op != CompareOp::Eq {
            return Err(Error::unsupported("a row with ANY or ALL and anything but ="));
        }
        let query = self.inner_query(query)?;
        let (left, query) = self.matched(op, left, query)?;
        Ok(subquery(SubqueryKind::Quantified { left, op, all }, query, DataType::Bool))
    }

    /// `(a, b) = (SELECT ...)`: NULL where the subquery has no row, as for a scalar subquery.
    pub(super) fn row_against_subquery(
        &mut self,
        op: CompareOp,
        left: Vec<Expr>,
        query: &'a ast::Query,
    ) -> Result<Expr> {
        let width = left.len();
        let mut right = vec![];
        for position in 0..width {
            right.push(self.scalar_subquery(query, position, width)?);
        }
        if op != CompareOp::Eq {
            return Err(Error::unsupported("comparing a row with a subquery other than by ="));
        }
        let tests = left.into_iter().zip(right).map(|(left, right)| operators::compare(op, left, right));
        Ok(Expr::all(tests.collect::<Result<_>>()?))
    }

    /// Casts the left sides and the subquery's columns to the types in which they are compared.
    fn matched(&mut self, op: CompareOp, left: Vec<Expr>, query: Query) -> Result<(Vec<Expr>, Query)> {
        if query.output.len() != left.len() {
            let message = if query.output.len() > left.len() {
                "subquery has too many columns"
            } else {
                "subquery has too few columns"
            };
            return Err(Error::new(SqlState::SYNTAX_ERROR, message));
        }
        let mut sides = vec![];
        let mut exprs = vec![];
        let mut output = vec![];
        let mut changed = false;
        for (left, (id, column)) in left.into_iter().zip(query.output) {
            let common = coerce::unconstrained(&operators::comparison_type(op, &left.data_type, &column.data_type)?);
            sides.push(coerce::operand(left, &common)?);
            let expr = Expr::column(id, column.data_type.clone());
            if coerce::same_representation(&column.data_type, &common) {
                output.push((id, column));
                exprs.push((id, expr));
            } else {
                changed = true;
                let id = self.new_column();
                exprs.push((id, coerce::convert(expr, &common)?));
                output.push((id, OutputColumn { name: column.name, data_type: common }));
            }
        }
        let rel = if changed { Rel::Project { input: Box::new(query.rel), exprs } } else { query.rel };
        Ok((sides, Query { rel, output }))
    }
}

fn subquery(kind: SubqueryKind, query: Query, data_type: DataType) -> Expr {
    let body = SubqueryBody::Logical(Arc::new(query));
    Expr { kind: ExprKind::Subquery(Box::new(Subquery { kind, body })), data_type }
}
