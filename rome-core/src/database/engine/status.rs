//! How the sites of a database are, asked from outside: each store directly, all at once, without opening the database and without writing.
//!
//! A site that can't be reached is a line of the answer. What the topology is, the newest one found says: a store that was cut off, or forgotten,
//! still has an old one. Rows are counted by reading the tables of the catalog page by page; nothing enumerates a store's keys.

use super::RomeDatabase;
use super::sites::places;
use crate::catalog::keys::{all_tables, format_key, topology_key, whole_space};
use crate::catalog::{Format, Table};
use crate::error::{Error, Result, SqlState};
use crate::store::{
    Durability, Entry, HomeId, KeyRange, Read, ReadLimits, ReadOutcome, ReadRequest, ReadResult, Store, successor,
};
use crate::topology::{HomeNo, Sites, Topology};
use crate::txn::{Place, TxnId, prepared_at, value_or_intent};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Reads that the round-trip time is the median of.
const ROUND_TRIPS: usize = 5;
/// Tables that are counted in one request.
const TABLES_AT_ONCE: usize = 8;
/// A page of one table.
const PAGE: ReadLimits = ReadLimits { entries: 2_048, bytes: 256 << 10 };

/// How sites are asked.
#[derive(Clone, Debug)]
pub struct SurveyOptions {
    /// The name of the home in each site's store, as in [`Options`](super::Options).
    pub home: String,
    /// How long a site may take to answer before it counts as unreachable.
    pub timeout: Duration,
    /// How long a transaction may be on its way before it counts as left behind; see [`Prepared`].
    pub recovery_after: Duration,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        let options = super::Options::default();
        Self { home: options.home, timeout: Duration::from_secs(5), recovery_after: options.patience.recovery_after }
    }
}

/// The sites of a database as they were found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The newest topology that any site of the database has; `None` where no site that was reached has one.
    pub topology: Option<Topology>,
    /// The format of the database: the newest that a site of it has.
    pub format: Option<Format>,
    /// The sites of the topology in its order, then those that only the caller names.
    pub sites: Vec<SiteStatus>,
    options: SurveyOptions,
}

/// One site.
#[derive(Clone, Debug)]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// Its homes, as the topology says; none where it is no site of the database.
    pub homes: Vec<HomeNo>,
    /// What became of asking it.
    pub state: SiteState,
}

/// What became of asking a site.
#[derive(Clone, Debug)]
pub enum SiteState {
    /// The database has this site, and the caller does not know its store.
    Unknown,
    /// It did not answer.
    Unreachable(Error),
    /// It answered.
    Reached(Box<SiteFound>),
}

/// What a site answered.
#[derive(Clone, Debug)]
pub struct SiteFound {
    store: Arc<dyn Store>,
    /// The engine's name, as in its URL.
    pub engine: &'static str,
    /// How far an acknowledged commit is safe there.
    pub durability: Durability,
    /// The median of a few small reads.
    pub round_trip: Duration,
    /// The format that the store says it has; `None` in an empty store.
    pub format: Option<String>,
    /// What the store holds.
    pub standing: Standing,
}

/// What a site's store is to the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// One of its sites, with the newest topology.
    Member,
    /// One of its sites, with an older topology: a change is on its way, or was made without it.
    Behind {
        /// The epoch of its topology.
        epoch: u64,
    },
    /// It was a site of the database and is none any more.
    Former {
        /// The epoch of its topology.
        epoch: u64,
    },
    /// A database that has only this site.
    Alone,
    /// Nothing.
    Empty,
    /// A site of another database.
    Foreign {
        /// That one's cluster id.
        cluster: String,
    },
    /// One of its sites, but with an older format than others: it was left behind when the database was raised.
    LeftBehind,
    /// Something in a format that this build does not speak.
    OtherFormat,
}

/// Transactions over several homes that a site has promised to commit and that have not ended there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prepared {
    /// On their way when the site was first asked.
    pub seen: usize,
    /// Of these, the ones that were still there `recovery_after` later: nobody has met their marks yet, or another home of theirs can't be reached.
    pub in_doubt: usize,
    /// The oldest of the latter.
    pub oldest: Option<TxnId>,
}

/// Rows that a site holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Rows, those included that transactions are about to insert or delete.
    pub rows: u64,
    /// Bytes of their keys and values, without index entries and without what the engine adds.
    pub bytes: u64,
}

impl RomeDatabase {
    /// Asks all sites, those of the database and those that `sites` names, how they are. Opens nothing and writes nothing; where sites hold
    /// several databases, the one that `local` belongs to counts, else the one of most sites.
    ///
    /// # Errors
    /// 22023 where `sites` names one twice, or `local` is none of them. A site that fails is part of the answer.
    pub async fn survey(local: Option<&str>, sites: &Arc<dyn Sites>, options: SurveyOptions) -> Result<Survey> {
        let names = sites.names();
        let wanted: Vec<(String, u16)> = names.iter().map(|name| (name.clone(), sites.homes(name))).collect();
        let wanted = Topology::new(String::new(), &wanted)?;
        local.map_or(Ok(()), |local| wanted.home_of_site(local).map(drop))?;
        let asked = join_all(names.iter().map(|name| ask(sites, name, &options))).await;
        let topology = database_of(local, &names, &asked);
        let format = topology.as_ref().and_then(|topology| format_of(&topology.cluster, &asked));
        let asked: BTreeMap<String, Result<Answer>> = names.iter().cloned().zip(asked).collect();
        let members = topology.iter().flat_map(|topology| &topology.sites).map(|site| site.name.clone());
        let mut listed = BTreeSet::new();
        let all: Vec<String> =
            members.chain(names.iter().cloned()).filter(|name| listed.insert(name.clone())).collect();
        let sites = all.into_iter().map(|name| {
            let homes = topology.as_ref().and_then(|topology| topology.site(&name).ok());
            let homes = homes.map(|site| site.homes.clone()).unwrap_or_default();
            let state = match asked.get(&name) {
                None => SiteState::Unknown,
                Some(Err(error)) => SiteState::Unreachable(error.clone()),
                Some(Ok(answer)) => {
                    let newest = topology.as_ref().zip(format);
                    SiteState::Reached(Box::new(answer.found(newest, !homes.is_empty())))
                }
            };
            SiteStatus { name, homes, state }
        });
        Ok(Survey { sites: sites.collect(), topology, format, options })
    }

    /// The topology that a store keeps, where it is one of several sites; nothing is written.
    ///
    /// # Errors
    /// 57P03 where this build does not speak its format, and the store's own.
    pub async fn topology_in(store: &Arc<dyn Store>, home: &str) -> Result<Option<Topology>> {
        super::sites::topology_at(store, &HomeId::new(home)).await
    }
}

/// What a site's store says, before it is known what the others say.
#[derive(Debug)]
struct Answer {
    store: Arc<dyn Store>,
    round_trip: Duration,
    format: Option<String>,
    /// The same, where this build speaks it.
    spoken: Option<Format>,
    topology: Option<Topology>,
    has_tables: bool,
}

async fn ask(sites: &Arc<dyn Sites>, site: &str, options: &SurveyOptions) -> Result<Answer> {
    in_time(site, options, async {
        let store = sites.store(site).await?;
        let home = HomeId::new(&options.home);
        let tables = Read::Range { range: all_tables(), limit: Some(1), reverse: false };
        let reads = vec![Read::Point(format_key()), Read::Point(topology_key()), tables];
        let mut values = look(&store, &home, reads, PAGE).await?.into_iter().map(first_value);
        let (format, topology, table) = (next(&mut values)?, next(&mut values)?, next(&mut values)?);
        let spoken = Format::held(format.as_deref()).ok();
        let format = format.map(|value| String::from_utf8_lossy(&value).into_owned());
        // In another format a topology may mean anything.
        let topology = topology.filter(|_| spoken.is_some()).map(|value| serde_json::from_slice(&value)).transpose();
        let topology = topology.map_err(|error| {
            Error::new(SqlState::DATA_CORRUPTED, "the topology in the store is corrupt").with_detail(error.to_string())
        })?;
        let mut took = vec![];
        for _ in 0..ROUND_TRIPS {
            let begun = Instant::now();
            look(&store, &home, vec![Read::Point(topology_key())], PAGE).await?;
            took.push(begun.elapsed());
        }
        took.sort();
        let round_trip = took.get(ROUND_TRIPS / 2).copied().unwrap_or_default();
        Ok(Answer { store, round_trip, format, spoken, topology, has_tables: table.is_some() })
    })
    .await
}

impl Answer {
    fn found(&self, newest: Option<(&Topology, Format)>, named: bool) -> SiteFound {
        let capabilities = self.store.capabilities();
        SiteFound {
            store: Arc::clone(&self.store),
            engine: capabilities.engine,
            durability: capabilities.durability,
            round_trip: self.round_trip,
            format: self.format.clone(),
            standing: self.standing(newest, named),
        }
    }

    fn standing(&self, newest: Option<(&Topology, Format)>, named: bool) -> Standing {
        let Some(spoken) = self.spoken else { return Standing::OtherFormat };
        match (&self.topology, newest) {
            (None, _) if self.has_tables => Standing::Alone,
            (None, _) => Standing::Empty,
            (Some(theirs), Some((newest, format))) if theirs.cluster == newest.cluster => match named {
                true if spoken < format => Standing::LeftBehind,
                true if theirs.epoch == newest.epoch => Standing::Member,
                true => Standing::Behind { epoch: theirs.epoch },
                false => Standing::Former { epoch: theirs.epoch },
            },
            (Some(theirs), _) => Standing::Foreign { cluster: theirs.cluster.clone() },
        }
    }
}

/// The newest topology of the database that is asked about.
fn database_of(local: Option<&str>, names: &[String], asked: &[Result<Answer>]) -> Option<Topology> {
    let found =
        names.iter().zip(asked).filter_map(|(name, answer)| Some((name, answer.as_ref().ok()?.topology.as_ref()?)));
    let found: Vec<(&String, &Topology)> = found.collect();
    let sites_of = |cluster: &str| found.iter().filter(|(_, other)| other.cluster == cluster).count();
    let of_local = found.iter().find(|(name, _)| local == Some(name.as_str()));
    // Of several with as many sites the first.
    let of_most = found.iter().rev().max_by_key(|(_, topology)| sites_of(&topology.cluster));
    let (_, chosen) = of_local.or(of_most)?;
    let same = found.iter().map(|(_, topology)| *topology).filter(|topology| topology.cluster == chosen.cluster);
    same.max_by_key(|topology| topology.epoch).cloned()
}

/// The newest format of a database's sites.
fn format_of(cluster: &str, asked: &[Result<Answer>]) -> Option<Format> {
    let members = asked.iter().filter_map(|answer| answer.as_ref().ok());
    let members = members.filter(|answer| answer.topology.as_ref().is_some_and(|theirs| theirs.cluster == cluster));
    members.filter_map(|answer| answer.spoken).max()
}

impl Survey {
    /// The site of this name.
    pub fn site(&self, name: &str) -> Option<&SiteStatus> {
        self.sites.iter().find(|site| site.name == name)
    }

    /// The sites that could not be asked although their stores are known.
    pub fn unreachable(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.sites.iter().filter_map(|site| match &site.state {
            SiteState::Unreachable(error) => Some((site.name.as_str(), error)),
            _ => None,
        })
    }

    /// Counts the rows of all tables at a site, page by page; `progress` hears of what was counted so far.
    ///
    /// # Errors
    /// 08006 where the site can't be reached, and the store's own.
    pub async fn rows_at(&self, site: &str, progress: impl Fn(Held)) -> Result<Held> {
        let mut held = Held::default();
        let places = self.places(site)?;
        let Some(first) = places.first() else { return Ok(held) };
        let tables = in_time(site, &self.options, tables_at(first)).await?;
        for place in &places {
            for some in tables.chunks(TABLES_AT_ONCE) {
                let mut ranges: Vec<KeyRange> = some.iter().map(|table| whole_space(table.row_space())).collect();
                while !ranges.is_empty() {
                    let reads =
                        ranges.iter().map(|range| Read::Range { range: range.clone(), limit: None, reverse: false });
                    let page = look(&place.store, &place.home, reads.collect(), PAGE);
                    let page = in_time(site, &self.options, page).await?;
                    ranges = counted(&ranges, page, &mut held)?;
                    progress(held);
                }
            }
        }
        Ok(held)
    }

    /// The transactions over several homes that a site holds something of. Takes `recovery_after` longer where there are any: only what is still
    /// there then has been left behind.
    ///
    /// # Errors
    /// As [`Survey::rows_at`].
    pub async fn prepared_at(&self, site: &str) -> Result<Prepared> {
        let places = self.places(site)?;
        let look = || async {
            let found = places.iter().map(|place| prepared_at(place.store.as_ref(), &place.home));
            let found = in_time(site, &self.options, try_join_all(found)).await?;
            Ok::<Vec<TxnId>, Error>(found.into_iter().flatten().collect())
        };
        let seen = look().await?;
        if seen.is_empty() {
            return Ok(Prepared::default());
        }
        sleep(self.options.recovery_after).await;
        let still: BTreeSet<TxnId> = look().await?.into_iter().collect();
        let distinct: BTreeSet<TxnId> = seen.iter().copied().collect();
        Ok(Prepared {
            seen: distinct.len(),
            in_doubt: distinct.intersection(&still).count(),
            oldest: seen.into_iter().find(|txn| still.contains(txn)),
        })
    }

    pub(super) fn options(&self) -> &SurveyOptions {
        &self.options
    }

    /// The homes of a site that belongs to the database.
    pub(super) fn places(&self, site: &str) -> Result<Vec<Place>> {
        let status = self.site(site).zip(self.topology.as_ref());
        match status.map(|(status, topology)| (&status.state, topology)) {
            Some((SiteState::Reached(found), topology))
                if matches!(found.standing, Standing::Member | Standing::Behind { .. } | Standing::LeftBehind) =>
            {
                places(topology, site, &found.store, &self.options.home)
            }
            Some((SiteState::Unreachable(error), _)) => Err(error.clone()),
            _ => Ok(vec![]),
        }
    }
}

/// Adds a page to what was counted; what is left of the ranges.
fn counted(ranges: &[KeyRange], page: Vec<ReadResult>, held: &mut Held) -> Result<Vec<KeyRange>> {
    let mut left = vec![];
    for (range, result) in ranges.iter().zip(page) {
        for entry in &result.entries {
            let value = value_or_intent(&entry.value)?.unwrap_or_default();
            held.rows += 1;
            held.bytes += (entry.key.len() + value.len()) as u64;
        }
        if let Some(last) = result.more {
            left.push(KeyRange { from: successor(&last), to: range.to.clone() });
        }
    }
    Ok(left)
}

/// The tables that the catalog of a home describes.
pub(super) async fn tables_at(place: &Place) -> Result<Vec<Table>> {
    let limits = ReadLimits { entries: usize::MAX, bytes: crate::catalog::MAX_CATALOG_BYTES };
    let all = Read::Range { range: all_tables(), limit: None, reverse: false };
    let mut found = look(&place.store, &place.home, vec![Read::Point(format_key()), all], limits).await?.into_iter();
    let format = Format::held(found.next().map(first_value).transpose()?.flatten().as_deref())?;
    let mut tables = vec![];
    for entry in found.flat_map(|result| result.entries) {
        let Some(value) = value_or_intent(&entry.value)? else { continue };
        tables.push(format.described(&entry.key, &value)?);
    }
    Ok(tables)
}

/// What a home holds now, marks and all.
async fn look(store: &Arc<dyn Store>, home: &HomeId, reads: Vec<Read>, limits: ReadLimits) -> Result<Vec<ReadResult>> {
    match store.read(home, ReadRequest { reads, limits, ..ReadRequest::default() }).await? {
        ReadOutcome::Answer(answer) => Ok(answer.results),
        ReadOutcome::Conflict { .. } => Err(Error::internal("a read without guards had a conflict")),
    }
}

fn first_value(result: ReadResult) -> Result<Option<Bytes>> {
    let first: Option<Entry> = result.entries.into_iter().next();
    first.map_or(Ok(None), |entry| value_or_intent(&entry.value))
}

fn next(values: &mut impl Iterator<Item = Result<Option<Bytes>>>) -> Result<Option<Bytes>> {
    values.next().unwrap_or(Ok(None))
}

pub(super) async fn in_time<T>(
    site: &str,
    options: &SurveyOptions,
    asking: impl Future<Output = Result<T>>,
) -> Result<T> {
    let late = |_| {
        let message = format!("the store of site \"{site}\" did not answer within {:?}", options.timeout);
        Err(Error::new(SqlState::CONNECTION_FAILURE, message))
    };
    timeout(options.timeout, asking).await.unwrap_or_else(late)
}
