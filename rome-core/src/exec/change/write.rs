//! Rows, their index entries and their claims, into the write buffer. A row's entries lie at the row's home, its claims where their keys say.
//!
//! What a write replaces is told to the transaction ([`Txn::replaces`]): marks of a commit over several homes keep it, so that anybody can undo
//! them, and need not read it once more. Not so for claims: the home of a claim may be behind that of its row, with a mark in its place that must be
//! met.

use crate::catalog::{IndexState, Table};
use crate::error::Result;
use crate::exec::claims::claims_of_row;
use crate::exec::keys::{Located, encode_table_row, index_entry, row_key};
use crate::exec::shadow;
use crate::txn::Txn;
use crate::value::Value;
use std::collections::HashMap;

/// Who watches the table hears of it.
fn tell(txn: &mut Txn, table: &Table) {
    if let Some(stream) = table.stream() {
        txn.tell(table.row_space(), &stream);
    }
}

/// Writes a new row, its entries and its claims.
pub(super) fn insert_row(txn: &mut Txn, table: &Table, row: &[Value]) -> Result<()> {
    tell(txn, table);
    let home = table.homes.of_row(row)?;
    txn.put(home, row_key(table, row)?, encode_table_row(table, row))?;
    for index in &table.indexes {
        if index.state != IndexState::DeleteOnly {
            let (key, target) = index_entry(table, index, row)?;
            txn.put(home, key, target)?;
        }
    }
    for (Located { home, key }, value) in claims_of_row(table, row)? {
        txn.put(home, key, value)?;
    }
    shadow::write(txn, table, row)
}

/// Removes a row, its entries and its claims.
pub(super) fn delete_row(txn: &mut Txn, table: &Table, row: &[Value]) -> Result<()> {
    tell(txn, table);
    let home = table.homes.of_row(row)?;
    let key = row_key(table, row)?;
    txn.replaces(home, &key, || encode_table_row(table, row))?;
    txn.delete(home, key)?;
    for index in &table.indexes {
        let (key, target) = index_entry(table, index, row)?;
        // A write-only index may lack the entry.
        if index.state == IndexState::Public {
            txn.replaces(home, &key, || target)?;
        }
        txn.delete(home, key)?;
    }
    for (Located { home, key }, _) in claims_of_row(table, row)? {
        txn.delete(home, key)?;
    }
    shadow::clear(txn, table, row, None)
}

/// Removes what of an old row's keys the new row does not have. All rows of a statement are cleared before any is written, so that
/// they may exchange keys.
pub(super) fn clear_old(txn: &mut Txn, table: &Table, old: &[Value], new: &[Value]) -> Result<()> {
    tell(txn, table);
    let home = table.homes.of_row(old)?;
    if home != table.homes.of_row(new)? {
        return delete_row(txn, table, old);
    }
    let old_key = row_key(table, old)?;
    let moved = old_key != row_key(table, new)?;
    txn.replaces(home, &old_key, || encode_table_row(table, old))?;
    if moved {
        txn.delete(home, old_key)?;
    }
    for index in &table.indexes {
        let (old_entry, target) = index_entry(table, index, old)?;
        if index.state == IndexState::Public {
            txn.replaces(home, &old_entry, || target)?;
        }
        if old_entry != index_entry(table, index, new)?.0 {
            txn.delete(home, old_entry)?;
        }
    }
    let kept: HashMap<Located, _> = claims_of_row(table, new)?.into_iter().collect();
    for (claim, _) in claims_of_row(table, old)? {
        if !kept.contains_key(&claim) {
            txn.delete(claim.home, claim.key)?;
        }
    }
    shadow::clear(txn, table, old, Some(new))
}

/// Writes the new row and those of its entries and claims that changed.
pub(super) fn write_new(txn: &mut Txn, table: &Table, old: &[Value], new: &[Value]) -> Result<()> {
    tell(txn, table);
    let home = table.homes.of_row(new)?;
    if home != table.homes.of_row(old)? {
        return insert_row(txn, table, new);
    }
    txn.put(home, row_key(table, new)?, encode_table_row(table, new))?;
    for index in table.indexes.iter().filter(|index| index.state != IndexState::DeleteOnly) {
        let entry = index_entry(table, index, new)?;
        // A write-only index may lack the old entry: always write.
        if index.state == IndexState::WriteOnly || entry != index_entry(table, index, old)? {
            txn.put(home, entry.0, entry.1)?;
        }
    }
    let old: HashMap<Located, _> = claims_of_row(table, old)?.into_iter().collect();
    for (claim, value) in claims_of_row(table, new)? {
        if old.get(&claim) != Some(&value) {
            txn.put(claim.home, claim.key, value)?;
        }
    }
    shadow::write(txn, table, new)
}
