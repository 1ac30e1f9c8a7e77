//! What lies in the file: redb tables of byte strings, with these keys and values. Integers are big-endian, so that they sort.
//!
//! | table | key | value |
//! |---|---|---|
//! | `rome` | `format` | the format's number as text |
//! | `state` | `n` | number of homes u32 |
//! | `state` | `h`, home name | home number u32, version u64 |
//! | `state` | `e` | epoch u64; absent until the first restore |
//! | `state` | `s`, home number, space | version u64 of the last commit that wrote or deleted there |
//! | `entries` | home number, key | version u64, value |
//! | `streams` | home number, stream | number of kept events u64, version u64 of the newest trimmed event |
//! | `events` | home number, stream length u32, stream, version u64 | payload |
//!
//! Homes are numbered in the order of their first commit and never removed. What each commit changes beside its own entries is one small table, so
//! that a commit writes few pages.

use crate::error;
use redb::{ReadableTable, TableDefinition};
use rome_core::store::{Epoch, KeyRange, SPACE_LEN, StoreError, Version};

/// A table of byte strings.
pub(crate) type Bytes2 = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(crate) const META: Bytes2 = TableDefinition::new("rome");
pub(crate) const STATE: Bytes2 = TableDefinition::new("state");
pub(crate) const ENTRIES: Bytes2 = TableDefinition::new("entries");
pub(crate) const STREAMS: Bytes2 = TableDefinition::new("streams");
pub(crate) const EVENTS: Bytes2 = TableDefinition::new("events");

/// The key of the format's number in [`META`].
pub(crate) const FORMAT_KEY: &[u8] = b"format";
/// The format that this program reads and writes.
pub(crate) const FORMAT: &[u8] = b"2";

/// The key of the number of homes in [`STATE`].
pub(crate) const HOMES_KEY: &[u8] = b"n";

/// The key of the epoch in [`STATE`].
pub(crate) const EPOCH_KEY: &[u8] = b"e";

/// The epoch of all homes.
pub(crate) fn epoch(state: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<Epoch, StoreError> {
    match state.get(EPOCH_KEY).map_err(error::storage)? {
        Some(epoch) => decode_u64(epoch.value(), "the epoch"),
        None => Ok(0),
    }
}

/// A home's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HomeRow {
    pub number: u32,
    pub version: Version,
}

impl HomeRow {
    pub fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (number, version) = bytes.split_at_mut(4);
        number.copy_from_slice(&self.number.to_be_bytes());
        version.copy_from_slice(&self.version.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (number, version) = bytes.split_first_chunk::<4>().ok_or_else(|| corrupt("a home"))?;
        Ok(Self { number: u32::from_be_bytes(*number), version: decode_u64(version, "a home")? })
    }
}

/// What a change stream keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StreamRow {
    pub kept: u64,
    pub trimmed: Version,
}

impl StreamRow {
    pub fn encode(self) -> [u8; 16] {
        (u128::from(self.kept) << 64 | u128::from(self.trimmed)).to_be_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (kept, trimmed) = bytes.split_first_chunk::<8>().ok_or_else(|| corrupt("a stream"))?;
        Ok(Self { kept: u64::from_be_bytes(*kept), trimmed: decode_u64(trimmed, "a stream")? })
    }
}

/// A stored entry's version and value.
pub(crate) fn split_entry(bytes: &[u8]) -> Result<(Version, &[u8]), StoreError> {
    let (version, value) = bytes.split_first_chunk::<8>().ok_or_else(|| corrupt("an entry"))?;
    Ok((u64::from_be_bytes(*version), value))
}

pub(crate) fn encode_entry(version: Version, value: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes()[..], value].concat()
}

pub(crate) fn decode_u64(bytes: &[u8], what: &str) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| corrupt(what))
}

pub(crate) fn decode_u32(bytes: &[u8], what: &str) -> Result<u32, StoreError> {
    bytes.try_into().map(u32::from_be_bytes).map_err(|_| corrupt(what))
}

/// The length of the home number before each key.
pub(crate) const HOME_LEN: usize = 4;

/// A key within a home.
pub(crate) fn in_home(home: u32, key: &[u8]) -> Vec<u8> {
    [&home.to_be_bytes()[..], key].concat()
}

/// A range within a home.
pub(crate) fn range_in_home(home: u32, range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    (in_home(home, &range.from), in_home(home, &range.to))
}

/// The key of a home's row in [`STATE`].
pub(crate) fn home_key(name: &[u8]) -> Vec<u8> {
    [b"h", name].concat()
}

/// The key of a space's version in [`STATE`].
pub(crate) fn space_key(home: u32, space: [u8; SPACE_LEN]) -> Vec<u8> {
    [b"s", &home.to_be_bytes()[..], &space].concat()
}

/// The key of a stream's event; those of one stream lie together in the order of versions.
pub(crate) fn event_key(home: u32, stream: &[u8], version: Version) -> Vec<u8> {
    let length = (stream.len() as u32).to_be_bytes();
    [&home.to_be_bytes()[..], &length, stream, &version.to_be_bytes()].concat()
}

/// The version at the end of an event's key.
pub(crate) fn event_version(key: &[u8]) -> Result<Version, StoreError> {
    key.last_chunk::<8>().map(|version| u64::from_be_bytes(*version)).ok_or_else(|| corrupt("an event"))
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} of the embedded store has the wrong length"))
}
