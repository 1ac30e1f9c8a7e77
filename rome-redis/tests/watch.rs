//! Watching: order, no gaps, compaction at exactly the right cursor, and what happens when connections or data are lost.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use redis::Cmd;
use redis::streams::StreamRangeReply;
use rome_core::store::{Change, Commit, CommitOutcome, HomeId, Store, StoreError, Version, WatchStream, Write};
use rome_redis::{RedisOptions, RedisStore};
use std::time::Duration;
use support::{Place, Server, raw};

fn home() -> HomeId {
    HomeId::new("h")
}

fn stream() -> Bytes {
    Bytes::from_static(b"servers")
}

async fn change(store: &RedisStore, stream: Bytes, payload: String) -> Version {
    let changes = vec![Change { stream, payload: payload.into() }];
    match store.commit(&home(), Commit { changes, ..Commit::default() }).await.unwrap() {
        CommitOutcome::Committed { version } => version,
        outcome => panic!("{outcome:?}"),
    }
}

async fn next(watch: &mut WatchStream) -> Result<(Version, String), StoreError> {
    let event = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("an event in time");
    event.expect("an event").map(|event| (event.version, String::from_utf8(event.payload.to_vec()).unwrap()))
}

#[tokio::test]
async fn watches_share_a_connection_and_see_their_stream_in_order() {
    let server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let watch = async |stream, after| store.watch(&home(), stream, after).await;
    change(&store, stream(), "early".into()).await;
    let from_start = join_all((0..20).map(|_| watch(stream(), Some(0)))).await;
    let from_now = join_all((0..20).map(|_| watch(stream(), None))).await;
    let other = Bytes::from_static(b"other");
    let others = join_all((0..20).map(|_| watch(other.clone(), Some(0)))).await;
    let mut expected = Vec::new();
    for i in 0..50 {
        expected.push((change(&store, stream(), format!("{i}")).await, format!("{i}")));
        change(&store, other.clone(), format!("other {i}")).await;
        let writes = vec![Write::Put(Bytes::from_static(b"\0\0\0\x01k"), Bytes::new())];
        store.commit(&home(), Commit { writes, ..Commit::default() }).await.unwrap();
    }
    for watch in from_start {
        let mut watch = watch.unwrap();
        assert_eq!(next(&mut watch).await.unwrap(), (1, "early".to_owned()));
        for event in &expected {
            assert_eq!(&next(&mut watch).await.unwrap(), event);
        }
    }
    let mut kept = Vec::new();
    for watch in from_now {
        let mut watch = watch.unwrap();
        for event in &expected {
            assert_eq!(&next(&mut watch).await.unwrap(), event);
        }
        kept.push(watch);
    }
    for watch in others {
        assert_eq!(next(&mut watch.unwrap()).await.unwrap().1, "other 0");
    }
    // Live events, which come over the shared connection.
    let (waiting, version) = tokio::join!(join_all(kept.iter_mut().map(next)), change(&store, stream(), "live".into()));
    for event in waiting {
        assert_eq!(event.unwrap(), (version, "live".to_owned()));
    }
    let mut raw = raw(&server.url()).await;
    let clients: String = Cmd::new().arg("CLIENT").arg("LIST").query_async(&mut raw).await.unwrap();
    assert_eq!(clients.lines().count(), 3, "calls, watches, and this one:\n{clients}");
}

#[tokio::test]
async fn a_cursor_is_compacted_exactly_where_an_event_above_it_is_gone() {
    let place = Place::new().await;
    let options = RedisOptions { stream_len: 10, ..RedisOptions::default() };
    let store = RedisStore::connect_with(&place.url(), options).await.unwrap();
    let other = Bytes::from_static(b"other");
    // Every second commit is another stream's, so that there are versions between events.
    for i in 0..400 {
        change(&store, if i % 2 == 0 { stream() } else { other.clone() }, format!("{i}")).await;
    }
    let key = place.key("h", "cservers");
    let mut raw = place.raw().await;
    let kept: StreamRangeReply =
        Cmd::new().arg("XRANGE").arg(key).arg("-").arg("+").query_async(&mut raw).await.unwrap();
    let first: Version = kept.ids[0].id.strip_suffix("-0").unwrap().parse().unwrap();
    assert!(first > 3, "nothing was trimmed");
    for cursor in [first - 2, first - 1, first] {
        let mut watch = store.watch(&home(), stream(), Some(cursor)).await.unwrap();
        let expected = if cursor < first { first } else { first + 2 };
        assert_eq!(next(&mut watch).await.unwrap().0, expected);
    }
    for cursor in [0, first - 3] {
        let mut watch = store.watch(&home(), stream(), Some(cursor)).await.unwrap();
        assert!(matches!(next(&mut watch).await, Err(StoreError::Compacted)));
        assert!(watch.next().await.is_none());
    }
}

#[tokio::test]
async fn a_watch_survives_its_connections_without_a_gap() {
    const EVENTS: u64 = 1000;
    let server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let watch = store.watch(&home(), stream(), None).await.unwrap();
    let writer = async {
        let mut raw = raw(&server.url()).await;
        let direct = RedisStore::connect(&server.url()).await.unwrap();
        for i in 1..=EVENTS {
            if i % 50 == 0 {
                let mut kill = Cmd::new();
                kill.arg("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
                let _: u64 = kill.query_async(&mut raw).await.unwrap();
            }
            let ticket = Some(rome_core::store::LaneTicket { client: 1, lane: 1, sequence: i });
            let changes = vec![Change { stream: stream(), payload: i.to_string().into() }];
            direct.commit(&home(), Commit { changes, ticket, ..Commit::default() }).await.unwrap();
        }
    };
    let reader = async {
        let events: Vec<_> = watch.take(usize::try_from(EVENTS).unwrap()).map(Result::unwrap).collect().await;
        assert!(events.iter().zip(1..).all(|(event, i)| event.version == i && event.payload == i.to_string()));
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(writer, reader) }).await.unwrap();
}

#[tokio::test]
async fn a_slow_watcher_misses_nothing_that_is_kept() {
    let place = Place::new().await;
    let store = place.store().await;
    let mut watch = store.watch(&home(), stream(), None).await.unwrap();
    let first = change(&store, stream(), "0".into()).await;
    assert_eq!(next(&mut watch).await.unwrap().0, first);
    let rest = change(&store, stream(), "1".into());
    let (event, version) = tokio::join!(next(&mut watch), rest);
    assert_eq!(event.unwrap().0, version);
    // More than the channel holds.
    join_all((0..2000).map(|i| change(&store, stream(), i.to_string()))).await;
    for i in 1..=2000 {
        assert_eq!(next(&mut watch).await.unwrap().0, version + i);
    }
}

#[tokio::test]
async fn lost_data_ends_a_watch() {
    let mut server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut watch = store.watch(&home(), stream(), None).await.unwrap();
    let (event, _) = tokio::join!(next(&mut watch), change(&store, stream(), "lost".into()));
    event.unwrap();
    server.kill();
    server.restart().await;
    assert!(matches!(next(&mut watch).await, Err(StoreError::Compacted)));
}
