//! Following index entries to the entries that they name.

use super::rig::*;
use crate::store::{KeyRange, Read, ReadLimits, StoreError, Write};

const INDEX: u32 = SPACE + 8;

/// Three rows and an index over them in another order; false where the store does not follow (and says so).
async fn prepared(rig: &Rig) -> bool {
    let entry = |order: &str, row: &str| Write::Put(key_in(INDEX, order.as_bytes()), key(row));
    rig.write(vec![
        put(&key("row-a"), "A"),
        put(&key("row-b"), "B"),
        put(&key("row-c"), "C"),
        entry("1", "row-c"),
        entry("2", "row-a"),
        entry("3", "row-b"),
    ])
    .await;
    if rig.capabilities().follow {
        return true;
    }
    let request = crate::store::ReadRequest { reads: vec![follow(None, false)], ..Default::default() };
    let outcome = rig.store.read(&rig.home, request).await;
    assert!(matches!(outcome, Err(StoreError::Invalid(_))), "a store that does not follow refuses: {outcome:?}");
    false
}

fn follow(limit: Option<usize>, reverse: bool) -> Read {
    Read::Follow { range: KeyRange::prefix(&INDEX.to_be_bytes()), limit, reverse }
}

/// Each index entry in index order, with the row as its target.
pub async fn index_entries_come_with_their_targets(rig: Rig) {
    if !prepared(&rig).await {
        return;
    }
    let version = rig.put(&key("row-a"), "A2").await;
    let found = rig.read_one(follow(None, false)).await.entries;
    assert_eq!(names(&found), ["1", "2", "3"]);
    for (entry, (row, value)) in found.iter().zip([("row-c", "C"), ("row-a", "A2"), ("row-b", "B")]) {
        let target = entry.target.as_ref().expect("the row exists");
        assert_eq!((&entry.value, &target.key, &target.value[..]), (&key(row), &key(row), value.as_bytes()));
        assert_eq!(target.target, None);
    }
    assert_eq!(found[1].target.as_ref().map(|target| target.version), Some(version), "the target's own version");
}

/// An entry whose row is not there is returned without a target.
pub async fn a_dangling_entry_has_no_target(rig: Rig) {
    if !prepared(&rig).await {
        return;
    }
    rig.delete(&key("row-a")).await;
    rig.put(&key_in(INDEX, b"4"), "no").await;
    let found = rig.read_one(follow(None, false)).await.entries;
    let targets: Vec<_> = found.iter().map(|entry| entry.target.as_ref().map(|target| target.key.clone())).collect();
    assert_eq!(targets, [Some(key("row-c")), None, Some(key("row-b")), None]);
}

/// Limits and continuation count index entries.
pub async fn following_is_limited_and_continued(rig: Rig) {
    if !prepared(&rig).await {
        return;
    }
    let cut = rig.read_one(follow(Some(2), true)).await;
    assert_eq!((names(&cut.entries), cut.more), (vec!["3".into(), "2".into()], Some(key_in(INDEX, b"2"))));
    for limits in [ReadLimits { entries: 1, ..Default::default() }, ReadLimits { bytes: 1, ..Default::default() }] {
        let pages = rig.pages(follow(None, false), limits).await;
        let found: Vec<_> = pages.into_iter().flat_map(|page| page.entries).collect();
        assert_eq!(names(&found), ["1", "2", "3"], "pages under {limits:?}");
        assert!(found.iter().all(|entry| entry.target.is_some()));
    }
}
