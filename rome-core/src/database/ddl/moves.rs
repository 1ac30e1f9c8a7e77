//! `ALTER TABLE ... SET (placement = ...)`: a table's rows move while everybody goes on working with them.
//!
//! 1. One commit gives the table a *shadow* ([`crate::catalog::Shadow`]): from then on every write of a row writes its copy, too.
//! 2. The existing rows are copied page by page (`engine/moves.rs`). Each page is a transaction that guards the rows as they were read and the
//!    absence of their copies; a row that has a copy already is passed over.
//! 3. One commit makes the shadow the table, and notes the old spaces as garbage.
//!
//! Each of these commits raises the table's schema version, so that whoever works by an older description loses and comes again. A table without
//! rows passes all three in one commit. Whoever dies in the middle leaves a table that is right and slower to write: the same statement goes on
//! with the move, and one that names the present placement gives it up.

use super::placement::{KeyColumns, said_twice, switch};
use super::{Ddl, undefined_table};
use crate::catalog::{IndexState, Placement, SchemaView, Shadow, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::exec::keys::{Located, decode_table_row};
use crate::exec::shadow::{copies_of_row, keys_of_row};
use crate::store::{Key, ReadLimits};
use crate::topology::HomeNo;
use crate::txn::{Client, HomeRead, Txn};

/// Rows that are copied in one transaction, at most: whoever changes one of them meanwhile waits for as long as the commit takes.
pub(in crate::database) const MOVED_ROWS: usize = 256;

/// How often the keys that a page writes fit what a store commits at once: over several homes each is accompanied by marks and guards.
const KEYS_FIT: usize = 4;

/// A table that is on its way, and the space by which this way is told from others.
#[derive(Clone, Debug)]
pub(in crate::database) struct PendingMove {
    pub(in crate::database) table: TableId,
    pub(in crate::database) rows: u32,
}

impl Ddl<'_> {
    /// SET (key = value, ...).
    pub(super) async fn set_options(&mut self, mut table: Table, options: &[(String, String)]) -> Result<()> {
        let mut placement = None;
        for (option, value) in options {
            let said = match option.as_str() {
                "placement" => self.placement(&table, value)?,
                "colocate_with" => self.beside(&table, value, |parent| Ok(foreign_key_to(&table, parent)))?,
                "changes" => {
                    self.set_changes(table.id, switch(option, value)?).await?;
                    table = Table::clone(&*self.table_by_id(table.id)?);
                    continue;
                }
                _ => {
                    let message = format!("unrecognized parameter \"{option}\"");
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                        .with_table(&table.name)
                        .with_hint("What can be set are placement, colocate_with and changes."));
                }
            };
            if placement.replace(said).is_some() {
                return Err(said_twice());
            }
        }
        match placement {
            Some(placement) => self.move_to(table, placement).await,
            None => Ok(()),
        }
    }

    async fn move_to(&mut self, table: Table, placement: Placement) -> Result<()> {
        let present = self.is_present(&table, &placement);
        match &table.shadow {
            Some(_) if present => self.give_up_move(table),
            Some(shadow) if is_same_way(&shadow.placement, &placement) => {
                let pending = PendingMove { table: table.id, rows: shadow.rows };
                self.move_afterwards(&table, pending)
            }
            Some(_) if is_same_way(&table.placement, &placement) => self.give_up_move(table),
            Some(shadow) => {
                let (from, to) = (table.placement.text(&table), shadow.placement.text(&table));
                Err(in_use(&table, &format!("it is moving from {from} to {to}")))
            }
            None if present => Ok(()),
            None => self.begin_move(table, placement).await,
        }
    }

    /// Whether this is the placement that the table has. Tables of a database that began with one store are at its first home, which by now may be
    /// called by its site.
    fn is_present(&self, table: &Table, placement: &Placement) -> bool {
        let first = || match placement {
            Placement::At { site } => {
                self.catalog.topology().home_of_site(site).is_ok_and(|home| home == HomeNo::FIRST)
            }
            _ => false,
        };
        *placement == table.placement || table.placement == Placement::First && first()
    }

    async fn begin_move(&mut self, mut table: Table, placement: Placement) -> Result<()> {
        if let Some(index) = table.indexes.iter().find(|index| index.state != IndexState::Public) {
            let message =
                format!("table \"{}\" can't be moved before its index {} is complete", table.name, index.name);
            return Err(Error::new(SqlState::OBJECT_IN_USE, message)
                .with_table(&table.name)
                .with_hint("Wait until the index has been built; drop it where nobody builds it any more."));
        }
        let shadow = self.shadow_at(&table, placement).await?;
        if self.is_empty(&table).await? {
            return self.switch(&table, &shadow);
        }
        let pending = PendingMove { table: table.id, rows: shadow.rows };
        self.move_afterwards(&table, pending)?;
        table.shadow = Some(shadow);
        self.save(table)?;
        Ok(())
    }

    /// Spaces of its own for everything that the table will have there.
    async fn shadow_at(&mut self, table: &Table, placement: Placement) -> Result<Shadow> {
        let mut target = table.clone();
        target.placement = placement;
        target.find_homes(self.catalog.topology())?;
        let spaces = u32::try_from(table.indexes.len()).unwrap_or(u32::MAX).saturating_add(1);
        let rows = self.new_spaces(spaces).await?;
        (target.rows, target.claims) = (Some(rows), None);
        for (index, space) in target.indexes.iter_mut().zip(rows + 1..) {
            (index.space, index.claims) = (space, None);
        }
        self.claim_keys(&mut target).await?;
        Shadow::between(table, &target)
    }

    fn move_afterwards(&mut self, table: &Table, pending: PendingMove) -> Result<()> {
        if !self.autocommit {
            let message = "ALTER TABLE SET (placement) of a table with rows cannot run inside a transaction block";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message)
                .with_table(&table.name)
                .with_hint("Run it as a statement of its own: its rows are moved in many small transactions."));
        }
        self.moves.push(pending);
        Ok(())
    }

    /// Makes the shadow the table.
    fn switch(&mut self, table: &Table, shadow: &Shadow) -> Result<()> {
        let moved = shadow.applied(table)?;
        for space in table.spaces() {
            self.discard_space(space)?;
        }
        self.save(moved)?;
        Ok(())
    }

    fn give_up_move(&mut self, mut table: Table) -> Result<()> {
        let target = table.target.take();
        for space in target.iter().flat_map(|target| target.spaces()) {
            self.discard_space(space)?;
        }
        table.shadow = None;
        self.save(table)?;
        Ok(())
    }

    /// Ends a move, in the new place or in the old one; nothing where it has ended already.
    pub(in crate::database) fn end_move(&mut self, pending: &PendingMove, arrived: bool) -> Result<()> {
        let table = self.catalog.table_by_id(pending.table).ok_or_else(|| undefined_table("?"))?;
        match &table.shadow {
            Some(shadow) if shadow.rows == pending.rows && arrived => self.switch(&table, shadow),
            Some(shadow) if shadow.rows == pending.rows => self.give_up_move(Table::clone(&table)),
            _ => Ok(()),
        }
    }
}

/// Refuses what a table on its way can't have done to it.
pub(super) fn check_settled(table: &Table) -> Result<()> {
    match &table.shadow {
        None => Ok(()),
        Some(shadow) => Err(in_use(table, &format!("it is moving to {}", shadow.placement.text(table)))),
    }
}

/// SQLSTATE 55006.
fn in_use(table: &Table, why: &str) -> Error {
    let message = format!("table \"{}\" can't be changed like this now: {why}", table.name);
    Error::new(SqlState::OBJECT_IN_USE, message).with_table(&table.name).with_hint(
        "Wait for the move, go on with it by ALTER TABLE ... SET (placement = ...) as it was said, or give it up by naming the present placement.",
    )
}

/// Whether two placements say the same, wherever they are said: which site shards are at was decided by who began.
fn is_same_way(begun: &Placement, said: &Placement) -> bool {
    match (begun, said) {
        (Placement::Sharded { columns: begun, .. }, Placement::Sharded { columns: said, .. }) => begun == said,
        (begun, said) => begun == said,
    }
}

/// The foreign key of a table that refers to this one.
fn foreign_key_to(table: &Table, parent: &Table) -> Option<KeyColumns> {
    let key = table.foreign_keys.iter().find(|key| key.parent == parent.id)?;
    Some((key.columns.clone(), key.parent_columns.clone()))
}

/// Copies those rows of a home that have these keys and no copies yet.
///
/// Rows are read by their keys and not as a range: a range that is held over several homes would keep everybody from writing near it.
///
/// # Errors
/// 22023 where a row does not say where it is to live, 40001 where one of them changed meanwhile.
pub(in crate::database) async fn copy_rows(
    txn: &mut Txn,
    (home, table, target): (HomeNo, &Table, &Table),
    keys: Vec<Key>,
) -> Result<()> {
    txn.use_table(table)?;
    let reads = keys.into_iter().map(|key| HomeRead::point(home, key)).collect();
    let found = txn.read(reads, ReadLimits::default()).await?;
    let mut copies = vec![];
    for entry in found.iter().flat_map(|result| &result.entries) {
        copies.push(copies_of_row(target, &decode_table_row(table, &entry.value)?)?);
    }
    // The row itself comes first.
    let rows = copies.iter().filter_map(|copies| copies.first());
    let reads = rows.map(|(Located { home, key }, _)| HomeRead::point(*home, key.clone())).collect();
    let there = txn.read(reads, ReadLimits::default()).await?;
    for (copies, _) in copies.into_iter().zip(there).filter(|(_, found)| found.entries.is_empty()) {
        for (Located { home, key }, value) in copies {
            txn.put(home, key, value)?;
        }
    }
    Ok(())
}

/// How many rows, and how many bytes of them, every store that is concerned takes at once, with all that a commit over several homes adds.
pub(in crate::database) fn page_limits(client: &Client, target: &Table) -> Result<ReadLimits> {
    let mut limits = ReadLimits { entries: MOVED_ROWS, ..ReadLimits::default() };
    for home in target.homes.all() {
        let capabilities = client.capabilities(home)?;
        let keys = capabilities.max_writes.min(capabilities.max_guards) / KEYS_FIT;
        limits.entries = limits.entries.min(keys / keys_of_row(target)).max(1);
        limits.bytes = limits.bytes.min(capabilities.max_commit_bytes / KEYS_FIT).max(1);
    }
    Ok(limits)
}
