//! The rows that were there before, of a table that is new here, whose events were missed, or that has another index now: all rows are compared
//! with the copy, page by page, and what differs is written.
//!
//! The pages are read one after the other while the table changes. That does no harm: every change made meanwhile has an event above the
//! copy's cursor, which stays where it is, and applying an event says what a row is, whatever the copy holds. When the cursor has reached the version at which the
//! last page was read, the copy is whole.

use super::{Copied, Copier, Replica};
use crate::catalog::Table;
use crate::catalog::keys::whole_space;
use crate::database::engine::Engine;
use crate::error::{Error, Result};
use crate::exec::change::{CopiedRow, replicate_rows};
use crate::store::{Entry, Key, KeyRange, Read, ReadLimits, Version, successor};
use crate::topology::HomeNo;
use crate::txn::{HomeRead, Mode};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that are compared at a time.
const PAGE_ROWS: usize = 400;

impl Engine {
    /// Copies those of a home's tables that the copy does not have. `None` where somebody else does.
    pub(super) async fn copy(&self, of: HomeNo, tables: &[Arc<Table>]) -> Result<Option<Replica>> {
        let mut txn = self.client.begin(Mode::SingleStatement);
        let Some(mut replica) = Replica::read(&mut txn, of).await? else { return Ok(None) };
        replica.copier = Some(Copier { id: rand::random(), pages: 0 });
        replica.write(&mut txn, of)?;
        txn.commit().await?;
        for table in tables {
            if replica.covers(table) {
                continue;
            }
            let Some(copied) = self.copy_table(of, &replica, table).await? else { return Ok(None) };
            replica = copied;
        }
        let mut whole = Replica { copier: None, ..replica.clone() };
        // Tables that are gone, or have another home, are no longer of interest.
        whole.tables.retain(|id, _| tables.iter().any(|table| table.row_space() == *id));
        Ok(self.replace(of, &replica, &whole).await?.then_some(whole))
    }

    async fn copy_table(&self, of: HomeNo, replica: &Replica, table: &Arc<Table>) -> Result<Option<Replica>> {
        let mut replica = replica.clone();
        let mut range = whole_space(table.row_space());
        let mut whole_from = replica.cursor;
        let mut rows = PAGE_ROWS;
        loop {
            let (page, rest, version) = self.page(of, &replica, table, &range, rows).await?;
            whole_from = whole_from.max(version);
            let mut part = range.clone();
            if let Some(rest) = &rest {
                part.to = rest.clone();
            }
            match self.write_page(of, &mut replica, table, part, page).await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // Rows with many index entries: fewer at a time.
                Err(error) if error.state() == crate::SqlState::PROGRAM_LIMIT_EXCEEDED && rows > 1 => {
                    rows /= 2;
                    continue;
                }
                Err(error) => return Err(error),
            }
            match rest {
                Some(rest) => range.from = rest,
                None => break,
            }
        }
        let mut copied = replica.clone();
        let indexes = table.indexes.iter().map(|index| index.space).collect();
        copied.tables.insert(table.row_space(), Copied { from: whole_from, indexes });
        Ok(self.replace(of, &replica, &copied).await?.then_some(copied))
    }

    /// Some rows of a table at its home, where the next ones begin, and the version as of which that is true.
    async fn page(
        &self,
        of: HomeNo,
        replica: &Replica,
        table: &Arc<Table>,
        range: &KeyRange,
        rows: usize,
    ) -> Result<(Vec<Entry>, Option<Key>, Version)> {
        let mut txn = self.client.begin(Mode::ReadOnly);
        txn.use_table(table)?;
        let read = Read::Range { range: range.clone(), limit: Some(rows), reverse: false };
        let found = txn.read(vec![HomeRead { home: of, read }], ReadLimits::default()).await?;
        let found = found.into_iter().next().unwrap_or_default();
        let (epoch, version) = txn.as_of(of).ok_or_else(|| Error::internal("a page was not read"))?;
        if epoch != replica.epoch {
            // The stream will say so, too.
            return Err(Error::serialization_failure());
        }
        let rest = found.more.as_deref().map(successor);
        Ok((found.entries, rest, version))
    }

    /// Makes a part of the copy equal to a page. `false` where somebody else copies.
    async fn write_page(
        &self,
        of: HomeNo,
        replica: &mut Replica,
        table: &Arc<Table>,
        part: KeyRange,
        page: Vec<Entry>,
    ) -> Result<bool> {
        let here = self.client.local();
        let mut page: BTreeMap<Key, Bytes> = page.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let mut rest = Some(part);
        while let Some(part) = rest {
            let mut txn = self.client.begin(Mode::SingleStatement);
            if Replica::read(&mut txn, of).await?.as_ref() != Some(&*replica) {
                return Ok(false);
            }
            txn.use_table(table)?;
            let read = Read::Range { range: part.clone(), limit: Some(PAGE_ROWS), reverse: false };
            let held = self.client.read(here, vec![read], ReadLimits::default()).await?;
            let held = held.into_iter().next().unwrap_or_default();
            let from = held.more.as_deref().map(successor);
            let mut held: BTreeMap<Key, Bytes> = held.entries.into_iter().map(|e| (e.key, e.value)).collect();
            let beyond = from.as_ref().map(|from| page.split_off(from)).unwrap_or_default();
            let mut rows: Vec<CopiedRow> = vec![];
            for (key, new) in page {
                rows.push(CopiedRow { held: held.remove(&key), key, new: Some(new) });
            }
            rows.extend(held.into_iter().map(|(key, old)| CopiedRow { key, held: Some(old), new: None }));
            replicate_rows(&mut txn, table, here, &rows).await?;
            // Also where nothing differs: the guards say that nobody else copies, and the others see that somebody does.
            let mut done = replica.clone();
            done.copier = done.copier.map(|copier| Copier { pages: copier.pages + 1, ..copier });
            done.write(&mut txn, of)?;
            txn.commit().await?;
            *replica = done;
            page = beyond;
            rest = from.map(|from| KeyRange { from, to: part.to });
        }
        Ok(true)
    }
}
