//! Going through bound trees: every expression of a query, that of its subqueries included.

use crate::error::{Error, Result};
use crate::exec::expr::{ColId, Expr, ExprKind, SubqueryBody};
use crate::plan::logical::{Query, Rel};
use std::mem::discriminant;
use std::sync::Arc;

/// Rewrites an expression from the top: where `rewrite` says true it has dealt with the whole expression, otherwise the operands follow.
pub(super) fn rewrite_expr(expr: &mut Expr, rewrite: &mut dyn FnMut(&mut Expr) -> Result<bool>) -> Result<()> {
    if rewrite(expr)? {
        return Ok(());
    }
    for child in expr.children_mut() {
        rewrite_expr(child, rewrite)?;
    }
    if let ExprKind::Subquery(subquery) = &mut expr.kind
        && let SubqueryBody::Logical(body) = &subquery.body
    {
        let query = body.as_any().downcast_ref::<Query>().ok_or_else(|| Error::internal("an unknown subquery"))?;
        let mut query = query.clone();
        rewrite_rel(&mut query.rel, rewrite)?;
        subquery.body = SubqueryBody::Logical(Arc::new(query));
    }
    Ok(())
}

fn rewrite_rel(rel: &mut Rel, rewrite: &mut dyn FnMut(&mut Expr) -> Result<bool>) -> Result<()> {
    match rel {
        Rel::OneRow | Rel::Scan { .. } => {}
        Rel::Values { rows, .. } => {
            for expr in rows.iter_mut().flatten() {
                rewrite_expr(expr, rewrite)?;
            }
        }
        Rel::Filter { input, predicate } => {
            rewrite_rel(input, rewrite)?;
            rewrite_expr(predicate, rewrite)?;
        }
        Rel::Project { input, exprs } => {
            rewrite_rel(input, rewrite)?;
            for (_, expr) in exprs {
                rewrite_expr(expr, rewrite)?;
            }
        }
        Rel::Join { left, right, on, .. } => {
            rewrite_rel(left, rewrite)?;
            rewrite_rel(right, rewrite)?;
            if let Some(on) = on {
                rewrite_expr(on, rewrite)?;
            }
        }
        Rel::Aggregate { input, groups, aggregates } => {
            rewrite_rel(input, rewrite)?;
            for (_, group) in groups {
                rewrite_expr(group, rewrite)?;
            }
            for (_, call) in aggregates {
                for expr in call.args.iter_mut().chain(&mut call.filter) {
                    rewrite_expr(expr, rewrite)?;
                }
            }
        }
        Rel::Distinct { input, on } => {
            rewrite_rel(input, rewrite)?;
            for expr in on.iter_mut().flatten() {
                rewrite_expr(expr, rewrite)?;
            }
        }
        Rel::Sort { input, keys } => {
            rewrite_rel(input, rewrite)?;
            for key in keys {
                rewrite_expr(&mut key.expr, rewrite)?;
            }
        }
        Rel::Limit { input, limit, offset } => {
            rewrite_rel(input, rewrite)?;
            for expr in limit.iter_mut().chain(offset) {
                rewrite_expr(expr, rewrite)?;
            }
        }
        Rel::SetOp { left, right, .. } => {
            rewrite_rel(left, rewrite)?;
            rewrite_rel(right, rewrite)?;
        }
    }
    Ok(())
}

/// Sets FOR UPDATE on the scans of a FROM clause, all of them or those of one alias.
pub(super) fn lock_scans(rel: &mut Rel, of: Option<&str>) -> bool {
    match rel {
        Rel::OneRow | Rel::Values { .. } => false,
        Rel::Scan { alias, lock, .. } => {
            let named = of.is_none_or(|of| of == alias);
            *lock |= named;
            named
        }
        Rel::Join { left, right, .. } | Rel::SetOp { left, right, .. } => {
            let in_left = lock_scans(left, of);
            lock_scans(right, of) || in_left
        }
        Rel::Filter { input, .. }
        | Rel::Project { input, .. }
        | Rel::Aggregate { input, .. }
        | Rel::Distinct { input, .. }
        | Rel::Sort { input, .. }
        | Rel::Limit { input, .. } => lock_scans(input, of),
    }
}

/// The columns that an expression mentions, outside of subqueries.
pub(super) fn columns_of(expr: &Expr, found: &mut Vec<ColId>) {
    if let ExprKind::Column(id) = expr.kind {
        found.push(id);
    }
    for child in expr.children() {
        columns_of(child, found);
    }
}

/// Whether two expressions are written alike over the same columns. Subqueries never are.
pub(super) fn same(left: &Expr, right: &Expr) -> bool {
    if discriminant(&left.kind) != discriminant(&right.kind) || left.data_type != right.data_type {
        return false;
    }
    let alike = match (&left.kind, &right.kind) {
        (ExprKind::Literal(left), ExprKind::Literal(right)) => format!("{left:?}") == format!("{right:?}"),
        (ExprKind::Param(left), ExprKind::Param(right)) => left == right,
        (ExprKind::Column(left), ExprKind::Column(right)) => left == right,
        (ExprKind::Unary(left, _), ExprKind::Unary(right, _)) => left == right,
        (ExprKind::Binary(left, ..), ExprKind::Binary(right, ..)) => left == right,
        (ExprKind::Compare(left, ..), ExprKind::Compare(right, ..)) => left == right,
        (ExprKind::IsBool(_, left), ExprKind::IsBool(_, right)) => left == right,
        (
            ExprKind::Like { case_insensitive: left, escape: left_escape, .. },
            ExprKind::Like { case_insensitive: right, escape: right_escape, .. },
        ) => left == right && left_escape == right_escape,
        (
            ExprKind::QuantifiedArray { op: left, all: left_all, .. },
            ExprKind::QuantifiedArray { op: right, all: right_all, .. },
        ) => left == right && left_all == right_all,
        (ExprKind::Case { whens: left, .. }, ExprKind::Case { whens: right, .. }) => left.len() == right.len(),
        (ExprKind::Call(left, _), ExprKind::Call(right, _)) => std::ptr::eq(*left, *right),
        (ExprKind::Subquery(_), _) => false,
        _ => true,
    };
    let (left, right) = (left.children(), right.children());
    alike && left.len() == right.len() && left.into_iter().zip(right).all(|(left, right)| same(left, right))
}
