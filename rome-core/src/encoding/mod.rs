//! Values as bytes: order-preserving keys, and rows.

mod document;
mod key;
mod ordered;
mod row;
#[cfg(test)]
mod strategies;

pub use key::{KeyColumn, decode_key_value, encode_key_value, skip_key_value};
pub use row::{RowReader, encode_row};
