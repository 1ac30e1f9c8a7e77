//! Rows of copies: what a table's home has told is written at another home, with the index entries that belong to it.

use crate::catalog::{IndexState, Table};
use crate::error::Result;
use crate::exec::keys::{decode_table_row, index_entry};
use crate::store::Key;
use crate::topology::HomeNo;
use crate::txn::Txn;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Makes a row of a copy, which holds `held` now, what it is at its home. The transaction must have read the row's key.
///
/// # Errors
/// XX001 where a row can't be read, 54000 beyond what the store commits at once.
pub fn replicate_row(
    txn: &mut Txn,
    table: &Table,
    home: HomeNo,
    key: &Key,
    held: Option<&Bytes>,
    new: Option<&Bytes>,
) -> Result<()> {
    if held == new {
        return Ok(());
    }
    let mut entries = entries(table, new, |state| state != IndexState::DeleteOnly)?;
    for (entry, row) in self::entries(table, held, |_| true)? {
        // What is there already stays.
        if entries.get(&entry) == Some(&row) {
            entries.remove(&entry);
        } else if !entries.contains_key(&entry) {
            txn.delete(home, entry)?;
        }
    }
    for (entry, row) in entries {
        txn.put(home, entry, row)?;
    }
    match new {
        Some(row) => txn.put(home, key.clone(), row.clone()),
        None => txn.delete(home, key.clone()),
    }
}

/// The index entries of a stored row, in indexes of these states.
fn entries(table: &Table, row: Option<&Bytes>, of: impl Fn(IndexState) -> bool) -> Result<BTreeMap<Key, Bytes>> {
    let Some(row) = row else { return Ok(BTreeMap::new()) };
    let row = decode_table_row(table, row)?;
    table.indexes.iter().filter(|index| of(index.state)).map(|index| index_entry(table, index, &row)).collect()
}
