//! Many tasks on one database, on every store: nothing is lost, nothing happens twice, and indexes agree with their tables afterwards.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use futures::future::{BoxFuture, join_all};
use rand::Rng;
use rome_core::database::{DatabaseExt, Queryable, RomeDatabase, Transaction};
use rome_core::store::Store;
use rome_core::{Error, Result, SqlState};
use rome_tests::audit::audit;
use rome_tests::bank::{self, Transfer};
use rome_tests::place::{Engine, Place, database};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Barrier;

/// Tasks at a time.
const TASKS: usize = 16;

/// A database on a store, and a second client of the same store: another process, as far as they know.
struct Shared {
    store: Arc<dyn Store>,
    clients: [Arc<RomeDatabase>; 2],
    _place: Place,
}

impl Shared {
    async fn new(engine: Engine) -> Self {
        let place = Place::new(engine);
        let store = place.store().await;
        let clients = [Arc::new(database(store.clone()).await), Arc::new(database(store.clone()).await)];
        Self { store, clients, _place: place }
    }

    fn db(&self) -> &RomeDatabase {
        &self.clients[0]
    }

    /// Runs `work` in so many tasks, half of them on each client; all begin together.
    async fn in_tasks<T: Send + 'static>(
        &self,
        tasks: usize,
        work: impl Fn(Arc<RomeDatabase>, usize) -> BoxFuture<'static, T> + Send + Sync + 'static,
    ) -> Vec<T> {
        let (work, start) = (Arc::new(work), Arc::new(Barrier::new(tasks)));
        let tasks = (0..tasks).map(|task| {
            let (work, start, db) = (Arc::clone(&work), Arc::clone(&start), Arc::clone(&self.clients[task % 2]));
            tokio::spawn(async move {
                start.wait().await;
                work(db, task).await
            })
        });
        join_all(tasks).await.into_iter().map(|ended| ended.expect("no task panics")).collect()
    }
}

async fn bank_transfers(shared: Shared) {
    bank::open(shared.db()).await;
    let done = shared.in_tasks(TASKS, |db, task| {
        Box::pin(async move {
            for number in 0..12 {
                let transfer = Transfer::random(format!("{task}-{number}"), task as i64);
                bank::transfer(db.as_ref(), &transfer).await.unwrap();
            }
        })
    });
    done.await;
    assert_eq!(bank::inspect(shared.db()).await.len(), TASKS * 12);
    audit(shared.store.as_ref()).await;
}

async fn counter_increments(shared: Shared) {
    shared.db().execute("CREATE TABLE counter (id bigint PRIMARY KEY, value bigint NOT NULL)").await.unwrap();
    shared.db().execute("INSERT INTO counter VALUES (1, 0), (2, 0)").await.unwrap();
    let increments = shared.in_tasks(TASKS, |db, _| {
        Box::pin(async move {
            for _ in 0..6 {
                // Read, then write what was read and one more: lost without validation.
                let increment = db.transaction(|tx: &dyn Transaction| {
                    Box::pin(async move {
                        let value: i64 = tx.query_one("SELECT value FROM counter WHERE id = 1").await?;
                        let statement = "UPDATE counter SET value = $1 WHERE id = 1";
                        tx.execute((statement, [(value + 1).into()])).await?;
                        Ok::<_, Error>(())
                    })
                });
                increment.await.unwrap();
                // The same in one statement, retried by itself.
                db.execute("UPDATE counter SET value = value + 1 WHERE id = 2").await.unwrap();
            }
        })
    });
    increments.await;
    let values: Vec<i64> = shared.db().query_as("SELECT value FROM counter ORDER BY id").await.unwrap();
    assert_eq!(values, [TASKS as i64 * 6; 2]);
}

async fn unique_inserts_race(shared: Shared) {
    shared.db().execute("CREATE TABLE name (id bigint PRIMARY KEY, name text UNIQUE)").await.unwrap();
    for round in 0..8 {
        let results = shared.in_tasks(TASKS, move |db, task| {
            Box::pin(async move {
                // Half of them want one primary key, the others one name.
                let (id, name) = if task < TASKS / 2 {
                    (round * 100, format!("round {round} task {task}"))
                } else {
                    (round * 100 + task, format!("round {round}"))
                };
                let values = [(id as i64).into(), name.into()];
                db.execute(("INSERT INTO name (id, name) VALUES ($1, $2)", values)).await
            })
        });
        let results = results.await;
        for half in [&results[..TASKS / 2], &results[TASKS / 2..]] {
            assert_eq!(half.iter().filter(|result| result.is_ok()).count(), 1, "round {round}: {half:?}");
            for error in half.iter().filter_map(|result| result.as_ref().err()) {
                assert_eq!(error.state(), SqlState::UNIQUE_VIOLATION, "{error}");
            }
        }
    }
    assert_eq!(audit(shared.store.as_ref()).await, 16);
}

/// Two doctors are on call; each may leave while the other is still there.
async fn write_skew(shared: Shared) {
    shared
        .db()
        .execute("CREATE TABLE doctor (id bigint PRIMARY KEY, shift bigint, on_call boolean NOT NULL)")
        .await
        .unwrap();
    shared.db().execute("CREATE INDEX doctor_shift ON doctor (shift)").await.unwrap();
    for shift in 0..8 {
        let insert = format!("INSERT INTO doctor VALUES ({shift}1, {shift}, true), ({shift}2, {shift}, true)");
        shared.db().execute(insert).await.unwrap();
        let leave = shared.in_tasks(2, move |db, task| {
            Box::pin(async move {
                db.transaction(|tx: &dyn Transaction| {
                    Box::pin(async move {
                        let count = format!("SELECT count(*) FROM doctor WHERE shift = {shift} AND on_call");
                        if tx.query_one::<i64, _>(count).await? > 1 {
                            let id = shift * 10 + task + 1;
                            tx.execute(format!("UPDATE doctor SET on_call = false WHERE id = {id}")).await?;
                        }
                        Ok::<_, Error>(())
                    })
                })
                .await
                .unwrap();
            })
        });
        leave.await;
        let left = format!("SELECT count(*) FROM doctor WHERE shift = {shift} AND on_call");
        assert_eq!(shared.db().query_one::<i64, _>(left).await.unwrap(), 1, "shift {shift}");
    }
}

/// "At most three bookings of a room": each transaction counts, then inserts a row that the others' counts would have seen.
async fn phantoms(shared: Shared) {
    shared.db().execute("CREATE TABLE booking (id text PRIMARY KEY, room bigint NOT NULL)").await.unwrap();
    shared.db().execute("CREATE INDEX booking_room ON booking (room)").await.unwrap();
    let book = shared.in_tasks(TASKS, |db, task| {
        Box::pin(async move {
            for room in 0..4 {
                db.transaction(|tx: &dyn Transaction| {
                    Box::pin(async move {
                        let count = format!("SELECT count(*) FROM booking WHERE room = {room}");
                        if tx.query_one::<i64, _>(count).await? < 3 {
                            tx.execute(format!("INSERT INTO booking VALUES ('{room}-{task}', {room})")).await?;
                        }
                        Ok::<_, Error>(())
                    })
                })
                .await
                .unwrap();
            }
        })
    });
    book.await;
    let counts: Vec<i64> = shared.db().query_as("SELECT count(*) FROM booking GROUP BY room").await.unwrap();
    assert_eq!(counts, [3; 4]);
}

/// Writers that insert, move and delete rows until they are told to stop.
async fn write_until(db: Arc<RomeDatabase>, task: usize, stop: Arc<AtomicBool>) {
    let mut mine: Vec<i64> = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = (task * 1_000_000 + number) as i64;
        let group: i64 = rand::rng().random_range(0..20);
        let insert = "INSERT INTO entry (id, name, grp) VALUES ($1, $2, $3)";
        db.execute((insert, [id.into(), format!("name {id}").into(), group.into()])).await.unwrap();
        mine.push(id);
        let victim = mine[rand::rng().random_range(0..mine.len())];
        db.execute(("UPDATE entry SET grp = $2 WHERE id = $1", [victim.into(), (group + 1).into()])).await.unwrap();
        if number % 3 == 2 {
            let victim = mine.swap_remove(rand::rng().random_range(0..mine.len()));
            assert_eq!(db.execute(("DELETE FROM entry WHERE id = $1", [victim.into()])).await.unwrap(), 1);
        }
        // Memory answers at once, and the other tasks want their turn, too.
        tokio::task::yield_now().await;
    }
}

async fn index_created_while_others_write(shared: Shared) {
    shared.db().execute("CREATE TABLE entry (id bigint PRIMARY KEY, name text NOT NULL, grp bigint)").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|task| tokio::spawn(write_until(Arc::clone(&shared.clients[task % 2]), task, Arc::clone(&stop))))
        .collect();
    let db = shared.db();
    until_rows(db, 50).await;
    db.execute("CREATE INDEX entry_grp ON entry (grp)").await.unwrap();
    let more = db.query_one::<i64, _>("SELECT max(id) FROM entry WHERE id < 1000000").await.unwrap();
    db.execute("CREATE UNIQUE INDEX entry_name ON entry (name)").await.unwrap();
    // Writers go on after the change, whatever they knew before it.
    while db.query_one::<i64, _>("SELECT max(id) FROM entry WHERE id < 1000000").await.unwrap() <= more {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("no task panics");
    }
    audit(shared.store.as_ref()).await;
    let all: Vec<(i64, i64)> = db.query_as("SELECT id, grp FROM entry").await.unwrap();
    let plan: Vec<String> = db.query_as("EXPLAIN SELECT id FROM entry WHERE grp = 3").await.unwrap();
    assert!(plan.join("\n").contains("entry_grp"), "{plan:?}");
    for group in 0..=20 {
        let scanned: BTreeSet<i64> = all.iter().filter(|(_, grp)| *grp == group).map(|(id, _)| *id).collect();
        let query = format!("SELECT id FROM entry WHERE grp = {group}");
        let found: Vec<i64> = db.query_as(query).await.unwrap();
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), scanned, "group {group}");
    }
}

async fn until_rows(db: &RomeDatabase, count: i64) {
    while db.query_one::<i64, _>("SELECT count(*) FROM entry").await.unwrap() < count {
        tokio::task::yield_now().await;
    }
}

/// One client changes a table again and again; the other goes on with what it knew. It is told to retry, and never reads or writes
/// a column as another.
async fn schema_changed_under_statements(shared: Shared) {
    let [changing, using] = shared.clients.clone();
    changing.execute("CREATE TABLE entry (id bigint PRIMARY KEY, name text NOT NULL, grp bigint)").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let user = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut id = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                id += 1;
                let insert = "INSERT INTO entry (id, name) VALUES ($1, $2)";
                using.execute((insert, [id.into(), format!("name {id}").into()])).await.unwrap();
                let found: String =
                    using.query_one(("SELECT name FROM entry WHERE id = $1", [id.into()])).await.unwrap();
                assert_eq!(found, format!("name {id}"));
                let renamed = using.transaction(|tx: &dyn Transaction| {
                    Box::pin(async move {
                        let name: String = tx.query_one(("SELECT name FROM entry WHERE id = $1", [id.into()])).await?;
                        let update = "UPDATE entry SET name = $2 WHERE id = $1";
                        tx.execute((update, [id.into(), format!("{name}!").into()])).await?;
                        Ok::<_, Error>(())
                    }) as BoxFuture<'_, Result<()>>
                });
                renamed.await.unwrap();
            }
            id
        }
    });
    for round in 0..5 {
        until_rows(&changing, round * 3).await;
        for statement in [
            format!("ALTER TABLE entry ADD COLUMN extra{round} text NOT NULL DEFAULT 'extra {round}'"),
            format!("CREATE INDEX entry_name{round} ON entry (name)"),
            "ALTER TABLE entry DROP COLUMN grp".to_owned(),
            format!("ALTER TABLE entry RENAME COLUMN extra{round} TO kept{round}"),
            "ALTER TABLE entry ADD COLUMN grp bigint DEFAULT 7".to_owned(),
        ] {
            changing.execute(statement.as_str()).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
    until_rows(&changing, 20).await;
    stop.store(true, Ordering::Relaxed);
    let rows = user.await.expect("the user sees no wrong answer");
    type Entry = (i64, String, Option<i64>, String, String);
    let found: Vec<Entry> =
        changing.query_as("SELECT id, name, grp, kept0, kept4 FROM entry ORDER BY id").await.unwrap();
    assert_eq!(found.len() as i64, rows);
    for ((id, name, grp, first, last), expected) in found.into_iter().zip(1..) {
        assert_eq!((id, name, grp), (expected, format!("name {expected}!"), Some(7)));
        assert_eq!((first.as_str(), last.as_str()), ("extra 0", "extra 4"));
    }
    audit(shared.store.as_ref()).await;
}

/// A table that another client drops and makes anew under the same name is not taken for the old one.
async fn table_replaced_under_statements(shared: Shared) {
    let [changing, using] = shared.clients.clone();
    for round in 0..5_i64 {
        changing.execute(format!("CREATE TABLE entry (c{round} bigint, id bigint PRIMARY KEY)")).await.unwrap();
        changing.execute(format!("INSERT INTO entry VALUES ({round}, 1)")).await.unwrap();
        let found: Vec<i64> = using.query_as("SELECT * FROM (SELECT id FROM entry) AS e").await.unwrap();
        assert_eq!(found, [1]);
        assert_eq!(using.execute("INSERT INTO entry (id) VALUES (2)").await.unwrap(), 1);
        let found: i64 = using.query_one(format!("SELECT c{round} FROM entry WHERE id = 1")).await.unwrap();
        assert_eq!(found, round);
        changing.execute("DROP TABLE entry").await.unwrap();
        let error = using.query("SELECT id FROM entry").await.unwrap_err();
        assert_eq!(error.state(), SqlState::UNDEFINED_TABLE, "{error}");
    }
    audit(shared.store.as_ref()).await;
}

/// Parents are deleted while children are inserted: no child is without a parent in the end.
async fn foreign_keys_race(shared: Shared) {
    let db = shared.db();
    db.execute("CREATE TABLE parent (id bigint PRIMARY KEY)").await.unwrap();
    db.execute("CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint NOT NULL REFERENCES parent (id))")
        .await
        .unwrap();
    for round in 0..8_i64 {
        db.execute(format!("INSERT INTO parent VALUES ({round})")).await.unwrap();
        let race = shared.in_tasks(4, move |db, task| {
            Box::pin(async move {
                if task == 0 {
                    db.execute(format!("DELETE FROM parent WHERE id = {round}")).await
                } else {
                    let id = round * 10 + task as i64;
                    db.execute(format!("INSERT INTO child VALUES ({id}, {round})")).await
                }
            })
        });
        let results = race.await;
        let deleted = results[0].is_ok();
        for result in &results[1..] {
            assert_eq!(result.is_err(), deleted, "{results:?}");
        }
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(error.state(), SqlState::FOREIGN_KEY_VIOLATION, "{error}");
        }
    }
    let orphans = "SELECT count(*) FROM child c LEFT JOIN parent p ON p.id = c.parent_id WHERE p.id IS NULL";
    assert_eq!(db.query_one::<i64, _>(orphans).await.unwrap(), 0);
}

/// A case on every store.
macro_rules! cases {
    ($($engine:ident as $name:ident),+: $cases:tt) => {$( cases!(@ $engine $name $cases); )+};
    (@ $engine:ident $name:ident { $($case:ident)+ }) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(super::Shared::new(super::Engine::$engine).await).await;
                }
            )+
        }
    };
}

cases! { Memory as memory, Embedded as embedded, Redis as redis, Etcd as etcd: {
    bank_transfers counter_increments unique_inserts_race write_skew phantoms index_created_while_others_write
    schema_changed_under_statements table_replaced_under_statements foreign_keys_race
} }
