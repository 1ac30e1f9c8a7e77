//! Three sites with two homes each, clients that die when told so, and a look at what the stores hold.

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::catalog::keys::{FIRST_SPACE, all_garbage, next_space_key};
use rome_core::catalog::{SchemaView, Table};
use rome_core::database::{FixedSites, Options, RomeDatabase};
use rome_core::exec::claims::claims_of_row;
use rome_core::exec::keys::{Located, decode_table_row, index_entry, row_place};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, KeyRange, MemoryStore, Read, ReadLimits, ReadOutcome, ReadRequest,
    Store, StoreError, Version, WatchStream,
};
use rome_core::topology::HomeNo;
use rome_core::txn::{MARKS_SPACE, Patience, RECORDS_SPACE};
use rome_core::{Result, SqlState, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

pub const NAMES: [&str; 3] = ["pisa", "rome", "turin"];
const HOMES: u16 = 2;

/// What a client may still do before it dies.
#[derive(Clone, Debug)]
pub struct Life {
    left: Arc<AtomicI64>,
    held: Arc<AtomicBool>,
}

impl Life {
    pub fn long() -> Self {
        Self { left: Arc::new(AtomicI64::new(i64::MAX)), held: Arc::default() }
    }

    /// Holds up what changes something, until it is let go.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// So many more commits that change something; whether the last one arrives is up to what it writes.
    pub fn leave(&self, commits: i64) {
        self.left.store(commits, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }
}

/// A store far away, of which a client sees nothing once it is dead.
#[derive(Debug)]
struct Distant {
    store: Arc<MemoryStore>,
    capabilities: Capabilities,
    life: Life,
    travels: Travels,
    commits: Arc<AtomicU64>,
}

/// How long the way to a store is, there and back.
#[derive(Clone, Copy, Debug)]
enum Travels {
    NoTime,
    SomeTime,
    For(Duration),
}

impl Distant {
    async fn travel(&self) {
        if self.life.is_over() {
            std::future::pending::<()>().await;
        }
        match self.travels {
            Travels::NoTime => {}
            Travels::SomeTime => tokio::time::sleep(Duration::from_micros(rand::random::<u64>() % 800)).await,
            Travels::For(time) => tokio::time::sleep(time).await,
        }
    }
}

#[async_trait]
impl Store for Distant {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.travel().await;
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let Capabilities { max_guards, max_writes, max_commit_bytes, .. } = self.capabilities;
        let bytes: usize = commit.writes.iter().map(size).sum();
        assert!(commit.guards.len() <= max_guards, "{} guards of a commit", commit.guards.len());
        assert!(commit.writes.len() <= max_writes, "{} writes of a commit", commit.writes.len());
        assert!(bytes <= max_commit_bytes, "{bytes} bytes of a commit");
        while !commit.writes.is_empty() && self.life.held.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !commit.writes.is_empty() && self.life.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            // Now and then the last words are heard.
            if commit.writes.len().is_multiple_of(2) {
                self.store.commit(home, commit).await?;
            }
            return std::future::pending().await;
        }
        self.travel().await;
        self.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}

fn size(write: &rome_core::store::Write) -> usize {
    match write {
        rome_core::store::Write::Put(key, value) => key.len() + value.len(),
        other => other.key().len(),
    }
}

/// The stores.
pub struct World {
    stores: Vec<Arc<MemoryStore>>,
    capabilities: Capabilities,
    travels: Travels,
    commits: Arc<AtomicU64>,
}

impl World {
    pub fn new() -> Self {
        let stores: Vec<_> = NAMES.iter().map(|_| Arc::new(MemoryStore::new())).collect();
        let capabilities = stores[0].capabilities().clone();
        Self { stores, capabilities, travels: Travels::NoTime, commits: Arc::default() }
    }

    /// The same with stores that take their time.
    pub fn slow() -> Self {
        Self { travels: Travels::SomeTime, ..Self::new() }
    }

    /// The same with sites that are so far apart.
    pub fn wide(round_trip: Duration) -> Self {
        Self { travels: Travels::For(round_trip), ..Self::new() }
    }

    /// The same with stores that take as little at once as etcd does.
    pub fn narrow() -> Self {
        let world = Self::new();
        let capabilities =
            Capabilities { max_guards: 960, max_writes: 960, max_commit_bytes: 5 << 18, ..world.capabilities.clone() };
        Self { capabilities, ..world }
    }

    pub async fn client(&self, site: &str) -> RomeDatabase {
        self.mortal(site, &Life::long()).await
    }

    /// A database on the store of one site alone.
    pub async fn alone(&self, site: &str) -> RomeDatabase {
        let at = NAMES.iter().position(|name| *name == site).unwrap();
        RomeDatabase::open(Arc::clone(&self.stores[at]) as _, Options::default()).await.unwrap()
    }

    /// A client whose life may end.
    pub async fn mortal(&self, site: &str, life: &Life) -> RomeDatabase {
        let stores = NAMES.iter().zip(&self.stores).map(|(name, store)| {
            let travels = match self.travels {
                Travels::For(_) if *name == site => Travels::NoTime,
                travels => travels,
            };
            let distant = Distant {
                store: Arc::clone(store),
                capabilities: self.capabilities.clone(),
                life: life.clone(),
                travels,
                commits: Arc::clone(&self.commits),
            };
            ((*name).to_owned(), Arc::new(distant) as Arc<dyn Store>)
        });
        let patience = Patience {
            recovery_after: Duration::from_millis(20),
            sweep_every: Some(Duration::from_millis(20)),
            ..Patience::default()
        };
        let options = Options { patience, ..Options::default() };
        let sites = FixedSites::new(stores).with_homes(HOMES);
        RomeDatabase::open_sites(site, Arc::new(sites), options).await.unwrap()
    }

    /// Commits that were sent, of all clients and at all homes.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn homes(&self) -> impl Iterator<Item = (HomeNo, &Arc<MemoryStore>, HomeId)> {
        self.stores.iter().enumerate().flat_map(|(site, store)| {
            (0..HOMES).map(move |at| {
                let name = if at == 0 { "main".to_owned() } else { format!("main-{}", at + 1) };
                (HomeNo(site as u16 * HOMES + at), store, HomeId::new(&name))
            })
        })
    }

    async fn held(&self, range: &KeyRange) -> BTreeMap<Located, Bytes> {
        let mut held = BTreeMap::new();
        for (home, store, id) in self.homes() {
            let read = Read::Range { range: range.clone(), limit: None, reverse: false };
            let limits = ReadLimits { entries: usize::MAX, bytes: usize::MAX };
            let request = ReadRequest { reads: vec![read], limits, ..ReadRequest::default() };
            let ReadOutcome::Answer(answer) = store.read(&id, request).await.unwrap() else { unreachable!() };
            let entries = answer.results.into_iter().flat_map(|result| result.entries);
            held.extend(entries.map(|entry| (Located { home, key: entry.key }, entry.value)));
        }
        held
    }

    pub async fn space(&self, space: u32) -> BTreeMap<Located, Bytes> {
        self.held(&KeyRange::prefix(&space.to_be_bytes())).await
    }

    /// Waits until nothing is on its way any more. Records that nobody asks for stay for long.
    pub async fn settled(&self) {
        for _ in 0..1_000 {
            if self.space(MARKS_SPACE).await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody ends what was left: {:?}", self.space(RECORDS_SPACE).await);
    }

    /// Whether anything that was dropped has not been removed.
    pub async fn has_garbage(&self) -> bool {
        !self.held(&all_garbage()).await.is_empty()
    }

    /// How many rows of a table each site has.
    pub async fn rows_by_site(&self, table: &Table) -> [usize; 3] {
        let mut rows = [0; 3];
        for Located { home, .. } in self.space(table.row_space()).await.keys() {
            rows[usize::from(home.0 / HOMES)] += 1;
        }
        rows
    }

    /// In every home exactly the rows, entries and claims that must be there, of shadows too, and nothing of what has been but what is noted.
    pub async fn audit(&self) {
        self.settled().await;
        let catalog = self.client("pisa").await.catalog();
        let mut known = BTreeSet::new();
        for table in catalog.tables() {
            let rows = self.audit_table(table).await;
            known.extend(table.spaces());
            if let Some(target) = &table.target {
                let copies = self.audit_table(target).await;
                let stray: Vec<_> = copies.iter().filter(|copy| !rows.contains(copy)).collect();
                assert!(stray.is_empty(), "copies without rows: {stray:?}");
                known.extend(target.spaces());
            }
        }
        // What a client has dropped and not removed any more is noted.
        for Located { key, .. } in self.held(&all_garbage()).await.keys() {
            known.insert(u32::from_be_bytes(*key.last_chunk().unwrap()));
        }
        let next = self.held(&KeyRange::prefix(&next_space_key())).await.into_values().next().unwrap();
        for space in FIRST_SPACE..std::str::from_utf8(&next).unwrap().parse().unwrap() {
            let left = self.space(space).await.len();
            assert!(left == 0 || known.contains(&space), "{left} keys are left in space {space}");
        }
    }

    async fn audit_table(&self, table: &Table) -> Vec<Vec<Value>> {
        let (mut rows, mut claims) = (vec![], BTreeMap::new());
        let mut entries: Vec<BTreeMap<Located, Bytes>> = vec![BTreeMap::new(); table.indexes.len()];
        for (place, value) in self.space(table.row_space()).await {
            let row = decode_table_row(table, &value).expect("no mark is left");
            assert_eq!(row_place(table, &row).unwrap(), place, "a row of {} is elsewhere", table.name);
            for (index, entries) in table.indexes.iter().zip(&mut entries) {
                let (key, value) = index_entry(table, index, &row).unwrap();
                let twice = entries.insert(Located { home: place.home, key }, value);
                assert!(twice.is_none(), "two rows have one entry in {}: {row:?}", index.name);
            }
            for (claim, value) in claims_of_row(table, &row).unwrap() {
                assert!(claims.insert(claim, value).is_none(), "two rows have one claim: {row:?}");
            }
            rows.push(row);
        }
        for (index, entries) in table.indexes.iter().zip(entries) {
            assert_eq!(self.space(index.space).await, entries, "entries of {}", index.name);
        }
        let mut found = BTreeMap::new();
        for space in table.indexes.iter().filter_map(|index| index.claims).chain(table.claims) {
            found.extend(self.space(space).await);
        }
        assert_eq!(found, claims, "claims of {}", table.name);
        rows
    }
}

/// A table as a client knows it.
pub fn described(db: &RomeDatabase, table: &str) -> Arc<Table> {
    db.catalog().table(table).unwrap()
}

pub fn state<T: Debug>(result: Result<T>) -> SqlState {
    result.unwrap_err().state()
}
