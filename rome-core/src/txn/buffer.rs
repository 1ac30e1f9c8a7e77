//! The write buffer: what a transaction will write, with an undo log for savepoints.

use crate::store::{Key, KeyRange, Write};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A buffered write: a value, or a removal.
pub(super) type Pending = Option<Bytes>;

/// Writes by key, in key order, each key once.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    pending: BTreeMap<Key, Pending>,
    /// What each change replaced, newest last.
    undo: Vec<(Key, Option<Pending>)>,
    /// Savepoints exist: changes must be logged.
    logging: bool,
    bytes: usize,
}

impl WriteBuffer {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The size of all keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Pending> {
        self.pending.get(key)
    }

    pub(super) fn range(&self, range: &KeyRange) -> impl DoubleEndedIterator<Item = (&Key, &Pending)> {
        let bounds: (Bound<&Key>, Bound<&Key>) = if range.is_empty() {
            (Bound::Included(&range.from), Bound::Excluded(&range.from))
        } else {
            (Bound::Included(&range.from), Bound::Excluded(&range.to))
        };
        self.pending.range::<Key, _>(bounds)
    }

    pub(super) fn set(&mut self, key: Key, value: Pending) {
        self.replace(key, Some(value));
    }

    /// Forgets what was to be written to a key: it never existed in the store and must not after all.
    pub(super) fn forget(&mut self, key: Key) {
        self.replace(key, None);
    }

    fn replace(&mut self, key: Key, value: Option<Pending>) {
        let size = |pending: &Option<Pending>| match pending {
            Some(value) => key.len() + value.as_ref().map_or(0, Bytes::len),
            None => 0,
        };
        self.bytes += size(&value);
        let before = match value {
            Some(value) => self.pending.insert(key.clone(), value),
            None => self.pending.remove(&key),
        };
        self.bytes = self.bytes.saturating_sub(size(&before));
        if self.logging {
            self.undo.push((key, before));
        }
    }

    /// A mark to which [`WriteBuffer::rewind`] can return.
    pub(super) fn mark(&mut self) -> usize {
        self.logging = true;
        self.undo.len()
    }

    pub(super) fn rewind(&mut self, mark: usize) {
        self.logging = false;
        while self.undo.len() > mark {
            if let Some((key, before)) = self.undo.pop() {
                self.replace(key, before);
            }
        }
        self.logging = true;
    }

    /// All of it, in key order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Key, &Pending)> {
        self.pending.iter()
    }

    pub(super) fn to_writes(&self) -> Vec<Write> {
        let writes = self.pending.iter().map(|(key, value)| match value {
            Some(value) => Write::Put(key.clone(), value.clone()),
            None => Write::Delete(key.clone()),
        });
        writes.collect()
    }
}
