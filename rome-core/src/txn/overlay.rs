//! Read-your-writes: a transaction's own buffered writes laid over what the store answered.

use super::buffer::WriteBuffer;
use crate::store::{Entry, Key, KeyRange, ReadResult, successor};

/// Lays the buffer over the store's answer to a range read. The answer covers the range as far as `more` says; buffered keys beyond that belong to
/// the continuation.
pub(super) fn overlay_range(
    buffer: &WriteBuffer,
    range: &KeyRange,
    limit: Option<usize>,
    reverse: bool,
    answer: ReadResult,
) -> ReadResult {
    let covered = covered_range(range, reverse, answer.more.as_ref());
    let mut own = buffer.range(&covered).peekable();
    if own.peek().is_none() {
        return answer;
    }
    let own: Vec<(&Key, _)> = if reverse { own.rev().collect() } else { own.collect() };
    let before = |a: &Key, b: &Key| if reverse { a > b } else { a < b };
    let mut own = own.into_iter().peekable();
    let mut entries = Vec::with_capacity(answer.entries.len());
    let emit = |entries: &mut Vec<Entry>, key: &Key, value: &Option<bytes::Bytes>| {
        if let Some(value) = value {
            entries.push(Entry { key: key.clone(), version: 0, value: value.clone(), target: None });
        }
    };
    for entry in answer.entries {
        while let Some((key, value)) = own.next_if(|(key, _)| before(key, &entry.key)) {
            emit(&mut entries, key, value);
        }
        match own.next_if(|(key, _)| **key == entry.key) {
            Some((key, Some(value))) if *value == entry.value => {
                entries.push(Entry { key: key.clone(), version: 0, value: value.clone(), target: entry.target });
            }
            Some((key, value)) => emit(&mut entries, key, value),
            None => entries.push(entry),
        }
    }
    for (key, value) in own {
        emit(&mut entries, key, value);
    }
    let mut more = answer.more;
    if let Some(limit) = limit.filter(|limit| entries.len() > *limit) {
        entries.truncate(limit);
        more = entries.last().map(|entry| entry.key.clone());
    }
    ReadResult { entries, more }
}

/// The part of a range that an answer speaks for.
pub(super) fn covered_range(range: &KeyRange, reverse: bool, more: Option<&Key>) -> KeyRange {
    match more {
        None => range.clone(),
        Some(last) if reverse => KeyRange { from: last.clone(), to: range.to.clone() },
        Some(last) => KeyRange { from: range.from.clone(), to: successor(last) },
    }
}
