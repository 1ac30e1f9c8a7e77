//! Rows of a table that is on its way to another placement: what is written at the new place besides the old one ([`crate::catalog::Shadow`]).
//!
//! A row's copies are the row itself, its index entries and its claims, under the keys and at the homes that they will have. They are put and
//! removed without a look at what is there: a row that has not been copied yet has none of them, and whoever changes the same row, or takes the
//! same unique key, meets this transaction at the old place.

use super::claims::claims_of_row;
use super::keys::{Located, encode_table_row, index_entry, row_key};
use crate::catalog::Table;
use crate::error::{Error, Result, SqlState};
use crate::txn::Txn;
use crate::value::Value;
use bytes::Bytes;
use std::collections::HashSet;

/// Everything that a row has in a table that has moved.
///
/// # Errors
/// 22023 where the row does not say where it is to live, 54000 where a key is too long.
pub fn copies_of_row(target: &Table, row: &[Value]) -> Result<Vec<(Located, Bytes)>> {
    check_place(target, row)?;
    let home = target.homes.of_row(row).map_err(|error| explained(error, target))?;
    let mut copies = vec![(Located { home, key: row_key(target, row)? }, encode_table_row(target, row))];
    for index in &target.indexes {
        let (key, value) = index_entry(target, index, row)?;
        copies.push((Located { home, key }, value));
    }
    copies.extend(claims_of_row(target, row).map_err(|error| explained(error, target))?);
    Ok(copies)
}

/// How many keys a row has at most.
pub fn keys_of_row(target: &Table) -> usize {
    let claims = target.indexes.iter().filter_map(|index| index.claims).chain(target.claims).count();
    1 + target.indexes.len() + claims
}

/// A row can only live where its placement columns say, and so they must say it.
fn check_place(target: &Table, row: &[Value]) -> Result<()> {
    for id in target.placement.columns() {
        let value = target.position(*id).and_then(|position| row.get(position));
        if value.is_none_or(Value::is_null) {
            let name = target.column(*id).map_or("?", |column| column.name.as_str());
            let message = format!("null in column \"{name}\" of relation \"{}\" says no place to live at", target.name);
            return Err(explained(Error::new(SqlState::INVALID_PARAMETER_VALUE, message), target).with_column(name));
        }
    }
    Ok(())
}

fn explained(error: Error, target: &Table) -> Error {
    let place = target.placement.text(target);
    error.with_detail(format!("Table \"{}\" is moving to {place}.", target.name)).with_table(&target.name)
}

/// Writes the copies of a new row, or those of a changed one after [`clear`].
pub(super) fn write(txn: &mut Txn, table: &Table, row: &[Value]) -> Result<()> {
    let Some(target) = &table.target else { return Ok(()) };
    for (Located { home, key }, value) in copies_of_row(target, row)? {
        txn.put(home, key, value)?;
    }
    Ok(())
}

/// Removes those copies of an old row that the new one, if there is any, does not have.
pub(super) fn clear(txn: &mut Txn, table: &Table, old: &[Value], new: Option<&[Value]>) -> Result<()> {
    let Some(target) = &table.target else { return Ok(()) };
    // A row that can't move was never copied.
    let copies = match copies_of_row(target, old) {
        Err(error) if error.state() == SqlState::INVALID_PARAMETER_VALUE => return Ok(()),
        copies => copies?,
    };
    let kept: HashSet<Located> = match new {
        Some(new) => copies_of_row(target, new)?.into_iter().map(|(at, _)| at).collect(),
        None => HashSet::new(),
    };
    for (at, _) in copies {
        if !kept.contains(&at) {
            txn.delete(at.home, at.key)?;
        }
    }
    Ok(())
}
