//! Values of every type, there and back.

use super::*;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use rust_decimal::Decimal;
use std::str::FromStr;
use uuid::Uuid;

/// A table of one key and one column.
async fn table(db: &dyn Database, column: &mut ColumnDef) {
    let table = Table::create()
        .table("t")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(column.to_owned())
        .to_owned();
    db.execute(table).await.unwrap();
}

/// Stores values and a NULL, finds each again by equality, and reads all back in order of insertion.
async fn round_trip<T>(db: &dyn Database, values: &[T]) -> Vec<Option<T>>
where
    T: Clone + Into<sea_query::Value> + serde::de::DeserializeOwned + sea_query::Nullable,
{
    let mut insert = Query::insert().into_table("t").columns(["id", "v"]).to_owned();
    for (id, value) in values.iter().enumerate() {
        insert.values_panic([(id as i64).into(), Expr::val(value.clone())]);
    }
    insert.values_panic([(values.len() as i64).into(), Expr::val(T::null())]);
    assert_eq!(db.execute(insert).await.unwrap(), values.len() as u64 + 1);
    for (id, value) in values.iter().enumerate() {
        let select = Query::select()
            .column("id")
            .from("t")
            .and_where(Expr::col("v").eq(value.clone()))
            .order_by("id", Order::Asc)
            .to_owned();
        let found: Vec<usize> = db.query_as(select).await.unwrap();
        assert!(found.contains(&id), "value number {id} is not equal to itself");
    }
    db.query_as("SELECT v FROM t ORDER BY id").await.unwrap()
}

fn expected<T: Clone>(values: &[T]) -> Vec<Option<T>> {
    values.iter().cloned().map(Some).chain([None]).collect()
}

pub async fn integers(db: &dyn Database) {
    table(db, ColumnDef::new("v").big_integer()).await;
    let values = [0, 1, -1, i64::from(i32::MAX) + 1, i64::MAX, i64::MIN];
    assert_eq!(round_trip(db, &values).await, expected(&values));
    let ordered: Vec<i64> = db.query_as("SELECT v FROM t WHERE v IS NOT NULL ORDER BY v").await.unwrap();
    assert_eq!(ordered, [i64::MIN, -1, 0, 1, i64::from(i32::MAX) + 1, i64::MAX]);
}

pub async fn floats(db: &dyn Database) {
    table(db, ColumnDef::new("v").double()).await;
    let values = [0.0, 1.5, -2.25, 1e300, 1e-300, 0.1, std::f64::consts::PI];
    assert_eq!(round_trip(db, &values).await, expected(&values));
}

pub async fn numerics(db: &dyn Database) {
    table(db, ColumnDef::new("v").decimal_len(14, 4)).await;
    let values = ["0", "1.5", "-2.2500", "1234567890.1234", "0.0001"].map(|text| Decimal::from_str(text).unwrap());
    assert_eq!(round_trip(db, &values).await, expected(&values));
    let sum: Decimal = db.query_one("SELECT sum(v) FROM t WHERE id < 3").await.unwrap();
    assert_eq!(sum, Decimal::from_str("-0.75").unwrap());
    let ordered: Vec<i64> = db.query_as("SELECT id FROM t WHERE v > 0.5 ORDER BY v DESC").await.unwrap();
    assert_eq!(ordered, [3, 1]);
}

pub async fn texts(db: &dyn Database) {
    table(db, ColumnDef::new("v").string_len(200)).await;
    let values = ["", " ", "plain", "it's", "a\\b", "%_", "line\nbreak\ttab", "trailing  "].map(str::to_owned);
    assert_eq!(round_trip(db, &values).await, expected(&values));
}

pub async fn booleans(db: &dyn Database) {
    table(db, ColumnDef::new("v").boolean()).await;
    let values = [true, false];
    assert_eq!(round_trip(db, &values).await, expected(&values));
    let select = Query::select().column("id").from("t").and_where(Expr::col("v").eq(true).not()).to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [1]);
}

pub async fn dates_and_times(db: &dyn Database) {
    let table = Table::create()
        .table("t")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(ColumnDef::new("d").date())
        .col(ColumnDef::new("t").time())
        .col(ColumnDef::new("ts").date_time())
        .col(ColumnDef::new("tz").timestamp_with_time_zone().null())
        .to_owned();
    db.execute(table).await.unwrap();
    let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
    let time = NaiveTime::from_hms_opt(23, 59, 58).unwrap();
    let at = date.and_time(time);
    let columns = ["id", "d", "t", "ts", "tz"];
    let mut insert = Query::insert().into_table("t").columns(columns).to_owned();
    insert.values_panic([1.into(), date.into(), time.into(), at.into(), at.and_utc().into()]);
    let later = date.succ_opt().unwrap().and_time(NaiveTime::MIN);
    insert.values_panic([2.into(), later.date().into(), later.time().into(), later.into(), later.and_utc().into()]);
    db.execute(insert).await.unwrap();
    let row: (NaiveDate, NaiveTime, NaiveDateTime, DateTime<Utc>) = db
        .query_one(
            Query::select().columns(["d", "t", "ts", "tz"]).from("t").and_where(Expr::col("id").eq(1)).to_owned(),
        )
        .await
        .unwrap();
    assert_eq!(row, (date, time, at, at.and_utc()));
    for condition in
        [Expr::col("d").gt(date), Expr::col("t").lt(time), Expr::col("ts").gt(at), Expr::col("tz").gt(at.and_utc())]
    {
        let select = Query::select().column("id").from("t").and_where(condition).to_owned();
        assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [2]);
    }
    let zone = chrono::FixedOffset::east_opt(2 * 3600).unwrap();
    let update = Query::update()
        .table("t")
        .value("tz", at.and_utc().with_timezone(&zone))
        .and_where(Expr::col("id").eq(2))
        .to_owned();
    db.execute(update).await.unwrap();
    let same: i64 = db.query_one("SELECT count(DISTINCT tz) FROM t").await.unwrap();
    assert_eq!(same, 1, "an instant is the same in every zone");
}

pub async fn bytes(db: &dyn Database) {
    table(db, ColumnDef::new("v").blob()).await;
    let values = [vec![], vec![0_u8, 1, 255, 0], (0..=255).collect::<Vec<u8>>()];
    assert_eq!(round_trip(db, &values).await, expected(&values));
}

pub async fn uuids(db: &dyn Database) {
    table(db, ColumnDef::new("v").uuid()).await;
    let values = [Uuid::nil(), Uuid::max(), Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)];
    assert_eq!(round_trip(db, &values).await, expected(&values));
    let ordered: Vec<Uuid> = db.query_as("SELECT v FROM t WHERE v IS NOT NULL ORDER BY v").await.unwrap();
    assert_eq!(ordered, [values[0], values[2], values[1]]);
}

pub async fn json(db: &dyn Database) {
    let documents = [
        serde_json::json!({"name": "web", "tags": ["a", null, 1.5], "nested": {"deep": true}}),
        serde_json::json!([]),
        serde_json::json!("text \"quoted\" 日本"),
        serde_json::json!(null),
    ];
    table(db, ColumnDef::new("v").json_binary()).await;
    let mut insert = Query::insert().into_table("t").columns(["id", "v"]).to_owned();
    for (id, document) in documents.iter().enumerate() {
        insert.values_panic([(id as i64).into(), Expr::val(document.clone())]);
    }
    db.execute(insert).await.unwrap();
    let rows = db.query("SELECT v FROM t ORDER BY id").await.unwrap();
    for (row, document) in rows.iter().zip(&documents) {
        assert_eq!(&row.get::<serde_json::Value>("v").unwrap(), document);
    }
    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Server {
        name: String,
        nested: std::collections::HashMap<String, bool>,
    }
    let server: Server = db.query_one("SELECT v FROM t WHERE id = 0").await.unwrap();
    assert_eq!((server.name.as_str(), server.nested["deep"]), ("web", true));
}

pub async fn nulls_of_every_type(db: &dyn Database) {
    let table = Table::create()
        .table("t")
        .col(ColumnDef::new("a").small_integer())
        .col(ColumnDef::new("b").big_integer())
        .col(ColumnDef::new("c").double())
        .col(ColumnDef::new("d").decimal_len(10, 2))
        .col(ColumnDef::new("e").text())
        .col(ColumnDef::new("f").boolean())
        .col(ColumnDef::new("g").date())
        .col(ColumnDef::new("h").timestamp_with_time_zone().null())
        .col(ColumnDef::new("i").uuid())
        .col(ColumnDef::new("j").json_binary())
        .col(ColumnDef::new("k").blob())
        .to_owned();
    db.execute(table).await.unwrap();
    let columns = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    // Typed by sea-query, and not at all.
    let nulls = [
        None::<i16>.into(),
        None::<i64>.into(),
        None::<f64>.into(),
        None::<Decimal>.into(),
        None::<String>.into(),
        None::<bool>.into(),
        None::<NaiveDate>.into(),
        None::<DateTime<Utc>>.into(),
        None::<Uuid>.into(),
        None::<serde_json::Value>.into(),
        None::<Vec<u8>>.into(),
    ];
    db.execute(Query::insert().into_table("t").columns(columns).values_panic(nulls).to_owned()).await.unwrap();
    let places: Vec<String> = (1..=columns.len())
        .map(|number| if db.features().dialect == Dialect::MySql { "?".to_owned() } else { format!("${number}") })
        .collect();
    let text = format!("INSERT INTO t VALUES ({})", places.join(", "));
    db.execute((text, vec![Value::Null; columns.len()])).await.unwrap();
    let rows = db.query("SELECT * FROM t").await.unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.values().iter().all(Value::is_null)));
}

pub async fn large_values(db: &dyn Database) {
    let long = if db.features().dialect == Dialect::MySql { "longtext" } else { "text" };
    db.execute(format!("CREATE TABLE t (id integer PRIMARY KEY, v {long})")).await.unwrap();
    let large = "0123456789abcdef".repeat(40_000);
    let insert =
        Query::insert().into_table("t").columns(["id", "v"]).values_panic([1.into(), large.as_str().into()]).to_owned();
    db.execute(insert).await.unwrap();
    let (length, value): (i64, String) = db.query_one("SELECT length(v), v FROM t").await.unwrap();
    assert_eq!(length, 640_000);
    assert!(value == large);
}

pub async fn unicode_and_quotes(db: &dyn Database) {
    table(db, ColumnDef::new("v").string_len(200)).await;
    let values =
        ["日本語", "naïve café", "🦀 crab", "Ω≈ç√", "O'Brien \"x\" `y`", "'; DROP TABLE t; --"].map(str::to_owned);
    assert_eq!(round_trip(db, &values).await, expected(&values));
    db.execute("INSERT INTO t VALUES (77, 'it''s')").await.unwrap();
    assert_eq!(db.query_one::<String, _>("SELECT v FROM t WHERE id = 77").await.unwrap(), "it's");
}

pub async fn parameters_in_text(db: &dyn Database) {
    cloud(db).await;
    let mysql = db.features().dialect == Dialect::MySql;
    let text = if mysql {
        "SELECT name FROM host WHERE ram >= ? AND (zone = ? OR id = ?) ORDER BY id LIMIT ?"
    } else {
        "SELECT name FROM host WHERE ram >= $1 AND (zone = $2 OR id = $3) ORDER BY id LIMIT $4"
    };
    let rows: Vec<String> = db.query_as((text, [32.into(), "b".into(), 4.into(), 5.into()])).await.unwrap();
    assert_eq!(rows, ["b2", "l2"]);
    if !mysql {
        let reordered = "SELECT id FROM host WHERE name = $2 AND ram = $1 AND $2 <> 'x'";
        assert_eq!(db.query_as::<i64, _>((reordered, [64.into(), "l2".into()])).await.unwrap(), [4]);
    }
    assert_eq!(state_of(db.query((text, [1.into()])).await), SqlState::UNDEFINED_PARAMETER);
}

pub async fn same_statement_different_values(db: &dyn Database) {
    cloud(db).await;
    for (ram, count) in [(16, 1), (32, 2), (64, 2), (7, 0), (100_000_000_000_i64, 0)] {
        let select =
            Query::select().expr(Expr::col("id").count()).from("host").and_where(Expr::col("ram").eq(ram)).to_owned();
        assert_eq!(db.query_one::<i64, _>(select).await.unwrap(), count, "{ram}");
    }
    for (zone, count) in [(Some("a"), 2), (None, 0), (Some("b"), 1)] {
        let zone = zone.map(str::to_owned);
        let select =
            Query::select().expr(Expr::col("id").count()).from("host").and_where(Expr::col("zone").eq(zone)).to_owned();
        assert_eq!(db.query_one::<i64, _>(select).await.unwrap(), count);
    }
}
