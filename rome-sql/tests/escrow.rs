//! Escrowed counters on SQL servers, where one site holds everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rome_core::SqlState;
use rome_core::database::{Database, DatabaseExt, Escrow, Transaction};
use rome_sql::SqlDatabase;
use std::sync::Arc;

async fn counters_work(db: SqlDatabase) {
    let db: Arc<dyn Database> = Arc::new(db);
    Escrow::install(&*db).await.unwrap();
    Escrow::install(&*db).await.unwrap();
    let escrow = Escrow::open_with(Arc::clone(&db), 2).await.unwrap();
    // Other runs may have left theirs in the same database; and names differ by case.
    let counter = format!("Seats {}", uuid::Uuid::new_v4());
    escrow.create(&counter, 100).await.unwrap();
    escrow.create(&counter.to_lowercase(), 1).await.unwrap();
    assert_eq!(escrow.create(&counter, 1).await.unwrap_err().state(), SqlState::DUPLICATE_OBJECT);
    escrow.spend(&counter, 1).await.unwrap();
    let workers = (0..8).map(|_| {
        let (db, escrow, counter) = (Arc::clone(&db), escrow.clone(), counter.clone());
        tokio::spawn(async move {
            let mut spent = 0;
            for _ in 0..10 {
                let done = db.transaction(|tx: &dyn Transaction| {
                    let (escrow, counter) = (escrow.clone(), counter.clone());
                    Box::pin(async move { escrow.spend_in(tx, &counter, 2).await })
                });
                match done.await {
                    Ok(()) => spent += 2,
                    Err(error) => assert_eq!(error.state(), SqlState::CHECK_VIOLATION, "{error}"),
                }
            }
            spent
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut spent = 1;
    for worker in workers {
        spent += worker.await.unwrap();
    }
    assert_eq!(spent, 99);
    assert_eq!(escrow.spend(&counter, 2).await.unwrap_err().state(), SqlState::CHECK_VIOLATION);
    escrow.give_back(&counter, 9).await.unwrap();
    escrow.grow(&counter, 5).await.unwrap();
    escrow.shrink(&counter, 15).await.unwrap();
    escrow.reconcile(&counter).await.unwrap();
    let balance = escrow.balance(&counter).await.unwrap();
    assert_eq!((balance.budget, balance.spent, balance.unspent), (90, 90, 0));
    escrow.drop(&counter).await.unwrap();
    assert_eq!(escrow.spend(&counter, 1).await.unwrap_err().state(), SqlState::UNDEFINED_OBJECT);
    escrow.drop(&counter.to_lowercase()).await.unwrap();
}

fn url(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name}: run under scripts/servers"))
}

#[tokio::test]
async fn on_sqlite() {
    let directory = std::env::temp_dir().join(format!("rome-escrow-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).unwrap();
    counters_work(SqlDatabase::connect(&format!("sqlite:{}/test.db", directory.display())).await.unwrap()).await;
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn on_postgres() {
    counters_work(SqlDatabase::connect(&url("ROME_TEST_POSTGRES_URL")).await.unwrap()).await;
}

#[tokio::test]
async fn on_mariadb() {
    counters_work(SqlDatabase::connect(&url("ROME_TEST_MARIADB_URL")).await.unwrap()).await;
}
