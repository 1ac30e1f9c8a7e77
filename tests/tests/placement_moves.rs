//! Tables that move between sites on real servers of different kinds, 10 ms apart, while a bank works with them: movers leave in the middle, others
//! go on from another site, and in the end the books balance and every store holds exactly what it must.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use rome_core::catalog::SchemaView;
use rome_core::database::{Database, Queryable, RomeDatabase};
use rome_tests::audit::audit_site;
use rome_tests::server::Program;
use rome_tests::sites::{SITES, Stop, Told, World, bank, is_usual};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// The longest that what is left may take to go.
const TIDYING: Duration = Duration::from_secs(60);

/// A statement until it is done.
async fn insist(db: &RomeDatabase, statement: &str) {
    let begun = Instant::now();
    while let Err(error) = db.execute(statement).await {
        assert!(is_usual(&error) || error.is_undetermined(), "{statement}: {error}");
        assert!(begun.elapsed() < TIDYING, "{statement}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bank_goes_on_while_its_tables_move() {
    let world = World::start([Program::Redis, Program::Etcd, Program::Redis]).await;
    let mut clients = vec![];
    for site in SITES {
        clients.push(world.client(site).await);
    }
    bank::open(clients[0].as_ref()).await;
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let (stop, audits) = (Stop::default(), Arc::new(AtomicU64::new(0)));
    let mut tasks = vec![];
    for (site, client) in SITES.into_iter().zip(&clients) {
        let db = || Arc::clone(client) as Arc<dyn Database>;
        for task in 0..2 {
            let prefix = format!("{site}-{task}");
            tasks.push(tokio::spawn(bank::transfer(db(), site, prefix, stop.clone(), sender.clone())));
        }
        tasks.push(tokio::spawn(bank::audit(db(), Arc::clone(&audits), stop.clone())));
    }
    drop(sender);
    sleep(Duration::from_secs(2)).await;
    let at = |site: &str| format!("at({site})");
    let places = [at(SITES[1]), "sharded".to_owned(), at(SITES[2]), "by_site(site)".to_owned()];
    for (number, place) in places.iter().enumerate() {
        for (table, mover) in [("account", number), ("ledger", number + 1)] {
            let alter = format!("ALTER TABLE {table} SET (placement = '{place}')");
            let begun = Instant::now();
            // One leaves in the middle; one at another site goes on, except with shards, which are where the first one was.
            let patience = Duration::from_millis(100 + 150 * number as u64);
            let left = timeout(patience, clients[mover % 3].execute(alter.as_str())).await.is_err();
            let next = if place == "sharded" { mover } else { mover + 1 };
            insist(&clients[next % 3], &alter).await;
            let catalog = clients[next % 3].catalog();
            assert!(catalog.table(table).unwrap().shadow.is_none());
            println!("{table} is {place} after {} ms; left in the middle: {left}", begun.elapsed().as_millis());
            assert!(!tasks.iter().any(|task| task.is_finished()), "a task has ended early: it says why above");
        }
    }
    stop.now();
    for task in tasks {
        task.await.expect("a task's checks hold");
    }
    let begun = Instant::now();
    for site in SITES {
        while world.left(site).await > 0 {
            assert!(begun.elapsed() < TIDYING, "something is left at {site}");
            sleep(Duration::from_millis(500)).await;
        }
    }
    let mut told = BTreeMap::new();
    while let Some((reference, outcome)) = outcomes.recv().await {
        told.insert(reference, outcome);
    }
    assert!(told.values().filter(|outcome| **outcome == Told::Done).count() > 10, "hardly anything was done");
    assert!(audits.load(Ordering::Relaxed) > 0, "no audit has ever committed");
    let found = bank::inspect(world.client(SITES[2]).await.as_ref()).await;
    bank::compare(&found, &told, &[]);
    for site in SITES {
        audit_site(world.store(site).await.as_ref(), site).await;
    }
}
