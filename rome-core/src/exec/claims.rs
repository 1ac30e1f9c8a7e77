//! Claims: how a key is unique over all homes of a table although it does not say at which of them its row lives.
//!
//! Such a key has one more entry, its *claim*, at a home that follows from the key alone, its *authority*: the birth home of an identifier that
//! carries one ([`crate::topology::tag`]) and still exists, else one of the homes that the table had when it was made, by a hash. The claim's value says where the
//! row is. It exists if and only if the row does, in the same commit, so that uniqueness, foreign keys and look-ups ask the authority alone; and
//! a row that was born where it lives costs no other home anything.
//!
//! | | bytes |
//! |---|---|
//! | key | claim space (4, big-endian), the key's columns |
//! | value | the number of the row's home (2, big-endian), the row's key |

use super::keys::{Located, row_place};
use crate::catalog::{Index, Table, share_of};
use crate::encoding::encode_key_value;
use crate::error::{Error, Result, SqlState};
use crate::store::Key;
use crate::topology::{HomeNo, tag};
use crate::value::Value;
use bytes::{BufMut, Bytes, BytesMut};

/// Where the claim on a key of the primary key (`None`) or of an index lies; `None` where the key names a home that does not exist, so that there
/// can be no such row. Only for keys that have claims.
///
/// # Errors
/// 54000 where the key is too long.
pub fn claim_place(table: &Table, index: Option<&Index>, values: &[Value]) -> Result<Option<Located>> {
    let (space, columns) = match index {
        Some(index) => (index.claims, table.index_key_columns(index)),
        None => (table.claims, table.primary_key_columns()),
    };
    let Some(space) = space else { return Err(Error::internal("a key without claims")) };
    let mut key = space.to_be_bytes().to_vec();
    for (value, column) in values.iter().zip(&columns) {
        encode_key_value(&mut key, value, column)?;
    }
    let birth = match values {
        [Value::Uuid(id)] => tag::birth_home(id),
        _ => None,
    };
    let home = match birth {
        Some(home) if table.homes.exists(home) => Some(home),
        Some(home) if !table.homes.existed(home) => None,
        // Born nowhere, or at a site that is gone.
        _ => share_of(&key, &table.authorities),
    };
    Ok(home.map(|home| Located { home, key: key.into() }))
}

/// A row's claim on a key, and its value; `None` where the key has no claims or a NULL in it.
///
/// # Errors
/// As [`claim_place`]; 22023 where the key names a home that does not exist.
pub fn claim_of_row(table: &Table, index: Option<&Index>, row: &[Value]) -> Result<Option<(Located, Bytes)>> {
    let columns: Vec<_> = match index {
        Some(index) if index.claims.is_some() => index.columns.iter().map(|part| part.column).collect(),
        None if table.claims.is_some() => table.primary_key.clone(),
        _ => return Ok(None),
    };
    let positions = columns.iter().map(|column| table.position(*column));
    let values: Vec<Value> =
        positions.map(|at| at.and_then(|at| row.get(at)).cloned().unwrap_or(Value::Null)).collect();
    if values.iter().any(Value::is_null) {
        return Ok(None);
    }
    let place = claim_place(table, index, &values)?.ok_or_else(|| {
        let message = format!("the identifier of a row of \"{}\" was born at a site that does not exist", table.name);
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_table(&table.name)
    })?;
    let Located { home, key } = row_place(table, row)?;
    let mut value = BytesMut::with_capacity(2 + key.len());
    value.put_u16(home.0);
    value.put_slice(&key);
    Ok(Some((place, value.freeze())))
}

/// All claims of a row.
///
/// # Errors
/// As [`claim_of_row`].
pub fn claims_of_row(table: &Table, row: &[Value]) -> Result<Vec<(Located, Bytes)>> {
    let indexes = table.indexes.iter().map(Some);
    let claims = [None].into_iter().chain(indexes).map(|index| claim_of_row(table, index, row));
    claims.filter_map(Result::transpose).collect()
}

/// Where the row of a claim is.
///
/// # Errors
/// XX001 where the value is none of a claim.
pub fn claimed_row(value: &Bytes) -> Result<Located> {
    let home = value.first_chunk().map(|bytes| HomeNo(u16::from_be_bytes(*bytes)));
    let home = home.ok_or_else(|| Error::new(SqlState::DATA_CORRUPTED, "a claim on a unique key is corrupt"))?;
    let key: Key = value.slice(2..);
    Ok(Located { home, key })
}
