//! UPDATE and DELETE.

use super::*;

async fn rams(db: &dyn Database) -> Vec<i64> {
    db.query_as("SELECT ram FROM host ORDER BY id").await.unwrap()
}

async fn hosts(db: &dyn Database) -> Vec<i64> {
    db.query_as("SELECT id FROM host ORDER BY id").await.unwrap()
}

pub async fn with_expression(db: &dyn Database) {
    cloud(db).await;
    let update = Query::update()
        .table("host")
        .value("ram", Expr::col("ram").sub(10))
        .and_where(Expr::col("ram").gte(32))
        .to_owned();
    assert_eq!(db.execute(update).await.unwrap(), 4);
    assert_eq!(rams(db).await, [54, 22, 22, 54, 16]);
}

pub async fn several_columns(db: &dyn Database) {
    cloud(db).await;
    let update = Query::update()
        .table("host")
        .values([("name", "new".into()), ("zone", Option::<String>::None.into()), ("ram", 1.into())])
        .and_where(Expr::col("id").eq(1))
        .to_owned();
    assert_eq!(db.execute(update).await.unwrap(), 1);
    let row: (String, Option<String>, i64) =
        db.query_one("SELECT name, zone, ram FROM host WHERE id = 1").await.unwrap();
    assert_eq!(row, ("new".to_owned(), None, 1));
}

pub async fn swaps_columns(db: &dyn Database) {
    db.execute("CREATE TABLE t (a integer, b integer)").await.unwrap();
    db.execute("INSERT INTO t VALUES (1, 2)").await.unwrap();
    db.execute("UPDATE t SET a = b, b = a").await.unwrap();
    let row: (i64, i64) = db.query_one("SELECT a, b FROM t").await.unwrap();
    // MariaDB assigns from left to right.
    let expected = if db.features().dialect == Dialect::MySql { (2, 2) } else { (2, 1) };
    assert_eq!(row, expected);
}

pub async fn returning_values(db: &dyn Database) {
    cloud(db).await;
    let update = Query::update()
        .table("host")
        .value("ram", Expr::col("ram").mul(2))
        .and_where(Expr::col("zone").eq("a"))
        .returning(Query::returning().columns(["id", "ram"]))
        .to_owned();
    let mut rows: Vec<(i64, i64)> = db.query_as(update).await.unwrap();
    rows.sort_unstable();
    assert_eq!(rows, [(1, 128), (3, 64)]);
    let none =
        Query::update().table("host").value("ram", 0).and_where(Expr::col("id").eq(99)).returning_all().to_owned();
    assert!(db.query(none).await.unwrap().is_empty());
}

pub async fn from_other_table(db: &dyn Database) {
    cloud(db).await;
    let update = Query::update()
        .table("host")
        .value("ram", Expr::col(("host", "ram")).sub(Expr::col(("server", "ram"))))
        .from("server")
        .and_where(Expr::col(("server", "host_id")).equals(("host", "id")))
        .and_where(Expr::col(("server", "name")).is_in(["web", "cache"]))
        .to_owned();
    assert_eq!(db.execute(update).await.unwrap(), 2);
    assert_eq!(rams(db).await, [56, 28, 32, 64, 16]);
}

pub async fn with_subquery(db: &dyn Database) {
    cloud(db).await;
    let text = "UPDATE host SET ram = ram - (SELECT sum(ram) FROM server WHERE server.host_id = host.id) \
                WHERE id IN (SELECT host_id FROM server)";
    assert_eq!(db.execute(text).await.unwrap(), 2);
    assert_eq!(rams(db).await, [40, 28, 32, 64, 16]);
}

pub async fn counts_matched_rows(db: &dyn Database) {
    cloud(db).await;
    // Rows that match count, changed or not.
    assert_eq!(db.execute("UPDATE host SET ram = 64 WHERE ram = 64").await.unwrap(), 2);
    assert_eq!(db.execute("UPDATE host SET ram = 1 WHERE id = 99").await.unwrap(), 0);
}

pub async fn primary_key(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(db.execute("UPDATE host SET id = 50 WHERE id = 5").await.unwrap(), 1);
    assert_eq!(hosts(db).await, [1, 2, 3, 4, 50]);
    assert_eq!(state_of(db.execute("UPDATE host SET id = 4 WHERE id = 3").await), SqlState::UNIQUE_VIOLATION);
    assert_eq!(hosts(db).await, [1, 2, 3, 4, 50]);
}

pub async fn to_null(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(db.execute("UPDATE host SET zone = NULL").await.unwrap(), 5);
    assert_eq!(db.query_one::<i64, _>("SELECT count(zone) FROM host").await.unwrap(), 0);
    assert_eq!(state_of(db.execute("UPDATE host SET name = NULL WHERE id = 1").await), SqlState::NOT_NULL_VIOLATION);
}

pub async fn delete_rows(db: &dyn Database) {
    cloud(db).await;
    let delete = Query::delete()
        .from_table("host")
        .and_where(Expr::col("id").gt(2))
        .and_where(Expr::col("ram").ne(16))
        .to_owned();
    assert_eq!(db.execute(delete).await.unwrap(), 2);
    assert_eq!(hosts(db).await, [1, 2, 5]);
    assert_eq!(db.execute(Query::delete().from_table("server").to_owned()).await.unwrap(), 4);
    assert_eq!(db.execute("DELETE FROM server").await.unwrap(), 0);
}

pub async fn delete_returning(db: &dyn Database) {
    cloud(db).await;
    let mut rows: Vec<(i64, String)> = db.query_as("DELETE FROM host WHERE id > 3 RETURNING id, name").await.unwrap();
    rows.sort();
    assert_eq!(rows, [(4, "l2".to_owned()), (5, "x1".to_owned())]);
    assert_eq!(hosts(db).await, [1, 2, 3]);
}

pub async fn delete_with_subquery(db: &dyn Database) {
    cloud(db).await;
    let text = "DELETE FROM host WHERE NOT EXISTS (SELECT 1 FROM server WHERE server.host_id = host.id)";
    assert_eq!(db.execute(text).await.unwrap(), 3);
    assert_eq!(hosts(db).await, [1, 2]);
}

pub async fn delete_using_text(db: &dyn Database) {
    cloud(db).await;
    let text = "DELETE FROM server USING host WHERE server.host_id = host.id AND host.zone = 'a'";
    assert_eq!(db.execute(text).await.unwrap(), 2);
    let left: Vec<i64> = db.query_as("SELECT id FROM server ORDER BY id").await.unwrap();
    assert_eq!(left, [3, 4]);
}
