//! Creating and changing tables and indexes.

use super::*;

fn simple(name: &'static str) -> sea_query::TableCreateStatement {
    Table::create()
        .table(name)
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("name").string_len(40))
        .to_owned()
}

async fn insert(db: &dyn Database, table: &'static str, id: i64, name: Option<&str>) -> Result<u64> {
    let name = name.map(str::to_owned);
    let statement =
        Query::insert().into_table(table).columns(["id", "name"]).values_panic([id.into(), name.into()]).to_owned();
    db.execute(statement).await
}

async fn names(db: &dyn Database, table: &'static str) -> Vec<(i64, Option<String>)> {
    let select = Query::select().columns(["id", "name"]).from(table).order_by("id", Order::Asc).to_owned();
    db.query_as(select).await.unwrap()
}

pub async fn create_and_drop_table(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    insert(db, "t", 1, Some("one")).await.unwrap();
    assert_eq!(names(db, "t").await, [(1, Some("one".to_owned()))]);
    assert_eq!(state_of(db.execute(simple("t")).await), SqlState::DUPLICATE_TABLE);
    db.execute(Table::drop().table("t").to_owned()).await.unwrap();
    assert_eq!(state_of(insert(db, "t", 1, None).await), SqlState::UNDEFINED_TABLE);
    db.execute(simple("t")).await.unwrap();
    assert!(names(db, "t").await.is_empty());
}

pub async fn drop_if_exists(db: &dyn Database) {
    assert_eq!(state_of(db.execute(Table::drop().table("t").to_owned()).await), SqlState::UNDEFINED_TABLE);
    db.execute(Table::drop().table("t").if_exists().to_owned()).await.unwrap();
}

pub async fn create_if_not_exists(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    insert(db, "t", 1, None).await.unwrap();
    db.execute(simple("t").if_not_exists().to_owned()).await.unwrap();
    assert_eq!(names(db, "t").await, [(1, None)]);
}

pub async fn add_column_with_default(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    insert(db, "t", 1, None).await.unwrap();
    let column = ColumnDef::new("ram").integer().not_null().default(512).to_owned();
    db.execute(Table::alter().table("t").add_column(column).to_owned()).await.unwrap();
    insert(db, "t", 2, None).await.unwrap();
    let rows: Vec<(i64, i64)> = db.query_as("SELECT id, ram FROM t ORDER BY id").await.unwrap();
    assert_eq!(rows, [(1, 512), (2, 512)]);
    let again = ColumnDef::new("ram").integer().to_owned();
    assert_eq!(
        state_of(db.execute(Table::alter().table("t").add_column(again).to_owned()).await),
        SqlState::DUPLICATE_COLUMN
    );
}

pub async fn rename_column(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    insert(db, "t", 1, Some("one")).await.unwrap();
    db.execute(Table::alter().table("t").rename_column("name", "title").to_owned()).await.unwrap();
    let titles: Vec<String> = db.query_as("SELECT title FROM t").await.unwrap();
    assert_eq!(titles, ["one"]);
    assert_eq!(state_of(db.query("SELECT name FROM t").await), SqlState::UNDEFINED_COLUMN);
}

pub async fn drop_column(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    insert(db, "t", 1, Some("one")).await.unwrap();
    assert_eq!(db.query("SELECT * FROM t").await.unwrap()[0].values().len(), 2);
    db.execute(Table::alter().table("t").drop_column("name").to_owned()).await.unwrap();
    assert_eq!(db.query("SELECT * FROM t").await.unwrap()[0].values().len(), 1);
}

pub async fn rename_table(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    insert(db, "t", 1, Some("one")).await.unwrap();
    db.execute(Table::rename().table("t", "u").to_owned()).await.unwrap();
    assert_eq!(names(db, "u").await, [(1, Some("one".to_owned()))]);
    assert_eq!(state_of(db.query("SELECT id FROM t").await), SqlState::UNDEFINED_TABLE);
    db.execute(simple("t")).await.unwrap();
    assert!(names(db, "t").await.is_empty());
}

pub async fn defaults(db: &dyn Database) {
    let table = Table::create()
        .table("t")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("state").string_len(20).not_null().default("BUILD"))
        .col(ColumnDef::new("tries").integer().not_null().default(0))
        .col(ColumnDef::new("enabled").boolean().not_null().default(true))
        .col(ColumnDef::new("note").string_len(20))
        .to_owned();
    db.execute(table).await.unwrap();
    db.execute("INSERT INTO t (id) VALUES (1)").await.unwrap();
    db.execute("INSERT INTO t (id, state, enabled) VALUES (2, 'ACTIVE', false)").await.unwrap();
    let rows: Vec<(i64, String, i64, bool, Option<String>)> =
        db.query_as("SELECT id, state, tries, enabled, note FROM t ORDER BY id").await.unwrap();
    assert_eq!(rows, [(1, "BUILD".to_owned(), 0, true, None), (2, "ACTIVE".to_owned(), 0, false, None)]);
}

pub async fn composite_primary_key(db: &dyn Database) {
    let table = Table::create()
        .table("t")
        .col(ColumnDef::new("site").string_len(20).not_null())
        .col(ColumnDef::new("number").integer().not_null())
        .col(ColumnDef::new("name").string_len(20))
        .primary_key(Index::create().col("site").col("number"))
        .to_owned();
    db.execute(table).await.unwrap();
    db.execute("INSERT INTO t VALUES ('a', 2, 'x'), ('b', 1, 'y'), ('a', 1, 'z')").await.unwrap();
    assert_eq!(state_of(db.execute("INSERT INTO t VALUES ('a', 1, 'w')").await), SqlState::UNIQUE_VIOLATION);
    let rows: Vec<(i64, String)> =
        db.query_as("SELECT number, name FROM t WHERE site = 'a' ORDER BY number").await.unwrap();
    assert_eq!(rows, [(1, "z".to_owned()), (2, "x".to_owned())]);
}

pub async fn identity_numbers_rise(db: &dyn Database) {
    let table = Table::create()
        .table("t")
        .col(ColumnDef::new("id").big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new("name").string_len(20).not_null())
        .to_owned();
    db.execute(table).await.unwrap();
    for name in ["a", "b", "c"] {
        let insert = Query::insert().into_table("t").columns(["name"]).values_panic([name.into()]).to_owned();
        db.execute(insert).await.unwrap();
    }
    let ids: Vec<i64> = db.query_as("SELECT id FROM t ORDER BY name").await.unwrap();
    assert_eq!(ids.len(), 3);
    assert!(ids[0] > 0 && ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
}

pub async fn unique_index_on_existing_rows(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    for (id, name) in [(1, Some("a")), (2, Some("b")), (3, None), (4, None)] {
        insert(db, "t", id, name).await.unwrap();
    }
    db.execute(Index::create().name("t_name").table("t").col("name").unique().to_owned()).await.unwrap();
    assert_eq!(state_of(insert(db, "t", 5, Some("a")).await), SqlState::UNIQUE_VIOLATION);
    db.execute(simple("u")).await.unwrap();
    insert(db, "u", 1, Some("a")).await.unwrap();
    insert(db, "u", 2, Some("a")).await.unwrap();
    let index = Index::create().name("u_name").table("u").col("name").unique().to_owned();
    assert_eq!(state_of(db.execute(index).await), SqlState::UNIQUE_VIOLATION);
    insert(db, "u", 3, Some("a")).await.unwrap();
}

pub async fn drop_index(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    db.execute(Index::create().name("t_name").table("t").col("name").unique().to_owned()).await.unwrap();
    insert(db, "t", 1, Some("a")).await.unwrap();
    assert_eq!(state_of(insert(db, "t", 2, Some("a")).await), SqlState::UNIQUE_VIOLATION);
    let again = Index::create().name("t_name").table("t").col("id").to_owned();
    assert_eq!(state_of(db.execute(again).await), SqlState::DUPLICATE_TABLE);
    db.execute(Index::drop().name("t_name").table("t").to_owned()).await.unwrap();
    insert(db, "t", 2, Some("a")).await.unwrap();
}

pub async fn undefined_names(db: &dyn Database) {
    db.execute(simple("t")).await.unwrap();
    for (text, state) in [
        ("SELECT id FROM missing", SqlState::UNDEFINED_TABLE),
        ("SELECT missing FROM t", SqlState::UNDEFINED_COLUMN),
        ("INSERT INTO missing VALUES (1)", SqlState::UNDEFINED_TABLE),
        ("INSERT INTO t (missing) VALUES (1)", SqlState::UNDEFINED_COLUMN),
        ("UPDATE t SET missing = 1", SqlState::UNDEFINED_COLUMN),
        ("DELETE FROM t WHERE missing = 1", SqlState::UNDEFINED_COLUMN),
        ("SELECT missing(id) FROM t", SqlState::UNDEFINED_FUNCTION),
        ("SELECT x.id FROM t x, t y WHERE id = 1", SqlState::AMBIGUOUS_COLUMN),
    ] {
        assert_eq!(state_of(db.query(text).await), state, "{text}");
    }
}

pub async fn schema_rolls_back(db: &dyn Database) {
    let tx = db.begin().await.unwrap();
    tx.execute(simple("t")).await.unwrap();
    tx.execute("INSERT INTO t VALUES (1, 'a')").await.unwrap();
    assert_eq!(tx.query("SELECT id FROM t").await.unwrap().len(), 1);
    tx.rollback().await.unwrap();
    assert_eq!(state_of(db.query("SELECT id FROM t").await), SqlState::UNDEFINED_TABLE);
    let tx = db.begin().await.unwrap();
    tx.execute(simple("t")).await.unwrap();
    tx.execute("INSERT INTO t VALUES (1, 'a')").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(names(db, "t").await, [(1, Some("a".to_owned()))]);
}
