//! redb: a read transaction for each read, a write transaction with its fsync for each commit.
//!
//! A write transaction of redb is alone, so that it reads and checks within itself; there is nothing to guard.

use super::{account, credited, key};
use crate::Result;
use crate::subject::{ACCOUNTS, HOSTS, Subject, ZONES, expect_rows};
use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// A file through the `redb` crate, in the caller's thread.
pub struct RawRedb {
    database: Database,
}

impl RawRedb {
    /// Makes the file and writes the rows.
    ///
    /// # Errors
    /// The engine's.
    pub fn fill(path: &Path) -> Result<Self> {
        let database = Database::create(path)?;
        let write = database.begin_write()?;
        {
            let mut rows = write.open_table(ROWS)?;
            for (table, count) in [("account", ACCOUNTS), ("host", HOSTS), ("zone", ZONES)] {
                for id in 0..count {
                    rows.insert(key("", table, id).as_slice(), account(id, 0).as_slice())?;
                }
            }
        }
        write.commit()?;
        Ok(Self { database })
    }

    fn credit(&self, read_only: &[i64], written: &[i64]) -> Result<()> {
        let write = self.database.begin_write()?;
        {
            let mut rows = write.open_table(ROWS)?;
            for id in read_only {
                rows.get(key("", "account", *id).as_slice())?.ok_or("a raw row is missing")?;
            }
            for id in written {
                let key = key("", "account", *id);
                let value = credited(rows.get(key.as_slice())?.ok_or("a raw row is missing")?.value());
                rows.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Ok(write.commit()?)
    }
}

#[async_trait]
impl Subject for RawRedb {
    async fn select(&self, id: i64) -> Result<()> {
        let rows = self.database.begin_read()?.open_table(ROWS)?;
        let row = rows.get(key("", "account", id).as_slice())?.ok_or("a raw row is missing")?;
        expect_rows(usize::from(!row.value().to_vec().is_empty()), 1)
    }

    async fn insert(&self, id: i64) -> Result<()> {
        let write = self.database.begin_write()?;
        let before =
            write.open_table(ROWS)?.insert(key("", "entry", id).as_slice(), account(id, 0).as_slice())?.is_some();
        write.commit()?;
        expect_rows(usize::from(before), 0)
    }

    async fn update(&self, id: i64) -> Result<()> {
        self.credit(&[], &[id])
    }

    async fn join(&self) -> Result<()> {
        let rows = self.database.begin_read()?.open_table(ROWS)?;
        let mut found = 0;
        for (table, count) in [("host", HOSTS), ("zone", ZONES)] {
            for row in rows.range(key("", table, 0).as_slice()..key("", table, count).as_slice())? {
                found += usize::from(!row?.1.value().to_vec().is_empty());
            }
        }
        expect_rows(found, HOSTS + ZONES)
    }

    async fn transaction(&self, [first, second, third]: [i64; 3]) -> Result<()> {
        self.credit(&[third], &[first, second])
    }
}
