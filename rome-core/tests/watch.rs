//! Watching queries over several sites, each an in-memory store of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use futures::StreamExt;
use rome_core::database::{
    Database, DatabaseExt, FixedSites, IntoStatement, Options, Queryable, RomeDatabase, RowChange, Watch, WatchItem,
};
use rome_core::store::{MemoryStore, Store};
use rome_core::{Error, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NAMES: [&str; 3] = ["pisa", "rome", "turin"];

struct World(Arc<FixedSites>);

impl World {
    fn new() -> Self {
        let store = |name: &&str| ((*name).to_owned(), Arc::new(MemoryStore::new()) as Arc<dyn Store>);
        Self(Arc::new(FixedSites::new(NAMES.iter().map(store))))
    }

    async fn client(&self, local: &str) -> RomeDatabase {
        RomeDatabase::open_sites(local, Arc::clone(&self.0) as _, Options::default()).await.unwrap()
    }
}

async fn next(watch: &mut Watch) -> WatchItem {
    let item = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("something is told in time");
    item.expect("a watch does not end").unwrap()
}

/// The watched rows, changed as a watch tells.
#[derive(Default)]
struct Copy {
    rows: BTreeMap<Name, Vec<Value>>,
}

/// A row by its first column.
type Name = String;

fn name(values: &[Value]) -> String {
    format!("{:?}", values[0])
}

impl Copy {
    fn apply(&mut self, item: &WatchItem) {
        match item {
            WatchItem::Reset => self.rows.clear(),
            WatchItem::Rows(rows) => {
                self.rows.extend(rows.iter().map(|row| (name(row.values()), row.values().to_vec())));
            }
            WatchItem::Changes { changes, .. } => {
                for change in changes {
                    match change {
                        // A row that moves may be here already, or still.
                        RowChange::Inserted(row) | RowChange::Updated { new: row, .. } => {
                            self.rows.insert(name(row.values()), row.values().to_vec());
                        }
                        RowChange::Deleted(row) => {
                            if self.rows.get(&name(row.values())).is_some_and(|held| held == row.values()) {
                                self.rows.remove(&name(row.values()));
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

/// Watches from one site what transactions over several sites change, rows that move among them; in the end nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_site_is_heard() {
    let world = World::new();
    let (pisa, turin) = (world.client("pisa").await, world.client("turin").await);
    pisa.execute(
        "CREATE TABLE account (id bigint PRIMARY KEY, site text, balance bigint NOT NULL) WITH (placement = 'by_site(site)')",
    )
    .await
    .unwrap();
    for id in 0..9_i64 {
        let site = NAMES[usize::try_from(id).unwrap() % 3];
        pisa.execute(("INSERT INTO account VALUES ($1, $2, 100)", [id.into(), site.into()])).await.unwrap();
    }
    let query = "SELECT id, balance, site FROM account WHERE id <> 1000 ORDER BY id";
    let mut watch = turin.watch(query.into_statement(), None).await.unwrap();
    let transfers = async {
        let clerks = (0..4_i64).map(|clerk| {
            let db = if clerk % 2 == 0 { &pisa } else { &turin };
            async move {
                for step in 0..12_i64 {
                    let (from, to) = ((clerk + step) % 9, (clerk * 3 + step * 2 + 1) % 9);
                    db.transaction(move |tx| {
                        Box::pin(async move {
                            let minus = "UPDATE account SET balance = balance - 1 WHERE id = $1";
                            tx.execute((minus, [from.into()])).await?;
                            let plus = "UPDATE account SET balance = balance + 1 WHERE id = $1";
                            tx.execute((plus, [to.into()])).await?;
                            if step % 4 == 0 {
                                let site = NAMES[usize::try_from(step + clerk).unwrap() % 3];
                                let moved = "UPDATE account SET site = $2 WHERE id = $1";
                                tx.execute((moved, [from.into(), site.into()])).await?;
                            }
                            Ok::<_, Error>(())
                        })
                    })
                    .await
                    .unwrap();
                }
            }
        });
        futures::future::join_all(clerks).await;
        // The last words of each site.
        for (at, site) in NAMES.iter().enumerate() {
            let id = 100 + i64::try_from(at).unwrap();
            pisa.execute(("INSERT INTO account VALUES ($1, $2, 0)", [id.into(), (*site).into()])).await.unwrap();
        }
    };
    let copied = async {
        let mut copy = Copy::default();
        while copy.rows.len() < 12 {
            copy.apply(&next(&mut watch).await);
        }
        copy
    };
    let ((), copy) = tokio::join!(transfers, copied);
    let rows = pisa.query(query).await.unwrap();
    let rows: BTreeMap<String, Vec<Value>> =
        rows.iter().map(|row| (name(row.values()), row.values().to_vec())).collect();
    assert_eq!(copy.rows, rows);
}

/// Who watches rows of one site hears of nothing else; and a site that joins makes the watch begin again, with its rows from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_that_join_are_heard() {
    let stores: Vec<(String, Arc<dyn Store>)> =
        NAMES.iter().map(|name| ((*name).to_owned(), Arc::new(MemoryStore::new()) as Arc<dyn Store>)).collect();
    let two = Arc::new(FixedSites::new(stores[..2].to_vec()));
    drop(RomeDatabase::open_sites("pisa", two, Options::default()).await.unwrap());
    let all = || Arc::new(FixedSites::new(stores.clone()));
    let pisa = RomeDatabase::open_sites("pisa", all(), Options::default()).await.unwrap();
    pisa.execute(
        "CREATE TABLE host (id bigint PRIMARY KEY, site text) WITH (placement = 'by_site(site)', changes = true)",
    )
    .await
    .unwrap();
    pisa.execute("INSERT INTO host VALUES (1, 'pisa'), (2, 'rome')").await.unwrap();
    let mut watch = pisa.watch("SELECT id FROM host".into_statement(), None).await.unwrap();
    assert!(matches!(next(&mut watch).await, WatchItem::Rows(rows) if rows.len() == 2));
    assert!(matches!(next(&mut watch).await, WatchItem::Current(_)));
    let rome = RomeDatabase::open_sites("rome", all(), Options::default()).await.unwrap();
    rome.add_site("turin").await.unwrap();
    assert!(matches!(next(&mut watch).await, WatchItem::Reset));
    assert!(matches!(next(&mut watch).await, WatchItem::Rows(rows) if rows.len() == 2));
    assert!(matches!(next(&mut watch).await, WatchItem::Current(_)));
    rome.execute("INSERT INTO host VALUES (3, 'turin')").await.unwrap();
    match next(&mut watch).await {
        WatchItem::Changes { changes, .. } => {
            assert!(matches!(changes.as_slice(), [RowChange::Inserted(row)] if row.values() == [Value::Int(3)]));
        }
        other => panic!("{other:?}"),
    }
}
