//! The example's program, and what else SeaORM asks of a connection, on PostgreSQL through SeaORM's own driver (the reference) and on
//! Rome. Servers are where `scripts/servers` says; a test whose variable is missing fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../examples/zones/program.rs"]
mod program;

use futures::TryStreamExt;
use program::{Drained, host, zone};
use rome_seaorm::{RomeConnection, is_retryable, rome_error, sql_err};
use sea_orm::prelude::*;
use sea_orm::{
    AccessMode, ConnectOptions, Database, DatabaseConnection, QueryOrder, Set, SqlErr, Statement, StreamTrait,
    TransactionSession, TransactionTrait,
};
use tempfile::TempDir;

/// What a case needs of a connection.
trait Connection: ConnectionTrait + TransactionTrait + StreamTrait + Clone + Send + 'static {}

impl<C: ConnectionTrait + TransactionTrait + StreamTrait + Clone + Send + 'static> Connection for C {}

/// A connection, and what has to live as long.
struct Opened<C> {
    db: C,
    _directory: Option<TempDir>,
}

async fn memory() -> Opened<RomeConnection> {
    Opened { db: rome("memory:").await, _directory: None }
}

async fn embedded() -> Opened<RomeConnection> {
    let directory = TempDir::new().unwrap();
    let db = rome(&format!("embedded:{}/zones.rome", directory.path().display())).await;
    Opened { db, _directory: Some(directory) }
}

async fn redis() -> Opened<RomeConnection> {
    let url = format!("{}?namespace={}", server("ROME_TEST_REDIS_URL"), unique_name());
    Opened { db: rome(&url).await, _directory: None }
}

async fn postgres() -> Opened<DatabaseConnection> {
    let (url, schema) = schema_of_its_own().await;
    let mut options = ConnectOptions::new(url);
    options.set_schema_search_path(schema).sqlx_logging(false);
    Opened { db: Database::connect(options).await.unwrap(), _directory: None }
}

/// PostgreSQL again, below Rome's `Database` trait.
async fn postgres_through_rome() -> Opened<RomeConnection> {
    let (url, schema) = schema_of_its_own().await;
    Opened { db: rome(&format!("{url}?options[search_path]={schema}")).await, _directory: None }
}

async fn rome(url: &str) -> RomeConnection {
    RomeConnection::new(rome::connect(url).await.unwrap()).unwrap()
}

async fn schema_of_its_own() -> (String, String) {
    let (url, schema) = (server("ROME_TEST_POSTGRES_URL"), unique_name());
    let admin = Database::connect(&url).await.unwrap();
    admin.execute_unprepared(&format!("CREATE SCHEMA {schema}")).await.unwrap();
    (url, schema)
}

fn unique_name() -> String {
    format!("zones_{}", uuid::Uuid::new_v4().simple())
}

fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `./scripts/test`, or `scripts/servers run -- cargo test -p rome-seaorm`")
    })
}

/// One test for each case, in a module for each back end.
macro_rules! on_every_back_end {
    ($($case:ident),* $(,)?) => {
        on_every_back_end!(@ memory, $($case),*);
        on_every_back_end!(@ embedded, $($case),*);
        on_every_back_end!(@ redis, $($case),*);
        on_every_back_end!(@ postgres, $($case),*);
        on_every_back_end!(@ postgres_through_rome, $($case),*);
    };
    (@ $back_end:ident, $($case:ident),*) => {
        mod $back_end {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let opened = super::$back_end().await;
                    super::$case(&opened.db).await;
                }
            )*
        }
    };
}

on_every_back_end!(
    program_runs,
    relation_is_followed,
    conflict_surfaces,
    constraint_violations_are_classified,
    rows_are_updated_and_deleted,
    transactions_nest,
    dropping_rolls_back,
    failed_closure_rolls_back,
    read_only_refuses_writes,
    rows_stream,
    raw_statements_run,
);

async fn program_runs<C: Connection>(db: &C) {
    program::run(db).await.unwrap();
    let (hosts, _) = program::in_service(db).await.unwrap();
    assert_eq!(hosts, [("n1".to_owned(), 4096), ("s1".to_owned(), 4096)]);
}

async fn relation_is_followed<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    program::add_zone(db, "south", &["s1"]).await.unwrap();
    program::add_zone(db, "north", &["n2", "n1"]).await.unwrap();
    program::add_zone(db, "void", &[]).await.unwrap();
    let inventory = program::inventory(db).await.unwrap();
    let names: Vec<(&str, Vec<&str>)> = inventory
        .iter()
        .map(|(zone, hosts)| (zone.name.as_str(), hosts.iter().map(|host| host.name.as_str()).collect()))
        .collect();
    assert_eq!(names, [("south", vec!["s1"]), ("north", vec!["n1", "n2"]), ("void", vec![])]);
    assert_eq!(inventory[0].1[0].note, None);
    let (hosts, count) = program::in_service(db).await.unwrap();
    assert_eq!(count, 3);
    assert_eq!(hosts[0], ("n1".to_owned(), 4096));
}

async fn conflict_surfaces<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    program::add_zone(db, "north", &["n1", "n2"]).await.unwrap();
    assert_eq!(program::drain_against(db, "n1", "n2").await.unwrap(), Drained::Conflict);
    // Nothing of the loser is there, and running it again finds that it may not.
    assert_eq!(program::in_service(db).await.unwrap().0, [("n1".to_owned(), 4096)]);
    assert_eq!(program::drain(db, "n1").await.unwrap(), Drained::Refused);
}

async fn constraint_violations_are_classified<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    let zone = program::add_zone(db, "north", &["n1"]).await.unwrap();
    let twice = program::add_host(db, zone.id, "n1").await.unwrap_err();
    assert!(matches!(sql_err(&twice), Some(SqlErr::UniqueConstraintViolation(_))), "{twice}");
    let orphan = program::add_host(db, zone.id + 1, "n2").await.unwrap_err();
    assert!(matches!(sql_err(&orphan), Some(SqlErr::ForeignKeyConstraintViolation(_))), "{orphan}");
    assert!(!is_retryable(&orphan));
    if let Some(error) = rome_error(&orphan) {
        assert_eq!(error.state().code(), "23503");
    }
    let parent = zone.delete(db).await.unwrap_err();
    assert!(matches!(sql_err(&parent), Some(SqlErr::ForeignKeyConstraintViolation(_))), "{parent}");
}

async fn rows_are_updated_and_deleted<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    let zone = program::add_zone(db, "north", &["n1", "n2"]).await.unwrap();
    let first = host::Entity::find().order_by_asc(host::Column::Name).one(db).await.unwrap().unwrap();
    let mut change: host::ActiveModel = first.clone().into();
    change.note = Set(Some("it's new".to_owned()));
    change.ram_mb = Set(i64::MAX);
    let changed = change.update(db).await.unwrap();
    assert_eq!((changed.note.as_deref(), changed.ram_mb), (Some("it's new"), i64::MAX));
    assert_eq!(host::Entity::find_by_id(first.id).one(db).await.unwrap(), Some(changed));
    let missing = host::ActiveModel { id: Set(-1), enabled: Set(false), ..Default::default() };
    assert_eq!(missing.update(db).await, Err(DbErr::RecordNotUpdated));
    let deleted = host::Entity::delete_many().filter(host::Column::ZoneId.eq(zone.id)).exec(db).await.unwrap();
    assert_eq!(deleted.rows_affected, 2);
    let many = ["a", "b", "c"].map(|name| host::ActiveModel {
        zone_id: Set(zone.id),
        name: Set(name.to_owned()),
        ram_mb: Set(1),
        enabled: Set(false),
        ..Default::default()
    });
    host::Entity::insert_many(many).exec(db).await.unwrap();
    assert_eq!(host::Entity::find().count(db).await.unwrap(), 3);
    assert_eq!(zone::Entity::find_by_id(zone.id + 100).one(db).await.unwrap(), None);
}

async fn transactions_nest<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    let outer = db.begin().await.unwrap();
    program::add_zone(&outer, "kept", &[]).await.unwrap();
    let inner = outer.begin().await.unwrap();
    program::add_zone(&inner, "undone", &[]).await.unwrap();
    let innermost = inner.begin().await.unwrap();
    program::add_zone(&innermost, "undone with it", &[]).await.unwrap();
    innermost.commit().await.unwrap();
    inner.rollback().await.unwrap();
    let failing = outer.begin().await.unwrap();
    program::add_zone(&failing, "kept", &[]).await.unwrap_err();
    failing.rollback().await.unwrap();
    let dropped = outer.begin().await.unwrap();
    program::add_zone(&dropped, "dropped", &[]).await.unwrap();
    drop(dropped);
    let inner = outer.begin().await.unwrap();
    program::add_zone(&inner, "also kept", &[]).await.unwrap();
    inner.commit().await.unwrap();
    outer.commit().await.unwrap();
    assert_eq!(zone_names(db).await, ["also kept", "kept"]);
}

async fn dropping_rolls_back<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    let transaction = db.begin().await.unwrap();
    program::add_zone(&transaction, "north", &[]).await.unwrap();
    drop(transaction);
    assert_eq!(zone_names(db).await, Vec::<String>::new());
}

async fn failed_closure_rolls_back<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    let result = db
        .transaction::<_, (), DbErr>(|tx| {
            Box::pin(async move {
                program::add_zone(tx, "north", &[]).await?;
                Err(DbErr::Custom("changed my mind".to_owned()))
            })
        })
        .await;
    assert_eq!(result.unwrap_err().to_string(), "Custom Error: changed my mind");
    assert_eq!(zone_names(db).await, Vec::<String>::new());
}

async fn read_only_refuses_writes<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    let transaction = db.begin_with_config(None, Some(AccessMode::ReadOnly)).await.unwrap();
    assert_eq!(zone::Entity::find().count(&transaction).await.unwrap(), 0);
    program::add_zone(&transaction, "north", &[]).await.unwrap_err();
    transaction.rollback().await.unwrap();
}

async fn rows_stream<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    program::add_zone(db, "north", &["n1", "n2", "n3"]).await.unwrap();
    let hosts = host::Entity::find().order_by_desc(host::Column::Name);
    let names: Vec<String> = hosts.stream(db).await.unwrap().map_ok(|host| host.name).try_collect().await.unwrap();
    assert_eq!(names, ["n3", "n2", "n1"]);
}

async fn raw_statements_run<C: Connection>(db: &C) {
    program::create_tables(db).await.unwrap();
    program::add_zone(db, "north", &["n1", "n2"]).await.unwrap();
    let backend = ConnectionTrait::get_database_backend(db);
    let statement = Statement::from_sql_and_values(
        backend,
        "SELECT z.name, count(*) AS hosts, sum(h.ram_mb)::bigint AS ram_mb FROM zone z JOIN host h ON h.zone_id = z.id \
         WHERE h.ram_mb > $1 GROUP BY z.name",
        [1000_i64.into()],
    );
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    assert_eq!(row.try_get::<String>("", "name").unwrap(), "north");
    assert_eq!(row.try_get_by_index::<i64>(1).unwrap(), 2);
    assert_eq!(row.try_get::<i64>("", "ram_mb").unwrap(), 8192);
    let updated = db.execute_unprepared("UPDATE host SET ram_mb = 1 WHERE name = 'n1'").await.unwrap();
    assert_eq!(updated.rows_affected(), 1);
    assert!(db.execute_unprepared("SELEC").await.is_err());
}

#[tokio::test]
async fn other_dialects_are_refused() {
    let sqlite = rome::connect("sqlite::memory:").await.unwrap();
    let error = RomeConnection::new(sqlite).unwrap_err();
    assert_eq!(rome_error(&error).unwrap().state().code(), "0A000");
}

async fn zone_names<C: ConnectionTrait>(db: &C) -> Vec<String> {
    let zones = zone::Entity::find().order_by_asc(zone::Column::Name).all(db).await.unwrap();
    zones.into_iter().map(|zone| zone.name).collect()
}
