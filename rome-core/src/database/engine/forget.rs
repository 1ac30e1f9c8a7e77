//! A site that is gone for good: taken out of the database without asking it.
//!
//! 1. Everything that can refuse does so now.
//! 2. The homes that remain *fence* it ([`Client::fence`]). From now on there is no way back: who repeats the command, at whatever
//!    moment an earlier one has died, goes on from here, and clients of the site are refused, should it come back.
//! 3. What transactions were in doubt with it is decided by the homes that remain ([`Client::decide_without`]), and listed.
//! 4. One transaction over the homes that remain writes the new topology and raises the version of every table, so that nobody goes on who knows
//!    the site; global tables that were written there are written at another site from now on, if one has a whole copy ([`super::heirs`]); other tables
//!    that were placed there go, if the caller accepts that; and tables get new spaces for the claims on their keys, without those that the lost site
//!    kept and those on rows that it had.
//! 5. What had prepared with the site in the meantime is decided, too; after the fourth step nothing can any more.
//! 6. The keys of the rows that remain are claimed anew, page by page ([`super::reclaim`]); their tables can't be used before that is done.
//! 7. The ledgers of escrowed counters are closed with it, so that a new site of its name begins with nothing.
//!
//! What is in doubt stands in the way of the new topology, by its marks; therefore it is decided before. Decided without the fence it could be
//! decided otherwise by a site that comes back. A store that answers as a site of the database is not gone: such a site is removed, not forgotten. One
//! that only seemed to be gone goes on for clients that know nothing else; whoever opens the database there and reaches another site is refused
//! ([`super::sites::was_removed`]).

use super::heirs::Heirs;
use super::sites::{catalog_of, client_of, format_in, nothing_at, places, tables_in, topology_at};
use super::{Options, RomeDatabase};
use crate::catalog::keys::{
    CATALOG_SPACE, garbage_key, name_key, next_space_key, schema_version_key, sequence_key, table_key, topology_key,
    whole_space,
};
use crate::catalog::{Homes, Placement, Table, TableId, stamp_of};
use crate::database::escrow::close_ledgers;
use crate::error::{Error, Result, SqlState};
use crate::store::{Entry, HomeId, Key, Read, ReadLimits, ReadOutcome, ReadRequest, SPACE_LEN, Store};
use crate::topology::{HomeNo, Sites, Topology};
use crate::txn::{Client, DecidedTxn, Mode, Txn, fenced_at, value_or_intent};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a site may take to show that it is not gone.
const LAST_CALL: Duration = Duration::from_secs(5);
/// How often the change is tried again where it lost, or where the site was met in doubt once more.
const ATTEMPTS: usize = 20;

/// What to accept when a site is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ForgetOptions {
    /// Drop the tables that are placed at the site, and the foreign keys of other tables that refer to them.
    pub drop_tables: bool,
}

/// What became of a database when a site was forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Forgotten {
    /// Transactions that were in doubt with the site.
    pub decided: Vec<DecidedTxn>,
    /// Global tables that were written there, each with another site: they are what the copy at that one is, and are written there from now on. Changes
    /// that had not arrived are gone, also acknowledged ones.
    pub taken_over: Vec<(String, String)>,
    /// Tables that were placed there: gone.
    pub dropped: Vec<String>,
    /// Foreign keys that referred to these, as table and constraint: gone.
    pub dropped_keys: Vec<(String, String)>,
    /// Tables whose rows at the site are gone; nobody knows how many there were.
    pub lost_rows: Vec<String>,
    /// Foreign keys, as table and constraint, by which rows that remain may refer to rows that are gone.
    pub dangling: Vec<(String, String)>,
    /// Tables whose unique keys were claimed anew, with the number of claims.
    pub claimed: Vec<(String, usize)>,
}

impl RomeDatabase {
    /// Takes a site that is gone for good out of the database, as a client at another site. All others must be there. What was at the site
    /// is lost. Where it fails half-way, or dies, it is to be repeated.
    ///
    /// # Errors
    /// 22023 where there is no such site; 55000 where its store still answers, where it is the local one, and where tables are placed there that
    /// the caller does not accept to lose; 0A000 for the site that hands out the numbers of identity columns; 08006 where another site can't be
    /// reached. Nothing is changed then, unless 08006 comes later. 23505 where rows that remain agree on a unique key.
    pub async fn forget_site(
        local: &str,
        sites: Arc<dyn Sites>,
        name: &str,
        accepted: ForgetOptions,
        options: Options,
    ) -> Result<(Self, Forgotten)> {
        let store = sites.store(local).await?;
        let topology = topology_at(&store, &HomeId::new(&options.home)).await?.ok_or_else(|| nothing_at(local))?;
        let leaving = leaving(&topology, &store, name, &options).await?;
        let Leaving { shrunk, lost } = &leaving;
        if local == name {
            return Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("\"{name}\" is the site that this client is at"),
            )
            .with_hint("Forget it as a client of another site."));
        }
        if lost.contains(&HomeNo::FIRST) {
            return Err(Error::unsupported(format!(
                "forgetting \"{name}\", whose home hands out the numbers of identity columns,"
            )));
        }
        let mut all = places(shrunk, local, &store, &options.home)?;
        let mut fenced = fenced_at(store.as_ref(), &HomeId::new(&options.home)).await?;
        for site in shrunk.sites.iter().filter(|site| site.name != local) {
            let store = sites.store(&site.name).await?;
            fenced.extend(fenced_at(store.as_ref(), &HomeId::new(&options.home)).await?);
            all.extend(places(shrunk, &site.name, &store, &options.home)?);
        }
        let client = client_of(all, &sites, 6, &options)?;
        if topology.site(name).is_ok() {
            // Whoever was here before has found it gone.
            if !lost.iter().any(|home| fenced.contains_key(home)) {
                refuse_alive(&sites, &topology, name, &options).await?;
            }
            let catalog = looked_at(&store, &options.home).await?;
            let heirs = Heirs::look(&client, shrunk, lost).await?;
            Remains::of(catalog, (&topology, shrunk), lost, name, heirs, accepted)?;
            client.fence(lost, name, &shrunk.homes()).await?;
        }
        Self::go_on_without(&client, (local, &sites), (name, &leaving), accepted, &options).await
    }

    /// What follows when there is no way back.
    async fn go_on_without(
        client: &Arc<Client>,
        (local, sites): (&str, &Arc<dyn Sites>),
        (name, Leaving { shrunk, lost }): (&str, &Leaving),
        accepted: ForgetOptions,
        options: &Options,
    ) -> Result<(Self, Forgotten)> {
        let mut forgotten = Forgotten::default();
        let mut decided = vec![];
        let mut attempt = 0;
        let db = loop {
            decided.extend(client.decide_without(lost, &shrunk.homes()).await?);
            let done = async {
                let db = Self::open_existing_sites(local, Arc::clone(sites), options.clone()).await?;
                if let Some(done) = db.without_site(name, lost, accepted).await? {
                    forgotten = done;
                }
                Ok::<_, Error>(db)
            };
            attempt += 1;
            match done.await {
                Ok(done) => break done,
                // Another transaction was left in doubt with the site meanwhile, or something else has changed.
                Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                    tokio::time::sleep(options.patience.recovery_after / 4).await;
                }
                Err(error) => return Err(error),
            }
        };
        decided.extend(client.decide_without(lost, &shrunk.homes()).await?);
        client.forget_records_with(lost, &shrunk.homes()).await?;
        forgotten.claimed = db.engine.reclaim().await?;
        close_ledgers(&db, name).await?;
        db.engine.collect_garbage().await;
        forgotten.decided = decided;
        Ok((db, forgotten))
    }

    /// The change of the topology, in one transaction over the homes that remain; `None` where somebody has made it already.
    async fn without_site(
        &self,
        name: &str,
        lost: &BTreeSet<HomeNo>,
        accepted: ForgetOptions,
    ) -> Result<Option<Forgotten>> {
        let engine = &self.engine;
        let topology = Arc::clone(engine.catalog().topology());
        if !topology.site(name).is_ok_and(|site| site.homes.iter().any(|home| lost.contains(home))) {
            return Ok(None);
        }
        let shrunk = topology.without(name)?;
        let mut txn = engine.client.begin(Mode::Interactive);
        let catalog = catalog_of(&mut txn, engine.client.local()).await?;
        let heirs = Heirs::read(&mut txn, &shrunk, lost).await?;
        let mut remains = Remains::of(catalog, (&topology, &shrunk), lost, name, heirs, accepted)?;
        remains.write(&mut txn)?;
        txn.commit().await?;
        engine.refresh_catalog().await?;
        Ok(Some(remains.forgotten))
    }
}

/// What a site leaves behind.
struct Leaving {
    /// The sites without it.
    shrunk: Topology,
    /// Its homes.
    lost: BTreeSet<HomeNo>,
}

/// What a site leaves behind that is to be forgotten, or was forgotten, perhaps not to the end.
async fn leaving(topology: &Topology, store: &Arc<dyn Store>, name: &str, options: &Options) -> Result<Leaving> {
    match topology.site(name) {
        Ok(site) => Ok(Leaving { shrunk: topology.without(name)?, lost: site.homes.iter().copied().collect() }),
        Err(unknown) => {
            let fenced = fenced_at(store.as_ref(), &HomeId::new(&options.home)).await?;
            let lost: BTreeSet<HomeNo> =
                fenced.into_iter().filter(|(_, site)| site == name).map(|(home, _)| home).collect();
            match lost.is_empty() {
                true => Err(unknown),
                false => Ok(Leaving { shrunk: topology.clone(), lost }),
            }
        }
    }
}

fn is_passing(error: &Error) -> bool {
    error.is_retryable() || error.state() == SqlState::CONNECTION_FAILURE
}

/// Refuses to forget a site whose store answers as one of the database.
async fn refuse_alive(sites: &Arc<dyn Sites>, topology: &Topology, name: &str, options: &Options) -> Result<()> {
    if !sites.names().iter().any(|known| known == name) {
        return Err(Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("nothing says where the store of site \"{name}\" is, so nobody can see that it is gone"),
        )
        .with_hint("Name the site with its store among the sites that this client knows."));
    }
    let home = HomeId::new(&options.home);
    let asked = async { topology_at(&sites.store(name).await?, &home).await };
    match timeout(LAST_CALL, asked).await {
        Ok(Ok(Some(theirs))) if theirs.cluster == topology.cluster => Err(Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("site \"{name}\" is not gone: its store answers, and is one of the database"),
        )
        .with_hint("Move or delete its rows, then remove the site.")),
        _ => Ok(()),
    }
}

/// The catalog of a site, marks resolved as they are meant.
async fn looked_at(store: &Arc<dyn Store>, home: &str) -> Result<BTreeMap<Key, Bytes>> {
    let reads = vec![Read::Range { range: whole_space(CATALOG_SPACE), limit: None, reverse: false }];
    let limits = ReadLimits { entries: usize::MAX, bytes: crate::catalog::MAX_CATALOG_BYTES };
    let request = ReadRequest { reads, limits, ..ReadRequest::default() };
    let ReadOutcome::Answer(answer) = store.read(&HomeId::new(home), request).await? else {
        return Err(Error::internal("a read without guards had a conflict"));
    };
    let mut found = BTreeMap::new();
    for Entry { key, value, .. } in answer.results.into_iter().flat_map(|result| result.entries) {
        if let Some(value) = value_or_intent(&value)? {
            found.insert(key, value);
        }
    }
    Ok(found)
}

/// The catalog as it is to be without the site.
pub(super) struct Remains {
    here: Arc<Topology>,
    catalog: BTreeMap<Key, Bytes>,
    removed: BTreeSet<Key>,
    tables: Vec<Table>,
    /// Spaces that are to be emptied.
    garbage: Vec<u32>,
    forgotten: Forgotten,
}

impl Remains {
    /// What remains of a catalog.
    ///
    /// # Errors
    /// Those of [`RomeDatabase::forget_site`]; 40001 where the catalog is not that of the old topology.
    fn of(
        catalog: BTreeMap<Key, Bytes>,
        (topology, shrunk): (&Topology, &Topology),
        lost: &BTreeSet<HomeNo>,
        name: &str,
        mut heirs: Heirs,
        accepted: ForgetOptions,
    ) -> Result<Self> {
        let found: Option<Topology> = catalog.get(&topology_key()).and_then(|value| serde_json::from_slice(value).ok());
        if found.as_ref() != Some(topology) {
            return Err(Error::schema_changed());
        }
        let before = Arc::new(topology.clone());
        let mut tables = tables_in(&catalog)?;
        let (mut taken_over, mut garbage) = (vec![], vec![]);
        for table in &mut tables {
            // Where it was moving may be gone: it stays, and may be moved again.
            if let Some(shadow) = table.shadow.take() {
                garbage.extend(shadow.applied(table)?.spaces());
            }
            table.homes = Homes::of(table, &before)?;
        }
        let is_there = |table: &Table| matches!(&table.placement, Placement::Global { site } if site == name);
        heirs.rank(tables.iter().filter(|table| is_there(table)));
        for table in &mut tables {
            if is_there(table)
                && let Some(heir) = table.homes.only().and_then(|home| heirs.of(home, table))
            {
                table.placement = Placement::Global { site: heir.to_owned() };
                table.homes = Homes::of(table, &before)?;
                taken_over.push((table.name.clone(), heir.to_owned()));
            }
        }
        let (gone, tables): (Vec<Table>, Vec<Table>) =
            tables.into_iter().partition(|table| table.homes.all().iter().all(|home| lost.contains(home)));
        if !gone.is_empty() && !accepted.drop_tables {
            return Err(placed_there(&gone, name));
        }
        let mut remains = Self {
            here: Arc::new(shrunk.clone()),
            catalog,
            removed: BTreeSet::new(),
            tables,
            garbage,
            forgotten: Forgotten { taken_over, ..Forgotten::default() },
        };
        remains.note_losses(&gone, lost);
        remains.drop_tables(&gone);
        remains.give_new_claims()?;
        Ok(remains)
    }

    /// The whole catalog, of which nothing is lost, with claims that are to be made anew.
    ///
    /// # Errors
    /// As [`Remains::of`].
    pub(super) fn anew(catalog: BTreeMap<Key, Bytes>, topology: &Topology, raised: &Topology) -> Result<Self> {
        Self::of(catalog, (topology, raised), &BTreeSet::new(), "", Heirs::default(), ForgetOptions::default())
    }

    /// Removes those of some keys that the catalog does not have.
    pub(super) fn remove_others(&mut self, keys: BTreeSet<Key>) {
        self.removed.extend(keys.into_iter().filter(|key| !self.catalog.contains_key(key)));
    }

    /// Notes where rows are gone, and what may refer to them.
    fn note_losses(&mut self, gone: &[Table], lost: &BTreeSet<HomeNo>) {
        let loses = |table: &Table| table.homes.all().iter().any(|home| lost.contains(home));
        for child in &self.tables {
            if loses(child) {
                self.forgotten.lost_rows.push(child.name.clone());
            }
            for key in &child.foreign_keys {
                let named = (child.name.clone(), key.name.clone());
                if gone.iter().any(|table| table.id == key.parent) {
                    self.forgotten.dropped_keys.push(named);
                    continue;
                }
                let parent = self.tables.iter().find(|table| table.id == key.parent);
                let pairs: Vec<_> = key.columns.iter().zip(&key.parent_columns).collect();
                let together = |parent: &Table| match (&child.placement, &parent.placement) {
                    (Placement::BySite { column }, Placement::BySite { column: other }) => {
                        pairs.contains(&(column, other))
                    }
                    _ => false,
                };
                if parent.is_some_and(|parent| loses(parent) && !together(parent)) {
                    self.forgotten.dangling.push(named);
                }
            }
        }
    }

    fn drop_tables(&mut self, gone: &[Table]) {
        let dropped: BTreeSet<TableId> = gone.iter().map(|table| table.id).collect();
        for table in gone {
            let names = table.indexes.iter().map(|index| &index.name).chain(&table.primary_key_name);
            self.removed.extend(names.chain([&table.name]).map(|name| name_key(name)));
            self.removed.extend([table_key(table.id), schema_version_key(table.id)]);
            let numbered = table.columns.iter().filter(|column| column.identity.is_some());
            self.removed.extend(numbered.map(|column| sequence_key(table.id, column.id)));
            self.garbage.extend(table.spaces());
            self.forgotten.dropped.push(table.name.clone());
        }
        for table in &mut self.tables {
            table.foreign_keys.retain(|key| !dropped.contains(&key.parent));
            table.referenced_by.retain(|child| !dropped.contains(child));
        }
    }

    /// Gives new spaces and authorities to all claims: the old ones may lie at the lost site, or name rows there.
    fn give_new_claims(&mut self) -> Result<()> {
        let corrupt = || Error::new(SqlState::DATA_CORRUPTED, "the catalog's number of the next space is corrupt");
        let mut next = match self.catalog.get(&next_space_key()) {
            Some(value) => std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(corrupt)?,
            None => crate::catalog::keys::FIRST_SPACE,
        };
        let mut fresh = || {
            let space: u32 = next;
            next = space.checked_add(1).ok_or_else(|| {
                Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "all numbers for tables and indexes are used up")
            })?;
            Ok::<_, Error>(space)
        };
        for table in &mut self.tables {
            table.homes = Homes::of(table, &self.here)?;
            if !table.claims_anything() {
                continue;
            }
            self.garbage.extend(claim_spaces(table));
            table.authorities = table.homes.all();
            table.unclaimed = true;
            for claims in table.indexes.iter_mut().map(|index| &mut index.claims).chain([&mut table.claims]) {
                if claims.is_some() {
                    *claims = Some(fresh()?);
                }
            }
        }
        self.catalog.insert(next_space_key(), Bytes::from(next.to_string()));
        Ok(())
    }

    /// Writes it to all homes.
    pub(super) fn write(&mut self, txn: &mut Txn) -> Result<()> {
        // Numbers of identity columns and notes of garbage are each home's own.
        self.catalog.retain(|key, _| !matches!(key.get(SPACE_LEN), Some(b's' | b'g')));
        self.catalog.retain(|key, _| !self.removed.contains(key));
        self.catalog.insert(topology_key(), serde_json::to_vec(&*self.here).map_err(Error::internal)?.into());
        let format = format_in(&self.catalog)?;
        for table in &self.tables {
            let description = format.describe(table)?;
            let stamp = stamp_of(&description, self.here.epoch);
            if let Some(stream) = table.stream() {
                txn.tell_key(schema_version_key(table.id), stream);
            }
            self.catalog.insert(table_key(table.id), description);
            self.catalog.insert(schema_version_key(table.id), Bytes::copy_from_slice(&stamp.to_be_bytes()));
        }
        self.catalog.extend(self.garbage.iter().map(|space| (garbage_key(*space), Bytes::new())));
        for home in self.here.homes() {
            for (key, value) in &self.catalog {
                txn.put(home, key.clone(), value.clone())?;
            }
            for key in &self.removed {
                txn.delete(home, key.clone())?;
            }
        }
        Ok(())
    }
}

fn claim_spaces(table: &Table) -> impl Iterator<Item = u32> {
    table.indexes.iter().filter_map(|index| index.claims).chain(table.claims)
}

fn placed_there(gone: &[Table], name: &str) -> Error {
    let tables: Vec<String> = gone.iter().map(|table| format!("\"{}\"", table.name)).collect();
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("these tables are placed at site \"{name}\" and would be gone: {}", tables.join(", ")),
    )
    .with_hint("Accept that they are dropped, with the foreign keys that refer to them, or bring the site back.")
}
