//! Subqueries in WHERE that are really joins.
//!
//! | in WHERE, as a conjunct | becomes |
//! |---|---|
//! | `EXISTS (...)` that refers to the outer row | semi-join |
//! | `NOT EXISTS (...)` that refers to the outer row | anti-join |
//! | `x IN (...)` that refers to the outer row | semi-join |
//! | `x IN (...)` that does not | inner join with the subquery's distinct rows, so that either side may drive the other |
//!
//! What refers to the outer row must be conjuncts of the subquery's own WHERE; otherwise the subquery stays an expression. `NOT IN` always
//! does, because of what NULLs mean to it.

use super::columns::{ColSet, conjuncts, expr_columns, free_columns, has_subquery, logical, substitute};
use super::logical::{Query, Rel};
use crate::exec::expr::{ColId, CompareOp, Expr, ExprKind, SubqueryKind};
use crate::exec::node::JoinKind;
use crate::value::{DataType, Value};
use std::collections::HashMap;

/// Moves those conjuncts that can be joins into `input`; returns the rest.
pub(super) fn into_joins(mut input: Rel, filters: Vec<Expr>) -> (Rel, Vec<Expr>) {
    let mut rest = Vec::new();
    for filter in filters {
        match as_join(&input, &filter) {
            Some(join) => input = join(input),
            None => rest.push(filter),
        }
    }
    (input, rest)
}

type Joining = Box<dyn FnOnce(Rel) -> Rel>;

fn as_join(input: &Rel, filter: &Expr) -> Option<Joining> {
    let (subquery, negated) = match &filter.kind {
        ExprKind::Subquery(subquery) => (subquery, false),
        ExprKind::Not(inner) => match &inner.kind {
            ExprKind::Subquery(subquery) => (subquery, true),
            _ => return None,
        },
        _ => return None,
    };
    let query = logical(subquery)?;
    let visible: ColSet = input.columns().into_iter().collect();
    let correlated = !free_columns(&query.rel).is_disjoint(&visible);
    match (&subquery.kind, negated) {
        (SubqueryKind::Exists, _) if correlated => {
            let kind = if negated { JoinKind::Anti } else { JoinKind::Semi };
            let (body, on) = lift(query, &visible, Vec::new(), true)?;
            Some(joined(kind, body, on))
        }
        (SubqueryKind::Quantified { left, op: CompareOp::Eq, all: false }, false) if !left.iter().any(has_subquery) => {
            let equal = equalities(query, left);
            if correlated {
                let (body, on) = lift(query, &visible, equal, false)?;
                Some(joined(JoinKind::Semi, body, on))
            } else {
                let distinct = distinct_output(query);
                Some(joined(JoinKind::Inner, distinct, equal))
            }
        }
        _ => None,
    }
}

fn joined(kind: JoinKind, right: Rel, on: Vec<Expr>) -> Joining {
    let on = (!on.is_empty()).then(|| Expr::all(on));
    Box::new(move |left| Rel::Join { kind, left: Box::new(left), right: Box::new(right), on })
}

fn output_columns(query: &Query) -> impl Iterator<Item = (ColId, &DataType)> {
    query.output.iter().map(|(id, column)| (*id, &column.data_type))
}

fn equalities(query: &Query, left: &[Expr]) -> Vec<Expr> {
    let pairs = left.iter().zip(output_columns(query));
    pairs
        .map(|(left, (id, data_type))| Expr {
            kind: ExprKind::Compare(
                CompareOp::Eq,
                Box::new(left.clone()),
                Box::new(Expr::column(id, data_type.clone())),
            ),
            data_type: DataType::Bool,
        })
        .collect()
}

fn distinct_output(query: &Query) -> Rel {
    let exprs = output_columns(query).map(|(id, data_type)| (id, Expr::column(id, data_type.clone()))).collect();
    let exact = Rel::Project { input: Box::new(query.rel.clone()), exprs };
    Rel::Distinct { input: Box::new(exact), on: None }
}

/// Takes the conjuncts that refer to `visible` columns out of a subquery. `on` are further conditions over its output columns.
/// `None` where something else in it refers to them too, or where taking them out would change the meaning.
fn lift(query: &Query, visible: &ColSet, mut on: Vec<Expr>, exists: bool) -> Option<(Rel, Vec<Expr>)> {
    let mut rel = &query.rel;
    let mut inside = Vec::new();
    loop {
        match rel {
            Rel::Project { input, exprs } => {
                let by: HashMap<ColId, Expr> = exprs.iter().cloned().collect();
                if !exists && exprs.iter().any(|(_, expr)| has_subquery(expr)) {
                    return None;
                }
                on.iter_mut().chain(&mut inside).for_each(|expr| substitute(expr, &by));
                rel = input;
            }
            Rel::Filter { input, predicate } => {
                conjuncts(predicate.clone(), &mut inside);
                rel = input;
            }
            Rel::Distinct { input, on: None } | Rel::Sort { input, .. } => rel = input,
            Rel::Limit { input, limit: Some(limit), offset: None } if exists && is_positive(limit) => rel = input,
            _ => break,
        }
    }
    let (correlated, own): (Vec<Expr>, Vec<Expr>) =
        inside.into_iter().partition(|expr| !expr_columns(expr).is_disjoint(visible));
    if !free_columns(rel).is_disjoint(visible) || correlated.iter().any(has_subquery) {
        return None;
    }
    on.extend(correlated);
    let body = match own.is_empty() {
        true => rel.clone(),
        false => Rel::Filter { input: Box::new(rel.clone()), predicate: Expr::all(own) },
    };
    Some((body, on))
}

fn is_positive(limit: &Expr) -> bool {
    matches!(limit.kind, ExprKind::Literal(Value::Int(rows)) if rows > 0)
}
