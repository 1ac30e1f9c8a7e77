//! Rows and their index entries, into the write buffer. A row's entries lie at the row's home.

use crate::catalog::{IndexState, Table};
use crate::error::Result;
use crate::exec::keys::{encode_table_row, index_entry, row_key};
use crate::txn::Txn;
use crate::value::Value;

/// Writes a new row and its entries.
pub(super) fn insert_row(txn: &mut Txn, table: &Table, row: &[Value]) -> Result<()> {
    let home = table.homes.of_row(row)?;
    txn.put(home, row_key(table, row)?, encode_table_row(table, row))?;
    for index in &table.indexes {
        if index.state != IndexState::DeleteOnly {
            let (key, target) = index_entry(table, index, row)?;
            txn.put(home, key, target)?;
        }
    }
    Ok(())
}

/// Removes a row and its entries.
pub(super) fn delete_row(txn: &mut Txn, table: &Table, row: &[Value]) -> Result<()> {
    let home = table.homes.of_row(row)?;
    txn.delete(home, row_key(table, row)?)?;
    for index in &table.indexes {
        txn.delete(home, index_entry(table, index, row)?.0)?;
    }
    Ok(())
}

/// Removes what of an old row's keys the new row does not have. All rows of a statement are cleared before any is written, so that
/// they may exchange keys.
pub(super) fn clear_old(txn: &mut Txn, table: &Table, old: &[Value], new: &[Value]) -> Result<()> {
    let home = table.homes.of_row(old)?;
    if home != table.homes.of_row(new)? {
        return delete_row(txn, table, old);
    }
    let old_key = row_key(table, old)?;
    let moved = old_key != row_key(table, new)?;
    if moved {
        txn.delete(home, old_key)?;
    }
    for index in &table.indexes {
        let (old_entry, _) = index_entry(table, index, old)?;
        if old_entry != index_entry(table, index, new)?.0 {
            txn.delete(home, old_entry)?;
        }
    }
    Ok(())
}

/// Writes the new row and those of its entries that changed.
pub(super) fn write_new(txn: &mut Txn, table: &Table, old: &[Value], new: &[Value]) -> Result<()> {
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
    Ok(())
}
