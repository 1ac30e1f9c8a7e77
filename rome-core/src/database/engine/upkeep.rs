//! What DDL leaves to do after its commit: filling new indexes, and emptying the spaces of what was dropped.
//!
//! Both are noted in the store by the commit itself, so that a process that ends in the middle leaves nothing wrong: a
//! write-only index is visible as such and used by no query, and the next DROP of any client empties the noted spaces.

use super::Engine;
use super::running::Aftermath;
use crate::catalog::keys::{all_garbage, garbage_key, whole_space};
use crate::catalog::{IndexState, SchemaView, Table, TableId};
use crate::database::ddl::{Ddl, PAGE_ROWS, PendingIndex, fill_page};
use crate::error::{Error, Result, SqlState};
use crate::store::{Commit, Entry, Guard, Key, KeyRange, Read, ReadLimits, Write, successor};
use crate::topology::HomeNo;
use crate::txn::Mode;
use std::sync::Arc;

/// Keys that are removed at a time.
const PAGE_KEYS: usize = 1_000;

impl Engine {
    /// Does what a committed transaction left to do.
    ///
    /// # Errors
    /// Where an index could not be filled, after it was taken away again.
    pub(super) async fn finish(&self, aftermath: Aftermath) -> Result<()> {
        if aftermath.schema {
            match self.refresh_catalog().await {
                // The statement has taken effect, and must not say that it has not. What needs the catalog says so itself.
                Err(problem) if problem.state() == SqlState::CONNECTION_FAILURE || problem.is_retryable() => {
                    tracing::warn!(%problem, "the catalog could not be read again");
                }
                refreshed => drop(refreshed?),
            }
        }
        for pending in aftermath.pending {
            if let Err(error) = self.fill(&pending).await {
                self.give_up(&pending).await?;
                return Err(error);
            }
        }
        for pending in aftermath.moves {
            self.move_rows(&pending).await?;
        }
        if !aftermath.garbage.is_empty() {
            self.collect_garbage().await;
        }
        Ok(())
    }

    /// Fills a write-only index page by page, then makes it public.
    ///
    /// A page is a range read: whoever writes into it meanwhile wins. So a page that lost is halved, or writers that never pause would keep the
    /// index from ever being filled.
    async fn fill(&self, pending: &PendingIndex) -> Result<()> {
        for home in self.described(pending.table)?.homes.all() {
            self.fill_home(pending, home).await?;
        }
        self.change_index(pending, true).await
    }

    async fn fill_home(&self, pending: &PendingIndex, home: HomeNo) -> Result<()> {
        let mut range = whole_space(self.described(pending.table)?.row_space());
        // Rows that come after this moment bring their own entries: whoever appends faster than pages are filled must not keep the end away.
        match self.last_key(home, &range).await? {
            Some(last) => range.to = successor(&last),
            None => return Ok(()),
        }
        let mut rows = PAGE_ROWS;
        let mut attempts = self.retry.start();
        loop {
            let table = self.described(pending.table)?;
            let mut txn = self.client.begin(Mode::SingleStatement);
            let page = match fill_page(&mut txn, (home, &table), pending.space, &range, rows).await {
                Ok(next) => txn.commit().await.map(|_| next),
                Err(error) => Err(error),
            };
            match page {
                Ok(None) => return Ok(()),
                Ok(Some(next)) => {
                    range.from = next;
                    rows = (rows * 2).min(PAGE_ROWS);
                    attempts = self.retry.start();
                }
                Err(error) => {
                    self.again(error, &mut attempts).await?;
                    rows = (rows / 2).max(1);
                }
            }
        }
    }

    /// Takes away an index that could not be filled.
    async fn give_up(&self, pending: &PendingIndex) -> Result<()> {
        self.change_index(pending, false).await?;
        self.collect_garbage().await;
        Ok(())
    }

    /// Makes a write-only index public, or removes it.
    async fn change_index(&self, pending: &PendingIndex, public: bool) -> Result<()> {
        let mut attempts = self.retry.start();
        loop {
            let mut catalog = self.catalog();
            let mut txn = self.client.begin(Mode::Interactive);
            let table = self.described(pending.table)?;
            let mut ddl = Ddl::new(self, &mut txn, &mut catalog, true);
            let done = match ddl.set_index_state(&table, pending.space, public.then_some(IndexState::Public)) {
                Ok(()) => txn.commit().await.map(|_| ()),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {
                    self.refresh_catalog().await?;
                    return Ok(());
                }
                Err(error) => self.again(error, &mut attempts).await?,
            }
        }
    }

    fn described(&self, table: TableId) -> Result<Arc<Table>> {
        self.catalog().table_by_id(table).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_TABLE, "the table was dropped while its index was being made")
        })
    }

    /// Reads the catalog again where an error says that it is too old, looks for sites that were not reached where one says that, and gives
    /// the error back.
    pub(super) async fn caught_up(&self, error: Error) -> Error {
        if error.is_schema_change() {
            let before = self.catalog();
            match self.refresh_catalog().await {
                Ok(after) if after.is_the_same(&before) => {
                    if let Some(reason) = self.disowned().await {
                        return reason;
                    }
                }
                Ok(_) => {}
                // Another format, above all: there is nothing to retry for this build, or at this site.
                Err(failure) if is_final(&failure) => return failure,
                // Whoever hears of the schema change retries, loses again by the old catalog, and comes back here.
                Err(failure) => tracing::debug!(%failure, "the catalog could not be read again"),
            }
        }
        if error.state() == SqlState::OBJECT_IN_USE {
            // For the next statement: it may be over.
            let _ = self.refresh_catalog().await;
        }
        if error.state() == SqlState::CONNECTION_FAILURE && self.misses_sites() {
            // For the next statement; of an interactive transaction this one has failed.
            self.sites_changed().await;
        }
        error
    }

    /// Waits for another attempt, or gives the error back.
    pub(super) async fn again(&self, error: Error, attempts: &mut crate::database::retry::Attempts<'_>) -> Result<()> {
        let error = self.caught_up(error).await;
        if attempts.retry_after(Some(&error)).await { Ok(()) } else { Err(error) }
    }

    /// Empties all spaces that are noted as dropped. Nothing refers to them any more, so no guard is needed, and doing it twice does no harm. What can't
    /// be reached now is left to the next one.
    pub(super) async fn collect_garbage(&self) {
        for home in self.catalog().topology().homes() {
            match self.collect_garbage_at(home).await {
                Ok(()) => {}
                // The database is raised to another format just now: the notes stay for the next DROP.
                Err(error) if error.is_schema_change() => return,
                Err(problem) => tracing::warn!(home = home.0, %problem, "what was dropped is not cleared away yet"),
            }
        }
    }

    async fn collect_garbage_at(&self, home: HomeNo) -> Result<()> {
        for note in self.entries_of(home, all_garbage(), usize::MAX).await? {
            let Some(space) = note.key.get(5..9).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes) else {
                continue;
            };
            let page = PAGE_KEYS.min(self.client.capabilities(home)?.max_writes);
            loop {
                let entries = self.entries_of(home, whole_space(space), page).await?;
                if entries.is_empty() {
                    break;
                }
                let writes = entries.into_iter().map(|entry| Write::Delete(entry.key)).collect();
                self.client.commit(home, Commit { writes, ..Commit::default() }).await?;
            }
            // As it was read: not over the mark of somebody who changes the catalog.
            let key = garbage_key(space);
            let commit = Commit {
                guards: vec![Guard::Version { key: key.clone(), version: note.version }],
                writes: vec![Write::Delete(key)],
                ..Commit::default()
            };
            self.client.commit(home, commit).await?;
        }
        Ok(())
    }

    /// The last key of a range, if it has any.
    pub(super) async fn last_key(&self, home: HomeNo, range: &KeyRange) -> Result<Option<Key>> {
        let last = Read::Range { range: range.clone(), limit: Some(1), reverse: true };
        Ok(self.entries_by(home, last).await?.pop().map(|entry| entry.key))
    }

    async fn entries_of(&self, home: HomeNo, range: KeyRange, limit: usize) -> Result<Vec<Entry>> {
        let read = Read::Range { range, limit: Some(limit.min(100_000)), reverse: false };
        self.entries_by(home, read).await
    }

    async fn entries_by(&self, home: HomeNo, read: Read) -> Result<Vec<Entry>> {
        let results = self.client.read(home, vec![read], ReadLimits::default()).await?;
        Ok(results.into_iter().flat_map(|result| result.entries).collect())
    }
}

/// Whether a catalog can't be read by this client, now or later.
fn is_final(error: &Error) -> bool {
    [SqlState::CANNOT_CONNECT_NOW, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE].contains(&error.state())
}
