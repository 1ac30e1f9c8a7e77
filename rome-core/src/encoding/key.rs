//! Order-preserving keys.

use crate::error::{Error, Result};
use crate::value::{DataType, Value};

/// How one column of a key is encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyColumn {
    /// The column's type.
    pub data_type: DataType,
    /// DESC
    pub descending: bool,
    /// NULLS FIRST
    pub nulls_first: bool,
}

impl KeyColumn {
    /// ASC NULLS LAST
    pub fn ascending(data_type: DataType) -> Self {
        Self { data_type, descending: false, nulls_first: false }
    }
}

/// Appends the encoding of `value`.
///
/// # Errors
/// Where the value is not of the column's type.
pub fn encode_key_value(_out: &mut Vec<u8>, _value: &Value, _column: &KeyColumn) -> Result<()> {
    Err(Error::unsupported("key encoding"))
}

/// Takes one value off the front.
///
/// # Errors
/// XX001 where the bytes are none.
pub fn decode_key_value(_input: &mut &[u8], _column: &KeyColumn) -> Result<Value> {
    Err(Error::unsupported("key encoding"))
}

/// Takes one value off the front without decoding it.
///
/// # Errors
/// XX001 where the bytes are none.
pub fn skip_key_value(_input: &mut &[u8], _column: &KeyColumn) -> Result<()> {
    Err(Error::unsupported("key encoding"))
}
