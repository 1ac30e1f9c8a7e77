//! Getting results: one row, structs, streams, counts, and what goes wrong on the way.

use super::*;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

#[derive(Deserialize, PartialEq, Debug)]
struct Host {
    id: i64,
    name: String,
    zone: Option<String>,
}

async fn numbers(db: &dyn Database, count: i64) {
    db.execute("CREATE TABLE n (i integer PRIMARY KEY)").await.unwrap();
    for start in (0..count).step_by(500) {
        let mut insert = Query::insert().into_table("n").columns(["i"]).to_owned();
        for number in start..std::cmp::min(start + 500, count) {
            insert.values_panic([number.into()]);
        }
        db.execute(insert).await.unwrap();
    }
}

pub async fn one(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(db.query_one::<String, _>("SELECT name FROM host WHERE id = 1").await.unwrap(), "b1");
    for text in ["SELECT name FROM host WHERE id = 99", "SELECT name FROM host"] {
        assert_eq!(state_of(db.query_one::<String, _>(text).await), SqlState::CARDINALITY_VIOLATION, "{text}");
    }
}

pub async fn opt(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(db.query_opt::<i64, _>("SELECT ram FROM host WHERE id = 1").await.unwrap(), Some(64));
    assert_eq!(db.query_opt::<i64, _>("SELECT ram FROM host WHERE id = 99").await.unwrap(), None);
    assert_eq!(state_of(db.query_opt::<i64, _>("SELECT ram FROM host").await), SqlState::CARDINALITY_VIOLATION);
}

pub async fn structs(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .columns(["zone", "ram", "name", "id"])
        .from("host")
        .and_where(Expr::col("id").is_in([1, 5]))
        .order_by("id", Order::Asc)
        .to_owned();
    let hosts: Vec<Host> = db.query_as(select).await.unwrap();
    let expected = [
        Host { id: 1, name: "b1".to_owned(), zone: Some("a".to_owned()) },
        Host { id: 5, name: "x1".to_owned(), zone: None },
    ];
    assert_eq!(hosts, expected);
    assert_eq!(state_of(db.query_as::<Host, _>("SELECT id FROM host").await), SqlState::UNDEFINED_COLUMN);
}

pub async fn tuples_and_scalars(db: &dyn Database) {
    cloud(db).await;
    let row: (i16, String, Option<String>) =
        db.query_one("SELECT id, name, zone FROM host WHERE id = 4").await.unwrap();
    assert_eq!(row, (4, "l2".to_owned(), None));
    assert_eq!(db.query_as::<u8, _>("SELECT ram FROM host ORDER BY id").await.unwrap(), [64, 32, 32, 64, 16]);
    assert_eq!(state_of(db.query_as::<(i64,), _>("SELECT id, name FROM host").await), SqlState::DATATYPE_MISMATCH);
}

pub async fn by_name_and_position(db: &dyn Database) {
    cloud(db).await;
    let rows = db.query("SELECT id, name AS title, zone FROM host ORDER BY id").await.unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[1].get::<String>("title").unwrap(), "b2");
    assert_eq!(rows[1].get_at::<i32>(0).unwrap(), 2);
    assert_eq!(rows[4].get::<Option<String>>("zone").unwrap(), None);
    assert_eq!(state_of(rows[0].get::<String>("name")), SqlState::UNDEFINED_COLUMN);
    assert_eq!(state_of(rows[0].get_at::<String>(3)), SqlState::UNDEFINED_COLUMN);
}

pub async fn column_names(db: &dyn Database) {
    cloud(db).await;
    let result = db
        .run(rome_core::database::IntoStatement::into_statement("SELECT h.*, 1 AS one FROM host h WHERE id = 99"))
        .await
        .unwrap();
    let names: Vec<&str> = result.columns.iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["id", "site_id", "name", "ram", "zone", "one"]);
    assert!(result.rows.is_empty());
}

pub async fn mismatches(db: &dyn Database) {
    cloud(db).await;
    let rows = db.query("SELECT id, name, zone FROM host WHERE id = 5").await.unwrap();
    assert_eq!(state_of(rows[0].get::<i64>("name")), SqlState::DATATYPE_MISMATCH);
    assert_eq!(state_of(rows[0].get::<String>("zone")), SqlState::DATATYPE_MISMATCH);
    assert_eq!(state_of(rows[0].get::<bool>("id")), SqlState::DATATYPE_MISMATCH);
}

pub async fn streams(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select().column("id").from("host").order_by("id", Order::Desc).to_owned();
    let ids: Vec<i64> =
        db.stream(select).await.unwrap().map(|row| row.unwrap().get_at::<i64>(0).unwrap()).collect().await;
    assert_eq!(ids, [5, 4, 3, 2, 1]);
    let failed = async { db.stream("SELECT missing FROM host").await?.try_collect::<Vec<_>>().await };
    assert_eq!(state_of(failed.await), SqlState::UNDEFINED_COLUMN);
}

pub async fn stream_of_many_rows(db: &dyn Database) {
    numbers(db, 3000).await;
    let mut stream = db.stream("SELECT a.i FROM n a WHERE a.i >= 0 ORDER BY a.i").await.unwrap();
    let mut expected = 0;
    while let Some(row) = stream.next().await {
        assert_eq!(row.unwrap().get_at::<i64>(0).unwrap(), expected);
        expected += 1;
    }
    assert_eq!(expected, 3000);
}

pub async fn stream_in_transaction(db: &dyn Database) {
    numbers(db, 300).await;
    let tx = db.begin().await.unwrap();
    tx.execute("DELETE FROM n WHERE i < 100").await.unwrap();
    let rows: Vec<_> = tx.stream("SELECT i FROM n ORDER BY i").await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.len(), 200);
    assert_eq!(tx.query_one::<i64, _>("SELECT min(i) FROM n").await.unwrap(), 100);
    tx.commit().await.unwrap();
}

pub async fn stream_dropped_early(db: &dyn Database) {
    numbers(db, 2000).await;
    for _ in 0..5 {
        let mut stream = db.stream("SELECT i FROM n ORDER BY i").await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().get_at::<i64>(0).unwrap(), 0);
    }
    let tx = db.begin().await.unwrap();
    let first = tx.stream("SELECT i FROM n ORDER BY i").await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(first.get_at::<i64>(0).unwrap(), 0);
    assert_eq!(tx.query_one::<i64, _>("SELECT count(*) FROM n").await.unwrap(), 2000);
    tx.commit().await.unwrap();
}

pub async fn affected_rows(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(db.execute("UPDATE host SET ram = ram + 1 WHERE id < 4").await.unwrap(), 3);
    assert_eq!(db.execute("DELETE FROM server WHERE id = 1").await.unwrap(), 1);
    assert_eq!(db.execute("INSERT INTO site VALUES (7, 'x'), (8, 'y')").await.unwrap(), 2);
    assert_eq!(db.execute("SELECT id FROM host").await.unwrap(), 5);
    assert_eq!(db.execute("CREATE TABLE z (a integer)").await.unwrap(), 0);
    let result = db.run(rome_core::database::IntoStatement::into_statement("DELETE FROM z")).await.unwrap();
    assert_eq!((result.affected, result.command), (0, "DELETE"));
}

pub async fn malformed_text(db: &dyn Database) {
    cloud(db).await;
    for text in
        ["SELEC 1", "SELECT FROM WHERE", "SELECT * FROM host WHERE", "INSERT INTO host", "SELECT (1", "SELECT 'open"]
    {
        assert_eq!(state_of(db.query(text).await), SqlState::SYNTAX_ERROR, "{text}");
    }
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM host").await.unwrap(), 5);
}
