//! What is particular to PostgreSQL; what all databases have in common is in the portable suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use rome_core::database::{Database, DatabaseExt, Queryable, Row, TransactionOptions};
use rome_core::{DataType, SqlState, Value};
use rome_sql::SqlDatabase;
use std::time::{Duration, Instant};

async fn connect() -> SqlDatabase {
    let url = std::env::var("ROME_TEST_POSTGRES_URL").expect("ROME_TEST_POSTGRES_URL: run under scripts/servers");
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
async fn parameters_take_the_types_of_their_places() {
    let db = connect().await;
    let t = name("types");
    db.execute(format!(
        "CREATE TABLE {t} (s smallint, i integer, n numeric(10, 2), d date, u uuid, j jsonb, k json, r real, x text)"
    ))
    .await
    .unwrap();
    let uuid = uuid::Uuid::nil();
    let insert = format!("INSERT INTO {t} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    let json = serde_json::json!({"a": 1});
    let values: [Value; 9] = [
        1.into(),
        2.into(),
        3.into(),
        chrono::NaiveDate::from_ymd_opt(2026, 1, 31).unwrap().into(),
        uuid.into(),
        json.clone().into(),
        json.into(),
        1.5.into(),
        "x".into(),
    ];
    assert_eq!(db.execute((insert.as_str(), values)).await.unwrap(), 1);
    let nulls: [Value; 9] = [const { Value::Null }; 9];
    db.execute((insert.as_str(), nulls)).await.unwrap();
    let all = db.query(format!("SELECT * FROM {t} ORDER BY s")).await.unwrap();
    assert_eq!(
        debug(&all)[0],
        "[Int(1), Int(2), Numeric(3.00), Date(2026-01-31), Uuid(00000000-0000-0000-0000-000000000000), Json(Object {\"a\": Number(1)}), \
         Json(Object {\"a\": Number(1)}), Float(1.5), Text(\"x\")]"
    );
    assert!(all[1].values().iter().all(Value::is_null));
    // Out of the range of the column: compared as what they are.
    let found = db.query((format!("SELECT s FROM {t} WHERE s < $1"), [70_000.into()])).await.unwrap();
    assert_eq!(debug(&found), ["[Int(1)]"]);
    let found = db.query((format!("SELECT s FROM {t} WHERE i < $1"), [2.5.into()])).await.unwrap();
    assert_eq!(debug(&found), ["[Int(1)]"]);
    let error = db.execute((format!("INSERT INTO {t} (s) VALUES ($1)"), [70_000.into()])).await.unwrap_err();
    assert_eq!(error.state(), SqlState::NUMERIC_OUT_OF_RANGE);
    // Nothing but the value tells the type.
    let rows = db.query(("SELECT $1, $2 IS NULL, $3", [5.into(), Value::Null, true.into()])).await.unwrap();
    assert_eq!(debug(&rows), ["[Int(5), Bool(true), Bool(true)]"]);
    assert_eq!(rows[0].columns()[0].data_type, DataType::Int4);
    // The same in a transaction, which the server ends when it finds that out: the retry declares them.
    let in_transaction: Vec<Row> = db
        .transaction(|tx| Box::pin(async move { tx.query(("SELECT $1 IS NULL AND 1 = 1", [Value::Null])).await }))
        .await
        .unwrap();
    assert_eq!(debug(&in_transaction), ["[Bool(true)]"]);
    let arrays = [Value::Array([1.into(), Value::Null].into()), Value::Array(["a".into()].into())];
    let rows = db.query(("SELECT $1::int[], $2::text[]", arrays)).await.unwrap();
    assert_eq!(debug(&rows), ["[Array([Int(1), Null]), Array([Text(\"a\")])]"]);
    assert_eq!(
        db.query(("SELECT 1", [1.into()])).await.unwrap_err().state(),
        SqlState::UNDEFINED_PARAMETER,
        "more values than parameters"
    );
}

#[tokio::test]
async fn too_many_parameters_are_refused() {
    let db = connect().await;
    let statement = |count: usize| {
        let places: Vec<String> = (1..=count).map(|number| format!("(${number}::int)")).collect();
        (format!("SELECT count(*) FROM (VALUES {}) v", places.join(", ")), vec![Value::from(1); count])
    };
    assert_eq!(debug(&db.query(statement(65_535)).await.unwrap()), ["[Int(65535)]"]);
    let error = db.query(statement(65_536)).await.unwrap_err();
    assert_eq!(error.state(), SqlState::STATEMENT_TOO_COMPLEX);
}

#[tokio::test]
async fn enums_domains_and_unknown_types() {
    let db = connect().await;
    let (mood, t) = (name("mood"), name("enums"));
    db.execute(format!("CREATE TYPE {mood} AS ENUM ('sad', 'happy')")).await.unwrap();
    db.execute(format!("CREATE TABLE {t} (m {mood}, a inet)")).await.unwrap();
    let insert = format!("INSERT INTO {t} VALUES ($1, $2::text::inet)");
    db.execute((insert, ["happy".into(), "10.0.0.1".into()])).await.unwrap();
    let rows = db.query(format!("SELECT m, a::text FROM {t}")).await.unwrap();
    assert_eq!(debug(&rows), ["[Text(\"happy\"), Text(\"10.0.0.1/32\")]"]);
    let error = db.query(format!("SELECT a FROM {t}")).await.unwrap_err();
    assert_eq!(error.state(), SqlState::FEATURE_NOT_SUPPORTED);
}

#[tokio::test]
async fn statements_survive_changes_of_their_tables() {
    let db = connect().await;
    let t = name("changing");
    db.execute(format!("CREATE TABLE {t} (a integer)")).await.unwrap();
    db.execute(format!("INSERT INTO {t} VALUES (1)")).await.unwrap();
    let select = format!("SELECT * FROM {t}");
    for columns in 1..5 {
        assert_eq!(db.query(select.as_str()).await.unwrap()[0].values().len(), columns);
        db.execute(format!("ALTER TABLE {t} ADD COLUMN a{columns} integer")).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_connection_is_named_and_replaced() {
    let db = connect().await;
    let tx = db.begin().await.unwrap();
    let (pid,): (i64,) = tx.query_one("SELECT pg_backend_pid()").await.unwrap();
    db.query((format!("SELECT pg_terminate_backend({pid})"), vec![])).await.unwrap();
    let error = tx.query("SELECT 1").await.unwrap_err();
    assert_eq!(error.state(), SqlState::CONNECTION_FAILURE);
    assert_eq!(tx.query("SELECT 1").await.unwrap_err().state(), SqlState::IN_FAILED_TRANSACTION);
    drop(tx);
    let tx = db.begin().await.unwrap();
    let (pid,): (i64,) = tx.query_one("SELECT pg_backend_pid()").await.unwrap();
    db.query((format!("SELECT pg_terminate_backend({pid})"), vec![])).await.unwrap();
    assert_eq!(tx.commit().await.unwrap_err().state(), SqlState::TRANSACTION_RESOLUTION_UNKNOWN);
    db.query("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn an_absent_server_is_an_error_at_once() {
    let begun = Instant::now();
    let error = SqlDatabase::connect("postgres://rome@127.0.0.1:1/rome").await.unwrap_err();
    assert_eq!(error.state(), SqlState::CONNECTION_FAILURE);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn time_outs() {
    let db = connect().await;
    let options = TransactionOptions { statement_timeout: Some(Duration::from_millis(50)), ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    assert_eq!(tx.query("SELECT pg_sleep(60)").await.unwrap_err().state(), SqlState::QUERY_CANCELED);
    let options = TransactionOptions { timeout: Some(Duration::from_millis(50)), ..Default::default() };
    let tx = db.begin_with(options).await.unwrap();
    assert_eq!(tx.query("SELECT pg_sleep(60)").await.unwrap_err().state(), SqlState::TRANSACTION_TIMEOUT);
    assert_eq!(tx.commit().await.unwrap_err().state(), SqlState::TRANSACTION_TIMEOUT);
    let (limit,): (String,) = db.query_one("SHOW statement_timeout").await.unwrap();
    assert_eq!(limit, "0");
}

#[tokio::test]
async fn an_abandoned_call_costs_its_connection_only() {
    let db = connect().await;
    let tx = db.begin().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), tx.query("SELECT pg_sleep(60)")).await.is_err());
    assert_eq!(tx.query("SELECT 1").await.unwrap_err().state(), SqlState::IN_FAILED_TRANSACTION);
    drop(tx);
    db.query("SELECT 1").await.unwrap();
}
