//! Epochs: after a failover that lost acknowledged commits, or a restore, versions are issued again for other contents. What was read
//! before must not be taken for what is there now.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::StreamExt;
use redis::Cmd;
use rome_core::store::{
    Change, Commit, CommitOutcome, Epoch, Guard, HomeId, KeyRange, LaneTicket, Read, ReadOutcome, ReadRequest,
    ReadResponse, Store, StoreError, Version, Write,
};
use rome_redis::RedisStore;
use std::time::{Duration, Instant};
use support::cluster::Cluster;
use support::sentinel::Watched;
use support::{Server, raw};

fn home() -> HomeId {
    HomeId::new("h")
}

fn key(name: &str) -> Bytes {
    [b"\0\0\0\x01", name.as_bytes()].concat().into()
}

fn put(name: &str, value: &str) -> Commit {
    let changes = vec![Change { stream: Bytes::from_static(b"s"), payload: value.to_owned().into() }];
    Commit { writes: vec![Write::Put(key(name), value.to_owned().into())], changes, ..Commit::default() }
}

async fn version(store: &RedisStore, commit: Commit) -> Version {
    match store.commit(&home(), commit).await.unwrap() {
        CommitOutcome::Committed { version } => version,
        outcome => panic!("{outcome:?}"),
    }
}

fn point(name: &str) -> ReadRequest {
    ReadRequest { reads: vec![Read::Point(key(name))], ..ReadRequest::default() }
}

async fn read(store: &RedisStore, request: ReadRequest) -> ReadResponse {
    match store.read(&home(), request).await.unwrap() {
        ReadOutcome::Answer(response) => response,
        conflict => panic!("{conflict:?}"),
    }
}

async fn value(store: &RedisStore, name: &str) -> (Option<String>, Epoch) {
    let response = read(store, point(name)).await;
    let entry = response.results[0].entries.first();
    (entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap()), response.epoch)
}

/// A commit that relies on the key `a` at a version in an epoch.
fn relying(version: Version, epoch: Option<Epoch>) -> Commit {
    Commit { guards: vec![Guard::Version { key: key("a"), version }], epoch, ..put("b", "stale") }
}

/// What relies on `old` is refused, though the versions fit, and what relies on the epoch as it is now is not.
async fn only_the_new_epoch_counts(store: &RedisStore, old: Epoch, version: Version) {
    let refused = store.commit(&home(), relying(version, Some(old))).await;
    assert!(matches!(refused, Err(StoreError::EpochChanged)), "{refused:?}");
    let whole = Read::Range { range: KeyRange::prefix(&key("")), limit: None, reverse: false };
    for reads in [vec![Read::Point(key("a"))], vec![whole]] {
        let guards = vec![Guard::Version { key: key("a"), version }];
        for guards in [Vec::new(), guards] {
            let request = ReadRequest { reads: reads.clone(), guards, epoch: Some(old), ..ReadRequest::default() };
            let refused = store.read(&home(), request).await;
            assert!(matches!(refused, Err(StoreError::EpochChanged)), "{refused:?}");
        }
    }
    let (stale, now) = value(store, "b").await;
    assert!(stale.is_none() && now != old);
    let accepted = store.commit(&home(), relying(version, Some(now))).await.unwrap();
    assert_eq!(accepted, CommitOutcome::Committed { version: version + 1 });
    assert_eq!(value(store, "b").await.1, now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_loses_commits_begins_an_epoch() {
    let mut watched = Watched::start(1).await;
    let store = RedisStore::connect(&watched.url("durability=async")).await.unwrap();
    let lane = |sequence| Some(LaneTicket { client: 1, lane: 1, sequence });
    let (none, old) = value(&store, "a").await;
    assert!(none.is_none());
    let kept = Commit { ticket: lane(1), epoch: Some(old), ..put("a", "kept") };
    assert_eq!(version(&store, kept.clone()).await, 1);
    watched.servers[0].until_replicated().await;
    let mut watch = store.watch(&home(), Bytes::from_static(b"s"), Some(0)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().version, 1);

    // Whoever is connected stays so; the replica, once cut off, is not let in again.
    let mut primary = raw(&watched.servers[0].url()).await;
    let mut cut = redis::pipe();
    cut.cmd("CONFIG").arg("SET").arg("requirepass").arg("x").ignore();
    cut.cmd("CLIENT").arg("KILL").arg("TYPE").arg("replica");
    let (killed,): (u32,) = cut.query_async(&mut primary).await.unwrap();
    assert_eq!(killed, 1);
    let lost = Commit { ticket: lane(2), epoch: Some(old), ..put("a", "lost") };
    assert_eq!(version(&store, lost.clone()).await, 2);
    assert_eq!(value(&store, "a").await, (Some("lost".into()), old));
    assert_eq!(watch.next().await.unwrap().unwrap().version, 2);
    watched.servers[0].kill();
    watched.servers[1].until("role:master").await;

    let deadline = Instant::now() + Duration::from_secs(30);
    while store.read(&home(), point("a")).await.is_err() {
        assert!(Instant::now() < deadline, "the promoted replica is not found");
    }
    let (found, new) = value(&store, "a").await;
    assert_eq!(found.as_deref(), Some("kept"), "the test is about a lost commit");
    assert_ne!(new, old);
    // A resend of what survived finds its outcome; what was lost is refused for good.
    assert_eq!(version(&store, kept).await, 1);
    assert!(matches!(store.commit(&home(), lost).await, Err(StoreError::EpochChanged)));
    assert_eq!(version(&store, put("a", "other")).await, 2, "the lost commit's version, for another content");
    assert!(matches!(watch.next().await, Some(Err(StoreError::Compacted))));
    only_the_new_epoch_counts(&store, old, 2).await;
    // Without an epoch the guard is taken in: what all of this is about.
    let deceived = Commit { epoch: None, ..relying(2, None) };
    assert_eq!(store.commit(&home(), deceived).await.unwrap(), CommitOutcome::Committed { version: 4 });
}

#[tokio::test]
async fn a_restored_server_begins_an_epoch() {
    let mut server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    version(&store, put("a", "kept")).await;
    let mut raw = raw(&server.url()).await;
    let _: () = Cmd::new().arg("SAVE").query_async(&mut raw).await.unwrap();
    let (_, old) = value(&store, "a").await;
    assert_eq!(version(&store, put("a", "lost")).await, 2);
    server.kill();
    server.restart().await;
    assert_eq!(version(&store, put("a", "other")).await, 2);
    only_the_new_epoch_counts(&store, old, 2).await;
}

#[tokio::test]
async fn a_connection_from_another_epoch_learns_of_it() {
    let (server, other) = (Server::start(&[]).await, Server::start(&[]).await);
    let old_store = RedisStore::connect(&server.url()).await.unwrap();
    version(&old_store, put("a", "kept")).await;
    // The server becomes a replica and a primary again, which closes no connection.
    let mut raw = raw(&server.url()).await;
    let mut follow = Cmd::new();
    follow.arg("REPLICAOF").arg("127.0.0.1").arg(other.port());
    let (_, old) = value(&old_store, "a").await;
    let copied = RedisStore::connect(&other.url()).await.unwrap();
    version(&copied, put("a", "copied")).await;
    let _: () = follow.query_async(&mut raw).await.unwrap();
    server.until("master_link_status:up").await;
    let _: () = Cmd::new().arg("REPLICAOF").arg("NO").arg("ONE").query_async(&mut raw).await.unwrap();
    let new_store = RedisStore::connect(&server.url()).await.unwrap();
    assert_eq!(version(&new_store, put("a", "new")).await, 2);
    let (_, new) = value(&new_store, "a").await;
    assert_ne!(new, old);
    for request in [point("a"), ReadRequest { guards: vec![Guard::Present(key("a"))], ..point("a") }] {
        assert_eq!(read(&old_store, request).await.epoch, new);
    }
    only_the_new_epoch_counts(&old_store, old, 2).await;
    assert_eq!(value(&new_store, "b").await.1, new);
}

#[tokio::test]
async fn many_clients_agree_on_an_epoch() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(RedisStore::connect(&server.url()).await.unwrap());
    }
    version(&stores[0], put("a", "1")).await;
    let (_, old) = value(&stores[0], "a").await;
    server.kill();
    server.restart().await;
    let found = futures::future::join_all(stores.iter().map(|store| value(store, "a"))).await;
    assert!(found.iter().all(|(value, epoch)| value.as_deref() == Some("1") && *epoch == found[0].1));
    assert_ne!(found[0].1, old);
}

#[tokio::test]
async fn a_full_server_is_taken_over_and_read() {
    let arguments = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];
    let mut server = Server::start(&arguments).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    version(&store, put("a", &"x".repeat(100_000))).await;
    server.kill();
    let full = [&arguments[..], &["--maxmemory", "1mb"]].concat();
    server.set_arguments(&full);
    server.restart().await;
    assert_eq!(value(&store, "a").await.0.map(|value| value.len()), Some(100_000));
    assert!(matches!(store.commit(&home(), put("b", "")).await, Err(StoreError::Full(_))));
}

#[tokio::test]
async fn a_home_that_moves_between_nodes_and_back_begins_an_epoch_each_time() {
    let cluster = Cluster::start(false, &[]).await;
    let store = RedisStore::connect(&cluster.url()).await.unwrap();
    version(&store, put("a", "1")).await;
    let mut ask = Cmd::new();
    ask.arg("CLUSTER").arg("KEYSLOT").arg("{rome/h}:d");
    let slot: u16 = ask.query_async(&mut raw(&cluster.masters[0].url()).await).await.unwrap();
    let owner = Cluster::owner(slot);
    let mut epochs = vec![value(&store, "a").await.1];
    for (from, to) in [(owner, (owner + 1) % 3), ((owner + 1) % 3, owner)] {
        cluster.reshard(slot, from, to, Duration::ZERO).await;
        let (found, epoch) = value(&store, "a").await;
        assert_eq!(found.as_deref(), Some("1"));
        assert!(!epochs.contains(&epoch));
        epochs.push(epoch);
    }
    assert_eq!(value(&store, "a").await.1, epochs[2]);
}
