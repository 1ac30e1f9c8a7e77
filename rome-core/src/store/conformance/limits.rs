//! Limits and malformed requests: refused with a typed error, and nothing is written.

use super::rig::*;
use crate::store::{Commit, Guard, KeyRange, LaneTicket, Read, ReadRequest, StoreError, Write};
use bytes::Bytes;

/// Stores that take more than this in one commit are taken at their word.
const LARGEST_TRIED: usize = 128 << 20;

async fn too_large(rig: &Rig, commit: Commit, what: &str) {
    let outcome = rig.try_commit(commit).await;
    assert!(matches!(outcome, Err(StoreError::TooLarge { .. })), "{what} above the limit: {outcome:?}");
    assert_eq!(rig.get(&key("a")).await, None, "a commit with {what} above the limit wrote something");
}

/// One guard more than [`Capabilities::max_guards`](crate::store::Capabilities::max_guards), in a commit and in a read.
pub async fn too_many_guards_are_refused(rig: Rig) {
    let limit = rig.capabilities().max_guards;
    let guards: Vec<_> = (0..=limit).map(|i| Guard::Absent(key(&format!("g{i}")))).collect();
    let commit = Commit { guards: guards.clone(), writes: vec![put(&key("a"), "1")], ..Commit::default() };
    too_large(&rig, commit, "the number of guards").await;
    let outcome = rig.store.read(&rig.home, ReadRequest { guards, ..ReadRequest::default() }).await;
    assert!(matches!(outcome, Err(StoreError::TooLarge { .. })), "a read with too many guards: {outcome:?}");
}

/// One write or change more than [`Capabilities::max_writes`](crate::store::Capabilities::max_writes).
pub async fn too_many_writes_are_refused(rig: Rig) {
    let limit = rig.capabilities().max_writes;
    let mut writes: Vec<_> = (1..limit).map(|i| put(&key(&format!("w{i}")), "")).collect();
    writes.push(put(&key("a"), "1"));
    let mut commit = Commit { writes, changes: vec![change("s", "")], ..Commit::default() };
    too_large(&rig, commit.clone(), "the number of writes and changes").await;
    commit.changes.clear();
    commit.writes.push(put(&key("one more"), ""));
    too_large(&rig, commit, "the number of writes").await;
}

/// One byte more than [`Capabilities::max_commit_bytes`](crate::store::Capabilities::max_commit_bytes).
pub async fn too_many_bytes_are_refused(rig: Rig) {
    let limit = rig.capabilities().max_commit_bytes;
    if limit > LARGEST_TRIED {
        return;
    }
    let value = Bytes::from(vec![b'x'; limit + 1 - key("a").len()]);
    let writes = vec![Write::Put(key("a"), value.clone())];
    too_large(&rig, Commit { writes, ..Commit::default() }, "the size").await;
    let changes = vec![crate::store::Change { stream: Bytes::from_static(b"s"), payload: value }];
    too_large(&rig, Commit { writes: vec![put(&key("a"), "1")], changes, ..Commit::default() }, "the size").await;
}

fn malformed_ranges() -> Vec<KeyRange> {
    let short = Bytes::from_static(b"\0\0\x07");
    vec![
        KeyRange { from: key("a"), to: key_in(SPACE + 1, b"a") },
        KeyRange { from: key("a"), to: key_in(SPACE + 2, b"") },
        KeyRange { from: key("a"), to: key_in(SPACE - 1, b"z") },
        KeyRange { from: short, to: key("b") },
        KeyRange { from: key("a"), to: Bytes::new() },
    ]
}

/// Keys without a space, ranges that leave theirs.
pub async fn malformed_reads_are_invalid(rig: Rig) {
    let mut reads = vec![Read::Point(Bytes::new()), Read::Point(Bytes::from_static(b"abc"))];
    reads.extend(malformed_ranges().into_iter().map(range));
    for read in reads {
        let request = ReadRequest { reads: vec![read.clone()], ..ReadRequest::default() };
        let outcome = rig.store.read(&rig.home, request).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{read:?} came to {outcome:?}");
    }
    for range in malformed_ranges() {
        let guards = vec![Guard::Range { range, since: 0, count: 0 }];
        let outcome = rig.store.read(&rig.home, ReadRequest { guards: guards.clone(), ..Default::default() }).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{guards:?} came to {outcome:?}");
    }
}

/// The same in commits, and what is written twice. Nothing of such a commit is done.
pub async fn malformed_commits_are_invalid(rig: Rig) {
    let short = Bytes::from_static(b"abc");
    let writes = |writes: Vec<Write>| Commit { writes, ..Commit::default() };
    let guards = |guards: Vec<Guard>| Commit { guards, ..Commit::default() };
    let mut commits = vec![
        writes(vec![put(&short, "1")]),
        writes(vec![Write::Delete(Bytes::new())]),
        writes(vec![put(&key("b"), "1"), put(&key("b"), "2")]),
        writes(vec![put(&key("b"), "1"), Write::Delete(key("b"))]),
        writes(vec![add(&key("b"), 1), add(&key("b"), 2)]),
        guards(vec![Guard::Absent(short.clone())]),
        guards(vec![Guard::Version { key: short.clone(), version: 1 }]),
        Commit { changes: vec![change("s", "1"), change("s", "2")], ..Commit::default() },
        Commit { ticket: Some(LaneTicket { client: 1, lane: 0, sequence: 0 }), ..Commit::default() },
    ];
    commits
        .extend(malformed_ranges().into_iter().map(|range| guards(vec![Guard::Range { range, since: 0, count: 0 }])));
    for mut commit in commits {
        commit.writes.insert(0, put(&key("a"), "1"));
        let outcome = rig.try_commit(commit.clone()).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{commit:?} came to {outcome:?}");
        assert_eq!(rig.get(&key("a")).await, None, "{commit:?} wrote something");
    }
}
