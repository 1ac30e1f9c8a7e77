//! Transactions: visibility, rollback, savepoints, the failed state, and isolation with others at the same time.
//!
//! Where two transactions meet, servers may block one or fail one, at a statement or at commit. What counts is the outcome: everything
//! that fails is retryable, and what commits is serializable.

use super::*;
use futures::future::join_all;
use rome_core::database::Transaction;
use std::time::Duration;

/// A conflict or a wait that is not over after this is a failure of the test.
const PATIENCE: Duration = Duration::from_secs(60);

async fn accounts(db: &dyn Database) {
    let table = Table::create()
        .table("account")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("balance").big_integer().not_null())
        .to_owned();
    db.execute(table).await.unwrap();
    db.execute("INSERT INTO account VALUES (1, 100), (2, 100)").await.unwrap();
}

fn read(id: i64) -> sea_query::SelectStatement {
    Query::select().column("balance").from("account").and_where(Expr::col("id").eq(id)).to_owned()
}

fn write(id: i64, balance: i64) -> sea_query::UpdateStatement {
    Query::update().table("account").value("balance", balance).and_where(Expr::col("id").eq(id)).to_owned()
}

fn add(id: i64, amount: i64) -> sea_query::UpdateStatement {
    let sum = Expr::col("balance").add(amount);
    Query::update().table("account").value("balance", sum).and_where(Expr::col("id").eq(id)).to_owned()
}

fn create(id: i64) -> sea_query::InsertStatement {
    Query::insert().into_table("account").columns(["id", "balance"]).values_panic([id.into(), 0.into()]).to_owned()
}

async fn balances(db: &dyn Database) -> Vec<(i64, i64)> {
    db.query_as("SELECT id, balance FROM account ORDER BY id").await.unwrap()
}

/// Statements and commit, as one result.
async fn finish(tx: Box<dyn Transaction>, statement: impl rome_core::database::IntoStatement) -> Result<()> {
    let statement = statement.into_statement();
    match tx.execute(statement).await {
        Ok(_) => tx.commit().await,
        Err(error) => {
            tx.rollback().await?;
            Err(error)
        }
    }
}

/// Of two transactions that both read before either wrote, at most one commits, and who fails may retry.
#[track_caller]
fn at_most_one(first: &Result<()>, second: &Result<()>) {
    assert!(first.is_err() || second.is_err(), "both committed");
    for error in [first, second].into_iter().filter_map(|result| result.as_ref().err()) {
        assert!(error.is_retryable(), "{error}");
    }
}

pub async fn reads_its_writes(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 50)).await.unwrap();
    tx.execute(create(3)).await.unwrap();
    tx.execute("DELETE FROM account WHERE id = 2").await.unwrap();
    let rows: Vec<(i64, i64)> = tx.query_as("SELECT id, balance FROM account ORDER BY id").await.unwrap();
    assert_eq!(rows, [(1, 50), (3, 0)]);
    let sum: i64 = tx.query_one("SELECT sum(balance) FROM account").await.unwrap();
    assert_eq!(sum, 50);
    assert_eq!(tx.execute(add(3, 7)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(balances(db).await, [(1, 50), (3, 7)]);
}

pub async fn commit_is_seen(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.commit().await.unwrap();
    let later = db.begin().await.unwrap();
    assert_eq!(later.query_one::<i64, _>(read(1)).await.unwrap(), 1);
    later.commit().await.unwrap();
}

pub async fn uncommitted_is_unseen(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.execute(create(3)).await.unwrap();
    assert_eq!(balances(db).await, [(1, 100), (2, 100)]);
    tx.commit().await.unwrap();
    assert_eq!(balances(db).await, [(1, 1), (2, 100), (3, 0)]);
}

pub async fn rollback(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.execute(create(3)).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(balances(db).await, [(1, 100), (2, 100)]);
}

pub async fn drop_rolls_back(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(create(3)).await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    drop(tx);
    assert_eq!(balances(db).await, [(1, 100), (2, 100)]);
    db.execute(create(3)).await.unwrap();
    db.execute(write(1, 2)).await.unwrap();
}

pub async fn savepoints(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.savepoint("before").await.unwrap();
    tx.execute(write(1, 2)).await.unwrap();
    tx.execute(create(3)).await.unwrap();
    tx.rollback_to("before").await.unwrap();
    assert_eq!(tx.query_one::<i64, _>(read(1)).await.unwrap(), 1);
    // The savepoint stays.
    tx.execute(write(2, 2)).await.unwrap();
    tx.rollback_to("before").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(balances(db).await, [(1, 1), (2, 100)]);
}

pub async fn savepoint_release(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.savepoint("a").await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.release("a").await.unwrap();
    assert_eq!(state_of(tx.rollback_to("a").await), SqlState::INVALID_SAVEPOINT);
    tx.rollback().await.unwrap();
    let tx = db.begin().await.unwrap();
    tx.savepoint("quoted \"name`").await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.release("quoted \"name`").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(balances(db).await, [(1, 1), (2, 100)]);
}

pub async fn nested_savepoints(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.savepoint("outer").await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.savepoint("inner").await.unwrap();
    tx.execute(write(2, 2)).await.unwrap();
    tx.rollback_to("inner").await.unwrap();
    assert_eq!(tx.query_one::<i64, _>(read(1)).await.unwrap(), 1);
    assert_eq!(tx.query_one::<i64, _>(read(2)).await.unwrap(), 100);
    tx.rollback_to("outer").await.unwrap();
    assert_eq!(tx.query_one::<i64, _>(read(1)).await.unwrap(), 100);
    assert_eq!(state_of(tx.rollback_to("inner").await), SqlState::INVALID_SAVEPOINT);
    tx.rollback().await.unwrap();
}

pub async fn error_fails_until_rollback(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    assert_eq!(state_of(tx.execute(create(1)).await), SqlState::UNIQUE_VIOLATION);
    assert_eq!(state_of(tx.query(read(1)).await), SqlState::IN_FAILED_TRANSACTION);
    assert_eq!(state_of(tx.execute(write(1, 2)).await), SqlState::IN_FAILED_TRANSACTION);
    assert_eq!(state_of(tx.savepoint("s").await), SqlState::IN_FAILED_TRANSACTION);
    assert_eq!(state_of(tx.stream(read(1)).await.map(|_| ())), SqlState::IN_FAILED_TRANSACTION);
    tx.rollback().await.unwrap();
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    assert_eq!(state_of(tx.query("SELECT missing FROM account").await), SqlState::UNDEFINED_COLUMN);
    assert_eq!(state_of(tx.commit().await), SqlState::IN_FAILED_TRANSACTION);
    assert_eq!(balances(db).await, [(1, 100), (2, 100)]);
}

pub async fn rollback_to_leaves_failed_state(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.savepoint("s").await.unwrap();
    tx.execute(write(2, 2)).await.unwrap();
    assert_eq!(state_of(tx.execute(create(1)).await), SqlState::UNIQUE_VIOLATION);
    tx.rollback_to("s").await.unwrap();
    tx.execute(create(3)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(balances(db).await, [(1, 1), (2, 100), (3, 0)]);
}

pub async fn unknown_savepoint(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    assert_eq!(state_of(tx.release("nowhere").await), SqlState::INVALID_SAVEPOINT);
    assert_eq!(state_of(tx.query(read(1)).await), SqlState::IN_FAILED_TRANSACTION);
}

pub async fn read_only(db: &dyn Database) {
    accounts(db).await;
    let options = TransactionOptions { read_only: true, ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    assert_eq!(tx.query_one::<i64, _>(read(1)).await.unwrap(), 100);
    assert_eq!(state_of(tx.execute(write(1, 1)).await), SqlState::READ_ONLY_TRANSACTION);
    tx.rollback().await.unwrap();
    let tx = db.begin_with(options).await.unwrap();
    tx.query(read(1)).await.unwrap();
    tx.commit().await.unwrap();
    // The next transaction may write.
    let tx = db.begin().await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tx.commit().await.unwrap();
}

pub async fn statement_after_failed_commit(db: &dyn Database) {
    accounts(db).await;
    let (first, second) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    first.query(read(1)).await.unwrap();
    second.query(read(1)).await.unwrap();
    let work = async { futures::join!(finish(first, write(1, 1)), finish(second, write(1, 2))) };
    let (first, second) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    at_most_one(&first, &second);
    // Whatever happened to them, the database goes on.
    db.execute(write(1, 5)).await.unwrap();
    assert_eq!(db.query_one::<i64, _>(read(1)).await.unwrap(), 5);
}

pub async fn closure_returns_value(db: &dyn Database) {
    accounts(db).await;
    let left: i64 = db
        .transaction(|tx| {
            Box::pin(async move {
                tx.execute(add(1, -30)).await?;
                tx.execute(add(2, 30)).await?;
                tx.query_one::<i64, _>(read(1)).await
            })
        })
        .await
        .unwrap();
    assert_eq!(left, 70);
    assert_eq!(balances(db).await, [(1, 70), (2, 130)]);
}

pub async fn closure_error_rolls_back(db: &dyn Database) {
    accounts(db).await;
    let result: Result<()> = db
        .transaction(|tx| {
            Box::pin(async move {
                tx.execute(write(1, 0)).await?;
                Err(Error::new(SqlState::CHECK_VIOLATION, "the application changed its mind"))
            })
        })
        .await;
    assert_eq!(state_of(result), SqlState::CHECK_VIOLATION);
    assert_eq!(balances(db).await, [(1, 100), (2, 100)]);
}

pub async fn concurrent_increments(db: &dyn Database) {
    const CLIENTS: usize = 8;
    const EACH: usize = 5;
    accounts(db).await;
    let client = || async {
        for _ in 0..EACH {
            // Read, then write what was read plus one: the lost update in its pure form.
            let done: Result<()> = db
                .transaction(|tx| {
                    Box::pin(async move {
                        let balance: i64 = tx.query_one(read(1)).await?;
                        tx.execute(write(1, balance + 1)).await.map(|_| ())
                    })
                })
                .await;
            done.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, join_all((0..CLIENTS).map(|_| client()))).await.unwrap();
    assert_eq!(balances(db).await, [(1, 140), (2, 100)]);
}

pub async fn bank_transfers(db: &dyn Database) {
    accounts(db).await;
    for id in 3..=6 {
        db.execute(create(id)).await.unwrap();
        db.execute(add(id, 100)).await.unwrap();
    }
    let client = |client: i64| async move {
        for round in 0..5 {
            let (from, to) = ((client + round) % 6 + 1, (client * 3 + round * 5 + 1) % 6 + 1);
            let done: Result<()> = db
                .transaction(|tx| {
                    Box::pin(async move {
                        tx.execute(add(from, -10)).await?;
                        tx.execute(add(to, 10)).await?;
                        let sum: i64 = tx.query_one("SELECT sum(balance) FROM account").await?;
                        assert_eq!(sum, 600, "inside a transaction");
                        Ok(())
                    })
                })
                .await;
            done.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, join_all((0..4).map(client))).await.unwrap();
    let sum: i64 = db.query_one("SELECT sum(balance) FROM account").await.unwrap();
    assert_eq!(sum, 600);
}

pub async fn lost_update(db: &dyn Database) {
    accounts(db).await;
    let (first, second) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    let one: i64 = first.query_one(read(1)).await.unwrap();
    let other: i64 = second.query_one(read(1)).await.unwrap();
    let work = async { futures::join!(finish(first, write(1, one + 1)), finish(second, write(1, other + 1))) };
    let (first, second) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    at_most_one(&first, &second);
    let committed = [first, second].iter().filter(|result| result.is_ok()).count();
    assert_eq!(db.query_one::<usize, _>(read(1)).await.unwrap(), 100 + committed);
}

pub async fn write_skew(db: &dyn Database) {
    accounts(db).await;
    let sum = "SELECT sum(balance) FROM account";
    let (first, second) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    assert_eq!(first.query_one::<i64, _>(sum).await.unwrap(), 200);
    assert_eq!(second.query_one::<i64, _>(sum).await.unwrap(), 200);
    // Each alone keeps the sum above zero; both together would not.
    let work = async { futures::join!(finish(first, add(1, -150)), finish(second, add(2, -150))) };
    let (first, second) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    at_most_one(&first, &second);
    assert!(db.query_one::<i64, _>(sum).await.unwrap() >= 0);
}

pub async fn phantom(db: &dyn Database) {
    accounts(db).await;
    let count = "SELECT count(*) FROM account WHERE id > 2";
    let (first, second) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    assert_eq!(first.query_one::<i64, _>(count).await.unwrap(), 0);
    assert_eq!(second.query_one::<i64, _>(count).await.unwrap(), 0);
    // "If there is none yet, create one", with different keys.
    let work = async { futures::join!(finish(first, create(3)), finish(second, create(4))) };
    let (first, second) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    at_most_one(&first, &second);
    assert!(db.query_one::<i64, _>(count).await.unwrap() <= 1);
}

pub async fn repeatable_read(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    assert_eq!(tx.query_one::<i64, _>(read(1)).await.unwrap(), 100);
    let reader = async {
        let again = tx.query_one::<i64, _>(read(1)).await;
        let committed = match again {
            Ok(_) => tx.commit().await,
            Err(_) => tx.rollback().await,
        };
        (again, committed)
    };
    // The writer may have to wait for the reader, or overtake it.
    let work = async { futures::join!(db.execute(write(1, 7)), reader) };
    let (written, (again, committed)) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    written.unwrap();
    match (again, committed) {
        (Ok(balance), Ok(())) => assert_eq!(balance, 100, "a value changed inside a transaction that committed"),
        (Err(error), _) | (_, Err(error)) => assert!(error.is_retryable(), "{error}"),
    }
}

pub async fn constraint_in_transaction(db: &dyn Database) {
    accounts(db).await;
    let tx = db.begin().await.unwrap();
    tx.execute("DELETE FROM account WHERE id = 1").await.unwrap();
    tx.execute(create(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(balances(db).await, [(1, 0), (2, 100)]);
    let (first, second) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    let work = async { futures::join!(finish(first, create(9)), finish(second, create(9))) };
    let (first, second) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    assert!(first.is_ok() != second.is_ok() || (first.is_err() && second.is_err()), "one key was inserted twice");
    for error in [first, second].into_iter().filter_map(Result::err) {
        assert!(error.is_retryable() || error.state() == SqlState::UNIQUE_VIOLATION, "{error}");
    }
}

pub async fn deadline(db: &dyn Database) {
    accounts(db).await;
    let options = TransactionOptions { timeout: Some(Duration::from_secs(2)), ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    tx.execute(write(1, 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(state_of(tx.query(read(1)).await), SqlState::TRANSACTION_TIMEOUT);
    assert_eq!(state_of(tx.commit().await), SqlState::TRANSACTION_TIMEOUT);
    assert_eq!(balances(db).await, [(1, 100), (2, 100)]);
}
