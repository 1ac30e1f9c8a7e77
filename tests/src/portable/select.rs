//! SELECT from one table: conditions, expressions, order and limits.

use super::*;

async fn ids(db: &dyn Database, condition: Expr) -> Vec<i64> {
    let select = Query::select().column("id").from("host").and_where(condition).order_by("id", Order::Asc).to_owned();
    db.query_as(select).await.unwrap()
}

/// One row of one text expression.
async fn text(db: &dyn Database, expression: Expr) -> Option<String> {
    db.query_one(Query::select().expr(expression).to_owned()).await.unwrap()
}

pub async fn by_primary_key(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(ids(db, Expr::col("id").eq(3)).await, [3]);
    assert_eq!(ids(db, Expr::col("id").eq(99)).await, [0; 0]);
    assert_eq!(ids(db, Expr::col("id").eq(1).and(Expr::col("name").eq("b2"))).await, [0; 0]);
}

pub async fn by_range(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(ids(db, Expr::col("id").gt(3)).await, [4, 5]);
    assert_eq!(ids(db, Expr::col("id").gte(3).and(Expr::col("id").lt(5))).await, [3, 4]);
    assert_eq!(ids(db, Expr::col("name").lt("l")).await, [1, 2]);
    assert_eq!(ids(db, Expr::col("id").lt(0)).await, [0; 0]);
}

pub async fn by_in_list(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(ids(db, Expr::col("id").is_in([5, 1, 77, 1])).await, [1, 5]);
    assert_eq!(ids(db, Expr::col("id").is_not_in([5, 1])).await, [2, 3, 4]);
    assert_eq!(ids(db, Expr::col("id").is_in(Vec::<i64>::new())).await, [0; 0]);
    assert_eq!(ids(db, Expr::col("id").is_not_in(Vec::<i64>::new())).await, [1, 2, 3, 4, 5]);
    assert_eq!(ids(db, Expr::col("zone").is_in(["a", "b"]).and(Expr::col("ram").eq(32))).await, [2, 3]);
}

pub async fn by_boolean_logic(db: &dyn Database) {
    cloud(db).await;
    let either = Cond::any()
        .add(Expr::col("zone").eq("b"))
        .add(Cond::all().add(Expr::col("ram").eq(64)).add(Expr::col("site_id").eq(2)));
    let select =
        Query::select().column("id").from("host").cond_where(either.clone()).order_by("id", Order::Asc).to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [2, 4]);
    // NOT of something unknown is unknown: hosts without zone or site are in neither half unless the condition is false.
    let select =
        Query::select().column("id").from("host").cond_where(either.not()).order_by("id", Order::Asc).to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [1, 3]);
}

pub async fn between_and_not(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(ids(db, Expr::col("ram").between(16, 32)).await, [2, 3, 5]);
    assert_eq!(ids(db, Expr::col("ram").not_between(16, 32)).await, [1, 4]);
    assert_eq!(ids(db, Expr::col("ram").between(32, 16)).await, [0; 0]);
    assert_eq!(ids(db, Expr::col("ram").eq(64).not()).await, [2, 3, 5]);
}

pub async fn order_by_several(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .columns(["ram", "name"])
        .from("host")
        .order_by("ram", Order::Desc)
        .order_by("name", Order::Asc)
        .to_owned();
    let rows: Vec<(i64, String)> = db.query_as(select).await.unwrap();
    let names: Vec<&str> = rows.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["b1", "l2", "b2", "l1", "x1"]);
    let select =
        Query::select().column("id").from("host").order_by_expr(Expr::col("id").mul(-1), Order::Asc).to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [5, 4, 3, 2, 1]);
}

pub async fn order_with_nulls(db: &dyn Database) {
    cloud(db).await;
    for (order, nulls, expected) in [
        (Order::Asc, NullOrdering::First, [4, 5, 1, 3, 2]),
        (Order::Asc, NullOrdering::Last, [1, 3, 2, 4, 5]),
        (Order::Desc, NullOrdering::First, [4, 5, 2, 1, 3]),
        (Order::Desc, NullOrdering::Last, [2, 1, 3, 4, 5]),
    ] {
        let select = Query::select()
            .column("id")
            .from("host")
            .order_by_with_nulls("zone", order, nulls)
            .order_by("id", Order::Asc)
            .to_owned();
        assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), expected);
    }
}

pub async fn limit_and_offset(db: &dyn Database) {
    cloud(db).await;
    let page = |limit: u64, offset: u64| {
        Query::select().column("id").from("host").order_by("id", Order::Asc).limit(limit).offset(offset).to_owned()
    };
    assert_eq!(db.query_as::<i64, _>(page(2, 0)).await.unwrap(), [1, 2]);
    assert_eq!(db.query_as::<i64, _>(page(2, 4)).await.unwrap(), [5]);
    assert_eq!(db.query_as::<i64, _>(page(2, 9)).await.unwrap(), [0; 0]);
    assert_eq!(db.query_as::<i64, _>(page(0, 0)).await.unwrap(), [0; 0]);
    let largest = Query::select().column("id").from("host").order_by("id", Order::Desc).limit(1).to_owned();
    assert_eq!(db.query_one::<i64, _>(largest).await.unwrap(), 5);
}

pub async fn distinct_rows(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select().distinct().column("ram").from("host").order_by("ram", Order::Asc).to_owned();
    assert_eq!(db.query_as::<i64, _>(select).await.unwrap(), [16, 32, 64]);
    let select = Query::select()
        .distinct()
        .column("zone")
        .from("host")
        .order_by_with_nulls("zone", Order::Asc, NullOrdering::Last)
        .to_owned();
    let zones: Vec<Option<String>> = db.query_as(select).await.unwrap();
    assert_eq!(zones, [Some("a".to_owned()), Some("b".to_owned()), None]);
}

pub async fn expressions_and_aliases(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .expr_as(Expr::col("ram").mul(1024).sub(24), "kib")
        .expr_as(Expr::col("ram").modulo(10), "rest")
        .from("host")
        .order_by("kib", Order::Desc)
        .order_by("id", Order::Asc)
        .limit(3)
        .to_owned();
    let rows: Vec<(i64, i64)> = db.query_as(select).await.unwrap();
    assert_eq!(rows, [(65_512, 4), (65_512, 4), (32_744, 2)]);
}

pub async fn case_when(db: &dyn Database) {
    cloud(db).await;
    let size = Expr::case(Expr::col("ram").gte(64), "large").case(Expr::col("ram").gte(32), "medium").finally("small");
    let select = Query::select().expr_as(size, "size").from("host").order_by("id", Order::Asc).to_owned();
    let sizes: Vec<String> = db.query_as(select).await.unwrap();
    assert_eq!(sizes, ["large", "medium", "medium", "large", "small"]);
    let sparse: Vec<Option<String>> =
        db.query_as("SELECT CASE zone WHEN 'a' THEN 'first' END FROM host ORDER BY id").await.unwrap();
    assert_eq!(sparse.iter().filter(|zone| zone.is_none()).count(), 3);
}

pub async fn like_patterns(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(ids(db, Expr::col("name").like("b%")).await, [1, 2]);
    assert_eq!(ids(db, Expr::col("name").like("_1")).await, [1, 3, 5]);
    assert_eq!(ids(db, Expr::col("name").like("%")).await, [1, 2, 3, 4, 5]);
    assert_eq!(ids(db, Expr::col("name").like("b")).await, [0; 0]);
    assert_eq!(ids(db, Expr::col("name").not_like("%1")).await, [2, 4]);
    assert_eq!(ids(db, Expr::col("zone").not_like("a")).await, [2], "NULL is not unlike anything");
    db.execute("UPDATE host SET name = '10%_x' WHERE id = 1").await.unwrap();
    assert_eq!(ids(db, Expr::col("name").like(sea_query::LikeExpr::new("%!%!_%").escape('!'))).await, [1]);
}

pub async fn string_functions(db: &dyn Database) {
    assert_eq!(text(db, Func::upper("aé1").into()).await.unwrap().chars().next(), Some('A'));
    assert_eq!(text(db, Func::lower("ABC").into()).await.as_deref(), Some("abc"));
    let length: i64 = db.query_one(Query::select().expr(Func::char_length("日本語")).to_owned()).await.unwrap();
    assert_eq!(length, 3);
    cloud(db).await;
    let joined: String = db.query_one("SELECT name || '-' || zone FROM host WHERE id = 1").await.unwrap();
    assert_eq!(joined, "b1-a");
    let nothing: Option<String> = db.query_one("SELECT name || zone FROM host WHERE id = 5").await.unwrap();
    assert_eq!(nothing, None);
    let replaced: String = db.query_one("SELECT replace(trim('  a-b  '), '-', '+')").await.unwrap();
    assert_eq!(replaced, "a+b");
    let part: String = db.query_one("SELECT substr('controller', 4, 3)").await.unwrap();
    assert_eq!(part, "tro");
}

pub async fn null_logic(db: &dyn Database) {
    cloud(db).await;
    assert_eq!(ids(db, Expr::col("zone").is_null()).await, [4, 5]);
    assert_eq!(ids(db, Expr::col("zone").is_not_null()).await, [1, 2, 3]);
    assert_eq!(ids(db, Expr::col("zone").eq("a")).await, [1, 3]);
    assert_eq!(ids(db, Expr::col("zone").ne("a")).await, [2]);
    assert_eq!(ids(db, Expr::col("zone").eq(Option::<String>::None)).await, [0; 0]);
    assert_eq!(ids(db, Expr::col("zone").eq("a").or(Expr::col("ram").eq(16))).await, [1, 3, 5]);
    let unknown: Vec<Option<i64>> = db.query_as("SELECT site_id + 1 FROM host WHERE id = 5").await.unwrap();
    assert_eq!(unknown, [None]);
}

pub async fn null_in_lists(db: &dyn Database) {
    cloud(db).await;
    let rows: Vec<i64> = db.query_as("SELECT id FROM host WHERE zone IN ('b', NULL) ORDER BY id").await.unwrap();
    assert_eq!(rows, [2]);
    let rows: Vec<i64> = db.query_as("SELECT id FROM host WHERE zone NOT IN ('b', NULL)").await.unwrap();
    assert_eq!(rows, [0; 0]);
}

pub async fn coalesce_and_nullif(db: &dyn Database) {
    cloud(db).await;
    let zones: Vec<String> = db.query_as("SELECT coalesce(zone, 'none') FROM host ORDER BY id").await.unwrap();
    assert_eq!(zones, ["a", "b", "a", "none", "none"]);
    let zones: Vec<Option<String>> = db.query_as("SELECT nullif(zone, 'a') FROM host ORDER BY id").await.unwrap();
    assert_eq!(zones, [None, Some("b".to_owned()), None, None, None]);
}

pub async fn casts(db: &dyn Database) {
    cloud(db).await;
    let text_type = if db.features().dialect == Dialect::MySql { "char" } else { "text" };
    let texts: Vec<String> = db
        .query_as(
            Query::select()
                .expr(Expr::col("ram").cast_as(text_type))
                .from("host")
                .order_by("id", Order::Asc)
                .to_owned(),
        )
        .await
        .unwrap();
    assert_eq!(texts, ["64", "32", "32", "64", "16"]);
    let number: i64 = db.query_one("SELECT CAST('42' AS decimal(10, 0))").await.unwrap();
    assert_eq!(number, 42);
}

pub async fn integer_arithmetic(db: &dyn Database) {
    let row: (i64, i64, i64) = db.query_one("SELECT 7 + 3 * 2, (7 + 3) * 2, -7 + 2").await.unwrap();
    assert_eq!(row, (13, 20, -5));
    let row: (i64, i64) = db.query_one("SELECT 7 % 3, -7 % 3").await.unwrap();
    assert_eq!(row, (1, -1));
    let row: (i64, i64) = db.query_one("SELECT abs(-5), 2 - -3").await.unwrap();
    assert_eq!(row, (5, 5));
    if db.features().dialect == Dialect::Postgres {
        let row: (i64, i64) = db.query_one("SELECT 7 / 2, -7 / 2").await.unwrap();
        assert_eq!(row, (3, -3));
        assert_eq!(state_of(db.query("SELECT 1 / 0").await), SqlState::DIVISION_BY_ZERO);
        assert_eq!(state_of(db.query("SELECT 2147483647 + 1").await), SqlState::NUMERIC_OUT_OF_RANGE);
    }
}

pub async fn self_join_aliases(db: &dyn Database) {
    cloud(db).await;
    let select = Query::select()
        .column(("a", "name"))
        .column(("b", "name"))
        .from_as("host", "a")
        .join_as(
            JoinType::InnerJoin,
            "host",
            "b",
            Expr::col(("a", "ram")).equals(("b", "ram")).and(Expr::col(("a", "id")).lt(Expr::col(("b", "id")))),
        )
        .order_by(("a", "id"), Order::Asc)
        .to_owned();
    let pairs: Vec<(String, String)> = db.query_as(select).await.unwrap();
    assert_eq!(pairs, [("b1".to_owned(), "l2".to_owned()), ("b2".to_owned(), "l1".to_owned())]);
}

pub async fn empty_tables(db: &dyn Database) {
    db.execute(Table::create().table("t").col(ColumnDef::new("a").integer()).to_owned()).await.unwrap();
    let result = db.query("SELECT a, a + 1 FROM t WHERE a > 0 ORDER BY a LIMIT 3").await.unwrap();
    assert!(result.is_empty());
    assert_eq!(db.execute("UPDATE t SET a = 1").await.unwrap(), 0);
    assert_eq!(db.execute("DELETE FROM t").await.unwrap(), 0);
}

pub async fn index_does_not_change_answers(db: &dyn Database) {
    cloud(db).await;
    let conditions = || {
        [
            Expr::col("zone").eq("a"),
            Expr::col("zone").gt("a"),
            Expr::col("zone").is_null(),
            Expr::col("zone").is_in(["a", "b"]),
            Expr::col("zone").eq("a").and(Expr::col("ram").gte(64)),
            Expr::col("ram").gt(16).and(Expr::col("ram").lt(64)),
        ]
    };
    let mut before = Vec::new();
    for condition in conditions() {
        before.push(ids(db, condition).await);
    }
    db.execute(Index::create().name("host_zone_ram").table("host").col("zone").col("ram").to_owned()).await.unwrap();
    db.execute(Index::create().name("host_ram").table("host").col(("ram", sea_query::IndexOrder::Desc)).to_owned())
        .await
        .unwrap();
    for (condition, before) in conditions().into_iter().zip(before) {
        assert_eq!(ids(db, condition).await, before);
    }
    db.execute("UPDATE host SET zone = 'c' WHERE id = 1").await.unwrap();
    db.execute("DELETE FROM server").await.unwrap();
    db.execute("DELETE FROM host WHERE id = 3").await.unwrap();
    assert_eq!(ids(db, Expr::col("zone").eq("a")).await, [0; 0]);
    assert_eq!(ids(db, Expr::col("zone").eq("c")).await, [1]);
}

pub async fn for_update(db: &dyn Database) {
    cloud(db).await;
    let tx = db.begin().await.unwrap();
    let select =
        Query::select().column("ram").from("host").and_where(Expr::col("id").eq(1)).lock_exclusive().to_owned();
    let ram: i64 = tx.query_one(select).await.unwrap();
    tx.execute(Query::update().table("host").value("ram", ram - 8).and_where(Expr::col("id").eq(1)).to_owned())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(db.query_one::<i64, _>("SELECT ram FROM host WHERE id = 1").await.unwrap(), 56);
}

pub async fn from_values_of_parameters(db: &dyn Database) {
    cloud(db).await;
    let text = Query::select()
        .expr(Expr::col("ram").add(5))
        .from("host")
        .and_where(Expr::val(2).lt(Expr::col("id")))
        .and_where(Expr::col("ram").add(1).gt(32))
        .order_by("id", Order::Asc)
        .to_owned();
    assert_eq!(db.query_as::<i64, _>(text).await.unwrap(), [37, 69]);
}
