//! Clients at all sites that go on working with a table while it is moved around.

use crate::world::{NAMES, World, described};
use crate::{ACCOUNTS, PLACEMENTS, contents, dies_at, found};
use rome_core::database::{DatabaseExt, Queryable, RomeDatabase, Transaction};
use rome_core::{Error, Result, SqlState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const AMOUNT: i64 = 100;

/// Shared by all workers.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    done: AtomicU64,
    refused: AtomicU64,
    numbers: AtomicU64,
}

fn random(below: i64) -> i64 {
    (rand::random::<u64>() % below as u64) as i64
}

impl Load {
    async fn work(self: Arc<Self>, db: RomeDatabase) {
        while !self.over.load(Ordering::Relaxed) {
            match self.change(&db).await {
                Ok(()) => self.done.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    let usual =
                        [SqlState::SERIALIZATION_FAILURE, SqlState::UNIQUE_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION];
                    assert!(usual.contains(&error.state()), "{error}");
                    self.refused.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
    }

    async fn change(&self, db: &RomeDatabase) -> Result<()> {
        let (one, other) = (random(ACCOUNTS), random(ACCOUNTS));
        let new = 1_000 + self.numbers.fetch_add(1, Ordering::Relaxed) as i64;
        let region = NAMES[random(3) as usize];
        let kind = ["a", "b", "c", "d"][random(4) as usize];
        let run = |statement: String| async move { db.execute(statement.as_str()).await.map(drop) };
        match random(12) {
            0..4 => transfer(db, one, other).await,
            // To another site, or shard, or both.
            4 => run(format!("UPDATE account SET region = '{region}' WHERE id = {one}")).await,
            5 => run(format!("UPDATE account SET kind = '{kind}', serial = {new} WHERE id = {one}")).await,
            // Names that others have, too.
            6 => run(format!("UPDATE account SET email = 'e{}' WHERE id = {one}", other % 20)).await,
            7 => run(format!("UPDATE account SET email = NULL WHERE id = {one}")).await,
            8 => {
                let insert =
                    format!("INSERT INTO account VALUES ({new}, '{region}', '{kind}', 'e{}', {new}, 0)", other % 20);
                run(insert).await?;
                run(format!("UPDATE account SET id = id + 1000000 WHERE id = {new}")).await?;
                run(format!("INSERT INTO note VALUES ({new}, {})", new + 1_000_000)).await?;
                run(format!("DELETE FROM note WHERE id = {new}")).await?;
                run(format!("DELETE FROM account WHERE id = {}", new + 1_000_000)).await
            }
            9 => run(format!("DELETE FROM account WHERE id > {ACCOUNTS} AND id < {}", new - 50)).await,
            _ => look(db).await,
        }
    }
}

async fn transfer(db: &RomeDatabase, from: i64, to: i64) -> Result<()> {
    db.transaction(|tx: &dyn Transaction| {
        Box::pin(async move {
            let amount: i64 = tx.query_one(("SELECT amount FROM account WHERE id = $1", [from.into()])).await?;
            let sum = amount.min(7);
            tx.execute(("UPDATE account SET amount = amount - $2 WHERE id = $1", [from.into(), sum.into()])).await?;
            tx.execute(("UPDATE account SET amount = amount + $2 WHERE id = $1", [to.into(), sum.into()])).await?;
            Ok(())
        }) as futures::future::BoxFuture<'_, Result<(), Error>>
    })
    .await
}

/// What every query sees at any time.
async fn look(db: &RomeDatabase) -> Result<()> {
    let sums =
        "SELECT sum(amount)::bigint, count(*) - count(DISTINCT id) + count(email) - count(DISTINCT email) FROM account";
    let (sum, twice): (i64, i64) = db.query_one(sums).await?;
    assert_eq!((sum, twice), (ACCOUNTS * AMOUNT, 0));
    let along =
        "SELECT count(*) FROM account a JOIN account b ON b.email = a.email WHERE a.serial >= 0 AND a.id <> b.id";
    assert_eq!(db.query_one::<i64, _>(along).await?, 0);
    let orphans = "SELECT count(*) FROM note n WHERE account IS NOT NULL AND NOT EXISTS (SELECT 1 FROM account a WHERE a.id = n.account)";
    assert_eq!(db.query_one::<i64, _>(orphans).await?, 0);
    Ok(())
}

/// A statement until it is done.
async fn insist(db: &RomeDatabase, statement: &str) {
    while let Err(error) = db.execute(statement).await {
        assert!(error.is_retryable(), "{statement}: {error}");
    }
}

/// A table is moved from each placement to the next, by movers of which some die and some give up, while clients at all sites work with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_works_on_while_a_table_moves() {
    let world = World::slow();
    let db = found(&world, PLACEMENTS[0]).await;
    db.execute("UPDATE account SET amount = 100").await.unwrap();
    let load = Arc::new(Load::default());
    let mut workers = vec![];
    for site in NAMES.iter().chain(&NAMES) {
        workers.push(tokio::spawn(Arc::clone(&load).work(world.client(site).await)));
    }
    let (mut meanwhile, mut died) = (0, 0);
    for round in 0..2 {
        for (at, to) in PLACEMENTS.iter().enumerate().skip(1).chain([(0, &PLACEMENTS[0])]) {
            let before = load.done.load(Ordering::Relaxed);
            let alter = format!("ALTER TABLE account SET ({to})");
            match (at + round) % 3 {
                0 => {}
                1 => died += usize::from(dies_at(&world, &alter, 20 + random(60)).await),
                _ => {
                    died += usize::from(dies_at(&world, &alter, 20 + random(60)).await);
                    let moves = db.placement_moves().await.unwrap();
                    if !moves.is_empty() {
                        let present = PLACEMENTS[(at + PLACEMENTS.len() - 1) % PLACEMENTS.len()];
                        insist(&db, &format!("ALTER TABLE account SET ({present})")).await;
                    }
                }
            }
            insist(&db, &alter).await;
            meanwhile += load.done.load(Ordering::Relaxed) - before;
        }
    }
    // The last one has claims, which must be as exact as the rest.
    insist(&db, "ALTER TABLE account SET (placement = 'by_site(region)')").await;
    load.over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker's checks hold");
    }
    look(&db).await.unwrap();
    world.audit().await;
    assert!(described(&db, "account").shadow.is_none());
    // A full scan, and what each index finds.
    let rows = contents(&db).await;
    for query in [
        "SELECT id, region, kind, email, serial, amount FROM account WHERE serial > -1000000 ORDER BY id",
        "SELECT a.id, a.region, a.kind, a.email, a.serial, a.amount FROM zone z JOIN account a ON a.region = z.region ORDER BY a.id",
    ] {
        assert_eq!(db.query_as::<crate::Account, _>(query).await.unwrap(), rows, "{query}");
    }
    let refused = load.refused.load(Ordering::Relaxed);
    println!("{meanwhile} done and {refused} refused while the table moved; {died} movers died");
    assert!(meanwhile > 200 && died > 2, "{meanwhile} done, {refused} refused, {died} died");
}

/// Etcd takes 960 writes at once, so that such a table moves in many steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_table_moves_in_small_steps() {
    const ROWS: i64 = 20_000;
    let world = World::narrow();
    let db = world.client("rome").await;
    db.execute(
        "CREATE TABLE big (id bigint PRIMARY KEY, region text NOT NULL, name text UNIQUE, text text) WITH (placement = 'at(rome)')",
    )
    .await
    .unwrap();
    db.execute("CREATE INDEX big_region ON big (region)").await.unwrap();
    for first in (0..ROWS).step_by(250) {
        let rows = (first..first + 250).map(|id| {
            // Some are large, so that not many of them fit one step.
            let text = "x".repeat(if id % 1_000 < 20 { 30_000 } else { 50 });
            format!("({id}, '{}', 'n{id}', '{text}')", NAMES[id as usize % 3])
        });
        let insert = format!("INSERT INTO big VALUES {}", rows.collect::<Vec<_>>().join(", "));
        db.execute(insert.as_str()).await.unwrap();
    }
    let commits = world.commits();
    db.execute("ALTER TABLE big SET (placement = 'by_site(region)')").await.unwrap();
    let steps = world.commits() - commits;
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM big").await.unwrap(), ROWS);
    assert_eq!(world.rows_by_site(&described(&db, "big")).await, [6667, 6667, 6666]);
    world.audit().await;
    println!("{ROWS} rows moved in {steps} commits");
    assert!(steps > 300, "{steps} commits");
}
