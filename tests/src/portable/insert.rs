//! INSERT in all its forms.

use super::*;

async fn table(db: &dyn Database) {
    let table = Table::create()
        .table("t")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("name").string_len(40).not_null().default("none"))
        .col(ColumnDef::new("hits").integer().not_null().default(1))
        .to_owned();
    db.execute(table).await.unwrap();
}

async fn rows(db: &dyn Database) -> Vec<(i64, String, i64)> {
    db.query_as("SELECT id, name, hits FROM t ORDER BY id").await.unwrap()
}

fn row(id: i64, name: &str, hits: i64) -> (i64, String, i64) {
    (id, name.to_owned(), hits)
}

fn insert(id: i64, name: &str, hits: i64) -> sea_query::InsertStatement {
    Query::insert()
        .into_table("t")
        .columns(["id", "name", "hits"])
        .values_panic([id.into(), name.into(), hits.into()])
        .to_owned()
}

pub async fn many_rows(db: &dyn Database) {
    table(db).await;
    let mut statement = Query::insert().into_table("t").columns(["id", "name"]).to_owned();
    for id in 0..500_i64 {
        statement.values_panic([id.into(), format!("n{id}").into()]);
    }
    assert_eq!(db.execute(statement).await.unwrap(), 500);
    let (count, sum): (i64, i64) = db.query_one("SELECT count(*), sum(id) FROM t").await.unwrap();
    assert_eq!((count, sum), (500, 124_750));
}

pub async fn returning_values(db: &dyn Database) {
    table(db).await;
    let statement = insert(1, "a", 5).values_panic([2.into(), "b".into(), 6.into()]).returning_all().to_owned();
    let returned: Vec<(i64, String, i64)> = db.query_as(statement).await.unwrap();
    assert_eq!(returned, [row(1, "a", 5), row(2, "b", 6)]);
    let statement = insert(3, "c", 7).returning(Query::returning().exprs([Expr::col("hits").mul(2)])).to_owned();
    let doubled: i64 = db.query_one(statement).await.unwrap();
    assert_eq!(doubled, 14);
}

pub async fn returning_text(db: &dyn Database) {
    table(db).await;
    let returned: Vec<(i64, String)> =
        db.query_as("INSERT INTO t (id, hits) VALUES (1, 5), (2, 6) RETURNING id, name").await.unwrap();
    assert_eq!(returned, [(1, "none".to_owned()), (2, "none".to_owned())]);
}

pub async fn from_select(db: &dyn Database) {
    table(db).await;
    db.execute(insert(1, "a", 5)).await.unwrap();
    db.execute(insert(2, "b", 6)).await.unwrap();
    let select = Query::select()
        .expr(Expr::col("id").add(10))
        .column("name")
        .expr(Expr::col("hits").add(1))
        .from("t")
        .and_where(Expr::col("hits").gt(5))
        .to_owned();
    let statement =
        Query::insert().into_table("t").columns(["id", "name", "hits"]).select_from(select).unwrap().to_owned();
    assert_eq!(db.execute(statement).await.unwrap(), 1);
    assert_eq!(rows(db).await, [row(1, "a", 5), row(2, "b", 6), row(12, "b", 7)]);
}

pub async fn default_row_values(db: &dyn Database) {
    let table = Table::create()
        .table("d")
        .col(ColumnDef::new("a").integer().default(7))
        .col(ColumnDef::new("b").string_len(10).default("x"))
        .to_owned();
    db.execute(table).await.unwrap();
    db.execute(Query::insert().into_table("d").or_default_values().to_owned()).await.unwrap();
    let row: (i64, String) = db.query_one("SELECT a, b FROM d").await.unwrap();
    assert_eq!(row, (7, "x".to_owned()));
}

pub async fn column_subset(db: &dyn Database) {
    table(db).await;
    db.execute("INSERT INTO t (hits, id) VALUES (9, 1)").await.unwrap();
    assert_eq!(rows(db).await, [row(1, "none", 9)]);
}

pub async fn wrong_number_of_values(db: &dyn Database) {
    table(db).await;
    for text in ["INSERT INTO t (id, name) VALUES (1)", "INSERT INTO t (id) VALUES (1, 'a')"] {
        assert_eq!(state_of(db.execute(text).await), SqlState::SYNTAX_ERROR, "{text}");
    }
    assert!(rows(db).await.is_empty());
}

pub async fn conflict_do_nothing(db: &dyn Database) {
    table(db).await;
    db.execute(insert(1, "a", 1)).await.unwrap();
    let statement = insert(1, "b", 2)
        .values_panic([2.into(), "c".into(), 3.into()])
        .on_conflict(OnConflict::column("id").do_nothing_on(["id"]).to_owned())
        .to_owned();
    let affected = db.execute(statement).await.unwrap();
    // sea-query renders it for MariaDB as an update to the same value, which counts.
    assert_eq!(affected, if db.features().dialect == Dialect::MySql { 2 } else { 1 });
    assert_eq!(rows(db).await, [row(1, "a", 1), row(2, "c", 3)]);
}

pub async fn conflict_update(db: &dyn Database) {
    table(db).await;
    db.execute(insert(1, "a", 1)).await.unwrap();
    let upsert = |name: &str, hits: i64| {
        insert(1, name, hits)
            .on_conflict(OnConflict::column("id").update_columns(["name", "hits"]).to_owned())
            .to_owned()
    };
    db.execute(upsert("b", 2)).await.unwrap();
    assert_eq!(rows(db).await, [row(1, "b", 2)]);
    let counting = OnConflict::column("id").value("hits", Expr::col(("t", "hits")).add(1)).to_owned();
    for _ in 0..3 {
        db.execute(insert(2, "c", 1).on_conflict(counting.clone()).to_owned()).await.unwrap();
    }
    assert_eq!(rows(db).await, [row(1, "b", 2), row(2, "c", 3)]);
}

pub async fn conflict_update_excluded(db: &dyn Database) {
    table(db).await;
    db.execute("INSERT INTO t VALUES (1, 'a', 10)").await.unwrap();
    let affected = db
        .execute(
            "INSERT INTO t VALUES (1, 'b', 5), (2, 'c', 6) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, hits = t.hits + excluded.hits",
        )
        .await
        .unwrap();
    assert_eq!(affected, 2);
    assert_eq!(rows(db).await, [row(1, "b", 15), row(2, "c", 6)]);
}

pub async fn conflict_update_where(db: &dyn Database) {
    table(db).await;
    db.execute("INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 1)").await.unwrap();
    let affected = db
        .execute(
            "INSERT INTO t VALUES (1, 'x', 5), (2, 'y', 5) \
             ON CONFLICT (id) DO UPDATE SET hits = excluded.hits WHERE t.hits < excluded.hits",
        )
        .await
        .unwrap();
    assert_eq!(affected, 1);
    assert_eq!(rows(db).await, [row(1, "a", 10), row(2, "b", 5)]);
    let no_such_constraint = "INSERT INTO t VALUES (1, 'x', 5) ON CONFLICT (name) DO NOTHING";
    assert_eq!(state_of(db.execute(no_such_constraint).await), SqlState::INVALID_COLUMN_REFERENCE);
}

pub async fn replaces_nothing_on_failure(db: &dyn Database) {
    table(db).await;
    db.execute(insert(3, "old", 1)).await.unwrap();
    let statement = insert(1, "a", 1)
        .values_panic([2.into(), "b".into(), 1.into()])
        .values_panic([3.into(), "c".into(), 1.into()])
        .to_owned();
    assert_eq!(state_of(db.execute(statement).await), SqlState::UNIQUE_VIOLATION);
    assert_eq!(rows(db).await, [row(3, "old", 1)]);
}
