//! Tables on their way to another placement: copying their rows, and ending the move (`ddl/moves.rs` says how it begins).

use super::{Engine, RomeDatabase};
use crate::catalog::keys::whole_space;
use crate::catalog::{SchemaView, Table};
use crate::database::ddl::{Ddl, MOVED_ROWS, PendingMove, copy_rows, page_limits};
use crate::error::{Error, Result, SqlState};
use crate::store::{Key, KeyRange, Read, successor};
use crate::topology::HomeNo;
use crate::txn::Mode;
use std::sync::Arc;

/// The first page; those that follow are larger while nobody is in the way.
const FIRST_PAGE: usize = 64;

/// A table that is on its way to another placement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacementMove {
    /// The table.
    pub table: String,
    /// The placement that it has.
    pub from: String,
    /// The one that it will have.
    pub to: String,
    /// The rows that this client has looked at, where it is the one that moves them.
    pub rows_passed: Option<u64>,
}

/// How far a move has come.
enum Stage {
    /// The table, and as it will be.
    Moving(Arc<Table>, Arc<Table>),
    Arrived,
}

impl RomeDatabase {
    /// The tables that are on their way to another placement; those that nobody moves any more, too.
    ///
    /// # Errors
    /// The store's own.
    pub async fn placement_moves(&self) -> Result<Vec<PlacementMove>> {
        let catalog = self.engine.refresh_catalog().await?;
        let passed = self.engine.moving.lock();
        let moves = catalog.tables().into_iter().filter_map(|table| {
            let shadow = table.shadow.as_ref()?;
            Some(PlacementMove {
                table: table.name.clone(),
                from: table.placement.text(table),
                to: shadow.placement.text(table),
                rows_passed: passed.get(&shadow.rows).copied(),
            })
        });
        Ok(moves.collect())
    }
}

/// Takes a move out of those that this client is at, however it ends.
struct AtWork<'e>(&'e Engine, u32);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.moving.lock().remove(&self.1);
    }
}

impl Engine {
    /// Copies the rows of a table that has a shadow, and makes the shadow the table. Where a row can't move the shadow is taken away; after other
    /// failures the move is left to be gone on with.
    pub(super) async fn move_rows(&self, pending: &PendingMove) -> Result<()> {
        let _at_work = AtWork(self, pending.rows);
        self.moving.lock().insert(pending.rows, 0);
        let error = match self.copy_all(pending).await {
            Ok(()) => match self.end_move(pending, true).await {
                Ok(()) => {
                    self.collect_garbage().await;
                    return Ok(());
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !is_of_rows(&error) {
            let hint = "The table is still on its way: the same statement goes on, one that names the present placement gives the move up.";
            return Err(error.with_hint(hint));
        }
        self.end_move(pending, false).await?;
        self.collect_garbage().await;
        Err(error)
    }

    async fn copy_all(&self, pending: &PendingMove) -> Result<()> {
        let Stage::Moving(table, target) = self.stage(pending).await? else { return Ok(()) };
        tracing::info!(table = table.name, to = target.placement.text(&target), "a table is moved");
        for home in table.homes.all() {
            self.copy_home(pending, &table, home).await?;
        }
        Ok(())
    }

    async fn copy_home(&self, pending: &PendingMove, table: &Table, home: HomeNo) -> Result<()> {
        let mut range = whole_space(table.row_space());
        // Rows that come after this moment bring their own copies.
        match self.last_key(home, &range).await? {
            Some(last) => range.to = successor(&last),
            None => return Ok(()),
        }
        let mut most = FIRST_PAGE;
        let mut attempts = self.retry.start();
        loop {
            match self.copy_page(pending, home, &range, most).await {
                Ok((rows, rest)) => {
                    self.passed(pending, table, rows);
                    match rest {
                        Some(next) => range.from = next,
                        None => return Ok(()),
                    }
                    most = (most * 2).min(MOVED_ROWS);
                    attempts = self.retry.start();
                }
                // A page of large rows.
                Err(error) if error.state() == SqlState::PROGRAM_LIMIT_EXCEEDED && most > 1 => most /= 2,
                Err(error) => {
                    self.again(repeatable(error), &mut attempts).await?;
                    most = (most / 2).clamp(1, FIRST_PAGE);
                }
            }
        }
    }

    /// Copies the next rows of a range, at most so many; tells how many there were and where to go on, which is nowhere once nothing is left.
    async fn copy_page(
        &self,
        pending: &PendingMove,
        home: HomeNo,
        range: &KeyRange,
        most: usize,
    ) -> Result<(usize, Option<Key>)> {
        let Stage::Moving(table, target) = self.stage(pending).await? else { return Ok((0, None)) };
        let limits = page_limits(&self.client, &target)?;
        let read = Read::Range { range: range.clone(), limit: Some(most.min(limits.entries)), reverse: false };
        // Only which keys there are; what is under them is read by the transaction.
        let page = self.client.read(home, vec![read], limits).await?.pop().unwrap_or_default();
        let keys: Vec<Key> = page.entries.into_iter().map(|entry| entry.key).collect();
        let rows = keys.len();
        let mut txn = self.client.begin(Mode::SingleStatement);
        match copy_rows(&mut txn, (home, &table, &target), keys).await {
            Ok(()) => txn.commit().await?,
            // What was read at several homes may never have been so.
            Err(error) => return Err(txn.explained(error).await),
        };
        Ok((rows, page.more.as_deref().map(successor)))
    }

    fn passed(&self, pending: &PendingMove, table: &Table, rows: usize) {
        let mut moving = self.moving.lock();
        if let Some(passed) = moving.get_mut(&pending.rows) {
            *passed += rows as u64;
            tracing::debug!(table = table.name, rows = *passed, "rows have been moved");
        }
    }

    /// Where a move is, by the catalog at hand, or a fresh one where that does not know.
    async fn stage(&self, pending: &PendingMove) -> Result<Stage> {
        let catalog = self.catalog();
        for catalog in [Some(catalog), None] {
            let catalog = match catalog {
                Some(known) => known,
                None => self.refresh_catalog().await?,
            };
            let Some(table) = catalog.table_by_id(pending.table) else { continue };
            match (&table.shadow, &table.target) {
                (Some(shadow), Some(target)) if shadow.rows == pending.rows => {
                    return Ok(Stage::Moving(Arc::clone(&table), Arc::clone(target)));
                }
                _ if table.row_space() == pending.rows => return Ok(Stage::Arrived),
                _ => {}
            }
        }
        let message = "the move of the table was given up, or the table dropped, by another session";
        Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message))
    }

    async fn end_move(&self, pending: &PendingMove, arrived: bool) -> Result<()> {
        let mut attempts = self.retry.start();
        loop {
            let mut catalog = self.catalog();
            let mut txn = self.client.begin(Mode::Interactive);
            let mut ddl = Ddl::new(self, &mut txn, &mut catalog, true);
            let done = match ddl.end_move(pending, arrived) {
                Ok(()) => txn.commit().await.map(|_| ()),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => {
                    self.refresh_catalog().await?;
                    if arrived {
                        self.stage(pending).await?;
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.again(repeatable(error), &mut attempts).await?;
                    self.refresh_catalog().await?;
                }
            }
        }
    }
}

/// What is done twice without harm may be tried again also where nobody knows whether it was done.
pub(super) fn repeatable(error: Error) -> Error {
    if error.is_undetermined() { Error::serialization_failure() } else { error }
}

/// Whether the table's own contents are in the way, so that trying again is of no use.
fn is_of_rows(error: &Error) -> bool {
    ["22", "23", "54"].contains(&error.state().code().get(..2).unwrap_or_default())
}
