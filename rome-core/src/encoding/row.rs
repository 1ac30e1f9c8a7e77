//! Rows.

use crate::error::{Error, Result};
use crate::value::Value;
use bytes::Bytes;

/// Encodes a row.
pub fn encode_row<'v>(_columns: impl Iterator<Item = (u32, &'v Value)>) -> Bytes {
    Bytes::new()
}

/// Reads columns of an encoded row.
#[derive(Debug)]
pub struct RowReader<'a> {
    _bytes: &'a Bytes,
}

impl<'a> RowReader<'a> {
    /// Checks the header.
    ///
    /// # Errors
    /// XX001 where the bytes are no row.
    pub fn new(bytes: &'a Bytes) -> Result<Self> {
        Ok(Self { _bytes: bytes })
    }

    /// The column of this id; `None` where the row has none.
    ///
    /// # Errors
    /// XX001 where the bytes are corrupt.
    pub fn get(&self, _column: u32) -> Result<Option<Value>> {
        Err(Error::unsupported("row encoding"))
    }
}
