//! Escrowed counters over eight sites, every one an in-memory store of its own, 50 ms from the others in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../../tests/src/figures.rs"]
mod figures;

use async_trait::async_trait;
use bytes::Bytes;
use rome_core::database::escrow::MAX_AMOUNT;
use rome_core::database::{
    Database, DatabaseExt, Escrow, FixedSites, ForgetOptions, Options, Queryable, RomeDatabase, Transaction,
};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, MemoryStore, ReadOutcome, ReadRequest, Store, StoreError, Version,
    WatchStream,
};
use rome_core::txn::Patience;
use rome_core::{Error, Result, SqlState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SITES: usize = 8;
/// To another site and back.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// To the local store and back.
const LOCAL: Duration = Duration::from_millis(1);

fn site(number: usize) -> String {
    format!("site{number}")
}

tokio::task_local! {
    /// Requests that this task has sent to other sites.
    static WIDE: AtomicU64;
}

/// A site's store as a client reaches it.
#[derive(Debug)]
struct Reached {
    store: Arc<MemoryStore>,
    is_local: bool,
    cut: Arc<[[AtomicBool; SITES]; SITES]>,
    from: usize,
    to: usize,
}

impl Reached {
    async fn travel(&self) -> Result<(), StoreError> {
        if !self.is_local {
            let _ = WIDE.try_with(|count| count.fetch_add(1, Ordering::Relaxed));
        }
        sleep(if self.is_local { LOCAL } else { ROUND_TRIP }).await;
        match self.cut[self.from][self.to].load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable { address: site(self.to), reason: "cut off".into() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Reached {
    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.travel().await?;
        self.store.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.travel().await?;
        self.store.commit(home, commit).await
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.store.watch(home, stream, after).await
    }
}

struct World {
    stores: Vec<Arc<MemoryStore>>,
    cut: Arc<[[AtomicBool; SITES]; SITES]>,
    clients: AtomicU64,
}

impl World {
    async fn new() -> Self {
        let stores = (0..SITES).map(|_| Arc::new(MemoryStore::new())).collect();
        let world = Self { stores, cut: Arc::default(), clients: AtomicU64::new(0) };
        Escrow::install(&world.database(0).await).await.unwrap();
        world
    }

    fn sites(&self, at: usize) -> Arc<FixedSites> {
        let sites = (0..SITES).map(|to| {
            let (store, cut) = (Arc::clone(&self.stores[to]), Arc::clone(&self.cut));
            (site(to), Arc::new(Reached { store, is_local: at == to, cut, from: at, to }) as Arc<dyn Store>)
        });
        Arc::new(FixedSites::new(sites))
    }

    fn options(&self) -> Options {
        let patience = Patience { sweep_every: None, ..Patience::default() };
        let seed = Some(self.clients.fetch_add(1_000, Ordering::Relaxed));
        Options { patience, seed, ..Options::default() }
    }

    async fn database(&self, at: usize) -> RomeDatabase {
        RomeDatabase::open_sites(&site(at), self.sites(at), self.options()).await.unwrap()
    }

    async fn escrow(&self, at: usize) -> Escrow {
        Escrow::open(Arc::new(self.database(at).await)).await.unwrap()
    }

    /// Cuts a site off from all others, or joins it with them again.
    fn cut_off(&self, alone: usize, cut: bool) {
        for other in (0..SITES).filter(|other| *other != alone) {
            self.cut[alone][other].store(cut, Ordering::Relaxed);
            self.cut[other][alone].store(cut, Ordering::Relaxed);
        }
    }
}

/// What a call came to, how many requests it sent to other sites, how long it took.
async fn watched<T>(call: impl Future<Output = T>) -> (T, u64, Duration) {
    let begun = Instant::now();
    let (result, wide) = WIDE
        .scope(AtomicU64::new(0), async {
            let result = call.await;
            (result, WIDE.with(|count| count.load(Ordering::Relaxed)))
        })
        .await;
    (result, wide, begun.elapsed())
}

fn state<T: std::fmt::Debug>(result: Result<T>) -> SqlState {
    result.unwrap_err().state()
}

/// Spends 10,000 in ones, by these shares in a hundred at the sites, `clients` at each; what waited for another site, and what was refused.
async fn demand(world: &World, shares: [u64; SITES], clients: u64) -> (u64, u64, u64) {
    let mut workers = vec![];
    for (at, share) in shares.into_iter().enumerate() {
        let escrow = world.escrow(at).await;
        for number in 0..clients {
            let escrow = escrow.clone();
            let spends = share * 100 / clients + u64::from(number < share * 100 % clients);
            workers.push(tokio::spawn(async move {
                let (mut done, mut asked, mut waited) = (0, 0, 0);
                for _ in 0..spends {
                    let (result, wide, took) = watched(escrow.spend("seats", 1)).await;
                    match result {
                        Ok(()) => done += 1,
                        Err(error) => assert_eq!(error.state(), SqlState::CHECK_VIOLATION, "{error}"),
                    }
                    asked += u64::from(wide > 0);
                    waited += u64::from(took >= ROUND_TRIP);
                }
                (done, asked, waited)
            }));
        }
    }
    let mut sum = (0, 0, 0);
    for worker in workers {
        let (done, asked, waited) = worker.await.unwrap();
        sum = (sum.0 + done, sum.1 + asked, sum.2 + waited);
    }
    sum
}

/// Demand as `shares` say, against a budget, first shared evenly.
async fn spend_all(name: &str, shares: [u64; SITES], budget: i64) {
    let world = World::new().await;
    let escrow = world.escrow(0).await;
    escrow.create("seats", budget).await.unwrap();
    let begun = Instant::now();
    let (done, asked, waited) = demand(&world, shares, 4).await;
    let seconds = begun.elapsed().as_secs_f64();
    figures::note(&format!(
        "escrow, {SITES} sites, {name}, budget {budget}: {done} spent in {seconds:.1} s; {asked} asked another site, \
         {waited} took {ROUND_TRIP:?} (round trip) or more"
    ));
    assert_eq!(done, 10_000, "there is enough for all");
    // Also whoever waited for another spender at its site that asked, or for long in the queue of the local row.
    assert!(asked.max(waited) * 20 <= 10_000, "{asked} asked and {waited} waited");
    let balance = escrow.balance("seats").await.unwrap();
    assert_eq!((balance.budget, balance.spent, balance.unspent), (budget, 10_000, budget - 10_000));
    assert!(balance.sites.iter().all(|site| site.unspent >= 0 && site.reconciled), "{balance:?}");
}

#[tokio::test(start_paused = true)]
async fn uneven_demand_is_local() {
    spend_all("uneven demand", [40, 20, 10, 10, 5, 5, 5, 5], 12_000).await;
}

#[tokio::test(start_paused = true)]
async fn uneven_demand_is_local_to_the_last_seat() {
    spend_all("uneven demand", [40, 20, 10, 10, 5, 5, 5, 5], 10_000).await;
}

#[tokio::test(start_paused = true)]
async fn demand_at_one_site_is_local() {
    spend_all("all demand at one site", [100, 0, 0, 0, 0, 0, 0, 0], 10_000).await;
}

/// More is wanted than there is, at all sites at once: exactly the budget is spent.
#[tokio::test(start_paused = true)]
async fn never_more_than_the_budget() {
    let world = World::new().await;
    let escrow = world.escrow(3).await;
    escrow.create_at("seats", &[("site5", 700)]).await.unwrap();
    let mut workers = vec![];
    for at in 0..SITES {
        let escrow = world.escrow(at).await;
        for amount in [1, 2, 3] {
            let escrow = escrow.clone();
            workers.push(tokio::spawn(async move {
                let mut done = 0;
                for _ in 0..30 {
                    match escrow.spend("seats", amount).await {
                        Ok(()) => done += amount,
                        Err(error) => assert_eq!(error.state(), SqlState::CHECK_VIOLATION, "{error}"),
                    }
                }
                done
            }));
        }
    }
    let mut spent = 0;
    for worker in workers {
        spent += worker.await.unwrap();
    }
    assert_eq!(spent, 700, "those who want one get the last");
    let balance = escrow.balance("seats").await.unwrap();
    assert_eq!((balance.budget, balance.spent, balance.unspent), (700, 700, 0));
    let refused = escrow.spend("seats", 1).await.unwrap_err();
    assert_eq!((refused.state(), refused.constraint()), (SqlState::CHECK_VIOLATION, Some("seats")));
    assert!(refused.message().contains("exhausted: 1 wanted, 0 left"), "{refused}");
}

const SOLD: &str =
    "CREATE TABLE sold (site text, id bigint, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')";

/// Sells seats at a site: what is sold was spent, or nothing happens.
async fn sell(db: &Arc<dyn Database>, escrow: &Escrow, first: i64, seats: i64) -> Result<u64> {
    db.transaction(|tx: &dyn Transaction| {
        let escrow = escrow.clone();
        Box::pin(async move {
            escrow.spend_in(tx, "seats", seats).await?;
            let mut sold = 0;
            for id in first..first + seats {
                sold += tx.execute(("INSERT INTO sold VALUES ($1, $2)", [escrow.site().into(), id.into()])).await?;
            }
            Ok::<_, Error>(sold)
        })
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn spent_together_with_what_it_pays_for() {
    let world = World::new().await;
    let db: Arc<dyn Database> = Arc::new(world.database(2).await);
    db.execute(SOLD).await.unwrap();
    let escrow = Escrow::open(Arc::clone(&db)).await.unwrap();
    escrow.create("seats", 80).await.unwrap();
    sell(&db, &escrow, 0, 1).await.unwrap();
    // All of it at the local site.
    let (sold, wide, took) = watched(sell(&db, &escrow, 1, 2)).await;
    assert_eq!((sold.unwrap(), wide), (2, 0));
    assert!(took < ROUND_TRIP);
    // A row that is there already: neither is done.
    assert_eq!(state(sell(&db, &escrow, 0, 3).await), SqlState::UNIQUE_VIOLATION);
    assert_eq!(escrow.left_here("seats").await.unwrap(), 7);
    // What the local site does not have comes from others, and the transaction is run again by itself.
    let (sold, wide, _) = watched(sell(&db, &escrow, 10, 30)).await;
    assert!(sold.unwrap() == 30 && wide > 0);
    assert_eq!(state(sell(&db, &escrow, 100, 48).await), SqlState::CHECK_VIOLATION);
    assert_eq!(sell(&db, &escrow, 100, 47).await.unwrap(), 47);
    let count = db.query_one::<i64, _>("SELECT count(*) FROM sold").await.unwrap();
    assert_eq!((count, escrow.balance("seats").await.unwrap().spent), (80, 80));
    // A transaction that nobody repeats is told to.
    escrow.give_back("seats", 5).await.unwrap();
    let there = Escrow::open(Arc::new(world.database(6).await)).await.unwrap();
    let other = world.database(6).await;
    let tx = other.begin().await.unwrap();
    assert_eq!(state(there.spend_in(&*tx, "seats", 2).await), SqlState::SERIALIZATION_FAILURE);
    tx.rollback().await.unwrap();
    let (spent, wide, _) = watched(there.spend("seats", 2)).await;
    assert!(spent.is_ok() && wide == 0, "it was filled up meanwhile");
}

/// How many wide-area round trips something takes, once what went before is finalised.
async fn round_trips(call: impl Future<Output = Result<()>>) -> u128 {
    sleep(Duration::from_secs(1)).await;
    let (result, _, took) = watched(call).await;
    if let Err(error) = result {
        assert_eq!(error.state(), SqlState::CHECK_VIOLATION, "{error}");
    }
    took.as_millis() / ROUND_TRIP.as_millis()
}

#[tokio::test(start_paused = true)]
async fn what_it_costs() {
    let world = World::new().await;
    let (escrow, other) = (world.escrow(0).await, world.escrow(1).await);
    // Lanes are open then, and descriptions known.
    for client in [&escrow, &other] {
        client.create("first", 8).await.unwrap();
        client.spend("first", 8).await.unwrap();
        client.drop("first").await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(round_trips(escrow.create_at("seats", &[("site0", 4_000)])).await, 3);
    assert_eq!(round_trips(escrow.spend("seats", 1)).await, 0);
    assert_eq!(
        round_trips(other.spend("seats", 500)).await,
        4,
        "asks, reads what it takes, reads the ledgers, commits"
    );
    other.spend("seats", other.left_here("seats").await.unwrap()).await.unwrap();
    assert_eq!(round_trips(other.spend("seats", 1)).await, 4);
    assert!(other.left_here("seats").await.unwrap() > 100, "more than was needed");
    assert_eq!(round_trips(other.spend("seats", 1)).await, 0);
    assert_eq!(round_trips(other.give_back("seats", 1)).await, 0);
    assert_eq!(round_trips(other.grow("seats", 1)).await, 2);
    assert_eq!(round_trips(other.shrink("seats", 1)).await, 2);
    assert_eq!(round_trips(other.reconcile("seats")).await, 2);
    assert_eq!(round_trips(async { other.balance("seats").await.map(drop) }).await, 2);
    assert_eq!(round_trips(other.spend("seats", 4_000)).await, 3, "asks each site, then all at once");
    assert_eq!(round_trips(other.drop("seats")).await, 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_spent_again() {
    let world = World::new().await;
    let (escrow, other) = (world.escrow(0).await, world.escrow(1).await);
    escrow.create_at("seats", &[("site0", 10)]).await.unwrap();
    escrow.spend("seats", 10).await.unwrap();
    assert_eq!(state(other.spend("seats", 1).await), SqlState::CHECK_VIOLATION);
    // Somewhere else than where it was spent.
    let (given, wide, _) = watched(other.give_back("seats", 4)).await;
    assert!(given.is_ok() && wide == 0);
    let (spent, wide, _) = watched(other.spend("seats", 3)).await;
    assert!(spent.is_ok() && wide == 0);
    escrow.spend("seats", 1).await.unwrap();
    assert_eq!(state(escrow.spend("seats", 1).await), SqlState::CHECK_VIOLATION);
    let balance = escrow.balance("seats").await.unwrap();
    assert_eq!((balance.budget, balance.spent, balance.unspent), (10, 10, 0));
    let of = |name: &str| balance.sites.iter().find(|site| site.site == name).unwrap().spent;
    assert_eq!((of("site0"), of("site1")), (11, -1));
}

#[tokio::test(start_paused = true)]
async fn budgets_change() {
    let world = World::new().await;
    let escrow = world.escrow(4).await;
    escrow.create("seats", 10).await.unwrap();
    escrow.grow("seats", 90).await.unwrap();
    escrow.spend("seats", 40).await.unwrap();
    assert_eq!(state(escrow.shrink("seats", 61).await), SqlState::CHECK_VIOLATION);
    escrow.shrink("seats", 55).await.unwrap();
    let balance = escrow.balance("seats").await.unwrap();
    assert_eq!((balance.budget, balance.spent, balance.unspent), (45, 40, 5));
    // Another site that can't be reached is no witness; any one is enough.
    world.cut_off(0, true);
    escrow.grow("seats", 1).await.unwrap();
    world.cut_off(0, false);
    assert_eq!(escrow.balance("seats").await.unwrap().budget, 46);
    escrow.drop("seats").await.unwrap();
    assert_eq!(state(escrow.balance("seats").await), SqlState::UNDEFINED_OBJECT);
    assert_eq!(state(escrow.spend("seats", 1).await), SqlState::UNDEFINED_OBJECT);
    escrow.create("seats", 3).await.unwrap();
    world.escrow(7).await.spend("seats", 3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_cut_off_spends_what_it_holds() {
    let world = World::new().await;
    let (alone, other) = (world.escrow(0).await, world.escrow(1).await);
    other.create("seats", 80).await.unwrap();
    // Until the new rows bear no marks any more.
    sleep(Duration::from_secs(1)).await;
    world.cut_off(0, true);
    for _ in 0..10 {
        let (spent, wide, _) = watched(alone.spend("seats", 1)).await;
        assert!(spent.is_ok() && wide == 0);
    }
    let refused = alone.spend("seats", 1).await.unwrap_err();
    assert_eq!((refused.state(), refused.constraint()), (SqlState::CONNECTION_FAILURE, Some("seats")));
    assert!(refused.message().contains("1 wanted, 0 left; more may be left at \"site1\", \"site2\""), "{refused}");
    // The others spend what they have, and are told who may have more.
    for _ in 0..70 {
        other.spend("seats", 1).await.unwrap();
    }
    let refused = other.spend("seats", 1).await.unwrap_err();
    assert!(refused.message().ends_with("more may be left at \"site0\""), "{refused}");
    world.cut_off(0, false);
    assert_eq!(state(other.spend("seats", 1).await), SqlState::CHECK_VIOLATION);
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused() {
    let world = World::new().await;
    let escrow = world.escrow(0).await;
    escrow.create("seats", 10).await.unwrap();
    let before = escrow.balance("seats").await.unwrap();
    let invalid = SqlState::INVALID_PARAMETER_VALUE;
    for amount in [0, -1, i64::MIN] {
        assert_eq!(state(escrow.spend("seats", amount).await), invalid);
        assert_eq!(state(escrow.give_back("seats", amount).await), invalid);
        assert_eq!(state(escrow.grow("seats", amount).await), invalid);
        assert_eq!(state(escrow.shrink("seats", amount).await), invalid);
    }
    for name in ["", &"x".repeat(256)] {
        assert_eq!(state(escrow.create(name, 1).await), invalid);
        assert_eq!(state(escrow.spend(name, 1).await), invalid);
    }
    assert_eq!(state(escrow.create("other", -1).await), invalid);
    assert_eq!(state(escrow.create_at("other", &[("atlantis", 1)]).await), invalid);
    assert_eq!(state(escrow.create_at("other", &[("site1", 1), ("site1", 1)]).await), invalid);
    assert_eq!(state(escrow.reconcile_site("seats", "atlantis").await), invalid);
    let most = [("site0", i64::MAX), ("site1", 1)];
    assert_eq!(state(escrow.create_at("other", &most).await), invalid);
    assert_eq!(state(escrow.create("seats", 1).await), SqlState::DUPLICATE_OBJECT);
    for nothing in [
        state(escrow.spend("other", 1).await),
        state(escrow.give_back("other", 1).await),
        state(escrow.grow("other", 1).await),
        state(escrow.drop("other").await),
        state(escrow.balance("other").await),
    ] {
        assert_eq!(nothing, SqlState::UNDEFINED_OBJECT);
    }
    assert_eq!(state(escrow.give_back("seats", MAX_AMOUNT + 1).await), invalid);
    assert_eq!(state(escrow.spend("seats", MAX_AMOUNT).await), SqlState::CHECK_VIOLATION);
    // A name is a value, whatever it says.
    escrow.create("x'; DROP TABLE rome_escrow_ledger; --", 1).await.unwrap();
    assert_eq!(escrow.balance("seats").await.unwrap(), before);
    let bare = RomeDatabase::open(Arc::new(MemoryStore::new()), Options::default()).await.unwrap();
    assert_eq!(state(Escrow::open(Arc::new(bare)).await), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
}

/// Two clients make the same counter: one of them.
#[tokio::test(start_paused = true)]
async fn a_counter_is_made_once() {
    let world = World::new().await;
    let (left, right) = (world.escrow(0).await, world.escrow(7).await);
    let (left_made, right_made) = tokio::join!(left.create("seats", 5), right.create("seats", 5));
    assert!(left_made.is_ok() != right_made.is_ok(), "{left_made:?}, {right_made:?}");
    assert_eq!(left.balance("seats").await.unwrap().budget, 5);
}

/// Brings what a site's tables hold of a counter back to what they held before, as a backup would, in another epoch of its home.
async fn restore(world: &World, at: usize, epoch: u64, rows: &[(i16, i64, i64)], ledger: &[(String, String, i64)]) {
    let db = world.database(at).await;
    let values = || vec![site(at).into()];
    db.execute(("DELETE FROM rome_escrow_allotments WHERE site = $1", values())).await.unwrap();
    db.execute(("DELETE FROM rome_escrow_ledger WHERE site = $1", values())).await.unwrap();
    for (part, unspent, spent) in rows {
        let insert = "INSERT INTO rome_escrow_allotments VALUES ($1, 'seats', $2, $3, $4, '0000000000000000')";
        let values = [site(at).into(), (*part).into(), (*unspent).into(), (*spent).into()];
        db.execute((insert, values)).await.unwrap();
    }
    for (peer, entry, total) in ledger {
        let insert = "INSERT INTO rome_escrow_ledger VALUES ($1, 'seats', $2, $3, $4)";
        let values = [site(at).into(), peer.as_str().into(), entry.as_str().into(), (*total).into()];
        db.execute((insert, values)).await.unwrap();
    }
    world.stores[at].begin_epoch(&HomeId::new(&Options::default().home), epoch);
}

type Kept = (Vec<(i16, i64, i64)>, Vec<(String, String, i64)>);

async fn kept(world: &World, at: usize) -> Kept {
    let db = world.database(at).await;
    let rows = "SELECT part, unspent, spent FROM rome_escrow_allotments WHERE site = $1";
    let ledger = "SELECT peer, entry, total FROM rome_escrow_ledger WHERE site = $1";
    let values = || vec![site(at).into()];
    (db.query_as((rows, values())).await.unwrap(), db.query_as((ledger, values())).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_home_that_lost_commits_learns_from_its_peers() {
    let world = World::new().await;
    let (escrow, other) = (world.escrow(0).await, world.escrow(1).await);
    escrow.create_at("seats", &[("site0", 100)]).await.unwrap();
    escrow.spend("seats", 10).await.unwrap();
    let (rows, ledger) = kept(&world, 0).await;
    // Half of its reserve goes to another site, which spends it, and then some come back.
    other.spend("seats", 30).await.unwrap();
    let sent = 100
        - escrow.balance("seats").await.unwrap().sites.iter().find(|site| site.site == "site0").unwrap().unspent
        - 10;
    assert!(sent >= 30);
    restore(&world, 0, 7, &rows, &ledger).await;
    // Its old rows say that it has all of it still. It is not spent, also not by others, before the ledgers have been compared.
    world.cut_off(0, true);
    let refused = escrow.spend("seats", 1).await.unwrap_err();
    assert_eq!(refused.state(), SqlState::CONNECTION_FAILURE);
    assert!(refused.message().contains("can't be rebuilt"), "{refused}");
    assert_eq!(escrow.left_here("seats").await.unwrap(), 0);
    world.cut_off(0, false);
    let before = escrow.balance("seats").await.unwrap();
    assert_eq!((before.budget, before.sites[0].reconciled), (100 + sent, false), "twice");
    escrow.spend("seats", 1).await.unwrap();
    let after = escrow.balance("seats").await.unwrap();
    assert_eq!((after.budget, after.spent, after.sites[0].reconciled), (100, 41, true));
    // Spent to the end: exactly the budget.
    let mut spent = 41;
    while escrow.spend("seats", 1).await.is_ok() {
        spent += 1;
    }
    assert_eq!(spent, 100);
}

/// What was received in commits that were lost is not lost with them.
#[tokio::test(start_paused = true)]
async fn what_was_received_is_found_again() {
    let world = World::new().await;
    let (escrow, other) = (world.escrow(0).await, world.escrow(1).await);
    escrow.create_at("seats", &[("site0", 100)]).await.unwrap();
    let (rows, ledger) = kept(&world, 1).await;
    other.spend("seats", 2).await.unwrap();
    escrow.grow("seats", 5).await.unwrap();
    restore(&world, 1, 7, &rows, &ledger).await;
    // The spender of another site has it rebuilt; what was spent in lost commits is as lost as they are.
    escrow.spend("seats", 105).await.unwrap();
    let balance = escrow.balance("seats").await.unwrap();
    assert_eq!((balance.budget, balance.spent), (105, 105));
    assert!(balance.sites.iter().all(|site| site.reconciled));
    // A grant that the granted site lost is remembered by its witness.
    let (rows, ledger) = kept(&world, 0).await;
    escrow.grow("seats", 20).await.unwrap();
    restore(&world, 0, 8, &rows, &ledger).await;
    escrow.spend("seats", 20).await.unwrap();
    assert_eq!(escrow.balance("seats").await.unwrap().budget, 125);
}

/// A home that has lost what gave something back, while what was given back has gone on to another site.
#[tokio::test(start_paused = true)]
async fn a_debt_is_paid_before_anything_is_spent() {
    let world = World::new().await;
    let (escrow, other) = (world.escrow(0).await, world.escrow(1).await);
    escrow.create_at("seats", &[("site0", 100)]).await.unwrap();
    escrow.spend("seats", 90).await.unwrap();
    let (rows, ledger) = kept(&world, 0).await;
    escrow.give_back("seats", 40).await.unwrap();
    other.spend("seats", 45).await.unwrap();
    restore(&world, 0, 7, &rows, &ledger).await;
    escrow.reconcile("seats").await.unwrap();
    let balance = escrow.balance("seats").await.unwrap();
    assert_eq!((balance.budget, balance.spent, balance.unspent), (100, 135, -35));
    assert_eq!(state(escrow.spend("seats", 1).await), SqlState::CHECK_VIOLATION);
    escrow.give_back("seats", 36).await.unwrap();
    escrow.spend("seats", 1).await.unwrap();
    assert_eq!(state(escrow.spend("seats", 1).await), SqlState::CHECK_VIOLATION);
}

/// A site that joins later has nothing, and gets what it needs.
#[tokio::test]
async fn a_database_of_one_site_and_one_that_joins() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let alone: Arc<dyn Database> = Arc::new(RomeDatabase::open(store, Options::default()).await.unwrap());
    Escrow::install(&*alone).await.unwrap();
    Escrow::install(&*alone).await.unwrap();
    let escrow = Escrow::open_with(alone, 3).await.unwrap();
    escrow.create("seats", 10).await.unwrap();
    escrow.spend("seats", 9).await.unwrap();
    assert_eq!(state(escrow.spend("seats", 2).await), SqlState::CHECK_VIOLATION);
    escrow.grow("seats", 1).await.unwrap();
    escrow.spend("seats", 2).await.unwrap();
    escrow.give_back("seats", 11).await.unwrap();
    escrow.shrink("seats", 11).await.unwrap();
    assert_eq!(escrow.balance("seats").await.unwrap().budget, 0);

    let stores: Vec<(String, Arc<dyn Store>)> =
        ["a", "b", "c"].map(|name| (name.to_owned(), Arc::new(MemoryStore::new()) as Arc<dyn Store>)).into();
    let two = Arc::new(FixedSites::new(stores[..2].to_vec()));
    let first = RomeDatabase::open_sites("a", two, Options::default()).await.unwrap();
    Escrow::install(&first).await.unwrap();
    let escrow = Escrow::open(Arc::new(first)).await.unwrap();
    escrow.create("seats", 10).await.unwrap();
    let all = Arc::new(FixedSites::new(stores));
    RomeDatabase::open_sites("a", all.clone(), Options::default()).await.unwrap().add_site("c").await.unwrap();
    let third = RomeDatabase::open_sites("c", all, Options::default()).await.unwrap();
    let there = Escrow::open(Arc::new(third)).await.unwrap();
    there.spend("seats", 8).await.unwrap();
    assert_eq!(there.balance("seats").await.unwrap().unspent, 2);
}

/// Transactions per second that each sell a seat at one site, by so many clients.
async fn rate(purses: u16, clients: i64) -> f64 {
    const SALES: i64 = 400;
    let world = World::new().await;
    let db: Arc<dyn Database> = Arc::new(world.database(0).await);
    db.execute(SOLD).await.unwrap();
    let escrow = Escrow::open_with(Arc::clone(&db), purses).await.unwrap();
    escrow.create_at("seats", &[("site0", 1_000_000)]).await.unwrap();
    let begun = Instant::now();
    let workers = (0..clients).map(|client| {
        let (db, escrow) = (Arc::clone(&db), escrow.clone());
        tokio::spawn(async move {
            for number in 0..SALES / clients {
                sell(&db, &escrow, client * SALES + number, 1).await.unwrap();
            }
        })
    });
    futures::future::join_all(workers.collect::<Vec<_>>()).await;
    SALES as f64 / begun.elapsed().as_secs_f64()
}

/// The row that all spenders of a site change makes them take turns, but does not make them slower than one of them; purses let several go at once.
#[tokio::test(start_paused = true)]
async fn a_hot_purse_is_no_livelock() {
    let (alone, together, apart) = (rate(1, 1).await, rate(1, 16).await, rate(8, 16).await);
    println!("one client {alone:.0}/s, 16 clients {together:.0}/s, 16 clients of 8 purses {apart:.0}/s");
    assert!(together > 0.7 * alone, "{together:.0}/s by 16 clients, {alone:.0}/s by one");
    assert!(apart > 1.5 * together, "{apart:.0}/s of 8 purses, {together:.0}/s of one");
}

/// A site is gone for good, the budget grows by what it held, and a new site takes its name: it gets nothing of what the old one had.
#[tokio::test(start_paused = true)]
async fn a_new_site_is_not_taken_for_an_old_one_of_its_name() {
    let mut world = World::new().await;
    let escrow = world.escrow(1).await;
    escrow.create("c", 800).await.unwrap();
    // The richest is asked, both ways: there are lines of every kind.
    escrow.spend("c", 150).await.unwrap();
    world.escrow(7).await.spend("c", 40).await.unwrap();
    world.escrow(7).await.grow("c", 10).await.unwrap();
    world.cut_off(7, true);
    RomeDatabase::forget_site("site1", world.sites(1), "site7", ForgetOptions::default(), world.options())
        .await
        .unwrap();
    let escrow = world.escrow(1).await;
    let left = escrow.balance("c").await.unwrap().budget;
    assert!(left < 800, "{left}");
    escrow.grow("c", 800 - left).await.unwrap();
    world.stores[7] = Arc::new(MemoryStore::new());
    world.cut_off(7, false);
    let db = world.database(1).await;
    db.add_site("site7").await.unwrap();
    db.ended().await;
    let new = world.escrow(7).await;
    new.reconcile("c").await.unwrap();
    // Those who know the new store.
    let escrow = world.escrow(1).await;
    for at in 0..SITES {
        escrow.reconcile_site("c", &site(at)).await.unwrap();
    }
    let balance = new.balance("c").await.unwrap();
    assert_eq!(balance.budget, 800, "{balance:?}");
    assert_eq!(balance.sites.iter().find(|of| of.site == "site7").map(|of| of.unspent + of.spent), Some(0));
    // And takes part from now on.
    new.spend("c", 5).await.unwrap();
    assert_eq!(escrow.balance("c").await.unwrap().budget, 800);
}
