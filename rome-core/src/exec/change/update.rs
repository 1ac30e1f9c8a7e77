//! UPDATE, and every other change of existing rows (DO UPDATE, cascading foreign keys).

use super::constraints::{check_row, unique_keys, unique_violation};
use super::foreign_keys::{Parents, referenced_changed, rows_left};
use super::write::{clear_old, write_new};
use super::{ChangeResult, assigned, returned};
use crate::catalog::Table;
use crate::error::Result;
use crate::exec::context::ExecContext;
use crate::exec::keys::{Located, row_place};
use crate::exec::node::{ConflictTarget, Update};
use crate::store::{Guard, ReadLimits};
use crate::txn::HomeRead;
use crate::value::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// A row as it was and as it will be.
pub(super) struct RowChange {
    pub(super) old: Vec<Value>,
    pub(super) new: Vec<Value>,
}

pub(super) async fn run(update: &Update, cx: &mut ExecContext<'_>) -> Result<ChangeResult> {
    let table = &update.table;
    cx.txn.use_table(table)?;
    let source = crate::exec::run(&update.source, cx).await?;
    let width = table.columns.len();
    let mut seen = HashSet::new();
    let mut changes = Vec::with_capacity(source.len());
    let mut result = ChangeResult::default();
    for row in source {
        let (old, others) = row.split_at(width.min(row.len()));
        if !seen.insert(row_place(table, old)?) {
            continue;
        }
        let new = assigned(table, old, &row, &update.assignments, &update.defaults, cx).await?;
        check_row(table, &new, &update.checks, cx).await?;
        if update.returning.is_some() {
            let shown: Vec<Value> = new.iter().chain(others).cloned().collect();
            returned(update.returning.as_ref(), &shown, &mut result, cx).await?;
        }
        result.affected += 1;
        changes.push(RowChange { old: old.to_vec(), new });
    }
    apply_updates(table, changes, 0, cx).await?;
    Ok(result)
}

/// Checks uniqueness and foreign keys of changed rows, and buffers them.
pub(super) async fn apply_updates(
    table: &Arc<Table>,
    changes: Vec<RowChange>,
    depth: usize,
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    // Keys that the statement gives up may be taken by other rows of it.
    let mut given_up: HashSet<Located> = HashSet::new();
    let mut keys: Vec<(Located, ConflictTarget, usize)> = Vec::new();
    let mut parents = Parents::default();
    for (at, change) in changes.iter().enumerate() {
        let old: HashSet<Located> = unique_keys(table, &change.old)?.into_iter().map(|key| key.at).collect();
        let new = unique_keys(table, &change.new)?;
        let kept: HashSet<Located> = new.iter().map(|key| key.at.clone()).collect();
        let taken = new.into_iter().filter(|key| !old.contains(&key.at));
        keys.extend(taken.map(|key| (key.at, key.target, at)));
        given_up.extend(old.into_iter().filter(|key| !kept.contains(key)));
        parents.of_row(table, &change.new, Some(&change.old), cx)?;
    }
    let violation = |target: ConflictTarget, at: usize| {
        unique_violation(table, target, changes.get(at).map_or(&[], |change| &change.new))
    };
    let mut taken = HashSet::new();
    for (key, target, at) in &keys {
        if !taken.insert(key.clone()) {
            return Err(violation(*target, *at));
        }
    }
    keys.retain(|(key, ..)| !given_up.contains(key));
    if cx.txn.checks_early() && !(keys.is_empty() && parents.is_empty()) {
        let mut reads = parents.reads();
        let parent_reads = reads.len();
        reads.extend(keys.iter().map(|(key, ..)| HomeRead::point(key.home, key.key.clone())));
        let mut found = cx.txn.read(reads, ReadLimits::default()).await?;
        let taken = found.split_off(parent_reads);
        parents.found(found);
        for ((_, target, at), result) in keys.iter().zip(taken) {
            if !result.entries.is_empty() {
                return Err(violation(*target, *at));
            }
        }
    } else {
        for (Located { home, key }, target, at) in &keys {
            let failure = violation(*target, *at).with_contended(key.clone());
            cx.txn.expect(*home, Guard::Absent(key.clone()), failure)?;
        }
    }
    for change in &changes {
        clear_old(cx.txn, table, &change.old, &change.new)?;
    }
    for change in &changes {
        write_new(cx.txn, table, &change.old, &change.new)?;
    }
    parents.require(cx)?;
    // Children of rows whose referenced columns changed.
    if !table.referenced_by.is_empty() {
        for (child, key) in cx.schema.foreign_keys_to(table) {
            let moved: Vec<&RowChange> =
                changes.iter().filter(|change| referenced_changed(table, &key, &change.old, &change.new)).collect();
            if !moved.is_empty() {
                let old: Vec<&[Value]> = moved.iter().map(|change| change.old.as_slice()).collect();
                let new: Vec<Option<&[Value]>> = moved.iter().map(|change| Some(change.new.as_slice())).collect();
                Box::pin(rows_left(table, &child, &key, key.on_update, &old, &new, depth + 1, cx)).await?;
            }
        }
    }
    Ok(())
}
