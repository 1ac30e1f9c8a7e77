//! How a home's keys lie in etcd's one flat keyspace.
//!
//! ```text
//! <namespace> 00 <home> 00 <area> <rest>
//!
//! area  rest                         value
//! d     key                          the value             data: what reads see
//! t     key                          empty                 tombstone: the key was deleted at this revision
//! g     floor (8 bytes, big-endian)  empty                 gc floor: tombstones up to it may be gone
//! l     client (16) lane (4)         sequence and outcome  lanes
//! w     stream                       the last payload      change streams, read by watching
//! q                                  empty                 the quota's witness: see `tree`
//! ```
//!
//! Neither a namespace nor a home's name contains a zero byte, so no home's region is inside another's, and each area
//! of a home is one contiguous interval. The rest is binary: it needs no escaping, being last. Order of keys inside an
//! area is the contract's order.

use rome_core::store::{HomeId, KeyRange, StoreError};

const DATA: u8 = b'd';
const TOMBSTONES: u8 = b't';
const GC_FLOOR: u8 = b'g';
const LANES: u8 = b'l';
const STREAMS: u8 = b'w';
const WITNESS: u8 = b'q';

/// The etcd keys of one home.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    /// Everything before the area.
    prefix: Vec<u8>,
}

/// A half-open interval of etcd keys.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

impl Interval {
    /// How many bytes it takes in a request.
    pub(crate) fn len(&self) -> usize {
        self.from.len() + self.to.len()
    }
}

impl Keyspace {
    /// The keyspace of `home` in `namespace`.
    pub(crate) fn new(namespace: &str, home: &HomeId) -> Result<Self, StoreError> {
        if home.as_str().contains('\0') {
            return Err(StoreError::Invalid("a home's name must not contain a zero byte".to_owned()));
        }
        let mut prefix = Vec::with_capacity(namespace.len() + home.as_str().len() + 2);
        prefix.extend_from_slice(namespace.as_bytes());
        prefix.push(0);
        prefix.extend_from_slice(home.as_str().as_bytes());
        prefix.push(0);
        Ok(Self { prefix })
    }

    fn key(&self, area: u8, rest: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.overhead() + rest.len());
        key.extend_from_slice(&self.prefix);
        key.push(area);
        key.extend_from_slice(rest);
        key
    }

    fn interval(&self, area: u8, range: &KeyRange) -> Interval {
        Interval { from: self.key(area, &range.from), to: self.key(area, &range.to) }
    }

    /// How many bytes each key gains.
    pub(crate) fn overhead(&self) -> usize {
        self.prefix.len() + 1
    }

    /// Where the value of `key` is.
    pub(crate) fn data(&self, key: &[u8]) -> Vec<u8> {
        self.key(DATA, key)
    }

    /// Where the values of `range` are.
    pub(crate) fn data_range(&self, range: &KeyRange) -> Interval {
        self.interval(DATA, range)
    }

    /// Where the deletion of `key` is noted.
    pub(crate) fn tombstone(&self, key: &[u8]) -> Vec<u8> {
        self.key(TOMBSTONES, key)
    }

    /// Where deletions in `range` are noted.
    pub(crate) fn tombstone_range(&self, range: &KeyRange) -> Interval {
        self.interval(TOMBSTONES, range)
    }

    /// All deletions of the home.
    pub(crate) fn all_tombstones(&self) -> Interval {
        Interval { from: self.key(TOMBSTONES, &[]), to: self.key(TOMBSTONES + 1, &[]) }
    }

    /// The key whose existence says that tombstones up to `floor` may be gone.
    pub(crate) fn gc_floor(&self, floor: u64) -> Vec<u8> {
        self.key(GC_FLOOR, &floor.to_be_bytes())
    }

    /// Floors below `floor`.
    pub(crate) fn gc_floors_below(&self, floor: u64) -> Interval {
        Interval { from: self.key(GC_FLOOR, &[]), to: self.gc_floor(floor) }
    }

    /// Floors above `version`.
    pub(crate) fn gc_floors_above(&self, version: u64) -> Interval {
        Interval { from: self.gc_floor(version.saturating_add(1)), to: self.key(GC_FLOOR + 1, &[]) }
    }

    /// Where a lane is kept.
    pub(crate) fn lane(&self, client: u128, lane: u32) -> Vec<u8> {
        let mut rest = [0; 20];
        let (left, right) = rest.split_at_mut(16);
        left.copy_from_slice(&client.to_be_bytes());
        right.copy_from_slice(&lane.to_be_bytes());
        self.key(LANES, &rest)
    }

    /// The key without meaning that the space quota counts.
    pub(crate) fn witness(&self) -> Vec<u8> {
        self.key(WITNESS, &[])
    }

    /// The key to watch for the changes of `stream`.
    pub(crate) fn stream(&self, stream: &[u8]) -> Vec<u8> {
        self.key(STREAMS, stream)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keyspace(namespace: &str, home: &str) -> Keyspace {
        Keyspace::new(namespace, &HomeId::new(home)).unwrap()
    }

    #[test]
    fn no_home_lies_inside_another() {
        let names = [("a", "b"), ("a", "bc"), ("a", ""), ("ab", "c"), ("a", "b/c"), ("a/b", "c")];
        for (i, left) in names.iter().enumerate() {
            for (j, right) in names.iter().enumerate() {
                let left = keyspace(left.0, left.1);
                let right = keyspace(right.0, right.1);
                assert_eq!(left.prefix.starts_with(&right.prefix), i == j);
            }
        }
        assert!(Keyspace::new("a", &HomeId::new("b\0c")).is_err());
    }

    #[test]
    fn floors_split_at_the_version() {
        let keys = keyspace("n", "h");
        let inside = |interval: &Interval, key: &[u8]| &interval.from[..] <= key && key < &interval.to[..];
        for floor in [0, 1, 255, 256, 1 << 40, u64::MAX - 1] {
            let key = keys.gc_floor(floor);
            assert!(!inside(&keys.gc_floors_above(floor), &key));
            assert!(!inside(&keys.gc_floors_below(floor), &key));
            assert!(inside(&keys.gc_floors_above(floor.saturating_sub(1)), &key) || floor == 0);
            assert!(inside(&keys.gc_floors_below(floor + 1), &key));
        }
    }
}
