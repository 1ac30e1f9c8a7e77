//! Constraints: what they refuse, with which SQLSTATE, and that nothing of a refused statement stays.

use super::*;

async fn users(db: &dyn Database) {
    let table = Table::create()
        .table("account")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("login").string_len(10).not_null())
        .col(ColumnDef::new("mail").string_len(40))
        .col(ColumnDef::new("balance").integer().not_null().default(0))
        .index(Index::create().unique().name("account_mail").col("mail"))
        .check(sea_query::Check::named("balance_positive", Expr::col("balance").gte(0)))
        .to_owned();
    db.execute(table).await.unwrap();
    db.execute("INSERT INTO account VALUES (1, 'ann', 'a@x', 10), (2, 'bob', NULL, 20)").await.unwrap();
}

async fn account(db: &dyn Database) -> Vec<(i64, Option<String>, i64)> {
    db.query_as("SELECT id, mail, balance FROM account ORDER BY id").await.unwrap()
}

/// Parent and child tables whose foreign key does this.
async fn family(db: &dyn Database, on_delete: ForeignKeyAction) {
    let parent =
        Table::create().table("parent").col(ColumnDef::new("id").big_integer().not_null().primary_key()).to_owned();
    let child = Table::create()
        .table("child")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("parent_id").big_integer())
        .foreign_key(
            ForeignKey::create()
                .name("child_parent")
                .from("child", "parent_id")
                .to("parent", "id")
                .on_delete(on_delete),
        )
        .to_owned();
    db.execute(parent).await.unwrap();
    db.execute(child).await.unwrap();
    db.execute("INSERT INTO parent VALUES (1), (2)").await.unwrap();
    db.execute("INSERT INTO child VALUES (10, 1), (11, 1), (20, 2), (30, NULL)").await.unwrap();
}

async fn children(db: &dyn Database) -> Vec<(i64, Option<i64>)> {
    db.query_as("SELECT id, parent_id FROM child ORDER BY id").await.unwrap()
}

pub async fn unique(db: &dyn Database) {
    users(db).await;
    let error = db.execute("INSERT INTO account VALUES (3, 'eve', 'a@x', 0)").await.unwrap_err();
    assert_eq!(error.state(), SqlState::UNIQUE_VIOLATION);
    // SQLite names table and column instead.
    let named = error.constraint() == Some("account_mail") || error.column() == Some("mail");
    assert!(named, "{error}");
    assert_eq!(state_of(db.execute("UPDATE account SET mail = 'a@x' WHERE id = 2").await), SqlState::UNIQUE_VIOLATION);
    db.execute("UPDATE account SET mail = 'a@x' WHERE id = 1").await.unwrap();
    assert_eq!(account(db).await, [(1, Some("a@x".to_owned()), 10), (2, None, 20)]);
}

pub async fn unique_allows_nulls(db: &dyn Database) {
    users(db).await;
    db.execute("INSERT INTO account VALUES (3, 'eve', NULL, 0), (4, 'joe', NULL, 0)").await.unwrap();
    assert_eq!(account(db).await.len(), 4);
}

pub async fn unique_over_columns(db: &dyn Database) {
    db.execute("CREATE TABLE t (site integer, name varchar(20), UNIQUE (site, name))").await.unwrap();
    db.execute("INSERT INTO t VALUES (1, 'a'), (2, 'a'), (1, 'b'), (1, NULL), (1, NULL)").await.unwrap();
    assert_eq!(state_of(db.execute("INSERT INTO t VALUES (2, 'a')").await), SqlState::UNIQUE_VIOLATION);
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM t").await.unwrap(), 5);
}

pub async fn primary_key(db: &dyn Database) {
    users(db).await;
    assert_eq!(state_of(db.execute("INSERT INTO account VALUES (1, 'x', 'y', 0)").await), SqlState::UNIQUE_VIOLATION);
    db.execute("DELETE FROM account WHERE id = 1").await.unwrap();
    db.execute("INSERT INTO account VALUES (1, 'x', 'y', 0)").await.unwrap();
}

pub async fn not_null(db: &dyn Database) {
    users(db).await;
    let error = db.execute("INSERT INTO account VALUES (3, NULL, 'm', 0)").await.unwrap_err();
    assert_eq!(error.state(), SqlState::NOT_NULL_VIOLATION);
    assert_eq!(error.column(), Some("login"));
    assert_eq!(state_of(db.execute("INSERT INTO account (id) VALUES (3)").await), SqlState::NOT_NULL_VIOLATION);
    assert_eq!(account(db).await.len(), 2);
}

pub async fn check(db: &dyn Database) {
    users(db).await;
    let error = db.execute("UPDATE account SET balance = balance - 15").await.unwrap_err();
    assert_eq!(error.state(), SqlState::CHECK_VIOLATION);
    assert_eq!(error.constraint(), Some("balance_positive"));
    assert_eq!(state_of(db.execute("INSERT INTO account VALUES (3, 'x', 'y', -1)").await), SqlState::CHECK_VIOLATION);
    assert_eq!(account(db).await, [(1, Some("a@x".to_owned()), 10), (2, None, 20)]);
}

pub async fn check_passes_null(db: &dyn Database) {
    db.execute("CREATE TABLE t (a integer CHECK (a > 0))").await.unwrap();
    db.execute("INSERT INTO t VALUES (NULL), (1)").await.unwrap();
    assert_eq!(state_of(db.execute("INSERT INTO t VALUES (0)").await), SqlState::CHECK_VIOLATION);
}

pub async fn foreign_key_insert(db: &dyn Database) {
    family(db, ForeignKeyAction::NoAction).await;
    let error = db.execute("INSERT INTO child VALUES (40, 9)").await.unwrap_err();
    assert_eq!(error.state(), SqlState::FOREIGN_KEY_VIOLATION);
    if db.features().dialect != Dialect::Sqlite {
        assert_eq!(error.constraint(), Some("child_parent"));
    }
    db.execute("INSERT INTO child VALUES (40, 2)").await.unwrap();
}

pub async fn foreign_key_restrict(db: &dyn Database) {
    family(db, ForeignKeyAction::Restrict).await;
    assert_eq!(state_of(db.execute("DELETE FROM parent WHERE id = 1").await), SqlState::FOREIGN_KEY_VIOLATION);
    assert_eq!(state_of(db.execute("UPDATE parent SET id = 7 WHERE id = 1").await), SqlState::FOREIGN_KEY_VIOLATION);
    db.execute("DELETE FROM child WHERE parent_id = 1").await.unwrap();
    assert_eq!(db.execute("DELETE FROM parent WHERE id = 1").await.unwrap(), 1);
}

pub async fn foreign_key_cascade(db: &dyn Database) {
    family(db, ForeignKeyAction::Cascade).await;
    assert_eq!(db.execute("DELETE FROM parent WHERE id = 1").await.unwrap(), 1);
    assert_eq!(children(db).await, [(20, Some(2)), (30, None)]);
}

pub async fn foreign_key_set_null(db: &dyn Database) {
    family(db, ForeignKeyAction::SetNull).await;
    assert_eq!(db.execute("DELETE FROM parent WHERE id = 1").await.unwrap(), 1);
    assert_eq!(children(db).await, [(10, None), (11, None), (20, Some(2)), (30, None)]);
}

pub async fn foreign_key_null_is_free(db: &dyn Database) {
    family(db, ForeignKeyAction::Restrict).await;
    db.execute("INSERT INTO child VALUES (31, NULL)").await.unwrap();
    db.execute("UPDATE child SET parent_id = NULL WHERE id = 20").await.unwrap();
    db.execute("DELETE FROM parent WHERE id = 2").await.unwrap();
}

pub async fn foreign_key_to_itself(db: &dyn Database) {
    let table = Table::create()
        .table("node")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("up").big_integer())
        .foreign_key(
            ForeignKey::create()
                .name("node_up")
                .from("node", "up")
                .to("node", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .to_owned();
    db.execute(table).await.unwrap();
    db.execute("INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2), (4, 1), (5, 5)").await.unwrap();
    assert_eq!(state_of(db.execute("INSERT INTO node VALUES (6, 9)").await), SqlState::FOREIGN_KEY_VIOLATION);
    db.execute("DELETE FROM node WHERE id = 1").await.unwrap();
    let left: Vec<i64> = db.query_as("SELECT id FROM node").await.unwrap();
    assert_eq!(left, [5]);
}

pub async fn foreign_key_update_of_child(db: &dyn Database) {
    family(db, ForeignKeyAction::NoAction).await;
    db.execute("UPDATE child SET parent_id = 2 WHERE id = 10").await.unwrap();
    assert_eq!(
        state_of(db.execute("UPDATE child SET parent_id = 9 WHERE id = 10").await),
        SqlState::FOREIGN_KEY_VIOLATION
    );
    assert_eq!(children(db).await, [(10, Some(2)), (11, Some(1)), (20, Some(2)), (30, None)]);
}

pub async fn text_too_long(db: &dyn Database) {
    users(db).await;
    // SQLite's varchar(10) is text.
    if db.features().dialect != Dialect::Sqlite {
        let statement = "INSERT INTO account VALUES (3, '12345678901', 'm', 0)";
        assert_eq!(state_of(db.execute(statement).await), SqlState::STRING_RIGHT_TRUNCATION);
    }
    db.execute("INSERT INTO account VALUES (3, 'ähnliches1', 'm', 0)").await.unwrap();
}

pub async fn number_out_of_range(db: &dyn Database) {
    db.execute("CREATE TABLE t (s smallint, i integer)").await.unwrap();
    if db.features().dialect != Dialect::Sqlite {
        for text in ["INSERT INTO t (s) VALUES (40000)", "INSERT INTO t (i) VALUES (3000000000)"] {
            assert_eq!(state_of(db.execute(text).await), SqlState::NUMERIC_OUT_OF_RANGE, "{text}");
        }
    }
    db.execute("INSERT INTO t VALUES (32767, -2147483648)").await.unwrap();
    let row: (i16, i32) = db.query_one("SELECT s, i FROM t").await.unwrap();
    assert_eq!(row, (i16::MAX, i32::MIN));
}

pub async fn failed_statement_changes_nothing(db: &dyn Database) {
    users(db).await;
    let mut statement = Query::insert().into_table("account").columns(["id", "login", "balance"]).to_owned();
    for id in 3..50_i64 {
        statement.values_panic([id.into(), "x".into(), (if id == 49 { -1 } else { 1 }).into()]);
    }
    assert_eq!(state_of(db.execute(statement).await), SqlState::CHECK_VIOLATION);
    assert_eq!(account(db).await.len(), 2);
}

pub async fn unique_update_in_place(db: &dyn Database) {
    db.execute("CREATE TABLE t (id integer PRIMARY KEY, n integer UNIQUE)").await.unwrap();
    db.execute("INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)").await.unwrap();
    assert_eq!(state_of(db.execute("UPDATE t SET n = 99").await), SqlState::UNIQUE_VIOLATION);
    assert_eq!(db.execute("UPDATE t SET n = n + 1").await.unwrap(), 3);
    assert_eq!(db.query_as::<i64, _>("SELECT n FROM t ORDER BY id").await.unwrap(), [11, 21, 31]);
}
