//! Point reads, and what holds for every read request.

use super::rig::*;
use crate::store::{KeyRange, Read, ReadRequest, Write};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A value comes back with the version of the commit that wrote it.
pub async fn a_point_read_finds_what_was_put(rig: Rig) {
    assert_eq!(rig.get(&key("a")).await, None, "a fresh home has no keys");
    let first = rig.put(&key("a"), "1").await;
    let found = rig.get(&key("a")).await.expect("the key was put");
    assert_eq!((&found.key, found.version, &found.value[..]), (&key("a"), first, &b"1"[..]));
    let second = rig.put(&key("a"), "").await;
    let found = rig.get(&key("a")).await.expect("a key with an empty value exists");
    assert_eq!((found.version, found.value.len(), found.target), (second, 0, None));
    rig.delete(&key("a")).await;
    assert_eq!(rig.get(&key("a")).await, None, "a deleted key is gone");
}

/// The n-th result answers the n-th read, also for repeated and mixed reads.
pub async fn results_come_in_the_order_of_the_reads(rig: Rig) {
    rig.write(vec![put(&key("a"), "1"), put(&key("b"), "2"), put(&key("c"), "3")]).await;
    let point = |name: &str| Read::Point(key(name));
    let reads = vec![point("c"), point("missing"), range(between("a", "c")), point("a"), point("c")];
    let results = rig.read(reads).await.results;
    let found: Vec<_> = results.iter().map(|result| names(&result.entries)).collect();
    assert_eq!(found, [vec!["c"], vec![], vec!["a", "b"], vec!["a"], vec!["c"]]);
}

/// No reads: only the snapshot.
pub async fn a_request_without_reads_is_answered(rig: Rig) {
    let written = rig.put(&key("a"), "1").await;
    let response = rig.request(ReadRequest::default()).await;
    assert!(response.results.is_empty());
    assert!(response.snapshot >= written, "the snapshot is not older than an acknowledged commit");
}

/// While a writer changes several keys in each commit, no request sees some of them old and some new.
pub async fn all_reads_of_a_request_see_one_state(rig: Rig) {
    const ROUNDS: usize = 100;
    let keys = [key("x"), key("y"), key_in(SPACE + 1, b"z")];
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (rig, keys, stop) = (rig.clone(), keys.clone(), stop.clone());
        async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                rig.write(keys.iter().map(|key| put(key, &round.to_string())).collect()).await;
                // A store that never waits would keep the thread for itself.
                tokio::task::yield_now().await;
            }
        }
    });
    for _ in 0..ROUNDS {
        let mut reads: Vec<_> = keys.iter().map(|key| Read::Point(key.clone())).collect();
        reads.push(range(under("")));
        let response = rig.read(reads).await;
        let entries: Vec<_> = response.results.iter().flat_map(|result| &result.entries).collect();
        let seen: std::collections::BTreeSet<_> = entries.iter().map(|entry| (entry.version, &entry.value)).collect();
        assert!(seen.len() <= 1, "one request saw several states: {seen:?}");
        assert!(matches!(entries.len(), 0 | 5), "one request saw a commit in part: {} of 5 entries", entries.len());
        assert!(entries.iter().all(|entry| entry.version <= response.snapshot), "an entry is newer than its snapshot");
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("the writer ends");
}

/// Snapshots never go back behind an acknowledged commit.
pub async fn an_acknowledged_commit_is_seen(rig: Rig) {
    let mut last = 0;
    for round in 0..20 {
        let written = rig.put(&key("a"), &round.to_string()).await;
        let response = rig.read(vec![Read::Point(key("a"))]).await;
        assert_eq!(response.results[0].entries[0].value, round.to_string(), "a read missed an acknowledged commit");
        assert!(response.snapshot >= written && response.snapshot >= last, "a snapshot went back");
        last = response.snapshot;
    }
}

/// Two homes with the same keys do not see each other.
pub async fn homes_are_separate(rig: Rig) {
    let other = rig.another_home();
    rig.put(&key("a"), "here").await;
    assert_eq!(other.value(&key("a")).await, None, "a home shows another home's key");
    other.put(&key("a"), "there").await;
    other.delete(&key("b")).await;
    assert_eq!(rig.value(&key("a")).await.as_deref(), Some("here"));
    assert_eq!(other.value(&key("a")).await.as_deref(), Some("there"));
}

/// Zero bytes, 0xFF bytes, keys that are prefixes of each other, the bare space as a key.
pub async fn binary_keys_and_values_survive(rig: Rig) {
    let suffixes: [&[u8]; 12] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"\x01",
        b"\n\r:{}*?[]",
        b"a",
        b"a\0",
        b"a\0b",
        b"\x80\xfe",
        b"\xff",
        b"\xff\xff",
    ];
    let spaces = [0, 0xff, 0x0100, 0x00ff_ffff, 0xffff_fffe];
    let all_bytes = Bytes::from((0..=u8::MAX).collect::<Vec<_>>());
    for space in spaces {
        let value = |suffix: &[u8]| Bytes::from([&all_bytes[..], suffix].concat());
        rig.write(suffixes.iter().map(|suffix| Write::Put(key_in(space, suffix), value(suffix))).collect()).await;
        for suffix in suffixes {
            let found = rig.get(&key_in(space, suffix)).await;
            let found = found.unwrap_or_else(|| panic!("the key {suffix:?} of space {space:#x} was put"));
            assert_eq!(found.value, value(suffix), "the value of {suffix:?} in space {space:#x}");
        }
        let mut sorted: Vec<_> = suffixes.iter().map(|suffix| key_in(space, suffix)).collect();
        sorted.sort();
        let found = rig.read_one(range(KeyRange::prefix(&space.to_be_bytes()))).await;
        let found: Vec<_> = found.entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!(found, sorted, "binary keys of space {space:#x} in order");
    }
}

/// Values of up to 1 MiB, as far as the store's limits allow.
pub async fn large_values_survive(rig: Rig) {
    for size in [1 << 10, 1 << 16, 1 << 18, 1 << 20] {
        if size + 64 > rig.capabilities().max_commit_bytes {
            continue;
        }
        let value = Bytes::from((0..size).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>());
        let name = key(&format!("large-{size}"));
        rig.write(vec![Write::Put(name.clone(), value.clone())]).await;
        let found = rig.get(&name).await.expect("a large value was put");
        assert!(found.value == value, "a value of {size} bytes came back changed ({} bytes)", found.value.len());
    }
}

/// A request longer than one round trip of the engine is split by the engine.
pub async fn many_points_in_one_request(rig: Rig) {
    const POINTS: usize = 300;
    let name = |i: usize| key(&format!("{i:04}"));
    for chunk in (0..POINTS).collect::<Vec<_>>().chunks(50) {
        rig.write(chunk.iter().map(|i| put(&name(*i), &i.to_string())).collect()).await;
    }
    let results = rig.read((0..POINTS).rev().map(|i| Read::Point(name(i))).collect()).await.results;
    for (result, i) in results.iter().zip((0..POINTS).rev()) {
        assert_eq!(result.entries.len(), 1, "point {i} is found");
        assert_eq!(result.entries[0].value, i.to_string(), "point {i} has its own value");
    }
}
