//! Which columns expressions and relations refer to, and replacing them.

use super::logical::{Query, Rel};
use crate::exec::expr::{ColId, Expr, ExprKind, Subquery, SubqueryBody};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A set of columns.
pub(super) type ColSet = BTreeSet<ColId>;

/// The logical query of a subquery that has not been planned.
pub(super) fn logical(subquery: &Subquery) -> Option<&Query> {
    match &subquery.body {
        SubqueryBody::Logical(body) => body.as_any().downcast_ref::<Query>(),
        SubqueryBody::Planned { .. } => None,
    }
}

/// The columns that an expression refers to, those that its subqueries take from outside included.
pub(super) fn expr_columns(expr: &Expr) -> ColSet {
    let mut found = ColSet::new();
    collect(expr, &mut found);
    found
}

fn collect(expr: &Expr, found: &mut ColSet) {
    match &expr.kind {
        ExprKind::Column(id) => {
            found.insert(*id);
        }
        ExprKind::Subquery(subquery) => {
            if let Some(query) = logical(subquery) {
                found.extend(free_columns(&query.rel));
            }
        }
        _ => {}
    }
    for child in expr.children() {
        collect(child, found);
    }
}

/// The columns that a relation takes from enclosing queries.
pub(super) fn free_columns(rel: &Rel) -> ColSet {
    let (mut used, mut made) = (ColSet::new(), ColSet::new());
    visit(rel, &mut used, &mut made);
    used.difference(&made).copied().collect()
}

fn visit(rel: &Rel, used: &mut ColSet, made: &mut ColSet) {
    for expr in rel.exprs() {
        collect(expr, used);
    }
    made.extend(rel.columns());
    for input in rel.inputs() {
        visit(input, used, made);
    }
}

/// Whether a subquery occurs anywhere inside.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Subquery(_)) || expr.children().into_iter().any(has_subquery)
}

/// Replaces columns by expressions, also where subqueries refer to them.
pub(super) fn substitute(expr: &mut Expr, by: &HashMap<ColId, Expr>) {
    if let ExprKind::Column(id) = &expr.kind {
        if let Some(replacement) = by.get(id) {
            *expr = replacement.clone();
        }
        return;
    }
    if let ExprKind::Subquery(subquery) = &mut expr.kind {
        let rewritten = logical(subquery)
            .filter(|query| free_columns(&query.rel).iter().any(|id| by.contains_key(id)))
            .cloned()
            .map(|mut query| {
                substitute_rel(&mut query.rel, by);
                query
            });
        if let Some(query) = rewritten {
            subquery.body = SubqueryBody::Logical(Arc::new(query));
        }
    }
    for child in expr.children_mut() {
        substitute(child, by);
    }
}

fn substitute_rel(rel: &mut Rel, by: &HashMap<ColId, Expr>) {
    for expr in rel.exprs_mut() {
        substitute(expr, by);
    }
    for input in rel.inputs_mut() {
        substitute_rel(input, by);
    }
}

/// Splits a predicate into what must all be true.
pub(super) fn conjuncts(predicate: Expr, into: &mut Vec<Expr>) {
    match predicate.kind {
        ExprKind::And(parts) => parts.into_iter().for_each(|part| conjuncts(part, into)),
        _ => into.push(predicate),
    }
}

impl Rel {
    /// The direct inputs.
    pub(super) fn inputs(&self) -> Vec<&Rel> {
        match self {
            Self::OneRow | Self::Values { .. } | Self::Scan { .. } => vec![],
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Aggregate { input, .. }
            | Self::Distinct { input, .. }
            | Self::Sort { input, .. }
            | Self::Limit { input, .. } => vec![input],
            Self::Join { left, right, .. } | Self::SetOp { left, right, .. } => vec![left, right],
        }
    }

    fn inputs_mut(&mut self) -> Vec<&mut Rel> {
        match self {
            Self::OneRow | Self::Values { .. } | Self::Scan { .. } => vec![],
            Self::Filter { input, .. }
            | Self::Project { input, .. }
            | Self::Aggregate { input, .. }
            | Self::Distinct { input, .. }
            | Self::Sort { input, .. }
            | Self::Limit { input, .. } => vec![input],
            Self::Join { left, right, .. } | Self::SetOp { left, right, .. } => vec![left, right],
        }
    }

    /// The expressions of this operator itself.
    pub(super) fn exprs(&self) -> Vec<&Expr> {
        match self {
            Self::OneRow | Self::Scan { .. } | Self::SetOp { .. } => vec![],
            Self::Values { rows, .. } => rows.iter().flatten().collect(),
            Self::Filter { predicate, .. } => vec![predicate],
            Self::Project { exprs, .. } => exprs.iter().map(|(_, expr)| expr).collect(),
            Self::Join { on, .. } => on.iter().collect(),
            Self::Aggregate { groups, aggregates, .. } => {
                let calls = aggregates.iter().flat_map(|(_, call)| call.args.iter().chain(&call.filter));
                groups.iter().map(|(_, expr)| expr).chain(calls).collect()
            }
            Self::Distinct { on, .. } => on.iter().flatten().collect(),
            Self::Sort { keys, .. } => keys.iter().map(|key| &key.expr).collect(),
            Self::Limit { limit, offset, .. } => limit.iter().chain(offset).collect(),
        }
    }

    fn exprs_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Self::OneRow | Self::Scan { .. } | Self::SetOp { .. } => vec![],
            Self::Values { rows, .. } => rows.iter_mut().flatten().collect(),
            Self::Filter { predicate, .. } => vec![predicate],
            Self::Project { exprs, .. } => exprs.iter_mut().map(|(_, expr)| expr).collect(),
            Self::Join { on, .. } => on.iter_mut().collect(),
            Self::Aggregate { groups, aggregates, .. } => {
                let calls = aggregates.iter_mut().flat_map(|(_, call)| call.args.iter_mut().chain(&mut call.filter));
                groups.iter_mut().map(|(_, expr)| expr).chain(calls).collect()
            }
            Self::Distinct { on, .. } => on.iter_mut().flatten().collect(),
            Self::Sort { keys, .. } => keys.iter_mut().map(|key| &mut key.expr).collect(),
            Self::Limit { limit, offset, .. } => limit.iter_mut().chain(offset).collect(),
        }
    }
}
