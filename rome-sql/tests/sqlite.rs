//! What is particular to SQLite; what all databases have in common is in the portable suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use futures::StreamExt;
use rome_core::database::{Database, DatabaseExt, Queryable, TransactionOptions};
use rome_core::{SqlState, Value};
use rome_sql::SqlDatabase;
use std::path::PathBuf;
use std::time::Duration;

/// A database in a file of its own, removed at the end.
struct File {
    directory: PathBuf,
    db: SqlDatabase,
}

impl File {
    async fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("rome-sqlite-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        let db = SqlDatabase::connect(&format!("sqlite:{}/test.db", directory.display())).await.unwrap();
        Self { directory, db }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn ints(rows: &[rome_core::database::Row]) -> Vec<i64> {
    rows.iter().map(|row| if let Value::Int(value) = row.values()[0] { value } else { panic!("{row:?}") }).collect()
}

#[tokio::test]
async fn memory_is_one_database_for_all_calls() {
    let db = SqlDatabase::connect("sqlite::memory:").await.unwrap();
    db.execute("CREATE TABLE t (a integer PRIMARY KEY)").await.unwrap();
    let tx = db.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)").await.unwrap();
    tx.commit().await.unwrap();
    drop(db.begin().await.unwrap());
    assert_eq!(ints(&db.query("SELECT a FROM t").await.unwrap()), [1]);
}

#[tokio::test]
async fn declared_types_come_back() {
    let db = SqlDatabase::connect("sqlite::memory:").await.unwrap();
    db.execute("CREATE TABLE t (u uuid_text, d date_text, n real(10, 2), j json_text, b boolean, z timestamp_with_timezone_text)")
        .await
        .unwrap();
    let values: Vec<Value> = vec![
        uuid::Uuid::nil().into(),
        chrono::NaiveDate::from_ymd_opt(2026, 2, 28).unwrap().into(),
        rust_decimal::Decimal::new(1250, 2).into(),
        serde_json::json!({"a": [1]}).into(),
        true.into(),
        chrono::DateTime::from_timestamp(1_700_000_000, 500_000_000).unwrap().into(),
    ];
    db.execute(("INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6)", values.clone())).await.unwrap();
    let row = db.query("SELECT * FROM t").await.unwrap().remove(0);
    assert_eq!(format!("{:?}", row.values()), format!("{values:?}"));
    db.execute("ALTER TABLE t ADD COLUMN extra text").await.unwrap();
    assert_eq!(db.query("SELECT * FROM t").await.unwrap()[0].values().len(), 7);
}

#[tokio::test]
async fn overtaken_transactions_are_retryable() {
    let file = File::new().await;
    file.db.execute("CREATE TABLE t (a integer)").await.unwrap();
    file.db.execute("INSERT INTO t VALUES (1)").await.unwrap();
    let (first, second) = (file.db.begin().await.unwrap(), file.db.begin().await.unwrap());
    first.query("SELECT a FROM t").await.unwrap();
    second.query("SELECT a FROM t").await.unwrap();
    first.execute("UPDATE t SET a = a + 1").await.unwrap();
    first.commit().await.unwrap();
    let error = second.execute("UPDATE t SET a = a + 1").await.unwrap_err();
    assert_eq!(error.state(), SqlState::SERIALIZATION_FAILURE);
    assert_eq!(second.query("SELECT 1").await.unwrap_err().state(), SqlState::IN_FAILED_TRANSACTION);
}

#[tokio::test]
async fn time_outs_and_read_only_end_with_the_transaction() {
    let db = SqlDatabase::connect("sqlite::memory:").await.unwrap();
    db.execute("CREATE TABLE t (a integer)").await.unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let options = TransactionOptions { statement_timeout: Some(Duration::from_millis(50)), ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    assert_eq!(tx.query(endless).await.unwrap_err().state(), SqlState::QUERY_CANCELED);
    drop(tx);
    let options = TransactionOptions { timeout: Some(Duration::from_millis(50)), ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    assert_eq!(tx.query(endless).await.unwrap_err().state(), SqlState::TRANSACTION_TIMEOUT);
    drop(tx);
    let tx = db.begin_with(TransactionOptions { read_only: true, ..Default::default() }).await.unwrap();
    assert_eq!(tx.execute("INSERT INTO t VALUES (1)").await.unwrap_err().state(), SqlState::READ_ONLY_TRANSACTION);
    drop(tx);
    db.execute("INSERT INTO t VALUES (1)").await.unwrap();
}

#[tokio::test]
async fn an_idle_transaction_is_rolled_back_at_its_deadline() {
    let db = SqlDatabase::connect("sqlite::memory:").await.unwrap();
    let options = TransactionOptions { timeout: Some(Duration::from_millis(50)), ..Default::default() };
    let idle = db.begin_with(options).await.unwrap();
    // The only connection is free again although `idle` lives.
    db.query("SELECT 1").await.unwrap();
    assert_eq!(idle.query("SELECT 1").await.unwrap_err().state(), SqlState::TRANSACTION_TIMEOUT);
    assert_eq!(idle.commit().await.unwrap_err().state(), SqlState::TRANSACTION_TIMEOUT);
}

#[tokio::test]
async fn streams_may_be_dropped_early() {
    let db = SqlDatabase::connect("sqlite::memory:").await.unwrap();
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i FROM n";
    let mut stream = db.stream(numbers).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().values().len(), 1);
    drop(stream);
    let tx = db.begin().await.unwrap();
    let first = tx.stream(numbers).await.unwrap().take(3).collect::<Vec<_>>().await;
    assert_eq!(first.len(), 3);
    assert_eq!(tx.stream(numbers).await.unwrap().count().await, 100_000);
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn wrong_use_is_an_error() {
    let db = SqlDatabase::connect("sqlite::memory:").await.unwrap();
    for (sql, state) in [
        ("SELEC", SqlState::SYNTAX_ERROR),
        ("SELECT * FROM missing", SqlState::UNDEFINED_TABLE),
        ("SELECT $1", SqlState::UNDEFINED_PARAMETER),
        ("BEGIN", SqlState::FEATURE_NOT_SUPPORTED),
        ("SELECT nofunction(1)", SqlState::UNDEFINED_FUNCTION),
    ] {
        assert_eq!(db.query(sql).await.unwrap_err().state(), state, "{sql}");
    }
    let truncate = sea_query::Table::truncate().table("t").to_owned();
    assert_eq!(db.execute(truncate).await.unwrap_err().state(), SqlState::FEATURE_NOT_SUPPORTED);
    assert_eq!(SqlDatabase::connect("oracle://x").await.unwrap_err().state(), SqlState::CONNECTION_REJECTED);
    assert_eq!(
        SqlDatabase::connect("sqlite:/nonexistent/x.db").await.unwrap_err().state(),
        SqlState::CONNECTION_REJECTED
    );
}
