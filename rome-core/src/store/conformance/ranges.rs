//! Ranges: order, bounds, limits and continuation.

use super::rig::*;
use crate::store::{Entry, KeyRange, Read, ReadLimits};

async fn letters(rig: &Rig) {
    rig.write(["d", "a", "c", "e", "b"].iter().map(|name| put(&key(name), &name.repeat(10))).collect()).await;
}

async fn cut(rig: &Rig, limit: usize, reverse: bool) -> (Vec<String>, Option<String>) {
    let result = rig.read_one(Read::Range { range: under(""), limit: Some(limit), reverse }).await;
    let more = result.more.as_ref().map(|last| String::from_utf8_lossy(&last[crate::store::SPACE_LEN..]).into_owned());
    (names(&result.entries), more)
}

/// The lower bound is inside, the upper bound is not.
pub async fn a_range_is_ordered_and_half_open(rig: Rig) {
    letters(&rig).await;
    let result = rig.read_one(range(between("b", "d"))).await;
    assert_eq!((names(&result.entries), result.more), (vec!["b".into(), "c".into()], None));
    let result = rig.read_one(range(between("aa", "dd"))).await;
    assert_eq!(names(&result.entries), ["b", "c", "d"], "bounds need not be keys");
    assert_eq!(names(&rig.read_one(range(under(""))).await.entries), ["a", "b", "c", "d", "e"]);
}

/// Descending, with the same bounds.
pub async fn a_reverse_range_descends(rig: Rig) {
    letters(&rig).await;
    let result = rig.read_one(Read::Range { range: between("b", "d"), limit: None, reverse: true }).await;
    assert_eq!((names(&result.entries), result.more), (vec!["c".into(), "b".into()], None));
}

/// Neighbouring spaces are never seen, also where the upper bound is the next space's first key.
pub async fn a_range_stays_in_its_space(rig: Rig) {
    for space in [0x06ff, 0x0700, 0x0701, 0x07ff, 0x0800] {
        rig.write(vec![put(&key_in(space, b""), "first"), put(&key_in(space, b"\xff\xff\xff"), "last")]).await;
    }
    for space in [0x06ff_u32, 0x0700, 0x07ff] {
        for reverse in [false, true] {
            let read = Read::Range { range: KeyRange::prefix(&space.to_be_bytes()), limit: None, reverse };
            let found: Vec<_> = rig.read_one(read).await.entries.into_iter().map(|entry| entry.key).collect();
            let mut expected = vec![key_in(space, b""), key_in(space, b"\xff\xff\xff")];
            if reverse {
                expected.reverse();
            }
            assert_eq!(found, expected, "the whole of space {space:#x}, reverse: {reverse}");
        }
    }
}

/// Nothing there, or bounds that leave no room.
pub async fn an_empty_range_has_no_entries(rig: Rig) {
    assert_eq!(rig.read_one(range(under(""))).await, Default::default(), "a fresh home is empty");
    letters(&rig).await;
    for nothing in [between("f", "g"), between("b", "b"), between("d", "b")] {
        let result = rig.read_one(range(nothing.clone())).await;
        assert_eq!(result, Default::default(), "{nothing:?} holds nothing");
    }
}

/// A read's own limit: the first entries in its direction, and `more` exactly where something may follow.
pub async fn a_limit_cuts_and_says_so(rig: Rig) {
    letters(&rig).await;
    assert_eq!(cut(&rig, 2, false).await, (vec!["a".into(), "b".into()], Some("b".into())));
    assert_eq!(cut(&rig, 2, true).await, (vec!["e".into(), "d".into()], Some("d".into())));
    let (all, more) = cut(&rig, 6, false).await;
    assert_eq!((all.len(), more), (5, None), "a limit that is not reached does not cut");
}

/// Pages by the request's number of entries, both directions.
pub async fn pages_by_entries_add_up(rig: Rig) {
    for entries in [1, 2, 3, 100] {
        add_up(&rig, ReadLimits { entries, ..ReadLimits::default() }, |pages| {
            pages.iter().all(|page| page.len() <= entries)
        })
        .await;
    }
}

/// Pages by the request's number of bytes. Engines may read more at once, but must come to an end with all.
pub async fn pages_by_bytes_add_up(rig: Rig) {
    for bytes in [1, 100, 1000, 1 << 20] {
        add_up(&rig, ReadLimits { bytes, ..ReadLimits::default() }, |_| true).await;
    }
}

async fn add_up(rig: &Rig, limits: ReadLimits, keeps: impl Fn(&[Vec<Entry>]) -> bool) {
    const ENTRIES: usize = 23;
    let expected: Vec<_> = (0..ENTRIES).map(|i| format!("{i:03}")).collect();
    rig.write(expected.iter().map(|name| put(&key(name), &name.repeat(8))).collect()).await;
    for reverse in [false, true] {
        let read = Read::Range { range: under(""), limit: None, reverse };
        let pages: Vec<_> = rig.pages(read, limits).await.into_iter().map(|page| page.entries).collect();
        assert!(keeps(&pages), "a page is longer than {limits:?} allow");
        let mut found = names(&pages.concat());
        if reverse {
            found.reverse();
        }
        assert_eq!(found, expected, "the pages under {limits:?} (reverse: {reverse}) add up to the range");
    }
}

/// More entries than one batch of an engine.
pub async fn a_long_range_is_complete(rig: Rig) {
    const ENTRIES: usize = 1000;
    let expected: Vec<_> = (0..ENTRIES).map(|i| format!("{i:05}")).collect();
    for chunk in expected.chunks(100) {
        rig.write(chunk.iter().map(|name| put(&key(name), name)).collect()).await;
    }
    let pages = rig.pages(range(under("")), ReadLimits::default()).await;
    let found: Vec<_> = pages.into_iter().flat_map(|page| page.entries).collect();
    assert!(found.iter().all(|entry| entry.key.ends_with(&entry.value)), "each entry has its own value");
    assert_eq!(names(&found), expected);
}
