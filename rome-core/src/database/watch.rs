//! Watching queries: first the rows, then every change.

use super::row::Row;
use crate::error::{Error, Result, SqlState};
use crate::store::{Epoch, Version};
use crate::topology::HomeNo;
use futures::stream::BoxStream;
use std::fmt;
use std::str::FromStr;

/// What a watch tells, in this order: all rows, [`WatchItem::Current`], then changes as they come. Ends after the first error.
pub type Watch = BoxStream<'static, Result<WatchItem>>;

/// One thing that a watch tells.
#[derive(Clone, Debug)]
pub enum WatchItem {
    /// Forget all rows: changes may have been missed, or the table has another description now. The rows follow anew.
    Reset,
    /// Rows of the result as they stood.
    Rows(Vec<Row>),
    /// Everything up to this cursor has been told.
    Current(WatchCursor),
    /// What one transaction changed in the result at one home. Transactions of one home come in the order of their commits, each exactly once.
    Changes {
        /// What it changed.
        changes: Vec<RowChange>,
        /// Where a later watch goes on after it.
        cursor: WatchCursor,
    },
    /// Changes at a site are not heard of until it [is back](WatchItem::Regained); none of them is missed.
    Lost {
        /// The site's name; empty where there is only one.
        site: String,
        /// Why.
        error: Error,
    },
    /// A site is heard of again.
    Regained {
        /// The site's name.
        site: String,
    },
}

/// A change of a result. A row that moves to another home is deleted at one and inserted at the other.
#[derive(Clone, Debug)]
pub enum RowChange {
    /// A row that was not in the result before.
    Inserted(Row),
    /// A row that is another now.
    Updated {
        /// As it was.
        old: Row,
        /// As it is.
        new: Row,
    },
    /// A row that is in the result no more.
    Deleted(Row),
}

/// How far a watch has told of a table's changes: one position for each of its homes. Text, so that an application can keep it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchCursor {
    pub(super) table: u32,
    /// The space of the table's rows: another one when it has moved to another placement.
    pub(super) rows: u32,
    /// Ordered by home.
    pub(super) homes: Vec<(HomeNo, Epoch, Version)>,
}

impl fmt::Display for WatchCursor {
    /// `table.rows`, then for each home `-home.epoch.version`, all in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.table, self.rows)?;
        self.homes.iter().try_for_each(|(home, epoch, version)| write!(f, "-{:x}.{epoch:x}.{version:x}", home.0))
    }
}

impl FromStr for WatchCursor {
    type Err = Error;

    /// # Errors
    /// 22P02 where the text is no cursor.
    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid cursor of a watch: \"{text}\""))
                .with_hint("Give back the text of a cursor that a watch has told.")
        };
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut parts = text.split('-');
        let space = |text: &str| number(text).and_then(|space| u32::try_from(space).ok());
        let table = parts.next().and_then(|part| part.split_once('.'));
        let (table, rows) = table.and_then(|(table, rows)| Some((space(table)?, space(rows)?))).ok_or_else(invalid)?;
        let homes = parts.map(|part| {
            let mut fields = part.split('.').map(number);
            let mut field = || fields.next().flatten();
            let home = HomeNo(u16::try_from(field()?).ok()?);
            let position = (home, field()?, field()?);
            fields.next().is_none().then_some(position)
        });
        let homes: Option<Vec<_>> = homes.collect();
        let homes = homes.filter(|homes| homes.is_sorted_by_key(|(home, ..)| *home)).ok_or_else(invalid)?;
        Ok(Self { table, rows, homes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_as_text() {
        let homes = vec![(HomeNo(0), 0, 7), (HomeNo(300), u64::MAX, 0)];
        let cursor = WatchCursor { table: 1024, rows: 1030, homes };
        assert_eq!(cursor.to_string().parse::<WatchCursor>().expect("a cursor"), cursor);
        for bad in ["", "x", "400", "400.1-1.2", "400.1-1.2.3.4", "4.1-1.2.-3", "4.1-2.0.1-1.0.1", "100000000.1-0.0.1"]
        {
            assert_eq!(bad.parse::<WatchCursor>().expect_err(bad).state(), SqlState::INVALID_TEXT_REPRESENTATION);
        }
    }
}
