//! A database at several sites: how it begins, how clients reach it, how sites join and leave.
//!
//! Each home keeps the topology and the whole catalog, and both change in one transaction over all homes. Every table's schema version rises with
//! the topology, so that whoever works by an old one loses its commit.

use super::upgrade::Formats;
use super::{Engine, Options, RomeDatabase};
use crate::catalog::keys::{
    CATALOG_SPACE, all_tables, format_key, schema_version_key, table_key, topology_key, whole_space,
};
use crate::catalog::{Catalog, Format, Table, stamp_of};
use crate::error::{Error, Result, SqlState};
use crate::store::{Commit, Guard, HomeId, Key, Read, ReadLimits, ReadOutcome, ReadRequest, SPACE_LEN, Store, Write};
use crate::topology::{HomeNo, Sites, Topology};
pub(super) use crate::txn::was_removed;
use crate::txn::{Client, HomeRead, Mode, Place, Txn, fenced_at, value_or_intent};
use bytes::Bytes;
use futures::future::{join_all, try_join};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long to wait for other sites where nothing depends on their answer.
const ASKING: Duration = Duration::from_secs(1);

impl RomeDatabase {
    /// Opens a database at several sites, as a client at one of them. Where no site has a database yet, one begins; a first site that has a database
    /// of its own shares it with the others from then on.
    ///
    /// # Errors
    /// 22023 where the sites are not those of the database, 55000 where a site belongs to another one, 57P03 where this build does not speak a
    /// store's format, and the stores' own. Once the database exists, only the local site must be there.
    pub async fn open_sites(local: &str, sites: Arc<dyn Sites>, options: Options) -> Result<Self> {
        Self::open_at(local, sites, options, true).await
    }

    /// Opens a database at several sites that exists already.
    ///
    /// # Errors
    /// As [`RomeDatabase::open_sites`]; 55000 where the local site has no such database.
    pub async fn open_existing_sites(local: &str, sites: Arc<dyn Sites>, options: Options) -> Result<Self> {
        Self::open_at(local, sites, options, false).await
    }

    async fn open_at(local: &str, sites: Arc<dyn Sites>, options: Options, begins: bool) -> Result<Self> {
        let names = sites.names();
        let wanted: Vec<(String, u16)> = names.iter().map(|name| (name.clone(), sites.homes(name))).collect();
        // Refuses bad names before anything is asked.
        let wanted = Topology::new(String::new(), &wanted)?;
        wanted.home_of_site(local)?;
        let store = sites.store(local).await?;
        let home = HomeId::new(&options.home);
        let held = Belonging::of(&store, &home).await?;
        let format = held.spoken().map_err(|error| at_site(error, local))?;
        let topology = match held.topology()? {
            Some(topology) => topology,
            None if !begins => return Err(nothing_at(local)),
            None => begin(&wanted, &sites, &options).await?,
        };
        check_sites(&topology, &names, local)?;
        let client = client_of(places(&topology, local, &store, &options.home)?, &sites, 2, &options)?;
        let database = Self::of(client, Catalog::empty(topology.clone(), format), options, Some(sites));
        // The other sites first: to read the catalog may take to end a change of it that somebody has left in the middle.
        database.engine.reach_sites(&Arc::new(topology)).await?;
        database.engine.read_catalog().await?;
        Ok(database)
    }

    /// The sites of the database, as this client knows them.
    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(self.engine.catalog().topology())
    }

    /// Adds a site, whose store must be empty and known to this client, while everything runs.
    ///
    /// # Errors
    /// 42710 where the site is there already, 55000 where its store holds something, 40001 where the topology or a table changed meanwhile.
    pub async fn add_site(&self, name: &str) -> Result<()> {
        let engine = &self.engine;
        let catalog = engine.refresh_catalog().await?;
        let topology = catalog.topology();
        if topology.site(name).is_ok() {
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, format!("site \"{name}\" exists already")));
        }
        let store = engine.store_of(name).await?;
        let grown = topology.with(name, engine.sites.as_ref().map_or(1, |sites| sites.homes(name)))?;
        let places = places(&grown, name, &store, &engine.options.home)?;
        let homes: Vec<HomeNo> = places.iter().map(|place| place.no).collect();
        places.into_iter().for_each(|place| engine.client.reach(place));
        let added = engine.join(topology, &grown, name).await;
        if added.is_err() {
            // The numbers may be given to others.
            homes.into_iter().for_each(|home| engine.client.leave(home));
        }
        added?;
        engine.refresh_catalog().await?;
        Ok(())
    }

    /// Takes a site away that holds no rows any more, while everything runs.
    ///
    /// # Errors
    /// 55000 where rows or tables are still placed there, 22023 where there is no such site, 40001 where something changed meanwhile.
    pub async fn remove_site(&self, name: &str) -> Result<()> {
        let engine = &self.engine;
        let catalog = engine.refresh_catalog().await?;
        let homes = catalog.topology().site(name)?.homes.clone();
        if homes.contains(&HomeNo::FIRST) {
            return Err(Error::unsupported(format!(
                "removing \"{name}\", whose home hands out the numbers of identity columns,"
            )));
        }
        if homes.contains(&engine.client.local()) {
            return Err(Error::unsupported("removing the site that this client is at")
                .with_hint("Remove it as a client of another site."));
        }
        let mut txn = engine.client.begin(Mode::Interactive);
        let here = engine.client.local();
        for mut table in tables_in(&catalog_of(&mut txn, here).await?)? {
            table.find_homes(catalog.topology())?;
            for home in &homes {
                refuse_rows(&mut txn, &table, *home, name).await?;
                if let Some(target) = &table.target {
                    refuse_rows(&mut txn, target, *home, name).await?;
                }
            }
        }
        let shrunk = catalog.topology().without(name)?;
        describe(&mut txn, engine.client.local(), catalog.topology(), &shrunk).await?;
        // What the homes that leave still say of themselves would be wrong.
        for home in homes {
            for (key, _) in catalog_of(&mut txn, home).await? {
                txn.delete(home, key)?;
            }
        }
        txn.commit().await?;
        engine.refresh_catalog().await?;
        Ok(())
    }
}

impl Engine {
    /// Lets a site join whose homes this client reaches.
    async fn join(&self, topology: &Topology, grown: &Topology, name: &str) -> Result<()> {
        let mut txn = self.client.begin(Mode::Interactive);
        for home in &grown.site(name)?.homes {
            refuse_used(&mut txn, *home, name).await?;
        }
        describe(&mut txn, self.client.local(), topology, grown).await?;
        txn.commit().await.map(|_| ())
    }

    async fn store_of(&self, site: &str) -> Result<Arc<dyn Store>> {
        match &self.sites {
            Some(sites) => sites.store(site).await,
            None => Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "this database was opened on one store, without its sites",
            )),
        }
    }

    /// Notes which homes there are.
    pub(super) fn expect_sites(&self, topology: &Topology) {
        let homes =
            topology.sites.iter().flat_map(|site| site.homes.iter().map(|home| (*home, site.name.as_str().into())));
        self.client.expect_homes(homes);
    }

    /// Connects to the sites that this client does not reach yet, all at once. Those that can't be reached now are tried again by the next statement
    /// that needs them.
    ///
    /// # Errors
    /// 55000 where another site says that the local one was forgotten, or was left behind by an upgrade.
    pub(super) async fn reach_sites(&self, topology: &Arc<Topology>) -> Result<()> {
        self.expect_sites(topology);
        if self.unreached(topology) == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        // One at a time: many statements may need the same site, and what one attempt finds tells all that have waited for it.
        let mut failed = self.failed.lock().await;
        let missing = topology.sites.iter().filter(|site| {
            let tried = failed.get(&site.name).is_some_and(|ended| *ended > begun);
            !tried && site.homes.iter().any(|home| !self.client.reaches(*home))
        });
        let tries = missing.map(|site| async move { (&site.name, self.reach_site(topology, &site.name).await) });
        for (site, reached) in join_all(tries).await {
            match reached {
                Ok(Standing::Member) => {}
                Ok(Standing::Forgotten) => return Err(was_removed(self.client.local_site())),
                Ok(Standing::LeftBehind(reason)) => return Err(reason),
                Err(problem) => {
                    tracing::warn!(site, %problem, "a site can't be reached");
                    failed.insert(site.clone(), Instant::now());
                }
            }
        }
        Ok(())
    }

    fn unreached(&self, topology: &Topology) -> usize {
        topology.homes().into_iter().filter(|home| !self.client.reaches(*home)).count()
    }

    /// Whether there are sites that this client does not reach.
    pub(super) fn misses_sites(&self) -> bool {
        self.unreached(self.catalog().topology()) > 0
    }

    /// Looks again where the sites are; whether anything is different: one that could not be reached may have left, or can be reached by now.
    pub(super) async fn sites_changed(&self) -> bool {
        let before = self.catalog();
        let missing = self.unreached(before.topology());
        match self.refresh_catalog().await {
            Ok(after) => after.topology() != before.topology() || self.unreached(after.topology()) < missing,
            Err(_) => false,
        }
    }

    /// Why the local site can't go on by itself, where another says so: it was taken out without being asked, or one of the two was left behind. For a client that
    /// loses by a catalog that has not changed.
    pub(super) async fn disowned(&self) -> Option<Error> {
        let catalog = self.catalog();
        let (topology, local) = (catalog.topology(), self.client.local_site());
        let others = topology.sites.iter().filter(|site| site.name != local);
        let asked = others.map(|site| async {
            let store = self.store_of(&site.name).await?;
            let places = places(topology, &site.name, &store, &self.options.home)?;
            let Some(first) = places.first() else { return Ok(None) };
            let held = Belonging::of(&first.store, &first.home).await?;
            if let Formats::HereBehind(reason) | Formats::ThereBehind(reason) = self.formats(first, &held).await? {
                return Ok(Some(reason));
            }
            let fenced = is_fenced(&first.store, &first.home, topology, local).await?;
            let gone =
                |theirs: &Topology| forgets(theirs, topology, local) || theirs.cluster == topology.cluster && fenced;
            Ok::<_, Error>(held.topology()?.filter(gone).map(|_| was_removed(local)))
        });
        let answers = join_all(asked.map(|asked| timeout(ASKING, asked))).await;
        answers.into_iter().find_map(|answer| answer.ok()?.ok()?)
    }

    /// Whether another site says for certain that the local one is none of the database any more.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn is_removed_at(&self, site: &str) -> Result<bool> {
        let catalog = self.catalog();
        let (topology, local) = (catalog.topology(), self.client.local_site());
        let store = self.store_of(site).await?;
        let home = HomeId::new(&self.options.home);
        let request = ReadRequest { reads: vec![Read::Point(topology_key())], ..ReadRequest::default() };
        let (found, fenced) = try_join(
            async { store.read(&home, request).await.map_err(Error::from) },
            is_fenced(&store, &home, topology, local),
        )
        .await?;
        let ReadOutcome::Answer(answer) = found else { return Ok(false) };
        // A topology that is not decided yet may be undone: it is no JSON, and says nothing.
        let entry = answer.results.first().and_then(|result| result.entries.first());
        let theirs: Option<Topology> = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        Ok(theirs
            .is_some_and(|theirs| theirs.cluster == topology.cluster && (fenced || forgets(&theirs, topology, local))))
    }

    async fn reach_site(&self, topology: &Topology, site: &str) -> Result<Standing> {
        let store = self.store_of(site).await?;
        let places = places(topology, site, &store, &self.options.home)?;
        let Some(first) = places.first() else { return Ok(Standing::Member) };
        let held = Belonging::of(&first.store, &first.home).await?;
        match self.formats(first, &held).await? {
            Formats::Same => {}
            Formats::HereBehind(reason) => return Ok(Standing::LeftBehind(reason)),
            Formats::ThereBehind(reason) => {
                places.iter().for_each(|place| self.client.refuse(place.no, reason.clone()));
                return Err(reason);
            }
        }
        // Nothing is written into a store that is not this database's.
        let local = self.client.local_site();
        match (held.topology()?, is_fenced(&first.store, &first.home, topology, local).await?) {
            // A change that the local site knows nothing of was made without it.
            (Some(theirs), _) if forgets(&theirs, topology, local) => Ok(Standing::Forgotten),
            (Some(theirs), true) if theirs.cluster == topology.cluster => Ok(Standing::Forgotten),
            (Some(theirs), _) if theirs.cluster == topology.cluster => {
                places.into_iter().for_each(|place| self.client.reach(place));
                Ok(Standing::Member)
            }
            _ => Err(belongs_elsewhere(site)),
        }
    }
}

/// What another site says of the local one.
enum Standing {
    Member,
    /// It was taken out without being asked.
    Forgotten,
    /// Its store has an older format.
    LeftBehind(Error),
}

/// Whether a topology is a later one of the same database that has a site no more.
fn forgets(theirs: &Topology, known: &Topology, site: &str) -> bool {
    theirs.cluster == known.cluster && theirs.epoch > known.epoch && theirs.site(site).is_err()
}

/// Whether a home says that a site is gone for good, also where that is not in the topology yet.
async fn is_fenced(store: &Arc<dyn Store>, home: &HomeId, known: &Topology, site: &str) -> Result<bool> {
    let fenced = fenced_at(store.as_ref(), home).await?;
    Ok(known.site(site)?.homes.iter().any(|home| fenced.contains_key(home)))
}

/// What a home keeps of the database that it belongs to, or is about to keep.
pub(super) struct Belonging {
    /// Its format as it is stored.
    pub(super) format: Option<Bytes>,
    topology: Option<Bytes>,
}

impl Belonging {
    /// What a home keeps of it, which is read as it is or is about to be.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn of(store: &Arc<dyn Store>, home: &HomeId) -> Result<Self> {
        let reads = vec![Read::Point(format_key()), Read::Point(topology_key())];
        let request = ReadRequest { reads, ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = store.read(home, request).await? else {
            return Err(Error::internal("a read without guards had a conflict"));
        };
        let mut found = answer.results.into_iter().map(|result| result.entries.into_iter().next());
        let mut next =
            || found.next().flatten().map(|entry| value_or_intent(&entry.value)).transpose().map(Option::flatten);
        Ok(Self { format: next()?, topology: next()? })
    }

    /// The topology, where this build speaks its format.
    ///
    /// # Errors
    /// 57P03 where it does not, XX001 where it does not parse.
    pub(super) fn topology(&self) -> Result<Option<Topology>> {
        self.spoken()?;
        self.topology.as_ref().map(|value| serde_json::from_slice(value)).transpose().map_err(|error| {
            Error::new(SqlState::DATA_CORRUPTED, "the topology in the store is corrupt").with_detail(error.to_string())
        })
    }

    /// The format, where this build speaks it.
    ///
    /// # Errors
    /// 57P03 where it does not.
    pub(super) fn spoken(&self) -> Result<Format> {
        Format::held(self.format.as_deref())
    }
}

/// The topology that a home keeps, or is about to keep.
///
/// # Errors
/// 57P03 where this build does not speak its format, and the store's own.
pub(super) async fn topology_at(store: &Arc<dyn Store>, home: &HomeId) -> Result<Option<Topology>> {
    Belonging::of(store, home).await?.topology()
}

/// The same error with the site at which it happened.
fn at_site(error: Error, site: &str) -> Error {
    match error.detail() {
        None => error.with_detail(format!("At site \"{site}\".")),
        Some(_) => error,
    }
}

/// The homes of a site. In its store the first has the database's own name, the others that name with a number.
pub(super) fn places(topology: &Topology, site: &str, store: &Arc<dyn Store>, home: &str) -> Result<Vec<Place>> {
    let homes = topology.site(site)?.homes.iter().enumerate().map(|(at, no)| {
        let name = if at == 0 { home.to_owned() } else { format!("{home}-{}", at + 1) };
        Place { no: *no, site: site.into(), store: Arc::clone(store), home: HomeId::new(&name) }
    });
    Ok(homes.collect())
}

/// A client whose local home is the first of these.
pub(super) fn client_of(
    mut places: Vec<Place>,
    sites: &Arc<dyn Sites>,
    number: u64,
    options: &Options,
) -> Result<Arc<Client>> {
    if places.is_empty() {
        return Err(Error::internal("a site without a home"));
    }
    let local = places.remove(0);
    Ok(Client::of_homes(local, places, Some(Arc::clone(sites)), options.incarnation(number), options.patience))
}

/// Marks a new store with the newest format, or checks that this build speaks that of an old one.
pub(super) async fn prepare(client: &Client) -> Result<()> {
    let found = client.read(client.local(), vec![Read::Point(format_key())], ReadLimits::default()).await?;
    if let Some(found) = found.first().and_then(|result| result.entries.first()) {
        return Format::held(Some(&found.value)).map(|_| ());
    }
    // Whoever is first marks it; what the others find, they read with the catalog.
    let commit = Commit {
        guards: vec![Guard::Absent(format_key())],
        writes: vec![Write::Put(format_key(), Format::NEWEST.mark())],
        ..Commit::default()
    };
    client.commit(client.local(), commit).await?;
    Ok(())
}

/// SQLSTATE 55000: a store of several was opened as if it were the only one.
pub(super) fn one_of_several(topology: &Topology) -> Error {
    let names: Vec<&str> = topology.sites.iter().map(|site| site.name.as_str()).collect();
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "the store is one site of a database that has several")
        .with_detail(format!("Its sites are: {}.", names.join(", ")))
        .with_hint("Open the database with its topology.")
}

pub(super) fn nothing_at(site: &str) -> Error {
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the store of site \"{site}\" holds no database of several sites"),
    )
}

fn check_sites(topology: &Topology, names: &[String], local: &str) -> Result<()> {
    topology.home_of_site(local)?;
    // Sites that have joined since, this client does not know; sites that have left, it need not know of.
    if names.iter().any(|name| topology.site(name).is_ok()) {
        return Ok(());
    }
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "none of these sites belongs to the database"))
}

/// Begins a database at these sites, all of which must be there.
async fn begin(wanted: &Topology, sites: &Arc<dyn Sites>, options: &Options) -> Result<Topology> {
    let cluster = uuid::Uuid::from_u128(options.incarnation(4)).simple().to_string();
    let topology = Topology { cluster, ..wanted.clone() };
    let mut all = vec![];
    for site in &topology.sites {
        all.extend(places(&topology, &site.name, &sites.store(&site.name).await?, &options.home)?);
    }
    let client = client_of(all, sites, 3, options)?;
    let mut txn = client.begin(Mode::Interactive);
    let homes = topology.homes();
    let reads = homes.iter().map(|home| HomeRead::point(*home, topology_key())).collect();
    for (home, found) in homes.iter().zip(txn.read(reads, ReadLimits::default()).await?) {
        if !found.entries.is_empty() {
            return Err(belongs_elsewhere(topology.site_of(*home).unwrap_or("?")));
        }
    }
    // Only the first may bring something along.
    for home in homes.iter().skip(1) {
        refuse_used(&mut txn, *home, topology.site_of(*home).unwrap_or("?")).await?;
    }
    describe(&mut txn, HomeNo::FIRST, &Topology::single(""), &topology).await?;
    txn.commit().await?;
    // So that whoever ends soon leaves no marks behind; where a site has just been cut off, somebody else will see to it.
    let _ = timeout(ASKING, client.ended()).await;
    Ok(topology)
}

/// Writes topology and catalog, as one home has it, to all homes of a topology.
async fn describe(txn: &mut Txn, from: HomeNo, was: &Topology, topology: &Topology) -> Result<()> {
    let mut catalog = catalog_of(txn, from).await?;
    let found: Option<Topology> = catalog.get(&topology_key()).and_then(|value| serde_json::from_slice(value).ok());
    if found.map_or(0, |found| found.epoch) != was.epoch {
        // Somebody else has changed the sites since they were looked at.
        return Err(Error::schema_changed());
    }
    // Numbers of identity columns and notes of garbage are each home's own.
    catalog.retain(|key, _| !matches!(key.get(SPACE_LEN), Some(b's' | b'g')));
    catalog.entry(format_key()).or_insert_with(|| Format::NEWEST.mark());
    catalog.insert(topology_key(), serde_json::to_vec(topology).map_err(Error::internal)?.into());
    for table in tables_in(&catalog)? {
        let description = catalog.get(&table_key(table.id)).cloned().unwrap_or_default();
        let stamp = stamp_of(&description, topology.epoch);
        catalog.insert(schema_version_key(table.id), Bytes::copy_from_slice(&stamp.to_be_bytes()));
        if let Some(stream) = table.stream() {
            txn.tell_key(schema_version_key(table.id), stream);
        }
    }
    for home in topology.homes() {
        for (key, value) in &catalog {
            txn.put(home, key.clone(), value.clone())?;
        }
    }
    Ok(())
}

/// The whole catalog of a home.
pub(super) async fn catalog_of(txn: &mut Txn, home: HomeNo) -> Result<BTreeMap<Key, Bytes>> {
    let read = Read::Range { range: whole_space(CATALOG_SPACE), limit: None, reverse: false };
    let limits = ReadLimits { entries: usize::MAX, bytes: crate::catalog::MAX_CATALOG_BYTES };
    let found = txn.read(vec![HomeRead { home, read }], limits).await?;
    Ok(found.into_iter().flat_map(|result| result.entries).map(|entry| (entry.key, entry.value)).collect())
}

/// The format of a catalog.
///
/// # Errors
/// 57P03 where this build does not speak it.
pub(super) fn format_in(catalog: &BTreeMap<Key, Bytes>) -> Result<Format> {
    Format::held(catalog.get(&format_key()).map(|value| &value[..]))
}

/// The tables that a catalog describes, as they are stored.
pub(super) fn tables_in(catalog: &BTreeMap<Key, Bytes>) -> Result<Vec<Table>> {
    let format = format_in(catalog)?;
    let described = catalog.iter().filter(|(key, _)| all_tables().contains(key));
    described.map(|(key, value)| format.described(key, value)).collect()
}

/// Refuses a home that has a catalog.
async fn refuse_used(txn: &mut Txn, home: HomeNo, site: &str) -> Result<()> {
    let held = catalog_of(txn, home).await?;
    format_in(&held).map_err(|error| at_site(error, site))?;
    if held.contains_key(&topology_key()) {
        return Err(belongs_elsewhere(site));
    }
    if held.len() > usize::from(held.contains_key(&format_key())) {
        return Err(Error::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the store of site \"{site}\" holds a database of its own"),
        )
        .with_hint("Only the first site of a new database may bring tables; join others with an empty store."));
    }
    Ok(())
}

fn belongs_elsewhere(site: &str) -> Error {
    Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the store of site \"{site}\" belongs to another database of several sites"),
    )
    .with_hint("Use another namespace, or remove the site from that database first.")
}

/// Refuses to let a home go that a table has rows at.
async fn refuse_rows(txn: &mut Txn, table: &Table, home: HomeNo, site: &str) -> Result<()> {
    if table.homes.replicas().contains(&home) {
        // Copies may go.
        return Ok(());
    }
    // Claims may have been left here by rows that live elsewhere.
    let claims = table.indexes.iter().filter_map(|index| index.claims).chain(table.claims);
    let reads = claims.chain([table.row_space()]).map(|space| HomeRead {
        home,
        read: Read::Range { range: whole_space(space), limit: Some(1), reverse: false },
    });
    let found = txn.read(reads.collect(), ReadLimits::default()).await?;
    let placed = table.homes.only() == Some(home) || table.claims_anything() && table.authorities.contains(&home);
    if !placed && found.iter().all(|result| result.entries.is_empty()) {
        return Ok(());
    }
    let what = if placed { "is placed at" } else { "has rows or claims of rows at" };
    Err(Error::new(
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("table \"{}\" {what} site \"{site}\"", table.name),
    )
    .with_table(&table.name)
    .with_hint("Move or delete its rows first."))
}
