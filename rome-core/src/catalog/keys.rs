//! Where the catalog lies in the store.
//!
//! All keys are in the space [`CATALOG_SPACE`], followed by a letter:
//!
//! | key | value |
//! |---|---|
//! | `f` | the format of everything that Rome writes, as decimal text |
//! | `f` number (4 bytes) | empty; a format that the database was raised to |
//! | `t` table id (4 bytes, big-endian) | the table's description, JSON |
//! | `v` table id | a hash of the description (8 bytes; empty in older stores); its version is the table's schema version, raised by every change of the description |
//! | `r` | the number and stamp of the global table whose description changed last |
//! | `p` | the topology, JSON; none where there is one site |
//! | `n` relation name | the id of the table that has this name, or that has the index of this name, as 4 bytes |
//! | `i` | the next free table id and index space, as decimal text |
//! | `s` table id, column id (4 bytes) | the next number of an identity column that no session has reserved, as decimal text |
//! | `g` space (4 bytes) | empty; a space whose table or index was dropped and whose keys are yet to be removed |

use super::{ColumnId, TableId};
use crate::store::{Key, KeyRange};
use crate::topology::HomeNo;
use bytes::{BufMut, Bytes, BytesMut};

/// The space of the catalog.
pub const CATALOG_SPACE: u32 = 1;

/// The first number that a table or index may have; smaller ones are Rome's own.
pub const FIRST_SPACE: u32 = 1024;

fn key(letter: u8, rest: &[u8]) -> Key {
    let mut key = BytesMut::with_capacity(5 + rest.len());
    key.put_u32(CATALOG_SPACE);
    key.put_u8(letter);
    key.put_slice(rest);
    key.freeze()
}

/// The key of the format number.
pub fn format_key() -> Key {
    key(b'f', &[])
}

/// The key that a database has since it was raised to a format.
pub fn raised_key(format: u32) -> Key {
    key(b'f', &format.to_be_bytes())
}

/// The key of the topology.
pub fn topology_key() -> Key {
    key(b'p', &[])
}

/// The key of a table's description.
pub fn table_key(table: TableId) -> Key {
    key(b't', &table.0.to_be_bytes())
}

/// All descriptions.
pub fn all_tables() -> KeyRange {
    KeyRange::prefix(&key(b't', &[]))
}

/// The key whose version is a table's schema version.
pub fn schema_version_key(table: TableId) -> Key {
    key(b'v', &table.0.to_be_bytes())
}

/// All schema versions.
pub fn all_schema_versions() -> KeyRange {
    KeyRange::prefix(&key(b'v', &[]))
}

/// The key that makes a relation's name unique.
pub fn name_key(name: &str) -> Key {
    key(b'n', name.as_bytes())
}

/// The key of the next free space.
pub fn next_space_key() -> Key {
    key(b'i', &[])
}

/// The key of an identity column's next number.
pub fn sequence_key(table: TableId, column: ColumnId) -> Key {
    let mut rest = [0; 8];
    let (first, second) = rest.split_at_mut(4);
    first.copy_from_slice(&table.0.to_be_bytes());
    second.copy_from_slice(&column.0.to_be_bytes());
    key(b's', &rest)
}

/// The key that notes a dropped space.
pub fn garbage_key(space: u32) -> Key {
    key(b'g', &space.to_be_bytes())
}

/// All dropped spaces.
pub fn all_garbage() -> KeyRange {
    KeyRange::prefix(&key(b'g', &[]))
}

/// The stream that tells of the changes of a table's rows and of its description.
pub fn table_stream(table: TableId) -> Bytes {
    Bytes::copy_from_slice(&table.0.to_be_bytes())
}

/// The stream that tells of the changes of all global tables of a home: one, so that their copies see whole transactions.
pub fn replicated_stream() -> Bytes {
    Bytes::from_static(b"global")
}

/// The space of what a home knows of the copies that it keeps.
pub const REPLICA_SPACE: u32 = 4;

/// What a home knows of its copies of the global tables of another home.
pub fn replica_key(of: HomeNo) -> Key {
    let mut key = BytesMut::with_capacity(6);
    key.put_u32(REPLICA_SPACE);
    key.put_u16(of.0);
    key.freeze()
}

/// The key that changes whenever a global table's description does.
pub fn replicated_key() -> Key {
    key(b'r', &[])
}

/// Everything in a space.
pub fn whole_space(space: u32) -> KeyRange {
    KeyRange::prefix(&space.to_be_bytes())
}
