//! A server that dies, a reply that is lost, a URL that is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::StreamExt;
use rome_core::store::{Change, Commit, CommitOutcome, Read, ReadRequest, Store, StoreError, Write};
use rome_etcd::{EtcdConfig, EtcdStore};
use rome_proxy::{Cut, Link};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::*;

/// Acknowledgements of windows and settings are shorter; an answer to a call has a header frame.
const SMALL_TALK_BYTES: usize = 60;

async fn point(store: &EtcdStore) -> Result<(), StoreError> {
    let request = ReadRequest { reads: vec![Read::Point(key("a"))], ..ReadRequest::default() };
    store.read(&home(), request).await.map(drop)
}

fn assert_unavailable(error: &StoreError, endpoint: &str) {
    match error {
        StoreError::Unavailable { address, .. } => assert_eq!(address, endpoint),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn calls_fail_in_bounded_time_while_the_server_is_away_and_work_again_after() {
    let server = Server::start(&[]);
    let store = EtcdStore::connect(&format!("etcd://{}", server.endpoint())).await.unwrap();
    let version = committed(&store, vec![], vec![put("a", "1")]).await;
    server.kill();
    let begun = Instant::now();
    assert_unavailable(&point(&store).await.unwrap_err(), &server.endpoint());
    let write = in_lane(&store, ticket(1, 1), vec![], vec![put("a", "2")]).await;
    // Whether the connection's end was noticed before the first attempt decides between the two.
    assert!(matches!(write, Err(StoreError::Unavailable { .. } | StoreError::Undetermined { .. })), "{write:?}");
    let another = EtcdStore::connect(&format!("etcd://{}", server.endpoint())).await;
    assert_unavailable(&another.unwrap_err(), &server.endpoint());
    assert!(begun.elapsed() < Duration::from_secs(20));
    server.restart();
    let entry = get(&store, "a").await.unwrap();
    assert_eq!((entry.version, &entry.value[..]), (version, &b"1"[..]));
    let outcome = in_lane(&store, ticket(1, 1), vec![], vec![put("a", "2")]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
}

/// Kills the server in the middle of concurrent commits: each writes two keys, and each acknowledged one must be there,
/// none by half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_commits_survive_a_killed_server() {
    let server = Server::start(&[]);
    let store = Arc::new(EtcdStore::connect(&format!("etcd://{}", server.endpoint())).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let (acknowledge, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = (0..100)
        .map(|lane| {
            let (store, stop, acknowledge) = (Arc::clone(&store), Arc::clone(&stop), acknowledge.clone());
            tokio::spawn(async move {
                let mut sequence = 0;
                while !stop.load(Ordering::SeqCst) {
                    sequence += 1;
                    let writes =
                        vec![put(&format!("l{lane}-{sequence}"), "x"), put(&format!("r{lane}-{sequence}"), "x")];
                    match in_lane(store.as_ref(), ticket(lane, sequence), vec![], writes).await {
                        Ok(_) => acknowledge.send((lane, sequence)).unwrap(),
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    let mut kept = Vec::new();
    while kept.len() < 300 {
        kept.push(acknowledged.recv().await.unwrap());
    }
    server.kill();
    stop.store(true, Ordering::SeqCst);
    server.restart();
    for writer in writers {
        writer.await.unwrap();
    }
    drop(acknowledge);
    while let Some(one) = acknowledged.recv().await {
        kept.push(one);
    }
    let all = |from: &str, to: &str| Read::Range { range: range(from, to), limit: None, reverse: false };
    let request = ReadRequest { reads: vec![all("l", "m"), all("r", "s")], ..ReadRequest::default() };
    let results = answer(store.as_ref(), request).await.results;
    let names = |result: usize| results[result].entries.iter().map(|entry| entry.key.slice(5..)).collect::<Vec<_>>();
    assert_eq!(names(0), names(1), "no commit is there by half");
    for (lane, sequence) in kept {
        assert!(names(0).contains(&Bytes::from(format!("{lane}-{sequence}"))), "{lane}-{sequence} was acknowledged");
    }
}

#[tokio::test]
async fn a_lost_reply_is_resolved_by_the_ticket() {
    let server = Server::shared();
    let link = Link::start(&server.endpoint()).await.unwrap();
    let store = EtcdStore::connect(&format!("etcd://{}?namespace=lost-reply", link.endpoint())).await.unwrap();
    committed(&store, vec![], vec![put("n", "0")]).await;
    let mut last = now(&store).await;
    for sequence in 1..=20 {
        link.lose_next_reply(SMALL_TALK_BYTES);
        let add = Write::Add { key: key("n"), delta: 1, min: 0, max: 1000 };
        let outcome = in_lane(&store, ticket(3, sequence), vec![], vec![add, put("a", "1")]).await.unwrap();
        let CommitOutcome::Committed { version } = outcome else { panic!("{outcome:?}") };
        assert!(version > last);
        last = version;
        assert_eq!(get(&store, "n").await.unwrap().version, version, "it was carried out once");
    }
    assert_eq!(value(&store, "n").await.unwrap(), "20");
    assert!(link.lost() >= 20);
}

#[tokio::test]
async fn a_lost_reply_without_a_ticket_is_undetermined() {
    let server = Server::shared();
    let link = Link::start(&server.endpoint()).await.unwrap();
    let store = EtcdStore::connect(&format!("etcd://{}?namespace=no-ticket", link.endpoint())).await.unwrap();
    committed(&store, vec![], vec![put("a", "1")]).await;
    link.lose_next_reply(SMALL_TALK_BYTES);
    let result = in_lane(&store, None, vec![], vec![put("a", "2")]).await;
    match result {
        Err(StoreError::Undetermined { address, .. }) => assert_eq!(address, link.endpoint()),
        other => panic!("{other:?}"),
    }
    assert_eq!(value(&store, "a").await.unwrap(), "2");
}

/// The original of a commit that was given up lies on the way while the link is cut, and arrives after it was sent again.
#[tokio::test]
async fn a_commit_is_carried_out_once_where_the_link_was_cut_in_the_middle() {
    let server = Server::shared();
    let link = Link::start(&server.endpoint()).await.unwrap();
    let mut config = EtcdConfig::parse(&format!("etcd://{}?namespace=cut-link", link.endpoint())).unwrap();
    config.call_timeout = Duration::from_secs(1);
    let store = EtcdStore::open(config).await.unwrap();
    let mut now_and_then = [Cut::Silent, Cut::There, Cut::Back].into_iter().cycle();
    for sequence in 1..=6 {
        let send = || {
            let add = Write::Add { key: key("n"), delta: 1, min: 0, max: 1000 };
            in_lane(&store, ticket(3, sequence), vec![], vec![add])
        };
        // The counter is known then, and the commit is the first that is cut off.
        point(&store).await.unwrap();
        link.cut(now_and_then.next().unwrap());
        let cut_off = send().await.unwrap_err();
        assert!(matches!(cut_off, StoreError::Undetermined { .. } | StoreError::Unavailable { .. }), "{cut_off}");
        assert_unavailable(&point(&store).await.unwrap_err(), &link.endpoint());
        link.heal();
        let outcome = send().await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        assert_eq!(value(&store, "n").await.unwrap(), sequence.to_string());
    }
}

#[tokio::test]
async fn a_watcher_goes_on_after_the_server_comes_back() {
    let server = Server::start(&[]);
    let store = EtcdStore::connect(&format!("etcd://{}", server.endpoint())).await.unwrap();
    let stream = Bytes::from_static(b"s");
    let mut watch = store.watch(&home(), stream.clone(), None).await.unwrap();
    let change = |n: u64| Commit {
        changes: vec![Change { stream: stream.clone(), payload: Bytes::from(n.to_string()) }],
        ticket: ticket(1, n),
        ..Commit::default()
    };
    for n in 1..=10 {
        if n == 5 {
            server.kill();
            server.restart();
        }
        store.commit(&home(), change(n)).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap().payload, n.to_string());
    }
}

#[tokio::test]
async fn history_that_is_compacted_is_said_to_be() {
    let server = Server::start(&[]);
    let store = EtcdStore::connect(&format!("etcd://{}", server.endpoint())).await.unwrap();
    let old = committed(&store, vec![], vec![put("a", "1")]).await;
    let new = committed(&store, vec![], vec![put("a", "2")]).await;
    let mut client = etcd_client::Client::connect([server.endpoint()], None).await.unwrap();
    client.compact(new as i64, None).await.unwrap();
    let request = ReadRequest { reads: vec![Read::Point(key("a"))], at: Some(old), ..ReadRequest::default() };
    assert!(matches!(store.read(&home(), request).await, Err(StoreError::SnapshotTooOld(version)) if version == old));
    let mut watch = store.watch(&home(), Bytes::from_static(b"s"), Some(old - 1)).await.unwrap();
    assert!(matches!(watch.next().await, Some(Err(StoreError::Compacted))));
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_full_database_says_so_and_keeps_what_it_acknowledged() {
    let server = Server::start(&["--quota-backend-bytes", "4000000"]);
    let store = EtcdStore::connect(&format!("etcd://{}", server.endpoint())).await.unwrap();
    let mut sequence = 0;
    let error = loop {
        sequence += 1;
        let large = Write::Put(key(&sequence.to_string()), Bytes::from(vec![1; 300_000]));
        match in_lane(&store, ticket(1, sequence), vec![], vec![large]).await {
            Ok(_) => assert!(get(&store, &sequence.to_string()).await.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert_eq!(get(&store, &sequence.to_string()).await, None);
}

#[tokio::test]
async fn credentials_are_checked_and_never_shown() {
    let server = Server::start(&[]);
    let mut client = etcd_client::Client::connect([server.endpoint()], None).await.unwrap();
    let with_password = |password: &str| format!("etcd://root:{password}@{}", server.endpoint());
    let error = EtcdStore::connect(&with_password("s3cret")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsuitable(_)), "{error}");
    client.user_add("root", "s3cret", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();

    let store = EtcdStore::connect(&with_password("s3cret")).await.unwrap();
    committed(&store, vec![], vec![put("a", "1")]).await;
    assert!(!format!("{store:?}").contains("s3cret"));
    let error = EtcdStore::connect(&with_password("wr0ng")).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error}");
    assert!(!error.to_string().contains("wr0ng"));
    let anonymous = EtcdStore::connect(&format!("etcd://{}", server.endpoint())).await;
    let error = match anonymous {
        Ok(store) => point(&store).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, StoreError::Denied(_)), "{error}");
}

#[tokio::test]
async fn something_else_at_the_address_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client, b"-ERR unknown command\r\n").await;
        }
    });
    let mut config = EtcdConfig::parse(&format!("etcd://{endpoint}")).unwrap();
    config.call_timeout = Duration::from_secs(1);
    assert_unavailable(&EtcdStore::open(config).await.unwrap_err(), &endpoint);
}

#[tokio::test]
async fn a_dead_member_among_several_is_passed_over() {
    let server = Server::shared();
    let url = format!("etcd://127.0.0.1:1,{}?namespace=dead-member", server.endpoint());
    let store = EtcdStore::connect(&url).await.unwrap();
    for n in 0..50 {
        committed(&store, vec![], vec![put("a", &n.to_string())]).await;
    }
    assert_eq!(value(&store, "a").await.unwrap(), "49");
}

#[tokio::test]
async fn a_dropped_call_leaves_the_commit_whole() {
    let fixture = fixture().await;
    let store = &fixture.store;
    for sequence in 1..=50 {
        let text = sequence.to_string();
        let commit = in_lane(store, ticket(5, sequence), vec![], vec![put("a", &text), put("b", &text)]);
        let _ = tokio::time::timeout(Duration::from_micros(sequence * 40), commit).await;
        let request =
            ReadRequest { reads: vec![Read::Point(key("a")), Read::Point(key("b"))], ..ReadRequest::default() };
        let results = answer(store, request).await.results;
        let values: Vec<_> =
            results.iter().map(|result| result.entries.first().map(|entry| entry.value.clone())).collect();
        assert_eq!(values[0], values[1]);
    }
}
