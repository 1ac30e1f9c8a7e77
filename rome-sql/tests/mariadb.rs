//! What is particular to MariaDB; what all databases have in common is in the portable suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rome_core::database::{Database, DatabaseExt, Queryable, Row, TransactionOptions};
use rome_core::{SqlState, Value};
use rome_sql::SqlDatabase;
use std::time::Duration;

async fn connect() -> SqlDatabase {
    let url = std::env::var("ROME_TEST_MARIADB_URL").expect("ROME_TEST_MARIADB_URL: run under scripts/servers");
    SqlDatabase::connect(&url).await.unwrap()
}

/// A table name that no other test has.
fn name(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

fn debug(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| format!("{:?}", row.values())).collect()
}

#[tokio::test]
async fn column_types_come_back() {
    let db = connect().await;
    let t = name("types");
    let create = format!(
        "CREATE TABLE {t} (b bool, s smallint, u int unsigned, n decimal(10, 2), d date, dt datetime(6), ts timestamp(6) NULL, \
         j json, l longtext, id binary(16), vb varbinary(20), f float, x varchar(20), bi bit(4))"
    );
    db.execute(create).await.unwrap();
    let at = chrono::DateTime::from_timestamp(1_700_000_000, 123_456_000).unwrap();
    let values: Vec<Value> = vec![
        true.into(),
        (-1).into(),
        4_000_000_000_i64.into(),
        rust_decimal::Decimal::new(150, 2).into(),
        at.date_naive().into(),
        at.naive_utc().into(),
        at.into(),
        serde_json::json!([1]).into(),
        "[1]".into(),
        uuid::Uuid::max().into(),
        vec![0_u8, 255].into(),
        1.5.into(),
        "x".into(),
        5.into(),
    ];
    let places = vec!["?"; values.len()].join(", ");
    db.execute((format!("INSERT INTO {t} VALUES ({places})"), values.clone())).await.unwrap();
    for _ in 0..2 {
        let rows = db.query(format!("SELECT * FROM {t}")).await.unwrap();
        assert_eq!(debug(&rows), [format!("{values:?}")]);
        db.execute(format!("ALTER TABLE {t} ALTER COLUMN x SET DEFAULT 'y'")).await.unwrap();
    }
    let empty = db.query(format!("SELECT * FROM {t} WHERE s = 7")).await.unwrap();
    assert!(empty.is_empty());
}

#[tokio::test]
async fn wrong_parameter_counts_leave_the_connection_usable() {
    let db = connect().await;
    let tx = db.begin().await.unwrap();
    assert_eq!(tx.query(("SELECT ?", vec![])).await.unwrap_err().state(), SqlState::UNDEFINED_PARAMETER);
    tx.rollback().await.unwrap();
    assert_eq!(debug(&db.query(("SELECT ?", [1.into()])).await.unwrap()), ["[Int(1)]"]);
}

#[tokio::test]
async fn a_lost_connection_is_named_and_replaced() {
    let db = connect().await;
    for commit in [false, true] {
        let tx = db.begin().await.unwrap();
        let id = tx.query("SELECT connection_id()").await.unwrap()[0].values()[0].clone();
        let Value::Int(id) = id else { panic!("{id:?}") };
        db.execute(format!("KILL {id}")).await.unwrap();
        if commit {
            assert_eq!(tx.commit().await.unwrap_err().state(), SqlState::TRANSACTION_RESOLUTION_UNKNOWN);
        } else {
            assert_eq!(tx.query("SELECT 1").await.unwrap_err().state(), SqlState::CONNECTION_FAILURE);
            assert_eq!(tx.query("SELECT 1").await.unwrap_err().state(), SqlState::IN_FAILED_TRANSACTION);
        }
    }
    db.query("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn an_absent_server_is_an_error_at_once() {
    let error = SqlDatabase::connect("mysql://root@127.0.0.1:1/rome").await.unwrap_err();
    assert_eq!(error.state(), SqlState::CONNECTION_FAILURE);
}

#[tokio::test]
async fn time_outs() {
    let db = connect().await;
    let options = TransactionOptions { statement_timeout: Some(Duration::from_millis(100)), ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    assert_eq!(tx.query("SELECT sleep(60)").await.unwrap_err().state(), SqlState::QUERY_CANCELED);
    drop(tx);
    let options = TransactionOptions { timeout: Some(Duration::from_millis(100)), ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    assert_eq!(tx.query("SELECT sleep(60)").await.unwrap_err().state(), SqlState::TRANSACTION_TIMEOUT);
    drop(tx);
    let rows = db.query("SELECT @@max_statement_time").await.unwrap();
    assert_eq!(debug(&rows), ["[Float(0.0)]"], "the limit does not outlive the transaction");
}

#[tokio::test]
async fn commands_that_cannot_be_prepared_run_all_the_same() {
    let db = connect().await;
    let t = name("locked");
    db.execute(format!("CREATE TABLE {t} (a int)")).await.unwrap();
    db.execute(format!("ANALYZE TABLE {t}")).await.unwrap();
    db.execute(format!("CREATE VIEW {t}_v AS SELECT a FROM {t}")).await.unwrap();
    db.execute("SELECT 1; SELECT 2").await.unwrap_err();
}
