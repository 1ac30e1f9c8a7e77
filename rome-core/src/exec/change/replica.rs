//! Rows of copies: what a table's home has told is written at another home, with the index entries that belong to it.
//!
//! While a copy is being made, its rows are of different moments, and two of them may have the same unique key for a while. So an entry is removed only where it
//! leads to the row that gives it up, and every row that is told has its entries looked at, whether it differs or not: the row that has the key in the
//! end is told after the one that gave it up, and gets the entry back that the other had taken.
//!
//! Nothing that is read here is guarded: whoever writes a copy relies on its record, which every such write changes.

use crate::catalog::{IndexState, Table};
use crate::error::Result;
use crate::exec::keys::{decode_table_row, index_entry};
use crate::store::{Key, Read, ReadLimits};
use crate::topology::HomeNo;
use crate::txn::Txn;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A row of a copy.
#[derive(Clone, Debug)]
pub struct CopiedRow {
    /// Its key.
    pub key: Key,
    /// What the copy holds.
    pub held: Option<Bytes>,
    /// What it is at its home.
    pub new: Option<Bytes>,
}

/// Makes rows of a copy what they are at their home.
///
/// # Errors
/// XX001 where a row can't be read, 54000 beyond what the store commits at once, and those of reading.
pub async fn replicate_rows(txn: &mut Txn, table: &Table, home: HomeNo, rows: &[CopiedRow]) -> Result<()> {
    let mut before = vec![];
    let mut after: BTreeMap<Key, Bytes> = BTreeMap::new();
    for row in rows {
        let now = entries(table, row.new.as_ref(), |state| state != IndexState::DeleteOnly)?;
        let old = entries(table, row.held.as_ref(), |_| true)?;
        before.extend(old.into_iter().filter(|(entry, _)| !now.contains_key(entry)));
        after.extend(now);
    }
    let keys: BTreeSet<&Key> = before.iter().map(|(entry, _)| entry).chain(after.keys()).collect();
    let reads = keys.into_iter().map(|key| Read::Point(key.clone())).collect();
    let found = txn.client().read(home, reads, ReadLimits::default()).await?;
    let held: BTreeMap<Key, Bytes> =
        found.into_iter().flat_map(|result| result.entries).map(|entry| (entry.key, entry.value)).collect();
    for (entry, row) in before {
        if held.get(&entry) == Some(&row) {
            txn.delete(home, entry)?;
        }
    }
    for (entry, row) in after {
        if held.get(&entry) != Some(&row) || txn.own_write(home, &entry).is_some() {
            txn.put(home, entry, row)?;
        }
    }
    for CopiedRow { key, held, new } in rows {
        match new {
            _ if held == new => {}
            Some(row) => txn.put(home, key.clone(), row.clone())?,
            None => txn.delete(home, key.clone())?,
        }
    }
    Ok(())
}

/// The index entries of a stored row, in indexes of these states.
fn entries(table: &Table, row: Option<&Bytes>, of: impl Fn(IndexState) -> bool) -> Result<BTreeMap<Key, Bytes>> {
    let Some(row) = row else { return Ok(BTreeMap::new()) };
    let row = decode_table_row(table, row)?;
    table.indexes.iter().filter(|index| of(index.state)).map(|index| index_entry(table, index, &row)).collect()
}
