//! The format of a database: raising it while everything runs, and stores whose format is not that of the others.
//!
//! One transaction over all homes writes the new format, every table's description as that has it, and the next epoch of the topology, which raises the version
//! of every description. It is done or it is not: where a site can't be reached, or somebody else's transaction is in the way, nothing has
//! changed anywhere, and whoever dies in the middle leaves marks that anybody ends. Clients that run hear of it as of any change of a table: they lose, read the catalog again, and go
//! on in the new format if they speak it. Those that don't are refused; what they write without relying on a table is kept out by the fence
//! (`catalog/format.rs`).
//!
//! So no two sites of a database have different formats. Where they do, a store was restored from a backup or comes from elsewhere. Whichever
//! is behind is not worked with: a client at that site is refused, and to clients at others it is a site that can't be reached.

use super::moves::repeatable;
use super::sites::Belonging;
use super::{Engine, RomeDatabase};
use crate::catalog::keys::{all_tables, format_key, schema_version_key, table_key, topology_key};
use crate::catalog::{Format, MAX_CATALOG_BYTES, format_number, stamp_of};
use crate::error::{Error, Result, SqlState};
use crate::store::{Entry, Read, ReadLimits, ReadResult};
use crate::topology::Topology;
use crate::txn::{HomeRead, Mode, Place, Txn};
use bytes::Bytes;
use std::sync::Arc;

/// How often two stores' formats are compared before a change of them is taken to go on for ever.
const COMPARED: usize = 10;

/// What became of raising a database's format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgraded {
    /// The format that it had.
    pub from: Format,
    /// The format that it has: [`Format::NEWEST`].
    pub to: Format,
}

impl RomeDatabase {
    /// The format of the database, as this client knows it.
    pub fn format(&self) -> Format {
        self.engine.catalog().format()
    }

    /// Raises the database to the newest format that this build speaks, at all sites at once, while everything runs. From then on builds that do not speak
    /// it are refused, those that run already by their next statement; it can't be lowered again. Where the database has that format already,
    /// nothing is done.
    ///
    /// # Errors
    /// 08006 with the site's name where a site can't be reached, 55000 where a store's format is not that of the others, 54000 where
    /// there are more tables than a store commits at once. Nothing is changed then. 08007 where a site was lost in the middle: whether it was
    /// done, `rome topology status` tells.
    pub async fn upgrade(&self) -> Result<Upgraded> {
        let engine = &self.engine;
        let from = engine.refresh_catalog().await?.format();
        let mut attempts = engine.retry.start();
        loop {
            let to = self.format();
            if to == Format::NEWEST {
                return Ok(Upgraded { from, to });
            }
            match engine.raise(to).await {
                Ok(()) => {
                    tracing::info!(%from, to = %Format::NEWEST, "the database's format was raised");
                }
                Err(error) => engine.again(repeatable(error), &mut attempts).await?,
            }
            engine.refresh_catalog().await?;
        }
    }
}

impl Engine {
    async fn raise(&self, from: Format) -> Result<()> {
        let catalog = self.catalog();
        let topology = catalog.topology();
        let mut txn = self.client.begin(Mode::Interactive);
        all_agree(&mut txn, from, topology).await?;
        let here = self.client.local();
        let read = Read::Range { range: all_tables(), limit: None, reverse: false };
        let limits = ReadLimits { entries: usize::MAX, bytes: MAX_CATALOG_BYTES };
        let tables = txn.read(vec![HomeRead { home: here, read }], limits).await?;
        let mut raised = Topology::clone(topology);
        // A database that was opened on one store has no topology in it.
        let mut entries: Vec<(_, Bytes)> = Format::NEWEST.raise_from(from).collect();
        if topology.epoch > 0 {
            raised.epoch += 1;
            entries.push((topology_key(), serde_json::to_vec(&raised).map_err(Error::internal)?.into()));
        }
        for Entry { key, value, .. } in tables.into_iter().flat_map(|result| result.entries) {
            let table = from.described(&key, &value)?;
            let description = Format::NEWEST.describe(&table)?;
            let stamp = stamp_of(&description, raised.epoch);
            if let Some(stream) = table.stream() {
                txn.tell_key(schema_version_key(table.id), stream);
            }
            entries.push((table_key(table.id), description));
            entries.push((schema_version_key(table.id), Bytes::copy_from_slice(&stamp.to_be_bytes())));
        }
        for home in topology.homes() {
            for (key, value) in &entries {
                txn.put(home, key.clone(), value.clone())?;
            }
        }
        txn.commit().await.map(|_| ())
    }

    /// How the format of another site's store, which was found to hold this, compares with that of the local one.
    pub(super) async fn formats(&self, place: &Place, held: &Belonging) -> Result<Formats> {
        if held.format.as_ref().is_none_or(|format| *format == self.catalog().format().mark()) {
            return Ok(Formats::Same);
        }
        // Perhaps it is raised just now: only what is decided counts, and only if it was so at one moment.
        let mut here = self.format_here().await?;
        for _ in 0..COMPARED {
            let read = vec![Read::Point(format_key())];
            let there = first_value(&self.client.read_place(place.clone(), read).await?);
            let before = std::mem::replace(&mut here, self.format_here().await?);
            if before != here {
                continue;
            }
            return Ok(match there {
                None => Formats::Same,
                Some(there) if there == here => Formats::Same,
                Some(there) => self.compared(place, &here, &there),
            });
        }
        Err(Error::serialization_failure())
    }

    async fn format_here(&self) -> Result<Bytes> {
        let read = vec![Read::Point(format_key())];
        let found = self.client.read(self.client.local(), read, ReadLimits::default()).await?;
        Ok(first_value(&found).unwrap_or_default())
    }

    fn compared(&self, place: &Place, here: &Bytes, there: &Bytes) -> Formats {
        let (local, site) = (self.client.local_site(), &*place.site);
        match format_number(there) > format_number(here) {
            true => {
                Formats::HereBehind(left_behind(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, local, here, site, there))
            }
            false => Formats::ThereBehind(left_behind(SqlState::CONNECTION_FAILURE, site, there, local, here)),
        }
    }
}

/// How a site's format compares with the local one.
pub(super) enum Formats {
    /// They have the same.
    Same,
    /// The local store was left behind.
    HereBehind(Error),
    /// The other one was.
    ThereBehind(Error),
}

/// Sees to it that all homes have one format and one topology.
async fn all_agree(txn: &mut Txn, format: Format, topology: &Arc<Topology>) -> Result<()> {
    let homes = topology.homes();
    let reads = |key: fn() -> _| homes.iter().map(move |home| HomeRead::point(*home, key()));
    let found = txn.read(reads(format_key).chain(reads(topology_key)).collect(), ReadLimits::default()).await?;
    let (formats, topologies) = found.split_at(homes.len().min(found.len()));
    for (home, found) in homes.iter().zip(formats) {
        let found = first_value(std::slice::from_ref(found)).unwrap_or_default();
        if found != format.mark() {
            let (site, local) = (topology.site_of(*home).unwrap_or("?"), txn.client().local_site());
            let state = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
            return Err(match format_number(&found) > format_number(&format.mark()) {
                true => left_behind(state, local, &format.mark(), site, &found),
                false => left_behind(state, site, &found, local, &format.mark()),
            });
        }
    }
    let same = |found: &ReadResult| match first_value(std::slice::from_ref(found)) {
        Some(value) => serde_json::from_slice::<Topology>(&value).is_ok_and(|found| found == **topology),
        None => topology.epoch == 0,
    };
    if topologies.iter().all(same) { Ok(()) } else { Err(Error::schema_changed()) }
}

/// The error where the local store has an older format than it had.
pub(super) fn fell_behind(site: &str, its: Format, before: Format) -> Error {
    let store = if site.is_empty() { "the store".to_owned() } else { format!("the store of site \"{site}\"") };
    let message = format!("{store} holds format {its}, and held format {before} before");
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .with_hint("It was restored from a backup made before the database was raised: bring back its newest state.")
}

/// The error where the store of one site has an older format than that of another.
fn left_behind(state: SqlState, behind: &str, its: &[u8], ahead: &str, theirs: &[u8]) -> Error {
    let (its, theirs) = (String::from_utf8_lossy(its), String::from_utf8_lossy(theirs));
    let message =
        format!("the store of site \"{behind}\" holds format {its}, that of site \"{ahead}\" format {theirs}");
    Error::new(state, message)
        .with_detail("All sites of a database are raised to a format together.")
        .with_hint(format!(
            "The store of site \"{behind}\" was restored from a backup made before that, or is another one: bring back its newest \
             state, or forget the site and let it join with an empty store."
        ))
}

fn first_value(results: &[ReadResult]) -> Option<Bytes> {
    results.first().and_then(|result| result.entries.first()).map(|entry| entry.value.clone())
}
