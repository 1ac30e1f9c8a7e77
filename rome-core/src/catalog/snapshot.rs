//! The catalog as one client knows it: all tables, as of one read. Immutable; DDL works on a copy.

use super::keys::{CATALOG_SPACE, all_schema_versions, all_tables, format_key};
use super::{SchemaView, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::store::{Commit, Entry, Guard, HomeId, Read, ReadLimits, ReadOutcome, ReadRequest, Store, Write};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// The format of everything that this version of Rome writes.
pub const FORMAT: &str = "1";

/// Largest catalog that is read, in bytes.
const MAX_CATALOG_BYTES: usize = 256 << 20;

/// All tables by name and number.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    by_name: HashMap<String, Arc<Table>>,
    by_id: HashMap<TableId, Arc<Table>>,
}

impl Catalog {
    /// Reads the whole catalog in one round trip.
    ///
    /// # Errors
    /// XX001 where a description does not parse, 57P03 where another version of Rome wrote the store, and the store's own.
    pub async fn load(store: &dyn Store, home: &HomeId) -> Result<Self> {
        let all = |range| Read::Range { range, limit: None, reverse: false };
        let reads = vec![Read::Point(format_key()), all(all_tables()), all(all_schema_versions())];
        let limits = ReadLimits { entries: usize::MAX, bytes: MAX_CATALOG_BYTES };
        let request = ReadRequest { reads, limits, ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = store.read(home, request).await? else {
            return Err(Error::internal("a read without guards had a conflict"));
        };
        if answer.results.iter().any(|result| result.more.is_some()) {
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the catalog exceeds 256 MiB"));
        }
        let [format, tables, versions] = answer.results.as_slice() else {
            return Err(Error::internal("a store answered another number of reads than it was asked"));
        };
        check_format(format.entries.first())?;
        let versions: HashMap<&[u8], u64> =
            versions.entries.iter().map(|entry| (id_part(entry), entry.version)).collect();
        let mut catalog = Self::default();
        for entry in &tables.entries {
            let mut table: Table = serde_json::from_slice(&entry.value).map_err(|error| {
                Error::new(SqlState::DATA_CORRUPTED, "a table's description in the store is corrupt")
                    .with_detail(format!("key {:02x?}: {error}", &entry.key[..]))
            })?;
            table.version = versions.get(id_part(entry)).copied().ok_or_else(|| {
                Error::new(SqlState::DATA_CORRUPTED, format!("table \"{}\" has no schema version", table.name))
            })?;
            catalog.put(Arc::new(table));
        }
        Ok(catalog)
    }

    /// Marks a new store with the format, or checks that an old one has it.
    ///
    /// # Errors
    /// 57P03 where another version of Rome wrote the store.
    pub async fn prepare(store: &dyn Store, home: &HomeId) -> Result<()> {
        let request = ReadRequest { reads: vec![Read::Point(format_key())], ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = store.read(home, request).await? else {
            return Err(Error::internal("a read without guards had a conflict"));
        };
        let found = answer.results.first().and_then(|result| result.entries.first());
        if found.is_some() {
            return check_format(found);
        }
        // Whoever is first marks it; the others find the mark, which is the same.
        let commit = Commit {
            guards: vec![Guard::Absent(format_key())],
            writes: vec![Write::Put(format_key(), Bytes::from_static(FORMAT.as_bytes()))],
            ..Commit::default()
        };
        store.commit(home, commit).await?;
        Ok(())
    }

    /// Adds or replaces a table.
    pub fn put(&mut self, table: Arc<Table>) {
        self.remove(table.id);
        self.by_name.insert(table.name.clone(), Arc::clone(&table));
        self.by_id.insert(table.id, table);
    }

    /// Removes a table.
    pub fn remove(&mut self, id: TableId) {
        if let Some(old) = self.by_id.remove(&id) {
            self.by_name.remove(&old.name);
        }
    }

    /// All tables, by name.
    pub fn tables(&self) -> Vec<&Arc<Table>> {
        let mut tables: Vec<_> = self.by_name.values().collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }

    /// The table that has an index of this name.
    pub fn table_of_index(&self, index: &str) -> Option<Arc<Table>> {
        self.by_id.values().find(|table| table.index_named(index).is_some()).cloned()
    }
}

impl SchemaView for Catalog {
    fn table(&self, name: &str) -> Option<Arc<Table>> {
        self.by_name.get(name).cloned()
    }

    fn table_by_id(&self, id: TableId) -> Option<Arc<Table>> {
        self.by_id.get(&id).cloned()
    }
}

fn id_part(entry: &Entry) -> &[u8] {
    entry.key.get(CATALOG_SPACE.to_be_bytes().len() + 1..).unwrap_or_default()
}

fn check_format(entry: Option<&Entry>) -> Result<()> {
    match entry {
        Some(entry) if &entry.value[..] != FORMAT.as_bytes() => Err(Error::new(
            SqlState::CANNOT_CONNECT_NOW,
            format!("the store holds format {}, this version reads {FORMAT}", String::from_utf8_lossy(&entry.value)),
        )
        .with_hint("Use the version of Rome that wrote the store, or another namespace.")),
        _ => Ok(()),
    }
}
