//! What stands between a transaction and the marks of others: guards on marks, and the marks that it leaves itself.

use super::buffer::Pending;
use super::marks::{Blob, Interval, decode, encode, range_mark};
use super::marks::{KeyMark, TxnId, all_marks, owner_of, range_marks_near};
use crate::error::Result;
use crate::store::{Entry, Guard, Key, KeyRange, SPACE_LEN, Version, Write};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Range marks of a space as they were looked at, none of them in the way.
pub(super) type KnownRanges = BTreeMap<[u8; SPACE_LEN], (Version, u64)>;

/// What a guard on marks stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Met {
    /// Some mark of the home.
    Any,
    /// A mark of this kind on a key.
    OnKey(KeyMark, Key),
    /// A range mark in the space of this key.
    Near(Key),
}

/// Guards that no other transaction's mark is in the way of these writes, and of keys that are relied upon to be present.
pub(super) fn guards_against_marks<'w>(
    writes: impl Iterator<Item = (&'w Key, &'w Pending)>,
    present: &[Key],
    careful: bool,
    known: &KnownRanges,
) -> Vec<(Guard, Met)> {
    let none = |range: KeyRange| Guard::Range { range, since: 0, count: 0 };
    let mut writes = writes.peekable();
    if !careful {
        let any = writes.peek().is_some() || !present.is_empty();
        return any.then(|| (none(all_marks()), Met::Any)).into_iter().collect();
    }
    let mut guards = Vec::new();
    let mut spaces = BTreeSet::new();
    for (key, value) in writes {
        guards.push((none(KeyMark::Read.all_on(key)), Met::OnKey(KeyMark::Read, key.clone())));
        if value.is_none() {
            guards.push((none(KeyMark::Keep.all_on(key)), Met::OnKey(KeyMark::Keep, key.clone())));
        }
        let Some(space) = key.first_chunk::<SPACE_LEN>() else { continue };
        if spaces.insert(*space) {
            let (since, count) = known.get(space).copied().unwrap_or_default();
            let guard = Guard::Range { range: range_marks_near(key), since, count };
            guards.push((guard, Met::Near(key.clone())));
        }
    }
    for key in present {
        guards.push((none(KeyMark::Presence.all_on(key)), Met::OnKey(KeyMark::Presence, key.clone())));
    }
    guards
}

impl Met {
    /// Where the marks lie that the guard speaks of.
    pub(super) fn range(&self) -> KeyRange {
        match self {
            Self::Any => all_marks(),
            Self::OnKey(kind, key) => kind.all_on(key),
            Self::Near(key) => range_marks_near(key),
        }
    }

    /// Of the marks that lie there, the transaction of one that is in the way of writing these keys.
    pub(super) fn in_the_way<'w>(
        &self,
        marks: &[Entry],
        mut written: impl Iterator<Item = &'w Key>,
    ) -> Result<Option<TxnId>> {
        match self {
            Self::Any => Ok(None),
            Self::OnKey(..) => marks.first().map(|mark| owner_of(&mark.key)).transpose(),
            Self::Near(_) => {
                let intervals: Vec<Interval> = marks.iter().map(|mark| decode(&mark.value)).collect::<Result<_>>()?;
                let covering = written
                    .find_map(|key| intervals.iter().find(|interval| interval.from.0 <= *key && *key < interval.to.0));
                Ok(covering.map(|interval| interval.txn))
            }
        }
    }

    /// The transaction of one of the marks that lie there, in the way or not.
    pub(super) fn owner_of_any(&self, marks: &[Entry]) -> Result<Option<TxnId>> {
        let Some(mark) = marks.first() else { return Ok(None) };
        match self {
            Self::Any => Ok(None),
            Self::OnKey(..) => owner_of(&mark.key).map(Some),
            Self::Near(_) => decode(&mark.value).map(|interval: Interval| Some(interval.txn)),
        }
    }
}

/// Something that must stay as a transaction has found it until it is decided.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Hold {
    /// A key stays as it is, or absent.
    Key(Key),
    /// A key stays present.
    Present(Key),
    /// Nothing in an interval changes: from, to.
    Range(Key, Key),
}

/// The marks that hold all this for a transaction, as writes. Of the keys that it writes it says whether they are there before and after: whoever
/// relies on the presence of another can't tell by the mark in its place.
pub(super) fn marks_for<'w>(
    txn: TxnId,
    holds: impl Iterator<Item = Hold>,
    writes: impl Iterator<Item = (&'w Key, bool)>,
) -> Result<Vec<Write>> {
    let mut marks = Vec::new();
    let mut written = BTreeSet::new();
    for (key, stays) in writes {
        if !stays {
            marks.push(Write::Put(KeyMark::Presence.on(key, txn), Bytes::new()));
        }
        written.insert(key);
    }
    let holds: BTreeSet<Hold> = holds.collect();
    let mut number = 0;
    for hold in &holds {
        match hold {
            // A write mark holds its key already.
            Hold::Key(key) | Hold::Present(key) if written.contains(key) => {}
            Hold::Key(key) => marks.push(Write::Put(KeyMark::Read.on(key, txn), Bytes::new())),
            Hold::Present(key) => marks.push(Write::Put(KeyMark::Keep.on(key, txn), Bytes::new())),
            Hold::Range(from, to) => {
                let range = KeyRange { from: from.clone(), to: to.clone() };
                let interval = Interval { txn, from: Blob(from.clone()), to: Blob(to.clone()) };
                marks.push(Write::Put(range_mark(&range, txn, number), encode(&interval)?));
                number += 1;
            }
        }
    }
    Ok(marks)
}
