//! CREATE INDEX, and filling indexes.

use super::columns::{names_of, undefined_column};
use super::create::indexable;
use super::moves::check_settled;
use super::{Ddl, undefined_table};
use crate::catalog::keys::whole_space;
use crate::catalog::{ColumnId, Index, IndexColumn, IndexState, NewIndex, SchemaView, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::exec::keys::{decode_table_row, index_entry};
use crate::store::{Entry, Key, KeyRange, Read, ReadLimits, successor};
use crate::topology::HomeNo;
use crate::txn::{HomeRead, Txn};
use crate::value::Value;
use std::collections::HashMap;

/// Rows that are added to an index in one transaction, at most.
pub(in crate::database) const PAGE_ROWS: usize = 1_000;

/// An index that is write-only and waits to be filled.
#[derive(Clone, Debug)]
pub(in crate::database) struct PendingIndex {
    pub(in crate::database) table: TableId,
    pub(in crate::database) space: u32,
}

impl Ddl<'_> {
    pub(super) async fn create_index(&mut self, table: &str, new: NewIndex, if_not_exists: bool) -> Result<()> {
        let mut table = Table::clone(&*self.table(table)?);
        let mut columns = Vec::with_capacity(new.columns.len());
        for (name, descending, nulls_first) in &new.columns {
            let (_, column) = table.column_named(name).ok_or_else(|| undefined_column(&table, name))?;
            indexable(&column.data_type)?;
            columns.push(IndexColumn { column: column.id, descending: *descending, nulls_first: *nulls_first });
        }
        let name = match new.name {
            Some(name) => name,
            None => {
                let names: Vec<String> = new.columns.iter().map(|(name, ..)| name.clone()).collect();
                self.free_name(&table.name, &names, "idx").await?
            }
        };
        if self.taken_name(&[&name]).await?.is_some() {
            if if_not_exists {
                return Ok(());
            }
            return Err(Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        self.make_index(&mut table, name, columns, new.unique, false).await?;
        self.save(table)?;
        Ok(())
    }

    /// Adds an index to a description: public where it could be filled in this transaction, else write-only and to be filled afterwards.
    pub(super) async fn make_index(
        &mut self,
        table: &mut Table,
        name: String,
        columns: Vec<IndexColumn>,
        unique: bool,
        constraint: bool,
    ) -> Result<()> {
        check_settled(table)?;
        let space = self.new_spaces(1).await?;
        self.claim_name(&name, table.id)?;
        let mut index = Index { space, name, columns, unique, claims: None, constraint, state: IndexState::Public };
        if unique && !super::placement::names_home(table, &index) {
            if !self.is_empty(table).await? {
                return Err(super::placement::too_late(table, &index.name));
            }
            index.claims = Some(self.new_spaces(1).await?);
        }
        if !self.is_empty(table).await? {
            if self.autocommit {
                index.state = IndexState::WriteOnly;
                self.pending.push(PendingIndex { table: table.id, space });
            } else {
                self.fill_here(table, &index).await?;
            }
        }
        table.indexes.push(index);
        Ok(())
    }

    /// [`Ddl::make_index`] in key order of some columns, filled in this transaction.
    pub(super) async fn add_filled_index(
        &mut self,
        mut table: Table,
        name: String,
        columns: &[ColumnId],
    ) -> Result<Table> {
        let columns: Vec<IndexColumn> =
            columns.iter().map(|id| IndexColumn { column: *id, descending: false, nulls_first: false }).collect();
        self.make_index(&mut table, name, columns, false, false).await?;
        Ok(table)
    }

    /// Adds the entries of all rows, in this transaction.
    async fn fill_here(&mut self, table: &Table, index: &Index) -> Result<()> {
        for home in table.homes.all() {
            let mut range = whole_space(table.row_space());
            loop {
                let (rows, rest) = next_rows(self.txn, home, &range, PAGE_ROWS).await?;
                add_entries(self.txn, home, table, index, &rows).await?;
                match rest {
                    Some(from) => range.from = from,
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Moves an index to another state, or removes it.
    pub(in crate::database) fn set_index_state(
        &mut self,
        table: &Table,
        space: u32,
        state: Option<IndexState>,
    ) -> Result<()> {
        let mut table = table.clone();
        let Some(at) = table.indexes.iter().position(|index| index.space == space) else { return Ok(()) };
        match (state, table.indexes.get_mut(at)) {
            (Some(state), Some(index)) => index.state = state,
            _ => self.remove_index(&mut table, at)?,
        }
        self.save(table)?;
        Ok(())
    }

    pub(super) fn drop_indexes(&mut self, names: &[String], if_exists: bool) -> Result<()> {
        for name in names {
            let Some(table) = self.catalog.table_of_index(name) else {
                if if_exists {
                    continue;
                }
                return Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("index \"{name}\" does not exist")));
            };
            let mut table = Table::clone(&table);
            let Some(at) = table.indexes.iter().position(|index| index.name == *name) else { continue };
            if table.indexes.get(at).is_some_and(|index| index.constraint) {
                return Err(Error::new(
                    SqlState::DEPENDENT_OBJECTS,
                    format!("cannot drop index {name} because constraint {name} on table {} requires it", table.name),
                )
                .with_hint(format!("You can drop constraint {name} on table {} instead.", table.name)));
            }
            self.remove_index(&mut table, at)?;
            self.save(table)?;
        }
        Ok(())
    }

    /// Takes an index out of a description.
    pub(super) fn remove_index(&mut self, table: &mut Table, at: usize) -> Result<()> {
        check_settled(table)?;
        let index = table.indexes.remove(at);
        self.delete(crate::catalog::keys::name_key(&index.name))?;
        self.discard_space(index.space)?;
        if let Some(claims) = index.claims {
            self.discard_space(claims)?;
        }
        for key in &table.foreign_keys {
            if !wanted_order(table, &key.columns) {
                return Err(Error::new(
                    SqlState::DEPENDENT_OBJECTS,
                    format!("cannot drop index {} because foreign key {} uses it", index.name, key.name),
                )
                .with_hint("Drop the foreign key first, or create another index on its columns."));
            }
        }
        let referenced = self.catalog.foreign_keys_to(table).into_iter().find(|(_, key)| {
            index.unique
                && key.parent_columns.len() == index.columns.len()
                && index.columns.iter().all(|part| key.parent_columns.contains(&part.column))
        });
        if let Some((child, key)) = referenced {
            return Err(Error::new(
                SqlState::DEPENDENT_OBJECTS,
                format!("cannot drop index {} because other objects depend on it", index.name),
            )
            .with_detail(format!("constraint {} on table {} depends on it", key.name, child.name)));
        }
        Ok(())
    }
}

/// Whether the primary key or a complete index begins with exactly these columns, in any order: children can be found by it.
pub(super) fn wanted_order(table: &Table, columns: &[ColumnId]) -> bool {
    let begins = |key: &[ColumnId]| {
        key.get(..columns.len()).is_some_and(|head| columns.iter().all(|column| head.contains(column)))
    };
    begins(&table.primary_key)
        || table.indexes.iter().any(|index| {
            let key: Vec<ColumnId> = index.columns.iter().map(|part| part.column).collect();
            begins(&key)
        })
}

/// The next rows of a range, and where the rest begins.
async fn next_rows(txn: &mut Txn, home: HomeNo, range: &KeyRange, count: usize) -> Result<(Vec<Entry>, Option<Key>)> {
    let read = Read::Range { range: range.clone(), limit: Some(count), reverse: false };
    let result = txn.read(vec![HomeRead { home, read }], ReadLimits::default()).await?.pop().unwrap_or_default();
    let rest = result.more.as_deref().map(successor);
    Ok((result.entries, rest))
}

/// Adds the entries of some rows; for a unique index, after looking whether they are taken.
async fn add_entries(txn: &mut Txn, home: HomeNo, table: &Table, index: &Index, rows: &[Entry]) -> Result<()> {
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let values = decode_table_row(table, &row.value)?;
        let (key, target) = index_entry(table, index, &values)?;
        entries.push((key, target, values));
    }
    if index.unique {
        let reads = entries.iter().map(|(key, ..)| HomeRead::point(home, key.clone())).collect();
        let found = txn.read(reads, ReadLimits::default()).await?;
        let mut mine: HashMap<&Key, &Key> = HashMap::new();
        for ((key, target, values), result) in entries.iter().zip(&found) {
            let other = result.entries.first().map(|entry| &entry.value).or_else(|| mine.get(key).copied());
            if other.is_some_and(|other| other != target) {
                return Err(duplicated(table, index, values));
            }
            mine.insert(key, target);
        }
    }
    for (key, target, _) in entries {
        txn.put(home, key, target)?;
    }
    Ok(())
}

fn duplicated(table: &Table, index: &Index, row: &[Value]) -> Error {
    let ids: Vec<ColumnId> = index.columns.iter().map(|part| part.column).collect();
    let values: Vec<String> = ids
        .iter()
        .filter_map(|id| {
            let position = table.position(*id)?;
            Some(row.get(position)?.to_text(&table.columns.get(position)?.data_type))
        })
        .collect();
    Error::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{}\"", index.name))
        .with_detail(format!("Key ({})=({}) is duplicated.", names_of(table, &ids).join(", "), values.join(", ")))
        .with_table(&table.name)
        .with_constraint(&index.name)
}

/// Adds the next page of a range's rows, at most `most`, to a write-only index; returns where to go on.
///
/// # Errors
/// 40001 where rows of the page changed meanwhile: do the page again.
pub(in crate::database) async fn fill_page(
    txn: &mut Txn,
    (home, table): (HomeNo, &Table),
    space: u32,
    range: &KeyRange,
    most: usize,
) -> Result<Option<Key>> {
    let index = table
        .indexes
        .iter()
        .find(|index| index.space == space)
        .ok_or_else(|| undefined_table(&format!("index {space}")))?;
    txn.use_table(table)?;
    // Each entry is a write and, in a unique index, a guard: stay well within what the store commits at once.
    let capabilities = txn.client().capabilities(home)?;
    let count = most.min(PAGE_ROWS).min(capabilities.max_writes / 2).min(capabilities.max_guards / 2).max(1);
    let (rows, rest) = next_rows(txn, home, range, count).await?;
    add_entries(txn, home, table, index, &rows).await?;
    Ok(rest)
}
