//! Redis Cluster: homes spread over its nodes, slots that move under load, and nodes that die.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use futures::StreamExt;
use redis::Cmd;
use rome_core::store::{Durability, HomeId, ReadRequest, Store, StoreError, WatchEvent};
use rome_redis::RedisStore;
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use support::cluster::Cluster;
use support::hosted::Hosted;
use support::load::{Load, STREAM, counter, read};
use support::{hasty, raw};

/// The slot of a home, as a server says.
async fn slot(cluster: &Cluster, home: &HomeId) -> u16 {
    let mut ask = Cmd::new();
    ask.arg("CLUSTER").arg("KEYSLOT").arg(format!("{{rome/{home}}}:d"));
    ask.query_async(&mut raw(&cluster.masters[0].url()).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn homes_spread_over_the_nodes() {
    let cluster = Cluster::start(false, &[]).await;
    let store = RedisStore::connect(&cluster.url()).await.unwrap();
    let homes: Vec<_> = (0..24).map(|i| HomeId::new(&format!("h{i}"))).collect();
    let load = Load::default();
    let end = async {
        load.progress(500).await;
        load.stop();
    };
    tokio::join!(load.run(&store, &homes, 1), end);
    let mut owners = HashSet::new();
    for home in &homes {
        let owner = Cluster::owner(slot(&cluster, home).await);
        let mut raw = raw(&cluster.masters[owner].url()).await;
        let mut exists = Cmd::new();
        exists.arg("EXISTS").arg(format!("{{rome/{home}}}:d"));
        assert_eq!(exists.query_async::<u32>(&mut raw).await.unwrap(), 1, "{home}");
        owners.insert(owner);
    }
    assert_eq!(owners.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moving_slot_loses_and_tears_nothing() {
    let cluster = Cluster::start(false, &[]).await;
    let store = RedisStore::connect(&cluster.url()).await.unwrap();
    let (moving, other) = (HomeId::new("moving"), HomeId::new("other"));
    let slot = slot(&cluster, &moving).await;
    let owner = Cluster::owner(slot);
    let load = Load::default();
    let mut watch = store.watch(&moving, STREAM, Some(0)).await.unwrap();
    let moves = async {
        load.progress(200).await;
        for (from, to) in [(owner, (owner + 1) % 3), ((owner + 1) % 3, (owner + 2) % 3), ((owner + 2) % 3, owner)] {
            cluster.reshard(slot, from, to, Duration::from_millis(50)).await;
            load.progress(200).await;
        }
        load.stop();
    };
    let watching = async {
        let mut cursor = 0;
        // All events without a gap, or an error that says so.
        while let Ok(event) = tokio::time::timeout(Duration::from_secs(8), watch.next()).await {
            match event {
                Some(Ok(WatchEvent { version, .. })) => {
                    assert_eq!(version, cursor + 1, "every commit of this home has an event");
                    cursor = version;
                }
                Some(Err(StoreError::Compacted)) => watch = store.watch(&moving, STREAM, Some(cursor)).await.unwrap(),
                other => panic!("{other:?}"),
            }
        }
        cursor
    };
    let homes = [moving.clone(), other];
    let (_, (), seen) = tokio::join!(load.run(&store, &homes, 4), moves, watching);
    assert_eq!(seen, read(&store, &moving, counter()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_loses_no_acknowledged_commit() {
    let mut cluster = Cluster::start(true, &[]).await;
    let url = format!("{}?durability=replicated(1)", cluster.url_of_all());
    let store = RedisStore::connect_with(&url, hasty()).await.unwrap();
    assert_eq!(store.capabilities().durability, Durability::Replicated(1));
    let homes: Vec<_> = (0..4).map(|i| HomeId::new(&format!("h{i}"))).collect();
    let owner = Cluster::owner(slot(&cluster, &homes[0]).await);
    let load = Load::default();
    let fault = async {
        load.progress(400).await;
        cluster.masters[owner].kill();
        cluster.replicas[owner].until("role:master").await;
        // Comes back as the replica that the tier needs.
        cluster.masters[owner].restart().await;
        cluster.masters[owner].until("role:slave").await;
        cluster.masters[owner].until("master_link_status:up").await;
        load.progress(400).await;
        load.stop();
    };
    tokio::join!(load.run(&store, &homes, 2), fault);
}

#[tokio::test]
async fn a_cluster_without_a_part_says_so_for_that_part_only() {
    let mut cluster = Cluster::start(false, &["--cluster-require-full-coverage", "no"]).await;
    let store = RedisStore::connect_with(&cluster.url(), hasty()).await.unwrap();
    let mut homes = (0..).map(|i| HomeId::new(&format!("h{i}")));
    let mut find = async |owner| loop {
        let home = homes.next().unwrap();
        if Cluster::owner(slot(&cluster, &home).await) == owner {
            return home;
        }
    };
    let (here, there) = (find(0).await, find(2).await);
    assert_eq!((read(&store, &here, counter()).await, read(&store, &there, counter()).await), (0, 0));
    cluster.masters[2].kill();
    let error = store.read(&there, ReadRequest::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(read(&store, &here, counter()).await, 0);
}

/// The cluster of the conformance suite, shared by the cases that run at the same time; each has a namespace of its own.
static SHARED: tokio::sync::Mutex<Weak<Cluster>> = tokio::sync::Mutex::const_new(Weak::new());

async fn store() -> Arc<dyn Store> {
    let mut shared = SHARED.lock().await;
    let cluster = match shared.upgrade() {
        Some(cluster) => cluster,
        None => Arc::new(Cluster::start(false, &[]).await),
    };
    *shared = Arc::downgrade(&cluster);
    let url = format!("{}?namespace=test-{:x}", cluster.url(), rand::random::<u64>());
    Arc::new(Hosted { store: RedisStore::connect(&url).await.unwrap(), servers: cluster })
}

mod conformance {
    rome_core::conformance_tests!(super::store);
}
