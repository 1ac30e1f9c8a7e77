//! The tier `replicated(n)`: what was acknowledged is on the replicas, and what can't be confirmed is never called done.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::future::join_all;
use redis::Cmd;
use rome_core::store::{
    Commit, CommitOutcome, Durability, Guard, HomeId, LaneTicket, Read, ReadOutcome, ReadRequest, Store, StoreError,
    Write,
};
use rome_redis::{RedisOptions, RedisStore};
use std::time::Duration;
use support::{Server, kill_connections, raw};

fn home() -> HomeId {
    HomeId::new("h")
}

fn counter() -> Bytes {
    Bytes::from_static(b"\0\0\0\x01n")
}

/// Adds one to the counter.
fn increment(ticket: Option<(u128, u64)>) -> Commit {
    let writes = vec![Write::Add { key: counter(), delta: 1, min: 0, max: i64::MAX }];
    let ticket = ticket.map(|(client, sequence)| LaneTicket { client, lane: 0, sequence });
    Commit { writes, ticket, ..Commit::default() }
}

async fn count(store: &RedisStore) -> u64 {
    let request = ReadRequest { reads: vec![Read::Point(counter())], ..ReadRequest::default() };
    let ReadOutcome::Answer(response) = store.read(&home(), request).await.unwrap() else { panic!("a conflict") };
    response.results[0].entries.first().map_or(0, |e| std::str::from_utf8(&e.value).unwrap().parse().unwrap())
}

/// What a replica has of the counter.
async fn count_at(replica: &Server) -> u64 {
    let mut raw = raw(&replica.url()).await;
    let stored: Option<Vec<u8>> =
        Cmd::new().arg("HGET").arg("{rome/h}:d").arg(&counter()[..]).query_async(&mut raw).await.unwrap();
    stored.map_or(0, |stored| std::str::from_utf8(&stored[8..]).unwrap().parse().unwrap())
}

async fn connect(server: &Server, replicas: u32) -> RedisStore {
    let options = RedisOptions {
        call_timeout: Duration::from_millis(1500),
        attempt_timeout: Duration::from_millis(500),
        ..RedisOptions::default()
    };
    let url = format!("{}?durability=replicated({replicas})", server.url());
    RedisStore::connect_with(&url, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_on_the_replicas() {
    let server = Server::start(&[]).await;
    let replicas = [server.start_replica(&[]).await, server.start_replica(&[]).await];
    let store = connect(&server, 2).await;
    assert_eq!(store.capabilities().durability, Durability::Replicated(2));
    for i in 1..=20 {
        store.commit(&home(), increment(None)).await.unwrap();
        for replica in &replicas {
            assert_eq!(count_at(replica).await, i);
        }
    }
    let worker = async |client| {
        for sequence in 1..=50 {
            store.commit(&home(), increment(Some((client, sequence)))).await.unwrap();
        }
    };
    join_all((0..16).map(worker)).await;
    for replica in &replicas {
        assert_eq!(count_at(replica).await, 20 + 16 * 50);
    }
    let conflict = Commit { guards: vec![Guard::Absent(counter())], ..increment(None) };
    assert_eq!(store.commit(&home(), conflict).await.unwrap(), CommitOutcome::Conflict { guard: 0 });
}

#[tokio::test]
async fn what_no_replica_confirms_is_undetermined_until_one_does() {
    let server = Server::start(&[]).await;
    let replica = server.start_replica(&[]).await;
    let store = connect(&server, 1).await;
    store.commit(&home(), increment(None)).await.unwrap();
    replica.freeze(true);
    // Whether the connection wrote it or found it done: nobody confirms it.
    for _ in 0..2 {
        let error = store.commit(&home(), increment(Some((1, 1)))).await.unwrap_err();
        assert!(matches!(&error, StoreError::Undetermined { reason, .. } if reason.contains("replicas")), "{error:?}");
    }
    let error = store.commit(&home(), increment(None)).await.unwrap_err();
    assert!(matches!(error, StoreError::Undetermined { .. }), "{error:?}");
    let other = connect(&server, 1).await;
    let error = other.commit(&home(), increment(Some((1, 1)))).await.unwrap_err();
    assert!(matches!(error, StoreError::Undetermined { .. }), "{error:?}");
    assert_eq!(count(&store).await, 3, "reads go on");
    replica.freeze(false);
    let outcome = store.commit(&home(), increment(Some((1, 1)))).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed { version: 2 });
    assert_eq!((count(&store).await, count_at(&replica).await), (3, 3));
}

#[tokio::test]
async fn without_enough_replicas_nothing_is_written() {
    let server = Server::start(&[]).await;
    let replica = server.start_replica(&[]).await;
    let store = connect(&server, 2).await;
    for ticket in [None, Some((1, 1))] {
        let error = store.commit(&home(), increment(ticket)).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("1 of 2")), "{error:?}");
    }
    assert_eq!(count(&store).await, 0);
    let _second = server.start_replica(&[]).await;
    store.commit(&home(), increment(Some((1, 1)))).await.unwrap();
    assert_eq!((count(&store).await, count_at(&replica).await), (1, 1));
}

#[tokio::test]
async fn killed_connections_lose_and_repeat_no_commit() {
    let server = Server::start(&[]).await;
    let replica = server.start_replica(&[]).await;
    let store = connect(&server, 1).await;
    let worker = async |client| {
        for sequence in 1..=100 {
            store.commit(&home(), increment(Some((client, sequence)))).await.unwrap();
        }
    };
    let killer = kill_connections(&server, Duration::from_millis(10));
    tokio::join!(join_all((0..8).map(worker)), killer);
    assert_eq!((count(&store).await, count_at(&replica).await), (800, 800));
}
