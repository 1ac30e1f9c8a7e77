//! Foreign keys, from both sides.

use super::constraints::{check_row, key_text};
use super::delete::delete_rows;
use super::update::{RowChange, apply_updates};
use super::{MAX_CASCADE_DEPTH, default_value};
use crate::catalog::{ColumnId, ForeignKey, Index, IndexState, ReferentialAction, Table};
use crate::error::{Error, Result, SqlState};
use crate::exec::claims::claim_place;
use crate::exec::context::{ExecContext, RowRules};
use crate::exec::keys::{Located, decode_table_row, key_prefix};
use crate::store::{Entry, Guard, KeyRange, Read, ReadLimits, ReadResult, successor};
use crate::topology::HomeNo;
use crate::txn::HomeRead;
use crate::value::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Parents that the rows of a statement refer to.
#[derive(Default)]
pub(super) struct Parents {
    wanted: Vec<(Located, Error)>,
    numbers: HashMap<Located, usize>,
    /// Which of them exist, where that was read.
    exists: Option<Vec<bool>>,
}

impl Parents {
    /// Notes the parents of a row; with `old` only those of foreign keys that changed.
    pub(super) fn of_row(
        &mut self,
        table: &Table,
        row: &[Value],
        old: Option<&[Value]>,
        cx: &mut ExecContext<'_>,
    ) -> Result<()> {
        for key in &table.foreign_keys {
            let values: Vec<Value> = values_of(table, &key.columns, row);
            if values.iter().any(Value::is_null) {
                continue;
            }
            if old.is_some_and(|old| values_of(table, &key.columns, old) == values) {
                continue;
            }
            let parent = parent_table(key, cx)?;
            let missing = missing_parent(table, &parent, key, row);
            let Some(parent_key) = parent_key(&parent, key, &values)? else { return Err(missing) };
            if !self.numbers.contains_key(&parent_key) {
                self.numbers.insert(parent_key.clone(), self.wanted.len());
                self.wanted.push((parent_key, missing));
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn reads(&self) -> Vec<HomeRead> {
        self.wanted.iter().map(|(at, _)| HomeRead::point(at.home, at.key.clone())).collect()
    }

    pub(super) fn found(&mut self, results: Vec<ReadResult>) {
        self.exists = Some(results.iter().map(|result| !result.entries.is_empty()).collect());
    }

    /// Requires all of them: after the statement's own rows are in the buffer, since one may be the other's parent.
    pub(super) fn require(self, cx: &mut ExecContext<'_>) -> Result<()> {
        self.require_where(|_| true, cx)
    }

    /// Requires those that `written` has, too: rows that ON CONFLICT dealt with were not inserted and need no parents.
    pub(super) fn require_of(self, written: &Parents, cx: &mut ExecContext<'_>) -> Result<()> {
        self.require_where(|key| written.numbers.contains_key(key), cx)
    }

    fn require_where(self, needed: impl Fn(&Located) -> bool, cx: &mut ExecContext<'_>) -> Result<()> {
        for (at, (parent, failure)) in self.wanted.into_iter().enumerate() {
            if !needed(&parent) {
                continue;
            }
            match &self.exists {
                Some(exists) => {
                    let exists = exists.get(at).copied().unwrap_or(false);
                    if !cx.txn.own_write(parent.home, &parent.key).unwrap_or(exists) {
                        return Err(failure);
                    }
                }
                None => cx.txn.expect(parent.home, Guard::Present(parent.key), failure)?,
            }
        }
        Ok(())
    }
}

fn values_of(table: &Table, columns: &[ColumnId], row: &[Value]) -> Vec<Value> {
    let positions = columns.iter().map(|id| table.position(*id));
    positions.map(|at| at.and_then(|at| row.get(at)).cloned().unwrap_or(Value::Null)).collect()
}

fn parent_table(key: &ForeignKey, cx: &mut ExecContext<'_>) -> Result<Arc<Table>> {
    let parent = cx
        .schema
        .table_by_id(key.parent)
        .ok_or_else(|| Error::internal(format!("foreign key {} refers to a table that does not exist", key.name)))?;
    cx.txn.use_table(&parent)?;
    Ok(parent)
}

/// The values of a table's placement columns, where these columns with these values include all of them.
fn placement_values(table: &Table, columns: &[ColumnId], values: &[Value]) -> Option<Vec<Value>> {
    let ids = table.homes.columns().iter().map(|position| table.columns.get(*position).map(|column| column.id));
    ids.map(|id| values.get(columns.iter().position(|column| Some(*column) == id)?).cloned()).collect()
}

/// The key in the store that exists if and only if the parent does; `None` where the values name no site, so that there can be no parent.
fn parent_key(parent: &Table, key: &ForeignKey, values: &[Value]) -> Result<Option<Located>> {
    let plain = |index: Option<&Index>, ordered: &[Value]| -> Result<Option<Located>> {
        let placed = placement_values(parent, &key.parent_columns, values)
            .ok_or_else(|| Error::internal(format!("foreign key {} does not say where its parent is", key.name)))?;
        let Some(home) = parent.homes.of_values(&placed)? else { return Ok(None) };
        Ok(Some(Located { home, key: key_prefix(parent, index, ordered)?.into() }))
    };
    let in_order = |columns: &[ColumnId]| -> Option<Vec<Value>> {
        if columns.len() != key.parent_columns.len() {
            return None;
        }
        let value = |id: &ColumnId| {
            let at = key.parent_columns.iter().position(|column| column == id)?;
            values.get(at).cloned()
        };
        columns.iter().map(value).collect()
    };
    if let Some(values) = in_order(&parent.primary_key) {
        return match parent.claims {
            Some(_) => claim_place(parent, None, &values),
            None => plain(None, &values),
        };
    }
    for index in parent.indexes.iter().filter(|index| index.unique && index.state == IndexState::Public) {
        let columns: Vec<ColumnId> = index.columns.iter().map(|part| part.column).collect();
        if let Some(values) = in_order(&columns) {
            return match index.claims {
                Some(_) => claim_place(parent, Some(index), &values),
                None => plain(Some(index), &values),
            };
        }
    }
    Err(Error::internal(format!("foreign key {} refers to columns that are not unique", key.name)))
}

fn missing_parent(table: &Table, parent: &Table, key: &ForeignKey, row: &[Value]) -> Error {
    Error::new(
        SqlState::FOREIGN_KEY_VIOLATION,
        format!("insert or update on table \"{}\" violates foreign key constraint \"{}\"", table.name, key.name),
    )
    .with_detail(format!("Key {} is not present in table \"{}\".", key_text(table, &key.columns, row), parent.name))
    .with_table(&table.name)
    .with_constraint(&key.name)
}

fn still_referenced(parent: &Table, child: &Table, key: &ForeignKey, row: &[Value]) -> Error {
    Error::new(
        SqlState::FOREIGN_KEY_VIOLATION,
        format!(
            "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
            parent.name, key.name, child.name
        ),
    )
    .with_detail(format!(
        "Key {} is still referenced from table \"{}\".",
        key_text(parent, &key.parent_columns, row),
        child.name
    ))
    .with_table(&child.name)
    .with_constraint(&key.name)
}

/// Whether an update changed what a foreign key refers to.
pub(super) fn referenced_changed(table: &Table, key: &ForeignKey, old: &[Value], new: &[Value]) -> bool {
    values_of(table, &key.parent_columns, old) != values_of(table, &key.parent_columns, new)
}

/// Where the children of one parent lie: a range of the child's primary key, or of an index, at some homes.
struct Children {
    homes: Vec<HomeNo>,
    range: KeyRange,
    by_index: bool,
}

/// Where a parent's children lie, the parent as it was, and as it will be.
type Family<'r> = (Children, &'r [Value], Option<&'r [Value]>);

fn children_of(child: &Table, key: &ForeignKey, parent: &Table, row: &[Value]) -> Result<Option<Children>> {
    let values = values_of(parent, &key.parent_columns, row);
    if values.iter().any(Value::is_null) {
        return Ok(None);
    }
    // Where the foreign key says where a child lives, only there.
    let homes = match placement_values(child, &key.columns, &values) {
        Some(placed) => child.homes.of_values(&placed)?.into_iter().collect(),
        None => child.homes.all(),
    };
    let in_order = |columns: &[ColumnId]| -> Option<Vec<Value>> {
        let head = columns.get(..key.columns.len())?;
        let value = |id: &ColumnId| {
            let at = key.columns.iter().position(|column| column == id)?;
            values.get(at).cloned()
        };
        head.iter().map(value).collect()
    };
    if let Some(values) = in_order(&child.primary_key) {
        let range = KeyRange::prefix(&key_prefix(child, None, &values)?);
        return Ok(Some(Children { homes, range, by_index: false }));
    }
    for index in child.indexes.iter().filter(|index| index.state == IndexState::Public) {
        let columns: Vec<ColumnId> = index.columns.iter().map(|part| part.column).collect();
        if let Some(values) = in_order(&columns) {
            let range = KeyRange::prefix(&key_prefix(child, Some(index), &values)?);
            return Ok(Some(Children { homes, range, by_index: true }));
        }
    }
    Err(Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the index that foreign key \"{}\" needs is not ready", key.name),
    )
    .with_hint("Wait until the index has been built, or create one on the foreign key's columns."))
}

/// Deals with the children of parents that have gone, or whose referenced columns have changed (`new`).
#[allow(clippy::too_many_arguments)]
pub(super) async fn rows_left(
    parent: &Arc<Table>,
    child: &Arc<Table>,
    key: &ForeignKey,
    action: ReferentialAction,
    old: &[&[Value]],
    new: &[Option<&[Value]>],
    depth: usize,
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    if depth > MAX_CASCADE_DEPTH {
        return Err(Error::new(
            SqlState::STATEMENT_TOO_COMPLEX,
            format!("foreign keys cascade through more than {MAX_CASCADE_DEPTH} levels"),
        ));
    }
    cx.txn.use_table(child)?;
    let mut ranges = Vec::with_capacity(old.len());
    for (row, new) in old.iter().zip(new) {
        if let Some(children) = children_of(child, key, parent, row)? {
            ranges.push((children, *row, *new));
        }
    }
    if action == ReferentialAction::Restrict {
        return restrict(parent, child, key, ranges, cx).await;
    }
    let found = read_children(&ranges, cx).await?;
    let mut rows = Vec::new();
    for (children, (_, left, new)) in found.into_iter().zip(&ranges) {
        for stored in children {
            rows.push((decode_table_row(child, &stored.value)?, *left, *new));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    if action == ReferentialAction::Cascade && new.iter().all(Option::is_none) {
        let rows: Vec<Vec<Value>> = rows.into_iter().map(|(row, ..)| row).collect();
        return delete_rows(child, &rows, depth, cx).await;
    }
    let rules = (cx.rules)(child)?;
    let mut changes = Vec::with_capacity(rows.len());
    for (old, left, new_parent) in rows {
        let mut new = old.clone();
        for (id, parent_id) in key.columns.iter().zip(&key.parent_columns) {
            let Some(position) = child.position(*id) else { continue };
            let value = match (action, new_parent) {
                (ReferentialAction::Cascade, Some(row)) => {
                    values_of(parent, &[*parent_id], row).pop().unwrap_or(Value::Null)
                }
                (ReferentialAction::SetDefault, _) => own_default(child, position, &rules, cx).await?,
                _ => Value::Null,
            };
            if let Some(slot) = new.get_mut(position) {
                *slot = value;
            }
        }
        check_row(child, &new, &rules.checks, cx).await?;
        let referenced = values_of(child, &key.columns, &new);
        if action == ReferentialAction::SetDefault && referenced == values_of(child, &key.columns, &old) {
            // The default is the very key that its parent gives up: another parent must have taken it.
            let taken = parent_key(parent, key, &referenced)?;
            let taken = taken.and_then(|parent| cx.txn.own_write(parent.home, &parent.key));
            if taken != Some(true) {
                return Err(still_referenced(parent, child, key, left));
            }
        }
        changes.push(RowChange { old, new });
    }
    apply_updates(child, changes, depth, cx).await
}

async fn own_default(table: &Table, position: usize, rules: &RowRules, cx: &mut ExecContext<'_>) -> Result<Value> {
    let Some(column) = table.columns.get(position) else { return Ok(Value::Null) };
    default_value(table, column, rules.defaults.get(position).and_then(Option::as_ref), cx).await
}

async fn restrict(
    parent: &Table,
    child: &Table,
    key: &ForeignKey,
    ranges: Vec<Family<'_>>,
    cx: &mut ExecContext<'_>,
) -> Result<()> {
    if cx.txn.checks_early() {
        let places = ranges.iter().flat_map(|(children, row, _)| {
            let read = Read::Range { range: children.range.clone(), limit: Some(1), reverse: false };
            children.homes.iter().map(move |home| (HomeRead { home: *home, read: read.clone() }, row))
        });
        let (reads, rows): (Vec<HomeRead>, Vec<_>) = places.unzip();
        let found = cx.txn.read(reads, ReadLimits::default()).await?;
        let left = rows.into_iter().zip(found).find(|(_, result)| !result.entries.is_empty());
        return match left {
            Some((row, _)) => Err(still_referenced(parent, child, key, row)),
            None => Ok(()),
        };
    }
    for (children, row, _) in ranges {
        for home in children.homes {
            let guard = Guard::Range { range: children.range.clone(), since: 0, count: 0 };
            cx.txn.expect(home, guard, still_referenced(parent, child, key, row))?;
        }
    }
    Ok(())
}

/// All children in each range, in one round trip for all ranges, and more where there are many.
async fn read_children(ranges: &[Family<'_>], cx: &mut ExecContext<'_>) -> Result<Vec<Vec<Entry>>> {
    let mut found: Vec<Vec<Entry>> = vec![Vec::new(); ranges.len()];
    let places = ranges
        .iter()
        .enumerate()
        .flat_map(|(at, (children, ..))| children.homes.iter().map(move |home| (at, *home, children.range.clone())));
    let mut open: Vec<(usize, HomeNo, KeyRange)> = places.collect();
    while !open.is_empty() {
        let reads = open.iter().map(|(at, home, range)| {
            let range = range.clone();
            let read = match ranges.get(*at) {
                Some((children, ..)) if children.by_index => Read::Follow { range, limit: None, reverse: false },
                _ => Read::Range { range, limit: None, reverse: false },
            };
            HomeRead { home: *home, read }
        });
        let results = cx.txn.read(reads.collect(), ReadLimits::default()).await?;
        let mut next = Vec::new();
        for ((at, home, range), result) in open.into_iter().zip(results) {
            let by_index = ranges.get(at).is_some_and(|(children, ..)| children.by_index);
            if let Some(list) = found.get_mut(at) {
                for entry in result.entries {
                    let row = if by_index { entry.target.map(|target| *target) } else { Some(entry) };
                    list.extend(row);
                }
            }
            if let Some(last) = result.more {
                next.push((at, home, KeyRange { from: successor(&last), to: range.to }));
            }
        }
        open = next;
    }
    Ok(found)
}
