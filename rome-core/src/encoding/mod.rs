//! Values as bytes: order-preserving keys, and rows.
//!
//! A key ([`encode_key_value`]) is typed by its columns and compares as its values do, but forgets what comparison ignores. A row
//! ([`encode_row`]) is typed by itself, forgets nothing, and is read column by column ([`RowReader`]). Both refuse damaged bytes
//! with XX001 and never panic on them; the grammar of each is at the top of its module.

mod document;
mod key;
mod ordered;
mod row;
#[cfg(test)]
mod strategies;

pub use key::{KeyColumn, decode_key_value, encode_key_value, skip_key_value};
pub(crate) use ordered::put_string;
pub use row::{RowReader, encode_row};
