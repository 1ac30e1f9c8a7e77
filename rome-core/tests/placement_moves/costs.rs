//! What rules cost under each placement, in round trips between sites until the answer, as `docs/placement.md` has it. Virtual time: nothing else
//! takes any.

use crate::world::{World, described};
use crate::{dies_at, found};
use rome_core::database::{Queryable, RomeDatabase};
use std::time::Duration;
use tokio::time::Instant;

const ROUND_TRIP: Duration = Duration::from_millis(100);

/// The round trips of a statement.
async fn trips(db: &RomeDatabase, statement: &str) -> u128 {
    let begun = Instant::now();
    db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let trips = begun.elapsed().as_millis() / ROUND_TRIP.as_millis();
    // What ends a commit over several sites follows its answer.
    tokio::time::sleep(ROUND_TRIP * 20).await;
    trips
}

/// The fewest and the most round trips of inserting rows of a site, once the client knows the table.
async fn inserting(db: &RomeDatabase, table: &str, region: &str) -> (u128, u128) {
    let (mut fewest, mut most) = (u128::MAX, 0);
    let first: i64 = db.query_one(format!("SELECT count(*) FROM {table}").as_str()).await.unwrap();
    for number in first * 100..first * 100 + 16 {
        let columns = if table == "tagged" { "region, name" } else { "region, name, id" };
        let id = if table == "tagged" { String::new() } else { format!(", {number}") };
        let insert = format!("INSERT INTO {table} ({columns}) VALUES ('{region}', 'n{number}'{id})");
        let took = trips(db, &insert).await;
        // The first ones open lanes and learn by which version each home knows the table.
        if number >= first * 100 + 8 {
            (fewest, most) = (fewest.min(took), most.max(took));
        }
    }
    (fewest, most)
}

#[tokio::test(start_paused = true)]
async fn what_a_unique_key_costs() {
    let world = World::wide(ROUND_TRIP);
    let db = world.client("rome").await;
    let far = world.client("turin").await;
    for table in [
        "CREATE TABLE here (id bigint PRIMARY KEY, region text, name text UNIQUE) WITH (placement = 'at(rome)')",
        "CREATE TABLE shards (id bigint PRIMARY KEY, region text, name text) WITH (placement = 'sharded')",
        "CREATE TABLE shards_named (id bigint PRIMARY KEY, region text, name text UNIQUE) WITH (placement = 'sharded')",
        "CREATE TABLE within (region text, id bigint, name text, PRIMARY KEY (region, id), UNIQUE (region, name)) \
         WITH (placement = 'by_site(region)')",
        "CREATE TABLE tagged (id uuid PRIMARY KEY DEFAULT rome_id(), region text, name text, UNIQUE (region, name)) \
         WITH (placement = 'by_site(region)')",
        "CREATE TABLE anywhere (id bigint PRIMARY KEY, region text, name text) WITH (placement = 'by_site(region)')",
        "CREATE TABLE anywhere_named (region text, id bigint, name text UNIQUE, PRIMARY KEY (region, id)) \
         WITH (placement = 'by_site(region)')",
    ] {
        db.execute(table).await.unwrap();
    }
    // Of a client at rome: rows that live at rome; rows that live at turin. Of one at turin: rows at rome.
    let mut costs = vec![];
    for table in ["here", "shards", "shards_named", "within", "tagged", "anywhere", "anywhere_named"] {
        let local = inserting(&db, table, "rome").await;
        let remote = inserting(&db, table, "turin").await;
        let from_afar = inserting(&far, table, "rome").await;
        costs.push((table, local, remote, from_afar));
    }
    assert_eq!(
        costs,
        [
            ("here", (0, 0), (0, 0), (1, 1)),
            ("shards", (0, 0), (0, 0), (1, 1)),
            ("shards_named", (0, 0), (0, 0), (1, 1)),
            ("within", (0, 0), (1, 1), (1, 1)),
            ("tagged", (0, 0), (1, 1), (1, 1)),
            ("anywhere", (0, 1), (1, 1), (1, 1)),
            ("anywhere_named", (0, 1), (1, 1), (1, 1)),
        ]
    );
}

/// What writes cost while their table moves.
#[tokio::test(start_paused = true)]
async fn what_a_move_costs_others() {
    let world = World::wide(ROUND_TRIP);
    let db = found(&world, "placement = 'at(rome)'").await;
    let read = "SELECT * FROM account WHERE id = 1";
    let write = |id: i64| format!("UPDATE account SET amount = amount + 1 WHERE id = {id}");
    assert_eq!((trips(&db, read).await, trips(&db, &write(1)).await), (0, 0));
    let alter = "ALTER TABLE account SET (placement = 'by_site(region)')";
    assert!(dies_at(&world, alter, 7).await);
    let _others = (world.client("pisa").await, world.client("turin").await);
    world.settled().await;
    // Once, to learn of it.
    trips(&db, &write(2)).await;
    assert!(described(&db, "account").shadow.is_some());
    assert_eq!(trips(&db, read).await, 0);
    let mut most = 0;
    for id in 1..20 {
        trips(&db, &write(id)).await;
        most = most.max(trips(&db, &write(id)).await);
    }
    assert_eq!(most, 2);
    trips(&db, alter).await;
    assert!(described(&db, "account").shadow.is_none());
    assert_eq!(trips(&db, "SELECT * FROM account WHERE region = 'rome' AND id = 1").await, 0);
}
