//! Commits: versions, all or nothing, and the unusual shapes.

use super::rig::*;
use crate::store::{Commit, CommitOutcome, Guard, Read, Write};

/// One commit, one version.
pub async fn all_keys_of_a_commit_have_its_version(rig: Rig) {
    let far = key_in(SPACE + 5, b"far");
    let version = rig.write(vec![put(&key("a"), "1"), put(&far, "2"), add(&key("n"), 3)]).await;
    for key in [key("a"), far, key("n")] {
        assert_eq!(rig.get(&key).await.expect("written").version, version, "the version of {key:?}");
    }
}

/// Every commit that writes has a higher version than all before it, deletes included.
pub async fn versions_rise(rig: Rig) {
    let mut last = rig.snapshot().await;
    for round in 0..10 {
        let version = match round % 3 {
            0 => rig.put(&key("a"), "1").await,
            1 => rig.delete(&key("a")).await,
            _ => rig.write(vec![add(&key("n"), 1)]).await,
        };
        assert!(version > last, "version {version} does not rise above {last}");
        last = rig.snapshot().await;
        assert!(last >= version, "the snapshot {last} lies behind the commit {version}");
    }
}

/// No guards and no writes, or guards alone: an outcome, and nothing else.
pub async fn a_commit_without_writes_changes_nothing(rig: Rig) {
    let empty = rig.commit(Commit::default()).await;
    assert!(matches!(empty, CommitOutcome::Committed { .. }), "an empty commit succeeds, on a fresh home too");
    let written = rig.put(&key("a"), "1").await;
    assert!(version(rig.commit(Commit::default()).await) >= written, "an empty commit returns the home's version");
    assert!(rig.holds(Guard::Version { key: key("a"), version: written }).await);
    assert!(!rig.holds(Guard::Absent(key("a"))).await, "guards count without writes too");
    assert_eq!(rig.get(&key("a")).await.map(|entry| entry.version), Some(written));
}

/// Deleting is idempotent.
pub async fn deleting_what_is_not_there_is_no_error(rig: Rig) {
    rig.delete(&key("never")).await;
    rig.write(vec![Write::Delete(key("never")), put(&key("a"), "1")]).await;
    assert_eq!(rig.value(&key("a")).await.as_deref(), Some("1"));
    assert_eq!(rig.get(&key("never")).await, None);
}

/// The last of several guards fails: none of the writes, counters or changes is there.
pub async fn a_failed_guard_writes_nothing(rig: Rig) {
    let version = rig.put(&key("a"), "1").await;
    let guards = vec![Guard::Present(key("a")), Guard::Version { key: key("a"), version }, Guard::Absent(key("a"))];
    let writes = vec![put(&key("a"), "2"), put(&key("b"), "2"), Write::Delete(key("a2")), add(&key("n"), 1)];
    let changes = vec![change("s", "never")];
    let outcome = rig.commit(Commit { guards, writes, changes, ..Commit::default() }).await;
    assert_eq!(outcome, CommitOutcome::Conflict { guard: 2 });
    assert_eq!(rig.value(&key("a")).await.as_deref(), Some("1"), "a refused commit changed a key");
    assert_eq!(rig.get(&key("b")).await, None, "a refused commit made a key");
    assert_eq!(rig.get(&key("n")).await, None, "a refused commit made a counter");
}

/// The last of several writes is impossible: none is done.
pub async fn a_counter_out_of_bounds_writes_nothing(rig: Rig) {
    rig.write(vec![put(&key("a"), "1"), put(&key("old"), "1"), add(&key("full"), 10), add(&key("free"), 1)]).await;
    let over = Write::Add { key: key("full"), delta: 1, min: 0, max: 10 };
    let writes = vec![
        put(&key("a"), "2"),
        put(&key_in(SPACE + 1, b"b"), "2"),
        Write::Delete(key("old")),
        add(&key("free"), 1),
        over,
    ];
    let outcome = rig.commit(Commit { writes, ..Commit::default() }).await;
    assert_eq!(outcome, CommitOutcome::OutOfBounds { write: 4 });
    let response = rig.read(["a", "old", "full", "free"].iter().map(|name| Read::Point(key(name))).collect()).await;
    let values: Vec<_> = response.results.iter().map(|result| &result.entries[0].value[..]).collect();
    assert_eq!(values, [&b"1"[..], b"1", b"10", b"1"], "a commit that was out of bounds wrote in part");
    assert_eq!(rig.get(&key_in(SPACE + 1, b"b")).await, None, "a commit that was out of bounds made a key");
}

/// All kinds of writes in one commit.
pub async fn puts_deletes_and_adds_go_together(rig: Rig) {
    rig.write(vec![put(&key("a"), "1"), put(&key("b"), "1"), add(&key("n"), 5)]).await;
    rig.write(vec![put(&key("a"), "2"), Write::Delete(key("b")), add(&key("n"), -7), put(&key("c"), "1")]).await;
    let found = rig.read_one(range(under(""))).await.entries;
    let found: Vec<_> = found.iter().map(|entry| (entry.key.clone(), &entry.value[..])).collect();
    assert_eq!(found, [(key("a"), &b"2"[..]), (key("c"), b"1"), (key("n"), b"-2")]);
}

/// As many guards and writes as the store says that it takes (up to a thousand of each).
pub async fn a_commit_may_be_as_large_as_a_batch(rig: Rig) {
    let guards = rig.capabilities().max_guards.min(1000);
    let writes = rig.capabilities().max_writes.min(1000);
    let name = |i: usize| key(&format!("{i:04}"));
    let commit = Commit {
        guards: (0..guards).map(|i| Guard::Absent(name(i))).collect(),
        writes: (0..writes).map(|i| put(&name(i), "x")).collect(),
        ..Commit::default()
    };
    version(rig.commit(commit.clone()).await);
    assert_eq!(rig.read_one(range(under(""))).await.entries.len(), writes, "each write of a large commit is there");
    let again = rig.commit(commit).await;
    assert!(matches!(again, CommitOutcome::Conflict { .. }), "a large commit's guards count: {again:?}");
}
