//! The file of the embedded store: opened once, found again, refused where it is not ours or damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use futures::StreamExt;
use rome_core::store::{
    Change, Commit, CommitOutcome, Guard, HomeId, KeyRange, LaneTicket, Read, ReadOutcome, ReadRequest, ReadResult,
    Store, StoreError, Write,
};
use rome_embedded::{EVENTS_KEPT, EmbeddedStore};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const CHILD: &str = "ROME_EMBEDDED_TEST_OPENS";

fn home() -> HomeId {
    HomeId::new("h")
}

fn key(number: u32) -> Bytes {
    Bytes::from([&7u32.to_be_bytes()[..], &number.to_be_bytes()].concat())
}

fn put(number: u32, value: &str) -> Commit {
    Commit { writes: vec![Write::Put(key(number), Bytes::copy_from_slice(value.as_bytes()))], ..Commit::default() }
}

async fn all(store: &EmbeddedStore) -> ReadResult {
    let read = Read::Range { range: KeyRange::prefix(&7u32.to_be_bytes()), limit: None, reverse: false };
    let request = ReadRequest { reads: vec![read], ..ReadRequest::default() };
    match store.read(&home(), request).await.expect("a read") {
        ReadOutcome::Answer(mut response) => response.results.remove(0),
        conflict => panic!("{conflict:?}"),
    }
}

#[tokio::test]
async fn a_restored_file_begins_another_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let (path, backup) = (directory.path().join("store"), directory.path().join("backup"));
    let epoch = async |store: &EmbeddedStore| match store.read(&home(), ReadRequest::default()).await.unwrap() {
        ReadOutcome::Answer(response) => response.epoch,
        conflict => panic!("{conflict:?}"),
    };
    let store = EmbeddedStore::open(&path).unwrap();
    store.commit(&home(), put(1, "kept")).await.unwrap();
    drop(store);
    std::fs::copy(&path, &backup).unwrap();
    let store = EmbeddedStore::open(&path).unwrap();
    let read_in = epoch(&store).await;
    let lost = store.commit(&home(), put(2, "lost")).await.unwrap();
    drop(store);
    std::fs::copy(&backup, &path).unwrap();
    let begun = EmbeddedStore::begin_epoch(&path).unwrap();
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(epoch(&store).await, begun);
    assert_eq!(store.commit(&home(), put(2, "other")).await.unwrap(), lost, "the same version, for another content");
    let CommitOutcome::Committed { version } = lost else { panic!("{lost:?}") };
    let guards = vec![Guard::Version { key: key(2), version }];
    let stale = Commit { guards: guards.clone(), epoch: Some(read_in), ..put(3, "") };
    let refused = store.commit(&home(), stale).await;
    assert!(matches!(refused, Err(StoreError::EpochChanged)), "{refused:?}");
    let fresh = Commit { guards, epoch: Some(begun), ..put(3, "") };
    assert!(matches!(store.commit(&home(), fresh).await, Ok(CommitOutcome::Committed { .. })));
    drop(store);
    assert_ne!(EmbeddedStore::begin_epoch(&path).unwrap(), begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_acknowledged_commits_are_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    for durable in [true, false] {
        let _ = std::fs::remove_file(&path);
        let open = || if durable { EmbeddedStore::open(&path) } else { EmbeddedStore::open_async(&path) };
        let store = Arc::new(open().unwrap());
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..50 {
                        store.commit(&home(), put(writer * 50 + number, "x")).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let ticket = |sequence| Some(LaneTicket { client: 9, lane: 0, sequence });
        store.commit(&home(), Commit { ticket: ticket(1), ..Commit::default() }).await.unwrap();
        let changes = vec![Change { stream: Bytes::from_static(b"s"), payload: Bytes::from_static(b"told") }];
        let last = Commit { ticket: ticket(2), changes, ..put(999, "last") };
        let outcome = store.commit(&home(), last.clone()).await.unwrap();
        let before = all(&store).await;
        drop(store);

        let store = open().unwrap();
        assert_eq!(all(&store).await, before);
        assert_eq!(before.entries.len(), 201);
        let late = store.commit(&home(), last).await.unwrap_err();
        assert!(matches!(late, StoreError::LaneClosed), "whoever sent this went with the store: {late:?}");
        assert_eq!(all(&store).await, before);
        let mut events = store.watch(&home(), Bytes::from_static(b"s"), Some(0)).await.unwrap();
        assert_eq!(events.next().await.unwrap().unwrap().payload, "told");
        let CommitOutcome::Committed { version } = outcome else { panic!("{outcome:?}") };
        let next = store.commit(&home(), put(1, "y")).await.unwrap();
        assert_eq!(next, CommitOutcome::Committed { version: version + 1 }, "versions go on where they were");
    }
}

#[test]
fn a_second_open_is_refused_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = EmbeddedStore::open(&path).unwrap();
    let refused = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(&refused, StoreError::Unsuitable(hint) if hint.contains("already open")), "{refused}");
    drop(store);
    EmbeddedStore::open(&path).unwrap();
}

/// Runs this test's own program again as the second process.
#[test]
fn a_second_process_is_refused() {
    if let Some(path) = std::env::var_os(CHILD) {
        let refused = EmbeddedStore::open(Path::new(&path)).unwrap_err();
        assert!(matches!(refused, StoreError::Unsuitable(_)), "{refused}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let _store = EmbeddedStore::open(&path).unwrap();
    let mut second = Command::new(std::env::current_exe().unwrap());
    let second = second.args(["--exact", "a_second_process_is_refused"]).env(CHILD, &path).output().unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
    assert!(String::from_utf8_lossy(&second.stdout).contains("1 passed"));
}

#[test]
fn what_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    std::fs::write(&text, "some text that somebody would like to keep".repeat(1000)).unwrap();
    let refused = EmbeddedStore::open(&text).unwrap_err();
    assert!(matches!(refused, StoreError::Unsuitable(_)), "{refused}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("some text"), "and is left alone");

    let foreign = directory.path().join("foreign");
    let table: redb::TableDefinition<u64, u64> = redb::TableDefinition::new("theirs");
    let database = redb::Database::create(&foreign).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = EmbeddedStore::open(&foreign).unwrap_err();
    assert!(matches!(refused, StoreError::Unsuitable(_)), "{refused}");

    let missing = EmbeddedStore::open(&directory.path().join("no/such/directory")).unwrap_err();
    assert!(matches!(missing, StoreError::Unavailable { .. }), "{missing}");
    let not_a_file = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(!matches!(not_a_file, StoreError::Corrupt(_)), "{not_a_file}");
}

/// Flips bytes all over a file: opening or reading says so, or the damage lies where nothing is read; nothing panics and
/// no value comes back changed.
#[tokio::test]
async fn damage_is_an_error_and_never_a_wrong_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = EmbeddedStore::open(&path).unwrap();
    for number in 0..200 {
        store.commit(&home(), put(number, &format!("value {number}"))).await.unwrap();
    }
    let expected = all(&store).await;
    drop(store);
    let good = std::fs::read(&path).unwrap();
    let used = good.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut refused = 0;
    for place in (0..used).step_by(used / 60) {
        let mut damaged = good.clone();
        for byte in &mut damaged[place..(place + 16).min(used)] {
            *byte ^= 0xa5;
        }
        std::fs::write(&path, damaged).unwrap();
        match EmbeddedStore::open(&path) {
            Ok(store) => assert_eq!(all(&store).await, expected, "bytes {place} and after were changed"),
            Err(StoreError::Corrupt(_) | StoreError::Unsuitable(_)) => refused += 1,
            Err(other) => panic!("bytes {place} and after were changed: {other:?}"),
        }
    }
    assert!(refused > 0, "no damage was noticed");
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    let cut = EmbeddedStore::open(&path).unwrap_err();
    assert!(
        matches!(cut, StoreError::Corrupt(_) | StoreError::Unsuitable(_) | StoreError::Unavailable { .. }),
        "{cut:?}"
    );
}

#[tokio::test]
async fn a_watcher_too_far_behind_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open_async(&directory.path().join("store")).unwrap();
    let stream = Bytes::from_static(b"s");
    for payload in 0..=EVENTS_KEPT {
        let payload = Bytes::from(payload.to_string());
        let changes = vec![Change { stream: stream.clone(), payload }];
        store.commit(&home(), Commit { changes, ..Commit::default() }).await.unwrap();
    }
    let mut from_start = store.watch(&home(), stream.clone(), Some(0)).await.unwrap();
    assert!(matches!(from_start.next().await, Some(Err(StoreError::Compacted))));
    assert!(from_start.next().await.is_none());
    let from_first = store.watch(&home(), stream, Some(1)).await.unwrap();
    let kept: Vec<_> = from_first.take(EVENTS_KEPT as usize).map(Result::unwrap).collect().await;
    assert!(kept.iter().zip(1..).all(|(event, payload)| event.payload == payload.to_string()));
}

#[tokio::test]
async fn a_watch_ends_with_its_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = EmbeddedStore::open(&path).unwrap();
    let mut events = store.watch(&home(), Bytes::from_static(b"s"), None).await.unwrap();
    drop(store);
    assert!(matches!(events.next().await, Some(Err(StoreError::Unavailable { .. }))));
    assert!(events.next().await.is_none());
    EmbeddedStore::open(&path).expect("a watcher does not keep the file open");
}

/// Longer than what is read in the caller's own task.
#[tokio::test]
async fn long_ranges_are_read_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("store")).unwrap();
    let writes = (0..3000).map(|number| Write::Put(key(number), Bytes::from_static(b"v"))).collect();
    store.commit(&home(), Commit { writes, ..Commit::default() }).await.unwrap();
    let found = all(&store).await;
    assert_eq!((found.entries.len(), found.more), (3000, None));
}
