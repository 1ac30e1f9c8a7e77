//! What is particular to etcd: deletions under range guards, the sweeper, limits, lanes, counters, namespaces,
//! snapshots, streams.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use futures::StreamExt;
use rome_core::store::{
    Change, Commit, CommitOutcome, Guard, Read, ReadLimits, ReadOutcome, ReadRequest, Store, StoreError, Version, Write,
};
use rome_etcd::{EtcdConfig, EtcdStore};
use std::time::Duration;
use support::*;

fn unchanged(since: Version, count: u64) -> Guard {
    Guard::Range { range: range("a", "m"), since, count }
}

fn is_conflict(outcome: CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Conflict { .. })
}

#[tokio::test]
async fn a_range_guard_sees_inserts_updates_and_deletes() {
    let fixture = fixture().await;
    let store = &fixture.store;
    committed(store, vec![], vec![put("b", "1"), put("c", "1"), put("x", "1")]).await;
    for change in [put("d", "new"), put("b", "2"), delete("c")] {
        let since = now(store).await;
        let request = ReadRequest {
            reads: vec![Read::Range { range: range("a", "m"), limit: None, reverse: false }],
            ..ReadRequest::default()
        };
        let count = answer(store, request).await.results[0].entries.len() as u64;
        committed(store, vec![unchanged(since, count)], vec![put("x", "2")]).await;
        committed(store, vec![], vec![change.clone()]).await;
        let outcome = commit(store, vec![Guard::Present(key("x")), unchanged(since, count)], vec![put("x", "3")]).await;
        assert_eq!(outcome, CommitOutcome::Conflict { guard: 1 }, "after {change:?}");
        assert_eq!(value(store, "x").await.unwrap(), "2");
        let guarded = ReadRequest { guards: vec![unchanged(since, count)], ..ReadRequest::default() };
        assert_eq!(store.read(&home(), guarded).await.unwrap(), ReadOutcome::Conflict { guard: 0 });
    }
}

#[tokio::test]
async fn an_empty_range_stays_guarded() {
    let fixture = fixture().await;
    let store = &fixture.store;
    committed(store, vec![], vec![put("b", "1")]).await;
    committed(store, vec![], vec![delete("b")]).await;
    committed(store, vec![unchanged(0, 0)], vec![put("c", "1")]).await;
    assert!(is_conflict(commit(store, vec![unchanged(now(store).await, 0)], vec![put("d", "1")]).await));
    assert_eq!(value(store, "d").await, None);
}

#[tokio::test]
async fn a_guard_older_than_a_sweep_conflicts_and_a_newer_one_does_not() {
    let fixture = fixture().await;
    let store = &fixture.store;
    committed(store, vec![], vec![put("a", "1"), put("b", "1"), put("x", "1")]).await;
    let before = now(store).await;
    let deleted = committed(store, vec![], vec![delete("b")]).await;
    assert_eq!(store.sweep(&home(), deleted).await.unwrap(), 1);
    assert!(is_conflict(commit(store, vec![unchanged(before, 2)], vec![put("x", "2")]).await));
    committed(store, vec![unchanged(deleted, 1)], vec![put("x", "3")]).await;
    assert_eq!(store.sweep(&home(), deleted).await.unwrap(), 0);
    committed(store, vec![], vec![delete("a")]).await;
    assert_eq!(store.sweep(&home(), Version::MAX).await.unwrap(), 1);
    committed(store, vec![], vec![put("b", "2")]).await;
    committed(store, vec![unchanged(now(store).await, 1)], vec![put("x", "4")]).await;
}

#[tokio::test]
async fn a_late_sweeper_lowers_no_floor_and_removes_no_newer_tombstone() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let names: Vec<_> = (0..300).map(|n| format!("b{n:03}")).collect();
    committed(store, vec![], names.iter().map(|name| put(name, "1")).collect()).await;
    let before = committed(store, vec![], vec![put("a", "1")]).await;
    let first = committed(store, vec![], names[..150].iter().map(|name| delete(name)).collect()).await;
    let second = committed(store, vec![], names[100..].iter().map(|name| delete(name)).collect()).await;
    // The deletions of 100..150 were repeated: their tombstones belong to the second commit.
    assert_eq!(store.sweep(&home(), first).await.unwrap(), 100);
    assert!(is_conflict(commit(store, vec![unchanged(first, 151)], vec![put("x", "1")]).await));
    assert_eq!(store.sweep(&home(), second).await.unwrap(), 200);
    store.sweep(&home(), first).await.unwrap();
    assert!(is_conflict(commit(store, vec![unchanged(before, 301)], vec![put("x", "1")]).await));
    assert!(is_conflict(commit(store, vec![unchanged(first, 151)], vec![put("x", "1")]).await));
    committed(store, vec![unchanged(second, 1)], vec![put("x", "1")]).await;
}

#[tokio::test]
async fn the_background_sweeper_removes_tombstones() {
    let fixture = fixture().await;
    let config =
        EtcdConfig { tombstone_retention: Duration::from_millis(20), ..EtcdConfig::parse(&fixture.url).unwrap() };
    let sweeping = EtcdStore::open(config).await.unwrap();
    committed(&fixture.store, vec![], vec![put("a", "1"), put("b", "1")]).await;
    let before = now(&fixture.store).await;
    committed(&sweeping, vec![], vec![delete("b"), put("b2", "1")]).await;
    committed(&fixture.store, vec![], vec![delete("b2"), put("b", "1")]).await;
    // The range looks as it did, in count; only tombstones and floor tell. Both stay conflicts, before and after the
    // sweep.
    let swept = async {
        while fixture.store.sweep(&home(), 0).await.is_ok() && tombstones(&fixture).await > 0 {
            assert!(is_conflict(commit(&fixture.store, vec![unchanged(before, 2)], vec![put("x", "1")]).await));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), swept).await.unwrap();
    assert!(is_conflict(commit(&fixture.store, vec![unchanged(before, 2)], vec![put("x", "1")]).await));
    let since = now(&fixture.store).await;
    committed(&fixture.store, vec![unchanged(since, 2)], vec![put("x", "1")]).await;
}

async fn tombstones(fixture: &Fixture) -> i64 {
    let config = EtcdConfig::parse(&fixture.url).unwrap();
    let mut client = etcd_client::Client::connect(&config.endpoints, None).await.unwrap();
    let prefix = format!("{}\0{}\0t", config.namespace, home());
    let options = etcd_client::GetOptions::new().with_prefix().with_count_only();
    client.get(prefix, Some(options)).await.unwrap().count()
}

#[tokio::test]
async fn versions_tell_a_key_from_its_successor() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let version = committed(store, vec![], vec![put("a", "1")]).await;
    assert_eq!(get(store, "a").await.unwrap().version, version);
    committed(store, vec![Guard::Version { key: key("a"), version }], vec![delete("a")]).await;
    committed(store, vec![Guard::Absent(key("a"))], vec![put("a", "1")]).await;
    assert!(is_conflict(commit(store, vec![Guard::Version { key: key("a"), version }], vec![put("a", "2")]).await));
    for version in [0, u64::MAX] {
        for name in ["a", "missing"] {
            assert!(is_conflict(
                commit(store, vec![Guard::Version { key: key(name), version }], vec![put("a", "2")]).await
            ));
        }
    }
}

#[tokio::test]
async fn a_conflict_names_the_guard() {
    let fixture = fixture().await;
    let store = &fixture.store;
    committed(store, vec![], vec![put("a", "1")]).await;
    let holds = Guard::Present(key("a"));
    for (lane, fails) in
        [Guard::Absent(key("a")), Guard::Present(key("b")), Guard::Version { key: key("a"), version: 1 }]
            .into_iter()
            .enumerate()
    {
        let guards = vec![holds.clone(), fails, holds.clone()];
        let conflict = CommitOutcome::Conflict { guard: 1 };
        assert_eq!(commit(store, guards.clone(), vec![put("x", "1")]).await, conflict);
        // And a resend finds the same, also when the guard would hold by now.
        let ticket = ticket(lane as u32, 1);
        assert_eq!(in_lane(store, ticket, guards.clone(), vec![put("x", "1")]).await.unwrap(), conflict);
        committed(store, vec![], vec![put("b", "1")]).await;
        assert_eq!(in_lane(store, ticket, guards, vec![put("x", "1")]).await.unwrap(), conflict);
        committed(store, vec![], vec![delete("b")]).await;
    }
    assert_eq!(value(store, "x").await, None);
}

#[tokio::test]
async fn lanes_run_each_sequence_once() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let send = |sequence, text: &'static str| in_lane(store, ticket(1, sequence), vec![], vec![put("a", text)]);
    assert!(matches!(send(2, "early").await, Err(StoreError::LaneClosed)));
    let first = send(1, "first").await.unwrap();
    assert_eq!(send(1, "resent").await.unwrap(), first);
    assert_eq!(value(store, "a").await.unwrap(), "first");
    let fourth = send(4, "fourth").await.unwrap();
    assert!(matches!(send(3, "late").await, Err(StoreError::LaneClosed)));
    assert!(matches!(send(1, "late").await, Err(StoreError::LaneClosed)));
    assert_eq!(send(4, "resent").await.unwrap(), fourth);
    assert_eq!(value(store, "a").await.unwrap(), "fourth");
    assert!(matches!(send(0, "zero").await, Err(StoreError::Invalid(_))));
    send(256, "a longer number").await.unwrap();
    assert!(matches!(send(255, "late").await, Err(StoreError::LaneClosed)));
}

/// Commits of every shape: one layer, groups of writes, groups of guards; all or nothing each time.
#[tokio::test]
async fn large_commits_are_atomic_in_every_shape() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let most = store.capabilities().max_guards;
    committed(store, vec![], vec![put("present", "1")]).await;
    for (lane, (guards, writes)) in
        [(1, 126), (1, 127), (1, 128), (63, 960), (64, 200), (126, 1), (128, 128), (most, 960)].into_iter().enumerate()
    {
        let names: Vec<_> = (0..writes).map(|n| format!("{lane}-{n:04}")).collect();
        let writes: Vec<_> = names.iter().map(|name| put(name, "1")).collect();
        let deletes: Vec<_> = names.iter().map(|name| delete(name)).collect();
        let mut good = vec![Guard::Present(key("present")); guards];
        good[0] = Guard::Absent(key(&names[0]));
        let mut bad = good.clone();
        bad[guards - 1] = Guard::Present(key("missing"));
        let conflict = CommitOutcome::Conflict { guard: guards - 1 };
        let lane = lane as u32;

        assert_eq!(commit(store, bad.clone(), writes.clone()).await, conflict);
        assert_eq!(in_lane(store, ticket(lane, 1), bad.clone(), writes.clone()).await.unwrap(), conflict);
        assert_eq!(value(store, &names[0]).await, None);
        let resent = in_lane(store, ticket(lane, 1), good.clone(), writes.clone()).await;
        assert!(is_conflict(resent.unwrap()), "the first outcome stays");

        let outcome = in_lane(store, ticket(lane, 2), good.clone(), writes.clone()).await.unwrap();
        let CommitOutcome::Committed { version } = outcome else { panic!("{outcome:?}") };
        assert_eq!(in_lane(store, ticket(lane, 2), good, writes.clone()).await.unwrap(), outcome);
        let read = Read::Range { range: range(&format!("{lane}-"), &format!("{lane}.")), limit: None, reverse: false };
        let request = ReadRequest { reads: vec![read], ..ReadRequest::default() };
        let entries = answer(store, request.clone()).await.results.remove(0).entries;
        assert_eq!(entries.len(), names.len());
        assert!(entries.iter().all(|entry| entry.version == version));

        committed(store, vec![Guard::Present(key("present")); guards], deletes).await;
        assert!(answer(store, request).await.results[0].entries.is_empty());
    }
}

#[tokio::test]
async fn the_worst_mix_within_the_limits_fits_and_more_is_too_large() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let (guards, writes) = (store.capabilities().max_guards, store.capabilities().max_writes);
    committed(store, vec![], vec![put("a", "1")]).await;
    let since = now(store).await;
    let mut commit = Commit {
        guards: vec![unchanged(since, 1); guards],
        writes: (0..writes).map(|n| delete(&format!("z{n}"))).collect(),
        ticket: ticket(1, 1),
        ..Commit::default()
    };
    assert!(matches!(store.commit(&home(), commit.clone()).await.unwrap(), CommitOutcome::Committed { .. }));
    let guarded = ReadRequest { guards: commit.guards.clone(), ..ReadRequest::default() };
    assert!(matches!(store.read(&home(), guarded.clone()).await.unwrap(), ReadOutcome::Answer(_)));
    commit.writes = (0..writes).map(|n| add(&format!("n{n}"), 1)).collect();
    commit.ticket = ticket(1, 2);
    assert!(matches!(store.commit(&home(), commit.clone()).await.unwrap(), CommitOutcome::Committed { .. }));

    let too_large = |result: Result<CommitOutcome, StoreError>| match result {
        Err(StoreError::TooLarge { size, limit, .. }) => assert!(size > limit),
        other => panic!("{other:?}"),
    };
    commit.ticket = ticket(1, 3);
    let mut more = commit.clone();
    more.guards.push(Guard::Absent(key("q")));
    let guarded = ReadRequest { guards: more.guards.clone(), ..guarded };
    assert!(matches!(store.read(&home(), guarded).await, Err(StoreError::TooLarge { .. })));
    too_large(store.commit(&home(), more).await);
    let mut more = commit.clone();
    more.changes.push(Change { stream: Bytes::from_static(b"s"), payload: Bytes::new() });
    too_large(store.commit(&home(), more).await);
    let limit = store.capabilities().max_commit_bytes;
    let value = |size| Commit { writes: vec![Write::Put(key("v"), Bytes::from(vec![7; size]))], ..Commit::default() };
    too_large(store.commit(&home(), value(limit)).await);
    store.commit(&home(), value(limit - key("v").len())).await.unwrap();
    assert_eq!(get(store, "v").await.unwrap().value.len(), limit - key("v").len());
    // Short by the contract's count, too long as etcd needs it: a range guard names each end twice.
    let long = "a".repeat(1200);
    let guards = (0..800).map(|_| Guard::Range { range: range("a", &long), since, count: 1 }).collect();
    too_large(store.commit(&home(), Commit { guards, ..Commit::default() }).await);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let short = Bytes::from_static(b"spa");
    let across = rome_core::store::KeyRange { from: key("a"), to: Bytes::from_static(b"spaz1") };
    let bad = [
        Commit { writes: vec![put("a", "1"), delete("a")], ..Commit::default() },
        Commit { writes: vec![Write::Delete(short.clone())], ..Commit::default() },
        Commit { guards: vec![Guard::Absent(short)], writes: vec![put("a", "1")], ..Commit::default() },
        Commit { guards: vec![Guard::Range { range: across.clone(), since: 1, count: 1 }], ..Commit::default() },
        Commit { changes: vec![Change { stream: Bytes::new(), payload: Bytes::new() }; 2], ..Commit::default() },
    ];
    for commit in bad {
        assert!(matches!(store.commit(&home(), commit).await, Err(StoreError::Invalid(_))));
    }
    for read in [
        Read::Range { range: across, limit: None, reverse: false },
        Read::Follow { range: whole_space(), limit: None, reverse: false },
    ] {
        let request = ReadRequest { reads: vec![read], ..ReadRequest::default() };
        assert!(matches!(store.read(&home(), request).await, Err(StoreError::Invalid(_))));
    }
    assert_eq!(value(store, "a").await, None);
}

fn add(name: &str, delta: i64) -> Write {
    Write::Add { key: key(name), delta, min: 0, max: 100 }
}

#[tokio::test]
async fn counters_lose_nothing_among_tasks_and_stores() {
    let fixture = fixture().await;
    let other = EtcdStore::connect(&fixture.url).await.unwrap();
    let stores = [&fixture.store, &other];
    let adding = (0..40).map(|n| async move {
        let outcome = in_lane(stores[n % 2], ticket(n as u32, 1), vec![], vec![add("n", 2), add("m", 1)]).await;
        matches!(outcome.unwrap(), CommitOutcome::Committed { .. })
    });
    assert!(futures::future::join_all(adding).await.into_iter().all(|done| done));
    assert_eq!(value(&other, "n").await.unwrap(), "80");
    assert_eq!(value(&other, "m").await.unwrap(), "40");
}

#[tokio::test]
async fn a_counter_out_of_bounds_stops_the_commit_for_good() {
    let fixture = fixture().await;
    let store = &fixture.store;
    committed(store, vec![], vec![add("n", 95)]).await;
    let writes = vec![put("a", "1"), add("n", 10)];
    let outcome = in_lane(store, ticket(1, 1), vec![], writes.clone()).await.unwrap();
    assert_eq!(outcome, CommitOutcome::OutOfBounds { write: 1 });
    committed(store, vec![], vec![add("n", -50)]).await;
    assert_eq!(in_lane(store, ticket(1, 1), vec![], writes.clone()).await.unwrap(), outcome);
    assert_eq!(value(store, "a").await, None);
    assert!(matches!(in_lane(store, ticket(1, 2), vec![], writes).await.unwrap(), CommitOutcome::Committed { .. }));
    assert_eq!(value(store, "n").await.unwrap(), "55");
    committed(store, vec![], vec![put("n", "not a number")]).await;
    let result = in_lane(store, None, vec![], vec![add("n", 1)]).await;
    assert!(matches!(result, Err(StoreError::Corrupt(_))), "{result:?}");
}

#[tokio::test]
async fn snapshots_are_kept_until_compacted() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let old = committed(store, vec![], vec![put("a", "old"), put("b", "gone")]).await;
    committed(store, vec![], vec![put("a", "new"), delete("b")]).await;
    let at = |version| ReadRequest {
        reads: vec![Read::Point(key("a")), Read::Range { range: whole_space(), limit: None, reverse: true }],
        at: Some(version),
        guards: vec![Guard::Present(key("b")), Guard::Range { range: whole_space(), since: old, count: 2 }],
        ..ReadRequest::default()
    };
    let response = answer(store, at(old)).await;
    assert_eq!(response.snapshot, old);
    assert_eq!(response.results[0].entries[0].value, "old");
    assert_eq!(
        response.results[1].entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(),
        [key("b"), key("a")]
    );
    let newest = now(store).await;
    assert_eq!(store.read(&home(), at(newest)).await.unwrap(), ReadOutcome::Conflict { guard: 0 });
    assert!(matches!(store.read(&home(), at(newest + 1_000_000)).await, Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn more_reads_than_one_rpc_takes_come_from_one_state() {
    let fixture = fixture().await;
    let store = &fixture.store;
    committed(store, vec![], (0..500).map(|n| put(&format!("{n}"), "0")).collect()).await;
    let writing = async {
        for round in 1..20 {
            committed(store, vec![], (0..500).map(|n| put(&format!("{n}"), &round.to_string())).collect()).await;
        }
    };
    let reading = async {
        for _ in 0..20 {
            let reads = (0..500).map(|n| Read::Point(key(&n.to_string()))).collect();
            let results = answer(store, ReadRequest { reads, ..ReadRequest::default() }).await.results;
            assert_eq!(results.len(), 500);
            assert!(results.iter().all(|result| result.entries[0].version == results[0].entries[0].version));
        }
    };
    tokio::join!(writing, reading);
}

/// 40 MB in one request: more than is accepted in one answer.
#[tokio::test]
async fn large_answers_come_in_pages_and_parts() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let names: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    for name in &names {
        committed(store, vec![], vec![Write::Put(key(name), Bytes::from(vec![1; 1_000_000]))]).await;
    }
    let reads = names.iter().map(|name| Read::Point(key(name))).collect();
    let results = answer(store, ReadRequest { reads, ..ReadRequest::default() }).await.results;
    assert!(results.iter().all(|result| result.entries[0].value.len() == 1_000_000));
    let mut left = whole_space();
    let mut seen = 0;
    loop {
        let reads = vec![Read::Range { range: left.clone(), limit: None, reverse: false }];
        let page = answer(store, ReadRequest { reads, ..ReadRequest::default() }).await.results.remove(0);
        seen += page.entries.len();
        let Some(last) = page.more else { break };
        left.from = Bytes::from([&last[..], &[0]].concat());
    }
    assert_eq!(seen, names.len());
}

#[tokio::test]
async fn limits_cut_ranges_and_say_where() {
    let fixture = fixture().await;
    let store = &fixture.store;
    committed(store, vec![], ["a", "b", "c", "d"].iter().map(|name| put(name, "1")).collect()).await;
    let read = |limit, reverse| Read::Range { range: whole_space(), limit, reverse };
    let request = ReadRequest {
        reads: vec![
            read(Some(2), false),
            read(Some(1), true),
            read(Some(4), false),
            read(Some(0), false),
            read(None, false),
        ],
        limits: ReadLimits { entries: 3, bytes: 1 << 20 },
        ..ReadRequest::default()
    };
    let results = answer(store, request).await.results;
    let shape: Vec<_> = results.iter().map(|result| (result.entries.len(), result.more.clone())).collect();
    assert_eq!(shape, [(2, Some(key("b"))), (1, Some(key("d"))), (3, Some(key("c"))), (0, None), (3, Some(key("c")))]);
}

#[tokio::test]
async fn namespaces_and_homes_share_nothing() {
    let fixture = fixture().await;
    let other = EtcdStore::connect(&format!("{}-b", fixture.url)).await.unwrap();
    committed(&fixture.store, vec![], vec![put("a", "1")]).await;
    committed(&other, vec![Guard::Absent(key("a"))], vec![put("a", "2")]).await;
    assert_eq!(value(&fixture.store, "a").await.unwrap(), "1");
    let request = ReadRequest { reads: vec![Read::Point(key("a"))], ..ReadRequest::default() };
    let elsewhere = rome_core::store::HomeId::new("home/10");
    match fixture.store.read(&elsewhere, request).await.unwrap() {
        ReadOutcome::Answer(response) => assert!(response.results[0].entries.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_has_every_change_in_order() {
    let fixture = fixture().await;
    let store = &fixture.store;
    let stream = Bytes::from_static(b"table\0");
    let change = |n: u32| Commit {
        changes: vec![Change { stream: stream.clone(), payload: Bytes::from(n.to_string()) }],
        writes: vec![put("a", &n.to_string())],
        ..Commit::default()
    };
    let start = now(store).await;
    store.commit(&home(), change(0)).await.unwrap();
    let from_start = store.watch(&home(), stream.clone(), Some(start)).await.unwrap();
    let from_now = store.watch(&home(), stream.clone(), None).await.unwrap();
    let mut versions = Vec::new();
    for n in 1..=50 {
        let CommitOutcome::Committed { version } = store.commit(&home(), change(n)).await.unwrap() else { panic!() };
        versions.push(version);
        committed(store, vec![], vec![put("elsewhere", "1")]).await;
    }
    let seen: Vec<_> = from_start.take(51).map(|event| event.unwrap().payload).collect().await;
    assert_eq!(seen, (0..=50).map(|n| Bytes::from(n.to_string())).collect::<Vec<_>>());
    let seen: Vec<_> = from_now.take(50).map(|event| event.unwrap().version).collect().await;
    assert_eq!(seen, versions);
}
