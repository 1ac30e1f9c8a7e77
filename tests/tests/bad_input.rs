//! What users and the world do wrong: each a clear error with its SQLSTATE, within bounded time, and nothing written.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use bytes::Bytes;
use rome_core::catalog::keys::{format_key, table_key};
use rome_core::database::{Options, Queryable, RomeDatabase};
use rome_core::exec::keys::{index_entry, row_key};
use rome_core::store::{Commit, HomeId, Key, Store, Write};
use rome_core::{Error, SqlState, Value};
use rome_tests::audit::audit;
use rome_tests::place::{Engine, Place, database};
use rome_tests::server::{Program, Server};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// Far beyond every time-out of the stores; what takes longer hangs.
const BOUNDED: Duration = Duration::from_secs(60);

async fn filled() -> (Arc<dyn Store>, RomeDatabase) {
    let store = Place::new(Engine::Memory).store().await;
    let db = database(store.clone()).await;
    db.execute("CREATE TABLE t (id bigint PRIMARY KEY, small smallint, name text UNIQUE)").await.unwrap();
    db.execute("CREATE INDEX t_small ON t (small)").await.unwrap();
    db.execute("INSERT INTO t VALUES (1, 10, 'one'), (2, 20, 'two')").await.unwrap();
    (store, db)
}

async fn content(db: &RomeDatabase) -> Vec<(i64, Option<i16>, Option<String>)> {
    db.query_as("SELECT id, small, name FROM t ORDER BY id").await.unwrap()
}

#[tokio::test]
async fn statements() {
    let (store, db) = filled().await;
    let before = content(&db).await;
    let long = "x".repeat(1 << 20);
    let deep = |open: &str, close: &str| format!("SELECT {}1{}", open.repeat(20_000), close.repeat(20_000));
    let subqueries = format!("SELECT {}1{}", "(SELECT ".repeat(5_000), ")".repeat(5_000));
    let chain = format!("SELECT 1{}", " + 1".repeat(100_000));
    let cases: Vec<(String, &[SqlState])> = vec![
        ("SELEC 1".into(), &[SqlState::SYNTAX_ERROR]),
        ("SELECT 'open".into(), &[SqlState::SYNTAX_ERROR]),
        ("SELECT \u{0} 1".into(), &[SqlState::SYNTAX_ERROR]),
        ("INSERT INTO t VALUES (3, 1, 'x'".into(), &[SqlState::SYNTAX_ERROR]),
        ("SELECT * FROM absent".into(), &[SqlState::UNDEFINED_TABLE]),
        ("SELECT absent FROM t".into(), &[SqlState::UNDEFINED_COLUMN]),
        ("SELECT absent(1)".into(), &[SqlState::UNDEFINED_FUNCTION]),
        ("INSERT INTO t (id) VALUES ('x')".into(), &[SqlState::INVALID_TEXT_REPRESENTATION]),
        ("INSERT INTO t (id, small) SELECT 3, name FROM t".into(), &[SqlState::DATATYPE_MISMATCH]),
        ("SELECT id + name FROM t".into(), &[SqlState::UNDEFINED_FUNCTION]),
        ("INSERT INTO t (id, small) VALUES (3, 40000)".into(), &[SqlState::NUMERIC_OUT_OF_RANGE]),
        ("UPDATE t SET small = small * 3000".into(), &[SqlState::NUMERIC_OUT_OF_RANGE]),
        ("UPDATE t SET id = 9223372036854775807 + id".into(), &[SqlState::NUMERIC_OUT_OF_RANGE]),
        ("UPDATE t SET small = 5 / (id - 2)".into(), &[SqlState::DIVISION_BY_ZERO]),
        ("INSERT INTO t VALUES (3, 3, 'three'), (4, 4, 'one')".into(), &[SqlState::UNIQUE_VIOLATION]),
        ("INSERT INTO t VALUES (3, 3, 'three'), (NULL, 4, 'four')".into(), &[SqlState::NOT_NULL_VIOLATION]),
        ("SELECT $1".into(), &[SqlState::UNDEFINED_PARAMETER, SqlState::INDETERMINATE_DATATYPE]),
        (format!("SELECT {long}"), &[SqlState::NAME_TOO_LONG, SqlState::UNDEFINED_COLUMN]),
        (format!("SELECT * FROM {long}"), &[SqlState::NAME_TOO_LONG, SqlState::UNDEFINED_TABLE]),
        (format!("CREATE TABLE {long} (id bigint)"), &[SqlState::NAME_TOO_LONG]),
        (format!("ALTER TABLE t ADD COLUMN \"{long}\" bigint"), &[SqlState::NAME_TOO_LONG]),
        (deep("(", ")"), &[SqlState::STATEMENT_TOO_COMPLEX]),
        (deep("- ", ""), &[SqlState::STATEMENT_TOO_COMPLEX]),
        (deep("NOT ", ""), &[SqlState::STATEMENT_TOO_COMPLEX]),
        (deep("CASE WHEN true THEN ", " END"), &[SqlState::STATEMENT_TOO_COMPLEX]),
        (subqueries, &[SqlState::STATEMENT_TOO_COMPLEX]),
        (chain, &[SqlState::STATEMENT_TOO_COMPLEX]),
        // One row that is larger than a key may be, and a transaction that is larger than a store takes at once.
        (format!("INSERT INTO t VALUES (3, 3, '{long}')"), &[SqlState::PROGRAM_LIMIT_EXCEEDED]),
        ("SELECT 1; SELECT * FROM absent".into(), &[SqlState::UNDEFINED_TABLE]),
        ("INSERT INTO t (id) VALUES (7); SELECT 1 / 0".into(), &[SqlState::DIVISION_BY_ZERO]),
    ];
    for (statement, states) in cases {
        let shown: String = statement.chars().take(80).collect();
        let error = tokio::time::timeout(BOUNDED, db.query(statement)).await.expect(&shown).expect_err(&shown);
        assert!(states.contains(&error.state()), "{shown}: {} instead of {states:?}", error.state());
        assert!(!error.message().is_empty() && error.message().len() < 2_000, "{shown}");
        assert!(error.is_permanent());
        assert_eq!(content(&db).await, before, "{shown}");
    }
    audit(store.as_ref()).await;
}

#[tokio::test]
async fn parameters() {
    let (_store, db) = filled().await;
    let one = "SELECT id FROM t WHERE id = $1";
    let cases: [(&str, Vec<Value>, SqlState); 4] = [
        (one, vec![], SqlState::UNDEFINED_PARAMETER),
        (one, vec![1.into(), 2.into()], SqlState::UNDEFINED_PARAMETER),
        (one, vec!["x".into()], SqlState::INVALID_TEXT_REPRESENTATION),
        ("INSERT INTO t (id, small) VALUES (3, $1)", vec![70_000.into()], SqlState::NUMERIC_OUT_OF_RANGE),
    ];
    for (statement, values, state) in cases {
        let error = db.query((statement, values)).await.expect_err(statement);
        assert_eq!(error.state(), state, "{statement}: {error}");
    }
    assert_eq!(content(&db).await.len(), 2);
}

#[tokio::test]
async fn locations() {
    for url in ["", "nonsense", "redis://", "redis://:port", "etcd://", "etcd://host:99999", "mongodb://localhost"] {
        let error = opening(url).await.expect_err(url);
        assert_eq!(error.state(), SqlState::CONNECTION_REJECTED, "{url}: {error}");
    }
    let error = opening("embedded:/proc/absent/file.rome").await.unwrap_err();
    let states = [SqlState::CONNECTION_FAILURE, SqlState::INVALID_AUTHORIZATION, SqlState::CANNOT_CONNECT_NOW];
    assert!(states.contains(&error.state()), "{error}");
}

async fn opening(url: &str) -> Result<RomeDatabase, Error> {
    let open = async { RomeDatabase::open(rome::open_store(url).await?, Options::default()).await };
    tokio::time::timeout(BOUNDED, open).await.expect("opening ends in bounded time")
}

#[tokio::test]
async fn unreachable_servers() {
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Somebody listens there and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    for port in [port, silent] {
        for scheme in ["redis", "etcd"] {
            let error = opening(&format!("{scheme}://127.0.0.1:{port}")).await.unwrap_err();
            assert_eq!(error.state(), SqlState::CONNECTION_FAILURE, "{scheme}: {error}");
            assert!(error.message().contains(&port.to_string()), "{error}");
        }
    }
}

/// A server that goes away under an open database: statements fail in bounded time and say so, and work again once it is back.
async fn away(program: Program) {
    let mut server = Server::start(program).await;
    let db = Place::on_server(&server.url()).database().await;
    db.execute("CREATE TABLE t (id bigint PRIMARY KEY)").await.unwrap();
    server.kill();
    for statement in ["SELECT * FROM t", "INSERT INTO t VALUES (1)"] {
        let ended = tokio::time::timeout(BOUNDED, db.query(statement)).await.expect("bounded time");
        assert_eq!(ended.expect_err(statement).state(), SqlState::CONNECTION_FAILURE, "{statement}");
    }
    server.restart().await;
    let again = async { while db.execute("INSERT INTO t VALUES (2) ON CONFLICT DO NOTHING").await.is_err() {} };
    tokio::time::timeout(BOUNDED, again).await.expect("the client reconnects by itself");
    assert_eq!(db.query_as::<i64, _>("SELECT id FROM t").await.unwrap(), [2]);
}

#[tokio::test]
async fn redis_goes_away() {
    away(Program::Redis).await;
}

#[tokio::test]
async fn etcd_goes_away() {
    away(Program::Etcd).await;
}

#[tokio::test]
async fn redis_that_evicts() {
    let server = Server::start(Program::EvictingRedis).await;
    let error = opening(&server.url()).await.unwrap_err();
    assert_eq!(error.state(), SqlState::CANNOT_CONNECT_NOW, "{error}");
    assert!(error.message().contains("noeviction"), "{error}");
}

#[tokio::test]
async fn embedded_file_opened_twice() {
    let place = Place::new(Engine::Embedded);
    let _open = place.database().await;
    let error = opening(&place.url).await.unwrap_err();
    assert_eq!(error.state(), SqlState::CANNOT_CONNECT_NOW, "{error}");
}

/// Puts a value where Rome did not.
async fn put(store: &dyn Store, key: Key, value: &'static [u8]) {
    let writes = vec![Write::Put(key, Bytes::from_static(value))];
    store.commit(&HomeId::new(&Options::default().home), Commit { writes, ..Commit::default() }).await.unwrap();
}

#[tokio::test]
async fn corrupt_rows() {
    for garbage in [&b""[..], b"\xff", b"garbage", b"\0\0\0\0\0\0\0\0", b"{\"id\": 1}"] {
        let (store, db) = filled().await;
        let table = db.catalog().tables()[0].clone();
        let row = [1.into(), 10.into(), "one".into()];
        put(store.as_ref(), row_key(&table, &row).unwrap(), garbage).await;
        for statement in [
            "SELECT * FROM t",
            "SELECT name FROM t WHERE id = 1",
            "SELECT id, name FROM t WHERE small = 10",
            "UPDATE t SET name = 'new' WHERE id = 1",
            "DELETE FROM t WHERE id = 1",
        ] {
            let error = db.query(statement).await.expect_err(statement);
            assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "{statement} with {garbage:?}: {error}");
        }
        // The rest is still there.
        assert_eq!(db.query_one::<String, _>("SELECT name FROM t WHERE id = 2").await.unwrap(), "two");
    }
}

#[tokio::test]
async fn corrupt_index_entry() {
    let (store, db) = filled().await;
    let table = db.catalog().tables()[0].clone();
    let row = [1.into(), 10.into(), "one".into()];
    let index = table.index_named("t_small").unwrap();
    let (key, _) = index_entry(&table, index, &row).unwrap();
    let absent = row_key(&table, &[99.into(), Value::Null, Value::Null]).unwrap();
    let writes = vec![Write::Put(key, absent)];
    store.commit(&HomeId::new(&Options::default().home), Commit { writes, ..Commit::default() }).await.unwrap();
    let error = db.query("SELECT name FROM t WHERE small = 10").await.unwrap_err();
    assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "{error}");
}

#[tokio::test]
async fn corrupt_catalog() {
    let (store, db) = filled().await;
    let table = db.catalog().tables()[0].clone();
    put(store.as_ref(), table_key(table.id), b"{ not a table").await;
    let error = RomeDatabase::open(store.clone(), Options::default()).await.unwrap_err();
    assert_eq!(error.state(), SqlState::DATA_CORRUPTED, "{error}");
}

#[tokio::test]
async fn another_format() {
    let (store, _db) = filled().await;
    put(store.as_ref(), format_key(), b"999").await;
    let error = RomeDatabase::open(store.clone(), Options::default()).await.unwrap_err();
    assert_eq!(error.state(), SqlState::CANNOT_CONNECT_NOW, "{error}");
}
