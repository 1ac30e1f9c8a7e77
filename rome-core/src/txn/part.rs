//! What a transaction does at one home.

use super::buffer::{Pending, WriteBuffer};
use super::changes::{Streams, events};
use super::client::{Client, Link};
use super::guards::{GuardList, Guards};
use super::marks::write_mark;
use super::overlay::{covered_range, overlay_range};
use crate::catalog::{SchemaVersion, TableId};
use crate::error::{Error, Result, SqlState};
use crate::store::{
    Change, Entry, Epoch, Guard, Key, Read, ReadLimits, ReadOutcome, ReadRequest, ReadResponse, ReadResult, Version,
};
use crate::topology::HomeNo;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Reads and writes of one transaction at one home.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) link: Arc<Link>,
    pub(super) writes: WriteBuffer,
    /// What written keys hold in the store, as far as that was told.
    olds: HashMap<Key, Bytes>,
    pub(super) guards: GuardList,
    /// The version of the first read; the version of all reads where the store has snapshots.
    snapshot: Option<Version>,
    /// The epoch of all versions that are relied on.
    pub(super) epoch: Option<Epoch>,
    pub(super) newest: Version,
    /// Read requests made.
    pub(super) reads: u64,
    /// Of those, such that were repeated since they met another transaction's marks.
    pub(super) repeated: u64,
    /// The home could not be reached, which was allowed.
    lost: bool,
    /// Marks that were read as what was there before them.
    undecided: u64,
    /// Something that was read does not matter any more.
    has_forgotten: bool,
}

/// How a part's reads are to be remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remember {
    /// Everything is read at one version and nothing is validated: a long scan need not remember its rows.
    pub(super) nothing_at_snapshots: bool,
    /// Not an error: that another site can't be reached, or a transaction not be decided because of one.
    pub(super) available: bool,
}

impl Part {
    pub(super) fn new(link: Arc<Link>, logging: bool) -> Self {
        let mut writes = WriteBuffer::default();
        if logging {
            writes.mark();
        }
        Self {
            link,
            writes,
            olds: HashMap::new(),
            guards: GuardList::default(),
            snapshot: None,
            epoch: None,
            newest: 0,
            reads: 0,
            repeated: 0,
            lost: false,
            undecided: 0,
            has_forgotten: false,
        }
    }

    /// Relies on a table's description; `version` is that of the local home.
    pub(super) fn use_description(
        &mut self,
        local: HomeNo,
        table: TableId,
        version: SchemaVersion,
        stamp: u64,
    ) -> Result<()> {
        let known = if self.link.no == local { Some(version) } else { self.link.described_as(table, stamp) };
        if let Some(SchemaVersion { epoch, .. }) = known
            && *self.epoch.get_or_insert(epoch) != epoch
        {
            return Err(Error::schema_changed());
        }
        self.guards.use_table(table, known.map(|known| known.version), stamp)
    }

    /// Whether anything was read that was not only expected, and still matters.
    pub(super) fn has_read(&self) -> bool {
        self.reads > 0 && !(self.has_forgotten && self.guards.relies_on_nothing_read())
    }

    /// See [`super::Txn::forget`].
    pub(super) fn forget(&mut self, key: &Key) {
        self.has_forgotten = true;
        self.guards.forget(key);
    }

    /// Whether the home was to be read and could not be reached.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// See [`super::ReadReport::undecided_keys`].
    pub(super) fn undecided(&self) -> u64 {
        self.undecided
    }

    /// See [`super::Txn::read`].
    pub(super) async fn read(
        &mut self,
        client: &Client,
        reads: Vec<Read>,
        limits: ReadLimits,
        remember: Remember,
    ) -> Result<Vec<ReadResult>> {
        let nothing = || Ok(vec![ReadResult::default(); reads.len()]);
        if !remember.available || self.link.no == client.local() {
            return self.read_home(client, &reads, limits, remember).await;
        }
        if self.lost {
            return nothing();
        }
        match self.read_home(client, &reads, limits, remember).await {
            Err(error) if error.state() == SqlState::CONNECTION_FAILURE => {
                self.lost = true;
                nothing()
            }
            read => read,
        }
    }

    async fn read_home(
        &mut self,
        client: &Client,
        reads: &[Read],
        limits: ReadLimits,
        remember: Remember,
    ) -> Result<Vec<ReadResult>> {
        let follow_here = !self.link.store().capabilities().follow;
        // Where each result comes from: what is known already, or a position in the request.
        let mut sources = Vec::with_capacity(reads.len());
        let mut request = Vec::with_capacity(reads.len() + 1);
        for read in reads {
            match read {
                Read::Point(key) => match self.known(key) {
                    Some(entry) => sources.push(Err(ReadResult { entries: entry.into_iter().collect(), more: None })),
                    None => {
                        sources.push(Ok(request.len()));
                        request.push(read.clone());
                    }
                },
                Read::Range { range, limit, reverse } | Read::Follow { range, limit, reverse } => {
                    // Buffered removals may hide entries: ask for as many more.
                    let hidden = if self.writes.is_empty() { 0 } else { self.writes.range(range).count() };
                    let (range, limit, reverse) = (range.clone(), limit.map(|limit| limit + hidden), *reverse);
                    sources.push(Ok(request.len()));
                    request.push(match read {
                        Read::Follow { .. } if !follow_here => Read::Follow { range, limit, reverse },
                        _ => Read::Range { range, limit, reverse },
                    });
                }
            }
        }
        let mut answers = self.fetch(client, request, limits, remember).await?;
        let mut results = Vec::with_capacity(reads.len());
        for (read, source) in reads.iter().zip(sources) {
            let position = match source {
                Err(known) => {
                    results.push(known);
                    continue;
                }
                Ok(position) => position,
            };
            let answer = answers.get_mut(position).map(std::mem::take).unwrap_or_default();
            results.push(match read {
                Read::Point(_) => answer,
                Read::Range { range, limit, reverse } | Read::Follow { range, limit, reverse } => {
                    overlay_range(&self.writes, range, *limit, *reverse, answer)
                }
            });
        }
        self.resolve_targets(client, reads, &mut results, limits, remember).await?;
        Ok(results)
    }

    /// What a key holds, where this transaction wrote it or has read it before.
    fn known(&self, key: &Key) -> Option<Option<Entry>> {
        match self.writes.get(key) {
            Some(own) => Some(own.as_ref().map(|value| own_entry(key, value))),
            None => self.guards.known(key),
        }
    }

    /// Gives index entries the rows they point to: from the buffer where this transaction wrote them, else, where the store does not follow
    /// by itself, by one more read.
    async fn resolve_targets(
        &mut self,
        client: &Client,
        reads: &[Read],
        results: &mut [ReadResult],
        limits: ReadLimits,
        remember: Remember,
    ) -> Result<()> {
        let mut missing = Vec::new();
        for (read, result) in reads.iter().zip(results.iter_mut()) {
            if !matches!(read, Read::Follow { .. }) {
                continue;
            }
            for entry in &mut result.entries {
                match self.writes.get(&entry.value) {
                    Some(own) => entry.target = own.as_ref().map(|row| Box::new(own_entry(&entry.value, row))),
                    None if entry.target.is_some() => {}
                    None => match self.guards.known(&entry.value) {
                        Some(known) => entry.target = known.map(Box::new),
                        None => missing.push(Read::Point(entry.value.clone())),
                    },
                }
            }
        }
        if !missing.is_empty() {
            missing.sort_unstable_by(|a, b| point_key(a).cmp(&point_key(b)));
            missing.dedup();
            let found = self.fetch(client, missing, limits, remember).await?;
            let rows: std::collections::HashMap<Key, Entry> =
                found.into_iter().flat_map(|result| result.entries).map(|entry| (entry.key.clone(), entry)).collect();
            for result in results.iter_mut() {
                for entry in result.entries.iter_mut().filter(|entry| entry.target.is_none()) {
                    entry.target = rows.get(&entry.value).cloned().map(Box::new);
                }
            }
        }
        for (read, result) in reads.iter().zip(results.iter_mut()) {
            if matches!(read, Read::Follow { .. }) {
                // An entry whose row this transaction removed.
                let writes = &self.writes;
                result.entries.retain(|entry| entry.target.is_some() || writes.get(&entry.value).is_none());
            }
        }
        Ok(())
    }

    /// One request to the store, its answer noted for validation. Where the answer holds another transaction's marks, that one is waited for, and
    /// the request repeated.
    pub(super) async fn fetch(
        &mut self,
        client: &Client,
        mut reads: Vec<Read>,
        limits: ReadLimits,
        remember: Remember,
    ) -> Result<Vec<ReadResult>> {
        let asked = reads.len();
        let tables = self.guards.unconfirmed_tables();
        // Where everything that was asked is known already, the tables' descriptions still have to be confirmed.
        if reads.is_empty() && tables.is_empty() {
            return Ok(Vec::new());
        }
        reads.extend(tables.iter().map(|(_, key)| Read::Point(key.clone())));
        let response = loop {
            let mut response = self.ask(&reads, limits).await?;
            // With one home alone there are no marks; looking costs a byte for each entry.
            let Some((key, txn)) = first_mark(&response)? else { break response };
            if self.snapshot.is_some() && self.link.store().capabilities().snapshots {
                // The snapshot will always show the mark.
                client.settle(&self.link, txn).await?;
                return Err(Error::serialization_failure().with_contended(key));
            }
            self.repeated += 1;
            match client.settle(&self.link, txn).await {
                Err(error) if remember.available && error.state() == SqlState::CONNECTION_FAILURE => {
                    self.undecided += before_marks(&mut response)?;
                    break response;
                }
                settled => settled?,
            }
        };
        let snapshots = self.link.store().capabilities().snapshots;
        if !snapshots && self.snapshot.is_some() {
            self.guards.rebase(response.snapshot);
        }
        self.epoch.get_or_insert(response.epoch);
        self.snapshot.get_or_insert(response.snapshot);
        self.newest = self.newest.max(response.snapshot);
        let mut results = response.results;
        if results.len() != reads.len() {
            return Err(Error::internal("a store answered another number of reads than it was asked"));
        }
        for (result, (table, _)) in results.drain(asked..).zip(tables) {
            if let Some((stamp, version)) = self.guards.confirm_table(table, result.entries.first())? {
                self.link.note_description(table, stamp, SchemaVersion { epoch: response.epoch, version });
            }
        }
        if snapshots && remember.nothing_at_snapshots {
            return Ok(results);
        }
        for (read, result) in reads.into_iter().zip(&results) {
            match read {
                Read::Point(key) => self.guards.saw_point(key, result.entries.first())?,
                Read::Range { range, reverse, .. } | Read::Follow { range, reverse, .. } => {
                    let covered = covered_range(&range, reverse, result.more.as_ref());
                    self.guards.saw_range(covered, response.snapshot, result.entries.len() as u64);
                    for target in result.entries.iter().filter_map(|entry| entry.target.as_ref()) {
                        self.guards.saw_point(target.key.clone(), Some(target))?;
                    }
                }
            }
        }
        Ok(results)
    }

    async fn ask(&mut self, reads: &[Read], limits: ReadLimits) -> Result<ReadResponse> {
        let snapshots = self.link.store().capabilities().snapshots;
        let at = if snapshots { self.snapshot } else { None };
        // Every answer must fit the earlier ones: also a transaction that will lose must not see a state that never was.
        let consistent = !snapshots && self.snapshot.is_some();
        let mut relied =
            if consistent { self.guards.of_reads(self.newest, self.most_guards()) } else { Guards::default() };
        self.reads += 1;
        let request = ReadRequest { reads: reads.to_vec(), at, guards: relied.take(), epoch: self.epoch, limits };
        match self.link.read(request).await? {
            ReadOutcome::Answer(response) => Ok(response),
            ReadOutcome::Conflict { guard } => Err(relied.failure(guard)),
        }
    }

    /// Whether everything that was read is still as it was: one round trip.
    pub(super) async fn validate(&self) -> Result<()> {
        let mut relied = self.guards.of_reads(self.newest, self.most_guards());
        let request = ReadRequest { guards: relied.take(), epoch: self.epoch, ..ReadRequest::default() };
        match self.link.read(request).await? {
            ReadOutcome::Answer(_) => Ok(()),
            ReadOutcome::Conflict { guard } => Err(relied.failure(guard)),
        }
    }

    /// Beyond how many guards what was read is guarded by whole ranges.
    pub(super) fn most_guards(&self) -> usize {
        let capabilities = self.link.store().capabilities();
        if capabilities.cheap_unchanged { capabilities.max_guards } else { usize::MAX }
    }

    /// See [`super::Txn::replaces`].
    pub(super) fn replaces(&mut self, key: &Key, value: Bytes) {
        self.olds.entry(key.clone()).or_insert(value);
    }

    /// What a key that is written holds before, as far as this transaction knows; `Some(None)` is "nothing".
    pub(super) fn old_value(&self, key: &Key, absent: &HashSet<Key>) -> Option<Option<Bytes>> {
        match self.guards.known(key) {
            Some(known) => Some(known.map(|entry| entry.value)),
            None if absent.contains(key) => Some(None),
            None => self.olds.get(key).cloned().map(Some),
        }
    }

    /// What streams tell of what this home writes. A key of which nothing is known was not there: whatever replaces something has said so.
    pub(super) fn events(&self, streams: &Streams) -> Result<Vec<Change>> {
        let told: Vec<(&Bytes, &Key, &Pending)> =
            self.writes.all().filter_map(|(key, new)| Some((streams.of(key)?, key, new))).collect();
        if told.is_empty() {
            return Ok(vec![]);
        }
        let absent = self.guards.absent();
        let olds: Vec<Option<Bytes>> = told.iter().map(|(_, key, _)| self.old_value(key, &absent).flatten()).collect();
        events(
            told.iter().zip(&olds).map(|((stream, key, new), old)| (Some(*stream), *key, old.as_ref(), new.as_ref())),
        )
    }

    /// The epoch and the version of which all that was read at this home is true.
    pub(super) fn as_of(&self) -> Option<(Epoch, Version)> {
        let snapshots = self.link.store().capabilities().snapshots;
        let version = if snapshots { self.snapshot? } else { self.snapshot.map(|_| self.newest)? };
        Some((self.epoch?, version))
    }

    /// See [`super::Txn::delete`].
    pub(super) fn delete(&mut self, key: Key) {
        // A key that this transaction made and that was read as absent needs no removal.
        if self.guards.point(&key) == Some(None) {
            self.writes.forget(key);
        } else {
            self.writes.set(key, None);
        }
    }

    /// See [`super::Txn::expect`].
    pub(super) fn expect(&mut self, guard: Guard, failure: Error) -> Result<()> {
        match &guard {
            Guard::Absent(key) => match (self.writes.get(key), self.guards.point(key)) {
                (Some(Some(_)), _) | (None, Some(Some(_))) => return Err(failure),
                // Removed by this transaction, or read as absent: guarded already.
                (Some(None), _) | (None, Some(None)) => return Ok(()),
                (None, None) => {}
            },
            Guard::Present(key) => match (self.writes.get(key), self.guards.point(key)) {
                (Some(None), _) | (None, Some(None)) => return Err(failure),
                (Some(Some(_)), _) | (None, Some(Some(_))) => return Ok(()),
                (None, None) => {}
            },
            Guard::Range { range, .. } => {
                let own: Vec<bool> = self.writes.range(range).map(|(_, value)| value.is_some()).collect();
                if own.contains(&true) {
                    return Err(failure);
                }
                if !own.is_empty() {
                    // What this transaction removes is still there when the guard is checked.
                    let guard = Guard::Range { range: range.clone(), since: self.newest, count: own.len() as u64 };
                    self.guards.expect(guard, failure);
                    return Ok(());
                }
            }
            Guard::Version { .. } | Guard::Unchanged { .. } => {}
        }
        self.guards.expect(guard, failure);
        Ok(())
    }
}

/// The first mark in an answer: the key that it stands on and its transaction.
pub(super) fn first_mark(response: &ReadResponse) -> Result<Option<(Key, super::TxnId)>> {
    for entry in response.results.iter().flat_map(|result| &result.entries) {
        for entry in [Some(entry), entry.target.as_deref()].into_iter().flatten() {
            if let Some(mark) = write_mark(&entry.value)? {
                return Ok(Some((entry.key.clone(), mark.txn)));
            }
        }
    }
    Ok(None)
}

/// Puts what was there before them in the place of all marks of an answer; how many there were.
fn before_marks(response: &mut ReadResponse) -> Result<u64> {
    let mut marks = 0;
    for result in &mut response.results {
        let mut kept = Vec::with_capacity(result.entries.len());
        for mut entry in std::mem::take(&mut result.entries) {
            if let Some(mut target) = entry.target.take() {
                match write_mark(&target.value)? {
                    None => entry.target = Some(target),
                    Some(mark) => {
                        marks += 1;
                        if let Some(old) = mark.old {
                            target.value = old.0;
                            entry.target = Some(target);
                        }
                    }
                }
            }
            match write_mark(&entry.value)? {
                None => kept.push(entry),
                Some(mark) => {
                    marks += 1;
                    if let Some(old) = mark.old {
                        entry.value = old.0;
                        kept.push(entry);
                    }
                }
            }
        }
        result.entries = kept;
    }
    Ok(marks)
}

fn own_entry(key: &Key, value: &Bytes) -> Entry {
    Entry { key: key.clone(), version: 0, value: value.clone(), target: None }
}

fn point_key(read: &Read) -> Option<&Key> {
    match read {
        Read::Point(key) => Some(key),
        _ => None,
    }
}
