//! DELETE, and deletes that cascade.

use super::foreign_keys::rows_left;
use super::write::delete_row;
use super::{ChangeResult, returned};
use crate::catalog::Table;
use crate::error::Result;
use crate::exec::context::ExecContext;
use crate::exec::keys::row_place;
use crate::exec::node::Delete;
use crate::value::Value;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) async fn run(delete: &Delete, cx: &mut ExecContext<'_>) -> Result<ChangeResult> {
    let table = &delete.table;
    cx.txn.use_table(table)?;
    let source = crate::exec::run(&delete.source, cx).await?;
    let mut seen = HashSet::new();
    let mut rows = Vec::with_capacity(source.len());
    let mut result = ChangeResult::default();
    for mut row in source {
        if !seen.insert(row_place(table, &row)?) {
            continue;
        }
        returned(delete.returning.as_ref(), &row, &mut result, cx).await?;
        row.truncate(table.columns.len());
        rows.push(row);
    }
    result.affected = rows.len() as u64;
    delete_rows(table, &rows, 0, cx).await?;
    Ok(result)
}

/// Removes rows, and deals with the rows that refer to them.
pub(super) async fn delete_rows(
    table: &Arc<Table>,
    rows: &[Vec<Value>],
    depth: usize,
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    for row in rows {
        delete_row(cx.txn, table, row)?;
    }
    if table.referenced_by.is_empty() || rows.is_empty() {
        return Ok(());
    }
    let old: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
    let gone = vec![None; rows.len()];
    for (child, key) in cx.schema.foreign_keys_to(table) {
        Box::pin(rows_left(table, &child, &key, key.on_delete, &old, &gone, depth + 1, cx)).await?;
    }
    Ok(())
}
