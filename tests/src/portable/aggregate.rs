//! Aggregates, GROUP BY and HAVING.

use super::*;

pub async fn whole_table(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .expr(Expr::col("id").count())
        .expr(Expr::col("ram").sum())
        .expr(Expr::col("ram").min())
        .expr(Expr::col("ram").max())
        .expr(Expr::col("name").min())
        .from("host")
        .to_owned();
    let row: (i64, i64, i64, i64, String) = db.query_one(select).await.unwrap();
    assert_eq!(row, (5, 208, 16, 64, "b1".to_owned()));
    let average: f64 = db.query_one("SELECT avg(ram) FROM host").await.unwrap();
    assert!((average - 41.6).abs() < 1e-9, "{average}");
}

pub async fn of_nothing(db: &dyn Database) {
    cloud(db).await;
    let row: (i64, Option<i64>, Option<i64>) =
        db.query_one("SELECT count(*), sum(ram), max(ram) FROM host WHERE id > 99").await.unwrap();
    assert_eq!(row, (0, None, None));
    let rows = db.query("SELECT zone, count(*) FROM host WHERE id > 99 GROUP BY zone").await.unwrap();
    assert!(rows.is_empty());
}

pub async fn grouped(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .column("ram")
        .expr(Expr::col("id").count())
        .expr(Expr::col("id").max())
        .from("host")
        .group_by_col("ram")
        .order_by("ram", Order::Asc)
        .to_owned();
    let rows: Vec<(i64, i64, i64)> = db.query_as(select).await.unwrap();
    assert_eq!(rows, [(16, 1, 5), (32, 2, 3), (64, 2, 4)]);
}

pub async fn having(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .column("ram")
        .from("host")
        .group_by_col("ram")
        .and_having(Expr::col("id").count().gt(1))
        .and_having(Expr::col("ram").ne(32))
        .to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [64]);
    let whole: Vec<i64> = db.query_as("SELECT count(*) FROM host HAVING count(*) > 100").await.unwrap();
    assert_eq!(whole, [0; 0]);
}

pub async fn distinct_values(db: &dyn Database) {
    cloud(db).await;
    let row: (i64, i64, i64) =
        db.query_one("SELECT count(DISTINCT ram), sum(DISTINCT ram), count(DISTINCT zone) FROM host").await.unwrap();
    assert_eq!(row, (3, 112, 2));
}

pub async fn filtered(db: &dyn Database) {
    cloud(db).await;
    let row: (i64, Option<i64>, Option<i64>) = db
        .query_one("SELECT count(*) FILTER (WHERE ram > 16), sum(ram) FILTER (WHERE zone = 'a'), max(ram) FILTER (WHERE id > 99) FROM host")
        .await
        .unwrap();
    assert_eq!(row, (4, Some(96), None));
}

pub async fn nulls_are_ignored(db: &dyn Database) {
    cloud(db).await;
    let row: (i64, i64, i64) = db.query_one("SELECT count(*), count(zone), sum(site_id) FROM host").await.unwrap();
    assert_eq!(row, (5, 3, 6));
    let average: f64 = db.query_one("SELECT avg(site_id) FROM host").await.unwrap();
    assert!((average - 1.5).abs() < 1e-9);
}

pub async fn grouped_by_null(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .column("zone")
        .expr(Expr::col("id").count())
        .from("host")
        .group_by_col("zone")
        .order_by_with_nulls("zone", Order::Asc, NullOrdering::Last)
        .to_owned();
    let rows: Vec<(Option<String>, i64)> = db.query_as(select).await.unwrap();
    assert_eq!(rows, [(Some("a".to_owned()), 2), (Some("b".to_owned()), 1), (None, 2)]);
}

pub async fn grouped_by_expression(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT CASE WHEN ram > 30 THEN 'big' ELSE 'small' END AS size, count(*) FROM host \
                GROUP BY CASE WHEN ram > 30 THEN 'big' ELSE 'small' END ORDER BY size";
    let rows: Vec<(String, i64)> = db.query_as(text).await.unwrap();
    assert_eq!(rows, [("big".to_owned(), 4), ("small".to_owned(), 1)]);
}

pub async fn over_join(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT site.name, count(server.id), coalesce(sum(server.ram), 0) FROM site \
                LEFT JOIN host ON host.site_id = site.id LEFT JOIN server ON server.host_id = host.id \
                GROUP BY site.id, site.name ORDER BY site.id";
    let rows: Vec<(String, i64, i64)> = db.query_as(text).await.unwrap();
    assert_eq!(rows, [("berlin".to_owned(), 3, 28), ("lyon".to_owned(), 0, 0), ("oslo".to_owned(), 0, 0)]);
}

pub async fn ordered_by_aggregate(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .column("ram")
        .from("host")
        .group_by_col("ram")
        .order_by_expr(Expr::col("id").sum(), Order::Desc)
        .order_by("ram", Order::Desc)
        .to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [64, 32, 16]);
}
