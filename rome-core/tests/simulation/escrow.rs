//! Escrowed counters under the same network: spent, given back, granted and revoked at all sites, while sites are cut off, clients crash and homes
//! begin other epochs.
//!
//! `seats` is spent together with rows, so that at any moment the rows are what was spent. `power` is spent alone, so that what was spent lies
//! between what was acknowledged and that plus what is of unknown outcome. The budget of `power` changes, that of `seats` does not.

use crate::counts::Ended;
use crate::network::home;
use crate::regressions::{ESCROW, Regression};
use crate::run::{Plan, Run, Tasks, patience, site};
use crate::scenario::Scenario;
use async_trait::async_trait;
use parking_lot::Mutex;
use rand::Rng;
use rome_core::database::{Database, DatabaseExt, Escrow, Options, Queryable, RomeDatabase, Transaction};
use rome_core::store::{Commit, Key, Store, Write};
use rome_core::txn::Patience;
use rome_core::{Result, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const SEATS: i64 = 24;
const POWER: i64 = 30;

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

pub struct Theatre {
    run: Arc<Run>,
    /// Of `power`.
    spent: Between,
    budget: Between,
    ids: AtomicI64,
}

/// A client: its database and its counters.
pub struct Client {
    rome: RomeDatabase,
    db: Arc<dyn Database>,
    escrow: Escrow,
    /// What it has begun to change.
    under_way: Mutex<Option<(Of, i64)>>,
}

/// Of which figure of `power`.
#[derive(Clone, Copy)]
enum Of {
    Spent,
    Budget,
}

impl Theatre {
    async fn client(&self, at: usize, crashed: &Arc<AtomicBool>, sweep_every: Option<Duration>) -> Result<Client> {
        let rome = self.run.open(at, crashed, Patience { sweep_every, ..patience() }).await?;
        let db: Arc<dyn Database> = Arc::new(rome.clone());
        Ok(Client { escrow: Escrow::open(Arc::clone(&db)).await?, db, rome, under_way: Mutex::default() })
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
        let from = site(self.run.random(|random| random.random_range(0..self.run.plan.sites)));
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
            let pause = self.run.random(|random| random.random_range(300..2_000));
            sleep(Duration::from_millis(pause)).await;
            let at = self.run.random(|random| random.random_range(0..self.run.plan.sites));
            self.run.network.store(at).begin_epoch(&home(), epoch);
            self.run.network.note(format_args!("another epoch at {at}"));
        }
    }

    /// A site's home is restored from a backup, while the others have gone on and have taken from it and given to it. The seats that it sold meanwhile
    /// are unsold again; what it has sent away it has not.
    async fn restore(&self, clients: &[Client]) {
        let at = self.run.random(|random| random.random_range(0..self.run.plan.sites));
        let backup = self.rows(at).await;
        self.sell_some(clients).await;
        // What was sold has been finalised.
        sleep(Duration::from_secs(5)).await;
        let writes = self.rows(at).await.into_keys().map(Write::Delete).collect();
        let puts = backup.into_iter().map(|(key, value)| Write::Put(key, value)).collect();
        let (store, home) = (self.run.network.store(at), home());
        for writes in [writes, puts] {
            store.commit(&home, Commit { writes, ..Commit::default() }).await.expect("memory");
        }
        store.begin_epoch(&home, 1_000_000);
        self.run.network.note(format_args!("a backup at {at}"));
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
                let seats = self.run.random(|random| random.random_range(1..=4));
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
        self.run.network.entries(at, &tables).await.into_iter().collect()
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

#[async_trait]
impl Scenario for Theatre {
    const NAME: &'static str = "escrowed counters";
    const PAUSE: u64 = 60;
    const USUAL: &'static [SqlState] = &[SqlState::CHECK_VIOLATION];
    const HAPPENS: &'static [&'static str] = &["refused for want of it", "spent alone"];
    const REGRESSIONS: &'static [Regression] = ESCROW;

    type Client = Client;
    type Step = u32;

    fn plan(seed: u64) -> Plan {
        let sites = if seed % 8 == 7 { 4 } else { 2 + (seed % 2) as usize };
        Plan { sites, clients: sites, ..Plan::of(seed, 8) }
    }

    fn first_client(seed: u64) -> u64 {
        seed.wrapping_mul(1_000_003).wrapping_add(100)
    }

    fn new(run: Arc<Run>) -> Self {
        Self { run, spent: Between::default(), budget: Between::default(), ids: AtomicI64::new(1) }
    }

    fn run(&self) -> &Run {
        &self.run
    }

    async fn found(&self) {
        let options = Options { seed: Some(self.run.plan.seed), ..Options::default() };
        let db = RomeDatabase::open_sites(&site(0), self.run.sites(0, &Arc::default()), options).await;
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

    fn beside(self: &Arc<Self>, tasks: &mut Tasks) {
        tasks.cut_sites();
        tasks.fault(Arc::clone(self).new_epochs());
    }

    async fn open(&self, at: usize, crashed: &Arc<AtomicBool>) -> Result<Client> {
        self.client(at, crashed, None).await
    }

    fn draw(&self) -> (u32, Option<Duration>) {
        let (dies, after) = (self.run.fault(0.05), self.run.moment(150));
        (self.run.random(|random| random.random_range(0..12)), dies.then_some(after))
    }

    async fn step(&self, client: &Client, _at: usize, kind: u32) -> Result<()> {
        let amount = self.run.random(|random| random.random_range(1..=4));
        let escrow = &client.escrow;
        let under_way = |of: Of, by: i64| *client.under_way.lock() = Some((of, by));
        match kind {
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
        }
    }

    fn ended(&self, client: &Client, ended: Option<Ended>) {
        let refused = matches!(ended, Some(Ended::Refused(_)));
        if let Some((of, by)) = client.under_way.lock().take()
            && !refused
        {
            // Nobody will ever know what became of it where the client died.
            self.of(of).change(by, ended == Some(Ended::Done));
        }
        if ended == Some(Ended::Refused(SqlState::CHECK_VIOLATION)) {
            self.run.count(|counts| counts.count("refused for want of it", 1));
        }
    }

    /// Once everything has arrived: it adds up; and a site that is cut off spends all that it holds.
    async fn conclude(&self) {
        let mut clients = vec![];
        for at in 0..self.run.plan.sites {
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
        if self.run.plan.seed.is_multiple_of(4) {
            self.restore(&clients).await;
            self.check_ledgers(first).await;
        }
        // Until no mark is left.
        sleep(Duration::from_secs(5)).await;
        let alone = clients.last().expect("sites");
        let holds = alone.escrow.left_here("power").await.expect("a calm network");
        for other in 0..self.run.plan.sites - 1 {
            self.run.network.cut(self.run.plan.sites - 1, other, true);
            self.run.network.cut(other, self.run.plan.sites - 1, true);
        }
        for _ in 0..holds {
            alone.escrow.spend("power", 1).await.expect("it holds enough");
        }
        let dry = alone.escrow.spend("power", 1).await.expect_err("all that it holds is spent");
        assert_eq!(dry.state(), SqlState::CONNECTION_FAILURE, "{dry}");
        self.run.count(|counts| counts.count("spent alone", holds as usize));
        self.run.network.calm();
    }
}
