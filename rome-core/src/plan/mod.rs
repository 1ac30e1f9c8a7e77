//! From bound statements to plans: access paths, join order, filters and limits pushed down, subqueries turned into joins, `EXPLAIN`.
//!
//! Planning is one descent through the logical tree (`relation`) that carries the filters that still have to be applied, the columns
//! that are needed above, the order that is wanted and how many rows; what comes back is a node, the columns of its rows, and whether the order was
//! met. Everything is rewritten from statement-wide column ids to slots on the way back.

mod access;
mod change;
mod columns;
mod explain;
mod join;
pub mod logical;
mod participants;
mod reach;
mod relation;
mod resolve;
mod subquery;
mod watch;

pub use explain::{explain_change, explain_query};
pub use reach::StoreTraits;
pub use watch::{WatchPlan, plan_watch};

use crate::error::{Error, Result};
use crate::exec::RowRules;
use crate::exec::node::{Change, Node, OutputColumn};
use logical::{BoundDelete, BoundInsert, BoundRules, BoundUpdate, Query};
use relation::Planner;

/// Plans a query: a node whose rows are the query's output columns.
///
/// # Errors
/// 54001 where the statement is too complex.
pub fn plan_query(query: &Query) -> Result<(Node, Vec<OutputColumn>)> {
    let planner = Planner::default();
    let node = planner.query(query)?;
    if let Some(id) = planner.taken_from_outside().first() {
        return Err(Error::internal(format!("column {} belongs to no relation of the statement", id.0)));
    }
    Ok((node, query.output.iter().map(|(_, column)| column.clone()).collect()))
}

/// Plans an INSERT. The second part describes what RETURNING gives.
///
/// # Errors
/// As [`plan_query`].
pub fn plan_insert(insert: &BoundInsert) -> Result<(Change, Vec<OutputColumn>)> {
    change::insert(insert)
}

/// Plans an UPDATE.
///
/// # Errors
/// As [`plan_query`].
pub fn plan_update(update: &BoundUpdate) -> Result<(Change, Vec<OutputColumn>)> {
    change::update(update)
}

/// Plans a DELETE.
///
/// # Errors
/// As [`plan_query`].
pub fn plan_delete(delete: &BoundDelete) -> Result<(Change, Vec<OutputColumn>)> {
    change::delete(delete)
}

/// Resolves the rules of a table against its rows.
///
/// # Errors
/// As [`plan_query`].
pub fn plan_rules(rules: &BoundRules) -> Result<RowRules> {
    change::rules(rules)
}
