//! Formats: a number that says how everything is laid out that Rome keeps in a store.
//!
//! A build of Rome speaks a range of formats, [`Format::OLDEST`] to [`Format::NEWEST`]. A database begins in the newest; a build that opens one
//! speaks the format that it has. So builds of several versions work on one database at the same time, and an operator raises its format
//! once none of the older ones is needed any more ([`RomeDatabase::upgrade`](crate::database::RomeDatabase::upgrade)).
//!
//! What a store holds of it, in the space of the catalog:
//!
//! - under [`format_key`] the number;
//! - under [`raised_key`] of each format that the database was raised to, nothing. These keys are the *fence*: a client that speaks a format guards the
//!   absence of the next one's key with everything that it writes without relying on a table's description. What relies on one needs no such guard,
//!   since to raise the format changes the version of every description.
//!
//! Transactions over several homes that are on their way stay in the format in which they began: a format that lays marks, promises or records out in another
//! way must still read the old ones.
//!
//! # The next format
//!
//! With the feature `next-format` a build speaks one format more, in which a table's description begins with the format's number. It exists so that tests
//! can roll two builds through one database; no database that is to be kept should be raised to it.

use super::Table;
use super::keys::{format_key, raised_key};
use crate::error::{Error, Result, SqlState};
use crate::store::{Guard, Key};
use bytes::Bytes;
use std::fmt;

/// The format of a database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Format(u32);

impl Format {
    /// The oldest that this build reads and writes.
    pub const OLDEST: Self = Self(1);
    /// The newest that this build reads and writes: that of a new database.
    pub const NEWEST: Self = Self(if cfg!(feature = "next-format") { 2 } else { 1 });

    /// The format of a store, by what it holds under [`format_key`]; an empty store gets the newest.
    ///
    /// # Errors
    /// 57P03 where this build does not speak it.
    pub fn held(value: Option<&[u8]>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::NEWEST) };
        match number(value) {
            Some(number) if (Self::OLDEST.0..=Self::NEWEST.0).contains(&number) => Ok(Self(number)),
            number => Err(unspoken(value, number)),
        }
    }

    /// What a store holds of a format that it has had from its beginning.
    pub fn mark(self) -> Bytes {
        Bytes::from(self.to_string())
    }

    /// What is written into a store that is raised to this format.
    pub fn raise_from(self, older: Self) -> impl Iterator<Item = (Key, Bytes)> {
        let passed = (older.0 + 1..=self.0).map(|number| (raised_key(number), Bytes::new()));
        passed.chain([(format_key(), self.mark())])
    }

    /// Holds as long as a store was not raised above this format.
    pub fn fence(self) -> Guard {
        Guard::Absent(raised_key(self.0.saturating_add(1)))
    }

    /// A table's description as this format stores it.
    ///
    /// # Errors
    /// XX000 where it can't be encoded.
    pub fn describe(self, table: &Table) -> Result<Bytes> {
        let json = serde_json::to_vec(table).map_err(Error::internal)?;
        match self.prefix() {
            None => Ok(json.into()),
            Some(prefix) => Ok([&[prefix], json.as_slice()].concat().into()),
        }
    }

    /// A table by its description as this format stores it.
    ///
    /// # Errors
    /// XX001 where it is corrupt.
    pub fn described(self, key: &Key, value: &[u8]) -> Result<Table> {
        let json = match self.prefix() {
            None => Some(value),
            Some(prefix) => value.strip_prefix(&[prefix]),
        };
        let table = json.ok_or_else(|| "it does not begin with its format".to_owned());
        table.and_then(|json| serde_json::from_slice(json).map_err(|error| error.to_string())).map_err(|problem| {
            Error::new(SqlState::DATA_CORRUPTED, "a table's description in the store is corrupt")
                .with_detail(format!("key {:02x?}: {problem}", &key[..]))
        })
    }

    /// How a description begins, before its JSON.
    fn prefix(self) -> Option<u8> {
        // The only difference between the two formats that there are.
        (cfg!(feature = "next-format") && self > Self::OLDEST).then_some(2)
    }

    /// What this build speaks, in words.
    pub fn spoken() -> String {
        match (Self::OLDEST, Self::NEWEST) {
            (oldest, newest) if oldest == newest => format!("format {newest}"),
            (oldest, newest) => format!("formats {oldest} to {newest}"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a format, known or not.
pub(crate) fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// SQLSTATE 57P03.
fn unspoken(value: &[u8], number: Option<u32>) -> Error {
    let shown = String::from_utf8_lossy(value);
    let message = format!("the store holds format {shown}, this version of Rome speaks {}", Format::spoken());
    let hint = match number {
        Some(number) if number > Format::NEWEST.0 => {
            format!("Use a version of Rome that speaks format {number}: a database that was raised to it stays so.")
        }
        Some(_) => format!(
            "Raise the database to format {} with an older version of Rome that speaks both: rome topology upgrade",
            Format::OLDEST
        ),
        None => "Use the version of Rome that wrote the store, or another namespace.".to_owned(),
    };
    Error::new(SqlState::CANNOT_CONNECT_NOW, message).with_hint(hint)
}
