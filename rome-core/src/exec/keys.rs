//! Rows and index entries as keys and values of the store.
//!
//! | what | key | value |
//! |---|---|---|
//! | a row | the table's row space (4 bytes, big-endian), primary key columns | all columns; a NULL is left out unless the column was added with a default |
//! | an entry of a unique index without NULLs | index space (4 bytes), indexed columns | the row's key |
//! | any other index entry | index space, indexed columns, primary key columns | the row's key |

use crate::catalog::{Column, Index, Table};
use crate::encoding::{KeyColumn, RowReader, encode_key_value, encode_row};
use crate::error::{Error, Result};
use crate::store::Key;
use crate::topology::HomeNo;
use crate::value::Value;
use bytes::Bytes;

/// Longest key of a row or index entry, in bytes.
pub const MAX_KEY_BYTES: usize = 16 << 10;

/// A key at its home.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Located {
    /// The home.
    pub home: HomeNo,
    /// The key.
    pub key: Key,
}

/// The key of a row, and where the row lives.
///
/// # Errors
/// As [`row_key`]; 22023 where the row names no site.
pub fn row_place(table: &Table, row: &[Value]) -> Result<Located> {
    Ok(Located { home: table.homes.of_row(row)?, key: row_key(table, row)? })
}

/// The key of a row; `row` holds all of `table.columns`.
///
/// # Errors
/// 54000 where the key is longer than [`MAX_KEY_BYTES`].
pub fn row_key(table: &Table, row: &[Value]) -> Result<Key> {
    let mut key = table.row_space().to_be_bytes().to_vec();
    append_primary_key(&mut key, table, row)?;
    checked(key, &table.name)
}

/// The key and value of a row's entry in an index.
///
/// # Errors
/// As [`row_key`].
pub fn index_entry(table: &Table, index: &Index, row: &[Value]) -> Result<(Key, Bytes)> {
    let mut key = index.space.to_be_bytes().to_vec();
    let mut has_null = false;
    for (part, column) in index.columns.iter().zip(table.index_key_columns(index)) {
        let value = table.position(part.column).and_then(|position| row.get(position)).unwrap_or(&Value::Null);
        has_null |= value.is_null();
        encode_key_value(&mut key, value, &column)?;
    }
    if !index.unique || has_null {
        append_primary_key(&mut key, table, row)?;
    }
    Ok((checked(key, &index.name)?, row_key(table, row)?))
}

/// The beginning of all keys of an order of the table (`None`: the primary key's) whose leading columns have these values.
///
/// # Errors
/// As [`row_key`].
pub fn key_prefix(table: &Table, index: Option<&Index>, values: &[Value]) -> Result<Vec<u8>> {
    let (space, columns): (u32, Vec<KeyColumn>) = match index {
        Some(index) => (index.space, table.index_key_columns(index)),
        None => (table.row_space(), table.primary_key_columns()),
    };
    let mut key = space.to_be_bytes().to_vec();
    for (value, column) in values.iter().zip(&columns) {
        encode_key_value(&mut key, value, column)?;
    }
    Ok(key)
}

/// A row as the store keeps it.
pub fn encode_table_row(table: &Table, row: &[Value]) -> Bytes {
    // Where old rows without the column stand for a value, NULL must be said.
    let said = |column: &Column, value: &Value| !value.is_null() || column.missing.is_some();
    let columns = table.columns.iter().zip(row).filter(|(column, value)| said(column, value));
    encode_row(columns.map(|(column, value)| (column.id.0, value)))
}

/// All columns of a stored row, in the table's order.
///
/// # Errors
/// XX001 where the bytes are no row.
pub fn decode_table_row(table: &Table, bytes: &Bytes) -> Result<Vec<Value>> {
    let reader = RowReader::new(bytes)?;
    table.columns.iter().map(|column| decode_column(&reader, column)).collect()
}

/// One column of a stored row.
///
/// # Errors
/// As [`decode_table_row`].
pub fn decode_column(reader: &RowReader<'_>, column: &Column) -> Result<Value> {
    Ok(match reader.get(column.id.0)? {
        Some(value) => value,
        None => column.missing_value(),
    })
}

fn append_primary_key(key: &mut Vec<u8>, table: &Table, row: &[Value]) -> Result<()> {
    for (position, column) in table.primary_key_positions().into_iter().zip(table.primary_key_columns()) {
        encode_key_value(key, row.get(position).unwrap_or(&Value::Null), &column)?;
    }
    Ok(())
}

fn checked(key: Vec<u8>, name: &str) -> Result<Key> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::new(
            crate::SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("a key of \"{name}\" is {} bytes long, above the limit of {MAX_KEY_BYTES}", key.len()),
        )
        .with_hint("Index a shorter column, or a hash of the long one."));
    }
    Ok(key.into())
}
