//! Databases in formats that this build does not speak, or that differ from site to site: clear errors, and nothing written, also by a client that
//! was there before. What another build does is done here by hand; `upgrade.rs` has one that speaks two formats, `tests/tests/rolling.rs` both
//! builds at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use futures::StreamExt;
use rome_core::catalog::keys::{
    all_schema_versions, all_tables, format_key, garbage_key, raised_key, replica_key, topology_key, whole_space,
};
use rome_core::catalog::{Catalog, Format};
use rome_core::database::{
    Database, DatabaseExt, Executor, FixedSites, IntoStatement, Options, Queryable, ReadMode, RomeDatabase,
    TransactionOptions,
};
use rome_core::store::{
    Commit, CommitOutcome, Entry, HomeId, Key, MemoryStore, Read, ReadLimits, ReadOutcome, ReadRequest, Store, Write,
};
use rome_core::topology::{HomeNo, Topology};
use rome_core::txn::{Client, Mode, Patience};
use rome_core::{Error, Result, SqlState};
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];
/// What a format is that this build does not speak.
const NEXT: u32 = 99;
/// More spaces than the tables of a test have.
const SPACES: u32 = 60;

type Stores = [Arc<MemoryStore>; 3];

fn options() -> Options {
    let patience = Patience {
        sweep_every: Some(Duration::from_millis(20)),
        replicate_every: Some(Duration::from_millis(20)),
        ..Patience::default()
    };
    Options { patience, ..Options::default() }
}

fn sites(stores: &Stores) -> Arc<FixedSites> {
    let store = |(name, store): (&&str, &Arc<MemoryStore>)| ((*name).to_owned(), Arc::clone(store) as Arc<dyn Store>);
    Arc::new(FixedSites::new(NAMES.iter().zip(stores).map(store)))
}

async fn client(stores: &Stores, local: &str) -> Result<RomeDatabase> {
    RomeDatabase::open_sites(local, sites(stores), options()).await
}

fn home() -> HomeId {
    HomeId::new(&Options::default().home)
}

async fn entries(store: &dyn Store, reads: Vec<Read>) -> Vec<Entry> {
    let limits = ReadLimits { entries: usize::MAX, bytes: usize::MAX };
    let request = ReadRequest { reads, limits, ..ReadRequest::default() };
    let ReadOutcome::Answer(answer) = store.read(&home(), request).await.unwrap() else { unreachable!("no guards") };
    answer.results.into_iter().flat_map(|result| result.entries).collect()
}

fn range(range: rome_core::store::KeyRange) -> Read {
    Read::Range { range, limit: None, reverse: false }
}

/// Everything that a store holds, with its versions.
async fn held(store: &dyn Store) -> Vec<(Key, u64, Bytes)> {
    let spaces = (1..8).chain(1024..1024 + SPACES).map(|space| range(whole_space(space)));
    let entries = entries(store, spaces.collect()).await;
    entries.into_iter().map(|entry| (entry.key, entry.version, entry.value)).collect()
}

async fn all_held(stores: &Stores) -> Vec<Vec<(Key, u64, Bytes)>> {
    let mut all = vec![];
    for store in stores {
        all.push(held(store.as_ref()).await);
    }
    all
}

async fn put(store: &dyn Store, writes: impl IntoIterator<Item = (Key, Bytes)>) {
    let writes = writes.into_iter().map(|(key, value)| Write::Put(key, value)).collect();
    let done = store.commit(&home(), Commit { writes, ..Commit::default() }).await.unwrap();
    assert!(matches!(done, CommitOutcome::Committed { .. }));
}

/// Raises a store as another build would, to a format whose descriptions this one can't read.
async fn raise(store: &dyn Store) {
    let mut writes =
        vec![(format_key(), Bytes::from(NEXT.to_string())), (raised_key(number(Format::NEWEST) + 1), Bytes::new())];
    for entry in entries(store, vec![Read::Point(topology_key())]).await {
        let mut topology: Topology = serde_json::from_slice(&entry.value).unwrap();
        topology.epoch += 1;
        writes.push((entry.key, serde_json::to_vec(&topology).unwrap().into()));
    }
    for entry in entries(store, vec![range(all_tables())]).await {
        writes.push((entry.key, [b"\x63", &entry.value[..]].concat().into()));
    }
    for entry in entries(store, vec![range(all_schema_versions())]).await {
        let stamp = u64::from_be_bytes(entry.value[..].try_into().unwrap()) ^ 1;
        writes.push((entry.key, Bytes::copy_from_slice(&stamp.to_be_bytes())));
    }
    put(store, writes).await;
}

fn number(format: Format) -> u32 {
    format.to_string().parse().unwrap()
}

#[track_caller]
fn refused<T>(done: Result<T>) {
    let error = done.err().expect("it is refused");
    assert_eq!(error.state(), SqlState::CANNOT_CONNECT_NOW, "{error}");
    says(&error, &["holds format 99", &format!("speaks {}", Format::spoken())]);
    assert_eq!(
        error.hint(),
        Some("Use a version of Rome that speaks format 99: a database that was raised to it stays so.")
    );
}

#[track_caller]
fn says(error: &Error, what: &[&str]) {
    assert!(what.iter().all(|what| error.message().contains(what)), "{error:?} does not say {what:?}");
}

/// Tables of all kinds, with rows.
async fn fill(db: &RomeDatabase, spread: bool) {
    let at = |placement: &str| if spread { format!(" WITH (placement = '{placement}')") } else { String::new() };
    for statement in [
        format!(
            "CREATE TABLE host (site text, id bigint, name text UNIQUE, PRIMARY KEY (site, id)){}",
            at("by_site(site)")
        ),
        format!("CREATE TABLE flavor (id bigint PRIMARY KEY, vcpus bigint){}", at("global")),
        "CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n bigint)".to_owned(),
        "CREATE TABLE doomed (id bigint PRIMARY KEY)".to_owned(),
        "INSERT INTO host VALUES ('pisa', 1, 'a'), ('rome', 1, 'b'), ('turin', 1, 'c')".to_owned(),
        "INSERT INTO flavor VALUES (1, 2)".to_owned(),
        "INSERT INTO doomed VALUES (1)".to_owned(),
    ] {
        db.execute(statement.as_str()).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    db.ended().await;
}

/// Everything that a client may be asked for, each refused.
async fn everything_is_refused(db: &RomeDatabase) {
    for statement in [
        // First: no other statement has told the client before.
        "INSERT INTO numbered (n) VALUES (1)",
        "CREATE TABLE another (id bigint PRIMARY KEY)",
        "SELECT * FROM host",
        "SELECT * FROM host WHERE site = 'pisa' AND id = 1",
        "SELECT * FROM host WHERE name = 'c'",
        "INSERT INTO host VALUES ('pisa', 2, 'd')",
        "INSERT INTO host VALUES ('pisa', 2, 'd'), ('turin', 2, 'e')",
        "UPDATE host SET name = 'x' WHERE site = 'rome' AND id = 1",
        "UPDATE flavor SET vcpus = 3",
        "DELETE FROM host",
        "CREATE INDEX host_id ON host (id)",
        "ALTER TABLE host ADD COLUMN more text",
        "TRUNCATE flavor",
        "DROP TABLE doomed",
        "SELECT * FROM unknown",
    ] {
        println!("{statement}");
        refused(db.execute(statement).await);
    }
    refused(
        db.run_reading("SELECT * FROM flavor".into_statement(), ReadMode::Stale { max: Duration::from_secs(9) }).await,
    );
    let mut rows = db.run_stream("SELECT * FROM host".into_statement()).await.unwrap();
    refused(rows.next().await.expect("it says why"));
    let mut watch = db.watch("SELECT * FROM flavor".into_statement(), None).await.unwrap();
    refused(watch.next().await.expect("it says why"));
    refused(db.upgrade().await);
    refused(db.placement_moves().await);
}

#[tokio::test]
async fn a_client_of_another_format_writes_nothing() {
    let stores: Stores = Default::default();
    fill(&client(&stores, "pisa").await.unwrap(), true).await;
    // One for each first statement, since whoever was refused once knows.
    let clients = [client(&stores, "rome").await.unwrap(), client(&stores, "turin").await.unwrap()];
    for db in &clients {
        db.execute("SELECT * FROM host, flavor, numbered").await.unwrap();
    }
    let copied = async || {
        let stale = ReadMode::Stale { max: Duration::from_secs(60) };
        clients[1].run_reading("SELECT * FROM flavor".into_statement(), stale).await.unwrap().rows.len() == 1
    };
    while !copied().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let write = clients[0].begin().await.unwrap();
    write.execute("UPDATE host SET name = 'y' WHERE site = 'turin'").await.unwrap();
    write.execute("INSERT INTO host VALUES ('pisa', 7, 'seven')").await.unwrap();
    let other = clients[0].begin().await.unwrap();
    let read = clients[0].begin_with(TransactionOptions { read_only: true, ..Default::default() }).await.unwrap();
    read.execute("SELECT * FROM host WHERE site = 'pisa'").await.unwrap();
    // Until nothing moves any more but the records of copies, which have a beat.
    let records = replica_key(HomeNo::FIRST);
    let held = async || -> Vec<Vec<(Key, u64, Bytes)>> {
        let mut all = all_held(&stores).await;
        all.iter_mut().for_each(|held| held.retain(|(key, ..)| key[..4] != records[..4]));
        all
    };
    let mut before = held().await;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = held().await;
        if std::mem::replace(&mut before, now.clone()) == now {
            break;
        }
    }
    for store in &stores {
        raise(store.as_ref()).await;
    }
    let raised = all_held(&stores).await;
    refused(write.commit().await);
    refused(read.execute("SELECT * FROM host WHERE site = 'turin'").await);
    refused(other.execute("INSERT INTO numbered (n) VALUES (2)").await);
    for db in &clients {
        everything_is_refused(db).await;
        refused(db.remove_site("pisa").await);
    }
    // What runs beside the statements has had time, too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(all_held(&stores).await, raised);
    for local in NAMES {
        refused(client(&stores, local).await);
    }
    assert_eq!(all_held(&stores).await, raised);
}

#[tokio::test]
async fn a_first_statement_is_enough() {
    // Each by a client that has heard of nothing.
    for statement in ["INSERT INTO numbered (n) VALUES (1)", "CREATE TABLE another (id bigint)", "DROP TABLE doomed"] {
        let stores: Stores = Default::default();
        let db = client(&stores, "turin").await.unwrap();
        fill(&db, true).await;
        let single = Arc::new(MemoryStore::new());
        let alone = RomeDatabase::open(Arc::clone(&single) as _, Options::default()).await.unwrap();
        fill(&alone, false).await;
        for store in stores.iter().chain([&single]) {
            raise(store.as_ref()).await;
        }
        let raised = (all_held(&stores).await, held(single.as_ref()).await);
        refused(db.execute(statement).await);
        refused(alone.execute(statement).await);
        assert_eq!((all_held(&stores).await, held(single.as_ref()).await), raised, "{statement}");
    }
}

#[tokio::test]
async fn what_relies_on_no_table_is_fenced() {
    let store = Arc::new(MemoryStore::new());
    let client = Client::new(Arc::clone(&store) as _, home(), 1);
    client.speak(Format::NEWEST);
    let put_garbage =
        |space| Commit { writes: vec![Write::Put(garbage_key(space), Bytes::new())], ..Commit::default() };
    client.commit(HomeNo::FIRST, put_garbage(7)).await.unwrap();
    let mut txn = client.begin(Mode::SingleStatement);
    txn.rely_on_format(HomeNo::FIRST).unwrap();
    txn.put(HomeNo::FIRST, garbage_key(8), Bytes::new()).unwrap();
    raise(store.as_ref()).await;
    let raised = held(store.as_ref()).await;
    let error = client.commit(HomeNo::FIRST, put_garbage(9)).await.unwrap_err();
    assert!(error.is_schema_change(), "{error}");
    let error = txn.commit().await.unwrap_err();
    assert!(error.is_schema_change(), "{error}");
    assert_eq!(held(store.as_ref()).await, raised);
}

#[tokio::test]
async fn what_is_no_format_is_refused() {
    for (found, hint) in
        [("0", "Raise the database to format 1 with an older"), ("x1", "or another namespace"), ("", "namespace")]
    {
        let store = Arc::new(MemoryStore::new());
        put(store.as_ref(), [(format_key(), Bytes::copy_from_slice(found.as_bytes()))]).await;
        let before = held(store.as_ref()).await;
        let error = RomeDatabase::open(Arc::clone(&store) as _, Options::default()).await.unwrap_err();
        assert_eq!(error.state(), SqlState::CANNOT_CONNECT_NOW, "{error}");
        says(&error, &[&format!("the store holds format {found}, this version of Rome speaks {}", Format::spoken())]);
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
        assert_eq!(held(store.as_ref()).await, before);
    }
}

/// A site whose store is older than the others: restored from a backup, say.
#[tokio::test]
async fn a_store_that_was_left_behind_is_not_worked_with() {
    let stores: Stores = Default::default();
    let running = client(&stores, "rome").await.unwrap();
    fill(&running, true).await;
    let left = [(format_key(), Bytes::from_static(b"0"))];
    put(stores[2].as_ref(), left).await;
    let before = held(stores[2].as_ref()).await;
    let db = client(&stores, "pisa").await.unwrap();
    // What does not need it goes on.
    db.execute("INSERT INTO host (site, id) VALUES ('pisa', 5), ('rome', 5)").await.unwrap();
    for statement in ["SELECT * FROM host WHERE site = 'turin'", "INSERT INTO host (site, id) VALUES ('turin', 5)"] {
        let error = db.execute(statement).await.unwrap_err();
        assert_eq!(error.state(), SqlState::CONNECTION_FAILURE, "{error}");
        says(&error, &["the store of site \"turin\" holds format 0", "that of site \"pisa\" format 1"]);
        assert!(error.hint().unwrap().contains("restored from a backup"), "{error:?}");
    }
    let error = RomeDatabase::upgrade(&db).await.map(|upgraded| assert_eq!(upgraded.from, upgraded.to));
    assert!(error.is_ok(), "{error:?}");
    // A client there is refused.
    let error = client(&stores, "turin").await.unwrap_err();
    assert_eq!(error.state(), SqlState::CANNOT_CONNECT_NOW, "{error}");
    assert_eq!(error.detail(), Some("At site \"turin\"."));
    assert_eq!(held(stores[2].as_ref()).await, before);
    // Once it is as it should be, the same client goes on with it.
    put(stores[2].as_ref(), [(format_key(), Format::NEWEST.mark())]).await;
    db.execute("INSERT INTO host (site, id) VALUES ('turin', 5)").await.unwrap();
}

/// The same seen from the site that is behind: this build speaks its format, and not that of the others.
#[tokio::test]
async fn nobody_works_at_a_store_that_was_left_behind() {
    let stores: Stores = Default::default();
    let running = client(&stores, "pisa").await.unwrap();
    fill(&running, true).await;
    for store in &stores[1..] {
        raise(store.as_ref()).await;
    }
    let before = all_held(&stores).await;
    let error = client(&stores, "pisa").await.unwrap_err();
    assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error}");
    says(&error, &["the store of site \"pisa\" holds format 1", "format 99"]);
    // A client that was there before hears of it as soon as it needs another site.
    let error = running.execute("SELECT * FROM host").await.unwrap_err();
    assert_eq!(error.state(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error}");
    says(&error, &["the store of site \"pisa\" holds format 1"]);
    assert!(running.execute("INSERT INTO host (site, id) VALUES ('pisa', 5), ('rome', 5)").await.is_err());
    assert_eq!(all_held(&stores).await, before);
}

#[tokio::test]
async fn there_is_nothing_to_raise() {
    let stores: Stores = Default::default();
    let db = client(&stores, "pisa").await.unwrap();
    fill(&db, true).await;
    let before = all_held(&stores).await;
    let upgraded = db.upgrade().await.unwrap();
    assert_eq!((upgraded.from, upgraded.to), (Format::NEWEST, Format::NEWEST));
    assert_eq!(all_held(&stores).await[0][0], before[0][0]);
    let answers = Catalog::reads();
    assert_eq!(entries(stores[0].as_ref(), answers).await[0].value, Format::NEWEST.mark());
}
