//! Lost replies, lost connections, servers that hang, die and come back, and callers that go away.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use rome_core::store::{
    Commit, CommitOutcome, HomeId, LaneTicket, Read, ReadOutcome, ReadRequest, Store, StoreError, Write,
};
use rome_redis::{RedisOptions, RedisStore};
use std::time::{Duration, Instant};
use support::proxy::{Mode, Proxy};
use support::{Server, kill_connections};

const COMMITTED: CommitOutcome = CommitOutcome::Committed { version: 1 };

fn home() -> HomeId {
    HomeId::new("h")
}

fn counter() -> Bytes {
    Bytes::from_static(b"\0\0\0\x01n")
}

/// Adds one to the counter.
fn increment(sequence: Option<u64>) -> Commit {
    let writes = vec![Write::Add { key: counter(), delta: 1, min: 0, max: i64::MAX }];
    let ticket = sequence.map(|sequence| LaneTicket { client: 1, lane: 0, sequence });
    Commit { writes, ticket, ..Commit::default() }
}

async fn count(store: &RedisStore) -> Result<u64, StoreError> {
    let request = ReadRequest { reads: vec![Read::Point(counter())], ..ReadRequest::default() };
    let ReadOutcome::Answer(response) = store.read(&home(), request).await? else {
        panic!("a conflict without guards")
    };
    Ok(response.results[0].entries.first().map_or(0, |e| std::str::from_utf8(&e.value).unwrap().parse().unwrap()))
}

/// Options with which tests of time-outs are short.
fn hasty() -> RedisOptions {
    RedisOptions {
        call_timeout: Duration::from_millis(600),
        attempt_timeout: Duration::from_millis(250),
        ..RedisOptions::default()
    }
}

async fn behind_proxy(server: &Server, options: RedisOptions) -> (Proxy, RedisStore) {
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect_with(&proxy.url(), options).await.unwrap();
    (proxy, store)
}

#[tokio::test]
async fn a_lost_reply_is_found_again_by_its_ticket() {
    let server = Server::start(&[]).await;
    let (proxy, store) = behind_proxy(&server, RedisOptions::default()).await;
    proxy.set(Mode::LoseReply);
    let commit = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&home(), increment(Some(1))).await }
    });
    proxy.reached(Mode::Refuse).await;
    proxy.set(Mode::Forward);
    assert_eq!(commit.await.unwrap().unwrap(), COMMITTED);
    assert_eq!(count(&store).await.unwrap(), 1);
}

#[tokio::test]
async fn a_lost_reply_without_ticket_is_undetermined() {
    let server = Server::start(&[]).await;
    let (proxy, store) = behind_proxy(&server, RedisOptions::default()).await;
    proxy.set(Mode::LoseReply);
    let error = store.commit(&home(), increment(None)).await.unwrap_err();
    assert!(matches!(error, StoreError::Undetermined { .. }), "{error:?}");
    proxy.set(Mode::Forward);
    assert_eq!(count(&store).await.unwrap(), 1);
}

#[tokio::test]
async fn what_stays_unresolved_is_undetermined_until_sent_again() {
    let server = Server::start(&[]).await;
    let (proxy, store) = behind_proxy(&server, hasty()).await;
    proxy.set(Mode::LoseReply);
    let error = store.commit(&home(), increment(Some(1))).await.unwrap_err();
    assert!(matches!(error, StoreError::Undetermined { .. }), "{error:?}");
    proxy.set(Mode::Forward);
    assert_eq!(store.commit(&home(), increment(Some(1))).await.unwrap(), COMMITTED);
    assert_eq!(count(&store).await.unwrap(), 1);
}

#[tokio::test]
async fn a_lane_that_moved_on_leaves_a_lost_reply_undetermined() {
    let server = Server::start(&[]).await;
    let (proxy, store) = behind_proxy(&server, RedisOptions::default()).await;
    proxy.set(Mode::LoseReply);
    let commit = tokio::spawn(async move { store.commit(&home(), increment(Some(1))).await });
    proxy.reached(Mode::Refuse).await;
    let direct = RedisStore::connect(&server.url()).await.unwrap();
    direct.commit(&home(), increment(Some(2))).await.unwrap();
    proxy.set(Mode::Forward);
    let error = commit.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Undetermined { .. }), "{error:?}");
    let error = direct.commit(&home(), increment(Some(1))).await.unwrap_err();
    assert!(matches!(error, StoreError::LaneClosed), "{error:?}");
}

#[tokio::test]
async fn a_late_original_changes_nothing() {
    let server = Server::start(&[]).await;
    let (proxy, store) = behind_proxy(&server, RedisOptions::default()).await;
    for late in [1, 2] {
        proxy.set(Mode::HoldRequest);
        store.commit(&home(), increment(Some(late))).await.unwrap();
        if late == 2 {
            store.commit(&home(), increment(Some(3))).await.unwrap();
        }
        let before = count(&store).await.unwrap();
        proxy.set(Mode::Hang);
        proxy.delayed(late).await;
        proxy.set(Mode::Forward);
        assert_eq!(count(&store).await.unwrap(), before);
    }
}

#[tokio::test]
async fn while_the_server_is_away_calls_fail_in_time_and_then_go_on() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let store = RedisStore::connect_with(&server.url(), hasty()).await.unwrap();
    assert_eq!(store.commit(&home(), increment(None)).await.unwrap(), COMMITTED);
    server.kill();
    for _ in 0..2 {
        let began = Instant::now();
        let error = count(&store).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(3));
        let StoreError::Unavailable { address, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*address, format!("127.0.0.1:{}", server.port()));
    }
    // The connection is known to be gone: nothing was sent.
    for sequence in [None, Some(1)] {
        let error = store.commit(&home(), increment(sequence)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    server.restart().await;
    assert_eq!(count(&store).await.unwrap(), 1);
    store.commit(&home(), increment(Some(1))).await.unwrap();
    assert_eq!(count(&store).await.unwrap(), 2);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time() {
    let server = Server::start(&[]).await;
    let (proxy, store) = behind_proxy(&server, hasty()).await;
    proxy.set(Mode::Hang);
    let began = Instant::now();
    let home = home();
    let (read, commit) = tokio::join!(count(&store), store.commit(&home, increment(None)));
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    assert!(matches!(commit, Err(StoreError::Undetermined { .. })), "{commit:?}");
    proxy.set(Mode::Forward);
    assert_eq!(count(&store).await.unwrap(), 0);
}

#[tokio::test]
async fn no_server_at_all_is_an_error_in_time() {
    let mut server = Server::start(&[]).await;
    server.kill();
    let began = Instant::now();
    let error = RedisStore::connect_with(&server.url(), hasty()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_server_without_tls_is_unavailable_to_a_client_with_it() {
    let server = Server::start(&[]).await;
    let url = server.url().replace("redis:", "rediss:");
    let error = RedisStore::connect_with(&url, hasty()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_promise_of_durability_is_kept_or_revoked_aloud() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    server.kill();
    server.set_arguments(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    server.restart().await;
    let error = store.commit(&home(), increment(Some(1))).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains("appendfsync")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_and_repeat_no_increment() {
    const WORKERS: u128 = 8;
    const COMMITS: u64 = 100;
    let server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let worker = async |client| {
        for sequence in 1..=COMMITS {
            let ticket = Some(LaneTicket { client, lane: 0, sequence });
            store.commit(&home(), Commit { ticket, ..increment(None) }).await.unwrap();
        }
    };
    let killer = kill_connections(&server, Duration::from_millis(5));
    tokio::join!(join_all((0..WORKERS).map(worker)), killer);
    assert_eq!(count(&store).await.unwrap(), u64::try_from(WORKERS).unwrap() * COMMITS);
}

#[tokio::test]
async fn callers_that_go_away_leave_the_connection_in_order() {
    let server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    for i in 0..500u64 {
        let key = |name: &str| Bytes::from(format!("\0\0\0\x02{name}"));
        let writes = vec![
            Write::Put(key("left"), Bytes::from(i.to_string())),
            Write::Put(key("right"), Bytes::from(i.to_string())),
        ];
        let commit = Commit { writes, ..Commit::default() };
        // Polled once, so that it may be sent, and dropped.
        let _ = store.commit(&home(), commit).now_or_never();
        let _ = count(&store).now_or_never();
        if i % 7 == 0 {
            tokio::task::yield_now().await;
        }
        let reads = vec![Read::Point(key("left")), Read::Point(key("right"))];
        let request = ReadRequest { reads, ..ReadRequest::default() };
        let ReadOutcome::Answer(response) = store.read(&home(), request).await.unwrap() else { panic!("a conflict") };
        assert_eq!(
            response.results[0].entries.first().map(|e| &e.value),
            response.results[1].entries.first().map(|e| &e.value)
        );
        assert!(response.results[0].entries.iter().all(|entry| entry.key == key("left")));
    }
    store.commit(&home(), increment(None)).await.unwrap();
    assert_eq!(count(&store).await.unwrap(), 1);
}
