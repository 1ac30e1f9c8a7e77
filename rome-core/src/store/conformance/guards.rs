//! Guards, of commits and of reads.

use super::rig::*;
use crate::store::{Commit, CommitOutcome, Guard, KeyRange, Read, ReadOutcome, ReadRequest, Write, successor};

/// A version guard holds only for the very version that was read.
pub async fn a_version_guard_sees_update_delete_and_rebirth(rig: Rig) {
    let first = rig.put(&key("a"), "1").await;
    let guard = Guard::Version { key: key("a"), version: first };
    assert!(rig.holds(guard.clone()).await, "nothing happened");
    rig.put(&key("b"), "1").await;
    assert!(rig.holds(guard.clone()).await, "another key was written");
    rig.put(&key("a"), "1").await;
    assert!(!rig.holds(guard.clone()).await, "an update to the same value is an update");
    rig.delete(&key("a")).await;
    assert!(!rig.holds(guard.clone()).await, "the key was deleted");
    rig.put(&key("a"), "1").await;
    assert!(!rig.holds(guard).await, "the key was born again");
    let never = Guard::Version { key: key("never"), version: first };
    assert!(!rig.holds(never).await, "the key never existed");
}

/// Existence, whatever the version.
pub async fn absent_and_present_guards(rig: Rig) {
    let (absent, present) = (Guard::Absent(key("a")), Guard::Present(key("a")));
    assert!(rig.holds(absent.clone()).await && !rig.holds(present.clone()).await, "a fresh home");
    for value in ["1", ""] {
        rig.put(&key("a"), value).await;
        assert!(!rig.holds(absent.clone()).await && rig.holds(present.clone()).await, "put with the value {value:?}");
    }
    rig.delete(&key("a")).await;
    assert!(rig.holds(absent).await && !rig.holds(present).await, "deleted");
}

/// The index in a conflict belongs to a guard that failed.
pub async fn a_conflict_names_a_guard_that_failed(rig: Rig) {
    rig.put(&key("a"), "1").await;
    let mut guards = vec![Guard::Present(key("a")); 5];
    guards[1] = Guard::Absent(key("a"));
    let outcome = rig.commit(Commit { guards: guards.clone(), ..Commit::default() }).await;
    assert_eq!(outcome, CommitOutcome::Conflict { guard: 1 });
    guards[3] = Guard::Version { key: key("missing"), version: 1 };
    let outcome = rig.commit(Commit { guards, ..Commit::default() }).await;
    assert!(matches!(outcome, CommitOutcome::Conflict { guard: 1 | 3 }), "guards 1 and 3 failed, not {outcome:?}");
}

/// A commit may write what it guards.
pub async fn guards_look_at_the_state_before_the_commit(rig: Rig) {
    let empty = rig.guard_of(under("")).await;
    let first = rig.guarded(vec![Guard::Absent(key("a")), empty.clone()], vec![put(&key("a"), "1")]).await;
    let version = first.expect("a guard saw its own commit's write");
    let again = rig.guarded(vec![empty], vec![put(&key("b"), "1")]).await;
    assert_eq!(again, None, "the range is not empty any more");
    let guards = vec![Guard::Version { key: key("a"), version }, Guard::Present(key("a"))];
    rig.guarded(guards, vec![Write::Delete(key("a"))]).await.expect("a guard saw its own commit's delete");
}

async fn three(rig: &Rig) -> Guard {
    rig.write(["b", "d", "f"].iter().map(|name| put(&key(name), "1")).collect()).await;
    rig.guard_of(between("b", "g")).await
}

/// No false conflict while the home is at rest, nor after a commit that failed.
pub async fn a_range_guard_holds_while_nothing_changes(rig: Rig) {
    let guard = three(&rig).await;
    assert!(rig.holds(guard.clone()).await);
    assert_eq!(rig.guarded(vec![Guard::Absent(key("b"))], vec![put(&key("c"), "1")]).await, None);
    assert!(rig.holds(guard.clone()).await, "a commit that was refused changed nothing");
    assert!(rig.guarded(vec![guard.clone()], vec![put(&key("z"), "1")]).await.is_some());
}

/// At the front, in the middle and at the end.
pub async fn a_range_guard_sees_inserts(rig: Rig) {
    for name in ["b", "c", "ff"] {
        rig.delete(&key("b")).await;
        let guard = rig.guard_of(between("b", "g")).await;
        rig.put(&key(name), "1").await;
        assert!(!rig.holds(guard).await, "the range guard missed the insert of {name}");
    }
}

/// Also updates that leave the value as it was.
pub async fn a_range_guard_sees_updates(rig: Rig) {
    for name in ["b", "d", "f"] {
        let guard = three(&rig).await;
        rig.put(&key(name), "1").await;
        assert!(!rig.holds(guard).await, "the range guard missed the update of {name}");
    }
    rig.write(vec![add(&key("d2"), 1)]).await;
    let guard = rig.guard_of(between("b", "g")).await;
    rig.write(vec![add(&key("d2"), 1)]).await;
    assert!(!rig.holds(guard).await, "the range guard missed an addition to a counter");
}

/// A delete leaves no key behind that could show a version.
pub async fn a_range_guard_sees_deletes(rig: Rig) {
    for name in ["b", "d", "f"] {
        let guard = three(&rig).await;
        rig.delete(&key(name)).await;
        assert!(!rig.holds(guard).await, "the range guard missed the delete of {name}");
    }
    let guard = three(&rig).await;
    rig.write(["b", "d", "f"].iter().map(|name| Write::Delete(key(name))).collect()).await;
    assert!(!rig.holds(guard.clone()).await, "the range guard missed that everything was deleted");
    rig.put(&key("outside"), "1").await;
    assert!(!rig.holds(guard).await, "a later commit elsewhere hides deletes");
}

/// The number of keys stays the same.
pub async fn a_range_guard_sees_a_delete_with_an_insert(rig: Rig) {
    let guard = three(&rig).await;
    rig.write(vec![Write::Delete(key("d")), put(&key("e"), "1")]).await;
    assert!(!rig.holds(guard).await, "in one commit");
    rig.delete(&key("e")).await;
    let guard = three(&rig).await;
    rig.put(&key("c"), "1").await;
    rig.delete(&key("f")).await;
    assert!(!rig.holds(guard).await, "in two commits");
}

/// Deleted and put again: the same keys and values, and yet not unchanged.
pub async fn a_range_guard_sees_a_rebirth(rig: Rig) {
    let guard = three(&rig).await;
    rig.delete(&key("d")).await;
    rig.put(&key("d"), "1").await;
    assert!(!rig.holds(guard).await);
}

/// `count: 0` asks whether the range is empty, at any `since`.
pub async fn a_range_guard_of_nothing_means_empty(rig: Rig) {
    let empty = |since| Guard::Range { range: under(""), since, count: 0 };
    assert!(rig.holds(empty(0)).await, "a fresh home's range is empty");
    rig.put(&key("a"), "1").await;
    let now = rig.snapshot().await;
    assert!(!rig.holds(empty(0)).await && !rig.holds(empty(now)).await, "a range with a key is not empty");
    rig.delete(&key("a")).await;
    assert!(rig.holds(empty(rig.snapshot().await)).await, "an emptied range is empty");
    let nothing = Guard::Range { range: between("b", "b"), since: 0, count: 0 };
    assert!(rig.holds(nothing).await, "a range without room is empty");
}

/// A reader of the first two keys conflicts with what happens up to the second, not with what happens beyond.
pub async fn a_limited_range_guards_only_what_was_read(rig: Rig) {
    three(&rig).await;
    let read = Read::Range { range: under(""), limit: Some(2), reverse: false };
    let response = rig.read(vec![read]).await;
    let last = response.results[0].more.clone().expect("a third key follows");
    assert_eq!(last, key("d"), "`more` is the last key examined");
    let seen = KeyRange { from: key(""), to: successor(&last) };
    let guard = Guard::Range { range: seen, since: response.snapshot, count: 2 };
    rig.write(vec![put(&key("e"), "1"), Write::Delete(key("f")), put(&key("d\0"), "1")]).await;
    assert!(rig.holds(guard.clone()).await, "a change beyond the limit is no conflict");
    rig.put(&key("c"), "1").await;
    assert!(!rig.holds(guard).await, "a change before the limit is a conflict");
}

/// A range guard is about its range: the neighbours and the other spaces do not matter.
pub async fn a_range_guard_ignores_other_spaces(rig: Rig) {
    let guard = three(&rig).await;
    rig.write(vec![put(&key_in(SPACE + 1, b"c"), "1"), Write::Delete(key_in(SPACE - 1, b"c"))]).await;
    assert!(rig.holds(guard.clone()).await, "another space");
    rig.write(vec![put(&key("a"), "1"), put(&key("g"), "1")]).await;
    assert!(rig.holds(guard).await, "the keys before and at the end");
}

/// The coarse guard counts nothing and yet sees inserts, updates and deletes, in a commit and in a read; at rest it holds.
pub async fn an_unchanged_guard_sees_every_change(rig: Rig) {
    let changes: [fn() -> Write; 4] =
        [|| put(&key("c"), "1"), || put(&key("d"), "1"), || Write::Delete(key("d")), || add(&key("n"), 1)];
    for (index, change) in changes.iter().enumerate() {
        three(&rig).await;
        let guard = Guard::Unchanged { range: under(""), since: rig.snapshot().await };
        rig.write(vec![put(&key_in(SPACE + 1, b"c"), "1"), Write::Delete(key_in(SPACE - 1, b"c"))]).await;
        assert!(rig.holds(guard.clone()).await, "nothing changed in its space");
        assert!(matches!(read_under(&rig, vec![guard.clone()]).await, ReadOutcome::Answer(_)), "nothing changed");
        rig.write(vec![change()]).await;
        assert!(!rig.holds(guard.clone()).await, "change number {index} was missed by a commit");
        let outcome = read_under(&rig, vec![guard]).await;
        assert_eq!(outcome, ReadOutcome::Conflict { guard: 0 }, "change number {index} was missed by a read");
    }
    let untouched = Guard::Unchanged { range: KeyRange::prefix(&key_in(SPACE + 2, b"")), since: 0 };
    assert!(rig.holds(untouched).await, "nobody ever wrote there");
}

async fn read_under(rig: &Rig, guards: Vec<Guard>) -> ReadOutcome {
    let request = ReadRequest { reads: vec![Read::Point(key("a"))], guards, ..ReadRequest::default() };
    rig.store.read(&rig.home, request).await.expect("a guarded read has an outcome")
}

/// Guards of reads, one key at a time.
pub async fn a_guarded_read_answers_or_conflicts(rig: Rig) {
    let version = rig.put(&key("a"), "1").await;
    let good = vec![
        Guard::Version { key: key("a"), version },
        Guard::Absent(key("b")),
        Guard::Present(key("a")),
        rig.guard_of(under("")).await,
    ];
    match read_under(&rig, good.clone()).await {
        ReadOutcome::Answer(response) => assert_eq!(response.results[0].entries[0].value, "1"),
        conflict => panic!("all guards hold: {conflict:?}"),
    }
    let bad = [
        Guard::Version { key: key("a"), version: version + 1 },
        Guard::Absent(key("a")),
        Guard::Present(key("b")),
        Guard::Range { range: under(""), since: version, count: 0 },
    ];
    for guard in bad {
        let mut guards = good.clone();
        guards.push(guard.clone());
        assert_eq!(read_under(&rig, guards).await, ReadOutcome::Conflict { guard: 4 }, "{guard:?} does not hold");
    }
}

/// Range guards of reads see what those of commits see.
pub async fn a_guarded_read_sees_range_changes(rig: Rig) {
    let changes: [fn() -> Write; 3] = [|| put(&key("c"), "1"), || put(&key("d"), "1"), || Write::Delete(key("d"))];
    for (index, change) in changes.iter().enumerate() {
        let guard = three(&rig).await;
        assert!(matches!(read_under(&rig, vec![guard.clone()]).await, ReadOutcome::Answer(_)), "nothing changed");
        rig.write(vec![change()]).await;
        let outcome = read_under(&rig, vec![guard]).await;
        assert_eq!(outcome, ReadOutcome::Conflict { guard: 0 }, "insert, update, delete: number {index} was missed");
    }
}
