//! The guard list: what a transaction has read and what else it relies on.

use super::held::Hold;
use crate::catalog::{TableId, schema_version_key};
use crate::error::{Error, Result};
use crate::store::{Entry, Guard, Key, KeyRange, SPACE_LEN, Version, successor};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::btree_map;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};

/// How much of what a transaction has read by key it keeps, in bytes, so that reading it again takes no round trip.
const KEPT_BYTES: usize = 4 << 20;

/// Hashing without a random seed: the same transaction sends its guards in the same order in every run.
type Steady = BuildHasherDefault<DefaultHasher>;

/// A range as it was read.
#[derive(Clone, Debug)]
struct SeenRange {
    range: KeyRange,
    since: Version,
    count: u64,
}

/// A key as it was read.
#[derive(Clone, Debug)]
struct SeenPoint {
    /// `None` is "absent".
    version: Option<Version>,
    /// The value, as long as there is room for it.
    value: Option<Bytes>,
}

/// A table whose description is relied upon.
#[derive(Clone, Debug)]
struct SeenTable {
    /// The key whose version is the description's.
    key: Key,
    /// Known at the local home; learnt elsewhere.
    version: Option<Version>,
    stamp: u64,
    confirmed: bool,
}

/// What a guard stands for, to word the error when it fails.
#[derive(Debug)]
enum Meaning {
    /// A table's description has changed.
    Schema(Key),
    /// Something that was read has changed.
    Read(Key),
    /// An expectation failed: this is its error.
    Expected(Error),
}

impl Meaning {
    fn to_error(&self) -> Error {
        match self {
            Self::Schema(key) => Error::schema_changed().with_contended(key.clone()),
            Self::Read(key) => Error::serialization_failure().with_contended(key.clone()),
            Self::Expected(error) => error.clone(),
        }
    }
}

/// Guards as a store takes them, and what each stands for.
#[derive(Debug, Default)]
pub(super) struct Guards {
    pub(super) guards: Vec<Guard>,
    meanings: Vec<Meaning>,
}

impl Guards {
    fn push(&mut self, guard: Guard, meaning: Meaning) {
        self.guards.push(guard);
        self.meanings.push(meaning);
    }

    /// The guards for the store; what remains words the failure of one of them.
    pub(super) fn take(&mut self) -> Vec<Guard> {
        std::mem::take(&mut self.guards)
    }

    /// The error for the failure of a guard.
    pub(super) fn failure(&self, guard: usize) -> Error {
        self.meanings.get(guard).map_or_else(Error::serialization_failure, Meaning::to_error)
    }

    /// The error of the expectation that this guard stands for, if it stands for one.
    pub(super) fn expectation(&self, guard: usize) -> Option<&Error> {
        match self.meanings.get(guard) {
            Some(Meaning::Expected(error)) => Some(error),
            _ => None,
        }
    }
}

/// Everything that must still hold at commit.
#[derive(Debug, Default)]
pub(super) struct GuardList {
    tables: BTreeMap<TableId, SeenTable>,
    points: HashMap<Key, SeenPoint, Steady>,
    /// Bytes of the values that `points` keeps.
    kept_bytes: usize,
    ranges: Vec<SeenRange>,
    expected: Vec<(Guard, Error)>,
}

impl GuardList {
    /// Relies on a table's description: at this version, or, where the home's version is not known, with this hash.
    pub(super) fn use_table(&mut self, table: TableId, version: Option<Version>, stamp: u64) -> Result<()> {
        let key = schema_version_key(table);
        match self.tables.get(&table) {
            Some(seen) if seen.stamp != stamp || version.is_some_and(|version| seen.version != Some(version)) => {
                Err(Error::schema_changed().with_contended(key))
            }
            Some(_) => Ok(()),
            None => {
                self.tables.insert(table, SeenTable { key, version, stamp, confirmed: false });
                Ok(())
            }
        }
    }

    /// Tables that no read has confirmed yet, with their schema-version keys.
    pub(super) fn unconfirmed_tables(&self) -> Vec<(TableId, Key)> {
        let unconfirmed = self.tables.iter().filter(|(_, seen)| !seen.confirmed);
        unconfirmed.map(|(id, seen)| (*id, seen.key.clone())).collect()
    }

    /// Whether a table's version at this home is still to be learnt.
    pub(super) fn lacks_versions(&self) -> bool {
        self.tables.values().any(|seen| seen.version.is_none())
    }

    /// Compares what a table's schema-version key holds with what is relied on.
    /// Returns the hash and the version.
    pub(super) fn confirm_table(&mut self, table: TableId, entry: Option<&Entry>) -> Result<Option<(u64, Version)>> {
        let Some(seen) = self.tables.get_mut(&table) else { return Ok(None) };
        let stamp = |entry: &Entry| entry.value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let same = entry.is_some_and(|entry| match seen.version {
            Some(version) => entry.version == version,
            None => stamp(entry) == Some(seen.stamp),
        });
        if !same {
            return Err(Error::schema_changed().with_contended(seen.key.clone()));
        }
        seen.version = entry.map(|entry| entry.version);
        seen.confirmed = true;
        Ok(seen.version.map(|version| (seen.stamp, version)))
    }

    /// Notes what was read under a key.
    pub(super) fn saw_point(&mut self, key: Key, entry: Option<&Entry>) -> Result<()> {
        let version = entry.map(|entry| entry.version);
        match self.points.get(&key) {
            Some(seen) if seen.version == version => Ok(()),
            Some(_) => Err(Error::serialization_failure().with_contended(key)),
            None => {
                let size = entry.map_or(0, |entry| entry.value.len());
                let value = entry.filter(|_| self.kept_bytes + size <= KEPT_BYTES).map(|entry| entry.value.clone());
                self.kept_bytes += value.as_ref().map_or(0, Bytes::len);
                self.points.insert(key, SeenPoint { version, value });
                Ok(())
            }
        }
    }

    /// Forgets what was read under a key.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(SeenPoint { value: Some(value), .. }) = self.points.remove(key) {
            self.kept_bytes -= value.len();
        }
    }

    /// Whether no key and no range was read, or all that was is forgotten.
    pub(super) fn relies_on_nothing_read(&self) -> bool {
        self.points.is_empty() && self.ranges.is_empty()
    }

    /// The version at which a key was read: `Some(None)` is "absent".
    pub(super) fn point(&self, key: &Key) -> Option<Option<Version>> {
        self.points.get(key).map(|seen| seen.version)
    }

    /// What another read of a key would answer, where that is known: what was read is guarded, so that it is what the store still holds, or the
    /// transaction loses anyway.
    pub(super) fn known(&self, key: &Key) -> Option<Option<Entry>> {
        match self.points.get(key)? {
            SeenPoint { version: None, .. } => Some(None),
            SeenPoint { version: Some(version), value: Some(value) } => {
                Some(Some(Entry { key: key.clone(), version: *version, value: value.clone(), target: None }))
            }
            SeenPoint { value: None, .. } => None,
        }
    }

    pub(super) fn saw_range(&mut self, range: KeyRange, since: Version, count: u64) {
        if range.is_empty() {
            return;
        }
        // Pages of one scan: adjoining ranges confirmed at the same version are one range. The end of a space adjoins the start of the
        // next, but no range may cover both.
        let space = range.from.get(..SPACE_LEN);
        let joins = |last: &SeenRange| last.since == since && last.range.from.get(..SPACE_LEN) == space;
        if let Some(last) = self.ranges.last_mut().filter(|last| joins(last)) {
            if last.range.to == range.from {
                last.range.to = range.to;
                last.count += count;
                return;
            }
            if range.to == last.range.from {
                last.range.from = range.from;
                last.count += count;
                return;
            }
            if last.range == range {
                return;
            }
        }
        self.ranges.push(SeenRange { range, since, count });
    }

    pub(super) fn expect(&mut self, guard: Guard, failure: Error) {
        self.expected.push((guard, failure));
    }

    /// All guards held in the state of this version: ranges are known to be unchanged up to it.
    pub(super) fn rebase(&mut self, version: Version) {
        for range in &mut self.ranges {
            range.since = version;
        }
    }

    pub(super) fn expected_len(&self) -> usize {
        self.expected.len()
    }

    pub(super) fn truncate_expected(&mut self, len: usize) {
        self.expected.truncate(len);
    }

    /// What was read, with what it means, in at most `limit` guards. Schema guards come first, so that a stale description is
    /// reported as such. Everything that was read was current at `since`.
    pub(super) fn of_reads(&self, since: Version, limit: usize) -> Guards {
        let mut all = Guards::default();
        for SeenTable { key, version, .. } in self.tables.values() {
            if let Some(version) = version {
                all.push(Guard::Version { key: key.clone(), version: *version }, Meaning::Schema(key.clone()));
            }
        }
        let coarse = self.coarse_spaces(limit);
        for (key, SeenPoint { version, .. }) in &self.points {
            if coarse.contains_key(space(key)) {
                continue;
            }
            let guard = match version {
                Some(version) => Guard::Version { key: key.clone(), version: *version },
                None => Guard::Absent(key.clone()),
            };
            all.push(guard, Meaning::Read(key.clone()));
        }
        for SeenRange { range, since, count } in &self.ranges {
            if !coarse.contains_key(space(&range.from)) {
                let guard = Guard::Range { range: range.clone(), since: *since, count: *count };
                all.push(guard, Meaning::Read(range.from.clone()));
            }
        }
        for range in coarse.into_values() {
            let meaning = Meaning::Read(range.from.clone());
            all.push(Guard::Unchanged { range, since }, meaning);
        }
        all
    }

    /// As [`GuardList::of_reads`], and the expectations, which are never coarsened.
    pub(super) fn of_commit(&self, since: Version, limit: usize) -> Guards {
        let mut all = self.of_reads(since, limit.saturating_sub(self.expected.len()));
        for (guard, failure) in &self.expected {
            all.push(guard.clone(), Meaning::Expected(failure.clone()));
        }
        all
    }

    /// The keys that are expected to be absent.
    pub(super) fn absent(&self) -> HashSet<Key> {
        let expected = self.expected.iter().filter_map(|(guard, _)| match guard {
            Guard::Absent(key) => Some(key.clone()),
            _ => None,
        });
        expected.collect()
    }

    /// The keys that are expected to be present.
    pub(super) fn present(&self) -> Vec<Key> {
        let expected = self.expected.iter().filter_map(|(guard, _)| match guard {
            Guard::Present(key) => Some(key.clone()),
            _ => None,
        });
        expected.collect()
    }

    /// Everything that must not change before a transaction over several homes is decided; what was read in at most `limit` pieces.
    pub(super) fn holds(&self, limit: usize) -> Vec<Hold> {
        let coarse = self.coarse_spaces(limit);
        let mut holds: Vec<Hold> = self.tables.values().map(|seen| Hold::Key(seen.key.clone())).collect();
        holds.extend(self.points.keys().filter(|key| !coarse.contains_key(space(key))).cloned().map(Hold::Key));
        let fine = self.ranges.iter().map(|seen| &seen.range).filter(|range| !coarse.contains_key(space(&range.from)));
        holds.extend(fine.chain(coarse.values()).map(|range| Hold::Range(range.from.clone(), range.to.clone())));
        holds.extend(self.expected.iter().map(|(guard, _)| match guard {
            Guard::Absent(key) | Guard::Version { key, .. } => Hold::Key(key.clone()),
            Guard::Present(key) => Hold::Present(key.clone()),
            Guard::Range { range, .. } | Guard::Unchanged { range, .. } => {
                Hold::Range(range.from.clone(), range.to.clone())
            }
        }));
        holds
    }

    /// The spaces whose reads are guarded by one range that covers them all, since the list would be too long otherwise: those with the most
    /// guards. The price are conflicts with changes between the keys that were read.
    fn coarse_spaces(&self, limit: usize) -> BTreeMap<&[u8], KeyRange> {
        let mut length = self.tables.len() + self.points.len() + self.ranges.len();
        if length <= limit {
            return BTreeMap::new();
        }
        let mut spaces: BTreeMap<&[u8], (usize, &Key, Key)> = BTreeMap::new();
        let points = self.points.keys().map(|key| (key, successor(key)));
        let ranges = self.ranges.iter().map(|seen| (&seen.range.from, seen.range.to.clone()));
        for (from, to) in points.chain(ranges) {
            match spaces.entry(space(from)) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert((1, from, to));
                }
                btree_map::Entry::Occupied(occupied) => {
                    let (guards, first, end) = occupied.into_mut();
                    *guards += 1;
                    *first = (*first).min(from);
                    if *end < to {
                        *end = to;
                    }
                }
            }
        }
        let mut spaces: Vec<_> = spaces.into_iter().collect();
        spaces.sort_by_key(|(_, (guards, ..))| Reverse(*guards));
        let mut coarse = BTreeMap::new();
        for (space, (guards, from, to)) in spaces {
            if length <= limit {
                break;
            }
            length -= guards - 1;
            coarse.insert(space, KeyRange { from: from.clone(), to });
        }
        coarse
    }
}

/// The space that a key lies in.
fn space(key: &Key) -> &[u8] {
    key.get(..SPACE_LEN).unwrap_or_default()
}
