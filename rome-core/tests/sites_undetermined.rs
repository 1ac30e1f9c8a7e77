//! Commits over two sites of which one does not say what became of its part, while it can be reached again right afterwards: the library finds out
//! by itself, so that the application is told of success or of a lost race, and never that nobody knows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::SqlState;
use rome_core::database::{DatabaseExt, FixedSites, Options, Queryable, RomeDatabase};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, KeyRange, MemoryStore, Read, ReadOutcome, ReadRequest, Store,
    StoreError, Version, WatchStream, Write,
};
use rome_core::txn::{MARKS_SPACE, Patience, RECORDS_SPACE};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];

/// What becomes of a commit whose answer is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It takes effect.
    Done,
    /// It never arrives.
    Lost,
    /// It arrives long after everybody has given it up.
    Late,
}

/// What a commit does for a transaction over several sites.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// It promises, and leaves marks.
    Prepare,
    /// It decides, or puts values in place of marks.
    End,
}

fn step(commit: &Commit) -> Option<Step> {
    let marks = |write: &Write| matches!(write, Write::Put(key, _) if key.starts_with(&MARKS_SPACE.to_be_bytes()));
    // What opens a lane, and what takes the place of a prepare, writes nothing.
    (!commit.writes.is_empty()).then(|| if commit.writes.iter().any(marks) { Step::Prepare } else { Step::End })
}

/// A store of which a client does not hear some of its commits, and that answers everything else.
#[derive(Debug)]
struct Faltering {
    store: Arc<MemoryStore>,
    fate: Fate,
    /// How many prepares go unheard, and how many of the commits that follow them.
    prepares: AtomicUsize,
    ends: AtomicUsize,
    late: tokio::sync::mpsc::UnboundedSender<Commit>,
}

fn one_less(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

#[async_trait]
impl Store for Faltering {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let is_heard = match step(&commit) {
            None => true,
            Some(Step::Prepare) => !one_less(&self.prepares),
            Some(Step::End) => !one_less(&self.ends),
        };
        if is_heard {
            return self.store.commit(home, commit).await;
        }
        match self.fate {
            Fate::Done => drop(self.store.commit(home, commit).await),
            Fate::Lost => {}
            Fate::Late => self.late.send(commit).unwrap(),
        }
        Err(StoreError::Undetermined { address: "far away".into(), reason: "no answer".into() })
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}

struct World {
    stores: Vec<Arc<MemoryStore>>,
}

/// A client of which some commits go unheard, and those that arrive late.
struct Doubtful {
    db: RomeDatabase,
    sites: Vec<(Arc<Faltering>, tokio::sync::mpsc::UnboundedReceiver<Commit>)>,
}

fn options(max_attempts: u32) -> Options {
    let patience = Patience {
        sweep_every: None,
        replicate_every: None,
        recovery_after: Duration::from_millis(100),
        ..Patience::default()
    };
    Options { patience, max_attempts, ..Options::default() }
}

impl World {
    async fn new() -> Self {
        let world = Self { stores: NAMES.iter().map(|_| Arc::new(MemoryStore::new())).collect() };
        let db = world.client().await;
        let create = "CREATE TABLE t (site text, id bigint, n bigint NOT NULL, PRIMARY KEY (site, id)) \
                      WITH (placement = 'by_site(site)')";
        db.execute(create).await.unwrap();
        for site in NAMES {
            db.execute(("INSERT INTO t VALUES ($1, 1, 0)", [site.into()])).await.unwrap();
        }
        world
    }

    async fn client(&self) -> RomeDatabase {
        let sites = NAMES.iter().zip(&self.stores).map(|(name, store)| ((*name).to_owned(), Arc::clone(store) as _));
        RomeDatabase::open_sites("rome", Arc::new(FixedSites::new(sites)), options(100)).await.unwrap()
    }

    /// A client at Pisa, by what becomes of what each site does not answer. Nothing goes unheard yet.
    async fn doubtful(&self, fates: [Fate; 3], max_attempts: u32) -> Doubtful {
        let sites: Vec<_> = self
            .stores
            .iter()
            .zip(fates)
            .map(|(store, fate)| {
                let (late, arrives) = tokio::sync::mpsc::unbounded_channel();
                let (prepares, ends) = (AtomicUsize::new(0), AtomicUsize::new(0));
                (Arc::new(Faltering { store: Arc::clone(store), fate, prepares, ends, late }), arrives)
            })
            .collect();
        let stores = NAMES.iter().zip(&sites).map(|(name, (store, _))| ((*name).to_owned(), Arc::clone(store) as _));
        let stores = Arc::new(FixedSites::new(stores));
        let db = RomeDatabase::open_sites("pisa", stores, options(max_attempts)).await.unwrap();
        db.query("SELECT n FROM t").await.unwrap();
        Doubtful { db, sites }
    }

    /// Waits until nothing is left of any transaction; returns what the rows at Pisa and Turin hold.
    async fn rest(&self) -> (i64, i64) {
        for _ in 0..1_000 {
            let mut left = 0;
            for store in &self.stores {
                let reads = [MARKS_SPACE, RECORDS_SPACE].map(|space| {
                    let range = KeyRange::prefix(&space.to_be_bytes());
                    Read::Range { range, limit: None, reverse: false }
                });
                let request = ReadRequest { reads: reads.to_vec(), ..ReadRequest::default() };
                let ReadOutcome::Answer(answer) = store.read(&HomeId::new("main"), request).await.unwrap() else {
                    unreachable!("no guards")
                };
                left += answer.results.iter().map(|result| result.entries.len()).sum::<usize>();
            }
            if left == 0 {
                let db = self.client().await;
                let n = "SELECT n FROM t WHERE site = $1";
                let pisa = db.query_one((n, ["pisa".into()])).await.unwrap();
                return (pisa, db.query_one((n, ["turin".into()])).await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("something is left of a transaction that has ended");
    }
}

impl Doubtful {
    /// Of the next commits at a site so many go unheard.
    fn falter(&self, site: usize, prepares: usize, ends: usize) {
        self.sites[site].0.prepares.store(prepares, Ordering::SeqCst);
        self.sites[site].0.ends.store(ends, Ordering::SeqCst);
    }

    /// So many of them are still to go unheard.
    fn unheard(&self, site: usize) -> usize {
        self.sites[site].0.prepares.load(Ordering::SeqCst) + self.sites[site].0.ends.load(Ordering::SeqCst)
    }

    /// Delivers what is late: by now it must change nothing.
    async fn deliver(&mut self) -> usize {
        let mut delivered = 0;
        for (site, late) in &mut self.sites {
            while let Ok(commit) = late.try_recv() {
                delivered += 1;
                let outcome = site.store.commit(&HomeId::new("main"), commit).await;
                assert!(!matches!(outcome, Ok(CommitOutcome::Committed { .. })), "{outcome:?}");
            }
        }
        delivered
    }
}

const BOTH: &str = "UPDATE t SET n = n + 1 WHERE site IN ('pisa', 'turin') AND id = 1";
const FATES: [Option<Fate>; 4] = [None, Some(Fate::Done), Some(Fate::Lost), Some(Fate::Late)];

/// The prepare at either home, or at both, is not answered: of a statement that is tried once, of a transaction's commit, and of a statement that is
/// repeated where it has lost.
#[tokio::test]
async fn a_prepare_that_is_not_heard_of_is_found_out() {
    let mut late = 0;
    for local in FATES {
        for far in FATES {
            let (world, mut n) = (World::new().await, 0);
            let fates = [local.unwrap_or(Fate::Done), Fate::Done, far.unwrap_or(Fate::Done)];
            let commits = [local, far].iter().all(|fate| matches!(fate, None | Some(Fate::Done)));
            for (how, max_attempts) in [("statement", 1), ("transaction", 1), ("statement", 100)] {
                let mut client = world.doubtful(fates, max_attempts).await;
                let falter = || {
                    client.falter(0, usize::from(local.is_some()), 0);
                    client.falter(2, usize::from(far.is_some()), 0);
                };
                let result = if how == "statement" {
                    falter();
                    client.db.execute(BOTH).await.map(drop)
                } else {
                    let transaction = client.db.begin().await.unwrap();
                    transaction.execute(BOTH).await.unwrap();
                    falter();
                    transaction.commit().await
                };
                let what = format!("{how}, {max_attempts} attempts, {local:?} at pisa, {far:?} at turin");
                match result {
                    Ok(()) => {
                        assert!(commits || max_attempts > 1, "{what}: what was lost can't have happened");
                        n += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.state(), SqlState::SERIALIZATION_FAILURE, "{what}: {error}");
                        // Once the local home has not answered, the other is not waited for: what it was sent may come to nothing.
                        assert!(max_attempts == 1 && (!commits || local.is_some()), "{what}: {error}");
                    }
                }
                let wanted = usize::from(local.is_some()) + usize::from(far.is_some());
                assert!(
                    wanted == 0 || client.unheard(0) + client.unheard(2) < wanted,
                    "{what}: every answer was heard"
                );
                client.falter(0, 0, 0);
                client.falter(2, 0, 0);
                assert_eq!(world.rest().await, (n, n), "{what}");
                late += client.deliver().await;
                assert_eq!(world.rest().await, (n, n), "{what}, after what was late");
            }
        }
    }
    assert!(late > 10, "only {late} prepares came late");
}

/// What comes after the decision goes unheard: the application was told already, and everything is ended nevertheless.
#[tokio::test]
async fn what_ends_a_transaction_is_repeated_until_it_is_heard() {
    for site in [0, 2] {
        for fate in [Fate::Done, Fate::Lost] {
            for unheard in [1, 3] {
                let world = World::new().await;
                let client = world.doubtful([fate; 3], 1).await;
                client.falter(site, 0, unheard);
                client.db.execute(BOTH).await.unwrap();
                assert_eq!(world.rest().await, (1, 1), "{fate:?} at {}", NAMES[site]);
                // What has taken effect need not be asked again.
                assert!(client.unheard(site) < unheard);
            }
        }
    }
}

/// Read again right away: nobody has to wait until the recovery of others begins.
#[tokio::test]
async fn what_was_found_out_is_there_at_once() {
    let world = World::new().await;
    let client = world.doubtful([Fate::Done; 3], 1).await;
    client.falter(2, 1, 0);
    client.db.execute(BOTH).await.unwrap();
    let sum: i64 = client.db.query_one("SELECT sum(n)::bigint FROM t").await.unwrap();
    assert_eq!(sum, 2);
}

/// The decision is known, since the local home has it, although the site that has not answered its prepare does not answer what ends it, either.
#[tokio::test]
async fn what_is_decided_is_told() {
    for fate in [Fate::Done, Fate::Lost] {
        let world = World::new().await;
        let client = world.doubtful([Fate::Done, Fate::Done, fate], 1).await;
        // The prepare took effect there in any case.
        client.falter(2, usize::from(fate == Fate::Done), 1);
        client.db.execute(BOTH).await.unwrap();
        assert_eq!(world.rest().await, (1, 1));
    }
}
