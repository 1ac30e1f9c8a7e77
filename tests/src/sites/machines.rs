//! Rows that are inserted, changed, moved between sites and deleted, with foreign keys and secondary indexes.
//!
//! ```text
//! host  site, id, name                unique by name at its site; comes and goes
//! vm    site, id, host, owner         each belongs to one task, which knows what it was told; refers to a host of its site
//! ```

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)]

use super::{Stop, Told, any_site, breathe, draw_site, is_usual};
use rome_core::database::{Database, Queryable};
use rome_core::{Result, SqlState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Hosts that a site may have.
const HOSTS: i64 = 6;
/// Rows that a task has at a time, about.
const ROWS: usize = 30;
const OWNERS: i64 = 10;

/// A row as its task knows it: site, host, owner.
type Machine = (&'static str, i64, i64);

/// What tasks were told.
#[derive(Debug, Default)]
pub struct Known {
    rows: BTreeMap<i64, Machine>,
    /// Nobody knows what became of these.
    doubtful: BTreeSet<i64>,
    changes: usize,
}

/// Creates the tables.
pub async fn open(db: &dyn Database) {
    for statement in [
        "CREATE TABLE host (site text, id bigint, name text NOT NULL, PRIMARY KEY (site, id), UNIQUE (site, name)) \
         WITH (placement = 'by_site(site)')",
        "CREATE TABLE vm (site text, id bigint, host bigint NOT NULL, owner bigint NOT NULL, PRIMARY KEY (site, id), \
         FOREIGN KEY (site, host) REFERENCES host (site, id)) WITH (placement = 'by_site(site)')",
        "CREATE INDEX vm_owner ON vm (owner)",
    ] {
        db.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Works on rows of its own, numbered from `first`, until it is time to stop.
///
/// # Panics
/// Where a row is not as it was told.
pub async fn work(db: Arc<dyn Database>, near: &'static str, first: i64, stop: Stop) -> Known {
    let mut known = Known::default();
    let mut next = first;
    while !stop.is_now() {
        hosts(db.as_ref(), draw_site(near)).await;
        let picked = known.rows.iter().nth(rand::random_range(0..ROWS)).map(|(id, machine)| (*id, *machine));
        match picked {
            None => {
                insert(db.as_ref(), &mut known, next, near).await;
                next += 1;
            }
            Some((id, machine)) => change(db.as_ref(), &mut known, id, machine).await,
        }
        breathe().await;
    }
    known
}

/// Adds a host or removes one, if nothing refers to it.
async fn hosts(db: &dyn Database, site: &'static str) {
    let id = rand::random_range(0..HOSTS);
    let (result, expected) = if rand::random_bool(0.7) {
        let values = [site.into(), id.into(), format!("h{id}").into()];
        (db.execute(("INSERT INTO host VALUES ($1, $2, $3)", values)).await, SqlState::UNIQUE_VIOLATION)
    } else {
        let delete = ("DELETE FROM host WHERE site = $1 AND id = $2", [site.into(), id.into()]);
        (db.execute(delete).await, SqlState::FOREIGN_KEY_VIOLATION)
    };
    if let Err(error) = result {
        assert!(error.state() == expected || error.is_undetermined() || is_usual(&error), "{error}");
    }
}

async fn insert(db: &dyn Database, known: &mut Known, id: i64, near: &'static str) {
    let machine @ (site, host, owner) = (draw_site(near), rand::random_range(0..HOSTS), rand::random_range(0..OWNERS));
    let values = [site.into(), id.into(), host.into(), owner.into()];
    let inserted = db.execute(("INSERT INTO vm VALUES ($1, $2, $3, $4)", values)).await;
    known.learn(id, None, inserted, Some(machine));
}

async fn change(db: &dyn Database, known: &mut Known, id: i64, machine: Machine) {
    let (site, host, owner) = machine;
    let (result, becomes) = match rand::random_range(0..10) {
        0..5 => {
            let owner = rand::random_range(0..OWNERS);
            let update = "UPDATE vm SET owner = $3 WHERE site = $1 AND id = $2";
            (db.execute((update, [site.into(), id.into(), owner.into()])).await, Some((site, host, owner)))
        }
        5..8 => {
            let (there, host) = (any_site(), rand::random_range(0..HOSTS));
            let update = "UPDATE vm SET site = $3, host = $4 WHERE site = $1 AND id = $2";
            let values = [site.into(), id.into(), there.into(), host.into()];
            (db.execute((update, values)).await, Some((there, host, owner)))
        }
        _ => {
            let delete = "DELETE FROM vm WHERE site = $1 AND id = $2";
            (db.execute((delete, [site.into(), id.into()])).await, None)
        }
    };
    known.learn(id, Some(machine), result, becomes);
}

impl Known {
    fn learn(&mut self, id: i64, was: Option<Machine>, result: Result<u64>, becomes: Option<Machine>) {
        let failed_as_it_may =
            result.as_ref().is_err_and(|error| error.state() == SqlState::FOREIGN_KEY_VIOLATION && becomes.is_some());
        let now = match if failed_as_it_may { Told::Failed } else { Told::by(&result) } {
            Told::Done => {
                assert_eq!(result.unwrap(), 1, "row {id} was {was:?} and could not be found");
                self.changes += 1;
                becomes
            }
            Told::Failed => was,
            Told::Unknown => {
                self.doubtful.insert(id);
                None
            }
        };
        match now {
            Some(machine) => self.rows.insert(id, machine),
            None => self.rows.remove(&id),
        };
    }
}

/// Checks that every row is as its task was told, refers to a host and is found by its index.
///
/// # Panics
/// Where it is not.
pub async fn inspect(db: &dyn Database, known: Vec<Known>) {
    let changes: usize = known.iter().map(|known| known.changes).sum();
    let doubtful: BTreeSet<i64> = known.iter().flat_map(|known| known.doubtful.iter().copied()).collect();
    let expected: BTreeMap<i64, Machine> = known.into_iter().flat_map(|known| known.rows).collect();
    println!("machines: {changes} changes done, {} of unknown outcome, {} rows", doubtful.len(), expected.len());
    let rows: Vec<(String, i64, i64, i64)> = db.query_as("SELECT site, id, host, owner FROM vm").await.unwrap();
    let mut found = BTreeMap::new();
    for (site, id, host, owner) in &rows {
        let twice = found.insert(*id, (site.as_str(), *host, *owner));
        assert!(twice.is_none(), "row {id} is at {site} and at {twice:?}");
    }
    for (id, machine) in &expected {
        assert_eq!(found.get(id), Some(machine), "row {id} is not as it was left");
    }
    let stray: Vec<_> = found.keys().filter(|id| !expected.contains_key(id) && !doubtful.contains(id)).collect();
    assert!(stray.is_empty(), "rows that were deleted, or never made: {stray:?}");
    let orphans =
        "SELECT count(*) FROM vm LEFT JOIN host ON host.site = vm.site AND host.id = vm.host WHERE host.id IS NULL";
    assert_eq!(db.query_one::<i64, _>(orphans).await.unwrap(), 0, "rows without a host");
    for owner in 0..OWNERS {
        let by_index: Vec<(i64,)> = db.query_as(("SELECT id FROM vm WHERE owner = $1", [owner.into()])).await.unwrap();
        let by_index: BTreeSet<i64> = by_index.into_iter().map(|row| row.0).collect();
        let scanned: BTreeSet<i64> = rows.iter().filter(|row| row.3 == owner).map(|row| row.1).collect();
        assert_eq!(by_index, scanned, "of owner {owner} the index knows other rows");
    }
}
