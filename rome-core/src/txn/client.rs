//! A client of one or several homes: where transactions begin and commits are sent.

use super::lanes::Lanes;
use super::marks::{Participant, TxnId};
use super::part::first_mark;
use super::transaction::Txn;
use super::unended::Unended;
use crate::catalog::{Format, SchemaVersion, TableId};
use crate::error::{Error, Result, SqlState};
use crate::store::{
    Capabilities, Commit, CommitOutcome, Epoch, Guard, HomeId, Read, ReadLimits, ReadOutcome, ReadRequest,
    ReadResponse, ReadResult, Store, StoreError, Version, WatchStream,
};
use crate::topology::{HomeNo, Sites};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How many commits guard each mark by itself after one has met marks.
const CAREFUL_COMMITS: u32 = 64;

/// How a transaction behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One statement that only reads, or a READ ONLY transaction: every answer is consistent with the earlier ones, writes are refused.
    ReadOnly,
    /// One statement that may write: constraints are checked by guards alone, at commit.
    SingleStatement,
    /// A transaction of several statements: constraints are checked at the statement, too.
    Interactive,
}

/// How a client deals with transactions over several homes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// How long a mark may stand in the way before its transaction is recovered. Only a matter of patience: recovering one whose client
    /// is still at work is safe, and makes it fail.
    pub recovery_after: Duration,
    /// How long to go on trying to end a transaction whose outcome is known, or to learn one that is not.
    pub ending: Duration,
    /// How long the record of a transaction that somebody else has ended is kept for its client to find. A client that comes later does not learn
    /// how its transaction was decided, and says so.
    pub record_kept: Duration,
    /// How often a client of a database at several sites looks through the homes of its own site for what the clients of others have left behind.
    /// `None`: never, since somebody else does.
    pub sweep_every: Option<Duration>,
    /// How often a client of a database at several sites sees to the copies of global tables at its site: whether they are complete, and whether somebody
    /// applies what comes. `None`: never, since somebody else does; such a client can't tell how stale they are and does not read them.
    pub replicate_every: Option<Duration>,
    /// Take part with stores that may lose acknowledged commits when they fail over, which can tear a transaction over several homes apart.
    pub allow_torn_on_failover: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            recovery_after: Duration::from_millis(1_000),
            ending: Duration::from_secs(60),
            record_kept: Duration::from_secs(600),
            sweep_every: Some(Duration::from_secs(10)),
            replicate_every: Some(Duration::from_millis(500)),
            allow_torn_on_failover: false,
        }
    }
}

/// Where a home is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its number.
    pub no: HomeNo,
    /// The site's name, for messages.
    pub site: Arc<str>,
    /// The store that serves it.
    pub store: Arc<dyn Store>,
    /// Its name there.
    pub home: HomeId,
}

/// A home as this client reaches it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) no: HomeNo,
    site: Arc<str>,
    store: Arc<dyn Store>,
    home: HomeId,
    lanes: Arc<Lanes>,
    /// So many commits more guard the marks on what they write one by one, instead of asking that the home has none at all.
    careful: AtomicU32,
    /// By table: the hash of its description here, and the version of that, as last seen.
    descriptions: Mutex<HashMap<TableId, (u64, SchemaVersion)>>,
}

impl Link {
    fn new(place: Place, incarnation: u128) -> Arc<Self> {
        let Place { no, site, store, home } = place;
        Arc::new(Self {
            no,
            site,
            store,
            home,
            lanes: Lanes::new(incarnation),
            careful: AtomicU32::new(0),
            descriptions: Mutex::default(),
        })
    }

    pub(super) fn site(&self) -> &str {
        &self.site
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(super) fn home(&self) -> &HomeId {
        &self.home
    }

    pub(super) fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// Reads what the home holds now, whatever that is.
    pub(super) async fn look(&self, reads: Vec<Read>, limits: ReadLimits) -> Result<ReadResponse> {
        match self.read(ReadRequest { reads, limits, ..ReadRequest::default() }).await? {
            ReadOutcome::Answer(answer) => Ok(answer),
            ReadOutcome::Conflict { .. } => Err(Error::internal("a read without guards had a conflict")),
        }
    }

    pub(super) async fn read(&self, request: ReadRequest) -> Result<ReadOutcome> {
        self.store.read(&self.home, request).await.map_err(|error| self.described(error))
    }

    /// Sends a commit in a lane.
    pub(super) async fn commit(&self, mut commit: Commit) -> Result<CommitOutcome> {
        let lane = self.lanes.acquire(self.store.as_ref(), &self.home).await;
        let mut lane = lane.map_err(|error| self.described(error))?;
        commit.ticket = Some(lane.ticket());
        match self.store.commit(&self.home, commit).await {
            Ok(outcome) => Ok(outcome),
            Err(StoreError::LaneClosed) => {
                lane.close();
                Err(Error::serialization_failure())
            }
            Err(error) => Err(self.described(error)),
        }
    }

    /// The version of a table's description here, where that is known for this hash.
    pub(super) fn described_as(&self, table: TableId, stamp: u64) -> Option<SchemaVersion> {
        let (known, version) = *self.descriptions.lock().get(&table)?;
        (known == stamp).then_some(version)
    }

    pub(super) fn note_description(&self, table: TableId, stamp: u64, version: SchemaVersion) {
        self.descriptions.lock().insert(table, (stamp, version));
    }

    /// A store's error with the site at which it happened.
    pub(super) fn described(&self, error: StoreError) -> Error {
        let error = match error {
            // Versions of descriptions are void, too: they must be read again.
            StoreError::EpochChanged => Error::schema_changed(),
            error => Error::from(error),
        };
        if self.site.is_empty() { error } else { error.with_detail(format!("At site \"{}\".", self.site)) }
    }

    /// Marks were in the way: for a while they are worth looking at one by one.
    pub(super) fn met_marks(&self) {
        self.careful.store(CAREFUL_COMMITS, Ordering::Relaxed);
    }

    /// Whether the next commit is to guard marks one by one.
    pub(super) fn is_careful(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.careful.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// One incarnation of a client.
#[derive(Debug)]
pub struct Client {
    links: RwLock<BTreeMap<HomeNo, Arc<Link>>>,
    /// The sites of all homes that exist, for messages about those that are not reached.
    sites: RwLock<BTreeMap<HomeNo, Arc<str>>>,
    /// Why homes of which the store could be reached are not spoken to.
    refused: RwLock<BTreeMap<HomeNo, Error>>,
    /// What the database's format was when it was last looked at.
    format: RwLock<Option<Format>>,
    local: Arc<Link>,
    /// There are other homes than the local one.
    spread: AtomicBool,
    stores: Option<Arc<dyn Sites>>,
    incarnation: u128,
    transactions: AtomicU64,
    /// How many links there have been.
    reached: AtomicU64,
    patience: Patience,
    unended: Unended,
    /// The local site was taken out of the database without being asked.
    removed: AtomicBool,
}

impl Client {
    /// A client of the only home; `incarnation` is a random number that no other client has.
    pub fn new(store: Arc<dyn Store>, home: HomeId, incarnation: u128) -> Arc<Self> {
        let place = Place { no: HomeNo::FIRST, site: "".into(), store, home };
        Self::of_homes(place, vec![], None, incarnation, Patience::default())
    }

    /// A client of several homes, of which one is near.
    /// `sites` knows the stores of sites that this client does not speak to otherwise: somebody else's transaction may have to be ended there.
    pub fn of_homes(
        local: Place,
        others: Vec<Place>,
        sites: Option<Arc<dyn Sites>>,
        incarnation: u128,
        patience: Patience,
    ) -> Arc<Self> {
        let local = Link::new(local, incarnation);
        let client = Self {
            links: RwLock::new(BTreeMap::from([(local.no, Arc::clone(&local))])),
            sites: RwLock::default(),
            refused: RwLock::default(),
            format: RwLock::default(),
            local,
            spread: AtomicBool::new(false),
            stores: sites,
            incarnation,
            transactions: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            patience,
            unended: Unended::default(),
            removed: AtomicBool::new(false),
        };
        others.into_iter().for_each(|place| client.reach(place));
        Arc::new(client)
    }

    /// Adds a home, or says where one is now.
    pub fn reach(&self, place: Place) {
        let link = self.new_link(place);
        self.spread.fetch_or(link.no != self.local.no, Ordering::Relaxed);
        self.refused.write().remove(&link.no);
        self.links.write().insert(link.no, link);
    }

    fn new_link(&self, place: Place) -> Arc<Link> {
        // A link's lanes begin at one, so each needs an incarnation of its own.
        let number = self.reached.fetch_add(1, Ordering::Relaxed) + 1;
        Link::new(place, self.incarnation.wrapping_add(u128::from(number) << 64))
    }

    /// Speaks to a home no more.
    pub fn leave(&self, home: HomeNo) {
        self.links.write().remove(&home);
    }

    /// Speaks to a home no more, for this reason, until it is reached anew.
    pub fn refuse(&self, home: HomeNo, reason: Error) {
        self.leave(home);
        self.refused.write().insert(home, reason);
    }

    /// Speaks this format from now on: the database has it.
    pub fn speak(&self, format: Format) {
        *self.format.write() = Some(format);
    }

    /// What holds as long as the database has the format that this client speaks; nothing before it knows.
    pub(super) fn format_guard(&self) -> Option<Guard> {
        self.format.read().map(Format::fence)
    }

    /// A home of somebody's transaction, wherever it is: one that has just joined or left this client may not know.
    pub(super) async fn link_of(&self, participant: &Participant) -> Result<Arc<Link>> {
        match (self.link(participant.home), &self.stores) {
            (Ok(link), _) => Ok(link),
            (Err(unknown), None) => Err(unknown),
            (Err(_), Some(stores)) => {
                let Participant { home, site, name, .. } = participant;
                let store = stores.store(site).await?;
                Ok(self.new_link(Place { no: *home, site: site.as_str().into(), store, home: HomeId::new(name) }))
            }
        }
    }

    /// Names the sites of all homes that exist.
    pub fn expect_homes(&self, homes: impl Iterator<Item = (HomeNo, Arc<str>)>) {
        let homes: BTreeMap<HomeNo, Arc<str>> = homes.collect();
        self.spread.fetch_or(homes.keys().any(|home| *home != self.local.no), Ordering::Relaxed);
        self.links.write().retain(|home, _| *home == self.local.no || homes.contains_key(home));
        self.refused.write().retain(|home, _| homes.contains_key(home));
        *self.sites.write() = homes;
    }

    /// Forgets what is known of the versions of tables' descriptions at other homes: some of it was wrong.
    pub fn forget_descriptions(&self) {
        self.links.read().values().for_each(|link| link.descriptions.lock().clear());
    }

    /// Whether a home can be spoken to.
    pub fn reaches(&self, home: HomeNo) -> bool {
        self.links.read().contains_key(&home)
    }

    /// The name of a home's site, as far as this client knows it.
    pub(super) fn site_of(&self, home: HomeNo) -> String {
        self.sites.read().get(&home).map_or_else(|| format!("home {home}"), |site| site.to_string())
    }

    /// The name of the local site; empty where there is only one.
    pub fn local_site(&self) -> &str {
        &self.local.site
    }

    /// The store of the local home.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.local.store
    }

    /// The local home's name.
    pub fn home(&self) -> &HomeId {
        &self.local.home
    }

    /// Whether a home is at the local site.
    pub(super) fn is_near(&self, link: &Link) -> bool {
        link.no == self.local.no || !link.site.is_empty() && link.site == self.local.site
    }

    /// The homes at the local site.
    pub(super) fn near_homes(&self) -> Vec<HomeNo> {
        self.links.read().values().filter(|link| self.is_near(link)).map(|link| link.no).collect()
    }

    /// The local home's number.
    pub fn local(&self) -> HomeNo {
        self.local.no
    }

    /// Reads at the local home as [`Client::read`], and tells the epoch of what was read.
    ///
    /// # Errors
    /// As [`Txn::read`].
    pub async fn read_in_epoch(&self, reads: Vec<Read>, limits: ReadLimits) -> Result<(Vec<ReadResult>, Epoch)> {
        let answer = self.answer(&self.local, reads, limits).await?;
        Ok((answer.results, answer.epoch))
    }

    /// Reads at a home outside of any transaction, past the marks of others.
    ///
    /// # Errors
    /// As [`Txn::read`].
    pub async fn read(&self, home: HomeNo, reads: Vec<Read>, limits: ReadLimits) -> Result<Vec<ReadResult>> {
        Ok(self.answer(&self.link(home)?, reads, limits).await?.results)
    }

    /// [`Client::read`] at a home that this client does not speak to otherwise.
    ///
    /// # Errors
    /// As [`Txn::read`].
    pub async fn read_place(&self, place: Place, reads: Vec<Read>) -> Result<Vec<ReadResult>> {
        Ok(self.answer(&self.new_link(place), reads, ReadLimits::default()).await?.results)
    }

    async fn answer(&self, link: &Arc<Link>, reads: Vec<Read>, limits: ReadLimits) -> Result<ReadResponse> {
        loop {
            let answer = link.look(reads.clone(), limits).await?;
            match first_mark(&answer)? {
                None => return Ok(answer),
                Some((_, txn)) => self.settle(link, txn).await?,
            }
        }
    }

    /// Events of a change stream of a home above a version of this epoch, in commit order. Ends with [`StoreError::Compacted`] or
    /// [`StoreError::EpochChanged`] where some may be missing.
    ///
    /// # Errors
    /// The store's; [`StoreError::Unavailable`] where the home has not been reached yet.
    pub async fn watch(
        &self,
        home: HomeNo,
        stream: Bytes,
        epoch: Epoch,
        after: Version,
    ) -> Result<WatchStream, StoreError> {
        let link = self.link(home).map_err(|error| StoreError::Unavailable {
            address: self.sites.read().get(&home).map(|site| site.to_string()).unwrap_or_default(),
            reason: error.message().to_owned(),
        })?;
        let events = link.store().watch(link.home(), stream, Some(after)).await?;
        // A stream ends where its home begins an epoch: asked after it began, the home can't be in a later one unnoticed.
        link.store().read(link.home(), ReadRequest { epoch: Some(epoch), ..ReadRequest::default() }).await?;
        Ok(events)
    }

    /// Whether a home stands as these guards say, in this epoch; without reading anything.
    ///
    /// # Errors
    /// The store's.
    pub async fn stands(&self, home: HomeNo, guards: Vec<Guard>, epoch: Epoch) -> Result<bool> {
        let request = ReadRequest { guards, epoch: Some(epoch), ..ReadRequest::default() };
        Ok(matches!(self.link(home)?.read(request).await?, ReadOutcome::Answer(_)))
    }

    /// The epoch and version at which a home stands.
    ///
    /// # Errors
    /// The store's.
    pub async fn standing(&self, home: HomeNo) -> Result<(Epoch, Version)> {
        let answer = self.link(home)?.look(vec![], ReadLimits::default()).await?;
        Ok((answer.epoch, answer.snapshot))
    }

    /// Commits at a home outside of any transaction: for keys that no transaction relies on or marks.
    ///
    /// # Errors
    /// The store's; 40001 where the database was raised to another format, or is about to be.
    pub async fn commit(&self, home: HomeNo, mut commit: Commit) -> Result<CommitOutcome> {
        let own = commit.guards.len();
        commit.guards.extend(self.format_guard());
        match self.link(home)?.commit(commit).await? {
            CommitOutcome::Conflict { guard } if guard >= own => Err(Error::schema_changed()),
            outcome => Ok(outcome),
        }
    }

    /// What the store of a home can do.
    ///
    /// # Errors
    /// 42704 where there is no such home.
    pub fn capabilities(&self, home: HomeNo) -> Result<Capabilities> {
        Ok(self.link(home)?.store().capabilities().clone())
    }

    /// Begins a transaction. Costs nothing: a transaction exists in the client only.
    pub fn begin(self: &Arc<Self>, mode: Mode) -> Txn {
        Txn::new(Arc::clone(self), mode)
    }

    /// Whether there may be marks: with one home alone there are none.
    pub(super) fn is_spread(&self) -> bool {
        self.spread.load(Ordering::Relaxed)
    }

    /// Waits until what this client's commits have left to do at other homes is done.
    pub async fn ended(&self) {
        self.unended.none().await;
    }

    /// Lets nothing be read or changed any more: the local site is none of the database.
    pub fn leave_database(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    /// Refuses where the local site is known to be none of the database any more.
    ///
    /// # Errors
    /// 55000.
    pub(super) fn check_member(&self) -> Result<()> {
        match self.removed.load(Ordering::Relaxed) {
            true => Err(was_removed(self.local_site())),
            false => Ok(()),
        }
    }

    pub(super) fn unended(&self) -> &Unended {
        &self.unended
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    pub(super) fn link(&self, home: HomeNo) -> Result<Arc<Link>> {
        if home == self.local.no {
            return Ok(Arc::clone(&self.local));
        }
        if let Some(link) = self.links.read().get(&home) {
            return Ok(Arc::clone(link));
        }
        if let Some(reason) = self.refused.read().get(&home) {
            return Err(reason.clone());
        }
        Err(match self.sites.read().get(&home) {
            Some(site) => Error::new(
                SqlState::CONNECTION_FAILURE,
                format!("the store of site \"{site}\" has not been reached yet"),
            )
            .with_hint("Check that the site is up; the client goes on trying."),
            None => Error::new(SqlState::UNDEFINED_OBJECT, format!("home {home} does not exist"))
                .with_hint("The topology may have changed: try again."),
        })
    }

    /// A number for a transaction over several homes.
    pub(super) fn new_transaction(&self) -> TxnId {
        // Two clients' numbers are as far apart as their incarnations, which are random.
        TxnId(self.incarnation.wrapping_add(u128::from(self.transactions.fetch_add(1, Ordering::Relaxed))))
    }
}

/// SQLSTATE 55000: the local site has left the database.
pub fn was_removed(site: &str) -> Error {
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, format!("site \"{site}\" was removed from the database"))
        .with_hint("Open the database as a client of another site.")
}
