//! INSERT, UPDATE and DELETE: rows and index entries into the write buffer, constraints into reads and guards.
//!
//! A row's index entries change in the same transaction as the row, always; nothing else ever writes them. What a constraint needs
//! to know of other rows it learns in one of two ways (see [`crate::txn::Txn::checks_early`]): in a single autocommitted statement by a
//! guard that the commit checks ("this unique key is absent", "this parent is present", "no child has this key"), which costs no round trip;
//! inside a longer transaction by one read for all rows of the statement, so that the error comes with the statement.

mod constraints;
mod delete;
mod foreign_keys;
mod insert;
mod replica;
mod update;
mod write;

pub use replica::{CopiedRow, replicate_rows};

use super::context::ExecContext;
use super::node::{Assignment, Change};
use crate::catalog::{Column, Table};
use crate::error::{Error, Result, SqlState};
use crate::exec::expr::Expr;
use crate::value::{Value, coerce_for_column};

/// Deepest chain of cascading foreign keys that is followed.
const MAX_CASCADE_DEPTH: usize = 100;

/// What a data-changing statement did.
#[derive(Debug, Default)]
pub struct ChangeResult {
    /// Rows inserted, updated or deleted.
    pub affected: u64,
    /// What RETURNING gave.
    pub rows: Vec<Vec<Value>>,
}

/// Runs a data-changing statement.
///
/// # Errors
/// Of class 23 where a constraint is violated; those of expressions and reads.
pub async fn run_change(change: &Change, cx: &mut ExecContext<'_>) -> Result<ChangeResult> {
    match change {
        Change::Insert(insert) => insert::run(insert, cx).await,
        Change::Update(update) => update::run(update, cx).await,
        Change::Delete(delete) => delete::run(delete, cx).await,
    }
}

/// Brings a value to a column's type.
fn coerced(value: Value, column: &Column) -> Result<Value> {
    coerce_for_column(value, &column.data_type).map_err(|error| error.with_column(&column.name))
}

/// RETURNING for one row.
async fn returned(
    returning: Option<&Vec<Expr>>,
    row: &[Value],
    result: &mut ChangeResult,
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    let Some(exprs) = returning else { return Ok(()) };
    let mut values = Vec::with_capacity(exprs.len());
    for expr in exprs {
        values.push(cx.evaluate(expr, row).await?);
    }
    result.rows.push(values);
    Ok(())
}

/// A column's default: its next number, or its expression's value, or NULL.
async fn default_value(
    table: &Table,
    column: &Column,
    default: Option<&Expr>,
    cx: &mut ExecContext<'_>,
) -> Result<Value> {
    if column.identity.is_some() {
        let numbers = cx.numbers.clone().next(table.id, column, 1).await?;
        return coerced(numbers.first().map_or(Value::Null, |number| Value::Int(*number)), column);
    }
    if column.hidden {
        return Ok(cx.hidden_key());
    }
    match default {
        Some(expr) => {
            let value = cx.evaluate(expr, &[]).await?;
            coerced(value, column)
        }
        None => Ok(Value::Null),
    }
}

/// A row with assignments applied; `over` is the row that the assigned expressions see.
async fn assigned(
    table: &Table,
    old: &[Value],
    over: &[Value],
    assignments: &[(usize, Assignment)],
    defaults: &[Option<Expr>],
    cx: &mut ExecContext<'_>,
) -> Result<Vec<Value>> {
    let mut new = old.to_vec();
    for (position, assignment) in assignments {
        let Some(column) = table.columns.get(*position) else {
            return Err(Error::internal("an assignment to a column that does not exist"));
        };
        let value = match assignment {
            Assignment::Expr(_) if column.identity.as_ref().is_some_and(|identity| identity.always) => {
                return Err(Error::new(
                    SqlState::GENERATED_ALWAYS,
                    format!("column \"{}\" can only be updated to DEFAULT", column.name),
                )
                .with_detail(format!(
                    "Column \"{}\" is an identity column defined as GENERATED ALWAYS.",
                    column.name
                )));
            }
            Assignment::Expr(expr) => {
                let value = cx.evaluate(expr, over).await?;
                coerced(value, column)?
            }
            Assignment::Default => {
                default_value(table, column, defaults.get(*position).and_then(Option::as_ref), cx).await?
            }
        };
        if let Some(slot) = new.get_mut(*position) {
            *slot = value;
        }
    }
    Ok(new)
}
