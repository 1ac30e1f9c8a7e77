//! What is particular to the Redis store: command counts, lay-out, lost scripts, limits, foreign and damaged data.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use redis::Cmd;
use rome_core::store::{
    Capabilities, Commit, CommitOutcome, Durability, Guard, HomeId, KeyRange, LaneTicket, Read, ReadLimits,
    ReadOutcome, ReadRequest, ReadResponse, Store, StoreError, Write,
};
use rome_redis::RedisStore;
use support::{Place, Server, raw};

fn key(space: u8, name: impl AsRef<[u8]>) -> Bytes {
    [&[0, 0, 0, space], name.as_ref()].concat().into()
}

fn home() -> HomeId {
    HomeId::new("site/h1")
}

fn put(key: Bytes, value: impl Into<Bytes>) -> Write {
    Write::Put(key, value.into())
}

async fn write(store: &RedisStore, writes: Vec<Write>) -> u64 {
    match store.commit(&home(), Commit { writes, ..Commit::default() }).await.unwrap() {
        CommitOutcome::Committed { version } => version,
        outcome => panic!("{outcome:?}"),
    }
}

async fn read(store: &RedisStore, reads: Vec<Read>) -> ReadResponse {
    answer(store, ReadRequest { reads, ..ReadRequest::default() }).await
}

async fn answer(store: &RedisStore, request: ReadRequest) -> ReadResponse {
    match store.read(&home(), request).await.unwrap() {
        ReadOutcome::Answer(response) => response,
        outcome => panic!("{outcome:?}"),
    }
}

fn range(space: u8) -> KeyRange {
    KeyRange::prefix(&[0, 0, 0, space])
}

fn all(space: u8) -> Read {
    Read::Range { range: range(space), limit: None, reverse: false }
}

async fn query<T: redis::FromRedisValue>(connection: &mut redis::aio::MultiplexedConnection, cmd: &[&str]) -> T {
    let mut command = Cmd::new();
    for argument in cmd {
        command.arg(*argument);
    }
    command.query_async(connection).await.unwrap()
}

/// Calls of each command since the last `CONFIG RESETSTAT`.
async fn calls(connection: &mut redis::aio::MultiplexedConnection) -> Vec<(String, u64)> {
    let info: String = query(connection, &["INFO", "commandstats"]).await;
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = rest.split_once(',')?.0.parse().ok()?;
        (!matches!(name, "info" | "config|resetstat")).then(|| (name.to_owned(), calls))
    };
    info.lines().filter_map(line).collect()
}

#[tokio::test]
async fn a_point_read_is_one_command_whatever_else_the_server_holds() {
    let server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut raw = raw(&server.url()).await;
    write(&store, vec![put(key(1, "a"), "1")]).await;
    let _: () = query(&mut raw, &["EVAL", "for i = 1, 10000 do redis.call('SET', 'other' .. i, i) end", "0"]).await;
    let _: () = query(&mut raw, &["CONFIG", "RESETSTAT"]).await;

    let response = read(&store, vec![Read::Point(key(1, "a")), Read::Point(key(1, "b"))]).await;
    assert_eq!((response.results[0].entries.len(), response.results[1].entries.len()), (1, 0));
    assert_eq!(calls(&mut raw).await, [("hmget".to_owned(), 1)]);

    let _: () = query(&mut raw, &["CONFIG", "RESETSTAT"]).await;
    read(&store, vec![all(1)]).await;
    write(&store, vec![put(key(1, "a"), "2")]).await;
    let calls = calls(&mut raw).await;
    assert!(calls.contains(&("evalsha".to_owned(), 2)), "{calls:?}");
}

#[tokio::test]
async fn reads_what_was_committed() {
    let place = Place::new().await;
    let store = place.store().await;
    let binary = Bytes::from_static(b"\0\xff\r\n\x80");
    let writes =
        vec![put(key(1, "b"), "2"), put(key(1, ""), binary.clone()), put(key(1, &binary), ""), put(key(2, "b"), "x")];
    assert_eq!(write(&store, writes).await, 1);
    assert_eq!(write(&store, vec![put(key(1, "b"), "3"), Write::Delete(key(2, "b"))]).await, 2);
    let response = read(&store, vec![all(1), all(2), Read::Point(key(1, "b"))]).await;
    assert_eq!(response.snapshot, 2);
    let found: Vec<_> =
        response.results[0].entries.iter().map(|e| (e.key.clone(), e.version, e.value.clone())).collect();
    let expected =
        [(key(1, ""), 1, binary.clone()), (key(1, &binary), 1, Bytes::new()), (key(1, "b"), 2, Bytes::from("3"))];
    assert_eq!(found, expected);
    assert!(response.results[1].entries.is_empty());
    assert_eq!(response.results[2].entries[0].value, "3");
}

#[tokio::test]
async fn pages_lead_through_long_ranges_both_ways() {
    let place = Place::new().await;
    let store = place.store().await;
    let names: Vec<_> = (0..3000).map(|i| key(1, format!("{i:05}"))).collect();
    for names in names.chunks(1500) {
        write(&store, names.iter().map(|name| put(name.clone(), vec![b'x'; 100])).collect()).await;
    }
    for (reverse, limits) in [
        (false, ReadLimits { entries: 700, bytes: 1 << 20 }),
        (true, ReadLimits { entries: 1 << 40, bytes: 10_000 }),
        (false, ReadLimits { entries: 0, bytes: 1 << 20 }),
    ] {
        let mut range = range(1);
        let mut found = Vec::new();
        let mut pages = 0;
        loop {
            let reads = vec![Read::Range { range: range.clone(), limit: None, reverse }];
            let page = answer(&store, ReadRequest { reads, limits, ..ReadRequest::default() }).await.results.remove(0);
            let size: usize = page.entries.iter().map(|e| e.key.len() + e.value.len()).sum();
            assert!(size <= limits.bytes + 109 && page.entries.len() <= limits.entries.max(1));
            found.extend(page.entries.into_iter().map(|entry| entry.key));
            pages += 1;
            match page.more {
                Some(last) if reverse => range.to = last,
                Some(last) => range.from = [&last[..], b"\0"].concat().into(),
                None => break,
            }
        }
        if reverse {
            found.reverse();
        }
        assert!(pages > 3);
        assert_eq!(found, names);
    }
    let part = KeyRange { from: key(1, "01000"), to: range(1).to };
    let exact = Read::Range { range: part, limit: Some(2000), reverse: false };
    let page = read(&store, vec![exact]).await.results.remove(0);
    assert_eq!((page.entries.len(), page.more), (2000, None));
}

#[tokio::test]
async fn follows_index_entries_to_large_rows() {
    let place = Place::new().await;
    let store = place.store().await;
    for i in 0..20 {
        let row = key(1, format!("row{i:02}"));
        write(&store, vec![put(row.clone(), vec![i; 100_000]), put(key(2, [i]), row)]).await;
    }
    write(&store, vec![put(key(2, [20]), key(1, "gone")), put(key(2, [21]), "v")]).await;
    let follow = |reverse| Read::Follow { range: range(2), limit: None, reverse };
    let limits = ReadLimits { entries: 100, bytes: 1 << 30 };
    let request = ReadRequest { reads: vec![follow(false)], limits, ..ReadRequest::default() };
    let entries = answer(&store, request).await.results.remove(0).entries;
    for (i, entry) in entries[..20].iter().enumerate() {
        let target = entry.target.as_ref().unwrap();
        assert_eq!((&target.key, target.version, target.value.len()), (&entry.value, i as u64 + 1, 100_000));
    }
    let reversed = read(&store, vec![follow(true)]).await.results.remove(0);
    assert!(reversed.more.is_some() && reversed.entries[..2].iter().all(|entry| entry.target.is_none()));
    assert!(reversed.entries.len() < 20);
}

#[tokio::test]
async fn long_requests_are_answered_whole() {
    let place = Place::new().await;
    let store = place.store().await;
    let names: Vec<_> = (0..5000).map(|i| key(1, format!("{i}"))).collect();
    for names in names.chunks(2000) {
        write(&store, names.iter().map(|name| put(name.clone(), name.clone())).collect()).await;
    }
    let reads: Vec<_> = names.iter().cloned().map(Read::Point).collect();
    let guards = vec![Guard::Present(key(1, "7"))];
    let request = ReadRequest { reads: reads.clone(), guards, ..ReadRequest::default() };
    for response in [read(&store, reads).await, answer(&store, request).await] {
        assert!(response.results.iter().zip(&names).all(|(result, name)| result.entries[0].value == *name));
    }
}

#[tokio::test]
async fn range_guards_see_every_change() {
    let place = Place::new().await;
    let store = place.store().await;
    write(&store, vec![put(key(1, "a"), "1"), put(key(1, "c"), "1"), put(key(1, "x"), "1")]).await;
    let part = KeyRange { from: key(1, "a"), to: key(1, "d") };
    let guard = |since, count| Guard::Range { range: part.clone(), since, count };
    let holds = async |guard: Guard| {
        let request = ReadRequest { guards: vec![guard], ..ReadRequest::default() };
        matches!(store.read(&home(), request).await.unwrap(), ReadOutcome::Answer(_))
    };
    assert!(holds(guard(1, 2)).await);
    assert!(!holds(guard(1, 1)).await && !holds(guard(1, 0)).await && !holds(guard(0, 2)).await);
    write(&store, vec![put(key(1, "x"), "2")]).await;
    assert!(holds(guard(1, 2)).await, "a change outside of the range");
    write(&store, vec![put(key(1, "b"), "1"), Write::Delete(key(1, "a"))]).await;
    assert!(!holds(guard(1, 2)).await && holds(guard(3, 2)).await);
    assert!(holds(Guard::Range { range: range(9), since: 0, count: 0 }).await);
    // Beyond what a script looks at, a change anywhere in the space counts.
    for first in (0..5000).step_by(1000) {
        write(&store, (first..first + 1000).map(|i| put(key(3, format!("{i:04}")), "")).collect()).await;
    }
    let large = |since| Guard::Range { range: KeyRange { from: key(3, "0"), to: key(3, "5") }, since, count: 5000 };
    assert!(holds(large(8)).await);
    write(&store, vec![put(key(3, "z"), "")]).await;
    assert!(!holds(large(8)).await);
}

#[tokio::test]
async fn counters_count_to_the_ends_of_their_type() {
    let place = Place::new().await;
    let store = place.store().await;
    let add = |delta, min, max| Write::Add { key: key(1, "n"), delta, min, max };
    let commit = async |write| store.commit(&home(), Commit { writes: vec![write], ..Commit::default() }).await;
    let value = async || {
        let entries = read(&store, vec![Read::Point(key(1, "n"))]).await.results.remove(0).entries;
        String::from_utf8(entries[0].value.to_vec()).unwrap().parse::<i64>().unwrap()
    };
    let out = CommitOutcome::OutOfBounds { write: 0 };
    for (start, delta) in [
        (i64::MAX - 1, 1),
        (i64::MIN + 1, -1),
        (i64::MAX, i64::MIN),
        (i64::MIN, i64::MAX),
        ((1 << 53) + 1, 2),
        (-1, 1),
        (1, -2),
        (999_999_999, 1),
        (-1_000_000_000, 1),
        (-999_999_999, -1),
        (0, 0),
    ] {
        write(&store, vec![put(key(1, "n"), start.to_string())]).await;
        assert!(matches!(commit(add(delta, i64::MIN, i64::MAX)).await.unwrap(), CommitOutcome::Committed { .. }));
        assert_eq!(value().await, start + delta);
    }
    write(&store, vec![put(key(1, "n"), i64::MAX.to_string())]).await;
    assert_eq!(commit(add(1, i64::MIN, i64::MAX)).await.unwrap(), out);
    assert_eq!(commit(add(-1, i64::MAX, i64::MAX)).await.unwrap(), out);
    assert_eq!(commit(add(0, i64::MIN, i64::MAX - 1)).await.unwrap(), out);
    assert_eq!(value().await, i64::MAX);
    for text in ["", "-", "1x", " 1", "9223372036854775808", "1.0"] {
        let version = write(&store, vec![put(key(1, "n"), text)]).await;
        assert!(matches!(commit(add(1, 0, 9)).await, Err(StoreError::Corrupt(_))), "{text:?}");
        assert_eq!(read(&store, vec![]).await.snapshot, version);
    }
}

#[tokio::test]
async fn lanes_follow_their_table() {
    let place = Place::new().await;
    let store = place.store().await;
    let commit = async |sequence, guards| {
        let ticket = Some(LaneTicket { client: u128::MAX - 1, lane: 7, sequence });
        store.commit(&home(), Commit { writes: vec![put(key(1, "a"), "")], guards, ticket, ..Commit::default() }).await
    };
    assert!(matches!(commit(2, vec![]).await, Err(StoreError::LaneClosed)));
    assert_eq!(commit(1, vec![]).await.unwrap(), CommitOutcome::Committed { version: 1 });
    assert_eq!(commit(1, vec![]).await.unwrap(), CommitOutcome::Committed { version: 1 });
    let absent = vec![Guard::Present(key(1, "a")), Guard::Absent(key(1, "a"))];
    assert_eq!(commit(u64::MAX - 1, absent).await.unwrap(), CommitOutcome::Conflict { guard: 1 });
    assert_eq!(commit(u64::MAX - 1, vec![]).await.unwrap(), CommitOutcome::Conflict { guard: 1 });
    assert!(matches!(commit(1 << 53, vec![]).await, Err(StoreError::LaneClosed)));
    assert_eq!(commit(u64::MAX, vec![]).await.unwrap(), CommitOutcome::Committed { version: 2 });
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let place = Place::new().await;
    let (one, other) = (place.store().await, RedisStore::connect(&format!("{}-b", place.url())).await.unwrap());
    write(&one, vec![put(key(1, "a"), "1")]).await;
    let response = read(&other, vec![Read::Point(key(1, "a")), all(1)]).await;
    assert_eq!(response.snapshot, 0);
    assert!(response.results.iter().all(|result| result.entries.is_empty()));
}

#[tokio::test]
async fn lost_scripts_are_loaded_again() {
    let server = Server::start(&[]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut raw = raw(&server.url()).await;
    let _: () = query(&mut raw, &["SCRIPT", "FLUSH"]).await;
    assert_eq!(write(&store, vec![put(key(1, "a"), "1")]).await, 1);
    let _: () = query(&mut raw, &["SCRIPT", "FLUSH"]).await;
    assert_eq!(read(&store, vec![all(1)]).await.results[0].entries.len(), 1);
}

#[tokio::test]
async fn damaged_data_is_reported_and_left_alone() {
    let place = Place::new().await;
    let store = place.store().await;
    let mut raw = place.raw().await;
    write(&store, vec![put(key(1, "a"), "1")]).await;
    let (data, order) = (place.key("site/h1", "d"), place.key("site/h1", "o\0\0\0\x01"));
    let attempt = async || {
        let guards = vec![Guard::Version { key: key(1, "a"), version: 1 }];
        store.commit(&home(), Commit { writes: vec![put(key(1, "b"), "")], guards, ..Commit::default() }).await
    };

    let _: () = query(&mut raw, &["HSET", &data, "\0\0\0\x01a", "short"]).await;
    let point = ReadRequest { reads: vec![Read::Point(key(1, "a"))], ..ReadRequest::default() };
    assert!(matches!(store.read(&home(), point).await, Err(StoreError::Corrupt(_))));
    let scan = ReadRequest { reads: vec![all(1)], ..ReadRequest::default() };
    assert!(matches!(store.read(&home(), scan.clone()).await, Err(StoreError::Corrupt(_))));
    assert!(matches!(attempt().await, Err(StoreError::Corrupt(_))));

    let _: () = query(&mut raw, &["HDEL", &data, "\0\0\0\x01a"]).await;
    assert!(matches!(store.read(&home(), scan).await, Err(StoreError::Corrupt(_))), "in its order, not in the data");

    let _: () = query(&mut raw, &["SET", &order, "x"]).await;
    let unguarded = Commit { writes: vec![put(key(1, "b"), ""), put(key(2, "b"), "")], ..Commit::default() };
    assert!(matches!(store.commit(&home(), unguarded.clone()).await, Err(StoreError::Corrupt(_))));
    let _: () = query(&mut raw, &["HSET", &data, "v", "not a version"]).await;
    let _: () = query(&mut raw, &["DEL", &order]).await;
    assert!(matches!(store.commit(&home(), unguarded).await, Err(StoreError::Corrupt(_))));
    let fields: u64 = query(&mut raw, &["HLEN", &data]).await;
    assert_eq!(fields, 2, "nothing but the version and the epoch");
}

#[tokio::test]
async fn unsuitable_servers_are_refused() {
    let evicting = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let error = RedisStore::connect(&evicting.url()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains("noeviction")), "{error}");
    let cluster = Server::start(&["--cluster-enabled", "yes"]).await;
    let error = RedisStore::connect(&cluster.url()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains("cluster")), "{error}");
}

#[tokio::test]
async fn credentials_are_checked_and_never_shown() {
    let server = Server::start(&["--requirepass", "secret"]).await;
    let url = |credentials: &str| format!("redis://{credentials}@127.0.0.1:{}", server.port());
    for error in [
        RedisStore::connect(&server.url()).await.unwrap_err(),
        RedisStore::connect(&url(":wrongsecret")).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
    let store = RedisStore::connect(&url(":secret")).await.unwrap();
    assert!(!format!("{store:?}").contains("secret"));
    write(&store, vec![put(key(1, "a"), "1")]).await;
}

#[tokio::test]
async fn a_full_server_says_so_and_keeps_reading() {
    let server = Server::start(&["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let fill = async |i: u32| {
        let writes = vec![put(key(1, i.to_be_bytes()), vec![0; 500_000])];
        store.commit(&home(), Commit { writes, ..Commit::default() }).await
    };
    let mut written = 0;
    let error = loop {
        match fill(written).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    let response =
        read(&store, vec![Read::Point(key(1, written.to_be_bytes())), Read::Point(key(1, 0u32.to_be_bytes()))]).await;
    assert_eq!((response.snapshot, response.results[0].entries.len()), (u64::from(written), 0));
    assert_eq!(response.results[1].entries.len(), 1);
    write(&store, (0..written).map(|i| Write::Delete(key(1, i.to_be_bytes()))).collect()).await;
    fill(0).await.unwrap();
}

/// What ends a transaction over several homes takes less room than what it had prepared, and so passes where nothing else does.
#[tokio::test]
async fn a_full_server_lets_pass_what_leaves_room() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]).await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let lane = |sequence| Some(LaneTicket { client: 1, lane: 1, sequence });
    let commit = async |sequence, guards: Vec<Guard>, writes: Vec<Write>| {
        store.commit(&home(), Commit { guards, writes, ticket: lane(sequence), ..Commit::default() }).await
    };
    let done = |outcome: Result<CommitOutcome, StoreError>| {
        assert!(matches!(outcome, Ok(CommitOutcome::Committed { .. })), "{outcome:?}");
    };
    let (row, mark) = (key(1, "row"), key(2, "mark"));
    done(commit(1, vec![], vec![put(row.clone(), vec![b'm'; 1_000]), put(mark.clone(), "promise")]).await);
    let mut raw = raw(&server.url()).await;
    let _: () = query(&mut raw, &["CONFIG", "SET", "maxmemory", "1mb"]).await;

    let other = key(1, "other");
    let larger = vec![put(row.clone(), vec![b'n'; 2_000]), Write::Delete(mark.clone())];
    for writes in [vec![put(other.clone(), "new")], larger, vec![Write::Add { key: other, delta: 1, min: 0, max: 9 }]] {
        let outcome = commit(2, vec![], writes).await;
        assert!(matches!(outcome, Err(StoreError::Full(_))), "{outcome:?}");
    }
    // A lane that is not there yet takes room.
    let outcome = store
        .commit(&home(), Commit { ticket: Some(LaneTicket { client: 2, lane: 1, sequence: 1 }), ..Commit::default() })
        .await;
    assert!(matches!(outcome, Err(StoreError::Full(_))), "{outcome:?}");
    // A refusal is kept, so that the commit never takes effect later.
    let refused = commit(2, vec![Guard::Absent(row.clone())], vec![]).await.unwrap();
    assert_eq!(refused, CommitOutcome::Conflict { guard: 0 });
    assert_eq!(commit(2, vec![], vec![Write::Delete(row.clone())]).await.unwrap(), refused);
    done(
        commit(3, vec![Guard::Present(mark.clone())], vec![put(row.clone(), "value"), Write::Delete(mark.clone())])
            .await,
    );
    let response = read(&store, vec![Read::Point(row), Read::Point(mark)]).await;
    assert_eq!((&response.results[0].entries[0].value[..], response.results[1].entries.len()), (&b"value"[..], 0));
}

#[tokio::test]
async fn the_tier_is_what_the_server_does() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let tier = async || RedisStore::connect(&server.url()).await.unwrap().capabilities().durability;
    assert_eq!(tier().await, Durability::Fsync);
    let mut raw = raw(&server.url()).await;
    let _: () = query(&mut raw, &["CONFIG", "SET", "appendfsync", "everysec"]).await;
    assert_eq!(tier().await, Durability::Async);
}

#[tokio::test]
async fn a_tier_is_asked_for_by_name() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let tier = async |name: &str| {
        let store = RedisStore::connect(&format!("{}?durability={name}", server.url())).await?;
        Ok::<_, StoreError>(store.capabilities().durability)
    };
    assert_eq!(tier("fsync").await.unwrap(), Durability::Fsync);
    assert_eq!(tier("async").await.unwrap(), Durability::Async);
    let mut raw = raw(&server.url()).await;
    let _: () = query(&mut raw, &["CONFIG", "SET", "appendfsync", "everysec"]).await;
    let error = tier("fsync").await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains("appendfsync")), "{error}");
    assert_eq!(tier("async").await.unwrap(), Durability::Async);
}

#[tokio::test]
async fn limits_are_kept_and_reached() {
    let place = Place::new().await;
    let store = place.store().await;
    let Capabilities { max_writes, max_guards, max_commit_bytes, .. } = *store.capabilities();
    let puts = |count: usize| (0..count).map(|i| put(key(1, format!("{i}")), "")).collect::<Vec<_>>();
    let guards = (0..max_guards).map(|i| Guard::Absent(key(2, format!("{i}")))).collect();
    let commit = Commit { writes: puts(max_writes), guards, ..Commit::default() };
    assert!(matches!(store.commit(&home(), commit).await.unwrap(), CommitOutcome::Committed { .. }));
    let commit = Commit { writes: puts(max_writes + 1), ..Commit::default() };
    assert!(matches!(store.commit(&home(), commit).await, Err(StoreError::TooLarge { .. })));
    let large = |size| Commit { writes: vec![put(key(3, ""), vec![7; size])], ..Commit::default() };
    store.commit(&home(), large(max_commit_bytes - 4)).await.unwrap();
    assert!(matches!(store.commit(&home(), large(max_commit_bytes)).await, Err(StoreError::TooLarge { .. })));
    assert_eq!(read(&store, vec![all(3)]).await.results[0].entries[0].value.len(), max_commit_bytes - 4);
}
