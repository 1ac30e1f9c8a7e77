//! Reading a home: points, ranges, followed index entries and guards, over any redb table, be it of a read transaction
//! (reads) or of the write transaction of a batch (the guards of commits).

use crate::error;
use crate::layout::{self, HOME_LEN, HomeRow};
use bytes::Bytes;
use redb::{AccessGuard, ReadableTable, StorageError};
use rome_core::store::rules::{self, Budget};
use rome_core::store::{
    Entry, Epoch, Guard, KeyRange, Read, ReadOutcome, ReadRequest, ReadResponse, ReadResult, StoreError, Version,
};
use std::cell::Cell;

/// Why looking ended without a result.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(StoreError),
    /// The view's allowance of entries is used up; try again where it may take longer.
    Exhausted,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Failed(error::storage(error))
    }
}

/// A home as it stands in two tables.
pub(crate) struct View<'a, T> {
    entries: &'a T,
    state: &'a T,
    home: HomeRow,
    epoch: Epoch,
    allowance: Cell<usize>,
}

impl<'a, T: ReadableTable<&'static [u8], &'static [u8]>> View<'a, T> {
    /// `allowance`: how many entries may be looked at before [`Stop::Exhausted`].
    pub fn new(entries: &'a T, state: &'a T, home: HomeRow, epoch: Epoch, allowance: usize) -> Self {
        Self { entries, state, home, epoch, allowance: Cell::new(allowance) }
    }

    pub fn read(&self, request: &ReadRequest) -> Result<ReadOutcome, Stop> {
        rules::check_epoch(request.epoch, self.epoch)?;
        if let Some(guard) = self.first_failed(&request.guards)? {
            return Ok(ReadOutcome::Conflict { guard });
        }
        let mut results = Vec::with_capacity(request.reads.len());
        for read in &request.reads {
            results.push(match read {
                Read::Point(key) => ReadResult { entries: self.entry(key)?.into_iter().collect(), more: None },
                Read::Range { range, limit, reverse } => {
                    self.page(range, Budget::new(&request.limits, *limit), *reverse, false)?
                }
                Read::Follow { range, limit, reverse } => {
                    self.page(range, Budget::new(&request.limits, *limit), *reverse, true)?
                }
            });
        }
        Ok(ReadOutcome::Answer(ReadResponse { snapshot: self.home.version, epoch: self.epoch, results }))
    }

    /// The index of the first guard that does not hold.
    pub fn first_failed(&self, guards: &[Guard]) -> Result<Option<usize>, Stop> {
        for (index, guard) in guards.iter().enumerate() {
            if !self.holds(guard)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// A key's version and value.
    pub fn entry(&self, key: &[u8]) -> Result<Option<Entry>, Stop> {
        self.spend()?;
        let Some(stored) = self.entries.get(layout::in_home(self.home.number, key).as_slice())? else {
            return Ok(None);
        };
        let (version, value) = layout::split_entry(stored.value())?;
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Ok(Some(Entry { key, version, value, target: None }))
    }

    fn spend(&self) -> Result<(), Stop> {
        let left = self.allowance.get().checked_sub(1).ok_or(Stop::Exhausted)?;
        self.allowance.set(left);
        Ok(())
    }

    fn page(&self, range: &KeyRange, mut budget: Budget, reverse: bool, follow: bool) -> Result<ReadResult, Stop> {
        let mut result = ReadResult::default();
        if range.is_empty() {
            return Ok(result);
        }
        let (from, to) = layout::range_in_home(self.home.number, range);
        let mut found = self.entries.range::<&[u8]>(from.as_slice()..to.as_slice())?;
        while let Some(next) = if reverse { found.next_back() } else { found.next() } {
            if budget.is_spent() {
                result.more = result.entries.last().map(|last: &Entry| last.key.clone());
                break;
            }
            self.spend()?;
            let (key, stored) = next?;
            let mut entry = decode(&key, &stored)?;
            if follow {
                entry.target = self.entry(&entry.value)?.map(Box::new);
            }
            budget.take(&entry);
            result.entries.push(entry);
        }
        Ok(result)
    }

    fn version_of(&self, key: &[u8]) -> Result<Option<Version>, Stop> {
        match self.entries.get(layout::in_home(self.home.number, key).as_slice())? {
            Some(stored) => Ok(Some(layout::split_entry(stored.value())?.0)),
            None => Ok(None),
        }
    }

    fn holds(&self, guard: &Guard) -> Result<bool, Stop> {
        Ok(match guard {
            Guard::Version { key, version } => self.version_of(key)? == Some(*version),
            Guard::Absent(key) => self.version_of(key)?.is_none(),
            Guard::Present(key) => self.version_of(key)?.is_some(),
            Guard::Range { range, since, count } => {
                let rested = *count > 0 && self.space_version(range)?.is_some_and(|version| version <= *since);
                rested || self.holds_exactly(range, *since, *count)?
            }
            Guard::Unchanged { range, since } => self.space_version(range)?.is_none_or(|version| version <= *since),
        })
    }

    /// The last commit that wrote or deleted anything in the range's whole space: mostly it answers a guard in constant time.
    fn space_version(&self, range: &KeyRange) -> Result<Option<Version>, Stop> {
        let key = layout::space_key(self.home.number, rules::space_of_range(range)?);
        match self.state.get(key.as_slice())? {
            Some(version) => Ok(Some(layout::decode_u64(version.value(), "a space")?)),
            None => Ok(None),
        }
    }

    /// Exact, since versions only rise: an insert or update shows by its version, a delete by the number of keys.
    fn holds_exactly(&self, range: &KeyRange, since: Version, count: u64) -> Result<bool, Stop> {
        if range.is_empty() {
            return Ok(count == 0);
        }
        let (from, to) = layout::range_in_home(self.home.number, range);
        let mut left = count;
        for next in self.entries.range::<&[u8]>(from.as_slice()..to.as_slice())? {
            let (_, stored) = next?;
            if left == 0 || layout::split_entry(stored.value())?.0 > since {
                return Ok(false);
            }
            self.spend()?;
            left -= 1;
        }
        Ok(left == 0)
    }
}

fn decode(key: &AccessGuard<&'static [u8]>, stored: &AccessGuard<&'static [u8]>) -> Result<Entry, StoreError> {
    let (version, value) = layout::split_entry(stored.value())?;
    let key = key.value().get(HOME_LEN..).unwrap_or_default();
    Ok(Entry { key: Bytes::copy_from_slice(key), version, value: Bytes::copy_from_slice(value), target: None })
}
