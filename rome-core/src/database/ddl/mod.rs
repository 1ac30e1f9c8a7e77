//! DDL: changes of the schema, made in a transaction like any other change.
//!
//! Every change of a table's description raises its schema version in the same commit, and every commit of every session guards the versions
//! of the tables it uses. So whoever works with an old description loses its commit, reads the catalog again and retries; nobody ever writes rows
//! or index entries by a description that is no longer true.
//!
//! An index on a table that has rows is made online, in three commits and more: it enters as *write-only* (from then on every commit
//! maintains it), then the existing rows are added page by page, each page guarded against change, then it becomes *public*, and only
//! then queries use it. Inside an explicit transaction, or on an empty table, all of it is one commit.

mod alter;
mod columns;
mod constraints;
mod create;
mod drop;
mod expressions;
mod index;
mod moves;
mod placement;

pub(super) use index::{PAGE_ROWS, PendingIndex, fill_page};
pub(super) use moves::{MOVED_ROWS, PendingMove, copy_rows, page_limits};

use super::engine::Engine;
use crate::catalog::keys::{
    FIRST_SPACE, garbage_key, name_key, next_space_key, replicated_key, schema_version_key, table_key, topology_key,
};
use crate::catalog::{Catalog, Placement, SchemaChange, SchemaView, Table, TableId, stamp_of};
use crate::error::{Error, Result, SqlState};
use crate::store::{Guard, Key, Read, ReadLimits};
use crate::topology::{HomeNo, Topology};
use crate::txn::{HomeRead, Txn};
use crate::value::Value;
use bytes::Bytes;
use std::sync::Arc;

/// One DDL statement at work.
pub(super) struct Ddl<'a> {
    pub(super) engine: &'a Engine,
    pub(super) txn: &'a mut Txn,
    /// The catalog as this transaction sees it.
    pub(super) catalog: &'a mut Arc<Catalog>,
    /// The statement is its own transaction: indexes may be made online.
    pub(super) autocommit: bool,
    /// Indexes to fill after the commit.
    pub(super) pending: Vec<PendingIndex>,
    /// Tables to move after the commit.
    pub(super) moves: Vec<PendingMove>,
    /// Spaces to empty after the commit.
    pub(super) garbage: Vec<u32>,
}

impl<'a> Ddl<'a> {
    /// A statement that is about to run.
    pub(super) fn new(engine: &'a Engine, txn: &'a mut Txn, catalog: &'a mut Arc<Catalog>, autocommit: bool) -> Self {
        Self { engine, txn, catalog, autocommit, pending: vec![], moves: vec![], garbage: vec![] }
    }
}

impl Ddl<'_> {
    /// Runs the statement; returns its command tag.
    pub(super) async fn run(&mut self, change: SchemaChange) -> Result<&'static str> {
        self.rely_on_topology().await?;
        match change {
            SchemaChange::CreateTable { table, if_not_exists } => {
                self.create_table(table, if_not_exists).await?;
                Ok("CREATE TABLE")
            }
            SchemaChange::DropTable { names, if_exists, cascade } => {
                self.drop_tables(&names, if_exists, cascade).await?;
                Ok("DROP TABLE")
            }
            SchemaChange::Truncate { names, cascade, restart_identity } => {
                self.truncate(&names, cascade, restart_identity).await?;
                Ok("TRUNCATE TABLE")
            }
            SchemaChange::CreateIndex { table, index, if_not_exists } => {
                self.create_index(&table, index, if_not_exists).await?;
                Ok("CREATE INDEX")
            }
            SchemaChange::DropIndex { names, if_exists } => {
                self.drop_indexes(&names, if_exists)?;
                Ok("DROP INDEX")
            }
            SchemaChange::AlterTable { name, if_exists, actions } => {
                self.alter_table(&name, if_exists, actions).await?;
                Ok("ALTER TABLE")
            }
        }
    }

    /// The table of this name, its description guarded by the commit.
    fn table(&mut self, name: &str) -> Result<Arc<Table>> {
        let table = self.catalog.table(name).ok_or_else(|| undefined_table(name))?;
        self.txn.use_table(&table)?;
        Ok(table)
    }

    fn table_by_id(&mut self, id: TableId) -> Result<Arc<Table>> {
        let table =
            self.catalog.table_by_id(id).ok_or_else(|| Error::internal(format!("there is no table {}", id.0)))?;
        self.txn.use_table(&table)?;
        Ok(table)
    }

    /// Sees to it that the sites are still those to whose homes this transaction will write.
    async fn rely_on_topology(&mut self) -> Result<()> {
        let (home, known) = (self.here(), Arc::clone(self.catalog.topology()));
        if known.epoch == 0 {
            // What is made new relies on no description that the next format would have changed.
            self.txn.expect(home, self.catalog.format().fence(), Error::schema_changed())?;
            return self.txn.expect(home, Guard::Absent(topology_key()), Error::schema_changed());
        }
        let found = self.txn.read(vec![HomeRead::point(home, topology_key())], ReadLimits::default()).await?;
        let found = found.first().and_then(|result| result.entries.first());
        let same =
            found.and_then(|entry| serde_json::from_slice::<Topology>(&entry.value).ok()).as_ref() == Some(&*known);
        if same { Ok(()) } else { Err(Error::schema_changed()) }
    }

    /// The home whose catalog this transaction reads; all homes have the same one.
    fn here(&self) -> HomeNo {
        self.txn.client().local()
    }

    /// Writes a key of the catalog, at every home.
    fn put(&mut self, key: Key, value: Bytes) -> Result<()> {
        for home in self.catalog.topology().homes() {
            self.txn.put(home, key.clone(), value.clone())?;
        }
        Ok(())
    }

    /// Removes a key of the catalog, at every home.
    fn delete(&mut self, key: Key) -> Result<()> {
        for home in self.catalog.topology().homes() {
            self.txn.delete(home, key.clone())?;
        }
        Ok(())
    }

    /// Writes a description, new or changed.
    fn save(&mut self, table: Table) -> Result<Arc<Table>> {
        self.txn.use_table(&table)?;
        let description = self.catalog.format().describe(&table)?;
        let stamp = stamp_of(&description, self.catalog.topology().epoch);
        self.tell_watchers(&table)?;
        self.tell_replicas(&table)?;
        self.put(table_key(table.id), description)?;
        self.put(schema_version_key(table.id), Bytes::copy_from_slice(&stamp.to_be_bytes()))?;
        let mut table = table;
        table.find_homes(self.catalog.topology())?;
        let table = Arc::new(table);
        Arc::make_mut(self.catalog).put(Arc::clone(&table));
        Ok(table)
    }

    /// Lets a table tell of its changes, or not.
    pub(super) async fn set_changes(&mut self, id: TableId, on: bool) -> Result<()> {
        self.rely_on_topology().await?;
        let mut table = Table::clone(&*self.table_by_id(id)?);
        if table.changes != on {
            table.changes = on;
            self.save(table)?;
        }
        Ok(())
    }

    /// Whoever watches the table hears of the change of its description, too, also in the stream that it had before. To be said before that is
    /// written.
    fn tell_watchers(&mut self, table: &Table) -> Result<()> {
        let (before, now) = (self.catalog.table_by_id(table.id).and_then(|before| before.stream()), table.stream());
        if let Some(before) = before.filter(|before| Some(before) != now.as_ref()) {
            self.txn.tell_key(table_key(table.id), before);
        }
        let Some(stream) = now else { return Ok(()) };
        let key = schema_version_key(table.id);
        self.txn.tell_key(key.clone(), stream);
        if table.version.version > 0 {
            for home in self.catalog.topology().homes() {
                self.txn.replaces(home, &key, || Bytes::copy_from_slice(&table.stamp.to_be_bytes()))?;
            }
        }
        Ok(())
    }

    /// Whoever keeps copies of global tables looks at their descriptions again.
    fn tell_replicas(&mut self, table: &Table) -> Result<()> {
        let before = self.catalog.table_by_id(table.id);
        let is_global = |table: &Table| matches!(table.placement, Placement::Global { .. });
        if is_global(table) || before.is_some_and(|before| is_global(&before)) {
            let description = self.catalog.format().describe(table)?;
            let stamp = stamp_of(&description, self.catalog.topology().epoch);
            let value = [&table.id.0.to_be_bytes()[..], &stamp.to_be_bytes()].concat();
            self.put(replicated_key(), value.into())?;
        }
        Ok(())
    }

    /// Claims the names of relations. Returns one that is taken.
    async fn taken_name(&mut self, names: &[&str]) -> Result<Option<String>> {
        let here = self.here();
        let reads = names.iter().map(|name| HomeRead::point(here, name_key(name))).collect();
        let found = self.txn.read(reads, ReadLimits::default()).await?;
        let taken = names.iter().zip(found).find(|(_, result)| !result.entries.is_empty());
        Ok(taken.map(|(name, _)| (*name).to_owned()))
    }

    /// PostgreSQL's made-up name for a constraint or index, with a number where another relation has it.
    async fn free_name(&mut self, table: &str, columns: &[String], suffix: &str) -> Result<String> {
        let mut taken: Vec<String> = Vec::new();
        loop {
            let name = made_up_name(table, columns, suffix, |name| taken.iter().any(|other| other == name));
            match self.taken_name(&[&name]).await? {
                None => return Ok(name),
                Some(name) => taken.push(name),
            }
        }
    }

    fn claim_name(&mut self, name: &str, owner: TableId) -> Result<()> {
        self.put(name_key(name), Bytes::copy_from_slice(&owner.0.to_be_bytes()))
    }

    /// Takes numbers for tables and indexes.
    async fn new_spaces(&mut self, count: u32) -> Result<u32> {
        let found = self.txn.read(vec![HomeRead::point(self.here(), next_space_key())], ReadLimits::default()).await?;
        let first = match found.first().and_then(|result| result.entries.first()) {
            None => FIRST_SPACE,
            Some(entry) => {
                std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
                    Error::new(SqlState::DATA_CORRUPTED, "the catalog's number of the next space is corrupt")
                })?
            }
        };
        let next: u32 = first.checked_add(count).ok_or_else(|| {
            Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "all numbers for tables and indexes are used up")
        })?;
        self.put(next_space_key(), Bytes::from(next.to_string()))?;
        Ok(first)
    }

    /// Notes a space whose keys are to be removed once this is committed.
    fn discard_space(&mut self, space: u32) -> Result<()> {
        self.put(garbage_key(space), Bytes::new())?;
        self.garbage.push(space);
        Ok(())
    }

    /// Whether a table has no rows.
    async fn is_empty(&mut self, table: &Table) -> Result<bool> {
        let range = crate::catalog::keys::whole_space(table.row_space());
        let read = Read::Range { range, limit: Some(1), reverse: false };
        let reads = table.homes.all().into_iter().map(|home| HomeRead { home, read: read.clone() }).collect();
        let found = self.txn.read(reads, ReadLimits::default()).await?;
        Ok(found.iter().all(|result| result.entries.is_empty()))
    }

    /// Runs a query of the program's own in this transaction.
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Value>>> {
        self.engine.query_inside(self.txn, self.catalog, sql).await
    }
}

pub(super) fn undefined_table(name: &str) -> Error {
    Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")).with_table(name)
}

/// An identifier as SQL text.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// PostgreSQL's made-up names: `table_column_suffix`, cut to the longest allowed, with a number where it is taken.
fn made_up_name(table: &str, columns: &[String], suffix: &str, taken: impl Fn(&str) -> bool) -> String {
    const LONGEST: usize = 63;
    let columns = columns.join("_");
    let stem = if columns.is_empty() { table.to_owned() } else { format!("{table}_{columns}") };
    (0_u32..)
        .map(|number| {
            let tail = if number == 0 { format!("_{suffix}") } else { format!("_{suffix}{number}") };
            let mut head = stem.clone();
            while head.len() + tail.len() > LONGEST && head.pop().is_some() {}
            head + &tail
        })
        .find(|name| !taken(name))
        .unwrap_or_default()
}
