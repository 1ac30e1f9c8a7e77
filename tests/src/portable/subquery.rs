//! Subqueries: scalar, IN, EXISTS, correlated, in FROM.

use super::*;

async fn ids(db: &dyn Database, text: &str) -> Vec<i64> {
    db.query_as(text).await.unwrap()
}

pub async fn scalar(db: &dyn Database) {
    cloud(db).await;
    let largest = Query::select().expr(Expr::col("ram").max()).from("host").to_owned();
    let select = Query::select()
        .column("id")
        .from("host")
        .and_where(Expr::col("ram").eq(Expr::SubQuery(None, Box::new(largest.into()))))
        .order_by("id", Order::Asc)
        .to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [1, 4]);
    let nothing: Option<i64> = db.query_one("SELECT (SELECT id FROM host WHERE id = 99)").await.unwrap();
    assert_eq!(nothing, None);
}

pub async fn scalar_of_many_rows(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT id FROM site WHERE id = (SELECT site_id FROM host WHERE site_id IS NOT NULL)";
    // SQLite takes the first row.
    if db.features().dialect != Dialect::Sqlite {
        assert_eq!(state_of(db.query(text).await), SqlState::CARDINALITY_VIOLATION);
    }
}

pub async fn in_list(db: &dyn Database) {
    cloud(db).await;
    let used = Query::select().column("host_id").from("server").and_where(Expr::col("ram").gt(5)).to_owned();
    let select = Query::select().column("name").from("host").and_where(Expr::col("id").in_subquery(used)).to_owned();
    assert_eq!(db.query_as::<String, _>(select).await.unwrap(), ["b1"]);
}

pub async fn not_in_with_null(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(ids(db, "SELECT id FROM host WHERE id NOT IN (SELECT host_id FROM server)").await, [0; 0]);
    let text = "SELECT id FROM host WHERE id NOT IN (SELECT host_id FROM server WHERE host_id IS NOT NULL) ORDER BY id";
    assert_eq!(ids(db, text).await, [3, 4, 5]);
    assert_eq!(
        ids(db, "SELECT id FROM host WHERE id NOT IN (SELECT host_id FROM server WHERE id > 99) ORDER BY id")
            .await
            .len(),
        5
    );
}

pub async fn exists(db: &dyn Database) {
    cloud(db).await;
    let inside = Query::select()
        .expr(Expr::val(1))
        .from("server")
        .and_where(Expr::col(("server", "host_id")).equals(("host", "id")))
        .to_owned();
    let select =
        Query::select().column("id").from("host").and_where(Expr::exists(inside)).order_by("id", Order::Asc).to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [1, 2]);
    assert_eq!(ids(db, "SELECT id FROM site WHERE EXISTS (SELECT 1 FROM host WHERE id > 99)").await, [0; 0]);
}

pub async fn not_exists(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT id FROM host WHERE NOT EXISTS (SELECT 1 FROM server WHERE server.host_id = host.id) ORDER BY id";
    assert_eq!(ids(db, text).await, [3, 4, 5]);
}

pub async fn correlated_in_select(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT name, (SELECT count(*) FROM server s WHERE s.host_id = h.id AND s.ram < h.ram) FROM host h ORDER BY h.id";
    let rows: Vec<(String, i64)> = db.query_as(text).await.unwrap();
    let counts: Vec<i64> = rows.into_iter().map(|(_, count)| count).collect();
    assert_eq!(counts, [2, 1, 0, 0, 0]);
}

pub async fn derived_table(db: &dyn Database) {
    cloud(db).await;
    let sums = Query::select()
        .column("site_id")
        .expr_as(Expr::col("ram").sum(), "total")
        .from("host")
        .and_where(Expr::col("site_id").is_not_null())
        .group_by_col("site_id")
        .to_owned();
    let select = Query::select().expr(Expr::col(("sums", "total")).max()).from_subquery(sums, "sums").to_owned();
    assert_eq!(db.query_one::<i64, _>(select).await.unwrap(), 96);
}

pub async fn nested(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT name FROM site WHERE id IN (SELECT site_id FROM host WHERE id IN \
                (SELECT host_id FROM server WHERE ram > (SELECT min(ram) FROM server)))";
    assert_eq!(db.query_as::<String, _>(text).await.unwrap(), ["berlin"]);
}

pub async fn common_table_expression(db: &dyn Database) {
    cloud(db).await;
    let text = "WITH used AS (SELECT host_id, sum(ram) AS ram FROM server GROUP BY host_id) \
                SELECT h.name, used.ram FROM host h JOIN used ON used.host_id = h.id ORDER BY h.id";
    let rows: Vec<(String, i64)> = db.query_as(text).await.unwrap();
    assert_eq!(rows, [("b1".to_owned(), 24), ("b2".to_owned(), 4)]);
}
