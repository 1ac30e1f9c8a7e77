//! Column ids become slots of the row at hand, or values handed in from an enclosing query.

use super::columns::logical;
use super::relation::Planner;
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::{AggregateCall, ColId, Expr, ExprKind, SortKey, SubqueryBody};
use std::sync::Arc;

/// Deepest nesting of expressions that is planned; deeper ones could exhaust the stack.
const MAX_DEPTH: usize = 1_000;

impl Planner {
    /// Rewrites an expression over rows of `layout`. Columns that are not there are taken from the enclosing query; subqueries are planned.
    pub(super) fn resolve(&self, mut expr: Expr, layout: &[ColId]) -> Result<Expr> {
        self.resolve_in_place(&mut expr, layout, 0)?;
        Ok(expr)
    }

    fn resolve_in_place(&self, expr: &mut Expr, layout: &[ColId], depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::new(
                SqlState::STATEMENT_TOO_COMPLEX,
                "the statement's expressions are nested too deeply",
            )
            .with_hint("Simplify the statement."));
        }
        match &mut expr.kind {
            ExprKind::Column(id) => expr.kind = self.place(*id, layout),
            ExprKind::Subquery(subquery) => {
                if let Some(query) = logical(subquery) {
                    let inner = Planner::default();
                    let node = inner.query(query)?;
                    let outer = inner.taken_from_outside();
                    let typed = |id: ColId| Expr { kind: self.place(id, layout), data_type: crate::DataType::Unknown };
                    subquery.body =
                        SubqueryBody::Planned { node: Arc::new(node), outer: outer.into_iter().map(typed).collect() };
                    for child in expr.children_mut() {
                        // The outer values are slots already; only the left side has columns.
                        self.resolve_in_place(child, layout, depth + 1)?;
                    }
                    return Ok(());
                }
            }
            _ => {}
        }
        for child in expr.children_mut() {
            self.resolve_in_place(child, layout, depth + 1)?;
        }
        Ok(())
    }

    fn place(&self, id: ColId, layout: &[ColId]) -> ExprKind {
        match layout.iter().position(|column| *column == id) {
            Some(slot) => ExprKind::Slot(slot),
            None => ExprKind::Outer(self.outside(id)),
        }
    }

    /// [`Planner::resolve`] for many.
    pub(super) fn resolve_all(&self, exprs: Vec<Expr>, layout: &[ColId]) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.resolve(expr, layout)).collect()
    }

    pub(super) fn resolve_keys(&self, keys: Vec<SortKey>, layout: &[ColId]) -> Result<Vec<SortKey>> {
        keys.into_iter().map(|key| Ok(SortKey { expr: self.resolve(key.expr, layout)?, ..key })).collect()
    }

    pub(super) fn resolve_call(&self, call: AggregateCall, layout: &[ColId]) -> Result<AggregateCall> {
        Ok(AggregateCall {
            args: self.resolve_all(call.args, layout)?,
            filter: call.filter.map(|filter| self.resolve(filter, layout)).transpose()?,
            ..call
        })
    }
}
