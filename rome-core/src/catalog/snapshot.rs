//! The catalog as one client knows it: all tables, as of one read. Immutable; DDL works on a copy.

use super::keys::{CATALOG_SPACE, all_schema_versions, all_tables, format_key, topology_key};
use super::{Format, SchemaVersion, SchemaView, Table, TableId};
use crate::error::{Error, Result, SqlState};
use crate::store::{Entry, Epoch, Read, ReadResult};
use crate::topology::Topology;
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::sync::Arc;

/// Largest catalog that is read, in bytes.
pub const MAX_CATALOG_BYTES: usize = 256 << 20;

/// All tables by name and number.
#[derive(Clone, Debug)]
pub struct Catalog {
    format: Format,
    topology: Arc<Topology>,
    by_name: HashMap<String, Arc<Table>>,
    by_id: HashMap<TableId, Arc<Table>>,
}

impl Catalog {
    /// The reads that [`Catalog::from_answers`] makes a catalog of.
    pub fn reads() -> Vec<Read> {
        let all = |range| Read::Range { range, limit: None, reverse: false };
        vec![Read::Point(format_key()), Read::Point(topology_key()), all(all_tables()), all(all_schema_versions())]
    }

    /// The catalog of a home, read in this epoch; `site` is the name of the only site where the home keeps no topology.
    ///
    /// # Errors
    /// XX001 where a description does not parse, 57P03 where this build does not speak the store's format.
    pub fn from_answers(answers: &[ReadResult], epoch: Epoch, site: &str) -> Result<Self> {
        if answers.iter().any(|result| result.more.is_some()) {
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the catalog exceeds 256 MiB"));
        }
        let [format, topology, tables, versions] = answers else {
            return Err(Error::internal("a store answered another number of reads than it was asked"));
        };
        let format = Format::held(format.entries.first().map(|entry| &entry.value[..]))?;
        let topology = match topology.entries.first() {
            Some(entry) => parse(entry)?,
            None => Topology::single(site),
        };
        let versions: HashMap<&[u8], &Entry> = versions.entries.iter().map(|entry| (id_part(entry), entry)).collect();
        let mut catalog = Self::empty(topology, format);
        for entry in &tables.entries {
            let mut table = format.described(&entry.key, &entry.value)?;
            let version = versions.get(id_part(entry)).map(|version| version.version).ok_or_else(|| {
                Error::new(SqlState::DATA_CORRUPTED, format!("table \"{}\" has no schema version", table.name))
            })?;
            table.version = SchemaVersion { epoch, version };
            table.stamp = stamp_of(&entry.value, catalog.topology.epoch);
            table.find_homes(&catalog.topology)?;
            catalog.put(Arc::new(table));
        }
        Ok(catalog)
    }

    /// A catalog without tables.
    pub fn empty(topology: Topology, format: Format) -> Self {
        Self { format, topology: Arc::new(topology), by_name: HashMap::new(), by_id: HashMap::new() }
    }

    /// The format of the store.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The sites.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Whether both were read from one state of a home.
    pub fn is_the_same(&self, other: &Self) -> bool {
        let described =
            |id: &TableId, table: &Arc<Table>| other.by_id.get(id).is_some_and(|other| other.version == table.version);
        self.format == other.format
            && self.topology == other.topology
            && self.by_id.len() == other.by_id.len()
            && self.by_id.iter().all(|(id, table)| described(id, table))
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

/// The hash of a description that tells whether two homes have the same one, and the same sites in mind.
pub fn stamp_of(description: &[u8], epoch: u64) -> u64 {
    let digest = Md5::new().chain_update(description).chain_update(epoch.to_be_bytes()).finalize();
    // Without the top bit: no value of Rome's begins as a write mark does.
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes) >> 1)
}

fn parse(entry: &Entry) -> Result<Topology> {
    serde_json::from_slice(&entry.value).map_err(|error| {
        Error::new(SqlState::DATA_CORRUPTED, "the topology in the store is corrupt")
            .with_detail(format!("key {:02x?}: {error}", &entry.key[..]))
    })
}

impl SchemaView for Catalog {
    fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology)
    }

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
