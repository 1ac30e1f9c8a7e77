//! A client of one or several homes: where transactions begin and commits are sent.

use super::lanes::Lanes;
use super::marks::TxnId;
use super::transaction::Txn;
use crate::error::{Error, Result, SqlState};
use crate::store::{Commit, CommitOutcome, HomeId, ReadOutcome, ReadRequest, Store, StoreError};
use crate::topology::HomeNo;
use parking_lot::RwLock;
use std::collections::BTreeMap;
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
    /// Take part with stores that may lose acknowledged commits when they fail over, which can tear a transaction over several homes apart.
    pub allow_torn_on_failover: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            recovery_after: Duration::from_millis(1_000),
            ending: Duration::from_secs(60),
            record_kept: Duration::from_secs(600),
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
}

impl Link {
    fn new(place: Place, incarnation: u128) -> Arc<Self> {
        let Place { no, site, store, home } = place;
        Arc::new(Self { no, site, store, home, lanes: Lanes::new(incarnation), careful: AtomicU32::new(0) })
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

    /// A store's error with the site at which it happened.
    pub(super) fn described(&self, error: StoreError) -> Error {
        let error = Error::from(error);
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
    local: Arc<Link>,
    /// There are other homes than the local one.
    spread: AtomicBool,
    incarnation: u128,
    transactions: AtomicU64,
    patience: Patience,
}

impl Client {
    /// A client of the only home; `incarnation` is a random number that no other client has.
    pub fn new(store: Arc<dyn Store>, home: HomeId, incarnation: u128) -> Arc<Self> {
        let place = Place { no: HomeNo::FIRST, site: "".into(), store, home };
        Self::of_homes(place, vec![], incarnation, Patience::default())
    }

    /// A client of several homes, of which one is near.
    pub fn of_homes(local: Place, others: Vec<Place>, incarnation: u128, patience: Patience) -> Arc<Self> {
        let local = Link::new(local, incarnation);
        let client = Self {
            links: RwLock::new(BTreeMap::from([(local.no, Arc::clone(&local))])),
            local,
            spread: AtomicBool::new(false),
            incarnation,
            transactions: AtomicU64::new(0),
            patience,
        };
        others.into_iter().for_each(|place| client.reach(place));
        Arc::new(client)
    }

    /// Adds a home, or says where one is now.
    pub fn reach(&self, place: Place) {
        let link = Link::new(place, self.incarnation);
        self.spread.fetch_or(link.no != self.local.no, Ordering::Relaxed);
        self.links.write().insert(link.no, link);
    }

    /// The store of the local home.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.local.store
    }

    /// The local home's name.
    pub fn home(&self) -> &HomeId {
        &self.local.home
    }

    /// The local home's number.
    pub fn local(&self) -> HomeNo {
        self.local.no
    }

    /// Begins a transaction. Costs nothing: a transaction exists in the client only.
    pub fn begin(self: &Arc<Self>, mode: Mode) -> Txn {
        Txn::new(Arc::clone(self), mode)
    }

    /// Whether there may be marks: with one home alone there are none.
    pub(super) fn is_spread(&self) -> bool {
        self.spread.load(Ordering::Relaxed)
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.patience
    }

    pub(super) fn link(&self, home: HomeNo) -> Result<Arc<Link>> {
        if home == self.local.no {
            return Ok(Arc::clone(&self.local));
        }
        self.links.read().get(&home).cloned().ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_OBJECT, format!("home {home} does not exist"))
                .with_hint("The topology may have changed: try again.")
        })
    }

    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.links.read().values().cloned().collect()
    }

    /// A number for a transaction over several homes.
    pub(super) fn new_transaction(&self) -> TxnId {
        // Two clients' numbers are as far apart as their incarnations, which are random.
        TxnId(self.incarnation.wrapping_add(u128::from(self.transactions.fetch_add(1, Ordering::Relaxed))))
    }
}
