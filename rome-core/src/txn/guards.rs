//! The guard list: what a transaction has read and what else it relies on.

use crate::catalog::TableId;
use crate::error::{Error, Result};
use crate::store::{Guard, Key, KeyRange, SPACE_LEN, Version};
use std::collections::{BTreeMap, HashMap};

/// A range as it was read.
#[derive(Clone, Debug)]
struct SeenRange {
    range: KeyRange,
    since: Version,
    count: u64,
}

/// What a guard stands for, to word the error when it fails.
#[derive(Debug)]
pub(super) enum Meaning {
    /// A table's description has changed.
    Schema(Key),
    /// Something that was read has changed.
    Read(Key),
    /// An expectation failed: this is its error.
    Expected(Error),
}

impl Meaning {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Schema(key) => Error::schema_changed().with_contended(key),
            Self::Read(key) => Error::serialization_failure().with_contended(key),
            Self::Expected(error) => error,
        }
    }
}

/// Everything that must still hold at commit.
#[derive(Debug, Default)]
pub(super) struct GuardList {
    tables: BTreeMap<TableId, (Key, Version, bool)>,
    points: HashMap<Key, Option<Version>>,
    ranges: Vec<SeenRange>,
    expected: Vec<(Guard, Error)>,
}

impl GuardList {
    pub(super) fn use_table(&mut self, table: TableId, version_key: Key, version: Version) -> Result<()> {
        match self.tables.get(&table) {
            Some((key, seen, _)) if *seen != version => Err(Error::schema_changed().with_contended(key.clone())),
            Some(_) => Ok(()),
            None => {
                self.tables.insert(table, (version_key, version, false));
                Ok(())
            }
        }
    }

    /// Schema-version keys that no read has confirmed yet.
    pub(super) fn unconfirmed_tables(&self) -> Vec<(TableId, Key, Version)> {
        let unconfirmed = self.tables.iter().filter(|(_, (_, _, confirmed))| !confirmed);
        unconfirmed.map(|(id, (key, version, _))| (*id, key.clone(), *version)).collect()
    }

    pub(super) fn confirm_table(&mut self, table: TableId) {
        if let Some((_, _, confirmed)) = self.tables.get_mut(&table) {
            *confirmed = true;
        }
    }

    /// Notes the version at which a key was read.
    pub(super) fn saw_point(&mut self, key: Key, version: Option<Version>) -> Result<()> {
        match self.points.get(&key) {
            Some(seen) if *seen == version => Ok(()),
            Some(_) => Err(Error::serialization_failure().with_contended(key)),
            None => {
                self.points.insert(key, version);
                Ok(())
            }
        }
    }

    /// The version at which a key was read: `Some(None)` is "absent".
    pub(super) fn point(&self, key: &Key) -> Option<Option<Version>> {
        self.points.get(key).copied()
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

    /// All guards with what they mean. Schema guards come first, so that a stale description is reported as such.
    pub(super) fn all(&self, with_expected: bool) -> (Vec<Guard>, Vec<Meaning>) {
        let size = self.tables.len() + self.points.len() + self.ranges.len() + self.expected.len();
        let (mut guards, mut meanings) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for (key, version, _) in self.tables.values() {
            guards.push(Guard::Version { key: key.clone(), version: *version });
            meanings.push(Meaning::Schema(key.clone()));
        }
        for (key, version) in &self.points {
            guards.push(match version {
                Some(version) => Guard::Version { key: key.clone(), version: *version },
                None => Guard::Absent(key.clone()),
            });
            meanings.push(Meaning::Read(key.clone()));
        }
        for SeenRange { range, since, count } in &self.ranges {
            guards.push(Guard::Range { range: range.clone(), since: *since, count: *count });
            meanings.push(Meaning::Read(range.from.clone()));
        }
        if with_expected {
            for (guard, failure) in &self.expected {
                guards.push(guard.clone());
                meanings.push(Meaning::Expected(failure.clone()));
            }
        }
        (guards, meanings)
    }
}
