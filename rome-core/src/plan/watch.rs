//! Queries that can be watched: some columns and expressions of the rows of one table for which a condition holds. Each row of the result then
//! depends on one row of the table alone, so that a change of the table is a change of the result, or none, by itself.

use super::columns::{has_subquery, substitute};
use super::logical::{Query, Rel};
use super::plan_query;
use super::relation::Planner;
use crate::catalog::Table;
use crate::error::{Error, Result};
use crate::exec::expr::{ColId, Expr};
use crate::exec::matching::RowMatch;
use crate::exec::node::{Node, OutputColumn};
use std::collections::HashMap;
use std::sync::Arc;

/// How to watch a query.
#[derive(Debug)]
pub struct WatchPlan {
    /// The table.
    pub table: Arc<Table>,
    /// Yields the rows as they stand.
    pub node: Node,
    /// The result's columns.
    pub columns: Vec<OutputColumn>,
    /// What a row of the table is in the result.
    pub matching: RowMatch,
}

/// Plans the watch of a query.
///
/// # Errors
/// 0A000 where its result does not follow from the rows of one table one by one.
pub fn plan_watch(query: &Query) -> Result<WatchPlan> {
    let mut filters = vec![];
    let (scan, by) = flatten(&query.rel, &mut filters)?;
    let output = query.output.iter().map(|(id, column)| {
        let mut expr = Expr::column(*id, column.data_type.clone());
        substitute(&mut expr, &by);
        expr
    });
    let output: Vec<Expr> = output.collect();
    if output.iter().chain(&filters).any(has_subquery) {
        return Err(refused("a subquery"));
    }
    let layout: Vec<ColId> = scan.columns.iter().map(|(id, _)| *id).collect();
    let planner = Planner::default();
    let positions = scan.columns.iter().map(|(_, position)| *position).collect();
    let filters = planner.resolve_all(filters, &layout)?;
    let matching = RowMatch::new(positions, filters, planner.resolve_all(output, &layout)?);
    let (node, columns) = plan_query(query)?;
    Ok(WatchPlan { table: Arc::clone(scan.table), node, columns, matching })
}

struct Scanned<'q> {
    table: &'q Arc<Table>,
    columns: &'q [(ColId, usize)],
}

/// The scan below, and what the columns of `rel` are in terms of its columns.
fn flatten<'q>(rel: &'q Rel, filters: &mut Vec<Expr>) -> Result<(Scanned<'q>, HashMap<ColId, Expr>)> {
    match rel {
        Rel::Scan { lock: true, .. } => Err(refused("FOR UPDATE")),
        Rel::Scan { table, columns, .. } => Ok((Scanned { table, columns }, HashMap::new())),
        // It orders the rows that are there at first.
        Rel::Sort { input, .. } => flatten(input, filters),
        Rel::Filter { input, predicate } => {
            let (scan, by) = flatten(input, filters)?;
            let mut predicate = predicate.clone();
            substitute(&mut predicate, &by);
            filters.push(predicate);
            Ok((scan, by))
        }
        Rel::Project { input, exprs } => {
            let (scan, by) = flatten(input, filters)?;
            let exprs = exprs.iter().map(|(id, expr)| {
                let mut expr = expr.clone();
                substitute(&mut expr, &by);
                (*id, expr)
            });
            let mut now: HashMap<ColId, Expr> = exprs.collect();
            // An expression above may name a column of the table itself, too.
            for (id, expr) in by {
                now.entry(id).or_insert(expr);
            }
            Ok((scan, now))
        }
        Rel::Join { .. } => Err(refused("a join")),
        Rel::Aggregate { .. } => Err(refused("an aggregate")),
        Rel::Distinct { .. } => Err(refused("DISTINCT")),
        Rel::Limit { .. } => Err(refused("LIMIT or OFFSET")),
        Rel::SetOp { .. } => Err(refused("a set operation")),
        Rel::OneRow | Rel::Values { .. } => Err(refused("no table")),
    }
}

/// SQLSTATE 0A000
fn refused(what: &str) -> Error {
    Error::unsupported(format!("watching a query with {what}"))
        .with_hint("Watch SELECT columns FROM table WHERE condition, and compute the rest from its changes.")
}
