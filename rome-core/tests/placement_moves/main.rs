//! Tables that move from one placement to another while they are in use: nothing is lost, no rule is broken, and who dies in the middle leaves
//! something that others go on with. Each site is an in-memory store of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod costs;
mod load;
mod world;

use rome_core::database::{DatabaseExt, PlacementMove, Queryable, RomeDatabase};
use rome_core::{Result, SqlState};
use std::time::Duration;
use tokio::task::JoinHandle;
use world::{Life, NAMES, World, described, state};

const PLACEMENTS: [&str; 6] = [
    "placement = 'at(pisa)'",
    "placement = 'at(turin)'",
    "placement = 'by_site(region)'",
    "placement = 'sharded'",
    "placement = 'sharded(region, serial)'",
    "colocate_with = 'kind'",
];

const ACCOUNTS: i64 = 40;

/// Accounts of regions and kinds, and notes on them.
async fn found(world: &World, placement: &str) -> RomeDatabase {
    let db = world.client("rome").await;
    let account = format!(
        "CREATE TABLE account (id bigint PRIMARY KEY, region text NOT NULL, kind text NOT NULL REFERENCES kind, email text UNIQUE, \
         serial bigint NOT NULL, amount bigint NOT NULL DEFAULT 100, UNIQUE (region, serial), FOREIGN KEY (region) REFERENCES zone) \
         WITH ({placement})"
    );
    for statement in [
        "CREATE TABLE zone (region text PRIMARY KEY) WITH (placement = 'by_site(region)')",
        "CREATE TABLE kind (name text PRIMARY KEY) WITH (placement = 'sharded')",
        account.as_str(),
        "CREATE INDEX account_serial ON account (serial DESC)",
        "CREATE TABLE note (id bigint PRIMARY KEY, account bigint REFERENCES account ON UPDATE CASCADE) WITH (placement = 'at(rome)')",
        "INSERT INTO zone VALUES ('pisa'), ('rome'), ('turin')",
        "INSERT INTO kind VALUES ('a'), ('b'), ('c'), ('d')",
    ] {
        db.execute(statement).await.unwrap();
    }
    for id in 0..ACCOUNTS {
        // Every fourth has no email.
        let email = if id % 4 == 3 { "NULL".to_owned() } else { format!("'e{id}'") };
        let (region, kind) = (NAMES[id as usize % 3], ["a", "b", "c", "d"][id as usize % 4]);
        let insert = format!("INSERT INTO account VALUES ({id}, '{region}', '{kind}', {email}, {id})");
        db.execute(insert.as_str()).await.unwrap();
    }
    db.execute("INSERT INTO note VALUES (1, 1), (2, 2), (3, 3), (4, NULL)").await.unwrap();
    db
}

type Account = (i64, String, String, Option<String>, i64, i64);

async fn contents(db: &RomeDatabase) -> Vec<Account> {
    db.query_as("SELECT id, region, kind, email, serial, amount FROM account ORDER BY id").await.unwrap()
}

/// The rules of the table, tried by a client; leaves everything as it was.
async fn check_rules(db: &RomeDatabase) {
    let before = contents(db).await;
    for (statement, expected) in [
        ("INSERT INTO account VALUES (5, 'pisa', 'a', 'new', 900)", SqlState::UNIQUE_VIOLATION),
        ("INSERT INTO account VALUES (900, 'pisa', 'a', 'e5', 900)", SqlState::UNIQUE_VIOLATION),
        ("INSERT INTO account VALUES (900, 'pisa', 'a', 'new', 3)", SqlState::UNIQUE_VIOLATION),
        ("UPDATE account SET id = 6 WHERE id = 5", SqlState::UNIQUE_VIOLATION),
        ("UPDATE account SET email = 'e6' WHERE id = 5", SqlState::UNIQUE_VIOLATION),
        ("UPDATE account SET region = 'pisa', serial = 0 WHERE id = 5", SqlState::UNIQUE_VIOLATION),
        ("UPDATE account SET kind = 'z' WHERE id = 5", SqlState::FOREIGN_KEY_VIOLATION),
        ("INSERT INTO note VALUES (900, 900)", SqlState::FOREIGN_KEY_VIOLATION),
        ("DELETE FROM account WHERE id = 1", SqlState::FOREIGN_KEY_VIOLATION),
        ("DELETE FROM zone WHERE region = 'turin'", SqlState::FOREIGN_KEY_VIOLATION),
        ("DELETE FROM kind WHERE name = 'c'", SqlState::FOREIGN_KEY_VIOLATION),
    ] {
        assert_eq!(state(db.execute(statement).await), expected, "{statement}");
    }
    // There is neither such a zone nor such a site.
    let nowhere = state(db.execute("INSERT INTO account VALUES (900, 'mars', 'a', 'new', 900)").await);
    assert!([SqlState::FOREIGN_KEY_VIOLATION, SqlState::INVALID_PARAMETER_VALUE].contains(&nowhere), "{nowhere}");
    assert_eq!(contents(db).await, before);
    let tx = db.begin().await.unwrap();
    assert_eq!(
        state(tx.execute("INSERT INTO account VALUES (900, 'pisa', 'a', 'e5', 900)").await),
        SqlState::UNIQUE_VIOLATION
    );
    drop(tx);
    // What is allowed, there and back again.
    for statement in [
        "INSERT INTO account VALUES (901, 'turin', 'b', 'new', 901), (902, 'rome', 'c', NULL, 902)",
        "UPDATE account SET region = 'pisa', kind = 'd' WHERE id IN (901, 902)",
        "UPDATE account SET id = id + 10, serial = 1000 - serial, email = 'e' || id WHERE id IN (901, 902)",
        "INSERT INTO account VALUES (911, 'rome', 'a', 'x', 99) ON CONFLICT (id) DO UPDATE SET email = 'y', region = excluded.region",
        "INSERT INTO note VALUES (901, 911)",
        "UPDATE account SET id = 921 WHERE id = 911",
        "DELETE FROM note WHERE account = 921",
        "DELETE FROM account WHERE id > 900",
        "UPDATE account SET serial = -serial - 1",
        "UPDATE account SET serial = -serial - 1",
    ] {
        db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error} {:?}", error.contended()));
    }
    assert_eq!(contents(db).await, before);
    let by_index: Vec<(i64,)> =
        db.query_as("SELECT id FROM account WHERE serial BETWEEN 7 AND 9 ORDER BY serial").await.unwrap();
    assert_eq!(by_index, [(7,), (8,), (9,)]);
    let by_email: i64 = db.query_one("SELECT id FROM account WHERE email = 'e10'").await.unwrap();
    assert_eq!(by_email, 10);
    let joined = "SELECT count(*) FROM note n JOIN account a ON a.id = n.account JOIN zone z ON z.region = a.region";
    assert_eq!(db.query_one::<i64, _>(joined).await.unwrap(), 3);
}

/// How many accounts each site has under a placement, by a client at rome.
fn expected_rows(placement: &str) -> [usize; 3] {
    let all = ACCOUNTS as usize;
    match placement {
        "placement = 'at(pisa)'" => [all, 0, 0],
        "placement = 'at(turin)'" => [0, 0, all],
        "placement = 'by_site(region)'" => [14, 13, 13],
        _ => [0, all, 0],
    }
}

/// Runs a statement by a client that dies after so many commits, and waits until it is dead; whether it died before it was done.
async fn dies_at(world: &World, statement: &str, commits: i64) -> bool {
    let life = Life::long();
    let doomed = world.mortal("rome", &life).await;
    life.leave(commits);
    let statement = statement.to_owned();
    let work = tokio::spawn(async move { doomed.execute(statement.as_str()).await });
    while !life.is_over() && !work.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // What it has sent arrives.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let died = !work.is_finished();
    work.abort();
    died
}

/// Every placement to every other one: the mover dies in the middle, the rules hold before, meanwhile and afterwards, and somebody else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_of_placements() {
    let (mut died, mut halfway) = (0, 0);
    for (number, (from, to)) in
        PLACEMENTS.iter().flat_map(|from| PLACEMENTS.iter().map(move |to| (from, to))).enumerate()
    {
        if from == to {
            continue;
        }
        eprintln!("{from} to {to}");
        let world = World::new();
        // Somebody is at work at each site: what the dead have left there is his to end.
        let _others = (world.client("pisa").await, world.client("turin").await);
        let db = found(&world, from).await;
        check_rules(&db).await;
        world.audit().await;
        assert_eq!(world.rows_by_site(&described(&db, "account")).await, expected_rows(from));
        let before = contents(&db).await;
        let alter = format!("ALTER TABLE account SET ({to})");
        died += usize::from(dies_at(&world, &alter, 8 + number as i64 % 24).await);
        check_rules(&db).await;
        halfway += usize::from(!db.placement_moves().await.unwrap().is_empty());
        world.audit().await;
        let other = world.client("rome").await;
        other.execute(alter.as_str()).await.unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
        assert_eq!(contents(&db).await, before);
        world.audit().await;
        let table = described(&other, "account");
        assert!(table.shadow.is_none());
        assert_eq!(world.rows_by_site(&table).await, expected_rows(to), "{from} to {to}");
        check_rules(&db).await;
        world.audit().await;
    }
    assert!(died > 20 && halfway > 10, "{died} died, {halfway} in the middle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_given_up() {
    let world = World::new();
    let db = found(&world, "placement = 'at(pisa)'").await;
    let alter = "ALTER TABLE account SET (placement = 'by_site(region)')";
    // An index that nobody goes on to build is in the way.
    assert!(dies_at(&world, "CREATE INDEX half ON account (amount)", 7).await);
    assert_eq!(state(db.execute(alter).await), SqlState::OBJECT_IN_USE);
    db.execute("DROP INDEX half").await.unwrap();
    assert!(dies_at(&world, alter, 20).await);
    let moves = db.placement_moves().await.unwrap();
    let moving = PlacementMove {
        table: "account".to_owned(),
        from: "at(pisa)".to_owned(),
        to: "by_site(region)".to_owned(),
        rows_passed: None,
    };
    assert_eq!(moves, [moving]);
    // What would change the copies is refused meanwhile, and so is another way; what does not is done.
    for statement in [
        "CREATE INDEX late ON account (amount)",
        "DROP INDEX account_serial",
        "ALTER TABLE account ADD UNIQUE (region, kind, id)",
        "ALTER TABLE account DROP CONSTRAINT account_email_key",
        "ALTER TABLE account DROP COLUMN amount",
        "ALTER TABLE account ALTER COLUMN amount TYPE numeric",
        "ALTER TABLE account SET (placement = 'at(turin)')",
    ] {
        let refused = db.execute(statement).await.unwrap_err();
        assert_eq!(refused.state(), SqlState::OBJECT_IN_USE, "{statement}: {refused}");
        assert!(refused.hint().is_some());
    }
    db.execute("ALTER TABLE account ADD COLUMN remark text DEFAULT 'none'").await.unwrap();
    db.execute("ALTER TABLE account RENAME COLUMN serial TO number").await.unwrap();
    db.execute("UPDATE account SET remark = 'some' WHERE id = 7").await.unwrap();
    db.execute("ALTER TABLE account RENAME COLUMN number TO serial").await.unwrap();
    world.audit().await;
    let in_a_transaction = db.begin().await.unwrap();
    assert_eq!(state(in_a_transaction.execute(alter).await), SqlState::ACTIVE_SQL_TRANSACTION);
    drop(in_a_transaction);
    db.execute("ALTER TABLE account SET (placement = 'at(pisa)')").await.unwrap();
    assert!(db.placement_moves().await.unwrap().is_empty());
    world.audit().await;
    assert_eq!(world.rows_by_site(&described(&db, "account")).await, [ACCOUNTS as usize, 0, 0]);
    check_rules(&db).await;
    // Nothing is left to give up, and where it is, it is.
    db.execute("ALTER TABLE account SET (placement = 'at(pisa)')").await.unwrap();
    db.execute("CREATE INDEX late ON account (amount)").await.unwrap();
    db.execute(alter).await.unwrap();
    let remarks: Vec<(i64,)> = db.query_as("SELECT id FROM account WHERE remark = 'some'").await.unwrap();
    assert_eq!(remarks, [(7,)]);
    world.audit().await;
    assert_eq!(world.rows_by_site(&described(&db, "account")).await, [14, 13, 13]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_on_their_way_are_emptied_and_dropped() {
    let world = World::new();
    let db = found(&world, "placement = 'sharded'").await;
    let alter = "ALTER TABLE account SET (placement = 'by_site(region)')";
    assert!(dies_at(&world, alter, 24).await);
    db.execute("TRUNCATE account CASCADE").await.unwrap();
    world.audit().await;
    db.execute("INSERT INTO account VALUES (1, 'turin', 'a', 'e', 1)").await.unwrap();
    world.audit().await;
    assert_eq!(db.placement_moves().await.unwrap().len(), 1);
    db.execute("DROP TABLE account CASCADE").await.unwrap();
    world.audit().await;
    // A table without rows is moved at once, also inside a transaction.
    let db = found_again(&world, &db).await;
    let tx = db.begin().await.unwrap();
    tx.execute(alter).await.unwrap();
    tx.execute("INSERT INTO account VALUES (1, 'turin', 'a', 'e', 1)").await.unwrap();
    tx.commit().await.unwrap();
    world.audit().await;
    assert_eq!(world.rows_by_site(&described(&db, "account")).await, [0, 0, 1]);
}

async fn found_again(world: &World, db: &RomeDatabase) -> RomeDatabase {
    db.execute("CREATE TABLE account (id bigint PRIMARY KEY, region text, kind text REFERENCES kind, email text UNIQUE, serial bigint)")
        .await
        .unwrap();
    world.client("rome").await
}

/// Rows that do not say where they would live: the move fails and leaves nothing; nobody writes such a row meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_site_stay() {
    let world = World::new();
    let db = world.client("rome").await;
    db.execute("CREATE TABLE t (id bigint PRIMARY KEY, region text, x bigint) WITH (placement = 'at(rome)')")
        .await
        .unwrap();
    for id in 100..150_i64 {
        db.execute(("INSERT INTO t VALUES ($1, 'turin', 0)", [id.into()])).await.unwrap();
    }
    let alter = "ALTER TABLE t SET (placement = 'by_site(region)')";
    for (bad, named) in [("'atlantis'", "atlantis"), ("NULL", "region"), ("''", "\"\"")] {
        db.execute(format!("INSERT INTO t VALUES (900, {bad}, 0)").as_str()).await.unwrap();
        let failed = db.execute(alter).await.unwrap_err();
        assert_eq!(failed.state(), SqlState::INVALID_PARAMETER_VALUE, "{failed}");
        assert!(failed.to_string().contains(named), "{failed}");
        assert!(db.placement_moves().await.unwrap().is_empty());
        world.audit().await;
        db.execute("DELETE FROM t WHERE id = 900").await.unwrap();
    }
    db.execute("INSERT INTO t VALUES (901, NULL, 0), (902, 'nowhere', 0), (903, NULL, 0)").await.unwrap();
    let life = 12;
    assert!(dies_at(&world, alter, life).await);
    assert_eq!(db.placement_moves().await.unwrap().len(), 1);
    for write in [
        "INSERT INTO t VALUES (910, 'atlantis', 0)",
        "INSERT INTO t VALUES (910, NULL, 0)",
        "UPDATE t SET region = 'atlantis' WHERE id = 120",
        "UPDATE t SET x = 1 WHERE id = 901",
    ] {
        let refused = db.execute(write).await.unwrap_err();
        assert_eq!(refused.state(), SqlState::INVALID_PARAMETER_VALUE, "{write}: {refused}");
        assert!(refused.detail().unwrap().contains("moving to by_site(region)"), "{refused}");
    }
    // Such rows can go, and be put right.
    db.execute("DELETE FROM t WHERE id = 901").await.unwrap();
    db.execute("UPDATE t SET region = 'pisa' WHERE id IN (902, 903)").await.unwrap();
    world.audit().await;
    db.execute(alter).await.unwrap();
    world.audit().await;
    let rows = world.rows_by_site(&described(&db, "t")).await;
    assert_eq!((rows[0], rows[1]), (2, 0));
    assert_eq!(state(db.execute("INSERT INTO t VALUES (1000, NULL, 0)").await), SqlState::NOT_NULL_VIOLATION);
    assert_eq!(
        state(db.execute("ALTER TABLE t ALTER COLUMN region DROP NOT NULL").await),
        SqlState::INVALID_TABLE_DEFINITION
    );
}

/// Tables without a key, with numbers and ids of their own, with rows that refer to each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_other_shapes() {
    let world = World::new();
    let (db, pisa) = (world.client("rome").await, world.client("pisa").await);
    let _other = world.client("turin").await;
    for table in [
        "CREATE TABLE log (region text, line text)",
        "CREATE TABLE numbered (id bigserial PRIMARY KEY, region text, line text UNIQUE)",
        "CREATE TABLE born (id uuid PRIMARY KEY DEFAULT rome_id(), region text, line text)",
        "CREATE TABLE tree (id bigint PRIMARY KEY, region text, parent bigint REFERENCES tree ON DELETE CASCADE, UNIQUE (parent, id))",
    ] {
        db.execute(table).await.unwrap();
    }
    let fill = |from: i64| {
        let rows = (from..from + 30).map(|id| (id, NAMES[id as usize % 3]));
        let lines: Vec<String> = rows.clone().map(|(id, region)| format!("('{region}', 'l{id}')")).collect();
        let tree = rows.map(|(id, region)| match id - from {
            0 => format!("({id}, '{region}', NULL)"),
            at => format!("({id}, '{region}', {})", from + at / 2),
        });
        let (lines, tree) = (lines.join(", "), tree.collect::<Vec<_>>().join(", "));
        let tables =
            ["log", "numbered", "born"].map(|table| format!("INSERT INTO {table} (region, line) VALUES {lines}"));
        tables.into_iter().chain([format!("INSERT INTO tree VALUES {tree}")])
    };
    for statement in fill(0) {
        db.execute(statement.as_str()).await.unwrap();
    }
    for statement in fill(30) {
        pisa.execute(statement.as_str()).await.unwrap();
    }
    let mut rows = 60;
    for (round, place) in ["by_site(region)", "at(turin)", "sharded", "by_site(region)", "at(rome)"].iter().enumerate()
    {
        for table in ["log", "numbered", "born", "tree"] {
            let alter = format!("ALTER TABLE {table} SET (placement = '{place}')");
            dies_at(&world, &alter, 10 + round as i64 * 5).await;
        }
        world.audit().await;
        let from = 100 + 100 * round as i64;
        for (statement, client) in fill(from).zip([&db, &pisa, &db, &pisa]) {
            client.execute(statement.as_str()).await.unwrap();
        }
        rows += 30;
        for statement in [
            "UPDATE log SET region = 'pisa' WHERE region = 'turin'",
            "UPDATE born SET region = CASE region WHEN 'rome' THEN 'turin' ELSE 'rome' END",
            "UPDATE numbered SET line = line || 'x', id = -id",
            "UPDATE tree SET region = 'rome', parent = parent WHERE region = 'pisa'",
        ] {
            db.execute(statement).await.unwrap();
        }
        // With all that is below it.
        let cut: i64 = db.query_one(format!("SELECT count(*) FROM tree WHERE id >= {from}").as_str()).await.unwrap();
        db.execute(format!("DELETE FROM tree WHERE id = {from}").as_str()).await.unwrap();
        assert_eq!(cut, 30);
        world.audit().await;
        for table in ["log", "numbered", "born", "tree"] {
            db.execute(format!("ALTER TABLE {table} SET (placement = '{place}')").as_str()).await.unwrap();
            let count: i64 = db.query_one(format!("SELECT count(*) FROM {table}").as_str()).await.unwrap();
            assert_eq!(count, if table == "tree" { 60 } else { rows }, "{table}");
        }
        world.audit().await;
    }
}

/// A table of a database that had one store before it had sites.
#[tokio::test]
async fn tables_that_were_there_before_the_sites() {
    let world = World::new();
    let alone = world.alone("pisa").await;
    alone.execute("CREATE TABLE t (id bigint PRIMARY KEY, region text)").await.unwrap();
    alone.execute("INSERT INTO t VALUES (1, 'pisa'), (2, 'rome'), (3, 'turin')").await.unwrap();
    drop(alone);
    let db = world.client("rome").await;
    db.execute("ALTER TABLE t SET (placement = 'at(pisa)')").await.unwrap();
    let alter = "ALTER TABLE t SET (placement = 'by_site(region)')";
    dies_at(&world, alter, 7).await;
    assert_eq!(db.placement_moves().await.unwrap().len(), 1);
    db.execute("ALTER TABLE t SET (placement = 'at(pisa)')").await.unwrap();
    assert!(db.placement_moves().await.unwrap().is_empty());
    db.execute(alter).await.unwrap();
    world.audit().await;
    assert_eq!(world.rows_by_site(&described(&db, "t")).await, [1, 1, 1]);
}

/// Shards are at the site of who says so first; a client at another site may end what he has begun, either way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_of_another_site() {
    let world = World::new();
    let (db, pisa) = (world.client("rome").await, world.client("pisa").await);
    db.execute("CREATE TABLE t (id bigint PRIMARY KEY, region text) WITH (placement = 'at(turin)')").await.unwrap();
    db.execute("INSERT INTO t VALUES (1, 'pisa'), (2, 'rome'), (3, 'turin')").await.unwrap();
    dies_at(&world, "ALTER TABLE t SET (placement = 'sharded')", 7).await;
    pisa.execute("ALTER TABLE t SET (placement = 'sharded')").await.unwrap();
    assert_eq!(world.rows_by_site(&described(&pisa, "t")).await, [0, 3, 0]);
    dies_at(&world, "ALTER TABLE t SET (placement = 'at(turin)')", 7).await;
    assert_eq!(db.placement_moves().await.unwrap().len(), 1);
    pisa.execute("ALTER TABLE t SET (placement = 'sharded')").await.unwrap();
    assert!(db.placement_moves().await.unwrap().is_empty());
    pisa.execute("ALTER TABLE t SET (placement = 'sharded')").await.unwrap();
    world.audit().await;
    assert_eq!(world.rows_by_site(&described(&pisa, "t")).await, [3, 0, 0]);
}

/// A table that somebody has begun to move, without a copied row, and somebody who has read rows to copy and not written them yet.
async fn held_mover(world: &World, db: &RomeDatabase, alter: &'static str) -> (Life, JoinHandle<Result<u64>>) {
    dies_at(world, alter, 7).await;
    let moves = db.placement_moves().await.unwrap();
    assert_eq!(moves.len(), 1, "the move has begun");
    let shadow = described(db, "t").shadow.clone().unwrap();
    assert!(world.space(shadow.rows).await.is_empty(), "nothing is copied");
    let life = Life::long();
    let slow = world.mortal("rome", &life).await;
    life.hold(true);
    let mover = tokio::spawn(async move { slow.execute(alter).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    (life, mover)
}

/// A mover who comes too late: others have ended the move, and what he would copy has gone since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_mover_brings_nothing_back() {
    let alter = "ALTER TABLE t SET (placement = 'by_site(region)')";
    for dies_after in 16.. {
        let world = World::new();
        let _others = (world.client("pisa").await, world.client("turin").await);
        let db = world.client("rome").await;
        db.execute("CREATE TABLE t (id bigint PRIMARY KEY, region text) WITH (placement = 'at(rome)')").await.unwrap();
        db.execute("INSERT INTO t VALUES (1, 'pisa'), (2, 'rome'), (3, 'turin')").await.unwrap();
        let (life, late) = held_mover(&world, &db, alter).await;
        // Who ends the move dies before the old rows are removed.
        dies_at(&world, alter, dies_after).await;
        world.settled().await;
        if !db.placement_moves().await.unwrap().is_empty() {
            late.abort();
            continue;
        }
        assert!(world.has_garbage().await, "the old rows are to be there still");
        db.execute("DELETE FROM t WHERE id < 3").await.unwrap();
        life.hold(false);
        late.await.unwrap().unwrap();
        assert_eq!(db.query_as::<(i64,), _>("SELECT id FROM t").await.unwrap(), [(3,)]);
        world.audit().await;
        break;
    }
}

/// A mover whose move was given up, and begun anew to another place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_given_up_ends() {
    let alter = "ALTER TABLE t SET (placement = 'by_site(region)')";
    let world = World::new();
    let db = world.client("rome").await;
    db.execute("CREATE TABLE t (id bigint PRIMARY KEY, region text) WITH (placement = 'at(rome)')").await.unwrap();
    db.execute("INSERT INTO t VALUES (1, 'pisa'), (2, 'rome'), (3, 'turin')").await.unwrap();
    let (life, late) = held_mover(&world, &db, alter).await;
    db.execute("ALTER TABLE t SET (placement = 'at(rome)')").await.unwrap();
    // A site to which a table moves can't leave.
    dies_at(&world, "ALTER TABLE t SET (placement = 'at(turin)')", 7).await;
    assert_eq!(state(db.remove_site("turin").await), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    db.execute("ALTER TABLE t SET (placement = 'at(turin)')").await.unwrap();
    life.hold(false);
    assert_eq!(state(late.await.unwrap()), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    world.audit().await;
    assert_eq!(world.rows_by_site(&described(&db, "t")).await, [0, 0, 3]);
}

#[tokio::test]
async fn bad_options_are_refused() {
    let world = World::new();
    let db = found(&world, "placement = 'at(pisa)'").await;
    for (options, expected) in [
        ("fillfactor = 70", SqlState::INVALID_PARAMETER_VALUE),
        ("placement = 'at(atlantis)'", SqlState::INVALID_PARAMETER_VALUE),
        ("placement = 'somewhere'", SqlState::INVALID_PARAMETER_VALUE),
        ("placement = 'by_site(nothing)'", SqlState::UNDEFINED_COLUMN),
        ("placement = 'by_site(serial)'", SqlState::DATATYPE_MISMATCH),
        ("placement = 'sharded(nothing)'", SqlState::UNDEFINED_COLUMN),
        ("colocate_with = 'nothing'", SqlState::UNDEFINED_TABLE),
        ("colocate_with = 'note'", SqlState::INVALID_TABLE_DEFINITION),
        ("placement = 'sharded', colocate_with = 'kind'", SqlState::INVALID_PARAMETER_VALUE),
    ] {
        let refused = db.execute(format!("ALTER TABLE account SET ({options})").as_str()).await.unwrap_err();
        assert_eq!(refused.state(), expected, "{options}: {refused}");
    }
    assert!(db.placement_moves().await.unwrap().is_empty());
    world.audit().await;
}
