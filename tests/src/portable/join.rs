//! Joins of every kind.

use super::*;

type Pairs = Vec<(Option<String>, Option<String>)>;

/// Pairs of a host's and a site's name, ordered.
async fn pairs(db: &dyn Database, join: JoinType) -> Pairs {
    let select = Query::select()
        .column(("host", "name"))
        .column(("site", "name"))
        .from("host")
        .join(join, "site", Expr::col(("host", "site_id")).equals(("site", "id")))
        .order_by_with_nulls(("host", "name"), Order::Asc, NullOrdering::Last)
        .order_by(("site", "name"), Order::Asc)
        .to_owned();
    db.query_as(select).await.unwrap()
}

fn some(pairs: &[(&str, &str)]) -> Pairs {
    let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    pairs.iter().map(|(host, site)| (name(host), name(site))).collect()
}

pub async fn inner(db: &dyn Database) {
    cloud(db).await;
    let expected = some(&[("b1", "berlin"), ("b2", "berlin"), ("l1", "lyon"), ("l2", "lyon")]);
    assert_eq!(pairs(db, JoinType::InnerJoin).await, expected);
}

pub async fn left_with_nulls(db: &dyn Database) {
    cloud(db).await;
    let expected = some(&[("b1", "berlin"), ("b2", "berlin"), ("l1", "lyon"), ("l2", "lyon"), ("x1", "")]);
    assert_eq!(pairs(db, JoinType::LeftJoin).await, expected);
    let without = "SELECT host.id FROM host LEFT JOIN site ON host.site_id = site.id WHERE site.id IS NULL";
    assert_eq!(db.query_as::<i64, _>(without).await.unwrap(), [5]);
}

pub async fn right(db: &dyn Database) {
    cloud(db).await;
    let expected = some(&[("b1", "berlin"), ("b2", "berlin"), ("l1", "lyon"), ("l2", "lyon"), ("", "oslo")]);
    assert_eq!(pairs(db, JoinType::RightJoin).await, expected);
}

pub async fn full(db: &dyn Database) {
    cloud(db).await;
    let expected =
        some(&[("b1", "berlin"), ("b2", "berlin"), ("l1", "lyon"), ("l2", "lyon"), ("x1", ""), ("", "oslo")]);
    assert_eq!(pairs(db, JoinType::FullOuterJoin).await, expected);
}

pub async fn cross(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select().expr(Expr::col(("site", "id")).count()).from("site").cross_join("host").to_owned();
    assert_eq!(db.query_one::<i64, _>(select).await.unwrap(), 15);
    let with_condition = "SELECT count(*) FROM site, host WHERE site.id = host.site_id AND host.ram = 64";
    assert_eq!(db.query_one::<i64, _>(with_condition).await.unwrap(), 2);
}

pub async fn using_columns(db: &dyn Database) {
    db.execute("CREATE TABLE a (id bigint, x integer)").await.unwrap();
    db.execute("CREATE TABLE b (id bigint, y integer)").await.unwrap();
    db.execute("INSERT INTO a VALUES (1, 10), (2, 20)").await.unwrap();
    db.execute("INSERT INTO b VALUES (2, 200), (3, 300)").await.unwrap();
    let rows = db.query("SELECT * FROM a JOIN b USING (id)").await.unwrap();
    assert_eq!(rows.len(), 1);
    let names: Vec<&str> = rows[0].columns().iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["id", "x", "y"]);
    let rows: Vec<(i64, Option<i64>)> =
        db.query_as("SELECT id, y FROM a LEFT JOIN b USING (id) ORDER BY id").await.unwrap();
    assert_eq!(rows, [(1, None), (2, Some(200))]);
}

pub async fn three_tables(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .column(("server", "name"))
        .column(("host", "name"))
        .column(("site", "name"))
        .from("server")
        .inner_join("host", Expr::col(("server", "host_id")).equals(("host", "id")))
        .inner_join("site", Expr::col(("host", "site_id")).equals(("site", "id")))
        .and_where(Expr::col(("site", "name")).eq("berlin"))
        .order_by(("server", "id"), Order::Asc)
        .to_owned();
    let rows: Vec<(String, String, String)> = db.query_as(select).await.unwrap();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(server, host, _)| (server.as_str(), host.as_str())).collect();
    assert_eq!(rows, [("web", "b1"), ("db", "b1"), ("cache", "b2")]);
}

pub async fn with_subquery(db: &dyn Database) {
    cloud(db).await;
    let used = Query::select()
        .column("host_id")
        .expr_as(Expr::col("ram").sum(), "used")
        .from("server")
        .group_by_col("host_id")
        .to_owned();
    let select = Query::select()
        .column(("host", "name"))
        .expr(Expr::col(("host", "ram")).sub(Func::coalesce([Expr::col(("u", "used")), Expr::val(0)])))
        .from("host")
        .join_subquery(JoinType::LeftJoin, used, "u", Expr::col(("u", "host_id")).equals(("host", "id")))
        .order_by(("host", "id"), Order::Asc)
        .to_owned();
    let free: Vec<(String, i64)> = db.query_as(select).await.unwrap();
    let free: Vec<i64> = free.into_iter().map(|(_, free)| free).collect();
    assert_eq!(free, [40, 28, 32, 64, 16]);
}

pub async fn on_inequality(db: &dyn Database) {
    cloud(db).await;
    let text = "SELECT server.name, count(host.id) FROM server JOIN host ON host.ram >= server.ram * 3 \
                GROUP BY server.id, server.name ORDER BY server.id";
    let rows: Vec<(String, i64)> = db.query_as(text).await.unwrap();
    let fitting: Vec<i64> = rows.into_iter().map(|(_, fitting)| fitting).collect();
    assert_eq!(fitting, [4, 2, 5, 5]);
}

pub async fn condition_on_outer_side(db: &dyn Database) {
    cloud(db).await;
    // In ON it decides about partners, in WHERE about rows.
    let on =
        "SELECT host.id, site.id FROM host LEFT JOIN site ON host.site_id = site.id AND host.ram = 64 ORDER BY host.id";
    let rows: Vec<(i64, Option<i64>)> = db.query_as(on).await.unwrap();
    assert_eq!(rows, [(1, Some(1)), (2, None), (3, None), (4, Some(2)), (5, None)]);
    let filter =
        "SELECT host.id FROM host LEFT JOIN site ON host.site_id = site.id WHERE site.name = 'lyon' ORDER BY host.id";
    assert_eq!(db.query_as::<i64, _>(filter).await.unwrap(), [3, 4]);
}

pub async fn many_to_many(db: &dyn Database) {
    cloud(db).await;
    db.execute("CREATE TABLE aggregate_host (aggregate_id bigint NOT NULL, host_id bigint NOT NULL, PRIMARY KEY (aggregate_id, host_id))")
        .await
        .unwrap();
    db.execute("INSERT INTO aggregate_host VALUES (1, 1), (1, 3), (2, 1), (2, 4)").await.unwrap();
    let text =
        "SELECT h.name FROM aggregate_host m JOIN host h ON h.id = m.host_id WHERE m.aggregate_id = 2 ORDER BY h.name";
    assert_eq!(db.query_as::<String, _>(text).await.unwrap(), ["b1", "l2"]);
    let in_both = "SELECT h.name FROM host h JOIN aggregate_host a ON a.host_id = h.id AND a.aggregate_id = 1 \
                   JOIN aggregate_host b ON b.host_id = h.id AND b.aggregate_id = 2";
    assert_eq!(db.query_as::<String, _>(in_both).await.unwrap(), ["b1"]);
}
