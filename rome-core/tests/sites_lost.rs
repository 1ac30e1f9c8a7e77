//! Sites asked from outside, and sites that are gone for good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use rome_core::database::{
    Database, DatabaseExt, FixedSites, ForgetOptions, Forgotten, IntoStatement, Options, Queryable, RomeDatabase,
    SiteState, Sites, Standing, Survey, SurveyOptions, Watch, WatchItem,
};
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, HomeId, KeyRange, MemoryStore, Read, ReadOutcome, ReadRequest, Store,
    StoreError, Version, WatchStream,
};
use rome_core::txn::{DecidedTxn, MARKS_SPACE, Patience, RECORDS_SPACE};
use rome_core::{Error, Result, SqlState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];

/// A store that can be lost, as one client reaches it: of its commits only the first so many arrive, and of these the first so many are answered.
#[derive(Debug)]
struct Mortal {
    inner: Arc<MemoryStore>,
    capabilities: Capabilities,
    lost: Arc<AtomicBool>,
    sent: AtomicUsize,
    delivered: usize,
    answered: usize,
}

impl Mortal {
    fn alive(&self) -> Result<(), StoreError> {
        match self.lost.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable { address: "nowhere".into(), reason: "it is gone".into() }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Mortal {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read(&self, home: &HomeId, request: ReadRequest) -> Result<ReadOutcome, StoreError> {
        self.alive()?;
        self.inner.read(home, request).await
    }

    async fn commit(&self, home: &HomeId, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.alive()?;
        // A lane is opened, and a transaction poisoned, without writing.
        if commit.writes.is_empty() {
            return self.inner.commit(home, commit).await;
        }
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        if number >= self.delivered {
            std::future::pending::<()>().await;
        }
        let outcome = self.inner.commit(home, commit).await;
        if number >= self.answered {
            std::future::pending::<()>().await;
        }
        outcome
    }

    async fn watch(&self, home: &HomeId, stream: Bytes, after: Option<Version>) -> Result<WatchStream, StoreError> {
        self.alive()?;
        let events = self.inner.watch(home, stream, after).await?;
        // Breaks off when the store is lost.
        let broken = futures::stream::unfold((events, Arc::clone(&self.lost)), |(mut events, lost)| async move {
            loop {
                if lost.load(Ordering::Relaxed) {
                    return None;
                }
                if let Ok(event) = tokio::time::timeout(Duration::from_millis(20), events.next()).await {
                    return event.map(|event| (event, (events, lost)));
                }
            }
        });
        Ok(broken.boxed())
    }
}

struct World {
    stores: Vec<(Arc<MemoryStore>, Arc<AtomicBool>)>,
    max_writes: usize,
}

impl World {
    fn new() -> Self {
        Self {
            stores: NAMES.iter().map(|_| (Arc::new(MemoryStore::new()), Arc::default())).collect(),
            max_writes: 10_000,
        }
    }

    /// All sites, as a client reaches them whose commits at each get so far.
    fn sites(&self, reach: [(usize, usize); 3]) -> Arc<dyn Sites> {
        let store = |at: usize| -> Arc<dyn Store> {
            let (inner, lost) = self.stores[at].clone();
            let (delivered, answered) = reach[at];
            let capabilities = Capabilities { max_writes: self.max_writes, ..inner.capabilities().clone() };
            Arc::new(Mortal { inner, capabilities, lost, sent: AtomicUsize::new(0), delivered, answered })
        };
        Arc::new(FixedSites::new(NAMES.iter().enumerate().map(|(at, name)| ((*name).to_owned(), store(at)))))
    }

    fn all(&self) -> Arc<dyn Sites> {
        self.sites([ALL; 3])
    }

    async fn client(&self, local: &str) -> RomeDatabase {
        RomeDatabase::open_sites(local, self.all(), options()).await.unwrap()
    }

    /// Runs a statement by a client that dies on the way; whether it was told of success.
    async fn dying(&self, local: &str, reach: [(usize, usize); 3], statement: &str) -> bool {
        let db = RomeDatabase::open_sites(local, self.sites(reach), options()).await.unwrap();
        let done = tokio::time::timeout(Duration::from_millis(300), db.execute(statement)).await;
        done.is_ok_and(|done| done.is_ok())
    }

    fn lose(&self, site: usize, lost: bool) {
        self.stores[site].1.store(lost, Ordering::Relaxed);
    }

    async fn forget(&self, local: &str, name: &str, accepted: ForgetOptions) -> Result<(RomeDatabase, Forgotten)> {
        RomeDatabase::forget_site(local, self.all(), name, accepted, options()).await
    }

    async fn survey(&self) -> Survey {
        let patient = SurveyOptions { recovery_after: Duration::from_millis(50), ..SurveyOptions::default() };
        RomeDatabase::survey(Some("pisa"), &self.all(), patient).await.unwrap()
    }

    /// Marks, promises and records at a site, without what it notes of sites that are gone.
    async fn left(&self, site: usize) -> usize {
        let reads = [MARKS_SPACE, RECORDS_SPACE].map(|space| {
            let range = KeyRange::prefix(&space.to_be_bytes());
            Read::Range { range, limit: None, reverse: false }
        });
        let request = ReadRequest { reads: reads.to_vec(), ..ReadRequest::default() };
        let ReadOutcome::Answer(answer) = self.stores[site].0.read(&HomeId::new("main"), request).await.unwrap() else {
            unreachable!("no guards")
        };
        let found = answer.results.iter().flat_map(|result| &result.entries);
        found.filter(|entry| entry.key.get(4) != Some(&b'x') || entry.key.len() != 7).count()
    }
}

/// A store whose commits all arrive, and are answered.
const ALL: (usize, usize) = (usize::MAX, usize::MAX);

fn options() -> Options {
    // Nobody sweeps: what is left is left.
    let patience = Patience { recovery_after: Duration::from_millis(50), sweep_every: None, ..Patience::default() };
    Options { patience, ..Options::default() }
}

const HOSTS: &str = "CREATE TABLE host (site text, id bigint, cores bigint NOT NULL, PRIMARY KEY (site, id)) \
    WITH (placement = 'by_site(site)')";

async fn with_hosts(world: &World) -> RomeDatabase {
    let db = world.client("rome").await;
    db.execute(HOSTS).await.unwrap();
    for site in NAMES {
        for id in 1..=5 {
            db.execute(("INSERT INTO host VALUES ($1, $2, 0)", [site.into(), i64::from(id).into()])).await.unwrap();
        }
    }
    db.ended().await;
    db
}

fn refused<T>(result: Result<T>, state: SqlState, words: &str) -> Error {
    let error = result.err().unwrap_or_else(|| panic!("not refused: {words}"));
    assert!(error.state() == state && error.message().contains(words), "{words}: {error:?}");
    error
}

fn update(id: i64, sites: &[&str]) -> String {
    let sites: Vec<String> = sites.iter().map(|site| format!("'{site}'")).collect();
    format!("UPDATE host SET cores = {id} WHERE id = {id} AND site IN ({})", sites.join(", "))
}

#[tokio::test]
async fn what_was_in_doubt_with_a_lost_site_is_decided() {
    let world = World::new();
    let open = with_hosts(&world).await;
    // Everybody has promised, and nobody knows of the last.
    assert!(!world.dying("pisa", [ALL, ALL, (1, 0)], &update(1, &["pisa", "turin"])).await);
    // The record is lost with the site; all that remain have promised.
    assert!(!world.dying("turin", [(1, 0), (1, 0), (1, 0)], &update(2, &["pisa", "rome", "turin"])).await);
    // One that remains was never asked.
    assert!(!world.dying("turin", [(1, 0), (0, 0), (1, 0)], &update(3, &["pisa", "rome", "turin"])).await);
    // Acknowledged and decided, when only the record's home knows.
    assert!(world.dying("pisa", [ALL, (1, 1), (1, 1)], &update(4, &["pisa", "rome", "turin"])).await);
    // None of the lost site's business.
    assert!(!world.dying("pisa", [ALL, (1, 0), ALL], &update(5, &["pisa", "rome"])).await);
    let survey = world.survey().await;
    assert_eq!(survey.prepared_at("pisa").await.unwrap().in_doubt, 4);
    assert_eq!(survey.prepared_at("rome").await.unwrap().in_doubt, 3);
    world.lose(2, true);
    let (db, forgotten) = world.forget("pisa", "turin", ForgetOptions::default()).await.unwrap();
    let mut decided: Vec<(bool, bool, usize)> = forgotten
        .decided
        .iter()
        .map(|DecidedTxn { committed, assumed, keys, .. }| (*committed, *assumed, *keys))
        .collect();
    decided.sort_unstable();
    assert_eq!(decided, [(false, false, 1), (true, false, 1), (true, true, 1), (true, true, 2)]);
    assert_eq!((&forgotten.lost_rows[..], &forgotten.dangling[..]), (&["host".to_owned()][..], &[][..]));
    let rows = "SELECT site || id::text || '=' || cores::text FROM host WHERE id < 5 ORDER BY site, id";
    let expected = ["pisa1=1", "pisa2=2", "pisa3=0", "pisa4=4", "rome1=0", "rome2=2", "rome3=0", "rome4=4"];
    assert_eq!(db.query_as::<String, _>(rows).await.unwrap(), expected);
    // Clients that were there go on with the sites that remain.
    assert_eq!(open.query_as::<String, _>(rows).await.unwrap(), expected);
    assert_eq!((db.topology().epoch, db.topology().sites.len()), (2, 2));
    refused(open.execute("INSERT INTO host VALUES ('turin', 9, 0)").await, SqlState::INVALID_PARAMETER_VALUE, "turin");
    // What is no business of the site's is ended by whoever meets it.
    assert_eq!(open.query_one::<i64, _>("SELECT count(*) FROM host WHERE cores = 5").await.unwrap(), 2);
    let record_of_the_last = 1;
    assert_eq!((world.left(0).await, world.left(1).await), (record_of_the_last, 0));
}

#[tokio::test]
async fn a_site_that_comes_back_is_told() {
    let world = World::new();
    drop(with_hosts(&world).await);
    let waiting = world.client("turin").await;
    world.lose(2, true);
    world.forget("rome", "turin", ForgetOptions::default()).await.unwrap();
    world.lose(2, false);
    let open = RomeDatabase::open_sites("turin", world.all(), options()).await;
    refused(open.map(drop), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "site \"turin\" was removed");
    // Who was there reaches no other site any more.
    let spread = waiting.execute("INSERT INTO host VALUES ('turin', 7, 0), ('pisa', 7, 0)").await;
    refused(spread, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "site \"turin\" was removed");
    assert!(waiting.execute("DROP TABLE host").await.is_err());
    let survey = world.survey().await;
    let SiteState::Reached(found) = &survey.site("turin").unwrap().state else { panic!("{survey:?}") };
    assert_eq!(found.standing, Standing::Former { epoch: 1 });
    let db = world.client("pisa").await;
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM host").await.unwrap(), 10);
    refused(db.add_site("turin").await, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "belongs to another database");
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM host").await.unwrap(), 10);
}

#[tokio::test]
async fn what_can_not_be_forgotten_is_refused() {
    let world = World::new();
    let db = with_hosts(&world).await;
    db.execute("CREATE TABLE there (id bigserial PRIMARY KEY, name text UNIQUE) WITH (placement = 'at(turin)')")
        .await
        .unwrap();
    db.execute("CREATE TABLE child (id bigint PRIMARY KEY, there bigint REFERENCES there (id))").await.unwrap();
    db.execute("INSERT INTO there (name) VALUES ('a')").await.unwrap();
    db.execute("INSERT INTO child VALUES (1, 1)").await.unwrap();
    db.ended().await;
    let none = ForgetOptions::default();
    let state = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
    refused(world.forget("rome", "turin", none).await, state, "is not gone");
    refused(world.forget("turin", "turin", none).await, state, "that this client is at");
    refused(world.forget("rome", "athens", none).await, SqlState::INVALID_PARAMETER_VALUE, "athens");
    refused(world.forget("rome", "pisa", none).await, SqlState::FEATURE_NOT_SUPPORTED, "identity columns");
    world.lose(2, true);
    let error = refused(world.forget("rome", "turin", none).await, state, "would be gone: \"there\"");
    assert!(error.hint().is_some_and(|hint| hint.contains("dropped")));
    world.lose(0, true);
    let all = ForgetOptions { drop_tables: true };
    assert_eq!(world.forget("rome", "turin", all).await.unwrap_err().state(), SqlState::CONNECTION_FAILURE);
    world.lose(0, false);
    let (kept, epoch) = (world.client("rome").await, db.topology().epoch);
    assert_eq!((kept.topology().epoch, kept.catalog().tables().len()), (epoch, 3));
    let (db, forgotten) = world.forget("rome", "turin", all).await.unwrap();
    assert_eq!(forgotten.dropped, ["there"]);
    assert_eq!(forgotten.dropped_keys, [("child".to_owned(), "child_there_fkey".to_owned())]);
    // Their names are free, and the foreign key is gone.
    db.execute("CREATE TABLE there (id bigserial PRIMARY KEY, name text UNIQUE)").await.unwrap();
    db.execute("INSERT INTO there (name) VALUES ('a'), ('b')").await.unwrap();
    assert_eq!(db.execute("UPDATE child SET there = 77").await.unwrap(), 1);
    db.execute("DROP TABLE child").await.unwrap();
}

/// The claims of what remains, and only those, are there.
#[tokio::test]
async fn unique_keys_are_claimed_anew() {
    let world = World::new();
    let db = world.client("rome").await;
    for table in [
        "CREATE TABLE server (id uuid DEFAULT rome_id() PRIMARY KEY, site text NOT NULL, cores bigint) \
         WITH (placement = 'by_site(site)')",
        "CREATE TABLE volume (id bigint, site text NOT NULL, name text UNIQUE, server uuid REFERENCES server (id), \
         PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')",
    ] {
        db.execute(table).await.unwrap();
    }
    let there = world.client("turin").await;
    let server = "INSERT INTO server (site, cores) VALUES ($1, 1) RETURNING id";
    let stays = there.query_one::<uuid::Uuid, _>((server, ["turin".into()])).await.unwrap();
    let moved = there.query_one::<uuid::Uuid, _>((server, ["turin".into()])).await.unwrap();
    let near = db.query_one::<uuid::Uuid, _>((server, ["rome".into()])).await.unwrap();
    db.execute(("UPDATE server SET site = 'pisa' WHERE id = $1", [moved.into()])).await.unwrap();
    for id in 0..60_i64 {
        let site = NAMES[id as usize % 3];
        let parent = [stays, moved, near][id as usize / 3 % 3];
        let row = [id.into(), site.into(), format!("v{id}").into(), parent.into()];
        db.execute(("INSERT INTO volume VALUES ($1, $2, $3, $4)", row)).await.unwrap();
    }
    db.ended().await;
    there.ended().await;
    world.lose(2, true);
    let (db, forgotten) = world.forget("rome", "turin", ForgetOptions::default()).await.unwrap();
    assert_eq!(forgotten.claimed, [("server".to_owned(), 2), ("volume".to_owned(), 40)]);
    assert_eq!(forgotten.lost_rows, ["server", "volume"]);
    assert_eq!(forgotten.dangling, [("volume".to_owned(), "volume_server_fkey".to_owned())]);
    for id in 0..60_i64 {
        let name = format!("v{id}");
        let find = ("SELECT site FROM volume WHERE name = $1", [name.as_str().into()]);
        let found = db.query_opt::<String, _>(find).await.unwrap();
        assert_eq!(found.as_deref(), (id % 3 != 2).then_some(NAMES[id as usize % 3]), "{name}");
        // Names of lost rows may be given again, others may not.
        let again = [(100 + id).into(), "pisa".into(), name.into(), near.into()];
        let inserted = db.execute(("INSERT INTO volume VALUES ($1, $2, $3, $4)", again)).await;
        match id % 3 {
            2 => assert_eq!(inserted.unwrap(), 1),
            _ => drop(refused(inserted, SqlState::UNIQUE_VIOLATION, "volume_name_key")),
        }
    }
    // Of the server that was born there and has moved; of the one that is gone.
    let cores = |id: uuid::Uuid| ("SELECT site FROM server WHERE id = $1", [id.into()]);
    assert_eq!(db.query_opt::<String, _>(cores(moved)).await.unwrap().as_deref(), Some("pisa"));
    assert_eq!(db.query_opt::<String, _>(cores(stays)).await.unwrap(), None);
    let child = |id: i64, server: uuid::Uuid| {
        ("INSERT INTO volume (id, site, server) VALUES ($1, 'rome', $2)", [id.into(), server.into()])
    };
    db.execute(child(201, moved)).await.unwrap();
    refused(db.execute(child(202, stays)).await, SqlState::FOREIGN_KEY_VIOLATION, "volume_server_fkey");
    db.execute(("DELETE FROM volume WHERE server = $1", [moved.into()])).await.unwrap();
    assert_eq!(db.execute(("DELETE FROM server WHERE id = $1", [moved.into()])).await.unwrap(), 1);
    let clash = ("INSERT INTO server (id, site) VALUES ($1, 'pisa')", [near.into()]);
    refused(db.execute(clash).await, SqlState::UNIQUE_VIOLATION, "server_pkey");
    let never = rome_core::topology::tag::tagged(rome_core::topology::HomeNo(9), 1, 2);
    let unborn = ("INSERT INTO server (id, site) VALUES ($1, 'pisa')", [never.into()]);
    refused(db.execute(unborn).await, SqlState::INVALID_PARAMETER_VALUE, "does not exist");
}

/// More claims than one commit takes; who forgets dies among them. Until somebody has gone on to the end, the table can't be used.
#[tokio::test]
async fn claims_are_made_page_by_page() {
    let world = World { max_writes: 100, ..World::new() };
    let db = world.client("rome").await;
    db.execute("CREATE TABLE t (id bigint, site text, name text UNIQUE, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    db.execute("CREATE TABLE child (id bigint PRIMARY KEY, name text REFERENCES t (name))").await.unwrap();
    for id in 0..400_i64 {
        let row = [id.into(), NAMES[id as usize % 3].into(), format!("n{id}").into()];
        db.execute(("INSERT INTO t VALUES ($1, $2, $3)", row)).await.unwrap();
    }
    db.ended().await;
    world.lose(2, true);
    let sites = world.sites([(12, 12), ALL, ALL]);
    let forgets = RomeDatabase::forget_site("pisa", sites, "turin", ForgetOptions::default(), options());
    assert!(tokio::time::timeout(Duration::from_millis(1500), forgets).await.is_err());
    assert_eq!(world.client("rome").await.topology().sites.len(), 2);
    for statement in ["SELECT 1 FROM t", "INSERT INTO child VALUES (1, 'n0')", "DROP TABLE t"] {
        let error = refused(db.execute(statement).await, SqlState::OBJECT_IN_USE, "being claimed anew");
        assert!(error.hint().is_some_and(|hint| hint.contains("repeat")), "{error:?}");
    }
    // A site that has come back meanwhile is too late.
    world.lose(2, false);
    let (_, forgotten) = world.forget("rome", "turin", ForgetOptions::default()).await.unwrap();
    assert_eq!(forgotten.claimed, [("t".to_owned(), 267)]);
    assert_eq!(db.execute("INSERT INTO child VALUES (1, 'n0')").await.unwrap(), 1);
    refused(db.execute("INSERT INTO child VALUES (2, 'n2')").await, SqlState::FOREIGN_KEY_VIOLATION, "child_name_fkey");
    let clash = db.execute("INSERT INTO t VALUES (1000, 'pisa', 'n1')").await;
    refused(clash, SqlState::UNIQUE_VIOLATION, "t_name_key");
    let (_, nothing_left) = world.forget("rome", "turin", ForgetOptions::default()).await.unwrap();
    assert_eq!(nothing_left, Forgotten::default());
}

/// Under load: each transaction inserts the same entry at two or three sites. Whatever is lost with one of them, at the others all of an entry is there
/// or nothing, all of what was acknowledged, and nothing of what was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_torn_when_a_site_is_lost_under_load() {
    let world = Arc::new(World::new());
    let db = world.client("rome").await;
    db.execute("CREATE TABLE entry (site text, id bigint, PRIMARY KEY (site, id)) WITH (placement = 'by_site(site)')")
        .await
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..6_i64).map(|client| {
        let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
        tokio::spawn(async move {
            let db = world.client(NAMES[client as usize % 3]).await;
            let (mut done, mut refused) = (vec![], vec![]);
            for id in (0..).map(|number| client * 1_000_000 + number) {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let also = if id % 2 == 0 { ", ('turin', $1)" } else { "" };
                let insert = format!("INSERT INTO entry VALUES ('pisa', $1), ('rome', $1){also}");
                match db.execute((insert.as_str(), [id.into()])).await {
                    Ok(_) => done.push(id),
                    Err(error) if error.is_undetermined() => {}
                    // Its application is gone with the site, and what it was told.
                    Err(_) if client % 3 == 2 => {}
                    Err(_) => refused.push(id),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (done, refused)
        })
    });
    let clients: Vec<_> = clients.collect();
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.lose(2, true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (db, forgotten) = world.forget("rome", "turin", ForgetOptions::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let all = async |site: &str| -> std::collections::BTreeSet<i64> {
        let ids = db.query_as::<i64, _>(("SELECT id FROM entry WHERE site = $1", [site.into()])).await.unwrap();
        ids.into_iter().collect()
    };
    let mut told = vec![];
    for client in clients {
        told.push(client.await.unwrap());
    }
    let (pisa, rome) = (all("pisa").await, all("rome").await);
    assert_eq!(pisa, rome);
    let lost: Vec<_> = told.iter().flat_map(|(done, _)| done).filter(|id| !pisa.contains(id)).collect();
    let undone: Vec<_> = told.iter().flat_map(|(_, refused)| refused).filter(|id| pisa.contains(id)).collect();
    assert!(lost.is_empty() && undone.is_empty(), "lost {lost:?}, done though refused {undone:?}: {forgotten:?}");
    let counts = told.iter().map(|(done, refused)| (done.len(), refused.len())).collect::<Vec<_>>();
    println!("acknowledged and refused by each client: {counts:?}; decided: {}", forgotten.decided.len());
    assert!(counts.iter().all(|(done, _)| *done > 10), "{counts:?}");
}

/// The record is lost with the site that refused. What has been undone at one of the others is undone at all of them.
#[tokio::test]
async fn what_was_aborted_at_one_home_is_aborted_at_all() {
    let world = World::new();
    drop(with_hosts(&world).await);
    let there_already = "INSERT INTO host VALUES ('pisa', 9, 9), ('rome', 9, 9), ('turin', 1, 9)";
    assert!(!world.dying("turin", [ALL, (1, 1), ALL], there_already).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((world.left(0).await, world.left(1).await > 0), (0, true));
    world.lose(2, true);
    let (db, forgotten) = world.forget("pisa", "turin", ForgetOptions::default()).await.unwrap();
    let decided: Vec<_> = forgotten.decided.iter().map(|decided| (decided.committed, decided.assumed)).collect();
    assert_eq!(decided, [(false, false)]);
    assert_eq!(db.query_one::<i64, _>("SELECT count(*) FROM host WHERE id = 9").await.unwrap(), 0);
}

/// Whoever forgets a site dies after any number of commits, and the site comes back: it goes on as before, or is told, but nobody sees half of what was in
/// doubt, before or after somebody else has forgotten the site.
#[tokio::test]
async fn nothing_is_torn_when_who_forgets_a_site_dies() {
    let (mut went_on, mut told) = (0, 0);
    for commits in 0.. {
        let world = World::new();
        drop(with_hosts(&world).await);
        let open = world.client("turin").await;
        open.query::<_>("SELECT 1 FROM host").await.unwrap();
        assert!(!world.dying("turin", [(1, 0), (1, 0), (1, 0)], &update(2, &NAMES)).await);
        world.lose(2, true);
        let sites = world.sites([(commits, commits), ALL, ALL]);
        let forgets = RomeDatabase::forget_site("pisa", sites, "turin", ForgetOptions::default(), options());
        let ended = tokio::time::timeout(Duration::from_millis(600), forgets).await.is_ok();
        world.lose(2, false);
        // Those who know the site alone can't know better; all others see all or nothing.
        let rows = "SELECT DISTINCT cores FROM host WHERE id = 2";
        let again = RomeDatabase::open_sites("turin", world.all(), options()).await;
        for db in [Ok(open), again].into_iter().flatten() {
            match db.query_as::<i64, _>(rows).await {
                Ok(cores) => assert_eq!(cores.len(), 1, "{commits} commits: {cores:?}"),
                Err(error) => println!("{commits} commits: {error}"),
            }
        }
        match world.forget("rome", "turin", ForgetOptions::default()).await {
            Ok(_) => told += 1,
            Err(error) => {
                refused::<()>(Err(error), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "is not gone");
                went_on += 1;
            }
        }
        let db = world.client("pisa").await;
        let cores = db.query_as::<i64, _>(rows).await.unwrap();
        assert_eq!(cores.len(), 1, "{commits} commits: {cores:?}");
        if ended {
            break;
        }
    }
    println!("the site went on {went_on} times, and was told {told} times");
    assert!(went_on > 0 && told > 0);
}

/// Who only writes at a site that was forgotten meets no other site, and is told nevertheless, when it is cut off no more.
#[tokio::test]
async fn a_site_that_comes_back_writes_nothing() {
    let world = World::new();
    drop(with_hosts(&world).await);
    let patience = Patience { sweep_every: Some(Duration::from_millis(100)), ..options().patience };
    let there = RomeDatabase::open_sites("turin", world.all(), Options { patience, ..options() }).await.unwrap();
    there.execute("UPDATE host SET cores = 1 WHERE site = 'turin'").await.unwrap();
    let open = there.begin().await.unwrap();
    open.execute("UPDATE host SET cores = 2 WHERE site = 'turin' AND id = 2").await.unwrap();
    world.lose(2, true);
    world.forget("rome", "turin", ForgetOptions::default()).await.unwrap();
    world.lose(2, false);
    let removed = async {
        loop {
            if let Err(error) = there.execute("UPDATE host SET cores = 3 WHERE site = 'turin' AND id = 3").await {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let error = tokio::time::timeout(Duration::from_millis(600), removed).await.expect("refused after a few periods");
    let (state, words) = (SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "site \"turin\" was removed");
    refused::<()>(Err(error), state, words);
    refused(there.query("SELECT 1 FROM host WHERE site = 'turin'").await, state, words);
    refused(open.commit().await, state, words);
}

async fn heard(watch: &mut Watch) -> Option<Result<WatchItem>> {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("it goes on, or ends")
}

/// Whoever watches a table of a site that is forgotten hears that it is gone, or of its new home.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_outlive_the_home_of_their_table() {
    let world = World::new();
    let db = world.client("rome").await;
    db.execute("CREATE TABLE there (id bigint PRIMARY KEY) WITH (placement = 'at(turin)')").await.unwrap();
    db.execute("CREATE TABLE everywhere (id bigint PRIMARY KEY) WITH (placement = 'global(turin)')").await.unwrap();
    db.execute("INSERT INTO everywhere VALUES (1)").await.unwrap();
    let patience = Patience { replicate_every: Some(Duration::from_millis(20)), ..options().patience };
    let copying = RomeDatabase::open_sites("rome", world.all(), Options { patience, ..options() }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut gone = db.watch("SELECT id FROM there".into_statement(), None).await.unwrap();
    let mut moves = db.watch("SELECT id FROM everywhere".into_statement(), None).await.unwrap();
    assert!(matches!(heard(&mut gone).await, Some(Ok(WatchItem::Current(_)))));
    assert!(matches!(heard(&mut moves).await, Some(Ok(WatchItem::Rows(_)))));
    assert!(matches!(heard(&mut moves).await, Some(Ok(WatchItem::Current(_)))));
    // Until the description that tells of changes has been copied.
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.lose(2, true);
    for watch in [&mut gone, &mut moves] {
        assert!(matches!(heard(watch).await, Some(Ok(WatchItem::Lost { site, .. })) if site == "turin"));
    }
    let (_, forgotten) = world.forget("pisa", "turin", ForgetOptions { drop_tables: true }).await.unwrap();
    // The copy is at another site than the one who asks for it.
    assert_eq!(forgotten.taken_over, [("everywhere".to_owned(), "rome".to_owned())]);
    assert_eq!(forgotten.dropped, ["there"]);
    assert!(matches!(heard(&mut gone).await, Some(Ok(WatchItem::Reset))));
    refused(heard(&mut gone).await.unwrap(), SqlState::UNDEFINED_TABLE, "there");
    assert!(heard(&mut gone).await.is_none());
    assert!(matches!(heard(&mut moves).await, Some(Ok(WatchItem::Reset))));
    assert!(matches!(heard(&mut moves).await, Some(Ok(WatchItem::Rows(rows))) if rows.len() == 1));
    assert!(matches!(heard(&mut moves).await, Some(Ok(WatchItem::Current(_)))));
    copying.execute("INSERT INTO everywhere VALUES (2)").await.unwrap();
    assert!(matches!(heard(&mut moves).await, Some(Ok(WatchItem::Changes { changes, .. })) if changes.len() == 1));
}
