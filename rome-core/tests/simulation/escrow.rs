//! Escrowed counters under the same network: spent, given back, granted and revoked at all sites, while sites are cut off, clients crash and homes
//! begin other epochs.
//!
//! `seats` is spent together with rows, so that at any moment the rows are what was spent. `power` is spent alone, so that what was spent lies
//! between what was acknowledged and that plus what is of unknown outcome. The budget of `power` changes, that of `seats` does not.

use crate::network::{Network, Weather};
use crate::world::Plan;
use rand::Rng;
use rome_core::catalog::keys::whole_space;
use rome_core::database::{Database, DatabaseExt, Escrow, FixedSites, Options, Queryable, RomeDatabase, Transaction};
use rome_core::store::{Commit, HomeId, Key, Read, ReadLimits, ReadOutcome, ReadRequest, Store, Write};
use rome_core::txn::Patience;
use rome_core::{Result, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const SEATS: i64 = 24;
const POWER: i64 = 30;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Counts {
    pub done: usize,
    pub refused: usize,
    pub unknown: usize,
    /// Of those refused, because there was not enough anywhere.
    pub exhausted: usize,
    /// Spent at sites that were cut off.
    pub alone: usize,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        let Self { done, refused, unknown, exhausted, alone } = other;
        self.done += done;
        self.refused += refused;
        self.unknown += unknown;
        self.exhausted += exhausted;
        self.alone += alone;
    }
}

/// The least and the most that something has come to.
#[derive(Default)]
struct Between {
    least: AtomicI64,
    most: AtomicI64,
}

impl Between {
    /// Notes a change; of unknown outcome, if nobody knows.
    fn change(&self, by: i64, known: bool) {
        if known || by < 0 {
            self.least.fetch_add(by, Ordering::Relaxed);
        }
        if known || by > 0 {
            self.most.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn check(&self, found: i64, what: &str) {
        let (least, most) = (self.least.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed));
        assert!((least..=most).contains(&found), "{what}: {found}, which is not between {least} and {most}");
    }
}

struct Theatre {
    plan: Plan,
    network: Arc<Network>,
    counts: parking_lot::Mutex<Counts>,
    /// Of `power`.
    spent: Between,
    budget: Between,
    ids: AtomicI64,
    clients: AtomicI64,
}

/// A client: its database and its counters.
struct Client {
    rome: RomeDatabase,
    db: Arc<dyn Database>,
    escrow: Escrow,
}

fn site(number: usize) -> String {
    format!("site{number}")
}

impl Theatre {
    async fn client(&self, at: usize, crashed: &Arc<AtomicBool>, sweep_every: Option<Duration>) -> Result<Client> {
        let stores = (0..self.plan.sites).map(|to| (site(to), self.network.reach(at, to, Arc::clone(crashed))));
        let patience = Patience {
            recovery_after: Duration::from_millis(300),
            sweep_every,
            replicate_every: None,
            ..Patience::default()
        };
        let number = self.clients.fetch_add(100, Ordering::Relaxed) as u64;
        let seed = Some(self.plan.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let options = Options { patience, seed, max_attempts: 8, ..Options::default() };
        let rome = RomeDatabase::open_sites(&site(at), Arc::new(FixedSites::new(stores)), options).await?;
        let db: Arc<dyn Database> = Arc::new(rome.clone());
        Ok(Client { escrow: Escrow::open(Arc::clone(&db)).await?, db, rome })
    }

    async fn found(&self) {
        let stores = (0..self.plan.sites).map(|to| (site(to), self.network.reach(0, to, Arc::default())));
        let options = Options { seed: Some(self.plan.seed), ..Options::default() };
        let db = RomeDatabase::open_sites("site0", Arc::new(FixedSites::new(stores)), options).await;
        let db: Arc<dyn Database> = Arc::new(db.expect("a calm network"));
        let table = "CREATE TABLE sold (site text, id bigint, seats bigint NOT NULL, PRIMARY KEY (site, id)) \
                     WITH (placement = 'by_site(site)')";
        db.execute(table).await.expect("a calm network");
        Escrow::install(&*db).await.expect("a calm network");
        let escrow = Escrow::open(db).await.expect("a calm network");
        escrow.create("seats", SEATS).await.expect("a calm network");
        escrow.create_at("power", &[("site1", POWER)]).await.expect("a calm network");
        self.budget.change(POWER, true);
    }

    async fn work(self: Arc<Self>, at: usize) {
        let mut crashed = Arc::new(AtomicBool::new(false));
        let mut client = None;
        for _ in 0..self.plan.transactions {
            let pause = self.network.random(|random| random.random_range(0..60));
            sleep(Duration::from_millis(pause)).await;
            let open = match client.take() {
                Some(open) => open,
                None => match self.client(at, &crashed, None).await {
                    Ok(open) => open,
                    Err(_) => continue,
                },
            };
            let crash = self.plan.faults && self.network.random(|random| random.random_bool(0.05));
            let after = self.network.random(|random| random.random_range(0..150));
            if !crash {
                self.change(&open).await;
                client = Some(open);
                continue;
            }
            let unknown = Unfinished { theatre: &self, change: parking_lot::Mutex::default() };
            let done = tokio::select! {
                biased;
                () = self.change_noting(&open, &unknown) => true,
                () = sleep(Duration::from_millis(after)) => false,
            };
            match done {
                true => client = Some(open),
                false => {
                    crashed.store(true, Ordering::Relaxed);
                    unknown.conclude();
                    self.network.note(format_args!("a client at {at} crashes"));
                    crashed = Arc::new(AtomicBool::new(false));
                }
            }
        }
    }

    async fn change(&self, client: &Client) {
        let unfinished = Unfinished { theatre: self, change: parking_lot::Mutex::default() };
        self.change_noting(client, &unfinished).await;
    }

    /// One random change; notes in `unfinished` what is under way.
    async fn change_noting(&self, client: &Client, unfinished: &Unfinished<'_>) {
        let kind = self.network.random(|random| random.random_range(0..12));
        let amount = self.network.random(|random| random.random_range(1..=4));
        let escrow = &client.escrow;
        let under_way = |of: Of, by: i64| *unfinished.change.lock() = Some((of, by));
        let result = match kind {
            0..3 => {
                under_way(Of::Spent, amount);
                escrow.spend("power", amount).await
            }
            3 => {
                under_way(Of::Spent, -amount);
                escrow.give_back("power", amount).await
            }
            4 => {
                under_way(Of::Budget, amount);
                escrow.grow("power", amount).await
            }
            5 => {
                under_way(Of::Budget, -amount);
                escrow.shrink("power", amount).await
            }
            6..10 => self.sell(client, amount).await,
            10 => self.refund(client).await,
            _ => self.audit(client).await,
        };
        self.note(client.escrow.site(), kind, unfinished, &result);
    }

    fn note(&self, at: &str, kind: u32, unfinished: &Unfinished<'_>, result: &Result<()>) {
        let change = unfinished.change.lock().take();
        let mut counts = self.counts.lock();
        let what = match result {
            Ok(()) => {
                counts.done += 1;
                "done".to_owned()
            }
            Err(error) if error.is_undetermined() => {
                counts.unknown += 1;
                "unknown".to_owned()
            }
            Err(error) => {
                let usual = [SqlState::SERIALIZATION_FAILURE, SqlState::CONNECTION_FAILURE, SqlState::CHECK_VIOLATION];
                assert!(usual.contains(&error.state()), "{kind}: {error}");
                counts.refused += 1;
                counts.exhausted += usize::from(error.state() == SqlState::CHECK_VIOLATION);
                error.state().to_string()
            }
        };
        drop(counts);
        if let Some((of, by)) = change
            && !result.as_ref().is_err_and(|error| !error.is_undetermined())
        {
            self.of(of).change(by, result.is_ok());
        }
        self.network.note(format_args!("at {at}: {kind} {what}"));
    }

    fn of(&self, of: Of) -> &Between {
        match of {
            Of::Spent => &self.spent,
            Of::Budget => &self.budget,
        }
    }

    /// Seats and the row that they pay for, at the local site.
    async fn sell(&self, client: &Client, seats: i64) -> Result<()> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        client
            .db
            .transaction(|tx: &dyn Transaction| {
                let escrow = client.escrow.clone();
                Box::pin(async move {
                    escrow.spend_in(tx, "seats", seats).await?;
                    let insert = "INSERT INTO sold VALUES ($1, $2, $3)";
                    tx.execute((insert, [escrow.site().into(), id.into(), seats.into()])).await.map(drop)
                })
            })
            .await
    }

    /// Removes a row of any site, and gives back what it was paid with here.
    async fn refund(&self, client: &Client) -> Result<()> {
        let from = site(self.network.random(|random| random.random_range(0..self.plan.sites)));
        client
            .db
            .transaction(|tx: &dyn Transaction| {
                let (escrow, from) = (client.escrow.clone(), from.clone());
                Box::pin(async move {
                    let oldest = "SELECT id, seats FROM sold WHERE site = $1 ORDER BY id LIMIT 1";
                    let found: Option<(i64, i64)> = tx.query_opt((oldest, [from.as_str().into()])).await?;
                    let Some((id, seats)) = found else { return Ok(()) };
                    tx.execute(("DELETE FROM sold WHERE site = $1 AND id = $2", [from.into(), id.into()])).await?;
                    escrow.give_back_in(tx, "seats", seats).await
                })
            })
            .await
    }

    /// What one query must see at any time.
    async fn audit(&self, client: &Client) -> Result<()> {
        let seats = "SELECT coalesce(sum(unspent), 0)::bigint, coalesce(sum(spent), 0)::bigint, min(unspent)::bigint, \
                     (SELECT coalesce(sum(seats), 0)::bigint FROM sold) FROM rome_escrow_allotments WHERE counter = 'seats'";
        let (unspent, spent, poorest, sold): (i64, i64, i64, i64) = client.db.query_one(seats).await?;
        assert_eq!((unspent + spent, spent), (SEATS, sold), "unspent and spent; spent and sold");
        assert!(poorest >= 0 && (0..=SEATS).contains(&spent));
        let power = client.escrow.balance("power").await?;
        assert!(power.unspent >= 0 && power.sites.iter().all(|site| site.unspent >= 0), "{power:?}");
        Ok(())
    }

    /// Homes begin other epochs now and then.
    async fn new_epochs(self: Arc<Self>) {
        for epoch in 1.. {
            let pause = self.network.random(|random| random.random_range(300..2_000));
            sleep(Duration::from_millis(pause)).await;
            let at = self.network.random(|random| random.random_range(0..self.plan.sites));
            self.network.store(at).begin_epoch(&HomeId::new(&Options::default().home), epoch);
            self.network.note(format_args!("another epoch at {at}"));
        }
    }

    /// Once everything has arrived: it adds up; and a site that is cut off spends all that it holds.
    async fn conclude(&self) {
        let mut clients = vec![];
        for at in 0..self.plan.sites {
            clients.push(self.client(at, &Arc::default(), Some(Duration::from_secs(5))).await.expect("a calm network"));
        }
        // The latest message has arrived, and each site was swept.
        sleep(Duration::from_secs(15)).await;
        let Some(first) = clients.first() else { return };
        for client in &clients {
            for counter in ["seats", "power"] {
                client.escrow.reconcile(counter).await.expect("a calm network");
            }
        }
        self.audit(first).await.expect("a calm network");
        let power = first.escrow.balance("power").await.expect("a calm network");
        self.spent.check(power.spent, "spent");
        self.budget.check(power.budget, "budget");
        self.check_ledgers(first).await;
        // Costly, and much the same each time.
        if self.plan.seed.is_multiple_of(4) {
            self.restore(&clients).await;
            self.check_ledgers(first).await;
        }
        // Until no mark is left.
        sleep(Duration::from_secs(5)).await;
        let alone = clients.last().expect("sites");
        let holds = alone.escrow.left_here("power").await.expect("a calm network");
        for other in 0..self.plan.sites - 1 {
            self.network.cut(self.plan.sites - 1, other, true);
            self.network.cut(other, self.plan.sites - 1, true);
        }
        for _ in 0..holds {
            alone.escrow.spend("power", 1).await.expect("it holds enough");
        }
        let dry = alone.escrow.spend("power", 1).await.expect_err("all that it holds is spent");
        assert_eq!(dry.state(), SqlState::CONNECTION_FAILURE, "{dry}");
        self.counts.lock().alone += holds as usize;
        self.network.calm();
    }

    /// A site's home is restored from a backup, while the others have gone on and have taken from it and given to it. The seats that it sold meanwhile
    /// are unsold again; what it has sent away it has not.
    async fn restore(&self, clients: &[Client]) {
        let at = self.network.random(|random| random.random_range(0..self.plan.sites));
        let backup = self.rows(at).await;
        self.sell_some(clients).await;
        // What was sold has been finalised.
        sleep(Duration::from_secs(5)).await;
        let writes = self.rows(at).await.into_keys().map(Write::Delete).collect();
        let puts = backup.into_iter().map(|(key, value)| Write::Put(key, value)).collect();
        let (store, home) = (self.network.store(at), HomeId::new(&Options::default().home));
        for writes in [writes, puts] {
            store.commit(&home, Commit { writes, ..Commit::default() }).await.expect("memory");
        }
        store.begin_epoch(&home, 1_000_000);
        self.network.note(format_args!("a backup at {at}"));
        self.sell_some(clients).await;
        for client in clients {
            client.escrow.reconcile("power").await.expect("a calm network");
            client.escrow.reconcile("seats").await.expect("a calm network");
        }
        for client in clients {
            self.audit(client).await.expect("a calm network");
        }
    }

    /// Sells at each site in turn, as long as there is enough; what one does not have it takes from others.
    async fn sell_some(&self, clients: &[Client]) {
        for client in clients {
            for _ in 0..2 {
                let seats = self.network.random(|random| random.random_range(1..=4));
                match self.sell(client, seats).await {
                    Ok(()) => {}
                    Err(error) => assert_eq!(error.state(), SqlState::CHECK_VIOLATION, "{error}"),
                }
            }
        }
    }

    /// All rows that a site's home holds.
    async fn rows(&self, at: usize) -> BTreeMap<Key, Key> {
        let client = self.client(at, &Arc::default(), None).await.expect("a calm network");
        let tables = client.rome.catalog().tables().iter().map(|table| table.id.0).collect::<Vec<_>>();
        let read = |space: &u32| Read::Range { range: whole_space(*space), limit: None, reverse: false };
        let limits = ReadLimits { entries: usize::MAX, bytes: usize::MAX };
        let request = ReadRequest { reads: tables.iter().map(read).collect(), limits, ..ReadRequest::default() };
        match self.network.store(at).read(&HomeId::new(&Options::default().home), request).await.expect("memory") {
            ReadOutcome::Answer(answer) => {
                let entries = answer.results.into_iter().flat_map(|result| result.entries);
                entries.map(|entry| (entry.key, entry.value)).collect()
            }
            ReadOutcome::Conflict { .. } => unreachable!("no guards"),
        }
    }

    /// Both ends of each ledger are the same, and what each site holds and has spent is what it was given.
    async fn check_ledgers(&self, client: &Client) {
        let ends = "SELECT count(*) FROM rome_escrow_ledger a WHERE NOT EXISTS (SELECT 1 FROM rome_escrow_ledger b \
                    WHERE b.site = a.peer AND b.peer = a.site AND b.counter = a.counter AND b.total = a.total AND b.entry = \
                    CASE a.entry WHEN 'sent' THEN 'received' WHEN 'received' THEN 'sent' WHEN 'granted' THEN 'saw granted' \
                    WHEN 'saw granted' THEN 'granted' WHEN 'revoked' THEN 'saw revoked' ELSE 'revoked' END)";
        assert_eq!(client.db.query_one::<i64, _>(ends).await.expect("a calm network"), 0, "lines of one end alone");
        let holdings = "SELECT count(*) FROM (SELECT site, counter, sum(unspent + spent) AS held FROM rome_escrow_allotments \
                        GROUP BY site, counter) h WHERE h.held <> (SELECT sum(CASE entry WHEN 'received' THEN total \
                        WHEN 'granted' THEN total WHEN 'sent' THEN -total WHEN 'revoked' THEN -total ELSE 0 END) \
                        FROM rome_escrow_ledger l WHERE l.site = h.site AND l.counter = h.counter)";
        assert_eq!(
            client.db.query_one::<i64, _>(holdings).await.expect("a calm network"),
            0,
            "holdings without a ledger"
        );
    }
}

/// Of which figure of `power`.
#[derive(Clone, Copy)]
enum Of {
    Spent,
    Budget,
}

/// A change that is under way.
struct Unfinished<'t> {
    theatre: &'t Theatre,
    change: parking_lot::Mutex<Option<(Of, i64)>>,
}

impl Unfinished<'_> {
    /// Nobody will ever know what became of it.
    fn conclude(&self) {
        if let Some((of, by)) = self.change.lock().take() {
            self.theatre.of(of).change(by, false);
        }
    }
}

/// Runs a plan to its end and checks what must hold; returns its log, too.
pub fn run(plan: Plan) -> (Counts, String) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let network = Network::new(plan.sites, plan.seed, Weather::FAIR);
        let theatre = Arc::new(Theatre {
            plan,
            network: Arc::clone(&network),
            counts: parking_lot::Mutex::default(),
            spent: Between::default(),
            budget: Between::default(),
            ids: AtomicI64::new(1),
            clients: AtomicI64::new(100),
        });
        theatre.found().await;
        network.change(plan.weather);
        let troubles = plan.faults.then(|| {
            let cuts = crate::world::trouble(Arc::clone(&network), plan.sites, Arc::default());
            (tokio::spawn(cuts), tokio::spawn(Arc::clone(&theatre).new_epochs()))
        });
        let workers: Vec<_> =
            (0..plan.clients).map(|client| tokio::spawn(Arc::clone(&theatre).work(client % plan.sites))).collect();
        for worker in workers {
            worker.await.expect("a worker's checks hold");
        }
        if let Some((cuts, epochs)) = troubles {
            cuts.abort();
            epochs.abort();
        }
        network.calm();
        theatre.conclude().await;
        (std::mem::take(&mut *theatre.counts.lock()), network.log())
    })
}
